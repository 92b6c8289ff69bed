//! `crust dev` is separate processes, replaces what dies, leaves nothing behind and goes on where it was.

use std::{collections::BTreeSet, fs, time::Duration};

use crust_tests::{Endpoints, Finished, Network, bin, kill, runs, write_payload};

const MIB: u64 = 1 << 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn children_are_processes_and_the_dead_are_replaced() {
    let mut network = Network::start().await.unwrap();
    let file = network.dir().join("file");
    write_payload(&file, 1, MIB).unwrap();
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

    type Pid = fn(&Endpoints) -> u32;
    let kinds: [Pid; 3] = [|it| it.nodes[0].pid, |it| it.nodes[1].enclave_pid, |it| it.validators[0].pid];
    for pid in kinds {
        let before = pid(&network.endpoints);
        kill(before).unwrap();
        let after = replaced(&mut network, pid, before).await;
        assert!(runs(after));
    }
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

    // Stopped, it leaves no process behind; started again, it goes on with the same nodes, ports and files.
    let before = network.refresh().unwrap().clone();
    network.stop().await.unwrap();
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

/// Waits for `endpoints.json` to name another process; a second is allowed, and what the machine's load adds.
async fn replaced(network: &mut Network, pid: fn(&Endpoints) -> u32, before: u32) -> u32 {
    let deadline = tokio::time::Instant::now() + Duration::from_secs(5);
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    loop {
        let now = pid(network.refresh().unwrap());
        if now != before {
            return now;
        }
        assert!(tokio::time::Instant::now() < deadline, "process {before} is not replaced");
        tick.tick().await;
    }
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
        let finished = tokio::time::timeout(Duration::from_secs(60), Finished::of(daemon)).await.unwrap().unwrap();
        assert_eq!(finished.status, Some(1), "{finished:?}");
        assert!(finished.stderr.contains(port) && finished.stderr.contains("in use"), "{finished:?}");
    }
}
