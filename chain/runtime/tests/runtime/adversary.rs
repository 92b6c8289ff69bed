//! Adversaries against audits, collateral and silence, with real money: each really tries, and each test says what he
//! gains or loses, to the planck, and what he would have gained with the defence off.
//!
//! They hold signing keys that they read out of genuine enclaves, so they say what they like, and seal nothing. What is
//! worth a token to them is pay: a TiB earns 800,000,000 plancks a slot after the shares. Fees come on top of all losses.

use crust_protocol::{Balance, TOKEN, order::OrderId, parameters::Parameters};
use crust_runtime::{Mpow, Runtime, RuntimeOrigin, StorageMarket, presets};
use frame_support::assert_ok;
use pallet_storage_market::CountedSlots;

use crate::network::{Node, Wish, answer, file, go_to_slot, refused, run, wealth};

const TIB: u64 = 1 << 40;
/// What a replica of a TiB costs its client a slot, what of it is its provider's, and what it reserves.
const RATE: Balance = 1_000_000_000;
const PAY: Balance = RATE * 80 / 100;
const RESERVE: Balance = RATE * 336;

/// Production's numbers in slots of ten blocks, without a ramp; terms may be as short as if sealing took no time.
const SHORT: Parameters = Parameters {
    slot_blocks: 10,
    beacon_blocks: 1,
    ramp: 0,
    min_term_takes: 0,
    audit_rate: 24,
    collateral_slots: 336,
    ..Parameters::PRODUCTION
};
/// The same without audits: what the adversary would like.
const UNAUDITED: Parameters = Parameters { audit_rate: 0, ..SHORT };

/// Node 0: an honest machine full of filler, whose reports make slots count.
fn honest() -> Node {
    Node::register(0, 1_000 * TOKEN)
}

/// Node 1, which sealed `orders` orders of a TiB for a term, and nothing.
fn thief(orders: u8, term: u32) -> (Node, Vec<OrderId>) {
    let thief = Node::register(1, RESERVE * Balance::from(orders) * 8 / 7);
    let orders: Vec<_> = (0..orders).map(|number| Wish::of_bytes(number, TIB, term).place()).collect();
    orders.iter().for_each(|order| thief.seal(*order));
    (thief, orders)
}

/// Goes through slots; the honest node reports in each, the thief as long as it can. Says in which it was drawn.
fn report_while_undrawn(slots: std::ops::Range<u32>, honest: &Node, thief: &Node) -> Option<u32> {
    let mut drawn = None;
    for slot in slots {
        go_to_slot(slot);
        assert_ok!(honest.report(500 * TIB, None));
        match thief.due() {
            None => {
                assert_ok!(thief.report(0, None));
            }
            Some(_) => {
                assert_eq!(thief.report(0, None), refused(20));
                drawn.get_or_insert(slot);
            }
        }
    }
    drawn
}

fn gain(before: Balance, after: Balance) -> i128 {
    i128::try_from(after).unwrap() - i128::try_from(before).unwrap()
}

fn money(amount: Balance) -> i128 {
    amount.try_into().unwrap()
}

/// *A stolen key without the data*, which sits out the beacon: it reports while it is not drawn, and then is silent.
/// What it gains in the end, and the slot of its first draw.
fn stolen_key(parameters: Parameters, chance: u8) -> (i128, Option<u32>) {
    run(parameters, chance, || {
        let honest = honest();
        let before = wealth(&presets::account("//Provider1").unwrap());
        let (thief, _) = thief(10, 100);
        let drawn = report_while_undrawn(1..160, &honest, &thief);
        (gain(before, thief.wealth()), drawn)
    })
}

/// **Coin**: 99 slots' pay for ten TiB that are nowhere, 0.792 tokens. It earns nothing after its first draw, and loses a
/// seventh of what it reserves, and all of it: 3.84 tokens.
#[test]
fn a_stolen_key_without_the_data_earns_until_its_first_draw_and_loses_all_that_it_reserves() {
    let (coin, _) = stolen_key(UNAUDITED, 0);
    assert_eq!(coin, 792_000_000_000);
    assert_eq!(coin, money(PAY * 10 * 99));
    for chance in 0..3 {
        let (gain, drawn) = stolen_key(SHORT, chance);
        let drawn = drawn.expect("160 slots without a draw");
        assert!(drawn < 76, "its orders end before it counts as silent: another chance, please");
        assert_eq!(gain, money(PAY * 10 * Balance::from(drawn - 1)) - 3_840_000_000_000, "drawn in slot {drawn}");
    }
}

/// Orders of one day that a thief holds at once, and a seventh of what they reserve.
const ONE_DAYS: u8 = 50;
const SEVENTH: Balance = RESERVE * 50 / 7;

