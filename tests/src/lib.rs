//! The harness: starts a network of the real programs in a directory of its own, talks to it as a user, an operator
//! and an attacker would, and leaves nothing behind.
//!
//! Used by the tests in `tests/`, by `make demo` and by `make bench`. Waiting is waiting for blocks: nothing here sleeps
//! until something has probably happened.

mod network;
mod payload;
mod process;
mod small_disk;

pub use network::{Endpoints, Network, NodeEndpoints, Options, Put};
pub use payload::{Payload, flip, write_payload};
pub use process::{Finished, bin, kill, memory, runs};
pub use small_disk::SmallDisk;
