//! `endpoints.json`: where everything of a development network is found, and the wait until it all answers.
//!
//! The file is a contract with scripts outside; keys of parts that do not exist yet are absent.

use std::{str::FromStr, time::Duration};

use anyhow::{Context, bail};
use crust_client::chain::{self, Chain, Finality, Node};
use crust_protocol::Key;
use futures::StreamExt;
use serde::Serialize;
use subxt_signer::{SecretUri, sr25519::Keypair};
use tokio::time::{sleep, timeout};

use super::layout::{self, Layout};

/// Time for the whole network to come up.
const PATIENCE: Duration = Duration::from_secs(120);
/// Pause before something that does not answer yet is asked again.
const AGAIN: Duration = Duration::from_millis(100);

#[derive(Clone, Debug, Serialize)]
pub struct Endpoints {
    chain: String,
    genesis: String,
    nodes: Vec<NodeEndpoints>,
    validators: Vec<ValidatorEndpoints>,
    accounts: Accounts,
}

#[derive(Clone, Debug, Serialize)]
struct NodeEndpoints {
    /// The node's number on the chain.
    id: u32,
    /// The enclave's signing key.
    key: String,
    provider: String,
    admin: String,
    dir: String,
    pid: u32,
    enclave_pid: u32,
    peer: String,
}

#[derive(Clone, Debug, Serialize)]
struct ValidatorEndpoints {
    rpc: String,
    pid: u32,
}

#[derive(Clone, Debug, Serialize)]
struct Accounts {
    client: String,
}

impl Endpoints {
    /// Fills in the process ids, by the names of the programs. A child that is down at the moment keeps its last one.
    pub fn set_pids(&mut self, pids: &[(String, Option<u32>)]) {
        let pid = |name: String| pids.iter().find(|entry| entry.0 == name).and_then(|entry| entry.1);
        for (index, node) in (0..).zip(&mut self.nodes) {
            node.pid = pid(layout::node_name(index)).unwrap_or(node.pid);
            node.enclave_pid = pid(layout::enclave_name(index)).unwrap_or(node.enclave_pid);
        }
        for (index, validator) in (0..).zip(&mut self.validators) {
            validator.pid = pid(layout::validator_name(index)).unwrap_or(validator.pid);
        }
    }

    pub fn write(&self, layout: &Layout) -> anyhow::Result<()> {
        layout::replace(&layout.endpoints(), &serde_json::to_vec_pretty(self)?)
    }
}

/// Waits until the chain makes blocks, all nodes are registered and each says that it is ready.
pub async fn wait(layout: &Layout) -> anyhow::Result<Endpoints> {
    let mut trouble = String::new();
    let found = timeout(PATIENCE, found(layout, &mut trouble)).await;
    match found {
        Ok(endpoints) => endpoints,
        Err(_) => {
            let (seconds, dir) = (PATIENCE.as_secs(), layout.dir.display());
            bail!("not ready after {seconds} seconds: {trouble}; the logs under {dir} say more")
        }
    }
}

async fn found(layout: &Layout, trouble: &mut String) -> anyhow::Result<Endpoints> {
    let urls = layout.chains();
    let url = urls.first().context("a network without a chain")?;
    let chain = loop {
        match Chain::connect(url).await {
            Ok(chain) => break chain,
            Err(error) => *trouble = error.to_string(),
        }
        sleep(AGAIN).await;
    };
    *trouble = "a node is not ready".into();
    let mut blocks = Box::pin(chain.blocks(Finality::Best));
    while let Some(block) = blocks.next().await {
        if block.number > 0 {
            break;
        }
    }
    let http = reqwest::Client::new();
    let mut nodes = Vec::new();
    for (index, admin) in (0..).zip(layout.admins()) {
        while !is_ready(&http, &admin).await {
            sleep(AGAIN).await;
        }
        let account = account(&layout::provider(index))?;
        let record = loop {
            match registered(&chain, account).await {
                Ok(Some(record)) => break record,
                Ok(None) => {}
                // A chain node that has died is being started again.
                Err(error) if error.is_retryable() => {}
                Err(error) => return Err(error.into()),
            }
            blocks.next().await.context("the chain is gone")?;
        };
        nodes.push(node(layout, index, admin, &record));
    }
    let validators = urls.iter().map(|rpc| ValidatorEndpoints { rpc: rpc.clone(), pid: 0 }).collect();
    let genesis = format!("0x{}", hex::encode(chain.genesis()));
    Ok(Endpoints { chain: url.clone(), genesis, nodes, validators, accounts: Accounts { client: "//Client".into() } })
}

async fn is_ready(http: &reqwest::Client, admin: &str) -> bool {
    let answer = http.get(format!("{admin}/ready")).timeout(Duration::from_secs(5)).send().await;
    answer.is_ok_and(|answer| answer.status().is_success())
}

/// The newest record of a provider's node.
async fn registered(chain: &Chain, provider: Key) -> Result<Option<Node>, chain::Error> {
    let nodes = chain.view(Finality::Best).await?.all_nodes().await?;
    Ok(nodes.into_iter().rfind(|node| node.provider == provider))
}

fn node(layout: &Layout, index: u16, admin: String, record: &Node) -> NodeEndpoints {
    let address = record.addresses.first().cloned().unwrap_or_default();
    NodeEndpoints {
        id: record.id,
        key: format!("0x{}", hex::encode(record.sign_pk)),
        provider: layout::provider(index),
        admin,
        dir: layout.node(index).display().to_string(),
        pid: 0,
        enclave_pid: 0,
        peer: format!("{address}/p2p/{}", record.peer_id),
    }
}

/// The account of a published development key.
fn account(name: &str) -> anyhow::Result<Key> {
    Ok(Keypair::from_uri(&SecretUri::from_str(name)?)?.public_key().0)
}
