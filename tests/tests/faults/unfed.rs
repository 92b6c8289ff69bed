//! An order whose bytes never come: it holds a place and space for a while, and stops nothing else.

use crust_client::wallet::Wallet;
use crust_tests::{Network, Options};

use crate::{MIB, next_report, order_of_nothing};

/// Long enough for its place to be held for two slots.
const SIZE: u64 = 100 * MIB;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn filler_grows_while_an_order_waits_for_its_bytes() {
    let network = Network::with(Options { nodes: 1, capacity: "128MiB".into() }).await.unwrap();
    let (chain, node) = (network.chain().await.unwrap(), network.endpoints.nodes[0].clone());
    while next_report(&network, node.id).await.0.filler_bytes < 120 * MIB {}
    let client = Wallet::development("//Client", &chain).unwrap();
    chain.submit(order_of_nothing(&chain, 1, SIZE).await, &client).await.unwrap();
    let state = async || {
        let files = network.admin(0, "/v1/files").await.unwrap();
        files["files"][0]["state"].as_str().map(str::to_owned)
    };
    let taken = network
        .until("the order is taken", 20, |_| async { Ok((state().await.as_deref() == Some("taken")).then_some(())) });
    taken.await.unwrap();
    let wider = reqwest::Client::new().post(format!("{}/v1/capacity", node.admin));
    let wider = wider.json(&serde_json::json!({ "capacity": "256MiB" })).send().await.unwrap();
    assert!(wider.status().is_success());
    let grown = network.until("the filler has grown", 30, |_| async {
        let status = network.admin(0, "/v1/status").await?;
        assert_eq!(state().await.as_deref(), Some("taken"), "the order was given up first");
        Ok((status["filler_bytes"].as_u64() > Some(240 * MIB)).then_some(()))
    });
    grown.await.unwrap();
}
