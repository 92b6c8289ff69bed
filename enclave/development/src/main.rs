//! `crust-enclave-dev`: the enclave on a software platform, for development. It serves one socket and keeps nothing of
//! its own but the platform's seed, so it may be stopped at any time.

use std::{path::PathBuf, process, sync::Arc, thread};

use anyhow::Context;
use clap::Parser;
use crust_enclave::{
    Constants, Enclave, RELEASE,
    rpc::{About, PROTOCOL},
    server::{self, Server},
};
use crust_enclave_dev::platform::SoftwarePlatform;
use crust_protocol::development;

const COMMIT: &str = match option_env!("CRUST_COMMIT") {
    Some(commit) => commit,
    None => "commit unknown",
};

/// The enclave on a software platform: proves nothing, for development only.
#[derive(Parser)]
#[command(version = version(), about)]
struct Arguments {
    /// The Unix socket to serve. A file of this name gives way.
    #[arg(long, value_name = "PATH")]
    socket: PathBuf,
    /// The directory of the software platform: its seed is its identity and its sealing key.
    #[arg(long, value_name = "DIR")]
    platform: PathBuf,
    /// Stop when the standard input ends, and so with whoever started this.
    #[arg(long)]
    exit_with_stdin: bool,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    eprintln!("warning: this enclave runs on a software platform under a published root: it proves nothing");
    let platform = SoftwarePlatform::open(&arguments.platform)?;
    let about = About {
        protocol: PROTOCOL,
        release: RELEASE,
        measurement: development::MR_ENCLAVE,
        development: true,
        commit: COMMIT.into(),
    };
    let server = Server::new(about, Enclave::new(Arc::new(platform), Constants::DEVELOPMENT));
    let listener = server::bind(&arguments.socket)
        .with_context(|| format!("the socket {} cannot be served", arguments.socket.display()))?;
    if arguments.exit_with_stdin {
        thread::Builder::new().name("stdin".into()).spawn(|| {
            let _ = std::io::copy(&mut std::io::stdin(), &mut std::io::sink());
            process::exit(0);
        })?;
    }
    server
        .listen(|| Ok(listener.accept()?.0), |error| eprintln!("a connection ended: {error}"))
        .context("the socket failed")
}

fn version() -> &'static str {
    format!("{} ({COMMIT})", env!("CARGO_PKG_VERSION")).leak()
}
