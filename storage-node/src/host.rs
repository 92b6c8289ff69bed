//! What the workers share: the parts of the host around the enclave, and what is known of the chain at this moment.

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use crust_client::{
    chain::{Audit, BlockRef, Chain, Collateral, Finality, Order, View},
    wallet::Wallet,
};
use crust_enclave::rpc;
use crust_network::Network;
use crust_protocol::{Hash, NodeId, Slot, parameters::Parameters};
use futures::StreamExt;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    config::Config,
    enclave_client::{self, Enclave, Identity},
    statements::{self, IdleGones},
    store::Store,
    succession::{giver::Holder, upgrade::Upgrade},
    vendor::Vendor,
    workers::{Board, Error, serve::Serve},
};

const LAST_FINAL: &str = "last final report";

/// The daemon's parts. One an instance, shared by all workers.
pub struct Host {
    pub config: Config,
    pub store: Arc<Store>,
    pub enclave: Enclave,
    pub identity: Identity,
    pub chain: Chain,
    pub vendor: Vendor,
    pub wallet: Wallet,
    pub network: Network,
    /// The same that the network asks for blocks.
    pub serve: Serve,
    pub board: Board,
    /// The newest best and finalized block.
    pub best: watch::Sender<Option<BlockRef>>,
    pub finalized: watch::Sender<Option<BlockRef>>,
    /// The node's number, once it is registered.
    pub number: watch::Sender<Option<NodeId>>,
    /// Its collateral, as last seen; nothing before what its provider wants was deposited once.
    pub collateral: watch::Sender<Option<Collateral>>,
    pub wakes: Wakes,
    /// What was last said with success, for the status.
    pub said: Mutex<LastSaid>,
    /// One receipt, `Gone` or `Heir` at a time; a report does not wait for them.
    pub saying: tokio::sync::Mutex<IdleGones>,
    /// An upgrade of the enclave.
    pub upgrade: Upgrade,
    /// Ends the daemon, to begin again from its configuration and its state.
    pub start_anew: CancellationToken,
}

/// Calls from one worker to another that there is work.
#[derive(Default)]
pub struct Wakes {
    pub fetch: Notify,
    pub seal: Notify,
    pub evict: Notify,
    pub fill: Notify,
}

/// The last statements that the chain accepted, and what it asks for.
#[derive(Clone, Default, Debug)]
pub struct LastSaid {
    pub report: Option<(Slot, Hash)>,
    /// What the node owed to audits when that was last asked.
    pub audit: Option<Audit>,
    /// Block of the last receipt.
    pub receipt: Option<BlockRef>,
}

impl Host {
    pub fn parameters(&self) -> &Parameters {
        self.chain.parameters()
    }

    /// The node's number; an error until it is registered, so that who needs it tries again.
    pub fn number(&self) -> Result<NodeId, Error> {
        self.number.borrow().ok_or(Error::NotRegistered)
    }

    /// The node's enclave as one that can hand the key over.
    pub fn holder(&self) -> Holder<'_> {
        Holder {
            enclave: &self.enclave,
            about: &self.identity.about,
            vendor: &self.vendor,
            releases: self.config.releases.as_deref(),
        }
    }

    /// The newest best block.
    pub fn head(&self) -> Result<BlockRef, Error> {
        self.best.borrow().ok_or_else(|| Error::Other("no block of the chain was seen yet".into()))
    }

    /// The state after the newest best block.
    pub async fn view(&self) -> Result<View, Error> {
        Ok(self.chain.view_at(self.head()?).await?)
    }

    /// The state after the newest finalized block.
    pub async fn final_view(&self) -> Result<View, Error> {
        let head = *self.finalized.borrow();
        let head = head.ok_or_else(|| Error::Other("no finalized block was seen yet".into()))?;
        Ok(self.chain.view_at(head).await?)
    }

    /// The state after the newest finalized block, for what cannot be undone: an error if the endpoint is behind what
    /// this node knows to be final. One that begins anew, or stands still, would make every order look ended.
    pub async fn settled(&self) -> Result<View, Error> {
        let number = self.number()?;
        let view = self.final_view().await?;
        let Some(node) = view.node(number).await? else {
            // A new node, whose registration is not final yet, has nothing to lose to an endpoint that is behind.
            return Err(match self.view().await?.node(number).await? {
                Some(_) => Error::NotRegistered,
                None => statements::Error::UnknownNode(number).into(),
            });
        };
        let request = rpc::Request::GoneDue { prev: node.root, limit: 0 };
        let behind = match self.enclave.ask(request).await {
            // Roots older than the last one that was final are no part of any line any more.
            Err(enclave_client::Error::Refused(rpc::Error::UnknownPrev)) => true,
            Err(error) => return Err(error.into()),
            Ok(_) => view.slot() < self.last_final().await?,
        };
        if behind {
            return Err(Error::Other(
                "the chain endpoint is behind what is final of this node, or wrong: nothing is deleted until it is past \
                 that, or another is set"
                    .into(),
            ));
        }
        Ok(view)
    }

    /// The slot of this node's last final report, as the present endpoint has told. What another one told is forgotten:
    /// if it lied, changing it must help.
    pub async fn last_final(&self) -> Result<Slot, Error> {
        let last = self.store.run(|index| index.meta::<(String, Slot)>(LAST_FINAL)).await?;
        Ok(last.filter(|(url, _)| url == self.chain.url()).map_or(0, |(_, slot)| slot))
    }

    pub async fn set_last_final(&self, slot: Slot) -> Result<(), Error> {
        let last = (self.chain.url().to_owned(), slot);
        Ok(self.store.run(move |index| index.set_meta(LAST_FINAL, &last)).await?)
    }

    /// Whether this node holds a place of an order that is good in the next block. A take that lapsed still is, until
    /// another one overwrites it or the order is cancelled.
    pub fn holds_place(&self, order: &Order, number: NodeId, view: &View) -> bool {
        let next = view.block().number.saturating_add(1);
        order.take_of(number).is_some_and(|take| take.until > next || !order.cancelled)
    }

    /// Tells the operator's view that a statement was accepted.
    pub fn note_said(&self, change: impl FnOnce(&mut LastSaid)) {
        if let Ok(mut said) = self.said.lock() {
            change(&mut said);
        }
    }
}

/// Keeps `best` and `finalized` at the chain's heads for as long as the daemon runs.
pub async fn follow(host: Arc<Host>, finality: Finality) {
    let mut blocks = std::pin::pin!(host.chain.blocks(finality));
    let (head, name) = match finality {
        Finality::Best => (&host.best, "crust_best_block"),
        Finality::Finalized => (&host.finalized, "crust_finalized_block"),
    };
    while let Some(block) = blocks.next().await {
        metrics::gauge!(name).set(f64::from(block.number));
        head.send_replace(Some(block));
    }
}

/// Ends at the next value of a watched head, or after a while without one.
pub async fn next_head(heads: &mut watch::Receiver<Option<BlockRef>>, at_most: Duration) {
    tokio::time::timeout(at_most, heads.changed()).await.ok();
}
