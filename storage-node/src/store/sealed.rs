//! Sealed files: one file an order, `<disk>/sealed/ab/<order>`. Chunk i of the stream, 64 KiB, stands with its tag at
//! i × 65,552; the last is shorter, and an empty file has one of no bytes. The file's sealed hash tree, if it has one,
//! stands in `<order>.tree`.
//!
//! A file is written in the folder `sealed/work` and moved when all of it is on disk, so what stands in its own place is
//! whole. Its parity ([`super::parity`]) is written with it, and has its name first. A file that was cut off goes
//! on after its last segment that is durable, also if that was when it had its name and the enclave did not hold it yet.
//! What is read here is mended, if it has to be and can be.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use crust_enclave::{seal::SEGMENT_CHUNKS, tree};
use crust_protocol::order::OrderId;

use super::{direct::Appender, parity};

/// Bytes of the stream in a chunk.
pub const CHUNK: u64 = 65_536;
/// Bytes that sealing adds to a chunk.
pub const TAG: u64 = 16;
/// Bytes between one sealed chunk and the next.
pub const STRIDE: u64 = CHUNK + TAG;
/// Sealed bytes of a whole segment, which is a whole number of windows of parity.
pub const SEGMENT: u64 = SEGMENT_CHUNKS * STRIDE;
/// The folder of what is being written.
const WORK: &str = "work";

/// Chunks of a file of this size.
pub fn chunks(size: u64) -> u64 {
    size.div_ceil(CHUNK).max(1)
}

/// Bytes on disk of a file of this size.
pub fn length(size: u64) -> u64 {
    size.saturating_add(chunks(size).saturating_mul(TAG))
}

/// The size of the file that is sealed at a path.
pub fn size(path: &Path) -> io::Result<u64> {
    let length = fs::metadata(path)?.len();
    Ok(length.saturating_sub(length.div_ceil(STRIDE).saturating_mul(TAG)))
}

/// Bytes on disk of a file of this size with all that belongs to it.
pub fn footprint(size: u64) -> u64 {
    let with_parity = |length| match length {
        0 => 0,
        length => parity::length(length).saturating_add(length),
    };
    with_parity(length(size)).saturating_add(with_parity(tree::length(size)))
}

/// Where an order's file is on a disk.
pub fn path(disk: &Path, order: &OrderId) -> PathBuf {
    let name = hex::encode(order);
    disk.join("sealed").join(name.get(..2).unwrap_or_default()).join(&name)
}

/// Where the hash tree of an order's file is on a disk.
pub fn tree_path(disk: &Path, order: &OrderId) -> PathBuf {
    path(disk, order).with_extension("tree")
}

fn parity_of(path: &Path) -> PathBuf {
    with(path, ".parity")
}

/// A sealed file that is being written.
pub struct Writer {
    path: PathBuf,
    written: u64,
    /// Nothing after a write that failed.
    parts: Option<Parts>,
}

struct Parts {
    file: Appender,
    parity: Option<Parity>,
}

/// Its parity.
struct Parity {
    file: File,
    builder: parity::Builder,
    written: u64,
}

impl Writer {
    /// Begins anew; what an earlier attempt left is overwritten. With parity, the length of the whole file is told.
    pub async fn create(path: PathBuf, parity: Option<u64>) -> io::Result<Self> {
        blocking(move || {
            for path in [&path, &temporary(&path)] {
                path.parent().map_or(Ok(()), fs::create_dir_all)?;
            }
            let file = Appender::create(&temporary(&path))?;
            let parity = match parity {
                Some(length) => {
                    let (file, builder) = (part(&parity_of(&path))?, parity::Builder::new(length));
                    let head = builder.head();
                    file.write_all_at(&head, 0)?;
                    Some(Parity { file, builder, written: len(&head) })
                }
                None => None,
            };
            Ok(Writer { path, written: 0, parts: Some(Parts { file, parity }) })
        })
        .await
    }

