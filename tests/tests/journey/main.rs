//! The journey of a file on real programs: stored, proved, paid, given back; replaced children, ends of orders, and
//! all the bad input that a user can think of.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "these are tests")]

mod bad_input;
mod demo;
mod money;
mod noise;
mod own_account;
mod processes;
mod provider;
mod story;

use crust_protocol::order::OrderId;

/// The id in `crust put`'s answer.
fn order_id(text: &str) -> OrderId {
    hex::decode(text.trim_start_matches("0x")).unwrap().try_into().unwrap()
}
