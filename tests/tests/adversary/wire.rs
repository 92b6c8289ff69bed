//! The chain's RPC as anybody on the internet sees it: blocks to read, bytes to hand in.

use std::collections::BTreeMap;

use codec::Encode;
use crust_client::chain::{BlockRef, Chain, Event};
use crust_protocol::{
    NodeId, Slot,
    statement::{Gone, Signature},
};
use serde_json::{Value, json};

/// The first byte of a general transaction of version 5; its extensions follow as four zeros.
const GENERAL: u8 = 0x45;
/// What the extensions of a statement say: nothing.
const EXTENSIONS: [u8; 4] = [0; 4];
/// Pallet and call of a `Gone`.
const GONE: [u8; 2] = [40, 5];
/// Of a statement: length (2), general (1), extensions (4), pallet and call (2); then the node's number.
const NODE: std::ops::Range<usize> = 9..13;

/// The pool of one chain.
pub struct Pool {
    url: String,
    http: reqwest::Client,
}

impl Pool {
    pub fn of(chain: &str) -> Pool {
        Pool { url: chain.replace("ws://", "http://"), http: reqwest::Client::new() }
    }

    pub async fn ask(&self, method: &str, params: Value) -> Value {
        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let answer = self.http.post(&self.url).json(&call).send().await.unwrap();
        answer.json().await.unwrap()
    }

    /// Hands in a transaction; the pool's refusal, if it is one.
    pub async fn submit(&self, transaction: &[u8]) -> Option<String> {
        let params = json!([format!("0x{}", hex::encode(transaction))]);
        let answer = self.ask("author_submitExtrinsic", params).await;
        answer.get("error").map(Value::to_string)
    }

    /// All transactions of a block.
    pub async fn block(&self, hash: &[u8]) -> Vec<Vec<u8>> {
        let answer = self.ask("chain_getBlock", json!([format!("0x{}", hex::encode(hash))])).await;
        let extrinsics = answer["result"]["block"]["extrinsics"].as_array().unwrap().clone();
        let bytes = |it: &Value| hex::decode(it.as_str().unwrap().trim_start_matches("0x")).unwrap();
        extrinsics.iter().map(bytes).collect()
    }

    /// Every statement in the blocks up to this one.
    pub async fn statements(&self, chain: &Chain, head: BlockRef) -> Vec<Vec<u8>> {
        let mut found = Vec::new();
        for number in 1..=head.number {
            let hash = chain.block_hash(number).await.unwrap().unwrap();
            found.extend(self.block(&hash).await.into_iter().filter(|bytes| is_statement(bytes)));
        }
        found
    }
}

/// Whether a transaction is a general one; statements are the only such.
fn is_statement(bytes: &[u8]) -> bool {
    bytes.len() > 128 && bytes[2] == GENERAL
}

/// The same statement said for another node.
pub fn for_node(statement: &[u8], node: u32) -> Vec<u8> {
    let mut changed = statement.to_vec();
    changed[NODE].copy_from_slice(&node.to_le_bytes());
    changed
}

/// A loss as a transaction: anybody can write one.
pub fn gone(node: NodeId, statement: &Gone, signature: Signature) -> Vec<u8> {
    let mut bytes = vec![GENERAL];
    bytes.extend(EXTENSIONS);
    bytes.extend(GONE);
    bytes.extend((node, statement, signature).encode());
    bytes.encode()
}

/// How many reports the chain accepted in each slot up to a block.
pub async fn reports(chain: &Chain, head: BlockRef) -> BTreeMap<Slot, u32> {
    let mut found = BTreeMap::new();
    for number in 1..=head.number {
        let hash = chain.block_hash(number).await.unwrap().unwrap();
        let events = chain.view_at(BlockRef { number, hash }).await.unwrap().events().await.unwrap();
        let reported = |event: &&Event| matches!(event, Event::Other { name, .. } if name == "Reported");
        let count = u32::try_from(events.iter().filter(reported).count()).unwrap();
        *found.entry(chain.parameters().slot_of(number)).or_default() += count;
    }
    found.retain(|_, count| *count > 0);
    found
}
