//! What sealing, filler and reports cost, in the library alone: `cargo bench -p crust-enclave`.
//!
//! Prints a table. Data is made outside the measured time, all of it distinct, in raw leaves of 256 KiB; the limit of
//! sealing, which hashes every byte with SHA-256 and BLAKE3 and encrypts it, is measured in the same run. `GIB` sets how
//! much is sealed (4); a quarter of it is kept in memory for what is measured over a socket or on two threads.

use std::{
    error::Error,
    os::unix::net::UnixStream,
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use codec::Encode;
use crust_enclave::{
    Constants, Enclave,
    platform::{self, Platform, SealKey, Svn},
    rpc::{self, About, Request, Response, Saying, Signed},
    seal::{Out, Sealer},
    server::Server,
};
use crust_protocol::{
    attestation::Collateral,
    file::{Cid, Codec, HashFunction},
    order::Content,
    walk::{Block, Walk},
};
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

const LEAF: usize = 256 << 10;
const LINKS: usize = 1_024;
const DISK: rpc::Disk = [9; 16];
const GIB: f64 = 1_073_741_824.0;

struct BenchPlatform;

impl Platform for BenchPlatform {
    fn seal_key(&self, svn: Option<Svn>) -> Result<Option<SealKey>, platform::Error> {
        Ok(Some(SealKey::new(svn.unwrap_or_default(), [7; 32])))
    }

    fn quote(&self, _: &[u8; 64]) -> Result<Vec<u8>, platform::Error> {
        Ok(Vec::new())
    }

    fn collateral(&self) -> Result<Option<Collateral>, platform::Error> {
        Ok(None)
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let gib: usize = std::env::var("GIB").ok().and_then(|gib| gib.parse().ok()).unwrap_or(4);
    println!("| what | figure |\n|---|---|");
    let limit = limit()?;
    let file = File::of(gib * 4 * LINKS);
    let speed = gb_per_second(file.content.size as f64, seal(&file)?);
    row("sealing, graph and CIDs checked, one core", format!("{speed:.2} GB/s"));
    row("that is, of the limit", format!("{:.0} %", 100.0 * speed / limit));
    let file = File::of(gib * LINKS);
    let (bytes, blocks) = (file.content.size as f64, file.blocks()?);
    let alone = median(|| seal_on_threads(&file.content, &blocks, 1))?;
    let together = median(|| seal_on_threads(&file.content, &blocks, 2))?;
    row(
        "two files on two threads, of one on one",
        format!("{:.2}x", 2.0 * alone.as_secs_f64() / together.as_secs_f64()),
    );
    let through = median(|| seal_through_socket(&file.content, &blocks, 1))?;
    row("sealing through the RPC, a request after the other", format!("{:.2} GB/s", gb_per_second(bytes, through)));
    let through = median(|| seal_through_socket(&file.content, &blocks, 2))?;
    row("sealing through the RPC, one request ahead", format!("{:.2} GB/s", gb_per_second(bytes, through)));
    drop(blocks);
    filler()?;
    for files in [1, 1_000, 1_000_000] {
        reports(files)?;
    }
    Ok(())
}

/// The three passes over the data that sealing cannot do without, and what they allow together.
fn limit() -> Result<f64, Box<dyn Error>> {
    let rounds = 4_096;
    let mut leaf = vec![1; LEAF];
    let sha = time(rounds, || {
        std::hint::black_box(HashFunction::Sha2_256.digest(&leaf));
    });
    let blake = {
        let mut hasher = blake3::Hasher::new();
        time(rounds, || {
            hasher.update(&leaf);
        })
    };
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[1; 32]).map_err(|_| "key")?);
    let gcm = time(rounds, || {
        for chunk in leaf.chunks_mut(64 << 10) {
            let nonce = Nonce::assume_unique_for_key([0; 12]);
            std::hint::black_box(key.seal_in_place_separate_tag(nonce, Aad::empty(), chunk).ok());
        }
    });
    let speed = |time: Duration| gb_per_second((rounds * LEAF) as f64, time);
    let limit = 1.0 / (1.0 / speed(sha) + 1.0 / speed(gcm) + 1.0 / speed(blake));
    row("SHA-256, blocks of 256 KiB", format!("{:.2} GB/s", speed(sha)));
    row("AES-256-GCM, chunks of 64 KiB", format!("{:.2} GB/s", speed(gcm)));
    row("BLAKE3, one thread", format!("{:.2} GB/s", speed(blake)));
    row("limit of sealing, 1/(1/SHA-256 + 1/GCM + 1/BLAKE3)", format!("{limit:.2} GB/s"));
    Ok(limit)
}

