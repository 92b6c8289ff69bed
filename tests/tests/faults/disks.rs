//! Several disks under one node: one that goes takes down its own share alone, one that comes while the node runs is
//! filled and counts.

use std::{
    fs::{self, File},
    io::Write,
};

use crust_client::{chain::Finality, wallet::Wallet};
use crust_tests::{Network, Options, Put, StorageNode, set_audit_rate, signal};
use rustix::process::Signal;

use crate::{MIB, next_report, order_id};

const DISK: u64 = 64 * MIB;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_disk_that_goes_takes_its_own_share_and_one_that_comes_is_filled() {
    let network = Network::with(Options { nodes: 0, ..Options::default() }).await.unwrap();
    // A draw would fall on the file whose disk is away, now and then, and cost it.
    set_audit_rate(&network, 0).await.unwrap();
    let chain = network.chain().await.unwrap();
    let dir = network.dir().join("storage");
    let node = StorageNode::start(&dir, &network.endpoints.chain, "//Provider9", &["64MiB"; 3]).unwrap();
    node.ready().await.unwrap();
    let provider = Wallet::development("//Provider9", &chain).unwrap().account();
    let nodes = chain.view(Finality::Best).await.unwrap().all_nodes().await.unwrap();
    let id = nodes.iter().find(|node| node.provider == provider).unwrap().id;

    // Files, until each disk has one. Which disk has which is known by its name.
    let sealed = |put: &Put, disk: u32| {
        let name = put.order.trim_start_matches("0x");
        dir.join(format!("disk-{disk}/sealed/{}/{name}", &name[..2]))
    };
    let mut puts: [Option<Put>; 3] = [None, None, None];
    for seed in 0..9 {
        let file = network.file(seed, 6 * MIB).unwrap();
        let put = network.put(&file, &["--replicas", "1", "--term", "2h", "--wait"]).await.unwrap();
        let disk = (0..3).find(|disk| sealed(&put, *disk).exists()).unwrap();
        puts[disk as usize] = Some(put);
        if puts.iter().all(Option::is_some) {
            break;
        }
    }
    let [Some(kept), Some(lost), Some(other)] = puts else { panic!("a disk has no file: {puts:?}") };
    let filled = network.until("filler on all disks", 90, |_| async {
        let filler = filler(&node).await?;
        Ok(filler.iter().all(|bytes| *bytes > DISK / 2).then_some(()))
    });
    filled.await.unwrap();
    next_report(&network, id).await;
    let (report, _) = next_report(&network, id).await;
    assert_eq!((report.good_files, report.good_filler), (255, 255));
    let counted = report.filler_bytes;

    // One disk of three goes while the node runs: a third is bad, and counts double.
    let (disk, away) = (dir.join("disk-1"), dir.join("away"));
    fs::rename(&disk, &away).unwrap();
    let (report, _) = next_report(&network, id).await;
    assert!((1..255).contains(&report.good_files) && (1..255).contains(&report.good_filler), "{report:?}");
    let status = node.admin("/v1/status").await.unwrap();
    let present: Vec<_> = status["disks"].as_array().unwrap().iter().map(|disk| disk["present"].as_bool()).collect();
    assert_eq!(present, [Some(true), Some(false), Some(true)]);
    for put in [&kept, &other] {
        network.get(&put.cid).await.unwrap();
    }
    let view = chain.view(Finality::Best).await.unwrap();
    for put in [&kept, &lost, &other] {
        let order = view.order(order_id(&put.order)).await.unwrap().unwrap();
        assert!(order.replica_of(id).is_some(), "a replica ended");
    }
    // It comes back.
    fs::rename(&away, &disk).unwrap();
    let (report, _) = next_report(&network, id).await;
    assert_eq!((report.good_files, report.good_filler), (255, 255), "all is back");
    network.get(&lost.cid).await.unwrap();

    // A fourth one comes.
    let mut config = File::options().append(true).open(dir.join("storage.toml")).unwrap();
    config.write_all(b"[[disks]]\npath = \"disk-3\"\ncapacity = \"64MiB\"\n").unwrap();
    signal(node.pids().unwrap().0, Signal::HUP).unwrap();
    let grown = network.until("the new disk's filler counts", 90, |view| async move {
        let report = view.node(id).await?.unwrap().last_report.unwrap();
        Ok((report.filler_bytes >= counted + DISK / 2).then_some(report))
    });
    let report = grown.await.unwrap();
    assert_eq!((report.good_files, report.good_filler), (255, 255));
    assert!(filler(&node).await.unwrap()[3] >= DISK / 2);
}

/// Bytes of filler, by disk.
async fn filler(node: &StorageNode) -> anyhow::Result<Vec<u64>> {
    let status = node.admin("/v1/status").await?;
    let disks = status["disks"].as_array().cloned().unwrap_or_default();
    Ok(disks.iter().map(|disk| disk["filler_bytes"].as_u64().unwrap_or_default()).collect())
}
