//! Draws over a node's replicas: by their bytes, over the list as it stands, whatever came and went.

use std::collections::BTreeMap;

use crust_protocol::{Hash, audit, h, order::OrderId};
use frame_support::assert_ok;

use crate::{Listed, Orders, mock::*};

/// Orders of these sizes, each with a replica on node 1.
fn hold(sizes: &[u64]) -> Vec<OrderId> {
    let orders: Vec<_> = (0u64..)
        .zip(sizes)
        .map(|(nonce, size)| {
            let name = Box::leak(format!("file {nonce}").into_boxed_str());
            wish().nonce(nonce).name(name).size(*size).replicas(1).term(100).place()
        })
        .collect();
    orders.iter().for_each(|order| seal(*order, 1));
    orders
}

fn seed(number: u32) -> Hash {
    h(&[b"seed", &number.to_le_bytes()])
}

/// How often so many seeds draw each order.
fn draws(seeds: u32) -> BTreeMap<OrderId, u32> {
    let mut counts = BTreeMap::new();
    for number in 0..seeds {
        let drawn = Market::draw(1, &seed(number)).unwrap();
        let order = Orders::<Test>::get(drawn.order).expect("what is drawn is live");
        assert_eq!((drawn.audit_root, drawn.size), (order.audit_root, order.size));
        assert!(drawn.chunk < audit::chunks(order.size));
        *counts.entry(drawn.order).or_default() += 1;
    }
    counts
}

/// Pearson's sum over what was counted and the weights; of `n` weights it has mean `n - 1` and variance `2(n - 1)`.
fn assert_in_proportion(counted: &[u32], weights: &[u64]) {
    let (all, whole) = (counted.iter().sum::<u32>() as f64, weights.iter().sum::<u64>() as f64);
    let term = |(counted, weight): (&u32, &u64)| {
        let expected = all * *weight as f64 / whole;
        (f64::from(*counted) - expected).powi(2) / expected
    };
    let sum: f64 = counted.iter().zip(weights).map(term).sum();
    let freedom = (weights.len() - 1) as f64;
    assert!(sum < freedom + 5.0 * (2.0 * freedom).sqrt(), "{sum} with {freedom} degrees of freedom: {counted:?}");
}

#[test]
fn replicas_are_drawn_by_their_billed_bytes() {
    run(|| {
        // At, under and over powers of two, and anything between; files under 64 KiB are billed as that.
        let mut sizes = vec![0, 1, 1_000, 65_535, 65_536, 65_537, 131_072, 131_073, 1 << 20, (1 << 20) + 1, 4 << 20];
        sizes.extend((0..40u64).map(|number| 70_000 + number * number * 2_000));
        let orders = hold(&sizes);
        let counts = draws(100_000);
        let counted: Vec<u32> = orders.iter().map(|order| counts.get(order).copied().unwrap_or_default()).collect();
        let billed: Vec<u64> = sizes.iter().map(|size| (*size).max(65_536)).collect();
        assert_in_proportion(&counted, &billed);
        // The worst of lists, where nearly half of the line belongs to nobody.
        for (order, size) in orders.iter().zip(&sizes) {
            if ![65_537, 131_073].contains(size) {
                assert!(gone(*order, 1));
            }
        }
        let counts = draws(30_000);
        assert_in_proportion(&[counts[&orders[5]], counts[&orders[7]]], &[65_537, 131_073]);
    });
}

#[test]
fn chunks_of_a_file_are_drawn_alike_and_an_empty_file_has_one() {
    run(|| {
        let order = hold(&[10 * 1_024 - 1])[0];
        let mut chunks = [0u32; 10];
        for number in 0..20_000 {
            chunks[Market::draw(1, &seed(number)).unwrap().chunk as usize] += 1;
        }
        assert_in_proportion(&chunks, &[1; 10]);
        let empty = wish().nonce(99).name("empty").size(0).replicas(1).place();
        seal(empty, 1);
        assert!(gone(order, 1));
        assert!((0..100).all(|number| Market::draw(1, &seed(number)).unwrap().chunk == 0));
    });
}

#[test]
fn a_node_without_replicas_is_drawn_for_nothing() {
    run(|| {
        assert_eq!(Market::draw(1, &seed(0)), None);
        let order = hold(&[1 << 20])[0];
        assert!(Market::draw(1, &seed(0)).is_some());
        assert_eq!(Market::draw(2, &seed(0)), None);
        assert!(gone(order, 1));
        assert_eq!(Market::draw(1, &seed(0)), None);
        assert_eq!(Listed::<Test>::iter().count(), 0);
    });
}

#[test]
fn the_list_has_no_gaps_whoever_leaves_it() {
    run(|| {
        let sizes: Vec<u64> = (0..24).map(|number| (number % 3 + 1) * 100_000).collect();
        let mut orders = hold(&sizes);
        // The first, the last, from the middle; by loss, cancellation and the end of a term.
        for (turn, at) in [0, 22, 10, 5, 0, 17, 3, 3].into_iter().enumerate() {
            let order = orders.remove(at);
            match turn % 2 {
                0 => assert!(gone(order, 1)),
                _ => drop(cancel(order).unwrap()),
            }
            check();
            assert_eq!(draws(2_000).len(), orders.len());
        }
        run_to_slot(101);
        assert!(Market::holding(1).is_none());
        assert_eq!(Listed::<Test>::iter().count(), 0);
    });
}

/// Whoever makes the draws must see the list as it stood: every step that changes it says so first.
#[test]
fn every_change_is_announced_over_the_old_list() {
    run(|| {
        let [first, second, third] = hold(&[1 << 20; 3])[..] else { unreachable!() };
        let zero = |orders: &[OrderId]| orders.contains(&Market::draw(1, &[0; 32]).unwrap().order);
        let announced = Changes::take();
        assert_eq!(announced.len(), 3);
        assert_eq!(announced[0].1, None);
        assert_eq!(announced[1].1, Some(first));
        assert!([Some(first), Some(second)].contains(&announced[2].1));
        assert!(zero(&[first, second, third]));
        for order in [first, second, third] {
            let drawn = Market::draw(1, &[0; 32]).map(|drawn| drawn.order);
            match order {
                _ if order == first => assert!(gone(order, 1)),
                _ if order == second => drop(cancel(order).unwrap()),
                // Its term ends.
                _ => run_to_slot(101),
            }
            let announced = Changes::take();
            assert!(!announced.is_empty() && announced.iter().all(|change| *change == (1, drawn)), "{announced:?}");
        }
        assert_ok!(Market::do_try_state());
    });
}
