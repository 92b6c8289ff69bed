//! How soon a node is back after `kill -9` of daemon and enclave, with a million files in log and index.
//!
//! The files are made by the enclave as a library, on the platform of a node that runs otherwise, and put into its log
//! and its index while it is down; what lies on the disk does not matter to a start.

use std::{sync::Arc, time::Instant};

use anyhow::Context;
use crust_client::wallet::Wallet;
use crust_enclave::{Constants, Enclave};
use crust_enclave_dev::platform::SoftwarePlatform;
use crust_storage_node::store::{
    disks::DiskId,
    index::{Index, Record, State},
    log::Log,
};
use crust_tests::{ChainNode, StorageNode, memory};

use crate::{checks, table::Table};

const FILES: u64 = 1_000_000;
/// Files written at a time, so that they need not reach the disk one by one.
const TOGETHER: u64 = 1_000;
const PROVIDER: &str = "//Provider0";

pub async fn restart(table: &mut Table) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let chain = ChainNode::start(&dir.path().join("chain"), &ChainNode::specification("dev", false)?)?;
    let connected = chain.connect().await?;
    let mut node = StorageNode::start(&dir.path().join("node"), &chain.url, PROVIDER, &["64MiB"])?;
    node.ready().await?;
    let few = again(&mut node).await?;
    node.kill();
    let provider = Wallet::development(PROVIDER, &connected)?;
    let (node, log) = tokio::task::spawn_blocking(move || {
        let log = fill(&node, connected.genesis(), provider.account());
        (node, log)
    })
    .await?;
    let (mut node, log) = (node, log?);
    let many = again(&mut node).await?;
    let once_more = again(&mut node).await?;
    let megabytes = |pid| memory(pid, "smaps_rollup", "Pss").map(|bytes| bytes / 1_000_000);
    let (daemon, enclave) = node.pids().context("the node does not run")?;
    let held = format!("{} + {} MB", megabytes(daemon)?, megabytes(enclave)?);
    let started = Instant::now();
    node.post("/v1/snapshot").await?;
    let taken = started.elapsed().as_secs_f64();
    let status = node.admin("/v1/status").await?;
    let bytes =
        status.pointer("/enclave/log/bytes").and_then(serde_json::Value::as_u64).context("no size of the log")?;
    let short = again(&mut node).await?;

    let what = "kill -9 of daemon and enclave to `ready`, chain running";
    table.add(format!("{what}, no file"), format!("{few:.1} s"), "");
    let figure = format!("{many:.1} s, {once_more:.1} s; a log of {} MB", log / 1_000_000);
    table.add(format!("{what}, 10^6 files, each a record"), figure, "≤ 5 s");
    let figure = format!("{short:.1} s; a log of {} MB, taken in {taken:.1} s", bytes / 1_000_000);
    table.add(format!("{what}, 10^6 files in a snapshot"), figure, "≤ 5 s");
    table.add("daemon + enclave, PSS with 10^6 files after such a start", held, "");
    Ok(())
}

/// Seconds from the start of both processes until the node is ready.
async fn again(node: &mut StorageNode) -> anyhow::Result<f64> {
    node.kill();
    let started = Instant::now();
    node.run()?;
    node.ready().await?;
    Ok(started.elapsed().as_secs_f64())
}

/// Puts the files into log and index of a node that is down; bytes of the log.
fn fill(node: &StorageNode, genesis: [u8; 32], provider: [u8; 32]) -> anyhow::Result<u64> {
    let state = node.dir.join("state");
    let mut log = Log::open(state.join("enclave.log"), None)?;
    let platform = SoftwarePlatform::open(&node.dir.join("platform"))?;
    let mut enclave = Enclave::new(Arc::new(platform), Constants::DEVELOPMENT);
    log.batches(|items| enclave.load(&items).map_err(anyhow::Error::from))?;
    enclave.open(genesis, provider)?;
    let index = Index::open(&state.join("index.redb"))?;
    let disk = disk(node)?;
    let (mut items, mut records) = (Vec::new(), Vec::new());
    for nonce in 0..FILES {
        let (content, (_, _, item)) = (checks::content(nonce), checks::seal_on(&mut enclave, nonce, disk)?);
        let rows = vec![(content.cid.multihash(), 0, 8)];
        let mut record = Record::new(content, State::Held);
        record.disk = Some(disk);
        items.push(item);
        records.push((record, rows));
        if nonce % TOGETHER == TOGETHER - 1 {
            log.append(&std::mem::take(&mut items))?;
            index.add(&std::mem::take(&mut records))?;
        }
    }
    Ok(log.overview().bytes)
}

/// The id of the node's disk.
fn disk(node: &StorageNode) -> anyhow::Result<DiskId> {
    let text = std::fs::read_to_string(node.dir.join("disk-0/crust-disk"))?;
    let id = text.lines().nth(1).context("no id of the disk")?;
    hex::decode(id)?.try_into().ok().context("another form of id")
}
