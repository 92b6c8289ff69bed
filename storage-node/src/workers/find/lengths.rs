//! How long a block is whose CID is known and whose bytes begin a stretch of a file's stream. The stream has no marks
//! between blocks: the length is the one at which the hash fits.

use crust_protocol::file::{Cid, HashFunction};
use sha2::Digest as _;

/// The length, if it is one of those that most blocks have: all that is left, or one of `usual`.
pub fn quick(cid: &Cid, bytes: &[u8], usual: impl IntoIterator<Item = usize>) -> Option<usize> {
    let lengths = [bytes.len(), 0].into_iter().chain(usual);
    lengths.into_iter().find(|length| bytes.get(..*length).is_some_and(|bytes| cid.names(bytes)))
}

/// The length, whatever it is: about half a second for the largest block.
pub fn scan(cid: &Cid, bytes: &[u8]) -> Option<usize> {
    let multihash = cid.multihash();
    match multihash.function {
        HashFunction::Sha2_256 => {
            let mut hasher = sha2::Sha256::new();
            each_length(bytes, |byte| {
                hasher.update(byte);
                <[u8; 32]>::from(hasher.clone().finalize()) == multihash.digest
            })
        }
        HashFunction::Blake3 => {
            let mut hasher = blake3::Hasher::new();
            each_length(bytes, |byte| *hasher.update(byte).finalize().as_bytes() == multihash.digest)
        }
    }
}

/// The first length, from 0 on, at which `fits`, which is given one more byte each time.
fn each_length(bytes: &[u8], mut fits: impl FnMut(&[u8]) -> bool) -> Option<usize> {
    if fits(&[]) {
        return Some(0);
    }
    bytes.chunks(1).position(&mut fits).map(|position| position.saturating_add(1))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use crust_protocol::file::Codec;

    #[test]
    fn the_length_is_the_one_at_which_the_hash_fits() {
        let stream: Vec<u8> = (0..9_000_u32).flat_map(u32::to_le_bytes).collect();
        for function in [HashFunction::Sha2_256, HashFunction::Blake3] {
            for length in [0, 1, 63, 64, 65, 1_024, 4_097, stream.len()] {
                let cid = Cid::of(Codec::Raw, function, stream.get(..length).unwrap());
                assert_eq!(scan(&cid, &stream), Some(length));
                assert_eq!(quick(&cid, &stream, [length]), Some(length));
            }
            let other = Cid::of(Codec::Raw, function, b"other bytes");
            assert_eq!((scan(&other, &stream), quick(&other, &stream, [1, 2])), (None, None));
        }
    }
}
