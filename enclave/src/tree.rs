//! The hash tree of a file, as it is stored beside the sealed file: what an audit is answered with.
//!
//! The audit root is BLAKE3 of the stream, a tree over chunks of 1 KiB. What lies inside a group of 16 KiB comes of the
//! data itself; above that the tree is stored. Its hashes are grouped by [`FAN`] into nodes: those of the lowest level
//! hold the hashes of groups, those of the next the hashes of 32 MiB, of 64 GiB, and so on up to one node, the top. So a
//! path needs one node a level, two for a file of 1 GiB, and the rest of it is hashed again.
//!
//! Nodes are sealed like chunks of the file, as a segment with a salt of its own, and stand in the order in which they
//! are complete while the stream passes: a node follows the last that it holds the hash of. A file of one group has no
//! tree. [`range`] tells the host where a node stands.

use blake3::{Hasher, hazmat::HasherExt};
use crust_protocol::{
    Hash,
    audit::{self, CHUNK as AUDITED, GROUP},
    statement::Answer,
};

use crate::{
    rpc::Error,
    seal::{CHUNK_BYTES, SEALED_CHUNK, TAG},
};

/// Bytes of the stream under a hash of the lowest level.
const GROUP_LENGTH: usize = GROUP as usize;
/// Bytes of the stream that an audit asks for.
const AUDITED_LENGTH: usize = AUDITED as usize;
/// Hashes in a node: 64 KiB.
const FAN: usize = 2_048;
const FAN_HASHES: u64 = FAN as u64;
const HASH_BYTES: u64 = 32;

/// The levels of a stored tree: hashes on each, lowest first. None if all is in one group.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Shape(Vec<u64>);

/// Where a node stands in the stored tree.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Place {
    /// Nodes before it.
    position: u64,
    /// Bytes before it, sealed.
    offset: u64,
    /// Hashes in it.
    hashes: u64,
}

impl Shape {
    fn of(size: u64) -> Self {
        let mut levels = Vec::new();
        let mut hashes = size.div_ceil(GROUP);
        while hashes > 1 {
            levels.push(hashes);
            hashes = hashes.div_ceil(FAN_HASHES);
        }
        Shape(levels)
    }

    fn is_top(&self, level: usize) -> bool {
        level.saturating_add(1) >= self.0.len()
    }

    /// Nodes of all levels.
    fn nodes(&self) -> u64 {
        self.0.iter().map(|hashes| hashes.div_ceil(FAN_HASHES)).fold(0, u64::saturating_add)
    }

    fn place(&self, level: usize, index: u64) -> Option<Place> {
        let own = *self.0.get(level)?;
        let hashes = own.checked_sub(index.checked_mul(FAN_HASHES)?).filter(|left| *left > 0)?.min(FAN_HASHES);
        let (mut position, mut offset) = (0u64, 0u64);
        for (other, count) in self.0.iter().enumerate() {
            let nodes = count.div_ceil(FAN_HASHES);
            // How many of that level are complete before this one is.
            let before = match level.checked_sub(other) {
                Some(0) => index,
                Some(below) => index.saturating_add(1).saturating_mul(fan(below)?).min(nodes),
                None => index.checked_div(fan(other.checked_sub(level)?)?)?,
            };
            let hashes = before.saturating_mul(FAN_HASHES).min(*count);
            position = position.saturating_add(before);
            offset = offset.saturating_add(sealed(hashes, before));
        }
        Some(Place { position, offset, hashes })
    }

    /// The node at a position.
    fn at(&self, position: u64) -> Option<Place> {
        (0..self.0.len()).find_map(|level| {
            let (mut from, mut to) = (0u64, self.0.get(level)?.div_ceil(FAN_HASHES));
            while from < to {
                let middle = from.midpoint(to);
                let place = self.place(level, middle)?;
                match place.position.cmp(&position) {
                    std::cmp::Ordering::Equal => return Some(place),
                    std::cmp::Ordering::Less => from = middle.saturating_add(1),
                    std::cmp::Ordering::Greater => to = middle,
                }
            }
            None
        })
    }
}

