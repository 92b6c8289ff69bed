//! The runtime as a whole: what it promises to everybody who signed or stored something, and how it starts.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

mod adversary;
mod audits;
mod genesis;
mod metadata;
mod network;
mod proxies;
mod taking;
mod weights;
mod wire;

use crust_runtime::presets::Genesis;
use sp_io::TestExternalities;
use sp_runtime::BuildStorage;

/// The state that a genesis makes.
fn externalities(genesis: Genesis) -> TestExternalities {
    genesis.config().build_storage().unwrap().into()
}
