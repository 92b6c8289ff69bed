//! One who listens to everything that was ever said, and says it again.

use crust_tests::{Network, Options, write_payload};

use crate::wire::{Pool, for_node, reports};

/// Every statement that the chain ever accepted is handed in again, as it was, in the name of the other node and of one
/// that is not there. **Coin**: a slot's power and pay for each report that would count again, and replicas that end or
/// come back to life.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn old_statements_sent_again_change_nothing() {
    let network = Network::with(Options { nodes: 2, capacity: "128MiB".into() }).await.unwrap();
    let chain = network.chain().await.unwrap();
    let (kept, gone) = (network.dir().join("kept"), network.dir().join("gone"));
    write_payload(&kept, 71, 300_000).unwrap();
    write_payload(&gone, 72, 200_000).unwrap();
    let kept_put = network.put(&kept, &["--replicas", "2", "--term", "2h", "--wait"]).await.unwrap();
    let gone_put = network.put(&gone, &["--replicas", "2", "--term", "2h", "--wait"]).await.unwrap();
    network.crust(["order", "cancel", &gone_put.order, "--json"]).await.unwrap().json().unwrap();
    for index in 0..2 {
        network
            .until("the cancelled file is named gone", 60, |_| async {
                let files = network.admin(index, "/v1/status").await?["files"].as_u64();
                Ok((files == Some(1)).then_some(()))
            })
            .await
            .unwrap();
    }

    let pool = Pool::of(&network.endpoints.chain);
    let said = pool.statements(&chain, chain.best().await.unwrap()).await;
    assert!(said.len() >= 8, "of each node two receipts, a report and a loss at least: {}", said.len());
    for statement in &said {
        for bytes in [statement.clone(), for_node(statement, 0), for_node(statement, 1), for_node(statement, u32::MAX)]
        {
            assert!(pool.submit(&bytes).await.is_some(), "taken in again: {}", hex::encode(&bytes));
        }
    }

    // Another slot of honest life: one report a slot, what was kept is there, what is gone stays gone.
    let slot = chain.best().await.unwrap().number / chain.parameters().slot_blocks;
    let node = network.endpoints.nodes[0].id;
    let next = network.until("a report after the replay", 60, |view| async move {
        Ok(view.node(node).await?.unwrap().last_report.filter(|report| report.slot > slot))
    });
    let report = next.await.unwrap();
    assert_eq!((report.good_files, report.stored_bytes), (255, kept_put.size));
    let counted = reports(&chain, chain.best().await.unwrap()).await;
    assert!(counted.values().all(|count| *count <= 2), "a slot with two reports of one node: {counted:?}");
    assert!(network.get(&kept_put.cid).await.unwrap() == std::fs::read(&kept).unwrap());
    let nowhere = network.dir().join("nowhere");
    let got = network.crust(["get", &gone_put.cid, "-o", nowhere.to_str().unwrap()]).await.unwrap();
    assert_eq!(got.status, Some(1), "{got:?}");
}
