//! Statements: what may wait in the pool, what may be in a block, and what it changes. A coin is what whoever tries
//! would earn with the defence off; a machine's slot is 0.4 tokens, as in `adversary`.

use crust_protocol::{
    Slot,
    parameters::Parameters,
    statement::{Answer, Gone, Receipts, Report},
};
use frame_support::{
    assert_err, assert_ok,
    dispatch::{DispatchClass, GetDispatchInfo, Pays},
    pallet_prelude::{InvalidTransaction, TransactionValidityError},
};
use sp_runtime::DispatchError;

use crate::{Error, Event, IDLE_GONES, mock::*, statements::Refusal};

/// A chain with two nodes: 0 and 1, of enclaves 1 and 2.
fn chain(test: impl FnOnce(Enclave, Enclave)) {
    Chain::default().run(|| {
        go_to(2);
        let enclaves = [Enclave::new(1), Enclave::new(2)];
        for enclave in &enclaves {
            assert_ok!(enclave.register());
        }
        let [one, two] = enclaves;
        events();
        test(one, two);
    });
}

fn place(node: u32, name: u8, size: u64) {
    Places::mutate(|places| places.push((node, order(name), size)));
}

fn invalid(call: RuntimeCall) -> TransactionValidityError {
    let pool = validate(call.clone()).unwrap_err();
    assert_eq!(apply(call).unwrap_err(), pool, "pool and block must agree");
    pool
}

#[test]
fn receipts_fill_places_and_move_the_root() {
    chain(|one, _| {
        place(0, 10, 5);
        place(0, 11, 6);
        // An order without a place among them is skipped.
        let said = receipts(0, &[order(10), order(99), order(11)]);
        let root = said.root;
        assert_ok!(apply(one.receipts(0, said)).unwrap());
        assert_eq!(node(0).root, root);
        assert_eq!(Replicas::get().len(), 2);
        assert_eq!(events(), [Event::ReceiptsAccepted { node: 0, root, applied: 2 }]);
    });
}

#[test]
fn a_loss_ends_replicas_and_moves_the_root() {
    chain(|one, _| {
        place(0, 10, 5);
        assert_ok!(apply(one.receipts(0, receipts(0, &[order(10)]))).unwrap());
        let said = gone(0, &[order(98), order(10)]);
        let root = said.root;
        assert_ok!(apply(one.gone(0, said)).unwrap());
        assert_eq!(node(0).root, root);
        assert!(Replicas::get().is_empty());
        assert_eq!(events().last(), Some(&Event::GoneAccepted { node: 0, root, ended: 1 }));
    });
}

#[test]
fn a_report_weighs_what_it_vouches_for() {
    chain(|one, two| {
        place(0, 10, 1_000);
        assert_ok!(apply(one.receipts(0, receipts(0, &[order(10)]))).unwrap());
        go_to_slot(1);
        events();
        let said = Report { good_filler: 128, good_files: 51, stored_bytes: 7, ..report(0, 10_000) };
        let root = said.root;
        assert_ok!(apply(one.report(0, said)).unwrap());
        let power = (128 * 10_000 + 51 * 1_000) / 255;
        assert_eq!(node(0).power, power);
        let last = node(0).last_report.unwrap();
        assert_eq!((last.slot, last.block, last.filler_bytes, last.stored_bytes), (1, 11, 10_000, 7));
        assert_eq!((last.good_filler, last.good_files, last.scrubbed_until), (128, 51, 1));
        assert_eq!(Heard::get(), [(0, 1, 51)]);
        let event = Event::Reported {
            node: 0,
            root,
            slot: 1,
            filler_bytes: 10_000,
            stored_bytes: 7,
            good_filler: 128,
            good_files: 51,
            power,
        };
        assert_eq!(events(), [event]);
        assert_ok!(apply(two.report(1, report(1, 500))).unwrap());
        assert_eq!(Mpow::slot_power(1), u128::from(power) + 500);
    });
}

