//! Evidence that a node's keys live in a genuine enclave, verified for the runtime.
//!
//! [`family`] reads which of a vendor's collateral a quote needs, [`verify`] checks a quote with that collateral at a
//! time under a trusted root. Both are pure functions: the same bytes give the same answer on every validator. The
//! runtime reaches them through the host functions of [`host`]; docs/decisions/0001 says why.
//!
//! What a quote *says* is in [`Claims`], and whether that is enough is for the caller to decide: this crate knows no
//! policy, no account and no chain.

#![cfg_attr(not(feature = "std"), no_std)]
#![cfg_attr(not(test), deny(clippy::float_arithmetic))]

extern crate alloc;

mod host;
#[cfg(feature = "std")]
mod parts;
#[cfg(feature = "std")]
mod verify;

use alloc::vec::Vec;
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use crust_protocol::{Hash, attestation::Collateral};
use scale_info::TypeInfo;

pub use crust_protocol::quote::Report;

#[cfg(feature = "std")]
pub use host::evidence::HostFunctions;

/// Certificate (DER) of the root under which Intel certifies SGX and TDX platforms.
pub const INTEL_ROOT_CA: &[u8] = include_bytes!("intel-root.der");

/// The family of a quote, as its own certificate names it. Nothing is verified: it only tells which collateral to use.
pub fn family(quote: &[u8]) -> Result<Family, Error> {
    host::evidence::family(quote)
}

/// Verifies a quote with the collateral of its family, `now` in seconds since 1970, under a root certificate (DER).
pub fn verify(quote: &[u8], collateral: &Collateral, now: u64, root: &[u8]) -> Result<Claims, Error> {
    host::evidence::verify(quote, &collateral.encode(), now, root)
}

/// Why evidence is refused. It reaches the chain's state, so it is coarse, and its indices never change.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, TypeInfo)]
pub enum Error {
    /// Not a quote, or one that carries no certificate chain.
    #[codec(index = 0)]
    MalformedQuote,
    /// Neither an SGX quote of version 3 nor a TDX quote of version 4.
    #[codec(index = 1)]
    UnknownVersion,
    /// A part of the collateral cannot be read.
    #[codec(index = 2)]
    MalformedCollateral,
    /// A part of the collateral is out of date, or not valid yet.
    #[codec(index = 3)]
    CollateralOutOfDate,
    /// The collateral is of another family of platforms.
    #[codec(index = 4)]
    OtherFamily,
    /// A signature does not lead to the trusted root, or something on the way is revoked or not as the vendor says.
    #[codec(index = 5)]
    Untrusted,
}

/// What must be the same for a quote and its collateral.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct Family {
    pub tee: Tee,
    pub ca: Ca,
    /// Processor model, firmware version and package configuration.
    pub fmspc: Fmspc,
}

/// The vendor's name for a family of platforms.
pub type Fmspc = [u8; 6];

/// A kind of trusted execution environment.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub enum Tee {
    #[codec(index = 0)]
    Sgx,
    #[codec(index = 1)]
    Tdx,
}

/// The authority that certifies a platform's key (PCK).
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub enum Ca {
    #[codec(index = 0)]
    Processor,
    #[codec(index = 1)]
    Platform,
}

/// What a verified quote says.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Claims {
    pub family: Family,
    /// H of the platform's PPID.
    pub platform: Hash,
    pub status: TcbStatus,
    /// Security advisories that apply to the platform at its TCB level.
    pub advisories: Vec<Vec<u8>>,
    /// `None` where the certificate does not say.
    pub dynamic_platform: Option<bool>,
    pub cached_keys: Option<bool>,
    pub smt: Option<bool>,
    pub report: Report,
    pub report_data: [u8; 64],
    pub editions: Editions,
    /// Certificate (PEM) that signed the TCB info: all that its chain needs besides the root.
    pub tcb_info_signer: Vec<u8>,
    /// Certificate (PEM) that signed the QE identity.
    pub qe_identity_signer: Vec<u8>,
}

/// The state of a platform's microcode and firmware, as its vendor judges it.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub enum TcbStatus {
    #[codec(index = 0)]
    UpToDate,
    #[codec(index = 1)]
    SwHardeningNeeded,
    #[codec(index = 2)]
    ConfigurationNeeded,
    #[codec(index = 3)]
    ConfigurationAndSwHardeningNeeded,
    #[codec(index = 4)]
    OutOfDate,
    #[codec(index = 5)]
    OutOfDateConfigurationNeeded,
}

/// How old each part of a collateral is.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Editions {
    pub root_crl: Edition,
    pub pck_crl: Edition,
    pub tcb_info: Edition,
    pub qe_identity: Edition,
}

/// Which of the documents that a vendor keeps publishing anew. A newer one is greater; times in seconds since 1970.
#[derive(
    Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo,
)]
pub struct Edition {
    /// CRL number, or TCB evaluation number.
    pub number: u32,
    pub issued: u64,
    /// The last second in which it may be used.
    pub expires: u64,
}

impl Edition {
    /// Whether it may be used at this time.
    pub fn in_date(&self, now: u64) -> bool {
        self.issued <= now && now <= self.expires
    }
}
