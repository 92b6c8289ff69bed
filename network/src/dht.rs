//! Who provides which file: provider records in the Kademlia DHT, keyed by multihash.
//!
//! Two tables, as everywhere in IPFS: the public one takes public addresses only, the local one (loopback and private
//! networks) the others. What is provided is announced in both, again twice a day, and again when the table of a small
//! network gets a new peer, which is then among the nearest to every key.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque},
    num::NonZeroUsize,
    time::{Duration, Instant},
};

use crust_protocol::file::Multihash;
use libp2p::{
    Multiaddr, PeerId, StreamProtocol,
    core::Endpoint,
    kad::{
        self, AddProviderError, AddProviderOk, GetProvidersOk, InboundRequest, Mode, QueryId, QueryResult, RecordKey,
        store::{MemoryStore, MemoryStoreConfig, RecordStore},
    },
    multiaddr::Protocol,
    swarm::{ConnectionId, NetworkBehaviour},
};
use tokio::sync::oneshot;

const PUBLIC: StreamProtocol = StreamProtocol::new("/ipfs/kad/1.0.0");
const LOCAL: StreamProtocol = StreamProtocol::new("/ipfs/lan/kad/1.0.0");

/// Provider records live a day; they are announced again in time.
const ANNOUNCE_AGAIN: Duration = Duration::from_secs(12 * 3600);
/// A query ends after this time.
const QUERY_TIME: Duration = Duration::from_secs(20);
/// A search waits so long for the first peer.
const FIRST_PEER: Duration = Duration::from_secs(5);
/// Announcements under way at a time.
const MAX_ANNOUNCING: usize = 16;
/// Records of our own that are kept, and of others: these never take the place of those.
const MAX_OWN: usize = 1 << 16;
const MAX_FOREIGN: usize = 1 << 15;
/// Addresses kept of another's record, and their length; the longest key.
const MAX_ADDRESSES: usize = 4;
const MAX_ADDRESS: usize = 128;
const MAX_KEY: usize = 64;
/// Below this many peers every new one is told all.
const SMALL_NETWORK: usize = 20;

/// Peers with the addresses under which they can be reached.
pub(crate) type Providers = Vec<(PeerId, Vec<Multiaddr>)>;

/// One table of the DHT.
pub(crate) type Table = kad::Behaviour<MemoryStore>;

/// Which table.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub(crate) enum Scope {
    Public,
    Local,
}

/// Both tables, as the swarm holds them.
pub(crate) struct Tables<'a> {
    pub public: &'a mut Table,
    pub local: &'a mut Table,
}

impl Tables<'_> {
    fn of(&mut self, scope: Scope) -> &mut Table {
        match scope {
            Scope::Public => self.public,
            Scope::Local => self.local,
        }
    }
}

/// A table of one scope.
pub(crate) fn table(scope: Scope, local: PeerId, server: bool) -> Table {
    let keys = MAX_OWN.saturating_add(MAX_FOREIGN);
    let store = MemoryStoreConfig { max_provided_keys: keys, max_records: 1_024, ..Default::default() };
    let mut config = kad::Config::new(match scope {
        Scope::Public => PUBLIC,
        Scope::Local => LOCAL,
    });
    config
        .set_query_timeout(QUERY_TIME)
        .set_provider_publication_interval(None)
        .set_publication_interval(None)
        .set_replication_interval(None)
        .set_record_filtering(kad::StoreInserts::FilterBoth)
        .set_kbucket_inserts(kad::BucketInserts::Manual);
    if let Some(parallelism) = NonZeroUsize::new(8) {
        config.set_parallelism(parallelism);
    }
    let mut table = Table::with_config(local, MemoryStore::with_config(local, store), config);
    table.set_mode(Some(if server { Mode::Server } else { Mode::Client }));
    table
}

/// Gives the tables a peer's addresses, each to the one for which it is meant. Those that the peer named before and no
/// more go: it may name others as often as it likes.
pub(crate) fn set_addresses(tables: &mut Tables<'_>, scopes: &[Scope], peer: &PeerId, addresses: &[Multiaddr]) {
    for scope in [Scope::Public, Scope::Local] {
        let meant = |address: &&Multiaddr| is_public(address) == (scope == Scope::Public);
        let now: Vec<&Multiaddr> = match scopes.contains(&scope) {
            true => addresses.iter().filter(meant).collect(),
            false => Vec::new(),
        };
        if now.is_empty() {
            continue;
        }
        let table = tables.of(scope);
        let before = known_addresses(table, peer);
        for address in &now {
            table.add_address(peer, (*address).clone());
        }
        let said_again = |before: &Multiaddr| {
            now.iter().any(|address| (*address).clone().with_p2p(*peer).is_ok_and(|address| address == *before))
        };
        for address in before.into_iter().filter(|before| !said_again(before)) {
            table.remove_address(peer, &address);
        }
    }
}

fn known_addresses(table: &mut Table, peer: &PeerId) -> Vec<Multiaddr> {
    let Some(bucket) = table.kbucket(*peer) else { return Vec::new() };
    let entry = bucket.iter().find(|entry| entry.node.key.preimage() == peer);
    entry.map(|entry| entry.node.value.iter().cloned().collect()).unwrap_or_default()
}

