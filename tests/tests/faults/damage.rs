//! Rotten disks: whatever is changed, cut, swapped, deleted or not mounted, the outcome is an error or less power,
//! never a wrong byte and never a lost replica that could have been kept.

use std::{
    fs::{self, OpenOptions},
    path::{Path, PathBuf},
};

use crust_client::chain::Finality;
use crust_tests::{Network, Options, Put, flip, set_audit_rate};

use crate::{MIB, next_report, order_id};

/// A sealed chunk with its tag.
const STRIDE: u64 = 65_552;

/// Draws are another story (`audits`): here nobody owes a chunk that is out of reach.
async fn one_node() -> Network {
    let network = Network::with(Options { nodes: 1, capacity: "320MiB".into() }).await.unwrap();
    set_audit_rate(&network, 0).await.unwrap();
    network
}

async fn put(network: &Network, seed: u64, size: u64) -> (Put, PathBuf) {
    let file = network.file(seed, size).unwrap();
    (network.put(&file, &["--replicas", "1", "--term", "1h", "--wait"]).await.unwrap(), file)
}

fn disk(network: &Network) -> PathBuf {
    network.endpoints.nodes[0].dir.join("disk-0")
}

/// The file that the node keeps for an order.
fn sealed(network: &Network, put: &Put) -> PathBuf {
    let name = put.order.trim_start_matches("0x");
    disk(network).join("sealed").join(&name[..2]).join(name)
}

/// `get` fails with an error, and leaves nothing that could be taken for the file.
async fn refused(network: &Network, put: &Put) {
    let output = network.dir().join("out");
    let finished = network.crust(["get", &put.cid, "-o", output.to_str().unwrap()]).await.unwrap();
    assert_eq!(finished.status, Some(1), "{finished:?}");
    assert!(!output.exists() && !finished.stderr.is_empty(), "{finished:?}");
}

/// Whatever is done to sealed files, the next `get` says so and the next report admits it; put back, all is good again.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_is_found_and_never_served() {
    let network = one_node().await;
    let node = network.endpoints.nodes[0].id;
    let (big, _) = put(&network, 41, 32 * MIB).await;
    let (good, good_file) = put(&network, 42, 2 * MIB).await;
    let (left, left_file) = put(&network, 43, 16 * MIB).await;
    let (right, right_file) = put(&network, 44, 16 * MIB).await;
    let stored: u64 = [&big, &good, &left, &right].map(|put| put.size).iter().sum();
    let whole = (255, stored);
    let report = async || {
        let (report, _) = next_report(&network, node).await;
        (report.good_files, report.stored_bytes)
    };
    assert_eq!(report().await, whole);

    // One bad chunk is mended out of the parity, and counted; without parity the next `get` finds it.
    flip(&sealed(&network, &left), 777_777).unwrap();
    assert!(network.get(&left.cid).await.unwrap() == fs::read(&left_file).unwrap());
    let metrics = reqwest::get(format!("{}/metrics", network.endpoints.nodes[0].admin)).await.unwrap();
    let metrics = metrics.text().await.unwrap();
    assert!(metrics.lines().any(|line| line == "crust_mended_chunks_total 1"), "{metrics}");
    fs::remove_file(sealed(&network, &left).with_extension("parity")).unwrap();
    flip(&sealed(&network, &left), 777_777).unwrap();
    refused(&network, &left).await;
    flip(&sealed(&network, &left), 777_777).unwrap();
    assert!(network.get(&left.cid).await.unwrap() == fs::read(&left_file).unwrap(), "what was flipped back is whole");

    // Two files in each other's place, half of all bytes: both `get`s and the next report find it.
    swap(&sealed(&network, &left), &sealed(&network, &right));
    refused(&network, &left).await;
    refused(&network, &right).await;
    let (good_files, _) = report().await;
    assert!(good_files < 64, "half of the files are swapped, and {good_files} of 255 are good");
    swap(&sealed(&network, &left), &sealed(&network, &right));
    assert!(network.get(&left.cid).await.unwrap() == fs::read(&left_file).unwrap());
    assert!(network.get(&right.cid).await.unwrap() == fs::read(&right_file).unwrap());

    // A file cut to its half, an eighth of all bytes: 256 samples miss that once in 10^14 reports. What is back in its
    // place is good again.
    let path = sealed(&network, &right);
    let bytes = fs::read(&path).unwrap();
    OpenOptions::new().write(true).open(&path).unwrap().set_len(bytes.len() as u64 / 2).unwrap();
    refused(&network, &right).await;
    let (good_files, _) = report().await;
    assert!((64..255).contains(&good_files), "an eighth of all bytes is cut off, and {good_files} of 255 are good");
    fs::write(&path, bytes).unwrap();

    // Each twentieth chunk of every file but one: 256 samples miss that once in 300,000 reports.
    for put in [&big, &left, &right] {
        let path = sealed(&network, put);
        let chunks = fs::metadata(&path).unwrap().len().div_ceil(STRIDE);
        for chunk in (0..chunks).step_by(20) {
            flip(&path, chunk * STRIDE + 1_000).unwrap();
        }
    }
    let (good_files, _) = report().await;
    assert!(good_files < 255, "5 % of the chunks are damaged, and all samples were good");
    for put in [&big, &left, &right] {
        refused(&network, put).await;
    }
    assert!(network.get(&good.cid).await.unwrap() == fs::read(good_file).unwrap(), "what is whole is served");
}

