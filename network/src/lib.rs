//! How blocks move: peers that find one another over libp2p, exchange blocks over Bitswap and tell the DHT which files
//! they provide. The one crate that knows libp2p; it knows nothing of the chain, of orders and of disks.
//!
//! A program starts a [`Network`] with the [`Blocks`] that it serves, opens a [`Session`] with the peers that may have
//! a file, and reads the file's blocks in the order of its walk ([`fetch::stream`]). No block is handed on, in either
//! direction, before its bytes were checked against its CID, and every queue has a bound:
//!
//! | What | Bound |
//! |---|---|
//! | a session's blocks in flight and not yet taken | [`Options::budget`], over by at most half |
//! | bodies of incoming messages over 16 KiB, one a peer at a time | 32 MiB from peers that were asked, 16 MiB from others |
//! | outgoing blocks read and not yet written, all peers | 48 MiB |
//! | wants of a peer not yet answered | 1,024 |
//! | a peer's incoming streams for blocks | 16 |
//! | streams of a connection, those whose protocol is not settled yet, connections from outside | 128, 32, 512 |
//!
//! A peer that is slow costs a fetch little (others step in, and it is asked last), and while memory for messages, in
//! either direction, is short, one that trickles loses its stream.

mod bitswap;
mod dht;
pub mod fetch;
mod node;
mod swarm;

use bytes::Bytes;
use crust_protocol::file::Cid;
use futures::future::BoxFuture;

pub use bitswap::session::{Error, Options, PeerState, Session};
pub use libp2p::{Multiaddr, PeerId};
pub use node::{Config, DialFailed, Event, Kept, Network, StartError, peer_of};

/// The blocks that a node serves. The network checks every block before it sends it, so nobody else need do so.
pub trait Blocks: Send + Sync + 'static {
    /// The length of a block, if it is here.
    fn size(&self, cid: Cid) -> BoxFuture<'_, Option<u32>>;

    /// The bytes of a block, if it is here.
    fn get(&self, cid: Cid) -> BoxFuture<'_, Option<Bytes>>;

    /// The bytes that were given for this block are not those that it names; they were not sent.
    fn wrong(&self, cid: Cid) {
        tracing::warn!(%cid, "a block that was to be served is not what its CID names; it was not sent");
    }
}

/// Serves nothing.
pub struct NoBlocks;

impl Blocks for NoBlocks {
    fn size(&self, _: Cid) -> BoxFuture<'_, Option<u32>> {
        Box::pin(std::future::ready(None))
    }

    fn get(&self, _: Cid) -> BoxFuture<'_, Option<Bytes>> {
        Box::pin(std::future::ready(None))
    }
}
