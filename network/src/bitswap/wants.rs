//! The state of a session: what is wanted, who is asked for it, and what each peer has shown of itself.
//!
//! A want is asked of one peer at a time, of the best that has room in its window: one that said "have", has sent blocks
//! or was named by the program before one of which nothing is known, and a silent one only if there is no other. While nobody is known to
//! have the file, all others are asked whether they have the block that is waited for. A window grows while its peer
//! answers within a second and shrinks while it does not, so a slow peer never holds many of the next blocks. One for
//! which another had to step in is asked last for a while, each time twice as long.
//!
//! | Trigger | Action |
//! |---|---|
//! | a block | whoever waits gets it; other peers are told that it is no longer wanted |
//! | "do not have" | the next peer is asked; when all have said so, all are asked again a little later |
//! | a peer that sends nothing | its wants go to others, or are sent to it again |
//! | bytes that nobody asked for | the peer is asked for nothing any more |
//! | a block that is waited for and does not come | a second peer is asked as well; if it wins, the first is put last |
//! | no byte for longer than the session's patience | an error that names every peer's state |
//! | a block that is waited for ten times as long, whatever trickles in | the same |

use std::{
    collections::{BTreeMap, HashMap},
    ops::Bound,
    time::{Duration, Instant},
};

use bytes::Bytes;
use crust_protocol::file::{Cid, Codec, Multihash};
use libp2p::PeerId;
use tokio::sync::oneshot;

use super::{
    engine::{Peer, Peers},
    message::Kind,
    session::{Error, Options, PeerState},
};

/// Blocks asked at once of a peer that has proved nothing yet.
const FIRST_WINDOW: usize = 4;
/// Blocks asked at once of any peer.
const MAX_WINDOW: usize = 256;
/// Within this time an answer lets the window grow; after twice the time it shrinks.
const GOOD_ANSWER: Duration = Duration::from_secs(1);
/// A candidate that is not connected is dialled this often while something is wanted.
const REDIAL: Duration = Duration::from_secs(5);
/// After "do not have" from all, they are asked again; at first after this time, then twice as late each time.
const ASK_AGAIN: Duration = Duration::from_millis(250);
const ASK_AGAIN_AT_MOST: Duration = Duration::from_secs(4);
/// Blocks that are wanted or asked for ahead of time at once.
const MAX_AHEAD: usize = 1_024;
/// What is taken from the budget for a block as long as no leaf has come.
const FIRST_RESERVE: usize = 1 << 20;
/// A peer for which another had to step in is asked last for so long, then twice as long each time.
const BEHIND: Duration = Duration::from_secs(10);
const BEHIND_AT_MOST: Duration = Duration::from_secs(300);
/// A block is given up after so many times the session's patience, even if bytes come.
const PATIENCES: u32 = 10;
/// Unknown peers that are asked at a time whether they have the block that is waited for, when others have some.
const PROBES: usize = 16;

/// A session's state.
pub(crate) struct Wants {
    id: u64,
    /// Every peer that connects takes part.
    any: bool,
    options: Options,
    members: BTreeMap<PeerId, Member>,
    wants: HashMap<Multihash, Want>,
    /// Wants that are asked of nobody and not put off.
    queue: BTreeMap<Rank, Multihash>,
    next: u64,
    /// Blocks that came before anybody fetched them.
    ready: HashMap<Multihash, Bytes>,
    ready_bytes: usize,
    /// The largest leaf that came.
    largest: usize,
    moved: Instant,
    received: u64,
}

/// Those that somebody waits for first, then in order of asking.
type Rank = (bool, u64);
type Waiter = oneshot::Sender<Result<Bytes, Error>>;

struct Want {
    cid: Cid,
    rank: Rank,
    prefetched: bool,
    waiters: Vec<Waiter>,
    waiting_since: Instant,
    asked: Vec<(PeerId, Instant)>,
    probed: Vec<PeerId>,
    have: Vec<PeerId>,
    refused: Vec<PeerId>,
    rounds: u32,
    again_at: Option<Instant>,
}

#[derive(Default)]
struct Member {
    /// Named by the program, so it is dialled.
    candidate: bool,
    connected: bool,
    was_connected: bool,
    unreachable: Option<String>,
    dialled: Option<Instant>,
    no_bitswap: bool,
    wrong: bool,
    silent: bool,
    /// Another had to step in for it: until then it is asked last.
    behind: Option<Instant>,
    /// How long it was put last the last time.
    setback: Duration,
    /// Has sent a block or said "have", or was named by the program and has not refused anything yet.
    knows: bool,
    window: usize,
    in_flight: HashMap<Multihash, Instant>,
    blocks: u64,
}

