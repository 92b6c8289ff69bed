//! `crust-enclave-dev`: the enclave on a software platform, for development. It serves one socket and keeps nothing of
//! its own but the platform's seed, so it may be stopped at any time.

use std::{
    io::{self, Write},
    path::PathBuf,
    process,
    sync::Arc,
    thread,
};

use anyhow::Context;
use clap::Parser;
use crust_enclave::{
    Constants, Enclave, RELEASE,
    rpc::{About, PROTOCOL},
    server::{self, Server},
};
use crust_enclave_dev::{platform::SoftwarePlatform, release::mr_enclave};

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
    /// Run as this release, with its number and a measurement of its own: what an upgrade goes to.
    #[arg(long, value_name = "NUMBER", default_value_t = RELEASE)]
    release: u32,
    /// Run on a platform without sealing keys and without the vendor's collateral, as TDX: the node's key comes back from
    /// a standby after every stop, the collateral from elsewhere.
    #[arg(long)]
    no_sealing_key: bool,
    /// Run on a platform without the vendor's collateral, as SGX under Gramine: it comes from elsewhere.
    #[arg(long)]
    no_collateral: bool,
    /// Stop when the standard input ends, and so with whoever started this.
    #[arg(long)]
    exit_with_stdin: bool,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    say("warning: this enclave runs on a software platform under a published root: it proves nothing");
    let release = arguments.release;
    let mut platform = SoftwarePlatform::open(&arguments.platform)?.running(release);
    if arguments.no_sealing_key {
        platform = platform.without_sealing_keys();
    }
    if arguments.no_collateral {
        platform = platform.without_collateral();
    }
    let about = About {
        protocol: PROTOCOL,
        release,
        measurement: mr_enclave(release),
        development: true,
        commit: COMMIT.into(),
    };
    let server = Server::new(about, Enclave::new(Arc::new(platform), Constants { release, ..Constants::DEVELOPMENT }));
    let listener = server::bind(&arguments.socket)
        .with_context(|| format!("the socket {} cannot be served", arguments.socket.display()))?;
    if arguments.exit_with_stdin {
        thread::Builder::new().name("stdin".into()).spawn(|| {
            let _ = io::copy(&mut io::stdin(), &mut io::sink());
            process::exit(0);
        })?;
    }
    server
        .listen(|| Ok(listener.accept()?.0), |error| say(&format!("a connection ended: {error}")))
        .context("the socket failed")
}

/// Tells the operator. What cannot be written, on a full disk say, is lost and stops nothing.
fn say(line: &str) {
    let _ = writeln!(io::stderr(), "{line}");
}

fn version() -> &'static str {
    format!("{} ({COMMIT})", env!("CARGO_PKG_VERSION")).leak()
}
