//! Releases: which programs may take over a node's key. Whoever builds a release signs its measurement and its number,
//! with keys that are constants of the measured code; a chain, a host or a configuration has no say in it.
//!
//! A release file is the SCALE encoding of a [`SignedRelease`] and nothing else. Files are published with each release;
//! hosts keep them and show them, for their own enclave and for the other one.

use bounded_collections::{BoundedVec, ConstU32};
use codec::{Decode, DecodeWithMemTracking, Encode};
use crust_protocol::attestation::Measurement;
use ring::signature::{ED25519, UnparsedPublicKey};

use crate::rpc::Error;

/// The key that signs development releases; its seed is [`DEVELOPMENT_SEED`], for everyone to use.
pub const DEVELOPMENT_KEY: [u8; 32] = [
    0x7b, 0xbe, 0x8c, 0x46, 0x74, 0xc1, 0x47, 0xe4, 0xf7, 0x20, 0x9a, 0x07, 0xb7, 0x0d, 0x1f, 0xed, 0xad, 0x67, 0xd2,
    0xcb, 0x84, 0x07, 0x6e, 0x1f, 0x92, 0x40, 0x86, 0xf1, 0x35, 0xe2, 0xf3, 0x3a,
];
/// Ed25519 seed of [`DEVELOPMENT_KEY`].
pub const DEVELOPMENT_SEED: [u8; 32] = *b"crust/development-release-key/v1";

/// Who signs releases, and how many must.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ReleaseKeys {
    pub needed: usize,
    /// Ed25519.
    pub keys: &'static [[u8; 32]],
}

/// One program.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking)]
pub struct Release {
    /// Rises from release to release.
    pub number: u32,
    pub measurement: Measurement,
}

impl Release {
    /// `"crust/release/v1" ‖ SCALE(release)`.
    pub fn signed_bytes(&self) -> Vec<u8> {
        [b"crust/release/v1".as_slice(), &self.encode()].concat()
    }
}

/// A release with the signatures of those who made it.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking)]
pub struct SignedRelease {
    pub release: Release,
    /// Each with the number of its key.
    pub signatures: BoundedVec<(u8, [u8; 64]), ConstU32<16>>,
}

impl SignedRelease {
    /// The release, if as many of the keys signed it as must.
    pub fn verify(&self, keys: &ReleaseKeys) -> Result<&Release, Error> {
        let bytes = self.release.signed_bytes();
        let signed = |(number, key): &(usize, &[u8; 32])| {
            let key = UnparsedPublicKey::new(&ED25519, key);
            let mut by = self.signatures.iter().filter(|(by, _)| usize::from(*by) == *number);
            by.any(|(_, signature)| key.verify(&bytes, signature).is_ok())
        };
        let count = keys.keys.iter().enumerate().filter(signed).count();
        if keys.needed > 0 && count >= keys.needed { Ok(&self.release) } else { Err(Error::NotSigned) }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use crust_protocol::development;

    use super::*;

    /// Release files are kept for as long as there are nodes that run older releases: their form does not change.
    #[test]
    fn golden_release_file() {
        let release = Release { number: 7, measurement: development::MEASUREMENT };
        let signatures = vec![(0, [1; 64]), (4, [2; 64])].try_into().unwrap();
        let file = SignedRelease { release, signatures }.encode();
        assert_eq!(file.len(), 4 + 1 + 32 + 2 + 16 + 16 + 4 + 4 + 1 + 2 * 65);
        assert_eq!(file[..5], [7, 0, 0, 0, 0], "number, then the kind of measurement");
        assert_eq!(file[5..37], development::MR_ENCLAVE);
        assert_eq!(file[79..82], [8, 0, 1], "two signatures, each behind the number of its key");
        assert_eq!(SignedRelease::decode(&mut &file[..]).unwrap().encode(), file);
    }
}
