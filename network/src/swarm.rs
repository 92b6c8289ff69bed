//! The task that drives libp2p: it listens and dials over TCP and QUIC, introduces itself, keeps time-outs and limits,
//! and hands everything else to the DHT and the Bitswap engine.

use std::{
    collections::{HashMap, HashSet},
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, Instant},
};

use futures::StreamExt;
use libp2p::{
    Multiaddr, PeerId, Swarm, SwarmBuilder,
    connection_limits::{self, ConnectionLimits},
    core::transport::ListenerId,
    identify,
    identity::Keypair,
    kad,
    multiaddr::Protocol,
    noise, ping,
    swarm::{
        ConnectionId, DialError, NetworkBehaviour, SwarmEvent,
        dial_opts::{DialOpts, PeerCondition},
    },
    tcp, tls, yamux,
};
use tokio::{
    sync::{broadcast, mpsc, oneshot},
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;

use crate::{
    bitswap::{engine::Engine, streams},
    dht::{self, Dht, Scope, Tables},
    node::{Command, Config, DialFailed, Event, StartError},
};

/// A connection on which nothing has passed for so long is closed.
const IDLE: Duration = Duration::from_secs(600);
/// A listener that has no address by then has failed.
const LISTEN_TIME: Duration = Duration::from_secs(10);
/// Streams of a connection, and those of them whose protocol is not settled yet.
const MAX_STREAMS: usize = 128;
const MAX_NEGOTIATING: usize = 32;
/// A connection is dead after so many pings without an answer. (On a slow line one may wait behind blocks.)
const MAX_UNANSWERED: u32 = 5;
/// Peers of whom addresses are remembered, and addresses of each.
const MAX_KNOWN: usize = 4_096;
const MAX_ADDRESSES: usize = 16;
/// The peers through which the DHT is joined are dialled this often while they are not connected.
const JOIN_AGAIN: Duration = Duration::from_secs(15);

#[derive(NetworkBehaviour)]
struct Behaviour {
    limits: connection_limits::Behaviour,
    identify: identify::Behaviour,
    ping: ping::Behaviour,
    public_dht: dht::Table,
    local_dht: dht::Table,
    bitswap: streams::Behaviour,
}

impl Behaviour {
    fn tables(&mut self) -> Tables<'_> {
        Tables { public: &mut self.public_dht, local: &mut self.local_dht }
    }
}

fn swarm(keypair: &Keypair, config: &Config, bitswap: streams::Behaviour) -> Result<Swarm<Behaviour>, StartError> {
    let peer = keypair.public().to_peer_id();
    let limits = ConnectionLimits::default()
        .with_max_pending_incoming(Some(128))
        .with_max_pending_outgoing(Some(128))
        .with_max_established_incoming(Some(512))
        .with_max_established(Some(768))
        .with_max_established_per_peer(Some(4));
    let identify = identify::Config::new("ipfs/0.1.0".into(), keypair.public())
        .with_agent_version(concat!("crust/", env!("CARGO_PKG_VERSION")).into())
        .with_push_listen_addr_updates(true)
        .with_cache_size(0);
    let behaviour = Behaviour {
        limits: connection_limits::Behaviour::new(limits),
        identify: identify::Behaviour::new(identify),
        ping: ping::Behaviour::new(ping::Config::new()),
        public_dht: dht::table(Scope::Public, peer, config.dht_server),
        local_dht: dht::table(Scope::Local, peer, config.dht_server),
        bitswap,
    };
    let transports = || {
        let tcp = tcp::Config::default().nodelay(true);
        SwarmBuilder::with_existing_identity(keypair.clone())
            .with_tokio()
            .with_tcp(tcp, (noise::Config::new, tls::Config::new), multiplexing)
            .map(|builder| builder.with_quic())
            .map_err(|error| StartError::Transport(error.to_string()))
    };
    let timing = |config: libp2p::swarm::Config| {
        config.with_idle_connection_timeout(IDLE).with_max_negotiating_inbound_streams(MAX_NEGOTIATING)
    };
    Ok(match transports()?.with_dns() {
        Ok(builder) => match builder.with_behaviour(|_| behaviour) {
            Ok(builder) => builder.with_swarm_config(timing).build(),
            Err(never) => match never {},
        },
        Err(error) => {
            tracing::warn!(%error, "the system's resolver cannot be read: peers are reached by their IP addresses only");
            match transports()?.with_behaviour(|_| behaviour) {
                Ok(builder) => builder.with_swarm_config(timing).build(),
                Err(never) => match never {},
            }
        }
    })
}

