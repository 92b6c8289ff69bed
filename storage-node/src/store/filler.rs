//! The filler of a disk: one file, `<disk>/filler`, that grows by units of the enclave's key stream and gives way from
//! its end, in pages.
//!
//! The file is never shorter than what the enclave counts, unless somebody cut it: bytes are on disk before a unit is
//! committed, and are cut after the enclave has logged that they are. What is beyond the enclave's count at a start is
//! a unit that was never finished, and is thrown away; and so is one of which bytes may have been handed out that are
//! not written.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use crust_enclave::rpc::{self, Request, Response};
use tokio::sync::Mutex;

use super::{
    direct,
    disks::{Disk, DiskId},
};
use crate::enclave_client::{self, Enclave};

/// Bytes of a page, the least that filler gives way by.
pub const PAGE: u64 = 4_096;
/// Bytes asked for at a time.
const PIECE: u64 = 4 << 20;
/// Bytes that one step grows by, at most.
const STEP: u64 = 16 * PIECE;

/// Why filler does not grow or shrink.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("filler of disk {path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error(transparent)]
    Enclave(#[from] enclave_client::Error),
}

/// The filler of one disk.
pub struct Filler {
    disk: Arc<Disk>,
    unit: Mutex<Unit>,
    /// Bytes on disk, the unit in work included: what it takes of the capacity.
    length: AtomicU64,
    growing: AtomicBool,
}

/// The unit in work.
struct Unit {
    /// The enclave session that made it; its bytes are worth nothing in another.
    session: u64,
    /// Bytes that the enclave counts.
    committed: u64,
    /// Bytes of the unit in work, after those.
    written: u64,
    /// Whether the unit that the enclave has in work, if any, is this one.
    begun: bool,
}

impl Unit {
    /// None in work, after so many bytes that count.
    fn after(committed: u64) -> Self {
        Unit { session: 0, committed, written: 0, begun: false }
    }
}

/// Bytes on their way to the disk.
struct Piece {
    buffer: direct::Buffer,
    length: usize,
}

impl Piece {
    fn new() -> Self {
        Piece { buffer: direct::Buffer::new(usize::try_from(PIECE).unwrap_or_default()), length: 0 }
    }

    fn bytes(&self) -> &[u8] {
        self.buffer.first(self.length)
    }
}

impl Filler {
    pub fn new(disk: Arc<Disk>) -> Self {
        let unit = Mutex::new(Unit::after(0));
        Filler { disk, unit, length: AtomicU64::new(0), growing: AtomicBool::new(false) }
    }

    /// Bytes that it takes of the disk.
    pub fn length(&self) -> u64 {
        self.length.load(Ordering::Relaxed)
    }

    /// Whether a unit is in work.
    pub fn growing(&self) -> bool {
        self.growing.load(Ordering::Relaxed)
    }

    /// Takes up the enclave's count, if the enclave was opened anew since, and cuts what is beyond it.
    pub async fn align(&self, enclave: &Enclave) -> Result<(), Error> {
        let mut unit = self.unit.lock().await;
        self.align_unit(&mut unit, enclave).await
    }

    /// One step towards `target` bytes. `false` if it is there.
    pub async fn grow(&self, enclave: &Enclave, target: u64) -> Result<bool, Error> {
        let mut unit = self.unit.lock().await;
        self.align_unit(&mut unit, enclave).await?;
        let length = unit.committed.saturating_add(unit.written);
        let wanted = (target.saturating_sub(length) / PAGE * PAGE).min(STEP);
        if wanted == 0 {
            self.commit(&mut unit, enclave).await?;
            return Ok(false);
        }
        self.begin(&mut unit, enclave).await?;
        self.growing.store(true, Ordering::Relaxed);
        match self.write(&mut unit, enclave, wanted).await {
            Ok(true) => Ok(true),
            // The unit is full.
            Ok(false) => self.commit(&mut unit, enclave).await.map(|()| true),
            Err(error) => {
                // Bytes may have been handed out that are not on the disk, and the unit is gone with them; what it wrote
                // is cut.
                unit.session = 0;
                Err(error)
            }
        }
    }

