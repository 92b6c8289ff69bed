//! A report's bytes and time, whatever is held; and what an audit's answer adds to it.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};
use codec::Encode;
use crust_enclave::{
    Enclave,
    rpc::{Audit, Sample, Saying, Signed},
    seal::{Out, SEALED_CHUNK},
    tree,
};
use crust_protocol::{Slot, audit, statement::first_root};

use crate::{
    checks::seal,
    graph::{Graph, distinct},
    sealing::enclave,
    table::Table,
};

/// What a report is wrapped in: length (2), version, extension version, era, nonce, tip, pallet and call (2), the
/// node's number (4), the signature (64).
const WRAPPING: usize = 2 + 1 + 1 + 1 + 1 + 1 + 2 + 4 + 64;

const DISK: [u8; 16] = [1; 16];
/// Answers of which the mean is told.
const ANSWERS: u32 = 200;

/// With one file held, with a thousand and with a million.
pub fn reports(table: &mut Table) -> anyhow::Result<()> {
    let mut enclave = enclave()?;
    let mut prev = first_root(&enclave.overview()?.sign_pk);
    let mut sealed = BTreeMap::new();
    let mut nonce: u64 = 0;
    for (slot, files) in [(1, 1), (2, 1_000), (3, 1_000_000)] {
        while nonce < files {
            nonce += 1;
            let (id, bytes, _) = seal(&mut enclave, nonce)?;
            sealed.insert(id, bytes);
        }
        check(&mut enclave, slot, |sample| match sample {
            Sample::File { order, .. } => sealed.get(order).cloned(),
            Sample::Filler { .. } | Sample::Tree { .. } => None,
        })?;
        let started = Instant::now();
        let (_, signed) = enclave.say(Saying::Report { prev, slot, audit: None })?;
        let Signed::Report(report) = signed else { bail!("no report") };
        enclave.release(&report.root)?;
        let made = started.elapsed().as_secs_f64() * 1e3;
        prev = report.root;
        let figure = format!("{} bytes, signed in {made:.2} ms", report.encoded_size() + WRAPPING);
        table.add(format!("a report with {files} files held, as an extrinsic"), figure, "≤ 320 bytes, the same");
    }
    answers(table)
}

/// A slot's check, answered truthfully.
fn check(enclave: &mut Enclave, slot: Slot, read: impl Fn(&Sample) -> Option<Vec<u8>>) -> anyhow::Result<()> {
    let (_, draw) = enclave.show(slot, [9; 32])?;
    let checked = enclave.answer(draw.iter().map(read).collect())?;
    ensure!(checked.result.is_some_and(|result| result.good_files == u8::MAX), "a truthful answer was not good");
    Ok(())
}

/// For a file of 1 GiB.
fn answers(table: &mut Table) -> anyhow::Result<()> {
    let data = distinct(1, 1 << 30)?;
    let graph = Graph::of(&data);
    let (order, size, root) = (graph.content.id(), graph.content.size, graph.content.audit_root);
    let (mut enclave, mut out) = (enclave()?, Out::default());
    let mut sealer = enclave.seal(graph.content.clone())?;
    for block in graph.blocks() {
        sealer.feed(block, &mut out)?;
    }
    enclave.hold(&sealer.finish(&mut out)?, DISK)?;
    let chunk = |chunk: u64| -> Option<Vec<u8>> {
        let from = usize::try_from(chunk).ok()? * SEALED_CHUNK;
        out.sealed.get(from..out.sealed.len().min(from + SEALED_CHUNK)).map(<[u8]>::to_vec)
    };
    let node = |node: u64| -> Option<Vec<u8>> {
        let (from, length) = tree::range(size, node, 1)?;
        out.tree.get(usize::try_from(from).ok()?..usize::try_from(from + length).ok()?).map(<[u8]>::to_vec)
    };
    check(&mut enclave, 1, |sample| match sample {
        Sample::File { chunk: number, .. } => chunk(*number),
        Sample::Filler { .. } | Sample::Tree { .. } => None,
    })?;
    let prev = first_root(&enclave.overview()?.sign_pk);
    let (mut made, mut verified, mut bytes) = (Duration::ZERO, Duration::ZERO, 0);
    for round in 0..ANSWERS {
        let audited = u64::from(round) * 7_919_777 % audit::chunks(size);
        let (number, nodes) = enclave.audit_reads(&order, audited)?;
        let nodes: Option<Vec<_>> = nodes.into_iter().map(node).collect();
        let shown = Audit {
            order,
            audited,
            chunk: chunk(number).context("no such chunk")?,
            nodes: nodes.context("no such node")?,
        };
        let started = Instant::now();
        let (_, signed) = enclave.say(Saying::Report { prev, slot: 1, audit: Some(shown) })?;
        made += started.elapsed();
        let Signed::Report(report) = signed else { bail!("no report") };
        let answer = report.audit.context("no answer")?;
        bytes = answer.encoded_size();
        let started = Instant::now();
        ensure!(audit::verify(&root, size, audited, &answer), "a wrong answer");
        verified += started.elapsed();
    }
    let mean = |time: Duration| time.as_secs_f64() * 1e3 / f64::from(ANSWERS);
    let figure = format!("{bytes} bytes, made in {:.2} ms, verified natively in {:.3} ms", mean(made), mean(verified));
    table.add("the answer to an audit of a file of 1 GiB", figure, "≤ 1.8 KB");
    Ok(())
}
