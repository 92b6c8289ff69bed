//! What a state directory must know even if the index is lost: which id it goes by on its disks, and which disk stood
//! where. `disks.json` beside the index, written anew as a whole when a disk is added.
//!
//! Without it a disk could not be told from another node's, nor an empty mount point from a new disk.

use std::{
    collections::BTreeMap,
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use serde::{Deserialize, Serialize};

use super::disks::{DiskId, Owner};

const VERSION: u32 = 1;

/// Why it cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{path}: {source}")]
    Io { path: PathBuf, source: io::Error },
    #[error("{0} cannot be read as the list of this node's disks; put it back from a copy")]
    Damaged(PathBuf),
}

/// The id of a state directory, and its disks by their paths.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Known {
    pub owner: Owner,
    pub disks: BTreeMap<PathBuf, DiskId>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OnDisk {
    version: u32,
    owner: String,
    disks: BTreeMap<PathBuf, String>,
}

impl Known {
    /// What the file says; `None` if there is none.
    pub fn load(path: &Path) -> Result<Option<Self>, Error> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::Io { path: path.to_owned(), source }),
        };
        let known = serde_json::from_slice::<OnDisk>(&bytes).ok().and_then(|on_disk| {
            let disks = on_disk.disks.into_iter().map(|(path, text)| Some((path, id(&text)?)));
            (on_disk.version == VERSION)
                .then_some(Known { owner: id(&on_disk.owner)?, disks: disks.collect::<Option<_>>()? })
        });
        known.map(Some).ok_or_else(|| Error::Damaged(path.to_owned()))
    }

    /// Replaces the file.
    pub fn save(&self, path: &Path) -> Result<(), Error> {
        let disks = self.disks.iter().map(|(path, id)| (path.clone(), hex::encode(id))).collect();
        let on_disk = OnDisk { version: VERSION, owner: hex::encode(self.owner), disks };
        let write = || {
            let part = path.with_extension("tmp");
            let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
            file.write_all(&serde_json::to_vec_pretty(&on_disk)?)?;
            file.sync_all()?;
            fs::rename(&part, path)?;
            path.parent().map_or(Ok(()), |dir| File::open(dir)?.sync_all())
        };
        write().map_err(|source| Error::Io { path: path.to_owned(), source })
    }
}

fn id(text: &str) -> Option<[u8; 16]> {
    hex::decode(text).ok()?.try_into().ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn it_comes_back_as_it_was_and_nothing_else_is_taken_for_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("disks.json");
        assert_eq!(Known::load(&path).unwrap(), None);
        let known = Known { owner: [7; 16], disks: [("/mnt/a".into(), [1; 16]), ("/mnt/b".into(), [2; 16])].into() };
        known.save(&path).unwrap();
        known.save(&path).unwrap();
        assert_eq!(Known::load(&path).unwrap(), Some(known));
        let text = fs::read_to_string(&path).unwrap();
        for wrong in ["", "{}", &text.replace("\"version\": 1", "\"version\": 2"), &text.replace("0707", "07")] {
            fs::write(&path, wrong).unwrap();
            assert!(matches!(Known::load(&path), Err(Error::Damaged(_))), "{wrong}");
        }
    }
}
