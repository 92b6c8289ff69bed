//! The files that are held, at most 150 bytes each, and 48 for each segment but the first.
//!
//! They stand in a list whose order follows from the log alone (a deletion moves the last into the gap), because what a
//! check draws must be the same after a restart.

use std::collections::BTreeSet;

use codec::{Decode, Encode};
use crust_protocol::{
    Slot,
    order::{OrderId, PRIVATE},
};

use crate::{
    log::StateKey,
    rpc::{Error, FileInfo, Sample},
    seal::{self, CHUNK_BYTES, Opener, Salt, chunks},
};

/// Bit of [`File::marks`]: a receipt was made.
const RECEIPT: u8 = 0x80;
/// Bit of [`File::marks`]: given up.
const LOST: u8 = 0x40;

/// Gaps among the salts of further segments that are not worth moving the others for.
const FEW_GAPS: usize = 1_024;

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
    /// Where the salts of its further segments begin.
    #[codec(skip)]
    further: u32,
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

    /// Segments of so many chunks after the first.
    fn further_segments(&self, segment: u64) -> usize {
        let further = chunks(self.size).saturating_sub(1).checked_div(segment).unwrap_or_default();
        usize::try_from(further).unwrap_or(usize::MAX)
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

/// Where a file is: the first bytes of its order, and its position in the list, big-endian. Without padding, for there is
/// one a file. Nobody can choose so many first bytes of an order's id often enough to make a search slow.
type Entry = ([u8; 6], [u8; 4]);

/// All files.
pub(crate) struct Files {
    /// Chunks in a segment.
    segment: u64,
    list: Vec<File>,
    index: BTreeSet<Entry>,
    /// Salts of the second and later segments, those of a file one after the other.
    further: Vec<Salt>,
    /// How many of those are of files that went.
    gaps: usize,
    /// Bytes of all files that are not lost.
    bytes: u64,
}

impl Files {
    /// None yet, with so many chunks in a segment.
    pub fn new(segment: u64) -> Self {
        Files { segment, list: Vec::new(), index: BTreeSet::new(), further: Vec::new(), gaps: 0, bytes: 0 }
    }

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
            let marks = flags & PRIVATE;
            self.push(File { order, salt: *salt, tree, written, size, marks, disk, further: 0 }, further);
        }
    }

    /// Adds a file behind the others: a new one, or the next of a snapshot.
    pub fn push(&mut self, mut file: File, further: &[Salt]) {
        let (Ok(position), Ok(begin)) = (u32::try_from(self.list.len()), u32::try_from(self.further.len())) else {
            return;
        };
        file.further = begin;
        // As many as its size says, so that the next file's are not taken for its own.
        let salts = further.iter().copied().chain(std::iter::repeat([0; 32]));
        self.further.extend(salts.take(file.further_segments(self.segment)));
        self.index.insert(entry(&file.order, position));
        if !file.is_lost() {
            self.bytes = self.bytes.saturating_add(file.size);
        }
        self.list.push(file);
    }

    /// All files in their order, from one on, each with the salts of its further segments.
    pub fn all(&self, from: usize) -> impl Iterator<Item = (&File, &[Salt])> {
        self.list.iter().skip(from).map(|file| (file, self.further_of(file)))
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
            self.index.remove(&entry(&moved.order, from));
            self.index.remove(&entry(order, to));
            if from != to {
                self.index.insert(entry(&moved.order, to));
            }
        }
        let file = self.list.swap_remove(position);
        self.gaps = self.gaps.saturating_add(file.further_segments(self.segment));
        if self.gaps > FEW_GAPS.max(self.further.len() / 4) {
            self.close_gaps();
        }
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
        let before = chunk.checked_div(self.segment).unwrap_or_default();
        let salts = [file.salt].into_iter().chain(self.further_of(file).iter().copied());
        let salts = salts.skip(usize::try_from(before).unwrap_or(usize::MAX));
        Opener::new(*order, file.size, (chunk, self.segment), salts, state_key)
    }

    /// The salts of all segments of a file.
    pub fn salts(&self, order: &OrderId) -> Option<Vec<Salt>> {
        let file = self.held(order)?;
        Some([file.salt].into_iter().chain(self.further_of(file).iter().copied()).collect())
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
        for (prefix, position) in self.index.range(entry(after.unwrap_or(&[0; 32]), 0)..) {
            // Ids with the same first bytes stay together.
            if full_at.is_some_and(|last| last != *prefix) {
                break;
            }
            let file = self.at(*position);
            page.extend(file.filter(|file| after.is_none_or(|after| file.order > *after)).map(File::info));
            if page.len() >= limit {
                full_at = Some(*prefix);
            }
        }
        page.sort_by_key(|file| file.order);
        page
    }

    fn further_of(&self, file: &File) -> &[Salt] {
        let begin = usize::try_from(file.further).unwrap_or(usize::MAX);
        self.further.get(begin..begin.saturating_add(file.further_segments(self.segment))).unwrap_or_default()
    }

    /// Moves the salts of further segments together.
    fn close_gaps(&mut self) {
        let mut closed = Vec::with_capacity(self.further.len().saturating_sub(self.gaps));
        for position in 0..self.list.len() {
            let begin = u32::try_from(closed.len()).unwrap_or(u32::MAX);
            closed.extend_from_slice(self.list.get(position).map(|file| self.further_of(file)).unwrap_or_default());
            if let Some(file) = self.list.get_mut(position) {
                file.further = begin;
            }
        }
        (self.further, self.gaps) = (closed, 0);
    }

    fn position(&self, order: &OrderId) -> Option<usize> {
        let mut same = self.index.range(entry(order, 0)..=entry(order, u32::MAX));
        let (_, position) = same.find(|entry| self.at(entry.1).is_some_and(|file| file.order == *order))?;
        usize::try_from(u32::from_be_bytes(*position)).ok()
    }

    fn at(&self, position: [u8; 4]) -> Option<&File> {
        self.list.get(usize::try_from(u32::from_be_bytes(position)).ok()?)
    }
}

