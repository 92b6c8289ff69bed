//! Adversaries against the environment and the keys: each really tries, and each test names the coin that it would have
//! earned if the defence were off. Most of it comes in slots of a whole machine ([`MACHINE_SLOT`]): what one that is full
//! of others' orders, up to the cap, is paid a slot. What becomes of the money is in the runtime's own tests.

use crust_protocol::{attestation::Identity, parameters::Parameters, statement::Report};
use frame_support::{assert_err, assert_ok, pallet_prelude::InvalidTransaction};

use crate::{
    Error, NextNode, Node, PlatformPolicy, Policy, SlotSums, Sums,
    fixtures::{self, ATTRIBUTES, CPU_SVN, MR_ENCLAVE, Platform},
    mock::*,
    statements::Refusal,
};

/// Plancks a slot: 500 TiB at production's price, without the shares of pot and treasury.
const MACHINE_SLOT: u128 = 400_000_000_000;

fn chain(test: impl FnOnce()) {
    Chain::default().run(|| {
        go_to(2);
        test();
    });
}

#[test]
fn the_coin_is_that_of_production() {
    let Parameters { platform_cap, pot_share, treasury_share, .. } = Parameters::PRODUCTION;
    let providers = u128::from(100 - pot_share - treasury_share);
    assert_eq!(Parameters::PRODUCTION.rate(platform_cap) * providers / 100, MACHINE_SLOT);
}

/// *Forged.* A machine without any TEE writes a quote by itself, or changes what a genuine one says.
/// The coin: a machine's slot, every slot, for a program of its own that reports any number of bytes.
#[test]
fn forged_evidence_makes_no_node() {
    chain(|| {
        let forger = Enclave::new(1);
        let genuine = forger.quote(1);
        // Another program, after the enclave signed; another identity; another attestation key.
        for at in [MR_ENCLAVE.start, ATTRIBUTES.start, 368, 500] {
            let mut forged = genuine.clone();
            forged[at] ^= 1;
            assert_err!(forger.register_with(1, forged), Error::<Test>::UntrustedQuote);
        }
        // The platform's certificates under a quote that the platform never made: the report of one machine's quoting
        // enclave names one attestation key.
        let mut mixed = genuine.clone();
        mixed[436..564].copy_from_slice(&Platform::two().quote(forger.identity(1).report_data())[436..564]);
        assert_err!(forger.register_with(1, mixed), Error::<Test>::UntrustedQuote);
        assert_eq!(NextNode::<Test>::get(), 0);
    });
}

/// *Replayed.* Evidence that was accepted once is sent again, by its provider and by others.
/// The coin: a second number for one enclave, whose one disk would then be paid twice: a machine's slot more, every slot.
#[test]
fn replayed_evidence_makes_no_second_node() {
    chain(|| {
        let enclave = Enclave::new(1);
        let seen = enclave.quote(1);
        assert_ok!(enclave.register_with(1, seen.clone()));
        assert_err!(enclave.register_with(1, seen.clone()), Error::<Test>::KeyUsed);
        assert_err!(enclave.stand_by_with(1, seen.clone()), Error::<Test>::KeyUsed);
        let thief = Enclave { provider: account(66), ..Enclave::new(66) };
        assert_err!(thief.register_with(1, seen.clone()), Error::<Test>::WrongIdentity);
        assert_err!(thief.stand_by_with(1, seen), Error::<Test>::WrongIdentity);
        assert_eq!(NextNode::<Test>::get(), 1);
    });
}

/// *Relayed.* A provider without a TEE rents another operator's enclave for the length of one quote: the evidence is
/// genuine, but for that operator's keys, provider or chain.
/// The coin: a machine's slot, every slot, for each registration that is sold to a machine without an enclave.
#[test]
fn relayed_evidence_speaks_for_nobody_else() {
    chain(|| {
        let willing = Enclave::new(2);
        let buyer = Enclave::new(1);
        assert_err!(buyer.register_with(1, willing.quote(1)), Error::<Test>::WrongIdentity);
        // Of its own provider on another chain.
        let elsewhere = Identity { genesis: [7; 32], ..buyer.identity(1) };
        let quote = willing.platform.quote(elsewhere.report_data());
        assert_err!(buyer.register_with(1, quote), Error::<Test>::WrongIdentity);
        // An operator who lends his machine for good, keys and all, serves one provider with it.
        assert_ok!(willing.register());
        let lent = Enclave { platform: Platform::two(), ..Enclave::new(1) };
        assert_err!(lent.register(), Error::<Test>::PlatformServesAnother);
    });
}

