//! Platforms: machines as their vendor certifies them, and what one machine can count for.
//!
//! Reading an attestation key off a memory bus is cheap, so what a machine can mint is bounded: it serves one provider
//! while any registration on it lives, its filler and billed bytes together count up to a cap, and all that it proves
//! ramps up with its age ([`crate::power`]).
//!
//! `billed` is exact: the market tells of every replica that begins or ends. Filler is counted afresh in every slot, as
//! the reports of the machine's nodes land, so a node that has fallen silent takes no room from the others.

use codec::{Decode, Encode, MaxEncodedLen};
use crust_protocol::{BlockNumber, Hash, NodeId, Slot, parameters};
use frame_support::{dispatch::DispatchResult, ensure};
use scale_info::TypeInfo;
use sp_runtime::AccountId32;

use crate::{Config, Error, Market, Nodes, Pallet, Parameters, Platforms};

/// A machine.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct Platform {
    /// Whom it serves, or served last.
    pub provider: AccountId32,
    /// The block in which it was first seen; its age counts from there, whomever it serves.
    pub first_seen: BlockNumber,
    /// The last block of the longest registration on it.
    pub serves_until: BlockNumber,
    /// Billed bytes of the live replicas of its nodes.
    pub billed: u64,
    /// A slot, and the filler that reports in it were counted for.
    pub filler: (Slot, u64),
}

impl<T: Config> Pallet<T> {
    /// A platform serves a provider up to a block at least. One that serves another is refused.
    pub(crate) fn serve(platform: Hash, provider: &AccountId32, until: BlockNumber) -> DispatchResult {
        let now = Self::now();
        let mut record = Platforms::<T>::get(platform).unwrap_or(Platform {
            provider: provider.clone(),
            first_seen: now,
            serves_until: until,
            billed: 0,
            filler: (0, 0),
        });
        ensure!(record.provider == *provider || record.serves_until < now, Error::<T>::PlatformServesAnother);
        record.provider = provider.clone();
        record.serves_until = record.serves_until.max(until);
        Platforms::<T>::insert(platform, record);
        Ok(())
    }

    /// A node's replicas go with it to another machine, if they find room there.
    pub(crate) fn move_billed(node: NodeId, from: Hash, to: Hash) -> DispatchResult {
        let bytes = T::Market::billed(node);
        if from == to || bytes == 0 {
            return Ok(());
        }
        ensure!(Self::room_on(to) >= bytes, Error::<T>::PlatformFull);
        Platforms::<T>::mutate_extant(from, |platform| platform.billed = platform.billed.saturating_sub(bytes));
        Platforms::<T>::mutate_extant(to, |platform| platform.billed = platform.billed.saturating_add(bytes));
        Ok(())
    }

    /// Billed bytes that a node's platform has room for. Filler does not count: it gives way.
    pub fn platform_room(node: NodeId) -> u64 {
        Nodes::<T>::get(node).map_or(0, |record| Self::room_on(record.platform))
    }

    /// A node's replica has begun: so many billed bytes.
    pub fn replica_begun(node: NodeId, billed: u64) {
        Self::change_billed(node, |sum| sum.saturating_add(billed));
    }

    /// A node's replica has ended.
    pub fn replica_ended(node: NodeId, billed: u64) {
        Self::change_billed(node, |sum| sum.saturating_sub(billed));
    }

    /// Counts a node's filler in a slot as far as the cap and the node's collateral cover it. Says how much counts, and
    /// the platform's age.
    pub(crate) fn count_filler(
        parameters: &parameters::Parameters,
        platform: Hash,
        slot: Slot,
        filler: u64,
        covered: u64,
    ) -> (u64, BlockNumber) {
        let Some(mut record) = Platforms::<T>::get(platform) else {
            return (0, 0);
        };
        let before = if record.filler.0 == slot { record.filler.1 } else { 0 };
        let cap = parameters.platform_cap;
        let counted = filler.min(covered).min(cap.saturating_sub(record.billed).saturating_sub(before));
        let age = Self::now().saturating_sub(record.first_seen);
        record.filler = (slot, before.saturating_add(counted));
        Platforms::<T>::insert(platform, record);
        (counted, age)
    }

    fn room_on(platform: Hash) -> u64 {
        let billed = Platforms::<T>::get(platform).map_or(0, |platform| platform.billed);
        Parameters::<T>::get().platform_cap.saturating_sub(billed)
    }

    fn change_billed(node: NodeId, change: impl FnOnce(u64) -> u64) {
        if let Some(record) = Nodes::<T>::get(node) {
            Platforms::<T>::mutate_extant(record.platform, |platform| platform.billed = change(platform.billed));
        }
    }
}
