//! `crust doctor`: is everything well? The chain, one's own nodes with their disks and workers, the programs' versions.
//!
//! Every check is a line; what is wrong says what to do about it, and the exit status is 1.

use std::{path::PathBuf, process::Command, time::Duration};

use anyhow::{Context, bail};
use crust_client::{
    chain::{Chain, Finality, Node, View},
    money,
};
use futures::StreamExt;
use serde::Serialize;
use serde_json::Value;
use tokio::time::timeout;

use crate::{
    VERSION,
    access::{self, Acting},
    output,
};

/// Blocks that finality may lag behind.
const LAG: u32 = 20;
/// Block times to wait for the next block, and the least that is waited.
const BLOCK_TIMES: u32 = 4;
const LEAST: Duration = Duration::from_secs(10);
/// Time for a node to answer.
const ANSWER: Duration = Duration::from_secs(10);
/// The programs that belong to a release.
const PROGRAMS: [&str; 4] = ["crust-storage", "crust-node", "crust-enclave", "crust-enclave-dev"];

/// Checks the chain, one's nodes with their disks, and the programs
///
/// Nodes are checked through their admin APIs: those that --node names, or all of the network of CRUST_DEV. Exit status
/// 0 if all is well.
#[derive(clap::Args)]
#[command(after_help = "Example:\n  crust doctor --node http://127.0.0.1:5001")]
pub struct Args {
    /// Admin URL of a storage node; may be given several times
    #[arg(long, value_name = "URL")]
    node: Vec<String>,
    /// File with the token of the admin APIs
    #[arg(long, value_name = "FILE")]
    admin_token_file: Option<PathBuf>,
    #[command(flatten)]
    acting: Acting,
}

/// What a check has found.
#[derive(Serialize)]
struct Finding {
    /// What was looked at.
    about: String,
    ok: bool,
    /// What is there, or what is wrong and what to do.
    text: String,
}

pub async fn run(args: Args) -> anyhow::Result<()> {
    let mut findings = Findings { shown: !args.acting.json(), all: Vec::new() };
    programs(&mut findings)?;
    match args.acting.connect().await {
        Ok(chain) => look_at_chain(&args, &chain, &mut findings).await?,
        Err(error) => findings.add("chain", Err(error))?,
    }
    let token = match &args.admin_token_file {
        Some(path) => Some(std::fs::read_to_string(path).with_context(|| path.display().to_string())?),
        None => None,
    };
    let nodes = if args.node.is_empty() { access::admins().unwrap_or_default() } else { args.node.clone() };
    for url in nodes {
        match status(&url, token.as_deref().map(str::trim)).await {
            Ok(status) => look_at_node(&url, &status, &mut findings)?,
            Err(error) => findings.add(&url, Err(error))?,
        }
    }
    if args.acting.json() {
        output::json(&serde_json::json!({ "ok": findings.wrong() == 0, "checks": findings.all }))?;
    }
    match findings.wrong() {
        0 => Ok(()),
        wrong => bail!("{wrong} of {} checks found something wrong", findings.all.len()),
    }
}

/// All that was found so far.
struct Findings {
    shown: bool,
    all: Vec<Finding>,
}

impl Findings {
    fn add(&mut self, about: &str, found: anyhow::Result<String>) -> anyhow::Result<()> {
        let ok = found.is_ok();
        let text = found.unwrap_or_else(|error| format!("{error:#}"));
        if self.shown {
            output::line(format_args!("{}  {about}: {text}", if ok { "ok   " } else { "WRONG" }))?;
        }
        self.all.push(Finding { about: about.into(), ok, text });
        Ok(())
    }

    fn wrong(&self) -> usize {
        self.all.iter().filter(|finding| !finding.ok).count()
    }
}

/// The programs beside this one are of the same build.
fn programs(findings: &mut Findings) -> anyhow::Result<()> {
    let beside = std::env::current_exe()?;
    for name in PROGRAMS {
        let path = beside.with_file_name(name);
        if !path.is_file() {
            continue;
        }
        let said = Command::new(&path).arg("--version").output();
        let found = said.map_err(anyhow::Error::from).and_then(|output| {
            let said = String::from_utf8_lossy(&output.stdout).trim().to_string();
            let version = said.split_once(' ').map_or("", |(_, version)| version).trim();
            if release(version) != release(&VERSION) {
                bail!("is {version} and this command is {}: install programs of one release", *VERSION);
            }
            Ok(version.to_string())
        });
        findings.add(name, found)?;
    }
    Ok(())
}

/// A version without its commit.
fn release(version: &str) -> &str {
    version.split([' ', '-']).next().unwrap_or_default()
}