#[test]
fn statements_wait_in_the_pool_as_the_protocol_says() {
    chain(|one, _| {
        place(0, 10, 5);
        go_to_slot(1);
        let receipts = one.receipts(0, receipts(0, &[order(10)]));
        let gone = one.gone(0, gone(0, &[order(10)]));
        let report = one.report(0, report(0, 1));
        let information = [&receipts, &gone, &report].map(|call| call.get_dispatch_info());
        assert_eq!(
            information.map(|information| information.class),
            [DispatchClass::Normal, DispatchClass::Normal, DispatchClass::Operational]
        );
        // A general transaction has nobody to charge; a signed one with such a call fails, and must not do so for free.
        assert!(information.iter().all(|information| information.pays_fee == Pays::Yes));

        let [receipts, gone, report] = [receipts, gone, report].map(|call| validate(call).unwrap());
        assert_eq!(receipts.provides.len(), 1);
        assert_eq!(receipts.provides, report.provides);
        assert_eq!(gone.provides, report.provides);
        assert_eq!((receipts.priority, gone.priority, report.priority), (u64::MAX - 1, u64::MAX - 1, u64::MAX));
        assert!(report.propagate && report.requires.is_empty());
        // Another node's never stand in the way.
        go_to(12);
        let other = Enclave::new(2);
        let other = validate(other.report(1, crate::mock::report(1, 1))).unwrap();
        assert_ne!(other.provides, report.provides);
    });
}

/// *Another node's statement, or one changed on its way.* The coin: a machine's slot, every slot, for bytes that no
/// enclave has vouched for; and a rival's places, by losses that its enclave never named.
#[test]
fn only_the_nodes_own_enclave_speaks_for_it() {
    chain(|one, two| {
        go_to_slot(1);
        let unknown = one.report(0, report(0, 1));
        let RuntimeCall::Mpow(crate::Call::report { statement, signature, .. }) = unknown else { panic!() };
        let of = |node| RuntimeCall::Mpow(crate::Call::report { node, statement: statement.clone(), signature });
        assert_eq!(invalid(of(7)), InvalidTransaction::BadSigner.into());
        // Its sibling's root is not this one's.
        assert_eq!(invalid(of(1)), InvalidTransaction::Stale.into());
        assert_eq!(invalid(two.report(0, report(0, 1))), InvalidTransaction::BadProof.into());
        // Changed after it was signed.
        let changed = Report { filler_bytes: 2, ..statement.clone() };
        let changed = RuntimeCall::Mpow(crate::Call::report { node: 0, statement: changed, signature });
        assert_eq!(invalid(changed), InvalidTransaction::BadProof.into());
        assert_ok!(apply(of(0)).unwrap());
    });
}

/// *Said on another chain.* The coin: every test network would speak for the nodes of this one, a machine's slot each,
/// and name what they hold here gone.
#[test]
fn what_was_said_on_another_chain_is_nothing_here() {
    chain(|one, _| {
        go_to_slot(1);
        place(0, 10, 5);
        place(0, 11, 5);
        assert_ok!(apply(one.receipts(0, receipts(0, &[order(10)]))).unwrap());
        let heir_of_one = one.sibling(3);
        assert_ok!(heir_of_one.stand_by());
        let (receipts, gone) = (receipts(0, &[order(11)]), gone(0, &[order(10)]));
        let (report, heir) = (report(0, 1), heir(0, &heir_of_one));
        let at_home: [RuntimeCall; 4] = [
            one.receipts(0, receipts.clone()),
            one.gone(0, gone.clone()),
            one.report(0, report.clone()),
            one.heir(0, heir.clone()),
        ];
        for call in at_home {
            assert_ok!(validate(call));
        }
        let node = 0;
        let abroad: [RuntimeCall; 4] = [
            crate::Call::receipts { node, signature: one.sign_on(&[9; 32], &receipts), statement: receipts }.into(),
            crate::Call::gone { node, signature: one.sign_on(&[9; 32], &gone), statement: gone }.into(),
            crate::Call::report { node, signature: one.sign_on(&[9; 32], &report), statement: report }.into(),
            crate::Call::heir { node, signature: one.sign_on(&[9; 32], &heir), statement: heir }.into(),
        ];
        for call in abroad {
            assert_eq!(invalid(call), InvalidTransaction::BadProof.into());
        }
    });
}

/// The coin: a machine's slot, every slot, for whoever can send a transaction.
#[test]
fn a_signed_or_bare_statement_has_no_authority() {
    chain(|one, _| {
        go_to_slot(1);
        let said = report(0, 1);
        let signature = one.sign(&said);
        for origin in [RuntimeOrigin::signed(account(1)), RuntimeOrigin::none(), RuntimeOrigin::root()] {
            assert_err!(Mpow::report(origin, 0, said.clone(), signature), DispatchError::BadOrigin);
        }
    });
}