/// A file of distinct leaves under nodes of 1,024 links. Only the nodes are kept.
struct File {
    content: Content,
    nodes: Vec<(Cid, Vec<u8>)>,
}

impl File {
    fn of(leaves: usize) -> Self {
        let cids: Vec<Cid> =
            (0..leaves).map(|number| Cid::of(Codec::Raw, HashFunction::Sha2_256, &leaf(number))).collect();
        let mut nodes: Vec<(Cid, Vec<u8>)> = cids.chunks(LINKS).map(node).collect();
        let top: Vec<Cid> = nodes.iter().map(|(cid, _)| *cid).collect();
        let root = if let [only] = top.as_slice() {
            *only
        } else {
            let root = node(&top);
            nodes.push(root.clone());
            root.0
        };
        let mut file = File {
            content: Content { client: [1; 32], nonce: 1, cid: root, size: 0, audit_root: [0; 32], flags: 0 },
            nodes,
        };
        let mut audit = blake3::Hasher::new();
        let size = file.walk(|bytes| {
            audit.update(bytes);
            Ok(())
        });
        (file.content.size, file.content.audit_root) = (size.unwrap_or_default(), *audit.finalize().as_bytes());
        file
    }

    /// Hands over every block in the order of the stream.
    fn walk(&self, mut take: impl FnMut(&[u8]) -> Result<(), Box<dyn Error>>) -> Result<u64, Box<dyn Error>> {
        let (mut walk, mut next) = (Walk::new(self.content.cid, Constants::PRODUCTION.limits), 0);
        while let Some(cid) = walk.wanted() {
            let node = self.nodes.iter().find(|(of, _)| *of == cid).map(|(_, block)| block.clone());
            let block = node.unwrap_or_else(|| {
                next += 1;
                leaf(next - 1)
            });
            take(&block)?;
            walk.feed(&Block::check(cid, &block)?)?;
        }
        Ok(walk.size())
    }

    /// Every block in the order of the stream.
    fn blocks(&self) -> Result<Vec<Vec<u8>>, Box<dyn Error>> {
        let mut blocks = Vec::new();
        self.walk(|block| {
            blocks.push(block.to_vec());
            Ok(())
        })?;
        Ok(blocks)
    }
}

fn leaf(number: usize) -> Vec<u8> {
    let mut leaf = vec![0; LEAF];
    blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof().fill(&mut leaf);
    leaf
}

fn node(links: &[Cid]) -> (Cid, Vec<u8>) {
    let mut block = Vec::new();
    for link in links {
        block.extend([0x12, 38, 0x0a, 36]);
        block.extend(link.as_bytes());
    }
    (Cid::of(Codec::DagPb, HashFunction::Sha2_256, &block), block)
}

fn open(constants: Constants) -> Result<Enclave, Box<dyn Error>> {
    let mut enclave = Enclave::new(Arc::new(BenchPlatform), constants);
    enclave.open([1; 32], [2; 32])?;
    Ok(enclave)
}

fn seal(file: &File) -> Result<Duration, Box<dyn Error>> {
    let mut enclave = open(Constants::PRODUCTION)?;
    let mut sealer = enclave.seal(file.content.clone())?;
    let (mut out, mut spent) = (Out::default(), Duration::ZERO);
    file.walk(|block| {
        let begin = Instant::now();
        out.sealed.clear();
        sealer.feed(block, &mut out)?;
        spent += begin.elapsed();
        Ok(())
    })?;
    let begin = Instant::now();
    let sealed = sealer.finish(&mut out)?;
    enclave.hold(&sealed, DISK)?;
    Ok(spent + begin.elapsed())
}

