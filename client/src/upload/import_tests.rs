//! The graph of known files, and what the walk makes of it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::{
    collections::HashMap,
    io::{Seek, SeekFrom, Write},
};

use crust_protocol::file::links;
use proptest::prelude::*;
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;

use super::*;
use crate::download::Assembly;

fn file(content: &[u8]) -> NamedTempFile {
    let mut file = NamedTempFile::new().unwrap();
    file.write_all(content).unwrap();
    file
}

fn import(content: &[u8]) -> (NamedTempFile, Import) {
    let file = file(content);
    let import = Import::of(file.path(), &|_| ()).unwrap();
    (file, import)
}

/// The key stream with which IPIP-499's fixtures are made: ChaCha20 of the IETF, key SHA-256(seed), nonce 0.
fn fixture(seed: &str, length: usize) -> Vec<u8> {
    let key: [u8; 32] = Sha256::digest(seed.as_bytes()).into();
    let mut out = Vec::with_capacity(length + 64);
    let mut counter = 0;
    while out.len() < length {
        out.extend(chacha_block(&key, counter));
        counter += 1;
    }
    out.truncate(length);
    out
}

fn chacha_block(key: &[u8; 32], counter: u32) -> [u8; 64] {
    let mut start = [0x6170_7865, 0x3320_646e, 0x7962_2d32, 0x6b20_6574, 0, 0, 0, 0, 0, 0, 0, 0, counter, 0, 0, 0u32];
    for (word, bytes) in start[4..12].iter_mut().zip(key.chunks(4)) {
        *word = u32::from_le_bytes(bytes.try_into().unwrap());
    }
    let mut state = start;
    let mut quarter = |a: usize, b: usize, c: usize, d: usize| {
        for (x, y, z, turn) in [(a, b, d, 16), (c, d, b, 12), (a, b, d, 8), (c, d, b, 7)] {
            state[x] = state[x].wrapping_add(state[y]);
            state[z] = (state[z] ^ state[x]).rotate_left(turn);
        }
    };
    for _ in 0..10 {
        for i in 0..4 {
            quarter(i, 4 + i, 8 + i, 12 + i);
        }
        for i in 0..4 {
            quarter(i, 4 + (i + 1) % 4, 8 + (i + 2) % 4, 12 + (i + 3) % 4);
        }
    }
    let mut out = [0; 64];
    for (bytes, (word, first)) in out.chunks_mut(4).zip(state.iter().zip(start)) {
        bytes.copy_from_slice(&word.wrapping_add(first).to_le_bytes());
    }
    out
}

#[test]
fn golden_roots_of_small_files() {
    for (content, root) in [
        (&b""[..], "bafkreihdwdcefgh4dqkjv67uzcmw7ojee6xedzdetojuzjevtenxquvyku"),
        (b"hello world", "bafkreifzjut3te2nhyekklss27nh3k72ysco7y32koao5eei66wof36n5e"),
    ] {
        let (_file, import) = import(content);
        assert_eq!(import.root().to_string(), root);
        assert_eq!(import.size(), u64::try_from(content.len()).unwrap());
        assert_eq!(import.audit_root(), *blake3::hash(content).as_bytes());
    }
}

#[test]
fn golden_roots_of_the_profile_at_the_edge_of_a_leaf() {
    let content = fixture("chunk-v1-seed", LEAF + 1);
    let (_file, one) = import(&content[..LEAF]);
    assert_eq!(one.root().to_string(), "bafkreiacndfy443ter6qr2tmbbdhadvxxheowwf75s6zehscklu6ezxmta");
    let (_file, two) = import(&content);
    assert_eq!(two.root().to_string(), "bafybeigmix7t42i6jacydtquhet7srwvgpizfg7gjbq7627d35mjomtu64");
}

