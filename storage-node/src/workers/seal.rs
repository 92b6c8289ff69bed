//! Has a file sealed, and gives its receipt.
//!
//! Sealing: the blocks go to the enclave as they arrive, in walk order, on a connection of their own and one ahead of the
//! answers; what comes back goes to the disk while the next block is sealed. The file is durable and under its own name
//! before the enclave logs it as held, and that is durable before the index says `Sealed`. Cut off anywhere, it is sealed
//! anew from its last segment on that was whole: what comes before is read from the disk, not fetched ([`Kept`]).
//!
//! Receipts: trigger: orders in the state `Sealed`. Action: those whose place is still held are named in one statement.
//! When there are none, a place that lapsed is taken again if the node may, one at a time: nothing that has its receipt
//! coming waits for that. Follow-up: `Held` when the chain shows the replica. A receipt that was displaced or refused is
//! said again on the new root with the next block.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use crust_client::{
    chain::{self, Barred, BlockRef, Finality, Order, View},
    money,
};
use crust_enclave::{
    rpc::{self, Request, Response},
    seal::SEGMENT_CHUNKS,
    tree,
};
use crust_network::fetch;
use crust_protocol::{
    NodeId,
    file::{Cid, Multihash},
    order::{Content, OrderId},
    walk::{Block, Fed, Limits, Walk},
};
use futures::{Stream, StreamExt};
use tokio::sync::watch;

use super::{
    Error, Next, Worker,
    watch_orders::{self, Lack, Means, Pass, Passed},
};
use crate::{
    enclave_client::{self, Connection, Enclave},
    host::{Host, next_head},
    reading,
    statements::{self, RECEIPTS, Words},
    store::{
        self, Store,
        disks::DiskId,
        index::{Record, State},
        sealed::{self, Writer},
    },
};

/// Rows of the block index written at a time.
const ROWS: usize = 4_096;
/// Sealed orders looked at, at a time.
const LOOK: usize = RECEIPTS * 4;
/// Space granted ahead of the bytes, so that filler gives way in steps.
const GRANT: u64 = 64 << 20;

/// Why a file was not sealed.
#[derive(Debug)]
pub enum Failure {
    /// The content is not what was ordered, and never will be.
    Content(String),
    /// The bytes did not come.
    Fetch(String),
    /// Something here: disk, enclave, chain.
    Here(Error),
    /// The order has ended meanwhile.
    Ended,
}

impl<E: Into<Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Failure::Here(error.into())
    }
}

/// The beginning of a file in work that an earlier attempt has sealed.
#[derive(Clone)]
pub struct Kept {
    host: Arc<Host>,
    record: Arc<Record>,
    /// Bytes of the stream. [`seal`] finds out how many.
    bytes: Arc<AtomicU64>,
}

impl Kept {
    pub fn of(host: &Arc<Host>, record: &Record) -> Self {
        Kept { host: host.clone(), record: Arc::new(record.clone()), bytes: Arc::default() }
    }

    /// A block, if it lies there. Whoever asks checks it.
    pub async fn block(self, cid: Cid) -> Option<Bytes> {
        let Kept { host, record, bytes } = self;
        let kept = bytes.load(Ordering::Relaxed);
        if kept == 0 {
            return None;
        }
        let id = record.content.id();
        let places = host.store.run(move |index| index.places(&cid.multihash())).await.ok()?;
        let place = places.into_iter().find(|place| place.order == id)?;
        let length = u64::from(place.length);
        if length == 0 || place.offset.saturating_add(length) > kept {
            return None;
        }
        let read = reading::read_part(&host.store, &host.enclave, &record, place.offset, length).await;
        read.inspect_err(|error| tracing::warn!(order = hex::encode(id), %cid, "fetched again: {error}")).ok()
    }
}

