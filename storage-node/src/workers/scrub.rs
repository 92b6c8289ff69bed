//! Reads everything held again and again, so that what rots is found before it is asked for.
//!
//! Trigger: a slot, and time. Action: the enclave says which stretch is next; it is read, mended where parity can, and
//! shown. Follow-up: the enclave notes what was good and what was bad; a bad hash tree is made anew; filler grows again on
//! a disk once all on it was good. The rate is bounded: all that is held in half of the period that the protocol allows,
//! faster while a disk waits for it. Reads for others go first, as far as that rate leaves time.

use std::{sync::Arc, time::Duration};

use crust_client::chain::BlockRef;
use crust_enclave::rpc::{self, Request, Response, Sample, Scrub as Progress, Stretch};
use tokio::sync::watch;

use super::{Error, Next, Worker};
use crate::{
    enclave_client,
    host::{Host, next_head},
    reading, trees,
};

/// Bytes of a second that are read at least.
const LEAST: u64 = 1 << 20;
/// How much faster it goes while a disk waits.
const HURRY: u64 = 8;
/// Time between two looks whether others are being served.
const GIVE_WAY: Duration = Duration::from_millis(20);

pub struct Scrub {
    host: Arc<Host>,
    heads: watch::Receiver<Option<BlockRef>>,
    next: Option<Stretch>,
    /// Bytes a second.
    rate: u64,
}

impl Scrub {
    pub fn new(host: Arc<Host>) -> Self {
        let heads = host.best.subscribe();
        Scrub { host, heads, next: None, rate: LEAST }
    }

    /// Asks where the scrub stands; how fast it has to be.
    async fn look(&mut self) -> Result<(), Error> {
        let progress = match self.host.enclave.ask(Request::ScrubNext).await {
            Ok(Response::ScrubNext(progress)) => progress,
            Ok(_) => return Err(enclave_client::Error::Answer("ScrubNext").into()),
            // A draw is being answered: that goes first.
            Err(enclave_client::Error::Refused(rpc::Error::Checking)) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let Progress { next, until, period, waiting } = progress;
        let parameters = self.host.parameters();
        let slot_seconds = parameters.block_millis.saturating_mul(parameters.slot_blocks.into()) / 1_000;
        let seconds = slot_seconds.saturating_mul(period.into()).max(2) / 2;
        let usage = self.host.store.usage();
        let held =
            usage.iter().map(|disk| disk.stored_bytes.saturating_add(disk.filler_bytes)).fold(0, u64::saturating_add);
        self.rate = held.checked_div(seconds).unwrap_or(held).max(LEAST);
        if !waiting.is_empty() {
            self.rate = self.rate.saturating_mul(HURRY);
        }
        if let Some(until) = until {
            metrics::gauge!("crust_scrubbed_until").set(f64::from(until));
        }
        self.next = next;
        Ok(())
    }
}

/// Bytes of a stretch, about.
fn length(stretch: &Stretch) -> u64 {
    match stretch {
        Stretch::Filler { pages, .. } => u64::from(*pages).saturating_mul(4 << 10),
        Stretch::File { chunks, .. } => u64::from(*chunks).saturating_mul(64 << 10),
        Stretch::Tree { nodes, .. } => u64::from(*nodes).saturating_mul(64 << 10),
    }
}

impl Worker for Scrub {
    fn name(&self) -> &'static str {
        "scrub"
    }

    async fn work(&mut self) -> Result<Next, Error> {
        if self.next.is_none() {
            self.look().await?;
        }
        let Some(stretch) = self.next.take() else { return Ok(Next::Wait) };
        let started = tokio::time::Instant::now();
        let due = Duration::from_millis(length(&stretch).saturating_mul(1_000) / self.rate.max(1));
        while self.host.serve.is_busy() && started.elapsed() < due {
            tokio::time::sleep(GIVE_WAY.min(due)).await;
        }
        let bytes = reading::stretch(&self.host.store, stretch).await;
        match self.host.enclave.change(Request::Scrub { stretch, bytes }).await {
            Ok(Response::Scrubbed { bad, next, .. }) => {
                metrics::counter!("crust_scrubbed_bytes_total").increment(length(&stretch));
                if !bad.is_empty() {
                    metrics::counter!("crust_scrub_bad_total").increment(u64::try_from(bad.len()).unwrap_or(u64::MAX));
                    tracing::warn!(?bad, "the scrub found something bad");
                }
                for sample in bad {
                    // What ails the file itself is read again with each draw.
                    if let Sample::Tree { order, .. } = sample
                        && let Err(error) = trees::make_anew(&self.host.store, &self.host.enclave, order).await
                    {
                        tracing::warn!(order = hex::encode(order), "its hash tree cannot be made anew: {error}");
                    }
                }
                self.next = next;
            }
            Ok(_) => return Err(enclave_client::Error::Answer("Scrub").into()),
            // A draw began, or the file went, meanwhile: asked anew.
            Err(enclave_client::Error::Refused(rpc::Error::Checking | rpc::Error::NotNext)) => (),
            Err(error) => return Err(error.into()),
        }
        tokio::time::sleep(due.saturating_sub(started.elapsed())).await;
        Ok(if self.next.is_some() { Next::Again } else { Next::Wait })
    }

    async fn wait(&mut self) {
        next_head(&mut self.heads, Duration::from_secs(30)).await;
    }
}