fn entry(order: &OrderId, position: u32) -> Entry {
    (order.first_chunk().copied().unwrap_or_default(), position.to_be_bytes())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use std::collections::BTreeMap;

    use super::*;
    use proptest::prelude::*;

    /// Files of several segments come and go: each keeps its own salts, and what the salts take stays in bounds.
    #[test]
    fn further_segments_keep_their_salts_in_little_memory() {
        let mut files = Files::new(2);
        let order = |number: u32| -> OrderId { blake3::hash(&number.to_le_bytes()).into() };
        let salts = |number: u32| -> Vec<Salt> {
            let salt = |segment: u32| *blake3::hash(&[number.to_le_bytes(), segment.to_le_bytes()].concat()).as_bytes();
            (0..1 + number % 4).map(salt).collect()
        };
        let segment = 2 * CHUNK_BYTES;
        let (mut held, mut most) = (Vec::new(), 0);
        for number in 0..20_000u32 {
            let salts = &salts(number);
            let size = segment * (salts.len() as u64 - 1) + 1 + u64::from(number);
            files.insert(New { order: order(number), size, flags: 0, salts, tree: None, disk: 0, written: 1 });
            held.push(number);
            if number % 3 == 2 {
                let gone = held.swap_remove(number as usize % held.len());
                assert_eq!(files.remove(&order(gone)), Some(false));
            }
            let further = files.further.len() - files.gaps;
            most = most.max((files.further.len() * size_of::<Salt>()).checked_div(further).unwrap_or(0));
            if number == 9_999 {
                // Early on a few gaps are a large part.
                most = 0;
            }
        }
        assert!(most <= 48, "{most} bytes a further segment");
        for number in &held {
            assert_eq!(files.salts(&order(*number)).unwrap(), salts(*number));
        }
        let mut again = Files::new(2);
        for (file, further) in files.all(0) {
            again.push(file.clone(), further);
        }
        assert!(held.iter().all(|number| again.salts(&order(*number)) == files.salts(&order(*number))));
    }

    proptest! {
        /// Against a plain map, with many ids whose first bytes are the same.
        #[test]
        fn list_and_index_agree(steps in proptest::collection::vec((0u8..3, 0u8..4, 0u8..6), 1..200)) {
            let (mut files, mut twin) = (Files::new(2), BTreeMap::new());
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
