//! `crust dev` is separate processes, replaces what dies, leaves nothing behind and goes on where it was.

use std::{collections::BTreeSet, fs, process::Stdio, time::Duration};

use crust_tests::{Endpoints, Finished, Network, bin, free_port, kill, runs, signal};
use rustix::process::Signal;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    time::{Instant, timeout},
};

use crate::keys;

const MIB: u64 = 1 << 20;
/// Time in which `crust dev` replaces a child.
const REPLACED: Duration = Duration::from_secs(1);
/// Nothing here takes longer.
const PATIENCE: Duration = Duration::from_secs(150);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn children_are_processes_and_the_dead_are_replaced() {
    let mut network = Network::start().await.unwrap();
    endpoints_are_as_promised(&network);
    let file = network.file(1, MIB).unwrap();
    let put = network.put(&file, &["--term", "1h", "--wait"]).await.unwrap();

    let pids: BTreeSet<u32> = network.endpoints.pids().collect();
    assert_eq!(pids.len(), 5, "a chain node, two enclaves and two daemons");
    assert!(pids.iter().all(|pid| runs(*pid)) && !pids.contains(&network.pid().unwrap()));
    for (pid, name) in [
        (network.endpoints.validators[0].pid, "crust-node"),
        (network.endpoints.nodes[0].pid, "crust-storage"),
        (network.endpoints.nodes[0].enclave_pid, "crust-enclave-dev"),
    ] {
        let program = fs::read_link(format!("/proc/{pid}/exe")).unwrap();
        assert_eq!(program.file_name().unwrap().to_str(), Some(name));
    }

    // A second network on the same directory is refused.
    let mut second = tokio::process::Command::new(bin().join("crust"));
    second.args(["dev", "--dir"]).arg(network.dir());
    let second = Finished::of(second).await.unwrap();
    assert_eq!(second.status, Some(1));
    assert!(second.stderr.contains("another `crust dev` runs"), "{}", second.stderr);

    // A child that dies is back within a second, whatever it is; the machine's load may add to any one of them.
    type Pid = fn(&Endpoints) -> u32;
    let kinds: [Pid; 3] = [|it| it.nodes[0].pid, |it| it.nodes[1].enclave_pid, |it| it.validators[0].pid];
    let mut took = Vec::new();
    for pid in kinds {
        let before = pid(&network.endpoints);
        let killed = Instant::now();
        kill(before).unwrap();
        let after = replaced(&mut network, pid, before).await;
        took.push(killed.elapsed());
        assert!(runs(after));
    }
    assert!(took.iter().min() < Some(&REPLACED), "replaced after {took:?}");
    // All of it still works once the chain is back: the file is there, the nodes go on reporting.
    network.chain().await.unwrap();
    assert!(network.get(&put.cid).await.unwrap() == fs::read(&file).unwrap());
    let node = network.endpoints.nodes[1].id;
    let slot = network.chain().await.unwrap().best().await.unwrap().number / 10 + 1;
    network
        .until("a report after the kills", 60, |view| async move {
            Ok(view.node(node).await?.unwrap().last_report.filter(|report| report.slot > slot))
        })
        .await
        .unwrap();
    assert_eq!(network.endpoints.nodes.len(), 2);

    // Stopped, by Ctrl-C this time, it leaves no process behind; started again, it goes on with the same nodes, ports and files.
    let before = network.refresh().unwrap().clone();
    network.stop_by(Signal::INT).await.unwrap();
    assert!(before.pids().all(|pid| !runs(pid)), "a child is left behind");
    network.go_on().await.unwrap();
    let names = |endpoints: &Endpoints| -> Vec<(u32, String, String)> {
        endpoints.nodes.iter().map(|node| (node.id, node.key.clone(), node.admin.clone())).collect()
    };
    assert_eq!(names(&before), names(&network.endpoints));
    assert_eq!((&before.genesis, &before.chain), (&network.endpoints.genesis, &network.endpoints.chain));
    assert!(network.get(&put.cid).await.unwrap() == fs::read(&file).unwrap());

    // Killed the hard way, `crust dev` takes its children with it.
    let children: Vec<u32> = network.endpoints.pids().collect();
    kill(network.pid().unwrap()).unwrap();
    drop(network);
    assert!(children.iter().all(|pid| !runs(*pid)), "a child outlives `crust dev`");
}

