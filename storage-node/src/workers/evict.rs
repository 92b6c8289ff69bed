//! Deletes what has ended.
//!
//! An endpoint that is behind what is known to be final is not asked: to it every order looks ended.
//!
//! Trigger: a finalized block. Action: a few orders of the index, in turn, are looked up in it; one that has ended is
//! deleted in the enclave's log, what had a receipt is named gone on the chain, and then the file goes. Files that the
//! enclave has given up as lost go the same way, all of them named before anything else is deleted: a report waits for
//! them. So does, after a while, a sealed file whose place went to another node: nobody pays for it. Nothing is deleted
//! before its end is final; nothing of a disk that is missing.
//! Follow-up: filler grows back.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::Arc,
    time::Duration,
};

use crust_client::chain::{BlockRef, Finality, Order, View};
use crust_enclave::rpc::{self, Request};
use crust_protocol::{BlockNumber, NodeId, order::OrderId};
use tokio::sync::watch;

use super::{Error, Next, Worker, held, seal, since::Since};
use crate::{
    enclave_client,
    host::{Host, next_head},
    statements::{self, GONE, Owed},
    store::{
        self, Store,
        index::{Record, State},
        sealed,
    },
};

/// Orders looked up a finalized block.
const LOOK: usize = 64;
/// Times that a take may last, for which a sealed file without a place is kept: if the other node does not seal the file
/// in its time, the place is open again, and the next taker has as long.
const TAKES: BlockNumber = 2;

pub struct Evict {
    host: Arc<Host>,
    heads: watch::Receiver<Option<BlockRef>>,
    /// Where the look through the index stands.
    cursor: Option<OrderId>,
    seen: Option<BlockRef>,
    /// Orders that are unknown to the chain, since a finalized block.
    unknown: Since,
    /// Sealed files without a place, and orders without an open one for them.
    placeless: Since,
    /// Where the look through what is ending stands.
    ending: Option<OrderId>,
    /// Ending, and deleted in the enclave's log already: their files wait for their disks.
    deleted: BTreeSet<OrderId>,
    waiting: u64,
}

impl Evict {
    pub fn new(host: Arc<Host>) -> Self {
        let heads = host.finalized.subscribe();
        Evict {
            host,
            heads,
            cursor: None,
            seen: None,
            unknown: Since::default(),
            placeless: Since::default(),
            ending: None,
            deleted: BTreeSet::new(),
            waiting: 0,
        }
    }

    /// Looks up the next few orders.
    async fn look(&mut self, number: NodeId) -> Result<(), Error> {
        if self.seen == *self.host.finalized.borrow() {
            return Ok(());
        }
        let view = self.host.settled().await?;
        let cursor = self.cursor;
        let page = self.host.store.run(move |index| index.records(cursor, LOOK)).await?;
        self.cursor = page.last().map(|(id, _)| *id).filter(|_| page.len() >= LOOK);
        for (id, record) in page {
            self.judge(&view, number, id, record).await?;
        }
        self.seen = Some(view.block());
        Ok(())
    }

    async fn judge(&mut self, view: &View, number: NodeId, id: OrderId, record: Record) -> Result<(), Error> {
        if record.state == State::Ending {
            return Ok(());
        }
        let Some(order) = view.order(id).await? else { return self.ended(view, number, id, record).await };
        self.unknown.ends(&id);
        // A receipt may be so new that it is not final; one that the best chain has not either was reorganised away.
        let mut receipt_gone = record.state == State::Held && order.replica_of(number).is_none();
        if receipt_gone {
            let best = self.host.chain.view(Finality::Best).await?.order(id).await?;
            receipt_gone = best.is_none_or(|order| order.replica_of(number).is_none());
        }
        let end = order.end;
        if receipt_gone || record.end != end {
            let change = move |record: &mut Record| {
                record.end = end;
                if receipt_gone && record.state == State::Held {
                    record.state = State::Sealed;
                }
            };
            self.host.store.run(move |index| index.change(&id, change)).await?;
        }
        if receipt_gone {
            self.host.wakes.seal.notify_one();
        }
        if record.state != State::Sealed || may_be_placed(&order, number) {
            self.placeless.ends(&id);
            return Ok(());
        }
        let patience = self.host.parameters().take_window(order.size).saturating_mul(TAKES);
        if !is_drawn(view, number, id).await? && self.placeless.lasts(id, view.block().number, patience) {
            tracing::info!(order = hex::encode(id), "its place went to another node: it is deleted");
            self.end(id).await?;
        }
        Ok(())
    }

