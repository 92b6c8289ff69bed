//! A provider and its nodes, by the commands that it has and the admin API of its daemons: looked at, deposited for,
//! retired, abandoned; and `crust doctor`, which finds all of it well.

use std::collections::BTreeSet;

use crust_protocol::{NodeId, TOKEN};
use crust_tests::{Network, NodeEndpoints, Options};
use serde_json::{Value, json};

use super::order_id;

const MIB: u64 = 1 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_provider_looks_after_its_nodes_and_takes_them_out_of_service() {
    let network = Network::with(Options { nodes: 3, ..Options::default() }).await.unwrap();
    let nodes = network.endpoints.nodes.clone();
    // On a network that has just come up, too.
    let well = network.crust(["doctor", "--json"]).await.unwrap();
    assert_eq!(well.status, Some(0), "{well:?}");
    let checks = well.json().unwrap();
    assert_eq!(checks["ok"], json!(true));
    let about = |wanted: &str| {
        let checks = checks["checks"].as_array().unwrap().iter();
        checks.filter(|check| check["about"].as_str().unwrap().contains(wanted)).count()
    };
    assert_eq!((about("crust-storage"), about("finality"), about("disk")), (1, 1, 3), "{checks}");

    let first = &nodes[0];
    let registered = network.provider(first, &["register", "--admin", &first.admin]).await.unwrap().json().unwrap();
    assert_eq!((&registered["node"], registered["key"].as_str()), (&json!(first.id), Some(first.key.as_str())));
    let shown = network.provider(first, &["status"]).await.unwrap().json().unwrap();
    assert_eq!(shown.as_array().map(Vec::len), Some(1), "its own node alone: {shown}");
    assert_eq!((&shown[0]["node"], &shown[0]["registered"]), (&json!(first.id), &json!(true)));

    // Collateral goes in and comes out; another provider's is none of one's business.
    let number = first.id.to_string();
    let before = deposited(&shown[0]);
    let more = network.provider(first, &["collateral", &number, "5"]).await.unwrap().json().unwrap();
    assert_eq!(deposited(&more), before + 5 * TOKEN);
    let less = network.provider(first, &["collateral", &number, "5", "--withdraw"]).await.unwrap().json().unwrap();
    assert_eq!(deposited(&less), before);
    let refused = network.provider(&nodes[1], &["collateral", &number, "5"]).await.unwrap();
    assert_eq!(refused.status, Some(1));
    assert!(refused.stderr.contains("choose its key file"), "{refused:?}");

    // A node that retires has its place taken over by the one that had none, and the file is never without two replicas
    // that were proved.
    let file = network.file(51, MIB).unwrap();
    let put = network.put(&file, &["--term", "2h", "--replicas", "2", "--wait"]).await.unwrap();
    let order = order_id(&put.order);
    let holders: BTreeSet<NodeId> = put.replicas.iter().map(|replica| replica.node).collect();
    let leaving = nodes.iter().find(|node| holders.contains(&node.id)).unwrap();
    let staying = nodes.iter().rfind(|node| holders.contains(&node.id)).unwrap();
    let spare = nodes.iter().find(|node| !holders.contains(&node.id)).unwrap();
    let elsewhere = json!({ "order": format!("0x{}", "11".repeat(32)) });
    assert_eq!(retire(leaving, &elsewhere).await.0, 409, "it holds no such order");
    assert_eq!(retire(leaving, &json!({ "order": "all" })).await.0, 400);
    let (status, answer) = retire(leaving, &json!({})).await;
    assert_eq!((status, &answer["node"]), (200, &json!(leaving.id)), "{answer}");
    replicas(&network, order, [staying.id, spare.id].into()).await;
    let refused = network.provider(leaving, &["retire", &leaving.id.to_string()]).await.unwrap();
    assert_eq!(refused.status, Some(1), "it retires already: {refused:?}");

    // One that is given up loses its replica at once; the other still serves the file.
    let refused = network.provider(spare, &["abandon", &staying.id.to_string()]).await.unwrap();
    assert_eq!(refused.status, Some(1), "it is another's: {refused:?}");
    let abandoned = network.provider(staying, &["abandon", &staying.id.to_string()]).await.unwrap();
    assert_eq!(abandoned.status, Some(0), "{abandoned:?}");
    replicas(&network, order, [spare.id].into()).await;
    assert!(network.get(&put.cid).await.unwrap() == std::fs::read(&file).unwrap());
}

fn deposited(node: &Value) -> u128 {
    node["collateral"]["deposited"].as_str().unwrap().parse().unwrap()
}

/// `POST /v1/retire` of a node's daemon.
async fn retire(node: &NodeEndpoints, body: &Value) -> (u16, Value) {
    let answer = reqwest::Client::new().post(format!("{}/v1/retire", node.admin)).json(body).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

/// Waits until an order has replicas on these nodes and no others.
async fn replicas(network: &Network, order: [u8; 32], wanted: BTreeSet<NodeId>) {
    let wanted = &wanted;
    let found = network.until("the replicas wanted", 120, |view| async move {
        let order = view.order(order).await?.unwrap();
        let nodes: BTreeSet<NodeId> = order.replicas.iter().map(|replica| replica.node).collect();
        Ok((nodes == *wanted).then_some(()))
    });
    found.await.unwrap();
}
