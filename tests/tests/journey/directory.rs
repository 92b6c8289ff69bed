//! A directory, which another program has made and somebody orders by its CID: nodes hold it like any graph, `ls` lists
//! it, and `get` says that it is no file.

use std::sync::Arc;

use bytes::Bytes;
use crust_client::{
    chain::{Call, Finality, NewOrder},
    wallet::Wallet,
};
use crust_network::{Blocks, Config, Network as DataNetwork};
use crust_protocol::{
    file::{Cid, Codec, HashFunction},
    order::Content,
};
use crust_tests::Network;
use futures::{FutureExt, future::BoxFuture};
use serde_json::json;

const NAME: &str = "note.txt";
const NOTE: &[u8] = b"a file in a directory";
const NONCE: u64 = 41;

/// Whoever made the directory serves its two blocks.
struct Maker([(Cid, Bytes); 2]);

impl Maker {
    fn block(&self, cid: Cid) -> Option<&Bytes> {
        self.0.iter().find(|(of, _)| *of == cid).map(|(_, bytes)| bytes)
    }
}

impl Blocks for Maker {
    fn size(&self, cid: Cid) -> BoxFuture<'_, Option<u32>> {
        std::future::ready(self.block(cid).map(|bytes| u32::try_from(bytes.len()).unwrap())).boxed()
    }

    fn get(&self, cid: Cid) -> BoxFuture<'_, Option<Bytes>> {
        std::future::ready(self.block(cid).cloned()).boxed()
    }
}

/// A UnixFS directory with one entry: the links of its block, then what the block is.
fn directory(entry: &Cid) -> Vec<u8> {
    let field = |tag: u8, bytes: &[u8]| [&[tag, u8::try_from(bytes.len()).unwrap()], bytes].concat();
    let size = [0x18, u8::try_from(NOTE.len()).unwrap()];
    let link = [field(0x0a, entry.as_bytes()), field(0x12, NAME.as_bytes()), size.into()].concat();
    [field(0x12, &link), field(0x0a, &[0x08, 0x01])].concat()
}

pub async fn is_listed(network: &Network) {
    let note = Cid::of(Codec::Raw, HashFunction::Sha2_256, NOTE);
    let block = directory(&note);
    let cid = Cid::of(Codec::DagPb, HashFunction::Sha2_256, &block);
    let stream = [&block, NOTE].concat();
    let blocks = [(cid, block.into()), (note, Bytes::from_static(NOTE))];
    let maker = DataNetwork::start(Config::new([41; 32]), Arc::new(Maker(blocks))).await.unwrap();

    let chain = network.chain().await.unwrap();
    let client = Wallet::development("//Client", &chain).unwrap();
    let (size, audit_root) = (stream.len() as u64, *blake3::hash(&stream).as_bytes());
    let view = chain.view(Finality::Best).await.unwrap();
    for node in view.all_nodes().await.unwrap() {
        let (peer, addresses) = node.endpoint().unwrap();
        maker.dial(peer, addresses).await.unwrap();
    }
    let balance = view.quote(size, 2, 360).await.unwrap().balance;
    let order = NewOrder { nonce: NONCE, cid, size, audit_root, flags: 0, replicas: 2, term: 360, balance };
    chain.submit(Call::PlaceOrder(order), &client).await.unwrap();
    let id = Content { client: client.account(), nonce: NONCE, cid, size, audit_root, flags: 0 }.id();
    let held = network.until("both nodes hold the directory", 60, |view| async move {
        Ok(view.order(id).await?.filter(|order| order.unsealed() == 0).map(drop))
    });
    held.await.unwrap();
    maker.shutdown().await;

    let cid = cid.to_string();
    let listed = network.crust(["ls", &cid, "--json"]).await.unwrap().json().unwrap();
    let entry = json!({ "name": NAME, "cid": note.to_string(), "size": NOTE.len() });
    assert_eq!(listed, json!({ "cid": cid, "type": "directory", "entries": [entry] }));
    let listed = network.crust(["ls", &cid]).await.unwrap();
    assert_eq!((listed.status, listed.stdout), (Some(0), format!("{note}  {}  {NAME}\n", NOTE.len())));
    let output = network.dir().join("directory");
    let got = network.crust(["get", &cid, "-o", output.to_str().unwrap()]).await.unwrap();
    assert_eq!(got.status, Some(1), "{got:?}");
    assert!(got.stderr.contains(&format!("{cid} is no file that can be written")) && !output.exists(), "{got:?}");
}
