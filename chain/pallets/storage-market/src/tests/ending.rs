//! Renewal, cancellation and the end of orders; the end queue.

use crust_protocol::{Balance, TOKEN, parameters::Parameters};
use frame_support::{assert_noop, assert_ok};

use crate::{Cursor, Error, Event, Orders, Queue, Replicas, mock::*, payout::Parts};

/// Plancks a slot for 1 GiB.
const RATE: Balance = 976_563;
/// Placing fee of an order of one replica of 1 GiB.
const FEE: Balance = RATE * 12;

fn provider_part(sum: Balance) -> Balance {
    Parts::of(&TestParameters::get(), sum).provider
}

#[test]
fn an_order_that_nobody_stores_ends_with_its_first_term_and_is_refunded() {
    run(|| {
        let order = wish().replicas(1).terms(5).place();
        run_to(109);
        assert!(is_live(order));
        run_to_slot(11);
        assert!(!is_live(order));
        assert_eq!((free(&client(1)), held(&client(1))), (ENDOWMENT - FEE, 0));
        assert_eq!(events().last(), Some(&Event::OrderEnded { order, refund: RATE * 50 + TOKEN / 100 }));
    });
}

#[test]
fn a_take_alone_does_not_renew_an_order() {
    run(|| {
        let order = wish().replicas(1).terms(5).place();
        run_to_slot(10);
        assert_ok!(take(order, 1));
        run_to_slot(11);
        assert!(!is_live(order));
        assert!(!receipt(order, 1));
    });
}

#[test]
fn a_balance_for_two_terms_lasts_two_terms() {
    run(|| {
        let order = wish().replicas(1).terms(2).place();
        seal(order, 1);
        report_slots(9, &[1]);
        assert_ok!(claim(order, 1));
        run_to_slot(11);
        // One slot of ten was not earned: it is the client's again before the next term is bought.
        let renewed = order_of(order);
        assert_eq!((renewed.start, renewed.end, renewed.due), (11, 21, 21));
        assert_eq!((renewed.balance, renewed.spent), (RATE * 10, 0));
        assert_eq!(free(&client(1)), ENDOWMENT - FEE - RATE * 20 - TOKEN / 100 + RATE);
        assert!(events().contains(&Event::Renewed { order, end: 21, rate: RATE, returned: RATE }));
        assert_eq!(income(1), provider_part(RATE * 9));

        report(1, 255);
        report_slots(9, &[1]);
        run_to_slot(21);
        assert!(!is_live(order));
        assert_eq!(income(1), provider_part(RATE * 9) + provider_part(RATE * 10));
        assert_eq!(free(&client(1)), ENDOWMENT - FEE - RATE * 19);
    });
}

#[test]
fn what_was_not_earned_does_not_buy_another_term() {
    run(|| {
        // Silent for a whole term: all of it goes back, and nothing is left that would buy the next.
        let order = wish().replicas(1).place();
        seal(order, 1);
        run_to_slot(11);
        assert!(!is_live(order));
        assert_eq!(free(&client(1)), ENDOWMENT - FEE);
    });
}

#[test]
fn a_renewal_is_at_the_price_of_the_day() {
    run(|| {
        let order = wish().replicas(1).terms(3).place();
        seal(order, 1);
        let dearer = Parameters { price: TOKEN / 500, ..PLAIN };
        TestParameters::set(dearer);
        report_slots(9, &[1]);
        assert_eq!(order_of(order).rate, RATE, "fixed for the term");
        run_to_slot(11);
        // Twice the price: what is left of three terms buys one.
        assert_eq!(order_of(order).rate, 1_953_125);
        assert_eq!(order_of(order).balance, RATE * 20);
        report(1, 255);
        report_slots(9, &[1]);
        run_to_slot(21);
        assert!(!is_live(order));
        assert_eq!(income(1), provider_part(RATE * 9) + provider_part(1_953_125 * 10));
    });
}

#[test]
fn a_balance_that_a_higher_price_outgrew_ends_the_order() {
    run(|| {
        let order = wish().replicas(1).terms(2).place();
        seal(order, 1);
        TestParameters::set(Parameters { price: TOKEN / 500, ..PLAIN });
        run_to_slot(11);
        assert!(!is_live(order));
        assert_eq!(held(&client(1)), 0);
    });
}

#[test]
fn a_new_term_counts_from_its_first_slot_however_late_it_is_settled() {
    run(|| {
        let names: Vec<&'static str> = (0..45).map(|index| &*format!("file {index}").leak()).collect();
        let orders: Vec<_> = names.iter().map(|name| wish().name(name).size(0).replicas(1).terms(2).place()).collect();
        for order in &orders {
            seal(*order, 1);
        }
        run_to_slot(11);
        report(1, 255);
        run_to(now() + 2);
        assert!(orders.iter().all(|order| order_of(*order).start == 11));
        run_to_slot(21);
        run_to(now() + 2);
        assert!(!orders.iter().any(|order| is_live(*order)));
        assert_eq!(income(1), 45 * provider_part(60));
    });
}

