//! Audits: what a node must show of a file, by the chain's choice and against the client's own commitment.
//!
//! The beacon of a slot draws a node, about once in [`audit_rate`] slots, and one kilobyte of one of its replicas, by
//! their bytes (the [`Market`] knows them). The draw is over the replicas as they stood when the beacon did: the first
//! change of them after it *makes* the draw ([`Pallet::before_change`]), or else the node's report finds it. One draw a
//! node is due; it stays due whatever becomes of its order, no report of the node is accepted without its answer, and it
//! leaves in one of two ways:
//! * *answered*: with a report, checked against the audit root that the client committed to;
//! * *failed*: its file is declared gone, or the market finds that the node will not answer: it is silent, or was
//!   abandoned. That costs collateral; then the node is
//!   on *probation*: drawn in every slot, without power and pay, until it has answered [`probation`] times in a row.
//!
//! With an audit rate of 0 nobody is drawn.
//!
//! [`audit_rate`]: crust_protocol::parameters::Parameters::audit_rate
//! [`probation`]: crust_protocol::parameters::Parameters::probation

use alloc::vec::Vec;

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use crust_protocol::{
    Hash, NodeId, Slot, audit,
    draw::{self, Drawn},
    order::OrderId,
    parameters,
    statement::{Answer, Report},
};
use scale_info::TypeInfo;

use crate::{
    Config, Event, Market, NextNode, Node, Nodes, Pallet, Parameters, SlotBeacons, runtime_api::MAX_PAGE,
    statements::Refusal,
};

/// What a node's record knows of its audits.
#[derive(Clone, PartialEq, Eq, Debug, Default, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct Audits {
    /// The beacons of slots up to this one have drawn the node, or not, for the last time.
    pub judged: Slot,
    /// The due draw, once it is made.
    pub due: Option<Drawn>,
    /// Answers that the node still owes on probation; 0 if it is on none.
    pub probation: u32,
}

/// What a node owes, as the outside sees it.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, TypeInfo)]
pub struct AuditInfo {
    /// The newest slot whose beacon stands. A report of a later slot may owe something else.
    pub slot: Slot,
    /// What the node's next report must answer.
    pub due: Option<Drawn>,
    /// Answers until the node earns again; 0 if it does.
    pub probation: u32,
}

impl<T: Config> Pallet<T> {
    /// What the next report of a node must answer, as far as the beacons go.
    pub fn audit(node: NodeId) -> Option<AuditInfo> {
        let record = Nodes::<T>::get(node)?;
        let Audits { due, probation, .. } = Self::after_beacons(&Parameters::<T>::get(), node, &record.audits);
        Some(AuditInfo { slot: SlotBeacons::<T>::get().newest(), due, probation })
    }

    /// The due draws of up to `limit` nodes (and 1,000) from a number on.
    pub fn due_draws(start: NodeId, limit: u32) -> Vec<(NodeId, Drawn)> {
        let end = NextNode::<T>::get().min(start.saturating_add(limit.min(MAX_PAGE)));
        (start..end).filter_map(|node| Some((node, Self::audit(node)?.due?))).collect()
    }

    /// Whether a node is on probation: it earns neither power nor pay.
    pub fn on_probation(node: NodeId) -> bool {
        Nodes::<T>::get(node).is_some_and(|record| record.audits.probation > 0)
    }

    /// The order of a node's due draw.
    pub fn due(node: NodeId) -> Option<OrderId> {
        Some(Self::after_beacons(&Parameters::<T>::get(), node, &Nodes::<T>::get(node)?.audits).due?.order)
    }

    /// Must be called before a node's replicas change in any way: makes the draw that is over them as they still stand.
    /// Gives the order of the due draw.
    pub fn before_change(node: NodeId) -> Option<OrderId> {
        let mut record = Nodes::<T>::get(node)?;
        if Self::make_draw(&Parameters::<T>::get(), node, &mut record) {
            Nodes::<T>::insert(node, &record);
        }
        record.audits.due.map(|due| due.order)
    }

