//! The index of a node lost or damaged: what it knew is found again, and nothing that is held is lost with it.

use std::{fs, path::Path};

use crust_tests::{Network, Options, Put, kill};

use crate::{MIB, next_report};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_index_is_found_again() {
    let mut network = Network::with(Options { nodes: 1, capacity: "256MiB".into() }).await.unwrap();
    let mut puts = Vec::new();
    // Of one leaf, of many, of a leaf that is not full, of none.
    for (seed, size) in [(61, 100_000), (62, 5 * MIB), (63, 3 * MIB + 7), (64, 0)] {
        let file = network.file(seed, size).unwrap();
        puts.push((network.put(&file, &["--replicas", "1", "--term", "2h", "--wait"]).await.unwrap(), file));
    }
    let node = network.endpoints.nodes[0].clone();
    let stored: u64 = puts.iter().map(|(put, _)| put.size).sum();
    assert_eq!(next_report(&network, node.id).await.0.stored_bytes, stored);
    let index = node.dir.join("state/index.redb");

    let damage: [fn(&Path); 2] = [
        |index| fs::remove_file(index).unwrap(),
        |index| fs::write(index, b"no index any more".repeat(4_096)).unwrap(),
    ];
    for damage in damage {
        let endpoints = network.refresh().unwrap();
        let pid = endpoints.nodes[0].pid;
        // The daemon has the file open: it is exchanged while the daemon is being replaced.
        damage(&index);
        kill(pid).unwrap();
        all_found(&network, &puts).await;
        let (report, _) = next_report(&network, node.id).await;
        assert_eq!((report.stored_bytes, report.good_files), (stored, 255), "proven all the time");
        for (put, file) in &puts {
            assert!(network.get(&put.cid).await.unwrap() == fs::read(file).unwrap(), "{} is not served", put.cid);
        }
    }
}

/// Waits until the node's list of files has them all, held and without a note.
async fn all_found(network: &Network, puts: &[(Put, std::path::PathBuf)]) {
    network
        .until("the files are found again", 60, |_| async move {
            let Ok(files) = network.admin(0, "/v1/files").await else { return Ok(None) };
            let files = files["files"].as_array().cloned().unwrap_or_default();
            let found = |put: &Put| {
                files.iter().any(|file| file["cid"] == put.cid && file["state"] == "held" && file["note"].is_null())
            };
            Ok(puts.iter().all(|(put, _)| found(put)).then_some(()))
        })
        .await
        .unwrap();
}