    /// Goes on with an attempt that was cut off, after its first whole segments.
    pub async fn resume(path: PathBuf, parity: Option<u64>, segments: u64) -> io::Result<Self> {
        blocking(move || {
            let written = segments.saturating_mul(SEGMENT);
            let file = Appender::after(&temporary(&path), written)?;
            let parity = match parity {
                Some(length) => {
                    let builder = parity::Builder::after(length, written);
                    let written = parity::written(length, written);
                    let file = OpenOptions::new().write(true).open(temporary(&parity_of(&path)))?;
                    file.set_len(written)?;
                    Some(Parity { file, builder, written })
                }
                None => None,
            };
            Ok(Writer { path, written, parts: Some(Parts { file, parity }) })
        })
        .await
    }

    /// Makes what is written so far durable, where it is now.
    pub async fn sync(&mut self) -> io::Result<()> {
        let path = self.path.clone();
        self.with_parts(move |parts| {
            parts.sync()?;
            for dir in temporary(&path).ancestors().skip(1).take(2) {
                File::open(dir)?.sync_all()?;
            }
            Ok(())
        })
        .await
    }

    /// Bytes written so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Appends sealed bytes.
    pub async fn append(&mut self, sealed: Vec<u8>) -> io::Result<()> {
        self.written = self.written.saturating_add(len(&sealed));
        self.with_parts(move |Parts { file, parity }| {
            file.append(&sealed)?;
            if let Some(parity) = parity {
                let bytes = parity.builder.take(&sealed);
                parity.file.write_all_at(&bytes, parity.written)?;
                parity.written = parity.written.saturating_add(len(&bytes));
            }
            Ok(())
        })
        .await
    }

    /// Makes all of it durable under its own name.
    pub async fn finish(mut self) -> io::Result<()> {
        let path = self.path.clone();
        self.with_parts(move |parts| {
            parts.sync()?;
            if parts.parity.is_some() {
                rename(&parity_of(&path))?;
            }
            rename(&path)?;
            // The folder of the file, that of all files, and the disk, in which that may be new.
            for dir in path.ancestors().skip(1).take(3) {
                File::open(dir)?.sync_all()?;
            }
            Ok(())
        })
        .await
    }

    async fn with_parts(&mut self, work: impl FnOnce(&mut Parts) -> io::Result<()> + Send + 'static) -> io::Result<()> {
        let mut parts = self.parts.take().ok_or_else(|| io::Error::other("an earlier write failed"))?;
        self.parts = Some(blocking(move || work(&mut parts).map(|()| parts)).await?);
        Ok(())
    }

    /// Throws the attempt away.
    pub async fn discard(self) {
        let path = self.path;
        blocking(move || {
            fs::remove_file(temporary(&parity_of(&path))).ok();
            fs::remove_file(temporary(&path))
        })
        .await
        .ok();
    }
}

impl Parts {
    fn sync(&mut self) -> io::Result<()> {
        self.file.sync()?;
        self.parity.as_ref().map_or(Ok(()), |parity| parity.file.sync_all())
    }
}

/// Where a file is while it is written.
fn temporary(path: &Path) -> PathBuf {
    let sealed = path.ancestors().nth(2).unwrap_or(path);
    sealed.join(WORK).join(path.file_name().unwrap_or_default())
}

fn with(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    PathBuf::from(name)
}

fn part(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(temporary(path))
}

fn rename(path: &Path) -> io::Result<()> {
    fs::rename(temporary(path), path)
}

fn len(bytes: &[u8]) -> u64 {
    u64::try_from(bytes.len()).unwrap_or(u64::MAX)
}

