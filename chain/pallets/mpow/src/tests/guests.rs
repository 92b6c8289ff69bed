//! TDX guests: the same rules, another form of evidence.

use crust_evidence::Tee;
use frame_support::{assert_err, assert_ok, dispatch::DispatchResult};

use crate::{
    Error, PlatformPolicy, Policy, TcbInfos,
    fixtures::{self, GUEST_ATTRIBUTES, MR_TD, Platform, RTMR_0},
    mock::*,
};
use crust_protocol::{
    attestation::{Measurement, tdx_image},
    parameters::Parameters,
};

/// The guest of [`Platform::guest_quote_with`].
fn guest() -> Measurement {
    let zero = [0; 48];
    let image = tdx_image([&[7; 48], &zero, &zero, &zero, &zero, &zero, &zero]);
    Measurement::Tdx { image, machine: vec![[9; 48], [8; 48]].try_into().unwrap() }
}

/// A chain that approves the guest and has collateral for guests.
fn chain(test: impl FnOnce()) {
    Chain { measurements: vec![guest()], ..Chain::without_collateral() }.run(|| {
        assert_ok!(submit(fixtures::collateral_of_guests(), &Platform::two().guest_quote_with([0; 64], |_| ())));
        go_to(2);
        test();
    });
}

fn register_changed(change: impl FnOnce(&mut [u8])) -> DispatchResult {
    let enclave = Enclave::new(1);
    enclave.register_with(1, enclave.platform.guest_quote_with(enclave.identity(1).report_data(), change))
}

#[test]
fn a_genuine_guest_becomes_a_node() {
    chain(|| {
        assert!(TcbInfos::<Test>::contains_key((Tee::Tdx, *b"crust1")));
        assert_ok!(register_changed(|_| ()));
        assert_eq!(node(0).provider, account(1));
    });
}

/// A guest seals nothing on its machine: what it knows would die with it.
#[test]
fn a_guest_takes_orders_once_it_has_an_heir() {
    chain(|| {
        let enclave = Enclave::new(1);
        let standby = enclave.sibling(3);
        let quote = |enclave: &Enclave| enclave.platform.guest_quote_with(enclave.identity(1).report_data(), |_| ());
        assert_ok!(enclave.register_with(1, quote(&enclave)));
        assert!(Mpow::registered(&node(0)) && !Mpow::may_take(0));
        assert_ok!(standby.stand_by_with(1, quote(&standby)));
        assert_ok!(apply(enclave.heir(0, heir(0, &standby))).unwrap());
        assert!(Mpow::may_take(0));
        // The heir needs one of its own.
        assert_ok!(Mpow::succeed(RuntimeOrigin::signed(account(1)), 0));
        assert!(Mpow::registered(&node(0)) && !Mpow::may_take(0));
    });
}

#[test]
fn a_guests_program_is_governed_like_an_enclaves() {
    chain(|| {
        let root = RuntimeOrigin::root;
        assert_ok!(Mpow::approve_measurement(root(), guest(), 1, None));
        assert_err!(register_changed(|_| ()), Error::<Test>::IsvSvnTooLow);
        assert_ok!(Mpow::approve_measurement(root(), guest(), 0, Some(2)));
        assert_err!(register_changed(|_| ()), Error::<Test>::MeasurementExpired);
        assert_ok!(Mpow::approve_measurement(root(), guest(), 0, None));
        assert_ok!(register_changed(|_| ()));
        assert_ok!(Mpow::revoke_measurement(root(), 0));
        assert_eq!(Mpow::leaves(&node(0)), Some(2 + Parameters::DEVELOPMENT.revocation_delay));
        let other = Enclave::new(1).sibling(4);
        let quote = other.platform.guest_quote_with(other.identity(1).report_data(), |_| ());
        assert_err!(other.register_with(1, quote), Error::<Test>::MeasurementRevoked);
    });
}

/// What the vendor publishes later of the firmware under them, or of a platform, is against guests as it is against
/// enclaves: nothing new comes in, and whoever is there leaves after the delay. The coin: a firmware whose keys anybody
/// reads, paid as long as it likes.
#[test]
fn what_the_vendor_publishes_is_against_guests_too() {
    for (collateral, refusal) in [
        (fixtures::collateral_of_guests_with_old_firmware(), Error::<Test>::TcbStatusNotAccepted),
        (fixtures::collateral_of_guests_with_advisory(), Error::<Test>::AdvisoryRejected),
    ] {
        chain(|| {
            let rejected_advisories = vec![b"INTEL-SA-00615".to_vec().try_into().unwrap()].try_into().unwrap();
            let policy = PlatformPolicy { rejected_advisories, ..Policy::<Test>::get() };
            assert_ok!(Mpow::set_policy(RuntimeOrigin::root(), policy));
            assert_ok!(register_changed(|_| ()));
            assert_ok!(submit(collateral, &Platform::two().guest_quote_with([0; 64], |_| ())));
            let other = Enclave::new(1).sibling(4);
            let quote =
                |enclave: &Enclave| enclave.platform.guest_quote_with(enclave.identity(1).report_data(), |_| ());
            assert_err!(other.register_with(1, quote(&other)), refusal);
            // Who is there may say so in a renewal, and is out after the delay.
            let enclave = Enclave::new(1);
            assert_ok!(Mpow::renew(RuntimeOrigin::signed(account(1)), 0, 1, evidence(quote(&enclave))));
            assert_eq!(Mpow::leaves(&node(0)), Some(2 + Parameters::DEVELOPMENT.revocation_delay));
        });
    }
}

#[test]
fn a_guest_on_a_revoked_platform_is_refused() {
    chain(|| {
        assert_ok!(submit(fixtures::collateral_that_revokes(), &Platform::two().quote([0; 64])));
        assert_err!(register_changed(|_| ()), Error::<Test>::UntrustedQuote);
    });
}

#[test]
fn a_guest_is_refused_for_what_an_enclave_is_refused_for() {
    chain(|| {
        // Debug, and each of the profiling bits.
        for bit in [0, 4, 5, 6] {
            let refused = register_changed(|signed| signed[GUEST_ATTRIBUTES][0] |= 1 << bit);
            assert_err!(refused, Error::<Test>::DebugEnclave);
        }
        // Each register of the image, and a machine of a shape that was not approved.
        for register in [MR_TD, 232..280, 280..328, 328..376, RTMR_0, 424..472, 472..520, 520..568] {
            let refused = register_changed(|signed| signed[register][47] ^= 1);
            assert_err!(refused, Error::<Test>::MeasurementNotApproved);
        }
        let enclave = Enclave::new(1);
        let quote = enclave.platform.guest_quote_with(enclave.identity(2).report_data(), |_| ());
        assert_err!(enclave.register_with(1, quote), Error::<Test>::WrongIdentity);
        // Its host could let pages vanish under it.
        let refused = register_changed(|signed| signed[GUEST_ATTRIBUTES][3] = 0);
        assert_err!(refused, Error::<Test>::UntrustedQuote);
        // Its host could have it migrated, by a service guest that learns all that it knows.
        let refused = register_changed(|signed| signed[GUEST_ATTRIBUTES][3] |= 0x20);
        assert_err!(refused, Error::<Test>::UntrustedQuote);
        // An SGX quote has no collateral here, nor is one a guest's under another name.
        assert_err!(enclave.register(), Error::<Test>::NoCollateral);
        let relabelled = register_changed(|signed| signed[0] = 3);
        assert_err!(relabelled, Error::<Test>::UnknownQuoteVersion);
    });
}
