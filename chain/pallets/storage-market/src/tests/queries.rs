//! What the runtime API answers.

use frame_support::assert_ok;

use crate::{MAX_PAGE, mock::*, runtime_api::Health};

#[test]
fn an_order_is_shown_with_its_takes_and_the_health_of_its_replicas() {
    run(|| {
        assert_eq!(Market::order([0; 32]), None);
        let order = wish().replicas(4).place();
        seal(order, 1);
        seal(order, 2);
        assert_ok!(take(order, 3));
        run_to_slot(2);
        report(1, 200);

        let shown = Market::order(order).unwrap();
        assert_eq!((shown.id, shown.client, shown.nonce), (order, client(1), 0));
        assert_eq!((shown.cid, shown.size, shown.audit_root, shown.flags), (cid("file"), 1 << 30, [7; 32], 0));
        assert_eq!((shown.wanted, shown.term, shown.placed, shown.start, shown.end), (4, 10, 1, 1, 11));
        assert_eq!((shown.open_places, shown.cancelled), (1, false));
        let takes: Vec<_> = shown.takes.iter().map(|take| (take.node, take.provider.clone(), take.until)).collect();
        assert_eq!(takes, [(3, provider(3), 128)]);
        assert_eq!(shown.takes[0].peer_id, b"peer-3");
        let health: Vec<_> =
            shown.replicas.iter().map(|replica| (replica.node, replica.since, replica.health)).collect();
        assert_eq!(health, [(1, 10, Some(Health { slot: 2, good_files: 200 })), (2, 10, None)]);
        assert_eq!(shown.replicas[0].peer_id, b"peer-1");
        assert_eq!(shown.replicas[0].addresses, [b"/ip4/127.0.0.1/tcp/4001".to_vec()]);
        assert_eq!(shown.replicas[0].provider, provider(1));
    });
}

#[test]
fn the_replicas_of_a_cid_are_found_whoever_ordered_them() {
    run(|| {
        let first = wish().place();
        let second = wish().client(2).place();
        seal(first, 1);
        seal(first, 2);
        seal(second, 3);
        seal(wish().name("other").place(), 4);
        let mut nodes: Vec<_> = Market::replicas_of(cid("file").as_bytes())
            .into_iter()
            .map(|replica| (replica.node, replica.order))
            .collect();
        nodes.sort_unstable();
        assert_eq!(nodes, [(1, first), (2, first), (3, second)]);
        assert!(Market::replicas_of(cid("nothing").as_bytes()).is_empty());
        assert!(Market::replicas_of(&[0xff; 36]).is_empty());
    });
}

#[test]
fn pages_are_bounded_and_find_everything_once() {
    run(|| {
        let mut orders: Vec<_> = (0..300)
            .map(|nonce| wish().nonce(nonce).name(&*format!("{nonce}").leak()).size(0).replicas(1).place())
            .collect();
        let mine = |start, limit| Market::orders_of(&client(1), start, limit);
        let open = |start, limit| Market::open_orders(start, limit);
        let stored = |start, limit| Market::node_orders(1, start, limit);
        let all = |page: &dyn Fn(Option<_>, u32) -> Vec<_>, limit| {
            let mut found = page(None, limit);
            assert!(found.len() <= limit.min(MAX_PAGE) as usize);
            loop {
                let next = page(found.last().copied(), limit);
                if next.is_empty() {
                    found.sort_unstable();
                    return found;
                }
                found.extend(next);
            }
        };
        orders.sort_unstable();
        assert_eq!(all(&mine, 7), orders);
        assert_eq!(all(&open, u32::MAX), orders);
        assert_eq!(Market::open_orders(None, u32::MAX).len(), MAX_PAGE as usize);
        for order in &orders {
            seal(*order, 1);
        }
        assert_eq!(all(&stored, 100), orders);
        assert!(Market::open_orders(None, 10).is_empty());
        assert!(Market::node_orders(2, None, 10).is_empty());
        assert!(Market::orders_of(&client(2), None, 10).is_empty());

        // An entry that ends between two pages is no hindrance.
        let page = mine(None, 10);
        assert_ok!(cancel(page[9]));
        assert_eq!(mine(Some(page[9]), 300).len(), 256);
    });
}

#[test]
fn what_a_claim_would_pay_is_what_it_pays() {
    run(|| {
        let order = wish().size(0).replicas(1).place();
        seal(order, 1);
        for good in [1, 0, 3, 80, 5, 255, 7] {
            run_to_slot(slot() + 1);
            report(1, good);
            let before = income(1);
            let claimable = Market::claimable(order, 1);
            let claimed = claim(order, 1);
            assert_eq!(income(1) - before, claimable);
            assert_eq!(Market::claimable(order, 1), 0);
            if claimable > 0 {
                assert_ok!(claimed);
            }
        }
    });
}
