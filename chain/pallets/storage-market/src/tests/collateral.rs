//! Collateral: what is deposited, what it is needed for, and who gets what is lost of it.

use crust_protocol::{Balance, TOKEN, parameters::Parameters};
use frame_support::{assert_noop, assert_ok};

use crate::{Error, Event, NodeAccounts, mock::*, payout::Parts};

/// Plancks a slot for 1 GiB.
const RATE: Balance = 976_563;
/// What a replica of 1 GiB reserves: ten slots' pay.
const NEED: Balance = RATE * 10;

#[test]
fn what_is_deposited_is_on_hold_and_what_is_free_comes_back() {
    run_with(SECURED, || {
        assert_noop!(deposit(1, 0), Error::<Test>::NoAmount);
        assert_noop!(deposit(1, PROVIDER_ENDOWMENT), Error::<Test>::NotEnoughMoney);
        let other = RuntimeOrigin::signed(provider(2));
        assert_noop!(Market::deposit_collateral(other.clone(), 1, 5), Error::<Test>::NotProvider);
        assert_noop!(Market::deposit_collateral(other.clone(), 1_000, 5), Error::<Test>::NotProvider);

        assert_ok!(deposit(1, 700));
        assert_ok!(deposit(1, 300));
        // The provider's other node has its own.
        assert_ok!(deposit(51, 50));
        assert_eq!((collateral(1), collateral(51)), ((1_000, 0, 1_000), (50, 0, 50)));
        assert_eq!((collateral_held(&provider(1)), free(&provider(1))), (1_050, PROVIDER_ENDOWMENT - 1_050));
        check();

        assert_noop!(withdraw(1, 0), Error::<Test>::NoAmount);
        assert_noop!(withdraw(1, 1_001), Error::<Test>::CollateralInUse);
        assert_noop!(Market::withdraw_collateral(other, 1, 5), Error::<Test>::NotProvider);
        assert_ok!(withdraw(1, 400));
        assert_ok!(withdraw(1, 600));
        assert!(!NodeAccounts::<Test>::contains_key(1));
        assert_eq!(free(&provider(1)), PROVIDER_ENDOWMENT - 50);
        assert_eq!(events()[0], Event::CollateralDeposited { node: 1, amount: 700, deposited: 700 });
        assert_eq!(events().last(), Some(&Event::CollateralWithdrawn { node: 1, amount: 600, deposited: 0 }));
    });
}

#[test]
fn a_take_needs_collateral_and_holds_it_and_a_receipt_reserves_it() {
    run_with(SECURED, || {
        let (first, second) = (wish().name("a").place(), wish().name("b").place());
        assert_noop!(take(first, 1), Error::<Test>::NotEnoughCollateral);
        assert_ok!(deposit(1, NEED * 2 - 1));
        assert_ok!(take(first, 1));
        assert_eq!(collateral(1), (NEED * 2 - 1, 0, NEED - 1));
        assert_noop!(take(second, 1), Error::<Test>::NotEnoughCollateral);
        assert_noop!(withdraw(1, NEED), Error::<Test>::CollateralInUse);
        assert_ok!(deposit(1, 1));
        assert_ok!(take(second, 1));
        check();
        assert!(receipt(first, 1));
        assert_eq!(collateral(1), (NEED * 2, NEED, 0));
        check();
        assert_ok!(cancel(second));
        assert!(receipt(second, 1));
        assert_eq!(collateral(1), (NEED * 2, NEED * 2, 0));
        // The second ends with the next block, the first with its term: deleting then costs nothing.
        run_to(now() + 1);
        assert_eq!(collateral(1), (NEED * 2, NEED, NEED));
        run_to_slot(11);
        assert_eq!(collateral(1), (NEED * 2, 0, NEED * 2));
        assert!(!gone(first, 1));
        assert_ok!(withdraw(1, NEED * 2));
    });
}

#[test]
fn a_lapsed_take_holds_no_collateral_and_its_receipt_needs_it_anew() {
    run_with(SECURED, || {
        let order = wish().term(100).place();
        assert_ok!(deposit(1, NEED));
        assert_ok!(take(order, 1));
        // 118 blocks from block 10 on: it lapses with block 128, and holds nothing from slot 13 on.
        run_to(129);
        assert_eq!(collateral(1).2, 0);
        run_to_slot(13);
        assert_eq!(collateral(1).2, NEED);
        assert!(Market::would_apply(1, &order));
        assert_ok!(withdraw(1, 1));
        assert!(!receipt(order, 1), "what it needs is not there");
        check();
        assert_ok!(deposit(1, 1));
        assert!(receipt(order, 1));
        assert_eq!(collateral(1), (NEED, NEED, 0));
    });
}

