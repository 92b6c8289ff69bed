//! Weights, made of what was measured ([`crate::measured`]).
//!
//! Each step is measured in the runtime over its worst path: a whole transaction in wasm, with what surrounds its call
//! and with what the market does behind it, and the keys that it touched. Its time counts half as much again, for
//! machines slower than the one that measured; its keys at the runtime's weights of the database.

use core::marker::PhantomData;
use frame_support::{
    traits::Get,
    weights::{Weight, constants::WEIGHT_REF_TIME_PER_MICROS},
};

use crate::{beacon::KEPT_BEACONS, measured};

/// What a call costs at most.
pub trait WeightInfo {
    fn on_initialize() -> Weight;
    /// As a block ends: the beacon.
    fn on_finalize() -> Weight;
    fn submit_collateral() -> Weight;
    fn register() -> Weight;
    fn renew() -> Weight;
    fn announce() -> Weight;
    fn authorize_receipts() -> Weight;
    /// With so many orders at most.
    fn receipts(orders: u32) -> Weight;
    fn authorize_gone() -> Weight;
    /// With so many orders at most.
    fn gone(orders: u32) -> Weight;
    /// With an answer or without one, of a node that has let pass as many beacons as there are.
    fn authorize_report(answer: bool) -> Weight;
    /// Passing so many beacons.
    fn beacons(passed: u32) -> Weight;
    fn report(answer: bool) -> Weight;
    fn set_policy() -> Weight;
    fn approve_measurement() -> Weight;
    fn revoke_measurement() -> Weight;
    fn authorize_heir() -> Weight;
    fn heir() -> Weight;
    fn succeed() -> Weight;
}

/// The measured weights. What the market does with each order that a statement names, the runtime adds.
pub struct Measured<T>(PhantomData<T>);

impl<T: frame_system::Config> WeightInfo for Measured<T> {
    fn on_initialize() -> Weight {
        // What a slot's sums and the parameters take: a part of what the market measures as a block's beginning.
        weight::<T>((10, 1, 1))
    }

    fn on_finalize() -> Weight {
        // Parameters, BABE's output and number, the window's outputs, both lists of beacons.
        weight::<T>((60, 6, 3))
    }

    fn submit_collateral() -> Weight {
        weight::<T>(measured::SUBMIT_COLLATERAL)
    }

    fn register() -> Weight {
        weight::<T>(measured::REGISTER)
    }

    fn renew() -> Weight {
        weight::<T>(measured::RENEW)
    }

    fn announce() -> Weight {
        weight::<T>(measured::ANNOUNCE)
    }

    fn authorize_receipts() -> Weight {
        weight::<T>(measured::AUTHORIZE_RECEIPTS)
    }

    fn receipts(_: u32) -> Weight {
        weight::<T>(measured::RECEIPTS)
    }

    fn authorize_gone() -> Weight {
        weight::<T>(measured::AUTHORIZE_GONE)
    }

    fn gone(_: u32) -> Weight {
        weight::<T>(measured::GONE_STATEMENT)
    }

    fn authorize_report(answer: bool) -> Weight {
        let report = weight::<T>(measured::AUTHORIZE_REPORT).saturating_add(Self::beacons(KEPT_BEACONS));
        match answer {
            false => report,
            true => report.saturating_add(weight::<T>(measured::AUTHORIZE_ANSWER)),
        }
    }

    fn beacons(passed: u32) -> Weight {
        weight::<T>(measured::MISSED_BEACON).saturating_mul(passed.into())
    }

    fn report(answer: bool) -> Weight {
        match answer {
            false => weight::<T>(measured::REPORT),
            true => weight::<T>(measured::REPORT).saturating_add(weight::<T>(measured::REPORT_ANSWERS)),
        }
    }

    fn set_policy() -> Weight {
        weight::<T>(measured::SET_POLICY)
    }

    fn approve_measurement() -> Weight {
        weight::<T>(measured::APPROVE_MEASUREMENT)
    }

    fn revoke_measurement() -> Weight {
        weight::<T>(measured::REVOKE_MEASUREMENT)
    }

    fn authorize_heir() -> Weight {
        weight::<T>(measured::AUTHORIZE_HEIR)
    }

    fn heir() -> Weight {
        weight::<T>(measured::HEIR)
    }

    fn succeed() -> Weight {
        weight::<T>(measured::SUCCEED)
    }
}

/// Half as much again of the time.
fn weight<T: frame_system::Config>((micros, reads, writes): (u64, u64, u64)) -> Weight {
    let picos = micros.saturating_mul(WEIGHT_REF_TIME_PER_MICROS).saturating_mul(3).div_ceil(2);
    Weight::from_parts(picos, 0).saturating_add(T::DbWeight::get().reads_writes(reads, writes))
}
