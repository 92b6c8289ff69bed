//! Audits: one chunk of a file's stream, and the proof that the client's audit root commits to it.
//!
//! The audit root is BLAKE3 of the stream, and BLAKE3 is a tree: chunks of 1 KiB are its leaves, the left part of every
//! node is the largest power of two of chunks that leaves something to the right. So a chunk and one hash for each level
//! prove the chunk, whoever keeps them. Source: BLAKE3 specification, sections 2.1 and 2.4; `blake3::hazmat`.

use alloc::vec::Vec;

use blake3::{
    Hasher,
    hazmat::{HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root},
};

use crate::{Hash, statement::Answer};

/// Bytes of a chunk; the last of a stream may have fewer.
pub const CHUNK: u64 = 1_024;
/// Bytes of a group: below it the tree is made anew from the bytes, above it a node keeps it.
pub const GROUP: u64 = 16 * CHUNK;

/// A part of the stream that is a subtree of its own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Subtree {
    /// Its first chunk.
    pub first: u64,
    /// Chunks in it, at least one.
    pub chunks: u64,
}

/// Chunks of a stream of `size` bytes: an empty one has one chunk, of no bytes.
pub fn chunks(size: u64) -> u64 {
    size.div_ceil(CHUNK).max(1)
}

/// Where a chunk begins in the stream, and how many bytes it has; `None` if the stream has no such chunk.
pub fn range(size: u64, chunk: u64) -> Option<(u64, u64)> {
    let start = chunk.checked_mul(CHUNK)?;
    (chunk < chunks(size)).then(|| (start, size.saturating_sub(start).min(CHUNK)))
}

/// The subtrees whose hashes lead from a chunk to the root of `size` bytes, from the chunk upwards. At most one a level:
/// 33 for 8 TiB.
pub fn siblings(size: u64, chunk: u64) -> Vec<Subtree> {
    let mut node = Subtree { first: 0, chunks: chunks(size) };
    let mut path = Vec::new();
    while node.chunks > 1 {
        let left = left(node.chunks);
        let right = node.chunks.saturating_sub(left);
        let middle = node.first.saturating_add(left);
        let (own, sibling) = match chunk < middle {
            true => (Subtree { chunks: left, ..node }, Subtree { first: middle, chunks: right }),
            false => (Subtree { first: middle, chunks: right }, Subtree { chunks: left, ..node }),
        };
        path.push(sibling);
        node = own;
    }
    path.reverse();
    path
}

/// The hash of a subtree that is not the whole stream, from its bytes.
pub fn subtree(first: u64, bytes: &[u8]) -> Hash {
    Hasher::new().set_input_offset(first.saturating_mul(CHUNK)).update(bytes).finalize_non_root()
}

/// The hash of a subtree that is not the whole stream, from those of its two parts.
pub fn parent(left: &Hash, right: &Hash) -> Hash {
    merge_subtrees_non_root(left, right, Mode::Hash)
}

/// The audit root from the hashes of the stream's two parts.
pub fn root(left: &Hash, right: &Hash) -> Hash {
    *merge_subtrees_root(left, right, Mode::Hash).as_bytes()
}

/// Whether an answer is this chunk of the stream of `size` bytes under the audit root.
pub fn verify(audit_root: &Hash, size: u64, chunk: u64, answer: &Answer) -> bool {
    let Some((_, length)) = range(size, chunk) else { return false };
    if u64::try_from(answer.bytes.len()) != Ok(length) {
        return false;
    }
    let siblings = siblings(size, chunk);
    if siblings.len() != answer.path.len() {
        return false;
    }
    let Some(((last, below), top)) = siblings.split_last().zip(answer.path.last()) else {
        return blake3::hash(&answer.bytes).as_bytes() == audit_root;
    };
    let mut hash = subtree(chunk, &answer.bytes);
    for (sibling, other) in below.iter().zip(&answer.path) {
        hash = if sibling.first > chunk { parent(&hash, other) } else { parent(other, &hash) };
    }
    let found = if last.first > chunk { root(&hash, top) } else { root(top, &hash) };
    found == *audit_root
}

/// Chunks in the left part of a subtree of more than one: the largest power of two that leaves some to the right.
fn left(chunks: u64) -> u64 {
    let shift = u64::BITS.saturating_sub(chunks.saturating_sub(1).leading_zeros()).saturating_sub(1);
    1u64.checked_shl(shift).unwrap_or(1)
}

#[cfg(test)]
#[path = "audit_tests.rs"]
mod tests;
