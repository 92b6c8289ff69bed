//! The journey of a file on real programs: stored, proved, paid, given back; replaced children, ends of orders, and
//! all the bad input that a user can think of.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "these are tests")]

mod bad_input;
mod demo;
mod directory;
mod money;
mod noise;
mod own_account;
mod processes;
mod provider;
mod story;
mod uploader;

use crust_protocol::order::OrderId;
use serde_json::Value;

/// The id in `crust put`'s answer.
fn order_id(text: &str) -> OrderId {
    hex::decode(text.trim_start_matches("0x")).unwrap().try_into().unwrap()
}

/// The keys of a JSON object, in alphabetical order.
fn keys(value: &Value) -> String {
    let mut keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    keys.join(" ")
}
