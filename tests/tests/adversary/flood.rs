//! One who wants nobody to be heard: a flood of statements that look true and are not.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use crust_client::chain::{Chain, Finality};
use crust_protocol::{NodeId, order::OrderId, statement::Gone};

use crate::{
    one_node,
    wire::{Pool, gone, reports},
};

/// Slots through which the flood lasts.
const SLOTS: u32 = 3;

/// Losses of the node's own file, on the root where the chain stands, with a wrong signature: all but that is true of them.
/// As fast as the pool answers, for three slots. **Coin**: the replica, which the first one that is taken in ends, with
/// half of what it reserves; and the pay of the slots in which the node would not be heard.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_invalid_statements_costs_no_slot() {
    let network = one_node().await;
    let chain = network.chain().await.unwrap();
    let file = network.file(73, 300_000).unwrap();
    let put = network.put(&file, &["--replicas", "1", "--term", "2h", "--wait"]).await.unwrap();
    let pool = Arc::new(Pool::of(&network.endpoints.chain));
    let node = network.endpoints.nodes[0].id;
    network
        .until("a first report", 60, |view| async move { Ok(view.node(node).await?.unwrap().last_report) })
        .await
        .unwrap();
    let order: OrderId = hex::decode(put.order.trim_start_matches("0x")).unwrap().try_into().unwrap();
    let (over, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let flooding: Vec<_> = (0..4)
        .map(|_| {
            let (pool, chain, over, sent) = (pool.clone(), chain.clone(), over.clone(), sent.clone());
            tokio::spawn(async move {
                let mut unsigned = 0u64;
                while !over.load(Ordering::Relaxed) {
                    let prev = root(&chain, node).await;
                    for _ in 0..16 {
                        let number = sent.fetch_add(1, Ordering::Relaxed);
                        let mut signature = [0x5a; 64];
                        signature[..8].copy_from_slice(&number.to_le_bytes());
                        let statement = Gone { prev, root: [7; 32], orders: vec![order].try_into().unwrap() };
                        let refused = pool.submit(&gone(node, &statement, signature)).await;
                        let refused = refused.expect("a statement with a wrong signature is taken in");
                        unsigned += u64::from(refused.contains("bad signature"));
                    }
                }
                unsigned
            })
        })
        .collect();

    let first = chain.best().await.unwrap().number / chain.parameters().slot_blocks + 1;
    let through = network.until("the node is heard through the flood", 90, |view| async move {
        let report = view.node(node).await?.unwrap().last_report;
        Ok(report.filter(|report| report.slot >= first + SLOTS))
    });
    let report = through.await.unwrap();
    over.store(true, Ordering::Relaxed);
    let mut unsigned = 0;
    for flood in flooding {
        unsigned += flood.await.unwrap();
    }
    let sent = sent.load(Ordering::Relaxed);
    assert!(sent > 300, "{sent} statements are no flood");
    // The others were on a root that the node has left meanwhile.
    assert!(unsigned > sent / 2, "{unsigned} of {sent} were refused for their signature");
    assert_eq!((report.good_files, report.stored_bytes), (255, put.size));
    let counted = reports(&chain, chain.best().await.unwrap()).await;
    assert!((first..first + SLOTS).all(|slot| counted.get(&slot) == Some(&1)), "a slot was lost: {counted:?}");
}

/// Where the chain stands with a node.
async fn root(chain: &Chain, node: NodeId) -> [u8; 32] {
    chain.view(Finality::Best).await.unwrap().node(node).await.unwrap().unwrap().root
}
