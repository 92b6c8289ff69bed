//! The measured code: it seals files, makes filler, checks both and signs what it found. All outside it is hostile, its
//! own host first of all.
//!
//! The library does no I/O and knows no clock: sealed bytes and log records pass through its caller, who makes them
//! durable. [`server`] alone touches a socket, [`platform`] alone stands for the hardware.

#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects))]

pub mod filler;
pub mod platform;
pub mod program;
pub mod release;
pub mod rpc;
pub mod seal;
pub mod server;
pub mod tree;

mod check;
mod enclave;
mod evidence;
mod files;
mod handover;
mod identity;
mod load;
mod log;
mod scrub;
mod snapshot;
mod state;
mod statements;
mod unfinished;

pub use enclave::{Enclave, Handed, Opened, Progress, Scrubbed, SnapshotPart};

use crust_protocol::{development, walk::Limits};

use crate::release::ReleaseKeys;

/// What an enclave goes by: constants of the measured program, never configuration.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Constants {
    /// SAMPLES: pages of filler, and chunks of files, in a draw.
    pub samples: u32,
    /// FILLER_UNIT, in bytes.
    pub filler_unit: u64,
    /// Chunks in a segment of a file.
    pub segment: u64,
    /// SCRUB_PERIOD, in slots.
    pub scrub_period: u32,
    /// MAX_BLOCKS and MAX_DEPTH.
    pub limits: Limits,
    /// Number of this release.
    pub release: u32,
    /// Who may sign the release that follows.
    pub release_keys: ReleaseKeys,
    /// Certificate (DER) of the vendor under whose root evidence of other enclaves must be.
    pub trusted_root: &'static [u8],
}

impl Constants {
    /// The release keys are made when the first release is: until then no enclave gives its key away.
    pub const PRODUCTION: Constants = Constants {
        samples: 5_120,
        filler_unit: 1 << 30,
        segment: seal::SEGMENT_CHUNKS,
        scrub_period: 30 * 24,
        limits: Limits::PROTOCOL,
        release: RELEASE,
        release_keys: ReleaseKeys { needed: 3, keys: &[] },
        trusted_root: include_bytes!("intel-root.der"),
    };

    pub const DEVELOPMENT: Constants = Constants {
        samples: 256,
        filler_unit: 16 << 20,
        segment: seal::SEGMENT_CHUNKS,
        scrub_period: 60,
        limits: Limits::PROTOCOL,
        release: RELEASE,
        release_keys: ReleaseKeys { needed: 1, keys: &[release::DEVELOPMENT_KEY] },
        trusted_root: development::ROOT_CA,
    };
}

/// Number of the release that is built of this source.
pub const RELEASE: u32 = 1;
