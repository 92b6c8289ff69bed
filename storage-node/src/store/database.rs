//! The file of the index: one redb database, opened anew after an error of its disk, set aside when it cannot be read.
//!
//! After an I/O error (a full disk, say) redb answers nothing any more, so the file is closed and opened again. A file
//! that is damaged is not worth a node: everything in it can be found again, so it is moved out of the way and an empty
//! one takes its place. One that proves damaged while it is in use is marked, and goes at the next start.

use std::{
    fs::{self, File},
    panic::{AssertUnwindSafe, catch_unwind},
    path::{Path, PathBuf},
    sync::{PoisonError, RwLock, RwLockReadGuard},
    time::{Duration, Instant},
};

use redb::{DatabaseError, ReadTransaction, ReadableDatabase, StorageError, WriteTransaction};

use super::index::Error;

/// Bytes that redb may cache. Small on purpose.
const CACHE: usize = 8 << 20;
/// Time between two attempts to open the file again.
const AGAIN: Duration = Duration::from_secs(1);

/// The database and how to open it again.
pub struct Database {
    path: PathBuf,
    open: RwLock<Open>,
}

enum Open {
    Yes(redb::Database),
    /// Not since then: the last attempt failed with this.
    No(Instant, String),
}

impl Database {
    /// Opens or creates the file.
    pub fn open(path: &Path) -> Result<Self, Error> {
        if marker(path).exists() {
            set_aside(path, "it was found damaged while it was in use");
        }
        let database = match open(path) {
            Ok(database) => database,
            Err(error) if damaged(&error) => {
                set_aside(path, &error.to_string());
                open(path)?
            }
            Err(error) => return Err(error.into()),
        };
        Ok(Database { path: path.to_owned(), open: RwLock::new(Open::Yes(database)) })
    }

    /// Reads, all in one state.
    pub fn read<T>(&self, work: impl FnOnce(&ReadTransaction) -> Result<T, Error>) -> Result<T, Error> {
        self.with(|database| work(&database.begin_read()?))
    }

    /// Writes, all or nothing, durably.
    pub fn write<T>(&self, work: impl FnOnce(&WriteTransaction) -> Result<T, Error>) -> Result<T, Error> {
        self.with(|database| {
            let mut write = database.begin_write()?;
            // Or else a start after a kill reads the whole file.
            write.set_quick_repair(true);
            let result = work(&write)?;
            write.commit()?;
            Ok(result)
        })
    }

    fn with<T>(&self, work: impl FnOnce(&redb::Database) -> Result<T, Error>) -> Result<T, Error> {
        let result = match &*self.opened()? {
            Open::Yes(database) => {
                // The library trusts its own pages: damaged ones may make it panic.
                catch_unwind(AssertUnwindSafe(|| work(database))).unwrap_or(Err(Error::Entry("database")))
            }
            Open::No(_, error) => Err(Error::Closed(error.clone())),
        };
        match &result {
            Err(Error::Database(error)) if matches!(**error, redb::Error::Io(_) | redb::Error::PreviousIo) => {
                self.close(error.to_string());
            }
            Err(Error::Entry(_)) => self.mark(),
            Err(Error::Database(error)) if matches!(**error, redb::Error::Corrupted(_)) => self.mark(),
            _ => (),
        }
        result
    }

    /// The database, opened again if it is time.
    fn opened(&self) -> Result<RwLockReadGuard<'_, Open>, Error> {
        let guard = self.open.read().unwrap_or_else(PoisonError::into_inner);
        match &*guard {
            Open::No(since, _) if since.elapsed() >= AGAIN => (),
            _ => return Ok(guard),
        }
        drop(guard);
        let mut slot = self.open.write().unwrap_or_else(PoisonError::into_inner);
        if matches!(&*slot, Open::No(since, _) if since.elapsed() >= AGAIN) {
            *slot = match open(&self.path) {
                Ok(database) => Open::Yes(database),
                Err(error) => Open::No(Instant::now(), error.to_string()),
            };
        }
        drop(slot);
        Ok(self.open.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Closes the file after an I/O error, and opens it again at once if that is possible.
    fn close(&self, error: String) {
        let mut slot = self.open.write().unwrap_or_else(PoisonError::into_inner);
        if matches!(&*slot, Open::Yes(_)) {
            tracing::error!("the index cannot be written: {error}");
            // The old handle has to be gone before the file can be opened again.
            *slot = Open::No(Instant::now(), error);
            if let Ok(database) = open(&self.path) {
                *slot = Open::Yes(database);
            }
        }
    }

    fn mark(&self) {
        let marker = marker(&self.path);
        if !marker.exists() {
            tracing::error!("the index is damaged; it is made anew when the daemon is started again");
            File::create(marker).ok();
        }
    }
}

/// redb panics on some files that are no database of its own.
fn open(path: &Path) -> Result<redb::Database, DatabaseError> {
    let open = || redb::Database::builder().set_cache_size(CACHE).create(path);
    catch_unwind(AssertUnwindSafe(open))
        .unwrap_or_else(|_| Err(StorageError::Corrupted("opening it failed in the library".into()).into()))
}

fn damaged(error: &DatabaseError) -> bool {
    match error {
        DatabaseError::Storage(StorageError::Corrupted(_))
        | DatabaseError::UpgradeRequired(_)
        | DatabaseError::RepairAborted => true,
        DatabaseError::Storage(StorageError::Io(error)) => {
            matches!(error.kind(), std::io::ErrorKind::InvalidData | std::io::ErrorKind::UnexpectedEof)
        }
        _ => false,
    }
}

fn marker(path: &Path) -> PathBuf {
    path.with_extension("damaged")
}

/// Moves a file that cannot be used out of the way; one that was moved before gives way.
fn set_aside(path: &Path, why: &str) {
    let aside = path.with_extension("aside");
    tracing::error!(index = %path.display(), aside = %aside.display(), "the index is made anew: {why}");
    fs::rename(path, aside).ok();
    fs::remove_file(marker(path)).ok();
}
