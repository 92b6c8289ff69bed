//! Which chain and which account a command works with: from its arguments, from `CRUST_*`, or from a development
//! network's `endpoints.json` (`CRUST_DEV`).

use std::{
    io::{IsTerminal, Write},
    path::PathBuf,
};

use anyhow::{Context, bail};
use crust_client::{
    chain::Chain,
    wallet::{self, Wallet},
};
use crust_protocol::{Key, order::OrderId};
use rustix::termios;
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::Misuse;

/// Where a chain node listens if nobody says otherwise.
const DEFAULT_CHAIN: &str = "ws://127.0.0.1:9944";

// What every command takes that asks the chain. (A doc comment would be shown as the command's own.)
#[derive(clap::Args)]
pub struct Asking {
    /// Print one JSON object
    #[arg(long)]
    pub json: bool,
    #[command(flatten)]
    chain: ChainArgs,
}

// What every command takes that speaks of an account or acts for it.
#[derive(clap::Args)]
pub struct Acting {
    #[command(flatten)]
    asking: Asking,
    #[command(flatten)]
    account: AccountArgs,
}

#[derive(clap::Args)]
struct ChainArgs {
    /// Address of a chain node [default: that of CRUST_DEV, or ws://127.0.0.1:9944]
    #[arg(long = "chain", env = "CRUST_CHAIN", value_name = "URL")]
    url: Option<String>,
}

#[derive(clap::Args)]
struct AccountArgs {
    /// A published account like //Alice; on development chains only
    #[arg(long, env = "CRUST_ACCOUNT", value_name = "//NAME")]
    account: Option<String>,
    /// Encrypted key file of the account [default: key.json in the user's configuration folder]
    #[arg(long, env = "CRUST_KEY_FILE", value_name = "FILE")]
    key_file: Option<PathBuf>,
    /// File with the key file's password; without it the password is asked for
    #[arg(long, env = "CRUST_PASSWORD_FILE", value_name = "FILE")]
    password_file: Option<PathBuf>,
}

/// What is needed of a development network's endpoints.
#[derive(Deserialize)]
struct Endpoints {
    chain: String,
    accounts: Accounts,
    nodes: Vec<NodeEndpoint>,
}

#[derive(Deserialize)]
struct NodeEndpoint {
    admin: String,
}

#[derive(Deserialize)]
struct Accounts {
    client: String,
}

impl Asking {
    pub async fn connect(&self) -> anyhow::Result<Chain> {
        let url = match &self.chain.url {
            Some(url) => url.clone(),
            None => endpoints()?.map_or_else(|| DEFAULT_CHAIN.into(), |endpoints| endpoints.chain),
        };
        Ok(Chain::connect(&url).await?)
    }
}

impl Acting {
    pub fn json(&self) -> bool {
        self.asking.json
    }

    /// The chain, and the account, for which no password is needed.
    pub async fn read(&self) -> anyhow::Result<(Chain, Key)> {
        let chain = self.asking.connect().await?;
        let account = self.account.account(&chain)?;
        Ok((chain, account))
    }

    /// The account alone.
    pub fn account(&self, chain: &Chain) -> anyhow::Result<Key> {
        self.account.account(chain)
    }

    /// The chain alone.
    pub async fn connect(&self) -> anyhow::Result<Chain> {
        self.asking.connect().await
    }

    /// The chain, and the account's wallet to sign with.
    pub async fn sign(&self) -> anyhow::Result<(Chain, Wallet)> {
        let chain = self.asking.connect().await?;
        let wallet = self.account.wallet(&chain)?;
        Ok((chain, wallet))
    }
}

impl AccountArgs {
    fn wallet(&self, chain: &Chain) -> anyhow::Result<Wallet> {
        match self.find()? {
            Found::Published(name) => published(&name, chain),
            Found::KeyFile(path) => {
                // Before a password is asked for in vain.
                Wallet::account_of(&path)?;
                let password = self.password("Password: ")?;
                Ok(Wallet::open(&path, &password)?)
            }
        }
    }

    fn account(&self, chain: &Chain) -> anyhow::Result<Key> {
        match self.find()? {
            Found::Published(name) => Ok(published(&name, chain)?.account()),
            Found::KeyFile(path) => Ok(Wallet::account_of(&path)?),
        }
    }

