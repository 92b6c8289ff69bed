//! Bad input, row by row: each gets a clear error and exit status, nothing is lost and nothing hangs.

use std::{fs, io::Write as _, path::Path, process::Stdio, time::Duration};

use crust_client::{
    chain::{Call, Finality, NewOrder},
    upload::Import,
    wallet::Wallet,
};
use crust_protocol::{
    file::{Cid, Codec, HashFunction},
    order::{Content, OrderId},
};
use crust_tests::{Finished, Network, Options, bin, runs, write_payload};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    time::timeout,
};

use crate::order_id;

/// Nothing that is refused may take longer.
const SOON: Duration = Duration::from_secs(60);

fn failed(finished: &Finished, status: i32, says: &str) {
    assert_eq!(finished.status, Some(status), "{finished:?}");
    assert!(finished.stderr.to_lowercase().contains(&says.to_lowercase()), "{says:?} is not in {finished:?}");
    assert!(!finished.stderr.contains("panicked"), "{finished:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_user_gets_wrong_is_said() {
    let network = Network::start().await.unwrap();
    let file = network.file(11, 200_000).unwrap();
    let path = file.to_str().unwrap();

    // CIDs.
    let malformed = timeout(SOON, network.crust(["get", "bafynonsense"])).await.unwrap().unwrap();
    failed(&malformed, 2, "cid");
    let unknown = Cid::of(Codec::Raw, HashFunction::Sha2_256, b"nobody ever stored this").to_string();
    let output = network.dir().join("out").display().to_string();
    let (got, listed) = tokio::join!(network.crust(["get", &unknown, "-o", &output]), network.crust(["ls", &unknown]));
    for refused in [got, listed] {
        failed(&refused.unwrap(), 1, &format!("nobody is known to hold {unknown}"));
    }
    assert!(!Path::new(&output).exists());

    // An empty file works like any other.
    let empty = network.dir().join("empty");
    fs::write(&empty, b"").unwrap();
    let put = network.put(&empty, &["--term", "1h", "--wait"]).await.unwrap();
    assert_eq!((put.size, put.replicas.len()), (0, 2));
    assert_eq!(network.get(&put.cid).await.unwrap(), b"");
    // What is no file is not replaced by one.
    let socket = network.dir().join("socket");
    let _listens = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let words = ["get", &put.cid, "-o", socket.to_str().unwrap()];
    failed(&network.crust(words).await.unwrap(), 1, "neither a file nor a directory");

    // What is refused before it is ordered costs nothing and holds nothing.
    let money = balance(&network, "//Client").await;

    // A directory, nothing at all, and a device.
    let directory = network.crust(["put", network.dir().to_str().unwrap()]).await.unwrap();
    failed(&directory, 1, "directory");
    failed(&network.crust(["put", "/does/not/exist"]).await.unwrap(), 1, "not exist");
    failed(&network.crust(["put", "/dev/null"]).await.unwrap(), 1, "not a regular file");

    // Money, nodes, numbers.
    let poor = network.crust(["put", path, "--account", "//Nobody"]).await.unwrap();
    failed(&poor, 1, "has 0 tokens free: fund it, or ask for fewer replicas or a shorter term");
    assert_eq!(balance(&network, "//Nobody").await, json!({ "free": "0", "held": "0" }));
    for (option, value, status, says) in [
        ("--replicas", "3", 1, "3 replicas are wanted, but only 2 providers have a registered node without this file"),
        ("--replicas", "0", 2, "'0' for '--replicas <REPLICAS>': 0 is not in 1..=20"),
        ("--replicas", "21", 2, "'21' for '--replicas <REPLICAS>': 21 is not in 1..=20"),
        ("--term", "soon", 2, "\"soon\" is not a length of time: write one like 30d"),
        ("--term", "0slots", 1, "no such order can be placed: the term must last at least"),
        ("--term", "2y", 1, "no such order can be placed: the term may last at most"),
    ] {
        failed(&network.crust(["put", path, option, value]).await.unwrap(), status, says);
    }
    failed(&network.crust(["order", "show", "0x12"]).await.unwrap(), 2, "an order is 64 hexadecimal digits after 0x");

    // A chain that is not there.
    let away = ["put", path, "--chain", "ws://127.0.0.1:9", "--account", "//Client"];
    failed(&timeout(SOON, network.crust(away)).await.unwrap().unwrap(), 1, "127.0.0.1:9");
    let wrong = ["put", path, "--chain", "http://127.0.0.1:9", "--account", "//Client"];
    failed(&network.crust(wrong).await.unwrap(), 1, "ws://");
    assert_eq!(balance(&network, "//Client").await, money);

    // After all that the network still stores.
    let put = network.put(&file, &["--term", "1h", "--wait"]).await.unwrap();
    assert!(network.get(&put.cid).await.unwrap() == fs::read(&file).unwrap());
}

/// `crust account balance` of a development account.
async fn balance(network: &Network, account: &str) -> Value {
    network.crust(["account", "balance", "--account", account, "--json"]).await.unwrap().json().unwrap()
}

/// Lesson 14: a size declared too small, or as zero, forfeits nothing: the node says what is wrong, no receipt is
/// given, and the money comes back.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_size_is_named_and_refunded() {
    let network = Network::start().await.unwrap();
    let chain = network.chain().await.unwrap();
    let client = Wallet::development("//Client", &chain).unwrap();
    let file = network.dir().join("file");
    let (mut kept, mut wrong) = (0, Vec::new());
    for (nonce, size) in [(71, 149_999), (72, 0)] {
        // One node holds it, so the other can fetch it.
        write_payload(&file, nonce, 150_000).unwrap();
        let put = network.put(&file, &["--term", "1h", "--replicas", "1"]).await.unwrap();
        let view = chain.view(Finality::Best).await.unwrap();
        let good = view.order(order_id(&put.order)).await.unwrap().unwrap();
        kept += good.balance + good.deposit;
        let (cid, audit_root) = (good.cid, good.audit_root);
        let content = Content { client: client.account(), nonce, cid, size, audit_root, flags: 0 };
        let balance = view.quote(size, 1, 3).await.unwrap().balance;
        let order = NewOrder { nonce, cid, size, audit_root, flags: 0, replicas: 1, term: 3, balance };
        chain.submit(Call::PlaceOrder(order), &client).await.unwrap();
        wrong.push(content.id());
    }
    // The node's list of files and its log name the reason.
    network
        .until("a node says why", 60, |_| async {
            let mut said = 0;
            for node in 0..2 {
                let files = network.admin(node, "/v1/files").await?.to_string();
                let log = fs::read_to_string(network.endpoints.nodes[node].dir.join("storage.log"))?;
                let named = |id: &&OrderId| {
                    let id = hex::encode(id);
                    let reason = |line: &str| line.contains(&id) && line.contains("bytes, the file has");
                    reason(&files) && log.lines().any(reason)
                };
                said += wrong.iter().filter(named).count();
            }
            Ok((said >= wrong.len()).then_some(()))
        })
        .await
        .unwrap();
    network
        .until("both orders end", 90, |view| {
            let wrong = &wrong;
            async move {
                for id in wrong {
                    if view.order(*id).await?.is_some() {
                        return Ok(None);
                    }
                }
                Ok(Some(()))
            }
        })
        .await
        .unwrap();
    let held = chain.view(Finality::Best).await.unwrap().balance(client.account()).await.unwrap().held;
    assert!(held <= kept, "{held} are on hold, and the good orders need {kept} at most");
}

