//! A network of `crust dev` in a directory of its own, with its endpoints, its user, its chain and its end.

use std::{
    ffi::OsStr,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::Stdio,
    time::Duration,
};

use anyhow::{Context, bail};
use crust_client::chain::{BlockRef, Chain, Finality, View};
use crust_protocol::BlockNumber;
use futures::StreamExt;
use rustix::process::Signal;
use serde::Deserialize;
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, BufReader},
    process::{Child, Command},
    time::timeout,
};

use crate::{
    payload::write_payload,
    process::{Finished, bin, eventually, runs, signal},
};

/// Time for `crust dev` to become ready, or to end.
const PATIENCE: Duration = Duration::from_secs(150);
/// Time for killed children to be gone.
const CLEAN_UP: Duration = Duration::from_secs(5);

/// How a network is started.
#[derive(Clone, Debug)]
pub struct Options {
    pub nodes: u16,
    pub capacity: String,
}

impl Default for Options {
    fn default() -> Self {
        Options { nodes: 2, capacity: "128MiB".into() }
    }
}

/// `endpoints.json`, as scripts outside see it.
#[derive(Clone, Debug, Deserialize)]
pub struct Endpoints {
    pub chain: String,
    pub genesis: String,
    pub nodes: Vec<NodeEndpoints>,
    pub validators: Vec<ValidatorEndpoints>,
    pub accounts: Accounts,
}

#[derive(Clone, Debug, Deserialize)]
pub struct NodeEndpoints {
    pub id: u32,
    pub key: String,
    pub provider: String,
    pub admin: String,
    pub dir: PathBuf,
    pub pid: u32,
    pub enclave_pid: u32,
    pub peer: String,
}

#[derive(Clone, Debug, Deserialize)]
pub struct ValidatorEndpoints {
    pub rpc: String,
    pub pid: u32,
}

#[derive(Clone, Debug, Deserialize)]
pub struct Accounts {
    pub client: String,
}

/// What `crust put --json` prints.
#[derive(Clone, Debug, Deserialize)]
pub struct Put {
    pub cid: String,
    pub order: String,
    pub size: u64,
    pub price: String,
    pub replicas: Vec<SealedReplica>,
}

#[derive(Clone, Debug, Deserialize)]
pub struct SealedReplica {
    pub node: u32,
    pub sealed_at: BlockNumber,
}

/// A running network. Dropped, it is killed with all its children and its directory is removed.
pub struct Network {
    dir: Dir,
    options: Options,
    process: Option<Child>,
    pub endpoints: Endpoints,
}

enum Dir {
    Own(TempDir),
    Given(PathBuf),
}

impl Network {
    /// Two storage nodes, ready.
    pub async fn start() -> anyhow::Result<Network> {
        Self::with(Options::default()).await
    }

    pub async fn with(options: Options) -> anyhow::Result<Network> {
        let dir = tempfile::Builder::new().prefix("crust-").tempdir()?;
        Self::launch(Dir::Own(dir), options).await
    }

    /// In a directory that stays.
    pub async fn in_dir(dir: &Path, options: Options) -> anyhow::Result<Network> {
        Self::launch(Dir::Given(dir.to_owned()), options).await
    }

