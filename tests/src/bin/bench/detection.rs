//! How surely a loss is found: by a slot's samples, of files and of filler, beside the formula; and by the scrub, of one
//! bit of either.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    fs::OpenOptions,
    net::TcpListener,
    os::unix::fs::FileExt,
    path::Path,
    time::Duration,
};

use anyhow::{Context, bail, ensure};
use crust_enclave::{
    Constants, Enclave,
    rpc::{CheckResult, Disk, MAX_FILLER, Request, Response, Sample},
    tree,
};
use crust_protocol::{order::OrderId, statement::good};
use crust_storage_node::{admin::Admin, config::Config, reading, sampling, store::sealed, workers::Board};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    checks::{production, seal},
    graph::{Graph, distinct},
    node::Node,
    table::Table,
};

/// Seeds of a measured rate.
const SEEDS: u32 = 1_000;
/// Of these parts, all of one size, some are missing: files of 8 bytes, or pages of filler.
const PARTS: u32 = 20_000;
/// How many: 0.05, 0.1 and 1 %.
const MISSING: [u32; 3] = [10, 20, 200];
const DISK: Disk = [1; 16];
const PAGE: usize = 4 << 10;
/// Bytes of a unit of filler here: several units, as a disk has.
const UNIT: u32 = 16 << 20;

/// Files in each of which a bit is flipped, and their bytes.
const FLIPS: usize = 50;
const FILE: usize = 3 << 20;

pub async fn detection(table: &mut Table) -> anyhow::Result<()> {
    files(table)?;
    filler(table)?;
    flipped_bits(table, false).await?;
    flipped_bits(table, true).await?;
    flipped_filler(table).await
}

/// Small files, each of one chunk, of which some are missing.
fn files(table: &mut Table) -> anyhow::Result<()> {
    let mut enclave = production()?;
    let files: Vec<(OrderId, Vec<u8>)> = (0..PARTS.into())
        .map(|nonce| seal(&mut enclave, nonce).map(|(id, sealed, _)| (id, sealed)))
        .collect::<anyhow::Result<_>>()?;
    let known: HashMap<OrderId, &Vec<u8>> = files.iter().map(|(id, sealed)| (*id, sealed)).collect();
    rates(
        table,
        "files",
        &mut enclave,
        |result| result.good_files,
        |missing| {
            let lost: HashSet<OrderId> = files.iter().take(missing as usize).map(|(id, _)| *id).collect();
            let known = &known;
            move |sample| match sample {
                Sample::File { order, .. } if !lost.contains(order) => known.get(order).map(|sealed| (*sealed).clone()),
                _ => None,
            }
        },
    )
}

/// Pages of filler of several units, of which some are overwritten, from one end of the disk to the other.
fn filler(table: &mut Table) -> anyhow::Result<()> {
    let (mut enclave, mut disk) = (production()?, Vec::new());
    let whole = PARTS as usize * PAGE;
    while disk.len() < whole {
        let unit = (whole - disk.len()).min(UNIT as usize);
        let end = disk.len() + unit;
        while disk.len() < end {
            enclave.filler(DISK, u32::try_from(end - disk.len())?.min(MAX_FILLER))?.fill(&mut disk);
        }
        enclave.commit_filler(DISK)?;
    }
    rates(
        table,
        "filler",
        &mut enclave,
        |result| result.good_filler,
        |missing| {
            let (disk, every) = (&disk, u64::from(PARTS / missing));
            move |sample| match sample {
                Sample::Filler { page, .. } if !page.is_multiple_of(every) => {
                    let from = usize::try_from(*page).ok()?.checked_mul(PAGE)?;
                    disk.get(from..from.checked_add(PAGE)?).map(<[u8]>::to_vec)
                }
                _ => None,
            }
        },
    )
}

