//! The part of the `wasm-opt` crate that `substrate-wasm-builder` calls, served by the `wasm-opt` program of the
//! system (Debian's `binaryen`). Compiling Binaryen from its C++ source costs a quarter of an hour on the critical
//! path of a cold build; the program does the same work. `[patch]` in `chain/Cargo.toml` puts it in place.
//!
//! Sign extension is lowered by the target already: `wasm32v1-none` is the MVP with mutable globals, and a blob that
//! holds anything else fails the validation that the program makes under `--mvp-features`.

use std::{fmt, io, path::Path, process::Command};

/// A transformation of the blob. Only those that the wasm builder asks for.
#[derive(Clone, Copy, Debug)]
pub enum Pass {
    /// Remove DWARF debug sections.
    StripDwarf,
    /// Rewrite sign-extension instructions: nothing to do for a `wasm32v1-none` blob.
    SignextLowering,
}

/// Why a blob could not be processed.
#[derive(Debug)]
pub enum Error {
    /// The program could not be started.
    Start(io::Error),
    /// The program refused the blob; its message.
    Failed(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Start(error) => write!(f, "cannot run wasm-opt ({error}): install Debian's package `binaryen`"),
            Error::Failed(message) => write!(f, "wasm-opt failed: {message}"),
        }
    }
}

impl std::error::Error for Error {}

/// Options of one run, in the builder form of the crate that this one stands in for.
#[derive(Debug, Default)]
pub struct OptimizationOptions {
    arguments: Vec<&'static str>,
}

impl OptimizationOptions {
    /// No optimisation: only the passes that are added.
    pub fn new_opt_level_0() -> Self {
        Self::default()
    }

    /// Refuse features past the WebAssembly MVP (mutable globals apart).
    pub fn mvp_features_only(&mut self) -> &mut Self {
        self.arguments.extend(["--mvp-features", "--enable-mutable-globals"]);
        self
    }

    /// Keep the names section.
    pub fn debug_info(&mut self, keep: bool) -> &mut Self {
        if keep {
            self.arguments.push("--debuginfo");
        }
        self
    }

    /// Add one pass.
    pub fn add_pass(&mut self, pass: Pass) -> &mut Self {
        match pass {
            Pass::StripDwarf => self.arguments.push("--strip-dwarf"),
            Pass::SignextLowering => {}
        }
        self
    }

    /// Read `input`, write `output` (the same path is allowed).
    pub fn run(&self, input: impl AsRef<Path>, output: impl AsRef<Path>) -> Result<(), Error> {
        let done = Command::new("wasm-opt")
            .args(&self.arguments)
            .arg(input.as_ref())
            .arg("--output")
            .arg(output.as_ref())
            .output()
            .map_err(Error::Start)?;
        if done.status.success() {
            Ok(())
        } else {
            Err(Error::Failed(String::from_utf8_lossy(&done.stderr).into_owned()))
        }
    }
}
