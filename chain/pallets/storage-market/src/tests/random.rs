//! Any sequence of steps: the invariants hold after each, no money comes or goes, and claims change nothing in the end.

use std::collections::BTreeMap;

use crust_protocol::{Balance, order::OrderId};
use proptest::prelude::*;
use sp_runtime::AccountId32;

use crate::{Nodes, mock::*};

#[derive(Clone, Debug)]
enum Step {
    Place { client: u8, name: usize, size: u64, replicas: u32, term: u32, tenths: u128 },
    Fund { client: u8, order: usize, amount: Balance },
    Cancel { order: usize },
    Take { order: usize, node: u32 },
    Seal { order: usize, node: u32 },
    Receipt { order: usize, node: u32 },
    Gone { order: usize, node: u32 },
    Report { node: u32, good: u8 },
    Claim { order: usize, node: u32 },
    End { order: usize },
    Deposit { node: u32, amount: Balance },
    Withdraw { node: u32, amount: Balance },
    Retire { order: usize, node: u32 },
    RetireNode { node: u32 },
    Abandon { node: u32 },
    Draw { order: usize, node: u32 },
    Answer { node: u32 },
    FailDraw { node: u32 },
    Price { times: Balance },
    Blocks { blocks: u32 },
}

const NAMES: [&str; 3] = ["a", "b", "c"];

fn step() -> impl Strategy<Value = Step> {
    let order = || 0usize..4;
    let node = || prop_oneof![3 => 0u32..4, 1 => 50u32..52];
    // For good, so it is seldom one of those that hold the most.
    let closed = || prop_oneof![1 => 0u32..4, 12 => 50u32..52];
    let size = prop_oneof![Just(0u64), 1u64..200_000, Just(1 << 30), Just(1 << 20)];
    let good = prop_oneof![Just(255u8), any::<u8>(), 0u8..4];
    prop_oneof![
        4 => (1u8..=3, 0..NAMES.len(), size, 1u32..4, 1u32..6, 10u128..35).prop_map(
            |(client, name, size, replicas, term, tenths)| Step::Place { client, name, size, replicas, term, tenths }
        ),
        1 => (1u8..=3, order(), 1u128..100_000)
            .prop_map(|(client, order, amount)| Step::Fund { client, order, amount }),
        1 => order().prop_map(|order| Step::Cancel { order }),
        3 => (order(), node()).prop_map(|(order, node)| Step::Take { order, node }),
        3 => (order(), node()).prop_map(|(order, node)| Step::Receipt { order, node }),
        6 => (order(), node()).prop_map(|(order, node)| Step::Seal { order, node }),
        1 => (order(), node()).prop_map(|(order, node)| Step::Gone { order, node }),
        12 => (node(), good).prop_map(|(node, good)| Step::Report { node, good }),
        8 => (order(), node()).prop_map(|(order, node)| Step::Claim { order, node }),
        1 => order().prop_map(|order| Step::End { order }),
        2 => (node(), 1u128..20_000_000).prop_map(|(node, amount)| Step::Deposit { node, amount }),
        1 => (node(), 1u128..20_000_000).prop_map(|(node, amount)| Step::Withdraw { node, amount }),
        2 => (order(), node()).prop_map(|(order, node)| Step::Retire { order, node }),
        1 => closed().prop_map(|node| Step::RetireNode { node }),
        1 => closed().prop_map(|node| Step::Abandon { node }),
        1 => (order(), node()).prop_map(|(order, node)| Step::Draw { order, node }),
        1 => node().prop_map(|node| Step::Answer { node }),
        1 => node().prop_map(|node| Step::FailDraw { node }),
        1 => (1u128..4).prop_map(|times| Step::Price { times }),
        3 => (1u32..20).prop_map(|blocks| Step::Blocks { blocks }),
    ]
}

/// Takes a step; whether the chain refuses it is its own affair. `known` are all orders ever placed.
fn go(step: &Step, index: usize, known: &mut Vec<OrderId>) {
    let named = |order: usize| known.iter().rev().nth(order).copied().unwrap_or_default();
    let signed = |client| RuntimeOrigin::signed(account(client));
    match *step {
        Step::Place { client, name, size, replicas, term, tenths } => {
            let cost = Market::quote(size, replicas, term).unwrap().balance;
            let wish = wish().client(client).nonce(index as u64).name(NAMES[name]).size(size);
            known.push(wish.replicas(replicas).term(term).balance(cost * tenths / 10).place());
        }
        Step::Fund { client, order, amount } => drop(Market::fund(signed(client), named(order), amount)),
        Step::Cancel { order } => {
            for client in 1..=3 {
                let _ = Market::cancel(signed(client), named(order));
            }
        }
        Step::Take { order, node } => drop(take(named(order), node)),
        Step::Receipt { order, node } => {
            receipt(named(order), node);
        }
        Step::Seal { order, node } => {
            if take(named(order), node).is_ok() {
                receipt(named(order), node);
            }
        }
        Step::Gone { order, node } => {
            gone(named(order), node);
        }
        Step::Report { node, good } => report(node, good),
        Step::Claim { order, node } => drop(claim(named(order), node)),
        Step::End { order } => drop(end(named(order))),
        Step::Deposit { node, amount } => drop(deposit(node, amount)),
        Step::Withdraw { node, amount } => drop(withdraw(node, amount)),
        Step::Retire { order, node } => drop(retire(named(order), node)),
        Step::RetireNode { node } => drop(retire_node(node)),
        Step::Abandon { node } => drop(abandon(node)),
        // As the chain draws: of what the node holds, and one at a time.
        Step::Draw { order, node } => {
            if Registry::due(node).is_none() && Market::would_end(node, &named(order)) {
                Registry::draw(node, named(order));
            }
        }
        Step::Answer { node } => Registry::answer(node),
        Step::FailDraw { node } => Registry::fail_draw(node),
        Step::Price { times } => TestParameters::mutate(|parameters| parameters.price = SECURED.price * times),
        Step::Blocks { blocks } => run_to(now() + blocks),
    }
}

/// Takes all steps, with or without the claims, lets every order end, and says what everybody has then.
fn story(steps: &[Step], claims: bool) -> BTreeMap<AccountId32, Balance> {
    let mut accounts = BTreeMap::new();
    run_with(SECURED, || {
        let mut known = Vec::new();
        for node in [0, 1, 2, 3, 50, 51] {
            deposit(node, 20_000_000).unwrap();
        }
        for (index, step) in steps.iter().enumerate() {
            if claims || !matches!(step, Step::Claim { .. }) {
                go(step, index, &mut known);
                check();
            }
        }
        // The longest order: three terms of five slots; funding may add some.
        for _ in 0..100 {
            run_to_slot(slot() + 20);
            if known.iter().all(|order| !is_live(*order)) {
                break;
            }
        }
        for order in known.iter().filter(|order| is_live(**order)) {
            let _ = cancel(*order);
        }
        run_to_slot(slot() + 20);
        assert!(!known.iter().any(|order| is_live(*order)), "an order never ends");
        assert!((1..=3).all(|number| held(&client(number)) == 0), "money stays on hold");
        for node in [0, 1, 2, 3, 50, 51] {
            Registry::answer(node);
            let (deposited, _, free) = collateral(node);
            assert_eq!(deposited, free, "collateral stays in use");
        }
        accounts = frame_system::Account::<Test>::iter().map(|(account, info)| (account, info.data.free)).collect();
    });
    accounts
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_story_conserves_money_and_claims_change_nothing(steps in proptest::collection::vec(step(), 1..250)) {
        prop_assert_eq!(story(&steps, true), story(&steps, false));
    }
}
