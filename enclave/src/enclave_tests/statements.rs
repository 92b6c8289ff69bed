//! The line rule.

use super::*;

#[test]
fn receipts_are_for_files_of_this_log() {
    let mut host = Host::new();
    let first = host.first();
    let order = sealed(&mut host, 10, 1);
    let unknown = [0xcc; 32];
    assert_eq!(host.receipts(first, &[order, unknown]), Err(Error::NotSealed { order: unknown }));
    assert_eq!(host.receipts(first, &[]), Err(Error::Orders));
    assert_eq!(host.receipts(first, &[order, order]), Err(Error::Orders));
    let many: Vec<OrderId> = (10..75).map(|nonce| sealed(&mut host, 1, nonce)).collect();
    assert_eq!(host.receipts(first, &many), Err(Error::Orders));
    host.receipts(first, &many[..64]).unwrap();
    assert_eq!(host.receipts([0; 32], &[order]), Err(Error::UnknownPrev));
    assert_eq!(host.gone(first, &[order]), Err(Error::NotGone { order }), "it is held");
    assert_eq!(host.gone(first, &[unknown]), Err(Error::NotGone { order: unknown }));
    assert_eq!(host.enclave.release(&[0; 32]), Err(Error::UnknownRoot));
}

/// The coin: the pay of every file that was dropped, to the end of its term, with filler or other files in its place.
#[test]
fn a_withheld_gone_blocks_every_later_statement_on_any_line() {
    let mut host = Host::new();
    let mut chain = Chain::new(&host);
    let first = host.first();
    let (order, other) = (sealed(&mut host, 10, 1), sealed(&mut host, 10, 2));
    let receipt = host.receipts(first, &[order]).unwrap();
    assert!(chain.submit(&host, &receipt));
    host.delete(order);
    for slot in 1..=3 {
        host.check(slot);
        for prev in [first, receipt] {
            assert_eq!(host.report(prev, slot), Err(Error::GoneFirst { orders: vec![order] }));
            assert_eq!(host.receipts(prev, &[other]), Err(Error::GoneFirst { orders: vec![order] }));
        }
        host.restart();
    }
    // Named on another line it does not count here.
    let elsewhere = host.gone(first, &[order]).unwrap();
    host.report(elsewhere, 3).unwrap();
    assert_eq!(host.report(receipt, 3), Err(Error::GoneFirst { orders: vec![order] }));
    let gone = host.gone(receipt, &[order]).unwrap();
    let report = host.report(gone, 3).unwrap();
    assert!(chain.submit(&host, &gone) && chain.submit(&host, &report));
    assert!(chain.live.is_empty());
}

/// Said on a line that may still come to the chain. The coin: as above, for files whose receipts were held back.
#[test]
fn a_receipt_that_was_never_sent_counts_like_one_that_was() {
    let mut host = Host::new();
    let first = host.first();
    let order = sealed(&mut host, 10, 1);
    host.receipts(first, &[order]).unwrap();
    host.delete(order);
    host.check(1);
    assert_eq!(host.report(first, 1), Err(Error::GoneFirst { orders: vec![order] }));
    // A file without a receipt goes without a word.
    let order = sealed(&mut host, 10, 2);
    host.delete(order);
    assert_eq!(host.enclave.gone_due(&first, 100).unwrap().len(), 1);
}

/// Each names a part of what is gone, and the chain hears of one. The coin: the pay of the other part.
#[test]
fn two_gones_on_one_root_cannot_hide_a_loss() {
    let mut host = Host::new();
    let mut chain = Chain::new(&host);
    let orders = [sealed(&mut host, 10, 1), sealed(&mut host, 10, 2)];
    let first = host.first();
    let receipt = host.receipts(first, &orders).unwrap();
    assert!(chain.submit(&host, &receipt));
    orders.iter().for_each(|order| host.delete(*order));
    let one = host.gone(receipt, &orders[..1]).unwrap();
    let two = host.gone(receipt, &orders[1..]).unwrap();
    assert!(chain.submit(&host, &one));
    assert!(!chain.submit(&host, &two), "the chain has moved on");
    host.check(1);
    assert_eq!(host.report(one, 1), Err(Error::GoneFirst { orders: vec![orders[1]] }));
    assert_eq!(host.report(two, 1), Err(Error::GoneFirst { orders: vec![orders[0]] }));
    let rest = host.gone(one, &orders[1..]).unwrap();
    let report = host.report(rest, 1).unwrap();
    assert!(chain.submit(&host, &rest) && chain.submit(&host, &report));
    assert!(chain.live.is_empty());
}

