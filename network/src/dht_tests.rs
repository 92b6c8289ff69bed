//! What strangers can make the tables keep.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use crust_protocol::file::HashFunction;
use libp2p::kad::ProviderRecord;

use super::*;

struct Both(Table, Table);

impl Both {
    fn new() -> Self {
        let own = PeerId::random();
        Both(table(Scope::Public, own, true), table(Scope::Local, own, true))
    }

    fn tables(&mut self) -> Tables<'_> {
        Tables { public: &mut self.0, local: &mut self.1 }
    }
}

fn announced(key: &[u8], provider: PeerId) -> kad::Event {
    let record = ProviderRecord { key: RecordKey::new(&key), provider, expires: None, addresses: Vec::new() };
    kad::Event::InboundRequest { request: InboundRequest::AddProvider { record: Some(record) } }
}

/// One peer that announces without end pushes out what others announced, and nothing of ours.
#[test]
fn records_of_others_leave_room_for_our_own() {
    let (mut both, mut dht, peer) = (Both::new(), Dht::default(), PeerId::random());
    let mut tables = both.tables();
    let key = |number: usize| (number as u32).to_le_bytes();
    dht.on_event(&mut tables, Scope::Local, announced(&[0; MAX_KEY + 1], peer));
    assert!(tables.local.store_mut().providers(&RecordKey::new(&[0; MAX_KEY + 1])).is_empty());
    for number in 0..MAX_FOREIGN + 10 {
        dht.on_event(&mut tables, Scope::Local, announced(&key(number), peer));
        // Renewed all the time, it is never the oldest.
        dht.on_event(&mut tables, Scope::Local, announced(b"kept", peer));
    }
    let mut there = |key: &[u8]| !tables.local.store_mut().providers(&RecordKey::new(&key)).is_empty();
    assert!(there(b"kept") && there(&key(MAX_FOREIGN + 9)) && there(&key(11)) && !there(&key(10)));
    let own = Multihash { function: HashFunction::Sha2_256, digest: [7; 32] };
    dht.provide(&mut tables, own);
    assert_eq!(tables.local.store_mut().provided().count(), 1);
}

/// A peer that says where it is again and again, and somewhere else each time, is known at its last addresses.
#[test]
fn a_peers_last_word_on_its_addresses_counts() {
    let (mut both, peer) = (Both::new(), PeerId::random());
    let mut tables = both.tables();
    for port in 1..500 {
        let said: Vec<Multiaddr> =
            [port, port + 1].map(|port| format!("/ip4/127.0.0.1/tcp/{port}").parse().unwrap()).into();
        set_addresses(&mut tables, &[Scope::Local, Scope::Public], &peer, &said);
        let said: Vec<_> = said.into_iter().map(|address| address.with_p2p(peer).unwrap()).collect();
        let mut known = known_addresses(tables.local, &peer);
        known.sort();
        assert_eq!(known, {
            let mut said = said;
            said.sort();
            said
        });
    }
    assert!(known_addresses(tables.public, &peer).is_empty(), "a local address is of no use to the world");
}