    /// A node will not answer, as the market has found: its due draw, should it have one, has failed. To be called once,
    /// before its replicas end.
    pub fn unanswered(node: NodeId) {
        if let Some(order) = Self::before_change(node) {
            Self::fail_draw(node, order);
        }
    }

    /// Makes the draw that is due by the beacons that stand; says whether that changed the record, which whoever calls it
    /// stores.
    pub(crate) fn make_draw(parameters: &parameters::Parameters, node: NodeId, record: &mut Node) -> bool {
        let judged = Self::after_beacons(parameters, node, &record.audits);
        if judged == record.audits {
            return false;
        }
        record.audits = judged;
        if let Some(due) = &record.audits.due {
            Self::deposit_event(Event::DrawMade { node, order: due.order, chunk: due.chunk });
        }
        true
    }

    /// Whether a report brings the answer that its node owes, and no other.
    pub(crate) fn check_answer(
        parameters: &parameters::Parameters,
        node: NodeId,
        record: &Node,
        report: &Report,
    ) -> Result<(), Refusal> {
        match (Self::after_beacons(parameters, node, &record.audits).due, &report.audit) {
            (None, None) => Ok(()),
            (None, Some(_)) => Err(Refusal::NoAuditDue),
            (Some(_), None) => Err(Refusal::AuditDue),
            (Some(due), Some(answer)) if answers(&due, answer) => Ok(()),
            (Some(_), Some(_)) => Err(Refusal::WrongAnswer),
        }
    }

    /// After [`Self::check_answer`]: what an accepted report of this slot makes of the audits.
    pub(crate) fn note_answer(
        parameters: &parameters::Parameters,
        node: NodeId,
        record: &mut Node,
        slot: Slot,
        answered: bool,
    ) {
        if answered && let Some(due) = Self::after_beacons(parameters, node, &record.audits).due {
            T::Market::draw_answered(node);
            Self::deposit_event(Event::DrawAnswered { node, order: due.order });
        }
        let left = record.audits.probation;
        // Whoever holds nothing has nothing to answer with, and serves its time all the same.
        let served = left > 0 && (answered || T::Market::draw(node, &Hash::default()).is_none());
        let probation = left.saturating_sub(served.into());
        record.audits = Audits { judged: slot, due: None, probation };
    }

    /// The audits of a node after every beacon that stands.
    fn after_beacons(parameters: &parameters::Parameters, node: NodeId, audits: &Audits) -> Audits {
        let mut judged = audits.clone();
        if audits.due.is_some() || audits.judged >= parameters.slot_of(Self::now()) {
            return judged;
        }
        let beacons = SlotBeacons::<T>::get();
        let slots = beacons.numbers();
        let rate = match (parameters.audit_rate, audits.probation) {
            (0, _) => 0,
            (rate, 0) => rate,
            (_, _) => 1,
        };
        judged.judged = audits.judged.max(beacons.newest());
        judged.due = (slots.start.max(audits.judged.saturating_add(1))..slots.end)
            .find_map(|slot| draw::seed(&beacons.get(slot)?, node, rate))
            .and_then(|seed| T::Market::draw(node, &seed));
        judged
    }

    /// Takes the due draw away, which is made and stored and of this order, and puts the node on probation.
    pub(crate) fn fail_draw(node: NodeId, order: OrderId) {
        // While the draw is still due: the market asks for it.
        T::Market::draw_failed(node);
        let probation = Parameters::<T>::get().probation;
        Nodes::<T>::mutate_extant(node, |record| {
            // What draws it next is a beacon that nobody knows yet.
            record.audits = Audits { judged: SlotBeacons::<T>::get().newest(), due: None, probation };
        });
        Self::deposit_event(Event::DrawFailed { node, order });
    }
}

fn answers(due: &Drawn, answer: &Answer) -> bool {
    audit::verify(&due.audit_root, due.size, due.chunk, answer)
}
