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
    /// Whether a slot counts.
    fn count_slot() -> Weight;
    /// Watching so many nodes.
    fn watch(nodes: u32) -> Weight;
    /// Ending or offering so many replicas of a node that leaves.
    fn leave(replicas: u32) -> Weight;
    fn move_collateral() -> Weight;
    fn retire() -> Weight;
    /// Moving the shares of pot and treasury.
    fn move_shares() -> Weight;
    /// One order of a `Receipts`.
    fn receipt() -> Weight;
    /// One order of a `Receipts` that does not apply.
    fn no_receipt() -> Weight;
    /// One order of a `Gone`.
    fn gone() -> Weight;
    /// One order of a `Gone` of which the node has no replica.
    fn not_gone() -> Weight;
    /// A report.
    fn reported() -> Weight;
    /// What an answer to a draw adds to it.
    fn draw_answered() -> Weight;
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
        bound::<T>(70, 14, 9)
    }

    fn claim() -> Weight {
        bound::<T>(80, 9, 7)
    }

    fn conclude(replicas: u32) -> Weight {
        let each = bound::<T>(120, 12, 12).saturating_mul(replicas.into());
        // The record, the indices, the queue, the client's account and up to 20 takes' places and collateral.
        bound::<T>(160, 28, 50).saturating_add(each)
    }

    fn begin_block() -> Weight {
        bound::<T>(10, 4, 1)
    }

    fn pass_slot() -> Weight {
        bound::<T>(2, 1, 0)
    }

    fn count_slot() -> Weight {
        bound::<T>(30, 3, 2)
    }

    fn watch(nodes: u32) -> Weight {
        // A silent one's draw and entry; the parameters and the count.
        bound::<T>(20, 8, 6).saturating_mul(nodes.into()).saturating_add(bound::<T>(5, 3, 1))
    }

    fn leave(replicas: u32) -> Weight {
        Self::gone().saturating_mul(replicas.into()).saturating_add(bound::<T>(25, 6, 2))
    }

    fn move_collateral() -> Weight {
        bound::<T>(60, 6, 3)
    }

    fn retire() -> Weight {
        bound::<T>(30, 8, 3)
    }

    fn move_shares() -> Weight {
        bound::<T>(60, 4, 4)
    }

    fn receipt() -> Weight {
        // With the loss of a replica that it replaces, which ends no order.
        bound::<T>(190, 26, 26)
    }

    fn no_receipt() -> Weight {
        // All that is asked before the collateral turns out not to suffice.
        bound::<T>(30, 13, 0)
    }

    fn gone() -> Weight {
        // The last one of an order with 19 takes.
        bound::<T>(200, 40, 59)
    }

    fn not_gone() -> Weight {
        bound::<T>(5, 1, 0)
    }

    fn reported() -> Weight {
        bound::<T>(5, 2, 1)
    }

    fn draw_answered() -> Weight {
        bound::<T>(5, 1, 1)
    }
}

fn bound<T: frame_system::Config>(micros: u64, reads: u64, writes: u64) -> Weight {
    let database: RuntimeDbWeight = T::DbWeight::get();
    Weight::from_parts(WEIGHT_REF_TIME_PER_MICROS.saturating_mul(micros), 0)
        .saturating_add(database.reads_writes(reads, writes))
}
