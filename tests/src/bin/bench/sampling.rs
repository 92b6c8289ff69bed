//! A slot's sampling of what lies on a disk, page cache cold, beside the bare reads; and what those notice of it who are
//! being served meanwhile.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    fs::File,
    os::unix::fs::FileExt,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use crust_enclave::rpc::{Request, Response, Sample};
use crust_network::Blocks;
use crust_protocol::{Hash, Slot, file::Cid, parameters::Parameters};
use crust_storage_node::{sampling, store::sealed};

use crate::{
    disk::median,
    graph::{Graph, distinct},
    node::{GIB, Node, spare},
    table::Table,
};

/// Bytes of a file, and of a leaf.
const FILE: u64 = 256 << 20;
const LEAF: usize = 1 << 20;
const RUNS: usize = 3;
/// Readers that are served at the same time, and blocks that they read.
const READERS: usize = 2;
const BLOCKS: usize = 1_500;

/// A read of a check: file, offset, length.
type Read = (PathBuf, u64, usize);

pub async fn sampling(table: &mut Table) -> anyhow::Result<()> {
    // 8 GiB of files and up to 32 GiB of filler where there is so much space, and the same shares of less.
    let spare = (spare()?.saturating_sub(2 * GIB)).min(41 * GIB);
    let (files, filler) = if spare >= 41 * GIB { (8 * GIB, 32 * GIB) } else { (spare / 5, spare / 41 * 32) };
    let (files, filler) = (files / FILE * FILE, filler / (32 << 20) * (32 << 20));
    ensure!(files >= 2 * GIB, "too little space is free");
    let dir = tempfile::tempdir()?;
    let node = Node::start(dir.path()).await?;
    let mut leaves = Vec::new();
    for number in 0..files / FILE {
        let data = distinct(number, usize::try_from(FILE)?)?;
        leaves.extend(node.seal(&Graph::in_leaves(&data, LEAF)).await?);
    }
    let (mut slot, mut all) = (0, Vec::new());
    for filler in [filler / 32, filler / 4, filler] {
        node.fill(filler).await?;
        let (mut bare, mut check) = (Vec::new(), Vec::new());
        let mut count = 0;
        for run in 0..RUNS {
            slot += 1;
            let reads = drawn(&node, slot).await?;
            count = reads.len();
            for step in 0..2 {
                node.chill()?;
                let started = Instant::now();
                if (step + run) % 2 == 0 {
                    read_all(&reads)?;
                    bare.push(started.elapsed().as_secs_f64());
                } else {
                    sample(&node, slot, Duration::ZERO).await?;
                    check.push(started.elapsed().as_secs_f64());
                }
            }
        }
        let (bare, check) = (median(&mut bare), median(&mut check));
        let gib = |bytes: u64| bytes as f64 / GIB as f64;
        table.add(
            format!(
                "a slot's {count} reads, {:.1} GiB of files, {:.1} GiB of filler, cache cold",
                gib(files),
                gib(filler)
            ),
            format!("{check:.2} s; bare reads {bare:.2} s"),
            &format!("≤ 3 s, or twice the bare reads: {:.2} s", (2.0 * bare).max(3.0)),
        );
        all.push(check);
    }
    let (least, most) = all.iter().fold((f64::MAX, 0.0_f64), |(least, most), it| (least.min(*it), most.max(*it)));
    table.add("the slowest of these by the fastest", format!("{:.2}", most / least), "≤ 1.5");
    serving(table, Arc::new(node), leaves, slot).await
}

/// Any hash will do.
fn slot_hash(slot: Slot) -> Hash {
    crust_protocol::h(&[b"slot", &slot.to_le_bytes()])
}

/// What a slot's check will read; it is drawn again, the same, when the check begins.
async fn drawn(node: &Node, slot: Slot) -> anyhow::Result<Vec<Read>> {
    let shown = node.enclave.change(Request::Show { slot, slot_hash: slot_hash(slot) }).await?;
    let Response::Shown { draw, .. } = shown else { bail!("no draw") };
    let (_, disk) = node.disk()?;
    let read = |sample: &Sample| match *sample {
        Sample::Filler { page, .. } => (disk.join("filler"), page * 4_096, 4_096),
        Sample::File { order, chunk } | Sample::Tree { order, node: chunk } => {
            (sealed::path(&disk, &order), chunk * sealed::STRIDE, usize::try_from(sealed::STRIDE).unwrap_or_default())
        }
    };
    Ok(draw.iter().map(read).collect())
}

