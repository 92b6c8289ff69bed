//! One file's life, from `put` to `get`, with its pay exact to the planck.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    sync::{Arc, Mutex},
    time::Duration,
};

use crust_client::{
    chain::{Call, Event, Finality},
    wallet::Wallet,
};
use crust_protocol::{Balance, NodeId, Slot};
use crust_tests::{Network, Options, Put, bin, runs, write_payload};

use crate::order_id;

const MIB: u64 = 1 << 20;
/// Slots whose pay is checked.
const PAID_SLOTS: usize = 5;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_stored_proved_paid_and_given_back() {
    let network = Network::start().await.unwrap();
    assert_eq!(network.endpoints.nodes.len(), 2);
    let file = network.dir().join("file");
    write_payload(&file, 7, MIB).unwrap();

    let quote = network.crust(["quote", file.to_str().unwrap(), "--term", "1h", "--json"]).await.unwrap();
    quote.json().unwrap();
    let put = network.put(&file, &["--term", "1h", "--wait"]).await.unwrap();
    assert_eq!(put.size, MIB);
    let mut nodes: Vec<NodeId> = put.replicas.iter().map(|replica| replica.node).collect();
    nodes.sort_unstable();
    let mut all: Vec<NodeId> = network.endpoints.nodes.iter().map(|node| node.id).collect();
    all.sort_unstable();
    assert_eq!(nodes, all, "both nodes hold it");

    // Put again, it finds its order and pays nothing.
    let again = network.put(&file, &["--term", "1h", "--wait"]).await.unwrap();
    assert_eq!(again.order, put.order);

    for node in nodes {
        exact_pay(&network, &put.order, node).await;
    }
    assert!(network.get(&put.cid).await.unwrap() == fs::read(&file).unwrap(), "the same bytes");
    status_tells_all(&network).await;
    commands_tell_what_the_chain_knows(&network, &put).await;
    nothing_lies_in_the_clear(&network, &fs::read(&file).unwrap());
    few_files_on_a_disk(&network);
}

/// After five reports the provider has earned exactly what the protocol says, and a claim moves exactly that.
async fn exact_pay(network: &Network, order: &str, node: NodeId) {
    let order = order_id(order);
    let chain = network.chain().await.unwrap();
    let client = Wallet::development("//Client", &chain).unwrap();
    let record = chain.view(Finality::Best).await.unwrap().order(order).await.unwrap().unwrap();
    let since = record.replica_of(node).unwrap().since;

    // The bytes of the accepted reports by slot, and all that was claimed meanwhile, from the receipt on.
    let reports: Arc<Mutex<BTreeMap<Slot, u8>>> = Arc::default();
    let seen = reports.clone();
    network
        .until("five reports", 90, move |view| {
            let seen = seen.clone();
            async move {
                let report = view.node(node).await?.unwrap().last_report;
                let mut seen = seen.lock().unwrap();
                if let Some(report) = report.filter(|report| report.block >= since) {
                    seen.insert(report.slot, report.good_files);
                }
                Ok((seen.len() >= PAID_SLOTS).then_some(()))
            }
        })
        .await
        .unwrap();

    let claimed = chain.submit(Call::Claim { order, node }, &client).await.unwrap();
    let view = chain.view_at(claimed.block).await.unwrap();
    let last = view.node(node).await.unwrap().unwrap().last_report.unwrap();
    reports.lock().unwrap().insert(last.slot, last.good_files);
    // Reports between the receipt and this watch: slots without a gap, for this node skipped none.
    let parameters = chain.parameters();
    let first = parameters.slot_of(since);
    let mut earned_units: Balance = 0;
    for slot in first..=last.slot {
        let watched = reports.lock().unwrap().get(&slot).copied();
        let report = match watched {
            Some(good) => Some(good),
            None => report_of_slot(network, node, slot, since).await,
        };
        earned_units += Balance::from(report.unwrap_or_default());
    }
    assert!(earned_units >= 255 * PAID_SLOTS as Balance, "five perfect reports");
    let earned = record.rate * earned_units / 255;
    let expected = earned - earned * 15 / 100 - earned * 5 / 100;

    let mut paid: Balance = 0;
    for number in since..=claimed.block.number {
        let hash = chain.block_hash(number).await.unwrap().unwrap();
        let block = crust_client::chain::BlockRef { number, hash };
        for event in chain.view_at(block).await.unwrap().events().await.unwrap() {
            if let Event::Claimed { order: of, node: by, provider_part, .. } = event
                && (of, by) == (order, node)
            {
                paid += provider_part;
            }
        }
    }
    assert_eq!(paid, expected, "exact to the planck");

    // What the claim of this test moved arrived as a whole.
    let part = claimed.events.iter().find_map(|event| match event {
        Event::Claimed { provider_part, .. } => Some(*provider_part),
        _ => None,
    });
    let provider = record.replica_of(node).unwrap().provider;
    let parent = chain.block_hash(claimed.block.number - 1).await.unwrap().unwrap();
    let parent = crust_client::chain::BlockRef { number: claimed.block.number - 1, hash: parent };
    let before = chain.view_at(parent).await.unwrap().balance(provider).await.unwrap();
    let after = view.balance(provider).await.unwrap();
    assert_eq!(after.free - before.free, part.unwrap());
}

