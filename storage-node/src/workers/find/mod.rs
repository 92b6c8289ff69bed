//! Finds again what a lost index knew: the enclave's log has the files, the chain their orders, the files themselves
//! their blocks.
//!
//! Trigger: orders that [`crate::reconcile`] noted because the enclave holds them and the index does not know them.
//! Action: the record is made anew from the chain's order; then the file is read through the enclave and walked, which
//! tells where each block lies. Follow-up: it is served again. Until then it is held and proven all the same. A file
//! whose order has ended meanwhile is deleted.

mod lengths;

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use crust_client::chain::Finality;
use crust_enclave::rpc::{Request, Response};
use crust_protocol::{
    file::{Cid, Codec, Multihash},
    order::{OrderId, PRIVATE},
    walk::{Block, Fed, Limits, MAX_BLOCK, Walk},
};

use super::{Error, Next, Worker, held, since::Since};
use crate::{
    enclave_client,
    host::Host,
    reading,
    statements::GONE,
    store::{
        index::{Record, State},
        sealed,
    },
};

/// Orders looked at, at a time.
const LOOK: usize = 64;
/// Rows of the block index written at a time.
const ROWS: usize = 4_096;
/// Lengths that importers like to give their leaves.
const USUAL: [usize; 2] = [1 << 20, 256 << 10];
/// Files that are gone and not named so for good, with which no more are deleted.
const MOST_GONE: u64 = GONE as u64;
const WAIT: Duration = Duration::from_secs(10);
/// Time before a file that could not be read is read again.
const AGAIN: Duration = Duration::from_secs(600);

pub struct Find {
    host: Arc<Host>,
    cursor: Option<OrderId>,
    /// Orders that are unknown to the chain, since a finalized block.
    unknown: Since,
    /// Files not to be read again yet.
    later: BTreeMap<OrderId, Instant>,
    waiting: u64,
}

impl Find {
    pub fn new(host: Arc<Host>) -> Self {
        Find { host, cursor: None, unknown: Since::default(), later: BTreeMap::new(), waiting: 0 }
    }

    /// One order.
    async fn find(&mut self, id: OrderId) -> Result<(), Error> {
        let known = self.host.store.run(move |index| index.order(&id)).await?;
        let Some(record) = (match known {
            Some(record) => Some(record),
            None => self.record(id).await?,
        }) else {
            return Ok(());
        };
        let record = self.on_disk(record).await?;
        let held = matches!(record.state, State::Sealed | State::Held);
        if held && record.content.flags & PRIVATE == 0 {
            if record.disk.is_none() {
                return Ok(());
            }
            if self.later.get(&id).is_some_and(|until| Instant::now() < *until) {
                return Ok(());
            }
            if let Err(error) = self.blocks(&record).await {
                self.later.insert(id, Instant::now().checked_add(AGAIN).unwrap_or_else(Instant::now));
                let note = format!("held and proven, but its blocks are not found, so it is not served: {error}");
                tracing::warn!(order = hex::encode(id), "{note}");
                self.host.store.run(move |index| index.change(&id, |record| record.note = Some(note))).await?;
                return Ok(());
            }
            self.later.remove(&id);
            tracing::info!(order = hex::encode(id), cid = %record.content.cid, "its blocks are found again");
            self.host.network.provide(record.content.cid.multihash());
        }
        let done = move |record: &mut Record| record.note = None;
        Ok(self.host.store.run(move |index| index.change(&id, done).and_then(|_| index.found(&id))).await?)
    }

    /// The record of a file that the index does not know, from the chain's order. `None` if there is no order: then the
    /// file goes, as soon as that is sure.
    async fn record(&mut self, id: OrderId) -> Result<Option<Record>, Error> {
        let host = &self.host;
        let Some(file) = held::file(&host.enclave, id).await? else {
            host.store.run(move |index| index.found(&id)).await?;
            return Ok(None);
        };
        let settled = host.settled().await?;
        let mut order = settled.order(id).await?;
        if order.is_none() {
            order = host.chain.view(Finality::Best).await?.order(id).await?;
        }
        let Some(order) = order else {
            if self.unknown.lasts(id, settled.block().number, host.parameters().slot_blocks) {
                self.delete(id).await?;
            }
            return Ok(None);
        };
        self.unknown.ends(&id);
        let state = if file.lost { State::Ending } else { State::Sealed };
        let mut record = Record::new(order.content(), state);
        (record.end, record.lost) = (order.end, file.lost);
        record.note = Some("the index was lost: held and proven, and served again when its blocks are found".into());
        let written = record.clone();
        host.store.run(move |index| index.put(&[written])).await?;
        tracing::info!(order = hex::encode(id), cid = %order.cid, "taken up from the enclave's log");
        host.wakes.seal.notify_one();
        Ok(Some(record))
    }

    /// Deletes a file that nobody ordered any more.
    async fn delete(&mut self, id: OrderId) -> Result<(), Error> {
        let host = &self.host;
        let Response::State(state) = host.enclave.ask(Request::State).await? else {
            return Err(enclave_client::Error::Answer("State").into());
        };
        if state.gone_due >= MOST_GONE {
            // What is deleted has to be named gone before the next report, and a slot takes only so much of that.
            return Ok(());
        }
        tracing::warn!(order = hex::encode(id), "a file without an order and without a record is deleted");
        host.enclave.change(Request::Delete { orders: vec![id] }).await?;
        if let Some(path) = host.store.find(&id).map(|disk| disk.path.clone()) {
            let removed = tokio::task::spawn_blocking(move || sealed::remove(&path, &id)).await;
            if let Err(error) = removed.map_err(std::io::Error::other).and_then(|result| result) {
                tracing::warn!(order = hex::encode(id), "its file cannot be removed: {error}");
            }
        }
        host.store.uncount_found(&id);
        host.store.run(move |index| index.found(&id)).await?;
        host.wakes.evict.notify_one();
        host.wakes.fill.notify_one();
        Ok(())
    }

