//! A chain endpoint that is behind, as one is that begins anew: to it no order exists, and no file goes for that.

use std::fs;

use crust_client::chain::Finality;
use crust_tests::{Network, Options};

use crate::{MIB, next_report, order_id};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_begins_anew_costs_no_file() {
    let mut network = Network::with(Options { nodes: 1, capacity: "256MiB".into() }).await.unwrap();
    let file = network.file(71, 2 * MIB).unwrap();
    let put = network.put(&file, &["--replicas", "1", "--term", "2h", "--wait"]).await.unwrap();
    let node = network.endpoints.nodes[0].clone();
    // Until what was said is final, and the enclave knows it.
    for _ in 0..4 {
        next_report(&network, node.id).await;
    }

    // The same chain from its first block on.
    let (chain, away) = (network.dir().join("validator-0"), network.dir().join("validator-away"));
    network.stop().await.unwrap();
    fs::rename(&chain, &away).unwrap();
    network.go_on().await.unwrap();
    network
        .until("three slots are final", 60, |_| async {
            let status = network.admin(0, "/v1/status").await?;
            Ok(status["chain"]["finalized"].as_u64().filter(|block| *block > 30))
        })
        .await
        .unwrap();
    let files = network.admin(0, "/v1/files").await.unwrap();
    assert_eq!(files["files"][0]["state"], "held", "{files}");
    let status = network.admin(0, "/v1/status").await.unwrap().to_string();
    assert!(status.contains("endpoint"), "the operator is not told: {status}");

    network.stop().await.unwrap();
    fs::remove_dir_all(&chain).unwrap();
    fs::rename(&away, &chain).unwrap();
    network.go_on().await.unwrap();
    let (report, _) = next_report(&network, node.id).await;
    assert_eq!((report.good_files, report.stored_bytes), (255, put.size));
    let chain = network.chain().await.unwrap();
    let record = chain.view(Finality::Best).await.unwrap().order(order_id(&put.order)).await.unwrap().unwrap();
    assert_eq!(record.replicas.len(), 1);
    assert!(network.get(&put.cid).await.unwrap() == fs::read(file).unwrap());
}
