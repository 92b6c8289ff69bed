//! An order's identity. The id binds everything that an enclave checks while it seals, so a receipt for it is a receipt
//! for that content.

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;

use crate::{Hash, Key, file::Cid, h};

/// Flag bit 0: the file moves between enclaves and to its readers only.
pub const PRIVATE: u8 = 1;

/// `H(SCALE(Content))`.
pub type OrderId = Hash;

/// What an order is for. The client chooses the nonce; of two live orders no two ids are the same.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct Content {
    pub client: Key,
    pub nonce: u64,
    pub cid: Cid,
    /// Sum of the bytes of the distinct blocks.
    pub size: u64,
    /// BLAKE3 of the stream ([`crate::walk`]).
    pub audit_root: Hash,
    /// [`PRIVATE`] or 0.
    pub flags: u8,
}

impl Content {
    pub fn id(&self) -> OrderId {
        h(&[&self.encode()])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file::{Codec, HashFunction};
    use alloc::string::String;

    #[test]
    fn golden_order_id() {
        let content = Content {
            client: [1; 32],
            nonce: 2,
            cid: Cid::of(Codec::Raw, HashFunction::Sha2_256, b"crust"),
            size: 5,
            audit_root: [7; 32],
            flags: 0,
        };
        let bytes = content.encode();
        assert_eq!(bytes.len(), 32 + 8 + 36 + 8 + 32 + 1);
        // From the definition, with another implementation of both hashes.
        let golden = "0ebc520b7e68c0a617b22ab6c7a3c2c5972d7904f9526a094ca96a803bc24f6d";
        let hex: String = content.id().iter().map(|byte| alloc::format!("{byte:02x}")).collect();
        assert_eq!(hex, golden);
        assert_eq!(Content::decode(&mut &bytes[..]).as_ref(), Ok(&content));
        let other = Content { nonce: 3, ..content.clone() };
        assert_ne!(other.id(), content.id());
    }
}
