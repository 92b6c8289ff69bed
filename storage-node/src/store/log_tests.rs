//! The log on disk: cut anywhere, it comes back with all that was durable.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::fs;

use super::*;

fn place(copy: &std::path::Path) -> Option<CopyAt> {
    let dir = copy.parent().unwrap().to_owned();
    Some(CopyAt { path: copy.to_owned(), is_there: Box::new(move || dir.exists()) })
}

fn items(log: &Log) -> Vec<Item> {
    let mut all = Vec::new();
    log.batches::<Error>(|batch| {
        all.extend(batch);
        Ok(())
    })
    .unwrap();
    all
}

fn fill(log: &mut Log) -> Vec<Item> {
    let mut all = Vec::new();
    for batch in [vec![vec![1; 5]], vec![vec![2; 70], vec![]], vec![vec![3; 33]]] {
        log.append(&batch).unwrap();
        all.extend(batch);
    }
    all
}

/// The daemon keeps the enclave's records one by one, appended: never rewritten whole, never bound to one file.
#[test]
fn lesson_9_a_torn_tail_is_cut_at_every_byte() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let mut log = Log::open(path.clone(), None).unwrap();
    assert!(log.is_empty());
    let all = fill(&mut log);
    drop(log);
    let bytes = fs::read(&path).unwrap();
    for length in 0..head::LENGTH {
        // A head is never torn: a file has its name when it lasts.
        fs::write(&path, &bytes[..length]).unwrap();
        assert!(matches!(Log::open(path.clone(), None), Err(Error::Damaged { offset: 0, .. })), "cut at {length}");
    }
    for length in head::LENGTH..=bytes.len() {
        fs::write(&path, &bytes[..length]).unwrap();
        let mut log = Log::open(path.clone(), None).unwrap();
        let kept = items(&log);
        assert_eq!(kept, all[..kept.len()], "cut at {length}");
        assert!(kept.len() != 2, "half a batch at {length}");
        if length == bytes.len() {
            assert_eq!(kept, all);
        }
        log.append(&[vec![9]]).unwrap();
        drop(log);
        let log = Log::open(path.clone(), None).unwrap();
        assert_eq!(items(&log), [kept, vec![vec![9]]].concat());
    }
}

#[test]
fn a_tail_of_zeros_is_cut() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let all = fill(&mut Log::open(path.clone(), None).unwrap());
    let mut bytes = fs::read(&path).unwrap();
    bytes.extend([0; 100]);
    fs::write(&path, &bytes).unwrap();
    assert_eq!(items(&Log::open(path, None).unwrap()), all);
}

/// Whatever is damaged, a length or a marker included: nothing after it is cut away.
#[test]
fn damage_before_the_end_is_not_cut_but_mended_from_the_copy() {
    let dir = tempfile::tempdir().unwrap();
    let (path, copy) = (dir.path().join("log"), dir.path().join("copy"));
    let all = fill(&mut Log::open(path.clone(), place(&copy)).unwrap());
    let good = fs::read(&path).unwrap();
    assert_eq!(good, fs::read(&copy).unwrap());
    let last = good.windows(4).rposition(|four| four == MARKER).unwrap();
    for at in 8..last {
        for flip in [1, 0x80] {
            let mut bytes = good.clone();
            bytes[at] ^= flip;
            fs::write(&path, &bytes).unwrap();
            assert!(matches!(Log::open(path.clone(), None), Err(Error::Damaged { .. })), "byte {at}");
            assert_eq!(fs::read(&path).unwrap(), bytes);
            assert_eq!(items(&Log::open(path.clone(), place(&copy)).unwrap()), all, "byte {at}");
            assert_eq!(fs::read(&path).unwrap(), good);
        }
    }
    // A copy that has not all of it mends what it has, and takes nothing away.
    let mut bytes = good.clone();
    bytes[head::LENGTH + 14] ^= 1;
    fs::write(&path, &bytes).unwrap();
    fs::write(&copy, &good[..last]).unwrap();
    assert_eq!(items(&Log::open(path.clone(), place(&copy)).unwrap()), all);
    assert_eq!((fs::read(&path).unwrap(), fs::read(&copy).unwrap()), (good.clone(), good));
}

