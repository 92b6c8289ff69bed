//! The provider's daemon: the host of an enclave. It watches the chain, fetches files, has them sealed, keeps what the
//! enclave hands out, says the enclave's statements and serves blocks. It holds no key but those of the provider's
//! account and of the network, and is trusted with nothing but its own node's earnings.
//!
//! [`node`] boots, [`host`] is what all share, [`workers`] are the steps of a file's way, [`store`] is what is on disk,
//! [`succession`] puts another enclave in the place of this one.

pub mod admin;
pub mod config;
pub mod enclave_client;
pub mod giving_up;
pub mod host;
pub mod node;
pub mod reading;
pub mod reconcile;
pub mod releases;
pub mod sampling;
pub mod statements;
pub mod store;
pub mod succession;
pub mod trees;
pub mod vendor;
pub mod workers;
