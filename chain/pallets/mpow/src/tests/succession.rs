//! Another enclave takes a node over, with its number and its whole record.

use crust_evidence::TcbStatus;
use crust_protocol::{attestation::Measurement, development::MEASUREMENT, parameters::Parameters, statement::Heir};
use frame_support::{
    assert_err, assert_ok,
    dispatch::DispatchResult,
    pallet_prelude::{InvalidTransaction, TransactionValidityError},
};

use crate::{
    Endpoint, Endpoints, Error, Event, Node, NodeOf, Nodes, PlatformPolicy, Platforms, Standbys,
    fixtures::{self, MR_ENCLAVE, Platform},
    mock::*,
    statements::Refusal,
};

const PERIOD: u32 = Parameters::DEVELOPMENT.attestation_period;

/// A chain with node 0 of enclave 1, and another enclave of its provider, on another machine.
fn chain(test: impl FnOnce(Enclave, Enclave)) {
    Chain::default().run(|| {
        go_to(2);
        let one = Enclave::new(1);
        assert_ok!(one.register());
        let standby = Enclave { platform: Platform::two(), ..one.sibling(3) };
        test(one, standby);
    });
}

fn succeed(node: u32) -> DispatchResult {
    Mpow::succeed(RuntimeOrigin::signed(account(1)), node)
}

fn name(by: &Enclave, node: u32, enclave: &Enclave) {
    assert_ok!(apply(by.heir(node, heir(node, enclave))).unwrap());
}

fn refused(call: RuntimeCall) -> TransactionValidityError {
    let pool = validate(call.clone()).unwrap_err();
    assert_eq!(apply(call).unwrap_err(), pool, "pool and block must agree");
    pool
}

#[test]
fn an_heir_takes_the_number_and_the_whole_record_and_no_slot_is_lost() {
    chain(|one, standby| {
        Table::hold(0, order(1), 500);
        go_to_slot(1);
        assert_ok!(apply(one.report(0, report(0, 100))).unwrap());
        assert_ok!(standby.stand_by());
        assert_eq!(crate::NextNode::<Test>::get(), 1, "a standby gets no number");
        assert!(events().iter().any(|event| matches!(event, Event::StoodBy { .. })));
        name(&one, 0, &standby);
        assert_eq!(node(0).heir, Some((1, standby.sign_pk())));
        // The old one speaks on until the provider says so.
        go_to_slot(2);
        assert_ok!(apply(one.report(0, report(0, 100))).unwrap());
        let before = node(0);
        let announced = Endpoint { peer_id: b"12D3KooWnew".to_vec().try_into().unwrap(), addresses: addresses() };
        Standbys::<Test>::mutate(standby.sign_pk(), |standby| {
            standby.as_mut().unwrap().endpoint = announced.clone();
        });
        let kept = Standbys::<Test>::get(standby.sign_pk()).unwrap();
        assert_ok!(succeed(0));
        let successor = Node {
            sign_pk: standby.sign_pk(),
            channel_pk: standby.channel_pk,
            platform: kept.platform,
            registered_until: kept.registered_until,
            heir: None,
            ..before.clone()
        };
        assert_eq!(node(0), successor);
        assert_eq!(Endpoints::<Test>::get(0), Some(announced));
        assert!(events().iter().any(|event| matches!(event, Event::Succeeded { node: 0, .. })));
        assert_eq!(NodeOf::<Test>::get(standby.sign_pk()), Some(0));
        assert_eq!(Standbys::<Test>::iter().count(), 0);
        assert_eq!(Nodes::<Test>::iter().count(), 1);
        // Its replicas have gone with it.
        assert_eq!(Platforms::<Test>::get(before.platform).unwrap().billed, 0);
        assert_eq!(Platforms::<Test>::get(kept.platform).unwrap().billed, 500);
        // The heir speaks on the root where the chain stands, in the next slot.
        assert_eq!(refused(standby.report(0, report(0, 100))), Refusal::ReportedAlready.into());
        go_to_slot(3);
        assert_ok!(apply(standby.report(0, report(0, 100))).unwrap());
        assert_eq!(node(0).power, 600);
    });
}

