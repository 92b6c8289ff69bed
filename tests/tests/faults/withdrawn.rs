//! Nodes to which the chain gives nothing new: their program is withdrawn, they retire, they were abandoned. What they
//! hold they keep as long as it is theirs; they pay for nothing that would fail, and say what ails them.

use std::collections::BTreeSet;

use crust_client::{
    chain::{Chain, Finality},
    wallet::Wallet,
};
use crust_protocol::{Balance, TOKEN, order::OrderId};
use crust_tests::{Network, NodeEndpoints, Options, revoke_program, set_audit_rate};
use serde_json::{Value, json};

use crate::{MIB, blocks, next_report, order_id, order_of_nothing};

/// Blocks in which whoever tried again and again would have paid for it.
const TWO_SLOTS: u32 = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_whose_program_is_withdrawn_takes_nothing_and_says_so() {
    let network = Network::with(Options { nodes: 1, ..Options::default() }).await.unwrap();
    let (chain, node) = (network.chain().await.unwrap(), network.endpoints.nodes[0].clone());
    let before = next_report(&network, node.id).await.0.slot;
    let well = network.provider(&node, &["status"]).await.unwrap().json().unwrap();
    assert_eq!((&well[0]["leaves"], &well[0]["barred"]), (&Value::Null, &Value::Null), "{well}");
    assert!(metrics(&node).await.contains("\ncrust_leaves_block 0\n"));
    revoke_program(&network, node.id).await.unwrap();

    // An order that nobody may take: nothing is sent for it, so nothing is paid.
    let order = place(&chain).await;
    let free = free(&chain, &node).await;
    blocks(&network, TWO_SLOTS).await;
    assert_eq!(self::free(&chain, &node).await, free);
    let view = chain.view(Finality::Best).await.unwrap();
    assert!(view.order(order).await.unwrap().unwrap().takes.is_empty());
    // Reports go on.
    assert!(next_report(&network, node.id).await.0.slot >= before + 2);

    let out = view.node(node.id).await.unwrap().unwrap().leaves.unwrap();
    let shown = network.provider(&node, &["status"]).await.unwrap().json().unwrap();
    assert_eq!(shown[0]["leaves"], json!(out));
    assert!(shown[0]["barred"].as_str().unwrap().contains("approved no more"), "{shown}");
    let status = network.admin(0, "/v1/status").await.unwrap();
    assert_eq!(status["leaves"], json!(out));
    let why = error_of(&status, "watch_orders");
    assert!(why.contains("takes nothing new") && why.contains(&out.to_string()), "{why}");
    assert!(metrics(&node).await.contains(&format!("\ncrust_leaves_block {out}\n")));
    let doctor = network.crust(["doctor", "--node", &node.admin]).await.unwrap();
    assert_eq!(doctor.status, Some(1));
    assert!(doctor.stdout.contains("takes nothing new"), "{doctor:?}");
    let quote = network.crust(["quote", "--size", "1000", "--replicas", "1"]).await.unwrap();
    assert_eq!(quote.status, Some(1));
    assert!(quote.stderr.contains("only 0 providers"), "{quote:?}");
}

