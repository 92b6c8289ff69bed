//! The disks: directories that carry an id file each. A disk is known by its id, so one that is mounted elsewhere is
//! found again, and one that is not mounted is missing: its files stay known, cannot be read, and cost nothing but
//! that. A directory in which a known disk is missing is never written to: it is an empty mount point.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

/// A disk's id, drawn when its directory is first used. The enclave knows disks by it.
pub type DiskId = [u8; 16];
/// Who a disk belongs to: an id that a node's state directory draws for itself.
pub type Owner = [u8; 16];

const ID_FILE: &str = "crust-disk";

/// Why a disk cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("disk {path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error(
        "disk {0}: belongs to another node (or to an earlier state directory of this one). Name another directory, or \
         put that state directory back"
    )]
    Foreign(PathBuf),
    #[error("disk {path}: its id file `{ID_FILE}` cannot be read as one; put it back from a copy")]
    IdFile { path: PathBuf },
    #[error("disks {0} and {1} have the same id: one is a copy of the other. Remove the copy from the configuration")]
    Twice(PathBuf, PathBuf),
}

/// A disk of the configuration.
#[derive(Debug)]
pub struct Disk {
    pub id: DiskId,
    pub path: PathBuf,
    owner: Owner,
    capacity: AtomicU64,
}

impl Disk {
    /// Bytes that the node may use there.
    pub fn capacity(&self) -> u64 {
        self.capacity.load(Ordering::Relaxed)
    }

    pub fn set_capacity(&self, bytes: u64) {
        self.capacity.store(bytes, Ordering::Relaxed);
    }

    /// Whether the disk is there now, with its own id.
    pub fn present(&self) -> bool {
        matches!(read_id(&self.path), Ok(Some((id, owner))) if id == self.id && owner == self.owner)
    }

    /// Bytes that its file system has left for us.
    pub fn free(&self) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(&self.path)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

/// Finds the disks of the configuration: (path, capacity) each. `known` says which id stood at a path before; a new
/// directory gets an id from `draw`.
pub fn open(
    configured: &[(PathBuf, u64)],
    known: impl Fn(&Path) -> Option<DiskId>,
    owner: Owner,
    mut draw: impl FnMut() -> DiskId,
) -> Result<Vec<Disk>, Error> {
    let mut disks: Vec<Disk> = Vec::new();
    for (path, capacity) in configured {
        let id = match (read_id(path), known(path)) {
            (Ok(Some((_, other))), _) if other != owner => return Err(Error::Foreign(path.clone())),
            (Ok(Some((id, _))), _) => id,
            // One disk that fails stops the others not.
            (Err(error), Some(id)) => {
                tracing::error!("{error}; its files are kept and cannot be read");
                id
            }
            (Err(error), None) => return Err(error),
            (Ok(None), Some(id)) => {
                tracing::warn!(disk = %path.display(), "the disk is missing; its files are kept and cannot be read");
                id
            }
            (Ok(None), None) => {
                let id = draw();
                write_id(path, id, owner).map_err(|source| Error::Io { path: path.clone(), source })?;
                id
            }
        };
        if let Some(other) = disks.iter().find(|disk| disk.id == id) {
            return Err(Error::Twice(other.path.clone(), path.clone()));
        }
        disks.push(Disk { id, path: path.clone(), owner, capacity: AtomicU64::new(*capacity) });
    }
    Ok(disks)
}

/// The id file: `crust disk 1`, the disk's id, its owner's, a line each.
pub(super) fn read_id(path: &Path) -> Result<Option<(DiskId, Owner)>, Error> {
    let text = match fs::read_to_string(path.join(ID_FILE)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(Error::Io { path: path.to_owned(), source }),
    };
    let mut lines = text.lines();
    let version = lines.next();
    let mut id = || -> Option<[u8; 16]> { hex::decode(lines.next()?).ok()?.try_into().ok() };
    match (version, id(), id()) {
        (Some("crust disk 1"), Some(id), Some(owner)) => Ok(Some((id, owner))),
        _ => Err(Error::IdFile { path: path.to_owned() }),
    }
}

fn write_id(path: &Path, id: DiskId, owner: Owner) -> io::Result<()> {
    fs::create_dir_all(path)?;
    let part = path.join("crust-disk.tmp");
    let mut file = File::create(&part)?;
    write!(file, "crust disk 1\n{}\n{}\n", hex::encode(id), hex::encode(owner))?;
    file.sync_all()?;
    fs::rename(part, path.join(ID_FILE))?;
    File::open(path)?.sync_all()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use super::*;

    const OWNER: Owner = [7; 16];

    fn open_one(path: &Path, known: Option<DiskId>, owner: Owner) -> Result<Disk, Error> {
        let mut disks = open(&[(path.to_owned(), 9)], |_| known, owner, || [1; 16])?;
        Ok(disks.remove(0))
    }

    #[test]
    fn a_new_directory_gets_an_id_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        let disk = open_one(&path, None, OWNER).unwrap();
        assert!(disk.present());
        assert!(disk.free().unwrap() > 0);
        let again = open(&[(path, 9)], |_| None, OWNER, || [2; 16]).unwrap();
        assert_eq!(again[0].id, [1; 16]);
    }

    #[test]
    fn a_missing_disk_is_kept_and_its_mount_point_untouched() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disk");
        fs::create_dir(&path).unwrap();
        let disk = open_one(&path, Some([5; 16]), OWNER).unwrap();
        assert_eq!(disk.id, [5; 16]);
        assert!(!disk.present());
        assert_eq!(fs::read_dir(&path).unwrap().count(), 0);
        // Mounted late.
        write_id(&path, [5; 16], OWNER).unwrap();
        assert!(disk.present());
        // Another disk in its place is not it.
        write_id(&path, [6; 16], OWNER).unwrap();
        assert!(!disk.present());
    }

    #[test]
    fn a_disk_is_known_by_its_id_not_by_its_path() {
        let dir = tempfile::tempdir().unwrap();
        write_id(&dir.path().join("b"), [5; 16], OWNER).unwrap();
        assert_eq!(open_one(&dir.path().join("b"), Some([4; 16]), OWNER).unwrap().id, [5; 16]);
    }

    #[test]
    fn the_disk_of_another_node_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        write_id(dir.path(), [5; 16], [8; 16]).unwrap();
        assert!(matches!(open_one(dir.path(), None, OWNER), Err(Error::Foreign(_))));
        fs::write(dir.path().join(ID_FILE), "rubbish").unwrap();
        assert!(matches!(open_one(dir.path(), None, OWNER), Err(Error::IdFile { .. })));
        // Of a disk that is known, that is one that fails.
        assert!(!open_one(dir.path(), Some([5; 16]), OWNER).unwrap().present());
    }

    #[test]
    fn a_copied_disk_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let paths = [dir.path().join("a"), dir.path().join("b")];
        for path in &paths {
            write_id(path, [5; 16], OWNER).unwrap();
        }
        let configured = paths.map(|path| (path, 1));
        assert!(matches!(open(&configured, |_| None, OWNER, || [1; 16]), Err(Error::Twice(..))));
    }
}
