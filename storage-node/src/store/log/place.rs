//! One file of the log: reading and writing frames, finding its end, setting space aside.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use rustix::fs::FallocateFlags;

use super::{Error, HEAD, MARKER, MAX_BATCH, VERSION, check, header, len};

/// Bytes looked through at a time.
const WINDOW: usize = 1 << 20;

pub(super) struct Place {
    pub path: PathBuf,
    file: File,
    /// Bytes that the file system has set aside for the file.
    aside: AtomicU64,
}

impl Place {
    pub fn open(path: &Path) -> Result<Self, Error> {
        let error = |source| Error::Io { path: path.to_owned(), source };
        let mut options = OpenOptions::new();
        let file = options.read(true).write(true).create(true).truncate(false).mode(0o600).open(path).map_err(error)?;
        if let Some(dir) = path.parent() {
            File::open(dir).and_then(|dir| dir.sync_all()).map_err(error)?;
        }
        Ok(Place { path: path.to_owned(), file, aside: AtomicU64::new(0) })
    }

    /// The length of the good part; 0 of a file that is still empty.
    pub fn scan(&self) -> Result<u64, Error> {
        let size = self.size()?;
        if size < header() {
            return Ok(0);
        }
        let mut version = [0; 8];
        self.read(&mut version, 0)?;
        if &version != VERSION {
            return Err(Error::Version(self.path.clone()));
        }
        let mut offset = header();
        while let Some((_, next)) = self.frame(offset, size)? {
            offset = next;
        }
        // A torn tail is one frame that did not reach the disk, or a part of it: nothing comes after it.
        if self.is_followed(offset, size)? {
            return Err(Error::Damaged { path: self.path.clone(), offset });
        }
        Ok(offset)
    }

    /// The payload of the frame at an offset, and where the next begins; `None` if none is whole there.
    pub fn frame(&self, offset: u64, end: u64) -> Result<Option<(Vec<u8>, u64)>, Error> {
        let start = offset.saturating_add(HEAD);
        if start > end {
            return Ok(None);
        }
        let mut head = [0; 16];
        self.read(&mut head, offset)?;
        let [m, a, r, k, w, x, y, z, expected @ ..] = head;
        let length = u32::from_le_bytes([w, x, y, z]);
        let next = start.saturating_add(length.into());
        if [m, a, r, k] != *MARKER || u64::from(length) > MAX_BATCH || next > end {
            return Ok(None);
        }
        let mut payload = vec![0; usize::try_from(length).unwrap_or_default()];
        self.read(&mut payload, start)?;
        Ok((check(offset, length, &payload) == expected).then_some((payload, next)))
    }

    /// Whether a frame stands anywhere after an offset at which none does.
    fn is_followed(&self, offset: u64, end: u64) -> Result<bool, Error> {
        let mut window = vec![0; WINDOW];
        let mut from = offset.saturating_add(1);
        while from.saturating_add(HEAD) <= end {
            let part = usize::try_from(end.saturating_sub(from)).unwrap_or(WINDOW).min(WINDOW);
            let bytes = window.get_mut(..part).unwrap_or_default();
            self.read(bytes, from)?;
            for (at, four) in (0_u64..).zip(bytes.windows(MARKER.len())) {
                if four == MARKER && self.frame(from.saturating_add(at), end)?.is_some() {
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
        let written = self.file.write_all_at(bytes, offset).and_then(|()| self.file.sync_data());
        written.map_err(|source| self.error(source))
    }

    pub fn read(&self, bytes: &mut [u8], offset: u64) -> Result<(), Error> {
        self.file.read_exact_at(bytes, offset).map_err(|source| self.error(source))
    }

    pub fn size(&self) -> Result<u64, Error> {
        self.file.metadata().map(|metadata| metadata.len()).map_err(|source| self.error(source))
    }

    /// Cuts a torn tail; writes the version into a new file.
    pub fn cut(&self, length: u64) -> Result<(), Error> {
        let size = self.size()?;
        if size > length && length > 0 {
            tracing::warn!(log = %self.path.display(), bytes = size.saturating_sub(length), "a torn tail is cut");
        }
        if length < header() {
            self.file.set_len(0).map_err(|error| self.error(error))?;
            return self.write(VERSION, 0);
        }
        if size != length {
            self.file.set_len(length).map_err(|error| self.error(error))?;
        }
        self.file.sync_data().map_err(|error| self.error(error))
    }

    /// Has the file system set `ahead` bytes aside after `length`, once half of the last are used. `false` if it has no
    /// space for them.
    pub fn set_aside(&self, length: u64, ahead: u64) -> bool {
        if self.aside.load(Ordering::Relaxed) >= length.saturating_add(ahead / 2) {
            return true;
        }
        let to = length.saturating_add(ahead);
        match rustix::fs::fallocate(&self.file, FallocateFlags::KEEP_SIZE, 0, to) {
            Ok(()) => {
                self.aside.store(to, Ordering::Relaxed);
                true
            }
            Err(errno) => errno != rustix::io::Errno::NOSPC && errno != rustix::io::Errno::DQUOT,
        }
    }

    fn error(&self, source: io::Error) -> Error {
        Error::Io { path: self.path.clone(), source }
    }
}

/// Whether two files begin with the same bytes.
pub(super) fn same(a: &Place, b: &Place, length: u64) -> Result<bool, Error> {
    let (mut left, mut right) = (vec![0; WINDOW], vec![0; WINDOW]);
    let mut offset = 0_u64;
    while offset < length {
        let part = usize::try_from(length.saturating_sub(offset)).unwrap_or(WINDOW).min(WINDOW);
        let (left, right) = (left.get_mut(..part).unwrap_or_default(), right.get_mut(..part).unwrap_or_default());
        a.read(left, offset)?;
        b.read(right, offset)?;
        if left != right {
            return Ok(false);
        }
        offset = offset.saturating_add(len(left));
    }
    Ok(true)
}
