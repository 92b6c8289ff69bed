//! Audits and collateral on a real network: who is drawn answers, who cannot pays, and misfortune costs nothing, to the
//! planck. Whom the beacons draw is set here, to every node in every slot or to none, so that a test need not wait for
//! chance.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "these are tests")]

mod loss;
mod misfortune;

use codec::Encode;
use crust_client::chain::{BlockRef, Chain, Event, Finality, View};
use crust_protocol::{BlockNumber, NodeId, order::OrderId, parameters::Parameters};
use crust_tests::{Network, StorageNode};
use subxt::{OnlineClient, SubstrateConfig, dynamic::Value, transactions::TransactionStatus};
use subxt_signer::{SecretUri, sr25519::Keypair};

const MIB: u64 = 1 << 20;
/// Where the chain keeps its parameters: the hashes of `Mpow` and `Parameters`.
const PARAMETERS: &str = "c3dd4bcdb0854d3fe6e5b0ac7d8512f8c63bdd4a39095ccf55623a6f2872bf8a";

/// The id in `crust put`'s answer.
fn order_id(text: &str) -> OrderId {
    hex::decode(text.trim_start_matches("0x")).unwrap().try_into().unwrap()
}

/// Has the beacons draw each node in one of so many slots, by the key that a development chain has for such things.
async fn set_audit_rate(network: &Network, audit_rate: u32) {
    let chain = network.chain().await.unwrap();
    let parameters = chain.view(Finality::Best).await.unwrap().parameters().await.unwrap();
    assert_eq!(parameters.audit_rate, 4, "one slot in four on a development chain");
    let changed = Parameters { audit_rate, ..parameters };
    let item = [hex::decode(PARAMETERS).unwrap(), changed.encode()].map(Value::from_bytes);
    let items = Value::unnamed_composite([Value::unnamed_composite(item)]);
    let call = Value::unnamed_variant("System", [Value::named_variant("set_storage", [("items", items)])]);
    let sudo = subxt::dynamic::tx("Sudo", "sudo", (call,));
    let api = OnlineClient::<SubstrateConfig>::from_insecure_url(&network.endpoints.chain).await.unwrap();
    let signer = Keypair::from_uri(&"//Alice".parse::<SecretUri>().unwrap()).unwrap();
    let at = api.at_current_block().await.unwrap();
    let mut sent = at.transactions().sign_and_submit_then_watch_default(&sudo, &signer).await.unwrap();
    while let Some(status) = sent.next().await {
        if matches!(status.unwrap(), TransactionStatus::InFinalizedBlock(_)) {
            break;
        }
    }
    assert_eq!(chain.view(Finality::Finalized).await.unwrap().parameters().await.unwrap(), changed);
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
