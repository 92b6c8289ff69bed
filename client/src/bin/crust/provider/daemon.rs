//! What a provider asks of its own daemons, over their admin APIs: that a node is registered, goes over to the next
//! enclave, or takes a dead one's place.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, bail};
use reqwest::{RequestBuilder, StatusCode};
use serde_json::{Value, json};
use tokio::time::{Instant, interval, timeout_at};

use crate::output;

/// Time for the daemon to answer one request.
const ANSWER: Duration = Duration::from_secs(10);
/// Pause between two looks.
const AGAIN: Duration = Duration::from_millis(500);

// A daemon, by its admin API.
#[derive(clap::Args)]
pub struct Daemon {
    /// Admin URL of the daemon
    #[arg(long, value_name = "URL", default_value = "http://127.0.0.1:8900")]
    admin: String,
    /// File with the token of the admin API
    #[arg(long, value_name = "FILE")]
    admin_token_file: Option<PathBuf>,
    /// Give up waiting after so many seconds; what was asked for goes on by itself
    #[arg(long, value_name = "SECONDS", default_value_t = 600)]
    wait: u64,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Waits until a node is registered, and shows its number
///
/// A daemon registers its node by itself, with evidence that only its enclave can give: start it, and this says when it
/// is done or what it waits for.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  crust provider register --admin http://127.0.0.1:8900")]
pub struct Register {
    #[command(flatten)]
    daemon: Daemon,
}

/// Hands a node over to another enclave on its machine, such as the next release
///
/// Start the other enclave beside the first, on a socket of its own, and put the signed release files of both into the
/// directory that the daemon's configuration names. The node goes on reporting and serving; nothing is sealed again.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  crust provider upgrade /run/crust/enclave-2/enclave.sock")]
pub struct Upgrade {
    /// Unix socket of the other enclave
    #[arg(value_name = "SOCKET")]
    enclave: PathBuf,
    #[command(flatten)]
    daemon: Daemon,
}

/// Has a standby take the place of its node, whose machine is dead
///
/// Move the node's disks to where the standby's configuration has them first. The node's own enclave can never speak
/// again after this.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  crust provider succeed --admin http://127.0.0.1:8900")]
pub struct Succeed {
    /// The newest copy of the node's `enclave.log` [default: the one on the disks that the chain agrees with]
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
    #[command(flatten)]
    daemon: Daemon,
}

pub async fn register(args: Register) -> anyhow::Result<()> {
    let daemon = args.daemon.connect()?;
    daemon
        .until(async || match daemon.status().await? {
            Ok(status) if status.get("node").is_some_and(Value::is_u64) => Ok(Some(status)),
            Ok(_) => bail!("the node is not registered yet"),
            Err(why) => bail!("the daemon is not up yet: {why}"),
        })
        .await
        .and_then(|status| daemon.show(&status))
}

pub async fn upgrade(args: Upgrade) -> anyhow::Result<()> {
    let daemon = args.daemon.connect()?;
    let enclave = std::path::absolute(&args.enclave)?;
    daemon.post("/v1/upgrade", &json!({ "enclave": enclave })).await?;
    let mut heir = None;
    let status = daemon.until(async || daemon.followed("/v1/upgrade", &mut heir).await).await?;
    daemon.show(&status)
}

pub async fn succeed(args: Succeed) -> anyhow::Result<()> {
    let daemon = args.daemon.connect()?;
    let standby = daemon.get("/v1/standby").await?.map_err(anyhow::Error::msg)?;
    let mut heir = standby.get("heir").and_then(Value::as_str).map(str::to_owned);
    daemon.post("/v1/succeed", &json!({ "log": args.log })).await?;
    let status = daemon.until(async || daemon.followed("/v1/standby", &mut heir).await).await?;
    daemon.show(&status)
}

/// The refusal of what was asked for: no use in waiting.
#[derive(Debug, thiserror::Error)]
#[error("it is refused: {0}")]
struct Refused(String);

struct Api {
    args: Daemon,
    token: Option<String>,
    http: reqwest::Client,
}

impl Daemon {
    fn connect(self) -> anyhow::Result<Api> {
        let token = match &self.admin_token_file {
            Some(path) => Some(std::fs::read_to_string(path).with_context(|| path.display().to_string())?),
            None => None,
        };
        let token = token.map(|token| token.trim().to_owned());
        Ok(Api { args: self, token, http: reqwest::Client::builder().timeout(ANSWER).build()? })
    }
}

impl Api {
    /// What is there, or why it is not there yet. An error if the daemon does not answer, or not us.
    async fn get(&self, path: &str) -> anyhow::Result<Result<Value, String>> {
        self.ask(self.http.get(self.url(path))).await
    }