/// Whom to ask first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Class {
    Has,
    Knows,
    Unknown,
    /// Silent, or too slow a moment ago.
    Last,
}

impl Class {
    /// Busy peers of one rank are waited for rather than asking one of the next.
    fn tier(self) -> u8 {
        match self {
            Class::Has | Class::Knows => 0,
            Class::Unknown => 1,
            Class::Last => 2,
        }
    }
}

impl Wants {
    pub(crate) fn new(id: u64, candidates: &[PeerId], any: bool, options: Options) -> Self {
        let mut wants = Wants {
            id,
            any,
            options,
            members: BTreeMap::new(),
            wants: HashMap::new(),
            queue: BTreeMap::new(),
            next: 0,
            ready: HashMap::new(),
            ready_bytes: 0,
            largest: 0,
            moved: Instant::now(),
            received: 0,
        };
        for peer in candidates {
            wants.add_candidate(*peer, false);
        }
        wants
    }

    // ---- what the program does

    pub(crate) fn want(&mut self, cid: Cid, waiter: Waiter, now: Instant) {
        let multihash = cid.multihash();
        if let Some(bytes) = self.ready.remove(&multihash) {
            self.ready_bytes = self.ready_bytes.saturating_sub(bytes.len());
            let _ = waiter.send(Ok(bytes));
            return;
        }
        self.insert(cid, false, now);
        if let Some(want) = self.wants.get_mut(&multihash) {
            if want.waiters.is_empty() {
                want.waiting_since = now;
            }
            want.waiters.push(waiter);
            let (before, after) = (want.rank, (false, want.rank.1));
            want.rank = after;
            if self.queue.remove(&before).is_some() {
                self.queue.insert(after, multihash);
            }
        }
    }

    pub(crate) fn prefetch(&mut self, cids: impl IntoIterator<Item = Cid>, now: Instant) {
        for cid in cids {
            if self.wants.len() >= MAX_AHEAD {
                break;
            }
            let multihash = cid.multihash();
            if !self.ready.contains_key(&multihash) {
                self.insert(cid, true, now);
            }
        }
    }

    /// Drops a want for which nobody waits any more.
    pub(crate) fn withdraw(&mut self, multihash: Multihash, peers: &mut Peers) {
        let Some(want) = self.wants.get_mut(&multihash) else { return };
        want.waiters.retain(|waiter| !waiter.is_closed());
        if want.waiters.is_empty() && !want.prefetched {
            self.take(multihash, None, peers);
        }
    }

    pub(crate) fn close(&mut self, peers: &mut Peers, error: impl Fn() -> Error) {
        let all: Vec<_> = self.wants.keys().copied().collect();
        for multihash in all {
            for waiter in self.take(multihash, None, peers).map(|want| want.waiters).unwrap_or_default() {
                let _ = waiter.send(Err(error()));
            }
        }
        self.ready.clear();
        self.ready_bytes = 0;
    }

    pub(crate) fn add_candidate(&mut self, peer: PeerId, connected: bool) {
        self.members
            .entry(peer)
            .or_insert_with(|| Member { candidate: true, knows: true, ..Member::default() })
            .candidate = true;
        if connected {
            self.join(peer);
        }
    }

    pub(crate) fn received(&self) -> u64 {
        self.received
    }

    /// The state of every peer, towards one block if one is named.
    pub(crate) fn states(&self, multihash: Option<Multihash>) -> Vec<(PeerId, PeerState)> {
        let want = multihash.and_then(|multihash| self.wants.get(&multihash));
        let state = |(peer, member): (&PeerId, &Member)| {
            let refused = want.is_some_and(|want| want.refused.contains(peer));
            let state = match member {
                Member { wrong: true, .. } => PeerState::WrongBytes,
                Member { no_bitswap: true, .. } => PeerState::NoBitswap,
                Member { connected: false, unreachable: Some(reason), .. } => PeerState::Unreachable(reason.clone()),
                Member { connected: false, was_connected: true, .. } => PeerState::Left,
                Member { connected: false, .. } => PeerState::Connecting,
                _ if refused => PeerState::Refused,
                Member { silent: true, .. } => PeerState::Silent,
                Member { behind: Some(_), .. } => PeerState::Slow,
                Member { blocks, .. } => PeerState::Connected { blocks: *blocks },
            };
            (*peer, state)
        };
        self.members.iter().map(state).collect()
    }

