//! Sealing: what is held, what comes back, what is damaged.

use super::*;

#[test]
fn files_of_all_sizes_come_back() {
    let mut host = Host::new();
    for (nonce, length) in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 1 << 20].into_iter().enumerate() {
        let plain = bytes(length, nonce as u64);
        let order = host.seal(&content(&plain, nonce as u64), &plain);
        let sealed = host.files[&order].clone();
        assert_eq!(sealed.len(), length + length.div_ceil(CHUNK).max(1) * TAG);
        assert_eq!(host.trees[&order].len() as u64, tree::length(length as u64));
        assert_eq!(host.enclave.opener(&order, 0).unwrap().open(sealed.clone()).unwrap(), plain);
        if length > 2 * CHUNK {
            let middle = sealed[SEALED_CHUNK..2 * SEALED_CHUNK].to_vec();
            assert_eq!(host.enclave.opener(&order, 1).unwrap().open(middle).unwrap(), plain[CHUNK..2 * CHUNK]);
        }
    }
    assert_eq!(host.check(1).good_files, 255);
    host.restart();
    assert_eq!(host.check(2).good_files, 255);
}

/// A file over two segments, in 514 blocks of 2 MiB: of the sealed bytes only those about the border are kept.
#[test]
fn a_file_goes_over_the_border_of_a_segment() {
    use crust_protocol::walk::MAX_BLOCK;
    let border = seal::SEGMENT_CHUNKS as usize;
    let leaves = border * CHUNK / MAX_BLOCK + 1;
    let leaf = |number: usize| {
        let mut leaf = vec![7; MAX_BLOCK];
        leaf[..8].copy_from_slice(&number.to_le_bytes());
        leaf
    };
    let (mut root, mut audit) = (Vec::new(), blake3::Hasher::new());
    for number in 0..leaves {
        let cid = Cid::of(Codec::Raw, HashFunction::Blake3, &leaf(number));
        root.extend([0x12, 38, 0x0a, 36]);
        root.extend(cid.as_bytes());
    }
    audit.update(&root);
    for number in 0..leaves {
        audit.update(&leaf(number));
    }
    let ordered = Content {
        cid: Cid::of(Codec::DagPb, HashFunction::Sha2_256, &root),
        size: (root.len() + leaves * MAX_BLOCK) as u64,
        audit_root: *audit.finalize().as_bytes(),
        ..content(&[], 1)
    };
    let mut host = Host::new();
    let mut sealer = host.enclave.seal(ordered.clone()).unwrap();
    let (from, mut at, mut kept) = ((border - 2) * SEALED_CHUNK, 0, Vec::new());
    let mut out = Out::default();
    sealer.feed(&root, &mut out).unwrap();
    for number in 0..leaves {
        sealer.feed(&leaf(number), &mut out).unwrap();
        kept.extend(out.sealed.iter().skip(from.saturating_sub(at)));
        at += out.sealed.len();
        out.sealed.clear();
    }
    let sealed = sealer.finish(&mut out).unwrap();
    kept.extend(out.sealed);
    assert_eq!(out.tree.len() as u64, tree::length(ordered.size));
    assert_eq!(sealed.salts.len(), 2);
    let item = host.enclave.hold(&sealed, DISK).unwrap();
    host.keep([item]);
    host.restart();
    let order = ordered.id();
    let open = |chunk: u64, bytes: &[u8]| host.enclave.opener(&order, chunk).unwrap().open(bytes.to_vec());
    let plain = open(border as u64 - 2, &kept[..4 * SEALED_CHUNK]).unwrap();
    assert_eq!(plain.len(), 4 * CHUNK);
    // A leaf begins once in these 256 KiB at most; all else is what leaves are filled with.
    assert!(plain.iter().filter(|byte| **byte != 7).count() <= 8);
    assert!(open(border as u64, &kept[2 * SEALED_CHUNK..]).is_ok(), "to the end");
    // The same index in the other segment is another place.
    assert!(open(0, &kept[2 * SEALED_CHUNK..3 * SEALED_CHUNK]).is_err());
}

