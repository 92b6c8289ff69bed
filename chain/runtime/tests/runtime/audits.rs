//! An audit with all that takes part in it on the chain: BABE's outputs, the market's list, the client's audit root.

use crust_protocol::{TOKEN, audit, draw::Drawn, order::OrderId, parameters::Parameters};
use crust_runtime::{Mpow, Runtime, StorageMarket, configs::consensus::EPOCH_CONFIG};
use frame_support::assert_ok;
use sp_consensus_babe::AllowedSlots;

use crate::network::{Node, Wish, answer, file, go_to, go_to_slot, refused, run};

const FILLER: u64 = 1 << 30;

/// A chain that draws every node in every slot, in slot 1, with one node that holds an order for five slots.
fn chain(test: impl FnOnce(Node, OrderId)) {
    run(Parameters { audit_rate: 1, ..Parameters::DEVELOPMENT }, 0, || {
        let node = Node::register(0, 100 * TOKEN);
        let wish = Wish::of_file(1, 5);
        let (audit_root, size) = (wish.audit_root, wish.size);
        let order = wish.place();
        node.seal(order);
        go_to_slot(1);
        let drawn = node.due().expect("every slot draws");
        assert_eq!((drawn.order, drawn.audit_root, drawn.size), (order, audit_root, size));
        assert_ok!(node.report(FILLER, Some(answer(&file(1), &drawn))));
        test(node, order);
    });
}

#[test]
fn every_block_brings_an_output() {
    assert_eq!(EPOCH_CONFIG.allowed_slots, AllowedSlots::PrimaryAndSecondaryVRFSlots);
}

#[test]
fn only_the_answer_to_what_was_drawn_is_accepted() {
    chain(|node, _| {
        for slot in 2..5 {
            go_to_slot(slot);
            let drawn = node.due().unwrap();
            let other = Drawn { chunk: (drawn.chunk + 1) % audit::chunks(drawn.size), ..drawn.clone() };
            assert_eq!(node.report(FILLER, None), refused(20));
            assert_eq!(node.report(FILLER, Some(answer(&file(1), &other))), refused(21));
            assert_ok!(node.report(FILLER, Some(answer(&file(1), &drawn))));
            assert_eq!(node.record().last_report.unwrap().slot, slot);
        }
    });
}

#[test]
fn an_order_that_ends_leaves_its_draw_due() {
    chain(|node, order| {
        go_to_slot(6);
        assert!(StorageMarket::order(order).is_none(), "its term is over and nothing is left");
        let drawn = node.due().unwrap();
        assert_eq!(drawn.order, order);
        assert_eq!(node.report(FILLER, None), refused(20));
        assert_ok!(node.report(FILLER, Some(answer(&file(1), &drawn))));
        go_to_slot(7);
        assert_eq!(node.due(), None);
        assert_ok!(node.report(FILLER, None));
    });
}

#[test]
fn a_lost_draw_pauses_power_and_pay() {
    chain(|node, order| {
        let earned =
            || pallet_storage_market::NodeAccounts::<Runtime>::get(node.number).holding.map(|holding| holding.earned);
        assert_eq!(earned(), Some(255));
        go_to_slot(2);
        assert_ok!(node.gone(&[order]));
        assert!(Mpow::on_probation(node.number));
        assert_ok!(node.report(FILLER, None));
        assert_eq!(node.record().power, 0);
        assert_eq!(pallet_mpow::SlotSums::<Runtime>::get(2).power, 0);
    });
}

#[test]
fn a_node_that_is_given_up_under_a_due_draw_fails_it() {
    chain(|node, order| {
        go_to_slot(2);
        assert_eq!(node.due().unwrap().order, order);
        let before = StorageMarket::collateral(node.number);
        assert!(before.reserved > 0);
        assert_ok!(StorageMarket::abandon(node.origin(), node.number));
        assert!(Mpow::on_probation(node.number));
        assert_eq!(node.due(), None);
        go_to(22);
        let left = before.deposited - before.reserved / 7 - before.reserved;
        let after = StorageMarket::collateral(node.number);
        assert_eq!((after.deposited, after.reserved, after.free), (left, 0, left));
        node.withdraw(left);
    });
}
