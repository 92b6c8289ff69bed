//! Takes, receipts and losses: who stores an order.

use frame_support::{assert_noop, assert_ok, dispatch::Pays};

use crate::{Copies, Error, Event, MaxFreeTakes, OpenOrders, Replicas, mock::*};

/// Blocks that a take of 1 GiB is open.
const WINDOW: u32 = 118;

#[test]
fn a_take_holds_a_place_until_the_receipt() {
    run(|| {
        let order = wish().place();
        assert!(!receipt(order, 1), "no receipt applies without a place");
        assert_ok!(take(order, 1));
        assert_eq!(order_of(order).takes[0].until, now() + WINDOW);
        assert!(events().contains(&Event::Taken { order, node: 1, until: now() + WINDOW }));
        assert!(receipt(order, 1));
        assert!(!receipt(order, 1), "a receipt applies once");
        let stored = order_of(order);
        assert!(stored.takes.is_empty());
        assert_eq!(stored.nodes().collect::<Vec<_>>(), [1]);
        let replica = Replicas::<Test>::get(1, order).unwrap();
        assert_eq!((replica.provider, replica.since, replica.earned), (provider(1), now(), 0));
        assert_eq!(Market::held(1), 1 << 30);
        assert!(OpenOrders::<Test>::contains_key(order), "one place is left");
        seal(order, 2);
        assert!(!OpenOrders::<Test>::contains_key(order));
        assert_noop!(take(order, 3), Error::<Test>::NoPlace);
    });
}

#[test]
fn takes_are_refused_each_for_its_reason() {
    run(|| {
        let order = wish().place();
        let by = |signer: u32, order, node| Market::take(RuntimeOrigin::signed(provider(signer)), order, node);
        assert_noop!(by(1, order, 2), Error::<Test>::NotProvider);
        assert_noop!(by(1, order, 1_000), Error::<Test>::NotProvider);
        assert_noop!(by(1, [0; 32], 1), Error::<Test>::UnknownOrder);
        assert_noop!(Market::take(RuntimeOrigin::none(), order, 1), sp_runtime::DispatchError::BadOrigin);
        Registry::expire(4);
        assert_noop!(take(order, 4), Error::<Test>::NotRegistered);

        assert_ok!(take(order, 1));
        assert_noop!(take(order, 1), Error::<Test>::ProviderHasPlace);
        assert_noop!(take(order, 51), Error::<Test>::ProviderHasPlace);
        assert_ok!(take(order, 2));
        assert_noop!(take(order, 3), Error::<Test>::NoPlace);
        assert_ok!(cancel(order));
        assert_noop!(take(order, 3), Error::<Test>::OrderCancelled);
    });
}

#[test]
fn one_replica_of_a_cid_per_node_and_one_of_an_order_per_provider() {
    run(|| {
        let first = wish().place();
        let second = wish().client(2).place();
        seal(first, 1);
        assert_noop!(take(second, 1), Error::<Test>::CopyHeld);
        assert_noop!(take(first, 51), Error::<Test>::ProviderHasPlace);
        // The provider's other node may store the other client's order of the same CID.
        seal(second, 51);
        assert_eq!(Copies::<Test>::iter_prefix(cid("file")).count(), 2);

        // Two takes of one CID by one node: the first receipt wins, the second does not apply while it is live.
        let third = wish().client(2).nonce(1).place();
        let fourth = wish().client(2).nonce(2).place();
        assert_ok!(take(third, 5));
        assert_ok!(take(fourth, 5));
        assert!(receipt(third, 5));
        assert!(!receipt(fourth, 5));
        assert!(gone(third, 5));
        assert!(receipt(fourth, 5));
    });
}

#[test]
fn a_lapsed_take_is_overwritten_by_the_next_and_the_first_to_lapse_goes_first() {
    run(|| {
        let order = wish().term(100).place();
        assert_ok!(take(order, 1));
        run_to(now() + 1);
        assert_ok!(take(order, 2));
        run_to(10 + WINDOW - 1);
        assert_noop!(take(order, 3), Error::<Test>::NoPlace);
        run_to(10 + WINDOW);
        assert_eq!(Market::order(order).unwrap().open_places, 1);
        assert_ok!(take(order, 3));
        assert!(order_of(order).takes.iter().all(|take| take.provider != provider(1)));
        assert!(!receipt(order, 1), "its place is gone");
        assert!(receipt(order, 3));
        // It costs the place, nothing else: the node may take another.
        run_to(now() + 1);
        assert_ok!(take(order, 1));
        assert!(!receipt(order, 2));
        assert!(receipt(order, 1));
    });
}

#[test]
fn a_late_receipt_applies_while_nobody_took_the_place() {
    run(|| {
        let order = wish().term(100).place();
        assert_ok!(take(order, 1));
        run_to(10 + WINDOW + 50);
        assert!(receipt(order, 1));
    });
}

#[test]
fn a_lapsed_take_gives_way_to_its_own_provider() {
    run(|| {
        let order = wish().term(100).replicas(1).place();
        assert_ok!(take(order, 1));
        run_to(10 + WINDOW);
        assert_ok!(take(order, 51));
        assert!(!receipt(order, 1));
        run_to(10 + 2 * WINDOW - 1);
        assert_noop!(take(order, 1), Error::<Test>::ProviderHasPlace);
        assert!(receipt(order, 51));
    });
}

