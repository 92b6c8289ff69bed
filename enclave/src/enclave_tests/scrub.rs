//! The scrub: everything is read again, in time; what it finds counts.

use super::*;
use crate::{
    check::Target,
    scrub::{Scrubbed, Work},
};

const OTHER: Disk = [8; 16];

fn until(host: &mut Host) -> Slot {
    host.enclave.scrub_next().unwrap().until.unwrap()
}

fn bytes_kept(host: &Host) -> usize {
    let all = host.files.values().chain(host.trees.values()).chain(host.filler.values());
    all.map(Vec::len).sum()
}

#[test]
fn everything_is_read_again_once_a_slot_at_most_and_the_marks_follow() {
    let mut host = Host::new();
    assert_eq!(host.enclave.scrub_next().unwrap().next, None, "nothing was shown yet");
    (0..3).for_each(|_| drop(host.fill(DISK)));
    host.fill(OTHER);
    for (nonce, size) in [(1, 0), (2, 1), (3, CHUNK), (4, 5 << 20), (5, 200_000)] {
        sealed(&mut host, size, nonce);
    }
    host.check(3);
    let scrub = host.enclave.scrub_next().unwrap();
    assert_eq!((scrub.until, scrub.period, scrub.waiting), (Some(0), 60, Vec::new()));
    // The empty file has no byte that could be lost.
    let all = bytes_kept(&host) - TAG;
    assert_eq!(host.scrub(), (Vec::new(), all));
    assert_eq!(until(&mut host), 3);
    assert_eq!(host.scrub(), (Vec::new(), 0), "all was read in this slot");
    host.check(4);
    assert_eq!(until(&mut host), 3);
    let first = host.first();
    assert_eq!(host.enclave.state().unwrap().report(first, 4, None).unwrap().scrubbed_until, 3);
    host.restart();
    assert_eq!(host.scrub(), (Vec::new(), all));
    host.restart();
    assert_eq!(until(&mut host), 4);
    // What is new was written in its slot, and the oldest comes first.
    host.check(9);
    let new = sealed(&mut host, 100, 9);
    host.check(10);
    let (mut order, mut next) = (Vec::new(), host.enclave.scrub_next().unwrap().next);
    while let Some(stretch) = next {
        order.push(stretch);
        let bytes = host.stretch(&stretch);
        next = host.enclave.scrub(stretch, bytes).unwrap().next;
    }
    assert_eq!(order.last(), Some(&Stretch::File { order: new, chunk: 0, chunks: 1 }));
}

#[test]
fn a_flipped_bit_is_found_within_one_scrub_and_no_filler_is_made_before_a_full_one_has_passed() {
    let mut host = Host::new();
    host.fill(DISK);
    host.fill(OTHER);
    let order = sealed(&mut host, 3 << 20, 1);
    host.check(1);
    host.scrub();
    host.check(2);
    let whole = host.files[&order].clone();
    host.files.get_mut(&order).unwrap()[SEALED_CHUNK * 40 + 7] ^= 1;
    host.files.get_mut(&order).unwrap()[SEALED_CHUNK * 41 + 7] ^= 1;
    let bad = [40, 41].map(|chunk| Sample::File { order, chunk });
    assert_eq!(host.scrub().0, bad, "all of it is named, so that all can be mended");
    let refused = |host: &mut Host| {
        assert_eq!(host.enclave.filler(DISK, 4096).err(), Some(Error::DiskBad));
        assert!(host.enclave.filler(OTHER, 4096).is_ok(), "the other disk is well");
        assert_eq!(host.enclave.scrub_next().unwrap().waiting, vec![DISK]);
    };
    refused(&mut host);
    host.restart();
    refused(&mut host);
    assert_eq!(until(&mut host), 1, "its mark stays");
    // It is read again with each draw, also when the draw itself does not hit it.
    assert!(host.show(3).contains(&bad[0]));
    let draw = host.show(3);
    assert!(host.answer(&draw).bad.contains(&bad[0]));
    refused(&mut host);
    assert_eq!(host.scrub().0, Vec::new(), "known to be bad, it is not read here");
    refused(&mut host);
    // Mended, the next draw forgets it; the scrub has read the rest in an earlier slot, and reads this file now.
    host.files.insert(order, whole);
    host.check(4);
    refused(&mut host);
    assert_eq!(host.scrub().0, Vec::new());
    assert!(host.enclave.filler(DISK, 4096).is_ok());
    assert_eq!(host.enclave.scrub_next().unwrap().waiting, Vec::<Disk>::new());
    assert_eq!(until(&mut host), 4);
}

