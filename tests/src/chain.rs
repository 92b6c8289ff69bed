//! Chain nodes that are started by hand: one validator on a genesis of the test's own making, or authorities of the
//! preset `local`.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, File},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, ensure};
use crust_client::chain::{BlockRef, Chain};
use crust_protocol::{NodeId, Slot};
use rustix::process::Signal;
use serde_json::Value;
use tokio::time::timeout;

use crate::process::{bin, free_port, signal};

const PATIENCE: Duration = Duration::from_secs(120);

/// The node. Dropped, it is killed.
pub struct ChainNode {
    dir: PathBuf,
    arguments: Vec<OsString>,
    child: Child,
    pub url: String,
    /// Where Prometheus would look.
    pub metrics: String,
}

impl ChainNode {
    /// A chain's specification; with `raw` the genesis state itself.
    pub fn specification(chain: &str, raw: bool) -> anyhow::Result<Value> {
        let mut command = Command::new(bin().join("crust-node"));
        command.args(["export-chain-spec", "--chain", chain]).args(raw.then_some("--raw"));
        let output = command.output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(serde_json::from_slice(&output.stdout)?)
    }

    /// Starts //Alice on a specification, in a directory of its own.
    pub fn start(dir: &Path, specification: &Value) -> anyhow::Result<ChainNode> {
        fs::create_dir_all(dir)?;
        let path = dir.join("chain.json");
        fs::write(&path, specification.to_string())?;
        Self::run(dir, path.as_os_str(), &["--alice", "--listen-addr", "/ip4/127.0.0.1/tcp/0"])
    }

    /// Starts an authority of the preset `local`, such as `--bob`, with more flags.
    pub fn authority(dir: &Path, name: &str, more: &[&str]) -> anyhow::Result<ChainNode> {
        fs::create_dir_all(dir)?;
        Self::run(dir, OsStr::new("local"), &[&[name], more].concat())
    }

    fn run(dir: &Path, chain: &OsStr, flags: &[&str]) -> anyhow::Result<ChainNode> {
        let (port, metrics) = (free_port()?, free_port()?);
        let ports = ["--rpc-port".into(), port.to_string(), "--prometheus-port".into(), metrics.to_string()];
        let mut arguments: Vec<OsString> = ["--validator", "--no-telemetry", "--no-mdns"].map(OsString::from).into();
        arguments.extend(flags.iter().map(OsString::from));
        arguments.extend(ports.map(OsString::from));
        arguments.extend(["--chain".into(), chain.into(), "--base-path".into(), dir.into()]);
        let child = Self::spawn(dir, &arguments, &[])?;
        let (url, metrics) = (format!("ws://127.0.0.1:{port}"), format!("http://127.0.0.1:{metrics}/metrics"));
        Ok(ChainNode { dir: dir.to_owned(), arguments, child, url, metrics })
    }

    fn spawn(dir: &Path, arguments: &[OsString], more: &[&str]) -> anyhow::Result<Child> {
        let log = File::options().create(true).append(true).open(dir.join("node.log"))?;
        let mut command = Command::new(bin().join("crust-node"));
        command.args(arguments).args(more).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Ok(command.spawn()?)
    }

    /// Ends it in good order: what it has told of its blocks is on its disk.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        signal(self.child.id(), Signal::TERM)?;
        self.child.wait()?;
        Ok(())
    }

    /// Starts it again, at the same ports, on what is in its directory by now, with more flags.
    pub fn go_on(&mut self, more: &[&str]) -> anyhow::Result<()> {
        self.child = Self::spawn(&self.dir, &self.arguments, more)?;
        Ok(())
    }

    /// A connection, as soon as it answers.
    pub async fn connect(&self) -> anyhow::Result<Chain> {
        let connecting = async {
            let mut tick = tokio::time::interval(Duration::from_millis(200));
            loop {
                tick.tick().await;
                match Chain::connect(&self.url).await {
                    Err(error) if error.is_retryable() => {}
                    other => return other,
                }
            }
        };
        Ok(timeout(PATIENCE, connecting).await.context("the chain node does not answer")??)
    }
}

impl Drop for ChainNode {
    fn drop(&mut self) {
        // It has ended by itself otherwise.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Slots among these in which a node has not reported; the last may still run.
pub async fn slots_without_report(chain: &Chain, node: NodeId, first: Slot, last: Slot) -> anyhow::Result<Vec<Slot>> {
    let mut without = Vec::new();
    for slot in first..=last {
        let number = chain.best().await?.number.min(chain.parameters().first_block(slot.saturating_add(1)) - 1);
        let hash = chain.block_hash(number).await?.context("the block is gone")?;
        let view = chain.view_at(BlockRef { number, hash }).await?;
        let record = view.node(node).await?.context("no such node")?;
        if record.last_report.is_none_or(|report| report.slot != slot) {
            without.push(slot);
        }
    }
    Ok(without)
}