/// A file that grows under the reader's hands is refused, not stored half and half.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_changes_is_refused() {
    let network = Network::start().await.unwrap();
    let file = network.file(13, 64 << 20).unwrap();
    let writer = fs::OpenOptions::new().append(true).open(&file).unwrap();
    let mut command = network.command(["put", file.to_str().unwrap(), "--term", "1h"]);
    let child = command.stderr(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let pid = child.id().unwrap();
    let writing = std::thread::spawn(move || {
        let mut writer = writer;
        while runs(pid) && writer.write_all(&[1; 4096]).is_ok() {
            std::thread::yield_now();
        }
    });
    let output = timeout(SOON, child.wait_with_output()).await.unwrap().unwrap();
    writing.join().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("changed"), "{output:?}");
}

/// More than fits is refused with the reason, and what is there stays.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_disk_refuses_and_keeps_what_it_has() {
    let network = Network::with(Options { nodes: 1, capacity: "64MiB".into() }).await.unwrap();
    let small = network.file(14, 8 << 20).unwrap();
    let kept = network.put(&small, &["--replicas", "1", "--term", "1h", "--wait"]).await.unwrap();
    let room = room(&network).await;
    let money = balance(&network, "//Client").await;
    let large = network.file(15, 96 << 20).unwrap();
    let size = Import::of(&large, &|_| ()).unwrap().size();
    let says = format!(
        "1 replicas of {size} bytes are wanted, but only 0 providers have a node with room for one (the most that a node \
         has left is {room} bytes): ask for fewer with --replicas, or store a smaller file"
    );
    for command in ["quote", "put"] {
        let words = [command, large.to_str().unwrap(), "--replicas", "1", "--term", "1h"];
        failed(&timeout(SOON, network.crust(words)).await.unwrap().unwrap(), 1, &says);
    }
    assert_eq!(balance(&network, "//Client").await, money, "nothing was ordered");
    assert!(network.get(&kept.cid).await.unwrap() == fs::read(&small).unwrap());
}

