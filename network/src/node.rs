//! A libp2p node: one task drives the swarm and takes commands; [`Network`] is the handle by which a program gives
//! them. It listens and dials over TCP and QUIC, introduces itself, keeps time-outs and limits, and hands everything
//! else to the DHT and the Bitswap engine.
//!
//! Nobody is dialled who was not named: there is no built-in list of peers.

use std::{
    collections::{HashMap, HashSet},
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::{Duration, Instant},
};

use crust_protocol::file::Multihash;
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
    task::JoinHandle,
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    Blocks,
    bitswap::{
        engine::{Engine, EngineOptions},
        session::{Options, Session},
        streams,
    },
    dht::{self, Dht, Providers, Scope, Tables},
};

/// A connection on which nothing has passed for so long is closed.
const IDLE: Duration = Duration::from_secs(600);
/// A listener that has no address by then has failed.
const LISTEN_TIME: Duration = Duration::from_secs(10);
/// A connection is dead after so many pings without an answer. (On a slow line one may wait behind blocks.)
const MAX_UNANSWERED: u32 = 5;
/// Peers of whom addresses are remembered, and addresses of each.
const MAX_KNOWN: usize = 4_096;
const MAX_ADDRESSES: usize = 16;
/// First and last pause before a peer that is to stay connected is dialled again.
const REDIAL: Duration = Duration::from_millis(250);
const REDIAL_AT_MOST: Duration = Duration::from_secs(30);
/// Events that a slow reader may fall behind.
const EVENTS: usize = 1_024;

/// How a node presents itself and whom it knows.
#[derive(Clone, Debug)]
pub struct Config {
    /// The seed of the ed25519 key that gives the node its name.
    pub secret: [u8; 32],
    /// Where to listen; port 0 lets the system choose. Empty: connections go out only.
    pub listen: Vec<Multiaddr>,
    /// The addresses told to others; empty: those listened on.
    pub announce: Vec<Multiaddr>,
    /// Peers to join the DHT through.
    pub bootstrap: Vec<(PeerId, Vec<Multiaddr>)>,
    /// Whether others may store provider records here. Not for programs that run for minutes.
    pub dht_server: bool,
    /// How sessions fetch, if they are not told otherwise.
    pub session: Options,
    /// A peer that takes no byte of what it asked for within this time loses its answers.
    pub write_timeout: Duration,
}

impl Config {
    /// A node that listens nowhere and knows nobody.
    pub fn new(secret: [u8; 32]) -> Self {
        Config {
            secret,
            listen: Vec::new(),
            announce: Vec::new(),
            bootstrap: Vec::new(),
            dht_server: false,
            session: Options::default(),
            write_timeout: Duration::from_secs(30),
        }
    }
}

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot listen on {address}: {reason}; choose another address or port")]
    Listen { address: Multiaddr, reason: String },
    #[error("the secret is not an ed25519 seed")]
    Secret,
    #[error("the transports cannot be set up: {0}")]
    Transport(String),
}

/// Why a peer could not be connected to.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{peer} cannot be reached: {reason}")]
pub struct DialFailed {
    pub peer: PeerId,
    pub reason: String,
}

/// What happens to connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    Connected(PeerId),
    Disconnected(PeerId),
}

/// The name of the node with this secret.
pub fn peer_of(secret: [u8; 32]) -> Result<PeerId, StartError> {
    Ok(keypair(secret)?.public().to_peer_id())
}

fn keypair(mut secret: [u8; 32]) -> Result<Keypair, StartError> {
    Keypair::ed25519_from_bytes(&mut secret).map_err(|_| StartError::Secret)
}

/// A handle to a running node. Cheap to clone; the node stops when the last one is dropped.
#[derive(Clone)]
pub struct Network(Arc<Handle>);

