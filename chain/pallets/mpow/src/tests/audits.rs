//! Audits: who is drawn for what, what an answer must be, and that nothing but an answer or a failure ends a draw. A
//! coin is what whoever tries would earn with the defence off; the runtime's `adversary` has them to the planck.

use crust_protocol::{
    audit,
    draw::Drawn,
    order::OrderId,
    parameters::Parameters,
    statement::{Answer, Report},
};
use frame_support::{assert_ok, pallet_prelude::InvalidTransaction};
use proptest::prelude::*;

use crate::{Event, IDLE_GONES, Market, Node, SlotBeacons, SlotSums, mock::*, statements::Refusal};

/// Every beacon draws every node.
fn always() -> Parameters {
    Parameters { audit_rate: 1, ramp: 0, ..Parameters::DEVELOPMENT }
}

/// A chain with one node that holds orders 10 to 12, of 5,000 bytes each, and has reported in slot 1.
fn chain(parameters: Parameters, test: impl FnOnce(Enclave)) {
    Chain { parameters, ..Chain::default() }.run(|| {
        go_to(2);
        let one = Enclave::new(1);
        assert_ok!(one.register());
        for name in 10..13 {
            hold(&one, name, 5_000);
        }
        go_to_slot(1);
        assert_ok!(answered(&one));
        events();
        test(one);
    });
}

fn hold(enclave: &Enclave, name: u8, size: u64) {
    Places::mutate(|places| places.push((0, order(name), size)));
    assert_ok!(apply(enclave.receipts(0, receipts(0, &[order(name)]))).unwrap());
}

fn due() -> Option<Drawn> {
    Mpow::audit(0).unwrap().due
}

/// A report that brings what the chain says that the node owes.
fn honest() -> Report {
    Report { audit: due().map(|due| answer(&due)), ..report(0, 1_000) }
}

fn answered(enclave: &Enclave) -> sp_runtime::DispatchResult {
    apply(enclave.report(0, honest())).unwrap()
}

fn refusal(enclave: &Enclave, report: Report) -> InvalidTransaction {
    let call = enclave.report(0, report);
    let pool = validate(call.clone()).unwrap_err();
    assert_eq!(apply(call).unwrap_err(), pool, "pool and block must agree");
    match pool {
        sp_runtime::transaction_validity::TransactionValidityError::Invalid(invalid) => invalid,
        other => panic!("{other:?}"),
    }
}

fn custom(refusal: Refusal) -> InvalidTransaction {
    InvalidTransaction::Custom(refusal as u8)
}

fn gone_of(enclave: &Enclave, order: OrderId) {
    assert_ok!(apply(enclave.gone(0, gone(0, &[order]))).unwrap());
}

/// Whose draws failed, since the events were last read.
fn failed() -> Vec<OrderId> {
    let events = System::events().into_iter().filter_map(|record| match record.event {
        RuntimeEvent::Mpow(Event::DrawFailed { node: 0, order }) => Some(order),
        _ => None,
    });
    events.collect()
}

fn probation(node: &Node) -> u32 {
    node.audits.probation
}

/// The coin: a machine's slot, every slot, for files that are nowhere.
#[test]
fn a_drawn_node_reports_with_the_answer_and_only_with_it() {
    chain(always(), |one| {
        go_to_slot(2);
        let drawn = due().unwrap();
        assert_eq!(drawn.size, 5_000);
        assert!(drawn.chunk < 5);
        assert_eq!(Mpow::due_draws(0, 10), [(0, drawn.clone())]);
        assert_eq!(refusal(&one, report(0, 1)), custom(Refusal::AuditDue));
        let right = answer(&drawn);
        let with = |answer: Answer| Report { audit: Some(answer), ..report(0, 1) };
        // Another chunk of the file, the same chunk of another file, a byte changed, a hash changed, too much, too little.
        let chunk = (drawn.chunk + 1) % audit::chunks(drawn.size);
        let mut wrong =
            vec![answer(&Drawn { chunk, ..drawn.clone() }), answer(&Drawn { order: order(99), ..drawn.clone() })];
        for at in 0..right.bytes.len().min(3) {
            let mut other = right.clone();
            other.bytes[at] ^= 1;
            wrong.push(other);
        }
        for at in 0..right.path.len() {
            let mut other = right.clone();
            other.path[at][0] ^= 1;
            wrong.push(other);
        }
        let mut longer = right.clone();
        longer.path.try_push([0; 32]).unwrap();
        let mut shorter = right.clone();
        shorter.path.pop();
        let empty = Answer { bytes: Default::default(), path: Default::default() };
        for answer in wrong.into_iter().chain([longer, shorter, empty]) {
            assert_eq!(refusal(&one, with(answer)), custom(Refusal::WrongAnswer));
        }
        assert_ok!(apply(one.report(0, with(right.clone()))).unwrap());
        assert!(events().contains(&Event::DrawAnswered { node: 0, order: drawn.order }));
        assert_eq!(AnsweredDraws::get().last(), Some(&0), "the market is told");
        assert_eq!(due(), None);
        assert_eq!(Mpow::due_draws(0, 10), []);
        // Answered once for all: the same answer is none in the next slot, unless it is drawn again.
        go_to_slot(3);
        let next = due().unwrap();
        if (next.order, next.chunk) != (drawn.order, drawn.chunk) {
            assert_eq!(refusal(&one, with(right)), custom(Refusal::WrongAnswer));
        }
    });
}

