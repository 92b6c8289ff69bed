//! The connected peers, and what passes between them, the sessions and the ledgers.
//!
//! Every peer has two tasks, one that sends our wants and one that answers its own; every stream that it opens has a
//! third that reads. All client state is behind one lock, which is never held across an await.

use std::{
    collections::{BTreeMap, HashMap, HashSet, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use bytes::Bytes;
use crust_protocol::{
    file::{Cid, Multihash},
    walk::MAX_BLOCK,
};
use libp2p::{PeerId, Stream};
use tokio::{
    runtime::Handle,
    sync::{Notify, Semaphore, mpsc, oneshot},
    time::{MissedTickBehavior, interval, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    frames::{self, Budget},
    hashing,
    message::{Entry, Kind, Message, hash_function},
    sender::{STREAM_IDLE, Sender},
    server::{self, Ledger},
    session::{self, Options},
    streams::{Open, OpenError},
    wants::Wants,
};
use crate::Blocks;

/// Bodies of messages from peers that were asked for blocks, being read.
const ASKED_BYTES: usize = 32 << 20;
/// Bodies of messages from others.
const UNASKED_BYTES: usize = 16 << 20;
/// Blocks read for others and not yet written to them.
const OUTGOING_BYTES: usize = 48 << 20;
/// Streams that a peer may have open towards us.
const MAX_STREAMS: usize = 16;
/// Wants in one message, which so stays below [`SMALL_MESSAGE`].
const MAX_ENTRIES: usize = 256;
/// Messages up to this length are read without taking from a budget: wants get through whatever else is under way.
const SMALL_MESSAGE: usize = 16 << 10;
/// Changed wants that wait to be sent; a peer that takes none is given up.
const MAX_OUTBOX: usize = 4_096;
/// Blocks that were asked for and may still come although nobody waits for them.
const MAX_RECENT: usize = 4_096;
/// How often time-outs are looked at.
const TICK: Duration = Duration::from_millis(100);

/// Settings of the whole engine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EngineOptions {
    /// A peer that takes no byte for so long loses its answers.
    pub write_timeout: Duration,
}

/// The peers and sessions of a network.
pub(crate) struct Engine {
    state: Mutex<State>,
    pub(crate) blocks: Arc<dyn Blocks>,
    pub(crate) options: EngineOptions,
    pub(crate) outgoing: Budget,
    asked: Budget,
    unasked: Budget,
    opens: mpsc::UnboundedSender<Open>,
    dials: mpsc::UnboundedSender<PeerId>,
    started: Instant,
    runtime: Handle,
    stop: CancellationToken,
}

#[derive(Default)]
struct State {
    peers: Peers,
    sessions: BTreeMap<u64, Wants>,
    next_session: u64,
}

/// The connected peers.
pub(crate) type Peers = HashMap<PeerId, Peer>;

/// What we ask of a connected peer.
pub(crate) struct Peer {
    outbox: Vec<Entry>,
    changed: Arc<Notify>,
    asked: HashMap<Multihash, Ask>,
    recent: Recent,
    /// Milliseconds after the engine's start at which a byte of a long message last came.
    moved: Arc<AtomicU64>,
    ledger: Arc<Ledger>,
    /// Long messages are read one after the other, over whatever streams they come.
    reading: Arc<Semaphore>,
    streams: usize,
    stop: CancellationToken,
}

struct Ask {
    cid: Cid,
    kind: Kind,
    sessions: Vec<u64>,
}

impl Engine {
    pub(crate) fn new(
        blocks: Arc<dyn Blocks>,
        options: EngineOptions,
        opens: mpsc::UnboundedSender<Open>,
        dials: mpsc::UnboundedSender<PeerId>,
        stop: CancellationToken,
    ) -> Arc<Self> {
        let engine = Arc::new(Engine {
            state: Mutex::default(),
            blocks,
            options,
            outgoing: Budget::new(OUTGOING_BYTES),
            asked: Budget::new(ASKED_BYTES),
            unasked: Budget::new(UNASKED_BYTES),
            opens,
            dials,
            started: Instant::now(),
            runtime: Handle::current(),
            stop: stop.clone(),
        });
        let ticking = engine.clone();
        engine.runtime.spawn(async move {
            let mut ticks = interval(TICK);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            while stop.run_until_cancelled(ticks.tick()).await.is_some() {
                ticking.tick();
            }
            ticking.shut();
        });
        engine
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    // ---- peers

    pub(crate) fn connected(self: &Arc<Self>, id: PeerId) {
        let peer = Peer::new(self.stop.child_token());
        let (stop, ledger, changed) = (peer.stop.clone(), peer.ledger.clone(), peer.changed.clone());
        let mut state = self.lock();
        if let Some(before) = state.peers.insert(id, peer) {
            before.stop.cancel();
        }
        let State { peers, sessions, .. } = &mut *state;
        let now = Instant::now();
        for session in sessions.values_mut() {
            session.join(id);
            session.schedule(peers, now);
        }
        drop(state);
        let asking = self.clone();
        self.runtime.spawn(stop.clone().run_until_cancelled_owned(async move { asking.ask(id, changed).await }));
        self.runtime.spawn(stop.run_until_cancelled_owned(server::respond(self.clone(), id, ledger)));
    }

    pub(crate) fn disconnected(&self, id: PeerId) {
        let mut state = self.lock();
        if let Some(peer) = state.peers.remove(&id) {
            peer.stop.cancel();
        }
        let State { peers, sessions, .. } = &mut *state;
        let now = Instant::now();
        for session in sessions.values_mut() {
            session.leave(id);
            session.schedule(peers, now);
        }
    }

    pub(crate) fn unreachable(&self, id: PeerId, reason: &str) {
        for session in self.lock().sessions.values_mut() {
            session.unreachable(id, reason);
        }
    }

    pub(crate) fn peers(&self) -> Vec<PeerId> {
        self.lock().peers.keys().copied().collect()
    }

    pub(crate) fn is_connected(&self, id: &PeerId) -> bool {
        self.lock().peers.contains_key(id)
    }

    /// Opens a stream to a connected peer.
    pub(crate) async fn open(&self, peer: PeerId) -> Result<Stream, OpenError> {
        let (reply, stream) = oneshot::channel();
        self.opens.send(Open { peer, reply }).map_err(|_| OpenError::NotConnected)?;
        stream.await.map_err(|_| OpenError::NotConnected)?
    }

    /// Wants of a connected peer that wait for an answer.
    pub(crate) fn waiting(&self, id: &PeerId) -> Option<usize> {
        self.lock().peers.get(id).map(|peer| peer.ledger.len())
    }

    // ---- sessions

    pub(crate) fn open_session(&self, candidates: &[PeerId], any: bool, options: Options) -> u64 {
        let mut state = self.lock();
        let id = state.next_session;
        state.next_session = id.wrapping_add(1);
        let mut session = Wants::new(id, candidates, any, options);
        for peer in state.peers.keys() {
            session.join(*peer);
        }
        state.sessions.insert(id, session);
        id
    }

    pub(crate) fn close_session(&self, id: u64) {
        let mut state = self.lock();
        if let Some(mut session) = state.sessions.remove(&id) {
            session.close(&mut state.peers, || session::Error::Closed);
        }
    }

    /// Does something to a session, then asks whom it now needs to ask.
    pub(crate) fn with_session<R>(
        &self,
        id: u64,
        action: impl FnOnce(&mut Wants, &mut Peers, Instant) -> R,
    ) -> Result<R, session::Error> {
        if self.stop.is_cancelled() {
            return Err(session::Error::Closed);
        }
        let mut state = self.lock();
        let State { peers, sessions, .. } = &mut *state;
        let session = sessions.get_mut(&id).ok_or(session::Error::Closed)?;
        let now = Instant::now();
        let result = action(session, peers, now);
        session.schedule(peers, now);
        let dials = session.dials(now);
        drop(state);
        self.dial(dials);
        Ok(result)
    }

    fn dial(&self, peers: Vec<PeerId>) {
        for peer in peers {
            let _ = self.dials.send(peer);
        }
    }

    fn tick(&self) {
        let mut state = self.lock();
        let State { peers, sessions, .. } = &mut *state;
        let now = Instant::now();
        let mut dials = Vec::new();
        for session in sessions.values_mut() {
            session.tick(peers, now, |peer| self.moved(peer));
            session.schedule(peers, now);
            dials.extend(session.dials(now));
        }
        drop(state);
        self.dial(dials);
    }

    fn moved(&self, peer: &Peer) -> Option<Instant> {
        match peer.moved.load(Ordering::Relaxed) {
            0 => None,
            millis => self.started.checked_add(Duration::from_millis(millis)),
        }
    }

    fn shut(&self) {
        let mut state = self.lock();
        let State { peers, sessions, .. } = &mut *state;
        for session in sessions.values_mut() {
            session.close(peers, || session::Error::Closed);
        }
        peers.clear();
    }

    // ---- messages

    /// Sends our wants to a peer for as long as it is connected.
    async fn ask(&self, id: PeerId, changed: Arc<Notify>) {
        let mut sender = Sender::of_wants(id);
        loop {
            let entries = match self.lock().peers.get_mut(&id) {
                Some(peer) => peer.take_outbox(),
                None => return,
            };
            if entries.is_empty() {
                if timeout(STREAM_IDLE, changed.notified()).await.is_err() {
                    sender.close().await;
                }
                continue;
            }
            let message = Message { entries, ..Message::default() };
            if let Err(error) = sender.send(self, &message.encode()).await {
                tracing::debug!(peer = %id, %error, "our wants cannot be sent");
                let unsupported = matches!(error, OpenError::Unsupported);
                let mut state = self.lock();
                let State { peers, sessions, .. } = &mut *state;
                let now = Instant::now();
                for session in sessions.values_mut() {
                    session.deaf(id, unsupported, peers);
                    session.schedule(peers, now);
                }
                // What was asked of it again just now is not sent either, or this would spin: its wants time out.
                if let Some(peer) = peers.get_mut(&id) {
                    peer.forget_asks();
                }
            }
        }
    }

    /// Reads the messages of a stream that a peer has opened.
    pub(crate) fn accept(self: &Arc<Self>, id: PeerId, stream: Stream) {
        let (stop, ledger, moved, reading) = match self.lock().peers.get_mut(&id) {
            Some(peer) if peer.streams < MAX_STREAMS => {
                peer.streams = peer.streams.saturating_add(1);
                (peer.stop.clone(), peer.ledger.clone(), peer.moved.clone(), peer.reading.clone())
            }
            _ => return,
        };
        let engine = self.clone();
        self.runtime.spawn(async move {
            let messages = engine.read(id, stream, &ledger, &moved, &reading);
            if let Some(Err(error)) = stop.run_until_cancelled(messages).await {
                tracing::debug!(peer = %id, %error, "a stream of the peer was dropped");
            }
            if let Some(peer) = engine.lock().peers.get_mut(&id)
                && Arc::ptr_eq(&peer.ledger, &ledger)
            {
                peer.streams = peer.streams.saturating_sub(1);
            }
        });
    }

    async fn read(
        &self,
        id: PeerId,
        mut stream: Stream,
        ledger: &Ledger,
        moved: &AtomicU64,
        reading: &Semaphore,
    ) -> std::io::Result<()> {
        while let Some(length) = frames::read_length(&mut stream).await? {
            let mut budget = None;
            let held = if length > SMALL_MESSAGE {
                let turn = reading.acquire().await;
                let asked = self.lock().peers.get(&id).is_some_and(|peer| !peer.asked.is_empty());
                let from = if asked { &self.asked } else { &self.unasked };
                budget = Some(from);
                Some((turn, from.take(length).await))
            } else {
                None
            };
            let note = || {
                let millis = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
                moved.store(millis, Ordering::Relaxed);
            };
            let crowded = || budget.is_some_and(Budget::is_crowded);
            let body = frames::read_body(&mut stream, length, note, crowded).await?;
            let message = Message::decode(body).map_err(std::io::Error::other)?;
            ledger.update(message.full, &message.entries);
            self.deliver(id, message, length).await;
            drop(held);
        }
        Ok(())
    }

    /// Hands blocks and presences to the sessions.
    async fn deliver(&self, from: PeerId, message: Message, length: usize) {
        if message.blocks.is_empty() && message.presences.is_empty() {
            return;
        }
        // Whom nobody has asked for anything sends nothing that is worth hashing.
        let asked = self.lock().peers.get(&from).is_some_and(Peer::was_asked);
        if !asked {
            return;
        }
        let mut wrong = false;
        let mut blocks = Vec::with_capacity(message.blocks.len());
        for block in message.blocks {
            match hash_function(&block.prefix) {
                Some(function) if block.data.len() <= MAX_BLOCK => {
                    let Some(digest) = hashing::digest(function, &block.data).await else { return };
                    // A small block does not keep a large message in memory.
                    let small = block.data.len().saturating_mul(2) < length;
                    let data = if small { Bytes::copy_from_slice(&block.data) } else { block.data };
                    blocks.push((Multihash { function, digest }, data));
                }
                _ => wrong = true,
            }
        }
        let presences: Vec<_> = message
            .presences
            .into_iter()
            .filter_map(|presence| Some((Cid::from_bytes(&presence.cid).ok()?.multihash(), presence.have)))
            .collect();

        let mut state = self.lock();
        let State { peers, sessions, .. } = &mut *state;
        let now = Instant::now();
        for (multihash, data) in blocks {
            let mut expected = peers.get_mut(&from).is_some_and(|peer| peer.received(multihash));
            for session in sessions.values_mut() {
                expected |= session.block(from, multihash, &data, peers, now);
            }
            wrong |= !expected;
        }
        for (multihash, have) in presences {
            if let Some(peer) = peers.get_mut(&from) {
                peer.presence(multihash, have);
            }
            for session in sessions.values_mut() {
                session.presence(from, multihash, have);
            }
        }
        for session in sessions.values_mut() {
            if wrong {
                session.wrong(from, peers);
            }
            session.schedule(peers, now);
        }
    }
}

impl Peer {
    pub(crate) fn new(stop: CancellationToken) -> Self {
        Peer {
            outbox: Vec::new(),
            changed: Arc::default(),
            asked: HashMap::new(),
            recent: Recent::default(),
            moved: Arc::default(),
            ledger: Arc::default(),
            reading: Arc::new(Semaphore::new(1)),
            streams: 0,
            stop,
        }
    }

    /// Asks for a block on behalf of a session.
    pub(crate) fn ask(&mut self, session: u64, cid: Cid, kind: Kind, priority: i32) {
        let ask = self.asked.entry(cid.multihash()).or_insert(Ask { cid, kind, sessions: Vec::new() });
        let news = ask.sessions.is_empty() || ask.kind < kind;
        ask.kind = ask.kind.max(kind);
        if !ask.sessions.contains(&session) {
            ask.sessions.push(session);
        }
        if news {
            let cid = ask.cid;
            self.push(entry(cid, kind, priority, false));
        }
    }

    /// A session no longer waits for this peer's answer.
    pub(crate) fn release(&mut self, session: u64, multihash: Multihash) {
        let Some(ask) = self.asked.get_mut(&multihash) else { return };
        ask.sessions.retain(|other| *other != session);
        if ask.sessions.is_empty() {
            let (cid, kind) = (ask.cid, ask.kind);
            self.asked.remove(&multihash);
            self.recent.add(multihash);
            self.push(entry(cid, kind, 0, true));
        }
    }

    fn was_asked(&self) -> bool {
        !self.asked.is_empty() || !self.recent.is_empty()
    }

    /// Whether a block that came was asked for, now or a moment ago.
    fn received(&mut self, multihash: Multihash) -> bool {
        if self.asked.remove(&multihash).is_some() {
            self.recent.add(multihash);
            return true;
        }
        self.recent.contains(&multihash)
    }

    fn presence(&mut self, multihash: Multihash, have: bool) {
        // "Have" answers a question and not a request. Some send the block after all once they have it.
        if self.asked.get(&multihash).is_some_and(|ask| !have || ask.kind == Kind::Have) {
            self.asked.remove(&multihash);
            self.recent.add(multihash);
        }
    }

    fn push(&mut self, entry: Entry) {
        let full = self.outbox.len() >= MAX_OUTBOX;
        match self.outbox.iter_mut().find(|waiting| waiting.cid == entry.cid) {
            Some(waiting) => *waiting = entry,
            // A peer that reads nothing: it is silent, and what it wants to know is asked of others.
            None if full => {}
            None => self.outbox.push(entry),
        }
        self.changed.notify_one();
    }

    fn take_outbox(&mut self) -> Vec<Entry> {
        let rest = self.outbox.split_off(self.outbox.len().min(MAX_ENTRIES));
        std::mem::replace(&mut self.outbox, rest)
    }

    fn forget_asks(&mut self) {
        for multihash in std::mem::take(&mut self.asked).into_keys() {
            self.recent.add(multihash);
        }
        self.outbox.clear();
    }
}

/// The last blocks that were asked for. A message may name thousands, so each is found in one step.
#[derive(Default)]
struct Recent {
    order: VecDeque<Multihash>,
    known: HashSet<Multihash>,
}

impl Recent {
    fn add(&mut self, multihash: Multihash) {
        if !self.known.insert(multihash) {
            return;
        }
        self.order.push_back(multihash);
        if self.order.len() > MAX_RECENT
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    fn contains(&self, multihash: &Multihash) -> bool {
        self.known.contains(multihash)
    }

    fn is_empty(&self) -> bool {
        self.order.is_empty()
    }
}

fn entry(cid: Cid, kind: Kind, priority: i32, cancel: bool) -> Entry {
    Entry { cid: Bytes::copy_from_slice(cid.as_bytes()), priority, cancel, kind, send_dont_have: !cancel }
}

#[cfg(test)]
mod tests {
    use crust_protocol::file::HashFunction;

    use super::*;

    #[test]
    fn the_last_blocks_are_remembered_once_each() {
        let block = |number: usize| {
            let digest = HashFunction::Sha2_256.digest(&number.to_le_bytes());
            Multihash { function: HashFunction::Sha2_256, digest }
        };
        let mut recent = Recent::default();
        for number in 0..=MAX_RECENT {
            recent.add(block(number));
            recent.add(block(number));
        }
        assert_eq!((recent.order.len(), recent.known.len()), (MAX_RECENT, MAX_RECENT));
        assert!(!recent.contains(&block(0)) && recent.contains(&block(1)) && recent.contains(&block(MAX_RECENT)));
    }
}
