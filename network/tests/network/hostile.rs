//! What peers without manners can do: nothing but harm themselves.

use std::{sync::Arc, sync::atomic::Ordering, time::Duration};

use bytes::Bytes;
use crust_network::{Error, Options, PeerState};
use crust_protocol::file::{Cid, Codec, HashFunction};
use futures::{AsyncReadExt, AsyncWriteExt};
use tokio::io::AsyncWriteExt as _;

use crate::{
    stranger::{Message, Stranger, raw_block, receive, send, want, wants},
    world::{Store, bytes, connect, dialler_with, node_with, options, soon},
};

fn raw(block: &[u8]) -> Cid {
    Cid::of(Codec::Raw, HashFunction::Sha2_256, block)
}

#[tokio::test]
async fn a_stranger_is_told_what_is_there_and_gets_it() {
    let store = Arc::new(Store::default());
    let here = store.put(Codec::DagPb, bytes(1, 70_000));
    let node = node_with(&store).await;
    let mut stranger = Stranger::dial(&node).await;
    let mut out = stranger.open().await;
    // Version 0 of the CID: answers repeat it.
    let v0 = [&[0x12, 0x20][..], &here.multihash().digest].concat();
    let missing = *raw(b"missing").as_bytes();
    let mute = crate::stranger::Entry { send_dont_have: false, ..want(&[1, 2, 3], false) };
    send(&mut out, &wants(vec![mute, want(here.as_bytes(), true), want(&missing, true), want(b"no CID", false)])).await;
    let mut answers = soon(stranger.accept()).await;
    let message = soon(receive(&mut answers)).await;
    let presences: Vec<_> = message.presences.iter().map(|presence| (&presence.cid[..], presence.kind)).collect();
    assert_eq!(presences, [(&here.as_bytes()[..], 0), (&missing[..], 1), (&b"no CID"[..], 1)]);
    assert!(message.payload.is_empty());
    send(&mut out, &wants(vec![want(&v0, false)])).await;
    let message = soon(receive(&mut answers)).await;
    assert_eq!(&message.payload[0].prefix[..], [0, 0x70, 0x12, 0x20]);
    assert_eq!(message.payload[0].data, bytes(1, 70_000));
}

#[tokio::test]
async fn a_fetch_that_is_dropped_is_cancelled() {
    let client = node_with(&Arc::default()).await;
    let mut stranger = Stranger::dial(&client).await;
    let session = client.session(&[stranger.peer]);
    let cid = raw(b"never sent");
    let fetching = tokio::spawn(async move { session.fetch(cid).await });
    let mut asked = soon(stranger.accept()).await;
    let entry = soon(receive(&mut asked)).await.wantlist.unwrap().entries.remove(0);
    assert_eq!(
        (&entry.block[..], entry.cancel, entry.want_type, entry.send_dont_have),
        (&cid.as_bytes()[..], false, 0, true)
    );
    fetching.abort();
    let entry = soon(receive(&mut asked)).await.wantlist.unwrap().entries.remove(0);
    assert_eq!((&entry.block[..], entry.cancel), (&cid.as_bytes()[..], true));
}

#[tokio::test]
async fn a_block_that_comes_from_one_peer_is_cancelled_at_the_other() {
    let client = node_with(&Arc::default()).await;
    let mut silent = Stranger::dial(&client).await;
    let session = client.session_with(&[silent.peer], false, options());
    let cid = raw(&bytes(3, 100));
    let fetching = tokio::spawn({
        let session = session.clone();
        async move { session.fetch(cid).await }
    });
    let mut asked = soon(silent.accept()).await;
    assert!(!soon(receive(&mut asked)).await.wantlist.unwrap().entries[0].cancel);
    let helper = dialler_with(&Store::of([bytes(3, 100)])).await;
    connect(&helper, &client).await;
    session.add_peers(&[helper.peer_id()]);
    assert_eq!(soon(fetching).await.unwrap().unwrap(), bytes(3, 100));
    let cancelled =
        async { while !receive(&mut asked).await.wantlist.unwrap().entries.iter().any(|entry| entry.cancel) {} };
    soon(cancelled).await;
}

#[tokio::test]
async fn a_silent_peer_is_named_and_others_are_asked() {
    let client = node_with(&Arc::default()).await;
    let silent = Stranger::dial(&client).await;
    let session = client.session(&[silent.peer]);
    let cid = raw(&bytes(4, 100));
    let error = soon(session.fetch(cid)).await.unwrap_err();
    assert_eq!(error, Error::Unavailable { cid, peers: vec![(silent.peer, PeerState::Silent)] });
    let helper = dialler_with(&Store::of([bytes(4, 100)])).await;
    connect(&helper, &client).await;
    session.add_peers(&[helper.peer_id()]);
    assert_eq!(soon(session.fetch(cid)).await.unwrap(), bytes(4, 100));
}

