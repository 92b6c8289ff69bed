//! Gets the blocks of orders whose place this node holds, several orders at a time.
//!
//! Trigger: an order in the state `Taken`. Action: the blocks are asked of every peer that connects (the client dials
//! the nodes) and of the replicas named on chain, as a stream in walk order, which [`super::seal`] has sealed as it
//! arrives. Follow-up: `Sealed`; or `Refused` if the content is not what was ordered, with the reason; or `Waiting` if
//! the bytes did not come while the place was held. An order that ends meanwhile stops its job.

use std::{
    collections::{BTreeMap, BTreeSet},
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex},
    time::Duration,
};

use crust_client::chain::{BlockRef, Replica};
use crust_network::{PeerId, fetch};
use crust_protocol::{order::OrderId, walk::Limits};
use futures::FutureExt;
use tokio::{sync::watch, task::JoinSet};

use super::{Error, Next, Worker, held, seal};
use crate::{
    host::{Host, next_head},
    store::index::{Record, State},
};

const NAME: &str = "fetch";
/// Orders looked at for jobs at a time.
const LOOK: usize = 256;
/// Replicas that are dialled for a file.
const DIALS: usize = 32;
/// Slots after which an order is tried again: one, doubled with each attempt up to this.
const MOST_SLOTS: u32 = 64;
/// Pause after a job that failed for a reason of ours.
const PAUSE: Duration = Duration::from_secs(2);

pub struct Fetch {
    host: Arc<Host>,
    heads: watch::Receiver<Option<BlockRef>>,
    jobs: JoinSet<OrderId>,
    running: BTreeSet<OrderId>,
    /// The order whose job was started last: the next ones have their turn before it.
    last: Option<OrderId>,
    waiting: u64,
    troubles: Troubles,
}

/// What went wrong with orders in work, until it goes well or they end.
type Troubles = Arc<Mutex<BTreeMap<OrderId, String>>>;

impl Fetch {
    pub fn new(host: Arc<Host>) -> Self {
        let heads = host.best.subscribe();
        Fetch {
            host,
            heads,
            jobs: JoinSet::new(),
            running: BTreeSet::new(),
            last: None,
            waiting: 0,
            troubles: Troubles::default(),
        }
    }
}

impl Worker for Fetch {
    fn name(&self) -> &'static str {
        NAME
    }

    async fn work(&mut self) -> Result<Next, Error> {
        while let Some(Ok(order)) = self.jobs.try_join_next() {
            self.running.remove(&order);
        }
        self.host.number()?;
        let last = self.last;
        let taken = self.host.store.run(move |index| {
            let mut taken = index.in_state(State::Taken, last, LOOK)?;
            taken.extend(index.in_state(State::Taken, None, LOOK)?);
            Ok(taken)
        });
        let taken = taken.await?;
        if let Ok(mut troubles) = self.troubles.lock() {
            troubles.retain(|order, _| taken.contains(order));
        }
        self.waiting = self.host.store.run(|index| index.count(State::Taken)).await?;
        for order in taken {
            if self.running.len() >= self.host.config.parallel {
                break;
            }
            if self.running.insert(order) {
                self.last = Some(order);
                let (host, troubles) = (self.host.clone(), self.troubles.clone());
                self.jobs.spawn(async move {
                    if AssertUnwindSafe(job(&host, order, &troubles)).catch_unwind().await.is_err() {
                        tracing::error!(order = hex::encode(order), "fetching it panicked; please report this");
                        tokio::time::sleep(PAUSE).await;
                    }
                    order
                });
            }
        }
        Ok(Next::Wait)
    }

    async fn wait(&mut self) {
        tokio::select! {
            Some(Ok(order)) = self.jobs.join_next() => {
                self.running.remove(&order);
            }
            () = self.host.wakes.fetch.notified() => (),
            () = next_head(&mut self.heads, Duration::from_secs(30)) => (),
        }
    }

    fn queue(&self) -> u64 {
        self.waiting
    }

    fn trouble(&self) -> Option<String> {
        let troubles = self.troubles.lock().ok()?;
        troubles.iter().next().map(|(order, trouble)| format!("order {}: {trouble}", hex::encode(order)))
    }
}

/// One order, until it is sealed or this attempt at it has ended.
async fn job(host: &Arc<Host>, id: OrderId, troubles: &Troubles) {
    let result = match attempt(host, id).await {
        Ok(()) | Err(seal::Failure::Ended) => Ok(()),
        Err(failure) => settle(host, id, failure).await,
    };
    let trouble = result.err().map(|error| error.to_string());
    if let Ok(mut troubles) = troubles.lock() {
        match &trouble {
            Some(trouble) => troubles.insert(id, trouble.clone()),
            None => troubles.remove(&id),
        };
    }
    if let Some(trouble) = trouble {
        tracing::warn!(order = hex::encode(id), "{trouble}");
        metrics::counter!("crust_worker_errors_total", "worker" => NAME).increment(1);
        tokio::time::sleep(PAUSE).await;
    }
}

/// Ends when the order is no longer one to fetch.
async fn ended(host: &Host, id: OrderId) {
    let mut heads = host.finalized.subscribe();
    loop {
        next_head(&mut heads, Duration::from_secs(30)).await;
        match host.store.index.order(&id) {
            Ok(Some(record)) if record.state == State::Taken => (),
            Ok(_) => return,
            Err(_) => (),
        }
    }
}

