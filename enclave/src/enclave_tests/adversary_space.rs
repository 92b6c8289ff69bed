//! Adversaries that sell their space twice: what they show at the draw was not there between the draws, is somebody
//! else's, or is less than they say. A node earns `good × bytes` a slot; each test says what would be won.

use super::*;

/// What the chain counts for a slot: 255ths of bytes of filler that an earlier report has covered.
fn earned(host: &mut Host, prev: &mut Hash, slot: Slot) -> u64 {
    let (item, signed) = host.enclave.say(Saying::Report { prev: *prev, slot, audit: None }).unwrap();
    host.keep([item]);
    let Signed::Report(report) = signed else { panic!() };
    *prev = report.root;
    report.filler_bytes * u64::from(report.good_filler)
}

/// The treadmill: throw the filler away after the report, be sampled, make it anew. The coin: the idle power of a disk
/// that is let to somebody else in between, for the price of writing it.
#[test]
fn adversary_the_filler_treadmill_earns_nothing() {
    let mut host = Host::new();
    (0..8).for_each(|_| drop(host.fill(DISK)));
    let mut prev = host.first();
    host.check(1);
    assert_eq!(earned(&mut host, &mut prev, 1), 0, "it is covered from now on");
    host.check(2);
    assert_eq!(earned(&mut host, &mut prev, 2), UNIT * 8 * 255, "an honest slot");
    // Thrown away, and made anew as soon as the draw is known: too late, these are other bytes.
    host.filler.get_mut(&DISK).unwrap().fill(0);
    let draw = host.show(3);
    let anew = host.enclave.filler(DISK, UNIT as u32).unwrap().bytes();
    host.filler.get_mut(&DISK).unwrap()[..anew.len()].copy_from_slice(&anew);
    assert_eq!(host.answer(&draw).good_filler, 0);
    assert_eq!(earned(&mut host, &mut prev, 3), 0);
    // Now none is made before a full scrub has passed, and of that which is gone none can.
    for slot in 4..10 {
        assert_eq!(host.enclave.filler(DISK, 4096).err(), Some(Error::DiskBad));
        assert_eq!(host.enclave.commit_filler(DISK), Err(Error::DiskBad));
        host.restart();
        host.check(slot);
        host.scrub();
        assert_eq!(earned(&mut host, &mut prev, slot), 0);
    }
    // Given up it is no more than the empty disk that it is: after one more check it may begin again.
    give_up(&mut host);
    assert_eq!(host.enclave.filler(DISK, 4096).err(), Some(Error::DiskBad));
    host.check(10);
    assert_eq!(earned(&mut host, &mut prev, 10), 0);
    host.fill(DISK);
    host.check(11);
    assert_eq!(earned(&mut host, &mut prev, 11), 0);
    host.check(12);
    assert_eq!(earned(&mut host, &mut prev, 12), UNIT * 255);
}

/// The honest-looking treadmill: all filler is given up after each report and written anew before the next draw, which
/// finds everything there. The coin: the idle power of a disk that is somebody else's between the draws.
#[test]
fn adversary_filler_written_anew_before_each_draw_earns_nothing() {
    let mut host = Host::new();
    let mut prev = host.first();
    for slot in 1..=20 {
        (0..4).for_each(|_| drop(host.fill(DISK)));
        assert_eq!(host.check(slot).good_filler, 255);
        assert_eq!(earned(&mut host, &mut prev, slot), 0);
        give_up(&mut host);
        if slot % 5 == 0 {
            host.restart();
        }
    }
}

