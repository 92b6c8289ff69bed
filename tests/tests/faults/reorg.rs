//! Blocks that are taken back: what stood in them is said again, for another slot's hash and on another root.

use std::{fs, path::Path, pin::pin};

use crust_client::{
    chain::{BlockRef, Chain, Finality, LastReport, Node},
    wallet::Wallet,
};
use crust_protocol::{NodeId, Slot};
use crust_tests::{ChainNode, StorageNode, slots_without_report};
use futures::StreamExt;

/// Twice a chain whose newest blocks are not final loses those of two slots, and makes others in their place. Every
/// slot that it makes again has a report, on the root where it stands now.
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
    let first = reported(&chain, id, 1, Finality::Finalized).await.0.slot;
    let mut slot = first;

    for _ in 0..2 {
        // The chain is stopped when its slot has its report: none is due before the next. From here on nothing is
        // final.
        reported(&chain, id, slot + 1, Finality::Best).await;
        again(&mut chain_node, || (), &["--no-grandpa"]).await;
        let (kept, _) = reported(&chain, id, slot + 2, Finality::Best).await;
        again(&mut chain_node, || copy(&dir, &before), &["--no-grandpa"]).await;
        let (lost, record) = reported(&chain, id, kept.slot + 2, Finality::Best).await;
        let block = BlockRef { number: lost.block, hash: chain.block_hash(lost.block).await.unwrap().unwrap() };

        // The blocks of two slots and their reports are no more.
        let take_back = || {
            fs::remove_dir_all(&dir).unwrap();
            fs::rename(&before, &dir).unwrap();
        };
        again(&mut chain_node, take_back, &[]).await;
        let (said_again, new_record) = reported(&chain, id, lost.slot, Finality::Finalized).await;
        slot = said_again.slot;
        assert_ne!(chain.block_hash(block.number).await.unwrap(), Some(block.hash), "nothing was taken back");
        assert_ne!(new_record.root, record.root, "the same history came twice");
        assert_eq!(slots_without_report(&chain, id, first, slot).await.unwrap(), Vec::<Slot>::new());
    }
}

/// Stops the chain, does something to its directory, and has it go on.
async fn again(chain_node: &mut ChainNode, meanwhile: impl FnOnce(), flags: &[&str]) {
    chain_node.stop().unwrap();
    meanwhile();
    chain_node.go_on(flags).unwrap();
    chain_node.connect().await.unwrap();
}

/// Waits for the node's report of a slot, or a later one: until it is final, or the best block's slot has it.
async fn reported(chain: &Chain, node: NodeId, slot: Slot, finality: Finality) -> (LastReport, Node) {
    let mut heads = pin!(chain.blocks(finality));
    loop {
        let view = chain.view_at(heads.next().await.unwrap()).await.unwrap();
        let record = view.node(node).await.unwrap();
        if let Some((report, record)) = record.and_then(|record| Some((record.last_report?, record)))
            && report.slot >= slot
            && (finality == Finality::Finalized || report.slot == view.slot())
        {
            return (report, record);
        }
        assert!(view.slot() < slot + 6, "no report of slot {slot} by slot {}", view.slot());
    }
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