    /// An order that is unknown to the chain.
    async fn ended(&mut self, view: &View, number: NodeId, id: OrderId, record: Record) -> Result<(), Error> {
        self.placeless.ends(&id);
        // What is drawn is kept until the draw is answered, also if its order has ended.
        if is_drawn(view, number, id).await? {
            return Ok(());
        }
        // Ended, or so new that it is not final: the best chain tells them apart, but for a reorg under way. And a chain
        // node that was killed may have forgotten its last blocks: it gets a slot to remember.
        if self.host.chain.view(Finality::Best).await?.order(id).await?.is_some() {
            self.unknown.ends(&id);
            return Ok(());
        }
        if !self.unknown.lasts(id, view.block().number, self.host.parameters().slot_blocks) {
            return Ok(());
        }
        match record.state {
            State::Sealed | State::Held => {
                tracing::info!(order = hex::encode(id), "ended");
                self.end(id).await
            }
            State::Taken | State::Waiting | State::Refused => self.forget(id).await,
            State::Ending => Ok(()),
        }
    }

    /// A sealed file is to go.
    async fn end(&self, id: OrderId) -> Result<(), Error> {
        self.host.store.run(move |index| index.change(&id, |record| record.state = State::Ending)).await?;
        Ok(())
    }

    /// Forgets an order of which nothing was sealed.
    async fn forget(&self, id: OrderId) -> Result<(), Error> {
        let host = &self.host;
        let mut line = host.enclave.exclusive().await;
        // Sealed just now: as soon as the index says so it goes as what was sealed does.
        if held::is_held_in(&mut line, id).await? {
            return Ok(());
        }
        let refused = host.store.run(move |index| index.refuse(&id)).await?;
        drop(line);
        let Some(record) = refused else { return Ok(()) };
        host.store.release(&id);
        seal::remove(&host.store, &record).await;
        tracing::info!(order = hex::encode(id), "forgotten: it has ended");
        host.store.run(move |index| index.forget(&[id])).await?;
        host.wakes.fill.notify_one();
        Ok(())
    }

    /// Names what is gone, as much as the next block takes.
    async fn name_gone(&self, number: NodeId) -> Result<Owed, Error> {
        match statements::name_gone(&self.host, number).await {
            // The report worker says what to do about it.
            Err(statements::Error::RolledBack(_)) => Ok(Owed::Later),
            Err(error) if error.is_for_later() => {
                tracing::info!("what is gone is said again: {error}");
                Ok(Owed::Later)
            }
            result => Ok(result?),
        }
    }

    /// Deletes what is ending, in the enclave's log.
    async fn delete(&mut self, orders: &[OrderId]) -> Result<(), Error> {
        let orders: Vec<_> = orders.iter().filter(|order| !self.deleted.contains(*order)).copied().collect();
        if orders.is_empty() {
            return Ok(());
        }
        self.delete_in_log(&orders).await?;
        self.deleted.extend(orders);
        Ok(())
    }

