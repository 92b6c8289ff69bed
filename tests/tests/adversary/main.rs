//! Adversaries on the real system: each test is somebody who really tries, and names the coin that he would have earned
//! with the defence off. What stops him and what it costs stands in docs/threat-model.md.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "these are tests")]

mod blocks;
mod flood;
mod replay;
mod thief;
mod wire;

use crust_tests::{Network, Options};

/// A chain without storage nodes.
async fn chain_alone() -> Network {
    Network::with(Options { nodes: 0, ..Options::default() }).await.unwrap()
}

/// One real storage node.
async fn one_node() -> Network {
    Network::with(Options { nodes: 1, capacity: "128MiB".into() }).await.unwrap()
}