    // ---- what the peers do

    pub(crate) fn join(&mut self, peer: PeerId) {
        if !self.any && !self.members.contains_key(&peer) {
            return;
        }
        let first = if self.any { 1 } else { FIRST_WINDOW };
        let member = self.members.entry(peer).or_default();
        member.connected = true;
        member.was_connected = true;
        member.unreachable = None;
        member.silent = false;
        member.no_bitswap = false;
        member.window = first;
        // Blocks that nobody had are asked of the new peer at once.
        for want in self.wants.values_mut() {
            want.refused.retain(|other| *other != peer);
            if want.again_at.take().is_some() {
                self.queue.insert(want.rank, want.cid.multihash());
            }
        }
    }

    pub(crate) fn leave(&mut self, peer: PeerId) {
        self.unask_all(peer, |want| {
            want.have.retain(|other| *other != peer);
            want.refused.retain(|other| *other != peer);
        });
        let any = self.any;
        if let Some(member) = self.members.get_mut(&peer) {
            member.connected = false;
            if any && !member.candidate && !member.wrong {
                self.members.remove(&peer);
            }
        }
    }

    pub(crate) fn unreachable(&mut self, peer: PeerId, reason: &str) {
        if let Some(member) = self.members.get_mut(&peer).filter(|member| !member.connected) {
            member.unreachable = Some(reason.to_owned());
        }
    }

    /// The peer cannot be told what is wanted of it.
    pub(crate) fn deaf(&mut self, peer: PeerId, unsupported: bool, _: &mut Peers) {
        self.unask_all(peer, |_| {});
        if let Some(member) = self.members.get_mut(&peer) {
            member.no_bitswap |= unsupported;
            member.silent = true;
            member.window = 1;
        }
    }

    /// The peer sent bytes that nobody had asked for.
    pub(crate) fn wrong(&mut self, peer: PeerId, peers: &mut Peers) {
        let Some(member) = self.members.get_mut(&peer).filter(|member| !member.in_flight.is_empty()) else { return };
        member.wrong = true;
        tracing::warn!(%peer, "the peer sent a block that it was not asked for; it is not asked any more");
        self.take_back(peer, peers);
    }

    /// Whether the block was wanted.
    pub(crate) fn block(
        &mut self,
        from: PeerId,
        multihash: Multihash,
        bytes: &Bytes,
        peers: &mut Peers,
        now: Instant,
    ) -> bool {
        let asked_at = self.members.get(&from).and_then(|member| member.in_flight.get(&multihash).copied());
        let Some(mut want) = self.take(multihash, Some(from), peers) else { return false };
        if let Some(member) = self.members.get_mut(&from) {
            member.sent_block(asked_at, now);
        }
        // Whoever was asked before it and did not come in time.
        let hedge = self.options.hedge;
        let first = |(_, at): &&(PeerId, Instant)| {
            asked_at.is_some_and(|asked_at| *at < asked_at) && now.duration_since(*at) > hedge
        };
        let late: Vec<_> = want.asked.iter().filter(first).map(|(peer, _)| *peer).collect();
        for peer in late {
            self.put_last(peer, peers, now);
        }
        self.moved = now;
        self.received = self.received.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        if want.cid.codec() == Codec::Raw {
            self.largest = self.largest.max(bytes.len());
        }
        want.waiters.retain(|waiter| !waiter.is_closed());
        if want.waiters.is_empty() {
            let held = self.ready_bytes.saturating_add(bytes.len());
            // Blocks larger than all before may exceed the budget; those beyond are fetched again when they are due.
            if want.prefetched && held <= self.options.budget.saturating_add(self.options.budget / 2) {
                self.ready_bytes = held;
                self.ready.insert(multihash, bytes.clone());
            }
        }
        for waiter in want.waiters {
            let _ = waiter.send(Ok(bytes.clone()));
        }
        true
    }

    /// Asks a peer for nothing more for a while, if there are others.
    fn put_last(&mut self, peer: PeerId, peers: &mut Peers, now: Instant) {
        let Some(member) = self.members.get_mut(&peer) else { return };
        member.setback = member.setback.saturating_mul(2).clamp(BEHIND, BEHIND_AT_MOST);
        member.behind = now.checked_add(member.setback);
        member.window = 1;
        self.take_back(peer, peers);
    }