struct Handle {
    peer: PeerId,
    session: Options,
    engine: Arc<Engine>,
    commands: mpsc::UnboundedSender<Command>,
    events: broadcast::Sender<Event>,
    addresses: Arc<RwLock<Vec<Multiaddr>>>,
    task: Mutex<Option<JoinHandle<()>>>,
    stop: CancellationToken,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

enum Command {
    Dial { peer: PeerId, addresses: Vec<Multiaddr>, reply: oneshot::Sender<Result<(), DialFailed>> },
    AddAddresses { peer: PeerId, addresses: Vec<Multiaddr> },
    Disconnect(PeerId),
    Provide(Multihash),
    Unprovide(Multihash),
    FindProviders(Multihash, oneshot::Sender<Providers>),
}

impl Network {
    /// Starts a node. It listens when this returns.
    pub async fn start(config: Config, blocks: Arc<dyn Blocks>) -> Result<Network, StartError> {
        let keypair = keypair(config.secret)?;
        let peer = keypair.public().to_peer_id();
        let stop = CancellationToken::new();
        // Whatever was started stops when something fails on the way.
        let guard = stop.clone().drop_guard();
        let (opens, opens_of_engine) = mpsc::unbounded_channel();
        let (dials, dials_of_engine) = mpsc::unbounded_channel();
        let (commands, commands_of_program) = mpsc::unbounded_channel();
        let (events, _) = broadcast::channel(EVENTS);
        let options = EngineOptions { write_timeout: config.write_timeout };
        let engine = Engine::new(blocks, options, opens, dials, stop.clone());
        let swarm = swarm(&keypair, &config, streams::Behaviour::new(engine.clone(), opens_of_engine))?;
        let mut node = Node {
            swarm,
            engine: engine.clone(),
            dht: Dht::default(),
            known: HashMap::new(),
            dialling: HashMap::new(),
            addresses: Arc::default(),
            announce: config.announce.clone(),
            events: events.clone(),
            unanswered: HashMap::new(),
        };
        node.listen(&config.listen).await?;
        node.join(&config.bootstrap);
        let addresses = node.addresses.clone();
        guard.disarm();
        let task = tokio::spawn(node.run(commands_of_program, dials_of_engine, stop.clone()));
        Ok(Network(Arc::new(Handle {
            peer,
            session: config.session,
            engine,
            commands,
            events,
            addresses,
            task: Mutex::new(Some(task)),
            stop,
        })))
    }

    /// This node's name.
    pub fn peer_id(&self) -> PeerId {
        self.0.peer
    }