/// `endpoints.json` has the keys that scripts were promised, and no others.
fn endpoints_are_as_promised(network: &Network) {
    let text = fs::read(network.dir().join("endpoints.json")).unwrap();
    let endpoints: Value = serde_json::from_slice(&text).unwrap();
    assert_eq!(keys(&endpoints), "accounts chain genesis nodes validators");
    assert_eq!(endpoints["accounts"], serde_json::json!({ "client": "//Client" }));
    for (at, node) in endpoints["nodes"].as_array().unwrap().iter().enumerate() {
        assert_eq!(keys(node), "admin dir enclave_pid id key peer pid provider");
        assert_eq!(node["provider"], format!("//Provider{at}"));
        assert_eq!(node["dir"], network.dir().join(format!("node-{at}")).to_str().unwrap());
        assert!(node["key"].as_str().unwrap().starts_with("0x") && node["peer"].as_str().unwrap().contains("/p2p/"));
    }
    assert_eq!(keys(&endpoints["validators"][0]), "pid rpc");
    assert_eq!(endpoints["chain"], endpoints["validators"][0]["rpc"]);
}

/// Waits for `endpoints.json` to name another process.
async fn replaced(network: &mut Network, pid: fn(&Endpoints) -> u32, before: u32) -> u32 {
    let deadline = Instant::now() + PATIENCE;
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    loop {
        let now = pid(network.refresh().unwrap());
        if now != before {
            return now;
        }
        assert!(Instant::now() < deadline, "process {before} is not replaced");
        tick.tick().await;
    }
}

/// With `--base-port` the ports are known beforehand, and with `--json` the endpoints come on a line before `ready`.
#[tokio::test]
async fn ports_are_chosen_and_endpoints_printed_on_demand() {
    let dir = tempfile::tempdir().unwrap();
    let port = free_port().unwrap();
    let mut command = tokio::process::Command::new(bin().join("crust"));
    command.args(["dev", "--nodes", "0", "--json", "--base-port", &port.to_string(), "--dir"]).arg(dir.path());
    let mut dev = command.stdout(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut lines = BufReader::new(dev.stdout.take().unwrap()).lines();
    let two = async { [lines.next_line().await, lines.next_line().await].map(|line| line.unwrap().unwrap()) };
    let [printed, ready] = timeout(PATIENCE, two).await.unwrap();
    let written: Value = serde_json::from_slice(&fs::read(dir.path().join("endpoints.json")).unwrap()).unwrap();
    assert_eq!((serde_json::from_str::<Value>(&printed).unwrap(), &*ready), (written.clone(), "ready"));
    assert_eq!(written["chain"], format!("ws://127.0.0.1:{port}"));
    signal(dev.id().unwrap(), Signal::TERM).unwrap();
    assert!(timeout(PATIENCE, dev.wait()).await.unwrap().unwrap().success());
}

/// A storage node whose chain is away waits for it, says so to its operator, its supervisor and its log, and stops when
/// it is told to.
#[tokio::test]
async fn a_storage_node_without_its_chain_says_so_and_stops_cleanly() {
    let dir = tempfile::Builder::new().prefix("crust-").tempdir().unwrap();
    let port = free_port().unwrap();
    let config = format!(
        "chain = \"ws://127.0.0.1:9\"\nstate = \"state\"\nenclave = \"enclave.sock\"\nlisten = [\"/ip4/127.0.0.1/tcp/0\"]\n\
         admin = \"127.0.0.1:{port}\"\nprovider = {{ dev = \"//Provider9\" }}\n\
         [[disks]]\npath = \"disk\"\ncapacity = \"64MiB\"\n"
    );
    let path = dir.path().join("storage.toml");
    fs::write(&path, config).unwrap();
    let mut command = tokio::process::Command::new(bin().join("crust-storage"));
    command.args(["--log-format", "json", "--config"]).arg(&path).stderr(Stdio::piped()).kill_on_drop(true);
    let mut daemon = command.spawn().unwrap();
    let mut lines = BufReader::new(daemon.stderr.take().unwrap()).lines();
    let said = async {
        loop {
            let line = lines.next_line().await.unwrap().unwrap();
            let line: Value = serde_json::from_str(&line).unwrap_or_else(|_| panic!("no JSON: {line}"));
            let message = line["fields"]["message"].as_str().unwrap();
            if message.contains("waiting for the chain") {
                return message.to_owned();
            }
        }
    };
    let said = timeout(PATIENCE, said).await.unwrap();
    assert!(said.contains("127.0.0.1:9"), "{said}");
    let admin = format!("http://127.0.0.1:{port}");
    assert!(reqwest::get(format!("{admin}/health")).await.unwrap().status().is_success());
    let ready = reqwest::get(format!("{admin}/ready")).await.unwrap();
    assert_eq!(ready.status().as_u16(), 503);
    let ready = ready.text().await.unwrap();
    assert!(ready.contains("waiting for the chain"), "{ready}");
    signal(daemon.id().unwrap(), Signal::TERM).unwrap();
    assert!(timeout(PATIENCE, daemon.wait()).await.unwrap().unwrap().success());
}

#[tokio::test]
async fn a_port_in_use_is_a_clear_error() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let dir = tempfile::tempdir().unwrap();
    let mut command = tokio::process::Command::new(bin().join("crust"));
    command.args(["dev", "--base-port", &port, "--dir"]).arg(dir.path());
    let finished = Finished::of(command).await.unwrap();
    assert_eq!(finished.status, Some(1));
    assert!(finished.stderr.contains(&format!("port {port} is in use")), "{}", finished.stderr);
}

