//! `make bench`: measures what docs/benchmarks.md states, row by row, and writes each row there as soon as it is done.
//!
//! `crust-bench [--gib N] [--dry] [ROW...]` measures some rows only, with files of N GiB instead of 4, or leaves the
//! document alone. A row that fails does not stop the others. Called as `crust-bench enclave SOCKET PLATFORM` it is the
//! enclave process that some rows measure: the development one, with the constants of production.

mod chain;
mod checks;
mod detection;
mod disk;
mod graph;
mod journey;
mod losses;
mod network;
mod node;
mod process;
mod report;
mod restart;
mod sampling;
mod sealing;
mod table;

use std::{process::ExitCode, time::Instant};

use anyhow::bail;
use futures::future::BoxFuture;

use table::Table;

/// A part of the document that is measured on its own.
struct Row {
    name: &'static str,
    measure: for<'a> fn(&'a mut Table, u64) -> BoxFuture<'a, anyhow::Result<()>>,
}

const ROWS: [Row; 16] = [
    Row { name: "sealing", measure: |table, gib| Box::pin(async move { sealing::library(table, gib) }) },
    Row { name: "rpc", measure: |table, gib| Box::pin(async move { sealing::through_rpc(table, gib) }) },
    Row { name: "report", measure: |table, _| Box::pin(async move { report::reports(table) }) },
    Row { name: "runtime", measure: |table, _| Box::pin(async move { chain::runtime(table) }) },
    Row { name: "block", measure: |table, _| Box::pin(async move { chain::block(table) }) },
    Row { name: "filler", measure: |table, _| Box::pin(disk::filler(table)) },
    Row { name: "sampling", measure: |table, _| Box::pin(sampling::sampling(table)) },
    Row { name: "detection", measure: |table, _| Box::pin(detection::detection(table)) },
    Row { name: "state", measure: |table, _| Box::pin(async move { checks::state(table) }) },
    Row { name: "restart", measure: |table, _| Box::pin(restart::restart(table)) },
    Row { name: "losses", measure: |table, _| Box::pin(losses::losses(table)) },
    Row { name: "ready", measure: |table, _| Box::pin(network::ready(table)) },
    Row { name: "demo", measure: |table, _| Box::pin(network::demo(table)) },
    Row { name: "memory", measure: |table, _| Box::pin(network::proportional_set(table)) },
    Row { name: "put", measure: |table, gib| Box::pin(journey::put(table, gib)) },
    Row { name: "large", measure: |table, _| Box::pin(journey::ten_gibibytes(table)) },
];

struct Arguments {
    chosen: Vec<String>,
    gib: u64,
    dry: bool,
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    if let Some(served) = process::serve_if_asked() {
        return served.map(|()| ExitCode::SUCCESS);
    }
    let Arguments { chosen, gib, dry } = arguments()?;
    let started = Instant::now();
    let mut failed = Vec::new();
    for row in ROWS.iter().filter(|row| chosen.is_empty() || chosen.iter().any(|name| name == row.name)) {
        println!("\n== {}", row.name);
        let mut table = Table::new(row.name);
        match (row.measure)(&mut table, gib).await {
            Ok(()) if dry => {}
            Ok(()) => table.write()?,
            Err(error) => {
                println!("{} cannot be measured: {error:#}", row.name);
                failed.push(row.name);
            }
        }
    }
    println!("\nmeasured in {:.0} s", started.elapsed().as_secs_f64());
    if failed.is_empty() {
        return Ok(ExitCode::SUCCESS);
    }
    println!("not measured: {}", failed.join(", "));
    Ok(ExitCode::FAILURE)
}

fn arguments() -> anyhow::Result<Arguments> {
    let mut arguments = Arguments { chosen: Vec::new(), gib: 4, dry: false };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        match word.as_str() {
            "--gib" => arguments.gib = words.next().unwrap_or_default().parse()?,
            "--dry" => arguments.dry = true,
            name if ROWS.iter().any(|row| row.name == name) => arguments.chosen.push(word),
            other => bail!("no row {other}; there are: {}", ROWS.map(|row| row.name).join(", ")),
        }
    }
    Ok(arguments)
}
