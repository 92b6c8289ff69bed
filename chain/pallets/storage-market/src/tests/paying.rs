//! What replicas earn, who gets it and when.

use crust_protocol::{Balance, TOKEN, parameters::Parameters};
use frame_support::{
    assert_noop, assert_ok,
    traits::fungible::{Mutate, MutateFreeze},
};
use proptest::prelude::*;

use crate::{Error, Event, Holding, RING, UnmovedShares, mock::*, payout::Parts};

/// Plancks a slot for 1 GiB.
const RATE: Balance = 976_563;

#[test]
fn a_provider_is_paid_to_the_planck_after_five_slots() {
    run(|| {
        let order = wish().replicas(1).place();
        seal(order, 1);
        for good in [255, 255, 200, 255, 100] {
            report(1, good);
            run_to_slot(slot() + 1);
        }
        // 1,065 of 255 a slot: floor(976,563 × 1,065 / 255) = 4,078,586.
        let (sum, pot, treasury) = (4_078_586, 611_787, 203_929);
        assert_eq!(Market::claimable(order, 1), sum - pot - treasury);
        let before = (free(&Pot::get()), free(&Treasury::get()));
        assert_ok!(claim(order, 1));
        assert_eq!(income(1), 3_262_870);
        assert_eq!(income(1), sum - pot - treasury);
        assert_eq!(order_of(order).balance, RATE * 10 - sum);
        assert!(events().contains(&Event::Claimed {
            order,
            node: 1,
            provider_part: sum - pot - treasury,
            pot_part: pot,
            treasury_part: treasury
        }));

        // The shares are counted at once and moved once a slot.
        assert_eq!(UnmovedShares::<Test>::get().total(), pot + treasury);
        assert_eq!((free(&Pot::get()), free(&Treasury::get())), before);
        run_to_slot(slot() + 1);
        assert_eq!(UnmovedShares::<Test>::get().total(), 0);
        assert_eq!((free(&Pot::get()), free(&Treasury::get())), (before.0 + pot, before.1 + treasury));
    });
}

#[test]
fn a_node_that_does_not_report_earns_nothing() {
    run_with(Parameters { max_silent: 100, ..PLAIN }, || {
        let order = wish().replicas(2).place();
        seal(order, 1);
        seal(order, 2);
        report_slots(8, &[1]);
        assert_noop!(claim(order, 2), Error::<Test>::NothingEarned);
        assert_eq!(order_of(order).nodes().collect::<Vec<_>>(), [1, 2]);
        assert_ok!(claim(order, 1));
        run_to_slot(11);
        assert!(!is_live(order));
        assert_eq!(income(2), 0);
        let sum = RATE * 8;
        let parts = Parts::of(&Parameters::DEVELOPMENT, sum);
        assert_eq!(income(1), parts.provider);
        assert_eq!(free(&client(1)), ENDOWMENT - sum - RATE * 2 * 12);
    });
}

#[test]
fn only_reports_after_the_receipt_and_within_the_term_count() {
    run(|| {
        // Another order keeps node 1 reporting all along.
        let other = wish().client(2).name("other").replicas(1).term(100).place();
        seal(other, 1);
        let order = wish().replicas(1).term(5).place();
        run_to_slot(2);
        report(1, 255);
        seal(order, 1);
        // Slot 2 was reported before the receipt; 3, 4 and 5 count; 6 is after the term.
        report_slots(3, &[1]);
        run_to_slot(6);
        report(1, 255);
        assert!(!is_live(order));
        let parts = Parts::of(&Parameters::DEVELOPMENT, RATE * 3);
        assert_eq!(income(1), parts.provider);
    });
}

#[test]
fn a_report_in_the_slot_of_the_receipt_counts_if_it_comes_after() {
    run(|| {
        let order = wish().replicas(1).place();
        seal(order, 1);
        report(1, 255);
        assert_ok!(claim(order, 1));
        assert_eq!(income(1), Parts::of(&Parameters::DEVELOPMENT, RATE).provider);
        assert_noop!(claim(order, 1), Error::<Test>::NothingEarned);
    });
}

#[test]
fn claims_are_refused_each_for_its_reason() {
    run(|| {
        let order = wish().place();
        assert_noop!(claim([0; 32], 1), Error::<Test>::UnknownOrder);
        assert_noop!(claim(order, 1), Error::<Test>::NoReplica);
        assert_ok!(take(order, 1));
        assert_noop!(claim(order, 1), Error::<Test>::NoReplica);
        assert!(receipt(order, 1));
        assert_noop!(claim(order, 1), Error::<Test>::NothingEarned);
        report(1, 0);
        assert_noop!(claim(order, 1), Error::<Test>::NothingEarned);
        assert_noop!(Market::claim(RuntimeOrigin::none(), order, 1), sp_runtime::DispatchError::BadOrigin);
        assert_eq!(Market::claimable(order, 1), 0);
        assert_eq!(Market::claimable([0; 32], 1), 0);
    });
}