#[test]
fn who_is_not_drawn_must_not_answer() {
    chain(Parameters { audit_rate: 0, ..always() }, |one| {
        for slot in 2..10 {
            go_to_slot(slot);
            assert_eq!(due(), None);
            let some = Answer { bytes: Default::default(), path: Default::default() };
            assert_eq!(refusal(&one, Report { audit: Some(some), ..report(0, 1) }), custom(Refusal::NoAuditDue));
            assert_ok!(apply(one.report(0, report(0, 1))).unwrap());
        }
    });
}

#[test]
fn without_replicas_nothing_is_owed() {
    Chain { parameters: always(), ..Chain::default() }.run(|| {
        go_to(2);
        let one = Enclave::new(1);
        assert_ok!(one.register());
        for slot in 1..5 {
            go_to_slot(slot);
            assert_eq!(due(), None);
            assert_ok!(apply(one.report(0, report(0, 1))).unwrap());
        }
        // A file that came after the beacon of slot 5 is not drawn by it.
        go_to_slot(5);
        hold(&one, 10, 5_000);
        assert_eq!(due(), None);
        assert_ok!(apply(one.report(0, report(0, 1))).unwrap());
        go_to_slot(6);
        assert_eq!(due().unwrap().order, order(10));
    });
}

#[test]
fn the_beacon_stands_before_a_report_may_come() {
    chain(Parameters { beacon_blocks: 5, ..always() }, |one| {
        // The API of a block knows what a report in the next one owes.
        go_to(24);
        assert_eq!(Mpow::audit(0).unwrap().slot, 1);
        assert_eq!(due(), None);
        go_to(25);
        let info = Mpow::audit(0).unwrap();
        assert_eq!((info.slot, info.due.is_some()), (2, true));
        assert_ok!(answered(&one));
    });
}

/// *One that sits out the beacon.* The coin: the pay of the 23 in 24 slots that draw nothing, for files that are
/// nowhere.
#[test]
fn a_missed_draw_stays_due() {
    let parameters = Parameters { audit_rate: 4, ..always() };
    chain(parameters, |one| {
        // Silent from the slot that draws it until a slot that does not.
        let mut slot = 2;
        let mut first = None;
        loop {
            go_to_slot(slot);
            let beacon = SlotBeacons::<Test>::get().get(slot).unwrap();
            let hit = crust_protocol::draw::seed(&beacon, 0, 4).is_some();
            if hit && first.is_none() {
                first = Some(due().unwrap());
            }
            if first.is_some() && !hit {
                break;
            }
            slot += 1;
        }
        assert_eq!(due(), first, "the first missed draw, whatever was drawn since");
        assert_eq!(refusal(&one, report(0, 1)), custom(Refusal::AuditDue));
        assert_ok!(answered(&one));
        assert_eq!(due(), None);
    });
}

/// *Files sealed once the beacon is known*, so that it hits one of them. The coin: a draw that is always of what is
/// there, and the pay for all that is not.
#[test]
fn a_draw_is_over_the_replicas_as_they_stood_with_the_beacon() {
    chain(always(), |one| {
        go_to_slot(2);
        let before = due().unwrap();
        // New files, in the same slot and in later ones, change nothing about it.
        for (slot, name) in [(2, 20), (3, 21), (4, 22)] {
            go_to_slot(slot);
            hold(&one, name, 1_000_000);
            assert_eq!(due(), Some(before.clone()));
        }
        let made = Event::DrawMade { node: 0, order: before.order, chunk: before.chunk };
        assert_eq!(events().into_iter().filter(|event| *event == made).count(), 1);
        assert_ok!(answered(&one));
        // What was missed meanwhile is answered with it: one draw a node is due.
        assert_eq!(due(), None);
    });
}

