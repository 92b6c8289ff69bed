//! Scenarios, by what they tell of; each runs on the chain of [`crate::mock`] and checks all invariants at its end.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test may panic"
)]

mod collateral;
mod draws;
mod ending;
mod leaving;
mod ledger;
mod lessons;
mod paying;
mod placing;
mod queries;
mod random;
mod silence;
mod storing;
mod wire;