/// The disk of the copy may fail at any time: the log goes on without it, says so, and a start makes it anew.
#[test]
fn a_copy_that_fails_stops_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (path, copy) = (dir.path().join("log"), dir.path().join("disk/copy"));
    Log::open(path.clone(), None).unwrap();
    let mut log = Log::open(path.clone(), place(&copy)).unwrap();
    assert!(log.overview().copies == 1 && log.trouble().unwrap().contains("disk/copy"));
    let all = fill(&mut log);
    assert_eq!(items(&log), all);
    drop(log);
    fs::create_dir(dir.path().join("disk")).unwrap();
    let log = Log::open(path.clone(), place(&copy)).unwrap();
    assert_eq!((log.overview().copies, log.trouble()), (2, None));
    assert_eq!(fs::read(&path).unwrap(), fs::read(&copy).unwrap());
}

#[test]
fn a_lost_or_short_place_is_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let (path, copy) = (dir.path().join("log"), dir.path().join("copy"));
    let all = fill(&mut Log::open(path.clone(), place(&copy)).unwrap());
    for lost in [&path, &copy] {
        fs::remove_file(lost).unwrap();
        assert_eq!(items(&Log::open(path.clone(), place(&copy)).unwrap()), all);
        assert_eq!(fs::read(&path).unwrap(), fs::read(&copy).unwrap());
    }
    let good = fs::read(&path).unwrap();
    fs::write(&copy, &good[..head::LENGTH + 30]).unwrap();
    assert_eq!(items(&Log::open(path.clone(), place(&copy)).unwrap()), all);
    assert_eq!(fs::read(&copy).unwrap(), good);
}

#[test]
fn the_first_place_counts_where_copies_differ() {
    let dir = tempfile::tempdir().unwrap();
    let (path, copy) = (dir.path().join("log"), dir.path().join("copy"));
    let all = fill(&mut Log::open(path.clone(), None).unwrap());
    let mut other = Log::open(copy.clone(), None).unwrap();
    for _ in 0..9 {
        other.append(&[vec![7; 50]]).unwrap();
    }
    drop(other);
    assert_eq!(items(&Log::open(path.clone(), place(&copy)).unwrap()), all);
    assert_eq!(fs::read(&path).unwrap(), fs::read(&copy).unwrap());
    assert!(dir.path().join("copy.differs-1").exists());
}

#[test]
fn another_file_is_left_untouched() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    fs::write(&path, b"something else").unwrap();
    assert!(matches!(Log::open(path.clone(), None), Err(Error::Version(_))));
    assert_eq!(fs::read(&path).unwrap(), b"something else");
}

/// Whoever lost the first place and finds the copy damaged must not begin as somebody else.
#[test]
fn no_log_begins_in_the_stead_of_one_whose_copy_is_damaged() {
    let dir = tempfile::tempdir().unwrap();
    let (path, copy) = (dir.path().join("log"), dir.path().join("copy"));
    fill(&mut Log::open(path.clone(), place(&copy)).unwrap());
    let good = fs::read(&copy).unwrap();
    for at in [20, head::LENGTH + 20] {
        fs::remove_file(&path).unwrap();
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        fs::write(&copy, &bytes).unwrap();
        assert!(matches!(Log::open(path.clone(), place(&copy)), Err(Error::Damaged { .. })));
        assert!(!path.exists());
        fs::write(&path, &good).unwrap();
    }
}

/// Whoever lost the first place, and cannot reach the copy, must not begin as somebody else either.
#[test]
fn no_log_begins_in_the_stead_of_one_whose_copy_is_out_of_reach() {
    let dir = tempfile::tempdir().unwrap();
    let (path, disk) = (dir.path().join("log"), dir.path().join("disk"));
    fs::create_dir(&disk).unwrap();
    let all = fill(&mut Log::open(path.clone(), place(&disk.join("copy"))).unwrap());
    fs::remove_file(&path).unwrap();
    fs::rename(&disk, dir.path().join("away")).unwrap();
    assert!(matches!(Log::open(path.clone(), place(&disk.join("copy"))), Err(Error::Io { .. })));
    assert!(!path.exists());
    fs::rename(dir.path().join("away"), &disk).unwrap();
    assert_eq!(items(&Log::open(path, place(&disk.join("copy"))).unwrap()), all);
}

/// Takes a snapshot of one item for the log.
fn renew(log: &mut Log, item: Item) -> Result<(), Error> {
    let mut draft = log.draft()?;
    draft.append(&[item])?;
    log.replace(draft, 7, [8; 32])
}

