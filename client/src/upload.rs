//! `put`: a file's way into the network.
//!
//! The file is cut once for its graph and read again for its audit root ([`import`]); an order is placed, or an own one
//! that is open is gone on with; then the nodes that take a place are dialled and ask for the blocks, which are read
//! from the file and checked again ([`serve`]). Nothing is copied and nothing grows with the file but its inner nodes.
//! The client only dials, so it works behind any router. It is done with the first receipt in a finalized block, or
//! with that of the last replica.

mod import;
mod room;
mod serve;

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, Instant},
};

use crust_network::{Blocks, Network};
use crust_protocol::{
    Balance, BlockNumber, NodeId,
    file::Cid,
    order::{Content, OrderId},
};
use futures::StreamExt;

use crate::{
    chain::{self, Call, Chain, Finality, NewOrder, Order, Take},
    money,
    term::Term,
    wallet::Wallet,
};

pub use import::{Import, LEAF, LINKS};
pub use room::check as check_room;
pub use serve::Serve;

/// Slots without a byte or a step after which a put gives up.
const STALLED_SLOTS: u32 = 2;
/// How often progress is looked at between blocks.
const TICK: Duration = Duration::from_millis(500);
/// Blocks in a row in which an order may be unknown before it counts as ended: a fork may be replaced.
const MISSING: u32 = 8;

/// What is wanted.
#[derive(Clone, Copy, Debug)]
pub struct Wish {
    pub replicas: u32,
    pub term: Term,
    /// Wait for all replicas, not only the first.
    pub wait: bool,
}

/// What became of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Done {
    pub cid: Cid,
    pub order: OrderId,
    /// Bytes of the file's distinct blocks: what is billed.
    pub size: u64,
    /// What this put has cost, in plancks: nothing if the order was there before.
    pub price: Balance,
    /// Whether an order was gone on with.
    pub resumed: bool,
    /// Replicas that the order wants.
    pub wanted: u32,
    /// Replicas in finalized blocks: the node and the block of its receipt.
    pub replicas: Vec<(NodeId, BlockNumber)>,
}

/// How far it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Progress {
    /// Bytes of the file cut into blocks.
    Cut { bytes: u64, of: u64 },
    /// Bytes of the file read again.
    Checked { bytes: u64, of: u64 },
    /// The order is on the chain.
    Ordered { order: OrderId, resumed: bool, replicas: u32 },
    /// A node holds a place.
    Taken { node: NodeId },
    /// Bytes of the file that nodes have asked for so far, each counted once.
    Sent { bytes: u64, of: u64 },
    /// A receipt is in a best block.
    Sealed { node: NodeId },
}

/// Hears of progress.
pub type Watcher = Arc<dyn Fn(Progress) + Send + Sync>;

/// Why a put failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{0} does not exist")]
    Missing(PathBuf),
    #[error("{0} is a directory: only single files can be stored, not yet directories")]
    Directory(PathBuf),
    #[error("{0} is not a regular file")]
    NotAFile(PathBuf),
    #[error("{path} cannot be read: {error}")]
    Read { path: PathBuf, error: std::io::Error },
    #[error("{0} changed while it was read: put it again when nobody writes to it")]
    Changed(PathBuf),
    #[error(
        "{path} changed after it was ordered, so order {order} cannot be filled: cancel it with `crust order cancel {order}` and put the file again when nobody writes to it"
    )]
    ChangedLater { path: PathBuf, order: String },
    #[error("{path} is too large: {reason}")]
    TooLarge { path: PathBuf, reason: String },
    #[error("{0}")]
    Chain(#[from] chain::Error),
    #[error("the order needs {} and the account {account} has {} free: fund it, or ask for fewer replicas or a shorter term", money::show(*.needed), money::show(*.free))]
    NoMoney { account: String, needed: Balance, free: Balance },
    #[error(
        "{wanted} replicas are wanted, but only {able} providers have a registered node without this file that takes anything new: ask for fewer with --replicas"
    )]
    TooFewNodes { wanted: u32, able: u32 },
    #[error(
        "{wanted} replicas of {size} bytes are wanted, but only {able} providers have a node with the collateral for one ({} free): ask for fewer with --replicas, or wait until nodes deposit more", money::show(*.needed)
    )]
    TooLittleCollateral { wanted: u32, able: u32, size: u64, needed: Balance },
    #[error(
        "{wanted} replicas of {size} bytes are wanted, but only {able} providers have a node with room for one (the most that a node has left is {most} bytes): ask for fewer with --replicas, or store a smaller file"
    )]
    TooLittleRoom { wanted: u32, able: u32, size: u64, most: u64 },
    #[error("the data network does not start: {0}")]
    Network(#[from] crust_network::StartError),
    #[error("order {0} has ended before its file was stored; what it had not spent was returned. Put the file again")]
    Ended(String),
    #[error(
        "nothing has moved for {seconds} seconds, so order {order} waits:\n{states}\nRun the same command again to go on with it (that costs nothing), or cancel it with `crust order cancel {order}`"
    )]
    Stalled { order: String, seconds: u64, states: String },
    #[error("a task of this program failed: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// Stores a file.
