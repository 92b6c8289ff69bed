//! kill -9 while the enclave's log begins anew with a snapshot: whatever is on the disk then, the node goes on with all
//! that it has said.

use std::{io::Read, time::Duration};

use crust_tests::{Network, Options, Payload, kill, slots_without_report};

use crate::{MIB, next_report};

const KILLS: usize = 8;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_around_snapshots_lose_nothing() {
    let mut network = Network::with(Options { nodes: 1, capacity: "128MiB".into() }).await.unwrap();
    let file = network.file(91, 3 * MIB).unwrap();
    let put = network.put(&file, &["--replicas", "1", "--term", "2h", "--wait"]).await.unwrap();
    let node = network.endpoints.nodes[0].id;
    let mut seed = Payload::new(u64::from(std::process::id()));
    let first = next_report(&network, node).await.0.slot;
    let mut slot = first;
    for round in 0..KILLS {
        let endpoints = network.refresh().unwrap().nodes[0].clone();
        let victim = if round % 2 == 0 { endpoints.pid } else { endpoints.enclave_pid };
        let url = format!("{}/v1/snapshot", endpoints.admin);
        let mut asked = tokio::spawn(async move { reqwest::Client::new().post(url).send().await });
        let mut byte = [0];
        seed.read_exact(&mut byte).unwrap();
        // It takes some milliseconds: before, within or after.
        let moment = Duration::from_micros(u64::from(byte[0]) * 60);
        let answered = tokio::time::timeout(moment, &mut asked).await;
        kill(victim).unwrap();
        if answered.is_err() {
            // Cut off, or answered in time.
            let _ = asked.await.unwrap();
        }
        // The line that the chain knows goes on, and everything is there.
        let report = next_report(&network, node).await.0;
        assert!(report.slot > slot && report.stored_bytes == put.size, "round {round}: {report:?}");
        assert_eq!((report.good_files, report.good_filler), (255, 255), "round {round}");
        slot = report.slot;
    }
    let chain = network.chain().await.unwrap();
    assert_eq!(slots_without_report(&chain, node, first, slot).await.unwrap(), Vec::<u32>::new());
    let url = format!("{}/v1/snapshot", network.refresh().unwrap().nodes[0].admin);
    let answer = reqwest::Client::new().post(url).send().await.unwrap().error_for_status().unwrap();
    let log: serde_json::Value = answer.json().await.unwrap();
    let status = network.admin(0, "/v1/status").await.unwrap();
    let found = &status["enclave"]["log"]["snapshot"];
    assert!(found["record"].as_u64() >= log["snapshot"]["record"].as_u64(), "{status}");
    assert!(found["record"].as_u64().unwrap() > 10 && found["bytes"].as_u64().unwrap() > 0);
    // And so it does when the whole machine starts again, with a snapshot to load.
    network.go_on().await.unwrap();
    let report = next_report(&network, node).await.0;
    assert_eq!((report.good_files, report.good_filler, report.stored_bytes), (255, 255, put.size));
    assert!(network.get(&put.cid).await.unwrap() == std::fs::read(&file).unwrap());
}
