//! What this pallet's steps cost in the runtime, over their worst paths: microseconds in wasm
//! without a database, storage keys read, storage keys written. `make weights` measures and writes this file;
//! `crate::weights` makes weights of it.

pub(crate) const PLACE_ORDER: (u64, u64, u64) = (311, 5, 7);
pub(crate) const FUND: (u64, u64, u64) = (245, 4, 4);
pub(crate) const TAKE: (u64, u64, u64) = (275, 17, 6);
pub(crate) const CLAIM: (u64, u64, u64) = (287, 10, 8);
pub(crate) const CONCLUDE: (u64, u64, u64) = (345, 9, 8);
pub(crate) const CONCLUDE_REPLICA: (u64, u64, u64) = (95, 8, 10);
pub(crate) const TAKE_ENDS: (u64, u64, u64) = (15, 2, 2);
pub(crate) const MOVE_COLLATERAL: (u64, u64, u64) = (250, 6, 3);
pub(crate) const RETIRE: (u64, u64, u64) = (351, 12, 5);
pub(crate) const RECEIPT: (u64, u64, u64) = (56, 2, 7);
pub(crate) const RECEIPT_REPLACES: (u64, u64, u64) = (155, 12, 14);
pub(crate) const GONE: (u64, u64, u64) = (101, 6, 12);
pub(crate) const BEGIN_BLOCK: (u64, u64, u64) = (134, 12, 7);
pub(crate) const BEGIN_SLOT: (u64, u64, u64) = (103, 6, 6);
pub(crate) const WATCH: (u64, u64, u64) = (145, 9, 7);
pub(crate) const LEAVE: (u64, u64, u64) = (101, 6, 12);
pub(crate) const LEAVE_NODE: (u64, u64, u64) = (147, 13, 9);
