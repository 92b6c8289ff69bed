//! The model that drives enclave and chain through random histories (`enclave/src/enclave_tests/model.rs`) has a chain
//! of its own. Here its steps are replayed: what the model's chain is before a block, what an enclave said there, and
//! what became of it. So what the model shows of its chain it shows of this pallet.

use std::collections::BTreeSet;

use codec::{Decode, DecodeAll};
use crust_protocol::{
    Hash, Key, Slot,
    draw::Drawn,
    order::OrderId,
    statement::{Gone, Heir, Receipts, Report, Signature},
};
use frame_support::assert_ok;

use crate::{IDLE_GONES, LastReport, NodeOf, Nodes, Standby, Standbys, audits::Audits, mock::*};

/// The model's genesis block.
const GENESIS: Hash = [1; 32];
/// Blocks of the model's first window.
const WINDOW: u32 = 2;
/// `Gone`s that end nothing, of a slot of the model.
const IDLE: u32 = 3;

#[derive(Decode, Debug)]
struct Step {
    sign_pk: Key,
    before: Block,
    statement: Statement,
    signature: Signature,
    after: Option<Block>,
}

#[derive(Decode, Debug)]
struct Block {
    slot: Slot,
    slot_hash: Hash,
    age: u32,
    _began: u64,
    root: Hash,
    registered: bool,
    wanted: BTreeSet<OrderId>,
    live: BTreeSet<OrderId>,
    reported: Slot,
    filler: u64,
    due: Option<Drawn>,
    idle_gones: u32,
    heir: Option<(Slot, Key)>,
}

#[derive(Decode, Debug)]
enum Statement {
    #[codec(index = 0)]
    Receipts(Receipts),
    #[codec(index = 1)]
    Gone(Gone),
    #[codec(index = 2)]
    Report(Report),
    #[codec(index = 3)]
    Heir(Heir),
}

/// The chain with node 0 as the model has it; the heir that is about to be named stands by.
fn stand(step: &Step) {
    let Block { slot, slot_hash, age, root, registered, wanted, live, reported, filler, due, idle_gones, heir, .. } =
        &step.before;
    go_to(2);
    assert_ok!(Enclave::new(1).register());
    for order in live {
        Table::hold(0, *order, 1);
    }
    Places::set(wanted.difference(live).map(|order| (0, *order, 1)).collect());

    let parameters = crate::Parameters::<Test>::get();
    let first = parameters.first_block(*slot);
    let now = if *age < WINDOW { first } else { first + parameters.beacon_blocks };
    System::set_block_number(now);
    frame_system::BlockHash::<Test>::insert(first - 1, sp_core::H256(*slot_hash));
    frame_system::BlockHash::<Test>::insert(0, sp_core::H256(GENESIS));

    let idle = if *idle_gones < IDLE { *idle_gones as u8 } else { IDLE_GONES };
    let last_report = LastReport {
        slot: *reported,
        block: 0,
        filler_bytes: *filler,
        stored_bytes: 0,
        good_filler: 255,
        good_files: 255,
        scrubbed_until: *reported,
    };
    Nodes::<Test>::mutate_extant(0, |record| {
        record.sign_pk = step.sign_pk;
        record.root = *root;
        record.registered_until = if *registered { now } else { now - 1 };
        record.last_report = (*reported > 0).then_some(last_report);
        record.audits = Audits { judged: *slot, due: due.clone(), probation: 0 };
        record.gone_idle = (*slot, idle);
        record.heir = *heir;
    });
    NodeOf::<Test>::insert(step.sign_pk, 0);
    if let Statement::Heir(Heir { heir, .. }) = &step.statement {
        let record = node(0);
        let standby = Standby {
            provider: record.provider,
            channel_pk: record.channel_pk,
            family: record.family,
            platform: record.platform,
            measurement: record.measurement,
            registered_until: now,
            endpoint: endpoint(),
        };
        Standbys::<Test>::insert(heir, standby);
    }
}

/// Says it; whether it was taken.
fn say(step: &Step) -> bool {
    let (node, signature) = (0, step.signature);
    let call = match &step.statement {
        Statement::Receipts(said) => crate::Call::receipts { node, statement: said.clone(), signature },
        Statement::Gone(said) => crate::Call::gone { node, statement: said.clone(), signature },
        Statement::Report(said) => crate::Call::report { node, statement: said.clone(), signature },
        Statement::Heir(said) => crate::Call::heir { node, statement: said.clone(), signature },
    };
    let outcome = apply(call.into());
    if let Ok(dispatched) = outcome {
        assert_ok!(dispatched);
    }
    outcome.is_ok()
}

#[test]
fn the_models_chain_is_this_pallet() {
    let steps = Vec::<Step>::decode_all(&mut &include_bytes!("../../tests/data/line.scale")[..]).unwrap();
    for step in &steps {
        Chain::default().begin(|| {
            stand(step);
            assert_eq!(say(step), step.after.is_some(), "{step:?}");
            let after = step.after.as_ref().unwrap_or(&step.before);
            let record = node(0);
            let live: BTreeSet<OrderId> = Replicas::get().into_iter().map(|(_, order, _)| order).collect();
            assert_eq!((record.root, live), (after.root, after.live.clone()), "{step:?}");
            assert_eq!((&record.audits.due, record.heir), (&after.due, after.heir), "{step:?}");
            let reported = record.last_report.map_or((0, after.filler), |last| (last.slot, last.filler_bytes));
            assert_eq!(reported, (after.reported, after.filler), "{step:?}");
            let idle = if record.gone_idle.0 == after.slot { u32::from(record.gone_idle.1) } else { 0 };
            assert_eq!(idle.min(IDLE), after.idle_gones.min(IDLE), "{step:?}");
        });
    }
    assert!(steps.len() > 100, "{} steps", steps.len());
}
