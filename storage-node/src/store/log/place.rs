//! One file of the log in its place: reading and writing frames, finding its end, setting space aside. A file comes into
//! its place only when it is whole and lasts ([`Draft`]); from then on it is appended to and nothing else.

use std::{
    io,
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use super::{
    Error, MARKER, MAX_BATCH, check,
    file::{File, remove, sync_folder},
    head::{self, Head},
    header, len,
};

/// Bytes read or looked through at a time.
const WINDOW: usize = 1 << 20;
/// Bytes of a frame before its payload.
const FRAME: u64 = 16;

pub(super) struct Place {
    file: File,
    pub head: Head,
    /// Bytes that the file system has set aside for the file.
    aside: AtomicU64,
    /// Whether its name lasts.
    settled: AtomicBool,
}

/// What lies where a file of the log should be.
pub(super) enum Found {
    Nothing,
    /// Whole up to this length; a torn tail may follow.
    Whole(Place, u64),
    /// Good up to an offset, with more behind it.
    Damaged(Place, u64),
    /// Its head cannot be read.
    Headless(File),
}

impl Found {
    /// What lies at a path. A file of another version, or none of a log's, is an error.
    pub fn at(path: &Path) -> Result<Found, Error> {
        let error = |source| Error::Io { path: path.to_owned(), source };
        let Some(file) = File::open(path).map_err(error)? else { return Ok(Found::Nothing) };
        let length = file.length().map_err(error)?;
        let mut bytes = [0; head::LENGTH];
        let there = usize::try_from(length).unwrap_or(usize::MAX).min(head::LENGTH);
        file.read(bytes.get_mut(..there).unwrap_or_default(), 0).map_err(error)?;
        if there >= 8 && !Head::is_ours(&bytes) {
            return Err(Error::Version(path.to_owned()));
        }
        let Some(head) = Head::read(&bytes).filter(|_| there == head::LENGTH) else { return Ok(Found::Headless(file)) };
        let place = Place::new(file, head);
        match place.scan() {
            Ok(length) => Ok(Found::Whole(place, length)),
            Err(Error::Damaged { offset, .. }) => Ok(Found::Damaged(place, offset)),
            Err(error) => Err(error),
        }
    }
}

impl Place {
    /// A file whose head is known.
    pub fn new(file: File, head: Head) -> Self {
        // A start does not know whether a name that is there lasts.
        Place { file, head, aside: AtomicU64::new(0), settled: AtomicBool::new(false) }
    }

    pub fn path(&self) -> &Path {
        self.file.path()
    }

    /// The length of the good part.
    pub fn scan(&self) -> Result<u64, Error> {
        let (size, mut reader) = (self.size()?, Reader::default());
        let mut offset = header();
        while let Some((_, next)) = reader.frame(self, offset, size)? {
            offset = next;
        }
        // A torn tail is one frame that did not reach the disk, or a part of it: nothing comes after it.
        if self.is_followed(offset, size)? {
            return Err(Error::Damaged { path: self.path().to_owned(), offset });
        }
        Ok(offset)
    }

    /// Whether a frame stands anywhere after an offset at which none does.
    fn is_followed(&self, offset: u64, end: u64) -> Result<bool, Error> {
        let (mut window, mut reader) = (vec![0; WINDOW], Reader::default());
        let mut from = offset.saturating_add(1);
        while from.saturating_add(FRAME) <= end {
            let part = usize::try_from(end.saturating_sub(from)).unwrap_or(WINDOW).min(WINDOW);
            let bytes = window.get_mut(..part).unwrap_or_default();
            self.read(bytes, from)?;
            for (at, four) in (0_u64..).zip(bytes.windows(MARKER.len())) {
                if four == MARKER && reader.frame(self, from.saturating_add(at), end)?.is_some() {
                    return Ok(true);
                }
            }
            // The last bytes are looked at again: a marker may lie across the edge.
            from = from.saturating_add(len(bytes).saturating_sub(3).max(1));
        }
        Ok(false)
    }

    /// Writes durably.
    pub fn write(&self, bytes: &[u8], offset: u64) -> Result<(), Error> {
        self.settle()?;
        let written = self.file.write(bytes, offset).and_then(|()| self.file.sync());
        written.map_err(|source| self.error(source))
    }

    /// Sees to it that its name lasts: nothing is said in a file that a crash could take away.
    pub fn settle(&self) -> Result<(), Error> {
        if !self.settled.load(Ordering::Relaxed) {
            sync_folder(self.path()).map_err(|source| self.error(source))?;
            self.settled.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    pub fn read(&self, bytes: &mut [u8], offset: u64) -> Result<(), Error> {
        self.file.read(bytes, offset).map_err(|source| self.error(source))
    }

    pub fn size(&self) -> Result<u64, Error> {
        self.file.length().map_err(|source| self.error(source))
    }

    /// Cuts a torn tail, and makes the rest last: what was found may not have reached the disk yet.
    pub fn cut(&self, length: u64) -> Result<(), Error> {
        let size = self.size()?;
        if size > length {
            tracing::warn!(log = %self.path().display(), bytes = size.saturating_sub(length), "a torn tail is cut");
            self.file.cut(length).map_err(|source| self.error(source))?;
        }
        self.file.sync().map_err(|source| self.error(source))
    }

    /// Has the file system set `ahead` bytes aside after `length`, once half of the last are used. `false` if it has no
    /// space for them.
    pub fn set_aside(&self, length: u64, ahead: u64) -> bool {
        if self.aside.load(Ordering::Relaxed) >= length.saturating_add(ahead / 2) {
            return true;
        }
        let to = length.saturating_add(ahead);
        match self.file.set_aside(to) {
            Ok(()) => {
                self.aside.store(to, Ordering::Relaxed);
                true
            }
            Err(errno) => errno != rustix::io::Errno::NOSPC && errno != rustix::io::Errno::DQUOT,
        }
    }

    /// Appends `source`'s bytes from `from` on; both are the same up to there.
    pub fn follow(&self, source: &Place, from: u64, length: u64) -> Result<(), Error> {
        copy(source, from, length, |bytes, offset| self.write(bytes, offset))
    }

    fn error(&self, source: io::Error) -> Error {
        Error::Io { path: self.path().to_owned(), source }
    }
}

/// A file that is to take a place, written beside it. Dropped, it is gone with the next one.
pub(super) struct Draft {
    file: File,
    place: PathBuf,
    pub head: Head,
    length: u64,
}

impl Draft {
    /// Begins one for a place.
    pub fn begin(place: &Path, head: Head) -> Result<Self, Error> {
        let path = draft(place);
        let file = File::create(&path).map_err(|source| Error::Io { path, source })?;
        Ok(Draft { file, place: place.to_owned(), head, length: header() })
    }

    /// One that is like the first `length` bytes of another place.
    pub fn like(source: &Place, length: u64, place: &Path) -> Result<Self, Error> {
        let mut draft = Self::begin(place, source.head.clone())?;
        copy(source, header(), length, |bytes, _| draft.append(bytes))?;
        Ok(draft)
    }

    /// Bytes so far, the head included.
    pub fn length(&self) -> u64 {
        self.length
    }

    pub fn append(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.file.write(bytes, self.length).map_err(|source| self.error(source))?;
        self.length = self.length.saturating_add(len(bytes));
        Ok(())
    }

    /// Makes all of it last, beside its place.
    pub fn finish(self) -> Result<Finished, Error> {
        let written = self.file.write(&self.head.bytes(), 0).and_then(|()| self.file.sync());
        written.map_err(|source| self.error(source))?;
        let Draft { file, place, head, length } = self;
        Ok(Finished { file: Place::new(file, head), place, length })
    }

    fn error(&self, source: io::Error) -> Error {
        Error::Io { path: self.file.path().to_owned(), source }
    }
}

/// A draft that lasts.
pub(super) struct Finished {
    pub file: Place,
    place: PathBuf,
    pub length: u64,
}

impl Finished {
    /// Puts it in its place. Nothing may be written to it before [`Place::settle`], which the first write sees to.
    pub fn take_place(self) -> Result<Place, Error> {
        let Finished { mut file, place, .. } = self;
        file.file.rename(&place).map_err(|source| file.error(source))?;
        Ok(file)
    }
}

/// Removes a draft that was left behind.
pub(super) fn sweep(place: &Path) -> Result<(), Error> {
    let path = draft(place);
    remove(&path).map_err(|source| Error::Io { path, source })
}

fn draft(place: &Path) -> PathBuf {
    let mut name = place.as_os_str().to_owned();
    name.push(".new");
    PathBuf::from(name)
}

/// Reads frames one after the other, in large pieces.
#[derive(Default)]
pub(super) struct Reader {
    bytes: Vec<u8>,
    /// Where they stand in the file.
    start: u64,
}

impl Reader {
    /// The payload of the frame at an offset, and where the next begins; `None` if none is whole there.
    pub fn frame(&mut self, place: &Place, offset: u64, end: u64) -> Result<Option<(&[u8], u64)>, Error> {
        let start = offset.saturating_add(FRAME);
        if start > end {
            return Ok(None);
        }
        let Some([m, a, r, k, w, x, y, z, expected @ ..]) =
            self.get(place, offset, FRAME, end)?.first_chunk::<16>().copied()
        else {
            return Ok(None);
        };
        let length = u32::from_le_bytes([w, x, y, z]);
        let next = start.saturating_add(length.into());
        if [m, a, r, k] != *MARKER || u64::from(length) > MAX_BATCH || next > end {
            return Ok(None);
        }
        let tag = place.head.tag();
        let payload = self.get(place, start, length.into(), end)?;
        Ok((check(&tag, offset, length, payload) == expected).then_some((payload, next)))
    }

    /// Bytes of the file, read ahead as far as `end`.
    fn get(&mut self, place: &Place, offset: u64, length: u64, end: u64) -> Result<&[u8], Error> {
        let have = self.start.saturating_add(len(&self.bytes));
        if offset < self.start || offset.saturating_add(length) > have {
            let wanted = usize::try_from(length).unwrap_or(usize::MAX).max(WINDOW);
            let there = usize::try_from(end.saturating_sub(offset)).unwrap_or(usize::MAX);
            self.bytes.resize(wanted.min(there), 0);
            self.start = offset;
            place.read(&mut self.bytes, offset)?;
        }
        let from = usize::try_from(offset.saturating_sub(self.start)).unwrap_or(usize::MAX);
        let to = from.saturating_add(usize::try_from(length).unwrap_or(usize::MAX));
        Ok(self.bytes.get(from..to).unwrap_or_default())
    }
}

/// Whether two files begin with the same bytes.
pub(super) fn same(a: &Place, b: &Place, length: u64) -> Result<bool, Error> {
    let mut other = vec![0; WINDOW];
    let mut equal = true;
    copy(a, 0, length, |bytes, offset| {
        let other = other.get_mut(..bytes.len()).unwrap_or_default();
        if equal {
            b.read(other, offset)?;
            equal = bytes == other;
        }
        Ok(())
    })?;
    Ok(equal)
}

/// Hands a stretch of a file on, piece by piece.
fn copy(
    source: &Place,
    from: u64,
    to: u64,
    mut each: impl FnMut(&[u8], u64) -> Result<(), Error>,
) -> Result<(), Error> {
    let (mut offset, mut buffer) = (from, vec![0; WINDOW]);
    while offset < to {
        let part = usize::try_from(to.saturating_sub(offset)).unwrap_or(WINDOW).min(WINDOW);
        let part = buffer.get_mut(..part).unwrap_or_default();
        source.read(part, offset)?;
        each(part, offset)?;
        offset = offset.saturating_add(len(part));
    }
    Ok(())
}
