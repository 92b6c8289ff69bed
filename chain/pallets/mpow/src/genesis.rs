//! How the pallet starts: parameters, trusted root, approved programs, and the rule that a chain which is not for
//! development trusts no software platform.

use alloc::vec::Vec;
use core::marker::PhantomData;
use crust_protocol::parameters;
use frame_support::{BoundedVec, traits::Get};
use sp_runtime::traits::UniqueSaturatedInto;

use crate::{
    Approval, Config, GenesisConfig, MAX_MEASUREMENTS, Measurements, NextMeasurement, PlatformPolicy, Policy,
    TrustedRoot,
    approvals::{is_development_measurement, is_development_root},
    beacon::MaxWindow,
};

/// The default parameters are those of production.
pub struct Production;

impl Get<parameters::Parameters> for Production {
    fn get() -> parameters::Parameters {
        parameters::Parameters::PRODUCTION
    }
}

impl<T: Config> Default for GenesisConfig<T> {
    /// Trusts nobody: no evidence leads to an empty root.
    fn default() -> Self {
        GenesisConfig {
            parameters: Production::get(),
            trusted_root: Vec::new(),
            measurements: Vec::new(),
            policy: PlatformPolicy::default(),
            development: false,
            _config: PhantomData,
        }
    }
}

/// Writes the genesis state. A genesis that contradicts itself makes no chain.
pub fn build<T: Config>(config: &GenesisConfig<T>) {
    if let Err(error) = check::<T>(&config.parameters) {
        panic!("{error}");
    }
    if !config.development {
        assert!(!is_development_root(&config.trusted_root), "a production chain must not trust the development root");
        assert!(
            !config.measurements.iter().any(is_development_measurement),
            "a production chain must not approve the development enclave"
        );
    }
    crate::Parameters::<T>::put(&config.parameters);
    Policy::<T>::put(&config.policy);
    match BoundedVec::try_from(config.trusted_root.clone()) {
        Ok(root) => TrustedRoot::<T>::put(root),
        Err(_) => panic!("the trusted root must be one certificate of at most 4096 bytes"),
    }
    for (index, measurement) in (0..).zip(&config.measurements) {
        assert!(index < MAX_MEASUREMENTS, "at most {MAX_MEASUREMENTS} measurements can be approved");
        Measurements::<T>::insert(index, Approval::of(measurement.clone()));
        NextMeasurement::<T>::put(index.saturating_add(1));
    }
}

/// What must hold whatever the parameters are.
pub fn integrity_test<T: Config>() {
    for parameters in [parameters::Parameters::PRODUCTION, parameters::Parameters::DEVELOPMENT] {
        if let Err(error) = check::<T>(&parameters) {
            panic!("{error}");
        }
    }
}

/// Whether these parameters can work.
fn check<T: Config>(parameters: &parameters::Parameters) -> Result<(), &'static str> {
    let hashes: u32 = T::BlockHashCount::get().unique_saturated_into();
    let shares = u16::from(parameters.pot_share).saturating_add(u16::from(parameters.treasury_share));
    for (holds, error) in [
        (parameters.block_millis > 0, "a block takes time: block_millis must not be 0"),
        (parameters.beacon_blocks > 0 && parameters.beacon_blocks <= MaxWindow::get(), "a window has 1 to 64 blocks"),
        (parameters.slot_blocks > parameters.beacon_blocks, "a slot must be longer than its first beacon window"),
        (
            parameters.slot_blocks.checked_rem(parameters.beacon_blocks) == Some(0),
            "a slot must be a whole number of beacon windows",
        ),
        (parameters.evidence_age < hashes, "the chain forgets block hashes before evidence_age has passed"),
        (parameters.slot_blocks < hashes, "the chain forgets block hashes before a slot has passed"),
        (shares <= 100, "the shares of pot and treasury must leave the provider something"),
    ] {
        if !holds {
            return Err(error);
        }
    }
    Ok(())
}

/// Values in a chain specification as the hexadecimal text of their SCALE encoding.
pub mod scale {
    use alloc::vec::Vec;
    use codec::{DecodeAll, Encode};
    use serde::{Deserializer, Serializer, de::Error};

    pub fn serialize<V: Encode, S: Serializer>(value: &V, serializer: S) -> Result<S::Ok, S::Error> {
        sp_core::bytes::serialize(&value.encode(), serializer)
    }

    pub fn deserialize<'de, V: DecodeAll, D: Deserializer<'de>>(deserializer: D) -> Result<V, D::Error> {
        let bytes: Vec<u8> = sp_core::bytes::deserialize(deserializer)?;
        V::decode_all(&mut &bytes[..]).map_err(|_| D::Error::custom("not the SCALE encoding of the value"))
    }
}
