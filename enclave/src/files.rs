//! The files that are held, at most 150 bytes each.
//!
//! They stand in a list whose order follows from the log alone (a deletion moves the last into the gap), because what a
//! check draws must be the same after a restart.

use std::collections::{BTreeMap, BTreeSet};

use codec::{Decode, Encode};
use crust_protocol::{
    Slot,
    order::{OrderId, PRIVATE},
};

use crate::{
    log::StateKey,
    rpc::{Error, FileInfo, Sample},
    seal::{self, CHUNK_BYTES, Opener, SEGMENT_CHUNKS, Salt, chunks},
};

/// Bit of [`File::marks`]: a receipt was made.
const RECEIPT: u8 = 0x80;
/// Bit of [`File::marks`]: given up.
const LOST: u8 = 0x40;

/// One file.
#[derive(Clone, Encode, Decode)]
pub(crate) struct File {
    order: OrderId,
    /// Of the first segment.
    salt: Salt,
    /// Of the hash tree, if there is one.
    tree: Option<Salt>,
    /// When all of it was written or read last.
    written: Slot,
    size: u64,
    /// The order's flags, and what became of the file.
    marks: u8,
    /// The number of the disk on which it lies, as the host says.
    disk: u8,
}

/// A file that is to be added.
pub(crate) struct New<'a> {
    pub order: OrderId,
    pub size: u64,
    pub flags: u8,
    pub salts: &'a [Salt],
    pub tree: Option<Salt>,
    pub disk: u8,
    pub written: Slot,
}

impl File {
    pub fn order(&self) -> OrderId {
        self.order
    }

    pub fn size(&self) -> u64 {
        self.size
    }

    pub fn disk(&self) -> u8 {
        self.disk
    }

    pub fn written(&self) -> Slot {
        self.written
    }

    /// Whether it counts: is not lost, and has bytes.
    pub fn counts(&self) -> bool {
        !self.is_lost() && self.size > 0
    }

    pub fn has_receipt(&self) -> bool {
        self.marks & RECEIPT != 0
    }

    pub fn is_lost(&self) -> bool {
        self.marks & LOST != 0
    }

    pub fn is_private(&self) -> bool {
        self.marks & PRIVATE != 0
    }

    pub fn info(&self) -> FileInfo {
        FileInfo {
            order: self.order,
            size: self.size,
            chunks: chunks(self.size),
            receipt_signed: self.has_receipt(),
            lost: self.is_lost(),
        }
    }
}

/// All files.
#[derive(Default)]
pub(crate) struct Files {
    list: Vec<File>,
    /// (first 8 bytes of the order, position in the list)
    index: BTreeSet<(u64, u32)>,
    /// Salts of the second and later segments.
    further: BTreeMap<OrderId, Vec<Salt>>,
    /// Bytes of all files that are not lost.
    bytes: u64,
}

