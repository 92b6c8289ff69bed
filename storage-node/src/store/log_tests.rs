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
    for length in 0..=bytes.len() {
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
    bytes[22] ^= 1;
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
    let mut log = Log::open(path.clone(), place(&copy)).unwrap();
    assert!(log.copies() == 1 && log.trouble().unwrap().contains("disk/copy"));
    let all = fill(&mut log);
    assert_eq!(items(&log), all);
    drop(log);
    fs::create_dir(dir.path().join("disk")).unwrap();
    let log = Log::open(path.clone(), place(&copy)).unwrap();
    assert_eq!((log.copies(), log.trouble()), (2, None));
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
    fs::write(&copy, &good[..50]).unwrap();
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