/// The coin: a replica's pay for bytes that are not its own.
#[test]
fn a_chunk_that_is_flipped_cut_swapped_or_of_another_file_is_damaged() {
    let mut host = Host::new();
    let plain = bytes(CHUNK * 3 + 100, 1);
    let (one, two) = (content(&plain, 1), content(&plain, 2));
    let (one, two) = (host.seal(&one, &plain), host.seal(&two, &plain));
    let (sealed, other) = (host.files[&one].clone(), host.files[&two].clone());
    let open = |chunk, bytes: &[u8]| host.enclave.opener(&one, chunk).unwrap().open(bytes.to_vec());
    for byte in [0, CHUNK - 1, CHUNK, SEALED_CHUNK - 1] {
        let mut flipped = sealed.clone();
        flipped[SEALED_CHUNK + byte] ^= 1;
        assert_eq!(open(0, &flipped), Err(Error::Damaged { chunk: 1 }));
    }
    for cut in [0, 1, SEALED_CHUNK - 1, sealed.len() - 1] {
        assert!(matches!(open(0, &sealed[..cut]), Err(Error::Damaged { .. })), "{cut}");
    }
    // Another place in the same file, the same place in a file of the same bytes, and more than the file has.
    assert_eq!(open(1, &sealed[..SEALED_CHUNK]), Err(Error::Damaged { chunk: 1 }));
    assert_eq!(open(0, &other), Err(Error::Damaged { chunk: 0 }));
    assert_eq!(open(0, &[sealed.clone(), vec![0; 16]].concat()), Err(Error::Damaged { chunk: 4 }));
    assert_eq!(open(9, &sealed), Err(Error::Damaged { chunk: 9 }));
    assert_eq!(open(u64::MAX, &sealed), Err(Error::Damaged { chunk: u64::MAX }));
}

/// The coin: the pay of what was ordered for what was not.
#[test]
fn only_the_ordered_content_is_held() {
    let host = Host::new();
    let plain = bytes(1_000, 1);
    let good = content(&plain, 1);
    let try_seal = |content: &Content, blocks: &[&[u8]]| {
        let mut sealer = host.enclave.seal(content.clone()).unwrap();
        let mut out = Out::default();
        for block in blocks {
            sealer.feed(block, &mut out)?;
        }
        sealer.finish(&mut out).map(|_| ())
    };
    assert_eq!(try_seal(&good, &[&plain]), Ok(()));
    assert!(matches!(try_seal(&good, &[&plain[1..]]), Err(Error::Graph(_))));
    assert!(matches!(try_seal(&good, &[&plain, &plain]), Err(Error::Graph(_))));
    assert_eq!(try_seal(&good, &[]), Err(Error::Incomplete { next: good.cid }));
    for size in [0, 999, 1_001, u64::MAX] {
        let other = Content { size, ..good.clone() };
        assert_eq!(try_seal(&other, &[&plain]), Err(Error::Size { ordered: size, found: 1_000 }));
    }
    assert_eq!(try_seal(&Content { audit_root: [0; 32], ..good }, &[&plain]), Err(Error::AuditRoot));
}

#[test]
fn wrong_bytes_may_be_followed_by_the_right_ones_and_nothing_else() {
    let host = Host::new();
    let plain = bytes(1_000, 1);
    let mut sealer = host.enclave.seal(content(&plain, 1)).unwrap();
    let mut out = Out::default();
    assert!(sealer.feed(b"wrong", &mut out).is_err());
    assert!(!sealer.is_spent());
    sealer.feed(&plain, &mut out).unwrap();
    sealer.finish(&mut out).unwrap();
    let mut sealer = host.enclave.seal(Content { size: 1, ..content(&plain, 1) }).unwrap();
    assert!(matches!(sealer.feed(&plain, &mut out), Err(Error::Size { .. })));
    assert!(sealer.is_spent());
    assert_eq!(sealer.feed(&plain, &mut out), Err(Error::NoSealing));
    assert_eq!(sealer.finish(&mut out).err(), Some(Error::NoSealing));
}

/// The coin: the pay of a loss that was named once, before a second sealing was lost too.
#[test]
fn a_file_is_held_once_and_can_be_sealed_again_when_it_is_lost() {
    let mut host = Host::new();
    let plain = bytes(1_000, 1);
    let order = host.seal(&content(&plain, 1), &plain);
    assert_eq!(host.enclave.seal(content(&plain, 1)).err(), Some(Error::AlreadySealed { order }));
    let first = host.first();
    let root = host.receipts(first, &[order]).unwrap();
    let item = host.enclave.lose(vec![order]).unwrap();
    host.keep([item]);
    host.seal(&content(&plain, 1), &plain);
    // It is back, but the loss must be named before anything else is said.
    assert_eq!(host.receipts(root, &[order]), Err(Error::GoneFirst { orders: vec![order] }));
    let gone = host.gone(root, &[order]).unwrap();
    let again = host.receipts(gone, &[order]).unwrap();
    // Lost once more: the first `Gone` does not speak for the second loss.
    let item = host.enclave.lose(vec![order]).unwrap();
    host.keep([item]);
    host.check(1);
    assert_eq!(host.report(again, 1), Err(Error::GoneFirst { orders: vec![order] }));
    let gone = host.gone(again, &[order]).unwrap();
    host.report(gone, 1).unwrap();
}
