//! The daemon of a standby: an enclave on another machine that has the node's key, is registered, is named as the node's
//! heir, and does nothing else until the node's board is dead.
//!
//! Trigger: a best block. Action: what is missing of that. When the operator says so (`POST /v1/succeed`), who has moved
//! the node's disks here: of the copies of the log on them the enclave follows the one that holds the node's last
//! statement, for trial; `succeed` goes to the chain, and when that is final the enclave follows for good. Follow-up: the
//! state directory is a node's, and the daemon starts itself anew as one.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use anyhow::Context;
use crust_client::{
    chain::{Call, Chain, Finality, Node, View},
    wallet::Wallet,
};
use crust_enclave::rpc::About;
use crust_network::peer_of;
use futures::StreamExt;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{
    Error, Progress,
    giver::{Giver, Holder, Remote},
    heir::{self, Endpoint, Heir, Party},
};
use crate::{
    admin::Admin,
    config::{self, Config},
    enclave_client::{Enclave, SharedLog},
    node::{self, Ended},
    store::{self, log::Log, successor},
    vendor::Vendor,
    workers::register,
};

/// Pause before a step that failed is tried again, if no block comes first.
const RETRY: Duration = Duration::from_secs(5);
/// What it says when all is ready.
const READY: &str = "standing by";

/// A standby, for its admin API.
pub struct Standby {
    pub node: u32,
    progress: Mutex<Progress>,
    /// The operator has said that it is to follow, with this log if he named one.
    told: Mutex<Option<Option<PathBuf>>>,
    wake: Notify,
    /// The enclave, once it has the node's key: a node whose platform keeps none gets it back from here.
    enclave: OnceLock<(Enclave, About, Vendor)>,
    releases: Option<PathBuf>,
}

impl Standby {
    /// The enclave as one that can hand the key over.
    pub fn holder(&self) -> Option<Holder<'_>> {
        let (enclave, about, vendor) = self.enclave.get()?;
        Some(Holder { enclave, about, vendor, releases: self.releases.as_deref() })
    }

    pub fn progress(&self) -> Progress {
        self.progress.lock().map_or(Progress::NONE, |progress| progress.clone())
    }

    /// Whether it could follow at this moment.
    pub fn ready(&self) -> bool {
        let progress = self.progress();
        progress.stage == READY && progress.error.is_none()
    }

    /// Has it follow the node, with the log at a path or one of those on the disks.
    pub fn succeed(&self, log: Option<PathBuf>) {
        if let Ok(mut told) = self.told.lock() {
            *told = Some(log);
        }
        self.note(|progress| progress.refused = None);
        self.wake.notify_one();
    }

    fn told(&self) -> Option<Option<PathBuf>> {
        self.told.lock().ok().and_then(|told| told.clone())
    }

    /// What it was told cannot be done.
    fn refuse(&self, reason: String) {
        if let Ok(mut told) = self.told.lock() {
            *told = None;
        }
        self.note(|progress| progress.refused = Some(reason));
    }

    fn note(&self, change: impl FnOnce(&mut Progress)) {
        if let Ok(mut progress) = self.progress.lock() {
            change(&mut progress);
        }
    }
}

/// Whether the configuration and the state directory are a standby's.
pub fn role(config: &Config) -> Option<&config::Standby> {
    config.standby.as_ref().filter(|_| !successor::has_succeeded(&config.state))
}

/// Runs a standby until `stop`, or until it has become the node.
pub async fn run(
    config: &Config,
    role: &config::Standby,
    admin: &Admin,
    stop: CancellationToken,
) -> anyhow::Result<Ended> {
    let standby = Arc::new(Standby {
        node: role.node,
        progress: Mutex::new(Progress { stage: "waiting for the chain", ..Progress::NONE }),
        told: Mutex::default(),
        wake: Notify::new(),
        enclave: OnceLock::new(),
        releases: config.releases.clone(),
    });
    admin.stand_by(standby.clone());
    node::make_private(&config.state)?;
    let _lock = store::lock(&config.state.join("lock"))?;
    let chain = node::connect(&config.chain).await?;
    let vendor = Vendor::new(chain.clone(), config.pccs.clone());
    let wallet = node::wallet(config, &chain).context("the provider's account")?;
    let giver = Remote::new(&role.admin, role.admin_token_file.as_deref())?;
    let mut waiting = Waiting { standby, config, vendor, chain, wallet, giver, heir: None };
    let mut heads = std::pin::pin!(waiting.chain.blocks(Finality::Best));
    while !stop.is_cancelled() {
        match waiting.step().await {
            Ok(true) => return Ok(Ended::StartAnew),
            Ok(false) => (),
            Err(error) => {
                tracing::warn!("standby: {error}");
                waiting.standby.note(|progress| progress.error = Some(error.to_string()));
                if waiting.standby.told().is_some() && !error.is_passing() {
                    waiting.standby.refuse(error.to_string());
                }
            }
        }
        tokio::select! {
            _ = heads.next() => (),
            () = waiting.standby.wake.notified() => (),
            () = tokio::time::sleep(RETRY) => (),
            () = stop.cancelled() => (),
        }
    }
    Ok(Ended::Stopped)
}

