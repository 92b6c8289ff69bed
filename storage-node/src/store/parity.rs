//! Parity: what mends a bad sector before anybody has to know of it.
//!
//! Beside a sealed file lies `<order>.parity`. It sees the file as pieces of [`PIECE`] bytes, which are its sealed chunks,
//! in windows of 4,096. Within a window every 64 pieces, taken at equal distances so that damage in one place falls into
//! many groups, have one piece of parity, their XOR. A piece is known to be bad by its check, the head of its BLAKE3, or
//! because it cannot be read; one bad piece a group is mended from the others, checked, and written back. A check that
//! is damaged itself is told by its group, and set right.
//!
//! The enclave knows nothing of it: what is mended has to convince it like anything else. A parity file that is damaged
//! itself can only fail to mend. Layout: `"CRUSTPY1" ‖ length of the file u64`, then for each window the checks of its
//! pieces, 8 bytes each, and the pieces of parity.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::FileExt,
    path::Path,
};

use super::sealed::STRIDE;

/// Bytes of a piece; the last of a file may have fewer.
pub const PIECE: u64 = STRIDE;
/// Pieces that share a piece of parity, at most.
const GROUP: u64 = 64;
/// Pieces of a window.
const WINDOW: u64 = GROUP * GROUP;
const VERSION: &[u8; 8] = b"CRUSTPY1";
const HEAD: u64 = 16;
const CHECK: u64 = 8;

type Check = [u8; 8];

/// Where things are for a file of some length.
#[derive(Clone, Copy)]
struct Layout {
    length: u64,
}

impl Layout {
    fn pieces(self) -> u64 {
        self.length.div_ceil(PIECE)
    }

    /// Bytes of a piece.
    fn piece(self, piece: u64) -> u64 {
        self.length.saturating_sub(piece.saturating_mul(PIECE)).min(PIECE)
    }

    /// Pieces in a window.
    fn in_window(self, window: u64) -> u64 {
        self.pieces().saturating_sub(window.saturating_mul(WINDOW)).min(WINDOW)
    }

    fn groups(self, window: u64) -> u64 {
        self.in_window(window).div_ceil(GROUP)
    }

    /// Bytes of a window's pieces of parity: as many as its longest piece.
    fn parity(self, window: u64) -> u64 {
        self.piece(window.saturating_mul(WINDOW))
    }

    /// Where a window's part of the parity file begins.
    fn start(self, window: u64) -> u64 {
        HEAD.saturating_add(window.saturating_mul(WINDOW * CHECK + GROUP * PIECE))
    }

    /// Bytes of the parity file.
    fn total(self) -> u64 {
        let window = self.pieces().saturating_sub(1) / WINDOW;
        let parity = self.groups(window).saturating_mul(self.parity(window));
        self.start(window).saturating_add(self.in_window(window).saturating_mul(CHECK)).saturating_add(parity)
    }

    fn check_at(self, piece: u64) -> u64 {
        self.start(piece / WINDOW).saturating_add((piece % WINDOW).saturating_mul(CHECK))
    }

    fn parity_at(self, window: u64, group: u64) -> u64 {
        let checks = self.in_window(window).saturating_mul(CHECK);
        self.start(window).saturating_add(checks).saturating_add(group.saturating_mul(self.parity(window)))
    }

    /// The pieces that share parity with a piece, that one included.
    fn group_of(self, piece: u64) -> (u64, impl Iterator<Item = u64>) {
        let window = piece / WINDOW;
        let first = window.saturating_mul(WINDOW);
        let groups = self.groups(window).max(1);
        let group = piece.saturating_sub(first).checked_rem(groups).unwrap_or_default();
        let end = first.saturating_add(self.in_window(window));
        let step = usize::try_from(groups).unwrap_or(usize::MAX);
        (group, (first.saturating_add(group)..end).step_by(step))
    }
}

/// Bytes on disk of the parity of a file of this length.
pub fn length(length: u64) -> u64 {
    Layout { length }.total()
}

/// Bytes of the parity file when so many of the file are taken, a whole number of windows.
pub fn written(length: u64, taken: u64) -> u64 {
    Layout { length }.start(taken / (WINDOW * PIECE)).min(Layout { length }.total())
}