/// Waits until the node's filler has stopped growing, which the chain knows when reports of some slots on end say the
/// same. From then on its filler is the room that it has.
async fn room(network: &Network) -> u64 {
    let node = network.endpoints.nodes[0].id;
    let still = std::sync::Mutex::new((0, 0));
    let still = &still;
    network
        .until("filler at its target", 180, |view| async move {
            let Some(report) = view.node(node).await?.unwrap().last_report else { return Ok(None) };
            let mut still = still.lock().unwrap();
            if report.filler_bytes != still.0 {
                *still = (report.filler_bytes, report.slot);
            }
            Ok((report.filler_bytes > 0 && report.slot > still.1 + 3).then_some(report.filler_bytes))
        })
        .await
        .unwrap()
}

/// A configuration with a wrong or unknown key is refused by that key's name.
#[tokio::test]
async fn a_wrong_configuration_key_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let good = "chain = \"ws://127.0.0.1:9\"\nstate = \"state\"\nenclave = \"enclave.sock\"\n\
                listen = [\"/ip4/127.0.0.1/tcp/0\"]\nadmin = \"127.0.0.1:0\"\nprovider = { dev = \"//Provider0\" }\n\
                [[disks]]\npath = \"disk\"\ncapacity = \"1GiB\"\n";
    for (from, to, key) in [
        ("capacity =", "capasity =", "capasity"),
        ("\"1GiB\"", "\"plenty\"", "capacity"),
        ("admin = \"127.0.0.1:0\"", "admin = \"0.0.0.0:0\"", "admin"),
        ("state =", "stat =", "stat"),
    ] {
        let path = dir.path().join("storage.toml");
        fs::write(&path, good.replace(from, to)).unwrap();
        let mut command = tokio::process::Command::new(bin().join("crust-storage"));
        command.arg("--config").arg(&path);
        let finished = timeout(SOON, Finished::of(command)).await.unwrap().unwrap();
        assert!(matches!(finished.status, Some(1 | 2)), "{finished:?}");
        let said = format!("{}{}", finished.stdout, finished.stderr);
        assert!(said.contains(key), "{key} is not named: {finished:?}");
    }
}

/// An unknown option is a misuse, help has an example, and each program tells its version.
#[tokio::test]
async fn programs_explain_themselves() {
    for program in ["crust", "crust-storage", "crust-enclave-dev", "crust-node"] {
        for option in ["--help", "--version"] {
            let mut command = tokio::process::Command::new(bin().join(program));
            command.arg(option);
            let finished = Finished::of(command).await.unwrap();
            assert_eq!(finished.status, Some(0), "{program} {option}: {finished:?}");
            let commit = |word: &str| word.len() >= 7 && word.bytes().all(|byte| byte.is_ascii_hexdigit());
            let mut words = finished.stdout.split(|c: char| !c.is_ascii_alphanumeric());
            assert!(option == "--help" || words.any(commit), "{program} does not tell its commit: {finished:?}");
            assert!(!finished.stdout.trim().is_empty());
        }
        let mut command = tokio::process::Command::new(bin().join(program));
        command.arg("--no-such-option").stdout(Stdio::null());
        let finished = Finished::of(command).await.unwrap();
        assert!(matches!(finished.status, Some(1 | 2)), "{program}: {finished:?}");
    }
    let mut help = tokio::process::Command::new(bin().join("crust"));
    let mut child = help.args(["put", "--help"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut example = false;
    while let Some(line) = lines.next_line().await.unwrap() {
        example |= line.contains("crust put ");
    }
    assert!(example && child.wait().await.unwrap().success());
}
