//! The harness: starts a network of the real programs in a directory of its own, talks to it as a user, an operator
//! and an attacker would, and leaves nothing behind.
//!
//! Used by the tests in `tests/`, by `make demo` and by `make bench`. Waiting is waiting for blocks, or asking until it is
//! so or too late: nothing here sleeps until something has probably happened.

mod chain;
mod governance;
pub mod host;
mod network;
mod payload;
mod pccs;
mod process;
mod proxy;
mod small_disk;
mod sockets;
mod storage;

pub use chain::{ChainNode, slots_without_report};
pub use governance::{revoke_program, set_audit_rate, set_parameters};
pub use network::{Endpoints, Network, NodeEndpoints, Options, Put};
pub use payload::{Payload, flip, write_payload};
pub use pccs::Pccs;
pub use process::{Finished, bin, eventually, free_port, kill, memory, runs, signal, watched};
pub use proxy::{Answering, Proxy};
pub use small_disk::SmallDisk;
pub use sockets::{Socket, sockets};
pub use storage::{KeptEnclave, StorageNode};