    /// The addresses listened on.
    pub fn listen_addresses(&self) -> Vec<Multiaddr> {
        self.0.addresses.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Peers connected right now.
    pub fn connected(&self) -> Vec<PeerId> {
        self.0.engine.peers()
    }

    pub fn is_connected(&self, peer: &PeerId) -> bool {
        self.0.engine.is_connected(peer)
    }

    /// Connections as they come and go, from now on.
    pub fn events(&self) -> broadcast::Receiver<Event> {
        self.0.events.subscribe()
    }

    /// Connects to a peer, at these addresses and those known of it. Returns at once if it is connected.
    pub async fn dial(&self, peer: PeerId, addresses: Vec<Multiaddr>) -> Result<(), DialFailed> {
        let (reply, connected) = oneshot::channel();
        self.command(Command::Dial { peer, addresses, reply });
        let closed = || DialFailed { peer, reason: "the network was shut down".into() };
        connected.await.map_err(|_| closed())?
    }

    /// Stays connected to a peer, dialling it again whenever the connection is lost, until the guard is dropped.
    pub fn keep(&self, peer: PeerId, addresses: Vec<Multiaddr>) -> Kept {
        let stop = CancellationToken::new();
        let events = self.events();
        // A weak handle: what is kept does not keep the node running.
        let network = Arc::downgrade(&self.0);
        let keeping = keep(network, peer, addresses, events);
        tokio::spawn(stop.clone().run_until_cancelled_owned(keeping));
        Kept(stop.drop_guard())
    }

    /// Remembers where a peer can be reached.
    pub fn add_address(&self, peer: PeerId, addresses: Vec<Multiaddr>) {
        self.command(Command::AddAddresses { peer, addresses });
    }

    /// Closes all connections to a peer.
    pub fn disconnect(&self, peer: PeerId) {
        self.command(Command::Disconnect(peer));
    }

    /// Fetches from these peers, which are dialled when they are needed.
    pub fn session(&self, candidates: &[PeerId]) -> Session {
        self.session_with(candidates, false, self.0.session)
    }

    /// Fetches from everybody who is connected, or connects while the session lasts.
    pub fn session_any(&self) -> Session {
        self.session_with(&[], true, self.0.session)
    }

    /// Fetches from these peers and, if `any`, from everybody who is or gets connected.
    pub fn session_with(&self, candidates: &[PeerId], any: bool, options: Options) -> Session {
        Session::open(self.0.engine.clone(), candidates, any, options)
    }

    /// Tells the DHT, from now on, that this node has the block.
    pub fn provide(&self, multihash: Multihash) {
        self.command(Command::Provide(multihash));
    }

    /// Tells it no more. Records already out there expire within a day.
    pub fn unprovide(&self, multihash: Multihash) {
        self.command(Command::Unprovide(multihash));
    }

    /// Who has the block, by what the DHT knows. The addresses are remembered.
    pub async fn find_providers(&self, multihash: Multihash) -> Vec<(PeerId, Vec<Multiaddr>)> {
        let (reply, found) = oneshot::channel();
        self.command(Command::FindProviders(multihash, reply));
        let found = found.await.unwrap_or_default();
        for (peer, addresses) in &found {
            self.add_address(*peer, addresses.clone());
        }
        found
    }

    /// Wants of a connected peer that wait for an answer.
    pub fn waiting(&self, peer: &PeerId) -> Option<usize> {
        self.0.engine.waiting(peer)
    }

    /// Stops the node and waits until it has let go of its ports.
    pub async fn shutdown(&self) {
        self.0.stop.cancel();
        let task = self.0.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(task) = task {
            let _ = task.await;
        }
    }

    fn command(&self, command: Command) {
        // Fails only when the node has stopped, which whoever waits for a reply notices.
        let _ = self.0.commands.send(command);
    }
}

/// Keeps a connection for as long as it lives.
#[must_use = "the connection is kept until this is dropped"]
pub struct Kept(#[expect(dead_code, reason = "stops the keeping when it is dropped")] DropGuard);

async fn keep(
    network: std::sync::Weak<Handle>,
    peer: PeerId,
    addresses: Vec<Multiaddr>,
    mut events: broadcast::Receiver<Event>,
) {
    let mut pause = REDIAL;
    loop {
        let Some(handle) = network.upgrade() else { return };
        let dialled = Network(handle).dial(peer, addresses.clone()).await;
        match dialled {
            Ok(()) => pause = REDIAL,
            Err(error) => {
                tracing::debug!(%error, "dialled again later");
                // Whichever side gets through first.
                let connected = async {
                    loop {
                        match events.recv().await {
                            Ok(Event::Connected(other)) if other == peer => return,
                            Err(broadcast::error::RecvError::Closed) => return,
                            _ => {}
                        }
                    }
                };
                let _ = timeout(pause, connected).await;
                pause = pause.saturating_mul(2).min(REDIAL_AT_MOST);
                continue;
            }
        }
        loop {
            match events.recv().await {
                Ok(Event::Disconnected(other)) if other == peer => break,
                Ok(_) => {}
                // Events were missed: look again.
                Err(broadcast::error::RecvError::Lagged(_)) => break,
                Err(broadcast::error::RecvError::Closed) => return,
            }
        }
    }
}

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
            .with_tcp(tcp, (noise::Config::new, tls::Config::new), yamux::Config::default)
            .map(|builder| builder.with_quic())
            .map_err(|error| StartError::Transport(error.to_string()))
    };
    let timing = |config: libp2p::swarm::Config| config.with_idle_connection_timeout(IDLE);
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

/// What the node's task owns.
struct Node {
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
}

type NodeEvent = SwarmEvent<BehaviourEvent>;

impl Node {
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

    /// Dials the peers through which the DHT is joined; their tables are asked once they have said who they are.
    fn join(&mut self, bootstrap: &[(PeerId, Vec<Multiaddr>)]) {
        for (peer, addresses) in bootstrap {
            self.remember(*peer, addresses);
            self.dial(*peer, None);
        }
    }

    async fn run(
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
                _ = ticks.tick() => self.dht.tick(&mut self.swarm.behaviour_mut().tables(), Instant::now()),
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
                self.dht.find(&mut self.swarm.behaviour_mut().tables(), multihash, reply);
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
                dht::add_addresses(&mut tables, &scopes, &peer_id, &addresses);
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
