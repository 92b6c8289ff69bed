//! Sealing: on one core and on two as a library, next to the hashes and the cipher that it cannot do without; and
//! through the socket of the enclave process.

use std::{
    os::unix::net::UnixStream,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use crust_enclave::{
    Constants, Enclave,
    rpc::{self, Disk, Request},
    seal::Out,
};
use crust_enclave_dev::platform::SoftwarePlatform;
use crust_protocol::{file::HashFunction, order::Content};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use crate::{
    graph::{self, Graph, LEAF, distinct},
    process::{Process, answer, ask},
    table::Table,
};

/// Bytes that the limits are measured over.
const SAMPLE: usize = 512 << 20;
const DISK: Disk = [1; 16];

pub fn enclave() -> anyhow::Result<Enclave> {
    let platform = SoftwarePlatform::from_seed([1; 32])?;
    let mut enclave = Enclave::new(Arc::new(platform), Constants::DEVELOPMENT);
    enclave.open([2; 32], [3; 32])?;
    Ok(enclave)
}

pub fn library(table: &mut Table, gib: u64) -> anyhow::Result<()> {
    let data = distinct(1, usize::try_from(gib << 30)?)?;
    let limit = limit(table, data.get(..SAMPLE).context("at least 1 GiB")?)?;
    let whole = Graph::of(&data);
    let one = whole.gigabytes() / seal(&whole)?.as_secs_f64();
    let bar = format!("≥ 0.7 GB/s, or 0.8 of the limit: {:.2} GB/s", (limit * 0.8).min(0.7));
    let what = format!("sealing, library, one core, {gib} GiB, graph and CIDs checked");
    table.add(what, format!("{one:.2} GB/s, {:.2} of the limit", one / limit), &bar);

    let (left, right) = data.split_at(data.len() / 2);
    let halves = [Graph::of(left), Graph::of(right)];
    let started = Instant::now();
    thread::scope(|scope| {
        let sealing = halves.each_ref().map(|half| scope.spawn(|| seal(half)));
        sealing.into_iter().try_for_each(|thread| match thread.join() {
            Ok(sealed) => sealed.map(drop),
            Err(_) => bail!("a thread panicked"),
        })
    })?;
    let two = whole.gigabytes() / started.elapsed().as_secs_f64();
    table.add(
        "two files of half the size on two threads",
        format!("{two:.2} GB/s, {:.2} times", two / one),
        "≥ 1.7 times",
    );
    Ok(())
}

/// The three passes that every byte must make, alone and together.
fn limit(table: &mut Table, sample: &[u8]) -> anyhow::Result<f64> {
    let speed = |work: &mut dyn FnMut()| {
        let started = Instant::now();
        work();
        sample.len() as f64 / 1e9 / started.elapsed().as_secs_f64()
    };
    let sha = speed(&mut || {
        for leaf in sample.chunks(LEAF) {
            std::hint::black_box(HashFunction::Sha2_256.digest(leaf));
        }
    });
    let blake = speed(&mut || {
        let mut hasher = blake3::Hasher::new();
        for leaf in sample.chunks(LEAF) {
            hasher.update(leaf);
        }
        std::hint::black_box(hasher.finalize());
    });
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[1; 32]).ok().context("a key")?);
    let mut chunk = vec![0; 64 << 10];
    let gcm = speed(&mut || {
        for _ in 0..sample.len() / chunk.len() {
            let nonce = Nonce::assume_unique_for_key([0; 12]);
            std::hint::black_box(key.seal_in_place_separate_tag(nonce, Aad::empty(), &mut chunk).ok());
        }
    });
    let limit = 1.0 / (1.0 / sha + 1.0 / gcm + 1.0 / blake);
    table.add(
        "limit of sealing, 1/(1/SHA-256 + 1/AES-256-GCM + 1/BLAKE3)",
        format!("{limit:.2} GB/s ({sha:.2}, {gcm:.2}, {blake:.2})"),
        "",
    );
    Ok(limit)
}

