//! Scenarios. Each ends with [`crate::Pallet::do_try_state`].

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests say what went wrong by failing"
)]

mod adversary;
mod approvals;
mod audits;
mod beacon;
mod collateral;
mod genesis;
mod guests;
mod inputs;
mod line;
mod platforms;
mod power;
mod random;
mod registration;
mod statements;
mod succession;