    async fn launch(dir: Dir, options: Options) -> anyhow::Result<Network> {
        let (process, endpoints) = spawn(dir.path(), &options).await?;
        Ok(Network { dir, options, process: Some(process), endpoints })
    }

    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Process id of `crust dev`.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().and_then(Child::id)
    }

    /// The endpoints as they are now, after children were replaced.
    pub fn refresh(&mut self) -> anyhow::Result<&Endpoints> {
        self.endpoints = read_endpoints(self.dir())?;
        Ok(&self.endpoints)
    }

    /// SIGTERM to `crust dev`, which ends all its children.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        self.stop_by(Signal::TERM).await
    }

    /// The same by another signal.
    pub async fn stop_by(&mut self, by: Signal) -> anyhow::Result<()> {
        let Some(mut process) = self.process.take() else { return Ok(()) };
        if let Some(pid) = process.id() {
            signal(pid, by)?;
        }
        let status = timeout(PATIENCE, process.wait()).await.context("`crust dev` does not end")??;
        if !status.success() {
            bail!("`crust dev` ended with {status}");
        }
        Ok(())
    }

    /// Starts the stopped network again on its directory.
    pub async fn go_on(&mut self) -> anyhow::Result<()> {
        self.stop().await?;
        let (process, endpoints) = spawn(self.dir(), &self.options).await?;
        (self.process, self.endpoints) = (Some(process), endpoints);
        Ok(())
    }

    /// The user's command, as the development client.
    pub fn command<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = Command::new(bin().join("crust"));
        command.args(arguments).env("CRUST_DEV", self.dir()).env("NO_COLOR", "1").kill_on_drop(true);
        command
    }

    /// Runs the user's command to its end.
    pub async fn crust<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> anyhow::Result<Finished> {
        Finished::of(self.command(arguments)).await
    }

    /// A file in the network's directory, of bytes that no other seed makes.
    pub fn file(&self, seed: u64, size: u64) -> anyhow::Result<PathBuf> {
        let path = self.dir().join(format!("file-{seed}"));
        write_payload(&path, seed, size)?;
        Ok(path)
    }

    /// `crust provider … --json` as the provider of a node.
    pub async fn provider(&self, node: &NodeEndpoints, words: &[&str]) -> anyhow::Result<Finished> {
        let mut command = self.command(["provider"].iter().chain(words).chain(["--json"].iter()));
        command.env("CRUST_ACCOUNT", &node.provider);
        Finished::of(command).await
    }

    /// `crust put PATH --json` with more arguments.
    pub async fn put(&self, path: &Path, more: &[&str]) -> anyhow::Result<Put> {
        let path = path.as_os_str();
        let words = [OsStr::new("put"), path, OsStr::new("--json")].into_iter().chain(more.iter().map(OsStr::new));
        let json = self.crust(words).await?.json()?;
        serde_json::from_value(json.clone()).with_context(|| json.to_string())
    }

    /// `crust get CID`; the bytes.
    pub async fn get(&self, cid: &str) -> anyhow::Result<Vec<u8>> {
        let path = self.dir().join(format!("got-{cid}"));
        let output = path.to_string_lossy().into_owned();
        let finished = self.crust(["get", cid, "-o", &output]).await?;
        if finished.status != Some(0) {
            bail!("get: exit status {:?}: {}", finished.status, finished.stderr);
        }
        let bytes = fs::read(&path)?;
        fs::remove_file(&path)?;
        Ok(bytes)
    }

    /// A connection to the chain; waits for its node if that is being replaced.
    pub async fn chain(&self) -> anyhow::Result<Chain> {
        let connect = async {
            let mut tick = tokio::time::interval(Duration::from_millis(100));
            loop {
                tick.tick().await;
                match Chain::connect(&self.endpoints.chain).await {
                    Err(error) if error.is_retryable() => {}
                    other => return other,
                }
            }
        };
        Ok(timeout(PATIENCE, connect).await.context("the chain does not answer")??)
    }

    /// Looks at every new best block, leaving none out, until the answer is there; for at most so many heads.
    pub async fn until<T, F>(&self, what: &str, blocks: usize, mut look: impl FnMut(View) -> F) -> anyhow::Result<T>
    where
        F: Future<Output = anyhow::Result<Option<T>>>,
    {
        let chain = self.chain().await?;
        let mut heads = Box::pin(chain.blocks(Finality::Best));
        let mut seen: Option<BlockNumber> = None;
        let mut left = blocks;
        while left > 0 {
            let head = timeout(PATIENCE, heads.next()).await.context("the chain stands still")?;
            let head = head.context("the chain is gone")?;
            let first = seen.map_or(head.number, |seen| seen.saturating_add(1).min(head.number));
            for number in first..=head.number {
                let hash = if number == head.number { Some(head.hash) } else { chain.block_hash(number).await? };
                let Some(hash) = hash else { continue };
                // While a chain node is being replaced it answers nothing; the next block will.
                let Ok(view) = chain.view_at(BlockRef { number, hash }).await else { continue };
                if let Some(answer) = look(view).await? {
                    return Ok(answer);
                }
            }
            seen = Some(head.number);
            left = left.saturating_sub(1);
        }
        bail!("not within {blocks} blocks: {what}")
    }

    /// An answer of a storage node's admin API.
    pub async fn admin(&self, node: usize, path: &str) -> anyhow::Result<serde_json::Value> {
        let node = self.endpoints.nodes.get(node).context("no such node")?;
        let answer = reqwest::Client::new().get(format!("{}{path}", node.admin)).timeout(Duration::from_secs(10));
        Ok(answer.send().await?.error_for_status()?.json().await?)
    }

    /// The ends of all logs, for a test that failed.
    pub fn logs(&self) -> String {
        logs(self.dir())
    }
}