/// The coin: a second number for what one disk holds, up to a machine's slot more, every slot (0.4 tokens).
#[test]
fn the_old_key_is_used_up_for_ever() {
    chain(|one, standby| {
        assert_ok!(standby.stand_by());
        name(&one, 0, &standby);
        assert_ok!(succeed(0));
        go_to_slot(1);
        assert_eq!(refused(one.report(0, report(0, 1))), InvalidTransaction::BadProof.into());
        assert_eq!(NodeOf::<Test>::get(one.sign_pk()), Some(0));
        assert_err!(one.register(), Error::<Test>::KeyUsed);
        assert_err!(one.stand_by(), Error::<Test>::KeyUsed);
        assert_err!(one.renew(0), Error::<Test>::WrongIdentity);
        // The heir is a node now: it neither stands by nor registers.
        assert_err!(standby.stand_by(), Error::<Test>::KeyUsed);
        assert_err!(standby.register(), Error::<Test>::KeyUsed);
        assert_err!(succeed(0), Error::<Test>::NoHeir);
        // It may name an heir of its own.
        let next = one.sibling(4);
        assert_ok!(next.stand_by());
        name(&standby, 0, &next);
        assert_ok!(succeed(0));
        assert_eq!(node(0).sign_pk, next.sign_pk());
    });
}

/// The coin: a node's number, collateral and pay in another provider's hands, or two records for what one disk holds:
/// up to a machine's slot, every slot.
#[test]
fn only_an_enclave_of_the_same_provider_that_waits_can_be_named() {
    chain(|one, standby| {
        assert_eq!(refused(one.heir(0, heir(0, &standby))), Refusal::UnknownHeir.into());
        // Another provider's.
        let stranger = Enclave::new(2);
        assert_ok!(stranger.stand_by());
        assert_eq!(refused(one.heir(0, heir(0, &stranger))), Refusal::HeirOfAnother.into());
        // One with a record of its own, or itself.
        let node = one.sibling(4);
        assert_ok!(node.register());
        assert_eq!(refused(one.heir(0, heir(0, &node))), Refusal::HeirHasRecord.into());
        assert_eq!(refused(one.heir(0, heir(0, &one))), Refusal::HeirHasRecord.into());
        // A provider cannot make another's standby its own.
        let thief = Enclave { provider: account(1), ..Enclave::new(2) };
        assert_err!(thief.stand_by(), Error::<Test>::KeyUsed);
        assert_eq!(crate::mock::node(0).heir, None);
    });
}

/// The coin: new orders and a machine's slot, every slot, for a program or a platform that was withdrawn.
#[test]
fn an_heir_must_be_in_policy_when_it_is_named_and_when_it_follows() {
    chain(|one, standby| {
        assert_ok!(standby.stand_by());
        go_to(3 + PERIOD);
        assert_ok!(one.renew(0));
        assert_eq!(refused(one.heir(0, heir(0, &standby))), Refusal::HeirOutOfPolicy.into());
        // It stands by again, by the same call.
        assert_ok!(standby.stand_by());
        name(&one, 0, &standby);
        go_to(4 + 2 * PERIOD);
        assert_err!(succeed(0), Error::<Test>::HeirOutOfPolicy);
        assert_ok!(standby.stand_by());
        assert_ok!(Mpow::revoke_measurement(RuntimeOrigin::root(), 0));
        assert_err!(succeed(0), Error::<Test>::HeirOutOfPolicy);
        assert_ok!(Mpow::approve_measurement(RuntimeOrigin::root(), MEASUREMENT, 0, None));
        assert_ok!(succeed(0));
    });
}

