//! The ends of orders: expiry, renewal, cancelling, refunds, each exact to the planck.

use crust_client::{
    chain::{BlockRef, Call, Chain, Event, Finality, NewOrder},
    wallet::Wallet,
};
use crust_protocol::{
    file::{Cid, Codec, HashFunction},
    order::Content,
};
use crust_tests::{Network, write_payload};

use crate::order_id;

/// Money that was prepaid is never locked or lost: an order nobody takes ends and returns it, one that is cancelled
/// returns what is not earned, one with enough money goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn orders_end_go_on_and_are_refunded() {
    let network = Network::start().await.unwrap();
    let chain = network.chain().await.unwrap();
    let client = Wallet::development("//Client", &chain).unwrap();
    let file = network.file(3, 300_000).unwrap();

    // Nobody has the bytes of this one.
    let lonely = Cid::of(Codec::Raw, HashFunction::Sha2_256, b"nobody has this");
    let content = Content { client: client.account(), nonce: 1, cid: lonely, size: 15, audit_root: [9; 32], flags: 0 };
    let unserved = place(&chain, &client, &content, 3).await;

    // One term of four slots, not paid further.
    let put = network.put(&file, &["--term", "4slots", "--wait"]).await.unwrap();
    let expiring = order_id(&put.order);
    let refund = ended(&network, expiring, 120).await;
    let unearned = refund.1;
    assert!(unearned > 0, "the slot of placing is never fully earned, and the deposit returns");
    // Deleted by the nodes, and unknown to the chain.
    network
        .until("the nodes delete the file", 60, |_| async {
            let status = network.admin(0, "/v1/status").await?;
            Ok((status["files"].as_u64() == Some(0)).then_some(()))
        })
        .await
        .unwrap();
    let nowhere = network.dir().join("nowhere");
    let gone = network.crust(["get", &put.cid, "-o", nowhere.to_str().unwrap()]).await.unwrap();
    assert_eq!(gone.status, Some(1), "{gone:?}");
    let view = chain.view(Finality::Best).await.unwrap();
    let refunded = view.order(unserved.0).await.unwrap().is_none();
    assert!(refunded, "an order nobody takes ends by itself");

    // Funded for a second term, it goes on at the end of the first.
    write_payload(&file, 4, 300_000).unwrap();
    let put = network.put(&file, &["--term", "3slots", "--wait"]).await.unwrap();
    let order = order_id(&put.order);
    let first = chain.view(Finality::Best).await.unwrap().order(order).await.unwrap().unwrap();
    network.crust(["order", "fund", &put.order, "0.5", "--json"]).await.unwrap().json().unwrap();
    network
        .until("the second term", 60, |view| async move {
            Ok(view.order(order).await?.filter(|order| order.start == first.end && order.end == first.end + 3))
        })
        .await
        .unwrap();

    // Cancelled, it ends and returns all but what was earned.
    let before = chain.view(Finality::Best).await.unwrap().balance(client.account()).await.unwrap();
    network.crust(["order", "cancel", &put.order, "--json"]).await.unwrap().json().unwrap();
    network
        .until(
            "the cancelled order ends",
            60,
            |view| async move { Ok(view.order(order).await?.is_none().then_some(())) },
        )
        .await
        .unwrap();
    let after = chain.view(Finality::Best).await.unwrap().balance(client.account()).await.unwrap();
    assert_eq!(after.held, 0, "nothing stays on hold");
    assert!(after.free > before.free, "the rest of half a token came back");
}

/// Places an order by hand; its id and what was put on hold for it.
async fn place(chain: &Chain, client: &Wallet, content: &Content, term: u32) -> ([u8; 32], u128) {
    let quote = chain.view(Finality::Best).await.unwrap().quote(content.size, 1, term).await.unwrap();
    let order = NewOrder {
        nonce: content.nonce,
        cid: content.cid,
        size: content.size,
        audit_root: content.audit_root,
        flags: content.flags,
        replicas: 1,
        term,
        balance: quote.balance,
    };
    chain.submit(Call::PlaceOrder(order), client).await.unwrap();
    (content.id(), quote.balance + quote.deposit)
}

/// Waits for an order's end; the block and the refund.
async fn ended(network: &Network, order: [u8; 32], blocks: usize) -> (BlockRef, u128) {
    network
        .until("the order ends", blocks, |view| async move {
            let refund = view.events().await?.into_iter().find_map(|event| match event {
                Event::OrderEnded { order: of, refund } if of == order => Some(refund),
                _ => None,
            });
            Ok(refund.map(|refund| (view.block(), refund)))
        })
        .await
        .unwrap()
}
