//! The index over a real file: what is found, what comes back, what happens to a file that is damaged.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use super::*;
use crust_protocol::file::{Codec, HashFunction};

fn content(nonce: u64) -> Content {
    let cid = Cid::of(Codec::Raw, HashFunction::Sha2_256, b"file");
    Content { client: [1; 32], nonce, cid, size: 4, audit_root: [2; 32], flags: 0 }
}

#[test]
fn orders_are_found_by_state_and_by_file() {
    let dir = tempfile::tempdir().unwrap();
    let index = Index::open(&dir.path().join("index")).unwrap();
    let mut ids = Vec::new();
    for nonce in 0..5 {
        let record = Record::new(content(nonce), State::Taken);
        ids.push(record.content.id());
        index.put(std::slice::from_ref(&record)).unwrap();
    }
    ids.sort();
    assert_eq!(index.in_state(State::Taken, None, 9).unwrap(), ids);
    assert_eq!(index.in_state(State::Taken, Some(ids[1]), 2).unwrap(), ids[2..4]);
    assert_eq!(index.orders_for(&content(0).cid).unwrap().len(), 5);
    index.change(&ids[0], |record| record.state = State::Refused).unwrap().unwrap();
    assert_eq!(index.in_state(State::Refused, None, 9).unwrap(), ids[..1]);
    assert_eq!((index.count(State::Taken).unwrap(), index.count(State::Held).unwrap()), (4, 0));
    assert_eq!(index.orders_for(&content(0).cid).unwrap(), ids[1..]);
    index.forget(&ids[..1]).unwrap();
    assert_eq!(index.order(&ids[0]).unwrap(), None);
    assert!(index.in_state(State::Refused, None, 9).unwrap().is_empty());
    let all: Vec<_> = index.records(None, 9).unwrap().into_iter().map(|(id, _)| id).collect();
    assert_eq!(all, ids[1..]);
    assert_eq!(index.records(Some(ids[3]), 9).unwrap().len(), 1);
}

#[test]
fn blocks_are_found_in_every_file_that_has_them() {
    let dir = tempfile::tempdir().unwrap();
    let index = Index::open(&dir.path().join("index")).unwrap();
    let hash = |text: &[u8]| Cid::of(Codec::Raw, HashFunction::Sha2_256, text).multihash();
    let (a, b) = ([1; 32], [2; 32]);
    index.add_blocks(&a, &[(hash(b"x"), 0, 1), (hash(b"y"), 1, 1)]).unwrap();
    index.add_blocks(&b, &[(hash(b"y"), 7, 1)]).unwrap();
    let places = index.places(&hash(b"y")).unwrap();
    assert_eq!(places, [Place { order: a, offset: 1, length: 1 }, Place { order: b, offset: 7, length: 1 }]);
    index.forget_blocks(&a).unwrap();
    assert!(index.places(&hash(b"x")).unwrap().is_empty());
    assert_eq!(index.places(&hash(b"y")).unwrap().len(), 1);
}

#[test]
fn it_is_there_after_it_was_closed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("index");
    let index = Index::open(&path).unwrap();
    index.set_meta("owner", &[3_u8; 16]).unwrap();
    drop(index);
    let index = Index::open(&path).unwrap();
    assert_eq!(index.meta("owner").unwrap(), Some([3_u8; 16]));
    assert_eq!(index.meta::<u32>("other").unwrap(), None);
}

/// Two workers that change the same record at the same time both see their change.
#[test]
fn changes_at_the_same_time_are_all_kept() {
    let dir = tempfile::tempdir().unwrap();
    let index = Index::open(&dir.path().join("index")).unwrap();
    let record = Record::new(content(1), State::Held);
    let id = record.content.id();
    index.put(std::slice::from_ref(&record)).unwrap();
    std::thread::scope(|scope| {
        for worker in 0..4_u64 {
            let index = &index;
            scope.spawn(move || {
                for chunk in 0..8 {
                    index.change(&id, |record| record.damaged.push(worker * 8 + chunk)).unwrap();
                }
            });
        }
    });
    let mut damaged = index.order(&id).unwrap().unwrap().damaged;
    damaged.sort_unstable();
    assert_eq!(damaged, (0..32).collect::<Vec<_>>());
}

