//! kill -9 of everything, at any time: a put goes on where it was, and nothing that was acknowledged is lost.

use std::{collections::BTreeSet, fs::File, io::Read, time::Duration};

use crust_client::chain::Finality;
use crust_tests::{Finished, Network, Options, Payload, kill, runs};

use crate::{MIB, next_report, order_id};

/// Times that a put may be started again; each goes on with the same order.
const TRIES: usize = 8;
const KILLS: usize = 6;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_during_a_large_put_lose_nothing() {
    let mut network = Network::with(Options { nodes: 2, capacity: "1400MiB".into() }).await.unwrap();
    let file = network.file(21, 1024 * MIB).unwrap();
    // Something that is acknowledged before the kills.
    let small = network.file(22, MIB).unwrap();
    let kept = network.put(&small, &["--term", "2h", "--wait"]).await.unwrap();

    let (mut order, mut failed) = (None, Vec::new());
    let mut seed = Payload::new(u64::from(std::process::id()));
    let (mut killed, mut hit) = (0, BTreeSet::new());
    for _ in 0..TRIES {
        let put = network.command(["put", file.to_str().unwrap(), "--term", "2h", "--wait", "--json"]);
        let mut put = tokio::spawn(Finished::of(put));
        // At random moments: an enclave, a daemon, the chain node.
        let finished = loop {
            if killed == KILLS {
                break (&mut put).await.unwrap().unwrap();
            }
            let mut byte = [0];
            seed.read_exact(&mut byte).unwrap();
            let moment = Duration::from_millis(500 + u64::from(byte[0]) * 12);
            if let Ok(finished) = tokio::time::timeout(moment, &mut put).await {
                break finished.unwrap().unwrap();
            }
            let endpoints = network.refresh().unwrap();
            let victims: [(&str, u32); KILLS] = [
                ("enclave", endpoints.nodes[0].enclave_pid),
                ("daemon", endpoints.nodes[1].pid),
                ("chain node", endpoints.validators[0].pid),
                ("daemon", endpoints.nodes[0].pid),
                ("enclave", endpoints.nodes[1].enclave_pid),
                ("chain node", endpoints.validators[0].pid),
            ];
            let (kind, victim) = victims[killed];
            // It may be on its way up again at this moment: then this kill would hit nobody, and another moment is its.
            if runs(victim) && kill(victim).is_ok() {
                killed += 1;
                hit.insert(kind);
            }
        };
        if finished.status == Some(0) {
            let json = finished.json().unwrap();
            assert_eq!(json["replicas"].as_array().unwrap().len(), 2);
            let text = |key: &str| json[key].as_str().unwrap().to_owned();
            order = Some((text("order"), text("cid"), json["size"].as_u64().unwrap()));
            break;
        }
        assert_eq!(finished.status, Some(1), "{finished:?}");
        failed.push(finished.stderr);
        // A put that finds no chain ends at once: the next one begins when the chain is back.
        network.chain().await.unwrap();
    }
    let Some((order, cid, size)) = order else { panic!("no put came to its end: {failed:#?}") };
    assert_eq!(hit, ["chain node", "daemon", "enclave"].into(), "every kind of process was hit");
    network.refresh().unwrap();

    // Both orders have both replicas, all samples are good, and every byte comes back.
    let chain = network.chain().await.unwrap();
    for order in [&order, &kept.order] {
        let record = chain.view(Finality::Best).await.unwrap().order(order_id(order)).await.unwrap().unwrap();
        assert_eq!(record.replicas.len(), 2, "a replica is lost");
    }
    for node in network.endpoints.nodes.clone() {
        let (report, _) = next_report(&network, node.id).await;
        assert_eq!((report.good_files, report.good_filler), (255, 255), "node {}", node.id);
        assert_eq!(report.stored_bytes, size + kept.size);
    }
    // One order was paid for, however often the put was started.
    let orders = network.crust(["order", "list", "--json"]).await.unwrap().json().unwrap();
    assert_eq!(orders.as_array().map(Vec::len), Some(2), "{orders}");
    let back = network.dir().join("back");
    let got = network.crust(["get", &cid, "-o", back.to_str().unwrap()]).await.unwrap();
    assert_eq!(got.status, Some(0), "{got:?}");
    assert!(same(&back, 21, 1024 * MIB));
    assert!(network.get(&kept.cid).await.unwrap() == std::fs::read(&small).unwrap());
}

/// Whether a file is exactly this payload, without reading it into memory.
pub fn same(path: &std::path::Path, seed: u64, size: u64) -> bool {
    let mut file = File::open(path).unwrap();
    if file.metadata().unwrap().len() != size {
        return false;
    }
    let mut payload = Payload::new(seed);
    let (mut left, mut found, mut wanted) = (size, vec![0; 1 << 20], vec![0; 1 << 20]);
    while left > 0 {
        let length = usize::try_from(left.min(1 << 20)).unwrap();
        file.read_exact(&mut found[..length]).unwrap();
        payload.read_exact(&mut wanted[..length]).unwrap();
        if found[..length] != wanted[..length] {
            return false;
        }
        left -= length as u64;
    }
    true
}
