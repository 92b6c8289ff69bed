//! Evidence that a node's keys live in a genuine enclave, verified for the runtime.
//!
//! [`family`] reads which of a vendor's collateral a quote needs, [`verify`] checks a quote with that collateral at a
//! time under a trusted root. Both are pure functions: the same bytes give the same answer on every validator. The
//! runtime reaches them through the host functions of [`host`]; docs/decisions/0001 says why.
//!
//! What a quote *says* is in [`Claims`], and whether that is enough is for the caller to decide: this crate knows no
//! policy, no account and no chain.

#![cfg_attr(not(feature = "std"), no_std)]

extern crate alloc;

mod host;
#[cfg(feature = "std")]
mod parts;
#[cfg(feature = "std")]
mod verify;

use alloc::vec::Vec;
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use crust_protocol::{
    Hash,
    attestation::{Collateral, Measurement, SGX_DEBUG, tdx_image},
};
use scale_info::TypeInfo;

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

/// The measured program and the mode in which it runs.
#[allow(clippy::large_enum_variant, reason = "one at a time, for the length of a call")]
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub enum Report {
    #[codec(index = 0)]
    Sgx {
        mr_enclave: [u8; 32],
        mr_signer: [u8; 32],
        isv_prod_id: u16,
        isv_svn: u16,
        attributes: [u8; 16],
        misc_select: u32,
    },
    #[codec(index = 1)]
    Tdx {
        mr_td: [u8; 48],
        /// RTMR0 to RTMR3.
        rtmr: [[u8; 48]; 4],
        mr_config_id: [u8; 48],
        mr_owner: [u8; 48],
        mr_owner_config: [u8; 48],
        td_attributes: [u8; 8],
        xfam: [u8; 8],
    },
}

/// TDX: bits of the first byte of the attributes under which the host can look into the guest (debug, profiling).
const TDX_UNDER_DEBUG: u8 = 0x71;

impl Report {
    /// Whether the host can read the memory of what was measured.
    pub fn is_debug(&self) -> bool {
        match self {
            Report::Sgx { attributes: [first, ..], .. } => first & SGX_DEBUG != 0,
            Report::Tdx { td_attributes: [first, ..], .. } => first & TDX_UNDER_DEBUG != 0,
        }
    }

    /// Whether this is what was approved.
    pub fn is(&self, approved: &Measurement) -> bool {
        match (self, approved) {
            (
                Report::Sgx { mr_enclave, isv_prod_id, attributes, misc_select, .. },
                Measurement::Sgx {
                    mr_enclave: approved,
                    isv_prod_id: product,
                    attributes: mode,
                    attributes_mask,
                    misc_select: misc,
                    misc_mask,
                },
            ) => {
                let same_mode =
                    attributes.iter().zip(mode).zip(attributes_mask).all(|((a, b), mask)| (a ^ b) & mask == 0);
                mr_enclave == approved && isv_prod_id == product && same_mode && (misc_select ^ misc) & misc_mask == 0
            }
            (
                Report::Tdx {
                    mr_td,
                    rtmr: [machine, rtmr1, rtmr2, rtmr3],
                    mr_config_id,
                    mr_owner,
                    mr_owner_config,
                    ..
                },
                Measurement::Tdx { image, machine: shapes },
            ) => {
                tdx_image([mr_td, rtmr1, rtmr2, rtmr3, mr_config_id, mr_owner, mr_owner_config]) == *image
                    && shapes.contains(machine)
            }
            _ => false,
        }
    }
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