/// A clone, or a fork of one log. The coin: two reports a slot for one disk, and a history to go back to.
#[test]
fn of_two_copies_only_one_line_goes_on() {
    let mut host = Host::new();
    let mut chain = Chain::new(&host);
    let first = host.first();
    let order = sealed(&mut host, 10, 1);
    let receipt = host.receipts(first, &[order]).unwrap();
    assert!(chain.submit(&host, &receipt));
    let mut copy = host.clone_at(host.log.len());
    host.check(1);
    copy.check(1);
    let (one, two) = (host.report(receipt, 1).unwrap(), copy.report(receipt, 1).unwrap());
    assert_ne!(one, two);
    assert!(chain.submit(&host, &one));
    assert!(!chain.submit(&copy, &two));
    // The copy never learns a root that the chain knows.
    copy.check(2);
    assert_eq!(copy.report(one, 2), Err(Error::UnknownPrev));
    let stale = copy.report(two, 2).unwrap();
    assert!(!chain.submit(&copy, &stale));
    host.check(2);
    let next = host.report(one, 2).unwrap();
    assert!(chain.submit(&host, &next));
    assert_eq!(chain.reports, 2);
}

/// Paid files make room for filler. The coin: the power of the filler on top of the pay for what is gone.
#[test]
fn adversary_paid_files_evicted_for_filler() {
    let mut host = Host::new();
    let mut chain = Chain::new(&host);
    let orders = [sealed(&mut host, CHUNK, 1), sealed(&mut host, CHUNK, 2)];
    let receipt = host.receipts(chain.root, &orders).unwrap();
    assert!(chain.submit(&host, &receipt));
    // With a word to its enclave, and without.
    host.delete(orders[0]);
    host.files.remove(&orders[1]);
    (0..2).for_each(|_| drop(host.fill(DISK)));
    let result = host.check(1);
    assert_eq!(result.good_files, 0, "what is left of the files is not there");
    for prev in [host.first(), receipt] {
        assert_eq!(host.report(prev, 1), Err(Error::GoneFirst { orders: vec![orders[0]] }));
    }
    let gone = host.gone(receipt, &orders[..1]).unwrap();
    let report = host.report(gone, 1).unwrap();
    assert!(chain.submit(&host, &gone) && chain.submit(&host, &report));
    assert_eq!(chain.live.into_iter().collect::<Vec<_>>(), [orders[1]], "and that one earns nothing");
}

#[test]
fn what_was_dropped_or_reorganised_is_said_again_on_the_root_where_the_chain_stands() {
    let mut host = Host::new();
    let mut chain = Chain::new(&host);
    let first = host.first();
    let order = sealed(&mut host, 10, 1);
    host.check(1);
    let report = host.report(first, 1).unwrap();
    let receipt = host.receipts(report, &[order]).unwrap();
    assert!(chain.submit(&host, &report) && chain.submit(&host, &receipt));
    // A reorg takes both back; the receipt comes first now.
    (chain.root, chain.live) = (first, HashSet::new());
    host.restart();
    let receipt = host.receipts(first, &[order]).unwrap();
    let report = host.report(receipt, 1).unwrap();
    assert!(chain.submit(&host, &receipt) && chain.submit(&host, &report));
    assert!(chain.live.contains(&order));
}

