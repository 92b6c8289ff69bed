//! What enclaves show each other before a key is given and before it is taken: whatever the host makes of it, evidence
//! and a key that were not made for this very exchange are refused.

use std::sync::{Arc, Mutex, OnceLock};

use codec::{Decode, Encode};
use crust_enclave::{Constants, Enclave, RELEASE, rpc::Shown};
use crust_enclave_dev::{
    collateral::{self, CollateralOptions},
    platform::SoftwarePlatform,
    release,
};
use crust_protocol::{Hash, Key};

const GENESIS: Hash = [2; 32];
const PROVIDER: Key = [3; 32];
const NOW: u64 = 1_790_000_000;

fn platform() -> Arc<SoftwarePlatform> {
    static PLATFORM: OnceLock<Arc<SoftwarePlatform>> = OnceLock::new();
    PLATFORM.get_or_init(|| Arc::new(SoftwarePlatform::from_seed([1; 32]).unwrap())).clone()
}

fn enclave() -> Enclave {
    Enclave::new(platform(), Constants::DEVELOPMENT)
}

fn giver() -> &'static Mutex<Enclave> {
    static GIVER: OnceLock<Mutex<Enclave>> = OnceLock::new();
    GIVER.get_or_init(|| {
        let mut giver = enclave();
        giver.open(GENESIS, PROVIDER).unwrap();
        Mutex::new(giver)
    })
}

/// Genuine, of a genuine platform; for an exchange that is over.
fn shown() -> Shown {
    let (_, quote, _) = enclave().ask(GENESIS, PROVIDER, [4; 32]).unwrap();
    let collateral = collateral::make(&CollateralOptions::around(NOW)).unwrap();
    Shown { quote, collateral, release: release::signed(RELEASE).unwrap() }
}

/// What an heir shows.
pub fn hand_over(bytes: &[u8]) {
    let Ok((heir, shown)) = <(Key, Shown)>::decode(&mut &bytes[..]) else { return };
    let mut giver = giver().lock().unwrap();
    giver.challenge().unwrap();
    assert!(giver.hand_over(heir, shown).is_err(), "the key was given to evidence of another exchange");
}

pub fn hand_over_seeds() -> Vec<Vec<u8>> {
    vec![([9u8; 32], shown()).encode()]
}

/// What a giver gives.
pub fn inherit(bytes: &[u8]) {
    let Ok((share, sealed, shown)) = <(Key, Vec<u8>, Shown)>::decode(&mut &bytes[..]) else { return };
    let mut heir = enclave();
    heir.ask(GENESIS, PROVIDER, [4; 32]).unwrap();
    assert!(heir.inherit(share, &sealed, shown).is_err(), "a key was taken from another exchange");
    assert!(heir.overview().is_err(), "and there is no state");
}

pub fn inherit_seeds() -> Vec<Vec<u8>> {
    vec![([9u8; 32], vec![7u8; 48], shown()).encode()]
}