/// One disk between two nodes: each reports with it late in one slot and early in the next, and then makes room for the
/// other. Each earns in every other slot, together what the disk is worth once. The coin: a second disk.
#[test]
fn adversary_two_nodes_that_take_turns_on_one_disk_earn_what_one_would() {
    let mut nodes = [Host::new(), Host::new()];
    let mut prevs = [nodes[0].first(), nodes[1].first()];
    let mut paid = 0;
    for slot in 1..=20 {
        // Who held the disk as the slot began reports early, and makes room.
        let (early, late) = ((slot as usize + 1) % 2, slot as usize % 2);
        nodes[early].check(slot);
        paid += earned(&mut nodes[early], &mut prevs[early], slot);
        give_up(&mut nodes[early]);
        (0..4).for_each(|_| drop(nodes[late].fill(DISK)));
        nodes[late].check(slot);
        paid += earned(&mut nodes[late], &mut prevs[late], slot);
        assert!(
            nodes.iter().map(|host| host.filler.get(&DISK).map_or(0, Vec::len)).sum::<usize>() <= 4 * UNIT as usize
        );
    }
    assert_eq!(paid, 19 * 4 * UNIT * 255, "as one node that kept it, the first slot apart");
}

/// Reports that the chain never sees: an enclave is shown a slot that is over, or one that never was, so that its own
/// next report may count what was written just now. That report stands on a root where the chain does not. The coin: the
/// treadmill again.
#[test]
fn adversary_a_report_that_the_chain_never_took_covers_nothing() {
    let mut host = Host::new();
    let mut chain = Chain::new(&host);
    host.check(4);
    let root = host.report(chain.root, 4).unwrap();
    assert!(chain.submit(&host, &root));
    (0..4).for_each(|_| drop(host.fill(DISK)));
    for (slot, slot_hash) in [(4, [6; 32]), (3, [7; 32]), (9, [8; 32])] {
        let (items, draw) = host.enclave.show(slot, slot_hash).unwrap();
        host.keep(items);
        host.answer(&draw);
        // In slot 5 the chain takes no report of another slot, so this one never is where the chain stands.
        let made_up = host.report(chain.root, slot).unwrap();
        host.check(5);
        let report = |prev| host.enclave.state().unwrap().report(prev, 5, None).unwrap();
        assert_eq!(report(made_up).filler_bytes, 4 * UNIT);
        assert_eq!(report(chain.root).filler_bytes, 0);
        let next = host.report(made_up, 5).unwrap();
        assert!(!chain.submit(&host, &next));
    }
}

fn give_up(host: &mut Host) {
    let items = host.enclave.shrink(DISK, 0).unwrap();
    host.keep(items);
    host.filler.clear();
}

/// The treadmill over many slots, by whoever gives up and fills again as often as it can: it earns for bytes that were
/// there at the draw, and for no others. The coin: the idle power of a disk that is sold in every third slot.
#[test]
fn adversary_whatever_is_thrown_away_between_draws_is_not_paid() {
    let mut host = Host::new();
    let (mut prev, mut paid, mut there) = (host.first(), 0, 0);
    for slot in 1..=30 {
        while host.filler.get(&DISK).map_or(0, Vec::len) < 4 * UNIT as usize {
            match host.enclave.filler(DISK, UNIT as u32) {
                Ok(grant) => {
                    let bytes = grant.bytes();
                    host.filler.entry(DISK).or_default().extend(bytes);
                    let item = host.enclave.commit_filler(DISK).unwrap();
                    host.keep([item]);
                }
                Err(Error::DiskBad) => break,
                Err(error) => panic!("{error}"),
            }
        }
        // Of every three slots one is sold.
        if slot % 3 == 0 {
            host.filler.insert(DISK, Vec::new());
        }
        host.check(slot);
        host.scrub();
        there += host.filler.get(&DISK).map_or(0, Vec::len) as u64;
        paid += earned(&mut host, &mut prev, slot);
        if slot % 3 == 0 {
            give_up(&mut host);
        }
    }
    assert!(paid <= there * 255, "{paid} for {there}");
    assert!(paid > 0);
}

