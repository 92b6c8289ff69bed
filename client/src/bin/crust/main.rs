//! The command `crust`: one file a subcommand. Exit status 0: done; 1: failed, and stderr says what to do; 2: misused.

mod access;
mod account;
mod dev;
mod doctor;
mod get;
mod ls;
mod measure;
mod order;
mod output;
mod provider;
mod put;
mod quote;

use std::{process::ExitCode, sync::LazyLock};

use clap::{Parser, Subcommand};

/// Release and, if the build was told, commit.
static VERSION: LazyLock<String> = LazyLock::new(|| {
    let commit = option_env!("CRUST_COMMIT").unwrap_or("commit unknown");
    format!("{} ({commit})", env!("CARGO_PKG_VERSION"))
});

/// Stores files in the Crust network and gets them back
#[derive(Parser)]
#[command(name = "crust", version = VERSION.as_str(), arg_required_else_help = true, after_help = "Examples:
  crust account new
  crust quote photo.jpg --term 1y
  crust put photo.jpg --replicas 3 --wait
  crust get bafkrei… -o photo.jpg

The chain is taken from --chain or CRUST_CHAIN; the account from the encrypted key file that CRUST_KEY_FILE names.")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Put(put::Args),
    Get(get::Args),
    Quote(quote::Args),
    #[command(subcommand)]
    Order(order::Command),
    Ls(ls::Args),
    #[command(subcommand)]
    Account(account::Command),
    #[command(subcommand)]
    Provider(provider::Command),
    #[command(subcommand)]
    Measure(measure::Command),
    Dev(dev::Args),
    Doctor(doctor::Args),
}

/// What was asked for makes no sense: exit status 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct Misuse(String);

#[tokio::main]
async fn main() -> ExitCode {
    let cli = Cli::parse();
    output::log();
    let result = match cli.command {
        Command::Put(args) => put::run(args).await,
        Command::Get(args) => get::run(args).await,
        Command::Quote(args) => quote::run(args).await,
        Command::Order(command) => order::run(command).await,
        Command::Ls(args) => ls::run(args).await,
        Command::Account(command) => account::run(command).await,
        Command::Provider(command) => provider::run(command).await,
        Command::Measure(command) => measure::run(command),
        Command::Dev(args) => dev::run(args).await,
        Command::Doctor(args) => doctor::run(args).await,
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever read the output has heard enough, as `head` does; there is nobody to tell.
        Err(error) if error.downcast_ref::<std::io::Error>().is_some_and(is_broken_pipe) => ExitCode::FAILURE,
        Err(error) => {
            output::note(format_args!("crust: {error:#}"));
            ExitCode::from(if error.is::<Misuse>() { 2 } else { 1 })
        }
    }
}

fn is_broken_pipe(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::BrokenPipe
}
