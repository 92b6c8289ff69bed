//! What this pallet's steps cost in the runtime, over their worst paths: microseconds in wasm
//! without a database, storage keys read, storage keys written. `make weights` measures and writes this file;
//! `crate::weights` makes weights of it.

pub(crate) const SUBMIT_COLLATERAL: (u64, u64, u64) = (1193, 9, 9);
pub(crate) const REGISTER: (u64, u64, u64) = (1513, 79, 6);
pub(crate) const RENEW: (u64, u64, u64) = (1517, 78, 3);
pub(crate) const ANNOUNCE: (u64, u64, u64) = (203, 2, 2);
pub(crate) const AUTHORIZE_RECEIPTS: (u64, u64, u64) = (152, 13, 0);
pub(crate) const RECEIPTS: (u64, u64, u64) = (57, 1, 1);
pub(crate) const AUTHORIZE_GONE: (u64, u64, u64) = (126, 8, 0);
pub(crate) const GONE_STATEMENT: (u64, u64, u64) = (198, 9, 5);
pub(crate) const AUTHORIZE_REPORT: (u64, u64, u64) = (138, 10, 0);
pub(crate) const AUTHORIZE_ANSWER: (u64, u64, u64) = (94, 18, 0);
pub(crate) const MISSED_BEACON: (u64, u64, u64) = (1, 0, 0);
pub(crate) const REPORT: (u64, u64, u64) = (44, 4, 4);
pub(crate) const REPORT_ANSWERS: (u64, u64, u64) = (103, 0, 0);
pub(crate) const SET_POLICY: (u64, u64, u64) = (278, 2, 2);
pub(crate) const APPROVE_MEASUREMENT: (u64, u64, u64) = (232, 14, 2);
pub(crate) const REVOKE_MEASUREMENT: (u64, u64, u64) = (200, 3, 2);
pub(crate) const AUTHORIZE_HEIR: (u64, u64, u64) = (133, 10, 0);
pub(crate) const HEIR: (u64, u64, u64) = (30, 0, 1);
pub(crate) const SUCCEED: (u64, u64, u64) = (230, 8, 7);
