//! Evidence that a node's keys live in an approved enclave, and what it is compared with.
//!
//! The verification itself (certificates, TCB levels) is a pure function of quote, collateral, time and trusted root;
//! the chain runs it inside consensus. Sources: Intel SGX DCAP quote formats v3 (SGX) and v4 (TDX), Intel PCS v4.

use alloc::vec::Vec;
use bounded_collections::{BoundedVec, ConstU32};
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;
use sha2::{Digest, Sha512};

use crate::{Hash, Key};

/// Largest quote, with its certificate chain.
pub type MaxQuote = ConstU32<{ 16 << 10 }>;
/// Largest part of a vendor collateral.
pub type MaxCollateralPart = ConstU32<{ 32 << 10 }>;

/// Evidence for the identity of an enclave.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub enum Evidence {
    /// An Intel ECDSA quote: SGX (v3) or TDX (v4).
    Dcap(BoundedVec<u8, MaxQuote>),
}

/// What a vendor publishes about a family of platforms, as Intel's provisioning service delivers it.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct Collateral {
    /// PEM: the CA that signed the PCK CRL, then the root.
    pub pck_crl_issuer_chain: BoundedVec<u8, MaxCollateralPart>,
    /// DER.
    pub root_ca_crl: BoundedVec<u8, MaxCollateralPart>,
    /// DER.
    pub pck_crl: BoundedVec<u8, MaxCollateralPart>,
    /// PEM.
    pub tcb_info_issuer_chain: BoundedVec<u8, MaxCollateralPart>,
    /// JSON, exactly as signed.
    pub tcb_info: BoundedVec<u8, MaxCollateralPart>,
    /// `r ‖ s`.
    pub tcb_info_signature: [u8; 64],
    /// PEM.
    pub qe_identity_issuer_chain: BoundedVec<u8, MaxCollateralPart>,
    /// JSON, exactly as signed.
    pub qe_identity: BoundedVec<u8, MaxCollateralPart>,
    /// `r ‖ s`.
    pub qe_identity_signature: [u8; 64],
}

/// Which program in which mode: what the chain approves.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub enum Measurement {
    Sgx {
        mr_enclave: [u8; 32],
        isv_prod_id: u16,
        /// Compared under its mask.
        attributes: [u8; 16],
        attributes_mask: [u8; 16],
        /// Compared under its mask.
        misc_select: u32,
        misc_mask: u32,
    },
    Tdx {
        /// [`tdx_image`] of the guest.
        image: Hash,
        /// RTMR0: firmware and machine shape.
        machine: BoundedVec<[u8; 48], ConstU32<16>>,
    },
}

/// The DEBUG bit of the SGX attributes (bit 1 of the first byte).
pub const SGX_DEBUG: u8 = 0x02;

/// The hash that stands for a TDX guest: all that measures its software and configuration, RTMR0 apart.
/// `rest` is MRTD, RTMR1, RTMR2, RTMR3, MRCONFIGID, MROWNER, MROWNERCONFIG.
pub fn tdx_image(rest: [&[u8; 48]; 7]) -> Hash {
    crate::h(&rest.map(|part| part.as_slice()))
}

/// The identity that evidence binds: to one chain, one provider and a recent block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Identity {
    pub genesis: Hash,
    pub provider: Key,
    /// sr25519, signs statements.
    pub sign_pk: Key,
    /// X25519, static key of the attested channel.
    pub channel_pk: Key,
    /// Of a block at most EVIDENCE_AGE old.
    pub block_hash: Hash,
}

impl Identity {
    /// The 64 bytes that the quote carries:
    /// `SHA-512("crust/enclave-identity/v1" ‖ genesis ‖ provider ‖ sign_pk ‖ channel_pk ‖ block_hash)`.
    pub fn report_data(&self) -> [u8; 64] {
        let mut hasher = Sha512::new();
        hasher.update(b"crust/enclave-identity/v1");
        for part in [&self.genesis, &self.provider, &self.sign_pk, &self.channel_pk, &self.block_hash] {
            hasher.update(part);
        }
        hasher.finalize().into()
    }
}

/// Copies bytes into a collateral part; `None` if they are too many.
pub fn part(bytes: impl Into<Vec<u8>>) -> Option<BoundedVec<u8, MaxCollateralPart>> {
    bytes.into().try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SHA-512 of the text and the five parts, as another implementation works it out.
    #[test]
    fn golden_report_data() {
        let [genesis, provider, sign_pk, channel_pk, block_hash] = [1, 2, 3, 4, 5].map(|part| [part; 32]);
        let identity = Identity { genesis, provider, sign_pk, channel_pk, block_hash };
        let expected = "96a1394b548689dd51e17a7b9491e9facb9ba34d7f3354e94eb944fe8f4e5c36\
                        891356d3dfc683e53c9f79b1bb5b565f6e61b06e37910de1ac1c6f1ad5661068";
        let found: String = identity.report_data().iter().map(|byte| alloc::format!("{byte:02x}")).collect();
        assert_eq!(found, expected);
    }
}