    pub(crate) fn presence(&mut self, from: PeerId, multihash: Multihash, have: bool) {
        let Some(want) = self.wants.get_mut(&multihash) else { return };
        let Some(member) = self.members.get_mut(&from) else { return };
        let asked = want.asked.iter().any(|(peer, _)| *peer == from) || want.probed.contains(&from);
        if !asked {
            return;
        }
        member.silent = false;
        want.probed.retain(|peer| *peer != from);
        if have {
            member.knows = true;
            // One that says so again and again is remembered once.
            if !want.have.contains(&from) {
                want.have.push(from);
            }
        } else {
            want.have.retain(|peer| *peer != from);
            want.refused.push(from);
            member.knows &= member.blocks > 0;
            member.in_flight.remove(&multihash);
            want.asked.retain(|(peer, _)| *peer != from);
        }
        if want.asked.is_empty() && want.again_at.is_none() {
            self.queue.insert(want.rank, multihash);
        }
    }

    // ---- who is asked for what

    /// Asks for as many wants as the peers have room for.
    pub(crate) fn schedule(&mut self, peers: &mut Peers, now: Instant) {
        let mut after = Bound::Unbounded;
        while self.members.values().any(Member::has_room) {
            let Some((rank, multihash)) = self.queue.range((after, Bound::Unbounded)).next() else { break };
            let (rank, multihash) = (*rank, *multihash);
            after = Bound::Excluded(rank);
            // Those that somebody waits for come first, and need no room.
            let (prefetched, _) = rank;
            if prefetched && !self.has_budget() {
                break;
            }
            self.assign(rank, multihash, peers, now);
        }
    }

    /// Whether one more block may be in flight: each counts as much as the largest leaf so far.
    fn has_budget(&self) -> bool {
        let reserve = if self.largest == 0 { FIRST_RESERVE } else { self.largest };
        let in_flight: usize = self.members.values().map(|member| member.in_flight.len()).sum();
        let next = in_flight.saturating_add(1).saturating_mul(reserve);
        self.ready_bytes.saturating_add(next) <= self.options.budget
    }

    fn assign(&mut self, rank: Rank, multihash: Multihash, peers: &mut Peers, now: Instant) {
        let Some(want) = self.wants.get_mut(&multihash) else {
            self.queue.remove(&rank);
            return;
        };
        let waited = !want.waiters.is_empty();
        let mut best: Option<(Class, usize, PeerId)> = None;
        let mut tier = u8::MAX;
        for (peer, member) in self.members.iter().filter(|(_, member)| member.is_usable()) {
            if want.refused.contains(peer) {
                continue;
            }
            let class = member.class(want.have.contains(peer));
            // Of a crowd only those that have shown something are asked ahead of time.
            if self.any && class >= Class::Unknown && !waited {
                continue;
            }
            tier = tier.min(class.tier());
            if member.has_room() {
                let candidate = (class, member.load(), *peer);
                best = Some(best.map_or(candidate, |best| best.min(candidate)));
            }
        }
        if tier == u8::MAX {
            let all_refused = self.members.values().any(Member::is_usable)
                && self.members.iter().all(|(peer, member)| !member.is_usable() || want.refused.contains(peer));
            if all_refused && want.probed.is_empty() {
                // Everybody has refused.
                self.queue.remove(&rank);
                let wait = ASK_AGAIN.saturating_mul(1 << want.rounds.min(8)).min(ASK_AGAIN_AT_MOST);
                want.rounds = want.rounds.saturating_add(1);
                want.again_at = now.checked_add(wait);
            }
            return;
        }
        let Some((class, _, peer)) = best else { return };
        if class.tier() > tier {
            return;
        }
        if class >= Class::Unknown && waited {
            self.probe(multihash, usize::MAX, Some(peer), peers);
        }
        self.ask(multihash, peer, peers, now);
    }

    /// Asks unknown peers whether they have a block.
    fn probe(&mut self, multihash: Multihash, at_most: usize, except: Option<PeerId>, peers: &mut Peers) {
        let Some(want) = self.wants.get_mut(&multihash) else { return };
        let unknown = self.members.iter().filter(|(peer, member)| {
            let class = member.class(want.have.contains(*peer));
            member.is_usable() && class >= Class::Unknown && !want.refused.contains(*peer) && except != Some(**peer)
        });
        for (peer, _) in unknown.take(at_most) {
            let asked = want.probed.contains(peer) || want.asked.iter().any(|(asked, _)| asked == peer);
            if let Some(connected) = peers.get_mut(peer).filter(|_| !asked) {
                connected.ask(self.id, want.cid, Kind::Have, priority(want.rank));
                want.probed.push(*peer);
            }
        }
    }