#[tokio::test]
async fn a_peer_that_sends_wrong_bytes_is_dropped() {
    let client = node_with(&Arc::default()).await;
    let mut liar = Stranger::dial(&client).await;
    let session = client.session_with(&[liar.peer], false, Options { patience: Duration::from_secs(50), ..options() });
    let cid = raw(&bytes(5, 2_000));
    let fetching = tokio::spawn({
        let session = session.clone();
        async move { session.fetch(cid).await }
    });
    let mut asked = soon(liar.accept()).await;
    soon(receive(&mut asked)).await;
    let mut out = liar.open().await;
    send(&mut out, &raw_block(bytes(6, 2_000))).await;
    // Its request is withdrawn.
    assert!(soon(receive(&mut asked)).await.wantlist.unwrap().entries[0].cancel);
    assert_eq!(session.peers(), [(liar.peer, PeerState::WrongBytes)]);
    let honest = dialler_with(&Store::of([bytes(5, 2_000)])).await;
    connect(&honest, &client).await;
    session.add_peers(&[honest.peer_id()]);
    assert_eq!(soon(fetching).await.unwrap().unwrap(), bytes(5, 2_000));
    assert_eq!(session.peers().iter().find(|(peer, _)| *peer == liar.peer).unwrap().1, PeerState::WrongBytes);
}

#[tokio::test]
async fn a_peer_that_has_not_may_send_the_block_when_it_has() {
    let client = node_with(&Arc::default()).await;
    let mut late = Stranger::dial(&client).await;
    let session = client.session_with(&[late.peer], false, Options { refusals: 1_000, ..options() });
    let cid = raw(&bytes(5, 2_000));
    let fetching = tokio::spawn({
        let session = session.clone();
        async move { session.fetch(cid).await }
    });
    let mut asked = soon(late.accept()).await;
    soon(receive(&mut asked)).await;
    let mut out = late.open().await;
    let presences = vec![crate::stranger::Presence { cid: Bytes::copy_from_slice(cid.as_bytes()), kind: 1 }];
    send(&mut out, &Message { presences, ..Message::default() }).await;
    send(&mut out, &raw_block(bytes(5, 2_000))).await;
    assert_eq!(soon(fetching).await.unwrap().unwrap(), bytes(5, 2_000));
    // A second copy is no offence either.
    let second = tokio::spawn({
        let session = session.clone();
        async move { session.fetch(raw(&bytes(6, 100))).await }
    });
    let next = raw(&bytes(6, 100));
    let is_asked = async {
        while receive(&mut asked).await.wantlist.unwrap().entries.iter().all(|entry| entry.block != next.as_bytes()[..])
        {
        }
    };
    soon(is_asked).await;
    send(&mut out, &raw_block(bytes(5, 2_000))).await;
    send(&mut out, &raw_block(bytes(6, 100))).await;
    assert_eq!(soon(second).await.unwrap().unwrap(), bytes(6, 100));
    assert_eq!(session.peers(), [(late.peer, PeerState::Connected { blocks: 2 })]);
}

#[tokio::test]
async fn wrong_bytes_in_the_store_do_not_leave_the_node() {
    let store = Arc::new(Store::default());
    let cid = raw(&bytes(7, 1_000));
    store.corrupt(cid, bytes(8, 1_000));
    let node = node_with(&store).await;
    let mut stranger = Stranger::dial(&node).await;
    let mut out = stranger.open().await;
    send(&mut out, &wants(vec![want(cid.as_bytes(), false)])).await;
    let mut answers = soon(stranger.accept()).await;
    let message = soon(receive(&mut answers)).await;
    assert!(message.payload.is_empty());
    assert_eq!(message.presences[0].kind, 1);
}

#[tokio::test]
async fn unasked_and_malformed_blocks_are_dropped() {
    let store = Store::of([bytes(9, 500)]);
    let node = node_with(&store).await;
    let mut stranger = Stranger::dial(&node).await;
    let mut out = stranger.open().await;
    send(&mut out, &raw_block(bytes(1, 1_000))).await;
    let mut odd = raw_block(bytes(1, 10));
    odd.payload[0].prefix = Bytes::from_static(&[9, 9, 9]);
    send(&mut out, &odd).await;
    send(&mut out, &raw_block(vec![0; (2 << 20) + 1].into())).await;
    send(&mut out, &wants(vec![want(raw(&bytes(9, 500)).as_bytes(), false)])).await;
    let mut answers = soon(stranger.accept()).await;
    assert_eq!(soon(receive(&mut answers)).await.payload[0].data, bytes(9, 500));
}

