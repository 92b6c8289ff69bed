//! A file's way through a whole network: how fast, what it waits for, what it costs in processor time and memory.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    sync::Mutex,
    time::Instant,
};

use anyhow::{Context, bail, ensure};
use crust_client::{
    chain::{BlockRef, Chain, Finality, Order},
    wallet::Wallet,
};
use crust_protocol::{BlockNumber, order::OrderId};
use crust_tests::{Network, Options, memory, watched, write_payload};

use crate::table::Table;

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
/// Ticks a second of the times in `/proc`.
const TICKS: f64 = 100.0;
/// Cores that have no work for less than so many percent of the time are what everything waits for.
const SPARE: f64 = 10.0;

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

    let chain = network.chain().await?;
    let client = Wallet::development(&network.endpoints.accounts.client, &chain)?.account();
    let started = Instant::now();
    let path = file.to_string_lossy().into_owned();
    let mut command = network.command(["put", &path, "--term", "2h", "--wait", "--json"]);
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::inherit()).spawn()?;
    let pid = child.id().context("the client has ended")?;
    let ended = tokio::spawn(child.wait_with_output());
    let placed = network.until("the order", 900, |view| async move { Ok(view.all_orders_of(client).await?.pop()) });
    let order = placed.await?;
    let (cut, before) = (started.elapsed().as_secs_f64(), Processor::look(&network, pid)?);
    let sealed = network.until("all receipts", 900, |view| async move {
        Ok(view.order(order).await?.filter(|order| order.unsealed() == 0).map(drop))
    });
    sealed.await?;
    let spent = Processor::look(&network, pid)?.since(&before);
    ensure!(ended.await??.status.success(), "the put failed");
    let all = started.elapsed().as_secs_f64();
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
    let waits = receipt_waits(&network, order)?.iter().map(|wait| format!("{wait:.1} s")).collect::<Vec<_>>();
    table.add("of that, at each node, from the last chunk sealed to the receipt in a block", waits.join(", "), "");
    table.add("of that, seconds of processor time", spent.by_program(), "");
    table.add("what limits it", spent.limit(), "");
    let figure = format!("{cut:.0} s, {:.0} of them on the processor", before.client);
    table.add("before that: cutting, hashing and placing the order", figure, "");
    table.add("all, finality of the last receipt included", format!("{all:.0} s"), "");
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

/// Seconds that processors have spent, up to a moment or between two.
struct Processor {
    client: f64,
    daemons: f64,
    enclaves: f64,
    chain: f64,
    /// All cores together, whatever they did.
    all: f64,
    /// Of these, without work.
    idle: f64,
    /// Of these, without work but for a disk that was waited for.
    disk: f64,
}

impl Processor {
    fn look(network: &Network, client: u32) -> anyhow::Result<Processor> {
        let sum = |pids: Vec<u32>| pids.into_iter().map(computed).sum::<anyhow::Result<f64>>();
        let endpoints = &network.endpoints;
        let stat = fs::read_to_string("/proc/stat")?;
        let cores = stat.lines().next().and_then(|line| line.strip_prefix("cpu ")).context("another form of stat")?;
        // User, nice, system, idle, iowait, irq, softirq, steal; guests are users as well.
        let cores: Vec<f64> = cores.split_whitespace().take(8).map(str::parse).collect::<Result<_, _>>()?;
        let [_, _, _, idle, disk, ..] = cores[..] else { bail!("too few figures in stat") };
        Ok(Processor {
            client: computed(client)?,
            daemons: sum(endpoints.nodes.iter().map(|node| node.pid).collect())?,
            enclaves: sum(endpoints.nodes.iter().map(|node| node.enclave_pid).collect())?,
            chain: sum(endpoints.validators.iter().map(|validator| validator.pid).collect())?,
            all: cores.iter().sum::<f64>() / TICKS,
            idle: idle / TICKS,
            disk: disk / TICKS,
        })
    }

    fn since(&self, before: &Processor) -> Processor {
        Processor {
            client: self.client - before.client,
            daemons: self.daemons - before.daemons,
            enclaves: self.enclaves - before.enclaves,
            chain: self.chain - before.chain,
            all: self.all - before.all,
            idle: self.idle - before.idle,
            disk: self.disk - before.disk,
        }
    }

    fn programs(&self) -> [(&'static str, f64); 4] {
        [("daemons", self.daemons), ("enclaves", self.enclaves), ("client", self.client), ("chain", self.chain)]
    }

    fn by_program(&self) -> String {
        let programs = self.programs().map(|(name, seconds)| format!("{name} {seconds:.0}")).join(", ");
        let busy = self.all - self.idle - self.disk;
        format!("{programs}; {busy:.0} with the kernel's and others', of {:.0} there were", self.all)
    }

    /// What was short, by these figures.
    fn limit(&self) -> String {
        let [idle, disk] = [self.idle, self.disk].map(|seconds| 100.0 * seconds / self.all);
        let most = self.programs().into_iter().max_by(|one, other| one.1.total_cmp(&other.1));
        let most = most.map_or("none", |(name, _)| name);
        let limit = match idle + disk <= SPARE {
            true => format!("the processors; of the programs the {most} take most"),
            false if disk > idle => "the disk".to_owned(),
            false => "neither processors nor disk: the programs wait for each other".to_owned(),
        };
        format!("{limit} (cores idle {idle:.0} %, waiting for the disk {disk:.0} %)")
    }
}

/// Seconds that a process has computed.
fn computed(pid: u32) -> anyhow::Result<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, rest) = stat.rsplit_once(')').context("another form of stat")?;
    let fields: Vec<f64> = rest.split_whitespace().skip(11).take(2).map(str::parse).collect::<Result<_, _>>()?;
    Ok(fields.iter().sum::<f64>() / TICKS)
}

/// How long each node waited for its receipt to be in a block, by its daemon's log: seconds from a file that is sealed
/// and durable on.
fn receipt_waits(network: &Network, order: OrderId) -> anyhow::Result<Vec<f64>> {
    let order = hex::encode(order);
    let waits = network.endpoints.nodes.iter().map(|node| {
        let log = fs::read_to_string(node.dir.join("storage.log"))?;
        let mut lines = log.lines();
        let sealed = lines.find(|line| line.contains(" sealed order=") && line.contains(&order));
        let said = lines.find(|line| line.contains(" receipt accepted "));
        let (sealed, said) = sealed.zip(said).context("the log does not tell of the receipt")?;
        Ok((time_of_day(said)? - time_of_day(sealed)?).rem_euclid(24.0 * 3_600.0))
    });
    waits.collect()
}

/// The time of a log's line, which begins like `2026-11-27T08:03:51.294671Z`, in seconds.
fn time_of_day(line: &str) -> anyhow::Result<f64> {
    let (_, time) = line.split_once('T').context("a line without a time")?;
    let (time, _) = time.split_once('Z').context("a line without a time")?;
    let parts: Vec<f64> = time.split(':').map(str::parse).collect::<Result<_, _>>()?;
    Ok(parts.iter().fold(0.0, |seconds, part| seconds * 60.0 + part))
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