impl Drop for Network {
    /// Kills what is left, the hard way; the directory can only go once nobody writes to it any more.
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.logs());
        }
        let Some(mut process) = self.process.take() else { return };
        // Without an error the process has ended by itself.
        let _ = process.start_kill();
        let endpoints = read_endpoints(self.dir()).unwrap_or_else(|_| self.endpoints.clone());
        if !eventually(CLEAN_UP, || !endpoints.pids().any(runs)) {
            eprintln!("a child of `crust dev` outlives it");
        }
    }
}

impl Endpoints {
    /// Every child.
    pub fn pids(&self) -> impl Iterator<Item = u32> + '_ {
        let nodes = self.nodes.iter().flat_map(|node| [node.pid, node.enclave_pid]);
        nodes.chain(self.validators.iter().map(|validator| validator.pid))
    }
}

impl Dir {
    fn path(&self) -> &Path {
        match self {
            Dir::Own(dir) => dir.path(),
            Dir::Given(dir) => dir,
        }
    }
}

async fn spawn(dir: &Path, options: &Options) -> anyhow::Result<(Child, Endpoints)> {
    let program = bin().join("crust");
    let mut process = Command::new(&program)
        .arg("dev")
        .arg("--dir")
        .arg(dir)
        .args(["--nodes", &options.nodes.to_string(), "--capacity", &options.capacity])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start {}; `make build` makes it", program.display()))?;
    let mut lines = BufReader::new(process.stdout.take().context("no output")?).lines();
    let ready = async {
        while let Some(line) = lines.next_line().await? {
            if line == "ready" {
                return Ok(());
            }
        }
        bail!("`crust dev` ended before it was ready\n{}", logs(dir))
    };
    timeout(PATIENCE, ready).await.with_context(|| format!("`crust dev` is not ready\n{}", logs(dir)))??;
    // It must not be stopped by a full pipe.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    Ok((process, read_endpoints(dir)?))
}

fn read_endpoints(dir: &Path) -> anyhow::Result<Endpoints> {
    let text = fs::read(dir.join("endpoints.json")).context("no endpoints.json")?;
    serde_json::from_slice(&text).context("endpoints.json is not as promised")
}

fn logs(dir: &Path) -> String {
    let mut text = String::new();
    let Ok(entries) = fs::read_dir(dir) else { return text };
    for folder in entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()) {
        for log in ["node.log", "enclave.log", "storage.log"].map(|name| folder.join(name)) {
            let Ok(bytes) = fs::read(&log) else { continue };
            let lines = String::from_utf8_lossy(&bytes);
            let lines: Vec<&str> = lines.lines().collect();
            let tail = lines.iter().skip(lines.len().saturating_sub(40));
            let _ = writeln!(text, "--- {}", log.display());
            tail.for_each(|line| {
                let _ = writeln!(text, "{line}");
            });
        }
    }
    text
}
