//! All that the node keeps: the enclave's log and the index in the state directory, sealed files and filler on the
//! disks. Owns the count of who may use how much of a disk, so that no byte is promised twice.
//!
//! A disk's capacity is shared by sealed files, files in work and filler. Filler has what the others leave: an order
//! that is taken is *promised* its whole length at once, which keeps other orders away, and is *granted* it step by
//! step as its bytes arrive, which is when filler gives way.

mod database;
mod direct;
pub mod disks;
pub mod filler;
pub mod index;
pub mod log;
mod owner;
mod parity;
pub mod sealed;
mod space;
pub mod successor;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, PoisonError, RwLock,
        atomic::{AtomicU64, Ordering},
    },
};

use crust_protocol::order::OrderId;

use disks::{Disk, DiskId};
use filler::Filler;
use index::{Index, Record};
use log::{CopyAt, Log};
use owner::Known;
use space::Account;

pub use space::{Usage, reserve};

use crate::config::{self, Config};

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
    Owner(#[from] owner::Error),
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

/// Disks, index and their accounts.
pub struct Store {
    pub index: Arc<Index>,
    disks: RwLock<Vec<Arc<Kept>>>,
    /// `disks.json`
    known: Mutex<(PathBuf, Known)>,
    accounts: Mutex<BTreeMap<DiskId, Account>>,
    /// Whether files get parity.
    pub parity: bool,
    state: PathBuf,
    /// Held for the daemon's life: one daemon a state directory.
    _lock: File,
}

/// A disk and its filler.
struct Kept {
    disk: Arc<Disk>,
    /// The capacity that the configuration says.
    configured: AtomicU64,
    filler: Arc<Filler>,
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
        successor::finish(&index, state)?;
        let path = state.join("disks.json");
        let known = match Known::load(&path)? {
            Some(known) => known,
            None => {
                let known = Known { owner: random()?, disks: BTreeMap::new() };
                // Known for good before any disk says so.
                known.save(&path)?;
                known
            }
        };
        let mut store = Store {
            index: Arc::new(index),
            disks: RwLock::default(),
            known: Mutex::new((path, known)),
            accounts: Mutex::new(BTreeMap::new()),
            parity: config.parity,
            state: state.clone(),
            _lock: lock,
        };
        store.configure(&config.disks)?;
        let kept = store.disks.get_mut().unwrap_or_else(PoisonError::into_inner);
        let log = Log::open(successor::log(state), copy_of_log(state, kept))?;
        store.count()?;
        Ok((store, log))
    }

    /// Takes up the disks of a configuration: new ones, and what it says of those that are known. One that is no longer
    /// named stays until the next start. Paths of disks that are new.
    pub fn configure(&self, disks: &[config::Disk]) -> Result<Vec<PathBuf>, Error> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (path, known) = &mut *known;
        let configured: Vec<_> = disks.iter().map(|disk| (disk.path.clone(), disk.capacity.0)).collect();
        let (seed, mut drawn) = (random()?, 0_u64);
        let draw = || {
            drawn = drawn.saturating_add(1);
            let mut id = [0; 16];
            let drawn = crust_protocol::h(&[b"disk", &seed, &drawn.to_le_bytes()]);
            id.iter_mut().zip(drawn).for_each(|(to, from)| *to = from);
            id
        };
        let opened = disks::open(&configured, |path| known.disks.get(path).copied(), known.owner, draw)?;
        // What cannot be looked up is kept.
        let in_work = |order: &OrderId| self.index.order(order).map_or(true, |it| it.is_some_and(|it| it.is_in_work()));
        let before = known.disks.clone();
        known.disks.extend(opened.iter().map(|disk| (disk.path.clone(), disk.id)));
        if known.disks != before {
            known.save(path)?;
        }
        let mut added = Vec::new();
        for disk in opened {
            let configured = disk.capacity();
            if let Some(kept) = self.kept(&disk.id) {
                if kept.configured.swap(configured, Ordering::Relaxed) != configured {
                    kept.disk.set_capacity(configured);
                }
                continue;
            }
            if let Some((then, chosen)) = self.index.meta::<(u64, u64)>(capacity_key(&disk.id))?
                && then == configured
            {
                disk.set_capacity(chosen);
            }
            if disk.present()
                && let Err(error) = sealed::sweep(&disk.path, in_work)
            {
                tracing::error!(disk = %disk.path.display(), "what was cut off cannot be removed: {error}");
            }
            let disk = Arc::new(disk);
            added.push(disk.path.clone());
            let filler = Arc::new(Filler::new(disk.clone()));
            let kept = Arc::new(Kept { filler, disk, configured: AtomicU64::new(configured) });
            self.disks.write().unwrap_or_else(PoisonError::into_inner).push(kept);
        }
        Ok(added)
    }

    /// Every disk of the configuration, mounted or not.
    pub fn disks(&self) -> Vec<Arc<Disk>> {
        self.all_kept().iter().map(|kept| kept.disk.clone()).collect()
    }

    pub fn fillers(&self) -> Vec<(Arc<Disk>, Arc<Filler>)> {
        self.all_kept().iter().map(|kept| (kept.disk.clone(), kept.filler.clone())).collect()
    }

    pub fn disk(&self, id: &DiskId) -> Option<Arc<Disk>> {
        self.kept(id).map(|kept| kept.disk.clone())
    }

    /// The filler of a disk.
    pub fn filler(&self, id: &DiskId) -> Option<Arc<Filler>> {
        self.kept(id).map(|kept| kept.filler.clone())
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

    /// The disk that has the sealed file of an order, whatever the index says.
    pub fn find(&self, order: &OrderId) -> Option<Arc<Disk>> {
        self.disks().into_iter().find(|disk| disk.present() && sealed::path(&disk.path, order).exists())
    }

    /// Whether all disks of the configuration are there.
    pub fn all_present(&self) -> bool {
        self.all_kept().iter().all(|kept| kept.disk.present())
    }

    /// Sets what may be used of a disk, until the configuration says another.
    pub fn set_capacity(&self, disk: &DiskId, bytes: u64) -> Result<(), Error> {
        let kept = self.kept(disk).ok_or(Error::NoDisk(*disk))?;
        let configured = kept.configured.load(Ordering::Relaxed);
        self.index.set_meta(capacity_key(disk), &(configured, bytes))?;
        kept.disk.set_capacity(bytes);
        Ok(())
    }

    /// The log that an heir of this node's enclave has begun.
    pub fn heirs_log(&self) -> PathBuf {
        successor::heirs_log(&self.state)
    }

    /// The log that takes the place of this one when the heir does.
    pub fn next_log(&self) -> PathBuf {
        successor::next_log(&self.state)
    }

    /// The enclave's socket: that of the configuration, unless an upgrade went from there to another.
    pub fn socket(&self, configured: &Path) -> Result<PathBuf, Error> {
        successor::socket(&self.index, configured)
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

    fn all_kept(&self) -> Vec<Arc<Kept>> {
        self.disks.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn kept(&self, id: &DiskId) -> Option<Arc<Kept>> {
        self.disks.read().unwrap_or_else(PoisonError::into_inner).iter().find(|kept| kept.disk.id == *id).cloned()
    }
}

/// Where the log's second copy goes: the first disk on another device than the state directory, or else any where there
/// are several.
fn copy_of_log(state: &Path, kept: &[Arc<Kept>]) -> Option<CopyAt> {
    let device = |path: &Path| fs::metadata(path).ok().map(|metadata| metadata.dev());
    let present = || kept.iter().filter(|kept| kept.disk.present());
    let other = present().find(|kept| device(&kept.disk.path) != device(state));
    let disk = other.or_else(|| present().next().filter(|_| kept.len() > 1))?.disk.clone();
    Some(CopyAt { path: successor::log(&disk.path), is_there: Box::new(move || disk.present()) })
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

/// Keeps every other daemon off a state directory.
pub fn lock(path: &Path) -> Result<File, Error> {
    let error = |source| Error::Io { path: path.to_owned(), source };
    let mut options = fs::OpenOptions::new();
    let file = options.write(true).create(true).truncate(false).mode(0o600).open(path).map_err(error)?;
    match rustix::fs::flock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(Error::InUse(path.parent().map(Path::to_owned).unwrap_or_default())),
        Err(errno) => Err(error(errno.into())),
    }
}
