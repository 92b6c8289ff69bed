//! Registration and renewal: what evidence is accepted, and each refusal with its own error. The coin of every one of
//! them: a machine's slot, 0.4 tokens, in every slot, for reports that no genuine machine in policy stands behind.

use frame_support::{assert_err, assert_ok, traits::Get};

use crate::{
    Addresses, Endpoints, Error, Event, Measurements, NextNode, NodeOf, Nodes, PeerId, PlatformPolicy,
    fixtures::{self, ATTRIBUTES, DAY, ISV_PROD_ID, MR_ENCLAVE, NOW, Platform},
    mock::*,
};
use crust_evidence::{INTEL_ROOT_CA, TcbStatus};
use crust_protocol::{attestation::Identity, parameters::Parameters, statement::first_root};

/// A chain with one block that evidence can name.
fn chain(test: impl FnOnce()) {
    Chain::default().run(|| {
        go_to(2);
        test();
    });
}

/// Registers a quote of the first platform with this change to what it says.
fn register_changed(change: impl FnOnce(&mut [u8])) -> frame_support::dispatch::DispatchResult {
    let enclave = Enclave::new(1);
    let quote = enclave.platform.quote_with(enclave.identity(1).report_data(), change);
    enclave.register_with(1, quote)
}

#[test]
fn a_genuine_enclave_becomes_a_node() {
    chain(|| {
        let enclave = Enclave::new(1);
        assert_ok!(enclave.register());
        let record = node(0);
        assert_eq!(record.provider, account(1));
        assert_eq!((record.sign_pk, record.channel_pk), (enclave.sign_pk(), [1; 32]));
        assert_eq!(record.root, first_root(&enclave.sign_pk()));
        assert_eq!(record.registered_until, 2 + Parameters::DEVELOPMENT.attestation_period);
        assert_eq!((record.measurement, record.power, record.last_report), (0, 0, None));
        assert_eq!(NodeOf::<Test>::get(enclave.sign_pk()), Some(0));
        assert!(Mpow::may_take(0));
        assert_eq!(Endpoints::<Test>::get(0), Some(endpoint()));
        let registered = |event: &Event<Test>| matches!(event, Event::Registered { node: 0, until: 602, .. });
        assert!(events().iter().any(registered));

        // A second one on the same platform gets the next number, and so on.
        assert_ok!(enclave.sibling(4).register());
        assert_eq!(NextNode::<Test>::get(), 2);
        assert_eq!(node(1).platform, record.platform);
        assert_ok!(Enclave::new(2).register());
        assert_ne!(node(2).platform, record.platform);
    });
}

#[test]
fn a_renewal_prolongs_a_registration_that_has_lapsed_too() {
    chain(|| {
        let enclave = Enclave::new(1);
        assert_ok!(enclave.register());
        go_to(100);
        assert_ok!(enclave.renew(0));
        assert_eq!(node(0).registered_until, 700);
        go_to(700);
        assert!(Mpow::may_take(0));
        go_to(701);
        assert!(!Mpow::may_take(0));
        assert_ok!(enclave.renew(0));
        assert!(Mpow::may_take(0));

        assert_err!(enclave.renew(1), Error::<Test>::UnknownNode);
        let stranger = Enclave { provider: account(2), ..Enclave::new(1) };
        assert_err!(stranger.renew(0), Error::<Test>::NotProvider);
        // Another enclave of the provider does not speak for this node.
        assert_err!(enclave.sibling(3).renew(0), Error::<Test>::WrongIdentity);
    });
}

