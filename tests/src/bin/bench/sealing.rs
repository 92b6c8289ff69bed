//! Sealing: on one core and on two as a library, next to the hashes and the cipher that it cannot do without; and
//! through the socket of the enclave process.

use std::{
    os::unix::net::UnixStream,
    process::{Child, Command, Stdio},
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use crust_enclave::{
    Constants, Enclave,
    rpc::{self, Disk, Request, Response},
    seal::Out,
};
use crust_enclave_dev::platform::SoftwarePlatform;
use crust_protocol::file::HashFunction;
use crust_tests::bin;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use crate::{
    graph::{Graph, LEAF, distinct},
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
    let data = distinct(usize::try_from(gib << 30)?)?;
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

/// The development enclave on a socket of its own; killed when dropped.
struct Process {
    child: Child,
    dir: tempfile::TempDir,
}

impl Process {
    fn start() -> anyhow::Result<Process> {
        let dir = tempfile::tempdir()?;
        let child = Command::new(bin().join("crust-enclave-dev"))
            .arg("--socket")
            .arg(dir.path().join("enclave.sock"))
            .arg("--platform")
            .arg(dir.path().join("platform"))
            .stderr(Stdio::null())
            .stdout(Stdio::null())
            .spawn()?;
        Ok(Process { child, dir })
    }

    fn connect(&self) -> anyhow::Result<UnixStream> {
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            match UnixStream::connect(self.dir.path().join("enclave.sock")) {
                Ok(stream) => return Ok(stream),
                Err(error) if Instant::now() > deadline => return Err(error.into()),
                Err(_) => thread::sleep(Duration::from_millis(10)),
            }
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It has ended by itself otherwise.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The same through the socket, once with each block sent after the answer to the last, once with blocks sent ahead
/// while another thread reads the answers: who does not read them fills both directions and stops the enclave.
pub fn through_rpc(table: &mut Table, gib: u64) -> anyhow::Result<()> {
    let data = distinct(usize::try_from(gib << 30)?)?;
    let graph = Graph::of(&data);
    for (ahead, how) in [(false, "one block at a time"), (true, "blocks sent ahead")] {
        let rate = graph.gigabytes() / seal_in_process(&graph, ahead)?.as_secs_f64();
        let what = format!("sealing, RPC, enclave process, {gib} GiB, {how}");
        table.add(what, format!("{rate:.2} GB/s"), "told apart");
    }
    Ok(())
}

fn seal_in_process(graph: &Graph, ahead: bool) -> anyhow::Result<Duration> {
    let process = Process::start()?;
    let mut stream = process.connect()?;
    let mut body = Vec::new();
    ask(&mut stream, &mut body, &Request::Open { genesis: [2; 32], provider: [3; 32] })?;
    let started = Instant::now();
    ask(&mut stream, &mut body, &Request::SealBegin { content: graph.content.clone() })?;
    if ahead {
        let mut answers = stream.try_clone()?;
        thread::scope(|scope| {
            let count = graph.blocks().count();
            let reading = scope.spawn(move || {
                let mut body = Vec::new();
                (0..count).try_for_each(|_| answer(&mut answers, &mut body).map(drop))
            });
            for block in graph.blocks() {
                rpc::write_frame(&mut stream, &Request::SealBlock { bytes: block.to_vec() })?;
            }
            reading.join().unwrap_or_else(|_| bail!("the reader panicked"))
        })?;
    } else {
        for block in graph.blocks() {
            ask(&mut stream, &mut body, &Request::SealBlock { bytes: block.to_vec() })?;
        }
    }
    ask(&mut stream, &mut body, &Request::SealEnd)?;
    ask(&mut stream, &mut body, &Request::SealCommit { disk: DISK })?;
    Ok(started.elapsed())
}

fn ask(stream: &mut UnixStream, body: &mut Vec<u8>, request: &Request) -> anyhow::Result<Response> {
    rpc::write_frame(stream, request)?;
    answer(stream, body)
}

fn answer(stream: &mut UnixStream, body: &mut Vec<u8>) -> anyhow::Result<Response> {
    if !rpc::read_frame(stream, body)? {
        bail!("the enclave has closed the connection");
    }
    match rpc::decode(body)? {
        Response::Error(error) => Err(error.into()),
        response => Ok(response),
    }
}