#[test]
fn a_bad_node_of_a_tree_and_a_bad_page_are_found_too() {
    let mut host = Host::new();
    host.fill(DISK);
    let order = sealed(&mut host, 200_000, 1);
    host.check(1);
    host.trees.get_mut(&order).unwrap()[5] ^= 1;
    host.filler.get_mut(&DISK).unwrap()[4096 * 3 + 1] ^= 1;
    let found: HashSet<_> = host.scrub().0.iter().map(|sample| format!("{sample:?}")).collect();
    let expected = [Sample::Tree { order, node: 0 }, Sample::Filler { disk: DISK, page: 3 }];
    assert_eq!(found, expected.iter().map(|sample| format!("{sample:?}")).collect());
    host.restart();
    let draw = host.show(2);
    assert!(expected.iter().all(|sample| draw.contains(sample)));
    host.answer(&draw);
    // 24 failed re-reads: the file cannot answer an audit and is lost, the unit is dropped.
    for slot in 3..=25 {
        host.check(slot);
    }
    assert!(host.enclave.files(None, 1).unwrap()[0].lost);
    let first = host.first();
    assert_eq!(host.enclave.state().unwrap().report(first, 25, None).unwrap().filler_bytes, 0);
}

#[test]
fn a_disk_that_is_not_there_holds_up_nothing_else_and_loses_nothing() {
    let mut host = Host::new();
    (0..3).for_each(|_| drop(host.fill(OTHER)));
    host.fill(DISK);
    let away: Vec<OrderId> = (0..5)
        .map(|nonce| {
            let plain = bytes(1_000, nonce);
            host.seal_on(OTHER, &content(&plain, nonce), &plain)
        })
        .collect();
    let here = sealed(&mut host, 100_000, 9);
    let (filler, files) = (host.filler.remove(&OTHER).unwrap(), host.files.clone());
    away.iter().for_each(|order| drop(host.files.remove(order)));
    for slot in 1..40 {
        let items = host.log.len();
        host.check(slot);
        let there = host.filler[&DISK].len() + host.files[&here].len() + host.trees[&here].len();
        assert_eq!(host.scrub(), (Vec::new(), there));
        assert!(host.log.len() - items <= 4, "a missing disk is logged once a slot");
        assert_eq!((until(&mut host), host.enclave.scrub_next().unwrap().waiting), (0, vec![OTHER]));
        assert_eq!(host.enclave.filler(OTHER, 4096).err(), Some(Error::DiskBad));
        assert_ne!(host.enclave.filler(DISK, 4096).err(), Some(Error::DiskBad), "the other disk is well");
    }
    (host.files, _) = (files, host.filler.insert(OTHER, filler));
    assert_eq!(host.check(40).good_files, 255);
    assert_eq!(host.scrub().0, Vec::new());
    assert_eq!(until(&mut host), 40);
    assert!(host.enclave.filler(OTHER, 4096).is_ok());
    assert_eq!(host.enclave.overview().unwrap().gone_due, 0);
}

