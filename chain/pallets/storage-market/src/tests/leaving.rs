//! Retiring, abandoning: how a node leaves.

use crust_protocol::{Balance, TOKEN, parameters::Parameters};
use frame_support::{assert_noop, assert_ok};

use crate::{Barred, Error, Event, LEAVERS_A_BLOCK, Leave, Leavers, mock::*, payout::Parts};

const RATE: Balance = 976_563;
const NEED: Balance = RATE * 10;
/// Slots after which a replica that nobody took over is free to go.
const WINDOW: u32 = 20;

fn secure(nodes: &[u32]) {
    for node in nodes {
        assert_ok!(deposit(*node, NEED));
    }
}

#[test]
fn a_retired_replica_goes_on_until_another_takes_it_over() {
    run_with(SECURED, || {
        let order = wish().replicas(2).term(100).place();
        secure(&[1, 2, 3]);
        seal(order, 1);
        seal(order, 2);
        assert_noop!(Market::retire(RuntimeOrigin::signed(provider(2)), order, 1), Error::<Test>::NotProvider);
        assert_noop!(retire(order, 3), Error::<Test>::NoReplica);
        report(1, 255);
        assert_ok!(retire(order, 1));
        assert_noop!(retire(order, 1), Error::<Test>::RetiresAlready);
        assert!(events().contains(&Event::ReplicaOffered { order, node: 1 }));
        assert_eq!(Market::open_orders(None, 10), [order]);
        // Its place opens with the next slot, to others than its own provider.
        assert_noop!(take(order, 3), Error::<Test>::NoPlace);
        report_slots(2, &[1, 2]);
        assert_noop!(take(order, 51), Error::<Test>::ProviderHasPlace);
        assert_ok!(take(order, 3));
        check();
        assert_eq!(order_of(order).nodes().collect::<Vec<_>>(), [1, 2]);
        assert!(receipt(order, 3));
        assert_eq!(order_of(order).nodes().collect::<Vec<_>>(), [2, 3]);
        assert!(Market::open_orders(None, 10).is_empty());
        // Slots 1 and 2 are paid; slot 3, in which it left, is the other's, if it reports.
        assert_eq!(income(1), Parts::of(&SECURED, RATE * 2).provider);
        assert_eq!(collateral(1), (NEED, 0, NEED));
        report(3, 255);
        assert_ok!(claim(order, 3));
        assert_eq!(income(3), Parts::of(&SECURED, RATE).provider);
    });
}

#[test]
fn no_place_earns_twice_in_a_slot_however_its_node_leaves() {
    run_with(SECURED, || {
        let order = wish().replicas(2).term(100).terms(3).place();
        secure(&[1, 2, 3, 4]);
        seal(order, 1);
        seal(order, 2);
        assert_ok!(retire(order, 1));
        run_to_slot(2);
        assert_ok!(take(order, 3));
        // Node 2 is lost in the very slot in which node 3 comes: its place is not open yet, so node 3 takes node 1's.
        report(1, 255);
        report(2, 255);
        assert_ok!(claim(order, 2));
        assert_noop!(claim(order, 1), Error::<Test>::NothingEarned);
        assert!(gone(order, 2));
        check();
        assert!(receipt(order, 3));
        assert_eq!(order_of(order).nodes().collect::<Vec<_>>(), [3]);
        report(3, 255);
        assert_noop!(take(order, 4), Error::<Test>::NoPlace);
        assert_ok!(claim(order, 3));
        assert_eq!(order_of(order).spent, RATE * 2);
        run_to_slot(3);
        seal(order, 4);
    });
}

#[test]
fn a_takeover_costs_the_difference_in_price_and_no_more() {
    run_with(SECURED, || {
        let order = wish().replicas(1).term(10).place();
        secure(&[1]);
        assert_ok!(deposit(2, NEED * 2));
        seal(order, 1);
        report_slots(4, &[1]);
        assert_ok!(retire(order, 1));
        TestParameters::set(Parameters { price: TOKEN / 500, ..SECURED });
        run_to_slot(6);
        let balance = order_of(order).balance;
        seal(order, 2);
        // Slots 6 to 10 at the difference.
        let difference = (1_953_125 - RATE) * 5;
        assert_eq!(collateral(1), (NEED - difference, 0, NEED - difference));
        assert_eq!(order_of(order).balance, balance - RATE * 4 + difference);
        let slashed = Event::Slashed { order, node: 1, to_order: difference, to_client: 0, to_treasury: 0 };
        assert!(events().contains(&slashed));
    });
}

