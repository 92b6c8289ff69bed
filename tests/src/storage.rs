//! A storage node that is started by hand: a development enclave and a daemon with a configuration of its own, for
//! what `crust dev` does not arrange: another chain endpoint, several disks, a supervisor that does nothing.

use std::{
    fmt::Write as _,
    fs,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use anyhow::{Context, bail};
use crust_enclave::rpc::{self, Request, Response};
use serde_json::Value;
use tokio::time::timeout;

use crate::process::{bin, free_port, kill};

const PATIENCE: Duration = Duration::from_secs(120);

/// Daemon and enclave. Dropped, both are killed.
pub struct StorageNode {
    pub dir: PathBuf,
    pub admin: String,
    enclave: Option<Child>,
    daemon: Option<Child>,
}

impl StorageNode {
    /// Starts a node of a development provider in a directory of its own, with a disk of each capacity.
    pub fn start(dir: &Path, chain: &str, provider: &str, disks: &[&str]) -> anyhow::Result<StorageNode> {
        Self::with_collateral(dir, chain, provider, "100", disks)
    }

    /// The same with so many tokens of collateral.
    pub fn with_collateral(
        dir: &Path,
        chain: &str,
        provider: &str,
        tokens: &str,
        disks: &[&str],
    ) -> anyhow::Result<StorageNode> {
        let disks: Vec<_> = (0..).zip(disks).map(|(at, capacity)| (format!("disk-{at}").into(), *capacity)).collect();
        let mut node = Self::prepare(dir, chain, (provider, tokens), &disks, "")?;
        node.run()?;
        Ok(node)
    }

    /// Lays a node out without starting it: of a provider with so many tokens of collateral, with disks that may lie
    /// elsewhere, and more lines of configuration.
    pub fn prepare(
        dir: &Path,
        chain: &str,
        (provider, tokens): (&str, &str),
        disks: &[(PathBuf, &str)],
        more: &str,
    ) -> anyhow::Result<StorageNode> {
        fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
        let (port, peers) = (free_port()?, free_port()?);
        let mut config = format!(
            "chain = \"{chain}\"\nstate = \"state\"\nenclave = \"enclave.sock\"\n\
             listen = [\"/ip4/127.0.0.1/tcp/{peers}\"]\nadmin = \"127.0.0.1:{port}\"\n\
             provider = {{ dev = \"{provider}\", collateral = \"{tokens}\" }}\n{more}"
        );
        for (path, capacity) in disks {
            write!(config, "[[disks]]\npath = \"{}\"\ncapacity = \"{capacity}\"\n", path.display())?;
        }
        for part in ["state", "platform"] {
            fs::DirBuilder::new().recursive(true).mode(0o700).create(dir.join(part))?;
        }
        fs::write(dir.join("storage.toml"), config)?;
        let admin = format!("http://127.0.0.1:{port}");
        Ok(StorageNode { dir: dir.to_owned(), admin, enclave: None, daemon: None })
    }

    /// Starts what does not run.
    pub fn run(&mut self) -> anyhow::Result<()> {
        if self.enclave.is_none() {
            let enclave = enclave(&self.socket(), &self.dir.join("platform"), &[]);
            self.enclave = Some(spawn(enclave, &self.dir.join("enclave.log"))?);
        }
        self.run_daemon()
    }

    /// Starts the daemon alone.
    pub fn run_daemon(&mut self) -> anyhow::Result<()> {
        if self.daemon.is_none() {
            let mut daemon = Command::new(bin().join("crust-storage"));
            daemon.arg("--config").arg(self.dir.join("storage.toml"));
            self.daemon = Some(spawn(daemon, &self.dir.join("storage.log"))?);
        }
        Ok(())
    }

    /// Kills both.
    pub fn kill(&mut self) {
        for child in [self.daemon.take(), self.enclave.take()].iter_mut().flatten() {
            // It has ended by itself otherwise.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Waits until the node says that it is ready.
    pub async fn ready(&self) -> anyhow::Result<()> {
        let asking = async {
            let mut tick = tokio::time::interval(Duration::from_millis(100));
            loop {
                tick.tick().await;
                let answer = reqwest::get(format!("{}/ready", self.admin)).await;
                if answer.is_ok_and(|answer| answer.status().is_success()) {
                    return;
                }
            }
        };
        timeout(PATIENCE, asking).await.with_context(|| format!("the node is not ready\n{}", self.log()))
    }

    /// An answer of the admin API.
    pub async fn admin(&self, path: &str) -> anyhow::Result<Value> {
        let answer = reqwest::Client::new().get(format!("{}{path}", self.admin)).timeout(Duration::from_secs(10));
        Ok(answer.send().await?.error_for_status()?.json().await?)
    }

    /// Asks the admin API to do something.
    pub async fn post(&self, path: &str) -> anyhow::Result<Value> {
        let request = reqwest::Client::new().post(format!("{}{path}", self.admin)).timeout(PATIENCE);
        Ok(request.send().await?.error_for_status()?.json().await?)
    }

    /// Daemon and enclave, if both were started.
    pub fn pids(&self) -> Option<(u32, u32)> {
        Some((self.daemon.as_ref()?.id(), self.enclave.as_ref()?.id()))
    }

    /// What a worker of the daemon last failed with.
    pub async fn error_of(&self, worker: &str) -> anyhow::Result<Option<String>> {
        let status = self.admin("/v1/status").await?;
        let workers = status.get("workers").and_then(Value::as_array).context("no workers")?;
        let found = workers.iter().find(|it| it.get("name").and_then(Value::as_str) == Some(worker));
        let error = found.context("no such worker")?.get("error").and_then(Value::as_str);
        Ok(error.map(str::to_owned))
    }

    /// The enclave's state, over its socket.
    pub fn enclave_state(&self) -> anyhow::Result<rpc::State> {
        let mut stream = std::os::unix::net::UnixStream::connect(self.socket())?;
        rpc::write_frame(&mut stream, &Request::State)?;
        let mut body = Vec::new();
        rpc::read_frame(&mut stream, &mut body)?;
        match rpc::decode(&body)? {
            Response::State(state) => Ok(state),
            other => bail!("no state: {other:?}"),
        }
    }

    pub fn socket(&self) -> PathBuf {
        self.dir.join("enclave.sock")
    }

    /// What the daemon wrote.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("storage.log")).unwrap_or_default()
    }
}

impl Drop for StorageNode {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("--- {}\n{}", self.dir.display(), self.log());
        }
        self.kill();
    }
}