/// Of a file with two replicas one node retires, which a third takes over from: it deletes what nobody pays it for any
/// more. Then the program is withdrawn, and the other node given up while it runs: its place is open, and it does not try
/// in vain to have it back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_its_place_pays_for_nothing_and_keeps_nothing() {
    let network = Network::with(Options { nodes: 3, ..Options::default() }).await.unwrap();
    set_audit_rate(&network, 0).await.unwrap();
    let (chain, nodes) = (network.chain().await.unwrap(), network.endpoints.nodes.clone());
    let file = network.file(96, MIB).unwrap();
    let put = network.put(&file, &["--term", "2h", "--replicas", "2", "--wait"]).await.unwrap();
    let order = order_id(&put.order);
    let holders: BTreeSet<_> = put.replicas.iter().map(|replica| replica.node).collect();
    let leaving = nodes.iter().position(|node| holders.contains(&node.id)).unwrap();
    let given_up = nodes.iter().rposition(|node| holders.contains(&node.id)).unwrap();
    let spare = nodes.iter().position(|node| !holders.contains(&node.id)).unwrap();

    let retire = reqwest::Client::new().post(format!("{}/v1/retire", nodes[leaving].admin)).json(&json!({}));
    assert!(retire.send().await.unwrap().status().is_success());
    let taken_over = network.until("the place is taken over", 90, |view| {
        let (from, to) = (nodes[leaving].id, nodes[spare].id);
        async move {
            let order = view.order(order).await?.unwrap();
            let settled = order.replica_of(from).is_none() && order.replica_of(to).is_some();
            Ok(settled.then_some(()))
        }
    });
    taken_over.await.unwrap();
    let paid_off = free(&chain, &nodes[leaving]).await;
    let deleted = network.until("what nobody pays for is deleted", 120, |_| async {
        Ok(state_of(&network, leaving, &put.order).await?.is_none().then_some(()))
    });
    deleted.await.unwrap();
    assert_eq!(free(&chain, &nodes[leaving]).await, paid_off);
    let log = std::fs::read_to_string(nodes[leaving].dir.join("storage.log")).unwrap();
    assert!(log.contains("takes nothing new: it retires"), "{log}");

    revoke_program(&network, nodes[given_up].id).await.unwrap();
    let number = nodes[given_up].id.to_string();
    let abandoned = network.provider(&nodes[given_up], &["abandon", &number]).await.unwrap();
    assert_eq!(abandoned.status, Some(0), "{abandoned:?}");
    let node = nodes[given_up].id;
    let noticed = network.until("the daemon has noticed, and topped its collateral up", 60, |view| {
        let (network, name) = (&network, &put.order);
        async move {
            let state = state_of(network, given_up, name).await?;
            let open = view.order(order).await?.unwrap().open_places == 1;
            let topped_up = view.collateral(node).await?.free >= 100 * TOKEN;
            Ok((state.as_deref() == Some("sealed") && open && topped_up).then_some(()))
        }
    });
    noticed.await.unwrap();
    let free_before = free(&chain, &nodes[given_up]).await;
    blocks(&network, TWO_SLOTS).await;
    assert_eq!(free(&chain, &nodes[given_up]).await, free_before);
    let files = network.admin(given_up, "/v1/files").await.unwrap();
    assert!(files["files"][0]["note"].as_str().unwrap().contains("the node takes nothing"), "{files}");
    assert!(network.get(&put.cid).await.unwrap() == std::fs::read(&file).unwrap());
}

/// Orders a file that nobody has.
async fn place(chain: &Chain) -> OrderId {
    let client = Wallet::development("//Client", chain).unwrap();
    let included = chain.submit(order_of_nothing(chain, 1, 100).await, &client).await.unwrap();
    let view = chain.view_at(included.block).await.unwrap();
    view.all_orders_of(client.account()).await.unwrap()[0]
}

async fn free(chain: &Chain, node: &NodeEndpoints) -> Balance {
    let wallet = Wallet::development(&node.provider, chain).unwrap();
    chain.view(Finality::Best).await.unwrap().balance(wallet.account()).await.unwrap().free
}

/// The state of an order on a node, if the node knows the order.
async fn state_of(network: &Network, node: usize, order: &str) -> anyhow::Result<Option<String>> {
    let files = network.admin(node, "/v1/files").await?;
    let file = files["files"].as_array().unwrap().iter().find(|file| file["order"] == order).cloned();
    Ok(file.map(|file| file["state"].as_str().unwrap().to_owned()))
}

/// What a worker says is wrong.
fn error_of(status: &Value, worker: &str) -> String {
    let workers = status["workers"].as_array().unwrap();
    let found = workers.iter().find(|it| it["name"] == worker).unwrap();
    found["error"].as_str().unwrap_or_default().to_owned()
}

async fn metrics(node: &NodeEndpoints) -> String {
    reqwest::get(format!("{}/metrics", node.admin)).await.unwrap().text().await.unwrap()
}
