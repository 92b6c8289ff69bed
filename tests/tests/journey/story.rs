//! One file's life, from `put` to `get`, with its pay exact to the planck.

use std::{
    collections::BTreeMap,
    fs,
    sync::{Arc, Mutex},
};

use crust_client::{
    chain::{Call, Event, Finality},
    wallet::Wallet,
};
use crust_protocol::{Balance, NodeId, Slot};
use crust_tests::{Finished, Network, Options, Put, bin, sockets};
use tokio::process::Command;

use crate::{directory, keys, order_id};

const MIB: u64 = 1 << 20;
/// Slots whose pay is checked.
const PAID_SLOTS: usize = 5;
/// What the daemon of a node that has stored a file and reported on it always tells Prometheus. What it counts besides
/// is there from the first time on that it happens.
const METRICS: [&str; 28] = [
    "crust_best_block",
    "crust_finalized_block",
    "crust_registered_until",
    "crust_last_report_slot",
    "crust_good_filler",
    "crust_good_files",
    "crust_check_seconds",
    "crust_capacity_bytes",
    "crust_filler_bytes",
    "crust_stored_bytes",
    "crust_files",
    "crust_disk_present",
    "crust_log_copies",
    "crust_log_bytes",
    "crust_snapshot_bytes",
    "crust_snapshot_time_seconds",
    "crust_enclave_sessions",
    "crust_worker_queue",
    "crust_worker_failing",
    "crust_fetched_bytes_total",
    "crust_sealed_bytes_total",
    "crust_receipts_total",
    "crust_reports_total",
    "crust_scrubbed_until",
    "crust_scrubbed_bytes_total",
    "crust_probation",
    "crust_collateral_tokens",
    "crust_orders_without_collateral",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_is_stored_proved_paid_and_given_back() {
    let network = Network::start().await.unwrap();
    assert_eq!(network.endpoints.nodes.len(), 2);
    let file = network.file(7, MIB).unwrap();

    let quote = network.crust(["quote", file.to_str().unwrap(), "--term", "1h", "--json"]).await.unwrap();
    let quote = quote.json().unwrap();
    assert_eq!(keys(&quote), "balance cid deposit placing_fee rate replicas size term total");
    let put = network.put(&file, &["--term", "1h", "--wait"]).await.unwrap();
    assert_eq!(put.size, MIB);
    assert_eq!((&quote["total"], &quote["cid"]), (&(&*put.price).into(), &(&*put.cid).into()), "paid as quoted");
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
    status_and_metrics_tell_all(&network).await;
    commands_tell_what_the_chain_knows(&network, &put).await;
    progress_is_for_terminals(&network, &put.cid).await;
    nothing_lies_in_the_clear(&network, &fs::read(&file).unwrap());
    few_files_on_a_disk(&network);
    directory::is_listed(&network).await;
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

/// What is stored shows in each node's status, and in what Prometheus is told.
async fn status_and_metrics_tell_all(network: &Network) {
    for (at, node) in network.endpoints.nodes.iter().enumerate() {
        let status = network.admin(at, "/v1/status").await.unwrap();
        assert_eq!(status["stored_bytes"], MIB, "{status}");
        assert!(status["last_report"]["slot"].as_u64().unwrap() > 0, "{status}");
        let metrics = reqwest::get(format!("{}/metrics", node.admin)).await.unwrap().text().await.unwrap();
        let told = |name: &&str| metrics.lines().any(|line| line.split(['{', ' ']).next() == Some(name));
        let missing: Vec<&str> = METRICS.into_iter().filter(|name| !told(name)).collect();
        assert!(missing.is_empty(), "{missing:?} are not in {metrics}");
    }
}

/// `ls`, `get`, `order show`, `order list` and `account balance` in the form that scripts read.
async fn commands_tell_what_the_chain_knows(network: &Network, put: &Put) {
    let json = async |words: &[&str]| network.crust(words.iter().chain(&["--json"])).await.unwrap().json().unwrap();
    let listed = json(&["ls", &put.cid]).await;
    assert_eq!((&listed["type"], &listed["size"]), (&"file".into(), &MIB.into()), "{listed}");
    let back = network.dir().join("back");
    let got = json(&["get", &put.cid, "-o", back.to_str().unwrap()]).await;
    assert_eq!(got, serde_json::json!({ "cid": put.cid, "path": back, "size": MIB }));
    let shown = json(&["order", "show", &put.order]).await;
    assert_eq!(
        keys(&shown),
        "audit_root balance cancelled cid client deposit end order placed rate replicas size start takes term wanted"
    );
    assert_eq!((&shown["order"], &shown["cid"]), (&(&*put.order).into(), &(&*put.cid).into()), "{shown}");
    for replica in shown["replicas"].as_array().unwrap() {
        assert_eq!(keys(replica), "addresses good_files last_report node peer provider sealed_at");
    }
    let all = json(&["order", "list"]).await;
    let found = all.as_array().unwrap().iter().find(|order| order["order"] == shown["order"]);
    assert_eq!(found.map(keys), Some(keys(&shown)), "{all}");
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
}

/// A bar shows how far a command is, on a terminal and nowhere else.
async fn progress_is_for_terminals(network: &Network, cid: &str) {
    let output = network.dir().join("again").display().to_string();
    let got = network.crust(["get", cid, "-o", &output]).await.unwrap();
    assert_eq!((got.status, &*got.stderr), (Some(0), ""));
    // `script` gives the command a terminal of its own, and passes on what is written there.
    let mut terminal = Command::new("script");
    terminal.args(["-qec", &format!("{} get {cid} -o {output}", bin().join("crust").display()), "/dev/null"]);
    terminal.env("CRUST_DEV", network.dir()).env("TERM", "xterm");
    let got = Finished::of(terminal).await.unwrap();
    assert_eq!(got.status, Some(0), "{got:?}");
    assert!(got.stdout.contains("fetching     ["), "{got:?}");
}

/// The operator sees every worker with its queue and last error, and Prometheus is served; nobody else is told
/// anything: no program has a connection that leaves the machine, and none listens to others.
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
    let mut doors = 0;
    for pid in network.endpoints.pids().chain(network.pid()) {
        let found = sockets(pid);
        doors += found.iter().filter(|socket| socket.listens).count();
        let abroad: Vec<_> = found.iter().filter(|socket| !socket.is_loopback()).collect();
        assert!(abroad.is_empty(), "process {pid} is not alone with this machine: {abroad:?}");
    }
    assert!(doors >= 4, "chain node and daemon have two doors each, and {doors} are seen");
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
    let file = network.file(8, 96 * MIB).unwrap();
    let put = network.put(&file, &["--term", "1h", "--wait"]).await.unwrap();
    assert_eq!(put.replicas.len(), 2);
    let used: u64 = all_files(&network.endpoints.nodes[0].dir.join("disk-0"))
        .iter()
        .map(|path| fs::metadata(path).unwrap().len())
        .sum();
    assert!(used <= 256 * MIB, "{used} bytes are over the capacity");
    assert!(network.get(&put.cid).await.unwrap() == fs::read(&file).unwrap());
    filler_follows_the_capacity(&network).await;
    assert!(network.get(&put.cid).await.unwrap() == fs::read(&file).unwrap());
}

/// An operator changes a running node's capacity: its status says the new one at once, and filler makes room or fills it.
async fn filler_follows_the_capacity(network: &Network) {
    let url = format!("{}/v1/capacity", network.endpoints.nodes[0].admin);
    for (wanted, least, most) in [(256, 96, 160), (160, 0, 64), (240, 96, 144)] {
        let body = serde_json::json!({ "capacity": format!("{wanted}MiB") });
        let answer = reqwest::Client::new().post(&url).json(&body).send().await.unwrap().error_for_status().unwrap();
        let disks: serde_json::Value = answer.json().await.unwrap();
        assert_eq!(disks[0]["capacity"], wanted * MIB, "{disks}");
        assert_eq!(network.admin(0, "/v1/status").await.unwrap()["capacity"], wanted * MIB);
        let followed = network.until("filler for the new capacity", 60, |_| async move {
            let status = network.admin(0, "/v1/status").await?;
            Ok(status["filler_bytes"].as_u64().filter(|bytes| (least * MIB..=most * MIB).contains(bytes)))
        });
        followed.await.unwrap();
    }
}