async fn look_at_chain(args: &Args, chain: &Chain, findings: &mut Findings) -> anyhow::Result<()> {
    let kind = if chain.development() { ", a development chain" } else { "" };
    findings.add("chain", Ok(format!("{}, genesis {}{kind}", chain.url(), output::hex(&chain.genesis()))))?;
    findings.add("blocks", blocks(chain).await)?;
    findings.add("finality", finality(chain).await)?;
    findings.add("nodes", nodes(chain).await)?;
    if let Ok(account) = args.acting.account(chain) {
        let view = chain.view(Finality::Best).await?;
        let found = match view.balance(account).await? {
            money if money.free == 0 => Err(anyhow::anyhow!("it has no free money: no order, no fee can be paid")),
            money => Ok(format!("{} free, {} held", money::show(money.free), money::show(money.held))),
        };
        findings.add("account", found)?;
        for node in view.all_nodes().await?.iter().filter(|node| node.provider == account) {
            findings.add(&format!("node {}", node.id), standing(&view, node).await)?;
        }
    }
    Ok(())
}

/// Whether the chain gives a node anything new.
async fn standing(view: &View, node: &Node) -> anyhow::Result<String> {
    match (view.room(node.id).await?, node.leaves) {
        (Ok(room), None) => Ok(format!("registered, its machine may hold {room} bytes more")),
        (Ok(_), Some(out)) => bail!("its registration is not renewed: it is out from block {out} on"),
        (Err(barred), None) => bail!("takes nothing new: {barred}"),
        (Err(barred), Some(out)) => bail!("takes nothing new, and is out from block {out} on: {barred}"),
    }
}

async fn blocks(chain: &Chain) -> anyhow::Result<String> {
    let mut heads = std::pin::pin!(chain.blocks(Finality::Best));
    let patience = chain.block_time().saturating_mul(BLOCK_TIMES).max(LEAST);
    // The present one comes first.
    let next = timeout(patience, async { (heads.next().await, heads.next().await) }).await;
    match next {
        Ok((_, Some(head))) => Ok(format!("number {}", head.number)),
        _ => bail!("no new one within {} seconds: is the chain node connected to others?", patience.as_secs()),
    }
}

async fn finality(chain: &Chain) -> anyhow::Result<String> {
    let (best, last) = (chain.best().await?.number, chain.finalized().await?.number);
    let lag = best.saturating_sub(last);
    if lag > LAG {
        bail!("{lag} blocks behind: too few validators are online, or the chain node cannot reach them");
    }
    Ok(format!("{lag} blocks behind"))
}

async fn nodes(chain: &Chain) -> anyhow::Result<String> {
    let view = chain.view(Finality::Best).await?;
    let registered = view.all_nodes().await?.iter().filter(|node| node.registered).count();
    if registered == 0 {
        bail!("none is registered, so nobody can store a file");
    }
    Ok(format!("{registered} registered"))
}

/// What a storage node says of itself.
async fn status(url: &str, token: Option<&str>) -> anyhow::Result<Value> {
    let http = reqwest::Client::builder().timeout(ANSWER).build()?;
    let unreachable = || format!("it does not answer: is `crust-storage` running, and is {url} its `admin` address?");
    let ready = http.get(format!("{url}/ready")).send().await.with_context(unreachable)?;
    if !ready.status().is_success() {
        bail!("it is not ready: {}", ready.text().await.unwrap_or_default().trim());
    }
    let mut request = http.get(format!("{url}/v1/status"));
    if let Some(token) = token {
        request = request.bearer_auth(token);
    }
    let answer = request.send().await.with_context(unreachable)?;
    if answer.status() == reqwest::StatusCode::UNAUTHORIZED {
        bail!("it wants a token: name its file with --admin-token-file");
    }
    Ok(answer.error_for_status()?.json().await?)
}

fn look_at_node(url: &str, status: &Value, findings: &mut Findings) -> anyhow::Result<()> {
    let number = |value: &Value, key: &str| value.get(key).and_then(Value::as_u64).unwrap_or_default();
    let text = |value: &Value, key: &str| value.get(key).and_then(Value::as_str).unwrap_or_default().to_string();
    let list = |key: &str| status.get(key).and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let [capacity, stored, files] = ["capacity", "stored_bytes", "files"].map(|key| number(status, key));
    findings.add(url, Ok(format!("ready, {files} files, {stored} of {capacity} bytes in use")))?;
    for disk in list("disks") {
        let path = text(disk, "path");
        let found = match disk.get("present").and_then(Value::as_bool) {
            Some(true) => Ok(format!("{} bytes", number(disk, "capacity"))),
            _ => Err(anyhow::anyhow!("it is not there: mount it; nothing is lost yet, and nothing on it is proven")),
        };
        findings.add(&format!("{url} disk {path}"), found)?;
    }
    for worker in list("workers") {
        let error = text(worker, "error");
        if !error.is_empty() {
            findings.add(&format!("{url} worker {}", text(worker, "name")), Err(anyhow::anyhow!(error)))?;
        }
    }
    let log = status.get("enclave").map(|enclave| text(enclave, "log_error")).unwrap_or_default();
    if !log.is_empty() {
        let text = anyhow::anyhow!("its log cannot be written, so nothing can be signed: {log}");
        findings.add(&format!("{url} enclave"), Err(text))?;
    }
    Ok(())
}
