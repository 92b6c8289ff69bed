//! Writing past the page cache, where the file system lets. What nobody reads soon shall not push out what others do, and
//! a copy into fresh pages of the cache takes longer than many a disk. Who writes so must begin at a page, of the file and
//! of memory, and end at one.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
};

use rustix::fs::OFlags;

/// Bytes of a page: no disk has larger blocks.
const PAGE: usize = 4_096;
/// Bytes that an [`Appender`] writes at a time.
const PIECE: usize = 1 << 20;

/// Opens a file to write past the page cache; through it where the file system cannot.
pub fn open(path: &Path, options: &mut OpenOptions) -> io::Result<File> {
    let direct = options.clone().custom_flags(OFlags::DIRECT.bits().cast_signed()).open(path);
    match direct {
        Err(error) if error.kind() == io::ErrorKind::InvalidInput => options.open(path),
        opened => opened,
    }
}

/// Memory that begins at a page.
pub struct Buffer {
    memory: Vec<u8>,
    start: usize,
    size: usize,
}

impl Buffer {
    /// Zeros.
    pub fn new(size: usize) -> Self {
        let memory = vec![0; size.saturating_add(PAGE)];
        Buffer { start: memory.as_ptr().align_offset(PAGE).min(PAGE), memory, size }
    }

    /// All of it.
    pub fn room(&mut self) -> &mut [u8] {
        self.memory.get_mut(self.start..self.start.saturating_add(self.size)).unwrap_or_default()
    }

    /// Its first bytes.
    pub fn first(&self, bytes: usize) -> &[u8] {
        self.memory.get(self.start..self.start.saturating_add(bytes.min(self.size))).unwrap_or_default()
    }
}

/// A file that grows at its end, by any number of bytes.
pub struct Appender {
    file: File,
    buffer: Buffer,
    /// Where the buffer's first byte stands in the file, at a page.
    at: u64,
    /// Bytes in the buffer; those before may be in the file already.
    filled: usize,
}

impl Appender {
    /// A new file; what was there is overwritten.
    pub fn create(path: &Path) -> io::Result<Self> {
        let file = open(path, OpenOptions::new().write(true).create(true).truncate(true).mode(0o600))?;
        Ok(Appender { file, buffer: Buffer::new(PIECE), at: 0, filled: 0 })
    }

    /// Goes on behind the first `length` bytes of a file; what follows is cut off.
    pub fn after(path: &Path, length: u64) -> io::Result<Self> {
        let file = open(path, OpenOptions::new().write(true))?;
        file.set_len(length)?;
        let mut buffer = Buffer::new(PIECE);
        let filled = usize::try_from(length).map_err(io::Error::other)? % PAGE;
        let at = length.saturating_sub(len(filled));
        File::open(path)?.read_exact_at(buffer.room().get_mut(..filled).unwrap_or_default(), at)?;
        Ok(Appender { file, buffer, at, filled })
    }

    /// Appends; what fills no whole piece stays in memory.
    pub fn append(&mut self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let free = self.buffer.room().get_mut(self.filled..).unwrap_or_default();
            let (now, later) = bytes.split_at(free.len().min(bytes.len()));
            free.iter_mut().zip(now).for_each(|(to, from)| *to = *from);
            self.filled = self.filled.saturating_add(now.len());
            bytes = later;
            if self.filled == PIECE {
                self.file.write_all_at(self.buffer.first(PIECE), self.at)?;
                (self.at, self.filled) = (self.at.saturating_add(len(PIECE)), 0);
            }
        }
        Ok(())
    }

    /// Makes all that was appended durable.
    pub fn sync(&mut self) -> io::Result<()> {
        if self.filled > 0 {
            // Up to the end of a page, which is cut again.
            let whole = self.filled.next_multiple_of(PAGE);
            self.buffer.room().get_mut(self.filled..whole).unwrap_or_default().fill(0);
            self.file.write_all_at(self.buffer.first(whole), self.at)?;
            self.file.set_len(self.at.saturating_add(len(self.filled)))?;
        }
        self.file.sync_all()
    }
}

fn len(bytes: usize) -> u64 {
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use std::fs;

    use super::*;

    /// Whatever the lengths, wherever it is made durable or cut off: the file is what was appended.
    #[test]
    fn what_is_appended_is_in_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let mut appender = Appender::create(&path).unwrap();
        let (mut twin, mut next) = (Vec::new(), 0_u8);
        let lengths = [0, 1, 4_095, 1, 4_096, 65_552, 20, 3 * PIECE + 5, PIECE - 5, PIECE, 7, 100_000];
        for (step, length) in lengths.into_iter().enumerate() {
            let bytes: Vec<u8> = std::iter::repeat_with(|| {
                next = next.wrapping_mul(5).wrapping_add(3);
                next
            })
            .take(length)
            .collect();
            appender.append(&bytes).unwrap();
            twin.extend(bytes);
            if step % 2 == 1 {
                appender.sync().unwrap();
                assert_eq!(fs::read(&path).unwrap(), twin, "step {step}");
                // Again, with nothing new.
                appender.sync().unwrap();
            }
            if step % 4 == 3 {
                let kept = twin.len() - twin.len() / 3;
                twin.truncate(kept);
                appender = Appender::after(&path, len(kept)).unwrap();
            }
        }
        appender.sync().unwrap();
        assert_eq!(fs::read(&path).unwrap(), twin);
        assert!(Appender::after(&path, len(twin.len() + 1)).is_ok(), "a longer one is filled up with a hole");
        assert!(Appender::after(&dir.path().join("none"), 0).is_err());
    }
}
