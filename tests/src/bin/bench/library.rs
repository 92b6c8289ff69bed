//! The enclave alone: sealing on one core, as a library and through its socket; the size of a report.

use std::{
    io::Read,
    os::unix::net::UnixStream,
    process::{Child, Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use codec::Encode;
use crust_client::unixfs;
use crust_enclave::{
    Constants, Enclave,
    rpc::{self, Request, Response, Saying, Signed},
};
use crust_enclave_dev::platform::SoftwarePlatform;
use crust_protocol::{
    file::{Cid, Codec, HashFunction},
    order::Content,
};
use crust_tests::{Payload, bin};

use crate::Figure;

const LEAF: usize = 256 << 10;
const LEAVES: usize = 16_384;
/// Requests that are on their way at the same time.
const AHEAD: usize = 16;
/// What a report is wrapped in: length (2), version, extension version, era, nonce, tip, pallet and call (2), the
/// node's number (4), the signature (64).
const WRAPPING: usize = 2 + 1 + 1 + 1 + 1 + 1 + 2 + 4 + 64;

/// 4 GiB of distinct data in raw leaves under one root.
struct Graph {
    content: Content,
    root: Vec<u8>,
    data: Vec<u8>,
}

impl Graph {
    fn make() -> anyhow::Result<Graph> {
        let mut data = vec![0; LEAF * LEAVES];
        Payload::new(1).read_exact(&mut data)?;
        let children: Vec<unixfs::Child> = data
            .chunks(LEAF)
            .map(|leaf| {
                let cid = Cid::of(Codec::Raw, HashFunction::Sha2_256, leaf);
                unixfs::Child { cid, content: leaf.len() as u64, total: leaf.len() as u64 }
            })
            .collect();
        let root = unixfs::encode_node(&children);
        let content = Content {
            client: [1; 32],
            nonce: 1,
            cid: Cid::of(Codec::DagPb, HashFunction::Sha2_256, &root),
            size: (root.len() + data.len()) as u64,
            audit_root: *blake3::Hasher::new().update(&root).update(&data).finalize().as_bytes(),
            flags: 0,
        };
        Ok(Graph { content, root, data })
    }

    fn blocks(&self) -> impl Iterator<Item = &[u8]> {
        std::iter::once(self.root.as_slice()).chain(self.data.chunks(LEAF))
    }
}

fn enclave() -> anyhow::Result<Enclave> {
    let platform = SoftwarePlatform::from_seed([1; 32])?;
    let mut enclave = Enclave::new(Arc::new(platform), Constants::DEVELOPMENT);
    enclave.open([2; 32], [3; 32])?;
    Ok(enclave)
}

pub fn sealing() -> anyhow::Result<Vec<Figure>> {
    let graph = Graph::make()?;
    let gigabytes = graph.data.len() as f64 / 1e9;
    let mut enclave = enclave()?;
    let mut out = Vec::with_capacity(2 * LEAF + (2 << 20));
    let started = Instant::now();
    let mut sealer = enclave.seal(graph.content.clone())?;
    for block in graph.blocks() {
        sealer.feed(block, &mut out)?;
        out.clear();
    }
    let sealed = sealer.finish(&mut out)?;
    enclave.hold(&sealed)?;
    let library = gigabytes / started.elapsed().as_secs_f64();

    let mut limit = Duration::ZERO;
    let sample = graph.data.get(..256 << 20).context("no sample")?;
    let started = Instant::now();
    for leaf in sample.chunks(LEAF) {
        std::hint::black_box(HashFunction::Sha2_256.digest(leaf));
    }
    limit += started.elapsed();
    let started = Instant::now();
    std::hint::black_box(blake3::hash(sample));
    limit += started.elapsed();
    let hashing = sample.len() as f64 / 1e9 / limit.as_secs_f64();

    let rpc = through_rpc(&graph)?;
    Ok(vec![
        Figure::new("sealing, library, one core, 4 GiB", format!("{library:.2} GB/s"), "≥ 0.5 GB/s"),
        Figure::new("the same bytes through SHA-256 and BLAKE3 alone", format!("{hashing:.2} GB/s"), ""),
        Figure::new("sealing, RPC, enclave process, 4 GiB", format!("{rpc:.2} GB/s"), "told apart"),
    ])
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
                Err(_) => std::thread::sleep(Duration::from_millis(10)),
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

fn through_rpc(graph: &Graph) -> anyhow::Result<f64> {
    let process = Process::start()?;
    let mut stream = process.connect()?;
    let mut body = Vec::new();
    let mut ask = |stream: &mut UnixStream, request: Request| -> anyhow::Result<Response> {
        rpc::write_frame(stream, &request)?;
        answer(stream, &mut body)
    };
    ask(&mut stream, Request::Open { genesis: [2; 32], provider: [3; 32] })?;
    let started = Instant::now();
    ask(&mut stream, Request::SealBegin { content: graph.content.clone() })?;
    let mut writer = stream.try_clone()?;
    let mut body = Vec::new();
    let mut ahead = 0;
    for block in graph.blocks() {
        rpc::write_frame(&mut writer, &Request::SealBlock { bytes: block.to_vec() })?;
        ahead += 1;
        if ahead == AHEAD {
            answer(&mut stream, &mut body)?;
            ahead -= 1;
        }
    }
    for _ in 0..ahead {
        answer(&mut stream, &mut body)?;
    }
    rpc::write_frame(&mut writer, &Request::SealEnd)?;
    answer(&mut stream, &mut body)?;
    rpc::write_frame(&mut writer, &Request::SealCommit)?;
    answer(&mut stream, &mut body)?;
    Ok(graph.data.len() as f64 / 1e9 / started.elapsed().as_secs_f64())
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

/// A report's bytes as an extrinsic, with one file held and with 100,000.
pub fn reports() -> anyhow::Result<Vec<Figure>> {
    let mut enclave = enclave()?;
    let mut sealed = std::collections::BTreeMap::new();
    let mut figures = Vec::new();
    let mut slot = 0;
    let mut nonce: u64 = 0;
    for files in [1, 100_000] {
        while nonce < files {
            nonce += 1;
            let bytes = nonce.to_le_bytes();
            let content = Content {
                client: [1; 32],
                nonce,
                cid: Cid::of(Codec::Raw, HashFunction::Sha2_256, &bytes),
                size: 8,
                audit_root: *blake3::hash(&bytes).as_bytes(),
                flags: 0,
            };
            let id = content.id();
            let mut out = Vec::new();
            let mut sealer = enclave.seal(content)?;
            sealer.feed(&bytes, &mut out)?;
            enclave.hold(&sealer.finish(&mut out)?)?;
            sealed.insert(id, out);
        }
        slot += 1;
        let (_, draw) = enclave.show(slot, [9; 32])?;
        let answers = draw.into_iter().map(|sample| match sample {
            rpc::Sample::File { order, .. } => sealed.get(&order).cloned(),
            rpc::Sample::Filler { .. } => None,
        });
        enclave.answer(answers.collect())?;
        let prev = crust_protocol::statement::first_root(&enclave.overview()?.sign_pk);
        let started = Instant::now();
        let (_, signed) = enclave.say(Saying::Report { prev, slot })?;
        let Signed::Report(report) = signed else { bail!("no report") };
        enclave.release(&report.root)?;
        let made = started.elapsed();
        let size = report.encoded_size() + WRAPPING;
        let what = format!("report with {files} files held, as an extrinsic");
        figures.push(Figure::new(
            what,
            format!("{size} bytes, signed in {:.2} ms", made.as_secs_f64() * 1e3),
            "≤ 320 bytes, the same",
        ));
    }
    Ok(figures)
}