/// *One-day orders*: whoever is drawn keeps silent, and what it pretends to hold has ended in order before it counts as
/// silent. On the average of many days. What it gains, and how often it was drawn.
fn one_day_orders(parameters: Parameters, days: u8) -> (i128, u32) {
    (0..days).fold((0, 0), |(sum, draws), chance| {
        let (gain, drawn) = run(parameters.clone(), chance, || {
            let honest = honest();
            let before = wealth(&presets::account("//Provider1").unwrap());
            let (thief, orders) = thief(ONE_DAYS, 24);
            let drawn = report_while_undrawn(1..60, &honest, &thief);
            assert!(orders.iter().all(|order| StorageMarket::order(*order).is_none()), "an order outlived its day");
            let collateral = StorageMarket::collateral(thief.number);
            assert_eq!(collateral.deposited, collateral.free, "collateral stays in use");
            (gain(before, thief.wealth()), drawn)
        });
        // All that it reserved counts, although all of it ended in order: the drawn TiB, and a seventh of all.
        if let Some(drawn) = drawn.filter(|drawn| *drawn < 24) {
            let earned = PAY * Balance::from(ONE_DAYS) * Balance::from(drawn - 1);
            assert_eq!(gain, money(earned) - money(RESERVE) - money(SEVENTH));
        }
        (sum + gain, draws + u32::from(drawn.is_some()))
    })
}

/// **Coin**: 23 slots' pay for 50 TiB a day, 0.92 tokens. If only the drawn replica's collateral waited for the answer,
/// most of it would be left.
#[test]
fn one_day_orders_do_not_end_before_their_draw_does() {
    const DAYS: u8 = 12;
    let (coin, _) = one_day_orders(UNAUDITED, 1);
    assert_eq!(coin, 920_000_000_000);
    let (gain, draws) = one_day_orders(SHORT, DAYS);
    assert!(draws > 4, "{draws} draws in {DAYS} days");
    assert!(gain < 0, "{gain} in {DAYS} days");
    // With the others free to go, each draw would have cost a reserve and no more.
    let spared = money(SEVENTH) * i128::from(draws);
    assert!(gain + spared > 0, "{gain} + {spared}");
}

/// *A friend with another stolen key* takes over what the thief offered him, as soon as the thief is drawn.
/// **Coin**: the pay of both for ever, at the price of one replica a draw.
#[test]
fn a_friend_who_takes_everything_over_does_not_save_it_from_the_draw() {
    run(SHORT, 0, || {
        let honest = honest();
        let before = wealth(&presets::account("//Provider1").unwrap());
        let (thief, orders) = thief(20, 200);
        let friend = Node::register(2, RESERVE * 20);
        assert_ok!(StorageMarket::retire_node(thief.origin(), thief.number));
        let drawn = (1..100).find(|slot| report_while_undrawn(*slot..slot + 1, &honest, &thief).is_some()).unwrap();
        orders.iter().for_each(|order| friend.seal(*order));
        assert_eq!(StorageMarket::held(thief.number), 0);
        // Nothing of it is free: it cannot be the friend's collateral too.
        assert_eq!(StorageMarket::collateral(thief.number).reserved, RESERVE * 20);
        for slot in drawn + 1..drawn + 30 {
            go_to_slot(slot);
            assert_ok!(honest.report(500 * TIB, None));
        }
        let lost = money(RESERVE + 20 * RESERVE / 7);
        assert_eq!(lost, 1_296_000_000_000);
        assert_eq!(gain(before, thief.wealth()), money(PAY * 20 * Balance::from(drawn - 1)) - lost);
    });
}

/// *An order cancelled to escape its audit*: the client is the thief's friend.
/// **Coin**: the reserve of the drawn replica and a seventh of all, 0.336 + 0.48 tokens a draw.
#[test]
fn a_cancelled_order_takes_no_draw_with_it() {
    run(SHORT, 0, || {
        let honest = honest();
        let (thief, _) = thief(10, 200);
        let drawn = (1..100).find(|slot| report_while_undrawn(*slot..slot + 1, &honest, &thief).is_some()).unwrap();
        let before = thief.wealth();
        let order = thief.due().unwrap().order;
        let client = RuntimeOrigin::signed(presets::account("//Client").unwrap());
        assert_ok!(StorageMarket::cancel(client, order));
        assert!(!StorageMarket::would_end(thief.number, &order));
        // It is paid what the order owes anybody for being cancelled, and nothing that it reserves is free.
        assert_eq!(gain(before, thief.wealth()), money(PAY * Balance::from(drawn - 1).max(24)));
        assert_eq!(StorageMarket::collateral(thief.number).free, RESERVE * 10 / 7);
        assert_eq!(thief.report(0, None), refused(20));
        // It names what is left gone: the draw fails, and half of the others is lost.
        let (others, before) = (StorageMarket::node_orders(thief.number, None, 20), thief.wealth());
        assert_ok!(thief.gone(&[vec![order], others].concat()));
        let paid = PAY * 9 * Balance::from(drawn - 1);
        let lost = RESERVE + 10 * RESERVE / 7 + 9 * RESERVE / 2;
        assert_eq!(gain(before, thief.wealth()), money(paid) - money(lost));
    });
}

