//! What may befall an honest node that is drawn in every slot: it answers late, and pays nothing for it.

use std::{fs, time::Duration};

use crust_client::chain::{Event, Finality};
use crust_protocol::NodeId;
use crust_tests::{Network, Options, StorageNode, kill, runs, set_audit_rate};
use rustix::process::{Pid, Signal, kill_process};

use crate::{MIB, events, next_report, number_of};

/// Longer than a slot.
const STILL: Duration = Duration::from_secs(13);

/// Killed over the slot that draws it, on a chain that stands still, with its disk mounted late and behind a chain node
/// that was killed and forgets its last blocks: a node answers what it missed, and neither it nor its neighbour, whose
/// power makes every slot count, loses a planck of collateral.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn misfortune_under_a_due_draw_costs_nothing() {
    let mut network = Network::with(Options { nodes: 1, capacity: "320MiB".into() }).await.unwrap();
    let mut node =
        StorageNode::start(&network.dir().join("unlucky"), &network.endpoints.chain, "//Provider9", &["64MiB"])
            .unwrap();
    node.ready().await.unwrap();
    let (unlucky, neighbour) = (number_of(&node).await, network.endpoints.nodes[0].id);
    let file = network.file(81, 2 * MIB).unwrap();
    let put = network.put(&file, &["--replicas", "2", "--term", "2h", "--wait"]).await.unwrap();
    let chain = network.chain().await.unwrap();
    set_audit_rate(&network, 1).await.unwrap();
    let first = chain.best().await.unwrap().number;
    let before = collateral(&network, [unlucky, neighbour]).await;
    let rate = chain.parameters().rate(put.size);
    let reserved = rate * u128::from(chain.parameters().collateral_slots);
    assert!(before.iter().all(|it| (it.reserved, it.taken) == (reserved, 0) && it.deposited > reserved), "{before:?}");

    // Both are drawn before they report, and both answer.
    network
        .until("both are drawn", 30, |view| async move {
            let draws = view.due_draws(0, 10).await?;
            Ok([unlucky, neighbour].iter().all(|node| draws.iter().any(|(drawn, _)| drawn == node)).then_some(()))
        })
        .await
        .unwrap();
    for node in [unlucky, neighbour] {
        answered(&network, node).await;
    }

    // Killed over a slot that draws it: the draw stays due, whatever is drawn later, and is answered on the return.
    next_report(&network, unlucky).await;
    node.kill();
    let slot = chain.view(Finality::Best).await.unwrap().slot();
    let missed = network.until("a slot is missed", 40, |view| async move {
        let due = view.audit(unlucky).await?.unwrap().due;
        Ok(due.filter(|_| view.slot() > slot + 1))
    });
    let missed = missed.await.unwrap();
    let due = chain.view(Finality::Best).await.unwrap().audit(unlucky).await.unwrap().unwrap().due;
    assert_eq!(due, Some(missed));
    node.run().unwrap();
    answered(&network, unlucky).await;

    // The chain stands still for longer than a slot.
    next_report(&network, unlucky).await;
    let validator = Pid::from_raw(i32::try_from(network.endpoints.validators[0].pid).unwrap()).unwrap();
    kill_process(validator, Signal::STOP).unwrap();
    tokio::time::sleep(STILL).await;
    kill_process(validator, Signal::CONT).unwrap();
    answered(&network, unlucky).await;

    // Its disk is mounted late: there is an empty directory in its place. What is drawn cannot be shown, nothing is given
    // up, and the operator is told what to do.
    next_report(&network, unlucky).await;
    node.kill();
    let (disk, away) = (node.dir.join("disk-0"), node.dir.join("away"));
    fs::rename(&disk, &away).unwrap();
    fs::create_dir(&disk).unwrap();
    node.run().unwrap();
    network
        .until("the node says what it misses", 40, |_| async {
            // It is on its way up.
            let Ok(error) = node.error_of("report").await else { return Ok(None) };
            Ok(error.filter(|error| error.contains("mount its disk")))
        })
        .await
        .unwrap();
    fs::remove_dir(&disk).unwrap();
    fs::rename(&away, &disk).unwrap();
    answered(&network, unlucky).await;

    // The chain node is killed and comes back without its last blocks.
    next_report(&network, unlucky).await;
    let pid = network.endpoints.validators[0].pid;
    kill(pid).unwrap();
    let mut tick = tokio::time::interval(Duration::from_millis(100));
    while runs(pid) || network.refresh().unwrap().validators[0].pid == pid {
        tick.tick().await;
    }
    for node in [unlucky, neighbour] {
        answered(&network, node).await;
    }

    assert_eq!(collateral(&network, [unlucky, neighbour]).await, before, "not a planck is missing");
    let chain = network.chain().await.unwrap();
    let last = chain.best().await.unwrap().number;
    for (block, event) in events(&chain, first, last).await {
        let costs = matches!(
            event,
            Event::Slashed { .. } | Event::DrawFailed { .. } | Event::NodeSilent { .. } | Event::ReplicaEnded { .. }
        );
        assert!(!costs, "in block {block}: {event:?}");
    }
    assert!(network.get(&put.cid).await.unwrap() == fs::read(&file).unwrap());
}

/// Waits until a report of the node has answered a draw, from the next block on.
async fn answered(network: &Network, node: NodeId) {
    let wait = network.until("a draw is answered", 60, |view| async move {
        let events = view.events().await?;
        let answer = |event: &Event| matches!(event, Event::DrawAnswered { node: by, .. } if *by == node);
        Ok(events.iter().any(answer).then_some(()))
    });
    wait.await.unwrap();
}

async fn collateral(network: &Network, nodes: [NodeId; 2]) -> Vec<crust_client::chain::Collateral> {
    let view = network.chain().await.unwrap().view(Finality::Best).await.unwrap();
    let mut all = Vec::new();
    for node in nodes {
        all.push(view.collateral(node).await.unwrap());
    }
    all
}
