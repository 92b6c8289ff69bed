//! The wants of one peer and how they are answered.
//!
//! Trigger: a message with wants. Action: the peer's task reads the blocks in the order of the peer's priorities,
//! checks each against its CID, and writes them in messages of about 1 MiB, reading the next while one is written.
//! Follow-up: a want that was answered is forgotten; who got "do not have" asks again when it likes.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use crust_protocol::{file::Cid, walk::MAX_BLOCK};
use libp2p::PeerId;
use tokio::{sync::Notify, time::timeout};

use super::{
    engine::Engine,
    frames::Held,
    hashing,
    message::{self, Entry, Kind, Message, Payload, Presence},
    sender::{STREAM_IDLE, Sender},
};

/// Wants of a peer that are kept; more are not heard.
pub(crate) const MAX_WANTS: usize = 1_024;
/// The longest CID that is kept.
const MAX_CID: usize = 128;
/// A message of blocks is sent when it has this many bytes.
const MESSAGE_BYTES: usize = 1 << 20;

/// What a peer wants of us.
#[derive(Default)]
pub(crate) struct Ledger {
    wants: Mutex<WantsOfPeer>,
    changed: Notify,
}

#[derive(Default)]
struct WantsOfPeer {
    queue: BTreeMap<Rank, Wanted>,
    ranks: HashMap<Bytes, Rank>,
    next: u64,
}

/// Highest priority first, then in order of arrival.
type Rank = (Reverse<i32>, u64);

struct Wanted {
    cid: Bytes,
    kind: Kind,
    send_dont_have: bool,
}

impl Ledger {
    /// Takes the wants and cancels of a message.
    pub(crate) fn update(&self, full: bool, entries: &[Entry]) {
        if !full && entries.is_empty() {
            return;
        }
        let mut wants = self.lock();
        if full {
            wants.queue.clear();
            wants.ranks.clear();
        }
        for entry in entries {
            wants.update(entry);
        }
        drop(wants);
        self.changed.notify_one();
    }

    /// Wants that wait for an answer.
    pub(crate) fn len(&self) -> usize {
        self.lock().queue.len()
    }

    fn clear(&self) {
        let mut wants = self.lock();
        wants.queue.clear();
        wants.ranks.clear();
    }

    fn next(&self) -> Option<(Rank, Wanted)> {
        let mut wants = self.lock();
        let (rank, wanted) = wants.queue.pop_first()?;
        wants.ranks.remove(&wanted.cid);
        Some((rank, wanted))
    }

    fn put_back(&self, rank: Rank, wanted: Wanted) {
        let mut wants = self.lock();
        wants.ranks.insert(wanted.cid.clone(), rank);
        wants.queue.insert(rank, wanted);
    }

    fn lock(&self) -> MutexGuard<'_, WantsOfPeer> {
        self.wants.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl WantsOfPeer {
    fn update(&mut self, entry: &Entry) {
        let known = self.ranks.get(&entry.cid).copied();
        if entry.cancel {
            if let Some(rank) = known {
                self.ranks.remove(&entry.cid);
                self.queue.remove(&rank);
            }
        } else if let Some(wanted) = known.and_then(|rank| self.queue.get_mut(&rank)) {
            wanted.kind = wanted.kind.max(entry.kind);
            wanted.send_dont_have |= entry.send_dont_have;
        } else if self.queue.len() < MAX_WANTS && entry.cid.len() <= MAX_CID {
            let rank = (Reverse(entry.priority), self.next);
            self.next = self.next.wrapping_add(1);
            // A copy, or the whole message would be kept for it.
            let cid = Bytes::copy_from_slice(&entry.cid);
            self.ranks.insert(cid.clone(), rank);
            self.queue.insert(rank, Wanted { cid, kind: entry.kind, send_dont_have: entry.send_dont_have });
        }
    }
}

/// Answers the peer's wants for as long as it is connected.
pub(crate) async fn respond(engine: Arc<Engine>, peer: PeerId, ledger: Arc<Ledger>) {
    let mut sender = Sender::of_blocks(peer);
    // The first message goes out alone: who does not read holds no more of our memory than that.
    let mut reads = false;
    let mut ready: Option<Answer> = None;
    loop {
        let answer = match ready.take() {
            Some(answer) => answer,
            None => match answer(&engine, &ledger).await {
                Some(answer) => answer,
                None => {
                    if timeout(STREAM_IDLE, ledger.changed.notified()).await.is_err() {
                        sender.close().await;
                    }
                    continue;
                }
            },
        };
        let pieces = answer.message.encode();
        let ahead = async { if reads { self::answer(&engine, &ledger).await } else { None } };
        let (sent, next) = futures::join!(sender.send(&engine, &pieces), ahead);
        ready = next;
        match sent {
            Ok(()) => reads = true,
            Err(error) => {
                tracing::debug!(%peer, %error, "the peer's wants are dropped: it does not take the answers");
                reads = false;
                ready = None;
                ledger.clear();
            }
        }
    }
}

/// A message to be sent, and the memory that it holds.
struct Answer {
    message: Message,
    held: Vec<Held>,
}

/// The next message for the peer, if it wants anything.
async fn answer(engine: &Engine, ledger: &Ledger) -> Option<Answer> {
    let mut answer = Answer { message: Message::default(), held: Vec::new() };
    let mut bytes = 0usize;
    while bytes < MESSAGE_BYTES && answer.message.presences.len() < MAX_WANTS {
        let Some((rank, wanted)) = ledger.next() else { break };
        let cid = Cid::from_bytes(&wanted.cid).ok();
        let size = match cid {
            Some(cid) => engine.blocks.size(cid).await.and_then(|size| usize::try_from(size).ok()),
            None => None,
        };
        let (Some(cid), Some(size)) = (cid, size.filter(|size| *size <= MAX_BLOCK)) else {
            answer.refuse(wanted);
            continue;
        };
        if wanted.kind == Kind::Have {
            answer.message.presences.push(Presence { cid: wanted.cid, have: true });
            continue;
        }
        if !answer.message.blocks.is_empty() && bytes.saturating_add(size) > MESSAGE_BYTES {
            ledger.put_back(rank, wanted);
            break;
        }
        // Nothing waits for memory while it holds some.
        let held = match engine.outgoing.try_take(size) {
            Some(held) => held,
            None if !answer.held.is_empty() => {
                ledger.put_back(rank, wanted);
                break;
            }
            None => engine.outgoing.take(size).await?,
        };
        let Some(data) = engine.blocks.get(cid).await else {
            answer.refuse(wanted);
            continue;
        };
        if data.len() > MAX_BLOCK || !hashing::names(cid, &data).await {
            engine.blocks.wrong(cid);
            answer.refuse(wanted);
            continue;
        }
        bytes = bytes.saturating_add(data.len()).saturating_add(64);
        answer.held.push(held);
        answer.message.blocks.push(Payload { prefix: message::prefix(&wanted.cid, &cid), data });
    }
    (!answer.message.is_empty()).then_some(answer)
}

impl Answer {
    fn refuse(&mut self, wanted: Wanted) {
        if wanted.send_dont_have {
            self.message.presences.push(Presence { cid: wanted.cid, have: false });
        }
    }
}

#[cfg(test)]
#[path = "server_tests.rs"]
mod tests;
