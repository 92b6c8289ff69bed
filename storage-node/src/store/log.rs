//! The enclave's log on disk: the only copy of what the enclave has said and sealed, so nothing is acted upon before it
//! is here for good.
//!
//! A file is a head ([`head`]), then one frame a batch: `"CRLG" ‖ length u32 ‖ check [u8; 8] ‖ SCALE(Vec<item>)`, the
//! check being the head of H(id ‖ generation ‖ offset of the frame ‖ length ‖ payload). What does not read as a frame is
//! a torn tail, and cut, if no frame follows it; otherwise it is damage, and stops the start unless a copy has the whole.
//!
//! There are one or two places. The first counts: a batch is durable when it is there. The second ([`copy`]) follows; if
//! its disk fails the log goes on without it, says so, and makes it anew when it can. An append that fails is kept and
//! tried again before anything else is appended: the enclave is already past it. Space for some thousand records is set
//! aside ahead, so that a full disk stops files and filler first, and filler can still be told to give way.
//!
//! When what was appended outgrows what it began with, the log begins anew ([`Draft`]) with the enclave's snapshot: a
//! file of the next generation is written beside each place and made durable, and then takes it, the first place first.
//! Cut off anywhere, either the old log or the new one is in the first place, whole; a copy of an older generation is
//! never taken for the log, unless there is no other.

mod copy;
mod file;
mod head;
mod place;

use std::{
    io,
    path::PathBuf,
    time::{Instant, SystemTime},
};

use codec::{Decode, Encode};
use crust_protocol::{Hash, h};

pub use head::Snapshot;
use place::{Place, Reader};

/// An item of the enclave's log, opaque here.
pub type Item = Vec<u8>;

const MARKER: &[u8; 4] = b"CRLG";
/// Largest payload of a frame. The enclave's own frames are smaller.
const MAX_BATCH: u64 = 64 << 20;
/// Bytes set aside after the log's end.
const AHEAD: u64 = 4 << 20;
/// Bytes of records for which the log does not begin anew.
const LEAST: u64 = 8 << 20;

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
    #[error("{0}: something was appended while it was to begin anew; it goes on as it was")]
    Appended(PathBuf),
}

/// The log, open for appending.
pub struct Log {
    first: Place,
    copy: Option<Copy>,
    /// Bytes of all good frames, the head included.
    length: u64,
    /// Frames that are still to be written.
    pending: Vec<u8>,
    /// The disk of the first place has no more space to set aside.
    short: bool,
}

/// What an operator sees of it.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct Overview {
    /// Bytes on disk.
    pub bytes: u64,
    /// Copies that follow, the first place included.
    pub copies: u8,
    /// What it begins with.
    pub snapshot: Option<Snapshot>,
}

impl Overview {
    /// Sets the metrics.
    pub fn measure(&self) {
        let snapshot = self.snapshot.as_ref();
        // Floats by their format.
        metrics::gauge!("crust_log_bytes").set(self.bytes as f64);
        metrics::gauge!("crust_log_copies").set(f64::from(self.copies));
        metrics::gauge!("crust_snapshot_bytes").set(snapshot.map_or(0, |it| it.end) as f64);
        metrics::gauge!("crust_snapshot_time_seconds").set(f64::from(snapshot.map_or(0, |it| it.taken)));
    }
}

/// A log that begins anew, while it is written. Dropped, it never was.
pub struct Draft {
    draft: place::Draft,
    /// Where the log stood.
    length: u64,
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
    /// has more of the same. Where there is none, one begins.
    pub fn open(first: PathBuf, copy: Option<CopyAt>) -> Result<Self, Error> {
        let id = || super::random().map_err(|error| Error::Io { path: first.clone(), source: io::Error::other(error) });
        let (place, length, copy) = copy::settle(&first, copy, id)?;
        let mut log = Log { first: place, copy, length, pending: Vec::new(), short: false };
        log.set_aside();
        Ok(log)
    }

    /// Whether nothing was ever appended.
    pub fn is_empty(&self) -> bool {
        self.length <= header() && self.pending.is_empty()
    }

    pub fn overview(&self) -> Overview {
        let copies = match &self.copy {
            Some(Copy { state: CopyState::Following(_), .. }) => 2,
            _ => 1,
        };
        Overview { bytes: self.length, copies, snapshot: self.first.head.snapshot.clone() }
    }

    /// What an operator should mend although the log is written.
    pub fn trouble(&self) -> Option<String> {
        if self.short {
            let path = self.first.path().display();
            return Some(format!("the disk of {path} is full: only the space set aside for the log is left"));
        }
        match &self.copy {
            Some(Copy { at, state: CopyState::Failed(_, error) }) => {
                Some(format!("the copy of the log at {} is not kept: {error}", at.path.display()))
            }
            _ => None,
        }
    }

