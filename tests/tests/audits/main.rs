//! Audits and collateral on a real network: who is drawn answers, who cannot pays, and misfortune costs nothing, to the
//! planck. Whom the beacons draw is set here, to every node in every slot or to none, so that a test need not wait for
//! chance.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "these are tests")]

mod loss;
mod misfortune;

use crust_client::chain::{BlockRef, Chain, Event, Finality, View};
use crust_protocol::{BlockNumber, NodeId, order::OrderId};
use crust_tests::{Network, StorageNode};

const MIB: u64 = 1 << 20;

/// The id in `crust put`'s answer.
fn order_id(text: &str) -> OrderId {
    hex::decode(text.trim_start_matches("0x")).unwrap().try_into().unwrap()
}

/// The state after a block of the best chain.
async fn view_at(chain: &Chain, number: BlockNumber) -> View {
    let hash = chain.block_hash(number).await.unwrap().unwrap();
    chain.view_at(BlockRef { number, hash }).await.unwrap()
}

/// All events of the best chain from one block to another, with their blocks.
async fn events(chain: &Chain, first: BlockNumber, last: BlockNumber) -> Vec<(BlockNumber, Event)> {
    let mut all = Vec::new();
    for number in first..=last {
        let events = view_at(chain, number).await.events().await.unwrap();
        all.extend(events.into_iter().map(|event| (number, event)));
    }
    all
}

/// The number of a node on the chain.
async fn number_of(node: &StorageNode) -> NodeId {
    u32::try_from(node.admin("/v1/status").await.unwrap()["node"].as_u64().unwrap()).unwrap()
}

/// Waits for the first report of a slot that has not begun yet, and says which slot.
async fn next_report(network: &Network, node: NodeId) -> u32 {
    let slot = network.chain().await.unwrap().view(Finality::Best).await.unwrap().slot();
    let next = network.until("the next report", 60, |view| async move {
        let report = view.node(node).await?.unwrap().last_report;
        Ok(report.filter(|report| report.slot > slot).map(|report| report.slot))
    });
    next.await.unwrap()
}