/// *Stale, and kept in stock.* A machine is rented for an afternoon and makes quotes for a year.
/// The coin: attestations that outlive the machine. An afternoon's rent for a year of a machine's slots: 3,504 tokens.
#[test]
fn evidence_is_not_kept_in_stock() {
    chain(|| {
        let enclave = Enclave::new(1);
        assert_ok!(enclave.register());
        let stock: Vec<_> = (1..=40u32).map(|after| (after * 50, enclave.quote(after * 50))).collect();
        let age = Parameters::DEVELOPMENT.evidence_age;
        // The hash of a block to come is known to nobody: a guess of it is another identity.
        let guess = Identity { block_hash: [0; 32], ..enclave.identity(50) };
        let guessed = enclave.platform.quote(guess.report_data());
        go_to(51);
        let renew = |block, quote| Mpow::renew(RuntimeOrigin::signed(account(1)), 0, block, evidence(quote));
        assert_err!(renew(50, guessed), Error::<Test>::WrongIdentity);
        // What was made when the block was there serves its time, and no longer.
        go_to(50 + age);
        let (block, quote) = stock[0].clone();
        assert_ok!(renew(block, quote.clone()));
        go_to(51 + age);
        assert_err!(renew(block, quote), Error::<Test>::StaleEvidence);
        let lapses = node(0).registered_until;
        go_to(lapses + 1);
        assert!(!Mpow::registered(&node(0)));
    });
}

/// *Old collateral.* A vendor revokes the operator's platform; he brings back the lists of the day before.
/// The coin: a machine's slot, every slot, for keys that are known to be out.
#[test]
fn old_collateral_does_not_come_back() {
    chain(|| {
        let revoked = Enclave::new(1);
        let two = Platform::two().quote([0; 64]);
        assert_ok!(submit(fixtures::collateral_that_revokes(), &two));
        for old in [fixtures::collateral(), fixtures::collateral_of_tomorrow()] {
            // Of the same day as the revocation, but without it: nothing of it is newer.
            assert_ok!(submit(old, &two));
            assert_err!(revoked.register(), Error::<Test>::UntrustedQuote);
        }
        // Nor does a renewal of who was here before.
        assert_err!(revoked.stand_by(), Error::<Test>::UntrustedQuote);
    });
}

/// *The vendor's early set.* A competitor brings collateral of an evaluation that the vendor signed months ahead.
/// The coin: everybody else's slots, a machine's each, whose firmware is not out of date yet by the policy's evaluation.
#[test]
fn an_early_evaluation_puts_nobody_out() {
    let policy = PlatformPolicy { evaluation: 17, ..PlatformPolicy::default() };
    Chain { policy, ..Chain::default() }.run(|| {
        go_to(2);
        let enclave = Enclave::new(1);
        assert_ok!(enclave.register());
        let early = || submit(fixtures::collateral_of_early_evaluation(), &Platform::two().quote([0; 64]));
        assert_err!(early(), Error::<Test>::EvaluationTooNew);
        assert_ok!(enclave.renew(0));
        assert_eq!(Mpow::leaves(&node(0)), None);
        // With the defence off it is taken, and no older one would be used from then on.
        Policy::<Test>::mutate(|policy| policy.evaluation = u32::MAX);
        assert_ok!(early());
    });
}

