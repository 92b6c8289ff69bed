//! Weights set by hand: upper bounds of the storage that a step touches, and of the time beside it.
//!
//! Reads and writes are counted over the worst path, accounts and holds of pallet-balances included (a payment touches
//! account and holds of the client and the account of the receiver). Measured weights replace them once the pallets
//! are benchmarked.

use core::marker::PhantomData;
use frame_support::{
    traits::Get,
    weights::{RuntimeDbWeight, Weight, constants::WEIGHT_REF_TIME_PER_MICROS},
};

/// What the market's steps cost at most.
pub trait WeightInfo {
    fn place_order() -> Weight;
    fn fund() -> Weight;
    fn take() -> Weight;
    fn claim() -> Weight;
    /// Renewing or ending an order with so many replicas; cancelling it.
    fn conclude(replicas: u32) -> Weight;
    /// What a block begins with when nothing is due.
    fn begin_block() -> Weight;
    /// Finding nothing due in a slot that is over.
    fn pass_slot() -> Weight;
    /// Moving the shares of pot and treasury.
    fn move_shares() -> Weight;
    /// One order of a `Receipts`.
    fn receipt() -> Weight;
    /// One order of a `Gone`.
    fn gone() -> Weight;
    /// A report.
    fn reported() -> Weight;
}

/// The bounds under the runtime's database weights.
pub struct UpperBounds<T>(PhantomData<T>);

impl<T: frame_system::Config> WeightInfo for UpperBounds<T> {
    fn place_order() -> Weight {
        bound::<T>(60, 8, 12)
    }

    fn fund() -> Weight {
        bound::<T>(50, 5, 4)
    }

    fn take() -> Weight {
        bound::<T>(50, 8, 5)
    }

    fn claim() -> Weight {
        bound::<T>(80, 9, 7)
    }

    fn conclude(replicas: u32) -> Weight {
        let each = bound::<T>(90, 6, 7).saturating_mul(replicas.into());
        // The record, the indices, the queue, the client's account and up to 20 takes' places.
        bound::<T>(120, 8, 30).saturating_add(each)
    }

    fn begin_block() -> Weight {
        bound::<T>(10, 4, 1)
    }

    fn pass_slot() -> Weight {
        bound::<T>(2, 1, 0)
    }

    fn move_shares() -> Weight {
        bound::<T>(60, 4, 4)
    }

    fn receipt() -> Weight {
        bound::<T>(30, 5, 8)
    }

    fn gone() -> Weight {
        bound::<T>(110, 11, 34)
    }

    fn reported() -> Weight {
        bound::<T>(5, 1, 1)
    }
}

fn bound<T: frame_system::Config>(micros: u64, reads: u64, writes: u64) -> Weight {
    let database: RuntimeDbWeight = T::DbWeight::get();
    Weight::from_parts(WEIGHT_REF_TIME_PER_MICROS.saturating_mul(micros), 0)
        .saturating_add(database.reads_writes(reads, writes))
}