/// A clone, or an enclave whose log was rolled back, asked for the bytes that the disk should hold. The coin: the power
/// of a whole disk for the price of keeping a log.
#[test]
fn adversary_a_clone_is_no_oracle_for_filler_or_sealed_bytes() {
    let mut host = Host::new();
    let plain = bytes(CHUNK * 8, 1);
    let ordered = content(&plain, 1);
    let before = host.log.len();
    host.fill(DISK);
    let order = host.seal(&ordered, &plain);
    host.check(1);
    for items in [2, before, before + 1, host.log.len()] {
        let mut oracle = host.clone_at(items);
        if oracle.enclave.overview().unwrap().checking {
            continue;
        }
        let filler = oracle.enclave.filler(DISK, UNIT as u32).unwrap().bytes();
        assert_eq!(filler.len(), UNIT as usize);
        let mut thief = host.clone_at(host.log.len());
        thief.filler.insert(DISK, filler);
        if let Ok(mut sealer) = oracle.enclave.seal(ordered.clone()) {
            let mut out = Out::default();
            sealer.feed(&plain, &mut out).unwrap();
            sealer.finish(&mut out).unwrap();
            thief.files.insert(order, out.sealed);
            thief.trees.insert(order, out.tree);
        } else {
            thief.files.insert(order, vec![0; host.files[&order].len()]);
        }
        let result = thief.check(2);
        assert_eq!((result.good_filler, result.good_files), (0, 0), "made from the log up to {items}");
        // It answers no audit either.
        let shown = thief.audit(order, 7);
        let prev = thief.first();
        let said = thief.enclave.say(Saying::Report { prev, slot: 2, audit: Some(shown) });
        assert_eq!(said.err(), Some(Error::Damaged { chunk: 0 }));
    }
}

/// Killed before it answers, the enclave draws the same again; another hash is another draw, of which the chain takes
/// one. The coin: a share of the disk that no draw of many happens to hit (see also `no_retry_hides_a_hundredth`).
#[test]
fn adversary_kill_and_retry_draws_no_better_sample() {
    let mut host = Host::new();
    (0..20).for_each(|_| drop(host.fill(DISK)));
    // A tenth is sold.
    host.filler.get_mut(&DISK).unwrap()[..2 * UNIT as usize].fill(0);
    let draw = host.show(5);
    for _ in 0..5 {
        host.restart();
        assert_eq!(host.show(5), draw);
        let mut clone = host.clone_at(host.log.len());
        assert_eq!(clone.show(5), draw);
    }
    let found = host.answer(&draw).good_filler;
    assert!(found < 255);
    // Answered, it is not drawn again, and what it found stands.
    host.restart();
    assert_eq!(host.show(5), Vec::new());
    assert_eq!(host.answer(&[]).good_filler, found);
    // The chain takes a report with its own hash of the slot: one drawn for another is worth nothing.
    let (items, other) = host.enclave.show(5, [0xaa; 32]).unwrap();
    host.keep(items);
    assert_ne!(other, draw);
    host.answer(&other);
    let first = host.first();
    let report = host.enclave.state().unwrap().report(first, 5, None).unwrap();
    assert_ne!(report.slot_hash, slot_hash(5));
}

/// A copy that is shown the slot before the node is, so that the node keeps what will be drawn and no more. The coin: the
/// disk, but for the pages of one draw.
#[test]
fn adversary_a_clone_is_no_oracle_for_the_draw() {
    let mut host = Host::new();
    (0..20).for_each(|_| drop(host.fill(DISK)));
    let plain = bytes(CHUNK * 64, 1);
    host.seal(&content(&plain, 1), &plain);
    host.check(1);
    let foretold: Vec<Vec<Sample>> = (0..10).map(|_| host.clone_at(host.log.len()).show(2)).collect();
    let whole = host.clone_at(host.log.len());
    let draw = host.show(2);
    assert!(foretold.iter().all(|foretold| *foretold != draw), "each has a record of its own, and so a draw");
    // Only what the first copy named is kept.
    host.filler.get_mut(&DISK).unwrap().fill(0);
    host.files.values_mut().for_each(|file| file.fill(0));
    for sample in &foretold[0] {
        let kept = whole.read(sample).unwrap();
        let (bytes, at) = match sample {
            Sample::Filler { disk, page } => (host.filler.get_mut(disk).unwrap(), *page as usize * 4096),
            Sample::File { order, chunk } => (host.files.get_mut(order).unwrap(), *chunk as usize * SEALED_CHUNK),
            Sample::Tree { .. } => panic!("trees are not sampled"),
        };
        bytes[at..at + kept.len()].copy_from_slice(&kept);
    }
    assert_eq!(host.answer(&draw).good_filler, 0);
}