#[test]
fn an_overwritten_take_holds_nothing() {
    run_with(SECURED, || {
        let order = wish().replicas(1).term(100).place();
        assert_ok!(deposit(1, NEED));
        assert_ok!(deposit(2, NEED));
        assert_ok!(take(order, 1));
        run_to(128);
        assert_ok!(take(order, 2));
        assert_eq!((collateral(1).2, collateral(2).2), (NEED, 0));
        check();
        // A provider's own take is replaced by its next.
        run_to(128 + 118);
        assert_ok!(take(order, 2));
        assert_eq!(collateral(2), (NEED, 0, 0));
        check();
    });
}

#[test]
fn takes_lapse_with_a_bounded_number_of_slots() {
    run_with(SECURED, || {
        assert_ok!(deposit(1, TOKEN / 2));
        let order =
            |nonce: u64, size| wish().nonce(nonce).name(&*format!("{nonce}").leak()).size(size).term(1_000).place();
        // Each take lapses a slot later than the one before.
        let mut held = 0;
        let refused = (0..100u64).find_map(|nonce| {
            let taken = take(order(nonce, nonce * 100_000_000), 1);
            held += u32::from(taken.is_ok());
            taken.err()
        });
        assert_eq!(refused.unwrap().error, Error::<Test>::TooManyTakes.into());
        assert_eq!(held, 64);
        check();
        run_to_slot(slot() + 200);
        assert_ok!(take(order(1_000, 0), 1));
    });
}

#[test]
fn a_platform_that_is_full_takes_nothing_more() {
    run_with(SECURED, || {
        let order = wish().place();
        assert_ok!(deposit(1, NEED));
        Registry::leave_room(1, (1 << 30) - 1);
        assert_noop!(take(order, 1), Error::<Test>::PlatformFull);
        Registry::leave_room(1, 1 << 30);
        assert_ok!(take(order, 1));
        Registry::leave_room(1, 0);
        assert!(!receipt(order, 1));
        Registry::leave_room(1, 1 << 30);
        assert!(receipt(order, 1));
        // What a small file is billed counts, not its size.
        Registry::leave_room(2, 65_535);
        let small = wish().name("small").size(1).place();
        assert_noop!(take(small, 2), Error::<Test>::PlatformFull);
    });
}

#[test]
fn collateral_that_is_not_reserved_covers_idle_space() {
    run_with(SECURED, || {
        assert_eq!(covered(1), 0);
        assert_ok!(deposit(1, TOKEN / 2));
        run_to_slot(2);
        assert_eq!(covered(1), 1 << 40);
        seal(wish().place(), 1);
        assert_eq!(covered(1), ((TOKEN / 2 - NEED) * (1 << 40) / (TOKEN / 2)) as u64);
        assert_eq!((Market::billed(1), Market::held(1)), (1 << 30, 1 << 30));
        seal(wish().name("small").size(5).place(), 1);
        assert_eq!((Market::billed(1), Market::held(1)), ((1 << 30) + 65_536, (1 << 30) + 5));
        TestParameters::set(Parameters { idle_collateral: 0, ..SECURED });
        assert_eq!(covered(2), u64::MAX);
        TestParameters::set(Parameters { idle_collateral: 1, ..SECURED });
        assert_eq!(covered(1), u64::MAX);
    });
}

/// Otherwise one sum would cover every node that reports after it has arrived and before it moves on. The coin: 250
/// tokens for every machine at its cap but the first.
#[test]
fn what_covers_idle_space_was_there_before_the_slot() {
    run_with(SECURED, || {
        let tib = TOKEN / 2;
        assert_ok!(deposit(1, tib / 2));
        assert_eq!(covered(1), 0);
        run_to_slot(2);
        assert_eq!(covered(1), 1 << 39);
        // More of it counts with the next slot; less of it at once, what came last first.
        assert_ok!(deposit(1, tib / 4));
        assert_ok!(deposit(1, tib / 4));
        assert_eq!(covered(1), 1 << 39);
        assert_ok!(withdraw(1, tib / 4));
        assert_eq!(covered(1), 1 << 39);
        assert_ok!(withdraw(1, tib / 2));
        assert_eq!(covered(1), 1 << 38);
        assert_ok!(withdraw(1, tib / 4));
        assert!(!NodeAccounts::<Test>::contains_key(1), "nothing stays of what was moved on");
        // Half the price of a TiB goes from node to node with the reports.
        let mut counted = 0;
        for node in [1, 51, 1, 51] {
            assert_ok!(deposit(node, tib / 2));
            counted += covered(node);
            assert_ok!(withdraw(node, tib / 2));
        }
        assert_eq!(counted, 0, "with the defence off: a TiB for each two nodes, any number of them a slot");
    });
}

