//! What this pallet's steps cost in the runtime, over their worst paths: microseconds in wasm
//! without a database, storage keys read, storage keys written. `make weights` measures and writes this file;
//! `crate::weights` makes weights of it.

pub(crate) const PLACE_ORDER: (u64, u64, u64) = (324, 5, 7);
pub(crate) const FUND: (u64, u64, u64) = (256, 4, 4);
pub(crate) const TAKE: (u64, u64, u64) = (296, 17, 6);
pub(crate) const CLAIM: (u64, u64, u64) = (319, 10, 8);
pub(crate) const CONCLUDE: (u64, u64, u64) = (293, 5, 7);
pub(crate) const CONCLUDE_REPLICA: (u64, u64, u64) = (294, 9, 11);
pub(crate) const TAKE_ENDS: (u64, u64, u64) = (12, 1, 2);
pub(crate) const MOVE_COLLATERAL: (u64, u64, u64) = (253, 5, 3);
pub(crate) const RETIRE: (u64, u64, u64) = (379, 18, 6);
pub(crate) const RECEIPT: (u64, u64, u64) = (74, 2, 5);
pub(crate) const RECEIPT_REPLACES: (u64, u64, u64) = (291, 11, 13);
pub(crate) const GONE: (u64, u64, u64) = (460, 6, 10);
pub(crate) const BEGIN_BLOCK: (u64, u64, u64) = (138, 12, 7);
pub(crate) const BEGIN_SLOT: (u64, u64, u64) = (103, 6, 6);
pub(crate) const WATCH: (u64, u64, u64) = (181, 9, 6);
pub(crate) const LEAVE: (u64, u64, u64) = (370, 6, 10);
