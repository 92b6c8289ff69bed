//! The uploader's part: it is reachable for nobody, it may go with the first receipt, it says for whom it waits when
//! nothing moves, and a file that is altered after its order fills none.

use std::{fs, process::Stdio, time::Duration};

use crust_client::wallet::Wallet;
use crust_tests::{Finished, Network, bin, flip, runs, signal, sockets};
use rustix::process::Signal;
use tokio::time::Instant;

use crate::order_id;

const MIB: u64 = 1 << 20;
/// What a put that gives up may take beside the two slots without a step: cutting, ordering, a place taken, and the
/// machine's load.
const SLACK: Duration = Duration::from_secs(40);

/// The uploader is reachable for nobody: in a network namespace from which only the way out works it could still put.
/// Shown here by its sockets: while a put goes on, the program listens nowhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lesson_20_the_uploader_needs_no_reachable_port() {
    let network = Network::start().await.unwrap();
    let file = network.file(9, 64 * MIB).unwrap();
    let mut command = network.command(["put", file.to_str().unwrap(), "--term", "1h", "--wait", "--json"]);
    let child = command.stdout(Stdio::piped()).spawn().unwrap();
    let pid = child.id().unwrap();
    let ended = tokio::spawn(child.wait_with_output());
    let mut looks = 0;
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    while runs(pid) && !ended.is_finished() {
        assert!(!sockets(pid).iter().any(|socket| socket.listens), "{} listens", bin().join("crust").display());
        looks += 1;
        tick.tick().await;
    }
    let output = ended.await.unwrap().unwrap();
    assert!(output.status.success() && looks > 10, "{looks} looks");
}

/// Without `--wait` a put is done at the first receipt. From then on neither the uploader nor its file is needed: the
/// second node fetches from the first.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_uploader_may_go_with_the_first_receipt() {
    let network = Network::start().await.unwrap();
    let [first, second] = &network.endpoints.nodes[..] else { panic!("two nodes") };
    let file = network.file(82, 8 * MIB).unwrap();
    // It hears of nothing before the put has returned.
    signal(second.pid, Signal::STOP).unwrap();
    let put = network.put(&file, &["--term", "1h", "--replicas", "2"]).await.unwrap();
    let sealed: Vec<u32> = put.replicas.iter().map(|replica| replica.node).collect();
    assert_eq!(sealed, [first.id], "one of two receipts is enough");
    let bytes = fs::read(&file).unwrap();
    fs::remove_file(&file).unwrap();
    signal(second.pid, Signal::CONT).unwrap();
    both_replicas(&network, &put.order).await;

    // And it has all of it: the first does not help.
    signal(first.pid, Signal::STOP).unwrap();
    assert!(network.get(&put.cid).await.unwrap() == bytes);
    signal(first.pid, Signal::CONT).unwrap();
}