    async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        match self.ask(self.http.post(self.url(path)).json(body)).await? {
            Ok(answer) => Ok(answer),
            Err(why) => bail!("{}: {why}", self.args.admin),
        }
    }

    async fn status(&self) -> anyhow::Result<Result<Value, String>> {
        self.get("/v1/status").await
    }

    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.args.admin.trim_end_matches('/'))
    }

    async fn ask(&self, mut request: RequestBuilder) -> anyhow::Result<Result<Value, String>> {
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let url = &self.args.admin;
        let answer = request.send().await.with_context(|| {
            format!("it does not answer: is `crust-storage` running, and is {url} its `admin` address?")
        })?;
        let status = answer.status();
        if status == StatusCode::UNAUTHORIZED {
            return Err(Refused("the daemon wants a token: name its file with --admin-token-file".into()).into());
        }
        let body: Value = answer.json().await.with_context(|| format!("{url} is no admin API of `crust-storage`"))?;
        if status.is_success() {
            return Ok(Ok(body));
        }
        Ok(Err(body.get("error").and_then(Value::as_str).unwrap_or("it failed").to_owned()))
    }

    /// The node's status, once its enclave is the heir that the daemon has named meanwhile.
    async fn followed(&self, path: &str, heir: &mut Option<String>) -> anyhow::Result<Option<Value>> {
        if let Ok(status) = self.status().await?
            && heir.is_some()
            && status.get("key").and_then(Value::as_str) == heir.as_deref()
            && status.get("node").is_some_and(Value::is_u64)
        {
            return Ok(Some(status));
        }
        // The daemon may be starting anew at this moment.
        let Ok(progress) = self.get(path).await? else { return Ok(None) };
        let text = |key: &str| progress.get(key).and_then(Value::as_str).map(str::to_owned);
        if let Some(refused) = text("refused") {
            return Err(Refused(refused).into());
        }
        *heir = text("heir").or(heir.take());
        let stage = text("stage").unwrap_or_default();
        match text("error") {
            Some(error) => bail!("{stage}: {error}"),
            None => bail!("{stage}"),
        }
    }

    /// Looks until the answer is there. An error is the reason to look again, unless it is a refusal.
    async fn until(&self, mut look: impl AsyncFnMut() -> anyhow::Result<Option<Value>>) -> anyhow::Result<Value> {
        let deadline = Instant::now() + Duration::from_secs(self.args.wait);
        let mut tick = interval(AGAIN);
        let mut reason = None;
        loop {
            if timeout_at(deadline, tick.tick()).await.is_err() {
                let reason = reason.unwrap_or_else(|| anyhow::anyhow!("the daemon is starting"));
                return Err(reason.context(format!("not within {} seconds", self.args.wait)));
            }
            match look().await {
                Ok(Some(found)) => return Ok(found),
                Ok(None) => {}
                Err(error) if error.is::<Refused>() => return Err(error),
                Err(error) => reason = Some(error),
            }
        }
    }

    fn show(&self, status: &Value) -> anyhow::Result<()> {
        let text = |key: &str| status.get(key).and_then(Value::as_str).unwrap_or_default();
        let node = status.get("node").and_then(Value::as_u64);
        let release = status.pointer("/enclave/release").and_then(Value::as_u64);
        if self.args.json {
            return output::json(&json!({ "node": node, "key": text("key"), "release": release }));
        }
        let node = node.map_or("not yet on the chain".into(), |node| node.to_string());
        output::line(format_args!("node {node}: key {}, release {} of the enclave", text("key"), release.unwrap_or(0)))
    }
}