#[test]
fn a_lost_replica_is_paid_what_it_earned_and_no_slot_is_paid_twice_for_a_place() {
    run(|| {
        let order = wish().replicas(2).term(10).place();
        seal(order, 1);
        seal(order, 2);
        report_slots(2, &[1, 2]);
        // Node 1 loses it in slot 3, after its report; the place opens in slot 4.
        assert!(gone(order, 1));
        let two = Parts::of(&Parameters::DEVELOPMENT, RATE * 2).provider;
        assert_eq!(income(1), two);
        assert_noop!(take(order, 3), Error::<Test>::NoPlace);
        run_to_slot(4);
        seal(order, 3);
        report(3, 255);
        report(2, 255);
        report_slots(6, &[2, 3]);
        run_to_slot(11);
        assert!(!is_live(order));
        // Reports of slots 2 to 10 by node 2, 4 to 10 by node 3.
        assert_eq!(income(2), Parts::of(&Parameters::DEVELOPMENT, RATE * 9).provider);
        assert_eq!(income(3), Parts::of(&Parameters::DEVELOPMENT, RATE * 7).provider);
        assert_eq!(free(&client(1)), ENDOWMENT - RATE * 2 * 12 - RATE * 18);
    });
}

#[test]
fn all_replicas_of_a_term_never_cost_more_than_the_term() {
    run(|| {
        let order = wish().replicas(1).term(4).place();
        seal(order, 1);
        report(1, 255);
        report_slots(3, &[1]);
        run_to_slot(5);
        assert!(!is_live(order));
        assert_eq!(income(1), Parts::of(&Parameters::DEVELOPMENT, RATE * 4).provider);
        // Everything was earned; only the placing fee is gone beside it.
        assert_eq!(free(&client(1)), ENDOWMENT - RATE * 4 - RATE * 12);
    });
}

#[test]
fn a_freeze_on_the_clients_balance_does_not_stop_pay() {
    run(|| {
        let order = wish().replicas(1).place();
        seal(order, 1);
        assert_ok!(Balances::set_freeze(&1, &client(1), ENDOWMENT));
        report(1, 255);
        assert_ok!(claim(order, 1));
        run_to_slot(11);
        assert!(!is_live(order));
        assert_eq!(held(&client(1)), 0);
    });
}

#[test]
fn a_provider_that_orders_from_itself_pays_the_shares_and_the_fee() {
    run(|| {
        // Node 1's provider is given what a client has, and orders from its own node.
        assert_ok!(Balances::transfer_keep_alive(RuntimeOrigin::signed(client(2)), provider(1), 500 * TOKEN));
        let before = free(&provider(1));
        let quote = Market::quote(1 << 30, 1, 10).unwrap();
        assert_ok!(Market::place_order(
            RuntimeOrigin::signed(provider(1)),
            0,
            *cid("own").as_bytes(),
            1 << 30,
            [7; 32],
            0,
            1,
            10,
            quote.balance,
            Default::default(),
        ));
        let order = Market::orders_of(&provider(1), None, 1)[0];
        seal(order, 1);
        report(1, 255);
        assert_ok!(claim(order, 1));
        report_slots(9, &[1]);
        run_to_slot(11);
        assert!(!is_live(order));
        let parts = Parts::of(&Parameters::DEVELOPMENT, RATE * 10);
        assert_eq!(free(&provider(1)), before - quote.placing_fee - parts.shares.total());
        assert_eq!(held(&provider(1)), 0);
    });
}

#[test]
fn pay_that_a_dead_account_cannot_receive_stays_with_the_client() {
    run(|| {
        let order = wish().size(0).replicas(1).place();
        seal(order, 1);
        Balances::set_balance(&provider(1), 0);
        Balances::set_balance(&client(2), ENDOWMENT + PROVIDER_ENDOWMENT);
        report_slots(2, &[1]);
        // 96 plancks are less than an account must have.
        assert!(claim(order, 1).is_err());
        run_to_slot(11);
        assert!(!is_live(order));
        // The placing fee of one slot; of 120 plancks earned, pot and treasury get theirs.
        assert_eq!(free(&client(1)), ENDOWMENT - 60 - 24);
    });
}

#[test]
fn late_reports_are_taken_off_by_the_ring() {
    run(|| {
        // 45 orders end with slot 10; the queue takes three blocks for them, and the node has reported slot 11 by then.
        let names: Vec<&'static str> = (0..45).map(|index| &*format!("file {index}").leak()).collect();
        let orders: Vec<_> = names.iter().map(|name| wish().name(name).size(0).replicas(1).place()).collect();
        for order in &orders {
            seal(*order, 1);
        }
        report_slots(9, &[1]);
        run_to_slot(11);
        report(1, 255);
        let left = |orders: &[_]| orders.iter().filter(|order| is_live(**order)).count();
        assert_eq!(left(&orders), 25);
        let live = *orders.iter().find(|order| is_live(**order)).unwrap();
        assert_ok!(claim(live, 1));
        run_to(now() + 1);
        assert_eq!(left(&orders), 5);
        run_to(now() + 1);
        assert_eq!(left(&orders), 0);
        // Nine slots at 60 plancks for each, however late it was settled.
        let each = Parts::of(&Parameters::DEVELOPMENT, 9 * 60).provider;
        assert_eq!(income(1), 45 * each);
    });
}