/// A stream holds up to 256 KiB that nobody has read, so a connection may not have many.
fn multiplexing() -> yamux::Config {
    let mut config = yamux::Config::default();
    config.set_max_num_streams(MAX_STREAMS);
    config
}

/// What the node's task owns.
pub(crate) struct Node {
    swarm: Swarm<Behaviour>,
    engine: Arc<Engine>,
    dht: Dht,
    known: HashMap<PeerId, Vec<Multiaddr>>,
    dialling: HashMap<PeerId, Vec<oneshot::Sender<Result<(), DialFailed>>>>,
    addresses: Arc<RwLock<Vec<Multiaddr>>>,
    announce: Vec<Multiaddr>,
    events: broadcast::Sender<Event>,
    /// Pings in a row without an answer.
    unanswered: HashMap<ConnectionId, u32>,
    /// The peers through which the DHT is joined, and when those not connected are dialled next.
    bootstrap: Vec<PeerId>,
    join_at: Instant,
}

type NodeEvent = SwarmEvent<BehaviourEvent>;

impl Node {
    /// A node that listens.
    pub(crate) async fn start(
        keypair: &Keypair,
        config: &Config,
        engine: Arc<Engine>,
        bitswap: streams::Behaviour,
        events: broadcast::Sender<Event>,
    ) -> Result<Self, StartError> {
        let mut node = Node {
            swarm: swarm(keypair, config, bitswap)?,
            engine,
            dht: Dht::default(),
            known: HashMap::new(),
            dialling: HashMap::new(),
            addresses: Arc::default(),
            announce: config.announce.clone(),
            events,
            unanswered: HashMap::new(),
            bootstrap: config.bootstrap.iter().map(|(peer, _)| *peer).collect(),
            join_at: Instant::now(),
        };
        for (peer, addresses) in &config.bootstrap {
            node.remember(*peer, addresses);
        }
        node.listen(&config.listen).await?;
        Ok(node)
    }

    /// The addresses listened on, as they come and go.
    pub(crate) fn addresses(&self) -> Arc<RwLock<Vec<Multiaddr>>> {
        self.addresses.clone()
    }

    /// Waits until every listener has an address.
    async fn listen(&mut self, addresses: &[Multiaddr]) -> Result<(), StartError> {
        let failed = |address: &Multiaddr, reason: String| StartError::Listen { address: address.clone(), reason };
        let mut waiting: HashMap<ListenerId, Multiaddr> = HashMap::new();
        for address in addresses {
            check_free(address).map_err(|error| failed(address, error.to_string()))?;
            let id = self.swarm.listen_on(address.clone()).map_err(|error| failed(address, error.to_string()))?;
            waiting.insert(id, address.clone());
        }
        for address in self.announce.clone() {
            self.swarm.add_external_address(address);
        }
        let deadline = tokio::time::Instant::now() + LISTEN_TIME;
        while let Some(address) = waiting.values().next().cloned() {
            let event = tokio::time::timeout_at(deadline, self.swarm.select_next_some())
                .await
                .map_err(|_| failed(&address, "no address within ten seconds".into()))?;
            match &event {
                SwarmEvent::NewListenAddr { listener_id, .. } => {
                    waiting.remove(listener_id);
                }
                SwarmEvent::ListenerClosed { listener_id, reason, .. } => {
                    if let Some(address) = waiting.get(listener_id) {
                        return Err(failed(address, format!("{reason:?}")));
                    }
                }
                SwarmEvent::ListenerError { listener_id, error } => {
                    if let Some(address) = waiting.get(listener_id) {
                        return Err(failed(address, error.to_string()));
                    }
                }
                _ => {}
            }
            self.on_event(event);
        }
        Ok(())
    }