/// Seals so many files of the same blocks at once.
fn seal_on_threads(content: &Content, blocks: &[Vec<u8>], threads: u64) -> Result<Duration, Box<dyn Error>> {
    let enclave = open(Constants::PRODUCTION)?;
    let sealers: Result<Vec<_>, _> =
        (0..threads).map(|nonce| enclave.seal(Content { nonce, ..content.clone() })).collect();
    let begin = Instant::now();
    let sealed = thread::scope(|scope| {
        let work = |mut sealer: Sealer| {
            move || {
                let mut out = Out::default();
                for block in blocks {
                    out.sealed.clear();
                    sealer.feed(block, &mut out)?;
                }
                sealer.finish(&mut out).map(drop)
            }
        };
        let threads: Vec<_> = sealers?.into_iter().map(|sealer| scope.spawn(work(sealer))).collect();
        threads.into_iter().try_for_each(|thread| thread.join().unwrap_or(Err(rpc::Error::NoSealing)))
    });
    sealed?;
    Ok(begin.elapsed())
}

/// Seals over a socket, with so many requests under way at most.
fn seal_through_socket(content: &Content, blocks: &[Vec<u8>], ahead: usize) -> Result<Duration, Box<dyn Error>> {
    let about =
        About { protocol: rpc::PROTOCOL, release: 1, measurement: [0; 32], development: true, commit: String::new() };
    let server = Server::new(about, open(Constants::PRODUCTION)?);
    let (mut ours, mut theirs) = UnixStream::pair()?;
    let serving = thread::spawn(move || server.serve(&mut theirs).is_ok());
    let (free, busy) = mpsc::sync_channel(ahead - 1);
    let mut answers = ours.try_clone()?;
    let count = blocks.len() + 3;
    let begin = Instant::now();
    let heard = thread::spawn(move || {
        let mut body = Vec::new();
        (0..count).all(|_| {
            let read = rpc::read_frame(&mut answers, &mut body).is_ok_and(|read| read);
            read && !matches!(rpc::decode(&body), Ok(Response::Error(_)) | Err(_)) && busy.recv().is_ok()
        })
    });
    // Answers are heard in order, so a place in the channel is a request under way.
    let mut ask = |request: &Request| -> Result<(), Box<dyn Error>> {
        rpc::write_frame(&mut ours, request)?;
        Ok(free.send(())?)
    };
    ask(&Request::SealBegin { content: content.clone() })?;
    for block in blocks {
        ask(&Request::SealBlock { bytes: block.clone() })?;
    }
    ask(&Request::SealEnd)?;
    ask(&Request::SealCommit { disk: DISK })?;
    let heard = heard.join().unwrap_or(false);
    let spent = begin.elapsed();
    drop(ours);
    if heard && serving.join().is_ok_and(|served| served) { Ok(spent) } else { Err("the server failed".into()) }
}

fn filler() -> Result<(), Box<dyn Error>> {
    let mut enclave = open(Constants::PRODUCTION)?;
    let (mut spent, mut bytes, mut out) = (Duration::ZERO, 0, Vec::new());
    while (bytes as f64) < 4.0 * GIB {
        let begin = Instant::now();
        out.clear();
        match enclave.filler(DISK, rpc::MAX_FILLER) {
            Ok(grant) => grant.fill(&mut out),
            Err(_) => drop(enclave.commit_filler(DISK)?),
        }
        bytes += std::hint::black_box(&out).len();
        spent += begin.elapsed();
    }
    row("filler in memory, one core", format!("{:.2} GB/s", gb_per_second(bytes as f64, spent)));
    Ok(())
}

