//! Bitswap 1.2: peers tell each other which blocks they want, and send them.
//!
//! * [`message`] and [`frames`]: messages as they stand on the wire, and how they get there and back;
//! * [`hashing`]: every block is hashed on its way out and on its way in;
//! * [`streams`]: how libp2p's connections hand streams to the engine;
//! * [`engine`]: the connected peers, and what passes between them, the sessions and the ledgers;
//! * [`session`] and [`wants`]: what one fetch wants and who is asked for it (the client half);
//! * [`server`] and [`sender`]: the wants of a peer and how they are answered (the server half).
//!
//! Each side opens streams of its own to speak and reads the other's; wants go out on one stream and blocks on another,
//! so a want never waits behind a block.

pub(crate) mod engine;
pub(crate) mod frames;
pub(crate) mod hashing;
pub(crate) mod message;
pub(crate) mod sender;
pub(crate) mod server;
pub(crate) mod session;
pub(crate) mod streams;
pub(crate) mod wants;

use libp2p::StreamProtocol;

/// The only version spoken: with want-have, want-block and "do not have".
pub(crate) const PROTOCOL: StreamProtocol = StreamProtocol::new("/ipfs/bitswap/1.2.0");
