//! The store over real directories: disks, space promised and given back, what is left after a crash.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::{fs, path::Path};

use super::*;
use crate::{
    config::{Bytes, Config, Provider},
    store::Error,
};
use crust_protocol::{
    file::{Cid, Codec, HashFunction},
    order::Content,
};

const CAPACITY: u64 = 64 << 20;

fn config(dir: &Path, disks: &[&str]) -> Config {
    let disk = |name: &&str| crate::config::Disk { path: dir.join(name), capacity: Bytes(CAPACITY) };
    Config {
        chain: "ws://127.0.0.1:1".to_owned(),
        state: dir.join("state"),
        enclave: dir.join("enclave.sock"),
        provider: Provider { dev: Some("//Provider0".to_owned()), ..Provider::default() },
        listen: Vec::new(),
        announce: Vec::new(),
        bootstrap: Vec::new(),
        admin: "127.0.0.1:0".parse().unwrap(),
        admin_token: None,
        admin_token_file: None,
        parallel: 2,
        claim_every: None,
        releases: None,
        pccs: None,
        key_from: None,
        standby: None,
        parity: true,
        disks: disks.iter().map(disk).collect(),
    }
}

fn record(nonce: u64, size: u64, disk: DiskId) -> Record {
    let cid = Cid::of(Codec::Raw, HashFunction::Sha2_256, &nonce.to_le_bytes());
    let content = Content { client: [1; 32], nonce, cid, size, audit_root: [0; 32], flags: 0 };
    let mut record = Record::new(content, State::Taken);
    record.disk = Some(disk);
    record
}

#[test]
fn space_is_never_promised_twice() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _log) = Store::open(&config(dir.path(), &["disk"])).unwrap();
    let disk = store.choose(40 << 20).unwrap();
    let all = store.filler_target(&disk);
    let first = record(1, 40 << 20, disk);
    assert!(store.promise(&first.content.id(), &disk, 40 << 20));
    // The same order again is the same promise; another finds what is left.
    assert!(store.promise(&first.content.id(), &disk, 40 << 20));
    assert_eq!(store.choose(40 << 20), None);
    assert!(!store.promise(&[2; 32], &disk, 40 << 20));
    assert!(store.promise(&[3; 32], &disk, 20 << 20));
    store.release(&[3; 32]);
    // Filler has the space until bytes arrive, and does not get it back while the file is there.
    assert_eq!(store.filler_target(&disk), all);
    store.sealed(&Record { state: State::Sealed, ..first.clone() });
    assert!(store.filler_target(&disk) <= all - sealed::footprint(40 << 20));
    assert_eq!(store.choose(40 << 20), None);
    store.removed(&first);
    assert_eq!(store.filler_target(&disk), all);
}

/// An order that moves to another disk keeps its promise there, and gives the first one back.
#[test]
fn a_promise_moves_with_its_order() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _log) = Store::open(&config(dir.path(), &["a", "b"])).unwrap();
    let ids: Vec<_> = store.disks().iter().map(|disk| disk.id).collect();
    assert!(store.promise(&[1; 32], &ids[0], 40 << 20));
    assert!(store.promise(&[1; 32], &ids[1], 40 << 20));
    let promised: Vec<_> = store.usage().iter().map(|disk| disk.promised_bytes).collect();
    assert_eq!(promised, [0, sealed::footprint(40 << 20)]);
}

/// The index is worth nothing to a node that has lost it: disks and capacities are still its own.
#[test]
fn a_lost_index_does_not_make_the_disks_foreign() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), &["a", "b"]);
    let ids = |store: &Store| store.disks().iter().map(|disk| disk.id).collect::<Vec<_>>();
    let (store, log) = Store::open(&config).unwrap();
    let before = ids(&store);
    drop((store, log));
    fs::remove_file(config.state.join("index.redb")).unwrap();
    fs::rename(dir.path().join("a"), dir.path().join("away")).unwrap();
    fs::create_dir(dir.path().join("a")).unwrap();
    let (store, _log) = Store::open(&config).unwrap();
    assert_eq!(ids(&store), before);
    // An empty mount point is not taken for a new disk either.
    assert_eq!(fs::read_dir(dir.path().join("a")).unwrap().count(), 0);
}

#[test]
fn what_is_kept_is_counted_again_at_a_start() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), &["a", "b"]);
    let (store, _log) = Store::open(&config).unwrap();
    let disk = store.choose(1).unwrap();
    let kept = Record { state: State::Held, ..record(1, 1 << 20, disk) };
    store.index.put(&[kept, record(2, 1 << 20, disk)]).unwrap();
    assert!(matches!(Store::open(&config), Err(Error::InUse(_))));
    drop(store);
    let (store, _log) = Store::open(&config).unwrap();
    let usage: Vec<_> = store.usage().iter().map(|disk| (disk.files, disk.stored_bytes)).collect();
    assert_eq!(usage.iter().map(|(files, _)| files).sum::<u64>(), 1);
    assert_eq!(usage.iter().map(|(_, bytes)| bytes).sum::<u64>(), 1 << 20);
}

