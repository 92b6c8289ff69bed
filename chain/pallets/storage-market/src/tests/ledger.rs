//! What moves in one step moves as if it were many: balances, holds, records and events.

use crust_protocol::{
    Balance,
    order::{Content, OrderId},
    parameters::Parameters,
};
use frame_support::assert_ok;
use sp_runtime::StateVersion;

use crate::{Event, HoldReason, Ledger, Nodes, mock::*};

/// What a replica of 1 GiB reserves: ten slots' pay.
const NEED: Balance = 9_765_630;

/// Node 1 loses replicas of several clients, one of them its own provider, some the last of their order; prices have
/// risen. What is `before` that hears of an order that it keeps. Gives the root of the state, events included.
fn after_losses(together: bool, before: fn(OrderId)) -> Vec<u8> {
    let mut root = Vec::new();
    run_with(SECURED, || {
        assert_ok!(deposit(1, NEED * 20));
        assert_ok!(deposit(2, NEED * 20));
        let mut orders: Vec<_> = [(1, "a", 2), (1, "b", 1), (2, "c", 2), (2, "d", 3), (1, "e", 1)]
            .map(|(client, name, replicas)| wish().client(client).name(name).replicas(replicas).place())
            .to_vec();
        let own = wish().name("own").replicas(1);
        let balance = Market::quote(own.size, 1, own.term).unwrap().balance;
        let origin = RuntimeOrigin::signed(provider(1));
        let bytes = *cid("own").as_bytes();
        assert_ok!(Market::place_order(
            origin,
            0,
            bytes,
            own.size,
            [7; 32],
            0,
            1,
            own.term,
            balance,
            Default::default()
        ));
        let client = provider(1).into();
        orders.push(Content { client, nonce: 0, cid: cid("own"), size: own.size, audit_root: [7; 32], flags: 0 }.id());
        let kept = wish().name("kept").replicas(1).place();
        orders.iter().chain([&kept]).for_each(|order| seal(*order, 1));
        seal(orders[0], 2);
        seal(orders[3], 2);
        report_slots(3, &[1, 2]);
        TestParameters::set(Parameters { price: SECURED.price * 3 / 2, ..SECURED });
        assert_ok!(retire(orders[2], 1));
        before(kept);
        // One that the node never had, and one that it loses twice.
        orders.insert(2, [9; 32]);
        orders.push(orders[0]);
        let ended = match together {
            true => gone_all(1, &orders),
            false => orders.iter().map(|order| gone_all(1, &[*order])).sum(),
        };
        assert_eq!(ended, 6);
        let slashed = |which: fn(&Event<Test>) -> bool| events().iter().any(which) != Registry::is_out(1);
        assert!(slashed(|event| matches!(event, Event::Slashed { to_order, .. } if *to_order > 0)));
        assert!(slashed(|event| matches!(event, Event::Slashed { to_treasury, .. } if *to_treasury > 0)));
        check();
        root = sp_io::storage::root(StateVersion::V1);
    });
    root
}

#[test]
fn many_losses_in_one_statement_are_what_separate_ones_are() {
    // Nothing is due; an answer is, so that what ends is withheld; the node is out, and pays nothing.
    let befores: [fn(OrderId); 3] = [|_| (), |kept| Registry::draw(1, kept), |_| Registry::put_out(1)];
    let roots = befores.map(|before| {
        assert_eq!(after_losses(true, before), after_losses(false, before));
        after_losses(true, before)
    });
    assert!(roots[0] != roots[1] && roots[1] != roots[2]);
}

/// Node 1 seals three files, one of them in the place of node 2, which retires. Gives the root of the state.
fn after_receipts(together: bool) -> Vec<u8> {
    let mut root = Vec::new();
    run_with(SECURED, || {
        assert_ok!(deposit(1, NEED * 3));
        assert_ok!(deposit(2, NEED));
        let [first, offered, last] = ["a", "b", "c"].map(|name| wish().name(name).replicas(1).place());
        seal(offered, 2);
        report_slots(1, &[2]);
        assert_ok!(retire(offered, 2));
        run_to_slot(slot() + 1);
        TestParameters::set(Parameters { price: SECURED.price * 3 / 2, ..SECURED });
        for order in [first, offered, last] {
            assert_ok!(take(order, 1));
        }
        let orders = [first, [9; 32], offered, last, first];
        let sealed = |orders: &[OrderId]| Market::receipts(1, &provider(1), orders).unwrap().0;
        let applied = match together {
            true => sealed(&orders),
            false => orders.iter().map(|order| sealed(&[*order])).sum(),
        };
        assert_eq!(applied, 3);
        assert_eq!(collateral(1), (NEED * 3, NEED * 3, 0));
        assert!(collateral(2).0 < NEED && collateral(2).1 == 0);
        check();
        root = sp_io::storage::root(StateVersion::V1);
    });
    root
}

#[test]
fn many_receipts_in_one_statement_are_what_separate_ones_are() {
    assert_eq!(after_receipts(true), after_receipts(false));
}

#[test]
fn nothing_moves_that_is_not_there_or_that_nobody_can_receive() {
    run(|| {
        wish().place();
        let (from, to, poor) = (client(1), client(2), account(200));
        let (before, on_hold) = (free(&to), held(&from));
        let mut ledger = Ledger::<Test>::open();
        assert!(ledger.transfer(HoldReason::Order, &from, &to, on_hold + 1).is_err());
        assert!(ledger.transfer(HoldReason::Collateral, &from, &to, 1).is_err());
        assert!(ledger.transfer(HoldReason::Order, &from, &poor, EXISTENTIAL_DEPOSIT - 1).is_err());
        assert!(ledger.hold(HoldReason::Order, &to, before).is_err());
        assert_ok!(ledger.transfer(HoldReason::Order, &from, &poor, EXISTENTIAL_DEPOSIT));
        assert_ok!(ledger.transfer(HoldReason::Order, &from, &to, 1));
        assert_ok!(ledger.transfer(HoldReason::Order, &from, &poor, 1));
        assert_eq!((free(&to), held(&from)), (before, on_hold));
        ledger.close();
        assert_eq!((free(&to), free(&poor)), (before + 1, EXISTENTIAL_DEPOSIT + 1));
        assert_eq!(held(&from), on_hold - EXISTENTIAL_DEPOSIT - 2);

        // And back, so that every hold is that of its orders.
        let mut ledger = Ledger::<Test>::open();
        assert_ok!(ledger.hold(HoldReason::Order, &from, EXISTENTIAL_DEPOSIT + 2));
        assert_eq!(ledger.release(HoldReason::Order, &from, Balance::MAX), Ok(on_hold));
        assert_ok!(ledger.hold(HoldReason::Order, &from, on_hold));
        ledger.close();
        assert_eq!(held(&from), on_hold);
    });
}