struct Waiting<'a> {
    standby: Arc<Standby>,
    config: &'a Config,
    vendor: Vendor,
    chain: Chain,
    wallet: Wallet,
    giver: Remote,
    heir: Option<Heir>,
}

impl Waiting<'_> {
    fn stage(&self, stage: &'static str) {
        self.standby.note(|progress| (progress.stage, progress.error) = (stage, None));
    }

    /// What is to be done now, from whatever was done before. `true` when this is the node.
    async fn step(&mut self) -> Result<bool, Error> {
        let number = self.standby.node;
        let best = self.chain.view(Finality::Best).await?;
        let node = best.node(number).await?.ok_or(Error::UnknownNode(number))?;
        if node.provider != self.wallet.account() {
            return Err(Error::OtherProvider(number));
        }
        let party =
            Party { vendor: &self.vendor, provider: self.wallet.account(), releases: self.config.releases.as_deref() };
        if let Some(heir) = &self.heir {
            match heir.enclave.open().await {
                // A process that is new, on a platform that keeps no key: the node gives it once more.
                Err(error) if heir::lacks_key(&error) => {
                    self.stage("getting the node's key back");
                    heir::regain(&self.config.enclave, party, Giver::There(&self.giver)).await?;
                }
                opened => drop(opened?),
            }
        } else {
            self.stage("getting the node's key");
            let own = successor::heirs_log(&self.config.state);
            let heir = Heir::begin(&self.config.enclave, &own, party, Giver::There(&self.giver)).await?;
            let key = hex::encode(heir.key());
            self.standby.note(|progress| progress.heir = Some(format!("0x{key}")));
            let holder = (heir.enclave.clone(), heir.identity.about.clone(), self.vendor.clone());
            self.standby.enclave.set(holder).ok();
            self.heir = Some(heir);
        }
        let Some(heir) = &self.heir else { return Ok(false) };
        let finalized = self.chain.view(Finality::Finalized).await?;
        let settled = finalized.node(number).await?.ok_or(Error::UnknownNode(number))?;
        if settled.sign_pk == heir.key() {
            return self.become_node(heir, &settled).await;
        }
        if node.sign_pk == heir.key() {
            self.stage("waiting until the succession is final");
            return Ok(false);
        }
        let told = self.standby.told();
        // As long as its registration lasts, nothing that is wrong with the next one holds it up.
        let lasts = best.standby(heir.key()).await?.is_some_and(|until| until > best.block().number);
        if told.is_none() || !lasts {
            self.keep_ready(heir, &best).await?;
        }
        if let Some(named) = told {
            return self.succeed(heir, &best, &node, named).await;
        }
        if settled.heir != Some(heir.key()) {
            self.stage("waiting to be named by the node");
            self.giver.name(&heir.key()).await?;
            return Ok(false);
        }
        self.stage(READY);
        Ok(false)
    }

    /// Its registration, in time, like a node's.
    async fn keep_ready(&self, heir: &Heir, best: &View) -> Result<(), Error> {
        heir.stand_by(&self.vendor, &self.wallet, best, self.endpoint()?).await?;
        Ok(())
    }

    fn endpoint(&self) -> Result<Endpoint, Error> {
        let secret = node::secret(&self.config.state.join("network.key")).map_err(other)?;
        let peer = peer_of(secret).map_err(other)?;
        let announced = if self.config.announce.is_empty() { &self.config.listen } else { &self.config.announce };
        Ok((peer.to_string(), register::announceable(announced.clone())?))
    }

    /// Takes the node over, on the chain.
    async fn succeed(&self, heir: &Heir, best: &View, node: &Node, named: Option<PathBuf>) -> Result<bool, Error> {
        if node.heir != Some(heir.key()) {
            return Err(Error::NotNamed(node.id));
        }
        if self.giver.lives().await {
            return Err(Error::StillRuns(self.giver.url.clone()));
        }
        self.stage("following the log for trial");
        // All of it must be there before there is no way back.
        successor::owner_of(&self.config.disks)?;
        self.find_log(heir, node, named).await?;
        self.stage("succeeding");
        let included = self.chain.submit(Call::Succeed { node: node.id }, &self.wallet).await?;
        tracing::info!(block = included.block.number, after = best.block().number, "this enclave takes the node over");
        Ok(false)
    }

    /// Of the copies of the node's log the one that the chain agrees with, after a trial.
    async fn find_log(&self, heir: &Heir, node: &Node, named: Option<PathBuf>) -> Result<SharedLog, Error> {
        let paths = match named.or_else(|| self.standby.told().flatten()) {
            Some(path) => vec![path],
            None => successor::logs_on_disks(&self.config.disks),
        };
        furthest(paths, async |path: &Path| {
            let log = open(path)?;
            Ok((heir.rehearse(&log, node.root).await?, log))
        })
        .await
    }

    /// Takes the node over, here: the chain has it so.
    async fn become_node(&self, heir: &Heir, settled: &Node) -> Result<bool, Error> {
        self.stage("following the log");
        let log = self.find_log(heir, settled, None).await?;
        heir.follow(&log, settled.root, &successor::next_log(&self.config.state)).await?;
        successor::become_node(self.config, (heir.identity.sign_pk, heir.identity.channel_pk))?;
        tracing::info!(node = settled.id, "this is the node now; the daemon starts anew");
        Ok(true)
    }
}

