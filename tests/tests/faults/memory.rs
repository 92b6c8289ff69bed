//! Everything streams: a file many times the size of the memory allowed passes through client, daemon and enclave.

use crust_tests::{Network, Options, memory, watched};

use crate::{MIB, kills::same};

/// Resident memory of each program, at most.
const MOST: u64 = 200 * MIB;
const SIZE: u64 = 2048 * MIB;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_gibibytes_pass_through_little_memory() {
    let network = Network::with(Options { nodes: 1, capacity: "2300MiB".into() }).await.unwrap();
    let file = network.file(31, SIZE).unwrap();
    let words = ["put", file.to_str().unwrap(), "--replicas", "1", "--term", "2h", "--wait", "--json"];
    let (json, put_peak) = watched(network.command(words)).await.unwrap();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    std::fs::remove_file(&file).unwrap();
    let cid = json["cid"].as_str().unwrap();
    let back = network.dir().join("back");
    let (_, get_peak) = watched(network.command(["get", cid, "-o", back.to_str().unwrap()])).await.unwrap();
    assert!(same(&back, 31, SIZE));
    let node = &network.endpoints.nodes[0];
    for (what, peak) in [
        ("put", put_peak),
        ("get", get_peak),
        ("daemon", memory(node.pid, "status", "VmHWM").unwrap()),
        ("enclave", memory(node.enclave_pid, "status", "VmHWM").unwrap()),
    ] {
        println!("{what}: {} MiB", peak / MIB);
        assert!(peak <= MOST, "{what} took {} MiB", peak / MIB);
    }
}
