//! What this pallet's steps cost in the runtime, over their worst paths: microseconds in wasm
//! without a database, storage keys read, storage keys written. `make weights` measures and writes this file;
//! `crate::weights` makes weights of it.

pub(crate) const PLACE_ORDER: (u64, u64, u64) = (314, 5, 7);
pub(crate) const FUND: (u64, u64, u64) = (250, 4, 4);
pub(crate) const TAKE: (u64, u64, u64) = (272, 17, 6);
pub(crate) const CLAIM: (u64, u64, u64) = (289, 10, 8);
pub(crate) const CONCLUDE: (u64, u64, u64) = (337, 9, 8);
pub(crate) const CONCLUDE_REPLICA: (u64, u64, u64) = (90, 9, 11);
pub(crate) const TAKE_ENDS: (u64, u64, u64) = (11, 1, 2);
pub(crate) const MOVE_COLLATERAL: (u64, u64, u64) = (252, 5, 3);
pub(crate) const RETIRE: (u64, u64, u64) = (334, 13, 6);
pub(crate) const RECEIPT: (u64, u64, u64) = (54, 2, 7);
pub(crate) const RECEIPT_REPLACES: (u64, u64, u64) = (152, 13, 15);
pub(crate) const GONE: (u64, u64, u64) = (104, 6, 12);
pub(crate) const BEGIN_BLOCK: (u64, u64, u64) = (136, 12, 7);
pub(crate) const BEGIN_SLOT: (u64, u64, u64) = (103, 6, 6);
pub(crate) const WATCH: (u64, u64, u64) = (136, 10, 7);
pub(crate) const LEAVE: (u64, u64, u64) = (100, 6, 12);
pub(crate) const LEAVE_NODE: (u64, u64, u64) = (137, 14, 10);
