//! A file's way through a whole network: how fast, what it waits for, what it costs in processor time and memory.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    sync::Mutex,
    time::Instant,
};

use anyhow::{Context, bail, ensure};
use crust_client::chain::{BlockRef, Chain, Finality, Order};
use crust_protocol::{BlockNumber, order::OrderId};
use crust_tests::{Network, Options, memory, watched, write_payload};

use crate::table::Table;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// Ticks a second of the times in `/proc`.
const TICKS: f64 = 100.0;

/// To two nodes whose filler is at its target.
pub async fn put(table: &mut Table, gib: u64) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let disk = dd(dir.path(), gib)?;
    table.add(format!("`dd bs=1M conv=fdatasync` of {gib} GiB"), format!("{disk:.0} MB/s"), "");
    let capacity = format!("{}MiB", gib * 1_024 + 1_400);
    let network = Network::with(Options { nodes: 2, capacity }).await?;
    let file = dir.path().join("file");
    write_payload(&file, 1, gib * GIB)?;
    full_of_filler(&network).await?;

    let before = processor(&network)?;
    let started = Instant::now();
    let put = network.put(&file, &["--term", "2h", "--wait"]).await?;
    let all = started.elapsed().as_secs_f64();
    let after = processor(&network)?;
    let chain = network.chain().await?;
    let head = chain.best().await?;
    let order: OrderId = hex::decode(put.order.trim_start_matches("0x"))?.try_into().ok().context("no order id")?;
    let Phases { placed, taken, last } = phases(&chain, order).await?;

    let blocks = last.saturating_sub(placed).max(1);
    let rate = (gib * GIB) as f64 / 1e6 / f64::from(blocks);
    let bar = format!("≥ 80 MB/s, or 0.4 of dd: {:.0} MB/s", (0.4 * disk).min(80.0));
    let figure = format!("{rate:.0} MB/s of user data ({blocks} blocks of 1 s; {:.2} of dd)", rate / disk);
    table.add(
        format!("`put --wait`, {gib} GiB to two nodes, block of the order to that of the last receipt"),
        figure,
        &bar,
    );
    let waits = format!("{} blocks", taken.saturating_sub(placed));
    table.add("of that, until both nodes had taken their places", waits, "");
    let cut = (all - f64::from(head.number.saturating_sub(placed))).max(0.0);
    table.add("before that: cutting, hashing and placing the order", format!("{cut:.0} s"), "");
    table.add("all, finality of the last receipt included", format!("{all:.0} s"), "");
    let spent = after.iter().zip(&before).map(|((name, after), (_, before))| format!("{name} {:.0}", after - before));
    let spent = spent.collect::<Vec<_>>().join(", ");
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    table.add(format!("seconds of processor time, of {:.0} there were", all * cores as f64), spent, "");
    Ok(())
}

/// The greatest resident memory of each program while 10 GiB pass.
pub async fn ten_gibibytes(table: &mut Table) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let network = Network::with(Options { nodes: 1, capacity: "10700MiB".into() }).await?;
    let (file, back) = (dir.path().join("file"), dir.path().join("back"));
    write_payload(&file, 3, 10 * GIB)?;
    let path = file.to_string_lossy().into_owned();
    let words = ["put", &path, "--replicas", "1", "--term", "4h", "--wait", "--json"];
    let (output, put) = watched(network.command(words)).await?;
    fs::remove_file(&file)?;
    let json: serde_json::Value = serde_json::from_str(&output)?;
    let cid = json.get("cid").and_then(|cid| cid.as_str()).context("no cid")?;
    let started = Instant::now();
    let (_, get) = watched(network.command(["get", cid, "-o", &back.to_string_lossy()])).await?;
    let rate = 10.0 * GIB as f64 / 1e6 / started.elapsed().as_secs_f64();
    ensure!(fs::metadata(&back)?.len() == 10 * GIB, "the file came back with another size");
    let node = network.endpoints.nodes.first().context("no node")?;
    let peak = |pid| memory(pid, "status", "VmHWM");
    for (what, bytes) in
        [("`crust put`", put), ("`crust get`", get), ("daemon", peak(node.pid)?), ("enclave", peak(node.enclave_pid)?)]
    {
        let what = format!("greatest resident memory with a file of 10 GiB: {what}");
        table.add(what, format!("{} MiB", bytes / MIB), "< 200 MiB");
    }
    table.add("`crust get` of 10 GiB from one node", format!("{rate:.0} MB/s"), "");
    Ok(())
}

/// What the disk takes, in MB/s.
pub fn dd(dir: &Path, gib: u64) -> anyhow::Result<f64> {
    let target = dir.join("dd");
    let started = Instant::now();
    let status = Command::new("dd")
        .args(["if=/dev/zero", "bs=1M", "conv=fdatasync"])
        .args([format!("count={}", gib * 1_024), format!("of={}", target.display())])
        .stderr(Stdio::null())
        .status()?;
    let rate = (gib * GIB) as f64 / 1e6 / started.elapsed().as_secs_f64();
    ensure!(status.success(), "dd failed");
    fs::remove_file(target)?;
    Ok(rate)
}

/// Waits until the nodes' filler has stopped growing.
async fn full_of_filler(network: &Network) -> anyhow::Result<()> {
    for node in 0..network.endpoints.nodes.len() {
        let last = Mutex::new((0, 0));
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

/// Seconds that each kind of process has computed.
fn processor(network: &Network) -> anyhow::Result<Vec<(&'static str, f64)>> {
    let ticks = |pid: u32| -> anyhow::Result<f64> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let (_, rest) = stat.rsplit_once(')').context("another form of stat")?;
        let fields: Vec<f64> = rest.split_whitespace().skip(11).take(2).map(str::parse).collect::<Result<_, _>>()?;
        Ok(fields.iter().sum::<f64>() / TICKS)
    };
    let sum = |pids: Vec<u32>| pids.into_iter().map(ticks).sum::<anyhow::Result<f64>>();
    let endpoints = &network.endpoints;
    Ok(vec![
        ("daemons", sum(endpoints.nodes.iter().map(|node| node.pid).collect())?),
        ("enclaves", sum(endpoints.nodes.iter().map(|node| node.enclave_pid).collect())?),
        ("chain", sum(endpoints.validators.iter().map(|validator| validator.pid).collect())?),
    ])
}

/// Blocks of an order's life.
struct Phases {
    placed: BlockNumber,
    /// The first in which every place was taken.
    taken: BlockNumber,
    /// Of the last receipt.
    last: BlockNumber,
}

async fn phases(chain: &Chain, order: OrderId) -> anyhow::Result<Phases> {
    let record = chain.view(Finality::Best).await?.order(order).await?.context("the order is gone")?;
    let last = record.replicas.iter().map(|replica| replica.since).max().context("no replica")?;
    let mut taken = last;
    for number in (0..=last).rev() {
        match order_in(chain, number, order).await? {
            Some(then) if then.takes.len() + then.replicas.len() >= record.replicas.len() => taken = number,
            Some(_) => {}
            None => return Ok(Phases { placed: number.saturating_add(1), taken, last }),
        }
    }
    bail!("the order's block is not found")
}

async fn order_in(chain: &Chain, number: BlockNumber, order: OrderId) -> anyhow::Result<Option<Order>> {
    let hash = chain.block_hash(number).await?.context("a block is missing")?;
    Ok(chain.view_at(BlockRef { number, hash }).await?.order(order).await?)
}
