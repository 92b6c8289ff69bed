//! Sealed files: one file an order, `<disk>/sealed/ab/<order>`. Chunk i of the stream, 64 KiB, stands with its tag at
//! i × 65,552; the last is shorter, and an empty file has one of no bytes.
//!
//! A file is written under the name `<order>.tmp` and renamed when all of it is on disk, so what stands under its own
//! name is whole; strays are swept at the start.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use crust_protocol::order::OrderId;
use tokio::task::JoinHandle;

/// Bytes of the stream in a chunk.
pub const CHUNK: u64 = 65_536;
/// Bytes that sealing adds to a chunk.
pub const TAG: u64 = 16;
/// Bytes between one sealed chunk and the next.
pub const STRIDE: u64 = CHUNK + TAG;
/// Bytes after which written data is sent on its way to the disk.
const FLUSH: u64 = 64 << 20;

/// Chunks of a file of this size.
pub fn chunks(size: u64) -> u64 {
    size.div_ceil(CHUNK).max(1)
}

/// Bytes on disk of a file of this size.
pub fn length(size: u64) -> u64 {
    size.saturating_add(chunks(size).saturating_mul(TAG))
}

/// Where an order's file is on a disk.
pub fn path(disk: &Path, order: &OrderId) -> PathBuf {
    let name = hex::encode(order);
    disk.join("sealed").join(name.get(..2).unwrap_or_default()).join(&name)
}

/// A sealed file that is being written.
pub struct Writer {
    path: PathBuf,
    part: PathBuf,
    file: Arc<File>,
    written: u64,
    flushed: u64,
    /// A flush of what is written already, so that the last one is short.
    flush: Option<JoinHandle<io::Result<()>>>,
}

impl Writer {
    /// Begins anew; what an earlier attempt left is overwritten.
    pub async fn create(disk: &Path, order: &OrderId) -> io::Result<Self> {
        let path = path(disk, order);
        let part = path.with_extension("tmp");
        blocking(move || {
            if let Some(dir) = path.parent() {
                fs::create_dir_all(dir)?;
            }
            let file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
            Ok(Writer { path, part, file: Arc::new(file), written: 0, flushed: 0, flush: None })
        })
        .await
    }

    /// Bytes written so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Appends sealed bytes.
    pub async fn append(&mut self, sealed: Vec<u8>) -> io::Result<()> {
        let (file, offset) = (self.file.clone(), self.written);
        let length = u64::try_from(sealed.len()).unwrap_or(u64::MAX);
        blocking(move || file.write_all_at(&sealed, offset)).await?;
        self.written = offset.saturating_add(length);
        let idle = self.flush.as_ref().is_none_or(JoinHandle::is_finished);
        if idle && self.written.saturating_sub(self.flushed) >= FLUSH {
            if let Some(flush) = self.flush.take() {
                flush.await.map_err(io::Error::other)??;
            }
            let file = self.file.clone();
            self.flushed = self.written;
            self.flush = Some(tokio::task::spawn_blocking(move || file.sync_data()));
        }
        Ok(())
    }

    /// Makes all of it durable under its own name.
    pub async fn finish(mut self) -> io::Result<()> {
        if let Some(flush) = self.flush.take() {
            flush.await.map_err(io::Error::other)??;
        }
        let Writer { path, part, file, .. } = self;
        blocking(move || {
            file.sync_all()?;
            fs::rename(&part, &path)?;
            for dir in path.ancestors().skip(1).take(2) {
                File::open(dir)?.sync_all()?;
            }
            Ok(())
        })
        .await
    }

    /// Throws the attempt away.
    pub async fn discard(mut self) {
        if let Some(flush) = self.flush.take() {
            flush.await.ok();
        }
        let part = self.part;
        blocking(move || fs::remove_file(part)).await.ok();
    }
}

/// Reads `count` sealed chunks from `first` on. The last of a file may be shorter; a file that ends before the first
/// of them is an error.
pub fn read(path: &Path, first: u64, count: u64) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    let offset = first.saturating_mul(STRIDE);
    let length = file.metadata()?.len().saturating_sub(offset).min(count.saturating_mul(STRIDE));
    if length == 0 {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the sealed file is too short"));
    }
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

/// Removes an order's file and whatever an attempt left. Nothing there is a success.
pub fn remove(disk: &Path, order: &OrderId) -> io::Result<()> {
    let path = path(disk, order);
    for path in [path.with_extension("tmp"), path] {
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => (),
        }
    }
    Ok(())
}

/// Removes what attempts that were cut off left on a disk.
pub fn sweep(disk: &Path) -> io::Result<()> {
    let sealed = disk.join("sealed");
    if !sealed.exists() {
        return Ok(());
    }
    for folder in fs::read_dir(sealed)? {
        let folder = folder?.path();
        if !folder.is_dir() {
            continue;
        }
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == "tmp") {
                fs::remove_file(path)?;
            }
        }
    }
    Ok(())
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn lengths() {
        assert_eq!((chunks(0), length(0)), (1, 16));
        assert_eq!((chunks(65_536), length(65_536)), (1, 65_552));
        assert_eq!((chunks(65_537), length(65_537)), (2, 65_569));
    }

    #[tokio::test]
    async fn a_file_appears_whole_or_not_at_all() {
        let dir = tempfile::tempdir().unwrap();
        let order = [0xab; 32];
        let mut writer = Writer::create(dir.path(), &order).await.unwrap();
        writer.append(vec![1; 65_552]).await.unwrap();
        writer.append(vec![2; 20]).await.unwrap();
        let path = path(dir.path(), &order);
        assert!(path.starts_with(dir.path().join("sealed/ab")));
        assert!(!path.exists());
        writer.finish().await.unwrap();
        assert_eq!(read(&path, 0, 2).unwrap().len(), 65_572);
        assert_eq!(read(&path, 1, 9).unwrap(), vec![2; 20]);
        assert!(read(&path, 2, 1).is_err());
        remove(dir.path(), &order).unwrap();
        remove(dir.path(), &order).unwrap();
        assert!(!path.exists());
    }

    #[tokio::test]
    async fn strays_are_swept() {
        let dir = tempfile::tempdir().unwrap();
        sweep(dir.path()).unwrap();
        let mut whole = Writer::create(dir.path(), &[1; 32]).await.unwrap();
        whole.append(vec![1]).await.unwrap();
        whole.finish().await.unwrap();
        let stray = Writer::create(dir.path(), &[2; 32]).await.unwrap();
        drop(stray);
        sweep(dir.path()).unwrap();
        assert!(path(dir.path(), &[1; 32]).exists());
        assert!(!path(dir.path(), &[2; 32]).with_extension("tmp").exists());
        Writer::create(dir.path(), &[3; 32]).await.unwrap().discard().await;
        assert!(!path(dir.path(), &[3; 32]).with_extension("tmp").exists());
    }
}
