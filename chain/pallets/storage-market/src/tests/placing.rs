//! Placing, pricing and funding orders.

use crust_protocol::{Balance, TOKEN, parameters::Parameters};
use frame_support::{BoundedVec, assert_noop, assert_ok};

use crate::{Error, Event, NextNumber, OrdersOf, mock::*, runtime_api::QuoteError};

/// Plancks a slot for 1 GiB: ceil(10^9 / 1024).
const RATE: Balance = 976_563;
const DEPOSIT: Balance = TOKEN / 100;

#[test]
fn a_quote_is_what_placing_costs_to_the_planck() {
    run(|| {
        let quote = Market::quote(1 << 30, 2, 10).unwrap();
        assert_eq!(quote.rate, RATE);
        assert_eq!(quote.balance, RATE * 2 * 10);
        // A take lasts a slot of 10 s and 107.4 s for the bytes: 118 blocks, 12 slots.
        assert_eq!(quote.placing_fee, RATE * 2 * 12);
        assert_eq!(quote.deposit, DEPOSIT);
        assert_eq!(quote.total, quote.balance + quote.placing_fee + quote.deposit);

        let treasury = free(&Treasury::get());
        let order = wish().balance(quote.balance).place();
        assert_eq!(free(&client(1)), ENDOWMENT - quote.total);
        assert_eq!(held(&client(1)), quote.balance + quote.deposit);
        assert_eq!(free(&Treasury::get()), treasury + quote.placing_fee);

        let placed = order_of(order);
        assert_eq!((placed.placed, placed.start, placed.end), (1, 1, 11));
        assert_eq!((placed.rate, placed.balance, placed.deposit), (RATE, quote.balance, DEPOSIT));
        assert_eq!(events(), [Event::OrderPlaced { order, client: client(1), cid: cid("file"), size: 1 << 30 }]);
    });
}

#[test]
fn rates_are_rounded_up_and_small_files_are_billed_the_least() {
    run(|| {
        // 10^9 / 2^40 a byte: 64 KiB are 59.6 plancks.
        assert_eq!(Market::quote(0, 1, 1).unwrap().rate, 60);
        assert_eq!(Market::quote(65_536, 1, 1).unwrap().rate, 60);
        assert_eq!(Market::quote(65_537, 1, 1).unwrap().rate, 60);
        assert_eq!(Market::quote(66_000, 1, 1).unwrap().rate, 61);
        assert_eq!(Market::quote(1 << 40, 1, 1).unwrap().rate, 1_000_000_000);
        let order = wish().size(0).place();
        assert_eq!(order_of(order).rate, 60);
    });
}

#[test]
fn the_slot_of_placing_is_the_first_of_the_term() {
    run(|| {
        run_to(39);
        let order = wish().term(3).place();
        let placed = order_of(order);
        assert_eq!((placed.placed, placed.start, placed.end), (3, 3, 6));
    });
}

#[test]
fn every_refusal_has_an_error_of_its_own_and_holds_nothing() {
    run(|| {
        let one = |cid, size, flags, replicas, term, balance, nodes: &[u32]| {
            Market::place_order(
                RuntimeOrigin::signed(client(1)),
                0,
                cid,
                size,
                [7; 32],
                flags,
                replicas,
                term,
                balance,
                BoundedVec::truncate_from(nodes.to_vec()),
            )
        };
        let good = *cid("file").as_bytes();
        let enough = TOKEN;
        for (place, byte) in [(0, 0), (0, 0x12), (0, 2), (1, 0x72), (2, 0x13), (2, 0), (3, 31), (3, 33)] {
            let mut bad = good;
            bad[place] = byte;
            assert_noop!(one(bad, 1, 0, 1, 1, enough, &[]), Error::<Test>::BadCid);
        }
        assert_noop!(one([0; 36], 1, 0, 1, 1, enough, &[]), Error::<Test>::BadCid);
        assert_noop!(one(good, (8 << 40) + 1, 0, 1, 1, enough, &[]), Error::<Test>::SizeTooLarge);
        assert_noop!(one(good, u64::MAX, 0, 1, 1, enough, &[]), Error::<Test>::SizeTooLarge);
        assert_noop!(one(good, 1, 2, 1, 1, enough, &[]), Error::<Test>::UnknownFlags);
        assert_noop!(one(good, 1, 0, 0, 1, enough, &[]), Error::<Test>::NoReplicas);
        assert_noop!(one(good, 1, 0, 21, 1, enough, &[]), Error::<Test>::TooManyReplicas);
        assert_noop!(one(good, 1, 0, u32::MAX, 1, enough, &[]), Error::<Test>::TooManyReplicas);
        assert_noop!(one(good, 1, 0, 1, 0, enough, &[]), Error::<Test>::TermTooShort);
        assert_noop!(one(good, 1, 0, 1, 366 * 8_640 + 1, enough, &[]), Error::<Test>::TermTooLong);
        assert_noop!(one(good, 1, 0, 1, 1, enough, &[1]), Error::<Test>::NodesNamed);
        assert_noop!(one(good, 1, 0, 1, 10, 599, &[]), Error::<Test>::BalanceTooSmall);
        assert_noop!(one(good, 1, 0, 1, 10, 0, &[]), Error::<Test>::BalanceTooSmall);
        assert_noop!(one(good, 1, 0, 1, 10, ENDOWMENT, &[]), Error::<Test>::NotEnoughMoney);
        assert_noop!(one(good, 1, 0, 1, 10, Balance::MAX, &[]), Error::<Test>::NotEnoughMoney);
        assert_noop!(
            Market::place_order(RuntimeOrigin::none(), 0, good, 1, [7; 32], 0, 1, 1, enough, Default::default()),
            sp_runtime::DispatchError::BadOrigin
        );
        assert_eq!((free(&client(1)), held(&client(1))), (ENDOWMENT, 0));
        assert_ok!(one(good, 1, 1, 1, 10, 600, &[]));
    });
}