    /// Writes the next `wanted` bytes of the unit in work, a piece while the enclave makes the next; `false` if it has
    /// not so many.
    async fn write(&self, unit: &mut Unit, enclave: &Enclave, wanted: u64) -> Result<bool, Error> {
        let path = self.path();
        let open = move || direct::open(&path, OpenOptions::new().write(true).create(true).truncate(false).mode(0o600));
        let file = Arc::new(self.blocking(open).await?);
        let (mut left, mut ahead, mut spare) = (wanted, Piece::new(), Piece::new());
        loop {
            let (wanted, offset) = (left.min(PIECE), unit.committed.saturating_add(unit.written));
            let (piece, to) = (ahead, file.clone());
            let count = u64::try_from(piece.length).unwrap_or(u64::MAX);
            let write = self.blocking(move || to.write_all_at(piece.bytes(), offset).map(|()| piece));
            let (made, written) = tokio::join!(self.next_piece(enclave, wanted, spare), write);
            spare = written?;
            unit.written = unit.written.saturating_add(count);
            self.length.store(offset.saturating_add(count), Ordering::Relaxed);
            ahead = made?;
            if ahead.length == 0 {
                return Ok(left == 0);
            }
            left = left.saturating_sub(u64::try_from(ahead.length).unwrap_or(u64::MAX));
        }
    }

    /// The next bytes of the unit in work; none if none are wanted, or it is full.
    async fn next_piece(&self, enclave: &Enclave, wanted: u64, mut piece: Piece) -> Result<Piece, Error> {
        piece.length = 0;
        if wanted == 0 {
            return Ok(piece);
        }
        let request = Request::Filler { disk: self.disk.id, bytes: u32::try_from(wanted).unwrap_or(u32::MAX) };
        match enclave.ask_bytes(request, rpc::Bytes::Filler, piece.buffer.room()).await {
            Ok(length) => piece.length = length,
            Err(error) if error.refusal() == Some(&rpc::Error::UnitFull) => (),
            Err(error) => return Err(error.into()),
        }
        Ok(piece)
    }

    /// Gives way down to `to` bytes, in pages.
    pub async fn shrink(&self, enclave: &Enclave, to: u64) -> Result<(), Error> {
        let mut unit = self.unit.lock().await;
        self.align_unit(&mut unit, enclave).await?;
        let to = to / PAGE * PAGE;
        if unit.committed.saturating_add(unit.written) <= to {
            return Ok(());
        }
        // A unit in work of which nothing remains is not finished first.
        if unit.committed < to {
            match self.commit(&mut unit, enclave).await {
                // Nor is one on a disk that gets no filler now: it is thrown away.
                Err(Error::Enclave(enclave_client::Error::Refused(rpc::Error::DiskBad))) => {
                    self.align_unit(&mut unit, enclave).await?;
                }
                committed => committed?,
            }
        }
        let to = to.min(unit.committed);
        if let Err(error) = enclave.change(Request::Shrink { disk: self.disk.id, to }).await {
            // Whether it was logged shows in the enclave's count.
            unit.session = 0;
            return Err(error.into());
        }
        *unit = Unit { session: unit.session, begun: true, ..Unit::after(to) };
        self.growing.store(false, Ordering::Relaxed);
        let cut = self.cut(to).await;
        if cut.is_err() {
            // What the enclave counts no more still stands there: it is cut before anything else is done.
            unit.session = 0;
        }
        cut
    }

