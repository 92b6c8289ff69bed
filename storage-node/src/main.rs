//! `crust-storage`: reads the configuration, starts the node, stops it on SIGTERM or SIGINT. On SIGHUP the node takes up
//! the disks that the configuration names by then.

use std::{
    env,
    io::IsTerminal,
    os::unix::process::CommandExt,
    path::PathBuf,
    process::{Command, ExitCode},
    sync::{Arc, LazyLock},
};

use anyhow::Context;
use clap::{Parser, ValueEnum};
use crust_storage_node::{
    config::Config,
    node::{self, Ended},
};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::Notify,
};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// How glibc's allocator is told to give memory back: few arenas, since each keeps what was freed in it, and thresholds
/// that stay where they are. Else a gigabyte that has passed through leaves a hundred megabytes behind. A block of a file
/// stays under the first, or the kernel would clear its pages anew each time. It reads them at a program's start and
/// never again.
const ALLOCATOR: [(&str, &str); 3] =
    [("MALLOC_ARENA_MAX", "2"), ("MALLOC_MMAP_THRESHOLD_", "4194304"), ("MALLOC_TRIM_THRESHOLD_", "8388608")];

/// The daemon of a Crust storage node.
///
/// Example: crust-storage --config /etc/crust/storage.toml
#[derive(Parser)]
#[command(name = "crust-storage", version = version())]
struct Arguments {
    /// The configuration; `storage.example.toml` shows and explains every key.
    #[arg(long)]
    config: PathBuf,
    /// Form of the log on standard error. RUST_LOG chooses what is logged.
    #[arg(long, value_enum, default_value_t = LogFormat::Text)]
    log_format: LogFormat,
}

#[derive(Clone, Copy, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

fn version() -> &'static str {
    static VERSION: LazyLock<String> = LazyLock::new(|| {
        let commit = option_env!("CRUST_COMMIT").unwrap_or("commit unknown");
        format!("{} ({commit})", env!("CARGO_PKG_VERSION"))
    });
    &VERSION
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    log(arguments.log_format);
    set_allocator();
    match run(arguments) {
        Ok(Ended::Stopped) => ExitCode::SUCCESS,
        Ok(Ended::StartAnew) => start_anew(),
        Err(error) => {
            tracing::error!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Starts this program once more in its own place, unless the allocator is set; what an operator has set stays.
fn set_allocator() {
    let missing: Vec<_> = ALLOCATOR.into_iter().filter(|(name, _)| env::var_os(name).is_none()).collect();
    let (false, Ok(program)) = (missing.is_empty(), env::current_exe()) else { return };
    let mut arguments = env::args_os();
    let mut again = Command::new(&program);
    if let Some(name) = arguments.next() {
        again.arg0(name);
    }
    // It returns only if it fails.
    let error = again.args(arguments).envs(missing).exec();
    tracing::warn!("{} is not started with less memory: {error}", program.display());
}

fn log(format: LogFormat) {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("info,libp2p=warn,libp2p_kad=error,subxt=warn,jsonrpsee=warn"));
    let terminal = std::io::stderr().is_terminal();
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_ansi(terminal).with_writer(std::io::stderr);
    // A line that cannot be written, on a full disk say, is lost: a complaint about it would end whoever wrote it.
    let logs = logs.log_internal_errors(false);
    match format {
        LogFormat::Text => logs.with_target(false).init(),
        LogFormat::Json => logs.json().init(),
    }
}

/// Becomes the program once more, with the same arguments: nothing of what was is left but the process. If that fails,
/// whoever keeps the daemon running starts it again.
fn start_anew() -> ExitCode {
    let error = match env::current_exe() {
        Ok(program) => Command::new(program).args(env::args_os().skip(1)).exec(),
        Err(error) => error,
    };
    tracing::warn!("the daemon ends, to be started again: {error}");
    ExitCode::SUCCESS
}

fn run(arguments: Arguments) -> anyhow::Result<Ended> {
    let config = Config::load(&arguments.config)?;
    tracing::info!(version = version(), config = %arguments.config.display(), "crust-storage starts");
    // Few threads: blocks wait for disks and peers, and every thread's allocator keeps memory of its own.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .max_blocking_threads(24)
        .enable_all()
        .build()
        .context("the async runtime does not start")?;
    let (stop, again) = (CancellationToken::new(), Arc::new(Notify::new()));
    runtime.block_on(async {
        let (mut term, mut int) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
        let stopper = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                _ = term.recv() => (),
                _ = int.recv() => (),
            }
            tracing::info!("stopping");
            stopper.cancel();
        });
        let mut hangup = signal(SignalKind::hangup())?;
        let read_again = again.clone();
        tokio::spawn(async move {
            while hangup.recv().await.is_some() {
                read_again.notify_one();
            }
        });
        node::run(config, arguments.config, again, stop).await
    })
}