#[test]
fn an_announcement_moves_a_node() {
    chain(|| {
        let enclave = Enclave::new(1);
        assert_ok!(enclave.register());
        let announce = |by, node, peer: &[u8], addresses: &[&[u8]]| {
            let addresses: Vec<_> = addresses.iter().map(|address| address.to_vec().try_into().unwrap()).collect();
            let (peer, addresses): (PeerId, Addresses) =
                (peer.to_vec().try_into().unwrap(), addresses.try_into().unwrap());
            Mpow::announce(RuntimeOrigin::signed(account(by)), node, peer, addresses)
        };
        assert_ok!(announce(1, 0, b"12D3KooW", &[b"/dns4/node.example/tcp/1", b"/ip6/::1/udp/2/quic-v1"]));
        let moved = Endpoints::<Test>::get(0).unwrap();
        assert_eq!(moved.peer_id.to_vec(), b"12D3KooW");
        assert_eq!(moved.addresses.len(), 2);
        assert_ok!(announce(1, 0, b"12D3KooW", &[]));
        assert_err!(announce(2, 0, b"12D3KooW", &[]), Error::<Test>::NotProvider);
        assert_err!(announce(1, 7, b"12D3KooW", &[]), Error::<Test>::UnknownNode);
        assert_err!(announce(1, 0, b"", &[]), Error::<Test>::MalformedPeerId);
        assert_err!(announce(1, 0, b"12D3 KooW", &[]), Error::<Test>::MalformedPeerId);
        assert_err!(announce(1, 0, b"12D3KooW", &[b"node.example:1"]), Error::<Test>::MalformedAddress);
        assert_err!(announce(1, 0, b"12D3KooW", &[b"/dns4/\0"]), Error::<Test>::MalformedAddress);
    });
}

#[test]
fn an_enclave_in_debug_mode_is_refused() {
    chain(|| {
        assert_err!(register_changed(|signed| signed[ATTRIBUTES][0] |= 2), Error::<Test>::DebugEnclave);
    });
}

#[test]
fn a_program_that_is_not_approved_is_refused() {
    chain(|| {
        let refused = Error::<Test>::MeasurementNotApproved;
        assert_err!(register_changed(|signed| signed[MR_ENCLAVE][0] ^= 1), refused);
        assert_err!(register_changed(|signed| signed[ISV_PROD_ID] ^= 1), Error::<Test>::MeasurementNotApproved);
        // Another mode of the approved program: a launch key, say.
        assert_err!(register_changed(|signed| signed[ATTRIBUTES][0] |= 0x20), Error::<Test>::MeasurementNotApproved);
        Measurements::<Test>::remove(0);
        assert_err!(Enclave::new(1).register(), Error::<Test>::MeasurementNotApproved);
    });
}

#[test]
fn firmware_that_the_policy_does_not_accept_is_refused() {
    chain(|| {
        assert_ok!(submit(fixtures::collateral_with_old_firmware(), &Platform::two().quote([0; 64])));
        assert_err!(Enclave::new(1).register(), Error::<Test>::TcbStatusNotAccepted);
    });
    let statuses = vec![TcbStatus::UpToDate, TcbStatus::OutOfDate].try_into().unwrap();
    let policy = PlatformPolicy { statuses, ..PlatformPolicy::default() };
    Chain { policy, collateral: vec![fixtures::collateral_with_old_firmware()], ..Chain::default() }.run(|| {
        go_to(2);
        assert_ok!(Enclave::new(1).register());
    });
}

#[test]
fn a_mode_of_the_platform_that_the_policy_does_not_allow_is_refused() {
    let modes: [(fn() -> Platform, fn(&mut PlatformPolicy)); 3] = [
        (Platform::dynamic, |policy| policy.allow_dynamic_platform = false),
        (Platform::with_cached_keys, |policy| policy.allow_cached_keys = false),
        (Platform::with_smt, |policy| policy.allow_smt = false),
    ];
    for (forbidden, (_, forbid)) in modes.iter().enumerate() {
        let mut policy = PlatformPolicy::default();
        forbid(&mut policy);
        Chain { policy, ..Chain::default() }.run(|| {
            go_to(2);
            assert_ok!(Enclave::new(1).register());
            for (mode, (platform, _)) in modes.iter().enumerate() {
                let name = u8::try_from(mode).unwrap() + 2;
                let enclave = Enclave { provider: account(9), platform: platform(), ..Enclave::new(name) };
                if mode == forbidden {
                    assert_err!(enclave.register(), Error::<Test>::PlatformNotAccepted);
                } else {
                    assert_ok!(enclave.register());
                }
            }
        });
    }
}

