//! Providers found through the DHT.

use std::sync::Arc;

use crust_network::{Config, Network};
use crust_protocol::file::{Cid, Codec, HashFunction};

use crate::world::{Store, bytes, config, node_with, soon};

async fn member(store: &Arc<Store>, through: &[&Network]) -> Network {
    let bootstrap = through.iter().map(|node| (node.peer_id(), node.listen_addresses())).collect();
    Network::start(Config { dht_server: true, bootstrap, ..config() }, store.clone()).await.unwrap()
}

#[tokio::test]
async fn a_provider_is_found_through_a_third_node() {
    let store = Store::of([bytes(1, 40_000)]);
    let cid = Cid::of(Codec::Raw, HashFunction::Sha2_256, &bytes(1, 40_000));
    // The provider announces before it knows anybody, and again when somebody has joined.
    let provider = member(&store, &[]).await;
    provider.provide(cid.multihash());
    let middle = member(&Arc::default(), &[&provider]).await;
    let seeker = member(&Arc::default(), &[&middle]).await;
    let providers = soon(async {
        loop {
            let found = seeker.find_providers(cid.multihash()).await;
            if found.iter().any(|(_, addresses)| !addresses.is_empty()) {
                break found;
            }
        }
    })
    .await;
    let (peer, addresses) = &providers[0];
    assert_eq!(*peer, provider.peer_id());
    assert!(addresses.contains(&provider.listen_addresses()[0]), "{addresses:?}");
    // What was found is enough to fetch.
    assert_eq!(soon(seeker.session(&[*peer]).fetch(cid)).await.unwrap(), bytes(1, 40_000));
}

#[tokio::test]
async fn a_search_waits_for_the_first_peer_that_can_be_asked() {
    let cid = Cid::of(Codec::Raw, HashFunction::Sha2_256, b"here");
    let provider = member(&Arc::default(), &[]).await;
    provider.provide(cid.multihash());
    let seeker = member(&Arc::default(), &[&provider]).await;
    let found = soon(seeker.find_providers(cid.multihash())).await;
    assert_eq!(found.iter().map(|(peer, _)| *peer).collect::<Vec<_>>(), [provider.peer_id()]);
}

#[tokio::test]
async fn nobody_provides_what_was_never_announced_or_is_no_more() {
    let cid = Cid::of(Codec::Raw, HashFunction::Sha2_256, b"nothing");
    let alone = node_with(&Arc::default()).await;
    assert!(soon(alone.find_providers(cid.multihash())).await.is_empty());
    let provider = member(&Arc::default(), &[]).await;
    provider.provide(cid.multihash());
    provider.unprovide(cid.multihash());
    let seeker = member(&Arc::default(), &[&provider]).await;
    let missing = seeker.find_providers(cid.multihash());
    assert!(soon(missing).await.is_empty());
}
