//! A file over several segments that is cut off: what is finished is kept, and no sealed byte comes twice.

use codec::Encode;

use super::*;
use crate::unfinished::Segment;
use crust_protocol::walk::MAX_BLOCK;

const SEGMENT: u64 = seal::SEGMENT_CHUNKS;
/// Of 2 MiB: three segments and an eighth.
const LEAVES: usize = 1_600;
/// The first run ends in the third segment.
const CUT: usize = 1_100;

fn leaf(number: usize) -> Vec<u8> {
    let mut leaf = vec![7; MAX_BLOCK];
    leaf[..8].copy_from_slice(&number.to_le_bytes());
    leaf
}

/// Root block and order of the large file.
fn large() -> (Vec<u8>, Content) {
    let (mut root, mut audit) = (Vec::new(), blake3::Hasher::new());
    for number in 0..LEAVES {
        root.extend([0x12, 38, 0x0a, 36]);
        root.extend(Cid::of(Codec::Raw, HashFunction::Blake3, &leaf(number)).as_bytes());
    }
    audit.update(&root);
    for number in 0..LEAVES {
        audit.update(&leaf(number));
    }
    let content = Content {
        cid: Cid::of(Codec::DagPb, HashFunction::Sha2_256, &root),
        size: (root.len() + LEAVES * MAX_BLOCK) as u64,
        audit_root: *audit.finalize().as_bytes(),
        ..content(&[], 1)
    };
    (root, content)
}

/// The bytes of the stream in a chunk.
fn plain(root: &[u8], chunk: u64) -> Vec<u8> {
    let from = chunk as usize * CHUNK;
    let byte = |at: usize| match at.checked_sub(root.len()) {
        None => root[at],
        Some(at) => leaf_byte(at / MAX_BLOCK, at % MAX_BLOCK),
    };
    let end = root.len() + LEAVES * MAX_BLOCK;
    (from..(from + CHUNK).min(end)).map(byte).collect()
}

fn leaf_byte(number: usize, at: usize) -> u8 {
    number.to_le_bytes().get(at).copied().unwrap_or(7)
}

/// What a host keeps of the sealed bytes: a few chunks by their numbers.
struct Sink {
    next: u64,
    kept: BTreeMap<u64, Vec<u8>>,
}

impl Sink {
    fn from(next: u64) -> Self {
        Sink { next, kept: BTreeMap::new() }
    }

    fn take(&mut self, out: &mut Out) {
        for chunk in out.sealed.chunks(SEALED_CHUNK) {
            if self.next % SEGMENT < 2 || self.next % SEGMENT == SEGMENT - 1 {
                self.kept.insert(self.next, chunk.to_vec());
            }
            self.next += 1;
        }
        out.sealed.clear();
    }
}

