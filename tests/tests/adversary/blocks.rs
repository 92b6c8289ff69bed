//! One who pays to fill every block: what enclaves say still has its place.

use subxt::{OnlineClient, SubstrateConfig, transactions::TransactionStatus};
use subxt_signer::{SecretUri, sr25519::Keypair};

use crate::{
    one_node,
    wire::{Pool, reports},
};

/// Bytes of one remark; a few fill what a block has for signed transactions.
const REMARK: usize = 900 << 10;
const SLOTS: u32 = 2;

/// Signed remarks of 900 KiB fill the blocks of two slots. **Coin**: the pay of every slot in which a report finds no
/// place, and a rival's receipts. It costs the fees of all the room that there is, and buys nothing: statements go
/// before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_blocks_cost_no_slot_and_no_receipt() {
    let network = one_node().await;
    let chain = network.chain().await.unwrap();
    let pool = Pool::of(&network.endpoints.chain);
    let first = chain.best().await.unwrap().number / chain.parameters().slot_blocks + 1;
    let fillers: Vec<_> = (1..10).map(|number| tokio::spawn(fill(network.endpoints.chain.clone(), number))).collect();

    // While the blocks are full: an order is placed, taken and receipted, and every slot has its report.
    let full = network.until("blocks are full", 60, |view| {
        let pool = &pool;
        async move {
            let bytes: usize = pool.block(&view.block().hash).await.iter().map(Vec::len).sum();
            Ok((bytes > 3 * REMARK).then_some(view.block()))
        }
    });
    full.await.unwrap();
    let file = network.file(74, 300_000).unwrap();
    let put = network.put(&file, &["--replicas", "1", "--term", "2h", "--wait"]).await.unwrap();
    let node = network.endpoints.nodes[0].id;
    let last = network.until("reports through full blocks", 90, |view| async move {
        let report = view.node(node).await?.unwrap().last_report;
        Ok(report.filter(|report| report.slot > first + SLOTS && report.stored_bytes > 0))
    });
    let report = last.await.unwrap();
    for filler in fillers {
        filler.abort();
    }
    assert_eq!((report.good_files, report.stored_bytes), (255, put.size));
    let counted = reports(&chain, chain.best().await.unwrap()).await;
    assert!((first..=first + SLOTS).all(|slot| counted.get(&slot) == Some(&1)), "a slot was lost: {counted:?}");
}

/// Sends remarks of one account without end, each as soon as the last is in a block. A connection that was cut is made
/// anew.
async fn fill(chain: String, number: u8) {
    let uri: SecretUri = format!("//Provider{number}").parse().unwrap();
    let signer = Keypair::from_uri(&uri).unwrap();
    loop {
        // Gives way also when nothing answers any more, or nobody could end it.
        tokio::task::yield_now().await;
        let Ok(api) = OnlineClient::<SubstrateConfig>::from_insecure_url(&chain).await else { continue };
        while let Ok(at) = api.at_current_block().await {
            let remark = subxt::dynamic::tx("System", "remark", (vec![number; REMARK],));
            // The pool may be full of remarks.
            let Ok(mut sent) = at.transactions().sign_and_submit_then_watch_default(&remark, &signer).await else {
                break;
            };
            while let Some(Ok(status)) = sent.next().await {
                if matches!(status, TransactionStatus::InBestBlock(_)) {
                    break;
                }
            }
        }
    }
}