/// A development enclave that is started again whenever it ends, as a supervisor does it. Dropped, it is killed.
pub struct KeptEnclave {
    stop: Arc<AtomicBool>,
    pid: Arc<AtomicU32>,
    keeper: Option<JoinHandle<anyhow::Result<()>>>,
}

impl KeptEnclave {
    /// Starts it on a software platform, with further arguments.
    pub fn start(socket: &Path, platform: &Path, more: &[&str]) -> anyhow::Result<KeptEnclave> {
        let more: Vec<String> = more.iter().map(|it| (*it).to_owned()).collect();
        let (stop, pid) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU32::new(0)));
        let (socket, platform, kept) = (socket.to_owned(), platform.to_owned(), (stop.clone(), pid.clone()));
        let keeper = thread::Builder::new().name("supervisor".into()).spawn(move || {
            let (stop, pid) = kept;
            while !stop.load(Ordering::SeqCst) {
                let log = socket.with_extension("log");
                let mut child = spawn(enclave(&socket, &platform, &more), &log)?;
                pid.store(child.id(), Ordering::SeqCst);
                if stop.load(Ordering::SeqCst) {
                    child.kill()?;
                }
                child.wait()?;
            }
            Ok(())
        })?;
        Ok(KeptEnclave { stop, pid, keeper: Some(keeper) })
    }

    /// Kills the process; another takes its place.
    pub fn kill(&self) -> anyhow::Result<()> {
        kill(self.pid.load(Ordering::SeqCst))
    }
}

impl Drop for KeptEnclave {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // It has ended by itself otherwise.
        let _ = kill(self.pid.load(Ordering::SeqCst));
        let _ = self.keeper.take().map(JoinHandle::join);
    }
}

fn enclave(socket: &Path, platform: &Path, more: &[String]) -> Command {
    let mut enclave = Command::new(bin().join("crust-enclave-dev"));
    enclave.arg("--socket").arg(socket).arg("--platform").arg(platform).args(more);
    enclave
}

fn spawn(mut command: Command, log: &Path) -> anyhow::Result<Child> {
    let log = fs::OpenOptions::new().create(true).append(true).open(log)?;
    let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn();
    child.with_context(|| format!("cannot start {}", command.get_program().display()))
}