    /// Makes these items durable, and first whatever an earlier call could not.
    pub fn append(&mut self, items: &[Item]) -> Result<(), Error> {
        if !items.is_empty() {
            let offset = self.length.saturating_add(len(&self.pending));
            self.pending.extend_from_slice(&frame(&self.first.head.tag(), offset, items));
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
        let mut from = self.begin();
        while from < self.length {
            let (items, next) = self.read(from, 0)?;
            each(items)?;
            from = next;
        }
        Ok(())
    }

    /// Where the first batch begins.
    pub fn begin(&self) -> u64 {
        header()
    }

    /// The items of the batches from an offset on, until they are at least so many bytes, and where the next begins. No
    /// items at the end. The log must be flushed.
    pub fn read(&self, mut from: u64, bytes: usize) -> Result<(Vec<Item>, u64), Error> {
        let (mut reader, mut items, start) = (Reader::default(), Vec::new(), from);
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        while from < self.length {
            let frame = reader.frame(&self.first, from, self.length)?;
            let batch = match frame.and_then(|(payload, next)| Some((Vec::decode(&mut &*payload).ok()?, next))) {
                Some(batch) => batch,
                None => self.copied(from)?,
            };
            let (batch, next): (Vec<Item>, u64) = batch;
            items.extend(batch);
            from = next;
            if from.saturating_sub(start) >= bytes {
                break;
            }
        }
        Ok((items, from))
    }

    /// The batch at an offset out of the copy, where the first place has become unreadable.
    fn copied(&self, from: u64) -> Result<(Vec<Item>, u64), Error> {
        let damaged = || Error::Damaged { path: self.first.path().to_owned(), offset: from };
        let Some(Copy { state: CopyState::Following(copy), .. }) = &self.copy else { return Err(damaged()) };
        let mut reader = Reader::default();
        let (payload, next) = reader.frame(copy, from, self.length)?.ok_or_else(damaged)?;
        Ok((Vec::decode(&mut &*payload).map_err(|_| damaged())?, next))
    }

    /// Whether what was appended since the log began has outgrown what it began with.
    pub fn is_overgrown(&self) -> bool {
        let begun = self.first.head.snapshot.as_ref().map_or_else(header, |snapshot| snapshot.end);
        self.length.saturating_sub(begun) >= begun.max(LEAST)
    }

    /// Begins the log anew, beside the old one.
    pub fn draft(&mut self) -> Result<Draft, Error> {
        self.flush()?;
        let draft = place::Draft::begin(self.first.path(), self.first.head.next())?;
        Ok(Draft { draft, length: self.length })
    }

    /// Takes a draft, complete with a snapshot of the log up to a record and the root after that, for the log from here
    /// on. Until it is in its place an error leaves the log as it was.
    pub fn replace(&mut self, draft: Draft, record: u64, root: Hash) -> Result<(), Error> {
        let Draft { mut draft, length } = draft;
        if length != self.length || !self.pending.is_empty() {
            return Err(Error::Appended(self.first.path().to_owned()));
        }
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let taken = u32::try_from(since.as_secs()).unwrap_or(u32::MAX);
        draft.head.snapshot = Some(Snapshot { end: draft.length(), record, root, taken });
        let next = draft.finish()?;
        let (copied, length) = (copy::prepare(&next, &mut self.copy), next.length);
        self.first = next.take_place()?;
        self.length = length;
        // If its name does not last yet, the copy keeps the old log, and the next write waits until it does.
        let settled = self.first.settle();
        copy::replace(copied.filter(|_| settled.is_ok()), &mut self.copy);
        self.set_aside();
        settled
    }

    fn set_aside(&mut self) {
        self.short = !self.first.set_aside(self.length, AHEAD);
    }
}

impl Draft {
    /// Appends items.
    pub fn append(&mut self, items: &[Item]) -> Result<(), Error> {
        let frame = frame(&self.draft.head.tag(), self.draft.length(), items);
        self.draft.append(&frame)
    }
}

/// A batch as it stands at an offset.
fn frame(tag: &[u8; 24], offset: u64, items: &[Item]) -> Vec<u8> {
    let payload = items.encode();
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    [MARKER.as_slice(), &length.to_le_bytes(), &check(tag, offset, length, &payload), &payload].concat()
}

fn check(tag: &[u8; 24], offset: u64, length: u32, payload: &[u8]) -> [u8; 8] {
    let mut check = [0; 8];
    for (to, from) in check.iter_mut().zip(h(&[tag, &offset.to_le_bytes(), &length.to_le_bytes(), payload])) {
        *to = from;
    }
    check
}

fn header() -> u64 {
    head::LENGTH as u64
}

fn len(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "log_cuts.rs"]
mod cuts;