    async fn delete_in_log(&self, orders: &[OrderId]) -> Result<(), Error> {
        // One by one only where the enclave does not know them all: some went before a restart.
        match self.host.enclave.change(Request::Delete { orders: orders.to_vec() }).await {
            Ok(_) => Ok(()),
            Err(enclave_client::Error::Refused(rpc::Error::NotSealed { .. })) => {
                for order in orders {
                    match self.host.enclave.change(Request::Delete { orders: vec![*order] }).await {
                        Ok(_) | Err(enclave_client::Error::Refused(rpc::Error::NotSealed { .. })) => (),
                        Err(error) => return Err(error.into()),
                    }
                }
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Removes files and all that is known of them; how many went. One disk that fails keeps its files and stops nothing
    /// else.
    async fn remove(&mut self, orders: Vec<OrderId>) -> Result<usize, Error> {
        let host = self.host.clone();
        let store = host.store.clone();
        let removed = tokio::task::spawn_blocking(move || removed(&store, &orders)).await;
        let Removed { gone, kept } = removed.map_err(|error| Error::Other(error.to_string()))??;
        let ids: Vec<OrderId> = gone.iter().map(|record| record.content.id()).collect();
        let (count, forgotten) = (ids.len(), ids.clone());
        host.store.run(move |index| index.forget(&forgotten)).await?;
        for record in &gone {
            host.store.removed(record);
            let cid = record.content.cid;
            if host.store.run(move |index| index.orders_for(&cid)).await?.is_empty() {
                host.network.unprovide(cid.multihash());
            }
            tracing::info!(order = hex::encode(record.content.id()), %cid, "deleted");
        }
        if count > 0 {
            host.wakes.fill.notify_one();
        }
        self.deleted.retain(|id| !ids.contains(id));
        if !kept.is_empty() {
            let ids: Vec<OrderId> = kept.keys().copied().collect();
            let note = move |record: &mut Record| record.note = kept.get(&record.content.id()).cloned();
            host.store.run(move |index| index.change_each(&ids, note)).await?;
        }
        Ok(count)
    }
}

/// Whether a sealed file has a place of its order, or may still get one.
fn may_be_placed(order: &Order, number: NodeId) -> bool {
    order.open_places > 0 || order.take_of(number).is_some() || order.replica_of(number).is_some()
}

/// Whether a node's due draw is of an order's file.
async fn is_drawn(view: &View, number: NodeId, id: OrderId) -> Result<bool, Error> {
    Ok(view.audit(number).await?.and_then(|audit| audit.due).is_some_and(|drawn| drawn.order == id))
}

/// What became of files that were to be removed.
struct Removed {
    gone: Vec<Record>,
    /// Why the others did not go.
    kept: BTreeMap<OrderId, String>,
}

/// Removes the files of these orders.
fn removed(store: &Store, orders: &[OrderId]) -> Result<Removed, store::Error> {
    let (mut gone, mut kept) = (Vec::new(), BTreeMap::new());
    for id in orders {
        let Some(record) = store.index.order(id)? else { continue };
        match store.file(&record) {
            Ok(path) => {
                let disk = path.ancestors().nth(3).map(Path::to_owned).unwrap_or_default();
                match sealed::remove(&disk, id) {
                    Ok(()) => gone.push(record),
                    Err(error) => {
                        drop(kept.insert(*id, format!("its file cannot be removed: {}: {error}", path.display())))
                    }
                }
            }
            // Its disk is no disk of this node any more.
            Err(store::Error::NoDisk(_)) => gone.push(record),
            Err(error) => drop(kept.insert(*id, format!("its file is removed when its disk is back: {error}"))),
        }
    }
    Ok(Removed { gone, kept })
}

impl Worker for Evict {
    fn name(&self) -> &'static str {
        "evict"
    }

    async fn work(&mut self) -> Result<Next, Error> {
        let number = self.host.number()?;
        // What ended before can go whatever the endpoint is worth.
        let looked = self.look(number).await;
        match self.name_gone(number).await? {
            Owed::Nothing => (),
            Owed::Named | Owed::More => return looked.map(|()| Next::Again),
            Owed::Later => return looked.map(|()| Next::Wait),
        }
        let after = self.ending;
        let ending = self.host.store.run(move |index| index.in_state(State::Ending, after, GONE)).await?;
        self.ending = ending.last().copied().filter(|_| ending.len() >= GONE);
        self.waiting = u64::try_from(ending.len()).unwrap_or(u64::MAX);
        if ending.is_empty() {
            return looked.map(|()| Next::Wait);
        }
        let slot = self.host.parameters().slot_of(self.host.head()?.number);
        if !statements::may_delete(&self.host, slot).await {
            return looked.map(|()| Next::Wait);
        }
        self.delete(&ending).await?;
        let mut next = Next::Wait;
        if matches!(self.name_gone(number).await?, Owed::Nothing | Owed::Named) && self.remove(ending).await? > 0 {
            next = Next::Again;
        }
        looked.map(|()| next)
    }

    async fn wait(&mut self) {
        tokio::select! {
            () = self.host.wakes.evict.notified() => (),
            () = next_head(&mut self.heads, Duration::from_secs(60)) => (),
        }
    }

    fn queue(&self) -> u64 {
        self.waiting
    }
}
