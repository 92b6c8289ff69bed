//! One who wants nobody to be heard: a flood of statements that look true and are not.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use crate::{
    one_node,
    wire::{Pool, reports},
};
use crust_tests::write_payload;

/// Slots through which the flood lasts.
const SLOTS: u32 = 3;

/// Statements in the true form with a wrong signature, as fast as the pool answers, for three slots. **Coin**: the pay
/// of the slots in which the node would not be heard, and its replicas once it counts as silent.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_flood_of_invalid_statements_costs_no_slot() {
    let network = one_node().await;
    let chain = network.chain().await.unwrap();
    let file = network.dir().join("file");
    write_payload(&file, 73, 300_000).unwrap();
    let put = network.put(&file, &["--replicas", "1", "--term", "2h", "--wait"]).await.unwrap();
    let pool = Arc::new(Pool::of(&network.endpoints.chain));
    let node = network.endpoints.nodes[0].id;
    network
        .until("a report to imitate", 60, |view| async move { Ok(view.node(node).await?.unwrap().last_report) })
        .await
        .unwrap();
    let statement = pool.statements(&chain, chain.best().await.unwrap()).await.pop().unwrap();

    let (over, sent) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let flooding: Vec<_> = (0..4)
        .map(|_| {
            let (pool, over, sent, mut statement) = (pool.clone(), over.clone(), sent.clone(), statement.clone());
            tokio::spawn(async move {
                let signature = statement.len() - 64;
                while !over.load(Ordering::Relaxed) {
                    let number = sent.fetch_add(1, Ordering::Relaxed);
                    statement[signature..signature + 8].copy_from_slice(&number.to_le_bytes());
                    assert!(pool.submit(&statement).await.is_some(), "a statement with a wrong signature is taken in");
                }
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
    for flood in flooding {
        flood.await.unwrap();
    }
    let sent = sent.load(Ordering::Relaxed);
    assert!(sent > 300, "{sent} statements are no flood");
    assert_eq!((report.good_files, report.stored_bytes), (255, put.size));
    let counted = reports(&chain, chain.best().await.unwrap()).await;
    assert!((first..first + SLOTS).all(|slot| counted.get(&slot) == Some(&1)), "a slot was lost: {counted:?}");
}
