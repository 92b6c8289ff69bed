//! What honest peers exchange.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use crust_network::{Config, Error, Event, Network, NoBlocks, Options, PeerState, fetch, peer_of};
use crust_protocol::{
    file::{Cid, Codec, HashFunction},
    walk::{self, Limits},
};
use futures::{StreamExt, TryStreamExt};

use crate::world::{Store, bytes, config, connect, dialler_with, node, node_with, options, secret, soon, tree, walk};

#[tokio::test]
async fn blocks_go_both_ways_over_one_connection() {
    let (left, right) = (Store::of([bytes(1, 300_000)]), Store::of([bytes(2, 10)]));
    let cids = [
        Cid::of(Codec::Raw, HashFunction::Sha2_256, &bytes(1, 300_000)),
        Cid::of(Codec::Raw, HashFunction::Sha2_256, &bytes(2, 10)),
    ];
    let (a, b) = (node_with(&left).await, node_with(&right).await);
    connect(&a, &b).await;
    assert_eq!(a.connected(), [b.peer_id()]);
    let (to_b, to_a) = (b.session_any(), a.session(&[b.peer_id()]));
    let (one, two) = soon(async { tokio::join!(to_b.fetch(cids[0]), to_a.fetch(cids[1])) }).await;
    assert_eq!((one.unwrap(), two.unwrap()), (bytes(1, 300_000), bytes(2, 10)));
}

#[tokio::test]
async fn lesson_20_an_uploader_behind_a_nat_serves_over_its_own_connection() {
    let store = Arc::new(Store::default());
    let root = tree(&store, 120);
    let node = node_with(&Arc::default()).await;
    let uploader = dialler_with(&store).await;
    assert!(uploader.listen_addresses().is_empty());
    connect(&uploader, &node).await;
    // The node knows neither the uploader's name nor an address of it.
    let fetched: Vec<_> = soon(fetch::stream(node.session_any(), root, Limits::PROTOCOL).try_collect()).await.unwrap();
    assert_eq!(fetched, walk(&store, root));
}

#[tokio::test]
async fn a_file_streams_in_the_order_of_its_walk_from_all_its_replicas() {
    let stores = [Arc::new(Store::default()), Arc::new(Store::default())];
    let root = tree(&stores[0], 400);
    assert_eq!(tree(&stores[1], 400), root);
    let replicas = [node_with(&stores[0]).await, node_with(&stores[1]).await];
    let client = dialler_with(&Arc::default()).await;
    for replica in &replicas {
        connect(&client, replica).await;
    }
    // Nobody steps in for a peer that is slow because this machine is.
    let patient = Duration::from_secs(50);
    let options = Options { hedge: patient, peer_timeout: patient, patience: patient, ..options() };
    let session = client.session_with(&replicas.each_ref().map(Network::peer_id), false, options);
    let fetched: Vec<_> = soon(fetch::stream(session.clone(), root, Limits::PROTOCOL).try_collect()).await.unwrap();
    let expected = walk(&stores[0], root);
    assert_eq!(fetched, expected);
    let reads = stores.each_ref().map(|store| store.reads());
    assert!(reads.iter().all(|reads| *reads > 20), "both were asked: {reads:?}");
    assert!(reads[0] + reads[1] < expected.len() + 20, "hardly anything came twice: {reads:?}");
    let size: usize = expected.iter().map(|(_, block)| block.len()).sum();
    assert_eq!(session.received(), size as u64);
}

