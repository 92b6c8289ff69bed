//! What went wrong elsewhere and must not here, each named by its number in the list of lessons.

use std::collections::BTreeMap;

use crust_protocol::parameters::Parameters;
use frame_support::{assert_noop, assert_ok, storage::unhashed, traits::Hooks};

use crate::{
    ENDS_A_BLOCK, Error, LEAVE_A_BLOCK, LEAVERS_A_BLOCK, MAX_REPLICAS, MaxReplicas, NodeAccounts, Orders,
    SLOTS_A_BLOCK, WATCHED_A_BLOCK, WeightInfo, mock::*, weights::Measured,
};

/// What this pallet has in storage, what only moves forwards apart.
fn storage() -> BTreeMap<Vec<u8>, Vec<u8>> {
    let prefix = sp_io::hashing::twox_128(b"StorageMarket");
    let forwards = ["Cursor", "NextNumber", "NodesWatched", "PowerWindow", "CountedSlots"]
        .map(|item| [prefix, sp_io::hashing::twox_128(item.as_bytes())].concat());
    let mut found = BTreeMap::new();
    let mut key = prefix.to_vec();
    while let Some(next) = sp_io::storage::next_key(&key).filter(|next| next.starts_with(&prefix)) {
        if !forwards.iter().any(|item| next.starts_with(item)) {
            found.insert(next.clone(), unhashed::get_raw(&next).unwrap());
        }
        key = next;
    }
    found
}

/// 12: payouts were written by one privileged account. Here no origin but accounts' own exists: whatever Root or nobody
/// says is refused, and everything moves by what the nodes' statements brought.
#[test]
fn lesson_12_no_privileged_account_writes_replicas_or_pay() {
    run(|| {
        let order = wish().place();
        seal(order, 1);
        report(1, 255);
        for origin in [RuntimeOrigin::root(), RuntimeOrigin::none()] {
            let bad = sp_runtime::DispatchError::BadOrigin;
            assert_noop!(Market::take(origin.clone(), order, 2), bad);
            assert_noop!(Market::claim(origin.clone(), order, 1), bad);
            assert_noop!(Market::cancel(origin.clone(), order), bad);
            assert_noop!(Market::end(origin.clone(), order), bad);
            assert_noop!(Market::fund(origin.clone(), order, 1), bad);
            assert_noop!(Market::deposit_collateral(origin.clone(), 1, 1), bad);
            assert_noop!(Market::withdraw_collateral(origin.clone(), 1, 1), bad);
            assert_noop!(Market::retire(origin.clone(), order, 1), bad);
            assert_noop!(Market::retire_node(origin.clone(), 1), bad);
            assert_noop!(Market::abandon(origin, 1), bad);
        }
    });
}

/// 13: the first reporters were paid up front and nothing after; dropping a file cost nothing. Here a replica that is
/// given up earns no further slot, and one that stays earns each.
#[test]
fn lesson_13_pay_follows_the_slots_not_the_receipt() {
    run(|| {
        let order = wish().place();
        seal(order, 1);
        seal(order, 2);
        assert_eq!((income(1), income(2)), (0, 0));
        report_slots(2, &[1, 2]);
        assert!(gone(order, 1));
        let left_with = income(1);
        report_slots(4, &[1, 2]);
        assert_ok!(claim(order, 2));
        assert_eq!(income(1), left_with);
        assert_eq!(income(2), 4_687_504);
    });
}

/// 14: users' money was locked for ever in an order that nobody took, confiscated at the end, and could not be asked
/// back.
#[test]
fn lesson_14_no_order_is_locked_for_ever_and_what_was_not_earned_comes_back() {
    run(|| {
        let fee = Market::quote(1 << 30, 2, 10).unwrap().placing_fee;
        // Nobody takes it.
        wish().terms(9).place();
        // Taken, never sealed.
        assert_ok!(take(wish().client(2).place(), 1));
        // Sealed by a node that falls silent.
        seal(wish().client(3).name("silent").place(), 2);
        run_to_slot(11);
        for number in 1..=3 {
            assert_eq!((free(&client(number)), held(&client(number))), (ENDOWMENT - fee, 0), "client {number}");
        }
        // Cancelled.
        let order = wish().place();
        assert_ok!(cancel(order));
        assert_eq!((free(&client(1)), held(&client(1))), (ENDOWMENT - 2 * fee, 0));
    });
}

/// 14: the same when the providers' accounts are dead, the client's balance is frozen and the price overflows.
#[test]
fn lesson_14_nothing_that_goes_wrong_keeps_an_order_from_ending() {
    use frame_support::traits::fungible::{Mutate, MutateFreeze};
    run(|| {
        let order = wish().size(0).terms(2).place();
        seal(order, 1);
        report_slots(1, &[1]);
        Balances::set_balance(&provider(1), 0);
        Balances::set_balance(&client(2), ENDOWMENT + PROVIDER_ENDOWMENT);
        assert_ok!(Balances::set_freeze(&1, &client(1), u128::MAX));
        TestParameters::set(Parameters { price: u128::MAX, ..PLAIN });
        run_to_slot(11);
        assert!(!is_live(order));
        assert_eq!(held(&client(1)), 0);
    });
}

