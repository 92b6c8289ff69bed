//! What is true of the state between any two calls. Every test ends here.

use crust_protocol::{NodeId, Slot, audit};
use sp_runtime::DispatchError;

use crate::{
    Config, Editions, Endpoints, KEPT_SLOTS, MAX_FAMILIES, MAX_MEASUREMENTS, Market, Measurements, NextMeasurement,
    NextNode, NodeOf, Nodes, Pallet, Parameters, PckCrls, Platforms, QeIdentities, RootCrl, SlotBeacons, SlotSums,
    Standbys, Sums, TcbInfos, collateral::Part,
};

impl<T: Config> Pallet<T> {
    /// Checks all of the pallet's state.
    pub fn do_try_state() -> Result<(), DispatchError> {
        Self::nodes_have_their_numbers_and_keys()?;
        Self::standbys_are_nobody_yet()?;
        Self::platforms_count_what_is_on_them()?;
        Self::slots_sum_up_their_reports()?;
        Self::collateral_is_bounded()
    }

    /// Numbers are given without gaps, and every key leads to the one node that it stands or stood behind.
    fn nodes_have_their_numbers_and_keys() -> Result<(), DispatchError> {
        let (next, slot, measurements) = (NextNode::<T>::get(), Self::slot(), NextMeasurement::<T>::get());
        let mut count: NodeId = 0;
        for (number, node) in Nodes::<T>::iter() {
            count = count.saturating_add(1);
            holds(number < next, "a node has a number that was not given")?;
            holds(NodeOf::<T>::get(node.sign_pk) == Some(number), "a node's key does not lead to it")?;
            holds(node.measurement < measurements, "a node's measurement was never in the list")?;
            let listed = Measurements::<T>::contains_key(node.measurement);
            holds(listed || !Self::registered(&node), "a node is registered under a measurement that is not listed")?;
            holds(Platforms::<T>::contains_key(node.platform), "a node is on a platform that was never seen")?;
            holds(Endpoints::<T>::contains_key(number), "nobody knows where a node is reached")?;
            holds(node.gone_idle.0 <= slot, "a node has said what it loses in a slot to come")?;
            let newest = SlotBeacons::<T>::get().newest();
            holds(node.audits.judged <= newest, "a node was drawn, or not, by a beacon that does not stand")?;
            let within = node.audits.due.as_ref().is_none_or(|due| due.chunk < audit::chunks(due.size));
            holds(within, "a draw is of a chunk that the file does not have")?;
            match &node.last_report {
                None => holds(node.power == 0, "a node without a report has power")?,
                Some(last) => {
                    holds(last.slot >= 1 && last.slot <= slot, "a node has reported in slot 0 or in one to come")?;
                    holds(last.block <= Self::now(), "a report is in a block to come")?;
                }
            }
        }
        holds(count == next, "a number was given to no node")?;
        holds(Endpoints::<T>::iter_keys().all(|number| number < next), "an endpoint of no node")?;
        for (_, number) in NodeOf::<T>::iter() {
            holds(Nodes::<T>::contains_key(number), "a key leads to a node that is not there")?;
        }
        Ok(())
    }

    /// A standby has no number and no used key, and its platform serves its provider as long as its registration lasts.
    fn standbys_are_nobody_yet() -> Result<(), DispatchError> {
        for (key, standby) in Standbys::<T>::iter() {
            holds(!NodeOf::<T>::contains_key(key), "a standby's key stands or stood behind a node")?;
            let platform = Platforms::<T>::get(standby.platform);
            let serves = platform.is_some_and(|platform| {
                platform.provider == standby.provider && standby.registered_until <= platform.serves_until
            });
            holds(serves || standby.registered_until < Self::now(), "a standby is on another provider's platform")?;
        }
        Ok(())
    }

    /// Billed bytes are those of the platform's nodes, and no slot counts more than the cap leaves.
    fn platforms_count_what_is_on_them() -> Result<(), DispatchError> {
        let cap = Parameters::<T>::get().platform_cap;
        for (hash, platform) in Platforms::<T>::iter() {
            let on_it = Nodes::<T>::iter().filter(|(_, node)| node.platform == hash);
            let billed = on_it.fold(0u64, |sum, (node, _)| sum.saturating_add(T::Market::billed(node)));
            holds(platform.billed == billed, "a platform's billed bytes are not those of its nodes")?;
            holds(platform.billed <= cap && platform.filler.1 <= cap, "a platform counts for more than its cap")?;
            holds(platform.first_seen <= Self::now(), "a platform was first seen in a block to come")?;
        }
        Ok(())
    }

    /// The sums of a slot are those of the reports in it. A node's record has only its last, so older slots hold more.
    fn slots_sum_up_their_reports() -> Result<(), DispatchError> {
        let slot = Self::slot();
        let reported = |slot: Slot| -> Sums {
            Nodes::<T>::iter_values()
                .filter(|node| node.last_report.as_ref().is_some_and(|last| last.slot == slot))
                .fold(Sums::default(), |sums, node| Sums {
                    power: sums.power.saturating_add(node.power.into()),
                    idle: sums.idle.saturating_add(node.idle.into()),
                })
        };
        for (kept, sums) in SlotSums::<T>::iter() {
            holds(kept <= slot && slot.saturating_sub(kept) < KEPT_SLOTS, "the sums of an old slot are still kept")?;
            let of_nodes = reported(kept);
            let at_least = of_nodes.power <= sums.power && of_nodes.idle <= sums.idle;
            holds(at_least, "a slot has less power or idle space than was reported in it")?;
        }
        holds(reported(slot) == SlotSums::<T>::get(slot), "this slot's sums are not those of its reports")
    }

    /// Of each part one edition is kept, and of families a bounded number.
    fn collateral_is_bounded() -> Result<(), DispatchError> {
        let families = TcbInfos::<T>::iter_keys().fold(0u32, |count, _| count.saturating_add(1));
        holds(families == TcbInfos::<T>::count() && families <= MAX_FAMILIES, "the families are miscounted")?;
        holds(Measurements::<T>::count() <= MAX_MEASUREMENTS, "too many measurements are listed")?;
        holds(
            Editions::<T>::contains_key(Part::RootCrl) == RootCrl::<T>::exists(),
            "a root's list without an edition",
        )?;
        let parts = PckCrls::<T>::iter_keys()
            .map(Part::PckCrl)
            .chain(TcbInfos::<T>::iter_keys().map(|(tee, fmspc)| Part::TcbInfo(tee, fmspc)))
            .chain(QeIdentities::<T>::iter_keys().map(Part::QeIdentity));
        let mut count = usize::from(RootCrl::<T>::exists());
        for part in parts {
            holds(Editions::<T>::contains_key(part), "a part of the collateral without an edition")?;
            count = count.saturating_add(1);
        }
        holds(Editions::<T>::iter_keys().count() == count, "an edition of nothing")?;
        for edition in Editions::<T>::iter_values() {
            holds(edition.issued <= edition.expires, "a part of the collateral ends before it begins")?;
        }
        Ok(())
    }
}

fn holds(condition: bool, or_else: &'static str) -> Result<(), DispatchError> {
    match condition {
        true => Ok(()),
        false => Err(DispatchError::Other(or_else)),
    }
}
