//! An enclave on a platform without sealing keys, such as a TDX guest, has its key in memory only. After every stop it
//! gets it back from the node's standby, and then goes on with its own log under its own name.
//!
//! Trigger: the enclave's process is new and cannot open the log, at the daemon's start or later. Action: a hand-over with
//! the standby as giver. Follow-up: whoever asks the enclave next finds it open.

use std::{path::PathBuf, sync::Arc, time::Duration};

use crust_enclave::rpc;
use crust_protocol::Key;
use tokio::{sync::Mutex, time::Instant};

use super::{
    Error,
    giver::{Giver, Remote},
    heir::{self, Party},
};
use crate::{
    config::Config,
    enclave_client,
    host::{Host, next_head},
    vendor::Vendor,
};

/// First and longest pause between two attempts: each costs the giver a record in its log.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Where the key comes from, and for whom.
pub struct Regain {
    socket: PathBuf,
    vendor: Vendor,
    provider: Key,
    releases: Option<PathBuf>,
    standby: Remote,
    /// When it was tried last, and the pause after that.
    tried: Mutex<Option<(Instant, Duration)>>,
}

impl Regain {
    /// As the configuration has it, if it has it.
    pub fn new(config: &Config, socket: PathBuf, vendor: Vendor, provider: Key) -> Result<Option<Self>, Error> {
        let Some(from) = &config.key_from else { return Ok(None) };
        let standby = Remote::new(&from.admin, from.admin_token_file.as_deref())?;
        Ok(Some(Regain {
            socket,
            vendor,
            provider,
            releases: config.releases.clone(),
            standby,
            tried: Mutex::default(),
        }))
    }

    /// Whether an enclave was not opened because its platform does not give it its key.
    pub fn is_due(error: &enclave_client::Error) -> bool {
        matches!(error.refusal(), Some(rpc::Error::NoKey | rpc::Error::Platform(_)))
    }

    /// Tries it, at once or after the pause that is due.
    pub async fn regain(&self) -> Result<(), Error> {
        let mut tried = self.tried.lock().await;
        let pause = match *tried {
            Some((at, pause)) => {
                let next = next_pause(pause, at.elapsed());
                tokio::time::sleep(pause.saturating_sub(at.elapsed())).await;
                next
            }
            None => PAUSE,
        };
        *tried = Some((Instant::now(), pause));
        let party = Party { vendor: &self.vendor, provider: self.provider, releases: self.releases.as_deref() };
        heir::regain(&self.socket, party, Giver::There(&self.standby)).await
    }

    /// Looks after it for as long as the daemon runs.
    pub async fn keep(self, host: Arc<Host>) {
        let mut heads = host.best.subscribe();
        loop {
            next_head(&mut heads, Duration::from_secs(10)).await;
            if let Err(error) = host.enclave.open().await
                && Self::is_due(&error)
                && let Err(error) = self.regain().await
            {
                tracing::warn!("the enclave does not have its key: {error}");
            }
        }
    }
}

/// The pause after an attempt that comes so long after the last. One that had no reason to come begins with the first.
fn next_pause(pause: Duration, since: Duration) -> Duration {
    match since > LONGEST_PAUSE.saturating_mul(2) {
        true => PAUSE,
        false => pause.saturating_mul(2).min(LONGEST_PAUSE),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_in_a_row_are_further_and_further_apart() {
        let (mut pause, mut pauses) = (PAUSE, Vec::new());
        for _ in 0..8 {
            pauses.push(pause.as_secs());
            pause = next_pause(pause, pause);
        }
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(next_pause(pause, Duration::from_secs(3_600)), PAUSE, "another stop, another day");
    }
}
