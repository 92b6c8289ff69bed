//! The serving side of Bitswap: wants, cancels, limits.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
use super::*;

fn entry(name: u32, priority: i32) -> Entry {
    let cid = Bytes::copy_from_slice(&name.to_le_bytes());
    Entry { cid, priority, cancel: false, kind: Kind::Block, send_dont_have: true }
}

fn order(ledger: &Ledger) -> Vec<u32> {
    std::iter::from_fn(|| ledger.next())
        .map(|(_, wanted)| u32::from_le_bytes(wanted.cid[..].try_into().unwrap()))
        .collect()
}

#[test]
fn wants_are_answered_by_priority_then_in_order() {
    let ledger = Ledger::default();
    ledger.update(false, &[entry(1, 5), entry(2, 9), entry(3, 5), entry(4, i32::MIN)]);
    assert_eq!(order(&ledger), [2, 1, 3, 4]);
    assert_eq!(ledger.len(), 0);
}

#[test]
fn a_cancelled_want_is_forgotten_and_a_full_list_replaces_all() {
    let ledger = Ledger::default();
    ledger.update(false, &[entry(1, 0), entry(2, 0), entry(3, 0)]);
    ledger.update(false, &[Entry { cancel: true, ..entry(2, 0) }, Entry { cancel: true, ..entry(9, 0) }]);
    assert_eq!(ledger.len(), 2);
    ledger.update(true, &[entry(7, 0)]);
    assert_eq!(order(&ledger), [7]);
    ledger.update(true, &[]);
    assert_eq!(ledger.len(), 0);
}

#[test]
fn a_want_that_is_repeated_keeps_its_place_and_asks_for_more() {
    let ledger = Ledger::default();
    ledger.update(false, &[Entry { kind: Kind::Have, ..entry(1, 0) }, entry(2, 0)]);
    ledger.update(false, &[entry(1, 0), Entry { kind: Kind::Have, ..entry(2, 0) }]);
    assert_eq!(ledger.len(), 2);
    let (rank, first) = ledger.next().unwrap();
    assert_eq!((first.cid[0], first.kind), (1, Kind::Block));
    ledger.put_back(rank, first);
    assert_eq!(order(&ledger), [1, 2]);
}

#[test]
fn the_list_is_bounded() {
    let ledger = Ledger::default();
    let many: Vec<_> = (0..10_000).map(|name| entry(name, 0)).collect();
    ledger.update(false, &many);
    assert_eq!(ledger.len(), MAX_WANTS);
    ledger.clear();
    let long = Entry { cid: vec![0; MAX_CID + 1].into(), ..entry(0, 0) };
    ledger.update(false, &[long]);
    assert_eq!(ledger.len(), 0);
}