/// 15: three writers of one counter drifted. A node's count and bytes are derived again from its replicas after each
/// step of every way in which a replica can begin and end.
#[test]
fn lesson_15_what_a_node_holds_is_the_sum_of_its_replicas() {
    run(|| {
        let orders: Vec<_> =
            (0..5).map(|nonce| wish().nonce(nonce).name(["a", "b", "c", "d", "e"][nonce as usize]).place()).collect();
        for (index, order) in orders.iter().enumerate() {
            seal(*order, 1);
            seal(*order, 2);
            check();
            assert_eq!(Market::held(1), (index as u64 + 1) << 30);
        }
        assert!(gone(orders[0], 1));
        assert!(!gone(orders[0], 1), "no double subtraction");
        check();
        assert_ok!(cancel(orders[1]));
        check();
        assert_eq!(gone_all(1, &[orders[2], orders[2]]), 1);
        check();
        assert_eq!((Market::held(1), Market::held(2)), (2 << 30, 4 << 30));
        run_to_slot(11);
        check();
        assert_eq!((Market::held(1), Market::held(2)), (0, 0));
        assert_eq!(NodeAccounts::<Test>::iter_values().filter(|account| account.holding.is_some()).count(), 0);
    });
}

/// 16: loops over all nodes or orders in one block. A block settles a bounded number of orders of a bounded number of
/// replicas, says so in its weight before, and what is left waits for the next block and is not dropped.
#[test]
fn lesson_16_a_block_does_bounded_work() {
    use frame_support::traits::Get;
    run(|| {
        let most = <MaxReplicas as Get<u32>>::get();
        let names: Vec<&'static str> = (0..50).map(|index| &*format!("file {index}").leak()).collect();
        for name in names {
            let order = wish().name(name).size(0).replicas(most).place();
            for node in 0..most {
                seal(order, node);
            }
        }
        run_to(109);
        let bound = Measured::<Test>::begin_block()
            + Measured::<Test>::begin_slot()
            + Measured::<Test>::watch(WATCHED_A_BLOCK)
            + Measured::<Test>::leave(LEAVERS_A_BLOCK, LEAVE_A_BLOCK, LEAVE_A_BLOCK * MAX_REPLICAS)
            + Measured::<Test>::pass_slot() * u64::from(SLOTS_A_BLOCK)
            + Measured::<Test>::conclude(most) * u64::from(ENDS_A_BLOCK);
        let mut blocks = 0;
        while Orders::<Test>::iter().next().is_some() {
            let before = Orders::<Test>::iter().count();
            frame_system::Pallet::<Test>::set_block_number(now() + 1);
            let weight = Market::on_initialize(now());
            assert!(weight.all_lte(bound), "{weight} is over {bound}");
            assert!(before - Orders::<Test>::iter().count() <= ENDS_A_BLOCK as usize);
            check();
            blocks += 1;
        }
        assert_eq!(blocks, 3);
    });
}

/// 16: a report is one record, however many replicas the node holds.
#[test]
fn lesson_16_a_report_touches_one_record() {
    run(|| {
        for nonce in 0..30 {
            seal(wish().nonce(nonce).name(&*format!("{nonce}").leak()).size(0).place(), 1);
        }
        let before = storage();
        report(1, 255);
        let changed = storage().into_iter().filter(|(key, value)| before.get(key) != Some(value)).count();
        assert_eq!(changed, 1);
    });
}

/// 17: any bytes were a CID.
#[test]
fn lesson_17_only_a_cid_is_a_cid() {
    use proptest::prelude::*;
    run(|| {
        let place = |cid| {
            Market::place_order(RuntimeOrigin::signed(client(1)), 0, cid, 0, [0; 32], 0, 1, 1, 60, Default::default())
        };
        let mut runner = proptest::test_runner::TestRunner::deterministic();
        runner
            .run(&(proptest::array::uniform32(any::<u8>()), any::<[u8; 4]>()), |(digest, head)| {
                let mut cid = [0; 36];
                cid[..4].copy_from_slice(&head);
                cid[4..].copy_from_slice(&digest);
                let known = matches!(head, [1, 0x55 | 0x70 | 0x71, 0x12 | 0x1e, 32]);
                prop_assert_eq!(place(cid).is_ok(), known);
                cid[..4].copy_from_slice(&[1, 0x70, 0x12, 32]);
                prop_assert_eq!(place(cid), Ok(()));
                Ok(())
            })
            .unwrap();
        assert_noop!(place([0xff; 36]), Error::<Test>::BadCid);
    });
}

/// 17: nothing was ever pruned. After orders have ended in every way that there is, storage is as before.
#[test]
fn lesson_17_nothing_stays_of_an_order_that_ended() {
    run(|| {
        let before = storage();
        // By its term, with live replicas, a lapsed take and places that changed hands.
        let by_term = wish().name("term").replicas(4).term(40).terms(2).place();
        seal(by_term, 1);
        seal(by_term, 2);
        assert_ok!(take(by_term, 3));
        report_slots(13, &[1, 2]);
        assert!(gone(by_term, 1));
        run_to_slot(slot() + 1);
        assert_ok!(take(by_term, 4));
        assert_ok!(take(by_term, 5));
        assert!(receipt(by_term, 5));
        // Without any replica; by cancellation, at once and after waiting; by the loss of the last replica.
        wish().name("nobody").place();
        assert_ok!(cancel(wish().name("at once").place()));
        let waiting = wish().name("waiting").place();
        assert_ok!(take(waiting, 6));
        assert_ok!(take(waiting, 7));
        assert_ok!(cancel(waiting));
        assert!(receipt(waiting, 7));
        let lost = wish().name("lost").place();
        seal(lost, 8);
        assert_ok!(take(lost, 9));
        assert!(gone(lost, 8));
        assert_ne!(storage(), before);
        check();
        run_to_slot(200);
        assert_eq!(Orders::<Test>::iter().count(), 0);
        assert_eq!(storage(), before);
        assert!((1..=3).all(|number| held(&client(number)) == 0));
    });
}