pub async fn put(chain: &Chain, wallet: &Wallet, path: &Path, wish: Wish, watcher: Watcher) -> Result<Done, Error> {
    Import::check(path)?;
    let import = {
        let (path, watcher) = (path.to_owned(), watcher.clone());
        tokio::task::spawn_blocking(move || Import::of(&path, &*watcher)).await??
    };
    let Found { order, seen, resumed, price } = order(chain, wallet, &import, wish).await?;
    watcher(Progress::Ordered { order: order.id, resumed, replicas: order.wanted });
    let done = Done {
        cid: import.root(),
        order: order.id,
        size: import.size(),
        price,
        resumed,
        wanted: order.wanted,
        replicas: Vec::new(),
    };
    let serve = Serve::new(import);
    let mut stage = Stage::new(chain, serve, order, seen, wish, watcher);
    let replicas = stage.run().await?;
    Ok(Done { replicas, ..done })
}

/// The account's open order for this very file, or a new one, in a block that has it; whether it was there, and what was
/// paid.
async fn order(chain: &Chain, wallet: &Wallet, import: &Import, wish: Wish) -> Result<Found, Error> {
    let view = chain.view(Finality::Best).await?;
    let account = wallet.account();
    let content = Content {
        client: account,
        nonce: 0,
        cid: import.root(),
        size: import.size(),
        audit_root: import.audit_root(),
        flags: 0,
    };
    for id in view.all_orders_of(account).await? {
        if let Some(order) = view.order(id).await? {
            let same = Content { nonce: 0, ..order.content() } == content;
            if same && !order.cancelled {
                return Ok(Found { order, seen: view.block().number, resumed: true, price: 0 });
            }
        }
    }
    let term = wish.term.slots(chain.parameters());
    let quote = view.quote(content.size, wish.replicas, term).await?;
    check_room(chain, Some(content.cid), content.size, wish.replicas).await?;
    let free = view.balance(account).await?.free;
    if free < quote.total {
        return Err(Error::NoMoney { account: wallet.address(), needed: quote.total, free });
    }
    let mut nonce = [0; 8];
    getrandom::fill(&mut nonce).map_err(|error| chain::Error::Answer(format!("no randomness: {error}")))?;
    let nonce = u64::from_le_bytes(nonce);
    let id = Content { nonce, ..content.clone() }.id();
    let new = NewOrder {
        nonce,
        cid: content.cid,
        size: content.size,
        audit_root: content.audit_root,
        flags: content.flags,
        replicas: wish.replicas,
        term,
        balance: quote.balance,
    };
    let included = chain.submit(Call::PlaceOrder(new), wallet).await?;
    let view = chain.view_at(included.block).await?;
    let order = view.order(id).await?;
    let order = order.ok_or_else(|| chain::Error::Answer("the order that was placed is not there".into()))?;
    Ok(Found { order, seen: included.block.number, resumed: false, price: quote.total })
}

/// The order of a put.
struct Found {
    order: Order,
    /// A block in which it stands.
    seen: BlockNumber,
    resumed: bool,
    /// Paid for it now.
    price: Balance,
}

/// The part of a put in which the nodes work and the client serves.
struct Stage<'a> {
    chain: &'a Chain,
    serve: Arc<Serve>,
    order: Order,
    wish: Wish,
    watcher: Watcher,
    dialled: BTreeMap<NodeId, Dial>,
    missing: u32,
    moved: Instant,
    handed: u64,
    block: BlockNumber,
    /// The block in which the order was seen last.
    seen: BlockNumber,
    /// Why the chain cannot be asked at the moment.
    trouble: Option<chain::Error>,
}

