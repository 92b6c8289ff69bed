//! Draws, answers and what follows from them.

use super::*;

/// The coin: a draw of one's choice, and what it draws moved out of its way.
#[test]
fn a_restart_before_the_answers_draws_the_same_and_nothing_changes_meanwhile() {
    let mut host = Host::new();
    host.fill(DISK);
    let order = sealed(&mut host, CHUNK * 20, 1);
    let first = host.first();
    let draw = host.show(3);
    let plain = bytes(5, 9);
    let waiting = host.seal_only(&content(&plain, 9), &plain).0;
    for round in 0..3 {
        assert_eq!(host.enclave.hold(&waiting, DISK), Err(Error::Checking));
        assert_eq!(host.enclave.delete(vec![order]), Err(Error::Checking));
        assert_eq!(host.enclave.lose(vec![order]), Err(Error::Checking));
        assert_eq!(host.enclave.shrink(DISK, 0), Err(Error::Checking));
        assert_eq!(host.enclave.commit_filler(DISK), Err(Error::Checking));
        assert_eq!(host.report(first, 3), Err(Error::NotChecked { slot: 3 }));
        // Statements may go on.
        host.receipts(first, &[order]).unwrap();
        if round < 2 {
            host.restart();
            assert!(host.enclave.overview().unwrap().checking);
            let items = host.log.len();
            assert_eq!(host.show(3), draw);
            assert_eq!(host.log.len(), items, "no new record");
            let part = draw.iter().take(7).map(|sample| host.read(sample)).collect();
            assert_eq!(host.enclave.answer(part).unwrap().left as usize, draw.len() - 7);
        }
    }
    assert_eq!(host.show(3), draw);
    let result = host.answer(&draw);
    assert_eq!((result.good_filler, result.good_files, result.bad.len()), (255, 255, 0));
    // Shown again, the answered slot has nothing to ask, and says what it found.
    assert_eq!(host.show(3), Vec::new());
    assert_eq!(host.answer(&[]), result);
    host.restart();
    assert_eq!(host.answer(&[]), result);
    assert_eq!(host.enclave.answer(vec![None]), Err(Error::NoCheck));
    host.report(first, 3).unwrap();
}

#[test]
fn a_reorg_or_a_lower_slot_is_a_new_draw_and_pulls_the_marks_down() {
    let mut host = Host::new();
    host.fill(DISK);
    host.check(100);
    let order = sealed(&mut host, 1_000, 1);
    let first = host.first();
    let marks = |host: &Host, slot| host.enclave.state().unwrap().report(first, slot, None).unwrap().scrubbed_until;
    assert_eq!(marks(&host, 100), 0, "the filler was written before a slot was shown");
    let items = host.enclave.shrink(DISK, 0).unwrap();
    host.keep(items);
    assert_eq!(marks(&host, 100), 100);
    // In work while a lying endpoint names a far slot, then the true one.
    let plain = bytes(7, 7);
    host.check(1_000_000);
    let waiting = host.seal_only(&content(&plain, 7), &plain).0;
    host.enclave.filler(DISK, 4096).unwrap();
    let draw = host.show(101);
    host.answer(&draw);
    assert_eq!(host.report(first, 1_000_000), Err(Error::NotChecked { slot: 1_000_000 }));
    let item = host.enclave.hold(&waiting, DISK).unwrap();
    host.keep([item]);
    let item = host.enclave.commit_filler(DISK).unwrap();
    host.keep([item]);
    host.delete(order);
    assert_eq!(marks(&host, 101), 101);
    // The same slot with another hash.
    let (items, again) = host.enclave.show(101, [0xee; 32]).unwrap();
    host.keep(items);
    assert_ne!(again, draw);
    host.restart();
    assert_eq!(host.enclave.show(101, [0xee; 32]).unwrap(), (Vec::new(), again));
}

#[test]
fn a_tenth_of_the_filler_missing_shows_at_the_next_check() {
    let mut host = Host::new();
    for _ in 0..10 {
        host.fill(DISK);
    }
    assert_eq!(host.check(1).good_filler, 255);
    let from = usize::try_from(UNIT * 3).unwrap();
    host.filler.get_mut(&DISK).unwrap()[from..from + usize::try_from(UNIT).unwrap()].fill(0);
    let result = host.check(2);
    assert!(result.good_filler < 255 && result.good_filler > 120, "{}", result.good_filler);
    assert_eq!(result.good_files, 255);
    // While that is so, no new filler here; elsewhere it goes on. Given up, it is good again after one more check.
    assert_eq!(host.enclave.filler(DISK, 4096).err(), Some(Error::DiskBad));
    assert_eq!(host.enclave.commit_filler(DISK), Err(Error::DiskBad));
    assert!(host.enclave.filler([1; 16], 4096).is_ok());
    host.restart();
    assert_eq!(host.enclave.filler(DISK, 4096).err(), Some(Error::DiskBad));
    let items = host.enclave.shrink(DISK, UNIT * 3).unwrap();
    host.keep(items);
    host.filler.get_mut(&DISK).unwrap().truncate(from);
    assert_eq!(host.check(3).good_filler, 255);
    assert_eq!(host.enclave.filler(DISK, 4096).err(), Some(Error::DiskBad), "a clean draw is not enough");
    assert_eq!(host.scrub().0, Vec::new());
    assert!(host.enclave.filler(DISK, 4096).is_ok());
}

