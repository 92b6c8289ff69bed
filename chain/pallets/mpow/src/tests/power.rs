//! Power: exact, from one source, bounded.

use frame_support::{assert_ok, dispatch::GetDispatchInfo};

use crust_protocol::{parameters::Parameters, statement::Report};

use crate::{
    Endpoints, KEPT_SLOTS, NextNode, Node, NodeOf, Nodes, SlotSums, Sums,
    mock::*,
    power::{Ramp, power},
};

#[test]
fn power_is_exact() {
    let full = Ramp::after(9, 9);
    assert_eq!(power(255, 1_000, 255, 24, full), 1_024);
    assert_eq!(power(0, u64::MAX, 0, u64::MAX, full), 0);
    assert_eq!(power(254, 255, 0, 9, full), 254);
    assert_eq!(power(1, 254, 0, 0, full), 0);
    // The two are summed before they are rounded.
    assert_eq!(power(1, 128, 1, 127, full), 1);
    assert_eq!(power(255, u64::MAX, 255, u64::MAX, full), u64::MAX);
    assert_eq!(power(255, u64::MAX, 0, 1, full), u64::MAX);
}

#[test]
fn a_ramp_is_exact() {
    // Idle space has it in itself, files get it here.
    let third = Ramp::after(1, 3);
    assert_eq!((third.of(100), third.of(2), third.of(u64::MAX)), (33, 0, u64::MAX / 3));
    assert_eq!(power(255, 33, 255, 100, third), 33 + 33);
    assert_eq!(power(255, 0, 254, 90, third), 254 * 30 / 255);
    // Half of a byte and half of a byte are a byte.
    assert_eq!(power(1, 255, 1, 765, third), 1 + 1);
    for whole in [Ramp::after(3, 3), Ramp::after(u32::MAX, 3), Ramp::after(0, 0)] {
        assert_eq!(whole.of(u64::MAX), u64::MAX);
    }
    assert_eq!(Ramp::after(0, 3).of(u64::MAX), 0);
    assert_eq!(power(255, 0, 255, u64::MAX, Ramp::after(0, 3)), 0);
    assert_eq!(power(255, u64::MAX, 255, u64::MAX, Ramp::after(u32::MAX, u32::MAX)), u64::MAX);
}

fn with_node(test: impl FnOnce(Enclave)) {
    Chain::default().run(|| {
        go_to(2);
        let enclave = Enclave::new(1);
        assert_ok!(enclave.register());
        test(enclave);
    });
}

/// More nodes like the first, without evidence.
fn add_nodes(count: u32) {
    let node: Node = node(0);
    for number in 1..=count {
        let sign_pk = sp_io::hashing::blake2_256(&number.to_le_bytes());
        NodeOf::<Test>::insert(sign_pk, number);
        Nodes::<Test>::insert(number, Node { sign_pk, ..node.clone() });
        Endpoints::<Test>::insert(number, endpoint());
    }
    NextNode::<Test>::put(count + 1);
}

#[test]
fn lesson_15_power_has_one_source_and_drift_is_found() {
    with_node(|enclave| {
        go_to_slot(1);
        assert_ok!(apply(enclave.report(0, report(0, 1_000))).unwrap());
        let Sums { power, idle } = SlotSums::<Test>::get(1);
        for (power, idle) in [(0, idle), (power - 1, idle), (power + 1, idle), (power, idle - 1), (power, idle + 1)] {
            SlotSums::<Test>::insert(1, Sums { power, idle });
            assert!(Mpow::do_try_state().is_err());
        }
        SlotSums::<Test>::insert(1, Sums { power, idle });
        assert_ok!(Mpow::do_try_state());

        // A node without its key, a key without its node, a number given to nobody.
        NodeOf::<Test>::remove(enclave.sign_pk());
        assert!(Mpow::do_try_state().is_err());
        NodeOf::<Test>::insert(enclave.sign_pk(), 0);
        NodeOf::<Test>::insert([5; 32], 9);
        assert!(Mpow::do_try_state().is_err());
        NodeOf::<Test>::remove([5; 32]);
        NextNode::<Test>::put(2);
        assert!(Mpow::do_try_state().is_err());
        NextNode::<Test>::put(1);
    });
}

/// Storage that a call reads, in bytes of the trie, and what it is charged.
fn cost(nodes: u32) -> (usize, u64) {
    let mut externalities = Chain::default().externalities();
    externalities.execute_with(|| {
        go_to(1);
        submit(crate::fixtures::collateral(), &crate::fixtures::Platform::two().quote([0; 64])).unwrap();
        go_to(2);
        Enclave::new(1).register().unwrap();
        add_nodes(nodes);
        go_to(10);
        frame_system::BlockHash::<Test>::insert(9, hash_of(9));
        frame_system::Pallet::<Test>::set_block_number(11);
    });
    externalities.commit_all().unwrap();
    let (weight, proof) = externalities.execute_and_prove(|| {
        let call = Enclave::new(1).report(0, report(0, 1_000));
        let weight = call.get_dispatch_info().call_weight.ref_time();
        apply(call).unwrap().unwrap();
        crate::Pallet::<Test>::forget_old_slot();
        weight
    });
    (proof.iter_nodes().map(|node| node.len()).sum(), weight)
}

#[test]
fn lesson_16_a_report_costs_the_same_however_many_nodes_there_are() {
    let (few, weight_of_few) = cost(10);
    let (many, weight_of_many) = cost(2_000);
    assert_eq!(weight_of_few, weight_of_many);
    // Two hundred times the nodes: a few levels more of the trie.
    assert!(many < few + 4_096, "{few} and {many} bytes read");
}

#[test]
fn lesson_17_the_power_of_old_slots_is_pruned() {
    with_node(|enclave| {
        for slot in 1..=KEPT_SLOTS + 20 {
            if slot % 50 == 0 {
                assert_ok!(enclave.renew(0));
            }
            go_to_slot(slot);
            assert_ok!(apply(enclave.report(0, report(0, 1_000))).unwrap());
        }
        assert_eq!(SlotSums::<Test>::iter().count(), KEPT_SLOTS as usize);
        assert_eq!(Mpow::slot_power(20), 0);
        assert_eq!((Mpow::slot_power(21), Mpow::slot_idle(21)), (1_000, 1_000));
        assert_eq!(Mpow::slot_power(KEPT_SLOTS + 20), 1_000);
    });
}

#[test]
fn what_two_scrubs_have_not_read_nobody_vouches_for() {
    with_node(|enclave| {
        Table::hold(0, order(1), 500);
        let period = Parameters::DEVELOPMENT.scrub_period;
        for (slot, scrubbed_until, counts) in
            [(2 * period, 0, true), (2 * period + 1, 0, false), (2 * period + 2, 2, true), (2 * period + 3, 99, true)]
        {
            if slot == 2 * period {
                go_to(599);
                assert_ok!(enclave.renew(0));
                go_to(1_100);
                assert_ok!(enclave.renew(0));
            }
            go_to_slot(slot);
            let said = Report { scrubbed_until, ..report(0, 1_000) };
            assert_ok!(apply(enclave.report(0, said)).unwrap());
            assert_eq!(node(0).power, if counts { 1_500 } else { 0 });
            assert_eq!(Mpow::slot_power(slot), node(0).power.into());
            assert_eq!(Heard::get().last(), Some(&(0, slot, if counts { 255 } else { 0 })));
            assert_eq!(node(0).last_report.unwrap().good_files, 255, "what it said is on record");
        }
    });
}