async fn attempt(host: &Arc<Host>, id: OrderId) -> Result<(), seal::Failure> {
    let Some(record) = host.store.index.order(&id).map_err(Error::from)?.filter(|record| record.state == State::Taken)
    else {
        return Ok(());
    };
    if held::is_held(&host.enclave, id).await? {
        // Committed, and the index could not be told.
        seal::finish(&host.store, &record).await?;
        host.wakes.seal.notify_one();
        return Ok(());
    }
    let view = host.view().await?;
    let Some(order) = view.order(id).await.map_err(Error::from)? else { return Ok(()) };
    let record = place(host, record).await?;
    let session = host.network.session_any();
    let elsewhere = view.replicas_of(order.cid).await.map_err(Error::from)?;
    session.add_peers(&dial_replicas(host, &elsewhere).await);
    let kept = seal::Kept::of(host, &record);
    let known = kept.clone();
    let blocks = fetch::stream_after(session, order.cid, Limits::PROTOCOL, move |cid| known.clone().block(cid));
    tracing::info!(order = hex::encode(id), cid = %order.cid, size = order.size, "fetching");
    seal::seal(host, &record, &kept, blocks, ended(host, id)).await
}

/// Sees to it that the order has space on a disk that is there.
async fn place(host: &Host, record: Record) -> Result<Record, Error> {
    let id = record.content.id();
    let size = record.content.size;
    let present = |disk| host.store.disk(&disk).is_some_and(|disk| disk.present());
    if let Some(disk) = record.disk.filter(|disk| present(*disk))
        && host.store.promise(&id, &disk, size)
    {
        if host.store.still_fits(&id, &disk)? {
            return Ok(record);
        }
        host.store.release(&id);
    }
    seal::remove(&host.store, &record).await;
    let disk = host.store.choose(size).filter(|disk| host.store.promise(&id, disk, size));
    let disk =
        disk.ok_or_else(|| Error::Other("no disk has room for it any more: free space, or lower a capacity".into()))?;
    let change = move |record: &mut Record| record.disk = Some(disk);
    let changed = host.store.run(move |index| index.change(&id, change)).await?;
    changed.ok_or_else(|| Error::Other("its order has ended".into()))
}

/// Connects to the file's other replicas, of this order or another.
async fn dial_replicas(host: &Host, replicas: &[Replica]) -> Vec<PeerId> {
    let own = host.network.peer_id();
    let endpoints = replicas.iter().filter_map(Replica::endpoint).filter(|(peer, _)| *peer != own).take(DIALS);
    let dials = endpoints.map(|(peer, addresses)| {
        let network = host.network.clone();
        async move {
            if let Err(error) = network.dial(peer, addresses).await {
                tracing::debug!("a replica is not reached: {error}");
            }
            peer
        }
    });
    futures::future::join_all(dials).await
}

/// What becomes of an order whose attempt failed.
async fn settle(host: &Host, id: OrderId, failure: seal::Failure) -> Result<(), Error> {
    match failure {
        seal::Failure::Content(reason) => {
            tracing::warn!(order = hex::encode(id), "refused, left to be refunded at its end: {reason}");
            host.store.release(&id);
            host.store
                .run(move |index| {
                    index.forget_blocks(&id)?;
                    index.change(&id, |record| {
                        (record.state, record.disk) = (State::Refused, None);
                        record.note = Some(reason);
                    })
                })
                .await?;
        }
        seal::Failure::Fetch(reason) => {
            tracing::info!(order = hex::encode(id), "the bytes did not come: {reason}");
            if !lapse(host, id, reason, true).await? {
                tokio::time::sleep(PAUSE).await;
            }
        }
        seal::Failure::Ended => (),
        seal::Failure::Here(error) => {
            lapse(host, id, error.to_string(), false).await?;
            return Err(error);
        }
    }
    Ok(())
}

/// Notes why an attempt failed. If the place has lapsed meanwhile, the order and its space are given back, and it is
/// looked at again after a while: each time a longer one if it `counts` against the order, and was not our own fault.
async fn lapse(host: &Host, id: OrderId, reason: String, counts: bool) -> Result<bool, Error> {
    if held::is_held(&host.enclave, id).await? {
        // That is all that there was to it: the next attempt tells the index.
        return Ok(false);
    }
    let head = host.head()?;
    let slot_blocks = host.parameters().slot_blocks;
    let change = move |record: &mut Record| {
        record.note = Some(reason);
        if record.state == State::Taken && record.until <= head.number.saturating_add(1) {
            let slots = match counts {
                true => 1_u32.checked_shl(record.attempts).unwrap_or(MOST_SLOTS).min(MOST_SLOTS),
                false => 1,
            };
            record.attempts = record.attempts.saturating_add(u32::from(counts));
            record.until = head.number.saturating_add(slots.saturating_mul(slot_blocks));
            record.state = State::Waiting;
        }
    };
    let changed = host.store.run(move |index| index.change(&id, change)).await?;
    let Some(record) = changed.filter(|record| record.state == State::Waiting) else { return Ok(false) };
    // Its space is not kept for it, so nor is what there is of it.
    seal::remove(&host.store, &record).await;
    host.store.release(&id);
    Ok(true)
}