/// Seals the file of an order from the stream of its blocks, unless `ended` ends first. `kept` then knows what need not
/// be fetched.
pub async fn seal(
    host: &Host,
    record: &Record,
    kept: &Kept,
    blocks: impl Stream<Item = Result<(Cid, Bytes), fetch::Error>>,
    ended: impl Future<Output = ()>,
) -> Result<(), Failure> {
    let content = record.content.clone();
    let (id, size) = (content.id(), content.size);
    let disk = record.disk.unwrap_or_default();
    let path = match host.store.disk(&disk) {
        Some(disk) => disk.path.clone(),
        None => return Err(Error::from(store::Error::NoDisk(disk)).into()),
    };
    let (length, tree_length) = (sealed::length(size), tree::length(size));
    let (file, parity) = (sealed::path(&path, &id), host.store.parity.then_some(length));
    let mut connection = host.enclave.connection().await.map_err(Error::from)?;
    let segments = match begin(&mut connection, &content, sealed::segments(&file, parity)).await {
        Ok(segments) => segments,
        Err(error) => return Err(refusal(error)),
    };
    let known = segments.saturating_mul(SEGMENT_CHUNKS).saturating_mul(sealed::CHUNK);
    kept.bytes.store(known, Ordering::Relaxed);
    sealed::take_back(file.clone()).await.map_err(|error| broken(&path, error))?;
    let create = |path, length| Writer::create(path, host.store.parity.then_some(length));
    let writer = if segments == 0 {
        host.store.run(move |index| index.forget_blocks(&id)).await.map_err(Error::from)?;
        create(file, length).await
    } else {
        tracing::info!(order = hex::encode(id), segments, "goes on after the segments that are finished");
        Writer::resume(file, parity, segments).await
    };
    let writer = writer.map_err(|error| broken(&path, error))?;
    let tree = match tree_length {
        0 => None,
        length => Some(create(sealed::tree_path(&path, &id), length).await.map_err(|error| broken(&path, error))?),
    };
    let (path, rows) = (&path, Vec::new());
    let mut work = Work { host, id, disk, path, connection, writer, tree, segments, kept: known, granted: 0, rows };
    let taken = work.take(Walk::new(content.cid, Limits::PROTOCOL), blocks, ended).await;
    let Work { connection, writer, tree, rows, segments, .. } = work;
    let whole = writer.written() == length && tree.as_ref().map_or(0, Writer::written) == tree_length;
    let wrong = || Failure::Here(Error::Other("the enclave gave a sealed file of another length".into()));
    if let Err(failure) = taken.and_then(|()| if whole { Ok(()) } else { Err(wrong()) }) {
        // Finished segments are worth keeping while the order may still be sealed.
        if segments == 0 || matches!(failure, Failure::Content(_) | Failure::Ended) {
            writer.discard().await;
        }
        if let Some(tree) = tree {
            tree.discard().await;
        }
        return Err(failure);
    }
    // The file has its name last: what has its name has its tree.
    if let Some(tree) = tree {
        tree.finish().await.map_err(|error| broken(path, error))?;
    }
    writer.finish().await.map_err(|error| broken(path, error))?;
    host.store.run(move |index| index.add_blocks(&id, &rows)).await.map_err(Error::from)?;
    let committed = commit(&host.store, &host.enclave, record, connection).await;
    match &committed {
        Ok(()) => host.wakes.seal.notify_one(),
        Err(Failure::Content(_) | Failure::Ended) => remove(&host.store, record).await,
        Err(_) => (),
    }
    committed
}

/// Has the enclave hold a file that is whole, unless its order is no longer one to seal. Whoever forgets an order does so
/// in the same line: a file is held and the index says so, or neither.
pub async fn commit(
    store: &Store,
    enclave: &Enclave,
    record: &Record,
    mut connection: Connection,
) -> Result<(), Failure> {
    let (id, disk) = (record.content.id(), record.disk.unwrap_or_default());
    let mut line = enclave.exclusive().await;
    let known = store.run(move |index| index.order(&id)).await.map_err(Error::from)?;
    if known.is_none_or(|known| known.state != State::Taken) {
        return Err(Failure::Ended);
    }
    line.change_on(&mut connection, Request::SealCommit { disk }).await.map_err(refusal)?;
    Ok(finish(store, record).await?)
}

/// Begins on a connection, after the segments that are finished and, of at most `durable`, on the disk. How many.
async fn begin(connection: &mut Connection, content: &Content, durable: u64) -> Result<u64, enclave_client::Error> {
    if durable > 0 {
        match connection.ask(Request::SealResume { content: content.clone() }).await? {
            Response::Resumed { segments } if segments <= durable => return Ok(segments),
            Response::Resumed { .. } => (),
            _ => return Err(enclave_client::Error::Answer("SealResume")),
        }
    }
    connection.ask(Request::SealBegin { content: content.clone() }).await.map(|_| 0)
}