    /// Bytes that are really in the file.
    pub fn on_disk(&self) -> io::Result<u64> {
        match self.path().metadata() {
            Ok(metadata) => Ok(metadata.len()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(error) => Err(error),
        }
    }

    /// One page, for a check.
    pub fn page(path: &Path, page: u64) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(PAGE).map_err(io::Error::other)?];
        File::open(path)?.read_exact_at(&mut bytes, page.saturating_mul(PAGE))?;
        Ok(bytes)
    }

    /// Pages on end for the scrub; zeros where they cannot be read.
    pub fn pages(disk: &Path, page: u64, pages: u64) -> Vec<u8> {
        let (length, file) = (usize::try_from(PAGE).unwrap_or_default(), File::open(disk.join("filler")));
        let mut bytes = vec![0; usize::try_from(pages).unwrap_or_default().saturating_mul(length)];
        let Ok(file) = file else { return bytes };
        let start = page.saturating_mul(PAGE);
        if file.read_exact_at(&mut bytes, start).is_err() {
            // One by one: what can be read is good.
            for (at, page) in (0_u64..).zip(bytes.chunks_mut(length)) {
                if file.read_exact_at(page, start.saturating_add(at.saturating_mul(PAGE))).is_err() {
                    page.fill(0);
                }
            }
        }
        bytes
    }

    pub fn path(&self) -> PathBuf {
        self.disk.path.join("filler")
    }

    async fn align_unit(&self, unit: &mut Unit, enclave: &Enclave) -> Result<(), Error> {
        enclave.open().await?;
        if unit.session == enclave.session() {
            return Ok(());
        }
        let session = enclave.session();
        let Response::State(state) = enclave.ask(Request::State).await? else {
            return Err(enclave_client::Error::Answer("State").into());
        };
        let committed = state.filler.iter().find(|(disk, _)| *disk == self.disk.id).map_or(0, |(_, bytes)| *bytes);
        *unit = Unit::after(committed);
        self.length.store(committed, Ordering::Relaxed);
        if self.disk.present() {
            self.cut(committed).await?;
        }
        unit.session = session;
        Ok(())
    }

    /// Sees to it that a unit which an earlier daemon, or a write that failed, left in work in the enclave is thrown away:
    /// its first bytes are not on the disk any more.
    async fn begin(&self, unit: &mut Unit, enclave: &Enclave) -> Result<(), Error> {
        if !unit.begun {
            enclave.change(Request::Shrink { disk: self.disk.id, to: unit.committed }).await?;
            unit.begun = true;
        }
        Ok(())
    }

    /// Ends the unit in work, if there is one: its bytes reach the disk, then the enclave logs it.
    async fn commit(&self, unit: &mut Unit, enclave: &Enclave) -> Result<(), Error> {
        self.growing.store(false, Ordering::Relaxed);
        if unit.written == 0 {
            return Ok(());
        }
        let path = self.path();
        let synced = self.blocking(move || File::open(path)?.sync_data()).await;
        if synced.is_err() {
            // What did not reach the disk is not known: all of the unit is thrown away.
            unit.session = 0;
        }
        synced?;
        if unit.session != enclave.session() {
            return self.align_unit(unit, enclave).await;
        }
        let id: DiskId = self.disk.id;
        let answer = enclave.change(Request::FillerCommit { disk: id }).await;
        if answer.is_err() {
            // Whether it was logged shows in the enclave's count.
            unit.session = 0;
        }
        answer?;
        (unit.committed, unit.written) = (unit.committed.saturating_add(unit.written), 0);
        Ok(())
    }

    /// Cuts the file where it is longer.
    async fn cut(&self, to: u64) -> Result<(), Error> {
        let path = self.path();
        self.blocking(move || match OpenOptions::new().write(true).open(path) {
            Ok(file) if file.metadata()?.len() > to => file.set_len(to),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
        })
        .await?;
        self.length.store(to, Ordering::Relaxed);
        Ok(())
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> Result<T, Error> {
        let result = tokio::task::spawn_blocking(work).await.map_err(io::Error::other).and_then(|result| result);
        result.map_err(|source| Error::Io { path: self.disk.path.clone(), source })
    }
}