#[tokio::test]
async fn a_reader_that_stops_is_not_drowned() {
    let store = Arc::new(Store::default());
    let leaves: Vec<_> = (0..64).map(|leaf| store.put(Codec::Raw, bytes(leaf, 1 << 20))).collect();
    let root = store.put(Codec::DagPb, node(&leaves));
    let (server, client) = (node_with(&store).await, dialler_with(&Arc::default()).await);
    connect(&client, &server).await;
    let options = Options { budget: 8 << 20, ..options() };
    let session = client.session_with(&[server.peer_id()], false, options);
    let mut stream = std::pin::pin!(fetch::stream(session.clone(), root, Limits::PROTOCOL));
    for _ in 0..2 {
        soon(stream.next()).await.unwrap().unwrap();
    }
    // Reads ahead, and then no further however long the reader stands still.
    let ahead = async {
        while session.received() < 9 << 20 {
            tokio::task::yield_now().await;
        }
    };
    soon(ahead).await;
    for marker in 0..200 {
        let marker = store.put(Codec::Raw, bytes(1_000 + marker, 10_000));
        soon(client.session(&[server.peer_id()]).fetch(marker)).await.unwrap();
    }
    assert!(session.received() <= 11 << 20, "read ahead: {} bytes", session.received());
    let rest: Vec<_> = soon(stream.try_collect()).await.unwrap();
    assert_eq!(rest.len(), 63);
}

#[tokio::test]
async fn a_missing_block_is_an_error_that_names_every_peer() {
    let present = Store::of([bytes(1, 100)]);
    let (has_not, client) = (node_with(&present).await, dialler_with(&Arc::default()).await);
    let absent = peer_of(secret()).unwrap();
    connect(&client, &has_not).await;
    client.add_address(absent, vec!["/ip4/127.0.0.1/tcp/1".parse().unwrap()]);
    let session = client.session(&[has_not.peer_id(), absent]);
    let missing = Cid::of(Codec::Raw, HashFunction::Blake3, b"missing");
    let error = soon(session.fetch(missing)).await.unwrap_err();
    let Error::Unavailable { cid, peers } = &error else { panic!("{error}") };
    assert_eq!(*cid, missing);
    let state = |peer| &peers.iter().find(|(other, _)| *other == peer).unwrap().1;
    assert_eq!(state(has_not.peer_id()), &PeerState::Refused);
    assert!(matches!(state(absent), PeerState::Unreachable(_)), "{error}");
    assert!(error.to_string().contains("does not have it") && error.to_string().contains("unreachable"), "{error}");
    // The session goes on with what there is.
    let cid = Cid::of(Codec::Raw, HashFunction::Sha2_256, &bytes(1, 100));
    assert_eq!(soon(session.fetch(cid)).await.unwrap(), bytes(1, 100));
}

#[tokio::test]
async fn patience_ends_when_nobody_is_there() {
    let client = dialler_with(&Arc::default()).await;
    let missing = Cid::of(Codec::Raw, HashFunction::Sha2_256, b"missing");
    let session = client.session_with(&[], true, Options { patience: Duration::from_millis(300), ..options() });
    let error = soon(session.fetch(missing)).await.unwrap_err();
    assert_eq!(error, Error::Unavailable { cid: missing, peers: Vec::new() });
    assert!(error.to_string().contains("no peer is connected"), "{error}");
}

#[tokio::test]
async fn a_graph_that_is_none_is_an_error() {
    let store = Arc::new(Store::default());
    let wrong = store.put(Codec::DagPb, Bytes::from_static(b"\xff\xff"));
    let root = store.put(Codec::DagPb, node(&[wrong]));
    let (server, client) = (node_with(&store).await, dialler_with(&Arc::default()).await);
    connect(&client, &server).await;
    let result: Result<Vec<_>, _> =
        soon(fetch::stream(client.session_any(), root, Limits::PROTOCOL).try_collect()).await;
    assert!(matches!(result, Err(fetch::Error::Walk(walk::Error::File(_)))), "{result:?}");
}

#[tokio::test]
async fn who_connects_later_is_asked_too() {
    let store = Store::of([bytes(1, 5_000)]);
    let cid = Cid::of(Codec::Raw, HashFunction::Sha2_256, &bytes(1, 5_000));
    let (a, b, empty) =
        (node_with(&Arc::default()).await, dialler_with(&store).await, dialler_with(&Arc::default()).await);
    connect(&empty, &a).await;
    let session = a.session_with(&[], true, Options { patience: Duration::from_secs(50), ..options() });
    let fetching = tokio::spawn(async move { session.fetch(cid).await });
    connect(&b, &a).await;
    assert_eq!(soon(fetching).await.unwrap().unwrap(), bytes(1, 5_000));
}