/// *An order cancelled to escape its audit.* The coin: the reserve of the drawn replica, 0.336 tokens a TiB, and a
/// seventh of all.
#[test]
fn an_order_that_ends_takes_no_draw_with_it() {
    chain(always(), |one| {
        go_to_slot(2);
        let drawn = due().unwrap();
        for name in 10..13 {
            Table::end(0, &order(name));
        }
        assert_eq!(due(), Some(drawn.clone()));
        assert_eq!(refusal(&one, report(0, 1)), custom(Refusal::AuditDue));
        go_to_slot(4);
        assert_eq!(refusal(&one, report(0, 1)), custom(Refusal::AuditDue));
        assert_ok!(answered(&one));
        assert_eq!(probation(&node(0)), 0);
        // Now it holds nothing.
        go_to_slot(5);
        assert_eq!(due(), None);
        assert_ok!(answered(&one));
    });
}

/// The coin: the same, at the price of the smallest replica.
#[test]
fn a_loss_of_something_else_is_no_way_out() {
    chain(always(), |one| {
        go_to_slot(2);
        let drawn = due().unwrap();
        for name in 10..13 {
            if order(name) != drawn.order {
                gone_of(&one, order(name));
                assert_eq!(due(), Some(drawn.clone()));
                assert_eq!(refusal(&one, report(0, 1)), custom(Refusal::AuditDue));
            }
        }
        assert!(failed().is_empty());
        assert_ok!(answered(&one));
    });
}

#[test]
fn a_lost_draw_fails_and_the_node_serves_its_probation() {
    let parameters = Parameters { probation: 4, ..always() };
    chain(parameters.clone(), |one| {
        go_to_slot(2);
        let drawn = due().unwrap();
        gone_of(&one, drawn.order);
        assert_eq!(failed(), [drawn.order]);
        assert_eq!(FailedDraws::get(), [(0, Some(drawn.order))], "the market is told while the draw is due");
        assert_eq!((due(), probation(&node(0)), Mpow::on_probation(0)), (None, 4, true));
        // The report of this slot answers nothing and counts for nothing.
        Heard::set(Vec::new());
        assert_ok!(answered(&one));
        assert_eq!((node(0).power, Heard::get()), (0, vec![(0, 2, 0)]));
        assert_eq!(probation(&node(0)), 4);
        // Then each slot draws it, whatever the rate: four answers in a row.
        crate::Parameters::<Test>::put(Parameters { audit_rate: u32::MAX, ..parameters.clone() });
        for left in (0..4).rev() {
            go_to_slot(6 - left);
            assert!(due().is_some());
            assert_eq!(refusal(&one, report(0, 1)), custom(Refusal::AuditDue));
            assert_ok!(answered(&one));
            assert_eq!((node(0).power, probation(&node(0))), (0, left));
            assert_eq!(SlotSums::<Test>::get(6 - left).power, 0);
        }
        assert!(Heard::get().iter().all(|(_, _, good)| *good == 0));
        go_to_slot(7);
        assert_eq!(due(), None);
        assert_ok!(answered(&one));
        assert_eq!(node(0).power, 1_000 + Table::billed(0));
        assert_eq!(Heard::get().last(), Some(&(0, 7, 255)));
    });
}

#[test]
fn a_second_failure_begins_the_probation_anew_and_empty_slots_count() {
    chain(Parameters { probation: 4, ..always() }, |one| {
        go_to_slot(2);
        gone_of(&one, due().unwrap().order);
        for slot in 3..6 {
            go_to_slot(slot);
            assert_ok!(answered(&one));
        }
        assert_eq!(probation(&node(0)), 1);
        go_to_slot(6);
        gone_of(&one, due().unwrap().order);
        assert_eq!(probation(&node(0)), 4);
        for name in 10..13 {
            if Table::would_end(0, &order(name)) {
                gone_of(&one, order(name));
            }
        }
        for slot in 7..11 {
            go_to_slot(slot);
            assert_eq!(due(), None);
            assert_ok!(answered(&one));
        }
        assert_eq!(probation(&node(0)), 0);
    });
}

