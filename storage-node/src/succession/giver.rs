//! The giver's side of a hand-over: the node's own enclave in this daemon, or in another one that is asked over its admin
//! API. What passes between them is sealed and judged by the enclaves alone; neither daemon can read or change it.

use std::{path::Path, time::Duration};

use codec::{DecodeAll, Encode};
use crust_enclave::rpc::{About, Request, Response, Shown};
use crust_protocol::{Hash, Key};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::Error;
use crate::{
    enclave_client::{self, Enclave, Evidence, Given},
    host::Host,
    releases, statements,
    vendor::Vendor,
};

/// Time for another daemon to answer: it waits for the finality of a statement.
const ANSWER: Duration = Duration::from_secs(120);

/// Who has the key.
#[derive(Clone, Copy)]
pub enum Giver<'a> {
    Here(Holder<'a>),
    There(&'a Remote),
}

/// An enclave of this daemon that has the node's key, and where the release files are.
#[derive(Clone, Copy)]
pub struct Holder<'a> {
    pub enclave: &'a Enclave,
    pub about: &'a About,
    pub vendor: &'a Vendor,
    pub releases: Option<&'a Path>,
}

/// The daemon of the node that a standby is for.
pub struct Remote {
    pub url: String,
    token: Option<String>,
    http: reqwest::Client,
}

/// Asked of a giver: the heir's share, and what the heir shows for it.
#[derive(Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// X25519, 32 bytes in hexadecimal.
    pub heir: String,
    /// SCALE in hexadecimal: quote, vendor collateral, signed release.
    pub shown: String,
}

/// Answered by a giver, in hexadecimal.
#[derive(Serialize, Deserialize, utoipa::ToSchema)]
pub struct Answer {
    pub share: String,
    pub sealed: String,
    pub shown: String,
}

/// What a hand-over begins with.
#[derive(Serialize, Deserialize, utoipa::ToSchema)]
pub struct Challenge {
    pub challenge: String,
}

/// The enclave that a node is to name.
#[derive(Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct Name {
    /// Its signing key, in hexadecimal.
    pub heir: String,
}

impl Giver<'_> {
    pub async fn challenge(&self) -> Result<Hash, Error> {
        match self {
            Giver::Here(holder) => holder.challenge().await,
            Giver::There(remote) => {
                let Challenge { challenge } = remote.post("/v1/succession/challenge", &()).await?;
                remote.read(&challenge)
            }
        }
    }

    pub async fn hand_over(&self, heir: Key, shown: Shown) -> Result<Given, Error> {
        match self {
            Giver::Here(holder) => holder.hand_over(heir, shown).await,
            Giver::There(remote) => {
                let ask = Ask { heir: hex::encode(heir), shown: hex::encode(shown.encode()) };
                let answer: Answer = remote.post("/v1/succession/hand-over", &ask).await?;
                let sealed = hex::decode(&answer.sealed).map_err(|_| remote.nonsense())?;
                Ok(Given { share: remote.read(&answer.share)?, sealed, shown: remote.read(&answer.shown)? })
            }
        }
    }
}

impl Holder<'_> {
    /// Begins a hand-over.
    pub async fn challenge(&self) -> Result<Hash, Error> {
        match self.enclave.ask(Request::Challenge).await? {
            Response::Challenge { challenge } => Ok(challenge),
            _ => Err(enclave_client::Error::Answer("Challenge").into()),
        }
    }

    /// Has the enclave hand the key over, if it finds that the heir may have it.
    pub async fn hand_over(&self, heir: Key, shown: Shown) -> Result<Given, Error> {
        let release = releases::find(self.releases, self.about)?;
        match self.enclave.change(Request::HandOver { heir, shown }).await? {
            Response::Handed { share, sealed, quote, collateral, .. } => {
                tracing::info!("the node's key was handed over to another enclave of this provider");
                let evidence = Evidence { quote, collateral };
                Ok(Given { share, sealed, shown: super::shown(self.vendor, evidence, release).await? })
            }
            _ => Err(enclave_client::Error::Answer("HandOver").into()),
        }
    }
}

/// Has the node's enclave name an heir, unless the best chain knows already. `true` once that is final.
pub async fn name(host: &Host, heir: Key) -> Result<bool, Error> {
    let number = host.number()?;
    let node = host.view().await?.node(number).await?.ok_or(Error::UnknownNode(number))?;
    if node.heir != Some(heir) {
        let (block, _) = statements::say(host, number, statements::Words::Heir(heir)).await?;
        tracing::info!(heir = hex::encode(heir), block = block.number, "named as the node's heir");
    }
    let settled = host.final_view().await?.node(number).await?;
    Ok(settled.is_some_and(|node| node.heir == Some(heir)))
}

impl Remote {
    /// The daemon at an admin URL, with the token in a file.
    pub fn new(url: &str, token_file: Option<&Path>) -> Result<Self, Error> {
        let url = url.trim_end_matches('/').to_owned();
        let read = |path: &Path| {
            let token = std::fs::read_to_string(path).map(|token| token.trim().to_owned());
            token.map_err(|error| Error::Node { url: url.clone(), problem: format!("{}: {error}", path.display()) })
        };
        let token = token_file.map(read).transpose()?;
        let http = reqwest::Client::builder().timeout(ANSWER).build();
        let http = http.map_err(|error| Error::Node { url: url.clone(), problem: error.to_string() })?;
        Ok(Remote { url, token, http })
    }

    /// Has the node's enclave name an heir.
    pub async fn name(&self, heir: &Key) -> Result<(), Error> {
        let _: Name = self.post("/v1/succession/heir", &Name { heir: hex::encode(heir) }).await?;
        Ok(())
    }

    /// Whether the daemon answers at all.
    pub async fn lives(&self) -> bool {
        self.http.get(format!("{}/health", self.url)).send().await.is_ok()
    }

    async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Error> {
        let mut request = self.http.post(format!("{}{path}", self.url)).json(body);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let failed = |error: reqwest::Error| self.problem(error.without_url().to_string());
        let answer = request.send().await.map_err(failed)?;
        if !answer.status().is_success() {
            return Err(self.problem(answer.text().await.map_err(failed)?));
        }
        answer.json().await.map_err(failed)
    }

    fn read<T: DecodeAll>(&self, text: &str) -> Result<T, Error> {
        let bytes = hex::decode(text).map_err(|_| self.nonsense())?;
        T::decode_all(&mut bytes.as_slice()).map_err(|_| self.nonsense())
    }

    fn nonsense(&self) -> Error {
        self.problem("its answer cannot be read; run daemons of one release".into())
    }

    fn problem(&self, problem: String) -> Error {
        Error::Node { url: self.url.clone(), problem }
    }
}