/// What a file in work was promised it has still after a restart: nobody else gets it, and not twice is asked for it.
#[test]
fn a_file_in_work_keeps_its_space_over_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), &["disk"]);
    let (store, log) = Store::open(&config).unwrap();
    let disk = store.disks()[0].clone();
    let (record, all) = (record(1, 40 << 20, disk.id), store.filler_target(&disk.id));
    let (id, promised) = (record.content.id(), sealed::footprint(40 << 20));
    store.index.put(&[record]).unwrap();
    drop((store, log));
    let part = disk.path.join("sealed/work").join(hex::encode(id));
    fs::create_dir_all(part.parent().unwrap()).unwrap();
    fs::File::create(part).unwrap().set_len(30 << 20).unwrap();
    let (store, _log) = Store::open(&config).unwrap();
    assert_eq!(store.usage()[0].promised_bytes, promised);
    assert_eq!(store.choose(40 << 20), None);
    assert!(store.promise(&id, &disk.id, 40 << 20));
    // Filler leaves alone what is written.
    assert_eq!(store.filler_target(&disk.id), all - (30 << 20));
    store.release(&id);
    assert!(store.choose(40 << 20).is_some());
}

/// What is written the file system has less of already.
#[test]
fn what_is_written_is_not_counted_twice() {
    let mut account = Account::default();
    assert_eq!((account.room(6_400, 6_400), account.spare(6_400, 6_400)), (6_300, 6_300));
    account.in_work.insert([1; 32], InWork { promised: 3_800, granted: 3_400, written: 3_000 });
    assert_eq!((account.room(6_400, 3_400), account.spare(6_400, 3_400)), (2_500, 2_900));
    // A file system that is smaller than the capacity.
    assert_eq!((account.room(6_400, 1_000), account.spare(6_400, 1_000)), (100, 500));
    assert_eq!((account.room(6_400, 300), account.spare(6_400, 300)), (0, 0));
}

#[test]
fn a_file_that_is_found_counts_once_and_until_it_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _log) = Store::open(&config(dir.path(), &["disk"])).unwrap();
    let (disk, all) = (store.disks()[0].id, store.filler_target(&store.disks()[0].id));
    let files = || (store.usage()[0].files, store.usage()[0].stored_bytes);
    store.count_found([1; 32], disk, 5 << 20);
    store.count_found([1; 32], disk, 5 << 20);
    assert_eq!(files(), (1, 5 << 20));
    store.uncount_found(&[1; 32]);
    assert_eq!((files(), store.filler_target(&disk)), ((0, 0), all));
    // One that the index knows meanwhile is its record's.
    let found = record(2, 5 << 20, disk);
    store.count_found(found.content.id(), disk, 5 << 20);
    store.known(&found.content.id());
    store.uncount_found(&found.content.id());
    assert_eq!(files(), (1, 5 << 20));
    store.removed(&found);
    assert_eq!(files(), (0, 0));
}

#[test]
fn a_missing_disk_stops_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), &["a", "b"]);
    let (store, _log) = Store::open(&config).unwrap();
    let ids: Vec<_> = store.disks().iter().map(|disk| disk.id).collect();
    drop(store);
    fs::rename(dir.path().join("a"), dir.path().join("away")).unwrap();
    let (store, _log) = Store::open(&config).unwrap();
    assert_eq!(store.disks().iter().map(|disk| disk.id).collect::<Vec<_>>(), ids);
    assert!(!dir.path().join("a").exists());
    assert_eq!(store.usage().iter().filter(|disk| disk.present).count(), 1);
    let away = record(1, 1, *ids.first().unwrap());
    assert!(matches!(store.file(&away), Err(Error::Missing(_))));
    // New files go to the disk that is there.
    assert_eq!(store.choose(1 << 20).as_ref(), ids.get(1));
    fs::rename(dir.path().join("away"), dir.path().join("a")).unwrap();
    assert!(store.file(&away).is_ok());
}

#[test]
fn a_changed_capacity_lasts_until_the_configuration_says_another() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path(), &["a"]);
    let (store, log) = Store::open(&config).unwrap();
    let id = store.disks()[0].id;
    store.set_capacity(&id, 5 << 20).unwrap();
    drop((store, log));
    let (store, log) = Store::open(&config).unwrap();
    assert_eq!(store.usage().first().unwrap().capacity, 5 << 20);
    drop((store, log));
    config.disks.first_mut().unwrap().capacity = Bytes(CAPACITY * 2);
    let (store, _log) = Store::open(&config).unwrap();
    assert_eq!(store.usage().first().unwrap().capacity, CAPACITY * 2);
}

/// A disk that is added while the node runs is taken up at once; the others keep what they have.
#[test]
fn a_disk_may_be_added_while_the_node_runs() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path(), &["a"]);
    let (store, log) = Store::open(&config).unwrap();
    let first = store.disks()[0].id;
    assert!(store.promise(&[1; 32], &first, 40 << 20));
    assert_eq!(store.choose(40 << 20), None);
    config.disks = self::config(dir.path(), &["a", "b"]).disks;
    assert_eq!(store.configure(&config.disks).unwrap(), [dir.path().join("b")]);
    assert!(store.configure(&config.disks).unwrap().is_empty());
    let second = store.choose(40 << 20).unwrap();
    assert!(second != first && store.filler(&second).is_some());
    assert_eq!(store.usage().iter().map(|disk| disk.promised_bytes > 0).collect::<Vec<_>>(), [true, false]);
    // A capacity that the configuration changes is that of the disk.
    config.disks[0].capacity = Bytes(CAPACITY * 2);
    store.configure(&config.disks).unwrap();
    assert_eq!(store.usage()[0].capacity, CAPACITY * 2);
    drop((store, log));
    let (store, _log) = Store::open(&config).unwrap();
    assert_eq!(store.disks().iter().map(|disk| disk.id).collect::<Vec<_>>(), [first, second]);
}

/// The state directory is the daemon's alone.
#[test]
fn lesson_11_the_state_directory_is_closed_to_others() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let config = config(dir.path(), &["a"]);
    let _open = Store::open(&config).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&config.state), 0o700);
    assert_eq!(mode(&config.state.join("enclave.log")), 0o600);
}
