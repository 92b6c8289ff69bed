//! The enclave's log on disk: the only copy of what the enclave has said and sealed, so nothing is acted upon before it
//! is here for good.
//!
//! A file is eight bytes of version, then one frame a batch: `"CRLG" ‖ length u32 ‖ check [u8; 8] ‖ SCALE(Vec<item>)`,
//! the check being the head of H(offset of the frame ‖ length ‖ payload). What does not read as a frame is a torn tail,
//! and cut, if no frame follows it; otherwise it is damage, and stops the start unless a copy has the whole.
//!
//! There are one or two places. The first counts: a batch is durable when it is there. The second ([`copy`]) follows; if
//! its disk fails the log goes on without it, says so, and makes it anew when it can. An append that fails is kept and
//! tried again before anything else is appended: the enclave is already past it. Space for some thousand records is set
//! aside ahead, so that a full disk stops files and filler first, and filler can still be told to give way.

mod copy;
mod place;

use std::{io, path::PathBuf, time::Instant};

use codec::{Decode, Encode};
use crust_protocol::h;

use place::Place;

/// An item of the enclave's log, opaque here.
pub type Item = Vec<u8>;

const VERSION: &[u8; 8] = b"CRUSTLG2";
const MARKER: &[u8; 4] = b"CRLG";
const HEAD: u64 = 16;
/// Largest payload of a frame. The enclave's own frames are smaller.
const MAX_BATCH: u64 = 64 << 20;
/// Bytes set aside after the log's end.
const AHEAD: u64 = 4 << 20;

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
    first: Place,
    copy: Option<Copy>,
    /// Bytes of all good frames, the version included.
    length: u64,
    /// Frames that are still to be written.
    pending: Vec<u8>,
    /// The disk of the first place has no more space to set aside.
    short: bool,
}

/// Where the second place is.
pub struct CopyAt {
    pub path: PathBuf,
    /// Whether its disk is there. Asked before a file is made.
    pub is_there: Box<dyn Fn() -> bool + Send>,
}

/// The second place.
struct Copy {
    at: CopyAt,
    state: CopyState,
}

enum CopyState {
    Following(Place),
    /// Since when, and why.
    Failed(Instant, String),
}

impl Log {
    /// Opens the log kept at these paths, the first of which counts; makes the copy like it, or it like the copy if that
    /// has more of the same.
    pub fn open(first: PathBuf, copy: Option<CopyAt>) -> Result<Self, Error> {
        let first = Place::open(&first)?;
        let found = first.scan();
        let (length, copy) = copy::settle(&first, found, copy)?;
        first.cut(length)?;
        let mut log = Log { first, copy, length: length.max(header()), pending: Vec::new(), short: false };
        log.set_aside();
        Ok(log)
    }

    /// Bytes on disk.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Whether nothing was ever appended.
    pub fn is_empty(&self) -> bool {
        self.length <= header() && self.pending.is_empty()
    }

    /// What an operator should mend although the log is written.
    pub fn trouble(&self) -> Option<String> {
        if self.short {
            let path = self.first.path.display();
            return Some(format!("the disk of {path} is full: only the space set aside for the log is left"));
        }
        match &self.copy {
            Some(Copy { at, state: CopyState::Failed(_, error) }) => {
                Some(format!("the copy of the log at {} is not kept: {error}", at.path.display()))
            }
            _ => None,
        }
    }

    /// Copies that follow, the first place included.
    pub fn copies(&self) -> u8 {
        match &self.copy {
            Some(Copy { state: CopyState::Following(_), .. }) => 2,
            _ => 1,
        }
    }

    /// Makes these items durable, and first whatever an earlier call could not.
    pub fn append(&mut self, items: &[Item]) -> Result<(), Error> {
        if !items.is_empty() {
            let offset = self.length.saturating_add(len(&self.pending));
            self.pending.extend_from_slice(&frame(offset, items));
        }
        self.flush()
    }

    /// Writes what an earlier append left behind. Nothing to do is a success.
    pub fn flush(&mut self) -> Result<(), Error> {
        if self.pending.is_empty() {
            return Ok(());
        }
        self.first.write(&self.pending, self.length)?;
        copy::follow(&self.first, &mut self.copy, &self.pending, self.length);
        self.length = self.length.saturating_add(len(&self.pending));
        self.pending = Vec::new();
        self.set_aside();
        Ok(())
    }

    /// Calls `each` with every batch in order. The log must be flushed.
    pub fn batches<E: From<Error>>(&self, mut each: impl FnMut(Vec<Item>) -> Result<(), E>) -> Result<(), E> {
        let mut offset = None;
        while let Some((items, next)) = self.batch_at(offset)? {
            each(items)?;
            offset = Some(next);
        }
        Ok(())
    }

    /// The batch at an offset, and where the next begins. `None` at the end.
    pub fn batch_at(&self, offset: Option<u64>) -> Result<Option<(Vec<Item>, u64)>, Error> {
        let offset = offset.unwrap_or(header());
        if offset >= self.length {
            return Ok(None);
        }
        let copy = match &self.copy {
            Some(Copy { state: CopyState::Following(place), .. }) => Some(place),
            _ => None,
        };
        for place in [Some(&self.first), copy].into_iter().flatten() {
            if let Some((payload, next)) = place.frame(offset, self.length)?
                && let Ok(items) = Vec::<Item>::decode(&mut &payload[..])
            {
                return Ok(Some((items, next)));
            }
        }
        Err(Error::Damaged { path: self.first.path.clone(), offset })
    }

    fn set_aside(&mut self) {
        self.short = !self.first.set_aside(self.length, AHEAD);
    }
}

/// A batch as it stands at an offset.
fn frame(offset: u64, items: &[Item]) -> Vec<u8> {
    let payload = items.encode();
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    [MARKER.as_slice(), &length.to_le_bytes(), &check(offset, length, &payload), &payload].concat()
}

fn check(offset: u64, length: u32, payload: &[u8]) -> [u8; 8] {
    let mut check = [0; 8];
    for (to, from) in check.iter_mut().zip(h(&[&offset.to_le_bytes(), &length.to_le_bytes(), payload])) {
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