/// The same reads and nothing else, as many at a time.
fn read_all(reads: &[Read]) -> anyhow::Result<()> {
    let mut files = BTreeMap::new();
    for (path, _, _) in reads {
        if let Entry::Vacant(free) = files.entry(path) {
            free.insert(File::open(path)?);
        }
    }
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        let work = || -> anyhow::Result<()> {
            let mut buffer = vec![0; usize::try_from(sealed::STRIDE)?];
            while let Some((path, offset, length)) = reads.get(next.fetch_add(1, Ordering::Relaxed)) {
                let file = files.get(path).context("no such file")?;
                // The last chunk of a file is shorter.
                let left = file.metadata()?.len().saturating_sub(*offset);
                let length = usize::try_from(left)?.min(*length);
                file.read_exact_at(buffer.get_mut(..length).context("a longer read")?, *offset)?;
            }
            Ok(())
        };
        let threads: Vec<_> = (0..sampling::AT_ONCE).map(|_| scope.spawn(work)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().unwrap_or_else(|_| bail!("a reader panicked")))
    })
}

async fn sample(node: &Node, slot: Slot, patience: Duration) -> anyhow::Result<()> {
    let check = sampling::check(&node.store, &node.enclave, &node.serve, (slot, slot_hash(slot)), patience).await?;
    let good = (check.result.good_filler, check.result.good_files);
    ensure!(good == (255, 255) && check.samples == 10_240, "{} samples, good: {good:?}", check.samples);
    Ok(())
}

/// Blocks of 1 MiB read by two at a time, cache cold, without a check and during one after the other.
async fn serving(table: &mut Table, node: Arc<Node>, leaves: Vec<Cid>, slot: Slot) -> anyhow::Result<()> {
    let mut leaves: Vec<Cid> = leaves;
    leaves.sort_by_key(|cid| crust_protocol::h(&[cid.as_bytes()]));
    let (first, rest) = leaves.split_at(BLOCKS.min(leaves.len() / 2));
    let second = rest.get(..BLOCKS.min(rest.len())).unwrap_or_default();
    node.chill()?;
    let idle = served(&node, first).await?;
    node.chill()?;
    let parameters = Parameters::PRODUCTION;
    // What the daemon allows for giving way: a twentieth of a slot.
    let patience = Duration::from_millis(parameters.block_millis) * parameters.slot_blocks / 20;
    let checking = node.clone();
    let checks = tokio::spawn(async move {
        for slot in slot.saturating_add(1).. {
            sample(&checking, slot, patience).await?;
        }
        anyhow::Ok(())
    });
    let busy = served(&node, second).await?;
    checks.abort();
    if let Ok(ended) = checks.await {
        ended?;
    }
    let ms = |at: &[f64], share: f64| {
        let place = (at.len() as f64 * share) as usize;
        at.get(place.min(at.len().saturating_sub(1))).copied().unwrap_or(f64::NAN) * 1e3
    };
    let row = |times: &[f64]| format!("p50 {:.1} ms, p99 {:.1} ms", ms(times, 0.5), ms(times, 0.99));
    let what = |when: &str, times: &[f64]| {
        format!("serving {} blocks of 1 MiB to {READERS} readers, cache cold, {when}", times.len())
    };
    table.add(what("idle", &idle), row(&idle), "");
    let ratio = ms(&busy, 0.99) / ms(&idle, 0.99);
    table.add(what("while a slot is checked", &busy), format!("{}: {ratio:.2} times", row(&busy)), "p99 ≤ 2 times");
    Ok(())
}

/// Reads blocks the way they are served; the times in order.
async fn served(node: &Arc<Node>, blocks: &[Cid]) -> anyhow::Result<Vec<f64>> {
    let readers = blocks.chunks(blocks.len().div_ceil(READERS).max(1)).map(|blocks| {
        let (node, blocks) = (node.clone(), blocks.to_vec());
        tokio::spawn(async move {
            let mut times = Vec::new();
            for cid in blocks {
                let started = Instant::now();
                node.serve.get(cid).await.context("a block was not served")?;
                times.push(started.elapsed().as_secs_f64());
            }
            anyhow::Ok(times)
        })
    });
    let mut all = Vec::new();
    for reader in readers.collect::<Vec<_>>() {
        all.extend(reader.await??);
    }
    all.sort_by(f64::total_cmp);
    Ok(all)
}
