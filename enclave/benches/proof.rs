//! What checking finds and costs, in the library alone and in memory: `cargo bench -p crust-enclave --bench proof`.
//!
//! Prints a table: how often a draw finds what is missing, against 1 - (1 - f)^SAMPLES; the scrub; an audit's answer.
//! `DRAWS` sets how many draws each rate is measured over (200).

use std::{
    collections::BTreeSet,
    error::Error,
    sync::Arc,
    time::{Duration, Instant},
};

use codec::Encode;
use crust_enclave::{
    Constants, Enclave,
    platform::{self, Platform, SealKey, Svn},
    rpc::{Audit, Disk, MAX_FILLER, Sample, Saying, Signed, Stretch},
    seal::{Out, SEALED_CHUNK},
    tree,
};
use crust_protocol::{
    Hash,
    attestation::Collateral,
    audit,
    file::{Cid, Codec, HashFunction},
    order::Content,
    statement::first_root,
};

const DISK: Disk = [9; 16];
const PAGE: usize = 4 << 10;
const LEAF: usize = 256 << 10;
const MIB: usize = 1 << 20;

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

/// A node with one file and filler on one disk, all in memory.
struct Node {
    enclave: Enclave,
    sign_pk: Hash,
    log: Vec<Vec<u8>>,
    filler: Vec<u8>,
    content: Content,
    file: Out,
}

fn main() -> Result<(), Box<dyn Error>> {
    let draws: usize = std::env::var("DRAWS").ok().and_then(|draws| draws.parse().ok()).unwrap_or(200);
    println!("| what | figure |\n|---|---|");
    let node = Node::of(256 * MIB, 256 * MIB)?;
    for missing in [0.0005, 0.001, 0.01] {
        detection(&node, missing, draws)?;
    }
    scrub(node)?;
    answer(Node::of(1_024 * MIB, 0)?)
}

/// Leaves at the given share of pages, and of chunks, missing: how often one draw finds any.
fn detection(node: &Node, missing: f64, draws: usize) -> Result<(), Box<dyn Error>> {
    let (pages, chunks) = (node.filler.len() / PAGE, node.file.sealed.len().div_ceil(SEALED_CHUNK));
    let share = |count: usize| scattered(count, (count as f64 * missing).round() as usize);
    let (no_pages, no_chunks) = (share(pages), share(chunks));
    let (mut found, mut spent) = ([0u32; 2], Duration::ZERO);
    for seed in 0..draws {
        let mut enclave = node.again()?;
        let mut slot_hash = [0; 32];
        slot_hash[..8].copy_from_slice(&(seed as u64).to_le_bytes());
        let begin = Instant::now();
        let (_, draw) = enclave.show(1, slot_hash)?;
        let mut result = None;
        for batch in draw.chunks(100) {
            let shown = batch.iter().map(|sample| match sample {
                Sample::Filler { page, .. } if no_pages.contains(page) => None,
                Sample::File { chunk, .. } if no_chunks.contains(chunk) => None,
                sample => node.read(sample),
            });
            result = enclave.answer(shown.collect())?.result;
        }
        spent += begin.elapsed();
        let bad = result.ok_or("no result")?.bad;
        found[0] += u32::from(bad.iter().any(|bad| matches!(bad, Sample::Filler { .. })));
        found[1] += u32::from(bad.iter().any(|bad| matches!(bad, Sample::File { .. })));
    }
    let samples = f64::from(Constants::PRODUCTION.samples);
    for (what, found, missing) in [
        ("filler", found[0], no_pages.len() as f64 / pages as f64),
        ("files", found[1], no_chunks.len() as f64 / chunks as f64),
    ] {
        let (rate, formula) = (f64::from(found) / draws as f64, 1.0 - (1.0 - missing).powf(samples));
        let sigma = (formula * (1.0 - formula) / draws as f64).sqrt();
        row(
            &format!("{:.3} % of {what} missing, found in one of {draws} draws", 100.0 * missing),
            format!("{rate:.3}, formula {formula:.3} ± {:.3} (3 sigma)", 3.0 * sigma),
        );
    }
    row("a draw in memory, 5,120 pages and 5,120 chunks", format!("{:.0?}", spent / draws as u32));
    Ok(())
}