/// A report over so many files, and what they cost in memory and at a start.
fn reports(files: u64) -> Result<(), Box<dyn Error>> {
    let before = resident();
    let mut enclave = Enclave::new(Arc::new(BenchPlatform), Constants::PRODUCTION);
    let opened = enclave.open([1; 32], [2; 32])?;
    let mut log = opened.items;
    for nonce in 0..files {
        let bytes = nonce.to_le_bytes();
        let content = Content {
            client: [1; 32],
            nonce,
            cid: Cid::of(Codec::Raw, HashFunction::Sha2_256, &bytes),
            size: 8,
            audit_root: *blake3::hash(&bytes).as_bytes(),
            flags: 0,
        };
        let (mut sealer, mut out) = (enclave.seal(content)?, Out::default());
        sealer.feed(&bytes, &mut out)?;
        log.push(enclave.hold(&sealer.finish(&mut out)?, DISK)?);
    }
    drop(enclave);
    let logged: usize = log.iter().map(Vec::len).sum();
    let with_log = resident();
    let begin = Instant::now();
    let mut enclave = Enclave::new(Arc::new(BenchPlatform), Constants::PRODUCTION);
    enclave.load(&log)?;
    enclave.open([1; 32], [2; 32])?;
    let start = begin.elapsed();
    let held = resident().saturating_sub(with_log);
    let begin = Instant::now();
    let (_, draw) = enclave.show(1, [9; 32])?;
    let drawn = begin.elapsed();
    let mut left = draw.len();
    loop {
        let batch = left.min(1_000);
        left = usize::try_from(enclave.answer(vec![None; batch])?.left)?;
        if left == 0 {
            break;
        }
    }
    let prev = crust_protocol::statement::first_root(&opened.sign_pk);
    let (_, said) = enclave.say(Saying::Report { prev, slot: 1, audit: None })?;
    let Signed::Report(report) = said else { return Err("not a report".into()) };
    let signature = enclave.release(&report.root)?;
    // Pallet and call, node, statement, signature; before it length, versions and the transaction extensions.
    let call = 2 + 4 + report.encoded_size() + signature.len();
    row(&format!("a report over {files} files, as a call"), format!("{call} bytes, and about 15 as an extrinsic"));
    row(&format!("its draw over {files} files"), format!("{drawn:.1?}"));
    row(&format!("log of {files} files"), format!("{logged} bytes, loaded in {start:.1?}"));
    let begin = Instant::now();
    let (mut snapshot, mut from) = (Vec::new(), Some(0));
    while let Some(entry) = from {
        let part = enclave.snapshot(entry)?;
        snapshot.extend(part.items);
        from = part.next;
    }
    let made = begin.elapsed();
    let kept: usize = snapshot.iter().map(Vec::len).sum();
    let begin = Instant::now();
    let mut again = Enclave::new(Arc::new(BenchPlatform), Constants::PRODUCTION);
    again.load(&snapshot)?;
    again.open([1; 32], [2; 32])?;
    let start = begin.elapsed();
    drop(again);
    row(&format!("its snapshot of {files} files"), format!("{kept} bytes, made in {made:.1?}, loaded in {start:.1?}"));
    if files > 1_000 && before > 0 {
        row("resident memory a file, freshly loaded", format!("{} bytes", held / files));
    }
    Ok(())
}

/// Resident bytes of this process.
fn resident() -> u64 {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    pages.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or_default() * 4_096
}

/// The median of three runs.
fn median(mut run: impl FnMut() -> Result<Duration, Box<dyn Error>>) -> Result<Duration, Box<dyn Error>> {
    let mut runs = [run()?, run()?, run()?];
    runs.sort();
    Ok(runs[1])
}

fn time(rounds: usize, mut work: impl FnMut()) -> Duration {
    let begin = Instant::now();
    (0..rounds).for_each(|_| work());
    begin.elapsed()
}

fn gb_per_second(bytes: f64, time: Duration) -> f64 {
    bytes / time.as_secs_f64() / 1e9
}

fn row(what: &str, figure: String) {
    println!("| {what} | {figure} |");
}
