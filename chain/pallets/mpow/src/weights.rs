//! Weights: upper bounds set by hand from measurements on a two-core machine, times and proof apart from the database.
//! Evidence 1.3 ms natively, a signature 0.06 ms, an empty call 0.04 ms (docs/decisions/0001); a whole report, signature
//! included, 0.05 ms natively. An enclave whose registration has run out is looked up in four parts of the collateral.

use core::marker::PhantomData;
use frame_support::{
    traits::Get,
    weights::{Weight, constants::WEIGHT_REF_TIME_PER_MICROS},
};

use crate::MAX_MEASUREMENTS;

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
    /// With so many orders that apply, and so many that are skipped.
    fn receipts(applied: u32, skipped: u32) -> Weight;
    fn authorize_gone() -> Weight;
    /// With so many orders whose replicas end, and so many that are skipped.
    fn gone(ended: u32, skipped: u32) -> Weight;
    /// With an answer or without one.
    fn authorize_report(answer: bool) -> Weight;
    fn report(answer: bool) -> Weight;
    fn set_policy() -> Weight;
    fn approve_measurement() -> Weight;
    fn revoke_measurement() -> Weight;
    fn authorize_heir() -> Weight;
    fn heir() -> Weight;
    fn succeed() -> Weight;
}

/// Bounds of this pallet alone. What the market does with each order and report, the runtime adds.
pub struct Bounds<T>(PhantomData<T>);

/// Reading a quote's family, checking it with 200 KiB of collateral that was decoded, copied and encoded.
const EVIDENCE: u64 = 5_000;
const SIGNATURE: u64 = 70;
const CALL: u64 = 40;
const ANSWER: u64 = 250;
/// Decoding an order's id.
const ORDER: u64 = 1;

impl<T: frame_system::Config> WeightInfo for Bounds<T> {
    fn on_initialize() -> Weight {
        bound::<T>(10, 1, 1)
    }

    fn on_finalize() -> Weight {
        bound::<T>(20, 5, 3)
    }

    fn submit_collateral() -> Weight {
        bound::<T>(CALL.saturating_add(EVIDENCE), 8, 5)
    }

    fn register() -> Weight {
        bound::<T>(CALL.saturating_add(EVIDENCE), MAX_MEASUREMENTS.saturating_add(19).into(), 5)
    }

    fn renew() -> Weight {
        bound::<T>(CALL.saturating_add(EVIDENCE), MAX_MEASUREMENTS.saturating_add(21).into(), 4)
    }

    fn announce() -> Weight {
        bound::<T>(CALL, 1, 1)
    }

    fn authorize_receipts() -> Weight {
        bound::<T>(SIGNATURE.saturating_add(CALL), 12, 0)
    }

    fn receipts(applied: u32, skipped: u32) -> Weight {
        per_order::<T>(applied.saturating_add(skipped))
    }

    fn authorize_gone() -> Weight {
        bound::<T>(SIGNATURE.saturating_add(CALL), 8, 0)
    }

    fn gone(ended: u32, skipped: u32) -> Weight {
        per_order::<T>(ended.saturating_add(skipped))
    }

    fn authorize_report(answer: bool) -> Weight {
        let report = bound::<T>(SIGNATURE.saturating_add(CALL), 11, 0);
        match answer {
            false => report,
            // Up to 128 beacons, 16 points of the market's list, an order, a path of 33 hashes.
            true => report.saturating_add(bound::<T>(ANSWER, 18, 0)),
        }
    }

    fn report(_: bool) -> Weight {
        bound::<T>(CALL, 7, 3)
    }

    fn set_policy() -> Weight {
        bound::<T>(CALL, 0, 2)
    }

    fn approve_measurement() -> Weight {
        bound::<T>(CALL, MAX_MEASUREMENTS.saturating_add(4).into(), 5)
    }

    fn revoke_measurement() -> Weight {
        bound::<T>(CALL, 2, 3)
    }

    fn authorize_heir() -> Weight {
        bound::<T>(SIGNATURE.saturating_add(CALL), 13, 0)
    }

    fn heir() -> Weight {
        bound::<T>(CALL, 2, 2)
    }

    fn succeed() -> Weight {
        bound::<T>(CALL, 9, 6)
    }
}

fn bound<T: frame_system::Config>(micros: u64, reads: u64, writes: u64) -> Weight {
    Weight::from_parts(micros.saturating_mul(WEIGHT_REF_TIME_PER_MICROS), 0)
        .saturating_add(T::DbWeight::get().reads_writes(reads, writes))
}

fn per_order<T: frame_system::Config>(orders: u32) -> Weight {
    bound::<T>(CALL.saturating_add(ORDER.saturating_mul(orders.into())), 3, 2)
}