/// The tables in which a peer takes part, from the protocols that it speaks.
pub(crate) fn scopes(protocols: &[StreamProtocol]) -> Vec<Scope> {
    [(PUBLIC, Scope::Public), (LOCAL, Scope::Local)]
        .into_iter()
        .filter(|(protocol, _)| protocols.contains(protocol))
        .map(|(_, scope)| scope)
        .collect()
}

/// What we provide and what we look for.
#[derive(Default)]
pub(crate) struct Dht {
    /// What is provided, and when it is due to be announced again, if it was announced.
    provided: BTreeMap<[u8; 34], Option<Instant>>,
    /// To be announced, next first.
    queue: VecDeque<[u8; 34]>,
    queued: HashSet<[u8; 34]>,
    announcing: HashMap<(Scope, QueryId), [u8; 34]>,
    /// The same, in order of time.
    due: BTreeSet<(Instant, [u8; 34])>,
    /// A small network has a new peer: all is announced again.
    all_again: bool,
    /// Searches that wait for somebody to ask, and until when.
    early: Vec<(Instant, Multihash, oneshot::Sender<Providers>)>,
    finds: HashMap<(Scope, QueryId), u64>,
    searches: HashMap<u64, Search>,
    next_search: u64,
    foreign: HashMap<Scope, Foreign>,
}

/// The records of others in one table, with the order in which they were made or renewed. (The store forgets none by
/// itself.)
#[derive(Default)]
struct Foreign {
    next: u64,
    by_age: BTreeMap<u64, (RecordKey, PeerId)>,
    ages: HashMap<(RecordKey, PeerId), u64>,
}

impl Foreign {
    /// Counts one; the one that has to go for it, the longest not renewed.
    fn add(&mut self, key: RecordKey, provider: PeerId) -> Option<(RecordKey, PeerId)> {
        let age = self.next;
        self.next = age.wrapping_add(1);
        if let Some(before) = self.ages.insert((key.clone(), provider), age) {
            self.by_age.remove(&before);
        }
        self.by_age.insert(age, (key, provider));
        if self.by_age.len() <= MAX_FOREIGN {
            return None;
        }
        let (_, oldest) = self.by_age.pop_first()?;
        self.ages.remove(&oldest);
        Some(oldest)
    }
}

struct Search {
    queries: usize,
    found: HashMap<PeerId, Vec<Multiaddr>>,
    reply: Option<oneshot::Sender<Providers>>,
}

impl Dht {
    pub(crate) fn provide(&mut self, tables: &mut Tables<'_>, multihash: Multihash) {
        let key = multihash.to_bytes();
        self.provided.entry(key).or_default();
        self.enqueue(key);
        self.announce(tables);
    }

    pub(crate) fn unprovide(&mut self, tables: &mut Tables<'_>, multihash: Multihash) {
        let key = multihash.to_bytes();
        if let Some(Some(due)) = self.provided.remove(&key) {
            self.due.remove(&(due, key));
        }
        tables.public.stop_providing(&RecordKey::new(&key));
        tables.local.stop_providing(&RecordKey::new(&key));
    }

    /// Looks for providers as soon as there is somebody to ask, who is expected.
    pub(crate) fn find_soon(
        &mut self,
        tables: &mut Tables<'_>,
        multihash: Multihash,
        reply: oneshot::Sender<Providers>,
    ) {
        if [Scope::Public, Scope::Local].into_iter().any(|scope| peers(tables.of(scope)) > 0) {
            self.find(tables, multihash, reply);
        } else {
            self.early.push((Instant::now() + FIRST_PEER, multihash, reply));
        }
    }

    pub(crate) fn find(&mut self, tables: &mut Tables<'_>, multihash: Multihash, reply: oneshot::Sender<Providers>) {
        let search = self.next_search;
        self.next_search = search.wrapping_add(1);
        for scope in [Scope::Public, Scope::Local] {
            let query = tables.of(scope).get_providers(RecordKey::new(&multihash.to_bytes()));
            self.finds.insert((scope, query), search);
        }
        self.searches.insert(search, Search { queries: 2, found: HashMap::new(), reply: Some(reply) });
    }

    /// Looks at the clock; called about once a second.
    pub(crate) fn tick(&mut self, tables: &mut Tables<'_>, now: Instant) {
        if std::mem::take(&mut self.all_again) {
            let all: Vec<_> = self.provided.keys().copied().collect();
            for key in all {
                self.enqueue(key);
            }
        }
        while let Some((at, key)) = self.due.first().copied().filter(|(at, _)| *at <= now) {
            self.due.remove(&(at, key));
            self.enqueue(key);
        }
        self.announce(tables);
        for (at, multihash, reply) in std::mem::take(&mut self.early) {
            if at <= now {
                self.find(tables, multihash, reply);
            } else {
                self.early.push((at, multihash, reply));
            }
        }
    }