#[tokio::test]
async fn random_bytes_never_stop_a_node() {
    let store = Store::of([bytes(9, 500)]);
    let node = node_with(&store).await;
    let mut stranger = Stranger::dial(&node).await;
    for seed in 0..40 {
        let mut stream = stranger.open().await;
        let _ = stream.write_all(&bytes(seed, (seed as usize * 97) % 3_000 + 1)).await;
        let _ = stream.close().await;
    }
    // A length over the limit ends the stream.
    let mut stream = stranger.open().await;
    stream.write_all(&[0xff, 0xff, 0xff, 0x7f]).await.unwrap();
    stream.flush().await.unwrap();
    let mut rest = Vec::new();
    let _ = soon(stream.read_to_end(&mut rest)).await;
    assert!(rest.is_empty());
    // Half a message and silence: the others go on.
    let mut half = stranger.open().await;
    half.write_all(&[0x80, 0x80, 0x40, 1, 2, 3]).await.unwrap();
    half.flush().await.unwrap();
    // The port itself.
    let port = node.listen_addresses()[0].iter().find_map(|part| match part {
        libp2p::multiaddr::Protocol::Tcp(port) => Some(port),
        _ => None,
    });
    for seed in 0..40 {
        let mut socket = tokio::net::TcpStream::connect(("127.0.0.1", port.unwrap())).await.unwrap();
        let _ = socket.write_all(&bytes(seed, 300)).await;
    }
    let client = dialler_with(&Arc::default()).await;
    connect(&client, &node).await;
    assert_eq!(soon(client.session_any().fetch(raw(&bytes(9, 500)))).await.unwrap(), bytes(9, 500));
    assert!(node.is_connected(&stranger.peer));
}

#[tokio::test]
async fn who_wants_much_and_reads_nothing_costs_little() {
    let store = Arc::new(Store::default());
    let large = store.put(Codec::Raw, bytes(1, 1 << 20));
    let small = store.put(Codec::Raw, bytes(2, 1_000));
    // Blocks that are there, and ten thousand that are not.
    let many: Vec<_> = (0..64u64).map(|seed| store.put(Codec::Raw, bytes(seed + 10, 1 << 20))).collect();
    let node = node_with(&store).await;
    let mut greedy = Stranger::dial(&node).await;
    let mut out = greedy.open().await;
    let mut entries: Vec<_> = many.iter().chain([&large]).map(|cid| want(cid.as_bytes(), false)).collect();
    entries.extend((0..10_000u32).map(|name| want(raw(&name.to_le_bytes()).as_bytes(), false)));
    for entries in entries.chunks(2_000) {
        send(&mut out, &wants(entries.to_vec())).await;
    }
    // The node has opened its stream and nobody reads from it.
    let unread = soon(greedy.accept()).await;
    let client = dialler_with(&Arc::default()).await;
    connect(&client, &node).await;
    assert_eq!(soon(client.session_any().fetch(small)).await.unwrap(), bytes(2, 1_000));
    let read = store.bytes_read.load(Ordering::SeqCst);
    assert!(read <= 4 << 20, "{read} bytes were read for a peer that takes none");
    assert!(node.waiting(&greedy.peer).unwrap() <= 1_024);
    // It loses what it did not take, and is answered again when it behaves.
    let given_up = async {
        while node.waiting(&greedy.peer) != Some(0) {
            tokio::task::yield_now().await;
        }
    };
    soon(given_up).await;
    drop(unread);
    send(&mut out, &wants(vec![want(small.as_bytes(), false)])).await;
    let mut answers = soon(greedy.accept()).await;
    assert_eq!(soon(receive(&mut answers)).await, raw_block(bytes(2, 1_000)));
}

#[tokio::test]
async fn a_flood_of_streams_and_empty_messages_is_borne() {
    let store = Store::of([bytes(9, 500)]);
    let node = node_with(&store).await;
    let mut stranger = Stranger::dial(&node).await;
    let mut streams = Vec::new();
    for _ in 0..40 {
        streams.push(stranger.open().await);
    }
    for stream in &mut streams {
        let _ = stream.write_all(&[0; 64]).await;
        let _ = stream.flush().await;
    }
    drop(streams);
    let mut out = loop {
        // Streams beyond the bound are closed; one that is not carries on.
        let mut out = stranger.open().await;
        if out.write_all(&[0]).await.is_ok() && out.flush().await.is_ok() {
            break out;
        }
    };
    send(&mut out, &Message::default()).await;
    let client = dialler_with(&Arc::default()).await;
    connect(&client, &node).await;
    assert_eq!(soon(client.session_any().fetch(raw(&bytes(9, 500)))).await.unwrap(), bytes(9, 500));
}