/// *Everything else named gone first*: a drawn node gives up all but what was drawn, and draws out what that leaves, before
/// it gives up the drawn one.
/// **Coin**: the seventh of the others, 0.432 tokens for ten TiB; what a loss leaves of them still counts for it, so half
/// of that is left to him.
#[test]
fn what_is_named_gone_under_a_draw_leaves_nothing_to_draw_out() {
    run(SHORT, 0, || {
        let honest = honest();
        let (thief, orders) = thief(10, 200);
        let drawn = (1..100).find(|slot| report_while_undrawn(*slot..slot + 1, &honest, &thief).is_some()).unwrap();
        let before = thief.wealth();
        let order = thief.due().unwrap().order;
        let others: Vec<_> = orders.into_iter().filter(|other| *other != order).collect();
        assert_ok!(thief.gone(&others));
        let free = StorageMarket::collateral(thief.number).free;
        assert_eq!(free, RESERVE * 10 / 7, "with the defence off: half of nine reserves more");
        thief.withdraw(free);
        assert_ok!(thief.gone(&[order]));
        // Half of the others, a seventh of what was reserved still, and all of the drawn one.
        let reserved = RESERVE + 9 * RESERVE / 2;
        let lost = 9 * RESERVE / 2 + reserved / 7 + RESERVE;
        let paid = PAY * 10 * Balance::from(drawn - 1);
        assert_eq!(gain(before, thief.wealth()), money(paid) - money(lost));
    });
}

/// *A tiny `Gone` as a sign of life*: a drawn node gives up one of its many replicas every few slots.
/// **Coin**: the reserves of all others, 336 slots' pay each, for as long as there are replicas to give up.
#[test]
fn a_tiny_gone_under_a_due_draw_is_no_sign_of_life() {
    run(SHORT, 0, || {
        let honest = honest();
        let (thief, orders) = thief(20, 200);
        let drawn = (1..100).find(|slot| report_while_undrawn(*slot..slot + 1, &honest, &thief).is_some()).unwrap();
        let due = thief.due().unwrap().order;
        let mut others = orders.iter().filter(|order| **order != due);
        let counted = CountedSlots::<Runtime>::get();
        for slot in drawn + 1..drawn + 26 {
            go_to_slot(slot);
            assert_ok!(honest.report(500 * TIB, None));
            if slot % 3 == 0 && StorageMarket::held(thief.number) > 0 {
                assert_ok!(thief.gone(&[*others.next().unwrap()]));
            }
        }
        assert!(CountedSlots::<Runtime>::get() - counted >= 24);
        assert_eq!(StorageMarket::held(thief.number), 0, "it was found silent with all that it had");
        assert!(Mpow::on_probation(thief.number));
    });
}

/// *One that proxies other replicas*: it keeps nothing, and fetches what it is asked for from whoever has it.
/// **Coin**: a second copy's pay for as long as there is a first: 145 plancks a slot for 200,000 bytes. No audit can tell;
/// what bounds it is the platform's cap. With the first copy its days end, and cost what a loss costs.
#[test]
fn who_proxies_another_replica_is_paid_while_there_is_one_and_pays_when_there_is_none() {
    run(Parameters { audit_rate: 1, probation: 4, ..SHORT }, 0, || {
        let honest = Node::register(0, 1_000 * TOKEN);
        let proxy = Node::register(1, TOKEN);
        let order = Wish { replicas: 2, ..Wish::of_file(1, 200) }.place();
        let before = proxy.wealth();
        [&honest, &proxy].iter().for_each(|node| node.seal(order));
        let report = |node: &Node| node.report(0, node.due().map(|drawn| answer(&file(1), &drawn)));
        for slot in 1..=20 {
            go_to_slot(slot);
            assert_ok!(report(&honest));
            assert_ok!(report(&proxy));
        }
        let rate = SHORT.rate(200_000);
        assert_ok!(StorageMarket::claim(proxy.origin(), order, proxy.number));
        let (earned, paid) = (gain(before, proxy.wealth()), rate * 20);
        assert_eq!((rate, earned), (182, money(paid - paid * 15 / 100 - paid * 5 / 100)));
        // The one copy that there is, is lost.
        assert_ok!(honest.gone(&[order]));
        go_to_slot(21);
        assert_eq!(proxy.report(0, None), refused(20));
        assert_ok!(proxy.gone(&[order]));
        let reserve = rate * 336;
        assert_eq!(gain(before, proxy.wealth()), earned - money(reserve + reserve / 7));
    });
}

