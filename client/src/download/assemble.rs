//! Puts a UnixFS file together from its blocks in the order of the walk.
//!
//! The walk brings every block once. What stands in the file more than once is copied from where it stands already, so
//! nothing but the positions of what was written is kept in memory. It is the simple twin of the importer: it follows
//! the links itself and refuses a graph whose sizes do not add up.

use std::{
    collections::HashMap,
    fs::File,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use crust_protocol::file::{Cid, Codec, Link};

use super::Error;
use crate::unixfs::{self, Entry};

/// Bytes copied at a time.
const COPY: u64 = 1 << 20;

/// A file that is being put together.
pub struct Assembly {
    root: Cid,
    output: File,
    path: PathBuf,
    /// Bytes of the file; known with the root block.
    size: Option<u64>,
    /// Where the next byte goes.
    position: u64,
    /// The block that comes next, and how many bytes of the file are below it.
    wanted: Option<(Cid, Option<u64>)>,
    /// From the root down to the parent of what is wanted.
    stack: Vec<Frame>,
    /// What was written: start and length.
    done: HashMap<Cid, (u64, u64)>,
}

/// A node whose parts are being written.
struct Frame {
    cid: Option<Cid>,
    start: u64,
    end: u64,
    parts: std::vec::IntoIter<(Link, u64)>,
}

impl Assembly {
    /// Starts a file; `path` is for messages.
    pub fn new(root: Cid, output: File, path: PathBuf) -> Self {
        Assembly {
            root,
            output,
            path,
            size: None,
            position: 0,
            wanted: Some((root, None)),
            stack: Vec::new(),
            done: HashMap::new(),
        }
    }

    /// Bytes written so far.
    pub fn written(&self) -> u64 {
        self.position
    }

    /// Bytes of the whole file, as far as known.
    pub fn size(&self) -> u64 {
        self.size.unwrap_or_default()
    }

    /// Takes the next block of the walk, whose hash has been checked.
    pub fn accept(&mut self, cid: Cid, block: &[u8]) -> Result<(), Error> {
        let Some((wanted, expected)) = self.wanted.take() else { return Err(self.malformed("it has too many blocks")) };
        if wanted != cid {
            return Err(self.malformed("its blocks come in another order than its links"));
        }
        self.open(Some(cid), cid.codec(), block, expected)?;
        self.advance()
    }

    /// Ends the file: all of it is on disk.
    pub fn finish(self) -> Result<u64, Error> {
        if self.wanted.is_some() || self.size != Some(self.position) {
            return Err(self.malformed("it ends too early"));
        }
        self.output.sync_all().map_err(|error| Error::Io { path: self.path.clone(), error })?;
        Ok(self.position)
    }

    fn open(&mut self, cid: Option<Cid>, codec: Codec, block: &[u8], expected: Option<u64>) -> Result<(), Error> {
        let file = match unixfs::decode(codec, block) {
            Ok(Entry::File(file)) => file,
            Ok(Entry::Directory(_) | Entry::Sharded) => {
                return Err(
                    self.malformed("it is a directory, and only single files can be fetched, not yet directories")
                );
            }
            Ok(Entry::Symlink) => return Err(self.malformed("it is a symbolic link")),
            Ok(Entry::Other(what)) => return Err(self.malformed(&format!("it is {what}"))),
            Err(error) => return Err(self.malformed(&error.to_string())),
        };
        if expected.is_some_and(|expected| expected != file.size) {
            return Err(self.malformed("the sizes in it contradict each other"));
        }
        if self.size.is_none() {
            self.size = Some(file.size);
            self.check_space(file.size)?;
        }
        let start = self.position;
        self.put(&file.data)?;
        let end = start.checked_add(file.size).ok_or_else(|| self.malformed("it is too large"))?;
        self.stack.push(Frame { cid, start, end, parts: file.parts.into_iter() });
        Ok(())
    }

    /// Goes on to the next block that has to be fetched.
    fn advance(&mut self) -> Result<(), Error> {
        while let Some(frame) = self.stack.last_mut() {
            match frame.parts.next() {
                None => {
                    let (cid, start, end) = (frame.cid, frame.start, frame.end);
                    self.stack.pop();
                    if self.position != end {
                        return Err(self.malformed("the sizes in it contradict each other"));
                    }
                    if let Some(cid) = cid {
                        self.done.insert(cid, (start, end.saturating_sub(start)));
                    }
                }
                Some((Link::Inline { codec, data }, size)) => self.open(None, codec, &data, Some(size))?,
                Some((Link::Block(cid), size)) => match self.done.get(&cid).copied() {
                    Some((start, length)) if length == size => self.copy(start, length)?,
                    Some(_) => return Err(self.malformed("the sizes in it contradict each other")),
                    None => {
                        self.wanted = Some((cid, Some(size)));
                        return Ok(());
                    }
                },
            }
        }
        Ok(())
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), Error> {
        self.output.write_all_at(bytes, self.position).map_err(|error| self.io(error))?;
        self.position = self.position.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        Ok(())
    }

    /// Writes again what stands in the file already.
    fn copy(&mut self, start: u64, length: u64) -> Result<(), Error> {
        let mut buffer = vec![0; usize::try_from(length.min(COPY)).unwrap_or_default()];
        let mut copied: u64 = 0;
        while copied < length {
            let next = length.saturating_sub(copied).min(COPY);
            let Some(piece) = buffer.get_mut(..usize::try_from(next).unwrap_or_default()) else { break };
            self.output.read_exact_at(piece, start.saturating_add(copied)).map_err(|error| self.io(error))?;
            self.output.write_all_at(piece, self.position).map_err(|error| self.io(error))?;
            self.position = self.position.saturating_add(next);
            copied = copied.saturating_add(next);
        }
        Ok(())
    }

    /// A few links can stand for any number of bytes: better said before the disk is full.
    fn check_space(&self, needed: u64) -> Result<(), Error> {
        let Ok(disk) = rustix::fs::fstatvfs(&self.output) else { return Ok(()) };
        let free = disk.f_bavail.saturating_mul(disk.f_frsize);
        if needed <= free { Ok(()) } else { Err(Error::NoSpace { path: self.path.clone(), needed, free }) }
    }

    fn malformed(&self, reason: &str) -> Error {
        Error::NotAFile { cid: self.root, reason: reason.into() }
    }

    fn io(&self, error: std::io::Error) -> Error {
        Error::Io { path: Path::to_owned(&self.path), error }
    }
}

#[cfg(test)]
#[path = "assemble_tests.rs"]
mod tests;
