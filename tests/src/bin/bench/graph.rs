//! Data to seal: distinct bytes in raw leaves of 256 KiB under one root.

use std::{io::Read, time::Instant};

use crust_client::unixfs;
use crust_protocol::{
    file::{Cid, Codec, HashFunction},
    order::Content,
};
use crust_tests::Payload;

pub const LEAF: usize = 256 << 10;

/// Distinct bytes of any length, made once.
pub fn distinct(bytes: usize) -> anyhow::Result<Vec<u8>> {
    let started = Instant::now();
    let mut data = vec![0; bytes];
    Payload::new(1).read_exact(&mut data)?;
    println!("({} MiB of distinct bytes made in {:.0} s)", bytes >> 20, started.elapsed().as_secs_f64());
    Ok(data)
}

/// A file over borrowed bytes.
pub struct Graph<'a> {
    pub content: Content,
    root: Vec<u8>,
    data: &'a [u8],
}

impl<'a> Graph<'a> {
    pub fn of(data: &'a [u8]) -> Graph<'a> {
        let child = |leaf: &[u8]| {
            let cid = Cid::of(Codec::Raw, HashFunction::Sha2_256, leaf);
            unixfs::Child { cid, content: leaf.len() as u64, total: leaf.len() as u64 }
        };
        let root = unixfs::encode_node(&data.chunks(LEAF).map(child).collect::<Vec<_>>());
        let content = Content {
            client: [1; 32],
            nonce: 1,
            cid: Cid::of(Codec::DagPb, HashFunction::Sha2_256, &root),
            size: (root.len() + data.len()) as u64,
            audit_root: *blake3::Hasher::new().update(&root).update(data).finalize().as_bytes(),
            flags: 0,
        };
        Graph { content, root, data }
    }

    /// In the order of the walk.
    pub fn blocks(&self) -> impl Iterator<Item = &[u8]> {
        std::iter::once(self.root.as_slice()).chain(self.data.chunks(LEAF))
    }

    pub fn gigabytes(&self) -> f64 {
        self.data.len() as f64 / 1e9
    }
}