    /// Asks a peer for a block.
    fn ask(&mut self, multihash: Multihash, peer: PeerId, peers: &mut Peers, now: Instant) {
        let (Some(want), Some(member)) = (self.wants.get_mut(&multihash), self.members.get_mut(&peer)) else { return };
        let Some(connected) = peers.get_mut(&peer) else { return };
        connected.ask(self.id, want.cid, Kind::Block, priority(want.rank));
        want.probed.retain(|probed| *probed != peer);
        want.asked.push((peer, now));
        member.in_flight.insert(multihash, now);
        self.queue.remove(&want.rank);
    }

    /// Looks at the clock.
    pub(crate) fn tick(&mut self, peers: &mut Peers, now: Instant, moved: impl Fn(&Peer) -> Option<Instant>) {
        self.find_silent(peers, now, moved);
        for member in self.members.values_mut() {
            member.behind.take_if(|until| *until <= now);
        }
        let mut failed = Vec::new();
        let mut late = Vec::new();
        for (multihash, want) in &mut self.wants {
            if want.again_at.is_some_and(|at| at <= now) {
                if !self.any && want.rounds >= self.options.refusals && !want.waiters.is_empty() {
                    failed.push(*multihash);
                    continue;
                }
                want.again_at = None;
                want.refused.clear();
                want.have.clear();
                self.queue.insert(want.rank, *multihash);
            }
            if want.waiters.is_empty() {
                continue;
            }
            let since = self.moved.max(want.waiting_since);
            let longest = self.options.patience.saturating_mul(PATIENCES);
            if now.duration_since(since) > self.options.patience || now.duration_since(want.waiting_since) > longest {
                failed.push(*multihash);
            } else if let [(_, asked_at)] = *want.asked
                && now.duration_since(asked_at.max(want.waiting_since)) > self.options.hedge
            {
                late.push(*multihash);
            }
        }
        for multihash in late {
            self.hedge(multihash, peers, now);
        }
        for multihash in failed {
            let states = self.states(Some(multihash));
            if let Some(want) = self.take(multihash, None, peers) {
                for waiter in want.waiters {
                    let _ = waiter.send(Err(Error::Unavailable { cid: want.cid, peers: states.clone() }));
                }
            }
        }
    }

    /// Takes the wants from peers that send nothing.
    fn find_silent(&mut self, peers: &mut Peers, now: Instant, moved: impl Fn(&Peer) -> Option<Instant>) {
        let mut silent = Vec::new();
        for (id, member) in &mut self.members {
            let (Some(oldest), Some(peer)) = (member.in_flight.values().min(), peers.get(id)) else { continue };
            let last = moved(peer).map_or(*oldest, |moved| moved.max(*oldest));
            if last > self.moved && last > *oldest {
                self.moved = last;
            }
            if now.duration_since(last) > self.options.peer_timeout {
                member.silent = true;
                member.window = 1;
                silent.push(*id);
            }
        }
        for id in silent {
            self.take_back(id, peers);
        }
    }

    /// Asks one more peer for a block that is late, and unknown ones whether they have it.
    fn hedge(&mut self, multihash: Multihash, peers: &mut Peers, now: Instant) {
        let Some(want) = self.wants.get(&multihash) else { return };
        let second = self
            .members
            .iter()
            .filter(|(peer, member)| {
                let asked = want.asked.iter().any(|(asked, _)| asked == *peer);
                member.has_room() && !member.is_last() && !asked && !want.refused.contains(*peer)
            })
            .map(|(peer, member)| (member.class(want.have.contains(peer)), member.load(), *peer))
            .min();
        match second {
            Some((Class::Has | Class::Knows, _, peer)) => self.ask(multihash, peer, peers, now),
            Some((Class::Unknown, _, peer)) if !self.any => self.ask(multihash, peer, peers, now),
            _ => {}
        }
        self.probe(multihash, PROBES, None, peers);
    }

    /// Candidates that should be dialled.
    pub(crate) fn dials(&mut self, now: Instant) -> Vec<PeerId> {
        if self.wants.is_empty() {
            return Vec::new();
        }
        let due = |member: &Member| member.dialled.is_none_or(|at| now.duration_since(at) > REDIAL);
        self.members
            .iter_mut()
            .filter(|(_, member)| member.candidate && !member.connected && !member.wrong && due(member))
            .map(|(peer, member)| {
                member.dialled = Some(now);
                *peer
            })
            .collect()
    }

