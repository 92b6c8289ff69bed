//! The chain as a client sees it: blocks, views of the state, calls and statements.
//!
//! The only place outside `chain/` that knows pallets, calls and runtime APIs by name; everything else sees the plain
//! types of [`types`]. Code is generated from the checked-in `chain/metadata.scale`. A [`Chain`] is a cheap handle on a
//! connection that is made again whenever it is lost, so a daemon keeps one for its whole life: calls fail while the
//! chain is away ([`Error::is_retryable`]) and succeed once it is back.
//!
//! What the chain says is believed, for that is what it is for; only the hash of a header is checked.

mod connection;
mod deliver;
mod error;
mod generated;
mod outcome;
mod say;
mod submit;
mod types;
mod view;

use std::{sync::Arc, time::Duration};

use codec::Encode;
use crust_protocol::{BlockNumber, Hash, parameters::Parameters};
use futures::{Stream, StreamExt, stream};
use subxt::{
    OnlineClient, SubstrateConfig,
    backend::LegacyBackend,
    config::{RpcConfigFor, substrate::SubstrateHeader},
    rpcs::{RpcClient, methods::legacy::LegacyRpcMethods},
    utils::H256,
};
use tokio::sync::Mutex;

use connection::Connection;

pub use error::Error;
pub use say::{Said, Statement};
pub use submit::{Call, Included, NewOrder};
pub use types::{
    Account, Audit, Barred, BlockRef, Collateral, Event, Finality, LastReport, Node, Order, Quote, Replica, Take,
};
pub use view::View;

/// The SDK's defaults: 32-byte accounts, BLAKE2-256, sr25519 signatures.
type Config = SubstrateConfig;
type Header = SubstrateHeader<H256>;
type Rpc = LegacyRpcMethods<RpcConfigFor<Config>>;

/// Time without a new block after which a subscription is made anew.
const SILENT_BLOCKS: u32 = 20;
const LEAST_SILENCE: Duration = Duration::from_secs(30);
/// Pause before a lost subscription is made anew.
const RESUBSCRIBE: Duration = Duration::from_millis(500);

/// A handle on one chain.
#[derive(Clone)]
pub struct Chain {
    inner: Arc<Inner>,
}

struct Inner {
    url: String,
    genesis: Hash,
    development: bool,
    parameters: Parameters,
    api: OnlineClient<Config>,
    rpc: Rpc,
    /// From taking a nonce to handing over the transaction that uses it.
    nonce: Mutex<()>,
}

impl Chain {
    /// Connects to a chain node, `ws://…` or `wss://…`. Fails quickly if none answers there.
    pub async fn connect(url: &str) -> Result<Chain, Error> {
        let connection = Connection::open(url).await?;
        let client = RpcClient::new(connection);
        let rpc = Rpc::new(client.clone());
        let backend = LegacyBackend::<Config>::builder().build(client);
        let api = OnlineClient::from_backend(Arc::new(backend)).await.map_err(Error::from_subxt)?;
        let genesis = api.genesis_hash().0;
        let development = rpc.system_chain_type().await.map_err(Error::from_rpc)? == "Development";
        let head = rpc.chain_get_finalized_head().await.map_err(Error::from_rpc)?;
        let at = api.at_block(head).await.map_err(Error::from_subxt)?;
        let parameters = view::parameters(&at).await?;
        let inner = Inner { url: url.into(), genesis, development, parameters, api, rpc, nonce: Mutex::new(()) };
        Ok(Chain { inner: Arc::new(inner) })
    }

    /// Where the chain was found.
    pub fn url(&self) -> &str {
        &self.inner.url
    }

    /// The hash of block 0: which chain this is.
    pub fn genesis(&self) -> Hash {
        self.inner.genesis
    }

    /// Whether the chain calls itself a development chain, on which published keys may be used.
    pub fn development(&self) -> bool {
        self.inner.development
    }

    /// The chain's parameters, as they were when the connection was made.
    pub fn parameters(&self) -> &Parameters {
        &self.inner.parameters
    }

    /// The time of a block. However a chain node may lie about it, nobody waits for ever, or not at all.
    pub fn block_time(&self) -> Duration {
        Duration::from_millis(self.inner.parameters.block_millis.clamp(100, 60_000))
    }

