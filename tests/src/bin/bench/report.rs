//! A report's bytes and time, whatever is held.

use std::{collections::BTreeMap, time::Instant};

use anyhow::bail;
use codec::Encode;
use crust_enclave::rpc::{Sample, Saying, Signed};
use crust_protocol::statement::first_root;

use crate::{checks::seal, sealing::enclave, table::Table};

/// What a report is wrapped in: length (2), version, extension version, era, nonce, tip, pallet and call (2), the
/// node's number (4), the signature (64).
const WRAPPING: usize = 2 + 1 + 1 + 1 + 1 + 1 + 2 + 4 + 64;

/// With one file held and with 100,000.
pub fn reports(table: &mut Table) -> anyhow::Result<()> {
    let mut enclave = enclave()?;
    let mut prev = first_root(&enclave.overview()?.sign_pk);
    let mut sealed = BTreeMap::new();
    let mut nonce: u64 = 0;
    for (slot, files) in [(1, 1), (2, 100_000)] {
        while nonce < files {
            nonce += 1;
            let (id, bytes, _) = seal(&mut enclave, nonce)?;
            sealed.insert(id, bytes);
        }
        let (_, draw) = enclave.show(slot, [9; 32])?;
        let answers = draw.into_iter().map(|sample| match sample {
            Sample::File { order, .. } => sealed.get(&order).cloned(),
            Sample::Filler { .. } | Sample::Tree { .. } => None,
        });
        let checked = enclave.answer(answers.collect())?;
        if checked.result.is_none_or(|result| result.good_files != u8::MAX) {
            bail!("a truthful answer was not good");
        }
        let started = Instant::now();
        let (_, signed) = enclave.say(Saying::Report { prev, slot, audit: None })?;
        let Signed::Report(report) = signed else { bail!("no report") };
        enclave.release(&report.root)?;
        let made = started.elapsed().as_secs_f64() * 1e3;
        prev = report.root;
        let figure = format!("{} bytes, signed in {made:.2} ms", report.encoded_size() + WRAPPING);
        table.add(format!("a report with {files} files held, as an extrinsic"), figure, "≤ 320 bytes, the same");
    }
    Ok(())
}