/// The rate at which a missing share is found, over many slots, beside the formula; and how often power is at most what
/// is there. `reader` makes what reads a sample when so many parts are missing: bytes, or nothing.
fn rates<R: Fn(&Sample) -> Option<Vec<u8>>>(
    table: &mut Table,
    what: &str,
    enclave: &mut Enclave,
    share_of: impl Fn(&CheckResult) -> u8,
    reader: impl Fn(u32) -> R,
) -> anyhow::Result<()> {
    let samples = Constants::PRODUCTION.samples;
    let mut slot = 0;
    for missing in MISSING {
        let (share, read) = (f64::from(missing) / f64::from(PARTS), reader(missing));
        let (mut found, mut honest) = (0_u32, 0_u32);
        for _ in 0..SEEDS {
            slot += 1;
            let (_, draw) = enclave.show(slot, crust_protocol::h(&[b"slot", &slot.to_le_bytes()]))?;
            // What was bad is read again outside the draw of this slot, and not given back: fresh samples come first.
            let (fresh, again) = draw.split_at_checked(samples as usize).context("too few samples")?;
            // Every other bad page or chunk is not there, the others are something else.
            let (mut answers, mut bad) = (Vec::with_capacity(draw.len()), 0_u32);
            for sample in fresh {
                let bytes = read(sample);
                bad += u32::from(bytes.is_none());
                answers.push(bytes.or_else(|| (bad % 2 == 0).then(|| vec![0; PAGE])));
            }
            answers.extend(again.iter().map(|_| None));
            let result = enclave.answer(answers)?.result.context("no result")?;
            let vouched = share_of(&result);
            ensure!(vouched == good(bad, samples), "the enclave counts otherwise");
            found += u32::from(bad > 0);
            honest += u32::from(f64::from(vouched) <= 255.0 * (1.0 - share));
        }
        let (rate, formula) = (f64::from(found) / f64::from(SEEDS), 1.0 - (1.0 - share).powi(samples.cast_signed()));
        let sigma = (formula * (1.0 - formula) / f64::from(SEEDS)).sqrt();
        let percent = share * 100.0;
        table.add(
            format!("{percent:.2} % of the {what} bad, found in a slot, of {SEEDS}"),
            format!("{rate:.4}"),
            &format!("{formula:.4} ± {:.4}", 3.0 * sigma),
        );
        let line = format!("{percent:.2} % of the {what} bad, power at most the share that is there");
        let bar = if share >= 0.001 { "≥ 0.98 of the slots" } else { "" };
        table.add(line, format!("{:.3} of the slots", f64::from(honest) / f64::from(SEEDS)), bar);
    }
    Ok(())
}

/// A bit flipped in each of some files on the disk, then one scrub: without parity it names what was hit and nothing
/// else; with parity it finds nothing, for it was mended, and counted.
async fn flipped_bits(table: &mut Table, parity: bool) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let node = Node::start_with(dir.path(), parity).await?;
    let metrics = Metrics::serve(dir.path()).await?;
    let data = distinct(1, FILE * FLIPS)?;
    let disk = node.disk()?.1;
    let mut sealed = Vec::new();
    for data in data.chunks(FILE) {
        let graph = Graph::of(data);
        node.seal(&graph).await?;
        sealed.push((graph.content.id(), graph.content.size));
    }
    // The scrub reads what was written before the slot that is shown.
    let checked = sampling::check(&node.store, &node.enclave, &node.serve, (1, [9; 32]), Duration::ZERO).await?;
    ensure!(checked.result.good_files == u8::MAX, "what is whole was not good");
    let (before, mut flips, mut hits) = (metrics.mended().await?, Vec::new(), BTreeSet::new());
    for (number, (order, size)) in sealed.into_iter().enumerate() {
        // Every fourth in the hash tree.
        let in_tree = number % 4 == 3;
        let path = if in_tree { sealed::tree_path(&disk, &order) } else { sealed::path(&disk, &order) };
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        let drawn = u64::from_le_bytes(*crust_protocol::h(&[b"flip", &order]).first_chunk().context("a hash")?);
        let (at, bit) = ((drawn >> 3) % file.metadata()?.len(), 1 << (drawn % 8));
        let mut was = [0_u8];
        file.read_exact_at(&mut was, at)?;
        file.write_all_at(&was.map(|byte| byte ^ bit), at)?;
        hits.insert(if in_tree {
            node_at(order, size, at)?
        } else {
            Sample::File { order, chunk: at / sealed::STRIDE }
        });
        flips.push((file, at, was));
    }
    let found = scrub(&node).await?;
    let (named, others) = (found.iter().filter(|sample| hits.contains(sample)).count(), found.len());
    let mut whole = 0_u32;
    for (file, at, was) in flips {
        let mut is = [0];
        file.read_exact_at(&mut is, at)?;
        whole += u32::from(is == was);
    }
    let (others, counted) = (others - named, metrics.mended().await? - before);
    let (switch, bar) = if parity { ("on", (0, FLIPS)) } else { ("off", (FLIPS, 0)) };
    table.add(
        format!("a bit flipped in each of {FLIPS} files, parity {switch}, one scrub"),
        format!("{named} named, {others} others; {whole} mended, {counted} counted"),
        &format!("{} named, 0 others; {} mended and counted", bar.0, bar.1),
    );
    Ok(())
}