#[test]
fn a_log_that_began_anew_has_the_snapshot_and_what_follows() {
    let dir = tempfile::tempdir().unwrap();
    let (path, copy) = (dir.path().join("log"), dir.path().join("copy"));
    let mut log = Log::open(path.clone(), place(&copy)).unwrap();
    let all = fill(&mut log);
    // A draft that is not used leaves the log as it was.
    log.draft().unwrap().append(&[vec![5; 9]]).unwrap();
    assert_eq!(items(&log), all);
    let draft = log.draft().unwrap();
    log.append(&[vec![1]]).unwrap();
    assert!(matches!(log.replace(draft, 7, [8; 32]), Err(Error::Appended(_))));
    renew(&mut log, vec![6; 50]).unwrap();
    assert_eq!(items(&log), [vec![6; 50]]);
    log.append(&[vec![4; 4]]).unwrap();
    drop(log);
    assert_eq!(fs::read(&path).unwrap(), fs::read(&copy).unwrap());
    let log = Log::open(path, place(&copy)).unwrap();
    assert_eq!(items(&log), [vec![6; 50], vec![4; 4]]);
    let Overview { bytes, copies, snapshot: Some(snapshot) } = log.overview() else { panic!() };
    assert_eq!((copies, snapshot.record, snapshot.root), (2, 7, [8; 32]));
    assert!(snapshot.end < bytes && snapshot.taken > 0);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 2, "nothing is left beside them");
}

/// The copy of an older generation gives way, and never mends: what was said since is not in it.
#[test]
fn an_older_copy_is_not_taken_for_the_log() {
    let dir = tempfile::tempdir().unwrap();
    let (path, copy) = (dir.path().join("log"), dir.path().join("disk/copy"));
    fs::create_dir(dir.path().join("disk")).unwrap();
    let mut log = Log::open(path.clone(), place(&copy)).unwrap();
    fill(&mut log);
    let old = fs::read(&copy).unwrap();
    renew(&mut log, vec![6; 50]).unwrap();
    log.append(&[vec![4; 4]]).unwrap();
    log.append(&[vec![4; 5]]).unwrap();
    drop(log);
    let new = fs::read(&path).unwrap();
    for at in [20, head::LENGTH + 20, new.len() - 40] {
        let mut bytes = new.clone();
        bytes[at] ^= 1;
        fs::write(&path, &bytes).unwrap();
        fs::write(&copy, &old).unwrap();
        assert!(matches!(Log::open(path.clone(), place(&copy)), Err(Error::Damaged { .. })), "byte {at}");
        assert_eq!((fs::read(&path).unwrap(), fs::read(&copy).unwrap()), (bytes, old.clone()));
    }
    // A first place put back from before is made whole from a copy that is newer.
    fs::write(&path, &old).unwrap();
    fs::write(&copy, &new).unwrap();
    assert_eq!(items(&Log::open(path.clone(), place(&copy)).unwrap()), [vec![6; 50], vec![4; 4], vec![4; 5]]);
    // The other way round the copy gives way, and nothing is kept aside.
    fs::write(&copy, &old).unwrap();
    drop(Log::open(path.clone(), place(&copy)).unwrap());
    assert_eq!((fs::read(&path).unwrap(), fs::read(&copy).unwrap()), (new.clone(), new));
    assert_eq!(fs::read_dir(dir.path().join("disk")).unwrap().count(), 1);
}

/// Without the copy's disk the log begins anew all the same; the copy comes after, when it can.
#[test]
fn a_missing_copy_does_not_stop_a_log_from_beginning_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (path, disk) = (dir.path().join("log"), dir.path().join("disk"));
    fs::create_dir(&disk).unwrap();
    let mut log = Log::open(path.clone(), place(&disk.join("copy"))).unwrap();
    fill(&mut log);
    fs::rename(&disk, dir.path().join("away")).unwrap();
    renew(&mut log, vec![6; 50]).unwrap();
    assert!(log.overview().copies == 1 && log.trouble().unwrap().contains("disk/copy"));
    log.append(&[vec![4; 4]]).unwrap();
    drop(log);
    fs::rename(dir.path().join("away"), &disk).unwrap();
    let log = Log::open(path.clone(), place(&disk.join("copy"))).unwrap();
    assert_eq!((items(&log), log.overview().copies), (vec![vec![6; 50], vec![4; 4]], 2));
    assert_eq!(fs::read(&path).unwrap(), fs::read(disk.join("copy")).unwrap());
}

#[test]
fn it_is_overgrown_when_what_follows_is_as_long_as_what_it_began_with() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Log::open(dir.path().join("log"), None).unwrap();
    let item = vec![1; 1 << 20];
    for _ in 0..8 {
        assert!(!log.is_overgrown());
        log.append(std::slice::from_ref(&item)).unwrap();
    }
    assert!(log.is_overgrown());
    renew(&mut log, vec![2; 20 << 20]).unwrap();
    for _ in 0..20 {
        assert!(!log.is_overgrown());
        log.append(std::slice::from_ref(&item)).unwrap();
    }
    assert!(log.is_overgrown());
}