/// A sealing in work.
struct Work<'a> {
    host: &'a Host,
    id: OrderId,
    disk: DiskId,
    path: &'a std::path::Path,
    connection: Connection,
    writer: Writer,
    /// Of the hash tree, if the file has one.
    tree: Option<Writer>,
    /// Segments that are finished.
    segments: u64,
    /// Bytes of the stream that an earlier attempt has sealed.
    kept: u64,
    granted: u64,
    rows: Vec<(Multihash, u64, u32)>,
}

impl Work<'_> {
    async fn take(
        &mut self,
        mut walk: Walk,
        blocks: impl Stream<Item = Result<(Cid, Bytes), fetch::Error>>,
        ended: impl Future<Output = ()>,
    ) -> Result<(), Failure> {
        let (mut blocks, mut ended) = (std::pin::pin!(blocks), std::pin::pin!(ended));
        loop {
            // Only the wait for a block is broken off: an exchange with the enclave has to be brought to its end.
            let block = tokio::select! {
                block = blocks.next() => block,
                () = &mut ended => return Err(Failure::Ended),
            };
            let Some(block) = block else { break };
            let (cid, bytes) = block.map_err(missing)?;
            // The network has checked the bytes; the enclave does so for itself.
            let fed = walk.feed(&Block::checked_before(cid, &bytes));
            if let Fed::Bytes { offset } = fed.map_err(|error| Failure::Content(error.to_string()))? {
                let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
                self.rows.push((cid.multihash(), offset, length));
                if offset.saturating_add(length.into()) > self.kept {
                    metrics::counter!("crust_fetched_bytes_total").increment(length.into());
                }
            }
            let before = self.connection.ask_ahead(Request::SealBlock { bytes: bytes.into() }).await;
            self.write(before).await?;
            if self.rows.len() >= ROWS {
                self.note().await?;
            }
            if self.writer.written() >= self.segments.saturating_add(1).saturating_mul(sealed::SEGMENT) {
                self.segment().await?;
            }
        }
        let before = self.connection.ask_ahead(Request::SealEnd).await;
        self.write(before).await?;
        let last = self.connection.last_answer().await;
        self.write(last).await
    }

    /// Writes down where the blocks since the last time lie.
    async fn note(&mut self) -> Result<(), Failure> {
        let (id, rows) = (self.id, std::mem::take(&mut self.rows));
        self.host.store.run(move |index| index.add_blocks(&id, &rows)).await.map_err(Error::from)?;
        Ok(())
    }

    /// A segment is whole: once it is durable, and it is known where its blocks lie, the enclave logs that.
    async fn segment(&mut self) -> Result<(), Failure> {
        let last = self.connection.last_answer().await;
        self.write(last).await?;
        self.writer.sync().await.map_err(|error| broken(self.path, error))?;
        self.note().await?;
        let mut line = self.host.enclave.exclusive().await;
        line.change_on(&mut self.connection, Request::SealSegment).await.map_err(refusal)?;
        self.segments = self.segments.saturating_add(1);
        tracing::info!(order = hex::encode(self.id), segments = self.segments, "a segment is finished");
        Ok(())
    }

    /// Writes what the enclave has sealed while it seals what was sent since.
    async fn write(&mut self, answer: Result<Option<Response>, enclave_client::Error>) -> Result<(), Failure> {
        let (sealed, nodes) = match answer.map_err(refusal)? {
            Some(Response::SealOut { sealed, tree }) => (sealed, tree),
            // Of `SealBegin`.
            Some(Response::Done) | None => return Ok(()),
            Some(_) => return Err(Error::from(enclave_client::Error::Answer("SealBlock")).into()),
        };
        self.grant(sealed.len().saturating_add(nodes.len())).await?;
        if let Some(tree) = self.tree.as_mut().filter(|_| !nodes.is_empty()) {
            tree.append(nodes).await.map_err(|error| broken(self.path, error))?;
        }
        if !sealed.is_empty() {
            self.writer.append(sealed).await.map_err(|error| broken(self.path, error))?;
        }
        Ok(())
    }

    /// Makes room for what comes next.
    async fn grant(&mut self, bytes: usize) -> Result<(), Failure> {
        let written = self.writer.written();
        let needed = written.saturating_add(u64::try_from(bytes).unwrap_or(u64::MAX));
        if needed > self.granted {
            self.granted = needed.saturating_add(GRANT);
            let bytes = (self.granted, self.granted.saturating_sub(written));
            let granted = self.host.store.grant(&self.id, &self.disk, bytes, &self.host.enclave).await;
            granted.map_err(Error::from)?;
        }
        Ok(())
    }
}