fn seal(graph: &Graph) -> anyhow::Result<Duration> {
    let mut enclave = enclave()?;
    let mut out = Out::default();
    let started = Instant::now();
    let mut sealer = enclave.seal(graph.content.clone())?;
    for block in graph.blocks() {
        out.sealed.clear();
        sealer.feed(block, &mut out)?;
    }
    let sealed = sealer.finish(&mut out)?;
    enclave.hold(&sealed, DISK)?;
    Ok(started.elapsed())
}

/// The same through the socket, once with each block sent after the answer to the last, once with blocks sent ahead.
pub fn through_rpc(table: &mut Table, gib: u64) -> anyhow::Result<()> {
    let data = distinct(1, usize::try_from(gib << 30)?)?;
    let graph = Graph::of(&data);
    for (ahead, how) in [(false, "one block at a time"), (true, "blocks sent ahead")] {
        let rate = graph.gigabytes() / seal_in_process(&graph, ahead)?.as_secs_f64();
        let what = format!("sealing, RPC, enclave process, {gib} GiB, {how}");
        table.add(what, format!("{rate:.2} GB/s"), "told apart");
    }
    Ok(())
}

fn seal_in_process(graph: &Graph, ahead: bool) -> anyhow::Result<Duration> {
    let dir = tempfile::tempdir()?;
    let process = Process::development(dir.path())?;
    let (mut stream, mut body) = (process.connect()?, Vec::new());
    ask(&mut stream, &mut body, &Request::Open { genesis: [2; 32], provider: [3; 32] })?;
    let started = Instant::now();
    ask(&mut stream, &mut body, &Request::SealBegin { content: graph.content.clone() })?;
    if ahead {
        send_ahead(&stream, graph.blocks().map(<[u8]>::to_vec))?;
    } else {
        for block in graph.blocks() {
            ask(&mut stream, &mut body, &Request::SealBlock { bytes: block.to_vec() })?;
        }
    }
    ask(&mut stream, &mut body, &Request::SealEnd)?;
    ask(&mut stream, &mut body, &Request::SealCommit { disk: DISK })?;
    Ok(started.elapsed())
}

/// Sends blocks while another thread reads the answers: who does not read them fills both directions and stops the
/// enclave.
fn send_ahead(stream: &UnixStream, blocks: impl Iterator<Item = Vec<u8>>) -> anyhow::Result<()> {
    let (mut requests, mut answers) = (stream.try_clone()?, stream.try_clone()?);
    let (sent, sending) = mpsc::channel();
    thread::scope(|scope| {
        let reading = scope.spawn(move || {
            let mut body = Vec::new();
            sending.iter().try_for_each(|()| answer(&mut answers, &mut body).map(drop))
        });
        for bytes in blocks {
            rpc::write_frame(&mut requests, &Request::SealBlock { bytes })?;
            sent.send(()).ok().context("the enclave refused a block")?;
        }
        drop(sent);
        reading.join().unwrap_or_else(|_| bail!("the reader panicked"))
    })
}

/// What the enclave process takes while it seals a file of very many small blocks, just before its end.
pub fn memory_of_sealing(table: &mut Table) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let process = Process::development(dir.path())?;
    let (mut stream, mut body) = (process.connect()?, Vec::new());
    ask(&mut stream, &mut body, &Request::Open { genesis: [2; 32], provider: [3; 32] })?;
    let graph = graph::Small::new();
    // Never brought to its end, so that its audit root is never looked at.
    let content =
        Content { client: [1; 32], nonce: 1, cid: graph.root, size: graph.size, audit_root: [0; 32], flags: 0 };
    let before = process.resident()?;
    ask(&mut stream, &mut body, &Request::SealBegin { content })?;
    send_ahead(&stream, graph.blocks())?;
    let taken = process.resident()?.saturating_sub(before);
    let figure = format!("{} bytes a block", taken / graph.count);
    let what = format!("resident memory of the enclave process while it seals {} blocks of 8 bytes", graph.count);
    table.add(what, figure, "≤ 64 bytes a block or link");
    Ok(())
}
