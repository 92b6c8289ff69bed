//! What the chain's calls and blocks cost.
//!
//! * `crust-chain-bench weights FOLDER`: measures every call and hook of the two pallets over the worst path that it has
//!   and writes `measured.rs` of each, in the workspace of that folder (`make weights`).
//! * `crust-chain-bench runtime`: the figures of docs/benchmarks.md that follow from the same measurements.
//! * `crust-chain-bench block FOLDER`: the figures of a block over a database, made in that folder.
//!
//! A figure is a line of JSON: what, how much, the bar. `crust-bench` of the root workspace puts them into the document.

#![expect(clippy::arithmetic_side_effects, reason = "a figure that overflows ends the measurement, as it should")]

mod block;
mod evidence;
// The platforms that the pallet's tests make evidence with.
#[path = "../../pallets/mpow/src/fixtures.rs"]
#[expect(dead_code, clippy::unwrap_used, clippy::indexing_slicing, reason = "the tests' own, which need more of it")]
mod fixtures;
mod machine;
mod market;
mod statements;
mod weights;
mod world;

use std::path::PathBuf;

use anyhow::{Context, bail};
use codec::Encode;
use frame_support::weights::constants::ParityDbWeight;
use serde_json::json;

use machine::{Cost, Machine};
use statements::Said;

/// Statements of a block that is measured with them and without.
const A_BLOCK: u32 = 48;

fn main() -> anyhow::Result<()> {
    let mut words = std::env::args_os().skip(1);
    let what = words.next().unwrap_or_default();
    let mut folder = || words.next().map(PathBuf::from).context("name a folder");
    match what.to_str() {
        Some("weights") => weights::write(&folder()?, &weights::costs(&Machine::new(true)?)?),
        Some("runtime") => runtime(),
        Some("block") => whole_block(folder()?),
        Some("import") => {
            let (folder, how) = (folder()?, serde_json::from_slice(folder()?.as_os_str().as_encoded_bytes())?);
            println!("{}", serde_json::to_string(&block::import(&folder, how)?)?);
            Ok(())
        }
        _ => bail!("say what to measure: weights FOLDER, runtime or block FOLDER"),
    }
}

fn figure(what: &str, figure: String, bar: &str) {
    println!("{}", json!({ "what": what, "figure": figure, "bar": bar }));
}

/// With the database's weights.
fn with_database(cost: Cost) -> f64 {
    let weight = ParityDbWeight::get();
    let micros = |picos: u64| picos as f64 / 1e6;
    cost.micros + cost.reads * micros(weight.read) + cost.writes * micros(weight.write)
}

