//! Silence: when it is found, and what must never be taken for it.

use crust_protocol::{Balance, NodeId};
use frame_support::assert_ok;

use crate::{CountedSlots, Event, Leavers, mock::*};

const RATE: Balance = 976_563;
const NEED: Balance = RATE * 10;
/// Slots of silence on the development chain.
const SILENT: u32 = 6;

/// An order of which each of these nodes has a replica.
fn stored_by(nodes: &[NodeId]) -> crust_protocol::order::OrderId {
    let order = wish().replicas(u32::try_from(nodes.len()).unwrap()).term(10_000).place();
    for node in nodes {
        assert_ok!(deposit(*node, NEED));
        seal(order, *node);
    }
    order
}

/// A slot in which these nodes report, from its first block to its last.
fn slots(count: u32, nodes: &[NodeId]) {
    report_slots(count, nodes);
    run_to(TestParameters::get().first_block(slot() + 1) - 1);
}

#[test]
fn a_silent_node_loses_its_replicas_and_all_that_they_reserve() {
    run_with(SECURED, || {
        let order = stored_by(&[1, 2, 3, 4]);
        slots(3, &[1, 2, 3, 4]);
        // Slots 5 to 10 count: three quarters of the power are enough.
        slots(SILENT, &[1, 2, 3]);
        assert!(Market::would_end(4, &order), "six slots are over only when the next begins");
        run_to(now() + 61);
        assert!(!Market::would_end(4, &order));
        assert!(events().contains(&Event::NodeSilent { node: 4 }));
        assert_eq!(collateral(4), (0, 0, 0));
        assert_eq!(order_of(order).nodes().collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(Market::open_orders(None, 10), [order]);
        run_to(now() + 1);
        assert_eq!(Leavers::<Test>::iter().count(), 0);
        assert!((1..4).all(|node| collateral(node) == (NEED, NEED, 0)));
    });
}

#[test]
fn a_restart_that_misses_fewer_slots_costs_nothing() {
    run_with(SECURED, || {
        let order = stored_by(&[1, 2, 3, 4]);
        for _ in 0..5 {
            slots(1, &[1, 2, 3, 4]);
            slots(SILENT - 1, &[1, 2, 3]);
        }
        slots(1, &[1, 2, 3, 4]);
        assert_eq!(order_of(order).live.len(), 4);
        assert!((1..=4).all(|node| collateral(node) == (NEED, NEED, 0)));
    });
}

#[test]
fn an_outage_of_the_network_silences_nobody() {
    run_with(SECURED, || {
        let order = stored_by(&[1, 2, 3, 4]);
        slots(5, &[1, 2, 3, 4]);
        // Nobody is heard for far longer than the window of the average.
        slots(40, &[]);
        let counted = CountedSlots::<Test>::get();
        // They come back one by one.
        slots(2, &[1]);
        slots(1, &[1, 2]);
        slots(1, &[1, 2, 3]);
        slots(1, &[1, 2, 3, 4]);
        assert!(CountedSlots::<Test>::get() - counted < SILENT);
        assert_eq!(order_of(order).live.len(), 4);
        assert!((1..=4).all(|node| collateral(node) == (NEED, NEED, 0)));
    });
}

/// The coin: a rival's places, for whoever can keep reports out of blocks.
#[test]
fn a_slot_counts_only_with_two_thirds_of_the_average_power() {
    run_with(SECURED, || {
        stored_by(&[1, 2, 3]);
        slots(4, &[1, 2, 3]);
        let before = CountedSlots::<Test>::get();
        // A partition: what a third of the power reports in counts for nothing.
        slots(3, &[1]);
        run_to(now() + 1);
        assert_eq!(CountedSlots::<Test>::get(), before + 1, "the last slot with all of them");
    });
}

#[test]
fn a_new_chain_counts_no_slot_before_somebody_reported() {
    run_with(SECURED, || {
        stored_by(&[1]);
        slots(30, &[]);
        assert_eq!(CountedSlots::<Test>::get(), 0);
        slots(1, &[1]);
        run_to(now() + 1);
        assert_eq!(CountedSlots::<Test>::get(), 0);
    });
}

/// The coin: what all others of a drawn node's replicas reserve, 336 slots' price each, at the price of a tiny one
/// every few slots.
#[test]
fn a_loss_is_a_sign_of_life_and_under_a_due_draw_it_is_none() {
    run_with(SECURED, || {
        for nonce in 0..10 {
            let order = wish().nonce(nonce).name(&*format!("{nonce}").leak()).size(0).replicas(2).term(10_000).place();
            for node in [1, 2] {
                assert_ok!(deposit(node, 600));
                seal(order, node);
            }
        }
        stored_by(&[3, 4, 5, 6, 7]);
        let others = [3, 4, 5, 6, 7];
        slots(2, &[1, 2, 3, 4, 5, 6, 7]);
        Registry::draw(2, Market::node_orders(2, None, 1)[0]);
        for _ in 0..4 {
            slots(3, &others);
            for node in [1, 2] {
                if let Some(order) = Market::node_orders(node, None, 2).last() {
                    assert!(gone(*order, node));
                }
            }
        }
        assert_eq!(Market::node_orders(1, None, 20).len(), 6);
        assert!(Market::node_orders(2, None, 20).is_empty());
        assert!(events().iter().any(|event| matches!(event, Event::DrawFailed { node: 2, .. })));
    });
}

#[test]
fn a_node_that_speaks_again_keeps_what_it_still_has() {
    run_with(PLAIN, || {
        for nonce in 0..150 {
            let order = wish().nonce(nonce).name(&*format!("{nonce}").leak()).size(0).replicas(2).term(10_000).place();
            seal(order, 1);
        }
        stored_by(&[2, 3, 4]);
        slots(3, &[1, 2, 3, 4]);
        slots(SILENT, &[2, 3, 4]);
        // A page a block, each as a lost last replica; after one of them it is heard.
        while Leavers::<Test>::iter().next().is_none() {
            run_to(now() + 1);
        }
        let left = Market::node_orders(1, None, 200).len();
        assert!(left >= 150 - 64);
        report(1, 255);
        run_to(now() + 10);
        assert_eq!(Market::node_orders(1, None, 200).len(), left);
        assert_eq!(Leavers::<Test>::iter().count(), 0);
    });
}

/// The coin: half of what the replica reserves.
#[test]
fn a_gone_after_too_much_silence_is_a_found_loss() {
    run_with(SECURED, || {
        let order = stored_by(&[1, 2, 3, 4]);
        slots(3, &[1, 2, 3, 4]);
        // The watch is busy elsewhere: it has not come to node 4 when its enclave speaks.
        slots(SILENT, &[1, 2, 3]);
        System::set_block_number(now() + 1);
        Market::count_slot(slot() - 1);
        assert!(Market::is_silent(4));
        assert!(gone(order, 4));
        assert_eq!(collateral(4), (0, 0, 0));
    });
}

#[test]
fn a_node_whose_program_was_withdrawn_loses_its_replicas_and_nothing_else() {
    run_with(SECURED, || {
        let order = stored_by(&[1, 2, 3, 4]);
        slots(3, &[1, 2, 3, 4]);
        // Reports of nodes 3 and 4 are refused from now on. One still says that it lost a file.
        Registry::put_out(3);
        Registry::put_out(4);
        assert!(gone(order, 4));
        slots(SILENT * 3, &[1, 2]);
        assert_eq!(order_of(order).nodes().collect::<Vec<_>>(), [1, 2]);
        assert!((1..=2).all(|node| collateral(node) == (NEED, NEED, 0)));
        assert!((3..=4).all(|node| collateral(node) == (NEED, 0, NEED)));
    });
}
