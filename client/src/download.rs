//! `get`: a file's way back. All nodes that hold it are asked at once, those that the chain names first, then those that
//! the DHT names; every block is checked against its CID before it is believed. The blocks come in the order of the
//! walk and are put together into the file as they come ([`assemble`]), beside its place, and moved there when it is
//! complete. What is damaged somewhere is fetched elsewhere, or it is an error, never wrong bytes.

mod assemble;

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs::File,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use crust_network::{Blocks, Multiaddr, Network, NoBlocks, PeerId, Session, StartError, fetch};
use crust_protocol::{file::Cid, walk::Limits};
use futures::StreamExt;
use rustix::fs::{FlockOperation, flock};
use tokio::sync::mpsc;

use crate::chain::{self, Chain, Finality, View};

pub use assemble::Assembly;

/// Time for the DHT to name somebody, if the chain names nobody.
const LOOKUP: Duration = Duration::from_secs(15);
/// Time after which the DHT is asked as well.
const LATE: Duration = Duration::from_secs(5);
/// Nodes through which the DHT is entered, and those among which they are chosen.
const WAYS_IN: usize = 8;
const NODES: u32 = 256;
/// Blocks that may wait to be written.
const WAITING: usize = 8;

/// Hears of bytes written, and of how many there will be.
pub type Watcher = Arc<dyn Fn(u64, u64) + Send + Sync>;

/// What was fetched.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Done {
    pub path: PathBuf,
    /// Bytes of the file.
    pub size: u64,
}

