//! Succession on real programs: an upgrade to the next release on one machine, a dead board with a standby on another,
//! and whoever must not follow. No slot is lost and nothing is sealed again.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "these are tests")]

mod standby;
mod upgrade;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use codec::Encode;
use crust_client::chain::{BlockRef, Chain, Finality, Node};
use crust_enclave::release::SignedRelease;
use crust_enclave_dev::release;
use crust_protocol::{NodeId, Slot, parameters::Parameters};
use crust_tests::{ChainNode, Finished, Put, bin, write_payload};
use futures::StreamExt;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{process::Command, time::timeout};

const MIB: u64 = 1 << 20;
/// Blocks that a registration lasts: it is renewed within a test.
const PERIOD: u32 = 45;
/// The release to which is upgraded; the chain approves it and the first.
const NEXT: u32 = 2;
/// One that is signed and that the chain does not approve.
const UNAPPROVED: u32 = 4;

/// A chain that approves two releases, a client's command, release files.
struct World {
    dir: TempDir,
    _node: ChainNode,
    url: String,
    chain: Chain,
}

impl World {
    async fn start() -> World {
        let dir = tempfile::Builder::new().prefix("crust-").tempdir().unwrap();
        let node = ChainNode::start(&dir.path().join("chain"), &specification(dir.path())).unwrap();
        let chain = node.connect().await.unwrap();
        fs::create_dir(dir.path().join("releases")).unwrap();
        let world = World { url: node.url.clone(), _node: node, dir, chain };
        for number in [1, NEXT, UNAPPROVED] {
            world.publish(&release::signed(number).unwrap());
        }
        world
    }

    /// Puts a release file where the daemons look for it.
    fn publish(&self, signed: &SignedRelease) {
        let name = format!("{}.release", signed.release.number);
        fs::write(self.releases().join(name), signed.encode()).unwrap();
    }

    fn releases(&self) -> PathBuf {
        self.path("releases")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What a node's configuration says here beyond the usual.
    fn configuration(&self) -> String {
        format!("releases = \"{}\"\n", self.releases().display())
    }

    /// The user's command, as an account.
    async fn crust(&self, account: &str, words: &[&str]) -> Finished {
        let mut command = Command::new(bin().join("crust"));
        command.args(words).env("CRUST_CHAIN", &self.url).env("CRUST_ACCOUNT", account).env("NO_COLOR", "1");
        Finished::of(command).await.unwrap()
    }

    /// Stores a file on the only node there is.
    async fn put(&self, path: &Path) -> Put {
        let words = ["put", path.to_str().unwrap(), "--replicas", "1", "--term", "2h", "--wait", "--json"];
        let json = self.crust("//Client", &words).await.json().unwrap();
        serde_json::from_value(json).unwrap()
    }

    /// Gets a file; whether it is that one.
    async fn is_served(&self, put: &Put, file: &Path) -> bool {
        let back = self.path("back");
        let got = self.crust("//Client", &["get", &put.cid, "-o", back.to_str().unwrap()]).await;
        assert_eq!(got.status, Some(0), "{got:?}");
        fs::read(back).unwrap() == fs::read(file).unwrap()
    }

    async fn node(&self, node: NodeId) -> Node {
        self.chain.view(Finality::Best).await.unwrap().node(node).await.unwrap().unwrap()
    }

    /// Looks at the node at every new best block until the answer is there, for at most so many.
    async fn until<T>(&self, what: &str, node: NodeId, blocks: usize, look: impl Fn(&Node) -> Option<T>) -> T {
        let mut heads = Box::pin(self.chain.blocks(Finality::Best));
        for _ in 0..blocks {
            timeout(Duration::from_secs(60), heads.next()).await.unwrap().unwrap();
            if let Some(answer) = look(&self.node(node).await) {
                return answer;
            }
        }
        panic!("not within {blocks} blocks: {what}; {:?}", self.node(node).await);
    }

    /// Waits for a report in the slot after the present one.
    async fn next_report(&self, node: NodeId) -> Slot {
        let slot = self.chain.view(Finality::Best).await.unwrap().slot();
        let reported = |node: &Node| node.last_report.map(|report| report.slot).filter(|reported| *reported > slot);
        self.until("a report", node, 40, reported).await
    }

    /// Slots among these in which a node has not reported; the last may still run.
    async fn slots_without_report(&self, node: NodeId, from: Slot, to: Slot) -> Vec<Slot> {
        let mut without = Vec::new();
        for slot in from..=to {
            let best = self.chain.best().await.unwrap();
            let number = best.number.min(self.chain.parameters().first_block(slot + 1) - 1);
            let hash = self.chain.block_hash(number).await.unwrap().unwrap();
            let view = self.chain.view_at(BlockRef { number, hash }).await.unwrap();
            let record = view.node(node).await.unwrap().unwrap();
            if record.last_report.is_none_or(|report| report.slot != slot) {
                without.push(slot);
            }
        }
        without
    }
}

/// The development chain, with short registrations and a second release approved.
fn specification(dir: &Path) -> Value {
    let mut specification = ChainNode::specification("dev", false).unwrap();
    let mpow = specification.pointer_mut("/genesis/runtimeGenesis/patch/mpow").unwrap();
    let parameters = Parameters { attestation_period: PERIOD, ..Parameters::DEVELOPMENT };
    mpow["parameters"] = json!(format!("0x{}", hex::encode(parameters.encode())));
    let measurements = vec![release::measurement(1), release::measurement(NEXT)];
    mpow["measurements"] = json!(format!("0x{}", hex::encode(measurements.encode())));
    let path = dir.join("specification.json");
    fs::write(&path, specification.to_string()).unwrap();
    ChainNode::specification(path.to_str().unwrap(), true).unwrap()
}

/// A file of some bytes.
fn file(world: &World, name: &str, seed: u64, size: u64) -> PathBuf {
    let path = world.path(name);
    write_payload(&path, seed, size).unwrap();
    path
}

/// The hashes of all sealed files on some disks, by their paths.
fn sealed<'a>(disks: impl IntoIterator<Item = &'a PathBuf>) -> BTreeMap<PathBuf, String> {
    let mut folders: Vec<PathBuf> = disks.into_iter().map(|disk| disk.join("sealed")).collect();
    let mut hashes = BTreeMap::new();
    while let Some(folder) = folders.pop() {
        let Ok(entries) = fs::read_dir(&folder) else { continue };
        for path in entries.map(|entry| entry.unwrap().path()) {
            if path.is_dir() {
                folders.push(path);
            } else {
                hashes.insert(path.clone(), blake3::hash(&fs::read(&path).unwrap()).to_string());
            }
        }
    }
    hashes
}
