//! Chain nodes that are started by hand: one validator on a genesis of the test's own making, or authorities of the
//! preset `local`.

use std::{
    ffi::OsStr,
    fs::{self, File},
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, ensure};
use crust_client::chain::Chain;
use serde_json::Value;
use tokio::time::timeout;

use crate::process::{bin, free_port};

const PATIENCE: Duration = Duration::from_secs(120);

/// The node. Dropped, it is killed.
pub struct ChainNode {
    child: Child,
    pub url: String,
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
        let port = free_port()?;
        let log = File::create(dir.join("node.log"))?;
        let child = Command::new(bin().join("crust-node"))
            .args(["--validator", "--no-telemetry", "--no-prometheus", "--no-mdns"])
            .args(flags)
            .args(["--rpc-port", &port.to_string()])
            .arg("--chain")
            .arg(chain)
            .arg("--base-path")
            .arg(dir)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        Ok(ChainNode { child, url: format!("ws://127.0.0.1:{port}") })
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
