//! The measured code: it seals files, makes filler, checks both and signs what it found. All outside it is hostile, its
//! own host first of all.
//!
//! The library does no I/O and knows no clock: sealed bytes and log records pass through its caller, who makes them
//! durable. [`server`] alone touches a socket, [`platform`] alone stands for the hardware.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

pub mod filler;
pub mod platform;
pub mod rpc;
pub mod seal;
pub mod server;

mod check;
mod enclave;
mod files;
mod identity;
mod log;
mod snapshot;
mod state;
mod statements;

pub use enclave::{Enclave, Opened, Progress};

use crust_protocol::walk::Limits;

/// What an enclave goes by: constants of the measured program, never configuration.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Constants {
    /// SAMPLES: pages of filler, and chunks of files, in a draw.
    pub samples: u32,
    /// FILLER_UNIT, in bytes.
    pub filler_unit: u64,
    /// SCRUB_PERIOD, in slots.
    pub scrub_period: u32,
    /// MAX_BLOCKS and MAX_DEPTH.
    pub limits: Limits,
}

impl Constants {
    pub const PRODUCTION: Constants =
        Constants { samples: 5_120, filler_unit: 1 << 30, scrub_period: 30 * 24, limits: Limits::PROTOCOL };

    pub const DEVELOPMENT: Constants =
        Constants { samples: 256, filler_unit: 16 << 20, scrub_period: 60, limits: Limits::PROTOCOL };
}