/// What the node's report in a slot that has passed said about files; `None` without one after the receipt.
async fn report_of_slot(network: &Network, node: NodeId, slot: Slot, since: u32) -> Option<u8> {
    let chain = network.chain().await.unwrap();
    let last = chain.parameters().first_block(slot + 1) - 1;
    let hash = chain.block_hash(last).await.unwrap()?;
    let view = chain.view_at(crust_client::chain::BlockRef { number: last, hash }).await.unwrap();
    let report = view.node(node).await.unwrap()?.last_report?;
    (report.slot == slot && report.block >= since).then_some(report.good_files)
}

/// What is stored shows in each node's status.
async fn status_tells_all(network: &Network) {
    for node in 0..2 {
        let status = network.admin(node, "/v1/status").await.unwrap();
        assert_eq!(status["stored_bytes"], MIB, "{status}");
        assert!(status["last_report"]["slot"].as_u64().unwrap() > 0, "{status}");
    }
}

/// `ls`, `order show`, `order list` and `account balance` in the form that scripts read.
async fn commands_tell_what_the_chain_knows(network: &Network, put: &Put) {
    let json = async |words: &[&str]| network.crust(words.iter().chain(&["--json"])).await.unwrap().json().unwrap();
    let listed = json(&["ls", &put.cid]).await;
    assert_eq!((&listed["type"], &listed["size"]), (&"file".into(), &MIB.into()), "{listed}");
    let shown = json(&["order", "show", &put.order]).await;
    assert!(shown.to_string().contains(&put.cid), "{shown}");
    let all = json(&["order", "list"]).await;
    assert!(all.as_array().unwrap().iter().any(|order| order.to_string().contains(&put.order)), "{all}");
    let balance = json(&["account", "balance"]).await;
    let plancks = |key: &str| balance[key].as_str().unwrap().parse::<Balance>().unwrap();
    assert!(plancks("free") > 0 && plancks("held") > 0, "{balance}");
    assert!(put.price.parse::<Balance>().unwrap() > 0 && put.replicas.iter().all(|it| it.sealed_at > 0), "{put:?}");
    // The provider sees its node, and nobody else's is his to give up.
    let node = &network.endpoints.nodes[0];
    let status = json(&["provider", "status", "--account", &node.provider]).await;
    let [found] = &status.as_array().unwrap()[..] else { panic!("{status}") };
    assert_eq!((&found["node"], &found["replicas"], &found["registered"]), (&node.id.into(), &1.into(), &true.into()));
    let foreign = network.crust(["provider", "abandon", &node.id.to_string()]).await.unwrap();
    assert_eq!(foreign.status, Some(1), "{foreign:?}");
    assert!(foreign.stderr.contains("choose its key file"), "{foreign:?}");
    // A worker that has just failed is shown until it has succeeded.
    network
        .until("the doctor finds all well", 30, |_| async {
            let found = network.crust(["doctor", "--json"]).await?;
            let checks: serde_json::Value = serde_json::from_str(&found.stdout)?;
            assert_eq!(checks["ok"] == true, found.status == Some(0), "{found:?}");
            Ok((found.status == Some(0)).then_some(()))
        })
        .await
        .unwrap();
    // Progress is for terminals.
    let got = network.crust(["get", &put.cid, "-o", network.dir().join("quiet").to_str().unwrap()]).await.unwrap();
    assert_eq!((got.status, &*got.stderr), (Some(0), ""));
}

/// The operator sees every worker with its queue and last error, and Prometheus is served; nobody else is told
/// anything: no program has a connection that leaves the machine.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lesson_23_the_operator_sees_and_nobody_else_is_told() {
    let network = Network::with(Options { nodes: 1, ..Options::default() }).await.unwrap();
    let status = network.admin(0, "/v1/status").await.unwrap();
    let workers = status["workers"].as_array().unwrap();
    assert!(workers.len() >= 6, "{status}");
    for worker in workers {
        assert!(worker["name"].is_string() && worker["state"].is_string(), "{worker}");
        assert!(worker.get("queue").is_some() && worker.get("error").is_some(), "{worker}");
    }
    let metrics = reqwest::get(format!("{}/metrics", network.endpoints.nodes[0].admin)).await.unwrap();
    assert!(metrics.text().await.unwrap().contains("# TYPE"));
    for pid in network.endpoints.pids() {
        let abroad: Vec<String> =
            sockets(pid).into_iter().filter(|socket| !socket.is_loopback()).map(|it| it.remote).collect();
        assert!(abroad.is_empty(), "process {pid} talks to {abroad:?}");
    }
}

