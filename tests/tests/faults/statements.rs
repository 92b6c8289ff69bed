//! Hosts that lie about their enclave's past: rollback, copies, withheld losses, foreign content, wrong slots. On a real
//! chain, with real enclaves. A coin is what the host would earn with the defence off.

use crust_client::chain::{Finality, Said};
use crust_enclave::rpc::{Error, Saying};
use crust_tests::{Network, Options, host::Host};

async fn chain_alone() -> Network {
    Network::with(Options { nodes: 0, ..Options::default() }).await.unwrap()
}

fn accepted(said: &Said) -> bool {
    matches!(said, Said::Accepted(_))
}

/// Rolled back or copied: whoever speaks second is never heard again, and one line goes on. Lesson 9: metadata that
/// could be rolled back. **Coin**: a second report a slot for one disk, and the pay for whatever the older history
/// still holds, 0.0008 tokens a TiB and slot on the main network.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lesson_9_of_rollback_and_copies_one_line_goes_on() {
    let network = chain_alone().await;
    let mut host = Host::register(&network, "//Provider5", 5).await;
    let first_root = host.root().await;
    let order = host.store(1, b"what the node holds").await;
    let before_report = host.log.len();
    assert!(accepted(&host.report(&network).await.unwrap()));
    let now = host.root().await;

    // An old state does not know where the chain stands, and what it says from where it stands is refused.
    let mut old = host.copy(before_report).await;
    assert_eq!(old.sign(Saying::Receipts { prev: now, orders: vec![order] }).err(), Some(Error::UnknownPrev));
    let (slot, hash) = old.next_slot(&network).await;
    old.check(slot, hash);
    let report = old.report_on(first_root, slot).await;
    let said = old.say(report).await.unwrap();
    assert!(!accepted(&said), "a statement on an old root was accepted: {said:?}");
    assert_eq!(host.root().await, now);

    // Two whole copies: the first to speak goes on, the second ends.
    let mut copy = host.copy(host.log.len()).await;
    let (slot, hash) = host.next_slot(&network).await;
    host.check(slot, hash);
    copy.check(slot, hash);
    let report = host.report_on(now, slot).await;
    let (mine, my_signature) = host.sign(report.clone()).unwrap();
    let (theirs, their_signature) = copy.sign(report).unwrap();
    assert!(accepted(&host.chain.say(host.node, mine.clone(), my_signature).await.unwrap()));
    assert!(!accepted(&copy.chain.say(copy.node, theirs, their_signature).await.unwrap()));
    let root = host.root().await;
    assert_eq!(copy.sign(Saying::Report { prev: root, slot, audit: None }).err(), Some(Error::UnknownPrev));
    // Sent again, the accepted one is refused too.
    assert!(!accepted(&host.chain.say(host.node, mine, my_signature).await.unwrap()) || host.root().await == root);
    assert!(accepted(&host.report(&network).await.unwrap()), "the line that spoke goes on");
    assert!(host.is_live(order).await);
}

/// A loss must be named before anything else is said, on the line where it is said. **Coin**: the pay of what is gone,
/// to the end of its term, and half of what it reserves.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_loss_cannot_be_withheld_or_hidden() {
    let network = chain_alone().await;
    let mut host = Host::register(&network, "//Provider6", 6).await;
    let kept = host.store(1, b"stays").await;
    let (left, right) = (host.store(2, b"goes first").await, host.store(3, b"goes second").await);
    assert!(accepted(&host.report(&network).await.unwrap()));

    // Withheld: no report, on any line.
    host.delete(left);
    let prev = host.root().await;
    let (slot, hash) = host.next_slot(&network).await;
    host.check(slot, hash);
    assert_eq!(
        host.sign(Saying::Report { prev, slot, audit: None }).err(),
        Some(Error::GoneFirst { orders: vec![left] })
    );
    let more = host.sign(Saying::Receipts { prev, orders: vec![kept] });
    assert_eq!(more.err(), Some(Error::GoneFirst { orders: vec![left] }));

    // Two `Gone`s on one root: each line names only its own.
    let (unsent, _) = host.sign(Saying::Gone { prev, orders: vec![left] }).unwrap();
    host.delete(right);
    let said = host.say(Saying::Gone { prev, orders: vec![right] }).await.unwrap();
    assert!(accepted(&said), "{said:?}");
    let prev = host.root().await;
    assert_ne!(prev, unsent.root());
    let (slot, hash) = host.next_slot(&network).await;
    host.check(slot, hash);
    assert_eq!(
        host.sign(Saying::Report { prev, slot, audit: None }).err(),
        Some(Error::GoneFirst { orders: vec![left] })
    );
    assert!(host.is_live(left).await && !host.is_live(right).await);

    // Named, the loss is known to the chain, and the node speaks again.
    assert!(accepted(&host.say(Saying::Gone { prev, orders: vec![left] }).await.unwrap()));
    assert!(!host.is_live(left).await && host.is_live(kept).await);
    assert!(accepted(&host.report(&network).await.unwrap()));
}