#[test]
fn an_admitted_loss_costs_half_and_a_found_one_all() {
    run_with(SECURED, || {
        let order = wish().replicas(3).term(100).place();
        for node in 1..=3 {
            assert_ok!(deposit(node, NEED));
            seal(order, node);
        }
        report_slots(2, &[1, 2, 3]);
        let (client_had, treasury_had) = (free(&client(1)), treasury() + Parts::of(&SECURED, RATE * 2).shares.treasury);
        assert!(gone(order, 1));
        // The client paid two slots for it and gets as much back; of the five slots' pay the rest is the treasury's.
        assert_eq!(collateral(1), (NEED / 2, 0, NEED / 2));
        assert_eq!(free(&client(1)), client_had + RATE * 2);
        assert_eq!(treasury(), treasury_had + NEED / 2 - RATE * 2);
        let slashed =
            Event::Slashed { order, node: 1, to_order: 0, to_client: RATE * 2, to_treasury: NEED / 2 - RATE * 2 };
        assert!(events().contains(&slashed));
        check();

        Registry::draw(2, order);
        assert!(gone(order, 2));
        assert_eq!(collateral(2).0, 0);
        assert_eq!(free(&client(1)), client_had + RATE * 4);
        // What was earned stays earned.
        assert_eq!(free(&provider(2)), PROVIDER_ENDOWMENT + Parts::of(&PLAIN, RATE * 2).provider - NEED);
    });
}

#[test]
fn a_loss_pays_the_order_the_difference_in_price_first() {
    run_with(SECURED, || {
        let order = wish().replicas(2).term(10).place();
        for node in 1..=2 {
            assert_ok!(deposit(node, NEED));
            seal(order, node);
        }
        report_slots(7, &[1, 2]);
        // Twice as dear, for three slots that are left: 8, 9 and 10.
        TestParameters::set(Parameters { price: TOKEN / 500, ..SECURED });
        let (balance, had) = (order_of(order).balance, free(&client(1)));
        assert!(gone(order, 1));
        let difference = (1_953_125 - RATE) * 3;
        let to_client = NEED / 2 - difference;
        assert!(events().contains(&Event::Slashed { order, node: 1, to_order: difference, to_client, to_treasury: 0 }));
        assert_eq!(order_of(order).balance, balance - RATE * 7 + difference);
        assert_eq!(free(&client(1)), had + to_client);
        check();
        // The loss of the last replica ends the order: there is no place to be bought any more.
        let had = free(&client(1));
        let refund = order_of(order).balance - RATE * 7 + order_of(order).deposit;
        assert!(gone(order, 2));
        assert_eq!(free(&client(1)), had + NEED / 2 + refund);
    });
}

#[test]
fn a_loss_pays_order_client_and_treasury_in_this_order() {
    run_with(SECURED, || {
        let order = wish().replicas(2).term(10).place();
        for node in 1..=2 {
            assert_ok!(deposit(node, NEED * 2));
            seal(order, node);
        }
        report_slots(2, &[1, 2]);
        TestParameters::set(Parameters { price: SECURED.price * 3 / 2, ..SECURED });
        let left = Balance::from(order_of(order).end - slot());
        let difference = (TestParameters::get().rate(order_of(order).size) - RATE) * left;
        let (balance, had, treasury_had) = (order_of(order).balance, free(&client(1)), treasury());
        Registry::draw(1, order);
        assert!(gone(order, 1));
        // A draw that failed first: a seventh. Then all that is reserved.
        let (seventh, to_treasury) = (NEED / 7, NEED - difference - RATE * 2);
        let slashed = Event::Slashed { order, node: 1, to_order: difference, to_client: RATE * 2, to_treasury };
        assert!(events().contains(&slashed) && to_treasury > 0);
        assert_eq!(collateral(1), (NEED - seventh, 0, NEED - seventh));
        assert_eq!(order_of(order).balance, balance - RATE * 2 + difference);
        assert_eq!(free(&client(1)), had + RATE * 2);
        let share = Parts::of(&SECURED, RATE * 2).shares.treasury;
        assert_eq!(treasury(), treasury_had + seventh + to_treasury + share);
        // It is counted at once and moved once a slot.
        let in_account = free(&Treasury::get());
        run_to_slot(slot() + 1);
        assert_eq!(free(&Treasury::get()), in_account + seventh + to_treasury + share);
        assert_eq!(treasury(), free(&Treasury::get()));
    });
}

