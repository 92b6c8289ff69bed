//! What a succession changes in the state directory: another enclave's log takes the place of the log, and for an upgrade
//! another socket that of the enclave.
//!
//! An upgrade is decided by one entry in the index, made when the next log is complete. From then on every start finishes
//! it, so that a crash at any step has the same end. A standby has had no log so far; there the log's name decides.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    path::{Path, PathBuf},
};

use codec::{Decode, Encode};
use crust_protocol::Key;

use super::{Error, disks, index::Index, owner::Known};
use crate::config::{self, Config};

/// Signing and channel key of the enclave that was opened last.
pub const KEYS: &str = "enclave keys";
/// The socket that an upgrade went to, and that of the configuration at that time.
const SOCKET: &str = "enclave socket";
/// The socket of the enclave that the operator wants to upgrade to.
pub const WANTED: &str = "upgrade to";

/// What an upgrade has decided, until it is done.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Switch {
    /// The socket in the configuration, and the one to go to.
    pub configured: String,
    pub socket: String,
    /// Signing and channel key of the enclave there.
    pub keys: (Key, Key),
}

impl Switch {
    /// Its name in the index.
    pub const NAME: &str = "switch";
}

/// The log that an heir of this node's enclave has begun.
pub fn heirs_log(state: &Path) -> PathBuf {
    state.join("heir.log")
}

/// The log of the node.
pub fn log(state: &Path) -> PathBuf {
    state.join("enclave.log")
}

/// The log that takes its place.
pub fn next_log(state: &Path) -> PathBuf {
    state.join("enclave.log.next")
}

/// Does what an upgrade has decided. Before the log is opened.
pub fn finish(index: &Index, state: &Path) -> Result<(), Error> {
    let Some(switch) = index.meta::<Option<Switch>>(Switch::NAME)?.flatten() else { return Ok(()) };
    let Switch { configured, socket, keys } = switch;
    tracing::info!(enclave = socket, "another enclave takes this node over");
    index.set_meta(SOCKET, &(configured, socket))?;
    index.set_meta(KEYS, &keys)?;
    let next = next_log(state);
    if next.exists() {
        put_in_place(&next, state)?;
    }
    remove(&heirs_log(state))?;
    index.set_meta(WANTED, &None::<String>)?;
    Ok(index.set_meta(Switch::NAME, &None::<Switch>)?)
}

/// The enclave's socket: that of the configuration, unless an upgrade went from there to another.
pub fn socket(index: &Index, configured: &Path) -> Result<PathBuf, Error> {
    let went = index.meta::<(String, String)>(SOCKET)?;
    let went = went.filter(|(from, _)| Path::new(from) == configured);
    Ok(went.map_or_else(|| configured.to_owned(), |(_, to)| PathBuf::from(to)))
}

/// All copies of a node's log on the disks that were moved here.
pub fn logs_on_disks(disks: &[config::Disk]) -> Vec<PathBuf> {
    disks.iter().map(|disk| log(&disk.path)).filter(|path| path.is_file()).collect()
}

/// Whether a standby's state directory has become a node's.
pub fn has_succeeded(state: &Path) -> bool {
    log(state).exists()
}

/// Whose disks these are: all of one node, and all there.
pub fn owner_of(disks: &[config::Disk]) -> Result<disks::Owner, Error> {
    let mut owner = None;
    for disk in disks {
        let (_, of) = disks::read_id(&disk.path)?.ok_or_else(|| Error::Missing(disk.path.clone()))?;
        if *owner.get_or_insert(of) != of {
            return Err(disks::Error::Foreign(disk.path.clone()).into());
        }
    }
    owner.ok_or(Error::NoDisk([0; 16]))
}

/// Makes the state directory of a standby, whose next log is complete, that of the node whose disks it has.
pub fn become_node(config: &Config, keys: (Key, Key)) -> Result<(), Error> {
    let known = Known { owner: owner_of(&config.disks)?, disks: BTreeMap::new() };
    known.save(&config.state.join("disks.json"))?;
    Index::open(&config.state.join("index.redb"))?.set_meta(KEYS, &keys)?;
    put_in_place(&next_log(&config.state), &config.state)
}

fn put_in_place(next: &Path, state: &Path) -> Result<(), Error> {
    let path = log(state);
    let moved = fs::rename(next, &path).and_then(|()| File::open(state)?.sync_all());
    moved.map_err(|source| Error::Io { path, source })
}

fn remove(path: &Path) -> Result<(), Error> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(Error::Io { path: path.to_owned(), source: error })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    fn at(text: &str) -> PathBuf {
        PathBuf::from(text)
    }

    /// Whatever was done before the process died, the next start ends where the first would have.
    #[test]
    fn an_upgrade_that_was_decided_is_finished_from_every_step() {
        for done in 0..4 {
            let dir = tempfile::tempdir().unwrap();
            let state = dir.path();
            let index = Index::open(&state.join("index.redb")).unwrap();
            fs::write(log(state), "the first").unwrap();
            fs::write(next_log(state), "the next").unwrap();
            fs::write(heirs_log(state), "the heir's").unwrap();
            index.set_meta(WANTED, &Some("/b".to_owned())).unwrap();
            finish(&index, state).unwrap();
            assert_eq!(fs::read(log(state)).unwrap(), b"the first", "nothing was decided");
            assert_eq!(socket(&index, &at("/a")).unwrap(), at("/a"));

            let switch = Switch { configured: "/a".into(), socket: "/b".into(), keys: ([1; 32], [2; 32]) };
            index.set_meta(Switch::NAME, &Some(switch)).unwrap();
            // Cut off after some of the steps.
            if done > 0 {
                index.set_meta(SOCKET, &("/a".to_owned(), "/b".to_owned())).unwrap();
            }
            if done > 1 {
                fs::rename(next_log(state), log(state)).unwrap();
            }
            if done > 2 {
                remove(&heirs_log(state)).unwrap();
            }
            for _ in 0..2 {
                finish(&index, state).unwrap();
                assert_eq!(fs::read(log(state)).unwrap(), b"the next", "{done}");
                assert!(!next_log(state).exists() && !heirs_log(state).exists());
                assert_eq!(index.meta::<(Key, Key)>(KEYS).unwrap(), Some(([1; 32], [2; 32])));
                assert_eq!(index.meta::<Option<String>>(WANTED).unwrap(), Some(None));
            }
            // Until the configuration says another.
            assert_eq!(socket(&index, &at("/a")).unwrap(), at("/b"));
            assert_eq!(socket(&index, &at("/c")).unwrap(), at("/c"));
        }
    }
}