#[test]
fn what_nobody_takes_over_is_free_to_go_after_the_window() {
    run_with(SECURED, || {
        let (early, late) = (wish().name("a").term(100).place(), wish().name("b").term(100).place());
        assert_ok!(deposit(1, NEED * 2));
        secure(&[2]);
        seal(early, 1);
        seal(late, 1);
        seal(late, 2);
        report_slots(1, &[1, 2]);
        assert_ok!(retire(early, 1));
        assert_ok!(retire(late, 1));
        report_slots(WINDOW - 1, &[1, 2]);
        // A slot too early it is an admitted loss.
        assert!(gone(early, 1));
        assert_eq!(collateral(1), (NEED * 3 / 2, NEED, NEED / 2));
        report_slots(1, &[1, 2]);
        assert!(gone(late, 1));
        assert_eq!(collateral(1), (NEED * 3 / 2, 0, NEED * 3 / 2));
        // Its place was open all along.
        assert_eq!(order_of(late).nodes().collect::<Vec<_>>(), [2]);
    });
}

#[test]
fn a_retired_replica_is_renewed_and_ends_with_its_order() {
    run_with(SECURED, || {
        let order = wish().replicas(1).term(5).terms(2).place();
        secure(&[1]);
        seal(order, 1);
        report(1, 255);
        report_slots(3, &[1]);
        assert_ok!(retire(order, 1));
        report_slots(1, &[1]);
        run_to_slot(6);
        assert_eq!(order_of(order).start, 6);
        report(1, 255);
        report_slots(4, &[1]);
        run_to_slot(11);
        assert!(!is_live(order));
        assert_eq!(income(1), Parts::of(&SECURED, RATE * 5).provider * 2);
        assert_eq!(collateral(1), (NEED, 0, NEED));
    });
}

#[test]
fn a_retiring_node_offers_everything_a_page_a_block_and_takes_nothing_new() {
    run(|| {
        let small = |nonce: u64| wish().nonce(nonce).name(&*format!("{nonce}").leak()).size(0).term(1_000).place();
        let mut orders: Vec<_> = (0..150).map(small).collect();
        for order in &orders {
            seal(*order, 1);
            seal(*order, 2);
        }
        let other = small(200);
        assert_ok!(take(other, 1));
        assert_noop!(Market::retire_node(RuntimeOrigin::signed(provider(2)), 1), Error::<Test>::NotProvider);
        assert_ok!(retire_node(1));
        assert_noop!(retire_node(1), Error::<Test>::RetiresAlready);
        assert!(!receipt(other, 1));
        let another = small(201);
        assert_noop!(take(another, 1), Error::<Test>::NodeLeaves);
        let offered = |orders: &[_]| orders.iter().filter(|order| !order_of(**order).offered.is_empty()).count();
        for expected in [64, 128, 150] {
            run_to(now() + 1);
            assert_eq!(offered(&orders), expected);
            check();
        }
        assert_eq!(Leavers::<Test>::iter().count(), 0);
        run_to_slot(slot() + 1);
        for order in &orders {
            seal(*order, 3);
        }
        assert!(Market::node_orders(1, None, 10).is_empty());
        orders.sort_unstable();
        let mut taken_over = Market::node_orders(3, None, 200);
        taken_over.sort_unstable();
        assert_eq!(taken_over, orders);
        // Nothing is left of it, and it does not begin anew.
        let yet_another = small(202);
        assert_noop!(take(yet_another, 1), Error::<Test>::NodeLeaves);
    });
}

/// Otherwise one who retires with a great many replicas would hold up the ends of all others, and who was found silent
/// would have the time to speak again. The coin: six sevenths of what is reserved.
#[test]
fn nobody_waits_for_a_leaver_that_has_more() {
    run(|| {
        let small = |nonce: u64| wish().nonce(nonce).name(&*format!("{nonce}").leak()).size(0).term(1_000).place();
        // Whichever of the two comes first in the list.
        for (many, few) in [(1, 2), (4, 3)] {
            for nonce in 0..300 {
                seal(small(1_000 * u64::from(many) + nonce), many);
            }
            seal(small(1_000 * u64::from(few) + 999), few);
            assert_ok!(retire_node(many));
            assert_ok!(abandon(few));
            run_to(now() + 2);
            assert!(Market::node_orders(few, None, 1).is_empty(), "{few} waits for {many}");
            assert_eq!(Leavers::<Test>::iter_keys().collect::<Vec<_>>(), [many]);
            assert_ok!(abandon(many));
            run_to(now() + 5);
            assert_eq!(Leavers::<Test>::iter().count(), 0);
        }
    });
}

