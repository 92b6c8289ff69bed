//! A chain endpoint that lies to a real daemon: about the slot, about hashes, about how far the chain is. It costs time
//! and nothing else.

use crust_client::{
    chain::{Call, Chain, Error, Event, Finality},
    wallet::Wallet,
};
use crust_protocol::{NodeId, TOKEN};
use crust_tests::{Answering, Network, Options, Proxy, StorageNode, slots_without_report};

use crate::{MIB, blocks, next_report, order_id, order_of_nothing};

/// A chain endpoint that names later slots, older ones or wrong hashes: nothing is reported while it lies, no replica is
/// lost, and once it is honest the node reports all that it holds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_endpoint_that_names_a_wrong_slot_costs_no_replica() {
    let network = Network::with(Options { nodes: 0, ..Options::default() }).await.unwrap();
    let chain = network.chain().await.unwrap();
    let slot_blocks = chain.parameters().slot_blocks;
    let proxy = Proxy::start(&network.endpoints.chain).await.unwrap();
    let dir = network.dir().join("storage");
    let node = StorageNode::start(&dir, proxy.url(), "//Provider9", &["64MiB"]).unwrap();
    node.ready().await.unwrap();
    let provider = Wallet::development("//Provider9", &chain).unwrap().account();
    let nodes = chain.view(Finality::Best).await.unwrap().all_nodes().await.unwrap();
    let id = nodes.iter().find(|node| node.provider == provider).unwrap().id;

    let file = network.file(61, 4 * MIB).unwrap();
    let put = network.put(&file, &["--replicas", "1", "--term", "2h", "--wait"]).await.unwrap();
    let whole = |report: crust_client::chain::LastReport| (report.good_files, report.stored_bytes);
    let (report, _) = next_report(&network, id).await;
    assert_eq!(whole(report), (255, put.size));

    // A later slot: the enclave draws for it, the chain refuses what it says about it.
    proxy.shift(i64::from(slot_blocks) * 100);
    let heard = slot_of_last_report(&network, id).await;
    network
        .until("the enclave is shown a slot of the future", 30, |view| {
            let shown = node.enclave_state().unwrap().shown;
            async move { Ok(shown.filter(|(slot, _)| *slot > view.slot() + 50)) }
        })
        .await
        .unwrap();
    blocks(&network, slot_blocks * 2).await;
    assert!(slot_of_last_report(&network, id).await <= heard + 1, "a report of a slot that is not was accepted");
    let shown = node.enclave_state().unwrap().shown.unwrap().0;
    proxy.shift(0);
    let (report, _) = next_report(&network, id).await;
    assert_eq!(whole(report), (255, put.size));
    assert!(report.slot < shown, "the true slot, though a later one was shown");

    // A wrong hash of the last block before the slot: a draw for nothing.
    proxy.wrong_hashes(true);
    blocks(&network, slot_blocks).await;
    let heard = slot_of_last_report(&network, id).await;
    blocks(&network, slot_blocks * 2).await;
    assert_eq!(slot_of_last_report(&network, id).await, heard, "a report with a wrong hash was accepted");
    proxy.wrong_hashes(false);
    let (report, _) = next_report(&network, id).await;
    assert_eq!(whole(report), (255, put.size));

    // An older slot than that of a final report: the daemon says so, and shows nothing.
    blocks(&network, slot_blocks).await;
    let shown = node.enclave_state().unwrap().shown.unwrap().0;
    proxy.shift(-4 * i64::from(slot_blocks));
    network
        .until("the daemon sees that the endpoint is behind", 30, |_| async {
            Ok(node.error_of("report").await?.filter(|error| error.contains("behind or wrong")))
        })
        .await
        .unwrap();
    assert!(node.enclave_state().unwrap().shown.unwrap().0 >= shown, "a slot of the past was shown");
    proxy.shift(0);
    let (report, _) = next_report(&network, id).await;
    assert_eq!(whole(report), (255, put.size));

    // A pool that drops what it is given, report after report: it is said again, within the slot.
    let first = report.slot + 1;
    for _ in 0..2 {
        proxy.drop_next(2);
        let (report, _) = next_report(&network, id).await;
        assert_eq!((whole(report), proxy.still_to_drop()), ((255, put.size), 0));
    }
    let last = slot_of_last_report(&network, id).await;
    assert_eq!(slots_without_report(&chain, id, first, last).await.unwrap(), Vec::<u32>::new());

    let order = chain.view(Finality::Best).await.unwrap().order(order_id(&put.order)).await.unwrap().unwrap();
    assert!(order.replica_of(id).is_some(), "the replica is lost");
    assert!(network.get(&put.cid).await.unwrap() == std::fs::read(&file).unwrap());
}