    fn insert(&mut self, cid: Cid, prefetched: bool, now: Instant) {
        let multihash = cid.multihash();
        if let Some(want) = self.wants.get_mut(&multihash) {
            want.prefetched |= prefetched;
            return;
        }
        let rank = (prefetched, self.next);
        self.next = self.next.wrapping_add(1);
        let want = Want {
            cid,
            rank,
            prefetched,
            waiters: Vec::new(),
            waiting_since: now,
            asked: Vec::new(),
            probed: Vec::new(),
            have: Vec::new(),
            refused: Vec::new(),
            rounds: 0,
            again_at: None,
        };
        self.wants.insert(multihash, want);
        self.queue.insert(rank, multihash);
    }

    /// Ends a want; whoever was asked, but for `from`, is told.
    fn take(&mut self, multihash: Multihash, from: Option<PeerId>, peers: &mut Peers) -> Option<Want> {
        let want = self.wants.remove(&multihash)?;
        self.queue.remove(&want.rank);
        for (peer, _) in &want.asked {
            if let Some(member) = self.members.get_mut(peer) {
                member.in_flight.remove(&multihash);
            }
        }
        for peer in want.asked.iter().map(|(peer, _)| peer).chain(&want.probed) {
            if let Some(connected) = peers.get_mut(peer).filter(|_| from != Some(*peer)) {
                connected.release(self.id, multihash);
            }
        }
        Some(want)
    }

    /// Takes back all that a peer was asked, and tells it.
    fn take_back(&mut self, peer: PeerId, peers: &mut Peers) {
        let released = self.unask_all(peer, |_| {});
        if let Some(peer) = peers.get_mut(&peer) {
            for multihash in released {
                peer.release(self.id, multihash);
            }
        }
    }

    /// Takes back all that a peer was asked, requests and questions.
    fn unask_all(&mut self, peer: PeerId, also: impl Fn(&mut Want)) -> Vec<Multihash> {
        let Some(member) = self.members.get_mut(&peer) else { return Vec::new() };
        member.in_flight.clear();
        let mut released = Vec::new();
        for (multihash, want) in &mut self.wants {
            let (asked, probed) = (want.asked.len(), want.probed.len());
            want.asked.retain(|(other, _)| *other != peer);
            want.probed.retain(|other| *other != peer);
            also(want);
            if want.asked.len() != asked && want.asked.is_empty() && want.again_at.is_none() {
                self.queue.insert(want.rank, *multihash);
            }
            if want.asked.len() != asked || want.probed.len() != probed {
                released.push(*multihash);
            }
        }
        released
    }
}

impl Member {
    fn is_usable(&self) -> bool {
        self.connected && !self.wrong && !self.no_bitswap
    }

    fn has_room(&self) -> bool {
        self.is_usable() && self.in_flight.len() < self.window
    }

    /// How full the window is, in thousandths.
    fn load(&self) -> usize {
        self.in_flight.len().saturating_mul(1_000).checked_div(self.window).unwrap_or(usize::MAX)
    }

    fn is_last(&self) -> bool {
        self.silent || self.behind.is_some()
    }

    fn class(&self, has: bool) -> Class {
        match self {
            _ if self.is_last() => Class::Last,
            _ if has => Class::Has,
            Member { knows: true, .. } => Class::Knows,
            _ => Class::Unknown,
        }
    }

    fn sent_block(&mut self, asked_at: Option<Instant>, now: Instant) {
        self.knows = true;
        self.silent = false;
        self.blocks = self.blocks.saturating_add(1);
        if let Some(took) = asked_at.map(|asked_at| now.duration_since(asked_at)) {
            if took < GOOD_ANSWER {
                (self.behind, self.setback) = (None, Duration::ZERO);
                self.window = self.window.saturating_add(1).min(MAX_WINDOW);
            } else if took > GOOD_ANSWER.saturating_mul(2) {
                self.window = self.window.saturating_mul(3).checked_div(4).unwrap_or(1).max(1);
            }
        }
    }
}

/// Earlier wants come first.
fn priority((_, number): Rank) -> i32 {
    i32::MAX.saturating_sub(i32::try_from(number & 0x3fff_ffff).unwrap_or(i32::MAX))
}

#[cfg(test)]
#[path = "wants_tests.rs"]
mod tests;
