//! Whole networks at rest: how soon they are ready, how long the demo takes, how little memory a node needs.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use anyhow::{Context, ensure};
use crust_tests::{Network, Options, memory, write_payload};
use tokio::process::Command;

use crate::table::{Table, root};

const GIB: u64 = 1 << 30;

pub async fn ready(table: &mut Table) -> anyhow::Result<()> {
    let started = Instant::now();
    let mut network = Network::start().await?;
    let ready = started.elapsed().as_secs_f64();
    network.stop().await?;
    table.add("`crust dev` with two nodes, empty directory to `ready`", format!("{ready:.1} s"), "< 20 s");
    Ok(())
}

/// All of it, the looks included at what is installed and built already.
pub async fn demo(table: &mut Table) -> anyhow::Result<()> {
    let mut make = Command::new("make");
    // Not as a part of the `make` that measures.
    make.args(["demo", "DEMO_ONCE=1"]).current_dir(root()).env_remove("MAKEFLAGS").env_remove("MAKELEVEL");
    let started = Instant::now();
    let status = make.stdout(Stdio::null()).status().await?;
    ensure!(status.success(), "the demo failed with {status}");
    let took = started.elapsed().as_secs_f64();
    table.add("`make demo DEMO_ONCE=1` from a warm build", format!("{took:.0} s"), "< 120 s");
    Ok(())
}

/// What daemon and enclave take when they have been left alone for a minute.
pub async fn proportional_set(table: &mut Table) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let network = Network::with(Options { nodes: 1, capacity: "1500MiB".into() }).await?;
    let file = dir.path().join("file");
    write_payload(&file, 2, GIB)?;
    network.put(&file, &["--replicas", "1", "--term", "2h", "--wait"]).await?;
    tokio::time::sleep(Duration::from_secs(60)).await;
    let node = network.endpoints.nodes.first().context("no node")?;
    let megabytes = |pid| memory(pid, "smaps_rollup", "Pss").map(|bytes| bytes / 1_000_000);
    let (daemon, enclave) = (megabytes(node.pid)?, megabytes(node.enclave_pid)?);
    let figure = format!("{daemon} + {enclave} = {} MB", daemon + enclave);
    table.add("daemon + enclave, PSS, 1 GiB held, a minute after", figure, "< 120 MB");
    Ok(())
}
