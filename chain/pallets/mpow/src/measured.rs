//! What this pallet's steps cost in the runtime, over their worst paths: microseconds in wasm
//! without a database, storage keys read, storage keys written. `make weights` measures and writes this file;
//! `crate::weights` makes weights of it.

pub(crate) const SUBMIT_COLLATERAL: (u64, u64, u64) = (1197, 8, 5);
pub(crate) const REGISTER: (u64, u64, u64) = (1589, 79, 5);
pub(crate) const RENEW: (u64, u64, u64) = (1539, 78, 3);
pub(crate) const ANNOUNCE: (u64, u64, u64) = (202, 2, 2);
pub(crate) const AUTHORIZE_RECEIPTS: (u64, u64, u64) = (151, 14, 0);
pub(crate) const RECEIPTS: (u64, u64, u64) = (69, 1, 4);
pub(crate) const AUTHORIZE_GONE: (u64, u64, u64) = (113, 2, 0);
pub(crate) const GONE_STATEMENT: (u64, u64, u64) = (0, 10, 8);
pub(crate) const AUTHORIZE_REPORT: (u64, u64, u64) = (130, 10, 0);
pub(crate) const AUTHORIZE_ANSWER: (u64, u64, u64) = (116, 18, 0);
pub(crate) const MISSED_BEACON: (u64, u64, u64) = (1, 0, 0);
pub(crate) const REPORT: (u64, u64, u64) = (145, 5, 4);
pub(crate) const REPORT_ANSWERS: (u64, u64, u64) = (20, 1, 1);
pub(crate) const SET_POLICY: (u64, u64, u64) = (276, 2, 2);
pub(crate) const APPROVE_MEASUREMENT: (u64, u64, u64) = (227, 14, 2);
pub(crate) const REVOKE_MEASUREMENT: (u64, u64, u64) = (190, 3, 2);
pub(crate) const AUTHORIZE_HEIR: (u64, u64, u64) = (132, 10, 0);
pub(crate) const HEIR: (u64, u64, u64) = (38, 0, 1);
pub(crate) const SUCCEED: (u64, u64, u64) = (229, 8, 6);
