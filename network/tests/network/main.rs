//! Nodes that meet over TCP on the loopback: what they exchange, and what a hostile or absent peer can do to them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

mod dht;
mod exchange;
mod hostile;
mod slow;
mod stranger;
mod wire;
mod world;