    /// Notes the disk on which the file is found.
    async fn on_disk(&self, mut record: Record) -> Result<Record, Error> {
        if record.disk.is_none()
            && let Some(disk) = self.host.store.find(&record.content.id()).map(|disk| disk.id)
        {
            let (id, store) = (record.content.id(), &self.host.store);
            record.disk = Some(disk);
            store.count_found(id, disk, record.content.size);
            store.run(move |index| index.change(&id, |record| record.disk = Some(disk))).await?;
            store.known(&id);
        }
        Ok(record)
    }

    /// Reads the file and notes where each block lies.
    async fn blocks(&self, record: &Record) -> Result<(), Error> {
        let id = record.content.id();
        let store = &self.host.store;
        store.run(move |index| index.forget_blocks(&id)).await?;
        let mut stream = Stream { host: &self.host, record, offset: 0, ahead: Bytes::new(), usual: BTreeMap::new() };
        let mut walk = Walk::new(record.content.cid, Limits::PROTOCOL);
        let mut rows: Vec<(Multihash, u64, u32)> = Vec::new();
        while let Some(cid) = walk.wanted() {
            let bytes = match stream.next(cid, false).await? {
                Some(bytes) => bytes,
                // Seen before under another codec: it lies further up.
                None => {
                    let written = std::mem::take(&mut rows);
                    store.run(move |index| index.add_blocks(&id, &written)).await?;
                    let places = store.run(move |index| index.places(&cid.multihash())).await?;
                    match places.into_iter().find(|place| place.order == id) {
                        Some(place) => stream.at(place.offset, place.length.into()).await?,
                        None => stream.next(cid, true).await?.ok_or_else(|| {
                            Error::Other(format!("the bytes at {} of its stream are not {cid}", stream.offset))
                        })?,
                    }
                }
            };
            // Its bytes were just named after it.
            let fed =
                walk.feed(&Block::checked_before(cid, &bytes)).map_err(|error| Error::Other(error.to_string()))?;
            if let Fed::Bytes { offset } = fed {
                rows.push((cid.multihash(), offset, u32::try_from(bytes.len()).unwrap_or(u32::MAX)));
                stream.pass(bytes.len(), cid.codec());
            }
            if rows.len() >= ROWS {
                let written = std::mem::take(&mut rows);
                store.run(move |index| index.add_blocks(&id, &written)).await?;
            }
        }
        store.run(move |index| index.add_blocks(&id, &rows)).await?;
        Ok(())
    }
}

/// A file's stream, read from its beginning.
struct Stream<'a> {
    host: &'a Host,
    record: &'a Record,
    /// Where `ahead` begins.
    offset: u64,
    ahead: Bytes,
    /// Length of the last block of each codec.
    usual: BTreeMap<Codec, usize>,
}

impl Stream<'_> {
    /// The block that begins here. Without `thoroughly`, only if its length is a usual one or is soon found.
    async fn next(&mut self, cid: Cid, thoroughly: bool) -> Result<Option<Bytes>, Error> {
        self.read_ahead().await?;
        // Blocks that link to others are short: a look at every length costs little.
        let all = thoroughly || cid.codec() != Codec::Raw;
        let (bytes, usual) = (self.ahead.clone(), self.usual.get(&cid.codec()).copied());
        let found = tokio::task::spawn_blocking(move || {
            let quick = lengths::quick(&cid, &bytes, usual.into_iter().chain(USUAL));
            quick.or_else(|| lengths::scan(&cid, &bytes).filter(|_| all)).map(|length| bytes.slice(..length))
        });
        found.await.map_err(|error| Error::Other(error.to_string()))
    }

    fn pass(&mut self, length: usize, codec: Codec) {
        self.usual.insert(codec, length);
        self.offset = self.offset.saturating_add(u64::try_from(length).unwrap_or(u64::MAX));
        self.ahead = self.ahead.slice(length.min(self.ahead.len())..);
    }

    /// Sees to it that a whole block lies ahead.
    async fn read_ahead(&mut self) -> Result<(), Error> {
        let have = u64::try_from(self.ahead.len()).unwrap_or(u64::MAX);
        let left = self.record.content.size.saturating_sub(self.offset);
        let wanted = u64::try_from(MAX_BLOCK).unwrap_or(u64::MAX).min(left);
        if have < wanted {
            self.ahead = self.at(self.offset, wanted).await?;
        }
        Ok(())
    }

    async fn at(&self, offset: u64, length: u64) -> Result<Bytes, Error> {
        let read = reading::read(&self.host.store, &self.host.enclave, self.record, offset, length).await;
        read.map_err(|error| Error::Other(error.to_string()))
    }
}

impl Worker for Find {
    fn name(&self) -> &'static str {
        "find"
    }

    async fn work(&mut self) -> Result<Next, Error> {
        self.host.number()?;
        let cursor = self.cursor;
        let orders = self.host.store.run(move |index| index.to_find(cursor, LOOK)).await?;
        self.waiting = u64::try_from(orders.len()).unwrap_or(u64::MAX);
        self.cursor = orders.last().copied().filter(|_| orders.len() >= LOOK);
        for order in orders {
            self.find(order).await?;
        }
        Ok(if self.cursor.is_some() { Next::Again } else { Next::Wait })
    }

    async fn wait(&mut self) {
        tokio::time::sleep(WAIT).await;
    }

    fn queue(&self) -> u64 {
        self.waiting
    }
}
