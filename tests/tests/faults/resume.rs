//! A file over several segments, cut off by kill -9 of daemon and enclave: what is finished is read again, not fetched.

use crust_tests::{Finished, Network, Options, kill};

use crate::{MIB, kills::same, next_report};

const SIZE: u64 = 1_700 * MIB;
const SEGMENT: u64 = 1_024 * MIB;
/// Times that the put may be started again; each goes on with the same order.
const TRIES: usize = 4;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn finished_segments_are_not_fetched_again() {
    let mut network = Network::with(Options { nodes: 1, capacity: "1900MiB".into() }).await.unwrap();
    let file = network.file(95, SIZE).unwrap();
    let words = ["put", file.to_str().unwrap(), "--replicas", "1", "--term", "2h", "--wait", "--json"];
    let mut put = tokio::spawn(Finished::of(network.command(words)));
    let node = network.endpoints.nodes[0].clone();
    let log = node.dir.join("storage.log");
    let says = |what: &str| std::fs::read_to_string(&log).unwrap_or_default().contains(what);
    let said = &says;
    network
        .until("a finished segment", 300, |_| async move { Ok(said("a segment is finished").then_some(())) })
        .await
        .unwrap();
    kill(node.pid).unwrap();
    kill(node.enclave_pid).unwrap();
    let mut json = None;
    for _ in 0..TRIES {
        let ended = put.await.unwrap().unwrap();
        if ended.status == Some(0) {
            json = Some(ended.json().unwrap());
            break;
        }
        put = tokio::spawn(Finished::of(network.command(words)));
    }
    let json = json.unwrap();
    assert!(says("goes on after the segments that are finished"));
    // Of the daemon that runs now: it has fetched the rest, with a few blocks about the border.
    let metrics = reqwest::get(format!("{}/metrics", node.admin)).await.unwrap().text().await.unwrap();
    let line = metrics.lines().find_map(|line| line.strip_prefix("crust_fetched_bytes_total ")).unwrap();
    let fetched: u64 = line.parse().unwrap();
    assert!(fetched > SIZE - SEGMENT - MIB && fetched < SIZE - SEGMENT + 8 * MIB, "{} MiB", fetched / MIB);
    network.refresh().unwrap();
    let report = next_report(&network, node.id).await.0;
    assert_eq!((report.good_files, report.good_filler), (255, 255));
    assert_eq!(report.stored_bytes, json["size"].as_u64().unwrap());
    let back = network.dir().join("back");
    std::fs::remove_file(&file).unwrap();
    let got = network.crust(["get", json["cid"].as_str().unwrap(), "-o", back.to_str().unwrap()]).await.unwrap();
    assert_eq!(got.status, Some(0), "{got:?}");
    assert!(same(&back, 95, SIZE));
}