/// Makes the parity of a file while it is written, in about 4 MiB of memory.
pub struct Builder {
    layout: Layout,
    /// Bytes taken so far.
    taken: u64,
    hasher: blake3::Hasher,
    checks: Vec<u8>,
    groups: Vec<Vec<u8>>,
}

impl Builder {
    /// For a file that will have `length` bytes.
    pub fn new(length: u64) -> Self {
        let layout = Layout { length };
        Builder { layout, taken: 0, hasher: blake3::Hasher::new(), checks: Vec::new(), groups: Vec::new() }
    }

    /// For one of which the first bytes, a whole number of windows, were taken before.
    pub fn after(length: u64, taken: u64) -> Self {
        Builder { taken, ..Self::new(length) }
    }

    /// The first bytes of the parity file.
    pub fn head(&self) -> Vec<u8> {
        [VERSION.as_slice(), &self.layout.length.to_le_bytes()].concat()
    }

    /// Takes the next bytes of the file; what comes next in the parity file, each time a window is complete.
    pub fn take(&mut self, mut bytes: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        while !bytes.is_empty() {
            let piece = self.taken / PIECE;
            let (from, end) = (self.taken % PIECE, self.layout.piece(piece));
            // What goes beyond the length that was said belongs to no piece.
            let room = usize::try_from(end.saturating_sub(from)).unwrap_or_default();
            let (now, later) = bytes.split_at_checked(room).unwrap_or((bytes, &[]));
            if now.is_empty() {
                break;
            }
            self.absorb(piece, from, now);
            bytes = later;
            self.taken = self.taken.saturating_add(len(now));
            if from.saturating_add(len(now)) == end {
                self.end_piece(piece, &mut out);
            }
        }
        out
    }

    fn absorb(&mut self, piece: u64, from: u64, bytes: &[u8]) {
        let window = piece / WINDOW;
        if self.groups.is_empty() {
            let parity = usize::try_from(self.layout.parity(window)).unwrap_or_default();
            self.groups = (0..self.layout.groups(window)).map(|_| vec![0; parity]).collect();
        }
        let (group, _) = self.layout.group_of(piece);
        let group = usize::try_from(group).ok().and_then(|group| self.groups.get_mut(group));
        let from = usize::try_from(from).unwrap_or(usize::MAX);
        xor(group.and_then(|group| group.get_mut(from..)).unwrap_or_default(), bytes);
        self.hasher.update(bytes);
    }

    fn end_piece(&mut self, piece: u64, out: &mut Vec<u8>) {
        self.checks.extend(head(&self.hasher.finalize()));
        self.hasher.reset();
        let next = piece.saturating_add(1);
        if next.is_multiple_of(WINDOW) || next == self.layout.pieces() {
            out.append(&mut self.checks);
            for group in self.groups.drain(..) {
                out.extend_from_slice(&group);
            }
        }
    }
}

/// What was read of a file, mended where that was needed and possible.
pub struct Read {
    pub bytes: Vec<u8>,
    /// Pieces that were mended.
    pub mended: Vec<u64>,
}

/// Reads `count` pieces from `first` on, as far as the file goes, and mends those that are bad. What can be neither
/// verified nor mended comes as it is, and as zeros where it cannot be read and more follows: whoever opens it will say
/// so. What is mended is written back to the file that was opened, whatever stands under its name by now.
pub fn read(file: &File, parity: &Path, first: u64, count: u64) -> io::Result<Read> {
    let length = file.metadata()?.len();
    // A parity file that cannot be read mends nothing, and stops nothing.
    let parity = open(parity).ok().flatten();
    let pieces = length.div_ceil(PIECE).max(parity.as_ref().map_or(0, |(_, layout)| layout.pieces()));
    let mut read = Read { bytes: Vec::new(), mended: Vec::new() };
    for piece in first..first.saturating_add(count).min(pieces) {
        let before = piece.saturating_sub(first).saturating_mul(PIECE);
        // One before it is short, which only the last may be.
        read.bytes.resize(usize::try_from(before).map_err(io::Error::other)?, 0);
        let found = exactly(file, piece.saturating_mul(PIECE), Layout { length }.piece(piece));
        let mended = match &parity {
            Some((parity, layout)) if piece < layout.pieces() => {
                verified(file, parity, *layout, piece, found.as_deref())
            }
            _ => None,
        };
        match mended {
            Some(mended) => {
                read.bytes.extend_from_slice(&mended);
                read.mended.push(piece);
            }
            None => read.bytes.extend_from_slice(&found.unwrap_or_default()),
        }
    }
    Ok(read)
}

