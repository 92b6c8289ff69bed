//! What a succession changes in the state directory: another enclave's log takes the place of the log, and for an upgrade
//! another socket that of the enclave.
//!
//! An upgrade is decided by one entry in the index, made when the next log is complete. From then on every start finishes
//! it, so that a crash at any step has the same end. A standby has had no log so far; there the log's name decides.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use codec::{Decode, DecodeAll, Encode};
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

/// Signing and channel key of the heir that began a log, kept beside it; `None` if they are not known.
pub fn keys_of_heir(log: &Path) -> Result<Option<(Key, Key)>, Error> {
    let path = keys_beside(log);
    match fs::read(&path) {
        Ok(bytes) => Ok(DecodeAll::decode_all(&mut bytes.as_slice()).ok()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Io { path, source }),
    }
}

/// Keeps them, for good when this returns.
pub fn keep_keys_of_heir(log: &Path, keys: (Key, Key)) -> Result<(), Error> {
    let path = keys_beside(log);
    let part = path.with_extension("tmp");
    let written = File::create(&part).and_then(|mut file| {
        file.write_all(&keys.encode())?;
        file.sync_all()
    });
    written.map_err(|source| Error::Io { path: part.clone(), source })?;
    rename(&part, &path)
}

fn keys_beside(log: &Path) -> PathBuf {
    log.with_extension("keys")
}

/// Puts the log of an heir aside, if there is one: another begins. What it says is not to be had again, so it is kept.
pub fn put_heir_aside(log: &Path) -> Result<(), Error> {
    if !log.exists() {
        return Ok(());
    }
    let named = |at: u32| {
        let mut name = log.as_os_str().to_owned();
        name.push(format!(".before-{at}"));
        PathBuf::from(name)
    };
    let aside = (1..).map(named).find(|path| !path.exists()).unwrap_or_else(|| named(0));
    tracing::warn!(log = %log.display(), aside = %aside.display(), "the heir's log is of another enclave; it is kept aside");
    rename(log, &aside)
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
    if let Some(switch) = index.meta::<Option<Switch>>(Switch::NAME)?.flatten() {
        switch.finish(index, state)?;
    }
    // One that has become the node is nobody's heir.
    let heir = keys_of_heir(&heirs_log(state))?;
    if heir.is_some() && heir == index.meta(KEYS)? {
        forget_heir(state)?;
    }
    Ok(())
}

impl Switch {
    fn finish(self, index: &Index, state: &Path) -> Result<(), Error> {
        let Switch { configured, socket, keys } = self;
        tracing::info!(enclave = socket, "another enclave takes this node over");
        index.set_meta(SOCKET, &(configured, socket))?;
        index.set_meta(KEYS, &keys)?;
        let next = next_log(state);
        if next.exists() {
            put_in_place(&next, state)?;
        }
        forget_heir(state)?;
        index.set_meta(WANTED, &None::<String>)?;
        Ok(index.set_meta(Switch::NAME, &None::<Switch>)?)
    }
}