#[test]
fn golden_roots_of_the_profile_at_the_edge_of_a_node() {
    // 1 GiB, written as it is made.
    let mut file = NamedTempFile::new().unwrap();
    let key: [u8; 32] = Sha256::digest(b"v1-2025-seed").into();
    let blocks = u32::try_from(LEAF * LINKS / 64).unwrap();
    let mut output = std::io::BufWriter::with_capacity(LEAF, file.as_file_mut());
    for counter in 0..blocks {
        output.write_all(&chacha_block(&key, counter)).unwrap();
    }
    output.write_all(&chacha_block(&key, blocks)[..1]).unwrap();
    output.flush().unwrap();
    drop(output);
    let over = Import::cut(file.path(), &|_| ()).unwrap();
    assert_eq!(over.root().to_string(), "bafybeibdsi225ugbkmpbdohnxioyab6jsqrmkts3twhpvfnzp77xtzpyhe");
    file.as_file().set_len(u64::try_from(LEAF * LINKS).unwrap()).unwrap();
    let full = Import::cut(file.path(), &|_| ()).unwrap();
    assert_eq!(full.root().to_string(), "bafybeihmf37wcuvtx4hpu7he5zl5qaf2ineo2lqlfrapokkm5zzw7zyhvm");
}

#[test]
fn a_block_that_stands_twice_is_counted_once() {
    // Four leaves, of which three are the same.
    let mut content = vec![7; LEAF * 4];
    content[LEAF * 2] = 8;
    let (_file, import) = import(&content);
    let root = import.block(import.root()).unwrap();
    assert_eq!(links(Codec::DagPb, &root).unwrap().len(), 4);
    assert_eq!(import.size(), u64::try_from(root.len() + 2 * LEAF).unwrap());
    assert_eq!(import.distinct(), u64::try_from(2 * LEAF).unwrap());
    let stream = [&root[..], &content[..LEAF], &content[2 * LEAF..3 * LEAF]].concat();
    assert_eq!(import.audit_root(), *blake3::hash(&stream).as_bytes());
}

#[test]
fn a_file_that_changes_while_it_is_read_is_noticed() {
    let content = fixture("change", LEAF * 3);
    let mut file = file(&content);
    let mut import = Import::cut(file.path(), &|_| ()).unwrap();
    file.seek(SeekFrom::Start(u64::try_from(LEAF).unwrap())).unwrap();
    file.write_all(b"other").unwrap();
    file.flush().unwrap();
    assert!(matches!(import.audit(&|_| ()), Err(Error::Changed(_))));

    let longer = self::file(&content);
    let mut import = Import::cut(longer.path(), &|_| ()).unwrap();
    longer.as_file().set_len(u64::try_from(LEAF * 3 + 1).unwrap()).unwrap();
    assert!(matches!(import.audit(&|_| ()), Err(Error::Changed(_))));

    let shorter = self::file(&content);
    let mut import = Import::cut(shorter.path(), &|_| ()).unwrap();
    shorter.as_file().set_len(u64::try_from(LEAF).unwrap()).unwrap();
    assert!(matches!(import.audit(&|_| ()), Err(Error::Changed(_))));
}

#[test]
fn what_is_no_file_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    assert!(matches!(Import::check(directory.path()), Err(Error::Directory(_))));
    assert!(matches!(Import::check(&directory.path().join("none")), Err(Error::Missing(_))));
    assert!(matches!(Import::check(Path::new("/dev/null")), Err(Error::NotAFile(_))));
    let huge = file(b"");
    huge.as_file().set_len(5 << 40).unwrap();
    assert!(matches!(Import::check(huge.path()), Err(Error::TooLarge { .. })));
}

/// A graph of tiny leaves has the same form as one of large leaves, over as many levels as one likes.
fn graph(leaves: &[Vec<u8>]) -> (Cid, Graph, HashMap<Hash, Vec<u8>>) {
    let mut graph = Graph::default();
    let mut bytes = HashMap::new();
    let mut offset = 0;
    for leaf in leaves {
        graph.leaf(offset, leaf);
        bytes.insert(HashFunction::Sha2_256.digest(leaf), leaf.clone());
        offset += u64::try_from(leaf.len()).unwrap();
    }
    let root = graph.finish();
    bytes.extend(graph.nodes.iter().map(|(digest, node)| (*digest, node.to_vec())));
    (root, graph, bytes)
}