#[test]
fn finality_forgets_older_lines_and_keeps_what_is_owed() {
    let mut host = Host::new();
    let first = host.first();
    let orders = [sealed(&mut host, 10, 1), sealed(&mut host, 10, 2)];
    let receipt = host.receipts(first, &orders).unwrap();
    let dead = host.receipts(first, &orders[..1]).unwrap();
    host.delete(orders[0]);
    let gone = host.gone(receipt, &orders[..1]).unwrap();
    host.delete(orders[1]);
    let finalise = |host: &mut Host, root| {
        let items = host.enclave.finalise(root).unwrap();
        let count = items.len();
        host.keep(items);
        count
    };
    assert_eq!(host.enclave.finalise([0; 32]), Err(Error::UnknownRoot));
    assert_eq!(finalise(&mut host, gone), 1);
    assert_eq!(finalise(&mut host, gone), 0, "known");
    for round in 0..2 {
        for old in [first, receipt, dead] {
            assert_eq!(host.gone(old, &orders[1..]), Err(Error::UnknownPrev));
            assert_eq!(host.enclave.finalise(old), Err(Error::UnknownRoot));
        }
        assert_eq!(host.enclave.gone_due(&gone, 10).unwrap(), vec![orders[1]]);
        assert_eq!(host.gone(gone, &orders[..1]), Err(Error::NotGone { order: orders[0] }), "settled for good");
        if round == 0 {
            host.restart();
        }
    }
    let last = host.gone(gone, &orders[1..]).unwrap();
    assert_eq!(host.enclave.overview().unwrap().gone_due, 1);
    finalise(&mut host, last);
    assert_eq!(host.enclave.overview().unwrap().gone_due, 0);
}

#[test]
fn hundreds_of_losses_are_named_in_statements_of_256() {
    let mut host = Host::new();
    let first = host.first();
    let orders: Vec<OrderId> = (0..600).map(|nonce| sealed(&mut host, 1, nonce)).collect();
    let mut root = first;
    for orders in orders.chunks(64) {
        root = host.receipts(root, orders).unwrap();
    }
    let item = host.enclave.lose(orders.clone()).unwrap();
    host.keep([item]);
    host.check(1);
    let mut statements = 0;
    while let Err(Error::GoneFirst { orders }) = host.report(root, 1) {
        root = host.gone(root, &orders).unwrap();
        statements += 1;
    }
    assert_eq!(statements, 3);
}

/// A report as an extrinsic: statement, signature, node, and what a general transaction adds (version, extensions).
#[test]
fn a_report_has_one_size_whatever_is_stored() {
    use codec::Encode;
    let mut sizes = HashSet::new();
    for files in [0, 1, 500] {
        let mut host = Host::new();
        for nonce in 0..files {
            sealed(&mut host, 10, nonce);
        }
        host.check(1);
        let first = host.first();
        sizes.insert(host.enclave.state().unwrap().report(first, 1, None).unwrap().encode().len());
    }
    assert_eq!(sizes.into_iter().collect::<Vec<_>>(), vec![32 + 32 + 4 + 32 + 8 + 8 + 1 + 1 + 4 + 1]);
}

/// Very many losses take one `Gone` after the other, and what is left is right on every line that is asked about
/// between: after a statement that was refused, on another line, after a restart.
#[test]
fn many_losses_are_named_to_the_last_on_whatever_line() {
    let mut host = Host::new();
    let orders: Vec<OrderId> = (0..1_000).map(|nonce| sealed(&mut host, 1, nonce)).collect();
    let mut root = host.first();
    for orders in orders.chunks(64) {
        root = host.receipts(root, orders).unwrap();
    }
    let receipts = root;
    let items = host.enclave.lose(orders[..900].to_vec()).unwrap();
    host.keep([items]);
    let mut named = BTreeSet::new();
    for round in 0..4 {
        let due = host.enclave.gone_due(&root, 256).unwrap();
        assert_eq!(due.len(), 256.min(900 - named.len()), "round {round}");
        assert!(due.iter().all(|order| !named.contains(order)));
        match round {
            // Said on the same root and never accepted: all of it is to be said again.
            0 => assert!(host.gone(root, &due).is_ok() && host.enclave.gone_due(&root, 999).unwrap().len() == 900),
            1 => assert_eq!(host.enclave.gone_due(&receipts, 999).unwrap().len(), 900),
            2 => host.restart(),
            _ => host.delete(orders[950]),
        }
        root = host.gone(root, &due).unwrap();
        named.extend(due);
    }
    assert_eq!(host.enclave.gone_due(&root, 256).unwrap(), [orders[950]]);
    assert!(host.enclave.gone_due(&root, 0).unwrap().is_empty());
    assert_eq!(host.enclave.gone_due(&[3; 32], 0), Err(Error::UnknownPrev));
    let last = host.gone(root, &[orders[950]]).unwrap();
    host.check(1);
    assert!(host.report(last, 1).is_ok());
    let items = host.enclave.finalise(last).unwrap();
    host.keep(items);
    assert_eq!(host.enclave.overview().unwrap().gone_due, 0);
}