/// A node whose platform has fallen out of policy is on its way out. An heir that stood by before tells nothing about
/// it. The coin: new orders for up to 14 days more.
#[test]
fn an_heir_judged_before_its_node_fell_out_of_policy_does_not_bring_it_back() {
    chain(|one, standby| {
        let delay = Parameters::DEVELOPMENT.revocation_delay;
        assert_ok!(standby.stand_by());
        assert_ok!(submit(fixtures::collateral_with_old_firmware(), &Platform::two().quote([0; 64])));
        go_to(50);
        assert_ok!(one.renew(0));
        name(&one, 0, &standby);
        assert_ok!(succeed(0));
        assert_eq!(Mpow::leaves(&node(0)), Some(50 + delay));
        assert!(!Mpow::may_take(0), "with the defence off: orders for as long as the heir's registration lasts");
        // Its own renewal shows how it stands; here as its node did.
        assert_ok!(standby.renew(0));
        assert_eq!(Mpow::leaves(&node(0)), Some(50 + delay));
        // One that is judged by the policy of the day, and welcome, is no longer on the way out.
        let policy = PlatformPolicy { statuses: vec![TcbStatus::OutOfDate].try_into().unwrap(), ..Default::default() };
        assert_ok!(Mpow::set_policy(RuntimeOrigin::root(), policy));
        go_to_slot(6);
        let welcome = one.sibling(4);
        assert_ok!(welcome.stand_by());
        name(&standby, 0, &welcome);
        assert_ok!(succeed(0));
        assert_eq!(Mpow::leaves(&node(0)), None);
    });
}

/// *A rolled-back enclave, or a copy, names an heir.* The coin: the pay of all that the true line has named gone since,
/// 0.0008 tokens a TiB and slot; and for whoever signs in another's name, the node.
#[test]
fn an_heir_is_named_on_the_line_that_the_chain_knows() {
    chain(|one, standby| {
        assert_ok!(standby.stand_by());
        // The chain has heard the node say more than its log holds: rolled back, or a copy.
        let stale = heir(0, &standby);
        assert_ok!(apply(one.gone(0, gone(0, &[order(9)]))).unwrap());
        assert_eq!(refused(one.heir(0, stale)), InvalidTransaction::Stale.into());
        // Nor does anybody else name it.
        assert_eq!(refused(standby.heir(0, heir(0, &standby))), InvalidTransaction::BadProof.into());
        let elsewhere = Heir { heir: one.sign_pk(), ..heir(0, &standby) };
        let RuntimeCall::Mpow(crate::Call::heir { statement, .. }) = one.heir(0, heir(0, &standby)) else { panic!() };
        let signature = one.sign(&elsewhere);
        let changed = RuntimeCall::Mpow(crate::Call::heir { node: 0, statement, signature });
        assert_eq!(refused(changed), InvalidTransaction::BadProof.into());
        // Once it has lapsed a node names nobody.
        go_to(3 + PERIOD);
        assert_eq!(refused(one.heir(0, heir(0, &standby))), Refusal::NotRegistered.into());
    });
}

/// The coin: room in every block, for nothing.
#[test]
fn one_heir_a_slot() {
    chain(|one, standby| {
        let other = one.sibling(4);
        assert_ok!(standby.stand_by());
        assert_ok!(other.stand_by());
        name(&one, 0, &standby);
        assert_eq!(refused(one.heir(0, heir(0, &other))), Refusal::HeirNamedAlready.into());
        go_to_slot(1);
        name(&one, 0, &other);
        // The last one named follows, and no other.
        assert_ok!(succeed(0));
        assert_eq!(node(0).sign_pk, other.sign_pk());
        assert!(Standbys::<Test>::contains_key(standby.sign_pk()));
    });
}

