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
    attestation::Evidence,
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
    Addresses, Config, Error, Event, Measurements, Node, NodeOf, Nodes, Pallet, PeerId, Standbys,
    environment::{Shown, check_place},
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
    pub peer_id: PeerId,
    pub addresses: Addresses,
}

impl<T: Config> Pallet<T> {
    pub(crate) fn do_stand_by(
        provider: AccountId32,
        sign_pk: Key,
        channel_pk: Key,
        block_number: BlockNumber,
        evidence: &Evidence,
        peer_id: PeerId,
        addresses: Addresses,
    ) -> DispatchResult {
        let of_another = Standbys::<T>::get(sign_pk).is_some_and(|standby| standby.provider != provider);
        ensure!(!NodeOf::<T>::contains_key(sign_pk) && !of_another, Error::<T>::KeyUsed);
        check_place::<T>(&peer_id, &addresses)?;
        let shown = Self::judge(&provider, sign_pk, channel_pk, block_number, evidence)?.welcome()?;
        let Shown { family, platform, measurement, until: registered_until, .. } = shown;
        Self::serve(platform, &provider, registered_until)?;
        let standby = Standby {
            provider: provider.clone(),
            channel_pk,
            family,
            platform,
            measurement,
            registered_until,
            peer_id,
            addresses,
        };
        Standbys::<T>::insert(sign_pk, standby);
        Self::deposit_event(Event::StoodBy { provider, sign_pk, measurement, until: registered_until });
        Ok(())
    }

    pub(crate) fn authorize_heir(
        _: TransactionSource,
        node: &NodeId,
        statement: &Heir,
        signature: &Signature,
    ) -> TransactionValidityWithRefund {
        let record = Self::speaker(*node, statement)?;
        Self::registered_speaker(&record)?;
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
        Self::verified(*node, &record, statement, signature, PRIORITY)
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
        let Standby { channel_pk, family, platform, measurement, registered_until, peer_id, addresses, .. } = standby;
        let successor = Node {
            sign_pk: heir,
            channel_pk,
            family,
            platform,
            measurement,
            registered_until,
            peer_id,
            addresses,
            out_since: None,
            heir: None,
            ..record
        };
        Standbys::<T>::remove(heir);
        NodeOf::<T>::insert(heir, node);
        Nodes::<T>::insert(node, successor);
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
