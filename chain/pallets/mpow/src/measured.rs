//! What this pallet's steps cost in the runtime, over their worst paths: microseconds in wasm
//! without a database, storage keys read, storage keys written. `make weights` measures and writes this file;
//! `crate::weights` makes weights of it.

pub(crate) const SUBMIT_COLLATERAL: (u64, u64, u64) = (1239, 8, 5);
pub(crate) const REGISTER: (u64, u64, u64) = (1501, 79, 5);
pub(crate) const RENEW: (u64, u64, u64) = (1490, 78, 3);
pub(crate) const ANNOUNCE: (u64, u64, u64) = (217, 2, 2);
pub(crate) const AUTHORIZE_RECEIPTS: (u64, u64, u64) = (169, 14, 0);
pub(crate) const RECEIPTS: (u64, u64, u64) = (67, 1, 4);
pub(crate) const AUTHORIZE_GONE: (u64, u64, u64) = (143, 8, 0);
pub(crate) const GONE_STATEMENT: (u64, u64, u64) = (142, 10, 8);
pub(crate) const AUTHORIZE_REPORT: (u64, u64, u64) = (153, 10, 0);
pub(crate) const AUTHORIZE_ANSWER: (u64, u64, u64) = (103, 18, 0);
pub(crate) const MISSED_BEACON: (u64, u64, u64) = (1, 0, 0);
pub(crate) const REPORT: (u64, u64, u64) = (134, 5, 4);
pub(crate) const REPORT_ANSWERS: (u64, u64, u64) = (17, 0, 0);
pub(crate) const SET_POLICY: (u64, u64, u64) = (294, 2, 2);
pub(crate) const APPROVE_MEASUREMENT: (u64, u64, u64) = (244, 14, 2);
pub(crate) const REVOKE_MEASUREMENT: (u64, u64, u64) = (209, 3, 2);
pub(crate) const AUTHORIZE_HEIR: (u64, u64, u64) = (151, 10, 0);
pub(crate) const HEIR: (u64, u64, u64) = (34, 0, 1);
pub(crate) const SUCCEED: (u64, u64, u64) = (226, 8, 6);