#[test]
fn cancelling_returns_what_is_not_earned_at_once() {
    run(|| {
        let order = wish().replicas(2).terms(3).place();
        seal(order, 1);
        report(1, 255);
        report_slots(3, &[1]);
        assert_noop!(Market::cancel(RuntimeOrigin::signed(client(2)), order), Error::<Test>::NotClient);
        assert_noop!(Market::cancel(RuntimeOrigin::signed(client(1)), [0; 32]), Error::<Test>::UnknownOrder);
        assert_ok!(cancel(order));
        assert!(!is_live(order));
        assert_eq!(income(1), provider_part(RATE * 4));
        assert_eq!(free(&client(1)), ENDOWMENT - 2 * FEE - RATE * 4);
        assert_noop!(Market::cancel(RuntimeOrigin::signed(client(1)), order), Error::<Test>::UnknownOrder);
    });
}

#[test]
fn a_cancelled_order_pays_each_live_replica_the_least_slots() {
    run_with(Parameters { min_slots: 5, ..PLAIN }, || {
        let order = wish().replicas(3).place();
        seal(order, 1);
        seal(order, 2);
        seal(order, 3);
        report_slots(7, &[1]);
        report(2, 100);
        assert_ok!(cancel(order));
        // The first earned seven slots, the second a part of one, the third none: these two get five.
        assert_eq!(income(1), provider_part(RATE * 7));
        assert_eq!(income(2), provider_part(RATE * 5));
        assert_eq!(income(3), provider_part(RATE * 5));
        assert_eq!(free(&client(1)), ENDOWMENT - 3 * FEE - RATE * 17);
    });
}

/// Its client finds out that the file is not there, and cancels: that is no pay day. The coin: 24 slots' pay for each
/// order.
#[test]
fn a_node_on_probation_gets_no_least_slots() {
    run(|| {
        let order = wish().place();
        seal(order, 1);
        seal(order, 2);
        Registry::draw(1, order);
        Registry::fail_draw(1);
        assert_ok!(cancel(order));
        assert_eq!((income(1), income(2)), (0, provider_part(RATE)));
    });
}

#[test]
fn the_least_slots_are_over_a_replicas_life() {
    run_with(Parameters { min_slots: 5, ..PLAIN }, || {
        let order = wish().replicas(2).terms(2).place();
        seal(order, 1);
        report_slots(3, &[1]);
        run_to_slot(10);
        seal(order, 2);
        run_to_slot(11);
        assert_ok!(cancel(order));
        assert_eq!(income(1), provider_part(RATE * 3) + provider_part(RATE * 2));
        assert_eq!(income(2), provider_part(RATE * 5));
    });
}

#[test]
fn the_least_slots_are_paid_as_far_as_the_balance_goes() {
    run_with(Parameters { min_slots: 5, ..PLAIN }, || {
        let order = wish().replicas(2).term(6).place();
        seal(order, 1);
        seal(order, 2);
        report(1, 255);
        report(2, 255);
        report_slots(4, &[1, 2]);
        // Node 2 goes after five of six slots, node 3 follows for the sixth: of the term's cost one slot is left for
        // each of them.
        assert!(gone(order, 2));
        run_to_slot(6);
        seal(order, 3);
        assert_ok!(cancel(order));
        assert_eq!(income(1), provider_part(RATE * 5));
        assert_eq!(income(2), provider_part(RATE * 5));
        assert_eq!(income(3), provider_part(RATE * 2));
        assert_eq!(free(&client(1)), ENDOWMENT - 2 * FEE - RATE * 12);
    });
}

#[test]
fn cancelling_waits_for_open_takes_and_their_receipts_apply() {
    run(|| {
        let order = wish().replicas(3).place();
        assert_ok!(take(order, 1));
        assert_ok!(take(order, 2));
        assert_ok!(cancel(order));
        assert!(events().contains(&Event::Cancelled { order }));
        assert!(is_live(order));
        assert_eq!(Market::order(order).unwrap().open_places, 0);
        assert_noop!(end(order), Error::<Test>::NotEnded);
        check();
        run_to(now() + 5);
        assert!(receipt(order, 1));
        run_to(now() + 5);
        assert!(is_live(order), "node 2 is waited for");
        assert!(receipt(order, 2));
        check();
        // Nobody is waited for any more: the next block ends it, each having earned a slot.
        run_to(now() + 1);
        assert!(!is_live(order));
        assert_eq!((income(1), income(2)), (provider_part(RATE), provider_part(RATE)));
        assert_eq!(free(&client(1)), ENDOWMENT - 3 * FEE - 2 * RATE);
    });
}

