//! Data to seal: distinct bytes in raw leaves under one root.

use std::{io::Read, time::Instant};

use crust_client::unixfs;
use crust_protocol::{
    file::{Cid, Codec, HashFunction},
    order::Content,
};
use crust_tests::Payload;

pub const LEAF: usize = 256 << 10;

/// Distinct bytes of any length, others for each seed.
pub fn distinct(seed: u64, bytes: usize) -> anyhow::Result<Vec<u8>> {
    let started = Instant::now();
    let mut data = vec![0; bytes];
    Payload::new(seed).read_exact(&mut data)?;
    println!("({} MiB of distinct bytes made in {:.0} s)", bytes >> 20, started.elapsed().as_secs_f64());
    Ok(data)
}

/// A file over borrowed bytes.
pub struct Graph<'a> {
    pub content: Content,
    root: Vec<u8>,
    data: &'a [u8],
    leaf: usize,
}

impl<'a> Graph<'a> {
    pub fn of(data: &'a [u8]) -> Graph<'a> {
        Self::in_leaves(data, LEAF)
    }

    pub fn in_leaves(data: &'a [u8], leaf: usize) -> Graph<'a> {
        let child = |bytes: &[u8]| {
            let cid = Cid::of(Codec::Raw, HashFunction::Sha2_256, bytes);
            unixfs::Child { cid, content: bytes.len() as u64, total: bytes.len() as u64 }
        };
        let root = unixfs::encode_node(&data.chunks(leaf).map(child).collect::<Vec<_>>());
        let content = Content {
            client: [1; 32],
            nonce: 1,
            cid: Cid::of(Codec::DagPb, HashFunction::Sha2_256, &root),
            size: (root.len() + data.len()) as u64,
            audit_root: *blake3::Hasher::new().update(&root).update(data).finalize().as_bytes(),
            flags: 0,
        };
        Graph { content, root, data, leaf }
    }

    /// In the order of the walk.
    pub fn blocks(&self) -> impl Iterator<Item = &[u8]> {
        std::iter::once(self.root.as_slice()).chain(self.data.chunks(self.leaf))
    }

    pub fn gigabytes(&self) -> f64 {
        self.data.len() as f64 / 1e9
    }
}

/// Links of a node of [`Small`].
const LINKS: u64 = 1_024;

/// A file of very many blocks of 8 bytes under nodes of 1,024 links, made block by block.
pub struct Small {
    pub root: Cid,
    pub size: u64,
    /// Of all blocks.
    pub count: u64,
    top: Vec<u8>,
}

impl Small {
    pub fn new() -> Small {
        let nodes: Vec<Vec<u8>> = (0..LINKS).map(node).collect();
        let total = |node: &Vec<u8>| node.len() as u64 + LINKS * 8;
        let child = |node: &Vec<u8>| unixfs::Child {
            cid: Cid::of(Codec::DagPb, HashFunction::Sha2_256, node),
            content: LINKS * 8,
            total: total(node),
        };
        let top = unixfs::encode_node(&nodes.iter().map(child).collect::<Vec<_>>());
        let size = top.len() as u64 + nodes.iter().map(total).sum::<u64>();
        let root = Cid::of(Codec::DagPb, HashFunction::Sha2_256, &top);
        Small { root, size, count: 1 + LINKS + LINKS * LINKS, top }
    }

    /// In the order of the walk.
    pub fn blocks(&self) -> impl Iterator<Item = Vec<u8>> + '_ {
        let below = (0..LINKS).flat_map(|number| std::iter::once(node(number)).chain(leaves(number)));
        std::iter::once(self.top.clone()).chain(below)
    }
}

/// The leaves of a node.
fn leaves(node: u64) -> impl Iterator<Item = Vec<u8>> {
    (node * LINKS..(node + 1) * LINKS).map(|number| number.to_le_bytes().to_vec())
}

fn node(number: u64) -> Vec<u8> {
    let child =
        |leaf: Vec<u8>| unixfs::Child { cid: Cid::of(Codec::Raw, HashFunction::Sha2_256, &leaf), content: 8, total: 8 };
    unixfs::encode_node(&leaves(number).map(child).collect::<Vec<_>>())
}
