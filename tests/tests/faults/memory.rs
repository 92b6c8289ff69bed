//! Everything streams: a file many times the size of the memory allowed passes through client, daemon and enclave.

use std::process::Stdio;

use crust_tests::{Network, Options, memory, runs, write_payload};

use crate::{MIB, kills::same};

/// Resident memory of each program, at most.
const MOST: u64 = 200 * MIB;
const SIZE: u64 = 2048 * MIB;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_gibibytes_pass_through_little_memory() {
    let network = Network::with(Options { nodes: 1, capacity: "2300MiB".into() }).await.unwrap();
    let file = network.dir().join("file");
    write_payload(&file, 31, SIZE).unwrap();
    let words = ["put", file.to_str().unwrap(), "--replicas", "1", "--term", "2h", "--wait", "--json"];
    let (json, put_peak) = watched(&network, &words).await;
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    std::fs::remove_file(&file).unwrap();
    let cid = json["cid"].as_str().unwrap();
    let back = network.dir().join("back");
    let (_, get_peak) = watched(&network, &["get", cid, "-o", back.to_str().unwrap()]).await;
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

/// Runs a command to its end; what it printed and its greatest resident memory.
async fn watched(network: &Network, words: &[&str]) -> (String, u64) {
    let mut command = network.command(words);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let pid = child.id().unwrap();
    let ended = tokio::spawn(child.wait_with_output());
    let mut tick = tokio::time::interval(std::time::Duration::from_millis(20));
    let mut peak = 0;
    while !ended.is_finished() && runs(pid) {
        // The last look before the end may find the process gone.
        peak = memory(pid, "status", "VmHWM").unwrap_or(peak).max(peak);
        tick.tick().await;
    }
    let output = ended.await.unwrap().unwrap();
    assert!(output.status.success(), "{output:?}");
    (String::from_utf8(output.stdout).unwrap(), peak)
}
