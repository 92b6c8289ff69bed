//! Stores, files and nodes for the tests.

use std::{
    collections::HashMap,
    future::Future,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, AtomicUsize, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use crust_network::{Blocks, Config, Network, Options};
use crust_protocol::{
    file::{Cid, Codec, HashFunction, Multihash},
    walk::{Block, Limits, Walk},
};
use futures::future::BoxFuture;

/// Blocks in memory, and how often they were read.
#[derive(Default)]
pub struct Store {
    blocks: Mutex<HashMap<Multihash, Bytes>>,
    pub reads: AtomicUsize,
    pub bytes_read: AtomicUsize,
}

impl Store {
    pub fn of(blocks: impl IntoIterator<Item = Bytes>) -> Arc<Self> {
        let store = Arc::new(Store::default());
        for block in blocks {
            store.put(Codec::Raw, block);
        }
        store
    }

    pub fn put(&self, codec: Codec, block: Bytes) -> Cid {
        self.put_by(codec, HashFunction::Sha2_256, block)
    }

    pub fn put_by(&self, codec: Codec, function: HashFunction, block: Bytes) -> Cid {
        let cid = Cid::of(codec, function, &block);
        self.blocks.lock().unwrap().insert(cid.multihash(), block);
        cid
    }

    /// Stores other bytes than the CID names.
    pub fn corrupt(&self, cid: Cid, bytes: Bytes) {
        self.blocks.lock().unwrap().insert(cid.multihash(), bytes);
    }

    pub fn block(&self, cid: Cid) -> Option<Bytes> {
        self.blocks.lock().unwrap().get(&cid.multihash()).cloned()
    }

    pub fn reads(&self) -> usize {
        self.reads.load(Ordering::SeqCst)
    }
}

impl Blocks for Store {
    fn size(&self, cid: Cid) -> BoxFuture<'_, Option<u32>> {
        Box::pin(async move { self.block(cid).and_then(|block| block.len().try_into().ok()) })
    }

    fn get(&self, cid: Cid) -> BoxFuture<'_, Option<Bytes>> {
        Box::pin(async move {
            let block = self.block(cid);
            self.reads.fetch_add(1, Ordering::SeqCst);
            self.bytes_read.fetch_add(block.as_ref().map_or(0, Bytes::len), Ordering::SeqCst);
            block
        })
    }
}

pub fn bytes(seed: u64, length: usize) -> Bytes {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    (0..length.div_ceil(8)).flat_map(|_| next().to_le_bytes()).take(length).collect()
}

/// A dag-pb block with these links.
pub fn node(links: &[Cid]) -> Bytes {
    links.iter().flat_map(|cid| [&[0x12, 38, 0x0a, 36][..], cid.as_bytes()].concat()).collect()
}

/// A file of three levels with a leaf that comes twice, an empty leaf and a leaf hashed by BLAKE3.
pub fn tree(store: &Store, leaves: u64) -> Cid {
    let twice = store.put(Codec::Raw, bytes(0, 1_000));
    let empty = store.put(Codec::Raw, Bytes::new());
    let blake3 = store.put_by(Codec::Raw, HashFunction::Blake3, bytes(u64::MAX, 5_000));
    let mut middle = Vec::new();
    for group in 0..leaves.div_ceil(50) {
        let mut links = vec![twice];
        for leaf in group * 50..leaves.min((group + 1) * 50) {
            links.push(store.put(Codec::Raw, bytes(leaf + 1, 1_000 + (leaf as usize * 7_919) % 90_000)));
        }
        links.extend([twice, empty, blake3]);
        middle.push(store.put(Codec::DagPb, node(&links)));
    }
    store.put(Codec::DagPb, node(&middle))
}

/// The blocks of a file in the order of the walk.
pub fn walk(store: &Store, root: Cid) -> Vec<(Cid, Bytes)> {
    let mut walk = Walk::new(root, Limits::PROTOCOL);
    let mut blocks = Vec::new();
    while let Some(cid) = walk.wanted() {
        let block = store.block(cid).unwrap();
        walk.feed(&Block::check(cid, &block).unwrap()).unwrap();
        blocks.push((cid, block));
    }
    blocks
}

/// A secret that no other node of this process has.
pub fn secret() -> [u8; 32] {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    let mut secret = [7; 32];
    secret[..4].copy_from_slice(&NEXT.fetch_add(1, Ordering::Relaxed).to_le_bytes());
    secret
}

/// Short times, so that the tests of absence end soon.
pub fn options() -> Options {
    Options {
        patience: Duration::from_secs(3),
        peer_timeout: Duration::from_millis(600),
        hedge: Duration::from_millis(300),
        ..Options::default()
    }
}

pub fn config() -> Config {
    Config {
        listen: vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()],
        session: options(),
        write_timeout: Duration::from_secs(5),
        ..Config::new(secret())
    }
}

/// A node that listens.
pub async fn node_with(store: &Arc<Store>) -> Network {
    Network::start(config(), store.clone()).await.unwrap()
}

/// A node behind a NAT: it only dials.
pub async fn dialler_with(store: &Arc<Store>) -> Network {
    Network::start(Config { listen: Vec::new(), ..config() }, store.clone()).await.unwrap()
}

pub async fn connect(from: &Network, to: &Network) {
    from.dial(to.peer_id(), to.listen_addresses()).await.unwrap();
}

/// Whatever is awaited comes, or the test fails instead of hanging.
pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(60), what).await.expect("nothing hangs")
}
