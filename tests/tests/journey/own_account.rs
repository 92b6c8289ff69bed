//! A user with an account of her own: a key file and its password, and no development network to name either.

use std::fs;

use crust_client::wallet::parse_address;
use crust_tests::{Finished, Network, bin, write_payload};
use subxt::{
    OnlineClient, SubstrateConfig,
    transactions::TransactionStatus,
    utils::{AccountId32, MultiAddress},
};
use subxt_signer::{SecretUri, sr25519::Keypair};

const TOKEN: u128 = 1_000_000_000_000;

/// With `CRUST_CHAIN`, `CRUST_KEY_FILE` and `CRUST_PASSWORD_FILE` alone she orders, looks, cancels and gets her money
/// back; with the wrong password she pays nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_key_file_pays_and_is_refunded() {
    let network = Network::start().await.unwrap();
    let path = |name: &str| network.dir().join(name);
    fs::write(path("password"), "correct horse\n").unwrap();
    fs::write(path("wrong"), "battery staple\n").unwrap();
    let crust = async |words: &[&str], password: &str| {
        let mut command = tokio::process::Command::new(bin().join("crust"));
        command.args(words).arg("--json").env_remove("CRUST_DEV").env_remove("CRUST_ACCOUNT");
        command.env("CRUST_CHAIN", &network.endpoints.chain);
        command.env("CRUST_KEY_FILE", path("key.json")).env("CRUST_PASSWORD_FILE", path(password));
        Finished::of(command).await.unwrap()
    };
    // `account new` knows no chain; what every other command is asked with does it no harm.
    let made = crust(&["account", "new"], "password").await.json().unwrap();
    let account = parse_address(made["account"].as_str().unwrap()).unwrap();
    transfer(&network.endpoints.chain, account, 10 * TOKEN).await;
    let balance = async || {
        let balance = crust(&["account", "balance"], "wrong").await.json().unwrap();
        ["free", "held"].map(|key| balance[key].as_str().unwrap().parse::<u128>().unwrap())
    };
    assert_eq!(balance().await, [10 * TOKEN, 0], "no password is needed to look");

    let file = path("file");
    write_payload(&file, 17, 400_000).unwrap();
    let words = ["put", file.to_str().unwrap(), "--term", "1h", "--wait"];
    let refused = crust(&words, "wrong").await;
    assert_eq!(refused.status, Some(1), "{refused:?}");
    assert!(refused.stderr.contains("wrong password"), "{refused:?}");
    assert_eq!(balance().await, [10 * TOKEN, 0]);
    let put = crust(&words, "password").await.json().unwrap();
    let [free, held] = balance().await;
    assert!(held > 0 && free < 10 * TOKEN - held, "the order's money is held and its fees are paid");

    let order = put["order"].as_str().unwrap();
    let listed = crust(&["order", "list"], "wrong").await.json().unwrap();
    assert_eq!(listed[0]["order"], order, "{listed}");
    let cancelled = crust(&["order", "cancel", order], "password").await.json().unwrap();
    assert_eq!(cancelled["ended"], true, "{cancelled}");
    let [refunded, held] = balance().await;
    assert!(held == 0 && refunded > free, "what was not earned came back");
}

/// Gives an account some of the development client's money.
async fn transfer(chain: &str, to: [u8; 32], amount: u128) {
    let api = OnlineClient::<SubstrateConfig>::from_insecure_url(chain).await.unwrap();
    let uri: SecretUri = "//Client".parse().unwrap();
    let client = Keypair::from_uri(&uri).unwrap();
    let to = MultiAddress::<AccountId32, ()>::Id(AccountId32(to));
    let call = subxt::dynamic::tx("Balances", "transfer_keep_alive", (to, amount));
    let at = api.at_current_block().await.unwrap();
    let mut sent = at.transactions().sign_and_submit_then_watch_default(&call, &client).await.unwrap();
    while let Some(status) = sent.next().await {
        if let TransactionStatus::InFinalizedBlock(block) = status.unwrap() {
            block.wait_for_success().await.unwrap();
            return;
        }
    }
    panic!("the transfer is in no block");
}