/// The coin: a seventh of all that is reserved, and the slots of the probation.
#[test]
fn who_will_not_answer_has_failed_its_due_draw() {
    chain(always(), |one| {
        go_to_slot(9);
        let drawn = due().unwrap();
        Mpow::unanswered(0);
        assert_eq!(failed(), [drawn.order]);
        assert!(Mpow::on_probation(0));
        // Told again, there is nothing due: what draws it next is a beacon that nobody knows yet.
        Mpow::unanswered(0);
        assert_eq!(failed().len(), 1);
        assert_eq!(due(), None);
        go_to_slot(10);
        assert!(due().is_some());
        assert_ok!(answered(&one));
        // A node without a due draw is only silent.
        Mpow::unanswered(0);
        Mpow::unanswered(77);
        assert_eq!(failed().len(), 1);
    });
}

#[test]
fn a_loss_that_is_due_always_counts() {
    chain(always(), |one| {
        go_to_slot(2);
        let drawn = due().unwrap();
        Table::end(0, &drawn.order);
        for _ in 0..IDLE_GONES {
            gone_of(&one, order(99));
        }
        let idle = one.gone(0, gone(0, &[order(99)]));
        assert_eq!(validate(idle).unwrap_err(), Refusal::NothingGone.into());
        // Its order has ended, and still the loss is one.
        gone_of(&one, drawn.order);
        assert_eq!(failed(), [drawn.order]);
        assert_eq!(node(0).gone_idle, (2, IDLE_GONES));
    });
}

#[test]
fn a_node_that_was_away_for_long_is_judged_in_bounded_time() {
    chain(Parameters { audit_rate: u32::MAX, attestation_period: 100_000, ..always() }, |one| {
        assert_ok!(one.renew(0));
        go_to_slot(1_000);
        assert_eq!(SlotBeacons::<Test>::get().numbers(), 873..1_001);
        assert_eq!(due(), None);
        assert_ok!(answered(&one));
        assert_eq!(node(0).audits.judged, 1_000);
    });
}

/// What may happen to a node between two of its reports.
#[derive(Clone, Debug)]
enum Step {
    Slots(u32),
    Seal(u8),
    End(u8),
    Lose(u8),
    Report,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (1u32..4).prop_map(Step::Slots),
        3 => (10u8..30).prop_map(Step::Seal),
        3 => (10u8..30).prop_map(Step::End),
        2 => (10u8..30).prop_map(Step::Lose),
        4 => Just(Step::Report),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    /// Whatever happens to its list: a node that answers what the chain says it owes is never refused, and one that
    /// owes something gets rid of it by an answer or a failure, by nothing else.
    #[test]
    fn honest_nodes_are_never_refused_and_no_change_of_the_list_escapes_a_draw(
        steps in proptest::collection::vec(any_step(), 1..60), chance: u8, rate in 1u32..5,
    ) {
        Chance::set(chance);
        Places::set(Vec::new());
        Replicas::set(Vec::new());
        chain(Parameters { audit_rate: rate, attestation_period: 100_000, probation: 3, ..always() }, |one| {
            let mut slot = 1;
            for step in steps {
                let (before, failures) = (due(), failed().len());
                let held = |name: u8| Table::would_end(0, &order(name));
                let mut may_leave = false;
                match step {
                    Step::Slots(slots) => {
                        slot += slots;
                        go_to_slot(slot);
                    }
                    Step::Seal(name) if !held(name) => hold(&one, name, u64::from(name) * 700),
                    Step::End(name) if held(name) => Table::end(0, &order(name)),
                    Step::Lose(name) if node(0).gone_idle.1 < IDLE_GONES || held(name) => {
                        may_leave = before.as_ref().is_some_and(|due| due.order == order(name));
                        gone_of(&one, order(name));
                        assert_eq!(failed().len(), failures + usize::from(may_leave));
                    }
                    Step::Report if node(0).last_report.unwrap().slot < slot => {
                        if before.is_some() {
                            assert_eq!(refusal(&one, report(0, 1)), custom(Refusal::AuditDue));
                        }
                        assert_ok!(answered(&one));
                        may_leave = true;
                    }
                    _ => {}
                }
                if before.is_some() {
                    assert!(may_leave != (due() == before), "{before:?} became {:?}", due());
                }
                assert_ok!(Mpow::do_try_state());
            }
        });
    }
}
