//! Releases of the development enclave, signed with the published key. Each is a program with a measurement of its own, so
//! that an upgrade from one to the next is what it is on hardware.

use crust_enclave::{
    RELEASE,
    release::{DEVELOPMENT_SEED, Release, SignedRelease},
};
use crust_protocol::{attestation::Measurement, development, h};
use ring::signature::Ed25519KeyPair;

/// MRENCLAVE of a release. That of the release that is built of this source is what a development genesis approves.
pub fn mr_enclave(number: u32) -> [u8; 32] {
    match number {
        RELEASE => development::MR_ENCLAVE,
        other => h(&[b"crust/development-enclave/release", &other.to_le_bytes()]),
    }
}

/// What a chain approves to let a release in.
pub fn measurement(number: u32) -> Measurement {
    Measurement::Sgx {
        mr_enclave: mr_enclave(number),
        isv_prod_id: 0,
        attributes: development::ATTRIBUTES,
        attributes_mask: [0xff; 16],
        misc_select: 0,
        misc_mask: u32::MAX,
    }
}

/// A release of the development enclave.
pub fn signed(number: u32) -> Option<SignedRelease> {
    sign(Release { number, measurement: measurement(number) })
}

/// Any release, signed with the published key.
pub fn sign(release: Release) -> Option<SignedRelease> {
    let mut signed = SignedRelease { release, signatures: Vec::new().try_into().ok()? };
    add_signature(&mut signed, 0, &DEVELOPMENT_SEED)?;
    Some(signed)
}

/// Adds the signature of the release key with this number, by its Ed25519 seed; one that it made before gives way.
pub fn add_signature(signed: &mut SignedRelease, key: u8, seed: &[u8; 32]) -> Option<()> {
    let pair = Ed25519KeyPair::from_seed_unchecked(seed).ok()?;
    let signature = pair.sign(&signed.release.signed_bytes()).as_ref().try_into().ok()?;
    signed.signatures.retain(|(by, _)| *by != key);
    signed.signatures.try_push((key, signature)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_present_release_is_what_a_development_genesis_approves() {
        assert_eq!(measurement(RELEASE), development::MEASUREMENT);
        assert_ne!(measurement(RELEASE + 1), measurement(RELEASE));
        assert_ne!(measurement(RELEASE + 1), measurement(RELEASE + 2));
    }
}