/// A block of no bytes shares its offset with the next one; both are forgotten with the file.
#[test]
fn blocks_of_no_bytes_are_forgotten_too() {
    let dir = tempfile::tempdir().unwrap();
    let index = Index::open(&dir.path().join("index")).unwrap();
    let hash = |text: &[u8]| Cid::of(Codec::Raw, HashFunction::Sha2_256, text).multihash();
    index.add_blocks(&[1; 32], &[(hash(b""), 0, 0), (hash(b"x"), 0, 1)]).unwrap();
    index.forget_blocks(&[1; 32]).unwrap();
    assert!(index.places(&hash(b"")).unwrap().is_empty() && index.places(&hash(b"x")).unwrap().is_empty());
}

#[test]
fn a_file_that_is_no_index_is_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("index.redb");
    let index = Index::open(&path).unwrap();
    index.put(&[Record::new(content(1), State::Held)]).unwrap();
    drop(index);
    let good = std::fs::read(&path).unwrap();
    let mut flipped = good.clone();
    flipped.iter_mut().skip(16).step_by(3).for_each(|byte| *byte ^= 0x55);
    for bad in [
        b"no database at all, but long enough to have a header of one".repeat(99),
        good[..good.len() / 2].to_vec(),
        flipped,
    ] {
        std::fs::write(&path, &bad).unwrap();
        let index = Index::open(&path).unwrap();
        assert!(index.records(None, 9).unwrap().is_empty());
        index.put(&[Record::new(content(1), State::Held)]).unwrap();
        assert_eq!(std::fs::read(dir.path().join("index.aside")).unwrap(), bad);
    }
}

#[test]
fn an_entry_that_cannot_be_read_marks_the_index_for_the_next_start() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("index.redb");
    let index = Index::open(&path).unwrap();
    index.set_meta("number", &1_u8).unwrap();
    assert!(matches!(index.meta::<u64>("number"), Err(Error::Entry(_))));
    drop(index);
    assert_eq!(Index::open(&path).unwrap().meta::<u8>("number").unwrap(), None);
}

/// Very many orders that go at once take few transactions, however many blocks they have, and take nothing else along.
#[test]
fn many_orders_are_changed_and_forgotten_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let index = Index::open(&dir.path().join("index")).unwrap();
    let hash = |number: u64| Cid::of(Codec::Raw, HashFunction::Blake3, &number.to_le_bytes()).multihash();
    let mut ids = Vec::new();
    for nonce in 0..6 {
        let record = Record::new(content(nonce), State::Held);
        index.put(std::slice::from_ref(&record)).unwrap();
        ids.push(record.content.id());
        // The second has more than one transaction removes.
        let rows: Vec<_> = (0..if nonce == 1 { 20_000 } else { 3 }).map(|at| (hash(at), at, 1)).collect();
        index.add_blocks(&ids[ids.len() - 1], &rows).unwrap();
    }
    let unknown = [9; 32];
    let changed = index.change_each(&[ids[0], unknown, ids[2]], |record| record.state = State::Ending).unwrap();
    assert_eq!(changed.iter().map(|record| record.content.id()).collect::<Vec<_>>(), [ids[0], ids[2]]);
    assert_eq!((index.count(State::Ending).unwrap(), index.count(State::Held).unwrap()), (2, 4));
    index.forget(&[ids[0], ids[1], unknown, ids[2], ids[3]]).unwrap();
    assert_eq!((index.count(State::Ending).unwrap(), index.count(State::Held).unwrap()), (0, 2));
    let left: Vec<_> = index.places(&hash(1)).unwrap().into_iter().map(|place| place.order).collect();
    assert!(left.len() == 2 && left.contains(&ids[4]) && left.contains(&ids[5]));
    assert!(index.places(&hash(19_999)).unwrap().is_empty());
}

/// Whatever bytes are found in the index: if they begin with a record, it is written as just these.
#[test]
fn records_are_written_in_one_way() {
    let record = Record { damaged: vec![7; 3], note: Some("a note".into()), ..Record::new(content(9), State::Waiting) };
    let bytes = record.encode();
    let (mut found, mut refused) = (0, 0);
    for at in 0..bytes.len() {
        for to in 0..=u8::MAX {
            let mut changed = bytes.clone();
            changed[at] = to;
            let mut rest = &changed[..];
            match Record::decode(&mut rest) {
                Ok(other) => {
                    assert_eq!(other.encode(), changed[..changed.len() - rest.len()]);
                    found += 1;
                }
                Err(_) => refused += 1,
            }
        }
        assert!(Record::decode(&mut &bytes[..at]).is_err(), "cut at {at}");
    }
    assert!(found > 20_000 && refused > 1_000, "{found} and {refused}");
}
