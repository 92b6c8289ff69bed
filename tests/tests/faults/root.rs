//! A production chain and a development enclave: the evidence that a development chain accepts is worth nothing under
//! the vendor's root.

use std::path::Path;

use codec::Encode;
use crust_client::{
    chain::{Call, Chain, Error, Finality},
    wallet::Wallet,
};
use crust_protocol::{attestation::Measurement, development};
use crust_tests::{ChainNode, Network, Options, host::Applicant};
use futures::StreamExt;
use serde_json::{Value, json};

/// On a running chain whose genesis holds Intel's root and a production measurement the real calls of a real
/// development enclave are refused. Its collateral cannot get in; and with that collateral already in the state, as if
/// somebody had smuggled it there, the quote is still refused, for the root alone. **Coin**: any power that one likes
/// to claim, without a machine, for the key to the root is published.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_development_quote_is_refused_by_a_chain_with_intels_root() {
    let network = Network::with(Options { nodes: 0, ..Options::default() }).await.unwrap();
    let production = production();
    // The state that development collateral makes where it is trusted, and proof that the same enclave registers there.
    let development = network.chain().await.unwrap();
    let provider = Wallet::development("//Provider9", &development).unwrap();
    let applicant = Applicant::new(&development, &provider, 9);
    let (collateral, register) = applicant.calls(&development).await;
    development.submit(collateral, &provider).await.unwrap();
    let smuggled = beyond_genesis(&network.endpoints.chain, &production).await;
    assert!(smuggled.len() >= 4, "a collateral has four parts: {smuggled:?}");
    development.submit(register, &provider).await.unwrap();

    for with_collateral in [false, true] {
        let mut specification = production.clone();
        if with_collateral {
            let top = specification.pointer_mut("/genesis/raw/top").and_then(Value::as_object_mut).unwrap();
            top.extend(smuggled.clone());
        }
        let dir = network.dir().join(format!("production-{with_collateral}"));
        let node = ChainNode::start(&dir, &specification).unwrap();
        let chain = node.connect().await.unwrap();
        assert_ne!(chain.genesis(), development.genesis());
        refused(&chain, with_collateral).await;
    }
}

async fn refused(chain: &Chain, with_collateral: bool) {
    let provider = Wallet::development("//Provider9", chain).unwrap();
    let applicant = Applicant::new(chain, &provider, 9);
    // Evidence names a block that is older than the call's.
    let mut heads = std::pin::pin!(chain.blocks(Finality::Best));
    while heads.next().await.unwrap().number < 3 {}
    let (collateral, register) = applicant.calls(chain).await;
    assert_eq!(refusal(chain, collateral, &provider).await, "UntrustedQuote");
    let reason = if with_collateral { "UntrustedQuote" } else { "NoCollateral" };
    assert_eq!(refusal(chain, register, &provider).await, reason);
    assert!(chain.view(Finality::Best).await.unwrap().all_nodes().await.unwrap().is_empty(), "nobody is registered");
}

/// The name of the pallet's error with which a call fails.
async fn refusal(chain: &Chain, call: Call, provider: &Wallet) -> String {
    match chain.submit(call, provider).await {
        Err(Error::Refused { reason, .. }) => {
            let name = reason.split(['.', ' ']).next().unwrap_or_default();
            name.rsplit("::").next().unwrap_or_default().to_owned()
        }
        other => panic!("not refused by the call itself: {other:?}"),
    }
}

/// The state of a genesis with the development chain's accounts and validator, Intel's root and a measurement that is
/// not the development enclave's; `development` is off, so that the genesis itself is checked as a production one.
fn production() -> Value {
    let mut specification = ChainNode::specification("dev", false).unwrap();
    let mpow = specification.pointer_mut("/genesis/runtimeGenesis/patch/mpow").unwrap();
    let measurement = Measurement::Sgx {
        mr_enclave: [0x5a; 32],
        isv_prod_id: 1,
        attributes: [0; 16],
        attributes_mask: [0; 16],
        misc_select: 0,
        misc_mask: 0,
    };
    mpow["trustedRoot"] = json!(format!("0x{}", hex::encode(intels_root())));
    mpow["measurements"] = json!(format!("0x{}", hex::encode(vec![measurement].encode())));
    mpow["development"] = json!(false);
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), specification.to_string()).unwrap();
    ChainNode::specification(file.path().to_str().unwrap(), true).unwrap()
}

fn intels_root() -> Vec<u8> {
    std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join("../chain/evidence/src/intel-root.der")).unwrap()
}

/// What the workload proof's state of a running chain holds beyond its genesis.
async fn beyond_genesis(chain: &str, production: &Value) -> serde_json::Map<String, Value> {
    let url = chain.replace("ws://", "http://");
    let ask = async |method: &str, params: Value| -> Value {
        let call = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
        let answer = reqwest::Client::new().post(&url).json(&call).send().await.unwrap();
        answer.json::<Value>().await.unwrap()["result"].take()
    };
    // The item that holds the root names the pallet: the first 16 bytes of its key.
    let top = production["genesis"]["raw"]["top"].as_object().unwrap();
    let root = format!("0x{}", hex::encode(intels_root().encode()));
    let (key, _) = top.iter().find(|(_, value)| value.as_str() == Some(&root)).unwrap();
    assert!(
        !top.values().any(|value| value.as_str() == Some(&format!("0x{}", hex::encode(development::ROOT_CA.encode()))))
    );
    let keys = ask("state_getKeysPaged", json!([&key[..34], 1_000])).await;
    let mut found = serde_json::Map::new();
    for key in keys.as_array().unwrap() {
        if !top.contains_key(key.as_str().unwrap()) {
            found.insert(key.as_str().unwrap().to_owned(), ask("state_getStorage", json!([key])).await);
        }
    }
    found
}
