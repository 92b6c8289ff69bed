//! Statements: what enclaves say, one after the other on one chain of roots.
//!
//! A statement is authorised when a node offers it to the pool and again when a block is executed, by the signature of
//! the node's enclave and by what the chain stores: it must continue the node's last accepted statement, so of two that
//! continue the same one the second dies. An unauthorised one never enters a block. Accepting one moves the root on,
//! whatever becomes of the orders that it names.

use crust_protocol::{
    NodeId, Slot,
    order::OrderId,
    parameters,
    statement::{Gone, Receipts, Report, Signature, Statement, signed_bytes},
};
use frame_support::{
    dispatch::{DispatchResult, DispatchResultWithPostInfo},
    ensure,
    pallet_prelude::{
        InvalidTransaction, TransactionSource, TransactionValidityError, TransactionValidityWithRefund,
        ValidTransaction, Weight,
    },
    storage::with_storage_layer,
};
use frame_system::{ensure_authorized, pallet_prelude::OriginFor};
use sp_core::sr25519;
use sp_runtime::{SaturatedConversion, traits::BadOrigin};

use crate::{
    Config, Error, Event, IDLE_GONES, LastReport, Market, Node, Nodes, Pallet, Parameters, WeightInfo,
    beacon::KEPT_BEACONS, power::scrubbed_lately,
};

/// A report goes before whatever else waits on the same root.
const REPORT_PRIORITY: u64 = u64::MAX;
pub(crate) const PRIORITY: u64 = REPORT_PRIORITY.saturating_sub(1);

/// Why a statement is invalid, apart from an unknown node (`BadSigner`), a wrong signature (`BadProof`) and a root that
/// is not the stored one (`Stale`). The codes are part of the interface.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Refusal {
    /// The node's registration has ended.
    NotRegistered = 1,
    /// A statement that names no order.
    NoOrder = 2,
    /// The first order of the receipts has no place for the node.
    ReceiptNotWanted = 3,
    /// The node has sent too many `Gone`s in this slot that ended nothing, and so would the first order of this one.
    NothingGone = 4,
    /// The report is for another slot than that of the block.
    WrongSlot = 5,
    /// The first beacon window of the slot has not passed.
    TooEarly = 6,
    /// The report was made for a block that is not on this chain.
    WrongSlotHash = 7,
    /// The node has reported in this slot.
    ReportedAlready = 8,
    /// The report answers an audit, and none is due.
    NoAuditDue = 9,
    /// A draw is due: the report must answer it.
    AuditDue = 20,
    /// The answer is not that to the due draw.
    WrongAnswer = 21,
    /// The heir is no standby. Register it by `stand_by` first.
    UnknownHeir = 30,
    /// The heir is another provider's.
    HeirOfAnother = 31,
    /// The heir's key stands or stood behind a node.
    HeirHasRecord = 32,
    /// The heir's registration has lapsed, or its program is withdrawn.
    HeirOutOfPolicy = 33,
    /// The node has named an heir in this slot.
    HeirNamedAlready = 34,
}

impl From<Refusal> for TransactionValidityError {
    fn from(refusal: Refusal) -> Self {
        InvalidTransaction::Custom(refusal as u8).into()
    }
}

impl<T: Config> Pallet<T> {
    pub(crate) fn authorize_receipts(
        _: TransactionSource,
        node: &NodeId,
        statement: &Receipts,
        signature: &Signature,
    ) -> TransactionValidityWithRefund {
        let record = Self::registered_speaker(*node, statement)?;
        let first = statement.orders.first().ok_or(Refusal::NoOrder)?;
        if !T::Market::would_apply(*node, first) {
            return Err(Refusal::ReceiptNotWanted.into());
        }
        Self::verified(&Parameters::<T>::get(), *node, &record, statement, signature, PRIORITY)
    }

