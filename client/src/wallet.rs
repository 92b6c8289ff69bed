//! The keys that pay and sign: read from an encrypted key file, or the published development keys where they are
//! allowed. No seed is ever on disk in the clear, in an argument or in a message.
//!
//! A key file is JSON: the secret (a phrase or a hexadecimal seed, with derivation path) under AES-256-GCM, its key by
//! scrypt from the password, the account as associated data.

use std::{
    fmt,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    str::FromStr,
};

use crust_protocol::Key;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use serde::{Deserialize, Serialize};
use subxt::utils::AccountId32;
use subxt_signer::{ExposeSecret, SecretUri, sr25519::Keypair};
use zeroize::{Zeroize, Zeroizing};

use crate::chain::Chain;

/// Work of a new file's key derivation: 2^15 rounds of 1 KiB blocks, 32 MiB.
const LOG_N: u8 = 15;
/// What a file may ask for at most: 2^20, 1 GiB.
const MAX_LOG_N: u8 = 20;
const BLOCK: u32 = 8;
const PARALLEL: u32 = 1;

/// Why there is no wallet.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("there is no key file at {0}: make one with `crust account new`, or name yours in CRUST_KEY_FILE")]
    NoFile(PathBuf),
    #[error("{0} exists already: a key file is never overwritten; name another place with --key-file")]
    Exists(PathBuf),
    #[error("{path}: {error}")]
    Io { path: PathBuf, error: std::io::Error },
    #[error("{path} is not a key file: {reason}")]
    Malformed { path: PathBuf, reason: String },
    #[error("wrong password for {0}, or the file is damaged")]
    WrongPassword(PathBuf),
    #[error("that is no secret: give a phrase of 12 to 24 words or a seed of 64 hexadecimal digits after 0x")]
    BadSecret,
    #[error("the secret is one of the published development keys; it cannot be stored as if it were one's own")]
    Published,
    #[error("{0:?} is not a development account: they look like //Alice")]
    BadName(String),
    #[error(
        "published keys such as {0} work on development chains only, and {1} is none: use a key file (CRUST_KEY_FILE)"
    )]
    NotDevelopment(String, String),
    #[error("no randomness from the system: {0}")]
    Randomness(getrandom::Error),
}

/// One account and its secret key.
#[derive(Clone)]
pub struct Wallet {
    pair: Keypair,
}

impl Wallet {
    /// The published key `//Name` of a development chain; refused on any other.
    pub fn development(name: &str, chain: &Chain) -> Result<Wallet, Error> {
        if !chain.development() {
            return Err(Error::NotDevelopment(name.into(), chain.url().into()));
        }
        Self::published(name)
    }

    /// A new wallet with a random seed, and the secret to store.
    pub fn generate() -> Result<(Wallet, Secret), Error> {
        let mut seed = Zeroizing::new([0; 32]);
        getrandom::fill(&mut *seed).map_err(Error::Randomness)?;
        let secret = Secret(Zeroizing::new(format!("0x{}", hex::encode(*seed))));
        Ok((secret.wallet()?, secret))
    }

    /// The account of a key file, as the file has it: without the password it cannot be checked.
    pub fn account_of(path: &Path) -> Result<Key, Error> {
        let file = KeyFile::read(path)?;
        let reason = || "its account is no account".into();
        parse_address(&file.account).ok_or_else(|| Error::Malformed { path: path.into(), reason: reason() })
    }

    /// Opens a key file.
    pub fn open(path: &Path, password: &str) -> Result<Wallet, Error> {
        let malformed = |reason: String| Error::Malformed { path: path.into(), reason };
        let file = KeyFile::read(path)?;
        if file.version != 1 || file.kdf.name != "scrypt" || file.cipher.name != "aes-256-gcm" {
            return Err(malformed("its version, kdf or cipher is not known".into()));
        }
        if file.kdf.log_n > MAX_LOG_N || file.kdf.r != BLOCK || file.kdf.p != PARALLEL {
            return Err(malformed("its kdf asks for too much".into()));
        }
        let key = derive(password, &file.kdf).ok_or_else(|| malformed("its kdf asks for too little".into()))?;
        let nonce = <[u8; NONCE_LEN]>::try_from(&*file.cipher.nonce).map_err(|_| malformed("bad nonce".into()))?;
        let mut sealed = Zeroizing::new(file.secret.clone());
        let aad = Aad::from(file.account.as_bytes());
        let opened = key.open_in_place(Nonce::assume_unique_for_key(nonce), aad, &mut sealed);
        let opened = opened.map_err(|_| Error::WrongPassword(path.into()))?;
        let text = std::str::from_utf8(opened).map_err(|_| Error::WrongPassword(path.into()))?;
        let wallet = Secret(Zeroizing::new(text.into())).wallet()?;
        if wallet.address() == file.account { Ok(wallet) } else { Err(malformed("its account is another's".into())) }
    }

    /// The account's 32 bytes.
    pub fn account(&self) -> Key {
        self.pair.public_key().0
    }

    /// The account as text (SS58).
    pub fn address(&self) -> String {
        address(&self.account())
    }

    pub(crate) fn signer(&self) -> &Keypair {
        &self.pair
    }

