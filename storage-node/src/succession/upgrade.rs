//! From one release of the enclave to the next on one machine, while the node reports and serves.
//!
//! Trigger: the operator names the socket of the second enclave (`POST /v1/upgrade`); that is remembered until it is done
//! or refused for good. Action, a step at each best block: the second enclave gets the key, stands by, is named as heir;
//! once that is final it follows the log for trial, and as soon as the slot's report is accepted `succeed` goes to the
//! chain, which leaves more than the next slot's whole time for what follows. Follow-up: when `succeed` is final, the
//! second enclave follows the log for good and writes its own; the daemon starts itself anew on that log and socket.
//! Until then the first enclave is kept, and nothing of it is lost if `succeed` never becomes final.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    time::Duration,
};

use crust_client::chain::{BlockRef, Call, Finality};
use tokio::sync::{Notify, watch};

use super::{Error, Progress, giver::Giver, heir::Heir, heir::Party};
use crate::{
    host::{Host, next_head},
    store::{
        self,
        successor::{Switch, WANTED},
    },
    workers::{self, Next, Worker, register},
};

/// What the operator has asked for, and how far it is.
pub struct Upgrade {
    progress: Mutex<Progress>,
    wake: Notify,
}

impl Default for Upgrade {
    fn default() -> Self {
        Upgrade { progress: Mutex::new(Progress::NONE), wake: Notify::new() }
    }
}

impl Upgrade {
    pub fn progress(&self) -> Progress {
        self.progress.lock().map_or(Progress::NONE, |progress| progress.clone())
    }

    fn note(&self, change: impl FnOnce(&mut Progress)) {
        if let Ok(mut progress) = self.progress.lock() {
            change(&mut progress);
        }
    }

    /// Asks for an upgrade to the enclave behind a socket; or for none any more.
    pub async fn want(host: &Host, socket: Option<PathBuf>) -> Result<(), store::Error> {
        let stage = if socket.is_some() { "beginning" } else { Progress::NONE.stage };
        host.upgrade.note(|progress| *progress = Progress { stage, ..Progress::NONE });
        let wanted = socket.map(|socket| socket.to_string_lossy().into_owned());
        host.store.run(move |index| index.set_meta(WANTED, &wanted)).await?;
        host.upgrade.wake.notify_one();
        Ok(())
    }

    /// Whether it may be asked for, or given up: one that the chain knows of already goes on. Forgotten, it may be asked for
    /// once more.
    pub async fn may_want(host: &Host, socket: Option<&Path>) -> Result<bool, Error> {
        let wanted = Self::wanted(host).await?;
        Ok(wanted.is_none() || wanted.as_deref() == socket || !followed(host).await?)
    }

    /// The enclave that is being upgraded to.
    pub async fn wanted(host: &Host) -> Result<Option<PathBuf>, store::Error> {
        let wanted = host.store.run(|index| index.meta::<Option<String>>(WANTED)).await?;
        Ok(wanted.flatten().map(PathBuf::from))
    }
}

/// The worker.
pub struct Succeed {
    host: Arc<Host>,
    heads: watch::Receiver<Option<BlockRef>>,
    heir: Option<(PathBuf, Heir)>,
}

impl Succeed {
    pub fn new(host: Arc<Host>) -> Self {
        let heads = host.best.subscribe();
        Succeed { host, heads, heir: None }
    }

    fn stage(&self, stage: &'static str) -> Next {
        self.host.upgrade.note(|progress| (progress.stage, progress.error) = (stage, None));
        Next::Wait
    }