/// The log at a path, where nothing may begin.
fn open(path: &Path) -> Result<SharedLog, Error> {
    if !path.is_file() {
        return Err(Error::NoFile(path.to_owned()));
    }
    let log = Log::open(path.to_owned(), None).map_err(store::Error::from)?;
    Ok(SharedLog::new(Mutex::new(log)))
}

/// Of some copies of a log that which goes furthest, by the number that its trial gives. Those that fail stop it only if
/// none is left, or if it may pass by itself.
async fn furthest<T>(
    paths: Vec<PathBuf>,
    mut rehearse: impl AsyncFnMut(&Path) -> Result<(u64, T), Error>,
) -> Result<T, Error> {
    let (mut best, mut refused) = (None, Error::NoLog);
    for path in paths {
        match rehearse(&path).await {
            Ok((number, log)) if best.as_ref().is_none_or(|(most, _)| number > *most) => best = Some((number, log)),
            Ok(_) => (),
            Err(error) if error.is_passing() => return Err(error),
            Err(error) => {
                tracing::warn!(log = %path.display(), "this copy of the log does not do: {error}");
                refused = error;
            }
        }
    }
    best.map(|(_, log)| log).ok_or(refused)
}

fn other(error: impl std::fmt::Display) -> Error {
    crate::workers::Error::Other(error.to_string()).into()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::{fs, io};

    use super::*;
    use crate::enclave_client;

    /// The names say what their trial gives.
    async fn of(names: &[&str]) -> Result<PathBuf, Error> {
        let paths = names.iter().map(PathBuf::from).collect();
        furthest(paths, async |path: &Path| match path.to_str() {
            Some("away") => {
                let source = io::ErrorKind::NotConnected.into();
                Err(enclave_client::Error::Down { path: path.to_owned(), source }.into())
            }
            Some("old") => Err(enclave_client::Error::OtherLine([1; 32]).into()),
            Some(number) => number.parse().map(|number| (number, path.to_owned())).map_err(|_| Error::NoLog),
            None => Err(Error::NoLog),
        })
        .await
    }

    #[tokio::test]
    async fn one_copy_that_does_not_do_stops_no_other() {
        assert_eq!(of(&["damaged", "old", "7"]).await.unwrap(), Path::new("7"));
        assert_eq!(of(&["7", "9", "8", "old"]).await.unwrap(), Path::new("9"));
        assert!(matches!(of(&[]).await, Err(Error::NoLog)));
        assert!(matches!(of(&["damaged", "old"]).await, Err(Error::Enclave(enclave_client::Error::OtherLine(_)))));
        // Tried again as a whole.
        assert!(matches!(of(&["away", "7"]).await, Err(Error::Enclave(enclave_client::Error::Down { .. }))));
    }

    #[test]
    fn a_path_without_a_file_makes_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("enclave.log");
        for _ in 0..2 {
            let Err(error) = open(&path) else { panic!("a log came of nothing") };
            assert!(error.to_string().contains("no file"), "{error}");
        }
        fs::create_dir(&path).unwrap();
        assert!(matches!(open(&path), Err(Error::NoFile(_))));
    }
}
