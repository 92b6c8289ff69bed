//! Scenarios. Each ends with [`crate::Pallet::do_try_state`].

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "tests say what went wrong by failing"
)]

mod collateral;
mod genesis;
mod inputs;
mod power;
mod registration;
mod statements;
