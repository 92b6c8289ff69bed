//! How the pallets are put together: the only place where they meet.
//!
//! [`system`] blocks, accounts, money and fees · [`consensus`] who makes blocks and when · [`staking`] who may ·
//! [`storage`] the workload proof and the market.

pub mod consensus;
pub mod staking;
pub mod storage;
pub mod system;