#[test]
fn a_failed_draw_costs_a_seventh_out_of_what_is_free_first() {
    run_with(SECURED, || {
        let (first, second) = (wish().name("a").place(), wish().name("b").place());
        assert_ok!(deposit(1, NEED * 2 + 100));
        seal(first, 1);
        seal(second, 1);
        let had = treasury();
        Registry::draw(1, first);
        Registry::fail_draw(1);
        let seventh = NEED * 2 / 7;
        assert!(events().contains(&Event::DrawFailed { node: 1, amount: seventh }));
        assert_eq!(treasury(), had + seventh);
        // Less is deposited than is reserved: nothing is free, and what is deposited can still be lost.
        assert_eq!(collateral(1), (NEED * 2 + 100 - seventh, NEED * 2, 0));
        check();
        assert!(gone(second, 1));
        assert_eq!(collateral(1), (NEED * 3 / 2 + 100 - seventh, NEED, NEED / 2 + 100 - seventh));
        // The replica of the draw that failed is a found loss, although the draw is due no more.
        assert!(gone(first, 1));
        assert_eq!(collateral(1), (NEED / 2 + 100 - seventh, 0, NEED / 2 + 100 - seventh));
    });
}

#[test]
fn what_a_due_draw_is_about_stays_reserved_after_the_end_of_its_order() {
    run_with(SECURED, || {
        for (name, node) in [("a", 1), ("b", 2)] {
            assert_ok!(deposit(node, NEED));
            let order = wish().name(name).place();
            seal(order, node);
            Registry::draw(node, order);
            assert_ok!(cancel(order));
            assert!(!is_live(order));
            assert_eq!(collateral(node), (NEED, NEED, 0));
        }
        check();
        // Answered, it is free; failed, it is lost.
        Registry::answer(1);
        assert_eq!(collateral(1), (NEED, 0, NEED));
        assert_ok!(withdraw(1, NEED));
        let had = treasury();
        Registry::fail_draw(2);
        assert_eq!(collateral(2).0, 0);
        assert_eq!(treasury(), had + NEED);
    });
}

#[test]
fn what_waits_for_an_answer_of_a_node_that_holds_nothing_waits_as_long_as_silence_takes() {
    run_with(SECURED, || {
        let others = [5, 6, 7, 8];
        let kept = wish().name("kept").replicas(4).term(10_000).place();
        for node in others {
            assert_ok!(deposit(node, NEED));
            seal(kept, node);
        }
        report_slots(2, &others);
        for (name, node) in [("a", 1), ("b", 2), ("c", 3)] {
            assert_ok!(deposit(node, NEED));
            let order = wish().name(name).place();
            seal(order, node);
            Registry::draw(node, order);
            assert_ok!(cancel(order));
            assert_eq!(collateral(node), (NEED, NEED, 0));
        }
        // One answers in time, one may speak no more, one is never heard again.
        report_slots(5, &others);
        assert!([1, 2, 3].iter().all(|node| collateral(*node) == (NEED, NEED, 0)));
        Registry::answer(1);
        Registry::put_out(2);
        let had = treasury();
        // Six slots that count, the one that runs among them no more, and a round of the watch.
        report_slots(9, &others);
        assert_eq!((collateral(1), collateral(2)), ((NEED, 0, NEED), (NEED, 0, NEED)));
        assert_eq!(collateral(3), (0, 0, 0));
        assert_eq!(treasury(), had + NEED);
        assert!(events().contains(&Event::DrawFailed { node: 3, amount: NEED }));
        assert_ok!(withdraw(1, NEED));
        assert_ok!(withdraw(2, NEED));
    });
}