fn fan(levels: usize) -> Option<u64> {
    FAN_HASHES.checked_pow(u32::try_from(levels).ok()?)
}

fn sealed(hashes: u64, nodes: u64) -> u64 {
    let tags = nodes.saturating_mul(u64::try_from(TAG).unwrap_or_default());
    hashes.saturating_mul(HASH_BYTES).saturating_add(tags)
}

/// Nodes in the stored tree of a file.
pub fn nodes(size: u64) -> u64 {
    Shape::of(size).nodes()
}

/// Bytes of the stored tree of a file.
pub fn length(size: u64) -> u64 {
    let shape = Shape::of(size);
    sealed(shape.0.iter().copied().fold(0, u64::saturating_add), shape.nodes())
}

/// Where `count` nodes from number `node` on stand in the stored tree of a file: offset and length in bytes.
pub fn range(size: u64, node: u64, count: u64) -> Option<(u64, u64)> {
    let (shape, last) = (Shape::of(size), node.checked_add(count)?.checked_sub(1)?);
    let (from, to) = (shape.at(node)?, shape.at(last)?);
    let end = to.offset.saturating_add(sealed(to.hashes, 1));
    Some((from.offset, end.checked_sub(from.offset)?))
}

/// What an audit of 1 KiB of a file needs: the number of the sealed chunk that holds it, and those of the nodes.
pub fn needed(size: u64, audited: u64) -> Option<(u64, Vec<u64>)> {
    let (offset, _) = audit::range(size, audited)?;
    let (shape, mut index) = (Shape::of(size), offset / GROUP);
    let nodes = (0..shape.0.len()).map(|level| {
        index /= FAN_HASHES;
        shape.place(level, index).map(|place| place.position)
    });
    Some((offset / CHUNK_BYTES, nodes.collect::<Option<_>>()?))
}

/// Builds a tree while the stream passes. It holds one node a level.
pub(crate) struct Builder {
    shape: Shape,
    levels: Vec<Vec<Hash>>,
    /// Of the group in work.
    hasher: Hasher,
    in_group: usize,
    groups: u64,
}

impl Builder {
    /// For a file of this size. If it turns out to have another, the root is that of another.
    pub fn new(size: u64) -> Self {
        let shape = Shape::of(size);
        let levels = shape.0.iter().map(|_| Vec::new()).collect();
        Builder { shape, levels, hasher: Hasher::new(), in_group: 0, groups: 0 }
    }

    /// Takes the next bytes of the stream; nodes that are complete go to `node`.
    pub fn update(&mut self, mut bytes: &[u8], node: &mut impl FnMut(&[u8]) -> Result<(), Error>) -> Result<(), Error> {
        while !bytes.is_empty() {
            if self.in_group == GROUP_LENGTH {
                self.close_group(node)?;
            }
            let missing = GROUP_LENGTH.saturating_sub(self.in_group).min(bytes.len());
            let (head, tail) = bytes.split_at_checked(missing).unwrap_or((bytes, &[]));
            self.hasher.update(head);
            self.in_group = self.in_group.saturating_add(missing);
            bytes = tail;
        }
        Ok(())
    }

    /// Ends the stream: the last nodes, and the root.
    pub fn finish(mut self, node: &mut impl FnMut(&[u8]) -> Result<(), Error>) -> Result<Hash, Error> {
        if self.groups == 0 {
            return Ok(*self.hasher.finalize().as_bytes());
        }
        self.close_group(node)?;
        let mut root = [0; 32];
        for level in 0..self.levels.len() {
            let hashes = self.levels.get_mut(level).map(std::mem::take).unwrap_or_default();
            if hashes.is_empty() {
                continue;
            }
            node(hashes.as_flattened())?;
            if self.shape.is_top(level) {
                root = merge_to_root(&hashes);
            } else {
                self.push(level.saturating_add(1), merge(&hashes), node)?;
            }
        }
        Ok(root)
    }

    fn close_group(&mut self, node: &mut impl FnMut(&[u8]) -> Result<(), Error>) -> Result<(), Error> {
        let hash = self.hasher.finalize_non_root();
        self.groups = self.groups.saturating_add(1);
        self.hasher = Hasher::new();
        self.hasher.set_input_offset(self.groups.saturating_mul(GROUP));
        self.in_group = 0;
        self.push(0, hash, node)
    }

