//! The walk against a recursive twin, and against bombs.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;
use crate::file::HashFunction;
use alloc::{collections::BTreeSet, vec};
use proptest::prelude::*;

type Blocks = BTreeMap<Cid, Vec<u8>>;

const LIMITS: Limits = Limits { blocks: 1_000, depth: 20, pending: 1 << 20 };

/// A dag-pb block: links (binary CIDs), then data.
fn pb(links: &[Vec<u8>], data: &[u8]) -> Vec<u8> {
    let mut block = Vec::new();
    for link in links {
        let hash = [vec![0x0a], varint(link.len()), link.clone()].concat();
        block.extend([vec![0x12], varint(hash.len()), hash].concat());
    }
    block.extend([vec![0x0a], varint(data.len()), data.to_vec()].concat());
    block
}

/// The binary form of a dag-pb identity CID.
fn inline_node(block: &[u8]) -> Vec<u8> {
    [vec![1, 0x70, 0], varint(block.len()), block.to_vec()].concat()
}

fn varint(mut number: usize) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(u8::try_from(number & 0x7f).unwrap() | 0x80);
        number >>= 7;
    }
    bytes.push(u8::try_from(number).unwrap());
    bytes
}

fn put(blocks: &mut Blocks, codec: Codec, block: Vec<u8>) -> Cid {
    let cid = Cid::of(codec, HashFunction::Sha2_256, &block);
    blocks.insert(cid, block);
    cid
}

fn node(blocks: &mut Blocks, links: &[Cid], data: &[u8]) -> Cid {
    let links: Vec<Vec<u8>> = links.iter().map(|cid| cid.as_bytes().to_vec()).collect();
    put(blocks, Codec::DagPb, pb(&links, data))
}

/// Feeds everything; the stream and the order of the blocks.
fn run(root: Cid, blocks: &Blocks, limits: Limits) -> Result<(Vec<u8>, Vec<Cid>), Error> {
    let (mut walk, mut stream, mut order) = (Walk::new(root, limits), Vec::new(), Vec::new());
    while let Some(cid) = walk.wanted() {
        assert_eq!(walk.ahead().next(), Some(cid));
        let block = Block::check(cid, &blocks[&cid]).unwrap();
        if let Fed::Bytes { offset } = walk.feed(&block)? {
            assert_eq!(offset, stream.len() as u64);
            stream.extend_from_slice(block.bytes());
        }
        order.push(cid);
    }
    assert_eq!(walk.size(), stream.len() as u64);
    assert_eq!(walk.blocks(), order.iter().map(Cid::multihash).collect::<BTreeSet<_>>().len());
    Ok((stream, order))
}

/// The same by recursion, as the protocol says it.
fn twin(cid: Cid, blocks: &Blocks, followed: &mut BTreeSet<Cid>, seen: &mut BTreeSet<Multihash>, stream: &mut Vec<u8>) {
    if !followed.insert(cid) {
        return;
    }
    let block = &blocks[&cid];
    if seen.insert(cid.multihash()) {
        stream.extend_from_slice(block);
    }
    twin_links(cid.codec(), block, blocks, followed, seen, stream);
}

fn twin_links(
    codec: Codec,
    block: &[u8],
    blocks: &Blocks,
    followed: &mut BTreeSet<Cid>,
    seen: &mut BTreeSet<Multihash>,
    stream: &mut Vec<u8>,
) {
    for link in file::links(codec, block).unwrap() {
        match link {
            Link::Block(cid) => twin(cid, blocks, followed, seen, stream),
            Link::Inline { codec, data } => twin_links(codec, &data, blocks, followed, seen, stream),
        }
    }
}

#[test]
fn blocks_come_depth_first_and_once() {
    let mut blocks = Blocks::new();
    let [a, b, c] = [b"a", b"b", b"c"].map(|leaf| put(&mut blocks, Codec::Raw, leaf.to_vec()));
    let left = node(&mut blocks, &[a, b], b"left");
    let right = node(&mut blocks, &[b, c, left], b"right");
    let root = node(&mut blocks, &[left, right, a], b"");
    let (stream, order) = run(root, &blocks, LIMITS).unwrap();
    assert_eq!(order, [root, left, a, b, right, c]);
    let expected: Vec<u8> = order.iter().flat_map(|cid| blocks[cid].clone()).collect();
    assert_eq!(stream, expected);
}

