//! What this pallet's steps cost in the runtime, over their worst paths: microseconds in wasm
//! without a database, storage keys read, storage keys written. `make weights` measures and writes this file;
//! `crate::weights` makes weights of it.

pub(crate) const SUBMIT_COLLATERAL: (u64, u64, u64) = (1232, 9, 9);
pub(crate) const REGISTER: (u64, u64, u64) = (1542, 79, 6);
pub(crate) const RENEW: (u64, u64, u64) = (1507, 78, 3);
pub(crate) const ANNOUNCE: (u64, u64, u64) = (209, 2, 2);
pub(crate) const AUTHORIZE_RECEIPTS: (u64, u64, u64) = (150, 14, 0);
pub(crate) const RECEIPTS: (u64, u64, u64) = (52, 1, 2);
pub(crate) const AUTHORIZE_GONE: (u64, u64, u64) = (129, 8, 0);
pub(crate) const GONE_STATEMENT: (u64, u64, u64) = (229, 10, 6);
pub(crate) const AUTHORIZE_REPORT: (u64, u64, u64) = (139, 10, 0);
pub(crate) const AUTHORIZE_ANSWER: (u64, u64, u64) = (103, 18, 0);
pub(crate) const MISSED_BEACON: (u64, u64, u64) = (1, 0, 0);
pub(crate) const REPORT: (u64, u64, u64) = (44, 5, 4);
pub(crate) const REPORT_ANSWERS: (u64, u64, u64) = (94, 0, 0);
pub(crate) const SET_POLICY: (u64, u64, u64) = (292, 2, 2);
pub(crate) const APPROVE_MEASUREMENT: (u64, u64, u64) = (236, 14, 2);
pub(crate) const REVOKE_MEASUREMENT: (u64, u64, u64) = (200, 3, 2);
pub(crate) const AUTHORIZE_HEIR: (u64, u64, u64) = (137, 10, 0);
pub(crate) const HEIR: (u64, u64, u64) = (28, 0, 1);
pub(crate) const SUCCEED: (u64, u64, u64) = (230, 8, 7);
