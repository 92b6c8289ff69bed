//! Succession: another enclave takes a node over, for an upgrade as for a dead board.
//!
//! * **Standby.** A provider registers the enclave that may follow, with evidence like a node's, by `stand_by`. It gets
//!   no number: it holds nothing, says nothing, deposits nothing, and no hook ever meets it. The same call renews it.
//! * **Heir.** The node's own enclave names it in a statement on its line: it has handed its keys over.
//! * **`succeed`.** The provider puts the heir in the node's place. Number and record stay, whatever is recorded under
//!   the number elsewhere too; the old key is used up for ever.

use codec::{Decode, Encode, MaxEncodedLen};
use crust_evidence::Family;
use crust_protocol::{
    BlockNumber, Hash, Key, NodeId,
    statement::{Heir, Signature},
};
use frame_support::{
    dispatch::DispatchResult,
    ensure,
    pallet_prelude::{TransactionSource, TransactionValidityWithRefund},
};
use scale_info::TypeInfo;
use sp_runtime::AccountId32;

use crate::{
    Config, Endpoint, Endpoints, Error, Event, Measurements, Node, NodeOf, Nodes, Pallet, Parameters, Standbys,
    environment::Applicant,
    statements::{PRIORITY, Refusal},
};

/// An enclave that may follow a node of its provider.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct Standby {
    pub provider: AccountId32,
    pub channel_pk: Key,
    pub family: Family,
    pub platform: Hash,
    pub measurement: u32,
    /// The last block of its registration.
    pub registered_until: BlockNumber,
    pub endpoint: Endpoint,
}

impl<T: Config> Pallet<T> {
    pub(crate) fn do_stand_by(applicant: Applicant) -> DispatchResult {
        let sign_pk = applicant.sign_pk;
        let of_another = Standbys::<T>::get(sign_pk).is_some_and(|standby| standby.provider != applicant.provider);
        ensure!(!NodeOf::<T>::contains_key(sign_pk) && !of_another, Error::<T>::KeyUsed);
        let standby = Self::admit(applicant)?;
        let Standby { provider, measurement, registered_until: until, .. } = standby.clone();
        Standbys::<T>::insert(sign_pk, standby);
        Self::deposit_event(Event::StoodBy { provider, sign_pk, measurement, until });
        Ok(())
    }

    pub(crate) fn authorize_heir(
        _: TransactionSource,
        node: &NodeId,
        statement: &Heir,
        signature: &Signature,
    ) -> TransactionValidityWithRefund {
        let record = Self::registered_speaker(*node, statement)?;
        // One a slot: otherwise a node could fill blocks for nothing.
        if record.heir.is_some_and(|(named, _)| named == Self::slot()) {
            return Err(Refusal::HeirNamedAlready.into());
        }
        let standby = Standbys::<T>::get(statement.heir).ok_or(match NodeOf::<T>::contains_key(statement.heir) {
            true => Refusal::HeirHasRecord,
            false => Refusal::UnknownHeir,
        })?;
        if standby.provider != record.provider {
            return Err(Refusal::HeirOfAnother.into());
        }
        if !Self::stands(&standby) {
            return Err(Refusal::HeirOutOfPolicy.into());
        }
        Self::verified(&Parameters::<T>::get(), *node, &record, statement, signature, PRIORITY)
    }

    pub(crate) fn do_heir(node: NodeId, statement: Heir) -> DispatchResult {
        let mut record = Self::advance(node, &statement)?;
        record.heir = Some((Self::slot(), statement.heir));
        Nodes::<T>::insert(node, record);
        Self::deposit_event(Event::HeirNamed { node, root: statement.root, heir: statement.heir });
        Ok(())
    }

    pub(crate) fn do_succeed(provider: AccountId32, node: NodeId) -> DispatchResult {
        let record = Self::node_of_provider(&provider, node)?;
        let (_, heir) = record.heir.ok_or(Error::<T>::NoHeir)?;
        let standby = Standbys::<T>::get(heir).ok_or(Error::<T>::HeirGone)?;
        ensure!(Self::stands(&standby), Error::<T>::HeirOutOfPolicy);
        Self::move_billed(node, record.platform, standby.platform)?;
        // What was judged before the node fell out of policy shows nothing of the policy that it fell out of.
        let judged = standby.registered_until.saturating_sub(Parameters::<T>::get().attestation_period);
        let out_since = record.out_since.filter(|since| judged < *since);
        let Standby { channel_pk, family, platform, measurement, registered_until, endpoint, .. } = standby;
        let successor = Node {
            sign_pk: heir,
            channel_pk,
            family,
            platform,
            measurement,
            registered_until,
            out_since,
            heir: None,
            ..record
        };
        Standbys::<T>::remove(heir);
        NodeOf::<T>::insert(heir, node);
        Nodes::<T>::insert(node, successor);
        Endpoints::<T>::insert(node, endpoint);
        Self::deposit_event(Event::Succeeded { node, sign_pk: heir, measurement, until: registered_until });
        Ok(())
    }

    /// Whether a standby could be a node: its registration lasts and its program is approved.
    fn stands(standby: &Standby) -> bool {
        let now = Self::now();
        let approved = Measurements::<T>::get(standby.measurement);
        now <= standby.registered_until && approved.is_some_and(|approval| approval.withdrawn(now).is_none())
    }
}