/// *A stolen attestation key.* Whoever has one signs a quote for any program on that platform: any number of enclaves
/// that are not there.
/// The coin: a machine's slot for each enclave that is not there, at once, for as many providers as there are buyers; here
/// ten instead of one.
#[test]
fn a_stolen_attestation_key_mints_one_capped_machine_that_ramps_up() {
    let parameters = Parameters { platform_cap: 1_000, audit_rate: 0, ..Parameters::DEVELOPMENT };
    let ramp = u64::from(parameters.ramp);
    Chain { parameters, ..Chain::default() }.run(|| {
        go_to(2);
        let clones: Vec<_> = (10..20).map(|name| Enclave::new(1).sibling(name)).collect();
        for clone in &clones {
            assert_ok!(clone.register());
        }
        assert_err!(Enclave::new(9).register(), Error::<Test>::PlatformServesAnother);
        go_to_slot(1);
        for (number, clone) in (0..).zip(&clones) {
            assert_ok!(apply(clone.report(number, report(number, 1 << 50))).unwrap());
        }
        // All of them together are one young machine.
        let young = u128::from(1_000 * 9 / ramp);
        assert_eq!(SlotSums::<Test>::get(1), Sums { power: young, idle: young });
        // Old, it is a machine at its cap; and collateral must cover it.
        Covered::set(150);
        go_to_slot(30);
        for (number, clone) in (0..).zip(&clones) {
            assert_ok!(apply(clone.report(number, report(number, 1 << 50))).unwrap());
        }
        assert_eq!(Mpow::slot_power(30), 1_000);
        assert_eq!(node(0).idle, 150);
    });
}

/// *Heirs registered as new nodes.* An enclave that has the keys of another takes a number of its own, so that both
/// report what one disk holds.
/// The coin: the same filler and the same files, counted under two numbers: up to a machine's slot more, every slot.
#[test]
fn an_heir_has_no_number_beside_the_one_that_it_follows() {
    chain(|| {
        let one = Enclave::new(1);
        let heir = one.sibling(3);
        assert_ok!(one.register());
        assert_ok!(heir.stand_by());
        assert_err!(heir.register(), Error::<Test>::KeyUsed);
        assert_ok!(apply(one.heir(0, crate::mock::heir(0, &heir))).unwrap());
        assert_err!(heir.register(), Error::<Test>::KeyUsed);
        go_to_slot(1);
        // It speaks for no number, neither as the node nor beside it.
        let said = report(0, 100);
        assert_eq!(invalid(heir.report(0, said.clone())), InvalidTransaction::BadProof.into());
        assert_eq!(invalid(heir.report(1, said.clone())), InvalidTransaction::BadSigner.into());
        assert_ok!(apply(one.report(0, said)).unwrap());
        // One report a slot, whoever stands behind the number.
        assert_ok!(Mpow::succeed(RuntimeOrigin::signed(account(1)), 0));
        assert_eq!(invalid(heir.report(0, report(0, 100))), Refusal::ReportedAlready.into());
        assert_eq!(Mpow::slot_power(1), 100);
        // The other way round: a node is nobody's heir.
        let second = one.sibling(4);
        assert_ok!(second.register());
        assert_eq!(invalid(heir.heir(0, crate::mock::heir(0, &second))), Refusal::HeirHasRecord.into());
        assert_err!(second.stand_by(), Error::<Test>::KeyUsed);
        // Nor is it the enclave that was followed: its statements are over.
        go_to_slot(2);
        assert_eq!(invalid(one.report(0, report(0, 100))), InvalidTransaction::BadProof.into());
    });
}

