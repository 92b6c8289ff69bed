//! What Root changes on a development chain, by the key that its genesis has for that. A test that is not about audits
//! has nobody drawn, and one that is about them has everybody, so that none depends on chance.

use anyhow::{Context, ensure};
use codec::Encode;
use crust_client::chain::Finality;
use crust_protocol::{NodeId, parameters::Parameters};
use subxt::{OnlineClient, SubstrateConfig, dynamic::Value, transactions::TransactionStatus};
use subxt_signer::{SecretUri, sr25519::Keypair};

use crate::Network;

/// Where the chain keeps its parameters: the hashes of `Mpow` and `Parameters`.
const PARAMETERS: &str = "c3dd4bcdb0854d3fe6e5b0ac7d8512f8c63bdd4a39095ccf55623a6f2872bf8a";

/// Has the beacons draw each node in one of so many slots; in none with 0. Final when this returns.
pub async fn set_audit_rate(network: &Network, audit_rate: u32) -> anyhow::Result<()> {
    set_parameters(network, |parameters| Parameters { audit_rate, ..parameters }).await
}

/// Changes parameters for whoever asks for them from now on: programs that run go by those of their start. Final when
/// this returns.
pub async fn set_parameters(network: &Network, change: impl FnOnce(Parameters) -> Parameters) -> anyhow::Result<()> {
    let chain = network.chain().await?;
    let changed = change(chain.view(Finality::Best).await?.parameters().await?);
    let item = [hex::decode(PARAMETERS)?, changed.encode()].map(Value::from_bytes);
    let items = Value::unnamed_composite([Value::unnamed_composite(item)]);
    as_root(network, "System", Value::named_variant("set_storage", [("items", items)])).await?;
    ensure!(chain.view(Finality::Finalized).await?.parameters().await? == changed, "the parameters are not changed");
    Ok(())
}

/// Approves a node's program no more. Final when this returns.
pub async fn revoke_program(network: &Network, node: NodeId) -> anyhow::Result<()> {
    let chain = network.chain().await?;
    let measurement = chain.view(Finality::Best).await?.node(node).await?.context("no such node")?.measurement;
    let call = Value::named_variant("revoke_measurement", [("measurement", Value::u128(measurement.into()))]);
    as_root(network, "Mpow", call).await?;
    let record = chain.view(Finality::Finalized).await?.node(node).await?.context("no such node")?;
    ensure!(record.leaves.is_some(), "the program is still approved");
    Ok(())
}

/// Has Root make a call of a pallet. Final when this returns.
async fn as_root(network: &Network, pallet: &str, call: Value) -> anyhow::Result<()> {
    let sudo = subxt::dynamic::tx("Sudo", "sudo", (Value::unnamed_variant(pallet, [call]),));
    let api = OnlineClient::<SubstrateConfig>::from_insecure_url(&network.endpoints.chain).await?;
    let signer = Keypair::from_uri(&"//Alice".parse::<SecretUri>()?)?;
    let mut sent =
        api.at_current_block().await?.transactions().sign_and_submit_then_watch_default(&sudo, &signer).await?;
    loop {
        let status = sent.next().await.context("nothing more is heard of the change")??;
        if matches!(status, TransactionStatus::InFinalizedBlock(_)) {
            return Ok(());
        }
    }
}
