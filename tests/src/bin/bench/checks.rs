//! Checks and state: how surely a loss is found, what a million files cost, how fast filler is made.

use std::{collections::BTreeSet, sync::Arc, time::Instant};

use anyhow::{Context, ensure};
use crust_enclave::{
    Constants, Enclave,
    rpc::{Disk, Error, MAX_FILLER, Sample},
    seal::Out,
};
use crust_enclave_dev::platform::SoftwarePlatform;
use crust_protocol::{
    file::{Cid, Codec, HashFunction},
    order::{Content, OrderId},
    statement::good,
};

use crate::table::Table;

/// Seeds of a measured rate.
const SEEDS: u32 = 1_000;
const DISK: Disk = [1; 16];
/// Small files, each of one chunk: a lost file is a lost share of the bytes.
const FILES: u64 = 20_000;

fn production() -> anyhow::Result<Enclave> {
    let platform = SoftwarePlatform::from_seed([1; 32])?;
    let mut enclave = Enclave::new(Arc::new(platform), Constants::PRODUCTION);
    enclave.open([2; 32], [3; 32])?;
    Ok(enclave)
}

/// Seals a file of 8 bytes; its order, its sealed bytes and the log's item.
pub fn seal(enclave: &mut Enclave, nonce: u64) -> anyhow::Result<(OrderId, Vec<u8>, Vec<u8>)> {
    let (content, sealed, item) = seal_on(enclave, nonce, DISK)?;
    Ok((content.id(), sealed, item))
}

/// The same on a disk; with all that the order says of it.
pub fn seal_on(enclave: &mut Enclave, nonce: u64, disk: Disk) -> anyhow::Result<(Content, Vec<u8>, Vec<u8>)> {
    let bytes = nonce.to_le_bytes();
    let content = Content {
        client: [1; 32],
        nonce,
        cid: Cid::of(Codec::Raw, HashFunction::Sha2_256, &bytes),
        size: 8,
        audit_root: *blake3::hash(&bytes).as_bytes(),
        flags: 0,
    };
    let mut out = Out::default();
    let mut sealer = enclave.seal(content.clone())?;
    sealer.feed(&bytes, &mut out)?;
    let sealed = sealer.finish(&mut out)?;
    Ok((content, out.sealed, enclave.hold(&sealed, disk)?))
}

/// The rate at which a missing share of the files is found, over many slots, beside the formula.
pub fn detection(table: &mut Table) -> anyhow::Result<()> {
    let samples = Constants::PRODUCTION.samples;
    let mut enclave = production()?;
    let files: Vec<(OrderId, Vec<u8>)> = (0..FILES)
        .map(|nonce| seal(&mut enclave, nonce).map(|(id, sealed, _)| (id, sealed)))
        .collect::<anyhow::Result<_>>()?;
    let known: std::collections::HashMap<OrderId, &Vec<u8>> = files.iter().map(|(id, sealed)| (*id, sealed)).collect();
    let mut slot = 0;
    for missing in [10, 20, 200] {
        let share = f64::from(missing) / FILES as f64;
        let lost: BTreeSet<OrderId> = files.iter().take(missing as usize).map(|(id, _)| *id).collect();
        let (mut found, mut honest) = (0_u32, 0_u32);
        for _ in 0..SEEDS {
            slot += 1;
            let mut hash = [7; 32];
            hash.iter_mut().zip(u32::to_le_bytes(slot)).for_each(|(to, from)| *to = from);
            let (_, draw) = enclave.show(slot, hash)?;
            // What was bad is read again outside the draw of this slot, and not given back: fresh samples come first.
            let bad = draw.iter().take(samples as usize).filter(|sample| is_lost(sample, &lost)).count();
            let answers = draw.iter().map(|sample| match sample {
                Sample::File { order, .. } if !lost.contains(order) => known.get(order).map(|sealed| (*sealed).clone()),
                _ => None,
            });
            let result = enclave.answer(answers.collect())?.result.context("no result")?;
            ensure!(result.good_files == good(u32::try_from(bad)?, samples), "the enclave counts otherwise");
            found += u32::from(bad > 0);
            honest += u32::from(f64::from(result.good_files) <= 255.0 * (1.0 - share));
        }
        let (rate, formula) = (f64::from(found) / f64::from(SEEDS), 1.0 - (1.0 - share).powi(samples.cast_signed()));
        let sigma = (formula * (1.0 - formula) / f64::from(SEEDS)).sqrt();
        let percent = share * 100.0;
        table.add(
            format!("{percent:.2} % of the files missing, found in a slot, of {SEEDS}"),
            format!("{rate:.4}"),
            &format!("{formula:.4} ± {:.4}", 3.0 * sigma),
        );
        let what = format!("{percent:.2} % missing, power at most the share that is there");
        let bar = if share >= 0.001 { "≥ 0.98 of the slots" } else { "" };
        table.add(what, format!("{:.3} of the slots", f64::from(honest) / f64::from(SEEDS)), bar);
    }
    Ok(())
}

fn is_lost(sample: &Sample, lost: &BTreeSet<OrderId>) -> bool {
    matches!(sample, Sample::File { order, .. } if lost.contains(order))
}

/// A log of a million files: its size, the time to load it, the memory that the files then take.
pub fn state(table: &mut Table) -> anyhow::Result<()> {
    let files = 1_000_000;
    let mut enclave = Enclave::new(Arc::new(SoftwarePlatform::from_seed([1; 32])?), Constants::PRODUCTION);
    let mut log = enclave.open([2; 32], [3; 32])?.items;
    for nonce in 0..files {
        log.push(seal(&mut enclave, nonce)?.2);
    }
    drop(enclave);
    let bytes: usize = log.iter().map(Vec::len).sum();
    let before = resident();
    let started = Instant::now();
    let mut enclave = Enclave::new(Arc::new(SoftwarePlatform::from_seed([1; 32])?), Constants::PRODUCTION);
    enclave.load(&log)?;
    enclave.open([2; 32], [3; 32])?;
    let loaded = started.elapsed().as_secs_f64();
    let held = resident().saturating_sub(before) / files;
    let started = Instant::now();
    let (_, draw) = enclave.show(1, [9; 32])?;
    let drawn = started.elapsed().as_secs_f64() * 1e3;
    table.add("resident memory of the enclave a file, 10^6 files of 8 bytes", format!("{held} bytes"), "≤ 150 bytes");
    let figure = format!("{} MB, loaded in {loaded:.1} s", bytes / 1_000_000);
    table.add("log of 10^6 files without a snapshot", figure, "≤ 5 s");
    table.add(format!("drawing {} samples over 10^6 files", draw.len()), format!("{drawn:.0} ms"), "");
    Ok(())
}

/// Filler in memory.
pub fn filler(table: &mut Table) -> anyhow::Result<()> {
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

/// Resident bytes of this process.
fn resident() -> u64 {
    crust_tests::memory(std::process::id(), "status", "VmRSS").unwrap_or_default()
}
