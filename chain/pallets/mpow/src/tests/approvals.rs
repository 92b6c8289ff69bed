//! Programs and policy, governed by Root, and what becomes of nodes that fall out of either.

use crust_evidence::TcbStatus;
use crust_protocol::{attestation::Measurement, development::MEASUREMENT, parameters::Parameters};
use frame_support::{assert_err, assert_ok, dispatch::DispatchResult};

use crate::{
    Error, Event, MAX_MEASUREMENTS, Measurements, PlatformPolicy, Policy,
    fixtures::{self, DAY, ISV_SVN, NOW, Platform},
    mock::*,
    statements::Refusal,
};

const DELAY: u32 = Parameters::DEVELOPMENT.revocation_delay;
const PERIOD: u32 = Parameters::DEVELOPMENT.attestation_period;

fn chain(test: impl FnOnce()) {
    Chain::default().run(|| {
        go_to(2);
        test();
    });
}

fn set_policy(change: impl FnOnce(&mut PlatformPolicy)) {
    let mut policy = Policy::<Test>::get();
    change(&mut policy);
    assert_ok!(Mpow::set_policy(RuntimeOrigin::root(), policy));
}

fn approve(measurement: Measurement, min_svn: u16, expires: Option<u32>) -> DispatchResult {
    Mpow::approve_measurement(RuntimeOrigin::root(), measurement, min_svn, expires)
}

fn revoke(index: u32) -> DispatchResult {
    Mpow::revoke_measurement(RuntimeOrigin::root(), index)
}

/// Another program than the development enclave.
fn program(name: u8) -> Measurement {
    let Measurement::Sgx { attributes, attributes_mask, misc_select, misc_mask, .. } = MEASUREMENT else {
        panic!("the development enclave is an SGX enclave in form");
    };
    Measurement::Sgx { mr_enclave: [name; 32], isv_prod_id: 1, attributes, attributes_mask, misc_select, misc_mask }
}

/// The quote of an enclave at a security version.
fn of_version(enclave: &Enclave, svn: u16) -> (u32, Vec<u8>) {
    let block = System::block_number() - 1;
    let change = |signed: &mut [u8]| signed[ISV_SVN..ISV_SVN + 2].copy_from_slice(&svn.to_le_bytes());
    (block, enclave.platform.quote_with(enclave.identity(block).report_data(), change))
}

#[test]
fn a_security_version_under_the_minimum_is_refused() {
    chain(|| {
        assert_ok!(approve(MEASUREMENT, 3, None));
        let enclave = Enclave::new(1);
        let (block, old) = of_version(&enclave, 2);
        assert_err!(enclave.register_with(block, old), Error::<Test>::IsvSvnTooLow);
        let (block, new) = of_version(&enclave, 3);
        assert_ok!(enclave.register_with(block, new));
    });
}

#[test]
fn an_advisory_that_the_policy_rejects_is_refused() {
    chain(|| {
        assert_ok!(submit(fixtures::collateral_with_advisory(), &Platform::two().quote([0; 64])));
        let [one, two] = [Enclave::new(1), Enclave::new(2)];
        assert_ok!(one.register());
        let reject = |name: &[u8]| vec![name.to_vec().try_into().unwrap()].try_into().unwrap();
        set_policy(|policy| policy.rejected_advisories = reject(b"INTEL-SA-00001"));
        assert_ok!(one.sibling(3).register());
        set_policy(|policy| policy.rejected_advisories = reject(b"intel-sa-00615"));
        assert_err!(two.register(), Error::<Test>::AdvisoryRejected);
        assert_err!(two.stand_by(), Error::<Test>::AdvisoryRejected);
    });
}

#[test]
fn statuses_and_the_evaluation_number_are_the_policys() {
    chain(|| {
        let enclave = Enclave::new(1);
        set_policy(|policy| policy.statuses = vec![TcbStatus::OutOfDate].try_into().unwrap());
        assert_err!(enclave.register(), Error::<Test>::TcbStatusNotAccepted);
        set_policy(|policy| *policy = PlatformPolicy { evaluation: 17, ..PlatformPolicy::default() });
        assert_ok!(enclave.register());
        let early = || submit(fixtures::collateral_of_early_evaluation(), &Platform::two().quote([0; 64]));
        assert_err!(early(), Error::<Test>::EvaluationTooNew);
        set_policy(|policy| policy.evaluation = 18);
        assert_ok!(early());
        assert!(events().contains(&Event::PolicySet));
    });
}

#[test]
fn an_expired_and_a_revoked_program_register_nothing() {
    chain(|| {
        assert_ok!(approve(MEASUREMENT, 0, Some(10)));
        go_to(9);
        assert_ok!(Enclave::new(1).register());
        go_to(10);
        assert_err!(Enclave::new(2).register(), Error::<Test>::MeasurementExpired);
        assert_err!(Enclave::new(2).stand_by(), Error::<Test>::MeasurementExpired);
        // Approved anew, on other terms: it is the same program with the same index.
        assert_ok!(approve(MEASUREMENT, 0, None));
        assert_eq!(Measurements::<Test>::count(), 1);
        assert_ok!(Enclave::new(2).register());
        assert_ok!(revoke(0));
        assert_err!(revoke(0), Error::<Test>::MeasurementRevoked);
        assert_err!(revoke(9), Error::<Test>::UnknownMeasurement);
        assert_err!(Enclave::new(2).sibling(4).register(), Error::<Test>::MeasurementRevoked);
    });
}

