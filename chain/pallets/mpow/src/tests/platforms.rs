//! What one machine can count for.

use crust_protocol::{Hash, parameters::Parameters};
use frame_support::{assert_err, assert_ok};

use crate::{Error, Platform, Platforms, SlotSums, Sums, fixtures, mock::*};

const PERIOD: u32 = Parameters::DEVELOPMENT.attestation_period;

fn platform(of: u32) -> Platform {
    Platforms::<Test>::get(node(of).platform).unwrap()
}

/// A chain with nodes 0 and 1 of one provider on one machine, whose cap is 1,000 bytes.
fn with_cap(test: impl FnOnce(Enclave, Enclave)) {
    let parameters = Parameters { platform_cap: 1_000, ..Chain::default().parameters };
    Chain { parameters, ..Chain::default() }.run(|| {
        go_to(2);
        let one = Enclave::new(1);
        let two = one.sibling(3);
        assert_ok!(one.register());
        assert_ok!(two.register());
        test(one, two);
    });
}

/// The coin: a machine's slot, every slot, for each provider to whom the same machine is lent (0.4 tokens).
#[test]
fn a_platform_serves_one_provider_while_a_registration_on_it_lives() {
    Chain::default().run(|| {
        go_to(2);
        let one = Enclave::new(1);
        let other = Enclave { provider: account(7), ..Enclave::new(7) };
        assert_ok!(one.register());
        assert_err!(other.register(), Error::<Test>::PlatformServesAnother);
        assert_err!(other.stand_by(), Error::<Test>::PlatformServesAnother);
        assert_ok!(one.sibling(3).register());
        // It is the longest registration that counts, a standby's too.
        go_to(100);
        assert_ok!(one.sibling(4).stand_by());
        go_to(100 + PERIOD);
        assert_err!(other.register(), Error::<Test>::PlatformServesAnother);
        go_to(101 + PERIOD);
        assert_ok!(other.register());
        assert_eq!(platform(2).provider, account(7));
        // Now it is theirs: whoever was here before does not come back.
        assert_err!(one.renew(0), Error::<Test>::PlatformServesAnother);
        assert_err!(one.sibling(4).stand_by(), Error::<Test>::PlatformServesAnother);
        // The machine is as old as it was.
        assert_eq!(platform(2).first_seen, 2);
    });
}

/// The coin: the power and pay of a machine for each enclave that a stolen key says is there.
#[test]
fn filler_and_billed_bytes_of_all_nodes_count_up_to_the_cap() {
    with_cap(|one, two| {
        Table::hold(0, order(1), 300);
        assert_eq!((platform(0).billed, Mpow::platform_room(0), Mpow::platform_room(1)), (300, 700, 700));
        go_to_slot(1);
        assert_ok!(apply(one.report(0, report(0, 500))).unwrap());
        assert_ok!(apply(two.report(1, report(1, 500))).unwrap());
        assert_eq!((node(0).idle, node(0).power), (500, 800));
        assert_eq!((node(1).idle, node(1).power), (200, 200));
        assert_eq!(SlotSums::<Test>::get(1), Sums { power: 1_000, idle: 700 });
        // In the next slot the other is first; each slot is counted afresh.
        go_to_slot(2);
        assert_ok!(apply(two.report(1, report(1, 600))).unwrap());
        assert_ok!(apply(one.report(0, report(0, 500))).unwrap());
        assert_eq!((node(1).idle, node(0).idle), (600, 100));
        // Who has fallen silent takes no room.
        go_to_slot(3);
        assert_ok!(apply(one.report(0, report(0, u64::MAX))).unwrap());
        assert_eq!(node(0).idle, 700);
        // Filler gives way to files; files leave room again.
        assert_eq!(Mpow::platform_room(1), 700);
        Table::hold(1, order(2), 700);
        assert_eq!(Mpow::platform_room(0), 0);
        go_to_slot(4);
        assert_ok!(apply(one.report(0, report(0, 500))).unwrap());
        assert_ok!(apply(two.report(1, report(1, 500))).unwrap());
        assert_eq!(SlotSums::<Test>::get(4), Sums { power: 1_000, idle: 0 });
        assert_ok!(apply(two.gone(1, gone(1, &[order(2)]))).unwrap());
        assert_eq!(Mpow::platform_room(0), 700);
    });
}

