//! The start of a node, in the order in which it happens, and its end. Reads like a boot log.

use std::{
    fs,
    io::{self, Read, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use anyhow::{Context, bail};
use crust_client::{
    chain::{self, Chain, Finality},
    wallet::Wallet,
};
use crust_network::{Multiaddr, Network, PeerId};
use crust_protocol::{Hash, Key};
use tokio::{
    sync::{Notify, watch},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use crate::{
    admin::Admin,
    config::Config,
    enclave_client::{self, Enclave, Identity},
    host::{Host, LastSaid, Wakes, follow},
    reconcile,
    store::{Store, index::State, log::Log, successor},
    succession::{
        regain::Regain,
        standby,
        upgrade::{Succeed, Upgrade},
    },
    vendor::Vendor,
    workers::{
        self, Board, claim::Claim, collateral::Collateral, evict::Evict, fetch::Fetch, fill::Fill, find::Find,
        register::Register, report::Report, scrub::Scrub, seal::Seal, serve::Serve, snapshot::Snapshot,
        watch_orders::WatchOrders,
    },
};

/// Pause before something that is not there yet is tried again.
const RETRY: Duration = Duration::from_millis(500);
/// Time that the workers get to stop.
const STOP: Duration = Duration::from_secs(10);
/// Nodes of the chain that are told to the DHT at the start.
const NEIGHBOURS: u32 = 64;

/// How a daemon ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ended {
    /// It was told to stop.
    Stopped,
    /// It is to begin again, with another enclave.
    StartAnew,
}

/// Runs a node, or a standby, until `stop`; each time `again` says so, the disks in the configuration at `path` are taken
/// up.
pub async fn run(config: Config, path: PathBuf, again: Arc<Notify>, stop: CancellationToken) -> anyhow::Result<Ended> {
    let board = Board::default();
    let admin = Admin::start(&config, board.clone(), stop.clone()).await?;
    if let Some(role) = standby::role(&config) {
        return standby::run(&config, role, &admin, stop).await;
    }
    let start_anew = CancellationToken::new();
    tokio::select! {
        result = boot(config, board, &admin, start_anew.clone(), stop.clone()) => {
            let (host, mut tasks) = result?;
            admin.stage("running", Some(host.clone()));
            loop {
                tokio::select! {
                    () = again.notified() => take_up_disks(&host, &path).await,
                    () = start_anew.cancelled() => stop.cancel(),
                    () = stop.cancelled() => break,
                }
            }
            tokio::time::timeout(STOP, async { while tasks.join_next().await.is_some() {} }).await.ok();
            host.network.shutdown().await;
        }
        // Stopped before it was up.
        () = stop.cancelled() => (),
    }
    Ok(if start_anew.is_cancelled() { Ended::StartAnew } else { Ended::Stopped })
}

async fn boot(
    config: Config,
    board: Board,
    admin: &Admin,
    start_anew: CancellationToken,
    stop: CancellationToken,
) -> anyhow::Result<(Arc<Host>, JoinSet<()>)> {
    admin.stage("opening disks and index", None);
    let (store, log) = Store::open(&config)?;
    let store = Arc::new(store);
    for usage in store.usage() {
        tracing::info!(disk = usage.path, id = usage.id, present = usage.present, capacity = usage.capacity, "disk");
    }

    admin.stage("waiting for the chain", None);
    let chain = connect(&config.chain).await?;
    this_chain(&store, chain.genesis(), &config.state)?;
    let wallet = wallet(&config, &chain).context("the provider's account")?;
    let vendor = Vendor::new(chain.clone(), config.pccs.clone());
    tracing::info!(chain = chain.url(), provider = wallet.address(), "chain connected");

    admin.stage("waiting for the enclave", None);
    let known = store.index.meta::<(Key, Key)>(successor::KEYS)?;
    has_its_log(known, &log, &config.state)?;
    let socket = store.socket(&config.enclave)?;
    if socket != config.enclave {
        tracing::info!(socket = %socket.display(), "an upgrade went to this enclave; set `enclave` to it when convenient");
    }
    let enclave = Enclave::new(&socket, chain.genesis(), wallet.account(), known, log);
    let key = Regain::new(&config, socket, vendor.clone(), wallet.account())?;
    let identity = open(&enclave, key.as_ref()).await?;
    if known != Some((identity.sign_pk, identity.channel_pk)) {
        store.index.set_meta(successor::KEYS, &(identity.sign_pk, identity.channel_pk))?;
    }
    let about = &identity.about;
    tracing::info!(release = about.release, development = about.development, commit = about.commit, "enclave");

    admin.stage("comparing index and enclave", None);
    reconcile::run(&store, &enclave).await.context("index and enclave")?;
    for (disk, filler) in store.fillers() {
        // One disk that fails stops the others not; it is tried again with each growth.
        if let Err(error) = filler.align(&enclave).await {
            tracing::error!(disk = %disk.path.display(), "{error}");
        }
    }

    admin.stage("starting the network", None);
    let serve = Serve::new(store.clone(), enclave.clone(), board.clone());
    let network = network(&config, serve.clone()).await?;
    tracing::info!(peer = %network.peer_id(), addresses = ?network.listen_addresses(), "network");

    let host = Arc::new(Host {
        config,
        store,
        enclave,
        identity,
        chain,
        vendor,
        wallet,
        network,
        serve,
        board: board.clone(),
        best: watch::Sender::new(None),
        finalized: watch::Sender::new(None),
        number: watch::Sender::new(None),
        collateral: watch::Sender::new(None),
        wakes: Wakes::default(),
        said: LastSaid::default().into(),
        saying: tokio::sync::Mutex::default(),
        upgrade: Upgrade::default(),
        start_anew,
    });
    let mut tasks = JoinSet::new();
    for finality in [Finality::Best, Finality::Finalized] {
        let (host, stop) = (host.clone(), stop.clone());
        tasks.spawn(async move { stop.run_until_cancelled(follow(host, finality)).await.unwrap_or_default() });
    }
    tasks.spawn(introduce(host.clone()));
    if let Some(key) = key {
        let (host, stop) = (host.clone(), stop.clone());
        tasks.spawn(async move { stop.run_until_cancelled(key.keep(host)).await.unwrap_or_default() });
    }
    tasks.spawn(workers::run(Register::new(host.clone()), board.clone(), stop.clone()));
    tasks.spawn(workers::run(Collateral::new(host.clone()), board.clone(), stop.clone()));
    tasks.spawn(workers::run(WatchOrders::new(host.clone()), board.clone(), stop.clone()));
    tasks.spawn(workers::run(Fetch::new(host.clone()), board.clone(), stop.clone()));
    tasks.spawn(workers::run(Seal::new(host.clone()), board.clone(), stop.clone()));
    tasks.spawn(workers::run(Report::new(host.clone()), board.clone(), stop.clone()));
    tasks.spawn(workers::run(Evict::new(host.clone()), board.clone(), stop.clone()));
    tasks.spawn(workers::run(Find::new(host.clone()), board.clone(), stop.clone()));
    tasks.spawn(workers::run(Scrub::new(host.clone()), board.clone(), stop.clone()));
    tasks.spawn(workers::run(Fill::new(host.clone()), board.clone(), stop.clone()));
    tasks.spawn(workers::run(Snapshot::new(host.clone()), board.clone(), stop.clone()));
    tasks.spawn(workers::run(Claim::new(host.clone()), board.clone(), stop.clone()));
    tasks.spawn(workers::run(Succeed::new(host.clone()), board, stop));
    Ok((host, tasks))
}

/// Reads the configuration again for its disks. Whatever is wrong with it changes nothing.
async fn take_up_disks(host: &Arc<Host>, path: &Path) {
    let (store, path) = (host.store.clone(), path.to_owned());
    let configure = move || anyhow::Ok(store.configure(&Config::load(&path)?.disks)?);
    match tokio::task::spawn_blocking(configure).await.map_err(anyhow::Error::from).and_then(|result| result) {
        Ok(added) => {
            tracing::info!(?added, "the disks of the configuration are taken up");
            host.wakes.fill.notify_one();
        }
        Err(error) => tracing::error!("the disks stay as they are: {error:#}"),
    }
}

/// Connects to the chain, as soon as it is there.
pub async fn connect(url: &str) -> anyhow::Result<Chain> {
    let mut told = false;
    loop {
        match Chain::connect(url).await {
            Ok(chain) => return Ok(chain),
            Err(error @ (chain::Error::Address { .. } | chain::Error::Incompatible(_))) => return Err(error.into()),
            Err(error) if !std::mem::replace(&mut told, true) => tracing::warn!("waiting for the chain: {error}"),
            Err(error) => tracing::debug!("{error}"),
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// A state directory belongs to one chain for ever.
fn this_chain(store: &Store, genesis: Hash, state: &Path) -> anyhow::Result<()> {
    match store.index.meta::<Hash>("genesis")? {
        None => Ok(store.index.set_meta("genesis", &genesis)?),
        Some(known) if known == genesis => Ok(()),
        Some(known) => bail!(
            "the state in {} belongs to the chain with genesis {}, this is {}; check `chain`, or use another `state`",
            state.display(),
            hex::encode(known),
            hex::encode(genesis)
        ),
    }
}

/// A node whose log is gone is nobody: an enclave that is opened without it makes itself a new key.
fn has_its_log(known: Option<(Key, Key)>, log: &Log, state: &Path) -> anyhow::Result<()> {
    if known.is_some() && log.is_empty() {
        bail!(
            "{} is gone, or there is nothing in it, and without it this node cannot speak: put enclave.log back, from \
             wherever it was moved, or from the copy on one of the disks. If it is lost, abandon the node (`crust provider \
             abandon`) and start a new one with another `state` and empty disks",
            successor::log(state).display()
        );
    }
    Ok(())
}

pub fn wallet(config: &Config, chain: &Chain) -> anyhow::Result<Wallet> {
    let provider = &config.provider;
    match (&provider.dev, &provider.key_file, &provider.password_file) {
        (Some(name), _, _) => Ok(Wallet::development(name, chain)?),
        (None, Some(key), Some(password)) => {
            let text = fs::read_to_string(password).with_context(|| password.display().to_string())?;
            Ok(Wallet::open(key, text.trim_end_matches(['\r', '\n']))?)
        }
        _ => bail!("the configuration names none"),
    }
}

/// Makes a directory that only this user may enter.
pub fn make_private(path: &Path) -> anyhow::Result<()> {
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true).mode(0o700).create(path).with_context(|| path.display().to_string())
}

/// Opens the enclave, as soon as its process is there and has its key.
async fn open(enclave: &Enclave, key: Option<&Regain>) -> anyhow::Result<Identity> {
    let mut told = false;
    loop {
        let error = match (enclave.open().await, key) {
            (Ok(identity), _) => return Ok(identity),
            (Err(error @ (enclave_client::Error::Down { .. } | enclave_client::Error::Ahead)), _) => error.to_string(),
            (Err(error), Some(key)) if Regain::is_due(&error) => match key.regain().await {
                Ok(()) => continue,
                Err(error) => error.to_string(),
            },
            (Err(error), _) => return Err(error.into()),
        };
        if !std::mem::replace(&mut told, true) {
            tracing::warn!("waiting for the enclave: {error}");
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn network(config: &Config, serve: Serve) -> anyhow::Result<Network> {
    let mut options = crust_network::Config::new(secret(&config.state.join("network.key"))?);
    options.listen = addresses(&config.listen).context("`listen`")?;
    options.announce = addresses(&config.announce).context("`announce`")?;
    options.bootstrap = config.bootstrap.iter().map(|text| peer(text)).collect::<Result<_, _>>()?;
    options.dht_server = true;
    Ok(Network::start(options, Arc::new(serve)).await?)
}

fn addresses(texts: &[String]) -> anyhow::Result<Vec<Multiaddr>> {
    texts.iter().map(|text| text.parse().with_context(|| format!("`{text}` is not a multiaddr"))).collect()
}

/// An address that ends in `/p2p/<peer id>`.
fn peer(text: &str) -> anyhow::Result<(PeerId, Vec<Multiaddr>)> {
    let (address, peer) =
        text.rsplit_once("/p2p/").with_context(|| format!("`bootstrap`: `{text}` does not end in /p2p/<peer id>"))?;
    let peer = peer.parse().with_context(|| format!("`bootstrap`: `{peer}` is not a peer id"))?;
    Ok((peer, addresses(&[address.to_owned()]).context("`bootstrap`")?))
}

/// The secret behind the node's peer id, drawn at the first start.
pub fn secret(path: &Path) -> anyhow::Result<[u8; 32]> {
    let context = || path.display().to_string();
    match fs::read(path) {
        Ok(bytes) => match bytes.try_into() {
            Ok(secret) => Ok(secret),
            Err(_) => bail!("{} is not a network key; put it back, or remove it to get a new peer id", path.display()),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            let mut secret = [0; 32];
            fs::File::open("/dev/urandom")
                .and_then(|mut file| file.read_exact(&mut secret))
                .context("no randomness")?;
            let part = path.with_extension("tmp");
            let mut options = fs::OpenOptions::new();
            let mut file =
                options.write(true).create(true).truncate(true).mode(0o600).open(&part).with_context(context)?;
            file.write_all(&secret).and_then(|()| file.sync_all()).with_context(context)?;
            fs::rename(&part, path).with_context(context)?;
            Ok(secret)
        }
        Err(error) => Err(error).with_context(context),
    }
}

/// Tells the network the nodes on the chain, and the DHT the files held.
async fn introduce(host: Arc<Host>) {
    if let Ok(view) = host.chain.view(Finality::Best).await
        && let Ok(nodes) = view.nodes(0, NEIGHBOURS).await
    {
        for (peer, addresses) in nodes.iter().filter_map(chain::Node::endpoint) {
            if peer != host.network.peer_id() {
                host.network.add_address(peer, addresses);
            }
        }
    }
    let mut after = None;
    while let Ok(held) = host.store.run(move |index| index.in_state(State::Held, after, 1_024)).await
        && let Some(last) = held.last()
    {
        after = Some(*last);
        for order in held {
            if let Ok(Some(record)) = host.store.index.order(&order) {
                host.network.provide(record.content.cid.multihash());
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    #[test]
    fn a_node_without_its_log_does_not_start_as_another() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path();
        let known = Some(([1; 32], [2; 32]));
        let mut log = Log::open(successor::log(state), None).unwrap();
        has_its_log(None, &log, state).unwrap();
        let error = has_its_log(known, &log, state).unwrap_err().to_string();
        assert!(error.contains("put enclave.log back"), "{error}");
        log.append(&[vec![1]]).unwrap();
        has_its_log(known, &log, state).unwrap();
    }
}
