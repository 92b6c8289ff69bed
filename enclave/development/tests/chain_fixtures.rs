//! The chain's tests judge evidence of software platforms without linking this workspace: they read the files that are
//! compared here with what the platforms make. With `UPDATE` in the environment they are written anew.

#![allow(clippy::unwrap_used, reason = "a test")]

use std::{fs, path::Path};

use codec::Encode;
use crust_enclave_dev::{
    collateral::CollateralOptions,
    platform::{Mode, SoftwarePlatform},
};

/// Some day: 2026-09-21, 14:13:20 UTC.
const NOW: u64 = 1_790_000_000;
const DAY: u64 = 24 * 60 * 60;

#[test]
fn the_files_of_the_chains_tests_are_current() {
    let [one, two] = [[1; 32], [2; 32]].map(|seed| SoftwarePlatform::from_seed(seed).unwrap());
    current("platform-1.quote", one.quote(&[0; 64]));
    current("platform-2.quote", two.quote(&[0; 64]));
    for (name, mode) in [
        ("platform-dynamic.quote", Mode { dynamic: true, ..Mode::default() }),
        ("platform-cached-keys.quote", Mode { cached_keys: true, ..Mode::default() }),
        ("platform-smt.quote", Mode { smt: true, ..Mode::default() }),
    ] {
        current(name, SoftwarePlatform::in_mode([3; 32], mode).unwrap().quote(&[0; 64]));
    }

    let today = CollateralOptions::around(NOW);
    let tomorrow = CollateralOptions::around(NOW + DAY);
    let collateral = |options: CollateralOptions| one.collateral_with(&options).unwrap().encode();
    current("collateral.scale", collateral(today.clone()));
    current("collateral-tomorrow.scale", collateral(tomorrow.clone()));
    current("collateral-early.scale", collateral(CollateralOptions { evaluation: 18, ..today.clone() }));
    current("collateral-other-family.scale", collateral(CollateralOptions { fmspc: *b"other1", ..today.clone() }));
    current("collateral-tdx.scale", collateral(CollateralOptions { tdx: true, ..today.clone() }));
    let guests = CollateralOptions { tdx: true, ..tomorrow.clone() };
    let (advisories, tcb_status) = (vec!["INTEL-SA-00615"], "OutOfDate");
    current("collateral-tdx-advisory.scale", collateral(CollateralOptions { advisories, ..guests.clone() }));
    current("collateral-tdx-firmware-old.scale", collateral(CollateralOptions { tcb_status, ..guests }));
    let advisories = vec!["INTEL-SA-00615"];
    current("collateral-advisory.scale", collateral(CollateralOptions { advisories, ..tomorrow.clone() }));
    current(
        "collateral-firmware-old.scale",
        collateral(CollateralOptions { tcb_status: "OutOfDate", ..tomorrow.clone() }),
    );
    current("collateral-revoked.scale", collateral(CollateralOptions { revoked: vec![one.serial()], ..tomorrow }));
}

fn current(name: &str, bytes: Vec<u8>) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../chain/pallets/mpow/tests/data").join(name);
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&path, &bytes).unwrap();
    }
    assert!(fs::read(&path).unwrap() == bytes, "{name} is stale: run this test with UPDATE=1");
}