/// One full pass.
fn scrub(mut node: Node) -> Result<(), Box<dyn Error>> {
    let (_, draw) = node.enclave.show(1, [1; 32])?;
    for batch in draw.chunks(100) {
        let shown = batch.iter().map(|sample| node.read(sample)).collect();
        node.enclave.answer(shown)?;
    }
    let (begin, mut read) = (Instant::now(), 0);
    let mut next = node.enclave.scrub_next()?.next;
    while let Some(stretch) = next {
        let shown = node.stretch(&stretch).ok_or("no such stretch")?;
        read += shown.len();
        let scrubbed = node.enclave.scrub(stretch, Some(shown))?;
        if !scrubbed.bad.is_empty() {
            return Err("good bytes were found bad".into());
        }
        next = scrubbed.next;
    }
    let speed = read as f64 / begin.elapsed().as_secs_f64() / 1e9;
    row("scrub in memory, half filler and half file", format!("{speed:.2} GB/s"));
    Ok(())
}

/// Answers for a file of 1 GiB.
fn answer(mut node: Node) -> Result<(), Box<dyn Error>> {
    let (order, size) = (node.content.id(), node.content.size);
    let (_, draw) = node.enclave.show(1, [1; 32])?;
    for batch in draw.chunks(100) {
        let shown = batch.iter().map(|sample| node.read(sample)).collect();
        node.enclave.answer(shown)?;
    }
    let (mut made, mut checked, mut bytes, mut read) = (Duration::ZERO, Duration::ZERO, 0, 0);
    let rounds = 200;
    for round in 0..rounds {
        let audited = (round * 7_919_777) % audit::chunks(size);
        let (chunk, nodes) = node.enclave.audit_reads(&order, audited)?;
        let chunk = node.read(&Sample::File { order, chunk }).ok_or("no such chunk")?;
        let nodes: Option<Vec<_>> =
            nodes.iter().map(|node_of| node.read(&Sample::Tree { order, node: *node_of })).collect();
        let shown = Audit { order, audited, chunk, nodes: nodes.ok_or("no such node")? };
        read = shown.encoded_size();
        let begin = Instant::now();
        let (_, signed) =
            node.enclave.say(Saying::Report { prev: first_root(&node.sign_pk), slot: 1, audit: Some(shown) })?;
        made += begin.elapsed();
        let Signed::Report(report) = signed else { return Err("not a report".into()) };
        let answer = report.audit.ok_or("no answer")?;
        bytes = answer.encoded_size();
        let begin = Instant::now();
        let right = audit::verify(&node.content.audit_root, size, audited, &answer);
        checked += begin.elapsed();
        if !right {
            return Err("a wrong answer".into());
        }
    }
    row("answer to an audit of 1 GiB", format!("{bytes} bytes, out of {read} bytes read"));
    row("made, with the report that carries it", format!("{:.0?}", made / rounds as u32));
    row("verified, natively", format!("{:.1?}", checked / rounds as u32));
    let (kept, all) = (node.file.tree.len(), node.file.sealed.len());
    row("the stored hash tree, of the file", format!("{:.2} %", 100.0 * kept as f64 / all as f64));
    Ok(())
}

