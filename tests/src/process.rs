//! Programs: where they are, what one run of them said, and what a process does to the machine.

use std::{
    fs,
    net::TcpListener,
    path::PathBuf,
    process::{Output, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, anyhow, bail};
use ring::rand::{SecureRandom, SystemRandom};
use rustix::process::{Pid, Signal, kill_process};
use tokio::time::timeout;

/// The longest that a command of a test may take.
const PATIENCE: Duration = Duration::from_secs(900);

/// Ports that the kernel hands out to nobody by itself, and `crust dev` to none of its children.
const FIRST_PORT: u16 = 10_000;
const PORTS: u16 = 10_000;

/// The folder of the built programs.
pub fn bin() -> PathBuf {
    let given = std::env::var_os("CRUST_BIN").map(PathBuf::from);
    given.unwrap_or_else(|| [env!("CARGO_MANIFEST_DIR"), "..", "bin"].iter().collect())
}

/// What a command did.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Exit status; `None` after a signal.
    pub status: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Finished {
    /// Runs a command to its end.
    pub async fn of(mut command: tokio::process::Command) -> anyhow::Result<Finished> {
        command.stdin(Stdio::null()).kill_on_drop(true);
        let output = timeout(PATIENCE, command.output()).await;
        let Output { status, stdout, stderr } = output.context("a command hangs")??;
        let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
        Ok(Finished { status: status.code(), stdout: text(stdout), stderr: text(stderr) })
    }

    /// The JSON that a successful command printed.
    pub fn json(&self) -> anyhow::Result<serde_json::Value> {
        if self.status != Some(0) {
            bail!("exit status {:?}: {}", self.status, self.stderr);
        }
        serde_json::from_str(&self.stdout).with_context(|| format!("no JSON: {}", self.stdout))
    }
}

/// Runs a command to its end, which must be a good one; what it printed and its greatest resident memory.
pub async fn watched(mut command: tokio::process::Command) -> anyhow::Result<(String, u64)> {
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let child = command.spawn()?;
    let pid = child.id().context("it has ended")?;
    let ended = tokio::spawn(child.wait_with_output());
    let mut tick = tokio::time::interval(Duration::from_millis(20));
    let mut peak = 0;
    while !ended.is_finished() && runs(pid) {
        // The last look before the end may find the process gone.
        peak = memory(pid, "status", "VmHWM").unwrap_or(peak).max(peak);
        tick.tick().await;
    }
    let output = ended.await??;
    if !output.status.success() {
        bail!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    Ok((String::from_utf8(output.stdout)?, peak))
}

/// SIGKILL to a process.
pub fn kill(pid: u32) -> anyhow::Result<()> {
    signal(pid, Signal::KILL)
}

/// Any signal to a process.
pub fn signal(pid: u32, signal: Signal) -> anyhow::Result<()> {
    let pid = Pid::from_raw(i32::try_from(pid)?).context("no process id")?;
    Ok(kill_process(pid, signal)?)
}

/// Whether a process exists and is no zombie.
pub fn runs(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with('Z'))
}

/// Asks again and again until it is so, for at most so long; whether it came to be so. For what no event tells of.
pub fn eventually(patience: Duration, mut is_so: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + patience;
    loop {
        if is_so() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// A port for a server that is about to start.
pub fn free_port() -> anyhow::Result<u16> {
    let mut random = [0; 2];
    SystemRandom::new().fill(&mut random).map_err(|_| anyhow!("no randomness"))?;
    let start = u16::from_le_bytes(random) % PORTS;
    let mut ports = (0..PORTS).map(|step| FIRST_PORT + (start.wrapping_add(step)) % PORTS);
    ports.find(|port| TcpListener::bind(("127.0.0.1", *port)).is_ok()).context("no free port")
}

/// A figure of `/proc/PID/FILE` in bytes, such as `VmHWM` of `status` or `Pss` of `smaps_rollup`.
pub fn memory(pid: u32, file: &str, key: &str) -> anyhow::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
    let kib = line.and_then(|line| line.split_whitespace().next()).with_context(|| format!("{file} has no {key}"))?;
    Ok(kib.parse::<u64>()?.saturating_mul(1 << 10))
}