/// The coin: idle power without a stake, 0.5 tokens a TiB that need not lie still.
#[test]
fn idle_space_counts_as_far_as_collateral_covers_it() {
    with_cap(|one, two| {
        Covered::set(300);
        go_to_slot(1);
        assert_ok!(apply(one.report(0, report(0, 900))).unwrap());
        assert_eq!((node(0).idle, node(0).power), (300, 300));
        // What does not count takes no room from the other.
        Covered::set(u64::MAX);
        assert_ok!(apply(two.report(1, report(1, 900))).unwrap());
        assert_eq!(node(1).idle, 700);
    });
}

/// The coin: the full power of a machine, 500 TiB, for the first 30 days of every board that is reset.
#[test]
fn all_power_ramps_up_with_the_platforms_age() {
    let parameters = Parameters { audit_rate: 0, ..Parameters::DEVELOPMENT };
    assert_eq!(parameters.ramp, 200);
    Chain { parameters, ..Chain::default() }.run(|| {
        go_to(2);
        let enclave = Enclave::new(1);
        assert_ok!(enclave.register());
        Table::hold(0, order(1), 1_000);
        for (slot, age) in [(1, 9u64), (2, 19), (10, 99), (19, 189), (20, 199), (21, 200), (40, 200)] {
            go_to_slot(slot);
            assert_ok!(apply(enclave.report(0, report(0, 2_000))).unwrap());
            assert_eq!(node(0).idle, 2_000 * age / 200);
            assert_eq!(node(0).power, 3_000 * age / 200);
        }
        // A node that comes later to the same machine finds it as old as it is; on a new one it begins.
        assert_ok!(enclave.sibling(3).register());
        assert_ok!(Enclave::new(2).register());
        go_to_slot(41);
        assert_ok!(apply(enclave.sibling(3).report(1, report(1, 2_000))).unwrap());
        assert_ok!(apply(Enclave::new(2).report(2, report(2, 2_000))).unwrap());
        assert_eq!((node(1).idle, node(2).idle), (2_000, 2_000 * 10 / 200));
    });
}

#[test]
fn a_node_moves_to_another_platform_with_its_replicas() {
    with_cap(|one, _| {
        let old = node(0).platform;
        Table::hold(0, order(1), 300);
        let moved = Enclave { platform: fixtures::Platform::two(), ..one };
        assert_ok!(moved.renew(0));
        assert_ne!(node(0).platform, old);
        assert_eq!((platform(0).billed, platform(1).billed), (300, 0));
        // Back, it finds that there is no room any more.
        Table::hold(1, order(2), 701);
        let back = Enclave::new(1);
        assert_err!(back.renew(0), Error::<Test>::PlatformFull);
        assert_eq!((platform(0).billed, platform(1).billed), (300, 701));
    });
}

#[test]
fn lesson_15_a_platforms_bytes_have_one_source_and_drift_is_found() {
    with_cap(|_, _| {
        Table::hold(0, order(1), 300);
        let hash: Hash = node(0).platform;
        let right = platform(0);
        for wrong in [
            Platform { billed: 299, ..right.clone() },
            Platform { filler: (0, 1_001), ..right.clone() },
            Platform { first_seen: 3, ..right.clone() },
        ] {
            Platforms::<Test>::insert(hash, wrong);
            assert!(Mpow::do_try_state().is_err());
        }
        Platforms::<Test>::remove(hash);
        assert!(Mpow::do_try_state().is_err());
        Platforms::<Test>::insert(hash, right);
    });
}