/// Dropped, swapped, truncated, kept once for two orders: whatever is not each byte in its place counts as missing. The
/// coin: the pay of the share that is not kept.
#[test]
fn adversary_data_that_is_dropped_swapped_truncated_or_kept_once_is_bad() {
    let mut host = Host::new();
    let plain = bytes(CHUNK * 32, 1);
    let (one, two) = (host.seal(&content(&plain, 1), &plain), host.seal(&content(&plain, 2), &plain));
    let whole = host.clone_at(host.log.len());
    let mut slot = 0;
    let mut good = |tamper: &dyn Fn(&mut Host)| {
        slot += 1;
        let mut host = whole.clone_at(whole.log.len());
        tamper(&mut host);
        host.check(slot).good_files
    };
    assert_eq!(good(&|_| {}), 255);
    assert!(good(&|host| drop(host.files.remove(&one))) < 100, "dropped");
    assert_eq!(good(&|host| host.files.clear()), 0, "all dropped");
    assert!(good(&|host| host.files.get_mut(&one).unwrap().truncate(SEALED_CHUNK * 16)) < 220, "truncated");
    let swapped = good(&|host| {
        let file = host.files.get_mut(&one).unwrap();
        let (left, right) = file.split_at_mut(SEALED_CHUNK * 16);
        left.swap_with_slice(right);
    });
    assert!(swapped < 100, "swapped within a file: {swapped}");
    let exchanged = good(&|host| {
        let (first, second) = (host.files[&one].clone(), host.files[&two].clone());
        host.files.insert(one, second);
        host.files.insert(two, first);
    });
    assert_eq!(exchanged, 0, "swapped between files");
    // The same plain bytes under two orders: one sealed copy does not answer for the other.
    let once = good(&|host| drop(host.files.insert(two, host.files[&one].clone())));
    assert!(once < 100, "kept once: {once}");
}

/// Seals the same leaves under a root of its own; what `mark` is makes another root of the same length.
fn seal_under_root(host: &mut Host, leaves: &[u8], mark: u8) -> (OrderId, Vec<u8>) {
    let mut blocks = vec![Vec::new()];
    for leaf in leaves.chunks(1 << 20) {
        blocks[0].extend([0x12, 40, 0x0a, 36]);
        blocks[0].extend(Cid::of(Codec::Raw, HashFunction::Sha2_256, leaf).as_bytes());
        blocks[0].extend([0x18, mark]);
        blocks.push(leaf.to_vec());
    }
    let stream = blocks.concat();
    let cid = Cid::of(Codec::DagPb, HashFunction::Sha2_256, &blocks[0]);
    let (size, audit_root) = (stream.len() as u64, *blake3::hash(&stream).as_bytes());
    let ordered = Content { client: [3; 32], nonce: 0, cid, size, audit_root, flags: 0 };
    let mut sealer = host.enclave.seal(ordered.clone()).unwrap();
    let mut out = Out::default();
    blocks.iter().for_each(|block| sealer.feed(block, &mut out).unwrap());
    let item = host.enclave.hold(&sealer.finish(&mut out).unwrap(), DISK).unwrap();
    host.keep([item]);
    host.files.insert(ordered.id(), out.sealed);
    host.trees.insert(ordered.id(), out.tree);
    (ordered.id(), stream)
}