/// With two replicas of which one is damaged all over, `get` takes every byte from the other.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_replica_does_not_spoil_the_whole_one() {
    let network = Network::with(Options { nodes: 2, capacity: "128MiB".into() }).await.unwrap();
    let file = network.file(47, 8 * MIB).unwrap();
    let put = network.put(&file, &["--term", "1h", "--wait"]).await.unwrap();
    assert_eq!(put.replicas.len(), 2);
    let path = sealed(&network, &put);
    let chunks = fs::metadata(&path).unwrap().len().div_ceil(STRIDE);
    for chunk in 0..chunks {
        flip(&path, chunk * STRIDE + 5).unwrap();
    }
    assert!(network.get(&put.cid).await.unwrap() == fs::read(&file).unwrap());
}

fn swap(left: &Path, right: &Path) {
    let aside = left.with_extension("aside");
    fs::rename(left, &aside).unwrap();
    fs::rename(right, left).unwrap();
    fs::rename(aside, right).unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn deleted_filler_lowers_power_by_the_next_report() {
    let network = one_node().await;
    let node = network.endpoints.nodes[0].id;
    // Filler is complete when two reports on end say the same.
    let mut full = next_report(&network, node).await;
    loop {
        let next = next_report(&network, node).await;
        let done = next.0.filler_bytes == full.0.filler_bytes && next.0.filler_bytes > 200 * MIB;
        full = next;
        if done {
            break;
        }
    }
    let (report, record) = full;
    assert_eq!((report.good_filler, record.power), (255, record.idle));
    assert!(record.idle > 0, "a platform of this age has ramped up to {record:?}");
    let filler = disk(&network).join("filler");
    let length = fs::metadata(&filler).unwrap().len();
    OpenOptions::new().write(true).open(&filler).unwrap().set_len(length / 10 * 9).unwrap();
    let (report, record) = next_report(&network, node).await;
    assert!(report.good_filler < 255, "{report:?}");
    assert!(record.power < record.idle / 100 * 95, "{record:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_is_missing_at_the_start_costs_no_replica() {
    let mut network = one_node().await;
    let node = network.endpoints.nodes[0].id;
    let (put, file) = put(&network, 51, 4 * MIB).await;
    next_report(&network, node).await;
    let away = disk(&network).with_extension("away");
    network.stop().await.unwrap();
    fs::rename(disk(&network), &away).unwrap();
    network.go_on().await.unwrap();
    let (report, _) = next_report(&network, node).await;
    assert_eq!(report.good_files, 0, "nothing can be read");
    let chain = network.chain().await.unwrap();
    let record = chain.view(Finality::Best).await.unwrap().order(order_id(&put.order)).await.unwrap().unwrap();
    assert_eq!(record.replicas.len(), 1, "the replica is kept");

    network.stop().await.unwrap();
    fs::remove_dir_all(disk(&network)).unwrap();
    fs::rename(&away, disk(&network)).unwrap();
    network.go_on().await.unwrap();
    let (report, _) = next_report(&network, node).await;
    assert_eq!((report.good_files, report.stored_bytes), (255, put.size), "all is back");
    assert!(network.get(&put.cid).await.unwrap() == fs::read(file).unwrap());
}