    /// What is to be done now, from whatever was done before.
    async fn step(&mut self, socket: PathBuf) -> Result<Next, Error> {
        let host = self.host.clone();
        let best = host.chain.view(Finality::Best).await?;
        // The key's number stays known when the key was used up.
        let Some(number) = best.node_of(host.identity.sign_pk).await? else { return Ok(self.stage("registering")) };
        let node = best.node(number).await?.ok_or(Error::UnknownNode(number))?;
        let followed = node.sign_pk != host.identity.sign_pk;
        if self.heir.as_ref().is_none_or(|(known, _)| *known != socket) {
            self.stage("handing the key over");
            let own = host.store.heirs_log();
            let party = Party {
                vendor: &host.vendor,
                provider: host.wallet.account(),
                releases: host.config.releases.as_deref(),
            };
            let heir = match followed {
                true => Heir::again(&socket, &own, party).await?,
                false => Heir::begin(&socket, &own, party, Giver::Here(host.holder())).await?,
            };
            let key = hex::encode(heir.key());
            host.upgrade.note(|progress| progress.heir = Some(format!("0x{key}")));
            self.heir = Some((socket.clone(), heir));
        }
        let Some((_, heir)) = &self.heir else { return Ok(Next::Again) };
        let settled = host.final_view().await?.node(number).await?.ok_or(Error::UnknownNode(number))?;
        if settled.sign_pk == heir.key() {
            return self.switch(&socket, heir, settled.root).await;
        }
        if followed {
            return Ok(self.stage("waiting until the succession is final"));
        }
        if heir.stand_by(&host.vendor, &host.wallet, &best, register::endpoint(&host)?).await? {
            self.stage("the heir stands by");
            return Ok(Next::Again);
        }
        if !super::giver::name(&host, heir.key()).await? {
            return Ok(self.stage("waiting until the heir's name is final"));
        }
        let reported = node.last_report.map(|report| report.slot);
        if reported != Some(best.slot()) {
            return Ok(self.stage("waiting for this slot's report"));
        }
        self.stage("the heir follows the log for trial");
        let log = host.enclave.exclusive().await.log();
        heir.rehearse(&log, node.root).await?;
        self.stage("succeeding");
        let included = host.chain.submit(Call::Succeed { node: number }, &host.wallet).await?;
        tracing::info!(block = included.block.number, heir = hex::encode(heir.key()), "the node was handed over");
        Ok(Next::Wait)
    }

    /// Puts the heir in the enclave's place, here as on the chain.
    async fn switch(&self, socket: &Path, heir: &Heir, root: [u8; 32]) -> Result<Next, Error> {
        self.stage("switching");
        let host = &self.host;
        // Nothing more is written to the log from here on.
        let enclave = host.enclave.exclusive().await;
        heir.follow(&enclave.log(), root, &host.store.next_log()).await?;
        let switch = Switch {
            configured: host.config.enclave.to_string_lossy().into_owned(),
            socket: socket.to_string_lossy().into_owned(),
            keys: (heir.identity.sign_pk, heir.identity.channel_pk),
        };
        host.store.run(move |index| index.set_meta(Switch::NAME, &Some(switch))).await?;
        tracing::info!(enclave = %socket.display(), "the daemon starts anew on the next enclave");
        host.start_anew.cancel();
        // The process ends while nobody can speak.
        std::future::pending().await
    }
}

impl Worker for Succeed {
    fn name(&self) -> &'static str {
        "upgrade"
    }

    async fn work(&mut self) -> Result<Next, workers::Error> {
        let Some(socket) = Upgrade::wanted(&self.host).await? else {
            self.heir = None;
            return Ok(Next::Wait);
        };
        match self.step(socket).await {
            Ok(next) => Ok(next),
            Err(error) => {
                if error.is_final() && !followed(&self.host).await? {
                    tracing::error!("the upgrade is given up: {error}");
                    self.host.store.run(|index| index.set_meta(WANTED, &None::<String>)).await?;
                    let refused = Some(error.to_string());
                    self.host.upgrade.note(|progress| *progress = Progress { refused, ..Progress::NONE });
                    self.heir = None;
                    return Ok(Next::Wait);
                }
                self.host.upgrade.note(|progress| progress.error = Some(error.to_string()));
                // Its process may be a new one, without the key.
                self.heir = None;
                Err(workers::Error::Other(error.to_string()))
            }
        }
    }

    async fn wait(&mut self) {
        tokio::select! {
            () = next_head(&mut self.heads, Duration::from_secs(60)) => (),
            () = self.host.upgrade.wake.notified() => (),
        }
    }
}

/// Whether the chain has put another key in the place of this enclave's: then there is no way but on.
async fn followed(host: &Host) -> Result<bool, workers::Error> {
    let best = host.chain.view(Finality::Best).await?;
    let Some(number) = best.node_of(host.identity.sign_pk).await? else { return Ok(false) };
    Ok(best.node(number).await?.is_some_and(|node| node.sign_pk != host.identity.sign_pk))
}
