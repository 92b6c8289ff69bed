//! Weights, made of what was measured ([`crate::measured`]).
//!
//! Each step is measured in the runtime over its worst path: a whole transaction in wasm, or the beginning of a block,
//! and the keys that it touched, accounts and holds included. Its time counts half as much again, for machines slower
//! than the one that measured; its keys at the runtime's weights of the database.

use core::marker::PhantomData;
use frame_support::{
    traits::Get,
    weights::{Weight, constants::WEIGHT_REF_TIME_PER_MICROS},
};

use crate::{MAX_REPLICAS, measured};

/// What the market's steps cost at most.
pub trait WeightInfo {
    fn place_order() -> Weight;
    fn fund() -> Weight;
    fn take() -> Weight;
    fn claim() -> Weight;
    /// Renewing or ending an order with so many replicas; cancelling it. Its other places may all be taken.
    fn conclude(replicas: u32) -> Weight;
    /// What a block begins with when nothing is due.
    fn begin_block() -> Weight;
    /// What the first block of a slot begins with on top: whether the last one counts, and the shares that move.
    fn begin_slot() -> Weight;
    /// Finding nothing due in a slot that is over.
    fn pass_slot() -> Weight;
    /// Watching so many nodes.
    fn watch(nodes: u32) -> Weight;
    /// So many nodes that leave have their turn: ending or offering so many replicas, and with their orders so many takes.
    fn leave(nodes: u32, replicas: u32, takes: u32) -> Weight;
    fn move_collateral() -> Weight;
    fn retire() -> Weight;
    /// So many orders of a `Receipts` that applied, replicas that gave way to them, and orders that were skipped.
    fn receipts(applied: u32, replaced: u32, skipped: u32) -> Weight;
    /// So many orders of a `Gone` whose replicas ended, takes that ended with their orders, and orders that were skipped.
    fn gone(ended: u32, takes: u32, skipped: u32) -> Weight;

    /// The most that so many orders of a `Receipts` may cost.
    fn any_receipts(orders: u32) -> Weight {
        Self::receipts(orders, orders, 0)
    }

    /// The most that so many orders of a `Gone` may cost.
    fn any_gone(orders: u32) -> Weight {
        Self::gone(orders, orders.saturating_mul(MAX_REPLICAS), 0)
    }
}

/// The measured weights.
pub struct Measured<T>(PhantomData<T>);

impl<T: frame_system::Config> WeightInfo for Measured<T> {
    fn place_order() -> Weight {
        weight::<T>(measured::PLACE_ORDER)
    }

    fn fund() -> Weight {
        weight::<T>(measured::FUND)
    }

    fn take() -> Weight {
        weight::<T>(measured::TAKE)
    }

    fn claim() -> Weight {
        weight::<T>(measured::CLAIM)
    }

    fn conclude(replicas: u32) -> Weight {
        weight::<T>(measured::CONCLUDE)
            .saturating_add(times::<T>(measured::CONCLUDE_REPLICA, replicas))
            // Where all its nodes retire, an order has as many takes as replicas.
            .saturating_add(times::<T>(measured::TAKE_ENDS, MAX_REPLICAS))
    }

    fn begin_block() -> Weight {
        weight::<T>(measured::BEGIN_BLOCK)
    }

    fn begin_slot() -> Weight {
        weight::<T>(measured::BEGIN_SLOT)
    }

    fn pass_slot() -> Weight {
        // One key is looked for; the cursor's own is a part of the block's beginning.
        weight::<T>((4, 1, 0))
    }

    fn watch(nodes: u32) -> Weight {
        times::<T>(measured::WATCH, nodes)
    }

    fn leave(nodes: u32, replicas: u32, takes: u32) -> Weight {
        // What belongs to a node itself is read and written once, however many of its replicas end.
        times::<T>(measured::LEAVE_NODE, nodes)
            .saturating_add(times::<T>(measured::LEAVE, replicas))
            .saturating_add(times::<T>(measured::TAKE_ENDS, takes))
    }

    fn move_collateral() -> Weight {
        weight::<T>(measured::MOVE_COLLATERAL)
    }

    fn retire() -> Weight {
        weight::<T>(measured::RETIRE)
    }

    fn receipts(applied: u32, replaced: u32, skipped: u32) -> Weight {
        // Of one that is skipped: all that is asked before the collateral turns out not to suffice.
        times::<T>(measured::RECEIPT, applied)
            .saturating_add(times::<T>(measured::RECEIPT_REPLACES, replaced))
            .saturating_add(times::<T>((30, 13, 0), skipped))
    }

    fn gone(ended: u32, takes: u32, skipped: u32) -> Weight {
        // Of one that is skipped: whether the node has the replica.
        times::<T>(measured::GONE, ended)
            .saturating_add(times::<T>(measured::TAKE_ENDS, takes))
            .saturating_add(times::<T>((5, 1, 0), skipped))
    }
}

/// Half as much again of the time.
fn weight<T: frame_system::Config>((micros, reads, writes): (u64, u64, u64)) -> Weight {
    let picos = micros.saturating_mul(WEIGHT_REF_TIME_PER_MICROS).saturating_mul(3).div_ceil(2);
    Weight::from_parts(picos, 0).saturating_add(T::DbWeight::get().reads_writes(reads, writes))
}

fn times<T: frame_system::Config>(each: (u64, u64, u64), count: u32) -> Weight {
    weight::<T>(each).saturating_mul(count.into())
}