/// Walks a graph, feeding an assembly with it: the file that comes back, and the size of the stream.
fn walk(root: Cid, blocks: &HashMap<Hash, Vec<u8>>) -> (Vec<u8>, u64, usize) {
    let output = tempfile::tempfile().unwrap();
    let mut assembly = Assembly::new(root, output.try_clone().unwrap(), "file".into());
    let mut walk = Walk::new(root, Limits::PROTOCOL);
    while let Some(cid) = walk.wanted() {
        let bytes = &blocks[&cid.multihash().digest];
        walk.feed(&Block::check(cid, bytes).unwrap()).unwrap();
        assembly.accept(cid, bytes).unwrap();
    }
    let length = assembly.finish().unwrap();
    let mut content = vec![0; usize::try_from(length).unwrap()];
    output.read_exact_at(&mut content, 0).unwrap();
    (content, walk.size(), walk.blocks())
}

#[test]
fn graphs_of_every_height_come_back() {
    for count in [0, 1, 2, 3, 1_023, 1_024, 1_025, 2_048, 2_049, 1_024 * 1_024 / 512 + 5] {
        let leaves: Vec<_> = (0..count).map(|leaf: u32| leaf.to_le_bytes().to_vec()).collect();
        let (root, graph, blocks) = graph(&leaves);
        let (content, size, walked) = walk(root, &blocks_or_empty(blocks, root));
        assert_eq!(content, leaves.concat(), "{count}");
        if count > 0 {
            assert_eq!(size, graph.size(), "{count}");
            assert_eq!(walked, graph.nodes.len() + graph.leaves.len(), "{count}");
        }
    }
}

/// A file without a leaf has the empty block as its root.
fn blocks_or_empty(mut blocks: HashMap<Hash, Vec<u8>>, root: Cid) -> HashMap<Hash, Vec<u8>> {
    blocks.entry(root.multihash().digest).or_default();
    blocks
}

#[test]
fn three_levels_come_back() {
    // 1,024 × 1,024 + 1 leaves, of which few are different: the root has two links, each to two levels of nodes.
    let leaves: Vec<_> = (0..LINKS * LINKS + 1).map(|leaf| vec![u8::try_from(leaf % 3).unwrap()]).collect();
    let (root, graph, blocks) = graph(&leaves);
    let top = links(Codec::DagPb, &blocks[&root.multihash().digest]).unwrap();
    assert_eq!(top.len(), 2);
    let (content, size, _) = walk(root, &blocks);
    assert_eq!(content, leaves.concat());
    assert_eq!(size, graph.size());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_file_comes_back(leaves in prop::collection::vec(prop::collection::vec(0u8..4, 1..4), 1..3_000)) {
        let (root, graph, blocks) = graph(&leaves);
        let (content, size, _) = walk(root, &blocks);
        prop_assert_eq!(content, leaves.concat());
        prop_assert_eq!(size, graph.size());
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn any_length_is_cut_and_audited(length in 0usize..4 * LEAF, seed in any::<u32>()) {
        let content = fixture(&seed.to_string(), length);
        let (_file, import) = import(&content);
        let mut walk = Walk::new(import.root(), Limits::PROTOCOL);
        let mut stream = Vec::new();
        while let Some(cid) = walk.wanted() {
            let bytes = import.block(cid).unwrap();
            prop_assert_eq!(import.block_size(cid), u32::try_from(bytes.len()).ok());
            walk.feed(&Block::check(cid, &bytes).unwrap()).unwrap();
            stream.extend_from_slice(&bytes);
        }
        prop_assert_eq!(import.size(), u64::try_from(stream.len()).unwrap());
        prop_assert_eq!(import.audit_root(), *blake3::hash(&stream).as_bytes());
        prop_assert_eq!(import.content(), u64::try_from(length).unwrap());
    }
}
