//! Rotten disks: whatever is changed, cut, swapped, deleted or not mounted, the outcome is an error or less power,
//! never a wrong byte and never a lost replica that could have been kept.

use std::{
    fs::{self, OpenOptions},
    path::{Path, PathBuf},
};

use crust_client::chain::Finality;
use crust_tests::{Network, Options, Put, flip, write_payload};

use crate::{MIB, next_report, order_id};

/// A sealed chunk with its tag.
const STRIDE: u64 = 65_552;

async fn one_node() -> Network {
    Network::with(Options { nodes: 1, capacity: "320MiB".into() }).await.unwrap()
}

async fn put(network: &Network, seed: u64, size: u64) -> (Put, PathBuf) {
    let file = network.dir().join(format!("file-{seed}"));
    write_payload(&file, seed, size).unwrap();
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn damage_is_found_and_never_served() {
    let network = one_node().await;
    let node = network.endpoints.nodes[0].id;
    let (big, _) = put(&network, 41, 64 * MIB).await;
    let (good, good_file) = put(&network, 42, 2 * MIB).await;
    let (flipped, flipped_file) = put(&network, 43, 2 * MIB).await;
    let (cut, _) = put(&network, 44, 2 * MIB).await;
    let (left, _) = put(&network, 45, 2 * MIB).await;
    let (right, _) = put(&network, 46, 2 * MIB).await;
    let (report, _) = next_report(&network, node).await;
    let stored = [&big, &good, &flipped, &cut, &left, &right].map(|put| put.size).iter().sum();
    assert_eq!((report.good_files, report.stored_bytes), (255, stored));

    // Each twentieth chunk: 256 samples miss that once in half a million reports.
    let path = sealed(&network, &big);
    let chunks = fs::metadata(&path).unwrap().len().div_ceil(STRIDE);
    for chunk in (0..chunks).step_by(20) {
        flip(&path, chunk * STRIDE + 1_000).unwrap();
    }
    let (report, _) = next_report(&network, node).await;
    assert!(report.good_files < 255, "5 % of a file are damaged, and all samples were good");
    refused(&network, &big).await;

    // One bad chunk is mended out of the parity, and counted; without parity it is found.
    flip(&sealed(&network, &flipped), 777_777).unwrap();
    assert!(network.get(&flipped.cid).await.unwrap() == fs::read(flipped_file).unwrap());
    let metrics = reqwest::get(format!("{}/metrics", network.endpoints.nodes[0].admin)).await.unwrap();
    let metrics = metrics.text().await.unwrap();
    assert!(metrics.lines().any(|line| line == "crust_mended_chunks_total 1"), "{metrics}");
    fs::remove_file(sealed(&network, &flipped).with_extension("parity")).unwrap();
    flip(&sealed(&network, &flipped), 777_777).unwrap();
    refused(&network, &flipped).await;
    OpenOptions::new().write(true).open(sealed(&network, &cut)).unwrap().set_len(MIB).unwrap();
    refused(&network, &cut).await;
    swap(&sealed(&network, &left), &sealed(&network, &right));
    refused(&network, &left).await;
    refused(&network, &right).await;

    assert!(network.get(&good.cid).await.unwrap() == fs::read(good_file).unwrap(), "what is whole is served");
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
