//! Keeps each disk's filler at its target: what the capacity leaves.
//!
//! Trigger: time, or space that has become free. Action: one step of growth on each disk, or a cut where a capacity was
//! lowered. Files on their way in go first: while there are any it grows by one step at a time, with a pause, so that it
//! takes little from them, and goes on if their bytes never come. A disk on which something is bad gets no new filler;
//! the enclave sees to that.

use std::{sync::Arc, time::Duration};

use crust_enclave::rpc;

use super::{Error, Next, Worker};
use crate::{
    enclave_client,
    host::Host,
    store::{filler, index::State, reserve},
};

/// Missing bytes for which filler is not grown: orders come and go.
const SLACK: u64 = 8 << 20;
const WAIT: Duration = Duration::from_secs(3);

pub struct Fill {
    host: Arc<Host>,
    missing: u64,
}

impl Fill {
    pub fn new(host: Arc<Host>) -> Self {
        Fill { host, missing: 0 }
    }
}

impl Worker for Fill {
    fn name(&self) -> &'static str {
        "fill"
    }

    async fn work(&mut self) -> Result<Next, Error> {
        let host = &self.host;
        let busy = host.store.run(|index| index.count(State::Taken)).await? > 0;
        let (mut next, mut missing) = (Next::Wait, 0_u64);
        let mut trouble = None;
        for (disk, filler) in host.store.fillers() {
            if !disk.present() {
                continue;
            }
            let target = host.store.filler_target(&disk.id);
            // A disk that fails stops its own filler alone.
            let fits = match filler.align(&host.enclave).await {
                Ok(()) if filler.length() > target => filler.shrink(&host.enclave, target).await.map(|()| false),
                result => result.map(|()| true),
            };
            match fits {
                Ok(true) => (),
                Ok(false) => continue,
                Err(error @ filler::Error::Io { .. }) => {
                    trouble = Some(error.to_string());
                    continue;
                }
                Err(error) => return Err(error.into()),
            }
            let length = filler.length();
            let short = target.saturating_sub(length);
            let slack = SLACK.min(disk.capacity() / 64);
            if short < slack.max(filler::PAGE) && !filler.growing() {
                continue;
            }
            missing = missing.saturating_add(short);
            let free = disk.free().unwrap_or_default();
            if free <= reserve(disk.capacity()) {
                trouble = Some(format!("disk {} is full before its capacity is used; lower it", disk.path.display()));
                continue;
            }
            match filler.grow(&host.enclave, host.store.filler_limit(&disk.id)).await {
                Ok(true) if busy => (),
                Ok(true) => next = Next::Again,
                Ok(false) => (),
                Err(filler::Error::Enclave(enclave_client::Error::Refused(rpc::Error::DiskBad))) => {
                    trouble = Some(format!(
                        "something was bad in the last check, so disk {} gets no new filler until one finds all good",
                        disk.path.display()
                    ));
                }
                Err(error @ filler::Error::Io { .. }) => trouble = Some(error.to_string()),
                Err(error) => return Err(error.into()),
            }
        }
        self.missing = missing;
        match trouble {
            Some(trouble) if next == Next::Wait => Err(Error::Other(trouble)),
            _ => Ok(next),
        }
    }

    async fn wait(&mut self) {
        tokio::time::timeout(WAIT, self.host.wakes.fill.notified()).await.ok();
    }

    /// In mebibytes.
    fn queue(&self) -> u64 {
        self.missing >> 20
    }
}