/// A receipt is for the content that was ordered, or it is none. **Coin**: the pay of the ordered file for other bytes,
/// fewer or none.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_receipt_for_other_content_is_refused() {
    let network = chain_alone().await;
    let mut host = Host::register(&network, "//Provider7", 7).await;
    let ordered = host.order(1, b"what was ordered").await;

    // The enclave seals nothing else under that order.
    assert!(matches!(host.seal(&ordered, b"what was not ordered"), Err(Error::Graph(_))));
    let small = crust_protocol::order::Content { size: ordered.size - 1, ..ordered.clone() };
    assert!(matches!(host.seal(&small, b"what was ordered"), Err(Error::Size { .. })));
    let foreign = crust_protocol::order::Content { audit_root: [1; 32], ..ordered.clone() };
    assert_eq!(host.seal(&foreign, b"what was ordered"), Err(Error::AuditRoot));

    // What it seals under another id earns no place.
    let other = crust_protocol::order::Content { nonce: 99, ..ordered.clone() };
    host.seal(&other, b"what was ordered").unwrap();
    let prev = host.root().await;
    let said = host.say(Saying::Receipts { prev, orders: vec![other.id()] }).await.unwrap();
    assert!(!accepted(&said), "{said:?}");
    assert!(!host.is_live(ordered.id()).await && host.root().await == prev);

    // A receipt without its seal does not exist, and one whose signature was touched is refused.
    let unsealed = host.sign(Saying::Receipts { prev, orders: vec![ordered.id()] });
    assert_eq!(unsealed.err(), Some(Error::NotSealed { order: ordered.id() }));
    host.seal(&ordered, b"what was ordered").unwrap();
    let (statement, mut signature) = host.sign(Saying::Receipts { prev, orders: vec![ordered.id()] }).unwrap();
    signature[7] ^= 1;
    assert!(!accepted(&host.chain.say(host.node, statement.clone(), signature).await.unwrap()));
    signature[7] ^= 1;
    assert!(accepted(&host.chain.say(host.node, statement, signature).await.unwrap()));
    assert!(host.is_live(ordered.id()).await);
}

/// A chain endpoint that names a wrong slot or hash wastes a check, and nothing else. **Coin**: a slot's pay for each
/// report of another slot that counts; and for one who lies to a rival, the rival's places.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_wrong_slot_costs_no_replica() {
    let network = chain_alone().await;
    let mut host = Host::register(&network, "//Provider8", 8).await;
    let order = host.store(1, b"held through lies").await;
    let prev = host.root().await;
    for (slot, hash) in [(1_000_000, [7; 32]), (2, [8; 32])] {
        assert_eq!(host.check(slot, hash), 255);
        let said = host.say(Saying::Report { prev, slot, audit: None }).await.unwrap();
        assert!(!accepted(&said), "a report of slot {slot} was accepted: {said:?}");
    }
    // The true slot with a wrong hash, then the truth.
    let (slot, _) = host.next_slot(&network).await;
    assert_eq!(host.check(slot, [9; 32]), 255);
    let (statement, signature) = host.sign(Saying::Report { prev, slot, audit: None }).unwrap();
    assert!(!accepted(&host.chain.say(host.node, statement, signature).await.unwrap()));
    assert!(accepted(&host.report(&network).await.unwrap()));
    assert!(host.is_live(order).await);
}

/// Losses by the hundred are named one `Gone` a block, 256 in each, and then the node reports as before.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lesson_7_many_losses_take_a_gone_a_block() {
    let network = chain_alone().await;
    let mut host = Host::register(&network, "//Provider7", 7).await;
    let orders = host.store_many(0..600).await;
    let kept = host.store(1_000, b"stays").await;
    let item = host.enclave.lose(orders.clone()).unwrap();
    host.log.push(item);
    let mut blocks = Vec::new();
    loop {
        let prev = host.root().await;
        let due = host.enclave.gone_due(&prev, 256).unwrap();
        if due.is_empty() {
            break;
        }
        match host.say(Saying::Gone { prev, orders: due }).await.unwrap() {
            Said::Accepted(block) => blocks.push(block.number),
            other => panic!("{other:?}"),
        }
    }
    let [first, .., last] = blocks[..] else { panic!("{blocks:?}") };
    assert_eq!(blocks.len(), 3);
    assert!(blocks.is_sorted() && last - first <= 2 * 2, "a block each, or one missed: {blocks:?}");
    let view = host.chain.view(Finality::Best).await.unwrap();
    for order in &orders {
        assert!(view.order(*order).await.unwrap().is_none_or(|order| order.replicas.is_empty()));
    }
    assert!(host.is_live(kept).await && accepted(&host.report(&network).await.unwrap()));
}