fn forget_heir(state: &Path) -> Result<(), Error> {
    let log = heirs_log(state);
    remove(&log)?;
    remove(&keys_beside(&log))
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

/// Makes the state directory of a standby, whose next log is complete, that of the node whose disks it has. What a copy of
/// that node's index says of its enclaves is of its machine.
pub fn become_node(config: &Config, keys: (Key, Key)) -> Result<(), Error> {
    let known = Known { owner: owner_of(&config.disks)?, disks: BTreeMap::new() };
    known.save(&config.state.join("disks.json"))?;
    let index = Index::open(&config.state.join("index.redb"))?;
    let socket = config.enclave.to_string_lossy().into_owned();
    index.set_meta(Switch::NAME, &None::<Switch>)?;
    index.set_meta(WANTED, &None::<String>)?;
    index.set_meta(SOCKET, &(socket.clone(), socket))?;
    index.set_meta(KEYS, &keys)?;
    put_in_place(&next_log(&config.state), &config.state)
}

fn put_in_place(next: &Path, state: &Path) -> Result<(), Error> {
    rename(next, &log(state))
}

/// Gives a file another name in its folder, for good.
fn rename(from: &Path, to: &Path) -> Result<(), Error> {
    let folder = to.parent().unwrap_or(Path::new("."));
    let moved = fs::rename(from, to).and_then(|()| File::open(folder)?.sync_all());
    moved.map_err(|source| Error::Io { path: to.to_owned(), source })
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
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
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
            keep_keys_of_heir(&heirs_log(state), ([1; 32], [2; 32])).unwrap();
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
                assert_eq!(keys_of_heir(&heirs_log(state)).unwrap(), None);
                assert_eq!(index.meta::<(Key, Key)>(KEYS).unwrap(), Some(([1; 32], [2; 32])));
                assert_eq!(index.meta::<Option<String>>(WANTED).unwrap(), Some(None));
            }
            // Until the configuration says another.
            assert_eq!(socket(&index, &at("/a")).unwrap(), at("/b"));
            assert_eq!(socket(&index, &at("/c")).unwrap(), at("/c"));
        }
    }

    /// A standby with a copy of the dead machine's index, which was upgraded and was being upgraded.
    #[test]
    fn whoever_takes_a_node_over_keeps_to_its_own_enclave() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("storage.toml");
        fs::write(&path, include_str!("../../tests/storage.toml")).unwrap();
        let config = Config::load(&path).unwrap();
        for folder in [&config.state, &config.disks[0].path] {
            fs::create_dir(folder).unwrap();
        }
        let id = format!("crust disk 1\n{}\n{}\n", hex::encode([3; 16]), hex::encode([4; 16]));
        fs::write(config.disks[0].path.join("crust-disk"), id).unwrap();
        let (dead, own) = (([1; 32], [2; 32]), ([5; 32], [6; 32]));
        let enclave = config.enclave.to_str().unwrap().to_owned();
        let index = Index::open(&config.state.join("index.redb")).unwrap();
        index.set_meta(KEYS, &dead).unwrap();
        index.set_meta(SOCKET, &(enclave.clone(), "/dead/b".to_owned())).unwrap();
        index.set_meta(WANTED, &Some("/dead/c".to_owned())).unwrap();
        let switch = Switch { configured: enclave, socket: "/dead/c".into(), keys: dead };
        index.set_meta(Switch::NAME, &Some(switch)).unwrap();
        drop(index);
        let heir = heirs_log(&config.state);
        fs::write(&heir, "the heir's").unwrap();
        keep_keys_of_heir(&heir, own).unwrap();
        fs::write(next_log(&config.state), "the next").unwrap();

        become_node(&config, own).unwrap();
        let index = Index::open(&config.state.join("index.redb")).unwrap();
        finish(&index, &config.state).unwrap();
        assert_eq!(socket(&index, &config.enclave).unwrap(), config.enclave);
        assert_eq!(index.meta::<Option<String>>(WANTED).unwrap(), Some(None));
        assert_eq!(index.meta::<(Key, Key)>(KEYS).unwrap(), Some(own));
        assert_eq!(fs::read(log(&config.state)).unwrap(), b"the next");
        assert!(!heir.exists(), "an upgrade would take it for the next enclave's");
    }

    #[test]
    fn what_is_known_of_an_heir_is_kept_and_its_log_only_put_aside() {
        let dir = tempfile::tempdir().unwrap();
        let heir = heirs_log(dir.path());
        assert_eq!(keys_of_heir(&heir).unwrap(), None);
        keep_keys_of_heir(&heir, ([1; 32], [2; 32])).unwrap();
        assert_eq!(fs::read(dir.path().join("heir.keys")).unwrap(), [[1; 32], [2; 32]].concat());
        assert_eq!(keys_of_heir(&heir).unwrap(), Some(([1; 32], [2; 32])));
        put_heir_aside(&heir).unwrap();
        for (at, bytes) in [(1, "first"), (2, "second")] {
            fs::write(&heir, bytes).unwrap();
            put_heir_aside(&heir).unwrap();
            let aside = dir.path().join(format!("heir.log.before-{at}"));
            assert!(!heir.exists());
            assert_eq!(fs::read_to_string(aside).unwrap(), bytes);
        }
    }
}