/// The latest attempt to reach a node.
#[derive(Default)]
struct Dial {
    last: Option<Instant>,
    error: Arc<std::sync::Mutex<Option<String>>>,
}

impl<'a> Stage<'a> {
    fn new(chain: &'a Chain, serve: Serve, order: Order, seen: BlockNumber, wish: Wish, watcher: Watcher) -> Self {
        Stage {
            chain,
            serve: Arc::new(serve),
            order,
            wish,
            watcher,
            dialled: BTreeMap::new(),
            missing: 0,
            moved: Instant::now(),
            handed: 0,
            block: seen,
            seen,
            trouble: None,
        }
    }

    async fn run(&mut self) -> Result<Vec<(NodeId, BlockNumber)>, Error> {
        let blocks: Arc<dyn Blocks> = self.serve.clone();
        let network = crate::download::start_network(blocks, Vec::new()).await?;
        let result = self.attend(&network).await;
        network.shutdown().await;
        result
    }

    async fn attend(&mut self, network: &Network) -> Result<Vec<(NodeId, BlockNumber)>, Error> {
        let mut heads = std::pin::pin!(self.chain.blocks(Finality::Best));
        let mut tick = tokio::time::interval(TICK);
        loop {
            tokio::select! {
                Some(head) = heads.next() => {
                    self.block = head.number;
                    match self.look(network).await {
                        Ok(Some(replicas)) => return Ok(replicas),
                        Ok(None) => self.trouble = None,
                        // The chain may be back before it is too late.
                        Err(Error::Chain(error)) if error.is_retryable() => self.trouble = Some(error),
                        Err(error) => return Err(error),
                    }
                }
                _ = tick.tick() => {}
            }
            self.check_movement(network)?;
        }
    }

    /// Looks at the order in the newest block: who has to be dialled, and whether it is done.
    async fn look(&mut self, network: &Network) -> Result<Option<Vec<(NodeId, BlockNumber)>>, Error> {
        let view = self.chain.view(Finality::Best).await?;
        let Some(order) = view.order(self.order.id).await? else {
            // A chain node that is behind does not know it yet.
            if view.block().number <= self.seen {
                return Ok(None);
            }
            self.missing = self.missing.saturating_add(1);
            return if self.missing > MISSING { Err(Error::Ended(self.order_text())) } else { Ok(None) };
        };
        self.missing = 0;
        for take in order.takes.iter().filter(|take| self.order.take_of(take.node).is_none()) {
            self.moved = Instant::now();
            (self.watcher)(Progress::Taken { node: take.node });
        }
        for replica in order.replicas.iter().filter(|replica| self.order.replica_of(replica.node).is_none()) {
            self.moved = Instant::now();
            (self.watcher)(Progress::Sealed { node: replica.node });
        }
        self.order = order;
        self.seen = view.block().number;
        if self.is_enough(&self.order) {
            let finalized = self.chain.view(Finality::Finalized).await?.order(self.order.id).await?;
            if let Some(order) = finalized.filter(|order| self.is_enough(order)) {
                return Ok(Some(order.replicas.iter().map(|replica| (replica.node, replica.since)).collect()));
            }
        }
        let held = |take: &&Take| take.until > view.block().number;
        let takes: Vec<_> = self.order.takes.iter().filter(held).cloned().collect();
        for take in takes {
            self.dial(network, &take);
        }
        Ok(None)
    }

    fn is_enough(&self, order: &Order) -> bool {
        if self.wish.wait { order.unsealed() == 0 } else { !order.replicas.is_empty() }
    }

    /// Makes sure that a node is connected; it asks for the blocks by itself.
    fn dial(&mut self, network: &Network, take: &Take) {
        let Some((peer, addresses)) = take.endpoint() else { return };
        if network.is_connected(&peer) {
            return;
        }
        let pause = self.chain.block_time().saturating_mul(2);
        let dial = self.dialled.entry(take.node).or_default();
        if dial.last.is_some_and(|last| last.elapsed() < pause) {
            return;
        }
        dial.last = Some(Instant::now());
        let (network, outcome) = (network.clone(), dial.error.clone());
        tokio::spawn(async move {
            let error = network.dial(peer, addresses).await.err().map(|error| error.to_string());
            if let Ok(mut outcome) = outcome.lock() {
                *outcome = error;
            }
        });
    }