#[test]
fn a_program_is_approved_once_under_one_index_and_the_list_is_bounded() {
    chain(|| {
        for name in 1..MAX_MEASUREMENTS {
            assert_ok!(approve(program(name as u8), 0, None));
        }
        assert_ok!(approve(program(5), 7, Some(4_000)));
        assert_eq!(Measurements::<Test>::count(), MAX_MEASUREMENTS);
        assert_eq!(Measurements::<Test>::get(5).unwrap().min_svn, 7);
        assert_err!(approve(program(99), 0, None), Error::<Test>::TooManyMeasurements);
        // One that is revoked keeps its place as long as nodes may be under it.
        let enclave = Enclave::new(1);
        assert_ok!(enclave.register());
        assert_ok!(revoke(0));
        go_to(1 + DELAY);
        assert!(Mpow::registered(&node(0)));
        assert_err!(approve(program(99), 0, None), Error::<Test>::TooManyMeasurements);
        go_to(2 + DELAY);
        assert!(Mpow::is_out(0) && !Mpow::is_out(1), "there is no node 1");
        assert_ok!(approve(program(99), 0, None));
        assert_eq!(Measurements::<Test>::get(0), None);
        assert!(Measurements::<Test>::contains_key(MAX_MEASUREMENTS));
        // Its nodes are as they were: out.
        assert!(!Mpow::registered(&node(0)));
        assert_eq!(Mpow::leaves(&node(0)), Some(DELAY));
    });
}

#[test]
fn a_production_chain_never_approves_the_development_enclave() {
    let chain = Chain {
        trusted_root: crust_evidence::INTEL_ROOT_CA.to_vec(),
        measurements: Vec::new(),
        development: false,
        ..Chain::without_collateral()
    };
    chain.run(|| {
        assert_err!(approve(MEASUREMENT, 0, None), Error::<Test>::DevelopmentMeasurement);
        assert_ok!(approve(program(1), 0, None));
    });
}

#[test]
fn under_a_revoked_program_a_node_goes_on_for_the_delay_and_gets_nothing_new() {
    chain(|| {
        let enclave = Enclave::new(1);
        assert_ok!(enclave.register());
        Table::hold(0, order(1), 500);
        assert_ok!(approve(MEASUREMENT, 0, Some(5)));
        assert!(Mpow::may_take(0));
        go_to(5);
        assert!(!Mpow::may_take(0));
        assert_eq!(Mpow::leaves(&node(0)), Some(5 + DELAY));
        // It renews, and that is on record.
        events();
        assert_ok!(enclave.renew(0));
        assert!(events().contains(&Event::Leaving { node: 0, out: 5 + DELAY }));
        assert!(!Mpow::may_take(0));
        // It reports and earns to the last block.
        for slot in [1, (4 + DELAY) / 10] {
            go_to_slot(slot);
            assert_ok!(apply(enclave.report(0, report(0, 100))).unwrap());
            assert_eq!(node(0).power, 600);
            assert_eq!(Heard::get().last(), Some(&(0, slot, 255)));
        }
        go_to(4 + DELAY);
        assert!(Mpow::registered(&node(0)));
        // Then it is out, though its registration would last, and renewing is an error.
        go_to(5 + DELAY);
        assert!(!Mpow::registered(&node(0)));
        assert!(node(0).registered_until > System::block_number());
        assert_err!(enclave.renew(0), Error::<Test>::MeasurementExpired);
        go_to_slot((5 + DELAY) / 10 + 1);
        let refused = apply(enclave.report(0, report(0, 100))).unwrap_err();
        assert_eq!(refused, Refusal::NotRegistered.into());
        // What it holds it may still give up.
        assert_ok!(apply(enclave.gone(0, gone(0, &[order(1)]))).unwrap());
    });
}

#[test]
fn a_platform_that_falls_out_of_policy_is_recorded_at_the_renewal() {
    chain(|| {
        let [one, two] = [Enclave::new(1), Enclave::new(2)];
        assert_ok!(one.register());
        assert_ok!(two.register());
        assert_ok!(submit(fixtures::collateral_with_old_firmware(), &two.quote(1)));
        // Nobody can know before its evidence says so.
        assert!(Mpow::may_take(0));
        go_to(50);
        events();
        assert_ok!(one.renew(0));
        assert_eq!((node(0).out_since, Mpow::leaves(&node(0))), (Some(50), Some(50 + DELAY)));
        assert!(events().contains(&Event::Leaving { node: 0, out: 50 + DELAY }));
        assert!(!Mpow::may_take(0) && Mpow::registered(&node(0)));
        assert!(Mpow::may_take(1));
        // Renewing again does not begin the delay again.
        go_to(200);
        assert_ok!(one.renew(0));
        assert_eq!(Mpow::leaves(&node(0)), Some(50 + DELAY));
        // Back in policy, all is well again.
        go_to(300);
        set_policy(|policy| policy.statuses = vec![TcbStatus::OutOfDate].try_into().unwrap());
        assert_ok!(one.renew(0));
        assert_eq!(Mpow::leaves(&node(0)), None);
        assert!(Mpow::may_take(0));
        // And out, for good.
        set_policy(|policy| *policy = PlatformPolicy::default());
        assert_ok!(one.renew(0));
        go_to(299 + DELAY);
        assert!(Mpow::registered(&node(0)));
        go_to(300 + DELAY);
        assert!(!Mpow::registered(&node(0)));
        assert_err!(one.renew(0), Error::<Test>::TcbStatusNotAccepted);
    });
}