    fn published(name: &str) -> Result<Wallet, Error> {
        let bad = || Error::BadName(name.into());
        if !name.starts_with("//") || name.len() < 3 {
            return Err(bad());
        }
        let uri = SecretUri::from_str(name).map_err(|_| bad())?;
        Ok(Wallet { pair: Keypair::from_uri(&uri).map_err(|_| bad())? })
    }
}

impl fmt::Debug for Wallet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Wallet({})", self.address())
    }
}

/// A secret in the form in which a user knows it.
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// A phrase of words or a seed in hexadecimal, with or without a derivation path.
    pub fn parse(text: &str) -> Result<Secret, Error> {
        let text = text.trim();
        if text.is_empty() {
            return Err(Error::BadSecret);
        }
        if text.starts_with('/') {
            return Err(Error::Published);
        }
        let secret = Secret(Zeroizing::new(text.into()));
        secret.wallet()?;
        Ok(secret)
    }

    /// The wallet of this secret.
    pub fn wallet(&self) -> Result<Wallet, Error> {
        let uri = SecretUri::from_str(&self.0).map_err(|_| Error::BadSecret)?;
        if uri.phrase.expose_secret() == subxt_signer::DEV_PHRASE {
            return Err(Error::Published);
        }
        Ok(Wallet { pair: Keypair::from_uri(&uri).map_err(|_| Error::BadSecret)? })
    }

    /// Writes a key file, readable by its owner only. Never overwrites one.
    pub fn store(&self, path: &Path, password: &str) -> Result<(), Error> {
        self.store_with(path, password, LOG_N)
    }

    fn store_with(&self, path: &Path, password: &str, log_n: u8) -> Result<(), Error> {
        let mut random = [0; 16 + NONCE_LEN];
        getrandom::fill(&mut random).map_err(Error::Randomness)?;
        let (salt, nonce) = random.split_at(16);
        let kdf = Kdf { name: "scrypt".into(), log_n, r: BLOCK, p: PARALLEL, salt: salt.into() };
        let account = self.wallet()?.address();
        let mut secret = self.0.as_bytes().to_vec();
        let mut unique = [0; NONCE_LEN];
        unique.copy_from_slice(nonce);
        let sealed = derive(password, &kdf).and_then(|key| {
            let aad = Aad::from(account.as_bytes());
            key.seal_in_place_append_tag(Nonce::assume_unique_for_key(unique), aad, &mut secret).ok()
        });
        if sealed.is_none() {
            secret.zeroize();
            return Err(Error::BadSecret);
        }
        let cipher = Cipher { name: "aes-256-gcm".into(), nonce: nonce.into() };
        let file = KeyFile { version: 1, account, kdf, cipher, secret };
        write_new(path, &file)
    }
}

/// An account as text: SS58 with the prefix of all substrate chains.
pub fn address(account: &Key) -> String {
    AccountId32(*account).to_string()
}

/// Reads an account's text form.
pub fn parse_address(text: &str) -> Option<Key> {
    AccountId32::from_str(text).ok().map(|account| account.0)
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct KeyFile {
    version: u32,
    account: String,
    kdf: Kdf,
    cipher: Cipher,
    #[serde(with = "hex")]
    secret: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Kdf {
    name: String,
    log_n: u8,
    r: u32,
    p: u32,
    #[serde(with = "hex")]
    salt: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Cipher {
    name: String,
    #[serde(with = "hex")]
    nonce: Vec<u8>,
}

impl KeyFile {
    fn read(path: &Path) -> Result<KeyFile, Error> {
        let text = std::fs::read_to_string(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Error::NoFile(path.into()),
            _ => Error::Io { path: path.into(), error },
        })?;
        let malformed = |error: serde_json::Error| Error::Malformed { path: path.into(), reason: error.to_string() };
        serde_json::from_str(&text).map_err(malformed)
    }
}

fn derive(password: &str, kdf: &Kdf) -> Option<LessSafeKey> {
    let params = scrypt::Params::new(kdf.log_n, kdf.r, kdf.p, 32).ok()?;
    let mut key = Zeroizing::new([0; 32]);
    scrypt::scrypt(password.as_bytes(), &kdf.salt, &params, &mut *key).ok()?;
    Some(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &*key).ok()?))
}

/// Complete or not there: written beside its place, synced, then linked.
fn write_new(path: &Path, file: &KeyFile) -> Result<(), Error> {
    let failed = |error| Error::Io { path: path.into(), error };
    if path.exists() {
        return Err(Error::Exists(path.into()));
    }
    let directory = match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => Path::new("."),
    };
    std::fs::create_dir_all(directory).map_err(failed)?;
    let mut beside = path.as_os_str().to_owned();
    beside.push(".new");
    let beside = PathBuf::from(beside);
    let written = (|| {
        let mut output =
            std::fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        output.write_all(&serde_json::to_vec_pretty(file)?)?;
        output.write_all(b"\n")?;
        output.sync_all()?;
        // A link fails where a rename would overwrite.
        std::fs::hard_link(&beside, path)
    })();
    let removed = std::fs::remove_file(&beside);
    match written {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Err(Error::Exists(path.into())),
        Err(error) => Err(failed(error)),
        Ok(()) => removed.map_err(failed),
    }
}

#[cfg(test)]
#[path = "wallet_tests.rs"]
mod tests;