#[test]
fn an_empty_file_is_one_block_without_bytes() {
    let mut blocks = Blocks::new();
    let root = put(&mut blocks, Codec::Raw, Vec::new());
    assert_eq!(run(root, &blocks, LIMITS).unwrap(), (Vec::new(), vec![root]));
}

#[test]
fn a_block_under_a_second_codec_is_followed_and_adds_nothing() {
    let mut blocks = Blocks::new();
    let leaf = put(&mut blocks, Codec::Raw, b"leaf".to_vec());
    let inner = node(&mut blocks, &[leaf], b"inner");
    let bytes = blocks[&inner].clone();
    let raw = put(&mut blocks, Codec::Raw, bytes.clone());
    // First as mere bytes, then as a node: its links count, its bytes do not again.
    let root = node(&mut blocks, &[raw, inner], b"");
    let (stream, order) = run(root, &blocks, LIMITS).unwrap();
    assert_eq!(order, [root, raw, inner, leaf]);
    assert_eq!(stream, [blocks[&root].clone(), bytes, b"leaf".to_vec()].concat());
}

#[test]
fn identity_links_are_followed_in_place_and_add_nothing() {
    let mut blocks = Blocks::new();
    let [a, b] = [b"a", b"b"].map(|leaf| put(&mut blocks, Codec::Raw, leaf.to_vec()));
    let inline = pb(&[a.as_bytes().to_vec()], b"");
    let text = [&[1, 0x55, 0, 4], &b"text"[..]].concat();
    let root = put(&mut blocks, Codec::DagPb, pb(&[text, inline_node(&inline), b.as_bytes().to_vec()], b""));
    let (stream, order) = run(root, &blocks, LIMITS).unwrap();
    assert_eq!(order, [root, a, b]);
    assert_eq!(stream, [blocks[&root].clone(), b"ab".to_vec()].concat());
}

#[test]
fn what_is_not_wanted_or_not_genuine_is_refused() {
    let mut blocks = Blocks::new();
    let leaf = put(&mut blocks, Codec::Raw, b"leaf".to_vec());
    let root = node(&mut blocks, &[leaf], b"");
    let mut walk = Walk::new(root, LIMITS);
    assert_eq!(Block::check(root, b"leaf").err(), Some(Error::WrongBytes(root)));
    assert_eq!(Block::check(leaf, &vec![0; MAX_BLOCK + 1]).err(), Some(Error::BlockTooLarge(MAX_BLOCK + 1)));
    assert_eq!(walk.feed(&Block::check(leaf, b"leaf").unwrap()), Err(Error::NotWanted(leaf)));
    let v0: Cid = Cid::from_bytes(&root.multihash().to_bytes()).unwrap();
    assert_eq!(v0, root, "versions 0 and 1 are one");
    walk.feed(&Block::check(root, &blocks[&root]).unwrap()).unwrap();
    walk.feed(&Block::check(leaf, b"leaf").unwrap()).unwrap();
    assert_eq!(walk.wanted(), None);
    assert_eq!(walk.feed(&Block::check(leaf, b"leaf").unwrap()), Err(Error::NotWanted(leaf)));
}

#[test]
fn malformed_and_unsupported_blocks_are_refused_not_skipped() {
    for (codec, block) in [
        (Codec::DagPb, vec![0xff]),
        (Codec::DagCbor, vec![0xff]),
        (Codec::DagPb, pb(&[[&[1, 0x72, 0x12, 32], &[0; 32][..]].concat()], b"")),
        (Codec::DagPb, pb(&[[&[1, 0x70, 0, 1], &[0xff][..]].concat()], b"")),
    ] {
        let mut blocks = Blocks::new();
        let root = put(&mut blocks, codec, block);
        assert!(matches!(run(root, &blocks, LIMITS), Err(Error::File(_))));
    }
}

