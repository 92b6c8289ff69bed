//! `crust account`: the account that pays.

use std::{
    io::{IsTerminal, Read},
    path::PathBuf,
};

use anyhow::bail;
use crust_client::{
    chain::Finality,
    money,
    wallet::{self, Secret, Wallet},
};
use crust_protocol::Key;
use zeroize::Zeroizing;

use crate::{
    access::{self, Acting},
    output,
};

/// Makes and imports accounts, and shows their money
#[derive(clap::Subcommand)]
#[command(after_help = "Example:\n  crust account new")]
pub enum Command {
    New(New),
    Import(Import),
    Balance(Balance),
}

/// Makes a new account and writes its encrypted key file
///
/// The file and its password are all there is: whoever loses one of them loses the money.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  CRUST_PASSWORD_FILE=password.txt crust account new --key-file key.json")]
pub struct New {
    #[command(flatten)]
    file: FileArgs,
}

/// Writes the encrypted key file of an account that exists
///
/// Reads the secret (a phrase of words, or a seed as 0x and 64 hexadecimal digits) from the terminal, or from stdin.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  crust account import --key-file key.json < phrase.txt")]
pub struct Import {
    #[command(flatten)]
    file: FileArgs,
}

#[derive(clap::Args)]
struct FileArgs {
    /// Key file to write; never overwritten [default: key.json in the user's configuration folder]
    #[arg(long, env = "CRUST_KEY_FILE", value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// File with the password; without it the password is asked for
    #[arg(long, env = "CRUST_PASSWORD_FILE", value_name = "FILE")]
    password_file: Option<PathBuf>,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Shows an account's money: free, and held for orders
#[derive(clap::Args)]
#[command(after_help = "Example:\n  crust account balance --json")]
pub struct Balance {
    /// An account's address [default: one's own]
    #[arg(value_name = "ADDRESS", value_parser = address)]
    address: Option<Key>,
    #[command(flatten)]
    acting: Acting,
}

pub async fn run(command: Command) -> anyhow::Result<()> {
    match command {
        Command::New(args) => {
            let (wallet, secret) = Wallet::generate()?;
            store(&args.file, &wallet, &secret)
        }
        Command::Import(args) => {
            let secret = Secret::parse(&secret()?)?;
            store(&args.file, &secret.wallet()?, &secret)
        }
        Command::Balance(args) => balance(args).await,
    }
}

async fn balance(args: Balance) -> anyhow::Result<()> {
    let (chain, account) = match args.address {
        Some(address) => (args.acting.connect().await?, address),
        None => args.acting.read().await?,
    };
    let money = chain.view(Finality::Best).await?.balance(account).await?;
    if args.acting.json() {
        let (free, held) = (money.free.to_string(), money.held.to_string());
        return output::json(&serde_json::json!({ "free": free, "held": held }));
    }
    output::line(wallet::address(&account))?;
    output::line(format_args!("free  {}", money::show(money.free)))?;
    output::line(format_args!("held  {}", money::show(money.held)))
}

fn store(file: &FileArgs, wallet: &Wallet, secret: &Secret) -> anyhow::Result<()> {
    let path = match &file.key_file {
        Some(path) => path.clone(),
        None => access::default_key_file()?,
    };
    if path.exists() {
        return Err(wallet::Error::Exists(path).into());
    }
    let password = access::read_password(file.password_file.as_ref(), "Password for the new key file: ")?;
    if file.password_file.is_none() && access::ask_hidden("Once more: ")? != password {
        bail!("the two passwords are not the same; nothing was written");
    }
    if password.is_empty() {
        bail!("a key file needs a password");
    }
    secret.store(&path, &password)?;
    if file.json {
        return output::json(&serde_json::json!({ "account": wallet.address(), "key_file": path }));
    }
    output::line(wallet.address())?;
    output::line(format_args!("key file {}", path.display()))
}

fn secret() -> anyhow::Result<Zeroizing<String>> {
    if std::io::stdin().is_terminal() {
        return access::ask_hidden("Secret phrase or seed: ");
    }
    let mut text = Zeroizing::new(String::new());
    std::io::stdin().take(4_096).read_to_string(&mut text)?;
    Ok(text)
}

fn address(text: &str) -> Result<Key, String> {
    wallet::parse_address(text).ok_or_else(|| "that is no account address (SS58)".into())
}