/// A piece that is not what it was and could be mended, as it was.
fn verified(file: &File, parity: &File, layout: Layout, piece: u64, found: Option<&[u8]>) -> Option<Vec<u8>> {
    let check = check_of(parity, layout, piece)?;
    if found.is_some_and(|found| head(&blake3::hash(found)) == check) {
        return None;
    }
    let others = by_the_others(file, parity, layout, piece)?;
    if found == Some(others.as_slice()) {
        // The check is what was damaged: set right, or each look at the piece would cost the whole group.
        write_back(parity, &head(&blake3::hash(&others)), layout.check_at(piece), piece);
        return None;
    }
    if head(&blake3::hash(&others)) != check {
        return None;
    }
    write_back(file, &others, piece.saturating_mul(PIECE), piece);
    Some(others)
}

/// A piece as the others of its group say that it was.
fn by_the_others(file: &File, parity: &File, layout: Layout, piece: u64) -> Option<Vec<u8>> {
    let (group, members) = layout.group_of(piece);
    let window = piece / WINDOW;
    let mut bytes = exactly(parity, layout.parity_at(window, group), layout.parity(window))?;
    for member in members.filter(|member| *member != piece) {
        xor(&mut bytes, &piece_of(file, layout, member)?);
    }
    bytes.truncate(usize::try_from(layout.piece(piece)).ok()?);
    Some(bytes)
}

/// What cannot be written back is mended again next time.
fn write_back(file: &File, bytes: &[u8], offset: u64, piece: u64) {
    if let Err(error) = file.write_all_at(bytes, offset) {
        tracing::warn!(piece, "what was mended cannot be written back: {error}");
    }
}

/// Opens a file for reading, and for writing if that is possible: on a disk that takes nothing any more its files are
/// still read.
pub fn open_to_mend(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).write(true).open(path).or_else(|error| match error.kind() {
        io::ErrorKind::NotFound => Err(error),
        _ => File::open(path),
    })
}

/// The parity file, if it is one.
fn open(path: &Path) -> io::Result<Option<(File, Layout)>> {
    let parity = match open_to_mend(path) {
        Ok(parity) => parity,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let head = exactly(&parity, 0, HEAD);
    let length = head.as_ref().and_then(|head| head.strip_prefix(VERSION)).and_then(|length| length.try_into().ok());
    Ok(length.map(|length| (parity, Layout { length: u64::from_le_bytes(length) })))
}

fn piece_of(file: &File, layout: Layout, piece: u64) -> Option<Vec<u8>> {
    exactly(file, piece.saturating_mul(PIECE), layout.piece(piece))
}

fn check_of(parity: &File, layout: Layout, piece: u64) -> Option<Check> {
    exactly(parity, layout.check_at(piece), CHECK)?.try_into().ok()
}

/// Bytes that can be read, all of them.
fn exactly(file: &File, offset: u64, length: u64) -> Option<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(length).ok()?];
    file.read_exact_at(&mut bytes, offset).ok()?;
    Some(bytes)
}

fn head(hash: &blake3::Hash) -> Check {
    let [a, b, c, d, e, f, g, h, ..] = *hash.as_bytes();
    [a, b, c, d, e, f, g, h]
}

/// In words of eight bytes: every byte of a file passes here.
fn xor(to: &mut [u8], from: &[u8]) {
    let both = to.len().min(from.len());
    let (to, from) = (to.get_mut(..both).unwrap_or_default(), from.get(..both).unwrap_or_default());
    let ((to_words, to_rest), (from_words, from_rest)) = (to.as_chunks_mut::<8>(), from.as_chunks::<8>());
    for (to, from) in to_words.iter_mut().zip(from_words) {
        *to = (u64::from_ne_bytes(*to) ^ u64::from_ne_bytes(*from)).to_ne_bytes();
    }
    to_rest.iter_mut().zip(from_rest).for_each(|(to, from)| *to ^= from);
}

fn len(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "parity_tests.rs"]
mod tests;