    fn push(
        &mut self,
        level: usize,
        hash: Hash,
        node: &mut impl FnMut(&[u8]) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let Some(hashes) = self.levels.get_mut(level) else { return Ok(()) };
        hashes.push(hash);
        if hashes.len() < FAN || self.shape.is_top(level) {
            return Ok(());
        }
        let above = merge(hashes);
        node(hashes.as_flattened())?;
        hashes.clear();
        self.push(level.saturating_add(1), above, node)
    }
}

/// Answers for the 1 KiB of number `audited`: out of the group that holds it, and of the nodes above that, lowest first.
/// The bytes must be those that [`needed`] names; of others the answer is a wrong one.
pub(crate) fn answer(size: u64, audited: u64, chunk: &[u8], nodes: &[Vec<u8>]) -> Option<Answer> {
    let (offset, _) = audit::range(size, audited)?;
    let group = usize::try_from((offset % CHUNK_BYTES) / GROUP).ok()?;
    let group = chunk.chunks(GROUP_LENGTH).nth(group).unwrap_or_default();
    let own = usize::try_from((offset % GROUP) / AUDITED).ok()?;
    let bytes = group.chunks(AUDITED_LENGTH).nth(own).unwrap_or_default();
    let first = (offset / GROUP).saturating_mul(GROUP / AUDITED);
    let leaves: Vec<Hash> =
        (first..).zip(group.chunks(AUDITED_LENGTH)).map(|(number, leaf)| audit::subtree(number, leaf)).collect();
    let mut path = Vec::new();
    siblings(&leaves, own, &mut path)?;
    let (shape, mut index) = (Shape::of(size), offset / GROUP);
    for level in 0..shape.0.len() {
        let (hashes, rest) = nodes.get(level)?.as_chunks::<32>();
        let own = usize::try_from(index % FAN_HASHES).ok()?;
        index /= FAN_HASHES;
        if !rest.is_empty() || hashes.len() > FAN {
            return None;
        }
        siblings(hashes, own, &mut path)?;
    }
    Some(Answer { bytes: bytes.to_vec().try_into().ok()?, path: path.try_into().ok()? })
}

/// Adds the hashes beside the way from one of these up to what is above them all.
fn siblings(hashes: &[Hash], own: usize, path: &mut Vec<Hash>) -> Option<()> {
    if hashes.len() <= 1 {
        return (own < hashes.len().max(1)).then_some(());
    }
    let (left, right) = split(hashes);
    let other = match own.checked_sub(left.len()) {
        None => {
            siblings(left, own, path)?;
            right
        }
        Some(own) => {
            siblings(right, own, path)?;
            left
        }
    };
    path.push(merge(other));
    Some(())
}

/// The hash above these, which is not the root.
fn merge(hashes: &[Hash]) -> Hash {
    match hashes {
        [] => [0; 32],
        [one] => *one,
        more => {
            let (left, right) = split(more);
            audit::parent(&merge(left), &merge(right))
        }
    }
}

/// The root above these; there are two at least.
fn merge_to_root(hashes: &[Hash]) -> Hash {
    let (left, right) = split(hashes);
    audit::root(&merge(left), &merge(right))
}

/// To the left the largest power of two that leaves something to the right.
fn split(hashes: &[Hash]) -> (&[Hash], &[Hash]) {
    let left = hashes.len().div_ceil(2).next_power_of_two();
    hashes.split_at_checked(left).unwrap_or((hashes, &[]))
}

/// Whole sealed nodes of a stretch, one after the other: the length of each.
pub(crate) fn lengths(size: u64, node: u64, count: u64) -> impl Iterator<Item = usize> {
    let shape = Shape::of(size);
    (node..node.saturating_add(count)).map_while(move |node| {
        let sealed = sealed(shape.at(node)?.hashes, 1);
        usize::try_from(sealed).ok().filter(|length| *length <= SEALED_CHUNK)
    })
}

#[cfg(test)]
#[path = "tree_tests.rs"]
mod tests;