#[test]
fn the_ring_knows_every_slot_of_the_last_128() {
    let mut holding = Holding::default();
    let good = |slot: u32| if slot.is_multiple_of(3) { 0 } else { u8::try_from(slot % 251).unwrap() };
    for slot in 1..1_000u32 {
        if !slot.is_multiple_of(7) {
            holding.report(slot, good(slot));
            holding.report(slot, 255);
            holding.report(slot - 1, 255);
        }
        let reported = |slots: std::ops::RangeInclusive<u32>| -> u64 {
            slots.filter(|slot| !slot.is_multiple_of(7)).map(|slot| u64::from(good(slot))).sum()
        };
        assert_eq!(holding.earned, reported(1..=slot));
        for before in holding.last.saturating_sub(RING - 1).max(1)..slot + 2 {
            assert_eq!(holding.earned_before(before), reported(1..=before - 1), "{before} of {slot}");
        }
    }
    // After a long silence nothing old is left in it.
    let earned = holding.earned;
    holding.report(5_000, 9);
    assert_eq!(holding.earned_before(5_000 - RING + 1), earned);
    assert_eq!(holding.last_report(), Some((5_000, 9)));
}

#[test]
fn an_account_that_holds_no_replica_has_no_holding() {
    run(|| {
        report(1, 255);
        assert!(Market::holding(1).is_none());
        assert_eq!(Market::held(1), 0);
    });
}

#[test]
fn shares_wait_for_an_account_that_cannot_receive_them() {
    run(|| {
        // The pot is dead.
        let pot = free(&Pot::get());
        Balances::set_balance(&Pot::get(), 0);
        Balances::set_balance(&client(2), ENDOWMENT + pot);
        let order = wish().size(0).replicas(1).term(100).place();
        seal(order, 1);
        report_slots(2, &[1]);
        assert_ok!(claim(order, 1));
        run_to_slot(slot() + 1);
        assert_eq!(UnmovedShares::<Test>::get(), crate::Shares { pot: 18, treasury: 0 });
        assert_ok!(Balances::transfer_allow_death(RuntimeOrigin::signed(client(2)), Pot::get(), EXISTENTIAL_DEPOSIT));
        run_to_slot(slot() + 1);
        assert_eq!(free(&Pot::get()), EXISTENTIAL_DEPOSIT + 18);
    });
}

#[test]
fn genesis_opens_the_accounts_that_receive_shares() {
    run(|| {
        assert_eq!(free(&Pot::get()), EXISTENTIAL_DEPOSIT);
        assert_eq!(free(&Market::account()), EXISTENTIAL_DEPOSIT);
        assert_eq!(free(&Treasury::get()), ENDOWMENT - 2 * EXISTENTIAL_DEPOSIT);
    });
}

proptest! {
    /// Whatever the sums claimed on the way, the parties have the same in the end, and each claim pays all of its
    /// growth.
    #[test]
    fn growth_adds_up(mut sums in proptest::collection::vec(0u128..200, 0..50), last in 0u128..400) {
        let parameters = Parameters::DEVELOPMENT;
        let mut paid = 0;
        let mut got = Parts::default();
        sums.sort_unstable();
        let last = last.max(sums.last().copied().unwrap_or_default());
        for sum in sums.into_iter().map(|sum| Parts::claimable(&parameters, sum)).chain([last]) {
            let growth = Parts::growth(&parameters, paid, sum);
            prop_assert_eq!(growth.total(), sum - paid);
            got.provider += growth.provider;
            got.shares.pot += growth.shares.pot;
            got.shares.treasury += growth.shares.treasury;
            paid = sum;
        }
        prop_assert_eq!(got, Parts::of(&parameters, last));
        prop_assert_eq!(got.shares.pot, last * 15 / 100);
        prop_assert_eq!(got.shares.treasury, last * 5 / 100);
    }

    /// No shares that a genesis may set make or lose a planck, not even absurd ones.
    #[test]
    fn shares_never_exceed_the_sum(pot: u8, treasury: u8, paid in 0u128..1 << 100, more in 0u128..1 << 100) {
        let parameters = Parameters { pot_share: pot, treasury_share: treasury, ..PLAIN };
        let sum = paid + more;
        prop_assert_eq!(Parts::of(&parameters, sum).total(), sum);
        prop_assert_eq!(Parts::growth(&parameters, paid, sum).total(), more);
    }
}

#[test]
fn no_sum_is_too_large() {
    let parts = Parts::of(&Parameters::DEVELOPMENT, Balance::MAX);
    assert_eq!(parts.total(), Balance::MAX);
    assert_eq!(parts.shares.treasury, Balance::MAX / 20);
    assert!(Parts::claimable(&Parameters::DEVELOPMENT, Balance::MAX) > Balance::MAX - TOKEN);
}
