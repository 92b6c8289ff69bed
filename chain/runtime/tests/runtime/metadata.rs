//! `chain/metadata.scale`: the bridge to everything outside the chain's workspace.

use crust_runtime::{Runtime, presets};

const PATH: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../metadata.scale");

/// The checked-in file is the metadata (version 15) of this runtime in the externalities of `dev`. With UPDATE=1 in the
/// environment (`make metadata`) the test writes it instead.
#[test]
fn metadata_is_current() {
    let metadata: Vec<u8> = crate::externalities(presets::dev())
        .execute_with(|| Runtime::metadata_at_version(15))
        .expect("version 15 is known")
        .to_vec();
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(PATH, &metadata).unwrap();
    }
    let checked_in = std::fs::read(PATH).unwrap_or_default();
    assert!(checked_in == metadata, "chain/metadata.scale is stale: run `make metadata` and check it in");
}
