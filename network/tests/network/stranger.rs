//! A peer that is not ours: plain libp2p, messages written by another protobuf implementation, and no manners unless a
//! test gives it some.

use std::time::Duration;

use bytes::Bytes;
use crust_network::{Multiaddr, Network, PeerId};
use futures::{AsyncReadExt, AsyncWriteExt, StreamExt};
use libp2p::{Stream, StreamProtocol, SwarmBuilder, noise, swarm::SwarmEvent, tcp, yamux};
use prost::Message as _;

pub use crate::wire::{Block, Entry, Message, Presence, Wantlist};

pub const BITSWAP: StreamProtocol = StreamProtocol::new("/ipfs/bitswap/1.2.0");

pub fn want(cid: &[u8], have: bool) -> Entry {
    Entry {
        block: Bytes::copy_from_slice(cid),
        priority: 1,
        cancel: false,
        want_type: have.into(),
        send_dont_have: true,
    }
}

pub fn wants(entries: Vec<Entry>) -> Message {
    Message { wantlist: Some(Wantlist { entries, full: false }), ..Message::default() }
}

pub fn raw_block(data: Bytes) -> Message {
    let payload = vec![Block { prefix: Bytes::from_static(&[1, 0x55, 0x12, 0x20]), data }];
    Message { payload, ..Message::default() }
}

/// A connected stranger.
pub struct Stranger {
    pub peer: PeerId,
    pub node: PeerId,
    control: libp2p_stream::Control,
    incoming: libp2p_stream::IncomingStreams,
}

impl Stranger {
    pub async fn dial(node: &Network) -> Self {
        let mut swarm = SwarmBuilder::with_new_identity()
            .with_tokio()
            .with_tcp(tcp::Config::default(), noise::Config::new, yamux::Config::default)
            .unwrap()
            .with_behaviour(|_| libp2p_stream::Behaviour::new())
            .unwrap()
            .with_swarm_config(|config| config.with_idle_connection_timeout(Duration::from_secs(600)))
            .build();
        let peer = *swarm.local_peer_id();
        let mut control = swarm.behaviour().new_control();
        let incoming = control.accept(BITSWAP).unwrap();
        let address: Multiaddr = node.listen_addresses()[0].clone();
        swarm.dial(address.with_p2p(node.peer_id()).unwrap()).unwrap();
        while !matches!(swarm.select_next_some().await, SwarmEvent::ConnectionEstablished { .. }) {}
        tokio::spawn(async move { while swarm.next().await.is_some() {} });
        Stranger { peer, node: node.peer_id(), control, incoming }
    }

    /// A stream of our own towards the node.
    pub async fn open(&mut self) -> Stream {
        self.control.open_stream(self.node, BITSWAP).await.unwrap()
    }

    /// The next stream that the node opens.
    pub async fn accept(&mut self) -> Stream {
        self.incoming.next().await.unwrap().1
    }
}

pub async fn send(stream: &mut Stream, message: &Message) {
    stream.write_all(&message.encode_length_delimited_to_vec()).await.unwrap();
    stream.flush().await.unwrap();
}

pub async fn receive(stream: &mut Stream) -> Message {
    let mut length = 0usize;
    for shift in (0..28).step_by(7) {
        let mut byte = [0];
        stream.read_exact(&mut byte).await.unwrap();
        length |= usize::from(byte[0] & 0x7f) << shift;
        if byte[0] & 0x80 == 0 {
            break;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    Message::decode(&body[..]).unwrap()
}