impl Files {
    pub fn count(&self) -> u64 {
        u64::try_from(self.list.len()).unwrap_or(u64::MAX)
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    pub fn get(&self, order: &OrderId) -> Option<&File> {
        self.list.get(self.position(order)?)
    }

    /// The file, unless it is lost.
    pub fn held(&self, order: &OrderId) -> Option<&File> {
        self.get(order).filter(|file| !file.is_lost())
    }

    /// Adds a file. One of the same order, which is then a lost one, gives way.
    pub fn insert(&mut self, new: New<'_>) {
        self.remove(&new.order);
        if let Some((salt, further)) = new.salts.split_first() {
            let New { order, size, flags, tree, disk, written, .. } = new;
            self.push(File { order, salt: *salt, tree, written, size, marks: flags & PRIVATE, disk }, further.to_vec());
        }
    }

    /// Adds a file behind the others: a new one, or the next of a snapshot.
    pub fn push(&mut self, file: File, further: Vec<Salt>) {
        let Ok(position) = u32::try_from(self.list.len()) else { return };
        if !further.is_empty() {
            self.further.insert(file.order, further);
        }
        self.index.insert((prefix(&file.order), position));
        if !file.is_lost() {
            self.bytes = self.bytes.saturating_add(file.size);
        }
        self.list.push(file);
    }

    /// All files in their order, from one on, each with the salts of its further segments.
    pub fn all(&self, from: usize) -> impl Iterator<Item = (&File, &[Salt])> {
        let further = |file: &File| self.further.get(&file.order).map(Vec::as_slice).unwrap_or_default();
        self.list.iter().skip(from).map(move |file| (file, further(file)))
    }

    /// All files in their order.
    pub fn iter(&self) -> impl Iterator<Item = &File> {
        self.list.iter()
    }

    /// Takes a file out; whether it had a receipt.
    pub fn remove(&mut self, order: &OrderId) -> Option<bool> {
        let position = self.position(order)?;
        let (from, to) = (u32::try_from(self.list.len()).ok()?.checked_sub(1)?, u32::try_from(position).ok()?);
        if let Some(moved) = self.list.last() {
            self.index.remove(&(prefix(&moved.order), from));
            self.index.remove(&(prefix(order), to));
            if from != to {
                self.index.insert((prefix(&moved.order), to));
            }
        }
        let file = self.list.swap_remove(position);
        self.further.remove(order);
        if !file.is_lost() {
            self.bytes = self.bytes.saturating_sub(file.size);
        }
        Some(file.has_receipt())
    }

    /// Marks a file as given up; whether it had a receipt.
    pub fn lose(&mut self, order: &OrderId) -> Option<bool> {
        let position = self.position(order)?;
        let file = self.list.get_mut(position)?;
        if !file.is_lost() {
            file.marks |= LOST;
            self.bytes = self.bytes.saturating_sub(file.size);
        }
        Some(file.has_receipt())
    }

    pub fn mark_receipt(&mut self, order: &OrderId) {
        if let Some(file) = self.position(order).and_then(|position| self.list.get_mut(position)) {
            file.marks |= RECEIPT;
        }
    }

    /// The chunks that hold these bytes, counted over all files one after the other; `offsets` ascend.
    pub fn draw(&self, offsets: &[u64]) -> Vec<Sample> {
        let mut draw = Vec::with_capacity(offsets.len());
        let (mut begin, mut offsets) = (0u64, offsets.iter().peekable());
        for file in self.list.iter().filter(|file| !file.is_lost()) {
            let end = begin.saturating_add(file.size);
            while let Some(offset) = offsets.next_if(|offset| **offset < end) {
                let chunk = offset.saturating_sub(begin) / CHUNK_BYTES;
                draw.push(Sample::File { order: file.order, chunk });
            }
            begin = end;
            if offsets.peek().is_none() {
                break;
            }
        }
        draw
    }

    /// What opens a file's chunks, from one of them on.
    pub fn opener(&self, order: &OrderId, chunk: u64, state_key: &StateKey) -> Result<Opener, Error> {
        let file = self.held(order).ok_or(Error::NotSealed { order: *order })?;
        let further = self.further.get(order).map(Vec::as_slice).unwrap_or_default();
        let segment = usize::try_from(chunk / SEGMENT_CHUNKS).unwrap_or(usize::MAX);
        let salts = [file.salt].into_iter().chain(further.iter().copied()).skip(segment);
        Opener::new(*order, file.size, chunk, salts, state_key)
    }

    /// The salts of all segments of a file.
    pub fn salts(&self, order: &OrderId) -> Option<Vec<Salt>> {
        let further = self.further.get(order).map(Vec::as_slice).unwrap_or_default();
        Some([self.held(order)?.salt].into_iter().chain(further.iter().copied()).collect())
    }

    /// Gives a file another hash tree.
    pub fn set_tree(&mut self, order: &OrderId, tree: Option<Salt>) {
        if let Some(file) = self.position(order).and_then(|position| self.list.get_mut(position)) {
            file.tree = tree;
        }
    }

    /// Opens a sealed node of a file's hash tree.
    pub fn open_node(&self, order: &OrderId, node: u64, sealed: &[u8], key: &StateKey) -> Result<Vec<u8>, Error> {
        let file = self.held(order).ok_or(Error::NotSealed { order: *order })?;
        let salt = file.tree.as_ref().ok_or(Error::DamagedTree { node })?;
        seal::open_node(order, file.size, node, salt, key, sealed.to_vec())
    }

    /// All of a file was read, and was good.
    pub fn mark_read(&mut self, order: &OrderId, slot: Slot) {
        if let Some(file) = self.position(order).and_then(|position| self.list.get_mut(position)) {
            file.written = file.written.max(slot);
        }
    }

    /// The slot shown when the oldest byte was written or read.
    pub fn oldest(&self) -> Option<Slot> {
        self.list.iter().filter(|file| file.counts()).map(|file| file.written).min()
    }

    /// A lower slot was shown.
    pub fn pull_down(&mut self, slot: Slot) {
        for file in &mut self.list {
            file.written = file.written.min(slot);
        }
    }

    /// Files in the order of their ids, those after one of them.
    pub fn list(&self, after: Option<&OrderId>, limit: usize) -> Vec<FileInfo> {
        let mut page = Vec::new();
        let mut full_at = None;
        for (prefix, position) in self.index.range((after.map_or(0, prefix), 0)..) {
            // Ids with the same first bytes stay together.
            if full_at.is_some_and(|last| last != *prefix) {
                break;
            }
            let file = usize::try_from(*position).ok().and_then(|position| self.list.get(position));
            page.extend(file.filter(|file| after.is_none_or(|after| file.order > *after)).map(File::info));
            if page.len() >= limit {
                full_at = Some(*prefix);
            }
        }
        page.sort_by_key(|file| file.order);
        page
    }

    fn position(&self, order: &OrderId) -> Option<usize> {
        let prefix = prefix(order);
        let mut same = self.index.range((prefix, 0)..=(prefix, u32::MAX));
        same.find_map(|(_, position)| {
            let position = usize::try_from(*position).ok()?;
            self.list.get(position).is_some_and(|file| file.order == *order).then_some(position)
        })
    }
}

fn prefix(order: &OrderId) -> u64 {
    order.iter().take(8).fold(0, |prefix, byte| prefix << 8 | u64::from(*byte))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;
    use proptest::prelude::*;

    proptest! {
        /// Against a plain map, with many ids whose first bytes are the same.
        #[test]
        fn list_and_index_agree(steps in proptest::collection::vec((0u8..3, 0u8..4, 0u8..6), 1..200)) {
            let (mut files, mut twin) = (Files::default(), BTreeMap::new());
            for (step, high, low) in steps {
                let mut order = [0; 32];
                (order[0], order[31]) = (high, low);
                match step {
                    0 if !twin.contains_key(&order) => {
                        let (size, salts) = (u64::from(low) + 1, &[[low; 32]]);
                        files.insert(New { order, size, flags: 0, salts, tree: None, disk: 0, written: 3 });
                        twin.insert(order, u64::from(low) + 1);
                    }
                    1 => prop_assert_eq!(files.remove(&order).is_some(), twin.remove(&order).is_some()),
                    _ => prop_assert_eq!(files.get(&order).map(|file| file.size), twin.get(&order).copied()),
                }
                prop_assert_eq!(files.bytes(), twin.values().sum::<u64>());
                prop_assert_eq!(files.index.len(), twin.len());
            }
            let (mut listed, mut after) = (Vec::new(), None);
            loop {
                let page = files.list(after.as_ref(), 2);
                let Some(last) = page.last() else { break };
                after = Some(last.order);
                listed.extend(page.iter().map(|file| file.order));
            }
            prop_assert_eq!(listed, twin.keys().copied().collect::<Vec<_>>());
        }
    }
}