    /// Drives the node until it is stopped.
    pub(crate) async fn run(
        mut self,
        mut commands: mpsc::UnboundedReceiver<Command>,
        mut dials: mpsc::UnboundedReceiver<PeerId>,
        stop: CancellationToken,
    ) {
        let mut ticks = interval(Duration::from_secs(1));
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                event = self.swarm.select_next_some() => self.on_event(event),
                Some(command) = commands.recv() => self.on_command(command),
                Some(peer) = dials.recv() => self.dial(peer, None),
                _ = ticks.tick() => self.tick(Instant::now()),
            }
        }
    }

    fn tick(&mut self, now: Instant) {
        self.dht.tick(&mut self.swarm.behaviour_mut().tables(), now);
        if now >= self.join_at {
            self.join_at = now + JOIN_AGAIN;
            // Their tables are asked once they have said who they are.
            for peer in self.bootstrap.clone() {
                self.dial(peer, None);
            }
        }
    }

    fn on_command(&mut self, command: Command) {
        match command {
            Command::Dial { peer, addresses, reply } => {
                self.remember(peer, &addresses);
                self.dial(peer, Some(reply));
            }
            Command::AddAddresses { peer, addresses } => self.remember(peer, &addresses),
            Command::Disconnect(peer) => {
                let _ = self.swarm.disconnect_peer_id(peer);
            }
            Command::Provide(multihash) => self.dht.provide(&mut self.swarm.behaviour_mut().tables(), multihash),
            Command::Unprovide(multihash) => self.dht.unprovide(&mut self.swarm.behaviour_mut().tables(), multihash),
            Command::FindProviders(multihash, reply) => {
                let mut tables = self.swarm.behaviour_mut().tables();
                if self.bootstrap.is_empty() {
                    self.dht.find(&mut tables, multihash, reply);
                } else {
                    self.dht.find_soon(&mut tables, multihash, reply);
                }
            }
        }
    }

    fn remember(&mut self, peer: PeerId, addresses: &[Multiaddr]) {
        let known = self.known_addresses(peer);
        for address in addresses {
            known.retain(|other| other != address);
            known.insert(0, address.clone());
        }
        known.truncate(MAX_ADDRESSES);
    }

    fn known_addresses(&mut self, peer: PeerId) -> &mut Vec<Multiaddr> {
        if self.known.len() >= MAX_KNOWN && !self.known.contains_key(&peer) {
            // Any one that is not connected makes room.
            let victim = self.known.keys().find(|known| !self.swarm.is_connected(known)).copied();
            victim.map(|victim| self.known.remove(&victim));
        }
        self.known.entry(peer).or_default()
    }

    fn dial(&mut self, peer: PeerId, reply: Option<oneshot::Sender<Result<(), DialFailed>>>) {
        if self.swarm.is_connected(&peer) {
            if let Some(reply) = reply {
                let _ = reply.send(Ok(()));
            }
            return;
        }
        let addresses = preferred(self.known.get(&peer).cloned().unwrap_or_default());
        let options = DialOpts::peer_id(peer)
            .condition(PeerCondition::DisconnectedAndNotDialing)
            .addresses(addresses)
            .extend_addresses_through_behaviour()
            .build();
        match self.swarm.dial(options) {
            Ok(()) | Err(DialError::DialPeerConditionFalse(_)) => {
                let waiting = self.dialling.entry(peer).or_default();
                waiting.extend(reply);
            }
            Err(error) => {
                let reason = reason(&error);
                self.engine.unreachable(peer, &reason);
                if let Some(reply) = reply {
                    let _ = reply.send(Err(DialFailed { peer, reason }));
                }
            }
        }
    }

    fn on_event(&mut self, event: NodeEvent) {
        match event {
            SwarmEvent::NewListenAddr { address, .. } => {
                if self.announce.is_empty() {
                    self.swarm.add_external_address(address.clone());
                }
                self.addresses.write().unwrap_or_else(PoisonError::into_inner).push(address);
            }
            SwarmEvent::ExpiredListenAddr { address, .. } => {
                self.swarm.remove_external_address(&address);
                self.addresses.write().unwrap_or_else(PoisonError::into_inner).retain(|other| *other != address);
            }
            SwarmEvent::ConnectionEstablished { peer_id, num_established, .. } => {
                for reply in self.dialling.remove(&peer_id).unwrap_or_default() {
                    let _ = reply.send(Ok(()));
                }
                if num_established.get() == 1 {
                    let _ = self.events.send(Event::Connected(peer_id));
                }
            }
            SwarmEvent::ConnectionClosed { peer_id, connection_id, num_established, .. } => {
                self.unanswered.remove(&connection_id);
                if num_established == 0 {
                    let _ = self.events.send(Event::Disconnected(peer_id));
                }
            }
            SwarmEvent::OutgoingConnectionError { peer_id: Some(peer), error, .. } => self.dial_failed(peer, &error),
            SwarmEvent::Behaviour(event) => self.on_behaviour_event(event),
            _ => {}
        }
    }

    fn dial_failed(&mut self, peer: PeerId, error: &DialError) {
        if self.swarm.is_connected(&peer) {
            return;
        }
        let reason = reason(error);
        self.engine.unreachable(peer, &reason);
        for reply in self.dialling.remove(&peer).unwrap_or_default() {
            let _ = reply.send(Err(DialFailed { peer, reason: reason.clone() }));
        }
    }

    fn on_behaviour_event(&mut self, event: BehaviourEvent) {
        match event {
            BehaviourEvent::Identify(identify::Event::Received { peer_id, info, .. }) => {
                let scopes = dht::scopes(&info.protocols);
                let addresses: Vec<_> = info.listen_addrs.into_iter().take(MAX_ADDRESSES).collect();
                let mut tables = self.swarm.behaviour_mut().tables();
                dht::set_addresses(&mut tables, &scopes, &peer_id, &addresses);
                // After those that the program has given.
                let known = self.known_addresses(peer_id);
                let news: Vec<_> = addresses.into_iter().filter(|address| !known.contains(address)).collect();
                known.extend(news);
                known.truncate(MAX_ADDRESSES);
            }
            BehaviourEvent::PublicDht(event) => self.on_dht_event(Scope::Public, event),
            BehaviourEvent::LocalDht(event) => self.on_dht_event(Scope::Local, event),
            BehaviourEvent::Identify(_) => {}
            BehaviourEvent::Ping(ping::Event { connection, result, .. }) => match result {
                Ok(_) => {
                    self.unanswered.remove(&connection);
                }
                Err(ping::Failure::Timeout) => {
                    let unanswered = self.unanswered.entry(connection).or_default();
                    *unanswered = unanswered.saturating_add(1);
                    if *unanswered >= MAX_UNANSWERED {
                        self.swarm.close_connection(connection);
                    }
                }
                Err(_) => {}
            },
            BehaviourEvent::Limits(never) | BehaviourEvent::Bitswap(never) => {
                let _: Infallible = never;
            }
        }
    }

    fn on_dht_event(&mut self, scope: Scope, event: kad::Event) {
        self.dht.on_event(&mut self.swarm.behaviour_mut().tables(), scope, event);
    }
}

