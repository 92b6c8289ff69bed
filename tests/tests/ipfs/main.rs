//! Real IPFS peers of another make fetch from us and we from them: js-libp2p with Helia's Bitswap, DHT and UnixFS
//! (`tests/ipfs/`), which knows nobody but those whom it is told to dial, on the loopback.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "these are tests")]

mod peer;

use std::{fs, sync::Arc, time::Duration};

use bytes::Bytes;
use crust_client::{
    chain::{Call, Finality, NewOrder},
    upload::Import,
    wallet::Wallet,
};
use crust_network::{Blocks, Config, Network, NoBlocks};
use crust_protocol::{
    file::{Cid, Codec, HashFunction},
    order::Content,
};
use crust_tests::write_payload;
use futures::{FutureExt, future::BoxFuture};
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
    let mut peer = Peer::start(&[(raw(&theirs), &theirs)]).await;
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
    let mut peer = Peer::start(&[(raw(&theirs), &theirs)]).await;
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
async fn files_go_both_ways_between_storage_nodes_and_ipfs() {
    let system = crust_tests::Network::start().await.unwrap();
    let mut peer = Peer::start(&[]).await;
    for node in &system.endpoints.nodes {
        peer.ask("dial", &node.peer).await;
    }

    // A file put by us is the same file to them, and they fetch it from our nodes.
    let file = system.dir().join("file");
    write_payload(&file, 21, 5 << 20).unwrap();
    let put = system.put(&file, &["--term", "1h", "--wait"]).await.unwrap();
    peer.ask("read", &put.cid).await;
    assert!(peer.got(&put.cid.parse().unwrap()) == fs::read(&file).unwrap(), "the same bytes");

    // A file added by them and ordered by its CID alone is fetched by our nodes from them.
    write_payload(&file, 22, 3 << 20).unwrap();
    let import = Import::of(&file, &|_| ()).unwrap();
    let added = peer.ask("add", file.to_str().unwrap()).await;
    assert_eq!(added, import.root().to_string(), "both cut a file alike");
    let chain = system.chain().await.unwrap();
    let client = Wallet::development("//Client", &chain).unwrap();
    let (cid, size, audit_root) = (import.root(), import.size(), import.audit_root());
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
}