/// A bit flipped in each of some pages of filler on the disk, then one scrub: it names what was hit and nothing else.
async fn flipped_filler(table: &mut Table) -> anyhow::Result<()> {
    const FILLER: u64 = 256 << 20;
    let dir = tempfile::tempdir()?;
    let node = Node::start(dir.path()).await?;
    node.fill(FILLER).await?;
    // The scrub reads what was written before the slot that is shown.
    let checked = sampling::check(&node.store, &node.enclave, &node.serve, (1, [9; 32]), Duration::ZERO).await?;
    ensure!(checked.result.good_filler == u8::MAX, "what is whole was not good");
    let file = OpenOptions::new().read(true).write(true).open(node.filler()?.path())?;
    let mut hits = BTreeSet::new();
    let mut numbers = 0_u64..;
    while hits.len() < FLIPS
        && let Some(number) = numbers.next()
    {
        let drawn =
            u64::from_le_bytes(*crust_protocol::h(&[b"flip", &number.to_le_bytes()]).first_chunk().context("a hash")?);
        let (at, bit) = ((drawn >> 3) % FILLER, 1 << (drawn % 8));
        if hits.insert(at / PAGE as u64) {
            let mut was = [0_u8];
            file.read_exact_at(&mut was, at)?;
            file.write_all_at(&was.map(|byte| byte ^ bit), at)?;
        }
    }
    let found = scrub(&node).await?;
    let hit = |sample: &&Sample| matches!(sample, Sample::Filler { page, .. } if hits.contains(page));
    let named = found.iter().filter(hit).collect::<BTreeSet<_>>().len();
    table.add(
        format!("a bit flipped in each of {FLIPS} pages of filler, one scrub"),
        format!("{named} named, {} others", found.len() - named),
        &format!("{FLIPS} named, 0 others"),
    );
    Ok(())
}

/// The node of a file's hash tree that holds a byte of it.
fn node_at(order: OrderId, size: u64, at: u64) -> anyhow::Result<Sample> {
    let holds =
        |node: &u64| tree::range(size, *node, 1).is_some_and(|(from, length)| (from..from + length).contains(&at));
    let node = (0..tree::nodes(size)).find(holds).context("no such node")?;
    Ok(Sample::Tree { order, node })
}

/// Reads all that is held, as the scrub does; what was bad.
async fn scrub(node: &Node) -> anyhow::Result<Vec<Sample>> {
    let Response::ScrubNext(progress) = node.enclave.ask(Request::ScrubNext).await? else { bail!("no scrub") };
    let (mut next, mut all, mut stretches) = (progress.next, Vec::new(), 0_u32);
    while let Some(stretch) = next {
        let bytes = reading::stretch(&node.store, stretch).await;
        let answer = node.enclave.change(Request::Scrub { stretch, bytes }).await?;
        let Response::Scrubbed { bad, next: following, .. } = answer else { bail!("not scrubbed") };
        all.extend(bad);
        (next, stretches) = (following, stretches + 1);
    }
    ensure!(stretches > 0, "nothing was to be read");
    Ok(all)
}

/// What this process counts, as an operator sees it.
struct Metrics {
    url: String,
    _stop: DropGuard,
}

impl Metrics {
    async fn serve(dir: &Path) -> anyhow::Result<Metrics> {
        let mut config = Config::load(&dir.join("storage.toml"))?;
        config.admin = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let stop = CancellationToken::new();
        Admin::start(&config, Board::default(), stop.clone()).await?;
        Ok(Metrics { url: format!("http://{}/metrics", config.admin), _stop: stop.drop_guard() })
    }

    async fn mended(&self) -> anyhow::Result<u64> {
        let text = reqwest::get(&self.url).await?.error_for_status()?.text().await?;
        let count = text.lines().find_map(|line| line.strip_prefix("crust_mended_chunks_total "));
        Ok(count.map_or(Ok(0), str::parse)?)
    }
}
