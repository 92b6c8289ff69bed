//! The runtime as a whole: what it promises to everybody who signed or stored something, and how it starts.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod genesis;
mod metadata;
mod weights;
mod wire;

use crust_runtime::{RuntimeGenesisConfig, presets::Genesis};
use sp_io::TestExternalities;
use sp_runtime::BuildStorage;

/// The state that a genesis makes.
fn externalities(genesis: Genesis) -> TestExternalities {
    let mut config = serde_json::to_value(RuntimeGenesisConfig::default()).unwrap();
    merge(&mut config, genesis.patch());
    let config: RuntimeGenesisConfig = serde_json::from_value(config).unwrap();
    config.build_storage().unwrap().into()
}

/// RFC 7386, as chain specifications are read.
fn merge(value: &mut serde_json::Value, patch: serde_json::Value) {
    match (value, patch) {
        (serde_json::Value::Object(value), serde_json::Value::Object(patch)) => {
            for (key, patch) in patch {
                merge(value.entry(key).or_insert(serde_json::Value::Null), patch);
            }
        }
        (value, patch) => *value = patch,
    }
}
