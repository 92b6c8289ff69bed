//! Builds the wasm blob of the runtime along with its native library.

/// Where the workspace's lock file lies, seen from here. The wasm builder looks upwards from the target folder
/// otherwise, finds none when that is outside the tree, and resolves to crates that do not fit.
#[cfg(feature = "std")]
const WORKSPACE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

#[cfg(feature = "std")]
fn main() {
    for manifest in ["../Cargo.toml", "../../Cargo.toml"] {
        // The wasm builder watches the crates, not the two workspace manifests that they inherit from.
        println!("cargo:rerun-if-changed={manifest}");
    }
    // SAFETY: nothing else of this process runs yet.
    unsafe {
        std::env::set_var("WASM_BUILD_WORKSPACE_HINT", WORKSPACE);
    }
    substrate_wasm_builder::WasmBuilder::build_using_defaults();
}

#[cfg(not(feature = "std"))]
fn main() {}
