//! The configuration: one documented struct. A field's comment is its manual; an unknown key is refused by name.
//!
//! Read once at the start by `main.rs`; `storage.example.toml` beside the manifest shows every key.

use std::{
    fmt, fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    str::FromStr,
};

use crust_client::money;
use crust_protocol::{Balance, NodeId};
use figment::{
    Figment,
    providers::{Format, Toml},
};
use serde::{Deserialize, Deserializer, de};

/// What is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("{path}: {problem}")]
    Read { path: PathBuf, problem: String },
    #[error("{path}: `{key}`: {problem}")]
    Value { path: PathBuf, key: &'static str, problem: String },
}

/// All that an operator decides.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// WebSocket URL of a chain node's RPC. Run your own: what this endpoint says is what the daemon acts on.
    pub chain: String,
    /// Directory of the daemon's own state: the enclave's log, the index, the network key. Small, and not to be lost.
    pub state: PathBuf,
    /// Unix socket of the enclave process. It must lie in a directory that only this user may enter.
    pub enclave: PathBuf,
    /// The account that registers the node, earns and pays fees.
    pub provider: Provider,
    /// Multiaddrs to listen on for blocks, such as `/ip4/0.0.0.0/tcp/4001`. Port 0 takes a free one.
    pub listen: Vec<String>,
    /// Multiaddrs under which others reach this node, at most 4. Empty: those that it listens on.
    #[serde(default)]
    pub announce: Vec<String>,
    /// Peers to enter the DHT by, as multiaddrs that end in `/p2p/<peer id>`. The nodes on the chain are asked as well.
    #[serde(default)]
    pub bootstrap: Vec<String>,
    /// Address of the admin API and of the metrics. Anything but loopback needs a token.
    pub admin: SocketAddr,
    /// Token that the admin API demands (`Authorization: Bearer …`). Better: `admin_token_file`.
    #[serde(default)]
    pub admin_token: Option<String>,
    /// File with the token of the admin API.
    #[serde(default)]
    pub admin_token_file: Option<PathBuf>,
    /// Files that are fetched and sealed at the same time. Each keeps about a core busy.
    #[serde(default = "default_parallel")]
    pub parallel: usize,
    /// Slots between two claims of an order's pay; 0 leaves claiming to others. Unset: a day's slots, 5 on a
    /// development chain.
    #[serde(default)]
    pub claim_every: Option<u32>,
    /// Whether sealed files get parity, 1.6 % of their length, out of which bad sectors are mended. Leave it on, unless
    /// the disks do such a thing themselves.
    #[serde(default = "default_parity")]
    pub parity: bool,
    /// Directory of the signed release files (`*.release`) that were published with the enclaves that run here. Needed to
    /// hand the node's key over: for an upgrade, and to a standby.
    #[serde(default)]
    pub releases: Option<PathBuf>,
    /// URL of a service of the vendor's documents, where the daemon gets the collateral that its platform does not bring
    /// (TDX, SGX under Gramine): a PCCS on the premises, or Intel's own PCS.
    #[serde(default)]
    pub pccs: Option<String>,
    /// The node's standby, from which the enclave gets its key back after a stop where its platform keeps none (TDX), or
    /// where it is out of reach.
    #[serde(default)]
    pub key_from: Option<KeyFrom>,
    /// Makes this daemon the standby of a node that runs elsewhere, until it is told to follow.
    #[serde(default)]
    pub standby: Option<Standby>,
    /// Where files and filler go. Those of a standby are where the node's disks will be mounted.
    pub disks: Vec<Disk>,
}

/// Who has the node's key besides its own enclave.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyFrom {
    /// URL of the admin API of the standby's daemon.
    pub admin: String,
    /// File with the token of that API.
    #[serde(default)]
    pub admin_token_file: Option<PathBuf>,
}

/// The node that a standby is for.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Standby {
    /// The node's number on the chain.
    pub node: NodeId,
    /// URL of the admin API of the node's daemon. Nothing that passes there is secret but the token.
    pub admin: String,
    /// File with the token of that API.
    #[serde(default)]
    pub admin_token_file: Option<PathBuf>,
}

/// How the provider's account signs: a key file, or a development account by name.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Provider {
    /// Encrypted key file, as `crust account new` writes it.
    #[serde(default)]
    pub key_file: Option<PathBuf>,
    /// File with the key file's password.
    #[serde(default)]
    pub password_file: Option<PathBuf>,
    /// A development account such as `//Provider0`. Works on a chain of type Development alone.
    #[serde(default)]
    pub dev: Option<String>,
    /// Tokens to keep deposited as the node's collateral, such as `"25"` or `"0.5"`: what is missing is added, also after
    /// a loss. Without enough of it a node takes no file. Unset: deposits are left to the provider.
    #[serde(default, deserialize_with = "tokens")]
    pub collateral: Option<Balance>,
}

fn tokens<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Balance>, D::Error> {
    let text = String::deserialize(deserializer)?;
    money::parse(&text).map(Some).map_err(de::Error::custom)
}

/// A directory in which the node stores, best a file system of its own.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Disk {
    pub path: PathBuf,
    /// What the node may write there in all, files and filler together: `500GB`, `2GiB`, or bytes.
    pub capacity: Bytes,
}

/// A number of bytes, written as `2GiB`, `500 GB` or plain digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Bytes(pub u64);

fn default_parallel() -> usize {
    2
}

fn default_parity() -> bool {
    true
}