#[test]
fn a_quote_says_what_would_be_allowed() {
    run_with(Parameters::PRODUCTION, || {
        assert_eq!(Market::quote((8 << 40) + 1, 1, 100), Err(QuoteError::SizeTooLarge { largest: 8 << 40 }));
        assert_eq!(Market::quote(1, 0, 100), Err(QuoteError::NoReplicas));
        assert_eq!(Market::quote(1, 21, 100), Err(QuoteError::TooManyReplicas { most: 20 }));
        // A day, and two take windows of two slots: one slot and a block.
        assert_eq!(Market::quote(1, 1, 27), Err(QuoteError::TermTooShort { shortest: 28 }));
        assert_eq!(Market::quote(1, 1, 8_785), Err(QuoteError::TermTooLong { longest: 8_784 }));
        assert!(Market::quote(1, 1, 28).is_ok());
        // The largest of all orders costs what it costs.
        let most = Market::quote(8 << 40, 20, 8_784).unwrap();
        assert_eq!(most.balance, 8_000_000_000 * 20 * 8_784);
    });
}

#[test]
fn a_price_beyond_all_money_is_refused() {
    let dear = Parameters { price: Balance::MAX, ..PLAIN };
    run_with(dear, || {
        assert_eq!(Market::quote(1 << 30, 2, 10), Err(QuoteError::TooDear));
        assert_noop!(wish().try_place(), Error::<Test>::NotEnoughMoney);
    });
}

#[test]
fn the_last_planck_above_the_existential_deposit_may_be_spent() {
    run(|| {
        let quote = Market::quote(1 << 30, 2, 10).unwrap();
        let most = ENDOWMENT - EXISTENTIAL_DEPOSIT - quote.placing_fee - quote.deposit;
        assert_noop!(wish().balance(most + 1).try_place(), Error::<Test>::NotEnoughMoney);
        wish().balance(most).place();
        assert_eq!(free(&client(1)), EXISTENTIAL_DEPOSIT);
    });
}

#[test]
fn a_live_id_is_refused_and_a_new_nonce_is_another_order() {
    run(|| {
        let first = wish().place();
        assert_noop!(wish().try_place(), Error::<Test>::OrderExists);
        let second = wish().nonce(1).place();
        assert_ne!(first, second);
        let other = wish().client(2).place();
        assert_eq!(OrdersOf::<Test>::iter_key_prefix(client(1)).count(), 2);
        assert_eq!(OrdersOf::<Test>::iter_key_prefix(client(2)).collect::<Vec<_>>(), [other]);
        assert_eq!(NextNumber::<Test>::get(), 3);
        assert_ok!(cancel(first));
        wish().place();
    });
}

#[test]
fn anyone_may_fund_and_the_client_is_refunded() {
    run(|| {
        let order = wish().place();
        let before = order_of(order).balance;
        assert_ok!(Market::fund(RuntimeOrigin::signed(client(2)), order, 5 * TOKEN));
        assert_ok!(Market::fund(RuntimeOrigin::signed(client(1)), order, TOKEN));
        assert_eq!(order_of(order).balance, before + 6 * TOKEN);
        assert_eq!(held(&client(1)), before + DEPOSIT + 6 * TOKEN);
        assert_eq!(free(&client(2)), ENDOWMENT - 5 * TOKEN);
        check();

        assert_noop!(Market::fund(RuntimeOrigin::signed(client(2)), order, ENDOWMENT), Error::<Test>::NotEnoughMoney);
        assert_noop!(Market::fund(RuntimeOrigin::signed(client(2)), order, 0), Error::<Test>::NoAmount);
        assert_noop!(Market::fund(RuntimeOrigin::signed(client(2)), [0; 32], 1), Error::<Test>::UnknownOrder);

        let fee = RATE * 2 * 12;
        assert_ok!(cancel(order));
        assert_eq!(free(&client(1)), ENDOWMENT + 5 * TOKEN - fee);
        assert_eq!(held(&client(1)), 0);
    });
}

#[test]
fn a_cancelled_order_that_waits_takes_no_more_money() {
    run(|| {
        let order = wish().place();
        assert_ok!(take(order, 1));
        assert_ok!(cancel(order));
        assert_noop!(Market::fund(RuntimeOrigin::signed(client(2)), order, 1), Error::<Test>::OrderCancelled);
        assert_noop!(cancel(order), Error::<Test>::OrderCancelled);
    });
}