#[test]
fn only_the_next_stretch_is_taken_and_not_during_a_check() {
    let mut host = Host::new();
    let order = sealed(&mut host, 5 << 20, 1);
    let draw = host.show(1);
    assert_eq!(host.enclave.scrub_next().err(), Some(Error::Checking));
    let stretch = Stretch::File { order, chunk: 0, chunks: 32 };
    let shown = host.stretch(&stretch);
    assert_eq!(host.enclave.scrub(stretch, shown.clone()).err(), Some(Error::Checking));
    host.answer(&draw);
    assert_eq!(host.enclave.scrub_next().unwrap().next, Some(stretch));
    for other in [
        Stretch::File { order, chunk: 32, chunks: 32 },
        Stretch::File { order, chunk: 0, chunks: 31 },
        Stretch::File { order: [0; 32], chunk: 0, chunks: 32 },
        Stretch::Tree { order, node: 0, nodes: 1 },
        Stretch::Filler { disk: DISK, page: 0, pages: 1 },
    ] {
        assert_eq!(host.enclave.scrub(other, shown.clone()).err(), Some(Error::NotNext));
    }
    assert_eq!(host.enclave.scrub(stretch, shown.clone()).unwrap().bad, Vec::new());
    assert_eq!(host.enclave.scrub(stretch, shown.clone()).err(), Some(Error::NotNext), "it was taken");
    // A part is not the whole.
    let next = Stretch::File { order, chunk: 32, chunks: 32 };
    let part = host.stretch(&next).map(|bytes| bytes[..SEALED_CHUNK * 31].to_vec());
    assert_eq!(host.enclave.scrub(next, part).unwrap().bad, vec![Sample::File { order, chunk: 63 }]);
}

#[test]
fn the_log_says_how_far_it_is() {
    let mut host = Host::new();
    let plain = bytes(5 << 20, 1);
    let order = host.seal(&content(&plain, 1), &plain);
    host.check(1);
    let work = Work { target: Target::File(order), next: 64, since: 1, spoilt: false };
    let logged = Scrubbed { bad: None, away: None, done: Vec::new(), work: Some(work) };
    let item = host.enclave.state_mut().unwrap().record(Record::Scrubbed(logged)).unwrap();
    host.keep([item]);
    host.restart();
    host.check(2);
    let next = host.enclave.scrub_next().unwrap().next;
    assert_eq!(next, Some(Stretch::File { order, chunk: 64, chunks: 17 }));
    let mut again = host.clone_at(host.log.len());
    for _ in 0..2 {
        let next = again.enclave.scrub_next().unwrap().next.unwrap();
        let shown = again.stretch(&next);
        again.enclave.scrub(next, shown).unwrap();
    }
    assert_eq!(until(&mut again), 1, "the slot of its begin");
    // The same order sealed anew is another file.
    host.delete(order);
    host.seal(&content(&plain, 1), &plain);
    host.restart();
    host.check(3);
    let next = host.enclave.scrub_next().unwrap().next;
    assert_eq!(next, Some(Stretch::File { order, chunk: 0, chunks: 32 }));
}

#[test]
fn a_lower_slot_pulls_the_scrub_down_too() {
    let mut host = Host::new();
    sealed(&mut host, 3 << 20, 1);
    // A lying endpoint names a far slot while a file is being read.
    host.check(1_000_000);
    let stretch = host.enclave.scrub_next().unwrap().next.unwrap();
    let shown = host.stretch(&stretch);
    host.enclave.scrub(stretch, shown).unwrap();
    host.check(7);
    host.scrub();
    assert_eq!(until(&mut host), 7);
}

#[test]
fn units_that_give_way_leave_the_scrub() {
    let mut host = Host::new();
    (0..4).for_each(|_| drop(host.fill(DISK)));
    host.check(1);
    for to in [UNIT * 7 / 2, UNIT * 3, UNIT, 0] {
        let next = host.enclave.scrub_next().unwrap().next.unwrap();
        let shown = host.stretch(&next);
        assert_eq!(host.enclave.scrub(next, shown).unwrap().bad, Vec::new());
        let items = host.enclave.shrink(DISK, to).unwrap();
        host.keep(items);
        host.filler.get_mut(&DISK).unwrap().truncate(to as usize);
    }
    assert_eq!(host.scrub().0, Vec::new());
    host.fill(DISK);
    host.check(2);
    assert_eq!(host.scrub(), (Vec::new(), UNIT as usize));
    assert_eq!(until(&mut host), 2);
}
