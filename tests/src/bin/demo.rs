//! `make demo`: a local network stores a file, proves that it holds it, pays for it and gives it back, step by step.
//!
//! The network stays up until Ctrl-C; with `DEMO_ONCE=1` the demo ends after the read-back. Exit status 0 only if the
//! bytes were equal and every node had proved that it held them.

use std::{fs, path::Path, time::Instant};

use anyhow::{Context, bail, ensure};
use crust_client::{
    chain::{Call, Chain, Event, Finality},
    money,
    wallet::Wallet,
};
use crust_protocol::order::OrderId;
use crust_tests::{Network, Options, Put, write_payload};
use tokio::signal::unix::{SignalKind, signal};

/// Bytes of the file.
const SIZE: u64 = 1 << 20;
/// Blocks within which a report must come: two slots and some.
const PATIENCE: usize = 60;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let started = Instant::now();
    // From the first moment on: whenever it comes, nothing is left behind.
    let mut interrupted = signal(SignalKind::interrupt())?;
    let once = std::env::var("DEMO_ONCE").is_ok_and(|value| !value.is_empty() && value != "0");
    step("starting a network: a chain with a block a second, two storage nodes with an enclave each");
    let mut network = Network::with(Options { nodes: 2, capacity: "1GiB".into() }).await?;
    let ended = tokio::select! {
        ended = tell(&network, started, once) => ended,
        _ = interrupted.recv() => {
            println!("\nstopping");
            Ok(())
        }
    };
    network.stop().await?;
    ended
}

/// The story. Unless it is told once, it goes on for ever after its end.
async fn tell(network: &Network, started: Instant, once: bool) -> anyhow::Result<()> {
    say(&format!("ready after {:.1} s", started.elapsed().as_secs_f64()));
    for node in &network.endpoints.nodes {
        say(&format!("node {} of {}: daemon {}, enclave {}", node.id, node.provider, node.pid, node.enclave_pid));
    }

    let chain = network.chain().await?;
    let file = network.dir().join("holiday.bin");
    write_payload(&file, 1, SIZE)?;
    step("storing a file of 1 MiB: cut into blocks, ordered on the chain, fetched and sealed by two nodes");
    let put = network.put(&file, &["--replicas", "2", "--term", "1h", "--wait"]).await?;
    say(&format!("CID    {}", put.cid));
    say(&format!("order  {}", put.order));
    let order = show_order(&chain, &put).await?;
    ensure!(put.replicas.len() == 2, "{} of 2 nodes sealed it", put.replicas.len());

    step("waiting until each enclave has checked what it holds and the chain has accepted its report");
    for replica in &put.replicas {
        prove(network, order, replica.node).await?;
    }

    step("paying the providers for the slots that were proved");
    let client = Wallet::development(&network.endpoints.accounts.client, &chain)?;
    for replica in &put.replicas {
        pay(&chain, &client, order, replica.node).await?;
    }

    step("fetching the file back from both nodes at once");
    let bytes = network.get(&put.cid).await?;
    ensure!(bytes == fs::read(&file)?, "the bytes that came back are not those that were stored");
    say(&format!("{} bytes, equal to the original", bytes.len()));
    println!("\ndone in {:.0} s: stored, proved, paid and given back", started.elapsed().as_secs_f64());

    if !once {
        invite(network);
        std::future::pending::<()>().await;
    }
    Ok(())
}

async fn show_order(chain: &Chain, put: &Put) -> anyhow::Result<OrderId> {
    let id: OrderId = hex::decode(put.order.trim_start_matches("0x"))?.try_into().ok().context("no order id")?;
    let order = chain.view(Finality::Best).await?.order(id).await?.context("the order is gone")?;
    say(&format!("costs  {} a slot and replica", money::show(order.rate)));
    for replica in &order.replicas {
        say(&format!("node {} sealed it; its enclave's receipt is in block {}", replica.node, replica.since));
    }
    Ok(id)
}

/// Waits for a report that was made after the receipt.
async fn prove(network: &Network, order: OrderId, node: u32) -> anyhow::Result<()> {
    let what = format!("a report of node {node}");
    let report = network.until(&what, PATIENCE, |view| async move {
        let order = view.order(order).await?.context("the order is gone")?;
        let since = order.replica_of(node).context("the replica is gone")?.since;
        let record = view.node(node).await?.context("the node is gone")?;
        Ok(record.last_report.filter(|report| report.block > since && report.stored_bytes >= SIZE))
    });
    let report = report.await?;
    if report.good_files != u8::MAX {
        bail!("node {node} reports damage: {} of 255 are good", report.good_files);
    }
    say(&format!(
        "node {node}, slot {}: {} bytes of files and {} bytes of filler, all samples good (block {})",
        report.slot, report.stored_bytes, report.filler_bytes, report.block
    ));
    Ok(())
}

async fn pay(chain: &Chain, client: &Wallet, order: OrderId, node: u32) -> anyhow::Result<()> {
    let included = chain.submit(Call::Claim { order, node }, client).await?;
    let paid = included.events.iter().find_map(|event| match event {
        Event::Claimed { provider_part, pot_part, treasury_part, .. } => {
            Some((*provider_part, *pot_part, *treasury_part))
        }
        _ => None,
    });
    let (provider, pot, treasury) = paid.context("nothing was claimed")?;
    let (provider, pot, treasury) = (money::show(provider), money::show(pot), money::show(treasury));
    say(&format!("node {node}: {provider} to its provider, {pot} to the staking pot, {treasury} to the treasury"));
    Ok(())
}

fn invite(network: &Network) {
    println!("\nThe network stays up until Ctrl-C. In another terminal:\n");
    println!("  export CRUST_DEV={}", network.dir().display());
    println!("  {} put FILE --wait", relative(&crust_tests::bin().join("crust")).display());
    println!("\nchain  {}", network.endpoints.chain);
    for node in &network.endpoints.nodes {
        println!("node {} {}/v1/status", node.id, node.admin);
    }
}

fn relative(path: &Path) -> &Path {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(here).unwrap_or(path)
}

fn step(text: &str) {
    println!("\n== {text}");
}

fn say(text: &str) {
    println!("   {text}");
}