/// Whether nobody listens on a TCP port yet. The transport shares its ports, so it would not notice.
fn check_free(address: &Multiaddr) -> std::io::Result<()> {
    let mut parts = address.iter();
    let ip = match parts.next() {
        Some(Protocol::Ip4(ip)) => ip.into(),
        Some(Protocol::Ip6(ip)) => ip.into(),
        _ => return Ok(()),
    };
    match parts.next() {
        Some(Protocol::Tcp(port)) if port != 0 => std::net::TcpListener::bind(SocketAddr::new(ip, port)).map(drop),
        _ => Ok(()),
    }
}

/// TCP first: on one machine it is several times faster than QUIC, which is tried only if there is nothing else.
fn preferred(addresses: Vec<Multiaddr>) -> Vec<Multiaddr> {
    let host = |address: &Multiaddr| address.iter().next().map(|host| host.to_string());
    let is_tcp = |address: &Multiaddr| address.iter().any(|part| matches!(part, Protocol::Tcp(_)));
    let by_tcp: HashSet<_> = addresses.iter().filter(|address| is_tcp(address)).map(host).collect();
    let local = |address: &Multiaddr| !dht::is_public(address);
    let keep = |address: &Multiaddr| is_tcp(address) || !local(address) || !by_tcp.contains(&host(address));
    addresses.into_iter().filter(keep).collect()
}

/// What went wrong with a dial, in a line.
fn reason(error: &DialError) -> String {
    match error {
        DialError::NoAddresses => "no address of it is known".into(),
        DialError::Transport(errors) if !errors.is_empty() => {
            let tried: Vec<_> =
                errors.iter().map(|(address, error)| format!("{address}: {}", innermost(error))).collect();
            tried.join("; ")
        }
        DialError::WrongPeerId { obtained, .. } => format!("at its address is {obtained}"),
        other => innermost(other),
    }
}

/// The error at the bottom: those above it say only that something failed.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}