#[test]
fn a_file_that_was_cut_off_goes_on_after_its_finished_segments() {
    let (root, content) = large();
    let order = content.id();
    let mut host = Host::new();
    let mut sealer = host.enclave.resume(content.clone()).unwrap();
    assert_eq!(sealer.kept(), 0);
    let (mut first, mut out) = (Sink::from(0), Out::default());
    sealer.feed(&root, &mut out).unwrap();
    assert_eq!(host.enclave.finish_segment(&mut sealer), Err(Error::NoSuchPart));
    let mut before_second = 0;
    for number in 0..CUT {
        sealer.feed(&leaf(number), &mut out).unwrap();
        first.take(&mut out);
        if let Ok(item) = host.enclave.finish_segment(&mut sealer) {
            before_second = host.log.len();
            host.keep([item]);
        }
    }
    assert!(first.next > 2 * SEGMENT && host.log.len() == before_second + 1);
    drop(sealer);

    // Killed; and killed once more, after a snapshot.
    let mut rolled_back = host.clone_at(before_second);
    host.restart();
    let snapshot = host.enclave.snapshot(0).unwrap();
    assert_eq!(snapshot.next, None);
    host.log = snapshot.items;
    host.restart();
    let opens = |host: &Host, chunk: u64, sealed: &[u8]| {
        let opener = host.enclave.opener(&order, chunk)?;
        opener.open(sealed.to_vec())
    };
    for chunk in [0, 1, SEGMENT - 1, SEGMENT, 2 * SEGMENT - 1] {
        assert!(opens(&host, chunk, &first.kept[&chunk]).unwrap() == plain(&root, chunk), "{chunk}");
    }
    assert!(opens(&host, 2 * SEGMENT, &first.kept[&(2 * SEGMENT)]).is_err(), "it was never finished");

    host.check(5);
    let mut sealer = host.enclave.resume(content.clone()).unwrap();
    assert_eq!(sealer.kept(), 2);
    let (mut second, mut out) = (Sink::from(2 * SEGMENT), Out::default());
    sealer.feed(&root, &mut out).unwrap();
    for number in 0..LEAVES {
        sealer.feed(&leaf(number), &mut out).unwrap();
        let stream = (root.len() + (number + 1) * MAX_BLOCK) / CHUNK;
        assert!(out.sealed.is_empty() || stream as u64 > 2 * SEGMENT, "a byte that was given out before");
        second.take(&mut out);
    }
    let sealed = sealer.finish(&mut out).unwrap();
    second.take(&mut out);
    assert_eq!((second.next, sealed.salts.len()), (seal::chunks(content.size), 4));
    assert_eq!(out.tree.len() as u64, tree::length(content.size), "the hash tree is sealed anew");
    assert!(second.kept[&(2 * SEGMENT)] != first.kept[&(2 * SEGMENT)]);
    let item = host.enclave.hold(&sealed, DISK).unwrap();
    host.keep([item]);
    assert_eq!(host.enclave.state().unwrap().oldest(), Some(0), "its first segments were written then");
    host.restart();
    for chunk in [0, SEGMENT - 1, SEGMENT, 2 * SEGMENT - 1] {
        assert!(opens(&host, chunk, &first.kept[&chunk]).unwrap() == plain(&root, chunk), "{chunk}");
    }
    for chunk in [2 * SEGMENT, 3 * SEGMENT - 1, 3 * SEGMENT] {
        assert!(opens(&host, chunk, &second.kept[&chunk]).unwrap() == plain(&root, chunk), "{chunk}");
    }
    assert_eq!(host.enclave.resume(content.clone()).err(), Some(Error::AlreadySealed { order }));
    assert_eq!(host.enclave.state().unwrap().unfinished.iter().count(), 0);

    // A log of before the second segment's record: that segment is sealed anew, under another key.
    let mut sealer = rolled_back.enclave.resume(content).unwrap();
    assert_eq!(sealer.kept(), 1);
    let (mut again, mut number) = (Sink::from(SEGMENT), 0);
    sealer.feed(&root, &mut out).unwrap();
    while again.kept.is_empty() {
        sealer.feed(&leaf(number), &mut out).unwrap();
        again.take(&mut out);
        number += 1;
    }
    assert!(again.kept[&SEGMENT] != first.kept[&SEGMENT]);
    assert_eq!(rolled_back.enclave.finish_segment(&mut sealer), Err(Error::NoSuchPart));
}

#[test]
fn finished_segments_are_counted_in_their_order_and_of_a_bounded_number_of_files() {
    let mut host = Host::new();
    let segment = |file: u8, number: u64| Segment {
        order: [file; 32],
        size: 9 << 30,
        flags: 0,
        number,
        salt: [number as u8; 32],
        written: 4,
    };
    let mut add = |file, number| {
        let item = host.enclave.state_mut().unwrap().record(Record::Segment(segment(file, number))).unwrap();
        host.keep([item]);
        let part = host.enclave.state().unwrap().unfinished.get(&[file; 32]);
        part.map_or(0, |part| part.salts().len())
    };
    assert_eq!([add(1, 0), add(1, 2), add(1, 1), add(1, 1), add(1, 2), add(1, 0)], [1, 1, 2, 2, 3, 1]);
    assert_eq!(add(2, 1), 0, "there was no first");
    for file in 2..=65 {
        assert_eq!(add(file, 0), 1);
    }
    assert_eq!(add(1, 1), 0, "the first file has given way");
    let parts = |enclave: &Enclave| enclave.state().unwrap().unfinished.iter().map(Encode::encode).collect::<Vec<_>>();
    let before = parts(&host.enclave);
    assert_eq!(before.len(), 64);
    host.restart();
    assert_eq!(parts(&host.enclave), before);
    host.log = host.enclave.snapshot(0).unwrap().items;
    host.restart();
    assert_eq!(parts(&host.enclave), before);
    // What is not wanted any more is forgotten, and needs no `Gone`.
    let order = [9; 32];
    host.delete(order);
    assert_eq!(host.enclave.delete(vec![order]), Err(Error::NotSealed { order }));
    assert_eq!((parts(&host.enclave).len(), host.enclave.overview().unwrap().gone_due), (63, 0));
}