/// An order does not hang without a word: after two slots without a step the put says for whom it waits. Run again, it
/// goes on with its order and pays nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lesson_20_an_order_that_waits_says_for_whom() {
    let network = Network::start().await.unwrap();
    let [away, stuck] = &network.endpoints.nodes[..] else { panic!("two nodes") };
    let file = network.file(81, 3 * MIB).unwrap();
    // One node is away altogether; the other takes its place, and then its enclave does not answer.
    signal(away.pid, Signal::STOP).unwrap();
    signal(stuck.enclave_pid, Signal::STOP).unwrap();
    let chain = network.chain().await.unwrap();
    let patience = chain.block_time() * chain.parameters().slot_blocks * 2;
    let started = Instant::now();
    let stalled = network.crust(["put", file.to_str().unwrap(), "--term", "1h", "--wait", "--json"]).await.unwrap();
    let took = started.elapsed();
    assert_eq!(stalled.status, Some(1), "{stalled:?}");
    assert!((patience..patience + SLACK).contains(&took), "it gave up after {took:?}");
    let [order] = &orders(&network).await[..] else { panic!("one order is placed") };
    let said = &stalled.stderr;
    for words in [
        &format!("nothing has moved for {} seconds, so order {order} waits", patience.as_secs()),
        " of 2 places: no node has taken them",
        "Run the same command again to go on with it (that costs nothing)",
        &format!("crust order cancel {order}"),
    ] {
        assert!(said.contains(words), "{words:?} is not in {said}");
    }
    let state = said.lines().find(|line| line.trim_start().starts_with(&format!("node {}:", stuck.id)));
    assert!(
        state.is_some_and(|line| line.contains("place") && line.contains("connected and asks for nothing")),
        "{said}"
    );

    signal(away.pid, Signal::CONT).unwrap();
    signal(stuck.enclave_pid, Signal::CONT).unwrap();
    let held = on_hold(&network).await;
    let again = network.put(&file, &["--term", "1h"]).await.unwrap();
    assert_eq!((&again.order, &*again.price), (order, "0"));
    both_replicas(&network, order).await;
    assert_eq!((orders(&network).await.len(), on_hold(&network).await), (1, held), "nothing was paid twice");
    assert!(network.get(&again.cid).await.unwrap() == fs::read(&file).unwrap());
}

/// A file that is altered between its order and the nodes' questions: the put says so and what to do, no node holds
/// anything, and the money comes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_is_altered_after_its_order_fills_none() {
    let network = Network::start().await.unwrap();
    let file = network.file(83, 5 * MIB).unwrap();
    let nodes = &network.endpoints.nodes;
    nodes.iter().for_each(|node| signal(node.pid, Signal::STOP).unwrap());
    let put = tokio::spawn(Finished::of(network.command(["put", file.to_str().unwrap(), "--term", "1h"])));
    let client = Wallet::development("//Client", &network.chain().await.unwrap()).unwrap().account();
    let order = network.until("the order", 60, |view| async move { Ok(view.all_orders_of(client).await?.pop()) });
    let order = order.await.unwrap();
    // One bit of a leaf in the middle.
    flip(&file, 2 * MIB + 7).unwrap();
    nodes.iter().for_each(|node| signal(node.pid, Signal::CONT).unwrap());

    let (put, id) = (put.await.unwrap().unwrap(), format!("0x{}", hex::encode(order)));
    assert_eq!(put.status, Some(1), "{put:?}");
    let words = format!(
        "{} changed after it was ordered, so order {id} cannot be filled: cancel it with `crust order cancel {id}`",
        file.display()
    );
    assert!(put.stderr.contains(&words), "{put:?}");

    network.crust(["order", "cancel", &id, "--json"]).await.unwrap().json().unwrap();
    let ended =
        network.until("its end", 60, |view| async move { Ok(view.order(order).await?.is_none().then_some(())) });
    ended.await.unwrap();
    assert_eq!(on_hold(&network).await, "0", "the rest came back");
    for node in 0..2 {
        let status = network.admin(node, "/v1/status").await.unwrap();
        assert_eq!(status["stored_bytes"], 0, "{status}");
    }
}

async fn both_replicas(network: &Network, order: &str) {
    let order = order_id(order);
    let both = network.until("both replicas", 120, |view| async move {
        Ok((view.order(order).await?.unwrap().replicas.len() == 2).then_some(()))
    });
    both.await.unwrap();
}

/// The client's live orders.
async fn orders(network: &Network) -> Vec<String> {
    let listed = network.crust(["order", "list", "--json"]).await.unwrap().json().unwrap();
    listed.as_array().unwrap().iter().map(|order| order["order"].as_str().unwrap().to_owned()).collect()
}

/// What the client has on hold, in plancks.
async fn on_hold(network: &Network) -> String {
    let balance = network.crust(["account", "balance", "--json"]).await.unwrap().json().unwrap();
    balance["held"].as_str().unwrap().to_owned()
}