/// *A fork, or the same again.* The coin: the pay under each of two histories for what the other has dropped, 0.0008
/// tokens a TiB and slot.
#[test]
fn of_two_statements_on_one_root_the_second_dies() {
    chain(|one, _| {
        place(0, 10, 5);
        place(0, 11, 5);
        let first = one.receipts(0, receipts(0, &[order(10)]));
        let second = one.receipts(0, Receipts { root: [7; 32], ..receipts(0, &[order(11)]) });
        assert_ok!(validate(second.clone()).map(|_| ()));
        assert_ok!(apply(first.clone()).unwrap());
        assert_eq!(invalid(second), InvalidTransaction::Stale.into());
        // Nor does the first come again.
        assert_eq!(invalid(first), InvalidTransaction::Stale.into());
        // Said again on the root where the chain stands.
        assert_ok!(apply(one.receipts(0, receipts(0, &[order(11)]))).unwrap());
    });
}

/// The same where the check of the pool is left out, with the same coin.
#[test]
fn a_statement_dispatched_off_its_root_changes_nothing() {
    chain(|_, _| {
        let said = Gone { prev: [1; 32], ..gone(0, &[order(1)]) };
        let origin = frame_system::RawOrigin::Authorized;
        assert_err!(Mpow::gone(origin.clone().into(), 0, said, [0; 64]), Error::<Test>::NotOnRoot);
        assert_err!(Mpow::gone(origin.into(), 9, gone(0, &[order(1)]), [0; 64]), Error::<Test>::UnknownNode);
    });
}

/// The coin: room in every block, for nothing, and the receipts of others that find none.
#[test]
fn receipts_whose_first_order_does_not_apply_are_refused() {
    chain(|one, _| {
        place(0, 10, 5);
        let refused = invalid(one.receipts(0, receipts(0, &[order(99), order(10)])));
        assert_eq!(refused, Refusal::ReceiptNotWanted.into());
        assert_eq!(invalid(one.receipts(0, receipts(0, &[]))), Refusal::NoOrder.into());
        assert_eq!(invalid(one.gone(0, gone(0, &[]))), Refusal::NoOrder.into());
    });
}

#[test]
fn receipts_that_the_market_fails_on_still_move_the_root() {
    chain(|one, _| {
        place(0, 10, 5);
        Failing::set(true);
        let said = receipts(0, &[order(10)]);
        let root = said.root;
        assert_ok!(apply(one.receipts(0, said)).unwrap());
        assert_eq!(node(0).root, root);
        assert_eq!(events(), [Event::ReceiptsAccepted { node: 0, root, applied: 0 }]);
    });
}

/// *`Gone`s that end nothing.* The coin: everybody else's orders, takes and claims, which find no room in a block; how
/// many keys that takes is measured in the runtime's `a_flood_of_losses_that_end_nothing_fills_no_block`.
#[test]
fn after_twenty_idle_losses_in_a_slot_the_first_order_must_count() {
    chain(|one, _| {
        place(0, 10, 5);
        assert_ok!(apply(one.receipts(0, receipts(0, &[order(10)]))).unwrap());
        for _ in 0..IDLE_GONES {
            assert_ok!(apply(one.gone(0, gone(0, &[order(99)]))).unwrap());
        }
        assert_eq!(invalid(one.gone(0, gone(0, &[order(99), order(10)]))), Refusal::NothingGone.into());
        assert_ok!(apply(one.gone(0, gone(0, &[order(10), order(99)]))).unwrap());
        assert_eq!(invalid(one.gone(0, gone(0, &[order(10)]))), Refusal::NothingGone.into());
        // A new slot, a new count.
        go_to_slot(1);
        assert_ok!(apply(one.gone(0, gone(0, &[order(99)]))).unwrap());
        assert_eq!(node(0).gone_idle, (1, 1));
    });
}

/// *A report again, or of another slot.* The coin: a machine's slot more for each report that counts again.
#[test]
fn a_report_is_accepted_once_a_slot_and_only_in_its_slot() {
    chain(|one, _| {
        // Slot 0 has no report.
        assert_eq!(invalid(one.report(0, report(0, 1))), Refusal::WrongSlot.into());
        go_to_slot(1);
        let of_next = Report { slot: 2, ..report(0, 1) };
        assert_eq!(invalid(one.report(0, of_next)), Refusal::WrongSlot.into());
        assert_ok!(apply(one.report(0, report(0, 1))).unwrap());
        assert_eq!(invalid(one.report(0, report(0, 1))), Refusal::ReportedAlready.into());
        let late = one.report(0, report(0, 1));
        go_to_slot(2);
        assert_eq!(invalid(late), Refusal::WrongSlot.into());
        assert_ok!(apply(one.report(0, report(0, 1))).unwrap());
        // The last block of a slot will do.
        go_to(39);
        assert_eq!(Mpow::slot(), 3);
        assert_ok!(apply(one.report(0, report(0, 1))).unwrap());
    });
}

