//! What this pallet's steps cost in the runtime, over their worst paths: microseconds in wasm
//! without a database, storage keys read, storage keys written. `make weights` measures and writes this file;
//! `crate::weights` makes weights of it.

pub(crate) const PLACE_ORDER: (u64, u64, u64) = (305, 5, 7);
pub(crate) const FUND: (u64, u64, u64) = (236, 4, 4);
pub(crate) const TAKE: (u64, u64, u64) = (260, 17, 6);
pub(crate) const CLAIM: (u64, u64, u64) = (296, 10, 8);
pub(crate) const CONCLUDE: (u64, u64, u64) = (449, 24, 46);
pub(crate) const CONCLUDE_REPLICA: (u64, u64, u64) = (558, 9, 11);
pub(crate) const TAKE_ENDS: (u64, u64, u64) = (10, 1, 2);
pub(crate) const MOVE_COLLATERAL: (u64, u64, u64) = (239, 5, 3);
pub(crate) const RETIRE: (u64, u64, u64) = (235, 9, 3);
pub(crate) const RECEIPT: (u64, u64, u64) = (72, 2, 5);
pub(crate) const RECEIPT_REPLACES: (u64, u64, u64) = (1388, 11, 13);
pub(crate) const GONE: (u64, u64, u64) = (1416, 7, 10);
pub(crate) const BEGIN_BLOCK: (u64, u64, u64) = (134, 11, 7);
pub(crate) const BEGIN_SLOT: (u64, u64, u64) = (97, 6, 6);
pub(crate) const WATCH: (u64, u64, u64) = (377, 9, 6);
pub(crate) const LEAVE: (u64, u64, u64) = (1635, 6, 10);
