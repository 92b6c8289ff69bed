//! Faults and attacks on real programs: killed processes, rotten disks, hosts that lie. What must hold: an acknowledged
//! replica is never lost, a wrong byte never comes back, and nobody is believed who cannot prove what he says.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "these are tests")]

mod authorities;
mod damage;
mod disks;
mod endpoint;
mod full_disk;
mod index;
mod kills;
mod memory;
mod new_chain;
mod reorg;
mod resume;
mod root;
mod snapshot;
mod standstill;
mod statements;
mod unfed;
mod withdrawn;

use crust_client::chain::{Call, Chain, Finality, LastReport, NewOrder, Node};
use crust_protocol::{
    NodeId,
    file::{Cid, Codec, HashFunction},
    order::OrderId,
};
use crust_tests::Network;

const MIB: u64 = 1 << 20;

/// The id in `crust put`'s answer.
fn order_id(text: &str) -> OrderId {
    hex::decode(text.trim_start_matches("0x")).unwrap().try_into().unwrap()
}

/// An order of a file that nobody has.
async fn order_of_nothing(chain: &Chain, nonce: u64, size: u64) -> Call {
    Call::PlaceOrder(NewOrder {
        nonce,
        cid: Cid::of(Codec::Raw, HashFunction::Sha2_256, b"nowhere"),
        size,
        audit_root: [1; 32],
        flags: 0,
        replicas: 1,
        term: 100,
        balance: chain.view(Finality::Best).await.unwrap().quote(size, 1, 100).await.unwrap().balance,
    })
}

/// The first report of a slot that has not begun yet, which has looked at the disks as they are now, and its node.
async fn next_report(network: &Network, node: NodeId) -> (LastReport, Node) {
    let chain = network.chain().await.unwrap();
    let head = chain.head(Finality::Best).await.unwrap();
    let slot = chain.parameters().slot_of(head.number);
    network
        .until("the next report", 60, |view| async move {
            let node = view.node(node).await?.unwrap();
            Ok(node.last_report.filter(|report| report.slot > slot).map(|report| (report, node)))
        })
        .await
        .unwrap()
}

/// Lets the chain make so many blocks.
async fn blocks(network: &Network, count: u32) {
    let first = network.chain().await.unwrap().best().await.unwrap().number;
    let wait = network.until("blocks", 4 * count as usize + 1, |view| async move {
        Ok((view.block().number >= first + count).then_some(()))
    });
    wait.await.unwrap();
}