    pub(crate) fn authorize_gone(
        _: TransactionSource,
        node: &NodeId,
        statement: &Gone,
        signature: &Signature,
    ) -> TransactionValidityWithRefund {
        // A loss is welcome at any time, after the registration has ended too.
        let record = Self::speaker(*node, statement)?;
        let first = statement.orders.first().ok_or(Refusal::NoOrder)?;
        let ends = |order| T::Market::would_end(*node, order) || Self::due(*node).as_ref() == Some(order);
        // Whoever has let its registration end can still lose something, and say nothing else for free.
        let idle = if Self::registered(&record) { IDLE_GONES } else { 0 };
        let parameters = Parameters::<T>::get();
        if idle_gones(&record, parameters.slot_of(Self::now())) >= idle && !ends(first) {
            return Err(Refusal::NothingGone.into());
        }
        Self::verified(&parameters, *node, &record, statement, signature, PRIORITY)
    }

    pub(crate) fn authorize_report(
        _: TransactionSource,
        node: &NodeId,
        statement: &Report,
        signature: &Signature,
    ) -> TransactionValidityWithRefund {
        let record = Self::registered_speaker(*node, statement)?;
        let parameters = Parameters::<T>::get();
        Self::timely(&parameters, &record, statement)?;
        Self::check_answer(&parameters, *node, &record, statement)?;
        let (validity, _) = Self::verified(&parameters, *node, &record, statement, signature, REPORT_PRIORITY)?;
        let passed = statement.slot.saturating_sub(record.audits.judged).min(KEPT_BEACONS);
        Ok((validity, T::WeightInfo::beacons(KEPT_BEACONS.saturating_sub(passed))))
    }

    /// A statement is dispatched with the origin that its enclave's signature has made.
    pub(crate) fn ensure_said(origin: OriginFor<T>, _: Signature) -> Result<(), BadOrigin> {
        ensure_authorized(origin)
    }

    pub(crate) fn do_receipts(node: NodeId, statement: Receipts) -> DispatchResultWithPostInfo {
        let record = Self::advance(node, &statement)?;
        let orders = &statement.orders;
        // First the record: the market's changes may make a draw that goes into it.
        Nodes::<T>::insert(node, &record);
        // The market skips what does not apply; should it fail as a whole, nothing applied, and the root moves on.
        let outcome = with_storage_layer(|| T::Market::receipts(node, &record.provider, orders));
        let (applied, weight) = outcome.unwrap_or((0, T::WeightInfo::receipts(count(orders))));
        Self::deposit_event(Event::ReceiptsAccepted { node, root: statement.root, applied });
        Ok(Some(T::WeightInfo::receipts(0).saturating_add(weight)).into())
    }

    pub(crate) fn do_gone(node: NodeId, statement: Gone) -> DispatchResultWithPostInfo {
        let mut record = Self::advance(node, &statement)?;
        let parameters = Parameters::<T>::get();
        Self::make_draw(&parameters, node, &mut record);
        // First the record: the market asks for the draw that is due.
        Nodes::<T>::insert(node, &record);
        let due = record.audits.due.as_ref().map(|due| due.order);
        let failed = due.filter(|due| statement.orders.contains(due));
        if let Some(order) = failed {
            Self::fail_draw(node, order);
        }
        let (due, is_out) = (due.filter(|_| failed.is_none()), Self::may_not_speak(&record));
        let (ended, weight) = T::Market::gone(node, due, is_out, &statement.orders);
        if ended == 0 && failed.is_none() {
            let slot = parameters.slot_of(Self::now());
            let idle = (slot, idle_gones(&record, slot).saturating_add(1));
            Nodes::<T>::mutate_extant(node, |record| record.gone_idle = idle);
        }
        Self::deposit_event(Event::GoneAccepted { node, root: statement.root, ended });
        Ok(Some(T::WeightInfo::gone(0).saturating_add(weight)).into())
    }

    pub(crate) fn do_report(node: NodeId, statement: Report) -> DispatchResult {
        let mut record = Self::advance(node, &statement)?;
        let Report { root, slot, filler_bytes, stored_bytes, good_filler, good_files, scrubbed_until, audit, .. } =
            statement;
        let parameters = Parameters::<T>::get();
        let counts = scrubbed_lately(&parameters, slot, scrubbed_until) && record.audits.probation == 0;
        let vouched = |good: u8| if counts { good } else { 0 };
        let good = (vouched(good_filler), vouched(good_files));
        let (held, covered) = T::Market::reported(&parameters, node, slot, good.1);
        let (idle, power) = Self::weigh(&parameters, &record, slot, (filler_bytes, covered, held), good);
        Self::note_answer(&parameters, node, &mut record, slot, audit.is_some());
        record.power = power;
        record.idle = idle;
        record.last_report = Some(LastReport {
            slot,
            block: Self::now(),
            filler_bytes,
            stored_bytes,
            good_filler,
            good_files,
            scrubbed_until,
        });
        Nodes::<T>::insert(node, record);
        Self::add_report(slot, power, idle);
        Self::deposit_event(Event::Reported {
            node,
            root,
            slot,
            filler_bytes,
            stored_bytes,
            good_filler,
            good_files,
            power,
        });
        Ok(())
    }

