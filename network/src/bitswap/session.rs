//! What a program sees of a fetch: a session asks its peers for blocks, several at once, and says what became of each
//! peer when a block does not come.

use std::{fmt, sync::Arc, time::Duration};

use bytes::Bytes;
use crust_protocol::file::{Cid, Multihash};
use libp2p::PeerId;
use tokio::sync::oneshot;

use super::engine::Engine;

/// How a session fetches.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Options {
    /// A block is given up when for so long no byte has come, or when ten times as long it has not come.
    pub patience: Duration,
    /// A session of named peers gives a block up when all of them have said so often that they do not have it. (Any
    /// peer that connects may join the others, which go by `patience` alone.)
    pub refusals: u32,
    /// A peer that was asked and sends nothing for so long is silent: others are asked.
    pub peer_timeout: Duration,
    /// A block that holds up the reader for so long is asked of a second peer.
    pub hedge: Duration,
    /// Bytes in flight or waiting to be taken.
    pub budget: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            patience: Duration::from_secs(30),
            refusals: 4,
            peer_timeout: Duration::from_secs(5),
            hedge: Duration::from_secs(2),
            budget: 32 << 20,
        }
    }
}

/// Why a block did not come.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Error {
    /// Nobody sent it.
    #[error(
        "block {cid} did not come: {}; make sure that a peer that has it is reachable, and try again",
        Peers(peers)
    )]
    Unavailable { cid: Cid, peers: Vec<(PeerId, PeerState)> },
    /// The network was shut down.
    #[error("the network was shut down while a block was awaited")]
    Closed,
}

impl Error {
    /// Whether trying again later may succeed.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Error::Unavailable { .. })
    }
}

/// What a session knows of a peer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum PeerState {
    /// Not connected yet.
    Connecting,
    /// Could not be connected to.
    Unreachable(String),
    /// Was connected and is not any more.
    Left,
    /// Does not speak Bitswap 1.2.
    NoBitswap,
    /// Sent bytes that nobody had asked for; it is not asked again.
    WrongBytes,
    /// Was asked and sends nothing.
    Silent,
    /// Was asked, and another had to step in.
    Slow,
    /// Says that it does not have the block.
    Refused,
    /// Connected.
    Connected {
        /// Blocks that it has sent in this session.
        blocks: u64,
    },
}

impl fmt::Display for PeerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PeerState::Connecting => write!(f, "not connected yet"),
            PeerState::Unreachable(reason) => write!(f, "unreachable ({reason})"),
            PeerState::Left => write!(f, "disconnected"),
            PeerState::NoBitswap => write!(f, "does not speak Bitswap 1.2"),
            PeerState::WrongBytes => write!(f, "sent wrong bytes"),
            PeerState::Silent => write!(f, "connected, does not answer"),
            PeerState::Slow => write!(f, "connected, much slower than others"),
            PeerState::Refused => write!(f, "does not have it"),
            PeerState::Connected { blocks } => write!(f, "connected, sent {blocks} other blocks"),
        }
    }
}

/// Fetches blocks from some peers. Cheap to clone; the last clone dropped cancels all that is still wanted.
#[derive(Clone)]
pub struct Session(Arc<Inner>);

struct Inner {
    engine: Arc<Engine>,
    id: u64,
}

impl Session {
    pub(crate) fn open(engine: Arc<Engine>, candidates: &[PeerId], any: bool, options: Options) -> Self {
        let id = engine.open_session(candidates, any, options);
        Session(Arc::new(Inner { engine, id }))
    }

    /// The bytes of a block, checked. Dropping the future withdraws the want.
    pub async fn fetch(&self, cid: Cid) -> Result<Bytes, Error> {
        let Inner { engine, id } = &*self.0;
        // Dropped after `block`, so that it finds the waiter gone.
        let _withdraw = Withdraw { engine, id: *id, multihash: cid.multihash() };
        let (waiter, block) = oneshot::channel();
        engine.with_session(*id, |wants, _, now| wants.want(cid, waiter, now))?;
        block.await.unwrap_or(Err(Error::Closed))
    }

    /// Asks ahead for blocks that will be fetched soon, in this order, as far as the budget goes; blocks that are asked
    /// for already may be among them.
    pub fn prefetch(&self, cids: impl IntoIterator<Item = Cid>) {
        let Inner { engine, id } = &*self.0;
        // A session that is closed says so to whoever fetches.
        let _ = engine.with_session(*id, |wants, _, now| wants.prefetch(cids, now));
    }

    /// Adds peers that may have the file.
    pub fn add_peers(&self, peers: &[PeerId]) {
        let Inner { engine, id } = &*self.0;
        let _ = engine.with_session(*id, |wants, connected, _| {
            for peer in peers {
                wants.add_candidate(*peer, connected.contains_key(peer));
            }
        });
    }

    /// What has become of each peer.
    pub fn peers(&self) -> Vec<(PeerId, PeerState)> {
        let Inner { engine, id } = &*self.0;
        engine.with_session(*id, |wants, _, _| wants.states(None)).unwrap_or_default()
    }

    /// Bytes of blocks received so far.
    pub fn received(&self) -> u64 {
        let Inner { engine, id } = &*self.0;
        engine.with_session(*id, |wants, _, _| wants.received()).unwrap_or(0)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.engine.close_session(self.id);
    }
}

struct Withdraw<'a> {
    engine: &'a Engine,
    id: u64,
    multihash: Multihash,
}

impl Drop for Withdraw<'_> {
    fn drop(&mut self) {
        let _ = self.engine.with_session(self.id, |wants, peers, _| wants.withdraw(self.multihash, peers));
    }
}

struct Peers<'a>(&'a [(PeerId, PeerState)]);

impl fmt::Display for Peers<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return write!(f, "no peer is connected");
        }
        // A session of any peers may have very many.
        let (shown, more) = self.0.split_at(self.0.len().min(8));
        for (index, (peer, state)) in shown.iter().enumerate() {
            write!(f, "{}{peer} {state}", if index == 0 { "" } else { ", " })?;
        }
        if more.is_empty() { Ok(()) } else { write!(f, ", and {} more", more.len()) }
    }
}