/// One copy for several roots: the same leaves are ordered under two roots, so that all but the first chunk of the one
/// is byte for byte what stands in the same place of the other, and the first leaf also as a file of its own. What is
/// kept of one is put in the place of another. The coin: the pay of every further order for what is on the disk once.
#[test]
fn adversary_one_copy_for_several_roots_answers_for_one_alone() {
    let mut host = Host::new();
    let leaves = bytes(3 << 20, 1);
    let mut whole = BTreeMap::from([seal_under_root(&mut host, &leaves, 1), seal_under_root(&mut host, &leaves, 2)]);
    let roots: Vec<OrderId> = whole.keys().copied().collect();
    assert_eq!(whole[&roots[0]][CHUNK..], whole[&roots[1]][CHUNK..], "the same in the same places");
    let leaf = host.seal(&content(&leaves[..1 << 20], 3), &leaves[..1 << 20]);
    whole.insert(leaf, leaves[..1 << 20].to_vec());
    let honest = host.clone_at(host.log.len());
    assert_eq!(honest.clone_at(honest.log.len()).check(1).good_files, 255);
    for (kept, sold) in [(roots[0], roots[1]), (roots[1], roots[0]), (roots[0], leaf), (leaf, roots[0])] {
        let mut host = honest.clone_at(honest.log.len());
        let (copy, tree) = (host.files[&kept].clone(), host.trees[&kept].clone());
        let place = host.files.get_mut(&sold).unwrap();
        let length = copy.len().min(place.len());
        place[..length].copy_from_slice(&copy[..length]);
        let replaced = length.div_ceil(SEALED_CHUNK) as u64;
        // A draw counts each sample in it as missing, and no other.
        let draw = host.show(1);
        let is_bad =
            |sample: &&Sample| matches!(sample, Sample::File { order, chunk } if *order == sold && *chunk < replaced);
        let bad = draw.iter().filter(is_bad).count() as u32;
        let good = host.answer(&draw).good_files;
        assert_eq!(good, statement::good(bad, CONSTANTS.samples));
        assert!(good < 255, "{bad} of {} were drawn", draw.len());
        // What is opened of either is what was sealed, or nothing.
        for order in [kept, sold] {
            let chunks = host.files[&order].chunks(SEALED_CHUNK).zip(whole[&order].chunks(CHUNK));
            for (chunk, (sealed, plain)) in (0..).zip(chunks) {
                let opened = host.enclave.opener(&order, chunk).unwrap().open(sealed.to_vec());
                match order == sold && chunk < replaced {
                    true => assert_eq!(opened, Err(Error::Damaged { chunk })),
                    false => assert!(opened.unwrap() == plain),
                }
            }
        }
        // Nor is an audit answered from the copy, with its tree or with the right one.
        let first = host.first();
        for tree in [None, Some(tree)] {
            host.trees.extend(tree.map(|tree| (sold, tree)));
            assert_eq!(host.enclave.audit_reads(&sold, 70).unwrap(), (1, vec![0]));
            let chunk = host.files[&sold][SEALED_CHUNK..2 * SEALED_CHUNK].to_vec();
            let shown = Audit { order: sold, audited: 70, chunk, nodes: vec![host.trees[&sold].clone()] };
            let said = host.enclave.say(Saying::Report { prev: first, slot: 1, audit: Some(shown) });
            assert_eq!(said.err(), Some(Error::Damaged { chunk: 1 }));
        }
    }
}

/// Sealed bytes and filler do not shrink: neither repeats itself, and every bit is even. The coin: capacity that a file
/// system with compression or deduplication would make out of nothing.
#[test]
fn adversary_sealed_bytes_and_filler_do_not_compress() {
    let mut host = Host::new();
    let zeros = vec![0; 1 << 20];
    let order = host.seal(&content(&zeros, 1), &zeros);
    (0..16).for_each(|_| drop(host.fill(DISK)));
    for kept in [&host.files[&order], &host.filler[&DISK]] {
        let words: HashSet<&[u8]> = kept.chunks_exact(8).collect();
        assert_eq!(words.len(), kept.len() / 8, "no eight bytes come twice");
        let ones: u64 = kept.iter().map(|byte| u64::from(byte.count_ones())).sum();
        let bits = kept.len() as f64 * 8.0;
        assert!((ones as f64 - bits / 2.0).abs() < 5.0 * (bits / 4.0).sqrt());
        let mut counts = [0u64; 256];
        kept.iter().for_each(|byte| counts[usize::from(*byte)] += 1);
        let expected = kept.len() as f64 / 256.0;
        let chi: f64 = counts.iter().map(|count| (*count as f64 - expected).powi(2) / expected).sum();
        // 255 degrees of freedom: 255 ± 5 × 22.6.
        assert!((142.0..368.0).contains(&chi), "{chi}");
    }
}
