//! What a session remembers of its peers.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use crust_protocol::file::HashFunction;
use tokio_util::sync::CancellationToken;

use super::*;

#[test]
fn a_peer_that_says_have_for_ever_is_remembered_once() {
    let (peer, now) = (PeerId::random(), Instant::now());
    let mut peers = Peers::from([(peer, Peer::new(CancellationToken::new()))]);
    let mut wants = Wants::new(0, &[peer], false, Options::default());
    wants.join(peer);
    let cid = Cid::of(Codec::Raw, HashFunction::Sha2_256, b"block");
    let (waiter, _block) = oneshot::channel();
    wants.want(cid, waiter, now);
    wants.schedule(&mut peers, now);
    for _ in 0..1_000 {
        wants.presence(peer, cid.multihash(), true);
    }
    assert_eq!(wants.wants[&cid.multihash()].have, [peer]);
    // What it says last is what counts.
    wants.presence(peer, cid.multihash(), false);
    let want = &wants.wants[&cid.multihash()];
    assert!(want.have.is_empty() && want.refused == [peer]);
}