/// Why a get failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "nobody is known to hold {0}: neither the chain nor the DHT names a node. Check the CID; its order may have ended"
    )]
    Unknown(Cid),
    #[error("{0}")]
    Chain(#[from] chain::Error),
    #[error("the data network does not start: {0}")]
    Network(#[from] StartError),
    #[error("{0}")]
    Fetch(#[from] fetch::Error),
    #[error("{0}")]
    Block(#[from] crust_network::Error),
    #[error("{cid} is no file that can be written: {reason}")]
    NotAFile { cid: Cid, reason: String },
    #[error("{path}: {error}")]
    Io { path: PathBuf, error: std::io::Error },
    #[error("{0} is neither a file nor a directory, and would be replaced: name another place with -o")]
    NoPlace(PathBuf),
    #[error("another `crust get` writes {0} at the moment: wait for its end, or name another place with -o")]
    Busy(PathBuf),
    #[error("{path} needs {needed} bytes and the disk has {free} left: make room or name another place with -o")]
    NoSpace { path: PathBuf, needed: u64, free: u64 },
    #[error("a task of this program failed: {0}")]
    Task(#[from] tokio::task::JoinError),
}

/// Fetches a file and writes it to a path, or into that directory under its CID.
pub async fn get(chain: &Chain, cid: Cid, path: &Path, watcher: Watcher) -> Result<Done, Error> {
    let path = if path.is_dir() { path.join(cid.to_string()) } else { path.to_owned() };
    let part = beside(&path);
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |error| Error::Io { path, error }
    };
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty() && !parent.is_dir()) {
        let error = std::io::Error::new(std::io::ErrorKind::NotFound, "no such directory");
        return Err(Error::Io { path: parent.into(), error });
    }
    if std::fs::metadata(&path).is_ok_and(|there| !there.is_file()) {
        return Err(Error::NoPlace(path));
    }
    let source = Source::open(chain, cid).await?;
    let result = match open_part(&part) {
        // The lock is held until the file has its name.
        Ok((output, _lock)) => {
            let written = source.write(output, &part, watcher).await;
            let named = written.and_then(|size| std::fs::rename(&part, &path).map(|()| size).map_err(failed(&path)));
            if named.is_err() {
                // What is there is of no use without the rest; that it stays would be no harm.
                let _ = std::fs::remove_file(&part);
            }
            named
        }
        Err(error) => Err(error),
    };
    source.close().await;
    result.map(|size| Done { path, size })
}

/// Opens the file that is written beside its place, empty, for this program alone; the second handle holds the lock.
fn open_part(part: &Path) -> Result<(File, File), Error> {
    let failed = |error| Error::Io { path: part.into(), error };
    let output = File::options().read(true).write(true).create(true).truncate(false).open(part).map_err(failed)?;
    if flock(&output, FlockOperation::NonBlockingLockExclusive).is_err() {
        return Err(Error::Busy(part.into()));
    }
    // Whoever held the lock until now may have given the file its name meanwhile.
    let (opened, there) = (output.metadata().map_err(failed)?, std::fs::metadata(part));
    if !there.is_ok_and(|there| (there.dev(), there.ino()) == (opened.dev(), opened.ino())) {
        return Err(Error::Busy(part.into()));
    }
    output.set_len(0).map_err(failed)?;
    let lock = output.try_clone().map_err(failed)?;
    Ok((output, lock))
}

/// A network with nothing but dialled connections, under an identity of its own.
pub(crate) async fn start_network(
    blocks: Arc<dyn Blocks>,
    bootstrap: Vec<(PeerId, Vec<Multiaddr>)>,
) -> Result<Network, StartError> {
    let mut secret = [0; 32];
    getrandom::fill(&mut secret).map_err(no_randomness)?;
    Network::start(crust_network::Config { bootstrap, ..crust_network::Config::new(secret) }, blocks).await
}

/// Who may have a file, and a session with them.
pub struct Source {
    cid: Cid,
    network: Network,
    session: Session,
    lookup: tokio::task::JoinHandle<()>,
}

impl Source {
    /// Finds nodes and dials them.
    pub async fn open(chain: &Chain, cid: Cid) -> Result<Source, Error> {
        let view = chain.view(Finality::Best).await?;
        let replicas = view.replicas_of(cid).await?;
        let named: BTreeMap<PeerId, Vec<Multiaddr>> =
            replicas.iter().filter_map(|replica| replica.endpoint()).collect();
        let network = start_network(Arc::new(NoBlocks), ways_in(&view).await?).await?;
        let mut peers = named;
        if peers.is_empty() {
            let found = tokio::time::timeout(LOOKUP, network.find_providers(cid.multihash())).await;
            peers = found.unwrap_or_default().into_iter().collect();
        }
        if peers.is_empty() {
            network.shutdown().await;
            return Err(Error::Unknown(cid));
        }
        let candidates: Vec<_> = peers.keys().copied().collect();
        for (peer, addresses) in peers {
            network.add_address(peer, addresses);
        }
        let session = network.session(&candidates);
        let lookup = tokio::spawn(look_further(network.clone(), session.clone(), cid));
        Ok(Source { cid, network, session, lookup })
    }

    /// The root block.
    pub async fn root(&self) -> Result<Bytes, Error> {
        Ok(self.session.fetch(self.cid).await?)
    }

    pub async fn close(self) {
        self.lookup.abort();
        self.network.shutdown().await;
    }

    /// Streams the graph into a file.
    async fn write(&self, output: File, path: &Path, watcher: Watcher) -> Result<u64, Error> {
        let (sender, mut blocks) = mpsc::channel::<(Cid, Bytes)>(WAITING);
        let mut assembly = Assembly::new(self.cid, output, path.to_owned());
        let writer = tokio::task::spawn_blocking(move || {
            while let Some((cid, bytes)) = blocks.blocking_recv() {
                assembly.accept(cid, &bytes)?;
                watcher(assembly.written(), assembly.size());
            }
            assembly.finish()
        });
        let mut stream = std::pin::pin!(fetch::stream(self.session.clone(), self.cid, Limits::PROTOCOL));
        let mut fetched = Ok(());
        while let Some(block) = stream.next().await {
            match block {
                Ok(block) => {
                    if sender.send(block).await.is_err() {
                        // The writer has ended with an error of its own.
                        break;
                    }
                }
                Err(error) => {
                    fetched = Err(error);
                    break;
                }
            }
        }
        drop(sender);
        let written = writer.await?;
        fetched?;
        written
    }
}

/// A few nodes through which to enter the DHT, others each time.
async fn ways_in(view: &View) -> Result<Vec<(PeerId, Vec<Multiaddr>)>, Error> {
    let nodes = view.nodes(0, NODES).await?;
    let mut ways: Vec<_> = nodes.iter().filter(|node| node.registered).filter_map(|node| node.endpoint()).collect();
    let mut random = [0; 2];
    getrandom::fill(&mut random).map_err(no_randomness)?;
    let first = usize::from(u16::from_le_bytes(random)).checked_rem(ways.len()).unwrap_or_default();
    ways.rotate_left(first);
    ways.truncate(WAYS_IN);
    Ok(ways)
}

/// Asks the DHT for more peers: some of those on the chain may be away.
async fn look_further(network: Network, session: Session, cid: Cid) {
    tokio::time::sleep(LATE).await;
    let Ok(found) = tokio::time::timeout(LOOKUP, network.find_providers(cid.multihash())).await else { return };
    session.add_peers(&found.iter().map(|(peer, _)| *peer).collect::<Vec<_>>());
}

fn no_randomness(error: getrandom::Error) -> StartError {
    StartError::Transport(format!("no randomness: {error}"))
}

fn beside(path: &Path) -> PathBuf {
    let mut name = OsString::from(path.as_os_str());
    name.push(".part");
    name.into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn one_get_writes_a_file_at_a_time() {
        let directory = tempfile::tempdir().unwrap();
        let (part, path) = (directory.path().join("file.part"), directory.path().join("file"));
        std::fs::write(&part, "what an earlier get left behind").unwrap();
        let (output, lock) = open_part(&part).unwrap();
        assert_eq!(std::fs::metadata(&part).unwrap().len(), 0);
        assert!(matches!(open_part(&part), Err(Error::Busy(_))));
        // It is written to its end, and has no name yet.
        drop(output);
        assert!(matches!(open_part(&part), Err(Error::Busy(_))));
        std::fs::rename(&part, &path).unwrap();
        drop(lock);
        assert!(open_part(&part).is_ok());
    }
}