/// The enclave holds it: so does the index.
pub async fn finish(store: &Store, record: &Record) -> Result<(), Error> {
    let id = record.content.id();
    let sealed = |record: &mut Record| (record.state, record.note) = (State::Sealed, None);
    match store.run(move |index| index.change(&id, sealed)).await? {
        Some(record) => store.sealed(&record),
        // Its order has ended: whoever looks for what the index does not know deletes it.
        None => store.run(move |index| index.find(&[id])).await?,
    }
    metrics::counter!("crust_sealed_bytes_total").increment(record.content.size);
    tracing::info!(order = hex::encode(id), size = record.content.size, "sealed");
    Ok(())
}

/// Removes what there is of a file that the enclave does not hold.
pub async fn remove(store: &Store, record: &Record) {
    let disk = record.disk.and_then(|disk| store.disk(&disk)).filter(|disk| disk.present());
    let (Some(disk), id) = (disk, record.content.id()) else { return };
    let removed = tokio::task::spawn_blocking(move || sealed::remove(&disk.path, &id)).await;
    if let Err(error) = removed.map_err(io::Error::other).and_then(|result| result) {
        tracing::warn!(order = hex::encode(id), "what there is of its file cannot be removed: {error}");
    }
}

/// Which of the enclave's refusals are about the content.
fn refusal(error: enclave_client::Error) -> Failure {
    match error.refusal() {
        Some(
            rpc::Error::Graph(_)
            | rpc::Error::Incomplete { .. }
            | rpc::Error::Size { .. }
            | rpc::Error::AuditRoot
            | rpc::Error::Private,
        ) => Failure::Content(error.to_string()),
        _ => Failure::Here(error.into()),
    }
}

fn missing(error: fetch::Error) -> Failure {
    match error {
        fetch::Error::Walk(error) => Failure::Content(error.to_string()),
        fetch::Error::Session(error) => Failure::Fetch(error.to_string()),
    }
}

fn broken(path: &std::path::Path, source: io::Error) -> Failure {
    Failure::Here(store::Error::Io { path: path.to_owned(), source }.into())
}

/// The worker that gives receipts.
pub struct Seal {
    host: Arc<Host>,
    heads: watch::Receiver<Option<BlockRef>>,
    /// Where the look through the sealed orders stands, when there are more than one look sees.
    cursor: Option<OrderId>,
    /// Orders whose place lapsed, and could not be taken again.
    passed: Passed,
    waiting: u64,
}

/// What there is to do for sealed orders.
#[derive(Default)]
struct Due {
    /// A receipt may name these now.
    ready: Vec<OrderId>,
    /// The place of this one lapsed, and is open.
    lapsed: Option<Box<Order>>,
}

impl Seal {
    pub fn new(host: Arc<Host>) -> Self {
        let heads = host.best.subscribe();
        Seal { host, heads, cursor: None, passed: Passed::default(), waiting: 0 }
    }

    /// What there is to do for some of the sealed orders.
    async fn due(&self, view: &View, number: NodeId, sealed: Vec<OrderId>) -> Result<Due, Error> {
        let host = &self.host;
        let Due { mut ready, mut lapsed } = Due::default();
        // The chain takes no receipt of a node that leaves, whatever places it holds.
        let leaves = view.room(number).await? == Err(Barred::Leaves);
        for id in sealed {
            if ready.len() >= RECEIPTS {
                break;
            }
            // An order that has ended is for `evict`, which waits until that is final.
            let Some(order) = view.order(id).await? else { continue };
            if order.replica_of(number).is_some() {
                self.held(id, view, order.end).await?;
            } else if !leaves && host.holds_place(&order, number, view) {
                ready.push(id);
            } else if order.open_places == 0 {
                self.note(id, "its place lapsed and went to another node".into()).await?;
            } else if lapsed.is_none() && !self.passed.knows(&id, view.block().number, 0) {
                lapsed = Some(Box::new(order));
            }
        }
        Ok(Due { ready, lapsed })
    }

