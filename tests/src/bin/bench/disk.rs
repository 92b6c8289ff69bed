//! Filler: how fast it is made, and how fast it is on a disk.

use std::time::Instant;

use anyhow::ensure;
use crust_enclave::rpc::{Error, MAX_FILLER};

use crate::{
    checks::production,
    journey::dd,
    node::{GIB, Node, spare},
    table::Table,
};

const DISK: [u8; 16] = [1; 16];
/// Runs of which the median counts.
const RUNS: usize = 3;

pub async fn filler(table: &mut Table) -> anyhow::Result<()> {
    in_memory(table)?;
    to_disk(table).await
}

fn in_memory(table: &mut Table) -> anyhow::Result<()> {
    let mut enclave = production()?;
    let (mut made, mut bytes, started) = (0_usize, Vec::new(), Instant::now());
    while made < 4 << 30 {
        match enclave.filler(DISK, MAX_FILLER) {
            Ok(grant) => {
                bytes.clear();
                grant.fill(&mut bytes);
                made += std::hint::black_box(&bytes).len();
            }
            Err(Error::UnitFull) => drop(enclave.commit_filler(DISK)?),
            Err(error) => return Err(error.into()),
        }
    }
    let rate = made as f64 / 1e9 / started.elapsed().as_secs_f64();
    table.add("filler, library, in memory, one core", format!("{rate:.2} GB/s"), "≥ 3 GB/s");
    Ok(())
}

/// Through the enclave process and the daemon's way of writing, every unit made durable and logged, in turn with `dd`.
async fn to_disk(table: &mut Table) -> anyhow::Result<()> {
    let gib = (spare()? / GIB).min(8);
    ensure!(gib >= 2, "too little space is free");
    let dir = tempfile::tempdir()?;
    let node = Node::start(dir.path()).await?;
    let (mut written, mut filled) = (Vec::new(), Vec::new());
    for _ in 0..RUNS {
        written.push(dd(node.dir(), gib)?);
        let started = Instant::now();
        node.fill(gib * GIB).await?;
        filled.push((gib * GIB) as f64 / 1e6 / started.elapsed().as_secs_f64());
        node.filler()?.shrink(&node.enclave, 0).await?;
    }
    let (written, filled) = (median(&mut written), median(&mut filled));
    table.add(format!("`dd bs=1M conv=fdatasync` of {gib} GiB, median of {RUNS}"), format!("{written:.0} MB/s"), "");
    let bar = (0.9 * written).min(800.0);
    table.add(
        format!("filler to disk, enclave process and daemon, {gib} GiB, median of {RUNS} in turn with dd"),
        format!("{filled:.0} MB/s, {:.2} of dd", filled / written),
        &format!("≥ 0.9 of dd, or 800 MB/s: {bar:.0} MB/s"),
    );
    Ok(())
}

pub fn median(figures: &mut [f64]) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures.get(figures.len() / 2).copied().unwrap_or(f64::NAN)
}
