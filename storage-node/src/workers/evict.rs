//! Deletes what has ended.
//!
//! An endpoint that is behind what is known to be final is not asked: to it every order looks ended.
//!
//! Trigger: a finalized block. Action: a few orders of the index, in turn, are looked up in it; one that has ended is
//! deleted in the enclave's log, what had a receipt is named gone on the chain, and then the file goes. Files that the
//! enclave has given up as lost go the same way. Nothing is deleted before its end is final; nothing of a disk that is
//! missing. Follow-up: filler grows back.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use crust_client::chain::{BlockRef, Finality, View};
use crust_enclave::rpc::{self, Request, Response};
use crust_protocol::{BlockNumber, NodeId, Slot, order::OrderId};
use tokio::sync::watch;

use super::{Error, Next, Worker};
use crate::{
    enclave_client,
    host::{Host, next_head},
    statements::{self, GONE, Words},
    store::{
        self,
        index::{Record, State},
        sealed,
    },
};

/// Orders looked up a finalized block.
const LOOK: usize = 64;
/// `Gone`s a slot: the chain refuses a node that says many that end nothing.
const GONES: u32 = 8;

pub struct Evict {
    host: Arc<Host>,
    heads: watch::Receiver<Option<BlockRef>>,
    /// Where the look through the index stands.
    cursor: Option<OrderId>,
    seen: Option<BlockRef>,
    /// Since which finalized block an order is unknown to the chain.
    unknown: BTreeMap<OrderId, BlockNumber>,
    /// `Gone`s said in a slot.
    said: (Slot, u32),
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
            unknown: BTreeMap::new(),
            said: (0, 0),
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
        if let Some(order) = view.order(id).await? {
            self.unknown.remove(&id);
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
            return Ok(());
        }
        // What is drawn is kept until the draw is answered, also if its order has ended.
        if view.audit(number).await?.and_then(|audit| audit.due).is_some_and(|drawn| drawn.order == id) {
            return Ok(());
        }
        // Ended, or so new that it is not final: the best chain tells them apart, but for a reorg under way. And a chain
        // node that was killed may have forgotten its last blocks: it gets a slot to remember.
        if self.host.chain.view(Finality::Best).await?.order(id).await?.is_some() {
            self.unknown.remove(&id);
            return Ok(());
        }
        let block = view.block().number;
        let since = *self.unknown.entry(id).or_insert(block);
        if block < since.saturating_add(self.host.parameters().slot_blocks) {
            return Ok(());
        }
        self.unknown.remove(&id);
        match record.state {
            State::Sealed | State::Held => {
                tracing::info!(order = hex::encode(id), "ended");
                self.host.store.run(move |index| index.change(&id, |record| record.state = State::Ending)).await?;
            }
            State::Taken | State::Waiting | State::Refused => self.forget(id, &record).await?,
            State::Ending => (),
        }
        Ok(())
    }

    /// Forgets an order of which nothing was sealed.
    async fn forget(&self, id: OrderId, record: &Record) -> Result<(), Error> {
        self.host.store.release(&id);
        if let Some(disk) = record.disk.and_then(|disk| self.host.store.disk(&disk)).filter(|disk| disk.present()) {
            let path = disk.path.clone();
            let removed = tokio::task::spawn_blocking(move || sealed::remove(&path, &id)).await;
            if let Err(error) = removed.map_err(std::io::Error::other).and_then(|result| result) {
                tracing::warn!(order = hex::encode(id), "what there is of its file cannot be removed: {error}");
            }
        }
        tracing::info!(order = hex::encode(id), "forgotten: it has ended");
        self.host.store.run(move |index| index.forget(&id)).await?;
        self.host.wakes.fill.notify_one();
        Ok(())
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

    /// Names what is gone on the chain's line. `false` if the slot has had its share.
    async fn say_gone(&mut self, number: NodeId) -> Result<bool, Error> {
        let Response::State(state) = self.host.enclave.ask(Request::State).await? else {
            return Err(enclave_client::Error::Answer("State").into());
        };
        if state.gone_due == 0 {
            return Ok(true);
        }
        let host = self.host.clone();
        let _one_at_a_time = host.saying.lock().await;
        let view = host.chain.view(Finality::Best).await?;
        let node = view.node(number).await?.ok_or(statements::Error::UnknownNode(number))?;
        let limit = u32::try_from(GONE).unwrap_or(u32::MAX);
        let due = match host.enclave.ask(Request::GoneDue { prev: node.root, limit }).await {
            Ok(Response::Orders { orders }) => orders,
            Ok(_) => return Err(enclave_client::Error::Answer("GoneDue").into()),
            // Said by the report worker, which says what to do about it.
            Err(enclave_client::Error::Refused(rpc::Error::UnknownPrev)) => return Ok(false),
            Err(error) => return Err(error.into()),
        };
        if due.is_empty() {
            return Ok(true);
        }
        self.mark_lost(&due).await?;
        if self.said.0 != view.slot() {
            self.said = (view.slot(), 0);
        }
        if self.said.1 >= GONES {
            return Ok(false);
        }
        self.said.1 = self.said.1.saturating_add(1);
        let count = due.len();
        match statements::say(&host, number, Words::Gone(due)).await {
            Ok((block, _)) => {
                tracing::info!(orders = count, block = block.number, "gone: the chain knows it");
                Ok(true)
            }
            Err(error @ (statements::Error::Refused(_) | statements::Error::Unheard)) => {
                tracing::info!("what is gone is said again: {error}");
                Ok(false)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// What the enclave has given up on its own is shown as lost, and goes.
    async fn mark_lost(&self, due: &[OrderId]) -> Result<(), Error> {
        let due = due.to_vec();
        let lost = self.host.store.run(move |index| {
            let mut lost = 0_u32;
            for order in due {
                index.change(&order, |record| {
                    if record.state != State::Ending {
                        lost = lost.saturating_add(1);
                        (record.state, record.lost) = (State::Ending, true);
                        record.note = Some("lost: its bytes could not be read again and again".into());
                    }
                })?;
            }
            Ok(lost)
        });
        let lost = lost.await?;
        if lost > 0 {
            tracing::error!(files = lost, "files are lost");
            metrics::counter!("crust_lost_files_total").increment(u64::from(lost));
        }
        Ok(())
    }

    /// Removes the file and all that is known of it. One disk that fails keeps its files and stops nothing else.
    async fn remove(&mut self, id: OrderId) -> Result<(), Error> {
        let host = &self.host;
        let Some(record) = host.store.run(move |index| index.order(&id)).await? else { return Ok(()) };
        match host.store.file(&record) {
            Ok(path) => {
                let disk = path.ancestors().nth(3).map(std::path::Path::to_owned).unwrap_or_default();
                let removed = tokio::task::spawn_blocking(move || sealed::remove(&disk, &id)).await;
                if let Err(error) = removed.map_err(std::io::Error::other).and_then(|result| result) {
                    return self.keep(id, format!("its file cannot be removed: {}: {error}", path.display())).await;
                }
            }
            // Its disk is no disk of this node any more.
            Err(store::Error::NoDisk(_)) => (),
            Err(error) => return self.keep(id, format!("its file is removed when its disk is back: {error}")).await,
        }
        let cid = record.content.cid;
        host.store.run(move |index| index.forget(&id)).await?;
        host.store.removed(&record);
        if host.store.run(move |index| index.orders_for(&cid)).await?.is_empty() {
            host.network.unprovide(cid.multihash());
        }
        tracing::info!(order = hex::encode(id), cid = %cid, "deleted");
        host.wakes.fill.notify_one();
        self.deleted.remove(&id);
        Ok(())
    }

    async fn keep(&self, id: OrderId, note: String) -> Result<(), Error> {
        self.host.store.run(move |index| index.change(&id, |record| record.note = Some(note))).await?;
        Ok(())
    }
}

impl Worker for Evict {
    fn name(&self) -> &'static str {
        "evict"
    }

    async fn work(&mut self) -> Result<Next, Error> {
        let number = self.host.number()?;
        // What ended before can go whatever the endpoint is worth.
        let looked = self.look(number).await;
        let after = self.ending;
        let ending = self.host.store.run(move |index| index.in_state(State::Ending, after, GONE)).await?;
        self.ending = ending.last().copied().filter(|_| ending.len() >= GONE);
        self.waiting = u64::try_from(ending.len()).unwrap_or(u64::MAX);
        if !ending.is_empty() {
            self.delete(&ending).await?;
        }
        if self.say_gone(number).await? {
            for order in ending {
                self.remove(order).await?;
            }
        }
        looked.map(|()| Next::Wait)
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
