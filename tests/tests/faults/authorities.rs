//! The chain with production's numbers and four authorities, each a process of its own: blocks are made and finalized,
//! also without one of the four, published keys are good for nothing on it, and whoever operates a node is told how it
//! is.

use std::time::Duration;

use crust_client::{
    chain::{Chain, Finality},
    wallet::{self, Wallet},
};
use crust_network::peer_of;
use crust_protocol::{BlockNumber, parameters::Parameters};
use crust_tests::{ChainNode, Finished, bin, free_port};
use futures::StreamExt;
use tokio::time::timeout;

/// Blocks of six seconds, some of them missing.
const PATIENCE: Duration = Duration::from_secs(240);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_authorities_finalize_and_go_on_without_one() {
    let dir = tempfile::tempdir().unwrap();
    let (port, key) = (free_port().unwrap(), "01".repeat(32));
    let first = format!("/ip4/127.0.0.1/tcp/{port}");
    let boot = format!("{first}/p2p/{}", peer_of([1; 32]).unwrap());
    let mut nodes = vec![
        ChainNode::authority(&dir.path().join("alice"), "--alice", &["--listen-addr", &first, "--node-key", &key])
            .unwrap(),
    ];
    for name in ["bob", "charlie", "dave"] {
        let flags = ["--listen-addr", "/ip4/127.0.0.1/tcp/0", "--bootnodes", &boot];
        nodes.push(ChainNode::authority(&dir.path().join(name), &format!("--{name}"), &flags).unwrap());
    }
    let (alice, bob) = (nodes[0].connect().await.unwrap(), nodes[1].connect().await.unwrap());
    let numbers = alice.parameters();
    let production = Parameters::PRODUCTION;
    assert_eq!((numbers.block_millis, numbers.slot_blocks), (production.block_millis, production.slot_blocks));
    let height = finalized(&alice, 1).await;
    assert_eq!(alice.block_hash(height).await.unwrap(), {
        finalized(&bob, height).await;
        bob.block_hash(height).await.unwrap()
    });

    is_watched(&nodes[0]).await;

    // Three of four are more than two thirds.
    drop(nodes.pop());
    let now = alice.best().await.unwrap().number;
    finalized(&alice, now + 2).await;

    // It is no development chain, for the library and for the command.
    let refused = Wallet::development("//Alice", &alice).unwrap_err();
    assert!(matches!(refused, wallet::Error::NotDevelopment(..)), "{refused}");
    let mut command = tokio::process::Command::new(bin().join("crust"));
    command.args(["account", "balance", "--account", "//Alice", "--chain", alice.url()]);
    let finished = Finished::of(command).await.unwrap();
    assert_eq!(finished.status, Some(1), "{finished:?}");
    assert!(finished.stderr.contains("development chains only"), "{finished:?}");
}

/// The node's health, for a load balancer and for people, and its figures, for Prometheus.
async fn is_watched(node: &ChainNode) {
    let http = node.url.replace("ws://", "http://");
    let health = reqwest::get(format!("{http}/health")).await.unwrap().error_for_status().unwrap();
    let health: serde_json::Value = health.json().await.unwrap();
    assert!(health["peers"].as_u64() > Some(0) && health["isSyncing"] == false, "{health}");
    assert_eq!(reqwest::get(format!("{http}/health/readiness")).await.unwrap().status(), 200);
    // The node brings its figures up to date every few seconds.
    let told = async {
        let mut tick = tokio::time::interval(Duration::from_millis(500));
        loop {
            tick.tick().await;
            let figures = reqwest::get(&node.metrics).await.unwrap().error_for_status().unwrap().text().await.unwrap();
            let line = figures.lines().find(|line| line.starts_with("substrate_block_height{status=\"finalized\""));
            if line.unwrap().rsplit(' ').next().unwrap().parse::<BlockNumber>().unwrap() > 0 {
                return;
            }
        }
    };
    timeout(PATIENCE, told).await.unwrap();
}

/// Waits until a block of this number is final; the number of the last one then.
async fn finalized(chain: &Chain, number: BlockNumber) -> BlockNumber {
    let mut heads = std::pin::pin!(chain.blocks(Finality::Finalized));
    let reached = async {
        loop {
            let head = heads.next().await.unwrap();
            if head.number >= number {
                return head.number;
            }
        }
    };
    timeout(PATIENCE, reached).await.unwrap()
}
