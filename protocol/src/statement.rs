//! What an enclave signs, and over which bytes.
//!
//! Every statement continues the enclave's one chain of roots: it is valid only on the root that the chain stores for
//! its node (`prev`), and becomes that root (`root`). The log that the roots come from is the enclave's own affair.

use alloc::vec::Vec;
use bounded_collections::{BoundedVec, ConstU32};
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;

use crate::{Hash, Key, Slot, h, order::OrderId};

/// A signature by an enclave: sr25519, signing context "substrate".
pub type Signature = [u8; 64];

/// Orders that one [`Receipts`] may name.
pub type MaxReceipts = ConstU32<64>;
/// Orders that one [`Gone`] may name.
pub type MaxGone = ConstU32<256>;
/// Bytes of the audited chunk.
pub type MaxAnswerBytes = ConstU32<1_024>;
/// Siblings on the path from the audited chunk to the audit root.
pub type MaxAnswerPath = ConstU32<34>;

/// A statement of one kind: its name is part of what is signed.
pub trait Statement: Encode {
    /// In lower case.
    const KIND: &'static str;
    fn prev(&self) -> Hash;
    fn root(&self) -> Hash;
}

/// "These orders are sealed here."
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct Receipts {
    pub prev: Hash,
    pub root: Hash,
    /// 1 to 64.
    pub orders: BoundedVec<OrderId, MaxReceipts>,
}

/// "These orders are lost or deleted here."
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct Gone {
    pub prev: Hash,
    pub root: Hash,
    /// 1 to 256.
    pub orders: BoundedVec<OrderId, MaxGone>,
}

/// "In this slot I hold this much, and checked it."
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct Report {
    pub prev: Hash,
    pub root: Hash,
    pub slot: Slot,
    /// Of the last block before the slot.
    pub slot_hash: Hash,
    pub filler_bytes: u64,
    /// For display: files without an order weigh nothing.
    pub stored_bytes: u64,
    /// `floor(255 * max(0, 1 - 2 * bad / SAMPLES))` over the sampled filler; 255 if there is none.
    pub good_filler: u8,
    /// The same over the sampled files.
    pub good_files: u8,
    /// The slot shown when the oldest byte held was last written or read.
    pub scrubbed_until: Slot,
    pub audit: Option<Answer>,
}

/// The answer to the node's due draw: 1 KiB of a stream and the siblings up to the audit root, from the leaf upwards.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct Answer {
    pub bytes: BoundedVec<u8, MaxAnswerBytes>,
    pub path: BoundedVec<Hash, MaxAnswerPath>,
}

/// "This enclave may follow me."
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct Heir {
    pub prev: Hash,
    pub root: Hash,
    pub heir: Key,
}

macro_rules! statement {
    ($($kind:ident = $name:literal),*) => {$(
        impl Statement for $kind {
            const KIND: &'static str = $name;
            fn prev(&self) -> Hash {
                self.prev
            }
            fn root(&self) -> Hash {
                self.root
            }
        }
    )*};
}
statement!(Receipts = "receipts", Gone = "gone", Report = "report", Heir = "heir");

/// `"crust/<kind>/v1" ‖ genesis ‖ sign_pk ‖ SCALE(statement)`.
pub fn signed_bytes<S: Statement>(genesis: &Hash, sign_pk: &Key, statement: &S) -> Vec<u8> {
    let mut bytes = Vec::new();
    for part in [b"crust/".as_slice(), S::KIND.as_bytes(), b"/v1", genesis, sign_pk] {
        bytes.extend_from_slice(part);
    }
    statement.encode_to(&mut bytes);
    bytes
}

/// The root of a log that is still empty; the `prev` of an enclave's first statement.
pub fn first_root(sign_pk: &Key) -> Hash {
    h(&[sign_pk])
}

/// The root after a record of the log, in the sealed form in which the host keeps it.
pub fn next_root(root: &Hash, sealed_record: &[u8]) -> Hash {
    h(&[root, sealed_record])
}

/// The share of sampled bytes that is vouched for: `floor(255 * max(0, 1 - 2 * bad / samples))`, 255 without samples.
pub fn good(bad: u32, samples: u32) -> u8 {
    let (bad, samples) = (u64::from(bad), u64::from(samples));
    let vouched = samples.saturating_sub(bad.saturating_mul(2)).saturating_mul(255).checked_div(samples);
    // At most 255 by construction.
    vouched.map_or(u8::MAX, |good| u8::try_from(good).unwrap_or(u8::MAX))
}

#[cfg(test)]
#[path = "statement_tests.rs"]
mod tests;