#[test]
fn evidence_without_collateral_in_date_is_refused() {
    chain(|| {
        set_time(NOW + 40 * DAY);
        assert!(!Mpow::collateral_current(&Enclave::new(1).quote(1)));
        assert_err!(Enclave::new(1).register(), Error::<Test>::CollateralOutOfDate);
    });
    Chain::without_collateral().run(|| {
        go_to(2);
        assert_err!(Enclave::new(1).register(), Error::<Test>::NoCollateral);
    });
}

#[test]
fn a_revoked_platform_is_refused_and_its_vendors_older_list_does_not_come_back() {
    chain(|| {
        let [one, two] = [Enclave::new(1), Enclave::new(2)];
        assert_err!(submit(fixtures::collateral_that_revokes(), &one.quote(1)), Error::<Test>::UntrustedQuote);
        assert_ok!(submit(fixtures::collateral_that_revokes(), &two.quote(1)));
        assert_ok!(submit(fixtures::collateral(), &one.quote(1)));
        assert_err!(one.register(), Error::<Test>::UntrustedQuote);
        assert_ok!(two.register());
    });
}

#[test]
fn evidence_for_another_chain_provider_or_key_is_refused() {
    chain(|| {
        let enclave = Enclave::new(1);
        let right = enclave.identity(1);
        for wrong in [
            Identity { genesis: [9; 32], ..right },
            Identity { provider: [9; 32], ..right },
            Identity { sign_pk: [9; 32], ..right },
            Identity { channel_pk: [9; 32], ..right },
            Identity { block_hash: [9; 32], ..right },
        ] {
            let quote = enclave.platform.quote(wrong.report_data());
            assert_err!(enclave.register_with(1, quote), Error::<Test>::WrongIdentity);
        }
        assert_ok!(enclave.register());
    });
}

#[test]
fn stale_evidence_is_refused() {
    chain(|| {
        let enclave = Enclave::new(1);
        let age = Parameters::DEVELOPMENT.evidence_age;
        go_to(1 + age);
        assert_ok!(enclave.register_with(1, enclave.quote(1)));
        let other = Enclave::new(2);
        go_to(2 + age);
        assert_err!(other.register_with(1, other.quote(1)), Error::<Test>::StaleEvidence);
        // A block to come, this one, and one that was never there.
        for block in [2 + age, 3 + age, u32::MAX] {
            assert_err!(other.register_with(block, other.quote(block)), Error::<Test>::StaleEvidence);
        }
    });
}

#[test]
fn a_key_serves_once() {
    chain(|| {
        let enclave = Enclave::new(1);
        assert_ok!(enclave.register());
        assert_err!(enclave.register(), Error::<Test>::KeyUsed);
        let thief = Enclave { provider: account(2), ..Enclave::new(1) };
        assert_err!(thief.register(), Error::<Test>::KeyUsed);
        // A key that no node has any more is used up all the same.
        NodeOf::<Test>::insert(Enclave::new(3).sign_pk(), 0);
        assert_err!(Enclave::new(3).register(), Error::<Test>::KeyUsed);
    });
}

#[test]
fn numbers_end() {
    chain(|| {
        NextNode::<Test>::put(u32::MAX);
        assert_err!(Enclave::new(1).register(), Error::<Test>::NoNumberLeft);
        NextNode::<Test>::kill();
        assert!(!NodeOf::<Test>::contains_key(Enclave::new(1).sign_pk()));
        assert_eq!(Nodes::<Test>::iter().count(), 0);
    });
}

#[test]
fn quotes_of_other_versions_are_unknown() {
    chain(|| {
        let enclave = Enclave::new(1);
        let quote = |version: u8| {
            let mut quote = enclave.quote(1);
            quote[0] = version;
            quote
        };
        for version in [0, 2, 4, 5] {
            assert_err!(enclave.register_with(1, quote(version)), Error::<Test>::UnknownQuoteVersion);
        }
        assert_ok!(enclave.register_with(1, quote(3)));
    });
}

