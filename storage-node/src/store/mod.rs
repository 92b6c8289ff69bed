//! All that the node keeps: the enclave's log and the index in the state directory, sealed files and filler on the
//! disks. Owns the count of who may use how much of a disk, so that no byte is promised twice.
//!
//! A disk's capacity is shared by sealed files, files in work and filler. Filler has what the others leave: an order
//! that is taken is *promised* its whole length at once, which keeps other orders away, and is *granted* it step by
//! step as its bytes arrive, which is when filler gives way.

pub mod disks;
pub mod filler;
pub mod index;
pub mod log;
pub mod sealed;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard},
};

use crust_protocol::order::OrderId;

use disks::{Disk, DiskId, Owner};
use filler::Filler;
use index::{Index, Record, State};
use log::Log;

use crate::{config::Config, enclave_client::Enclave};

/// What goes wrong with what is kept.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{0} is in use by another daemon; stop that one, or give this one a state directory of its own")]
    InUse(PathBuf),
    #[error("no randomness: {0}")]
    Random(io::Error),
    #[error(transparent)]
    Disk(#[from] disks::Error),
    #[error(transparent)]
    Index(#[from] index::Error),
    #[error(transparent)]
    Log(#[from] log::Error),
    #[error(transparent)]
    Filler(#[from] filler::Error),
    #[error("the disk {0} is missing; mount it")]
    Missing(PathBuf),
    #[error("no disk with the id {}", hex::encode(.0))]
    NoDisk(DiskId),
}

/// What filler gives way by beyond what is needed.
const STEP: u64 = 4 << 20;

/// Disks, index and their accounts.
pub struct Store {
    pub index: Arc<Index>,
    disks: Vec<Kept>,
    accounts: Mutex<BTreeMap<DiskId, Account>>,
    /// Held for the daemon's life: one daemon a state directory.
    _lock: File,
}

/// A disk and its filler.
struct Kept {
    disk: Arc<Disk>,
    filler: Arc<Filler>,
}

/// Who uses how much of a disk.
#[derive(Clone, Default, Debug)]
struct Account {
    /// Bytes of sealed files on disk, and of what is in them.
    sealed: u64,
    stored: u64,
    files: u64,
    in_work: BTreeMap<OrderId, InWork>,
}

#[derive(Clone, Copy, Default, Debug)]
struct InWork {
    promised: u64,
    granted: u64,
}

/// What a disk holds, for status and metrics.
#[derive(Clone, Debug, serde::Serialize, utoipa::ToSchema)]
pub struct Usage {
    pub id: String,
    pub path: String,
    /// Whether it is mounted.
    pub present: bool,
    pub capacity: u64,
    /// Bytes of the files kept there; sealed they take a little more.
    pub stored_bytes: u64,
    pub filler_bytes: u64,
    pub files: u64,
    /// Bytes that files in work will need.
    pub promised_bytes: u64,
}

impl Store {
    /// Opens the state directory, the index and the disks; and the enclave's log, which the enclave's client owns.
    pub fn open(config: &Config) -> Result<(Store, Log), Error> {
        let state = &config.state;
        let error = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::Io { path, source }
        };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(state).map_err(error(state))?;
        let lock = lock(&state.join("lock"))?;
        let index = Index::open(&state.join("index.redb"))?;
        let owner = match index.meta::<Owner>("owner")? {
            Some(owner) => owner,
            None => {
                let owner = random()?;
                index.set_meta("owner", &owner)?;
                owner
            }
        };
        let configured: Vec<_> = config.disks.iter().map(|disk| (disk.path.clone(), disk.capacity.0)).collect();
        let known: BTreeMap<_, _> = configured
            .iter()
            .map(|(path, _)| Ok((path.clone(), index.disk_at(path)?)))
            .collect::<Result<_, index::Error>>()?;
        let seed = random()?;
        let mut drawn = 0_u64;
        let draw = || {
            drawn = drawn.saturating_add(1);
            let mut id = [0; 16];
            let drawn = crust_protocol::h(&[b"disk", &seed, &drawn.to_le_bytes()]);
            id.iter_mut().zip(drawn).for_each(|(to, from)| *to = from);
            id
        };
        let disks = disks::open(&configured, |path| known.get(path).copied().flatten(), owner, draw)?;
        let mut kept = Vec::new();
        for disk in disks {
            index.set_disk(&disk.path, disk.id)?;
            if let Some((configured, chosen)) = index.meta::<(u64, u64)>(capacity_key(&disk.id))?
                && configured == disk.capacity()
            {
                disk.set_capacity(chosen);
            }
            if disk.present() {
                sealed::sweep(&disk.path).map_err(error(&disk.path))?;
            }
            let disk = Arc::new(disk);
            kept.push(Kept { filler: Arc::new(Filler::new(disk.clone())), disk });
        }
        let mut places = vec![state.join("enclave.log")];
        if kept.len() > 1 {
            places.extend(kept.iter().find(|kept| kept.disk.present()).map(|kept| kept.disk.path.join("enclave.log")));
        }
        let log = Log::open(&places)?;
        let accounts = Mutex::new(BTreeMap::new());
        let store = Store { index: Arc::new(index), disks: kept, accounts, _lock: lock };
        store.count()?;
        Ok((store, log))
    }

    /// Counts the sealed files from the index.
    fn count(&self) -> Result<(), Error> {
        let mut after = None;
        loop {
            let page = self.index.records(after, 1_024)?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = Some(*last);
            for (_, record) in &page {
                self.count_file(record);
            }
        }
    }

    /// Counts a record's file, if it has one.
    fn count_file(&self, record: &Record) {
        if let (Some(disk), State::Sealed | State::Held | State::Ending) = (record.disk, record.state) {
            let mut accounts = self.accounts();
            let account = accounts.entry(disk).or_default();
            account.sealed = account.sealed.saturating_add(sealed::length(record.content.size));
            account.stored = account.stored.saturating_add(record.content.size);
            account.files = account.files.saturating_add(1);
        }
    }

    /// Every disk of the configuration, mounted or not.
    pub fn disks(&self) -> impl Iterator<Item = &Arc<Disk>> {
        self.disks.iter().map(|kept| &kept.disk)
    }

    pub fn fillers(&self) -> impl Iterator<Item = (&Arc<Disk>, &Arc<Filler>)> {
        self.disks.iter().map(|kept| (&kept.disk, &kept.filler))
    }

    pub fn disk(&self, id: &DiskId) -> Option<&Arc<Disk>> {
        self.kept(id).map(|kept| &kept.disk)
    }

    /// The sealed file of an order. Errors if its disk is not there: then it is not lost, but out of reach.
    pub fn file(&self, record: &Record) -> Result<PathBuf, Error> {
        let disk = record.disk.unwrap_or_default();
        let disk = self.disk(&disk).ok_or(Error::NoDisk(disk))?;
        if !disk.present() {
            return Err(Error::Missing(disk.path.clone()));
        }
        Ok(sealed::path(&disk.path, &record.content.id()))
    }

    /// The sealed file of an order that the index does not know, wherever it is.
    pub fn find(&self, order: &OrderId) -> Option<PathBuf> {
        self.disks()
            .filter(|disk| disk.present())
            .map(|disk| sealed::path(&disk.path, order))
            .find(|path| path.exists())
    }

    /// The mounted disk with the most room, if a file of this size fits there.
    pub fn choose(&self, size: u64) -> Option<DiskId> {
        let needed = sealed::length(size);
        let room = |kept: &Kept| (self.room(kept), kept.disk.id);
        let (room, disk) = self.disks.iter().filter(|kept| kept.disk.present()).map(room).max()?;
        (room >= needed).then_some(disk)
    }

    /// Promises a disk's space to an order. `false` if there is not enough.
    pub fn promise(&self, order: &OrderId, disk: &DiskId, size: u64) -> bool {
        let Some(kept) = self.kept(disk) else { return false };
        let promised = sealed::length(size);
        if self.promised_to(order) >= promised {
            return true;
        }
        if self.room(kept) < promised {
            return false;
        }
        self.accounts().entry(*disk).or_default().in_work.insert(*order, InWork { promised, granted: 0 });
        true
    }

    /// Makes room for the first `bytes` bytes of an order's file: filler gives way.
    pub async fn grant(&self, order: &OrderId, disk: &DiskId, bytes: u64, enclave: &Enclave) -> Result<(), Error> {
        let kept = self.kept(disk).ok_or(Error::NoDisk(*disk))?;
        if let Some(in_work) = self.accounts().entry(*disk).or_default().in_work.get_mut(order) {
            in_work.granted = in_work.granted.max(bytes.min(in_work.promised));
        }
        let target = self.filler_target(disk);
        if kept.filler.length() > target {
            // A little more than needed, so that many small files do not each cost a record of the enclave's log.
            kept.filler.shrink(enclave, target.saturating_sub(STEP)).await?;
        }
        Ok(())
    }

    /// Takes back what was promised to an order.
    pub fn release(&self, order: &OrderId) {
        for account in self.accounts().values_mut() {
            account.in_work.remove(order);
        }
    }

    /// Books a finished file.
    pub fn sealed(&self, record: &Record) {
        self.release(&record.content.id());
        self.count_file(record);
    }

    /// Books a file off.
    pub fn removed(&self, record: &Record) {
        if let Some(disk) = record.disk {
            let mut accounts = self.accounts();
            let account = accounts.entry(disk).or_default();
            account.sealed = account.sealed.saturating_sub(sealed::length(record.content.size));
            account.stored = account.stored.saturating_sub(record.content.size);
            account.files = account.files.saturating_sub(1);
        }
    }

    /// Bytes that filler may have on a disk now.
    pub fn filler_target(&self, disk: &DiskId) -> u64 {
        let Some(kept) = self.kept(disk) else { return 0 };
        let account = self.accounts().get(disk).cloned().unwrap_or_default();
        let granted = account.in_work.values().fold(0_u64, |sum, order| sum.saturating_add(order.granted));
        let capacity = kept.disk.capacity();
        let target = capacity.saturating_sub(reserve(capacity)).saturating_sub(account.sealed).saturating_sub(granted);
        target / filler::PAGE * filler::PAGE
    }

    /// Sets what may be used of a disk, for good.
    pub fn set_capacity(&self, disk: &DiskId, configured: u64, bytes: u64) -> Result<(), Error> {
        let kept = self.kept(disk).ok_or(Error::NoDisk(*disk))?;
        self.index.set_meta(capacity_key(disk), &(configured, bytes))?;
        kept.disk.set_capacity(bytes);
        Ok(())
    }

    /// What every disk holds.
    pub fn usage(&self) -> Vec<Usage> {
        let usage = |kept: &Kept| {
            let account = self.accounts().get(&kept.disk.id).cloned().unwrap_or_default();
            Usage {
                id: hex::encode(kept.disk.id),
                path: kept.disk.path.display().to_string(),
                present: kept.disk.present(),
                capacity: kept.disk.capacity(),
                stored_bytes: account.stored,
                filler_bytes: kept.filler.length(),
                files: account.files,
                promised_bytes: account.in_work.values().fold(0, |sum: u64, order| sum.saturating_add(order.promised)),
            }
        };
        self.disks.iter().map(usage).collect()
    }

    /// Runs index work, which does file I/O, off the async runtime.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Index) -> Result<T, index::Error> + Send + 'static,
    ) -> Result<T, Error> {
        let index = self.index.clone();
        match tokio::task::spawn_blocking(move || work(&index)).await {
            Ok(result) => Ok(result?),
            Err(error) => Err(Error::Io { path: PathBuf::from("the index"), source: io::Error::other(error) }),
        }
    }

    /// Bytes that another order could have on a disk: all but sealed files and promises, as far as the file system has
    /// them too.
    fn room(&self, kept: &Kept) -> u64 {
        let account = self.accounts().get(&kept.disk.id).cloned().unwrap_or_default();
        let taken = account.in_work.values().fold(account.sealed, |sum, order| sum.saturating_add(order.promised));
        let capacity = kept.disk.capacity();
        let room = capacity.saturating_sub(reserve(capacity)).saturating_sub(taken);
        let outstanding = account.in_work.values().fold(0_u64, |sum, order| sum.saturating_add(order.promised));
        let free = kept.disk.free().unwrap_or_default().saturating_add(kept.filler.length());
        room.min(free.saturating_sub(reserve(capacity)).saturating_sub(outstanding))
    }

    fn promised_to(&self, order: &OrderId) -> u64 {
        self.accounts().values().filter_map(|account| account.in_work.get(order)).map(|order| order.promised).sum()
    }

    fn kept(&self, id: &DiskId) -> Option<&Kept> {
        self.disks.iter().find(|kept| kept.disk.id == *id)
    }

    fn accounts(&self) -> MutexGuard<'_, BTreeMap<DiskId, Account>> {
        // Every change is one step: a poisoned account is whole.
        self.accounts.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// What is left free of a capacity, for the copy of the log and the file system's own needs.
pub fn reserve(capacity: u64) -> u64 {
    (capacity / 64).min(1 << 30)
}

/// 16 bytes from the system.
fn random() -> Result<[u8; 16], Error> {
    let mut bytes = [0; 16];
    io::Read::read_exact(&mut File::open("/dev/urandom").map_err(Error::Random)?, &mut bytes).map_err(Error::Random)?;
    Ok(bytes)
}

fn capacity_key(disk: &DiskId) -> String {
    format!("capacity {}", hex::encode(disk))
}

fn lock(path: &Path) -> Result<File, Error> {
    let error = |source| Error::Io { path: path.to_owned(), source };
    let mut options = fs::OpenOptions::new();
    let file = options.write(true).create(true).truncate(false).mode(0o600).open(path).map_err(error)?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(Error::InUse(path.parent().map(Path::to_owned).unwrap_or_default())),
        Err(errno) => Err(error(errno.into())),
    }
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