    /// Tells of progress and gives up when there is none.
    fn check_movement(&mut self, network: &Network) -> Result<(), Error> {
        if self.serve.changed() {
            let path = self.serve.import().path().to_owned();
            return Err(Error::ChangedLater { path, order: self.order_text() });
        }
        let handed = self.serve.handed();
        if handed != self.handed {
            self.handed = handed;
            self.moved = Instant::now();
            let bytes = self.serve.handed_once();
            (self.watcher)(Progress::Sent { bytes, of: self.serve.import().content() });
        }
        let parameters = self.chain.parameters();
        let mut blocks = parameters.slot_blocks.saturating_mul(STALLED_SLOTS);
        // Everything is out: what is waited for now is sealing, for which a node has its take's time, and replicas that
        // fetch from each other.
        if self.serve.handed_once() >= self.serve.import().distinct() || !self.order.replicas.is_empty() {
            blocks = blocks.saturating_add(parameters.take_window(self.order.size));
        }
        let patience = self.chain.block_time().saturating_mul(blocks);
        if self.moved.elapsed() < patience {
            return Ok(());
        }
        let states = self.states(network);
        Err(Error::Stalled { order: self.order_text(), seconds: patience.as_secs(), states })
    }

    /// One line for each node that matters.
    fn states(&self, network: &Network) -> String {
        let mut lines: Vec<String> = Vec::new();
        for replica in &self.order.replicas {
            lines.push(format!("  node {}: has sealed it, in block {}", replica.node, replica.since));
        }
        for take in &self.order.takes {
            let connected = take.endpoint().is_some_and(|(peer, _)| network.is_connected(&peer));
            let error = self.dialled.get(&take.node).and_then(|dial| dial.error.lock().ok()?.clone());
            lines.push(format!("  node {}: {}", take.node, place(take, self.block, connected, error)));
        }
        if self.order.open_places > 0 {
            lines.push(format!("  {} of {} places: no node has taken them", self.order.open_places, self.order.wanted));
        }
        lines.extend(self.trouble.as_ref().map(|trouble| format!("  {trouble}")));
        lines.join("\n")
    }

    fn order_text(&self) -> String {
        format!("0x{}", hex::encode(self.order.id))
    }
}

/// What is known of a place and its node. One that has lapsed is not dialled for: of its node only what was seen is told.
fn place(take: &Take, block: BlockNumber, connected: bool, error: Option<String>) -> String {
    let held = take.until > block;
    let place = match held {
        true => format!("holds a place until block {} (now {block})", take.until),
        false => format!("let its place lapse in block {} (now {block})", take.until),
    };
    let reached = match take.endpoint() {
        Some(_) if connected => Some("is connected and asks for nothing".into()),
        Some((_, addresses)) => {
            let addresses: Vec<_> = addresses.iter().map(ToString::to_string).collect();
            let error = error.or_else(|| held.then(|| "no connection".into()));
            error.map(|error| format!("cannot be reached at {}: {error}", addresses.join(", ")))
        }
        None => held.then(|| "has announced no address".into()),
    };
    [Some(place), reached].into_iter().flatten().collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_of_a_place_that_is_held_it_is_said_that_nobody_could_be_reached() {
        let take = Take {
            node: 7,
            provider: [0; 32],
            until: 60,
            peer_id: "12D3KooWJkpqAz2zTTpbJ1TtV3xJmzRoskfBTwBxDBnoApsMgpPR".into(),
            addresses: vec!["/ip4/127.0.0.1/tcp/9".into()],
        };
        let held = "holds a place until block 60 (now 59); cannot be reached at /ip4/127.0.0.1/tcp/9: ";
        assert_eq!(place(&take, 59, false, None), format!("{held}no connection"));
        assert_eq!(place(&take, 59, false, Some("refused".into())), format!("{held}refused"));
        // Run again after that, a put has dialled nobody for it.
        assert_eq!(place(&take, 60, false, None), "let its place lapse in block 60 (now 60)");
        let seen = "let its place lapse in block 60 (now 61); is connected and asks for nothing";
        assert_eq!(place(&take, 61, true, None), seen);
    }
}