#[test]
fn the_first_take_of_a_node_is_free_and_the_next_is_not() {
    run(|| {
        let order = wish().term(1_000).place();
        assert_eq!(take(order, 1).unwrap().pays_fee, Pays::No);
        assert_eq!(take(order, 2).unwrap().pays_fee, Pays::No);
        let refused = take(order, 3).unwrap_err();
        assert_eq!(refused.post_info.pays_fee, Pays::Yes);
        run_to(now() + WINDOW);
        assert_eq!(take(order, 1).unwrap().pays_fee, Pays::Yes);
        // What was refused does not count as the first.
        assert_eq!(take(order, 3).unwrap().pays_fee, Pays::No);
    });
}

#[test]
fn the_memory_of_free_takes_is_bounded() {
    use frame_support::traits::Get;
    run(|| {
        let order = wish().replicas(1).term(100_000).place();
        let most: u32 = <MaxFreeTakes as Get<u32>>::get();
        for node in 0..most {
            assert_eq!(take(order, node).unwrap().pays_fee, Pays::No, "node {node}");
            run_to(now() + WINDOW);
        }
        assert_eq!(take(order, most).unwrap().pays_fee, Pays::Yes);
        assert_eq!(order_of(order).takes.len(), 1);
    });
}

#[test]
fn a_statement_names_many_orders_and_what_does_not_apply_is_skipped() {
    run(|| {
        let orders: Vec<_> =
            (0..4).map(|nonce| wish().nonce(nonce).name(["a", "b", "c", "d"][nonce as usize]).place()).collect();
        assert_ok!(take(orders[0], 1));
        assert_ok!(take(orders[2], 1));
        let named = [orders[0], orders[1], [9; 32], orders[2], orders[2]];
        assert_eq!(Market::receipts(1, &provider(1), &named).unwrap().0, 2);
        assert_eq!(Market::held(1), 2 << 30);
        assert_eq!(Market::holding(1).unwrap().replicas, 2);
        assert_eq!(gone_all(1, &[orders[1], orders[0], orders[0], [9; 32]]), 1);
        assert_eq!(Market::held(1), 1 << 30);
    });
}

#[test]
fn a_receipt_for_another_providers_take_does_not_apply() {
    run(|| {
        let order = wish().place();
        assert_ok!(take(order, 1));
        assert_eq!(Market::receipts(1, &provider(2), &[order]).unwrap().0, 0);
        assert_eq!(Market::receipts(2, &provider(2), &[order]).unwrap().0, 0);
    });
}

#[test]
fn a_loss_ends_the_replica_and_opens_its_place_with_the_next_slot() {
    run(|| {
        let order = wish().term(100).place();
        seal(order, 1);
        seal(order, 2);
        run_to_slot(3);
        assert!(gone(order, 1));
        assert!(!gone(order, 1));
        assert!(events().contains(&Event::ReplicaEnded { order, node: 1 }));
        assert!(OpenOrders::<Test>::contains_key(order));
        assert!(Market::holding(1).is_none());
        assert_noop!(take(order, 3), Error::<Test>::NoPlace);
        run_to_slot(4);
        seal(order, 3);
        assert_eq!(order_of(order).nodes().collect::<Vec<_>>(), [2, 3]);
        assert!(!OpenOrders::<Test>::contains_key(order));
        // Who lost it may store it again.
        assert!(gone(order, 2));
        run_to_slot(5);
        seal(order, 1);
    });
}

#[test]
fn places_that_were_never_filled_stay_open_after_a_loss_in_the_same_slot() {
    run(|| {
        let order = wish().replicas(4).place();
        seal(order, 1);
        seal(order, 2);
        assert!(gone(order, 1));
        assert_ok!(take(order, 3));
        assert_ok!(take(order, 4));
        assert_noop!(take(order, 5), Error::<Test>::NoPlace);
        run_to_slot(2);
        assert_ok!(take(order, 5));
    });
}

#[test]
fn an_order_that_is_due_but_not_settled_still_takes_money_and_receipts() {
    run(|| {
        // Forty other orders are due in the same slot; some are still there in its first block.
        let orders: Vec<_> = (0..41)
            .map(|nonce| wish().nonce(nonce).name(&*format!("{nonce}").leak()).size(0).replicas(2).place())
            .collect();
        for order in &orders {
            seal(*order, 1);
            assert_ok!(take(*order, 2));
        }
        run_to_slot(11);
        let late = *orders.iter().find(|order| is_live(**order)).unwrap();
        assert!(order_of(late).end <= slot());
        let term = order_of(late).rate * 2 * 10;
        assert_ok!(Market::fund(RuntimeOrigin::signed(client(2)), late, term));
        report(2, 255);
        assert!(receipt(late, 2));
        report(1, 255);
        assert_noop!(claim(late, 2), Error::<Test>::NothingEarned);
        run_to(now() + 2);
        let renewed = order_of(late);
        assert_eq!((renewed.start, renewed.end, renewed.balance), (11, 21, term));
        // Node 1's report of slot 11 is the new term's; node 2 sealed after its own.
        let rate = renewed.rate;
        assert_eq!(Market::claimable(late, 1), crate::payout::Parts::of(&TestParameters::get(), rate).provider);
        assert_eq!(Market::claimable(late, 2), 0);
    });
}