#[test]
fn filler_counts_once_an_earlier_report_has_covered_it_and_as_far_as_it_never_gave_way() {
    let mut host = Host::new();
    (0..4).for_each(|_| drop(host.fill(DISK)));
    host.check(1);
    let first = host.first();
    assert_eq!(counted(&host, first, 1), 0, "no report before this one");
    let one = host.report(first, 1).unwrap();
    assert_eq!(counted(&host, one, 1), UNIT * 4);
    // Before the next draw some gives way, and other filler comes.
    give_up(&mut host, UNIT * 3);
    host.fill(DISK);
    host.fill([1; 16]);
    host.check(2);
    assert_eq!(counted(&host, one, 2), UNIT * 3);
    assert_eq!(counted(&host, first, 2), 0, "the report is on another line");
    // And after it.
    give_up(&mut host, UNIT * 2 + 4096);
    assert_eq!(counted(&host, one, 2), UNIT * 2 + 4096, "space is never promised twice");
    host.fill([1; 16]);
    host.restart();
    assert_eq!(counted(&host, one, 2), UNIT * 2 + 4096);
    let two = host.report(one, 2).unwrap();
    // A receipt changes nothing of it, nor does what is final.
    let order = sealed(&mut host, 10, 1);
    let receipt = host.receipts(two, &[order]).unwrap();
    host.check(3);
    let expected = UNIT * 3 + 4096;
    for root in [two, receipt] {
        assert_eq!(counted(&host, receipt, 3), expected, "but for what came after the draw");
        let items = host.enclave.finalise(root).unwrap();
        host.keep(items);
        host.restart();
    }
    assert_eq!(counted(&host, receipt, 3), expected);
    assert_eq!(host.enclave.state().unwrap().report(one, 3, None).err(), Some(Error::UnknownPrev));
}

/// A report that never reached the chain, or left it again, covers nothing: the next one counts by the last report on
/// its own line. The coin: the idle power of filler that was written for this report alone.
#[test]
fn a_report_that_was_dropped_or_reorganised_away_covers_nothing() {
    let mut host = Host::new();
    host.fill(DISK);
    host.check(1);
    let first = host.first();
    let one = host.report(first, 1).unwrap();
    host.fill(DISK);
    host.check(2);
    let dropped = host.report(one, 2).unwrap();
    host.fill(DISK);
    // The same slot under another hash.
    let (items, draw) = host.enclave.show(2, [0xee; 32]).unwrap();
    host.keep(items);
    host.answer(&draw);
    assert_eq!(counted(&host, one, 2), UNIT);
    let two = host.report(one, 2).unwrap();
    host.check(3);
    assert_eq!(counted(&host, one, 3), UNIT, "no report of slot 2 is there");
    assert_eq!(counted(&host, dropped, 3), UNIT * 2);
    assert_eq!(counted(&host, two, 3), UNIT * 3);
    // A lower slot, of a lying endpoint, covers no more than it did.
    host.check(1);
    assert_eq!(counted(&host, one, 1), UNIT);
    assert_eq!(counted(&host, first, 1), 0);
}

fn counted(host: &Host, prev: Hash, slot: Slot) -> u64 {
    host.enclave.state().unwrap().report(prev, slot, None).unwrap().filler_bytes
}

fn give_up(host: &mut Host, to: u64) {
    let items = host.enclave.shrink(DISK, to).unwrap();
    host.keep(items);
    host.filler.get_mut(&DISK).unwrap().truncate(to as usize);
}

#[test]
fn a_unit_is_dropped_at_the_24th_failed_re_read_and_not_while_its_disk_is_away() {
    let mut host = Host::new();
    host.fill(DISK);
    host.fill(DISK);
    let away = host.filler.remove(&DISK).unwrap();
    for slot in 1..40 {
        assert_eq!(host.check(slot).good_filler, 0);
    }
    host.filler.insert(DISK, away);
    assert_eq!(host.check(40).good_filler, 255, "a disk mounted late costs nothing more");
    let prev = host.report(host.first(), 40).unwrap();
    host.filler.get_mut(&DISK).unwrap()[..usize::try_from(UNIT).unwrap()].fill(1);
    for slot in 41..=41 + u32::from(MAX_FAILED) {
        assert!(host.check(slot).good_filler < 255);
    }
    let result = host.check(100);
    assert_eq!((result.good_filler, result.bad.len()), (255, 0), "the unit no longer counts");
    assert_eq!(counted(&host, prev, 100), UNIT);
    assert_eq!(host.enclave.overview().unwrap().filler, vec![(DISK, UNIT * 2)], "and leaves a gap");
    let root = host.report(prev, 100).unwrap();
    host.restart();
    assert_eq!(counted(&host, root, 100), UNIT);
}

#[test]
fn the_draw_is_uniform_over_bytes() {
    let mut host = Host::new();
    let small = sealed(&mut host, CHUNK * 2, 1);
    sealed(&mut host, CHUNK * 14, 2);
    let mut drawn = 0;
    for slot in 1..=64 {
        let draw = host.show(slot);
        drawn += draw.iter().filter(|sample| matches!(sample, Sample::File { order, .. } if *order == small)).count();
    }
    // 64 × 128 draws at 1/8: 1,024 expected, 5 standard deviations are 150.
    assert!((874..1_174).contains(&drawn), "{drawn}");
}

#[test]
fn an_empty_node_is_good() {
    let mut host = Host::new();
    let first = host.first();
    assert_eq!(host.show(2), Vec::new());
    assert!(host.enclave.overview().unwrap().checking);
    let result = host.answer(&[]);
    assert_eq!((result.good_filler, result.good_files), (255, 255));
    host.report(first, 2).unwrap();
    let report = host.enclave.state().unwrap().report(first, 2, None).unwrap();
    assert_eq!((report.filler_bytes, report.stored_bytes, report.scrubbed_until), (0, 0, 2));
}