/// Whoever cannot answer lets its orders end, or has them taken over, before the draw counts as failed. The coin: the
/// reserve of what was drawn and a seventh of all, 2.7 tokens for 50 TiB in production.
#[test]
fn nothing_that_a_node_reserves_is_released_while_its_draw_is_due() {
    run_with(SECURED, || {
        let orders = ["a", "b", "c", "d"].map(|name| wish().name(name).replicas(1).term(100).place());
        let [drawn, ended, taken_over, kept] = orders;
        assert_ok!(deposit(1, NEED * 4));
        orders.iter().for_each(|order| seal(*order, 1));
        assert_ok!(retire(taken_over, 1));
        run_to_slot(2);
        Registry::draw(1, drawn);
        assert_ok!(cancel(ended));
        assert_ok!(deposit(2, NEED));
        seal(taken_over, 2);
        check();
        assert_eq!(Market::node_orders(1, None, 10).len(), 2);
        assert_eq!(collateral(1), (NEED * 4, NEED * 4, 0));
        // Answered, only what it holds is reserved.
        Registry::answer(1);
        assert_eq!(collateral(1), (NEED * 4, NEED * 2, NEED * 2));
        // Failed, what ended in the meantime is a part of what the seventh is of, and free then.
        Registry::draw(1, drawn);
        assert_ok!(cancel(kept));
        assert_ok!(cancel(drawn));
        assert_eq!(collateral(1), (NEED * 4, NEED * 2, NEED * 2));
        check();
        let had = treasury();
        Registry::fail_draw(1);
        let cost = NEED + NEED * 2 / 7;
        assert_eq!(treasury(), had + cost);
        assert_eq!(collateral(1), (NEED * 4 - cost, 0, NEED * 4 - cost));
    });
}

/// Whoever cannot answer names everything else gone first, at half its price, and draws the other half out before the
/// draw counts as failed. The coin: the seventh of the others, 0.43 tokens for ten TiB in production.
#[test]
fn a_loss_of_something_else_releases_nothing_while_a_draw_is_due() {
    run_with(SECURED, || {
        let orders = ["a", "b", "c"].map(|name| wish().name(name).replicas(1).term(100).place());
        let [drawn, second, third] = orders;
        assert_ok!(deposit(1, NEED * 3));
        orders.iter().for_each(|order| seal(*order, 1));
        Registry::draw(1, drawn);
        assert!(gone(second, 1));
        assert!(gone(third, 1));
        assert_eq!(collateral(1), (NEED * 2, NEED * 2, 0));
        assert_noop!(withdraw(1, 1), Error::<Test>::CollateralInUse);
        check();
        Registry::answer(1);
        assert_eq!(collateral(1), (NEED * 2, NEED, NEED));
    });
}

/// A node that owes an answer and holds nothing is silent, however often it seals something small in between and lets
/// it end: otherwise what waits for the answer waits for ever. The coin: 2.7 tokens for 50 TiB in production.
#[test]
fn what_a_node_seals_anew_is_no_sign_of_life_while_it_owes_an_answer() {
    run_with(SECURED, || {
        let others = [5, 6, 7, 8];
        let kept = wish().name("kept").replicas(4).term(10_000).place();
        for node in others {
            assert_ok!(deposit(node, NEED));
            seal(kept, node);
        }
        report_slots(2, &others);
        assert_ok!(deposit(1, NEED * 2));
        let drawn = wish().name("drawn").place();
        seal(drawn, 1);
        Registry::draw(1, drawn);
        assert_ok!(cancel(drawn));
        let names = ["a", "b", "c", "d", "e", "f", "g", "h"];
        for name in names {
            let small = wish().name(name).size(0).replicas(1).place();
            let sealed = take(small, 1).is_ok() && receipt(small, 1);
            report_slots(3, &others);
            if sealed && is_live(small) {
                assert_ok!(cancel(small));
            }
        }
        assert!(events().iter().any(|event| matches!(event, Event::DrawFailed { node: 1, .. })));
        assert_eq!(collateral(1).1, 0, "nothing waits any more");
    });
}

/// The same file, ordered again under the same nonce, is the same order.
#[test]
fn an_order_that_ends_twice_under_one_draw_is_withheld_for_twice() {
    run_with(SECURED, || {
        let order = wish().place();
        assert_ok!(deposit(1, NEED * 2));
        seal(order, 1);
        Registry::draw(1, order);
        assert_ok!(cancel(order));
        assert_eq!(wish().place(), order);
        seal(order, 1);
        assert_ok!(cancel(order));
        check();
        assert_eq!(collateral(1), (NEED * 2, NEED * 2, 0));
        Registry::answer(1);
        assert_eq!(collateral(1), (NEED * 2, 0, NEED * 2));
        assert_ok!(withdraw(1, NEED * 2));
    });
}

#[test]
fn a_node_that_may_speak_no_more_pays_for_no_draw() {
    run_with(SECURED, || {
        let (first, second) = (wish().name("a").place(), wish().name("b").place());
        assert_ok!(deposit(1, NEED * 2));
        seal(first, 1);
        seal(second, 1);
        Registry::draw(1, first);
        Registry::put_out(1);
        // It cannot answer, for its reports are refused; it says what it has deleted.
        assert!(gone(first, 1));
        assert!(gone(second, 1));
        assert_eq!(collateral(1), (NEED * 2, 0, NEED * 2));
    });
}
