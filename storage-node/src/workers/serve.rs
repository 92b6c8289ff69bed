//! Gives blocks to whoever asks for them: finds a block's place in the index, reads the sealed chunks around it and has
//! the enclave open them.
//!
//! Caller: the network, which checks every block against its CID before it leaves. Private files are not served here,
//! and the enclave would not open them. A chunk that proves damaged is noted; the next check decides about it.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use bytes::Bytes;
use crust_network::Blocks;
use crust_protocol::{file::Cid, order::PRIVATE};
use futures::{FutureExt, future::BoxFuture};
use tokio::sync::Semaphore;

use super::Board;
use crate::{
    enclave_client::Enclave,
    reading::{Error, read},
    store::{
        self, Store,
        index::{Place, Record, State},
    },
};

/// Blocks read at the same time.
const AT_ONCE: usize = 4;
/// Damaged chunks remembered of a file.
const REMEMBERED: usize = 16;
/// Time after the last block for which more of them are awaited.
const SOON: Duration = Duration::from_millis(50);
const NAME: &str = "serve";

/// The blocks of all files held.
#[derive(Clone)]
pub struct Serve {
    store: Arc<Store>,
    enclave: Enclave,
    board: Board,
    reading: Arc<Semaphore>,
    /// When a block was asked for last.
    asked: Arc<Mutex<Option<Instant>>>,
}

impl Serve {
    pub fn new(store: Arc<Store>, enclave: Enclave, board: Board) -> Self {
        board.set(NAME, "waiting", 0, None);
        Serve { store, enclave, board, reading: Arc::new(Semaphore::new(AT_ONCE)), asked: Arc::default() }
    }

    /// The places where a block lies that may be served, with their orders.
    async fn places(&self, cid: Cid) -> Result<Vec<(Place, Record)>, store::Error> {
        let found = self.store.run(move |index| {
            let mut found = Vec::new();
            for place in index.places(&cid.multihash())? {
                match index.order(&place.order)? {
                    Some(record) if served(&record) => found.push((place, record)),
                    _ => (),
                }
            }
            Ok(found)
        });
        found.await
    }

    /// Whether a block is being read for somebody, or was just now.
    pub fn is_busy(&self) -> bool {
        let asked = *self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        self.reading.available_permits() < AT_ONCE || asked.is_some_and(|asked| asked.elapsed() < SOON)
    }

    async fn block(&self, cid: Cid) -> Option<Bytes> {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        let Ok(_turn) = self.reading.acquire().await else { return None };
        let queue = AT_ONCE.saturating_sub(self.reading.available_permits());
        self.board.state(NAME, "working", u64::try_from(queue).unwrap_or(0));
        let places = match self.places(cid).await {
            Ok(places) => places,
            Err(error) => {
                self.failed(&error.to_string());
                return None;
            }
        };
        for (place, record) in places {
            match read(&self.store, &self.enclave, &record, place.offset, place.length.into()).await {
                Ok(bytes) if cid.names(&bytes) => {
                    metrics::counter!("crust_served_bytes_total").increment(u64::from(place.length));
                    self.board.set(NAME, "waiting", 0, None);
                    return Some(bytes);
                }
                // The index is wrong about it; the bytes themselves are proven.
                Ok(_) => self.failed(&format!("the index leads to other bytes than {cid}")),
                // Known, and said when it was found.
                Err(Error::Damaged(chunk)) if record.damaged.contains(&chunk) => (),
                Err(error) => {
                    let order = hex::encode(place.order);
                    self.failed(&format!("block {cid} of order {order} cannot be read: {error}"));
                    if let Error::Damaged(chunk) = error {
                        self.note_damage(place, chunk).await;
                    }
                }
            }
        }
        None
    }

    async fn note_damage(&self, place: Place, chunk: u64) {
        metrics::counter!("crust_damaged_chunks_total").increment(1);
        let noted = self.store.run(move |index| {
            index.change(&place.order, |record| {
                if record.damaged.len() < REMEMBERED && !record.damaged.contains(&chunk) {
                    record.damaged.push(chunk);
                }
            })
        });
        if let Err(error) = noted.await {
            tracing::warn!("{error}");
        }
    }

    fn failed(&self, error: &str) {
        tracing::warn!(worker = NAME, "{error}");
        metrics::counter!("crust_worker_errors_total", "worker" => NAME).increment(1);
        self.board.set(NAME, "failing", 0, Some(error.to_owned()));
    }
}

fn served(record: &Record) -> bool {
    matches!(record.state, State::Sealed | State::Held) && record.content.flags & PRIVATE == 0
}

impl Blocks for Serve {
    fn size(&self, cid: Cid) -> BoxFuture<'_, Option<u32>> {
        async move {
            let places = self.places(cid).await.ok()?;
            places.first().map(|(place, _)| place.length)
        }
        .boxed()
    }

    fn get(&self, cid: Cid) -> BoxFuture<'_, Option<Bytes>> {
        self.block(cid).boxed()
    }
}
