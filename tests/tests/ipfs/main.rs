//! Real IPFS peers of another make fetch from us and we from them: js-libp2p with Helia's Bitswap, DHT and UnixFS, and
//! Kubo (both in `tests/ipfs/`), which know nobody but those whom they are told to dial, on the loopback.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "these are tests")]

mod peer;

use std::{fs, path::PathBuf, sync::Arc, time::Duration};

use bytes::Bytes;
use crust_client::{
    chain::{Call, Finality, NewOrder},
    upload::Import,
    wallet::Wallet,
};
use crust_network::{Blocks, Config, Network, NoBlocks, fetch};
use crust_protocol::{
    file::{Cid, Codec, HashFunction},
    order::Content,
    walk::Limits,
};
use crust_tests::{Network as System, write_payload};
use futures::{FutureExt, TryStreamExt, future::BoxFuture};
use tokio::time::timeout;

use peer::Peer;

/// Nothing here takes longer.
const SOON: Duration = Duration::from_secs(60);

/// One block, served.
struct One(Bytes);

impl Blocks for One {
    fn size(&self, cid: Cid) -> BoxFuture<'_, Option<u32>> {
        std::future::ready(cid.names(&self.0).then(|| u32::try_from(self.0.len()).unwrap())).boxed()
    }

    fn get(&self, cid: Cid) -> BoxFuture<'_, Option<Bytes>> {
        std::future::ready(cid.names(&self.0).then(|| self.0.clone())).boxed()
    }
}

async fn network(seed: u8, blocks: Arc<dyn Blocks>) -> Network {
    let listen = vec!["/ip4/127.0.0.1/tcp/0".parse().unwrap()];
    Network::start(Config { listen, dht_server: true, ..Config::new([seed; 32]) }, blocks).await.unwrap()
}

fn address(network: &Network) -> String {
    format!("{}/p2p/{}", network.listen_addresses()[0], network.peer_id())
}

#[tokio::test]
async fn blocks_go_both_ways_over_bitswap() {
    let (ours, theirs) = (Bytes::from(vec![1; 1 << 20]), Bytes::from(vec![2; 700_000]));
    let raw = |bytes: &[u8]| Cid::of(Codec::Raw, HashFunction::Sha2_256, bytes);
    let network = network(31, Arc::new(One(ours.clone()))).await;
    let mut peer = Peer::helia(&[(raw(&theirs), &theirs)]).await;
    // They dial us, as a client behind a router would.
    peer.ask("dial", &address(&network)).await;
    let fetched = timeout(SOON, network.session(&[peer.id()]).fetch(raw(&theirs))).await.unwrap().unwrap();
    assert_eq!(fetched, theirs);
    peer.ask("get", &raw(&ours).to_string()).await;
    assert_eq!(peer.got(&raw(&ours)), ours);
    // What they do not have they say they do not have.
    assert!(timeout(SOON, network.session(&[peer.id()]).fetch(raw(b"missing"))).await.unwrap().is_err());
}

#[tokio::test]
async fn providers_are_found_both_ways_in_the_dht() {
    let (ours, theirs) = (b"ours".to_vec(), b"theirs".to_vec());
    let raw = |bytes: &[u8]| Cid::of(Codec::Raw, HashFunction::Sha2_256, bytes);
    let network = network(32, Arc::new(NoBlocks)).await;
    let mut peer = Peer::helia(&[(raw(&theirs), &theirs)]).await;
    peer.ask("dial", &address(&network)).await;
    network.provide(raw(&ours).multihash());
    let found = async {
        loop {
            let found = peer.ask("find", &raw(&ours).to_string()).await;
            if found.as_array().unwrap().iter().any(|id| id == &network.peer_id().to_string()) {
                break;
            }
        }
    };
    timeout(SOON, found).await.unwrap();
    peer.ask("provide", &raw(&theirs).to_string()).await;
    let found = async {
        while !network.find_providers(raw(&theirs).multihash()).await.iter().any(|(id, _)| *id == peer.id()) {}
    };
    timeout(SOON, found).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_go_both_ways_between_storage_nodes_and_helia() {
    let system = System::start().await.unwrap();
    let (file, root) = files_go_both_ways(&system, Peer::helia(&[]).await).await;
    assert_eq!(root, Import::of(&file, &|_| ()).unwrap().root(), "both cut a file alike");
}

/// Its files are of another shape than ours: a CIDv0, leaves of 256 KiB wrapped in dag-pb.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_go_both_ways_between_storage_nodes_and_kubo() {
    let system = System::start().await.unwrap();
    let (_, root) = files_go_both_ways(&system, Peer::kubo().await).await;
    assert_eq!(root.codec(), Codec::DagPb);
}

/// They fetch a file from our nodes, and our nodes one from them; that file, and its root.
async fn files_go_both_ways(system: &System, mut peer: Peer) -> (PathBuf, Cid) {
    for node in &system.endpoints.nodes {
        peer.ask("dial", &node.peer).await;
    }

    // A file put by us is the same file to them, and they fetch it from our nodes.
    let file = system.dir().join("ours");
    write_payload(&file, 21, 5 << 20).unwrap();
    let put = system.put(&file, &["--term", "1h", "--wait"]).await.unwrap();
    peer.ask("read", &put.cid).await;
    assert!(peer.got(&put.cid.parse().unwrap()) == fs::read(&file).unwrap(), "the same bytes");

    // A file added by them and ordered by its CID alone is fetched by our nodes from them. Who orders by CID fetches the
    // graph first, for its size and audit root.
    let file = system.dir().join("theirs");
    write_payload(&file, 22, 3 << 20).unwrap();
    let added = peer.ask("add", file.to_str().unwrap()).await;
    let cid: Cid = added.as_str().unwrap().parse().unwrap();
    let network = network(33, Arc::new(NoBlocks)).await;
    peer.ask("dial", &address(&network)).await;
    let blocks = fetch::stream(network.session(&[peer.id()]), cid, Limits::PROTOCOL);
    let blocks: Vec<(Cid, Bytes)> = timeout(SOON, blocks.try_collect()).await.unwrap().unwrap();
    let stream = blocks.iter().map(|(_, bytes)| &bytes[..]).collect::<Vec<_>>().concat();
    let (size, audit_root) = (stream.len() as u64, *blake3::hash(&stream).as_bytes());
    let chain = system.chain().await.unwrap();
    let client = Wallet::development("//Client", &chain).unwrap();
    let balance = chain.view(Finality::Best).await.unwrap().quote(size, 2, 360).await.unwrap().balance;
    let order = NewOrder { nonce: 22, cid, size, audit_root, flags: 0, replicas: 2, term: 360, balance };
    chain.submit(Call::PlaceOrder(order), &client).await.unwrap();
    let id = Content { client: client.account(), nonce: 22, cid, size, audit_root, flags: 0 }.id();
    system
        .until("both nodes hold it", 60, |view| async move {
            let order = view.order(id).await?;
            Ok(order.filter(|order| order.unsealed() == 0).map(drop))
        })
        .await
        .unwrap();
    drop(peer);
    assert!(system.get(&cid.to_string()).await.unwrap() == fs::read(&file).unwrap(), "the same bytes");
    (file, cid)
}
