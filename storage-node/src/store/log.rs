//! The enclave's log on disk: the only copy of what the enclave has said and sealed, so nothing is acted upon before it
//! is here for good.
//!
//! A file is eight bytes of version, then one frame a batch: `length u32 ‖ check [u8; 8] ‖ SCALE(Vec<item>)`, the check
//! being the head of H(offset of the frame ‖ payload). A torn tail is cut at the start; damage before the last frame is
//! not a torn tail and stops the start, unless a second copy has the whole. With two places every batch is written to
//! both; the first place is the one that counts.
//!
//! An append that fails is kept and tried again before anything else is appended: the enclave is already past it.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use codec::{Decode, Encode};
use crust_protocol::h;

/// An item of the enclave's log, opaque here.
pub type Item = Vec<u8>;

const VERSION: &[u8; 8] = b"CRUSTLG1";
const HEAD: u64 = 12;
/// Largest payload of a frame. The enclave's own frames are smaller.
const MAX_BATCH: u64 = 64 << 20;

/// What can go wrong with the log.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{0}: not a log of the enclave (or of another version); it is left untouched")]
    Version(PathBuf),
    #[error(
        "{path}: damaged at byte {offset}, before its end. Put back a copy of this file; without it the node cannot \
         speak again. Nothing was changed"
    )]
    Damaged { path: PathBuf, offset: u64 },
}

/// The log, open for appending.
pub struct Log {
    places: Vec<Place>,
    /// Bytes of all good frames, the version included.
    length: u64,
    /// Frames that are still to be written.
    pending: Vec<u8>,
}

struct Place {
    path: PathBuf,
    file: File,
}

impl Log {
    /// Opens the log kept at these paths, the first of which counts; repairs the others from it, and it from another
    /// that has more of the same.
    pub fn open(paths: &[PathBuf]) -> Result<Self, Error> {
        let mut places = Vec::new();
        let mut lengths = Vec::new();
        for path in paths {
            let place = Place::open(path)?;
            let found = place.scan();
            lengths.push(found);
            places.push(place);
        }
        // The longest copy of which the first place's good part is a beginning.
        let first = places.first().zip(lengths.first());
        let Some((master, found)) = first else { return Ok(Log { places, length: 0, pending: Vec::new() }) };
        let (mut best, mut length) = match found {
            Ok(length) => (0, *length),
            Err(Error::Damaged { offset, .. }) => (0, *offset),
            Err(_) => (0, 0),
        };
        for (at, (place, found)) in places.iter().zip(&lengths).enumerate().skip(1) {
            if let Ok(other) = found
                && *other > length
                && same(master, place, length)?
            {
                (best, length) = (at, *other);
            }
        }
        if best == 0
            && let Some(Err(_)) = lengths.first()
        {
            // Not mended by a copy: say what is wrong with the first place.
            return lengths.swap_remove(0).map(|_| Log { places: Vec::new(), length: 0, pending: Vec::new() });
        }
        for (at, place) in places.iter().enumerate() {
            if at == best {
                continue;
            }
            if let Some(source) = places.get(best) {
                place.become_copy(source, length, lengths.get(at).and_then(|found| found.as_ref().ok()).copied())?;
            }
        }
        for place in &places {
            place.cut(length)?;
        }
        Ok(Log { places, length: length.max(header()), pending: Vec::new() })
    }

    /// Bytes on disk.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Whether nothing was ever appended.
    pub fn is_empty(&self) -> bool {
        self.length <= header() && self.pending.is_empty()
    }

    /// Makes these items durable, and first whatever an earlier call could not.
    pub fn append(&mut self, items: &[Item]) -> Result<(), Error> {
        if !items.is_empty() {
            let payload = items.encode();
            let offset = self.length.saturating_add(len(&self.pending));
            self.pending.extend_from_slice(&u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes());
            self.pending.extend_from_slice(&check(offset, &payload));
            self.pending.extend_from_slice(&payload);
        }
        self.flush()
    }

    /// Writes what an earlier append left behind. Nothing to do is a success.
    pub fn flush(&mut self) -> Result<(), Error> {
        if self.pending.is_empty() {
            return Ok(());
        }
        for place in &self.places {
            place.file.write_all_at(&self.pending, self.length).map_err(|source| place.error(source))?;
        }
        for place in &self.places {
            place.file.sync_data().map_err(|source| place.error(source))?;
        }
        self.length = self.length.saturating_add(len(&self.pending));
        self.pending = Vec::new();
        Ok(())
    }

    /// Calls `each` with every batch in order. The log must be flushed.
    pub fn batches<E: From<Error>>(&self, mut each: impl FnMut(Vec<Item>) -> Result<(), E>) -> Result<(), E> {
        let mut offset = header();
        while offset < self.length {
            let (items, next) = self.batch(offset)?;
            each(items)?;
            offset = next;
        }
        Ok(())
    }

    /// The batch at an offset, and where the next begins. `None` at the end.
    pub fn batch_at(&self, offset: Option<u64>) -> Result<Option<(Vec<Item>, u64)>, Error> {
        let offset = offset.unwrap_or(header());
        if offset >= self.length { Ok(None) } else { self.batch(offset).map(Some) }
    }

    fn batch(&self, offset: u64) -> Result<(Vec<Item>, u64), Error> {
        for place in &self.places {
            if let Frame::Good { payload, next } = place.frame(offset, self.length)? {
                let items = Vec::<Item>::decode(&mut &payload[..])
                    .map_err(|_| Error::Damaged { path: place.path.clone(), offset })?;
                return Ok((items, next));
            }
        }
        let path = self.places.first().map(|place| place.path.clone()).unwrap_or_default();
        Err(Error::Damaged { path, offset })
    }
}

