//! Whole networks: how fast they are ready, what a large put reaches, and how little memory it takes.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use crust_client::chain::Finality;
use crust_protocol::order::OrderId;
use crust_tests::{Network, Options, memory as memory_of, runs, write_payload};

use crate::Figure;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

pub async fn ready() -> anyhow::Result<Vec<Figure>> {
    let started = Instant::now();
    let mut network = Network::start().await?;
    let ready = started.elapsed();
    network.stop().await?;
    Ok(vec![Figure::new("ready, `crust dev` with two nodes", format!("{:.1} s", ready.as_secs_f64()), "< 20 s")])
}

/// 4 GiB to two nodes whose filler is at its target; then a minute after 1 GiB, what daemon and enclave take.
pub async fn put() -> anyhow::Result<Vec<Figure>> {
    let dir = tempfile::tempdir()?;
    let disk = dd(dir.path())?;
    let network = Network::with(Options { nodes: 2, capacity: "5500MiB".into() }).await?;
    let file = dir.path().join("file");
    write_payload(&file, 1, 4 * GIB)?;
    full_of_filler(&network).await?;
    let started = Instant::now();
    let put = network.put(&file, &["--term", "2h", "--wait"]).await?;
    let all = started.elapsed();
    let order: OrderId = hex::decode(put.order.trim_start_matches("0x"))?.try_into().ok().context("no order id")?;
    let chain = network.chain().await?;
    let record = chain.view(Finality::Best).await?.order(order).await?.context("the order is gone")?;
    let last = record.replicas.iter().map(|replica| replica.since).max().context("no replica")?;
    // The order's own block is not in its record; its takes came in the block after it at the earliest.
    let first = placed(&chain, order, last).await?;
    let blocks = last.saturating_sub(first);
    let rate = 4.0 * GIB as f64 / 1e6 / f64::from(blocks.max(1));
    let share = rate / disk;
    let bar = "≥ 80 MB/s, or 0.4 of dd";
    let mut figures = vec![
        Figure::new("dd bs=1M conv=fdatasync, 4 GiB", format!("{disk:.0} MB/s"), ""),
        Figure::new(
            "put --wait, 4 GiB to two nodes, order to last receipt",
            format!("{rate:.0} MB/s of user data ({blocks} blocks of 1 s; {share:.2} of dd)"),
            bar,
        ),
        Figure::new("the same, cutting and waiting for finality included", format!("{:.0} s", all.as_secs_f64()), ""),
    ];
    drop(network);

    let network = Network::with(Options { nodes: 1, capacity: "1500MiB".into() }).await?;
    write_payload(&file, 2, GIB)?;
    network.put(&file, &["--replicas", "1", "--term", "2h", "--wait"]).await?;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let node = network.endpoints.nodes.first().context("no node")?;
    let daemon = memory_of(node.pid, "smaps_rollup", "Pss")?;
    let enclave = memory_of(node.enclave_pid, "smaps_rollup", "Pss")?;
    let text = format!("{} + {} = {} MB", daemon / 1_000_000, enclave / 1_000_000, (daemon + enclave) / 1_000_000);
    figures.push(Figure::new("daemon + enclave, PSS, a minute after 1 GiB", text, "< 120 MB"));
    Ok(figures)
}

/// The greatest resident memory of each program while 10 GiB pass.
pub async fn memory() -> anyhow::Result<Vec<Figure>> {
    let dir = tempfile::tempdir()?;
    let network = Network::with(Options { nodes: 1, capacity: "10700MiB".into() }).await?;
    let (file, back) = (dir.path().join("file"), dir.path().join("back"));
    write_payload(&file, 3, 10 * GIB)?;
    let path = file.to_string_lossy().into_owned();
    let (output, put) =
        watched(&network, &["put", &path, "--replicas", "1", "--term", "4h", "--wait", "--json"]).await?;
    fs::remove_file(&file)?;
    let json: serde_json::Value = serde_json::from_str(&output)?;
    let cid = json.get("cid").and_then(|cid| cid.as_str()).context("no cid")?;
    let started = Instant::now();
    let (_, get) = watched(&network, &["get", cid, "-o", &back.to_string_lossy()]).await?;
    let rate = 10.0 * GIB as f64 / 1e6 / started.elapsed().as_secs_f64();
    ensure!(fs::metadata(&back)?.len() == 10 * GIB, "the file came back with another size");
    let node = network.endpoints.nodes.first().context("no node")?;
    let daemon = memory_of(node.pid, "status", "VmHWM")?;
    let enclave = memory_of(node.enclave_pid, "status", "VmHWM")?;
    let most = [put, get, daemon, enclave].map(|bytes| bytes / MIB);
    let [put, get, daemon, enclave] = most;
    Ok(vec![
        Figure::new(
            "greatest resident memory with a file of 10 GiB",
            format!("put {put}, get {get}, daemon {daemon}, enclave {enclave} MiB"),
            "each < 200 MiB",
        ),
        Figure::new("get, 10 GiB from one node", format!("{rate:.0} MB/s"), ""),
    ])
}

/// What the disk takes, in MB/s.
fn dd(dir: &Path) -> anyhow::Result<f64> {
    let target = dir.join("dd");
    let started = Instant::now();
    let status = Command::new("dd")
        .args(["if=/dev/zero", "bs=1M", "count=4096", "conv=fdatasync"])
        .arg(format!("of={}", target.display()))
        .stderr(Stdio::null())
        .status()?;
    let rate = 4.0 * GIB as f64 / 1e6 / started.elapsed().as_secs_f64();
    ensure!(status.success(), "dd failed");
    fs::remove_file(target)?;
    Ok(rate)
}

/// Waits until the nodes' filler has stopped growing.
async fn full_of_filler(network: &Network) -> anyhow::Result<()> {
    for node in 0..network.endpoints.nodes.len() {
        let last = std::sync::Mutex::new((0, 0));
        let what = format!("filler of node {node} at its target");
        network
            .until(&what, 900, |_| async {
                let filler = network.admin(node, "/v1/status").await?.get("filler_bytes").and_then(|it| it.as_u64());
                let filler = filler.context("no filler_bytes")?;
                let Ok(mut last) = last.lock() else { bail!("poisoned") };
                let still = if filler == last.0 && filler > 0 { last.1 + 1 } else { 0 };
                *last = (filler, still);
                Ok((still >= 5).then_some(()))
            })
            .await?;
    }
    Ok(())
}

/// The block in which an order was placed.
async fn placed(chain: &crust_client::chain::Chain, order: OrderId, last: u32) -> anyhow::Result<u32> {
    for number in (0..=last).rev() {
        let hash = chain.block_hash(number).await?.context("a block is missing")?;
        let view = chain.view_at(crust_client::chain::BlockRef { number, hash }).await?;
        if view.order(order).await?.is_none() {
            return Ok(number.saturating_add(1));
        }
    }
    bail!("the order's block is not found")
}

/// Runs a command to its end; what it printed and its greatest resident memory.
async fn watched(network: &Network, words: &[&str]) -> anyhow::Result<(String, u64)> {
    let mut command = network.command(words);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let pid = child.id().context("it has ended")?;
    let ended = tokio::spawn(child.wait_with_output());
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    let mut peak = 0;
    while !ended.is_finished() && runs(pid) {
        peak = memory_of(pid, "status", "VmHWM").unwrap_or(peak).max(peak);
        tick.tick().await;
    }
    let output = ended.await??;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Ok((String::from_utf8(output.stdout)?, peak))
}