#[test]
fn a_security_version_that_has_become_too_low_is_recorded_too() {
    chain(|| {
        let enclave = Enclave::new(1);
        assert_ok!(enclave.register());
        assert_ok!(approve(MEASUREMENT, 2, None));
        assert!(Mpow::may_take(0));
        assert_ok!(enclave.renew(0));
        assert!(!Mpow::may_take(0));
        // An upgrade in place: a newer version of the same program.
        let (block, quote) = of_version(&enclave, 2);
        assert_ok!(Mpow::renew(RuntimeOrigin::signed(account(1)), 0, block, evidence(quote)));
        assert!(Mpow::may_take(0));
    });
}

#[test]
fn of_two_approvals_that_fit_the_better_counts() {
    chain(|| {
        let Measurement::Sgx { mr_enclave, isv_prod_id, attributes, misc_select, misc_mask, .. } = MEASUREMENT else {
            panic!("the development enclave is an SGX enclave in form");
        };
        let attributes_mask = [0; 16];
        let wider = Measurement::Sgx { mr_enclave, isv_prod_id, attributes, attributes_mask, misc_select, misc_mask };
        assert_ok!(approve(wider, 0, None));
        assert_ok!(Enclave::new(1).register());
        assert_eq!(node(0).measurement, 0);
        assert_ok!(revoke(0));
        assert_ok!(Enclave::new(1).sibling(3).register());
        assert_eq!(node(1).measurement, 1);
        assert_ok!(Enclave::new(1).renew(0));
        assert_eq!((node(0).measurement, Mpow::may_take(0)), (1, true));
    });
}

/// Nodes cannot renew while their vendor's collateral is out of date, and nobody pays for that.
#[test]
fn misfortune_no_registration_lapses_while_the_vendors_collateral_is_out_of_date() {
    chain(|| {
        let enclave = Enclave::new(1);
        assert_ok!(enclave.register());
        go_to(2 + PERIOD);
        let late = NOW + 40 * DAY;
        let at = |seconds| {
            go_to(System::block_number() + 1);
            set_time(seconds);
        };
        at(late);
        assert_err!(enclave.renew(0), Error::<Test>::CollateralOutOfDate);
        assert!(Mpow::registered(&node(0)) && Mpow::may_take(0));
        go_to_slot(PERIOD / 10 + 1);
        set_time(late);
        assert_ok!(apply(enclave.report(0, report(0, 100))).unwrap());
        // With the collateral in date it has lapsed, until it renews.
        at(NOW);
        assert!(!Mpow::registered(&node(0)));
        assert_ok!(enclave.renew(0));
        assert!(Mpow::may_take(0));
        // A program that is withdrawn is out all the same.
        assert_ok!(revoke(0));
        go_to(System::block_number() + DELAY);
        set_time(late);
        assert!(!Mpow::registered(&node(0)));
    });
}

/// A vendor that never publishes again keeps nobody registered for ever: a node that could not renew for a whole
/// revocation delay is out like one whose program was withdrawn, and one that can renew before is well.
#[test]
fn a_registration_outlives_its_end_by_one_revocation_delay_at_most() {
    chain(|| {
        let enclave = Enclave::new(1);
        assert_ok!(enclave.register());
        let end = node(0).registered_until;
        let late = NOW + 40 * DAY;
        let at = |block, seconds| {
            go_to(block);
            set_time(seconds);
        };
        at(end, late);
        assert_eq!(Mpow::leaves(&node(0)), None);
        at(end + 1, late);
        assert_eq!((Mpow::leaves(&node(0)), Mpow::registered(&node(0))), (Some(end + DELAY), true));
        at(end + DELAY - 1, late);
        assert!(Mpow::registered(&node(0)) && Mpow::may_take(0) && !Mpow::is_out(0));
        at(end + DELAY, late);
        assert!(!Mpow::registered(&node(0)) && !Mpow::may_take(0) && Mpow::is_out(0));
        assert_eq!(Mpow::leaves(&node(0)), Some(end + DELAY));
        // With newer collateral on the chain it is only lapsed, and renews.
        at(end + DELAY + 1, NOW);
        assert_eq!((Mpow::leaves(&node(0)), Mpow::registered(&node(0)), Mpow::is_out(0)), (None, false, false));
        assert_ok!(enclave.renew(0));
        assert!(Mpow::registered(&node(0)) && Mpow::may_take(0));
    });
}