/// Retired or abandoned, with files or without, a node is closed: what it held may all have gone.
#[test]
fn a_node_that_left_takes_nothing_ever_again() {
    run_with(SECURED, || {
        let first = wish().name("a").term(100).place();
        secure(&[1, 2, 3, 4, 5]);
        seal(first, 1);
        seal(first, 2);
        // The third has nothing to offer, the fourth nothing to lose.
        assert_ok!(retire_node(1));
        assert_ok!(abandon(2));
        assert_ok!(retire_node(3));
        assert_ok!(abandon(4));
        run_to(now() + 2);
        assert!(gone(first, 1));
        assert_eq!(Leavers::<Test>::iter().count(), 0);
        let second = wish().name("b").place();
        for node in [1, 2, 3, 4] {
            assert!(Market::holding(node).is_none());
            assert_noop!(take(second, node), Error::<Test>::NodeLeaves);
            assert_eq!(Market::room(node), Err(Barred::Leaves));
        }
        assert_noop!(retire_node(3), Error::<Test>::RetiresAlready);
        // Nor does it take a turn among those that leave, however often its provider says so.
        for node in [1, 3, 4] {
            assert_noop!(abandon(node), Error::<Test>::RetiresAlready);
        }
        assert_eq!(Leavers::<Test>::iter().count(), 0);
        assert_ok!(take(second, 5));
        // Its collateral is its provider's, and the record outlives it.
        assert_ok!(withdraw(3, NEED));
        assert_noop!(take(second, 3), Error::<Test>::NodeLeaves);
    });
}

/// A thousand nodes with next to nothing hold nobody up for a thousand blocks.
#[test]
fn many_small_leavers_are_served_in_a_block() {
    run(|| {
        let small = |nonce: u64| wish().nonce(nonce).name(&*format!("{nonce}").leak()).size(0).term(1_000).place();
        for node in 1..=40 {
            seal(small(node.into()), node);
            assert_ok!(retire_node(node));
        }
        seal(small(99), 49);
        assert_ok!(abandon(49));
        run_to(now() + 41u32.div_ceil(LEAVERS_A_BLOCK));
        assert!(Market::node_orders(49, None, 1).is_empty());
        assert_eq!(Leavers::<Test>::iter().count(), 0);
    });
}

#[test]
fn an_abandoned_node_loses_half_and_under_a_due_draw_all() {
    run_with(SECURED, || {
        let (first, second) = (wish().name("a").place(), wish().name("b").place());
        for node in [1, 2] {
            assert_ok!(deposit(node, NEED * 2));
            seal(first, node);
            seal(second, node);
        }
        assert_noop!(Market::abandon(RuntimeOrigin::signed(provider(2)), 1), Error::<Test>::NotProvider);
        // Who retires may still have to abandon.
        assert_ok!(retire_node(1));
        assert_ok!(abandon(1));
        assert_noop!(abandon(1), Error::<Test>::RetiresAlready);
        assert_noop!(retire_node(1), Error::<Test>::RetiresAlready);
        assert!(events().contains(&Event::NodeAbandoned { node: 1, found: false }));
        run_to(now() + 1);
        assert!(Market::node_orders(1, None, 10).is_empty());
        assert_eq!(collateral(1), (NEED, 0, NEED));
        assert!(is_live(first));

        // The draw fails with the node: a seventh of all that is reserved, and then all of it.
        assert_ok!(deposit(2, NEED));
        Registry::draw(2, second);
        let had = treasury();
        let seventh = NEED * 2 / 7;
        assert_ok!(abandon(2));
        assert_eq!(treasury(), had + seventh);
        assert!(events().contains(&Event::NodeAbandoned { node: 2, found: true }));
        assert!(events().contains(&Event::DrawFailed { node: 2, amount: seventh }));
        run_to(now() + 1);
        assert_eq!(collateral(2), (NEED - seventh, 0, NEED - seventh));
        // They were the last replicas.
        assert!(!is_live(first) && !is_live(second));
    });
}

#[test]
fn an_abandoned_node_that_fell_silent_or_is_out_pays_no_second_time() {
    run_with(SECURED, || {
        let order = wish().replicas(2).term(10_000).place();
        for node in [1, 2] {
            assert_ok!(deposit(node, NEED * 2));
            seal(order, node);
        }
        // Found silent under a draw: the seventh is paid. On probation the next beacon draws it again.
        Registry::draw(1, order);
        Registry::fail_draw(1);
        Leavers::<Test>::insert(1, Leave::Silent);
        Registry::draw(1, order);
        let left = NEED * 2 - NEED / 7;
        assert_ok!(abandon(1));
        assert_eq!(collateral(1).0, left);
        run_to(now() + 1);
        assert_eq!(collateral(1), (left - NEED, 0, left - NEED));
        Registry::answer(1);

        Registry::draw(2, order);
        Registry::put_out(2);
        assert_ok!(abandon(2));
        run_to(now() + 1);
        assert!(!is_live(order));
        assert_eq!(collateral(2), (NEED * 2, 0, NEED * 2));
    });
}