    /// The node that says this, if the statement continues its last one.
    fn speaker<S: Statement>(node: NodeId, statement: &S) -> Result<Node, TransactionValidityError> {
        let record = Nodes::<T>::get(node).ok_or(InvalidTransaction::BadSigner)?;
        match record.root == statement.prev() {
            true => Ok(record),
            false => Err(InvalidTransaction::Stale.into()),
        }
    }

    /// The same, if it may say more than what it has lost.
    pub(crate) fn registered_speaker<S: Statement>(
        node: NodeId,
        statement: &S,
    ) -> Result<Node, TransactionValidityError> {
        let record = Self::speaker(node, statement)?;
        match Self::registered(&record) {
            true => Ok(record),
            false => Err(Refusal::NotRegistered.into()),
        }
    }

    /// Whether a report may be in this block: of this chain's slot, after its first window, the node's first.
    fn timely(parameters: &parameters::Parameters, record: &Node, report: &Report) -> Result<(), Refusal> {
        let now = Self::now();
        let slot = parameters.slot_of(now);
        let first = parameters.first_block(slot);
        let refusals = [
            (report.slot != slot || slot == 0, Refusal::WrongSlot),
            (now.saturating_sub(first) < parameters.beacon_blocks, Refusal::TooEarly),
            (report.slot_hash != Self::block_hash(first.saturating_sub(1)), Refusal::WrongSlotHash),
            (record.last_report.as_ref().is_some_and(|last| last.slot >= slot), Refusal::ReportedAlready),
        ];
        match refusals.into_iter().find(|(refused, _)| *refused) {
            Some((_, refusal)) => Err(refusal),
            None => Ok(()),
        }
    }

    /// The validity of a statement that the node's enclave signed. Nothing else may wait on the same root.
    pub(crate) fn verified<S: Statement>(
        parameters: &parameters::Parameters,
        node: NodeId,
        record: &Node,
        statement: &S,
        signature: &Signature,
        priority: u64,
    ) -> TransactionValidityWithRefund {
        let signed = signed_bytes(&Self::genesis_hash(), &record.sign_pk, statement);
        let signature = sr25519::Signature::from_raw(*signature);
        let key = sr25519::Public::from_raw(record.sign_pk);
        if !sp_io::crypto::sr25519_verify(&signature, &signed, &key) {
            return Err(InvalidTransaction::BadProof.into());
        }
        let validity = ValidTransaction::with_tag_prefix("CrustMpow")
            .priority(priority)
            .and_provides((node, statement.prev()))
            .longevity(parameters.slot_blocks.into())
            .propagate(true)
            .build()?;
        Ok((validity, Weight::zero()))
    }

    /// The node's record with the statement's root. Only an authorised origin comes here; what is authorised against
    /// another state than it is dispatched on still changes nothing.
    pub(crate) fn advance<S: Statement>(node: NodeId, statement: &S) -> Result<Node, Error<T>> {
        let mut record = Nodes::<T>::get(node).ok_or(Error::<T>::UnknownNode)?;
        ensure!(record.root == statement.prev(), Error::<T>::NotOnRoot);
        record.root = statement.root();
        Ok(record)
    }
}

/// How many `Gone`s of a node ended nothing in this slot.
fn idle_gones(record: &Node, slot: Slot) -> u8 {
    match record.gone_idle {
        (noted, count) if noted == slot => count,
        _ => 0,
    }
}

/// How many orders a statement names.
pub(crate) fn count(orders: &[OrderId]) -> u32 {
    orders.len().saturated_into()
}