    /// Takes the place of a sealed order again; if that fails, or would, the order has to wait.
    async fn take_again(&mut self, view: &View, number: NodeId, order: &Order) -> Result<Next, Error> {
        let (host, id) = (self.host.clone(), order.id);
        let mut means = Means::of(view, number).await?;
        let why = match (means.room, means.spend(host.parameters(), order.size, order.rate)) {
            (Err(barred), _) => format!("the node takes nothing: {barred}"),
            (Ok(_), Err(Lack::Room)) => "its machine has no room left".into(),
            (Ok(_), Err(Lack::Collateral(needed))) => format!("it needs {} of free collateral", money::show(needed)),
            (Ok(_), Ok(())) => match watch_orders::take_place(&host, number, &id).await {
                Ok(_) => return Ok(Next::Again),
                Err(error @ (chain::Error::Refused { .. } | chain::Error::Invalid { .. })) => error.to_string(),
                Err(error) => return Err(error.into()),
            },
        };
        let block = view.block().number;
        let until = block.saturating_add(host.parameters().slot_blocks);
        self.passed.add(id, block, Pass { until, needed: None });
        self.note(id, format!("its place lapsed and is not taken again: {why}")).await?;
        Ok(Next::Wait)
    }

    async fn held(&self, id: OrderId, view: &View, end: u32) -> Result<(), Error> {
        let slot = view.slot();
        let changed = self.host.store.run(move |index| {
            index.change(&id, |record| {
                (record.state, record.claimed, record.end, record.note) = (State::Held, slot, end, None);
            })
        });
        if let Some(record) = changed.await? {
            self.host.network.provide(record.content.cid.multihash());
            tracing::info!(order = hex::encode(id), cid = %record.content.cid, "held: the receipt is on the chain");
        }
        Ok(())
    }

    /// A file that the enclave has given up before its receipt is fetched and sealed anew: nobody was told of it.
    async fn again(&self, id: OrderId) -> Result<(), Error> {
        let change = |record: &mut Record| {
            if record.state == State::Sealed {
                record.state = State::Taken;
                record.note = Some("its bytes were lost before its receipt: it is fetched anew".into());
            }
        };
        let before = self.host.store.run(move |index| index.order(&id)).await?;
        self.host.store.run(move |index| index.change(&id, change)).await?;
        if let Some(before) = before.filter(|record| record.state == State::Sealed) {
            tracing::warn!(order = hex::encode(id), "lost before its receipt, sealed anew");
            self.host.store.in_work_again(&before);
        }
        self.host.wakes.fetch.notify_one();
        Ok(())
    }

    async fn note(&self, id: OrderId, note: String) -> Result<(), Error> {
        self.host.store.run(move |index| index.change(&id, |record| record.note = Some(note))).await?;
        Ok(())
    }
}

impl Worker for Seal {
    fn name(&self) -> &'static str {
        "seal"
    }

    async fn work(&mut self) -> Result<Next, Error> {
        let number = self.host.number()?;
        let cursor = self.cursor;
        let sealed = self.host.store.run(move |index| index.in_state(State::Sealed, cursor, LOOK)).await?;
        self.waiting = self.host.store.run(|index| index.count(State::Sealed)).await?;
        // Those that wait for their orders' end must not keep the others from their turn.
        self.cursor = sealed.last().copied().filter(|_| sealed.len() >= LOOK);
        if sealed.is_empty() {
            return Ok(Next::Wait);
        }
        // The chain's word of this moment: the block that was heard of last may be old by now.
        let view = self.host.chain.view(Finality::Best).await?;
        let Due { ready, lapsed } = self.due(&view, number, sealed).await?;
        if ready.is_empty() {
            return match lapsed {
                Some(order) => self.take_again(&view, number, &order).await,
                None => Ok(Next::Wait),
            };
        }
        let count = ready.len();
        match statements::say(&self.host, number, Words::Receipts(ready)).await {
            Ok((block, _)) => {
                tracing::info!(orders = count, block = block.number, "receipt accepted");
                metrics::counter!("crust_receipts_total").increment(u64::try_from(count).unwrap_or(0));
                self.host.note_said(|said| said.receipt = Some(block));
                Ok(Next::Again)
            }
            Err(error) if error.is_for_later() => {
                tracing::info!("a receipt is said again: {error}");
                Ok(Next::Wait)
            }
            Err(statements::Error::Enclave(enclave_client::Error::Refused(rpc::Error::NotSealed { order }))) => {
                self.again(order).await?;
                Ok(Next::Again)
            }
            Err(error) => Err(error.into()),
        }
    }

    async fn wait(&mut self) {
        if self.waiting == 0 {
            self.host.wakes.seal.notified().await;
        } else {
            tokio::select! {
                () = self.host.wakes.seal.notified() => (),
                () = next_head(&mut self.heads, Duration::from_secs(30)) => (),
            }
        }
    }

    fn queue(&self) -> u64 {
        self.waiting
    }
}