/// No plaintext reaches a node's folder.
fn nothing_lies_in_the_clear(network: &Network, plain: &[u8]) {
    let needle = &plain[4096..4128];
    for node in &network.endpoints.nodes {
        for path in all_files(&node.dir) {
            let bytes = fs::read(&path).unwrap_or_default();
            assert!(!bytes.windows(needle.len()).any(|window| window == needle), "{} is in the clear", path.display());
        }
    }
}

fn few_files_on_a_disk(network: &Network) {
    for node in &network.endpoints.nodes {
        let files = all_files(&node.dir.join("disk-0")).len();
        assert!(files <= 8, "{files} files for one file and its filler");
    }
}

fn all_files(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(all_files(&entry.path())),
            Ok(kind) if kind.is_file() => found.push(entry.path()),
            _ => {}
        }
    }
    found
}

/// Filler needs no handful of files for every gigabyte, and gives way by itself when files come (the reference design
/// kept 1,025 files for each GiB and made room by hand).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lesson_10_filler_gives_way_by_itself() {
    let network = Network::with(Options { nodes: 2, capacity: "256MiB".into() }).await.unwrap();
    network
        .until("filler on its target", 120, |_| async {
            let status = network.admin(0, "/v1/status").await?;
            let (filler, capacity) = (status["filler_bytes"].as_u64(), status["capacity"].as_u64());
            Ok(filler.zip(capacity).filter(|(filler, capacity)| filler * 10 > capacity * 8).map(|_| ()))
        })
        .await
        .unwrap();
    few_files_on_a_disk(&network);
    let file = network.dir().join("file");
    write_payload(&file, 8, 96 * MIB).unwrap();
    let put = network.put(&file, &["--term", "1h", "--wait"]).await.unwrap();
    assert_eq!(put.replicas.len(), 2);
    let used: u64 = all_files(&network.endpoints.nodes[0].dir.join("disk-0"))
        .iter()
        .map(|path| fs::metadata(path).unwrap().len())
        .sum();
    assert!(used <= 256 * MIB, "{used} bytes are over the capacity");
    assert!(network.get(&put.cid).await.unwrap() == fs::read(&file).unwrap());
}

/// The uploader is reachable for nobody: in a network namespace from which only the way out works it could still put.
/// Shown here by its sockets: while a put goes on, the program listens nowhere.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lesson_20_the_uploader_needs_no_reachable_port() {
    let network = Network::start().await.unwrap();
    let file = network.dir().join("file");
    write_payload(&file, 9, 64 * MIB).unwrap();
    let mut command = network.command(["put", file.to_str().unwrap(), "--term", "1h", "--wait", "--json"]);
    let child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let pid = child.id().unwrap();
    let ended = tokio::spawn(child.wait_with_output());
    let mut looks = 0;
    let mut tick = tokio::time::interval(Duration::from_millis(5));
    while runs(pid) && !ended.is_finished() {
        assert!(!listens(pid), "{} listens", bin().join("crust").display());
        looks += 1;
        tick.tick().await;
    }
    let output = ended.await.unwrap().unwrap();
    assert!(output.status.success() && looks > 10, "{looks} looks");
}

/// Whether a process has a listening TCP socket.
fn listens(pid: u32) -> bool {
    sockets(pid).iter().any(|socket| socket.state == "0A")
}

/// A TCP socket as the kernel lists it.
struct Socket {
    remote: String,
    state: String,
}

impl Socket {
    /// Whether the other side, if there is one, is on this machine.
    fn is_loopback(&self) -> bool {
        let address = self.remote.split(':').next().unwrap_or_default();
        // Words of 32 bits in the machine's order: 127.0.0.1, ::1, ::ffff:127.0.0.1, and nobody.
        address.ends_with("0100007F")
            || address == "00000000000000000000000001000000"
            || address.bytes().all(|digit| digit == b'0')
    }
}

/// The TCP sockets of a process.
fn sockets(pid: u32) -> Vec<Socket> {
    let tables = ["tcp", "tcp6"].map(|name| fs::read_to_string(format!("/proc/{pid}/net/{name}")).unwrap_or_default());
    let own = fs::read_dir(format!("/proc/{pid}/fd")).into_iter().flatten().flatten();
    let own: BTreeSet<String> = own
        .filter_map(|entry| Some(fs::read_link(entry.path()).ok()?.to_str()?.to_owned()))
        .filter(|link| link.starts_with("socket:["))
        .collect();
    let rows = tables.iter().flat_map(|table| table.lines().skip(1));
    let rows = rows.map(|row| row.split_whitespace().collect::<Vec<_>>()).filter(|words| words.len() > 9);
    rows.filter(|words| own.contains(&format!("socket:[{}]", words[9])))
        .map(|words| Socket { remote: words[2].to_owned(), state: words[3].to_owned() })
        .collect()
}