#[test]
fn a_cancelled_order_ends_when_its_last_take_has_lapsed() {
    run(|| {
        let order = wish().replicas(2).term(100).place();
        assert_ok!(take(order, 1));
        run_to(now() + 3);
        assert_ok!(take(order, 2));
        let until = now() + 118;
        assert_ok!(cancel(order));
        run_to(until - 1);
        assert_noop!(end(order), Error::<Test>::NotEnded);
        assert!(Market::would_apply(2, &order));
        assert!(!Market::would_apply(1, &order), "under a cancelled order a lapsed take holds nothing");
        run_to(until);
        assert!(!receipt(order, 2));
        assert!(is_live(order));
        check();
        // Anyone may end it now; the queue does it with the next slot.
        frame_support::hypothetically!({
            assert_ok!(end(order));
            assert_eq!((free(&client(1)), held(&client(1))), (ENDOWMENT - 2 * FEE, 0));
        });
        run_to_slot(slot() + 1);
        assert!(!is_live(order));
        assert_eq!((free(&client(1)), held(&client(1))), (ENDOWMENT - 2 * FEE, 0));
    });
}

#[test]
fn a_cancelled_order_waits_for_takes_no_longer_than_its_term() {
    run(|| {
        let order = wish().replicas(1).term(3).place();
        assert_ok!(take(order, 1));
        assert_ok!(cancel(order));
        run_to_slot(4);
        assert!(!is_live(order));
    });
}

#[test]
fn a_cancelled_order_is_not_renewed() {
    run(|| {
        let order = wish().replicas(2).term(3).terms(5).place();
        seal(order, 1);
        assert_ok!(take(order, 2));
        assert_ok!(cancel(order));
        run_to_slot(4);
        assert!(!is_live(order));
        assert_eq!(income(1), provider_part(RATE));
    });
}

#[test]
fn the_loss_of_the_last_replica_ends_the_order() {
    run(|| {
        let order = wish().replicas(3).terms(4).place();
        seal(order, 1);
        seal(order, 2);
        assert_ok!(take(order, 3));
        report_slots(2, &[1, 2]);
        assert!(gone(order, 1));
        assert!(is_live(order));
        assert!(gone(order, 2));
        assert!(!is_live(order));
        assert_eq!(free(&client(1)), ENDOWMENT - 3 * FEE - RATE * 4);
        assert!(!receipt(order, 3));
    });
}

#[test]
fn the_loss_of_a_cancelled_orders_replica_opens_nothing() {
    run(|| {
        let order = wish().replicas(3).place();
        seal(order, 1);
        seal(order, 2);
        assert_ok!(take(order, 3));
        assert_ok!(cancel(order));
        assert!(gone(order, 1));
        check();
        assert!(Market::open_orders(None, 10).is_empty());
        assert!(gone(order, 2));
        assert!(!is_live(order));
    });
}

#[test]
fn anyone_may_end_what_is_due_and_nothing_else() {
    run(|| {
        let order = wish().place();
        assert_noop!(end(order), Error::<Test>::NotEnded);
        assert_noop!(end([0; 32]), Error::<Test>::UnknownOrder);
        assert_noop!(Market::end(RuntimeOrigin::none(), order), sp_runtime::DispatchError::BadOrigin);

        // Forty orders of one slot are due before it: the queue needs a third block for it, anyone's call does not.
        for nonce in 1..=40 {
            wish().nonce(nonce).client(2).place();
        }
        let mut others = Orders::<Test>::iter_keys().filter(|id| *id != order).collect::<Vec<_>>();
        run_to_slot(11);
        others.retain(|id| is_live(*id));
        let late = others.first().copied().unwrap();
        assert_ok!(end(late));
        assert!(!is_live(late));
        assert_eq!(Orders::<Test>::iter().count(), 41 - 20 - 1);
    });
}

#[test]
fn the_queue_settles_twenty_orders_a_block() {
    run(|| {
        for nonce in 0..50 {
            wish().nonce(nonce).size(0).place();
        }
        run_to(109);
        assert_eq!(Orders::<Test>::iter().count(), 50);
        for left in [30, 10, 0] {
            run_to(now() + 1);
            assert_eq!(Orders::<Test>::iter().count(), left);
            check();
        }
        assert_eq!(Queue::<Test>::iter().count(), 0);
        run_to(now() + 1);
        assert_eq!(Cursor::<Test>::get(), slot());
    });
}

#[test]
fn the_queue_finds_its_way_after_slots_that_nobody_looked_at() {
    run(|| {
        let order = wish().replicas(1).place();
        // A hook that did not run for a long time catches up, a bounded number of slots a block.
        frame_system::Pallet::<Test>::set_block_number(10_000);
        for _ in 0..60 {
            run_to(now() + 1);
        }
        assert!(!is_live(order));
        assert_eq!(Cursor::<Test>::get(), slot());
    });
}

#[test]
fn the_shortest_terms_are_renewed_slot_by_slot() {
    run(|| {
        let order = wish().replicas(1).term(1).terms(4).place();
        seal(order, 1);
        report(1, 255);
        for renewals in 1..=3 {
            run_to_slot(1 + renewals);
            assert_eq!(order_of(order).start, 1 + renewals);
            assert_eq!(Replicas::<Test>::get(1, order).unwrap().paid_before, RATE * Balance::from(renewals));
            report(1, 255);
        }
        run_to_slot(5);
        assert!(!is_live(order));
        assert_eq!(income(1), 4 * provider_part(RATE));
    });
}