impl Node {
    fn of(file: usize, filler: usize) -> Result<Node, Box<dyn Error>> {
        let constants = Constants { filler_unit: 64 << 20, ..Constants::PRODUCTION };
        let mut enclave = Enclave::new(Arc::new(BenchPlatform), constants);
        let opened = enclave.open([1; 32], [2; 32])?;
        let mut log = opened.items;
        let mut kept = Vec::with_capacity(filler);
        while kept.len() < filler {
            match enclave.filler(DISK, MAX_FILLER) {
                Ok(grant) => grant.fill(&mut kept),
                Err(_) => log.push(enclave.commit_filler(DISK)?),
            }
        }
        if filler > 0 {
            log.push(enclave.commit_filler(DISK)?);
        }
        let (content, blocks) = graph(file);
        let (mut sealer, mut out) = (enclave.seal(content.clone())?, Out::default());
        for block in &blocks {
            sealer.feed(block, &mut out)?;
        }
        log.push(enclave.hold(&sealer.finish(&mut out)?, DISK)?);
        Ok(Node { enclave, sign_pk: opened.sign_pk, log, filler: kept, content, file: out })
    }

    /// Another enclave that knows the same.
    fn again(&self) -> Result<Enclave, Box<dyn Error>> {
        let mut enclave = Enclave::new(Arc::new(BenchPlatform), Constants::PRODUCTION);
        enclave.load(&self.log)?;
        enclave.open([1; 32], [2; 32])?;
        Ok(enclave)
    }

    fn read(&self, sample: &Sample) -> Option<Vec<u8>> {
        match *sample {
            Sample::Filler { disk, page } => self.stretch(&Stretch::Filler { disk, page, pages: 1 }),
            Sample::File { order, chunk } => self.stretch(&Stretch::File { order, chunk, chunks: 1 }),
            Sample::Tree { order, node } => self.stretch(&Stretch::Tree { order, node, nodes: 1 }),
        }
    }

    fn stretch(&self, stretch: &Stretch) -> Option<Vec<u8>> {
        let (bytes, from, length) = match *stretch {
            Stretch::Filler { page, pages, .. } => (&self.filler, page as usize * PAGE, pages as usize * PAGE),
            Stretch::File { chunk, chunks, .. } => {
                (&self.file.sealed, chunk as usize * SEALED_CHUNK, chunks as usize * SEALED_CHUNK)
            }
            Stretch::Tree { node, nodes, .. } => {
                let (from, length) = tree::range(self.content.size, node, nodes.into())?;
                (&self.file.tree, from as usize, length as usize)
            }
        };
        Some(bytes.get(from..bytes.len().min(from + length))?.to_vec())
    }
}

/// So many of the numbers below `count`, scattered.
fn scattered(count: usize, of: usize) -> BTreeSet<u64> {
    let mut numbers = BTreeSet::new();
    let mut next = 0u64;
    while numbers.len() < of {
        next = next.wrapping_add(0x9e37_79b9_7f4a_7c15);
        numbers.insert((next >> 16) % count as u64);
    }
    numbers
}

/// An order for distinct leaves under one node, and its blocks in the order of the stream.
fn graph(bytes: usize) -> (Content, Vec<Vec<u8>>) {
    let mut leaves = Vec::new();
    for number in 0..bytes / LEAF {
        let mut leaf = vec![0; LEAF];
        blake3::Hasher::new().update(&number.to_le_bytes()).finalize_xof().fill(&mut leaf);
        leaves.push(leaf);
    }
    let mut root = Vec::new();
    for leaf in &leaves {
        root.extend([0x12, 38, 0x0a, 36]);
        root.extend(Cid::of(Codec::Raw, HashFunction::Sha2_256, leaf).as_bytes());
    }
    let cid = Cid::of(Codec::DagPb, HashFunction::Sha2_256, &root);
    let mut stream = blake3::Hasher::new();
    let mut size = 0;
    let blocks: Vec<Vec<u8>> = std::iter::once(root).chain(leaves).collect();
    for block in &blocks {
        stream.update(block);
        size += block.len() as u64;
    }
    let audit_root = *stream.finalize().as_bytes();
    (Content { client: [1; 32], nonce: 1, cid, size, audit_root, flags: 0 }, blocks)
}

fn row(what: &str, figure: String) {
    println!("| {what} | {figure} |");
}
