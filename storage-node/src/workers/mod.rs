//! The background work, one file a step, in the order in which a file meets them: [`watch_orders`] takes places,
//! [`fetch`] gets the blocks, [`seal`] has them sealed and gives receipts, [`report`] says each slot what is held and
//! shows what the chain has drawn ([`drawn`]), [`serve`] gives blocks to others, [`evict`] deletes what has ended.
//! [`register`], [`collateral`], [`fill`] and [`claim`] keep the node itself going, [`scrub`] reads everything again in
//! time, [`find`] finds again what a lost index knew, [`snapshot`] keeps the log short.
//!
//! All have one shape: a name, a status that the operator sees, one restartable unit of work, and something to wait
//! for. A unit that fails is tried again after a pause; a worker never ends before the daemon does.

pub mod claim;
pub mod collateral;
mod drawn;
pub mod evict;
pub mod fetch;
pub mod fill;
pub mod find;
mod held;
mod pause;
pub mod register;
pub mod report;
pub mod scrub;
pub mod seal;
pub mod serve;
mod since;
pub mod snapshot;
pub mod watch_orders;

use std::{
    collections::BTreeMap,
    future::Future,
    panic::AssertUnwindSafe,
    sync::{Arc, Mutex, MutexGuard},
};

use crust_protocol::BlockNumber;
use futures::FutureExt;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{enclave_client, statements, store, vendor};
use pause::Pauses;

/// Why a unit of work did not end well. Every one is tried again.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Chain(#[from] crust_client::chain::Error),
    #[error(transparent)]
    Enclave(#[from] enclave_client::Error),
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Statement(#[from] statements::Error),
    #[error(transparent)]
    Vendor(#[from] vendor::Error),
    #[error("the node is not registered yet")]
    NotRegistered,
    #[error("{0}")]
    Other(String),
}

impl From<store::index::Error> for Error {
    fn from(error: store::index::Error) -> Self {
        Error::Store(error.into())
    }
}

impl From<store::filler::Error> for Error {
    fn from(error: store::filler::Error) -> Self {
        Error::Store(error.into())
    }
}

/// What comes after a unit of work.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Next {
    /// There is more to do.
    Again,
    /// Nothing to do until something happens.
    Wait,
}

/// A step of the background work.
pub trait Worker: Send + 'static {
    fn name(&self) -> &'static str;

    /// One unit of work. It may be dropped at any await and done again.
    fn work(&mut self) -> impl Future<Output = Result<Next, Error>> + Send;

    /// Ends when there may be work again.
    fn wait(&mut self) -> impl Future<Output = ()> + Send;

    /// Units that wait, as far as it is known.
    fn queue(&self) -> u64 {
        0
    }

    /// What goes wrong although the unit itself ended well.
    fn trouble(&self) -> Option<String> {
        None
    }
}

/// A worker as the operator sees it.
#[derive(Clone, Debug, serde::Serialize, utoipa::ToSchema)]
pub struct Status {
    pub name: &'static str,
    /// `working`, `waiting` or `failing`.
    pub state: &'static str,
    /// Units of work that wait.
    pub queue: u64,
    /// The last error, until the worker has done a unit again.
    pub error: Option<String>,
}

/// What the workers show: their status, and what one of them found that is about the whole node.
#[derive(Clone, Default)]
pub struct Board(Arc<Mutex<Shown>>);

#[derive(Default)]
struct Shown {
    workers: BTreeMap<&'static str, Status>,
    leaves: Option<BlockNumber>,
}

impl Board {
    /// The status of all workers.
    pub fn all(&self) -> Vec<Status> {
        self.lock().workers.values().cloned().collect()
    }

    /// The block from which the node is out, if it does not stay.
    pub fn leaves(&self) -> Option<BlockNumber> {
        self.lock().leaves
    }

    fn set_leaves(&self, leaves: Option<BlockNumber>) {
        self.lock().leaves = leaves;
    }

    /// Sets what a worker without a loop of its own shows, or one says between units.
    pub fn set(&self, name: &'static str, state: &'static str, queue: u64, error: Option<String>) {
        self.lock().workers.insert(name, Status { name, state, queue, error });
    }

    fn state(&self, name: &'static str, state: &'static str, queue: u64) {
        let mut shown = self.lock();
        let status = shown.workers.entry(name).or_insert(Status { name, state, queue, error: None });
        (status.state, status.queue) = (state, queue);
    }

    fn well(&self, name: &'static str, trouble: Option<String>) {
        if let Some(status) = self.lock().workers.get_mut(name) {
            status.error = trouble;
        }
    }

    fn lock(&self) -> MutexGuard<'_, Shown> {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Runs a worker until the daemon stops.
pub async fn run(mut worker: impl Worker, board: Board, stop: CancellationToken) {
    let name = worker.name();
    let mut pauses = Pauses::new();
    loop {
        board.state(name, "working", worker.queue());
        let unit = AssertUnwindSafe(worker.work()).catch_unwind();
        let result = tokio::select! {
            result = unit => result.unwrap_or_else(|_| Err(Error::Other("a unit of work panicked; please report this".into()))),
            () = stop.cancelled() => return,
        };
        match result {
            Ok(next) => {
                board.well(name, worker.trouble());
                pauses.well(Instant::now());
                if next == Next::Wait {
                    board.state(name, "waiting", worker.queue());
                    tokio::select! {
                        () = worker.wait() => (),
                        () = stop.cancelled() => return,
                    }
                }
            }
            Err(Error::NotRegistered) => {
                // No fault of anybody's: a new node, or one whose registration is not final yet.
                pauses.answered();
                board.set(name, "unregistered", worker.queue(), None);
                tokio::select! {
                    () = tokio::time::sleep(pause::FIRST) => (),
                    () = stop.cancelled() => return,
                }
            }
            Err(error) => {
                let (pause, news) = pauses.failed(&error, Instant::now());
                match news {
                    true => tracing::warn!(worker = name, "{error}"),
                    false => tracing::debug!(worker = name, "{error}"),
                }
                metrics::counter!("crust_worker_errors_total", "worker" => name).increment(1);
                board.set(name, "failing", worker.queue(), Some(error.to_string()));
                tokio::select! {
                    () = tokio::time::sleep(pause) => (),
                    () = stop.cancelled() => return,
                }
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;
    use tokio::sync::mpsc;

    struct Flaky {
        left: u32,
        done: mpsc::UnboundedSender<u32>,
    }

    impl Worker for Flaky {
        fn name(&self) -> &'static str {
            "flaky"
        }

        async fn work(&mut self) -> Result<Next, Error> {
            self.left = self.left.saturating_sub(1);
            self.done.send(self.left).unwrap();
            match self.left {
                2 => Err(Error::Other("no luck".into())),
                1 => panic!("on purpose"),
                0 => Ok(Next::Wait),
                _ => Ok(Next::Again),
            }
        }

        async fn wait(&mut self) {
            std::future::pending().await
        }
    }

    #[tokio::test]
    async fn a_worker_goes_on_after_errors_and_panics() {
        let (board, stop) = (Board::default(), CancellationToken::new());
        let (done, mut seen) = mpsc::unbounded_channel();
        let task = tokio::spawn(run(Flaky { left: 4, done }, board.clone(), stop.clone()));
        for expected in [3, 2, 1, 0] {
            assert_eq!(seen.recv().await, Some(expected));
        }
        stop.cancel();
        task.await.unwrap();
        assert_eq!(board.all().len(), 1);
    }
}
