//! Keeps the enclave's log short: what was said long ago is worth a snapshot only.
//!
//! Trigger: the log has outgrown what it began with, an enclave process was opened whose platform has risen in security,
//! or an operator asks. Action: the enclave's snapshot is written beside the log, and takes its place. Follow-up: the
//! next start loads the snapshot and what was said since; what was deleted before it is on no disk any more.

use std::{sync::Arc, time::Duration};

use crust_enclave::rpc::{Request, Response};
use tokio::sync::watch;

use super::{Error, Next, Worker};
use crate::{
    enclave_client::{self, LogStatus},
    host::Host,
};

const WAIT: Duration = Duration::from_secs(30);

pub struct Snapshot {
    host: Arc<Host>,
    log: watch::Receiver<LogStatus>,
    /// The session of the enclave that was asked last whether its key is to be wrapped anew.
    asked: u64,
}

impl Snapshot {
    pub fn new(host: Arc<Host>) -> Self {
        let log = host.enclave.log();
        Snapshot { host, log, asked: 0 }
    }

    /// Whether the log's key is wrapped at an older security version than the platform has by now.
    async fn rewrap(&mut self) -> Result<bool, Error> {
        let session = self.host.enclave.session();
        if session == self.asked {
            return Ok(false);
        }
        let Response::State(state) = self.host.enclave.ask(Request::State).await? else {
            return Err(enclave_client::Error::Answer("State").into());
        };
        if !state.rewrap {
            self.asked = session;
        }
        Ok(state.rewrap)
    }
}

impl Worker for Snapshot {
    fn name(&self) -> &'static str {
        "snapshot"
    }

    async fn work(&mut self) -> Result<Next, Error> {
        let before = self.log.borrow_and_update().clone();
        if before.overgrown || self.rewrap().await? {
            self.host.enclave.take_snapshot().await?;
            let now = self.log.borrow_and_update().overview.bytes;
            tracing::info!(before = before.overview.bytes, now, "the log begins anew with a snapshot");
        }
        Ok(Next::Wait)
    }

    async fn wait(&mut self) {
        let overgrown = self.log.wait_for(|log| log.overgrown);
        tokio::time::timeout(WAIT, overgrown).await.ok();
    }
}
