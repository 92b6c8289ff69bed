//! Keeps the node registered: evidence for the enclave's identity, in time, without anybody's doing.
//!
//! Trigger: a best block. Action: if the chain does not know the enclave's key, `register`; if a registration is in its
//! last third, `renew`; before either, the vendor's collateral if the chain's is not current; if the chain has other
//! addresses than ours, `announce`. Follow-up: the node's number, for which all other workers wait.

use std::{sync::Arc, time::Duration};

use crust_client::{
    chain::{BlockRef, Call, Finality, Included, Node, View},
    wallet::Wallet,
};
use crust_enclave::rpc::{Request, Response};
use crust_protocol::{BlockNumber, attestation::Evidence};
use tokio::sync::watch;

use super::{Error, Next, Worker};
use crate::{
    enclave_client::{self, Enclave},
    host::{Host, next_head},
    vendor::{Refusals, Vendor},
};

/// Addresses that a record holds, and bytes of each.
const ADDRESSES: usize = 4;
const ADDRESS_BYTES: usize = 128;
/// Blocks between two looks once all is well.
const EVERY: BlockNumber = 10;

pub struct Register {
    host: Arc<Host>,
    heads: watch::Receiver<Option<BlockRef>>,
    /// All was well at this block.
    well: Option<BlockNumber>,
    /// What the chain refused of it.
    refusals: Refusals,
}

impl Register {
    pub fn new(host: Arc<Host>) -> Self {
        let heads = host.best.subscribe();
        Register { host, heads, well: None, refusals: Refusals::default() }
    }

    async fn register(&self, view: &View) -> Result<(), Error> {
        let host = &self.host;
        self.refusals.check(view.block().number)?;
        let (block_number, evidence) = evidence(&host.vendor, &host.wallet, &host.enclave, view).await?;
        let (peer_id, addresses) = endpoint(host)?;
        let call = Call::Register {
            sign_pk: host.identity.sign_pk,
            channel_pk: host.identity.channel_pk,
            block_number,
            evidence,
            peer_id,
            addresses,
        };
        let included = self.submit(call, view).await?;
        tracing::info!(block = included.block.number, "registered");
        Ok(())
    }

    /// Brings an existing record up to date. Whether anything was sent.
    async fn keep(&self, view: &View, node: &Node) -> Result<bool, Error> {
        let host = &self.host;
        let left = node.registered_until.saturating_sub(view.block().number);
        if left <= host.parameters().attestation_period / 3 {
            self.refusals.check(view.block().number)?;
            let (block_number, evidence) = evidence(&host.vendor, &host.wallet, &host.enclave, view).await?;
            let call = Call::Renew { node: node.id, block_number, evidence };
            let included = self.submit(call, view).await?;
            tracing::info!(block = included.block.number, "registration renewed");
            return Ok(true);
        }
        let (peer_id, addresses) = endpoint(host)?;
        if node.peer_id != peer_id || node.addresses != addresses {
            self.refusals.check(view.block().number)?;
            let call = Call::Announce { node: node.id, peer_id, addresses };
            let included = self.submit(call, view).await?;
            tracing::info!(block = included.block.number, "new addresses announced");
            return Ok(true);
        }
        Ok(false)
    }

    async fn submit(&self, call: Call, view: &View) -> Result<Included, Error> {
        let sent = self.host.chain.submit(call, &self.host.wallet).await;
        Ok(self.refusals.note(sent, view.block().number, self.host.parameters())?)
    }
}

impl Worker for Register {
    fn name(&self) -> &'static str {
        "register"
    }

    async fn work(&mut self) -> Result<Next, Error> {
        let view = self.host.chain.view(Finality::Best).await?;
        if self.well.is_some_and(|block| (block..block.saturating_add(EVERY)).contains(&view.block().number)) {
            return Ok(Next::Wait);
        }
        let Some(number) = view.node_of(self.host.identity.sign_pk).await? else {
            self.host.number.send_replace(None);
            self.register(&view).await?;
            return Ok(Next::Again);
        };
        let node = view.node(number).await?;
        let node = node.filter(|node| node.sign_pk == self.host.identity.sign_pk);
        let node = node.ok_or_else(|| {
            let text = "the enclave's key was used up by a succession; this node cannot speak any more. If that was an \
                        upgrade which was given up, ask for it once more";
            Error::Other(text.into())
        })?;
        metrics::gauge!("crust_registered_until").set(f64::from(node.registered_until));
        if self.host.number.send_replace(Some(number)) != Some(number) {
            tracing::info!(number, until = node.registered_until, "the node is on the chain");
        }
        if self.keep(&view, &node).await? {
            return Ok(Next::Again);
        }
        self.well = Some(view.block().number);
        Ok(Next::Wait)
    }

    async fn wait(&mut self) {
        next_head(&mut self.heads, Duration::from_secs(60)).await;
    }
}

/// Evidence for an enclave's identity over a recent block, with collateral on the chain that it verifies under.
pub async fn evidence(
    vendor: &Vendor,
    wallet: &Wallet,
    enclave: &Enclave,
    view: &View,
) -> Result<(BlockNumber, Evidence), Error> {
    let chain = &vendor.chain;
    // A finalized block cannot be reorganised away; if finality is behind, the best one has to do.
    let finalized = chain.finalized().await?;
    let recent = view.block().number.saturating_sub(finalized.number) < chain.parameters().evidence_age / 2;
    let block = if recent { finalized } else { view.block() };
    let request = Request::Evidence { block_hash: block.hash };
    let Response::Evidence { quote, collateral } = enclave.ask(request).await? else {
        return Err(enclave_client::Error::Answer("Evidence").into());
    };
    vendor.bring(wallet, view, &quote, collateral).await?;
    let evidence = quote.try_into().map_err(|_| Error::Other("the enclave's quote is too large".into()))?;
    Ok((block.number, Evidence::Dcap(evidence)))
}

/// How others reach this node, in the form in which the chain keeps it.
pub fn endpoint(host: &Host) -> Result<(String, Vec<String>), Error> {
    let announced = match host.config.announce.is_empty() {
        true => host.network.listen_addresses().iter().map(ToString::to_string).collect(),
        false => host.config.announce.clone(),
    };
    Ok((host.network.peer_id().to_string(), announceable(announced)?))
}

/// Of some addresses those that a record holds.
pub fn announceable(announced: Vec<String>) -> Result<Vec<String>, Error> {
    let addresses: Vec<_> =
        announced.into_iter().filter(|address| address.len() <= ADDRESS_BYTES).take(ADDRESSES).collect();
    if addresses.is_empty() {
        return Err(Error::Other("there is no address to announce; name one in `announce`".into()));
    }
    Ok(addresses)
}