    pub(crate) fn on_event(&mut self, tables: &mut Tables<'_>, scope: Scope, event: kad::Event) {
        match event {
            kad::Event::OutboundQueryProgressed { id, result, step, .. } => match result {
                QueryResult::StartProviding(result) => {
                    if let Err(AddProviderError::Timeout { .. }) = result {
                        tracing::debug!("an announcement to the DHT took too long; it is repeated later");
                    }
                    let (Ok(AddProviderOk { .. }) | Err(_)) = result;
                    self.announced(tables, (scope, id));
                }
                QueryResult::GetProviders(result) => {
                    if let Ok(GetProvidersOk::FoundProviders { providers, .. }) = result {
                        self.found(tables.of(scope), (scope, id), providers);
                    }
                    if step.last {
                        self.finished((scope, id));
                    }
                }
                _ => {}
            },
            kad::Event::InboundRequest { request: InboundRequest::AddProvider { record: Some(mut record) } } => {
                if record.key.as_ref().len() > MAX_KEY {
                    return;
                }
                record.addresses.retain(|address| address.len() <= MAX_ADDRESS);
                record.addresses.truncate(MAX_ADDRESSES);
                let store = tables.of(scope).store_mut();
                let foreign = self.foreign.entry(scope).or_default();
                if let Some((key, provider)) = foreign.add(record.key.clone(), record.provider) {
                    store.remove_provider(&key, &provider);
                }
                if let Err(error) = store.add_provider(record) {
                    tracing::debug!(?error, "a provider record was not kept");
                }
            }
            kad::Event::RoutingUpdated { is_new_peer: true, .. } => {
                self.all_again |= peers(tables.of(scope)) <= SMALL_NETWORK;
                for (_, multihash, reply) in std::mem::take(&mut self.early) {
                    self.find(tables, multihash, reply);
                }
            }
            _ => {}
        }
    }

    fn enqueue(&mut self, key: [u8; 34]) {
        if self.provided.contains_key(&key) && self.queued.insert(key) {
            self.queue.push_back(key);
        }
    }

    fn announce(&mut self, tables: &mut Tables<'_>) {
        let now = Instant::now();
        while self.announcing.len() < MAX_ANNOUNCING {
            let Some(key) = self.queue.pop_front() else { return };
            self.queued.remove(&key);
            let Some(due) = self.provided.get_mut(&key) else { continue };
            let again = now + ANNOUNCE_AGAIN;
            if let Some(before) = due.replace(again) {
                self.due.remove(&(before, key));
            }
            self.due.insert((again, key));
            for scope in [Scope::Public, Scope::Local] {
                match tables.of(scope).start_providing(RecordKey::new(&key)) {
                    Ok(query) => {
                        self.announcing.insert((scope, query), key);
                    }
                    Err(error) => tracing::warn!(?error, "a file is not announced to the DHT: its store is full"),
                }
            }
        }
    }

    fn announced(&mut self, tables: &mut Tables<'_>, query: (Scope, QueryId)) {
        self.announcing.remove(&query);
        self.announce(tables);
    }

    fn found(&mut self, table: &mut Table, query: (Scope, QueryId), providers: HashSet<PeerId>) {
        let Some(search) = self.finds.get(&query).and_then(|search| self.searches.get_mut(search)) else { return };
        for peer in providers {
            // The addresses that came with the answer: the table gives them out as long as the query runs.
            let addresses = table
                .handle_pending_outbound_connection(ConnectionId::new_unchecked(0), Some(peer), &[], Endpoint::Dialer)
                .unwrap_or_default();
            let known = search.found.entry(peer).or_default();
            for mut address in addresses {
                if matches!(address.iter().last(), Some(Protocol::P2p(_))) {
                    address.pop();
                }
                if !known.contains(&address) && known.len() < MAX_ADDRESSES.saturating_mul(2) {
                    known.push(address);
                }
            }
        }
    }

    fn finished(&mut self, query: (Scope, QueryId)) {
        let Some(id) = self.finds.remove(&query) else { return };
        let Some(search) = self.searches.get_mut(&id) else { return };
        search.queries = search.queries.saturating_sub(1);
        if search.queries == 0 {
            let found = std::mem::take(&mut search.found).into_iter().collect();
            if let Some(reply) = search.reply.take() {
                let _ = reply.send(found);
            }
            self.searches.remove(&id);
        }
    }
}

fn peers(table: &mut Table) -> usize {
    table.kbuckets().map(|bucket| bucket.num_entries()).sum()
}

/// Whether an address is meant for the whole world.
pub(crate) fn is_public(address: &Multiaddr) -> bool {
    match address.iter().next() {
        Some(Protocol::Ip4(ip)) => {
            !(ip.is_loopback() || ip.is_private() || ip.is_link_local() || ip.is_unspecified() || ip.is_multicast())
        }
        Some(Protocol::Ip6(ip)) => {
            !(ip.is_loopback()
                || ip.is_unique_local()
                || ip.is_unicast_link_local()
                || ip.is_unspecified()
                || ip.is_multicast())
        }
        Some(Protocol::Dns(_) | Protocol::Dns4(_) | Protocol::Dns6(_) | Protocol::Dnsaddr(_)) => true,
        _ => false,
    }
}

#[cfg(test)]
#[path = "dht_tests.rs"]
mod tests;
