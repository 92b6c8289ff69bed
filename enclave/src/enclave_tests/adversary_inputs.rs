//! Adversaries that order what no node should seal: bombs, holes, and two names for one thing. An order pays by its size
//! and a node works by its graph; each test says what would be won if the two could be driven apart.

use super::*;
use crust_protocol::file::Multihash;
use crust_protocol::walk::Limits;

const SMALL: Limits = Limits { blocks: 64, depth: 8, pending: 4 << 10 };

/// A graph under construction.
#[derive(Default)]
struct Graph(BTreeMap<Multihash, Vec<u8>>);

impl Graph {
    fn put(&mut self, codec: Codec, block: Vec<u8>) -> Cid {
        let cid = Cid::of(codec, HashFunction::Sha2_256, &block);
        self.0.insert(cid.multihash(), block);
        cid
    }

    /// A dag-pb node over binary CIDs.
    fn node(&mut self, links: &[Vec<u8>]) -> Cid {
        let mut block = Vec::new();
        for link in links {
            let length = u8::try_from(link.len()).unwrap();
            block.extend([0x12, length + 2, 0x0a, length]);
            block.extend(link);
        }
        self.put(Codec::DagPb, block)
    }

    fn of(&mut self, links: &[Cid]) -> Cid {
        let links: Vec<Vec<u8>> = links.iter().map(|cid| cid.as_bytes().to_vec()).collect();
        self.node(&links)
    }

    /// Has it sealed under limits; how many blocks were fed, and what came of it.
    fn seal(&self, root: Cid, size: u64, limits: Limits) -> (usize, Result<Out, Error>) {
        let mut enclave = Enclave::new(Arc::new(TestPlatform(7)), Constants { limits, ..CONSTANTS });
        enclave.open(GENESIS, PROVIDER).unwrap();
        // Once to learn the stream, once to seal it.
        let mut stream = blake3::Hasher::new();
        match self.feed(&enclave, Content { cid: root, size, ..content(&[], 1) }, &mut stream) {
            (_, Err(Error::AuditRoot)) => {
                let audit_root = *stream.finalize().as_bytes();
                let ordered = Content { cid: root, size, audit_root, ..content(&[], 1) };
                self.feed(&enclave, ordered, &mut blake3::Hasher::new())
            }
            ended => ended,
        }
    }

    fn feed(&self, enclave: &Enclave, ordered: Content, stream: &mut blake3::Hasher) -> (usize, Result<Out, Error>) {
        let mut sealer = enclave.seal(ordered).unwrap();
        let (mut out, mut fed, mut seen) = (Out::default(), 0, HashSet::new());
        while let Some(cid) = sealer.wanted() {
            let Some(block) = self.0.get(&cid.multihash()) else { break };
            if seen.insert(cid.as_bytes()[2..].to_vec()) {
                stream.update(block);
            }
            fed += 1;
            if let Err(error) = sealer.feed(block, &mut out) {
                return (fed, Err(error));
            }
        }
        (fed, sealer.finish(&mut out).map(|_| out))
    }
}

fn refused(result: &Result<Out, Error>, why: &str) {
    let error = result.as_ref().err().map(ToString::to_string).unwrap_or_default();
    assert!(error.contains(why), "{error:?} says nothing of {why:?}");
}

/// The coin: a node's memory and a day of its disk's seeks for the price of one small file.
#[test]
fn adversary_a_bomb_in_blocks() {
    let mut graph = Graph::default();
    let leaves: Vec<Cid> = (0..40u8).map(|leaf| graph.put(Codec::Raw, vec![leaf])).collect();
    let (left, right) = (graph.of(&leaves), graph.of(&leaves[..20]));
    let fits = graph.of(&[left, right]);
    let size = graph.0.values().map(|block| block.len() as u64).sum();
    assert!(graph.seal(fits, size, Limits { blocks: 64, pending: 1 << 20, ..SMALL }).1.is_ok());
    let (fed, result) = graph.seal(fits, size, Limits { blocks: 30, pending: 1 << 20, ..SMALL });
    refused(&result, "too many blocks or links");
    assert!(fed <= 30, "{fed} blocks were taken");
}

/// Links cost memory though they add no byte: many, to few blocks, in blocks that link to each other's links. The coin:
/// as above, doubled with each level.
#[test]
fn adversary_a_bomb_in_links() {
    let mut graph = Graph::default();
    let leaf = graph.put(Codec::Raw, vec![1]);
    let wide = graph.of(&[leaf; 100]);
    let (fed, result) = graph.seal(wide, 10_000, Limits { pending: 1 << 20, ..SMALL });
    refused(&result, "too many blocks or links");
    assert_eq!(fed, 1);
    // Two links to the level below on each of 60 levels: 2^60 paths, 61 blocks, each visited once.
    let mut top = leaf;
    for _ in 0..60 {
        top = graph.of(&[top, top]);
    }
    let size = graph.0.values().map(|block| block.len() as u64).sum::<u64>() - graph.0[&wide.multihash()].len() as u64;
    let (fed, result) = graph.seal(top, size, Limits { blocks: 200, depth: 100, pending: 1 << 20 });
    assert!(result.is_ok(), "{result:?}");
    assert_eq!(fed, 61);
    // Waiting links are bounded by their bytes.
    let wide = graph.of(&[leaf; 60]);
    refused(&graph.seal(wide, 10_000, Limits { pending: 1_000, ..SMALL }).1, "too many links wait");
}