#[test]
fn bombs_in_depth_links_and_blocks_are_refused_at_their_limit() {
    let mut blocks = Blocks::new();
    // A chain: `depth` links from the root are allowed.
    let mut chain = vec![put(&mut blocks, Codec::Raw, b"end".to_vec())];
    for _ in 0..=LIMITS.depth {
        let next = node(&mut blocks, &[*chain.last().unwrap()], b"");
        chain.push(next);
    }
    let at = |depth: u32| chain[usize::try_from(depth).unwrap()];
    assert!(run(at(LIMITS.depth), &blocks, LIMITS).is_ok());
    assert_eq!(run(at(LIMITS.depth + 1), &blocks, LIMITS), Err(Error::TooDeep));
    // The same leaf a thousand and one times: one block, too many links.
    let leaf = chain[0];
    let full = node(&mut blocks, &vec![leaf; 1_000], b"");
    assert!(run(full, &blocks, LIMITS).is_ok());
    let over = node(&mut blocks, &vec![leaf; 1_001], b"");
    assert_eq!(run(over, &blocks, LIMITS), Err(Error::TooManyBlocks));
    // Ever more paths over few blocks: every block is followed once, so this ends at once.
    let mut doubling = leaf;
    for _ in 0..LIMITS.depth {
        doubling = node(&mut blocks, &[doubling, doubling], b"2");
    }
    assert!(run(doubling, &blocks, LIMITS).is_ok());
    // Waiting links are bounded in bytes.
    let few = Limits { pending: 999 * size_of::<Link>(), ..LIMITS };
    assert_eq!(run(full, &blocks, few), Err(Error::TooManyPending));
    let tight = Limits { blocks: 2, ..LIMITS };
    assert_eq!(run(at(2), &blocks, tight), Err(Error::TooManyBlocks));
    assert!(run(at(1), &blocks, tight).is_ok());
    // An identity CID within an identity CID … costs depth like any other.
    let mut inline = vec![1, 0x55, 0, 0];
    for _ in 0..9 {
        inline = inline_node(&pb(&[inline], b""));
    }
    let root = put(&mut blocks, Codec::DagPb, pb(std::slice::from_ref(&inline), b""));
    assert!(run(root, &blocks, Limits { depth: 10, ..LIMITS }).is_ok());
    assert_eq!(run(root, &blocks, Limits { depth: 9, ..LIMITS }), Err(Error::TooDeep));
    // … and is soon too large, so that what is read of a block stays in proportion to the block.
    for _ in 0..9 {
        inline = inline_node(&pb(&[inline], b""));
    }
    let root = put(&mut blocks, Codec::DagPb, pb(&[inline], b""));
    assert!(matches!(run(root, &blocks, LIMITS), Err(Error::File(file::Error::InlineTooLarge(_)))));
}

proptest! {
    /// Random graphs: every block's links go to blocks made before it, under either codec.
    #[test]
    fn the_stream_is_that_of_the_twin(
        graph in proptest::collection::vec((any::<u8>(), proptest::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 0..6)), 1..40)
    ) {
        let (mut blocks, mut cids) = (Blocks::new(), Vec::<Cid>::new());
        for (data, links) in graph {
            let mut targets = Vec::new();
            for (index, raw) in links.iter().filter(|_| !cids.is_empty()) {
                let cid = *index.get(&cids);
                let bytes = blocks[&cid].clone();
                targets.push(if *raw { put(&mut blocks, Codec::Raw, bytes) } else { cid });
            }
            let cid = node(&mut blocks, &targets, &[data]);
            cids.push(cid);
        }
        let root = *cids.last().unwrap();
        let limits = Limits { depth: 64, ..LIMITS };
        let (stream, order) = run(root, &blocks, limits).unwrap();
        let mut expected = Vec::new();
        twin(root, &blocks, &mut BTreeSet::new(), &mut BTreeSet::new(), &mut expected);
        prop_assert_eq!(stream, expected);
        let distinct: BTreeSet<&Cid> = order.iter().collect();
        prop_assert_eq!(distinct.len(), order.len());
    }
}