    fn find(&self) -> anyhow::Result<Found> {
        match (&self.account, &self.key_file) {
            (Some(name), _) => Ok(Found::Published(name.clone())),
            (None, Some(path)) => Ok(Found::KeyFile(path.clone())),
            (None, None) => match endpoints()? {
                Some(endpoints) => Ok(Found::Published(endpoints.accounts.client)),
                None => Ok(Found::KeyFile(default_key_file()?)),
            },
        }
    }

    fn password(&self, prompt: &str) -> anyhow::Result<Zeroizing<String>> {
        read_password(self.password_file.as_ref(), prompt)
    }
}

enum Found {
    Published(String),
    KeyFile(PathBuf),
}

/// Admin URLs of the development network's nodes, if CRUST_DEV names one.
pub fn admins() -> anyhow::Result<Vec<String>> {
    let nodes = endpoints()?.map(|endpoints| endpoints.nodes).unwrap_or_default();
    Ok(nodes.into_iter().map(|node| node.admin).collect())
}

/// The account's key file if none is named.
pub fn default_key_file() -> anyhow::Result<PathBuf> {
    let folders = directories::ProjectDirs::from("", "", "crust");
    let folders = folders.context("the user has no home folder: name a key file in CRUST_KEY_FILE")?;
    Ok(folders.config_dir().join("key.json"))
}

/// From the file, or asked for on the terminal.
pub fn read_password(file: Option<&PathBuf>, prompt: &str) -> anyhow::Result<Zeroizing<String>> {
    if let Some(path) = file {
        let text = std::fs::read_to_string(path);
        let text = Zeroizing::new(text.with_context(|| format!("the password file {}", path.display()))?);
        return Ok(Zeroizing::new(text.trim_end_matches(['\r', '\n']).into()));
    }
    if !std::io::stdin().is_terminal() {
        bail!("there is no terminal to ask for the password: name a file that holds it in CRUST_PASSWORD_FILE");
    }
    ask_hidden(prompt)
}

/// Asks on the terminal without showing what is typed.
pub fn ask_hidden(prompt: &str) -> anyhow::Result<Zeroizing<String>> {
    let terminal = std::io::stdin();
    let mut stderr = std::io::stderr();
    write!(stderr, "{prompt}")?;
    stderr.flush()?;
    let before = termios::tcgetattr(&terminal)?;
    let mut silent = before.clone();
    silent.local_modes.remove(termios::LocalModes::ECHO);
    termios::tcsetattr(&terminal, termios::OptionalActions::Flush, &silent)?;
    let mut line = Zeroizing::new(String::new());
    let read = terminal.read_line(&mut line);
    termios::tcsetattr(&terminal, termios::OptionalActions::Flush, &before)?;
    writeln!(stderr)?;
    read?;
    Ok(Zeroizing::new(line.trim_end_matches(['\r', '\n']).into()))
}

/// Reads an order's id.
pub fn order_id(text: &str) -> Result<OrderId, String> {
    let wrong =
        || "an order is 64 hexadecimal digits after 0x, as `crust put` and `crust order list` print it".to_string();
    let mut id = OrderId::default();
    hex::decode_to_slice(text.strip_prefix("0x").unwrap_or(text), &mut id).map_err(|_| wrong())?;
    Ok(id)
}

fn published(name: &str, chain: &Chain) -> anyhow::Result<Wallet> {
    match Wallet::development(name, chain) {
        Err(error @ wallet::Error::BadName(_)) => Err(Misuse(error.to_string()).into()),
        other => Ok(other?),
    }
}

fn endpoints() -> anyhow::Result<Option<Endpoints>> {
    let Some(directory) = std::env::var_os("CRUST_DEV").filter(|directory| !directory.is_empty()) else {
        return Ok(None);
    };
    let path = PathBuf::from(directory).join("endpoints.json");
    let text = std::fs::read_to_string(&path).with_context(|| {
        format!("CRUST_DEV names no development network that is ready: {} cannot be read", path.display())
    })?;
    Ok(Some(serde_json::from_str(&text).with_context(|| path.display().to_string())?))
}