/// Reads `count` sealed chunks from `first` on, mended where its parity can. The last of a file may be shorter; a file
/// that ends before the first of them, and cannot be mended, is an error.
pub fn read(path: &Path, first: u64, count: u64) -> io::Result<Vec<u8>> {
    let read = parity::read(&parity::open_to_mend(path)?, &parity_of(path), first, count)?;
    for chunk in &read.mended {
        metrics::counter!("crust_mended_chunks_total").increment(1);
        tracing::warn!(file = %path.display(), chunk, "a bad chunk is mended out of the file's parity");
    }
    if read.bytes.is_empty() {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the sealed file is too short"));
    }
    Ok(read.bytes)
}

/// Reads bytes of a sealed hash tree, mended where its parity can.
pub fn read_tree(path: &Path, offset: u64, length: u64) -> io::Result<Vec<u8>> {
    let first = offset / parity::PIECE;
    let end = offset.saturating_add(length).div_ceil(parity::PIECE);
    let pieces = read(path, first, end.saturating_sub(first))?;
    let skip = usize::try_from(offset % parity::PIECE).map_err(io::Error::other)?;
    let end = usize::try_from(length).ok().and_then(|length| skip.checked_add(length));
    let bytes = end.and_then(|end| pieces.get(skip..end)).map(<[u8]>::to_vec);
    bytes.ok_or_else(|| io::Error::new(io::ErrorKind::UnexpectedEof, "the hash tree is too short"))
}

/// Bytes that an attempt has written of a file or its parity, whether it has got as far as the name or not.
fn attempted(path: &Path) -> u64 {
    fs::metadata(temporary(path)).or_else(|_| fs::metadata(path)).map_or(0, |metadata| metadata.len())
}

/// Whole segments that an attempt at a file left on a disk, with their parity if it is to have any.
pub fn segments(path: &Path, parity: Option<u64>) -> u64 {
    let segments = attempted(path) / SEGMENT;
    let covered = parity.map_or(u64::MAX, |whole| {
        let there = attempted(&parity_of(path));
        let enough = |segments: &u64| parity::written(whole, segments.saturating_mul(SEGMENT)) <= there;
        (0..=segments).rev().find(enough).unwrap_or_default()
    });
    segments.min(covered)
}

/// Bytes that an attempt at a file takes on a disk.
pub fn part_bytes(disk: &Path, order: &OrderId) -> u64 {
    let path = path(disk, order);
    attempted(&path).saturating_add(attempted(&parity_of(&path)))
}

/// Takes its name back from a file that the enclave does not hold: it is a part like others, to go on with.
pub async fn take_back(path: PathBuf) -> io::Result<()> {
    blocking(move || {
        temporary(&path).parent().map_or(Ok(()), fs::create_dir_all)?;
        for path in [&path, &parity_of(&path)] {
            match fs::rename(path, temporary(path)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => (),
            }
        }
        Ok(())
    })
    .await
}

/// Reads `count` sealed chunks of an attempt from `first` on.
pub fn read_part(path: &Path, first: u64, count: u64) -> io::Result<Vec<u8>> {
    read(&temporary(path), first, count)
}

/// Removes an order's file and whatever an attempt left. Nothing there is a success.
pub fn remove(disk: &Path, order: &OrderId) -> io::Result<()> {
    let (file, tree) = (path(disk, order), tree_path(disk, order));
    let all = [&tree, &file].into_iter().flat_map(|path| [parity_of(path), path.clone()]);
    // The file goes last: while it has its name, what belongs to it is found.
    for path in all.clone().map(|path| temporary(&path)).chain(all) {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => (),
        }
    }
    Ok(())
}

/// Removes what attempts that were cut off left on a disk, but for those at orders that are still in work.
pub fn sweep(disk: &Path, in_work: impl Fn(&OrderId) -> bool) -> io::Result<()> {
    let entries = match fs::read_dir(disk.join("sealed").join(WORK)) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.get(..64));
        let order = name.and_then(|name| hex::decode(name).ok()).and_then(|id| OrderId::try_from(id).ok());
        if !order.is_some_and(|order| in_work(&order)) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

#[cfg(test)]
#[path = "sealed_tests.rs"]
mod tests;
