//! Blocks that are taken back: what stood in them is said again, for another slot's hash and on another root.

use std::{fs, path::Path, pin::pin};

use crust_client::{
    chain::{Chain, Finality, LastReport},
    wallet::Wallet,
};
use crust_protocol::{NodeId, Slot};
use crust_tests::{ChainNode, StorageNode, slots_without_report};
use futures::StreamExt;

/// A chain without finality loses the blocks of its last slots, twice; every slot that it makes again has a report, on the
/// root where it stands now.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn blocks_that_are_taken_back_cost_no_slot() {
    let place = tempfile::tempdir().unwrap();
    let (dir, before) = (place.path().join("chain"), place.path().join("before"));
    let mut chain_node = ChainNode::start(&dir, &ChainNode::specification("dev", false).unwrap()).unwrap();
    let chain = chain_node.connect().await.unwrap();
    let node = StorageNode::start(&place.path().join("storage"), &chain_node.url, "//Provider9", &["64MiB"]).unwrap();
    node.ready().await.unwrap();
    let provider = Wallet::development("//Provider9", &chain).unwrap().account();
    let nodes = chain.view(Finality::Best).await.unwrap().all_nodes().await.unwrap();
    let id = nodes.iter().find(|node| node.provider == provider).unwrap().id;
    let first = reported(&chain, id, 1, Finality::Finalized).await.slot;
    let mut slot = first;

    for _ in 0..2 {
        chain_node.stop().unwrap();
        chain_node.go_on(&["--no-grandpa"]).unwrap();
        let kept = reported(&chain_node.connect().await.unwrap(), id, slot + 1, Finality::Best).await;
        assert_eq!(kept.slot, slot + 1);
        chain_node.stop().unwrap();
        copy(&dir, &before);
        chain_node.go_on(&["--no-grandpa"]).unwrap();
        let chain = chain_node.connect().await.unwrap();
        let lost = reported(&chain, id, kept.slot + 2, Finality::Best).await;
        let root = root(&chain, id).await;

        // The blocks of two slots and their reports are no more.
        chain_node.stop().unwrap();
        fs::remove_dir_all(&dir).unwrap();
        fs::rename(&before, &dir).unwrap();
        chain_node.go_on(&["--no-grandpa"]).unwrap();
        let chain = chain_node.connect().await.unwrap();
        assert!(chain.best().await.unwrap().number < lost.block, "nothing was taken back");
        slot = reported(&chain, id, lost.slot, Finality::Best).await.slot;
        assert_ne!(self::root(&chain, id).await, root, "the same history came twice");
        assert_eq!(slots_without_report(&chain, id, first, slot).await.unwrap(), Vec::<Slot>::new());
    }
}

/// Waits for the node's report of a slot, or a later one.
async fn reported(chain: &Chain, node: NodeId, slot: Slot, finality: Finality) -> LastReport {
    let mut heads = pin!(chain.blocks(finality));
    loop {
        let head = heads.next().await.unwrap();
        let view = chain.view_at(head).await.unwrap();
        let report = view.node(node).await.unwrap().and_then(|node| node.last_report);
        if let Some(report) = report.filter(|report| report.slot >= slot) {
            return report;
        }
        assert!(view.slot() < slot + 6, "no report of slot {slot} by slot {}", view.slot());
    }
}

async fn root(chain: &Chain, node: NodeId) -> [u8; 32] {
    chain.view(Finality::Best).await.unwrap().node(node).await.unwrap().unwrap().root
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let place = to.join(path.file_name().unwrap());
        match path.is_dir() {
            true => copy(&path, &place),
            false => drop(fs::copy(&path, &place).unwrap()),
        }
    }
}