/// The coin: one enclave under two numbers, up to a machine's slot more, every slot.
#[test]
fn a_succession_is_its_providers_to_make() {
    chain(|one, standby| {
        assert_err!(succeed(0), Error::<Test>::NoHeir);
        assert_err!(succeed(7), Error::<Test>::UnknownNode);
        let stranger = RuntimeOrigin::signed(account(2));
        assert_err!(Mpow::succeed(stranger, 0), Error::<Test>::NotProvider);
        // One heir named by two nodes follows one of them.
        let sibling = one.sibling(4);
        assert_ok!(sibling.register());
        assert_ok!(standby.stand_by());
        name(&one, 0, &standby);
        name(&sibling, 1, &standby);
        assert_ok!(succeed(1));
        assert_err!(succeed(0), Error::<Test>::HeirGone);
        assert_eq!(node(0).sign_pk, one.sign_pk());
    });
}

/// From one release to the next on one machine, because the old one is no longer trusted.
#[test]
fn an_upgrade_takes_a_node_out_of_a_revoked_program() {
    chain(|one, _| {
        let Measurement::Sgx { attributes, attributes_mask, misc_select, misc_mask, .. } = MEASUREMENT else {
            panic!("the development enclave is an SGX enclave in form");
        };
        let mr_enclave = [7; 32];
        let release =
            Measurement::Sgx { mr_enclave, isv_prod_id: 0, attributes, attributes_mask, misc_select, misc_mask };
        assert_ok!(Mpow::approve_measurement(RuntimeOrigin::root(), release, 0, None));
        Table::hold(0, order(1), 500);
        assert_ok!(Mpow::revoke_measurement(RuntimeOrigin::root(), 0));
        assert!(!Mpow::may_take(0));
        let next = one.sibling(3);
        assert_err!(next.stand_by(), Error::<Test>::MeasurementRevoked);
        let report_data = next.identity(1).report_data();
        let quote = next.platform.quote_with(report_data, |signed| signed[MR_ENCLAVE].fill(7));
        assert_ok!(next.stand_by_with(1, quote));
        // The old release may still hand over: that is what the delay is for.
        name(&one, 0, &next);
        let platform = node(0).platform;
        assert_ok!(succeed(0));
        assert_eq!((node(0).measurement, node(0).platform, Mpow::leaves(&node(0))), (1, platform, None));
        assert_eq!(Platforms::<Test>::get(platform).unwrap().billed, 500);
        assert!(Mpow::may_take(0));
        go_to_slot(Parameters::DEVELOPMENT.revocation_delay / 10 + 1);
        assert_ok!(apply(next.report(0, report(0, 100))).unwrap());
    });
}

/// The dead board: nothing but the standby is left, and the registration has run out.
#[test]
fn an_heir_follows_a_node_that_has_lapsed() {
    chain(|one, standby| {
        assert_ok!(standby.stand_by());
        name(&one, 0, &standby);
        go_to(PERIOD);
        assert_ok!(standby.stand_by());
        go_to(3 + PERIOD);
        assert!(!Mpow::may_take(0));
        assert_ok!(succeed(0));
        assert!(Mpow::may_take(0));
    });
}

/// The coin: the files of many nodes under one stolen key, a machine's slot more for each.
#[test]
fn a_succession_does_not_get_around_the_cap_of_a_platform() {
    let parameters = Parameters { platform_cap: 1_000, ..Chain::default().parameters };
    Chain { parameters, ..Chain::default() }.run(|| {
        go_to(2);
        let one = Enclave::new(1);
        let full = Enclave { platform: Platform::two(), ..one.sibling(4) };
        let standby = Enclave { platform: Platform::two(), ..one.sibling(3) };
        assert_ok!(one.register());
        assert_ok!(full.register());
        assert_ok!(standby.stand_by());
        Table::hold(0, order(1), 600);
        Table::hold(1, order(2), 401);
        name(&one, 0, &standby);
        assert_err!(succeed(0), Error::<Test>::PlatformFull);
        assert_eq!(node(0).sign_pk, one.sign_pk());
        assert_ok!(apply(full.gone(1, gone(1, &[order(2)]))).unwrap());
        assert_ok!(succeed(0));
    });
}