fn runtime() -> anyhow::Result<()> {
    let machine = Machine::new(true)?;
    let costs = weights::costs(&machine)?;
    let cost = |name: &str| costs.get(name).copied().with_context(|| format!("{name} was not measured"));
    let sum = |names: [&str; 2]| Ok::<Cost, anyhow::Error>(cost(names[0])?.with(cost(names[1])?, |a, b| a + b));
    let apart = |what: &str, cost: Cost, bars: [&str; 2]| {
        figure(&format!("{what}, without database"), format!("{:.3} ms", cost.micros / 1e3), bars[0]);
        let keys = format!("{:.0} keys read, {:.0} written", cost.reads.ceil(), cost.writes.ceil());
        let figure_of_both = format!("{:.2} ms ({keys})", with_database(cost) / 1e3);
        figure(&format!("{what}, with ParityDB's weights"), figure_of_both, bars[1]);
    };
    let nothing = machine.micros(&mut sp_state_machine::BasicExternalities::default(), "Core_version", &[])?;
    figure("a call that does nothing, part of each of these", format!("{:.3} ms", nothing / 1e3), "");
    let mut world = world::World::new(&machine)?;
    let remark = world.make(|| {
        world::rich("anyone")?;
        world::signed("anyone", 0, frame_system::Call::remark { remark: Vec::new() })
    })?;
    apart("for scale, a signed `remark`, which runs no code of ours", world.accepted(&remark)?, ["", ""]);
    for (what, said, bar) in [
        ("a `Report`", Said::Report, "≤ 0.15 ms"),
        ("`Receipts` of one order", Said::Receipts, "≤ 0.25 ms"),
        ("`Gone` of one order", Said::Gone, "≤ 0.25 ms"),
    ] {
        let mut world = world::World::new(&machine)?;
        let statements = statements::of_many(&mut world, said, A_BLOCK)?;
        let micros = world.micros_in_block(&statements)?;
        figure(&format!("one more in a block: {what}, without database"), format!("{:.3} ms", micros / 1e3), bar);
    }
    apart("a `Report`", sum(["AUTHORIZE_REPORT", "REPORT"])?, ["", "≤ 0.5 ms"]);
    apart("`Receipts` that name no order", sum(["AUTHORIZE_RECEIPTS", "RECEIPTS"])?, ["", ""]);
    apart("each order of a `Receipts`", cost("RECEIPT")?, ["≤ 0.1 ms", "≤ 0.7 ms"]);
    apart("the same where it takes over a place, on top", cost("RECEIPT_REPLACES")?, ["", ""]);
    apart("`Gone` that names no order", sum(["AUTHORIZE_GONE", "GONE_STATEMENT"])?, ["", ""]);
    apart("each order of a `Gone`", cost("GONE")?, ["≤ 0.1 ms", "≤ 0.7 ms"]);
    apart("the same for each open take of an order that ends, on top", cost("TAKE_ENDS")?, ["", ""]);

    let answered = |size: u64| -> anyhow::Result<Cost> {
        let mut world = world::World::new(&machine)?;
        let report = statements::report(&mut world, Some(size), 1)?;
        world.accepted(&report)
    };
    let plain = {
        let mut world = world::World::new(&machine)?;
        let report = statements::report(&mut world, None, 1)?;
        let bytes = report.encoded_size();
        figure("a report as a transaction, without an answer", format!("{bytes} bytes"), "≤ 320 bytes");
        world.accepted(&report)?
    };
    let (_, answer) = world::answer_for(1 << 30, 7)?;
    figure("the answer for a file of 1 GiB", format!("{} bytes", answer.encoded_size()), "≤ 1.8 KB");
    let more = answered(1 << 30)?.beyond(plain);
    let what = "what it adds to a report in wasm: the draw, the proof, its bytes";
    figure(what, format!("{:.3} ms", more.micros / 1e3), "≤ 0.1 ms");
    for (what, on_guest) in [("SGX", false), ("TDX", true)] {
        let mut world = world::World::new(&machine)?;
        let register = evidence::register(&mut world, on_guest)?;
        let cost = world.accepted(&register)?;
        let what = format!("registering with {what} evidence, collateral read from storage, through the host function");
        figure(&what, format!("{:.2} ms", cost.micros / 1e3), "≤ 3 ms");
    }
    Ok(())
}

fn whole_block(folder: PathBuf) -> anyhow::Result<()> {
    let measured = block::measure(&folder)?;
    let size = format!("{:.2} MB, filled in {:.2} s", measured.block_bytes as f64 / 1e6, measured.built);
    figure("a block of 3,000 reports of different nodes, every 24th with an answer", size, "");
    let import = |block::Import { seconds, on_processor, from_disk }: block::Import| {
        format!("{seconds:.2} s, {on_processor:.2} s of them on the processor; {:.0} MB from the disk", from_disk / 1e6)
    };
    let what = "its import to commit on one core, 10^5 nodes in state";
    let database = format!("database of {:.0} MB", measured.database_bytes as f64 / 1e6);
    figure(&format!("{what}, all caches cold, {database}"), import(measured.cold), "≤ 2 s");
    figure(
        "for scale, the same without reading ahead, as execution asks for one key after the other",
        import(measured.one_by_one),
        "",
    );
    figure(&format!("{what}, the client's caches cold"), import(measured.warm), "");
    Ok(())
}
