//! One child process of `crust dev`: how it is found, started and ended.
//!
//! A child is started through this same program (`crust dev -- PARENT PROGRAM ARGUMENTS`), which asks the kernel to
//! kill it when its parent dies, and then becomes the program. So no child outlives `crust dev`, however that ends. A
//! child has a process group of its own: Ctrl-C reaches `crust dev` alone, which ends its children in order.

use std::{
    ffi::{OsStr, OsString},
    fs,
    os::unix::process::{CommandExt, ExitStatusExt},
    path::{Path, PathBuf},
    process::{ExitStatus, Stdio},
};

use anyhow::{Context, anyhow, bail};
use rustix::process::{Pid, Signal, getppid, kill_process_group, set_parent_process_death_signal};

/// Lines of a log that are worth showing.
const TAIL: usize = 15;

/// What a child is, in the order in which they start.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    Chain,
    Enclave,
    Storage,
}

/// A program with all that it is started with.
#[derive(Clone, Debug)]
pub struct Program {
    pub kind: Kind,
    /// Such as `storage node 0`.
    pub name: String,
    pub path: PathBuf,
    pub arguments: Vec<OsString>,
    /// Where its output goes.
    pub log: PathBuf,
}

/// A running child. Dropped, it is killed.
pub struct Child {
    process: tokio::process::Child,
}

impl Child {
    /// Starts a program. To be called from the main thread: the kernel takes the end of the starting thread for the
    /// end of the parent.
    pub fn start(program: &Program) -> anyhow::Result<Child> {
        let log = fs::OpenOptions::new().create(true).append(true).open(&program.log);
        let log = log.with_context(|| format!("cannot write {}", program.log.display()))?;
        let this = std::env::current_exe().context("cannot find this program")?;
        let process = tokio::process::Command::new(this)
            .arg("dev")
            .arg("--")
            .arg(std::process::id().to_string())
            .arg(&program.path)
            .args(&program.arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("cannot start {}", program.name))?;
        Ok(Child { process })
    }

    pub fn pid(&self) -> Option<u32> {
        self.process.id()
    }

    /// Waits for its end; says how it ended.
    pub async fn ended(mut self) -> String {
        match self.process.wait().await {
            Ok(status) => describe(status),
            Err(error) => error.to_string(),
        }
    }
}

/// Finds a program beside this one, then in PATH.
pub fn find(name: &str) -> anyhow::Result<PathBuf> {
    let beside = std::env::current_exe().ok().and_then(|path| Some(path.parent()?.join(name)));
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found =
        beside.into_iter().chain(std::env::split_paths(&path).map(|dir| dir.join(name))).find(|it| it.is_file());
    found.ok_or_else(|| anyhow!("the program `{name}` is neither beside this one nor in PATH; `make build` makes it"))
}

/// Turns this process into a child: `PARENT PROGRAM ARGUMENTS`. Returns only if that fails.
pub fn become_program(words: &[OsString]) -> anyhow::Error {
    match try_become(words) {
        Ok(never) => match never {},
        Err(error) => error,
    }
}

fn try_become(words: &[OsString]) -> anyhow::Result<std::convert::Infallible> {
    let [parent, program, arguments @ ..] = words else { bail!("PARENT PROGRAM ARGUMENTS are missing") };
    let parent: i32 = parent.to_str().and_then(|text| text.parse().ok()).context("PARENT is a process id")?;
    set_parent_process_death_signal(Some(Signal::KILL))?;
    // The parent may have died before the line above.
    if getppid().map(Pid::as_raw_nonzero).map(|pid| pid.get()) != Some(parent) {
        bail!("the parent is gone");
    }
    let error = std::process::Command::new(program).args(arguments).exec();
    Err(error).with_context(|| format!("cannot start {}", OsStr::to_string_lossy(program)))
}

/// SIGTERM to a child and its own children.
pub fn ask_to_end(pid: u32) {
    signal(pid, Signal::TERM);
}

/// SIGKILL to a child and its own children.
pub fn kill(pid: u32) {
    signal(pid, Signal::KILL);
}

/// The last lines of a log.
pub fn tail(log: &Path) -> String {
    let text = fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    lines.iter().skip(lines.len().saturating_sub(TAIL)).map(|line| format!("  {line}\n")).collect()
}

fn signal(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        // It may have ended in the meantime.
        let _ = kill_process_group(pid, signal);
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (_, Some(signal)) => format!("signal {signal}"),
        _ => "for no known reason".into(),
    }
}
