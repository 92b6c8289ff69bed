//! All that a user of Crust can do, as a library; the command `crust` and the storage node's daemon are built on it.
//!
//! [`chain`] alone knows the runtime's names, [`wallet`] holds the keys, [`upload`] puts a file into the network and
//! [`download`] gets it back. Nothing here knows what a storage node does with a file.

pub mod chain;
pub mod download;
pub mod listing;
pub mod money;
pub mod size;
pub mod term;
pub mod unixfs;
pub mod upload;
pub mod wallet;
