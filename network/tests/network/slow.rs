//! Peers that are slow on purpose: they cost a fetch little, and hold nothing that others need.

use std::{collections::HashSet, sync::Arc, time::Duration};

use bytes::Bytes;
use crust_network::{Config, Error, Network, Options, PeerId, PeerState, fetch};
use crust_protocol::{
    file::{Cid, Codec, HashFunction},
    walk::Limits,
};
use futures::{AsyncWriteExt, TryStreamExt};
use tokio::sync::mpsc;

use crate::{
    stranger::{Stranger, receive, send, want, wants},
    world::{Store, bytes, config, connect, dialler_with, node, node_with, options, soon},
};

/// Begins to answer whatever it is asked, a byte at a time, and never ends. Says what it is asked for.
async fn trickler(client: &Network) -> (PeerId, mpsc::UnboundedReceiver<Bytes>) {
    let mut stranger = Stranger::dial(client).await;
    let peer = stranger.peer;
    let (sender, asked) = mpsc::unbounded_channel();
    let mut out = stranger.open().await;
    // A message of 1 MiB is announced.
    out.write_all(&[0x80, 0x80, 0x40]).await.unwrap();
    tokio::spawn(async move {
        let mut tick = tokio::time::interval(Duration::from_millis(50));
        loop {
            tick.tick().await;
            if out.write_all(&[0]).await.is_err() || out.flush().await.is_err() {
                return;
            }
        }
    });
    tokio::spawn(async move {
        let mut stream = stranger.accept().await;
        loop {
            for entry in receive(&mut stream).await.wantlist.unwrap_or_default().entries {
                if !entry.cancel && entry.want_type == 0 {
                    let _ = sender.send(entry.block);
                }
            }
        }
    });
    (peer, asked)
}

#[tokio::test]
async fn a_peer_that_trickles_is_asked_for_little() {
    let store = Arc::new(Store::default());
    let leaves: Vec<_> = (0..300).map(|leaf| store.put(Codec::Raw, bytes(leaf, 64 << 10))).collect();
    let root = store.put(Codec::DagPb, node(&leaves));
    let client = node_with(&Arc::default()).await;
    let (slow, mut asked) = trickler(&client).await;
    let honest = dialler_with(&store).await;
    connect(&honest, &client).await;
    // Sixteen leaves ahead of the reader, so that the slow peer could hold it up again and again.
    let options = Options { budget: 1 << 20, patience: Duration::from_secs(50), ..options() };
    let session = client.session_with(&[slow, honest.peer_id()], false, options);
    let fetched: Vec<_> = soon(fetch::stream(session.clone(), root, Limits::PROTOCOL).try_collect()).await.unwrap();
    assert_eq!(fetched.len(), 301);
    let mut wanted = HashSet::new();
    while let Ok(block) = asked.try_recv() {
        wanted.insert(block);
    }
    assert!(!wanted.is_empty() && wanted.len() <= 8, "the slow peer was asked for {} blocks", wanted.len());
    // It is put last, or has just got its next chance.
    let states = session.peers();
    let state = &states.iter().find(|(peer, _)| *peer == slow).unwrap().1;
    assert!(matches!(state, PeerState::Slow | PeerState::Connected { blocks: 0 }), "{state:?}");
}

#[tokio::test]
async fn a_fetch_from_a_peer_that_trickles_ends() {
    let client = node_with(&Arc::default()).await;
    let (slow, _asked) = trickler(&client).await;
    let options = Options { patience: Duration::from_millis(400), ..options() };
    let session = client.session_with(&[slow], false, options);
    let missing = Cid::of(Codec::Raw, HashFunction::Sha2_256, b"missing");
    let error = soon(session.fetch(missing)).await.unwrap_err();
    assert!(matches!(error, Error::Unavailable { .. }), "{error}");
}

#[tokio::test]
async fn nobody_sits_on_the_memory_for_messages() {
    let client = node_with(&Arc::default()).await;
    let block = bytes(1, 1 << 20);
    let cid = Cid::of(Codec::Raw, HashFunction::Sha2_256, &block);
    let session = client.session_with(&[], true, Options { patience: Duration::from_secs(50), ..options() });
    let fetching = tokio::spawn(async move { session.fetch(cid).await });
    // Each is asked for the block and announces a message of 4 MiB that never comes.
    let mut sitting = Vec::new();
    for _ in 0..8 {
        let mut stranger = Stranger::dial(&client).await;
        let mut asked = soon(stranger.accept()).await;
        soon(receive(&mut asked)).await;
        let mut out = stranger.open().await;
        out.write_all(&[0x80, 0x80, 0x80, 0x02]).await.unwrap();
        out.write_all(&[0; 40_000]).await.unwrap();
        out.flush().await.unwrap();
        sitting.push((stranger, asked, out));
    }
    let honest = dialler_with(&Store::of([block.clone()])).await;
    connect(&honest, &client).await;
    assert_eq!(soon(fetching).await.unwrap().unwrap(), block);
}

#[tokio::test]
async fn nobody_sits_on_the_memory_for_answers() {
    let block = bytes(1, 1 << 20);
    let cid = Cid::of(Codec::Raw, HashFunction::Sha2_256, &block);
    let patient = Config { write_timeout: Duration::from_secs(600), ..config() };
    let node = Network::start(patient, Store::of([block.clone()])).await.unwrap();
    // Each wants the block and reads nothing of it: together they hold all the memory that there is for answers.
    let mut sitting = Vec::new();
    for _ in 0..48 {
        let mut stranger = Stranger::dial(&node).await;
        let mut out = stranger.open().await;
        send(&mut out, &wants(vec![want(cid.as_bytes(), false)])).await;
        let unread = soon(stranger.accept()).await;
        sitting.push((stranger, out, unread));
    }
    let honest = dialler_with(&Arc::default()).await;
    connect(&honest, &node).await;
    let options = Options { patience: Duration::from_secs(50), ..options() };
    let session = honest.session_with(&[node.peer_id()], false, options);
    assert_eq!(soon(session.fetch(cid)).await.unwrap(), block);
}