    /// The head of the best chain.
    pub async fn best(&self) -> Result<BlockRef, Error> {
        let hash = self.inner.rpc.chain_get_block_hash(None).await.map_err(Error::from_rpc)?;
        self.header(hash.ok_or_else(|| Error::Answer("no best block".into()))?).await
    }

    /// The last finalized block.
    pub async fn finalized(&self) -> Result<BlockRef, Error> {
        let hash = self.inner.rpc.chain_get_finalized_head().await.map_err(Error::from_rpc)?;
        self.header(hash).await
    }

    /// The head of the best or of the finalized chain.
    pub async fn head(&self, finality: Finality) -> Result<BlockRef, Error> {
        match finality {
            Finality::Best => self.best().await,
            Finality::Finalized => self.finalized().await,
        }
    }

    /// The hash of a block of the best chain; `None` if it does not exist yet.
    pub async fn block_hash(&self, number: BlockNumber) -> Result<Option<Hash>, Error> {
        let hash = self.inner.rpc.chain_get_block_hash(Some(number.into())).await.map_err(Error::from_rpc)?;
        Ok(hash.map(|hash| hash.0))
    }

    /// Every new head from now on, the present one first. Blocks may be skipped when they come fast, and best blocks
    /// may go back in number. The stream never ends: a lost connection is made again.
    pub fn blocks(&self, finality: Finality) -> impl Stream<Item = BlockRef> + Send + 'static {
        let silence = self.block_time().saturating_mul(SILENT_BLOCKS).max(LEAST_SILENCE);
        let start = Subscription { chain: self.clone(), heads: None, last: None };
        stream::unfold(start, move |mut state| async move {
            loop {
                let Some(heads) = &mut state.heads else {
                    state.heads = state.chain.subscribe(finality).await;
                    match state.chain.head(finality).await {
                        Ok(head) if state.heads.is_some() && state.last != Some(head) => {
                            state.last = Some(head);
                            return Some((head, state));
                        }
                        Ok(_) if state.heads.is_some() => {}
                        _ => {
                            state.heads = None;
                            tokio::time::sleep(RESUBSCRIBE).await;
                        }
                    }
                    continue;
                };
                match tokio::time::timeout(silence, heads.next()).await {
                    Ok(Some(Ok(header))) => {
                        let block = block_of(&header);
                        if state.last != Some(block) {
                            state.last = Some(block);
                            return Some((block, state));
                        }
                    }
                    _ => {
                        state.heads = None;
                        tokio::time::sleep(RESUBSCRIBE).await;
                    }
                }
            }
        })
    }

    /// The state after the head of the best or of the finalized chain.
    pub async fn view(&self, finality: Finality) -> Result<View, Error> {
        let head = self.head(finality).await?;
        self.view_at(head).await
    }

    /// The state after a block. Old states are pruned by the chain's nodes.
    pub async fn view_at(&self, block: BlockRef) -> Result<View, Error> {
        let number = u64::from(block.number);
        let at = self.inner.api.at_block_hash_and_number(H256(block.hash), number).await;
        Ok(View::new(at.map_err(Error::from_subxt)?, block, self.inner.parameters.slot_of(block.number)))
    }

    async fn header(&self, hash: H256) -> Result<BlockRef, Error> {
        let header = self.inner.rpc.chain_get_header(Some(hash)).await.map_err(Error::from_rpc)?;
        let block = block_of(&header.ok_or_else(|| Error::Answer(format!("block {hash:?} is unknown")))?);
        if block.hash == hash.0 { Ok(block) } else { Err(Error::Answer(format!("block {hash:?} has another hash"))) }
    }

    async fn subscribe(&self, finality: Finality) -> Option<Heads> {
        let heads = match finality {
            Finality::Best => self.inner.rpc.chain_subscribe_new_heads().await,
            Finality::Finalized => self.inner.rpc.chain_subscribe_finalized_heads().await,
        };
        match heads {
            Ok(heads) => Some(heads.boxed()),
            Err(error) => {
                tracing::debug!("no subscription to {finality:?} blocks: {error}");
                None
            }
        }
    }
}

type Heads = stream::BoxStream<'static, Result<Header, subxt::rpcs::Error>>;

struct Subscription {
    chain: Chain,
    heads: Option<Heads>,
    last: Option<BlockRef>,
}

fn block_of(header: &Header) -> BlockRef {
    let number = BlockNumber::try_from(header.number).unwrap_or(BlockNumber::MAX);
    BlockRef { number, hash: crust_protocol::h(&[&header.encode()]) }
}