impl Config {
    /// Reads and checks the file. Relative paths count from its directory.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let figment = Figment::from(Toml::file_exact(path));
        let mut config: Config =
            figment.extract().map_err(|error| Error::Read { path: path.to_owned(), problem: problem(&error) })?;
        let base = path.parent().unwrap_or(Path::new("."));
        let paths = [&mut config.state, &mut config.enclave]
            .into_iter()
            .chain(config.admin_token_file.as_mut())
            .chain(config.provider.key_file.as_mut())
            .chain(config.provider.password_file.as_mut())
            .chain(config.releases.as_mut())
            .chain(config.key_from.as_mut().and_then(|from| from.admin_token_file.as_mut()))
            .chain(config.standby.as_mut().and_then(|standby| standby.admin_token_file.as_mut()))
            .chain(config.disks.iter_mut().map(|disk| &mut disk.path));
        for entry in paths {
            if entry.is_relative() {
                *entry = base.join(&*entry);
            }
        }
        config.check().map_err(|(key, problem)| Error::Value { path: path.to_owned(), key, problem })?;
        if let Some(file) = &config.admin_token_file {
            let token = fs::read_to_string(file).map_err(|error| Error::Value {
                path: path.to_owned(),
                key: "admin_token_file",
                problem: format!("{}: {error}", file.display()),
            })?;
            config.admin_token = Some(token.trim().to_owned());
        }
        if config.admin_token.as_ref().is_some_and(|token| token.trim().is_empty()) {
            let key = if config.admin_token_file.is_some() { "admin_token_file" } else { "admin_token" };
            let problem = "an empty token would let everyone in".to_owned();
            return Err(Error::Value { path: path.to_owned(), key, problem });
        }
        Ok(config)
    }

    fn check(&self) -> Result<(), (&'static str, String)> {
        let fail = |key, problem: &str| Err((key, problem.to_owned()));
        if !self.chain.starts_with("ws://") && !self.chain.starts_with("wss://") {
            return fail("chain", "must begin with ws:// or wss://");
        }
        if self.admin_token.is_some() && self.admin_token_file.is_some() {
            return fail("admin_token", "give this or `admin_token_file`, not both");
        }
        if !self.admin.ip().is_loopback() && self.admin_token.is_none() && self.admin_token_file.is_none() {
            return fail("admin", "is not a loopback address, so `admin_token_file` must be set");
        }
        match (&self.provider.key_file, &self.provider.password_file, &self.provider.dev) {
            (Some(_), Some(_), None) | (None, None, Some(_)) => (),
            _ => return fail("provider", "needs `key_file` and `password_file`, or `dev` alone"),
        }
        let others = [
            ("standby.admin", self.standby.as_ref().map(|standby| &standby.admin)),
            ("key_from.admin", self.key_from.as_ref().map(|from| &from.admin)),
        ];
        for (key, admin) in others.into_iter().filter_map(|(key, admin)| Some((key, admin?))) {
            if !admin.starts_with("http://") && !admin.starts_with("https://") {
                return fail(key, "must begin with https:// or, within the machine or a tunnel, http://");
            }
            if self.releases.is_none() {
                return fail("releases", "without the signed release files no key is handed over");
            }
        }
        if self.listen.is_empty() {
            return fail("listen", "name at least one address, such as \"/ip4/0.0.0.0/tcp/4001\"");
        }
        if self.announce.len() > 4 {
            return fail("announce", "the chain keeps at most 4 addresses");
        }
        if self.parallel == 0 || self.parallel > 32 {
            return fail("parallel", "must be 1 to 32");
        }
        if self.disks.is_empty() {
            return fail("disks", "name at least one disk: [[disks]] with `path` and `capacity`");
        }
        for (at, disk) in self.disks.iter().enumerate() {
            if self.disks.iter().skip(at.saturating_add(1)).any(|other| other.path == disk.path) {
                return Err(("disks", format!("{} stands there twice", disk.path.display())));
            }
        }
        Ok(())
    }
}

/// What the reader of the file says, the key first.
fn problem(error: &figment::Error) -> String {
    use figment::error::Kind;
    match &error.kind {
        Kind::UnknownField(key, known) => {
            format!("`{key}` is no key of the configuration; the keys here are: {}", known.join(", "))
        }
        Kind::MissingField(key) => format!("`{key}` is missing; storage.example.toml shows and explains every key"),
        // Of the file itself, not of a key in it.
        kind if error.path.is_empty() => kind.to_string().trim().to_owned(),
        kind => format!("`{}`: {kind}", error.path.join(".")),
    }
}

impl FromStr for Bytes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let digits = text.find(|c: char| !c.is_ascii_digit() && c != '_').unwrap_or(text.len());
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.replace('_', "").parse().map_err(|_| format!("`{text}` is not a number of bytes"))?;
        let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "kb" => 1_000,
            "mb" => 1_000_000,
            "gb" => 1_000_000_000,
            "tb" => 1_000_000_000_000,
            "k" | "kib" => 1 << 10,
            "m" | "mib" => 1 << 20,
            "g" | "gib" => 1 << 30,
            "t" | "tib" => 1 << 40,
            other => return Err(format!("`{other}` is not a unit (KiB, MiB, GiB, TiB, KB, MB, GB, TB)")),
        };
        number.checked_mul(factor).map(Bytes).ok_or_else(|| format!("`{text}` is too much"))
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Bytes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "a number of bytes such as \"500GB\" or \"2GiB\"")
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Bytes, E> {
                Ok(Bytes(value))
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Bytes, E> {
                u64::try_from(value).map(Bytes).map_err(|_| E::custom("must not be negative"))
            }

            fn visit_str<E: de::Error>(self, value: &str) -> Result<Bytes, E> {
                value.parse().map_err(E::custom)
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
