//! The handle by which a program runs a node: start it, dial peers, open sessions, provide and find files. What it
//! asks for is done by the node's task ([`crate::swarm`]).
//!
//! Nobody is dialled who was not named: there is no built-in list of peers.

use std::{
    sync::{Arc, Mutex, PoisonError, RwLock, Weak},
    time::Duration,
};

use crust_protocol::file::Multihash;
use libp2p::{Multiaddr, PeerId, identity::Keypair};
use tokio::{
    sync::{broadcast, mpsc, oneshot},
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    Blocks,
    bitswap::{
        engine::{Engine, EngineOptions},
        session::{Options, Session},
        streams,
    },
    dht::Providers,
    swarm::Node,
};

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

/// What the node's task is asked to do.
pub(crate) enum Command {
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
        let bitswap = streams::Behaviour::new(engine.clone(), opens_of_engine);
        let node = Node::start(&keypair, &config, engine.clone(), bitswap, events.clone()).await?;
        let addresses = node.addresses();
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

async fn keep(network: Weak<Handle>, peer: PeerId, addresses: Vec<Multiaddr>, mut events: broadcast::Receiver<Event>) {
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
