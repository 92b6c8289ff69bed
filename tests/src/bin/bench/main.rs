//! `make bench`: measures what docs/benchmarks.md states, and writes its table anew.
//!
//! `crust-bench [ROW...]` measures some rows only (`sealing`, `report`, `ready`, `put`, `memory`) and prints them.

mod library;
mod system;

use std::{collections::BTreeSet, fs, path::Path, time::Instant};

use anyhow::Context;

/// A line of the table.
pub struct Figure {
    pub what: String,
    pub figure: String,
    pub bar: &'static str,
}

impl Figure {
    pub fn new(what: impl Into<String>, figure: impl Into<String>, bar: &'static str) -> Figure {
        Figure { what: what.into(), figure: figure.into(), bar }
    }
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let chosen: BTreeSet<String> = std::env::args().skip(1).collect();
    let wanted = |row: &str| chosen.is_empty() || chosen.contains(row);
    let mut figures = Vec::new();
    let started = Instant::now();
    if wanted("sealing") {
        figures.extend(tell(library::sealing()?));
    }
    if wanted("report") {
        figures.extend(tell(library::reports()?));
    }
    if wanted("ready") {
        figures.extend(tell(system::ready().await?));
    }
    if wanted("put") {
        figures.extend(tell(system::put().await?));
    }
    if wanted("memory") {
        figures.extend(tell(system::memory().await?));
    }
    println!("measured in {:.0} s", started.elapsed().as_secs_f64());
    if chosen.is_empty() { rewrite(&figures) } else { Ok(()) }
}

fn tell(figures: Vec<Figure>) -> Vec<Figure> {
    for figure in &figures {
        println!("{:60} {:40} {}", figure.what, figure.figure, figure.bar);
    }
    figures
}

/// Puts the table between its marks.
fn rewrite(figures: &[Figure]) -> anyhow::Result<()> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/benchmarks.md");
    let text = fs::read_to_string(&path)?;
    let (head, rest) = text.split_once("<!-- figures -->\n").context("no mark `figures`")?;
    let (_, tail) = rest.split_once("<!-- end -->").context("no mark `end`")?;
    let mut table = format!("{}.\n\n| What | Measured | Bar |\n|---|---|---|\n", machine());
    for Figure { what, figure, bar } in figures {
        table.push_str(&format!("| {what} | {figure} | {bar} |\n"));
    }
    fs::write(&path, format!("{head}<!-- figures -->\n{table}<!-- end -->{tail}"))?;
    Ok(())
}

/// Processor, cores and memory.
fn machine() -> String {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let value = |text: &str, key: &str| -> Option<String> {
        let line = text.lines().find(|line| line.starts_with(key))?;
        Some(line.split_once(':')?.1.trim().to_owned())
    };
    let model = value(&read("/proc/cpuinfo"), "model name").unwrap_or_else(|| "an unknown processor".into());
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let memory = value(&read("/proc/meminfo"), "MemTotal").unwrap_or_default();
    let kib: u64 = memory.split_whitespace().next().and_then(|word| word.parse().ok()).unwrap_or_default();
    format!("`make bench` on {model}, {cores} cores, {} GiB of memory", kib.div_ceil(1 << 20))
}