/// *Heirs started until a draw suits.* A node is drawn for bytes that it no longer has; it has itself followed, again and
/// again, by keys that may be drawn for others.
/// The coin: an audit that never comes, and with it the pay for bytes that are not there: a machine's slot, every slot.
#[test]
fn an_heir_owes_what_the_node_was_drawn_for() {
    let parameters = Parameters { audit_rate: 1, ramp: 0, ..Parameters::DEVELOPMENT };
    Chain { parameters, ..Chain::default() }.run(|| {
        go_to(2);
        let mut speaker = Enclave::new(1);
        assert_ok!(speaker.register());
        for name in 20..24 {
            Places::mutate(|places| places.push((0, order(name), 5_000)));
            assert_ok!(apply(speaker.receipts(0, receipts(0, &[order(name)]))).unwrap());
        }
        go_to_slot(1);
        let drawn = Mpow::audit(0).unwrap().due.expect("every slot draws");
        for (slot, name) in (1..).zip(30..34) {
            go_to_slot(slot);
            let heir = speaker.sibling(name);
            assert_ok!(heir.stand_by());
            assert_ok!(apply(speaker.heir(0, crate::mock::heir(0, &heir))).unwrap());
            assert_ok!(Mpow::succeed(RuntimeOrigin::signed(account(1)), 0));
            speaker = heir;
            // Other keys, other roots, other slots: the same draw.
            assert_eq!(Mpow::audit(0).unwrap().due, Some(drawn.clone()));
            assert_eq!(invalid(speaker.report(0, report(0, 1))), Refusal::AuditDue.into());
        }
        let answered = Report { audit: Some(answer(&drawn)), ..report(0, 1) };
        assert_ok!(apply(speaker.report(0, answered)).unwrap());
        // Who gives the bytes up instead serves the probation, whoever stands behind the number then.
        go_to_slot(5);
        let lost = Mpow::audit(0).unwrap().due.unwrap().order;
        assert_ok!(apply(speaker.gone(0, gone(0, &[lost]))).unwrap());
        let heir = speaker.sibling(40);
        assert_ok!(heir.stand_by());
        assert_ok!(apply(speaker.heir(0, crate::mock::heir(0, &heir))).unwrap());
        assert_ok!(Mpow::succeed(RuntimeOrigin::signed(account(1)), 0));
        assert!(Mpow::on_probation(0));
        assert_ok!(apply(heir.report(0, report(0, 1_000))).unwrap());
        assert_eq!(node(0).power, 0);
    });
}

/// *A machine sold from provider to provider.* One that is slashed lets a friend register on the same machine.
/// The coin: one machine's space, counted for two providers, of which one may order from the other: a machine's slot more.
#[test]
fn a_platform_is_not_lent_out_beside_its_provider() {
    chain(|| {
        let one = Enclave::new(1);
        assert_ok!(one.register());
        let friend = Enclave { provider: account(5), ..Enclave::new(5) };
        assert_err!(friend.register(), Error::<Test>::PlatformServesAnother);
        // A node of the friend's does not come over by a renewal or a succession either.
        let elsewhere = Enclave { platform: Platform::two(), ..Enclave::new(5) };
        assert_ok!(elsewhere.register());
        assert_err!(friend.renew(1), Error::<Test>::PlatformServesAnother);
        assert_err!(
            Enclave { provider: account(5), ..Enclave::new(6) }.stand_by(),
            Error::<Test>::PlatformServesAnother
        );
    });
}

/// *Microcode updated.* No adversary, and it must cost nothing: the evidence of a renewal differs from the first.
#[test]
fn misfortune_an_update_of_the_microcode_costs_nothing() {
    chain(|| {
        let enclave = Enclave::new(1);
        assert_ok!(enclave.register());
        Table::hold(0, order(1), 500);
        go_to_slot(1);
        assert_ok!(apply(enclave.report(0, report(0, 100))).unwrap());
        let (before, block) = (node(0), System::block_number() - 1);
        let report_data = enclave.identity(block).report_data();
        let updated = enclave.platform.quote_with(report_data, |signed| signed[CPU_SVN].fill(0x0f));
        assert_ok!(Mpow::renew(RuntimeOrigin::signed(account(1)), 0, block, evidence(updated)));
        let renewed = node(0);
        assert!(renewed.registered_until > before.registered_until);
        assert_eq!(Node { registered_until: before.registered_until, ..renewed }, before);
        go_to_slot(2);
        assert_ok!(apply(enclave.report(0, report(0, 100))).unwrap());
        assert_eq!(Mpow::slot_power(2), Mpow::slot_power(1));
    });
}

fn invalid(call: RuntimeCall) -> frame_support::pallet_prelude::TransactionValidityError {
    validate(call).unwrap_err()
}
