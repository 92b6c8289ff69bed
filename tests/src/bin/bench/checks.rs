//! State: what a million files cost.

use std::{fs, os::unix::fs::DirBuilderExt, path::Path, sync::Arc, time::Instant};

use anyhow::bail;
use crust_enclave::{
    Constants, Enclave,
    rpc::Disk,
    seal::{CHUNK, Out},
};
use crust_enclave_dev::platform::SoftwarePlatform;
use crust_protocol::{
    file::{Cid, Codec, HashFunction},
    order::{Content, OrderId},
};

use crate::{process::Process, sealing, table::Table};

const DISK: Disk = [1; 16];

pub fn production() -> anyhow::Result<Enclave> {
    let platform = SoftwarePlatform::from_seed([1; 32])?;
    let mut enclave = Enclave::new(Arc::new(platform), Constants::PRODUCTION);
    enclave.open([2; 32], [3; 32])?;
    Ok(enclave)
}

/// A file of 8 bytes.
pub fn content(nonce: u64) -> Content {
    content_of(nonce, &nonce.to_le_bytes())
}

/// A file of one block.
fn content_of(nonce: u64, bytes: &[u8]) -> Content {
    Content {
        client: [1; 32],
        nonce,
        cid: Cid::of(Codec::Raw, HashFunction::Sha2_256, bytes),
        size: bytes.len() as u64,
        audit_root: *blake3::hash(bytes).as_bytes(),
        flags: 0,
    }
}

/// Seals a file of 8 bytes; its order, its sealed bytes and the log's item.
pub fn seal(enclave: &mut Enclave, nonce: u64) -> anyhow::Result<(OrderId, Vec<u8>, Vec<u8>)> {
    seal_on(enclave, nonce, DISK)
}

/// The same on a disk of one's choice.
pub fn seal_on(enclave: &mut Enclave, nonce: u64, disk: Disk) -> anyhow::Result<(OrderId, Vec<u8>, Vec<u8>)> {
    seal_bytes(enclave, nonce, &nonce.to_le_bytes(), disk)
}

fn seal_bytes(
    enclave: &mut Enclave,
    nonce: u64,
    bytes: &[u8],
    disk: Disk,
) -> anyhow::Result<(OrderId, Vec<u8>, Vec<u8>)> {
    let content = content_of(nonce, bytes);
    let (id, mut out) = (content.id(), Out::default());
    let mut sealer = enclave.seal(content)?;
    sealer.feed(bytes, &mut out)?;
    let sealed = sealer.finish(&mut out)?;
    Ok((id, out.sealed, enclave.hold(&sealed, disk)?))
}

/// A log of a million files: its size, the time in which an enclave process takes it up, the memory that the files then
/// take.
pub fn state(table: &mut Table) -> anyhow::Result<()> {
    let files = 1_000_000;
    let dir = tempfile::tempdir()?;
    let (mut enclave, mut log) = begun(dir.path(), Constants::PRODUCTION)?;
    for nonce in 0..files {
        log.push(seal(&mut enclave, nonce)?.2);
    }
    drop(enclave);
    let bytes: usize = log.iter().map(Vec::len).sum();
    let none = Process::with(Constants::PRODUCTION, dir.path())?;
    none.open(log.get(..2).unwrap_or_default())?;
    let before = none.resident()?;
    drop(none);
    let process = Process::with(Constants::PRODUCTION, dir.path())?;
    let started = Instant::now();
    process.open(&log)?;
    let loaded = started.elapsed().as_secs_f64();
    let held = process.resident()?.saturating_sub(before) / files;
    drop(process);
    table.add("resident memory of the enclave a file, 10^6 files of 8 bytes", format!("{held} bytes"), "≤ 150 bytes");
    let figure = format!("{} MB, loaded in {loaded:.1} s", bytes / 1_000_000);
    table.add("log of 10^6 files without a snapshot", figure, "≤ 5 s");
    let mut enclave =
        Enclave::new(Arc::new(SoftwarePlatform::open(&dir.path().join("platform"))?), Constants::PRODUCTION);
    enclave.load(&log)?;
    enclave.open([2; 32], [3; 32])?;
    let started = Instant::now();
    let (_, draw) = enclave.show(1, [9; 32])?;
    let drawn = started.elapsed().as_secs_f64() * 1e3;
    table.add(format!("drawing {} samples over 10^6 files", draw.len()), format!("{drawn:.0} ms"), "");
    snapshot(table, &mut enclave, dir.path())?;
    drop(enclave);
    further_segments(table)?;
    sealing::memory_of_sealing(table)
}

/// A new enclave on a platform of its own, and the first items of its log.
fn begun(dir: &Path, constants: Constants) -> anyhow::Result<(Enclave, Vec<Vec<u8>>)> {
    let platform = dir.join("platform");
    fs::DirBuilder::new().mode(0o700).create(&platform)?;
    let mut enclave = Enclave::new(Arc::new(SoftwarePlatform::open(&platform)?), constants);
    let log = enclave.open([2; 32], [3; 32])?.items;
    Ok((enclave, log))
}

/// What segments after a file's first take, seen on files of segments of one chunk: less what as many files of one
/// segment take.
fn further_segments(table: &mut Table) -> anyhow::Result<()> {
    const FILES: u64 = 50_000;
    const FURTHER: u64 = 3;
    let constants = Constants { segment: 1, ..Constants::PRODUCTION };
    let mut resident = Vec::new();
    for further in [0, FURTHER] {
        let dir = tempfile::tempdir()?;
        let (mut enclave, mut log) = begun(dir.path(), constants)?;
        let mut bytes = vec![7; usize::try_from(further)? * CHUNK + 8];
        for nonce in 0..FILES {
            bytes.iter_mut().zip(nonce.to_le_bytes()).for_each(|(to, from)| *to = from);
            log.push(seal_bytes(&mut enclave, nonce, &bytes, DISK)?.2);
        }
        let process = Process::with(constants, dir.path())?;
        process.open(&log)?;
        resident.push(process.resident()?);
    }
    let [one, several] = resident[..] else { bail!("not measured") };
    let held = several.saturating_sub(one) / (FILES * FURTHER);
    let what = format!("resident memory of the enclave a further segment, {FILES} files of {} segments", FURTHER + 1);
    table.add(what, format!("{held} bytes"), "≤ 48 bytes");
    Ok(())
}

/// A snapshot in the place of that log.
fn snapshot(table: &mut Table, enclave: &mut Enclave, dir: &Path) -> anyhow::Result<()> {
    let started = Instant::now();
    let (mut items, mut from) = (Vec::new(), Some(0));
    while let Some(entry) = from {
        let part = enclave.snapshot(entry)?;
        items.extend(part.items);
        from = part.next;
    }
    let made = started.elapsed().as_secs_f64();
    let bytes: usize = items.iter().map(Vec::len).sum();
    let process = Process::with(Constants::PRODUCTION, dir)?;
    let started = Instant::now();
    process.open(&items)?;
    let loaded = started.elapsed().as_secs_f64();
    let figure = format!("{} MB, made in {made:.1} s, loaded in {loaded:.1} s", bytes / 1_000_000);
    table.add("a snapshot of 10^6 files", figure, "≤ 5 s");
    Ok(())
}