/// The pool of a chain node that changes to a new block may say that it holds a transaction already that it has just been
/// given. The transaction is found in its block all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_the_pool_says_it_holds_already_is_found_in_its_block() {
    let network = Network::with(Options { nodes: 0, ..Options::default() }).await.unwrap();
    let proxy = Proxy::start(&network.endpoints.chain).await.unwrap();
    proxy.hand_on_and(Answering::Error(1013, "Transaction Already Imported"));
    let chain = Chain::connect(proxy.url()).await.unwrap();
    let alice = Wallet::development("//Alice", &chain).unwrap();
    let unknown = Call::Cancel { order: [7; 32] };
    let refused = chain.submit(unknown, &alice).await.unwrap_err();
    assert!(matches!(&refused, Error::Refused { reason, .. } if reason.contains("UnknownOrder")), "{refused:?}");
    let placed = chain.submit_finalized(order_of_nothing(&chain, 1, 6).await, &alice).await.unwrap();
    assert!(placed.events.iter().any(|event| matches!(event, Event::OrderPlaced { .. })), "{placed:?}");
    assert!(chain.finalized().await.unwrap().number >= placed.block.number);
}

/// A pool that is a little behind, or ahead, refuses transactions that are right, for their block or their nonce: they
/// are signed anew, and are there once. If the pool goes on saying so, it is told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_transaction_that_is_too_old_for_the_pool_is_signed_anew() {
    let network = Network::with(Options { nodes: 0, ..Options::default() }).await.unwrap();
    let proxy = Proxy::start(&network.endpoints.chain).await.unwrap();
    let chain = Chain::connect(proxy.url()).await.unwrap();
    let alice = Wallet::development("//Alice", &chain).unwrap();
    let mut orders = 0;
    for reason in ["Transaction has an ancient birth block", "Transaction is outdated"] {
        proxy.refuse_next(3, reason);
        let placed = chain.submit_finalized(order_of_nothing(&chain, orders, 6).await, &alice).await.unwrap();
        assert!(placed.events.iter().any(|event| matches!(event, Event::OrderPlaced { .. })), "{placed:?}");
        // Two at a time: each has a nonce of its own.
        proxy.refuse_next(2, reason);
        let two = (order_of_nothing(&chain, orders + 1, 6).await, order_of_nothing(&chain, orders + 2, 6).await);
        tokio::try_join!(chain.submit(two.0, &alice), chain.submit(two.1, &alice)).unwrap();
        orders += 3;

        proxy.refuse_next(u32::MAX, reason);
        let refused = chain.submit(order_of_nothing(&chain, orders, 6).await, &alice).await.unwrap_err();
        let says = |said: &str| said.contains(reason) && said.contains("another chain node");
        assert!(matches!(&refused, Error::Invalid { reason, .. } if says(reason)), "{refused:?}");
    }
    // What is refused for another reason is not.
    proxy.refuse_next(1, "Inability to pay some fees , e.g. account balance too low");
    let refused = chain.submit(order_of_nothing(&chain, orders, 6).await, &alice).await.unwrap_err();
    assert!(matches!(&refused, Error::Invalid { reason, .. } if reason.contains("fees")), "{refused:?}");
    chain.submit_finalized(order_of_nothing(&chain, orders, 6).await, &alice).await.unwrap();
    let view = chain.view(Finality::Finalized).await.unwrap();
    assert_eq!(
        view.all_orders_of(alice.account()).await.unwrap().len() as u64,
        orders + 1,
        "each that got in is there once"
    );
}

/// A chain node that hands a transaction on and says that it refuses it, or says nothing any more, costs time and no
/// money: what is signed twice counts once, and what is in a block is not said to be in none. The coin: what is funded,
/// again for each signature.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_pool_hands_on_counts_once_whatever_it_says() {
    let network = Network::with(Options { nodes: 0, ..Options::default() }).await.unwrap();
    let proxy = Proxy::start(&network.endpoints.chain).await.unwrap();
    let (chain, truth) = (Chain::connect(proxy.url()).await.unwrap(), network.chain().await.unwrap());
    let alice = Wallet::development("//Alice", &chain).unwrap();
    chain.submit_finalized(order_of_nothing(&chain, 1, 60).await, &alice).await.unwrap();
    let balance = async || {
        let orders = truth.view(Finality::Best).await.unwrap().all_orders_of(alice.account()).await.unwrap();
        let order = truth.view(Finality::Best).await.unwrap().order(orders[0]).await.unwrap().unwrap();
        (order.id, order.balance)
    };
    let (order, mut expected) = balance().await;
    for answer in [
        Answering::Error(1010, "Invalid Transaction: Transaction is outdated"),
        Answering::Error(1010, "Invalid Transaction: Transaction has an ancient birth block"),
        Answering::Error(1010, "Invalid Transaction: Transaction has a bad signature"),
        Answering::Error(1012, "Transaction is temporarily banned"),
        Answering::HangUp,
    ] {
        proxy.hand_on_and(answer);
        chain.submit(Call::Fund { order, amount: TOKEN }, &alice).await.unwrap();
        expected += TOKEN;
        assert_eq!(balance().await.1, expected);
    }
    // Nor does anything come later.
    blocks(&network, 5).await;
    assert_eq!(balance().await.1, expected);
}

async fn slot_of_last_report(network: &Network, node: NodeId) -> u32 {
    let view = network.chain().await.unwrap().view(Finality::Best).await.unwrap();
    view.node(node).await.unwrap().unwrap().last_report.map_or(0, |report| report.slot)
}