#[test]
fn a_chain_with_intels_root_refuses_software_platforms() {
    let chain = Chain { trusted_root: INTEL_ROOT_CA.to_vec(), ..Chain::without_collateral() };
    chain.run(|| {
        go_to(2);
        let enclave = Enclave::new(1);
        assert_err!(submit(fixtures::collateral(), &enclave.quote(1)), Error::<Test>::UntrustedQuote);
        assert_err!(enclave.register(), Error::<Test>::NoCollateral);
    });
    // Even with the collateral already there.
    Chain::default().run(|| {
        go_to(2);
        crate::TrustedRoot::<Test>::put(frame_support::BoundedVec::truncate_from(INTEL_ROOT_CA.to_vec()));
        assert_err!(Enclave::new(1).register(), Error::<Test>::UntrustedQuote);
    });
}

#[test]
fn lesson_1_empty_evidence_is_no_identity() {
    chain(|| {
        let enclave = Enclave::new(1);
        assert_err!(enclave.register_with(1, Vec::new()), Error::<Test>::MalformedQuote);
        // No chain of certificates; no signatures at all; zeros in place of all signatures.
        let genuine = enclave.quote(1);
        let certificates = genuine.len() - u32::from_le_bytes(genuine[1_048..1_052].try_into().unwrap()) as usize;
        assert_eq!(certificates, 1_052);
        let mut bare = genuine[..certificates].to_vec();
        bare[1_048..1_052].fill(0);
        bare[432..436].copy_from_slice(&(certificates as u32 - 436).to_le_bytes());
        assert_err!(enclave.register_with(1, bare), Error::<Test>::MalformedQuote);
        assert_err!(enclave.register_with(1, genuine[..432].to_vec()), Error::<Test>::MalformedQuote);
        let mut unsigned = genuine.clone();
        unsigned[436..500].fill(0);
        assert_err!(enclave.register_with(1, unsigned), Error::<Test>::UntrustedQuote);
        assert_eq!(NextNode::<Test>::get(), 0);
    });
}

#[test]
fn lesson_2_clock_status_debug_bit_and_freshness_are_checked() {
    chain(|| {
        let enclave = Enclave::new(1);
        // The clock is the chain's: the same evidence is refused when its collateral has run out.
        set_time(NOW + 40 * DAY);
        assert_err!(enclave.register(), Error::<Test>::CollateralOutOfDate);
        set_time(NOW);
        assert_err!(register_changed(|signed| signed[ATTRIBUTES][0] |= 2), Error::<Test>::DebugEnclave);
        let quote = enclave.quote(1);
        assert_ok!(submit(fixtures::collateral_with_old_firmware(), &quote));
        assert_err!(enclave.register_with(1, quote), Error::<Test>::TcbStatusNotAccepted);
        // A registration ends.
        let period = <crate::ParametersOf<Test> as Get<Parameters>>::get().attestation_period;
        assert_eq!(period, Parameters::DEVELOPMENT.attestation_period);
    });
    chain(|| {
        let enclave = Enclave::new(1);
        let quote = enclave.quote(1);
        assert_ok!(enclave.register());
        go_to(2 + Parameters::DEVELOPMENT.evidence_age);
        // Evidence is not kept in stock: the quote of that day does not renew.
        let origin = RuntimeOrigin::signed(account(1));
        assert_err!(Mpow::renew(origin, 0, 1, evidence(quote)), Error::<Test>::StaleEvidence);
        go_to(603);
        assert!(!Mpow::may_take(0));
    });
}

#[test]
fn lesson_3_evidence_cannot_be_front_run() {
    chain(|| {
        let enclave = Enclave::new(1);
        let seen = enclave.quote(1);
        // Whoever copies it out of the pool cannot register with it, under these keys or under others.
        assert_err!(enclave.register_by(&account(66), 1, seen.clone()), Error::<Test>::WrongIdentity);
        let thief = Enclave { provider: account(66), ..Enclave::new(66) };
        assert_err!(thief.register_with(1, seen.clone()), Error::<Test>::WrongIdentity);
        assert_ok!(enclave.register_with(1, seen));
        assert_eq!(node(0).provider, account(1));
    });
}