/// *One that orders pseudo-random files from itself*, and makes them anew when it is asked.
/// **Coin**: the power of bytes that it does not store, which audits cannot deny. It pays for them: a fifth of the price
/// to pot and treasury, and the placing fees. For a whole platform that is 100,000,000,000 plancks a slot.
#[test]
fn who_orders_from_himself_pays_a_fifth_of_the_price_for_power_up_to_the_cap() {
    const FILES: u8 = 10;
    let parameters = Parameters { audit_rate: 1, platform_cap: 1_000_000, ..SHORT };
    run(parameters, 0, || {
        let client = presets::account("//Client").unwrap();
        let node = Node::register(0, TOKEN);
        let own = || wealth(&client) + node.wealth();
        let before = own();
        let orders: Vec<_> = (0..FILES).map(|number| Wish::of_file(number, 30).place()).collect();
        // The cap holds five of them.
        orders[..5].iter().for_each(|order| node.seal(*order));
        let full = StorageMarket::take(node.origin(), orders[5], node.number).unwrap_err();
        assert_eq!(full.error, pallet_storage_market::Error::<Runtime>::PlatformFull.into());
        let placed = own();
        let number = |order: &OrderId| orders.iter().position(|other| other == order).unwrap() as u8;
        for slot in 1..30 {
            go_to_slot(slot);
            let drawn = node.due().unwrap();
            assert_ok!(node.report(1 << 30, Some(answer(&file(number(&drawn.order)), &drawn))));
            assert_eq!(node.record().power, 1_000_000, "never more than the cap, filler included");
        }
        go_to_slot(31);
        let rate = SHORT.rate(200_000);
        let shares = |sum: Balance| sum * 15 / 100 + sum * 5 / 100;
        assert_eq!(gain(placed, own()), -money(5 * shares(rate * 29)));
        // A slot and the time that the bytes need: two slots' pay each.
        assert_eq!(gain(before, placed), -money(10 * 2 * rate));
        assert_eq!(shares(Parameters::PRODUCTION.rate(500 * TIB)), 100_000_000_000);
    });
}

/// *One sum for many machines*: collateral that moves on as soon as a report has landed.
/// **Coin**: the 250 tokens of collateral of every machine but the first.
#[test]
fn one_collateral_covers_one_machine_a_slot() {
    run(SHORT, 0, || {
        let sum = 250 * TOKEN;
        let first = Node::register(0, sum);
        let others: Vec<_> = (1..4).map(|number| Node::register(number, 0)).collect();
        go_to_slot(1);
        assert_ok!(first.report(500 * TIB, None));
        assert_eq!(first.record().idle, 500 * TIB);
        first.withdraw(sum);
        for node in &others {
            node.deposit(sum);
            assert_ok!(node.report(500 * TIB, None));
            assert_eq!(node.record().idle, 0, "with the defence off: 500 TiB for each, with the same money");
            node.withdraw(sum);
        }
        assert_eq!(Mpow::slot_idle(1), u128::from(500 * TIB));
    });
}

/// What one stolen key can mint at the most, by production's parameters: the numbers of docs/threat-model.md.
#[test]
fn the_bound_of_a_stolen_key_in_plancks() {
    let parameters = Parameters { audit_rate: 24, collateral_slots: 336, ..Parameters::PRODUCTION };
    let Parameters { platform_cap, idle_collateral, audit_rate, collateral_slots, ramp, .. } = parameters;
    assert_eq!(platform_cap, 500 * TIB);
    // Filler: not paid by the market. Its collateral, and how long it takes to count in full.
    assert_eq!(idle_collateral * 500, 250 * TOKEN);
    assert_eq!(ramp / 14_400, 30);
    // Full of others' orders: a slot's pay, a year's with a copy to proxy.
    let pay = parameters.rate(platform_cap) * 80 / 100;
    assert_eq!(pay, 400_000_000_000);
    assert_eq!(pay * 24 * 365, 3_504 * TOKEN);
    // Without the data: 24 slots' pay until it is drawn on the average, against all that is reserved, and a seventh.
    let reserve = parameters.rate(platform_cap) * Balance::from(collateral_slots);
    assert_eq!(pay * Balance::from(audit_rate), 9_600_000_000_000);
    assert_eq!(reserve + reserve / 7, 192 * TOKEN);
    // The cheapest way out: all others named gone before what is drawn, half of it and a seventh of the other half.
    assert_eq!(reserve / 2 + reserve / 2 / 7, 96 * TOKEN);
}