#[tokio::test]
async fn a_node_that_restarts_is_dialled_again() {
    let store = Arc::new(Store::default());
    let leaves: Vec<_> = (0..40).map(|leaf| store.put(Codec::Raw, bytes(leaf, 200_000))).collect();
    let root = store.put(Codec::DagPb, node(&leaves));
    let settings = config();
    let server = Network::start(settings.clone(), store.clone()).await.unwrap();
    let address = server.listen_addresses();
    let client = dialler_with(&Arc::default()).await;
    let mut events = client.events();
    let _kept = client.keep(server.peer_id(), address.clone());
    let options = Options { budget: 2 << 20, patience: Duration::from_secs(40), ..options() };
    let session = client.session_with(&[server.peer_id()], false, options);
    let mut stream = std::pin::pin!(fetch::stream(session, root, Limits::PROTOCOL));
    for _ in 0..5 {
        soon(stream.next()).await.unwrap().unwrap();
    }
    server.shutdown().await;
    while soon(events.recv()).await.unwrap() != Event::Disconnected(server.peer_id()) {}
    let again = Network::start(Config { listen: address, ..settings }, store.clone()).await.unwrap();
    assert_eq!(again.peer_id(), server.peer_id());
    let rest: Vec<_> = soon(stream.try_collect()).await.unwrap();
    assert_eq!(rest.len(), 36);
}

#[tokio::test]
async fn a_port_in_use_and_a_dead_address_are_errors_that_say_so() {
    let first = node_with(&Arc::default()).await;
    let taken = Config { listen: first.listen_addresses(), ..Config::new(secret()) };
    let error = Network::start(taken, Arc::new(NoBlocks)).await.err().unwrap().to_string();
    assert!(error.contains("cannot listen on /ip4/127.0.0.1/tcp/"), "{error}");
    let nobody = peer_of(secret()).unwrap();
    let error = soon(first.dial(nobody, Vec::new())).await.unwrap_err().to_string();
    assert!(error.contains("no address of it is known"), "{error}");
    let error = soon(first.dial(nobody, vec!["/ip4/127.0.0.1/tcp/1".parse().unwrap()])).await.unwrap_err().to_string();
    assert!(error.contains("refused"), "{error}");
    let other = node_with(&Arc::default()).await;
    let error = soon(first.dial(nobody, other.listen_addresses())).await.unwrap_err().to_string();
    assert!(error.contains(&other.peer_id().to_string()), "{error}");
}

#[tokio::test]
async fn a_network_that_is_shut_down_answers_at_once() {
    let client = dialler_with(&Arc::default()).await;
    let session = client.session_with(&[], true, Options { patience: Duration::from_secs(600), ..options() });
    let missing = Cid::of(Codec::Raw, HashFunction::Sha2_256, b"missing");
    let waiting = tokio::spawn({
        let session = session.clone();
        async move { session.fetch(missing).await }
    });
    client.shutdown().await;
    assert_eq!(soon(waiting).await.unwrap(), Err(Error::Closed));
    assert_eq!(soon(session.fetch(missing)).await, Err(Error::Closed));
    assert!(soon(client.dial(peer_of(secret()).unwrap(), Vec::new())).await.is_err());
}

#[tokio::test]
async fn quic_carries_blocks_too() {
    let store = Store::of([bytes(1, 1 << 20)]);
    let cid = Cid::of(Codec::Raw, HashFunction::Sha2_256, &bytes(1, 1 << 20));
    let quic = Config { listen: vec!["/ip4/127.0.0.1/udp/0/quic-v1".parse().unwrap()], ..config() };
    let server = Network::start(quic, store).await.unwrap();
    let client = dialler_with(&Arc::default()).await;
    connect(&client, &server).await;
    assert_eq!(soon(client.session_any().fetch(cid)).await.unwrap(), bytes(1, 1 << 20));
}