/// The coin: a stack that overflows, and with it every replica that the process speaks for.
#[test]
fn adversary_a_bomb_in_depth() {
    let mut graph = Graph::default();
    let mut top = graph.put(Codec::Raw, vec![1]);
    for _ in 0..7 {
        top = graph.of(&[top]);
    }
    let size = graph.0.values().map(|block| block.len() as u64).sum::<u64>();
    assert!(graph.seal(top, size, Limits { depth: 7, ..SMALL }).1.is_ok());
    refused(&graph.seal(top, size, Limits { depth: 6, ..SMALL }).1, "too deep");
    // The same with identity CIDs, of which one block holds as many levels as fit.
    let mut inline = vec![1, 0x55, 0, 1, 7];
    for _ in 0..12 {
        let block = [vec![0x12, inline.len() as u8 + 2, 0x0a, inline.len() as u8], inline].concat();
        inline = [vec![1, 0x70, 0, block.len() as u8], block].concat();
    }
    let top = graph.node(&[inline]);
    refused(&graph.seal(top, 1_000, SMALL).1, "too deep");
}

/// A child that nobody has: the order would be paid for a file that cannot be read. The coin: the pay of a whole term for
/// its root alone.
#[test]
fn adversary_missing_children() {
    let mut graph = Graph::default();
    let there = graph.put(Codec::Raw, vec![1; 100]);
    let nowhere = Cid::of(Codec::Raw, HashFunction::Sha2_256, b"nobody has it");
    let root = graph.of(&[there, nowhere]);
    let (fed, result) = graph.seal(root, 1_000, SMALL);
    assert_eq!((fed, result), (2, Err(Error::Incomplete { next: nowhere })));
    // Nor can another block stand in for it, and a refused one changes nothing.
    let host = Host::new();
    let mut sealer = host.enclave.seal(Content { cid: root, size: 1_000, ..content(&[], 1) }).unwrap();
    let mut out = Out::default();
    assert!(sealer.feed(&[1; 100], &mut out).is_err(), "the root comes first");
    assert_eq!((sealer.wanted(), out), (Some(root), Out::default()));
}

/// One hash under two codecs: the bytes are stored and counted once, the links of both are followed. The coin: the same
/// megabyte paid twice, or links smuggled past the check under the codec that has none.
#[test]
fn adversary_two_codecs_for_one_hash() {
    let mut graph = Graph::default();
    let leaf = graph.put(Codec::Raw, vec![9; 50]);
    let inner = graph.of(&[leaf]);
    let as_raw = Cid::new(Codec::Raw, HashFunction::Sha2_256, inner.multihash().digest);
    let root = graph.of(&[as_raw, inner, as_raw]);
    let size = graph.0.values().map(|block| block.len() as u64).sum();
    let (fed, result) = graph.seal(root, size, SMALL);
    assert_eq!(result.unwrap().sealed.len() as u64, size + TAG as u64, "stored once");
    assert_eq!(fed, 4, "fed again under its second codec, and followed");
    // Counted twice it is of another size than ordered.
    let twice = size + graph.0[&inner.multihash()].len() as u64;
    assert_eq!(graph.seal(root, twice, SMALL).1.err(), Some(Error::Size { ordered: twice, found: size }));
    // Under the codec without links alone, the leaf is no part of the file, and is not paid for.
    let root = graph.of(&[as_raw]);
    let without = (graph.0[&root.multihash()].len() + graph.0[&inner.multihash()].len()) as u64;
    assert!(graph.seal(root, without, SMALL).1.is_ok());
    assert!(graph.seal(root, without + 50, SMALL).1.is_err());
}

/// Identity CIDs carry their bytes in themselves: they are followed and add no byte; as a root, or as a bomb, they are
/// refused. The coin: size without storage.
#[test]
fn adversary_identity_cids() {
    let mut graph = Graph::default();
    let leaf = graph.put(Codec::Raw, vec![3; 30]);
    let hidden = [vec![0x12, 38, 0x0a, 36], leaf.as_bytes().to_vec()].concat();
    let inline = [vec![1, 0x70, 0, hidden.len() as u8], hidden].concat();
    let root = graph.node(std::slice::from_ref(&inline));
    let size = graph.0.values().map(|block| block.len() as u64).sum();
    let (fed, result) = graph.seal(root, size, SMALL);
    assert!(result.is_ok(), "the link inside is followed: {result:?}");
    assert_eq!(fed, 2);
    assert!(graph.seal(root, size + 42, SMALL).1.is_err(), "its own bytes are no part of the size");
    assert!(<Cid as codec::Decode>::decode(&mut &inline[..]).is_err(), "no order names one");
    assert!(Cid::from_bytes(&inline).is_err());
    let many = graph.node(&vec![[1, 0x55, 0, 0].to_vec(); 200]);
    refused(&graph.seal(many, 10_000, SMALL).1, "too many blocks or links");
}

/// More or fewer bytes than were ordered, and blocks over 2 MiB. The coin: the difference in pay.
#[test]
fn adversary_a_size_that_is_not_the_graphs() {
    let mut graph = Graph::default();
    let leaves: Vec<Cid> = (0..20u8).map(|leaf| graph.put(Codec::Raw, vec![leaf; 1_000])).collect();
    let root = graph.of(&leaves);
    let size: u64 = graph.0.values().map(|block| block.len() as u64).sum();
    for ordered in [0, 1, size - 1, size + 1, u64::MAX] {
        let (fed, result) = graph.seal(root, ordered, SMALL);
        assert!(matches!(result, Err(Error::Size { .. })), "{ordered}");
        assert!(fed == 21 || ordered < size, "too small a size ends it early");
    }
    let host = Host::new();
    let huge = vec![0; crust_protocol::walk::MAX_BLOCK + 1];
    let cid = Cid::of(Codec::Raw, HashFunction::Sha2_256, &huge);
    let mut sealer = host.enclave.seal(Content { cid, ..content(&[], 1) }).unwrap();
    assert!(matches!(sealer.feed(&huge, &mut Out::default()), Err(Error::Graph(_))));
}