/// A storage node whose ports are taken says which, and what to do; so does one whose admin port is.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_storage_node_says_which_port_is_in_use() {
    let network = Network::start().await.unwrap();
    let dir = tempfile::Builder::new().prefix("crust-").tempdir().unwrap();
    let platform = dir.path().join("platform");
    fs::create_dir(&platform).unwrap();
    let mut enclave = tokio::process::Command::new(bin().join("crust-enclave-dev"));
    enclave.arg("--socket").arg(dir.path().join("enclave.sock")).arg("--platform").arg(&platform).kill_on_drop(true);
    let _enclave = enclave.spawn().unwrap();
    let node = &network.endpoints.nodes[0];
    let peers = node.peer.split("/p2p/").next().unwrap();
    let admin = node.admin.trim_start_matches("http://");
    for (listen, admin, port) in [
        (peers, "127.0.0.1:0", peers.rsplit('/').next().unwrap()),
        ("/ip4/127.0.0.1/tcp/0", admin, admin.rsplit(':').next().unwrap()),
    ] {
        let config = format!(
            "chain = \"{}\"\nstate = \"state\"\nenclave = \"enclave.sock\"\nlisten = [\"{listen}\"]\n\
             admin = \"{admin}\"\nprovider = {{ dev = \"//Provider9\" }}\n\
             [[disks]]\npath = \"disk\"\ncapacity = \"64MiB\"\n",
            network.endpoints.chain
        );
        let path = dir.path().join("storage.toml");
        fs::write(&path, config).unwrap();
        let mut daemon = tokio::process::Command::new(bin().join("crust-storage"));
        daemon.arg("--config").arg(&path);
        let finished = timeout(PATIENCE, Finished::of(daemon)).await.unwrap().unwrap();
        assert_eq!(finished.status, Some(1), "{finished:?}");
        assert!(finished.stderr.contains(port) && finished.stderr.contains("in use"), "{finished:?}");
    }
}