/// What stands at an offset.
enum Frame {
    Good {
        payload: Vec<u8>,
        next: u64,
    },
    /// Nothing whole, and nothing after it.
    Torn,
    Bad,
}

impl Place {
    fn open(path: &Path) -> Result<Self, Error> {
        let error = |source| Error::Io { path: path.to_owned(), source };
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path).map_err(error)?;
        if let Some(dir) = path.parent() {
            File::open(dir).and_then(|dir| dir.sync_all()).map_err(error)?;
        }
        Ok(Place { path: path.to_owned(), file })
    }

    fn error(&self, source: io::Error) -> Error {
        Error::Io { path: self.path.clone(), source }
    }

    fn size(&self) -> Result<u64, Error> {
        self.file.metadata().map(|metadata| metadata.len()).map_err(|source| self.error(source))
    }

    /// The length of the good part; 0 of a file that is still empty.
    fn scan(&self) -> Result<u64, Error> {
        let size = self.size()?;
        let mut version = [0; 8];
        if size < header() {
            return Ok(0);
        }
        self.file.read_exact_at(&mut version, 0).map_err(|source| self.error(source))?;
        if &version != VERSION {
            return Err(Error::Version(self.path.clone()));
        }
        let mut offset = header();
        while offset < size {
            match self.frame(offset, size)? {
                Frame::Good { next, .. } => offset = next,
                Frame::Torn => break,
                Frame::Bad => return Err(Error::Damaged { path: self.path.clone(), offset }),
            }
        }
        Ok(offset)
    }

    fn frame(&self, offset: u64, end: u64) -> Result<Frame, Error> {
        let left = end.saturating_sub(offset);
        if left < HEAD {
            return Ok(Frame::Torn);
        }
        let mut head = [0; 12];
        self.file.read_exact_at(&mut head, offset).map_err(|source| self.error(source))?;
        let [a, b, c, d, expected @ ..] = head;
        let length = u64::from(u32::from_le_bytes([a, b, c, d]));
        let next = offset.saturating_add(HEAD).saturating_add(length);
        if length == 0 || next > end {
            // A header that never reached the disk, or a frame longer than what did.
            return Ok(Frame::Torn);
        }
        if length > MAX_BATCH {
            return Ok(Frame::Bad);
        }
        let mut payload = vec![0; usize::try_from(length).unwrap_or_default()];
        self.file.read_exact_at(&mut payload, offset.saturating_add(HEAD)).map_err(|source| self.error(source))?;
        Ok(match check(offset, &payload) == expected {
            true => Frame::Good { payload, next },
            false if next == end => Frame::Torn,
            false => Frame::Bad,
        })
    }

    /// Takes over `source`'s first `length` bytes. What this place had beyond a common beginning is kept aside.
    fn become_copy(&self, source: &Place, length: u64, own: Option<u64>) -> Result<(), Error> {
        let from = match own {
            Some(own) if own <= length && same(self, source, own)? => own,
            Some(0) => 0,
            _ => {
                let aside = aside(&self.path);
                fs::copy(&self.path, &aside).map_err(|source| self.error(source))?;
                tracing::warn!(log = %self.path.display(), aside = %aside.display(), "a copy of the log differs; it is made anew");
                0
            }
        };
        let mut offset = from;
        let mut buffer = vec![0; 1 << 20];
        while offset < length {
            let part = usize::try_from(length.saturating_sub(offset)).unwrap_or(usize::MAX).min(buffer.len());
            let part = buffer.get_mut(..part).unwrap_or_default();
            source.file.read_exact_at(part, offset).map_err(|error| source.error(error))?;
            self.file.write_all_at(part, offset).map_err(|error| self.error(error))?;
            offset = offset.saturating_add(len(part));
        }
        self.file.sync_data().map_err(|error| self.error(error))
    }

    /// Cuts a torn tail; writes the version into a new file.
    fn cut(&self, length: u64) -> Result<(), Error> {
        let size = self.size()?;
        if size > length && length > 0 {
            tracing::warn!(log = %self.path.display(), bytes = size.saturating_sub(length), "a torn tail is cut");
        }
        if length < header() {
            self.file
                .set_len(0)
                .and_then(|()| self.file.write_all_at(VERSION, 0))
                .map_err(|error| self.error(error))?;
        } else if size != length {
            self.file.set_len(length).map_err(|error| self.error(error))?;
        }
        self.file.sync_data().map_err(|error| self.error(error))
    }
}

fn aside(path: &Path) -> PathBuf {
    let mut at = 1_u32;
    loop {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".differs-{at}"));
        let candidate = PathBuf::from(name);
        if !candidate.exists() {
            return candidate;
        }
        at = at.saturating_add(1);
    }
}

/// Whether two copies begin with the same bytes.
fn same(a: &Place, b: &Place, length: u64) -> Result<bool, Error> {
    let (mut left, mut right) = (vec![0; 1 << 20], vec![0; 1 << 20]);
    let mut offset = 0_u64;
    while offset < length {
        let part = usize::try_from(length.saturating_sub(offset)).unwrap_or(usize::MAX).min(left.len());
        let (left, right) = (left.get_mut(..part).unwrap_or_default(), right.get_mut(..part).unwrap_or_default());
        a.file.read_exact_at(left, offset).map_err(|error| a.error(error))?;
        b.file.read_exact_at(right, offset).map_err(|error| b.error(error))?;
        if left != right {
            return Ok(false);
        }
        offset = offset.saturating_add(len(left));
    }
    Ok(true)
}

fn check(offset: u64, payload: &[u8]) -> [u8; 8] {
    let mut check = [0; 8];
    for (to, from) in check.iter_mut().zip(h(&[&offset.to_le_bytes(), payload])) {
        *to = from;
    }
    check
}

fn header() -> u64 {
    len(VERSION)
}

fn len(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