/// The coin: a slot's pay without its draw, which the beacon of that window makes.
#[test]
fn a_report_waits_for_the_first_window_of_its_slot() {
    let parameters = Parameters { beacon_blocks: 5, audit_rate: 0, ..Parameters::DEVELOPMENT };
    Chain { parameters, ..Chain::default() }.run(|| {
        go_to(2);
        let one = Enclave::new(1);
        assert_ok!(one.register());
        for block in 10..15 {
            go_to(block);
            assert_eq!(invalid(one.report(0, report(0, 1))), Refusal::TooEarly.into());
        }
        go_to(15);
        assert_ok!(apply(one.report(0, report(0, 1))).unwrap());
    });
}

/// *A slot hash of one's choice.* The coin: a draw of one's choice in every slot, and the share of the disk that it
/// does not hit.
#[test]
fn a_report_names_the_last_block_before_its_slot() {
    chain(|one, _| {
        go_to_slot(1);
        for block in [0, 8, 10] {
            let wrong = Report { slot_hash: hash_of(block).0, ..report(0, 1) };
            assert_eq!(invalid(one.report(0, wrong)), Refusal::WrongSlotHash.into());
        }
        let right = Report { slot_hash: hash_of(9).0, ..report(0, 1) };
        assert_ok!(apply(one.report(0, right)).unwrap());
    });
}

#[test]
fn an_answer_to_no_audit_is_refused() {
    chain(|one, _| {
        go_to_slot(1);
        let answer = Answer { bytes: Default::default(), path: Default::default() };
        let said = Report { audit: Some(answer), ..report(0, 1) };
        assert_eq!(invalid(one.report(0, said)), Refusal::NoAuditDue.into());
    });
}

/// The coin: a machine's slot, every slot, for a machine that was sold or that fell out of policy.
#[test]
fn lesson_4_an_expired_enclave_reports_in_no_slot() {
    chain(|one, _| {
        let last: Slot = 602 / 10;
        go_to_slot(last);
        assert_ok!(apply(one.report(0, report(0, 1))).unwrap());
        place(0, 10, 5);
        go_to(603);
        assert_eq!(invalid(one.receipts(0, receipts(0, &[order(10)]))), Refusal::NotRegistered.into());
        for slot in last + 1..last + 30 {
            go_to_slot(slot);
            for claimed in [slot, last, 0, 300, u32::MAX] {
                let said = Report { slot: claimed, ..report(0, 1) };
                assert_eq!(invalid(one.report(0, said)), Refusal::NotRegistered.into());
            }
        }
        // What it has lost it may still say, nothing else, and speak again once it is renewed.
        assert_eq!(invalid(one.gone(0, gone(0, &[order(11)]))), Refusal::NothingGone.into());
        Table::hold(0, order(11), 1);
        assert_ok!(apply(one.gone(0, gone(0, &[order(11)]))).unwrap());
        assert_ok!(one.renew(0));
        assert_ok!(apply(one.report(0, report(0, 1))).unwrap());
    });
}

/// *A partial `Gone`.* The coin: the pay to the end of its term for each loss that stands behind an order which means
/// nothing.
#[test]
fn lesson_6_what_is_gone_ends_whatever_else_the_statement_names() {
    chain(|one, two| {
        for name in [10, 11] {
            place(0, name, 5);
            place(1, name, 5);
        }
        assert_ok!(apply(one.receipts(0, receipts(0, &[order(10), order(11)]))).unwrap());
        assert_ok!(apply(two.receipts(1, receipts(1, &[order(10), order(11)]))).unwrap());
        // Orders that mean nothing before, between and after do not save a replica, nor do they touch another node's.
        let names = [99, 10, 98, 10, 11, 97].map(order);
        assert_ok!(apply(one.gone(0, gone(0, &names))).unwrap());
        assert!(Replicas::get().iter().all(|replica| replica.0 == 1));
        assert_eq!(Replicas::get().len(), 2);
        go_to_slot(1);
        assert_ok!(apply(one.report(0, report(0, 100))).unwrap());
        assert_eq!(node(0).power, 100);
    });
}
