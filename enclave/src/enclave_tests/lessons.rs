//! What went wrong elsewhere must be impossible here.

use super::*;

/// Damage to a file, or to what is kept of it, is never waved through: the list of blocks of the reference lay unsealed
/// and a mismatch left the file valid for ever.
#[test]
fn lesson_6_a_damaged_file_is_bad_until_it_is_good_or_gone() {
    let mut host = Host::new();
    let order = sealed(&mut host, CHUNK * 4, 1);
    let root = host.receipts(host.first(), &[order]).unwrap();
    let whole = host.files[&order].clone();
    host.files.get_mut(&order).unwrap()[SEALED_CHUNK * 2 + 5] ^= 1;
    let mut good = Vec::new();
    for slot in 1..=u32::from(MAX_FAILED) {
        let result = host.check(slot);
        assert!(result.good_files < 255 && !result.bad.is_empty(), "slot {slot}");
        good.push(result.good_files);
    }
    // Not lost yet: mended now, it would be good again.
    assert!(!host.enclave.files(None, 1).unwrap()[0].lost);
    let mut mended = host.clone_at(host.log.len());
    mended.files.insert(order, whole);
    assert_eq!(mended.check(99).good_files, 255);
    assert_eq!(mended.enclave.state().unwrap().lines.owed().len(), 0);
    // The 24th failed re-read: lost, and owed.
    host.check(u32::from(MAX_FAILED) + 1);
    assert!(host.enclave.files(None, 1).unwrap()[0].lost);
    assert_eq!(host.report(root, u32::from(MAX_FAILED) + 1), Err(Error::GoneFirst { orders: vec![order] }));
    host.restart();
    assert_eq!(host.enclave.gone_due(&root, 9).unwrap(), vec![order]);
}

/// The draw comes of the chain's public randomness and the enclave's own key; filler is 4,096 random bytes a page; a
/// file once lost does not come back by itself.
#[test]
fn lesson_8_draws_follow_public_randomness_and_lost_stays_lost() {
    let mut host = Host::new();
    host.fill(DISK);
    let order = sealed(&mut host, CHUNK * 32, 1);
    let clone = |host: &Host| host.clone_at(host.log.len());
    let (mut one, mut other) = (clone(&host), clone(&host));
    let draws = [one.enclave.show(1, [1; 32]).unwrap().1, other.enclave.show(1, [2; 32]).unwrap().1];
    assert_ne!(draws[0], draws[1], "another hash, another draw");
    assert_eq!(draws[0].len(), 2 * CONSTANTS.samples as usize);
    let pages: HashSet<&[u8]> = host.filler[&DISK].chunks(4096).collect();
    assert_eq!(pages.len(), host.filler[&DISK].len() / 4096);
    assert!(host.filler[&DISK].chunks(4096).all(|page| page.iter().collect::<HashSet<_>>().len() > 200));

    let first = host.first();
    let root = host.receipts(first, &[order]).unwrap();
    let item = host.enclave.lose(vec![order]).unwrap();
    host.keep([item]);
    // The bytes are all there, and good: yet lost is lost.
    assert_eq!(host.check(1).good_files, 255);
    assert!(matches!(host.report(root, 1), Err(Error::GoneFirst { .. })));
    assert!(matches!(host.receipts(root, &[order]), Err(Error::GoneFirst { .. })));
    assert_eq!(host.enclave.opener(&order, 0).err(), Some(Error::NotSealed { order }));
}

/// A change costs a record of its own size, whatever else is held, and a log that is rolled back loses its voice.
#[test]
fn lesson_9_the_log_is_append_only_and_a_rollback_ends_the_line() {
    let mut host = Host::new();
    let mut sizes = HashSet::new();
    for nonce in 0..100 {
        sealed(&mut host, 10, nonce);
        sizes.insert(host.log.last().unwrap().len());
    }
    assert_eq!(sizes.len(), 1);
    let mut chain = Chain::new(&host);
    host.check(1);
    let root = host.report(chain.root, 1).unwrap();
    assert!(chain.submit(&host, &root));
    let before = host.log.len();
    let order = sealed(&mut host, 100, 1_000);
    let receipt = host.receipts(chain.root, &[order]).unwrap();
    assert!(chain.submit(&host, &receipt));
    // The log of before the file: it knows neither the file nor the chain's root.
    let mut rolled_back = host.clone_at(before);
    rolled_back.check(2);
    assert_eq!(rolled_back.report(chain.root, 2), Err(Error::UnknownPrev));
    let stale = rolled_back.report(root, 2).unwrap();
    assert!(!chain.submit(&rolled_back, &stale), "the chain is past this root");
}

/// Units are large whatever they hold, and giving way to files is one record.
#[test]
fn lesson_10_filler_is_few_files_and_gives_way_by_itself() {
    let production = Constants::PRODUCTION;
    assert!((1u64 << 40) / production.filler_unit <= 1_024, "units a TiB; they stand in one file a disk");
    let mut host = Host::new();
    for _ in 0..4 {
        host.fill(DISK);
    }
    let before = host.log.len();
    let items = host.enclave.shrink(DISK, UNIT * 3 / 2).unwrap();
    host.keep(items);
    assert_eq!(host.log.len(), before + 1);
    assert_eq!(host.enclave.overview().unwrap().filler, vec![(DISK, UNIT * 3 / 2)]);
    host.filler.get_mut(&DISK).unwrap().truncate(usize::try_from(UNIT * 3 / 2).unwrap());
    assert_eq!(host.check(1).good_filler, 255);
}

/// Sealed bytes open in the enclave that sealed them and nowhere else, and a private file's not for its host.
#[test]
fn lesson_11_sealed_bytes_open_for_nobody_else() {
    let mut host = Host::new();
    let plain = bytes(CHUNK * 2, 1);
    let order = host.seal(&content(&plain, 1), &plain);
    let sealed = host.files[&order].clone();
    assert_eq!(host.enclave.opener(&order, 0).unwrap().open(sealed.clone()).unwrap(), plain);
    let mut other = Host::new();
    let same = other.seal(&content(&plain, 1), &plain);
    assert_eq!(same, order);
    assert_eq!(other.enclave.opener(&order, 0).unwrap().open(sealed), Err(Error::Damaged { chunk: 0 }));
    let private = Content { flags: PRIVATE, ..content(&plain, 2) };
    let order = host.seal(&private, &plain);
    assert_eq!(host.enclave.opener(&order, 0).err(), Some(Error::Private));
    host.restart();
    assert_eq!(host.enclave.opener(&order, 0).err(), Some(Error::Private));
    assert_eq!(host.check(1).good_files, 255);
}
