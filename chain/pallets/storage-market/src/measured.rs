//! What this pallet's steps cost in the runtime, over their worst paths: microseconds in wasm
//! without a database, storage keys read, storage keys written. `make weights` measures and writes this file;
//! `crate::weights` makes weights of it.

pub(crate) const PLACE_ORDER: (u64, u64, u64) = (303, 5, 7);
pub(crate) const FUND: (u64, u64, u64) = (248, 4, 4);
pub(crate) const TAKE: (u64, u64, u64) = (263, 16, 4);
pub(crate) const CLAIM: (u64, u64, u64) = (274, 10, 8);
pub(crate) const CONCLUDE: (u64, u64, u64) = (322, 9, 8);
pub(crate) const CONCLUDE_REPLICA: (u64, u64, u64) = (88, 8, 9);
pub(crate) const TAKE_ENDS: (u64, u64, u64) = (13, 2, 1);
pub(crate) const MOVE_COLLATERAL: (u64, u64, u64) = (252, 6, 3);
pub(crate) const RETIRE: (u64, u64, u64) = (341, 14, 7);
pub(crate) const RECEIPT: (u64, u64, u64) = (57, 2, 7);
pub(crate) const RECEIPT_REPLACES: (u64, u64, u64) = (145, 12, 13);
pub(crate) const GONE: (u64, u64, u64) = (94, 6, 11);
pub(crate) const BEGIN_BLOCK: (u64, u64, u64) = (133, 12, 7);
pub(crate) const BEGIN_SLOT: (u64, u64, u64) = (100, 6, 6);
pub(crate) const WATCH: (u64, u64, u64) = (138, 9, 7);
pub(crate) const LEAVE: (u64, u64, u64) = (94, 6, 11);
pub(crate) const LEAVE_NODE: (u64, u64, u64) = (117, 13, 9);
