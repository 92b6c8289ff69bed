//! What is true of the state between any two calls. Every test ends here.

use crust_protocol::{NodeId, Slot};
use sp_runtime::DispatchError;

use crate::{
    Config, KEPT_SLOTS, MAX_FAMILIES, Measurements, NextNode, NodeOf, Nodes, Pallet, PckCrls, QeIdentities, RootCrl,
    SlotPower, TcbInfos,
};

impl<T: Config> Pallet<T> {
    /// Checks all of the pallet's state.
    pub fn do_try_state() -> Result<(), DispatchError> {
        Self::nodes_have_their_numbers_and_keys()?;
        Self::slots_sum_up_their_reports()?;
        Self::collateral_is_bounded()
    }

    /// Numbers are given without gaps, and every key leads to the one node that it stands or stood behind.
    fn nodes_have_their_numbers_and_keys() -> Result<(), DispatchError> {
        let (next, slot, measurements) = (NextNode::<T>::get(), Self::slot(), Measurements::<T>::get().len());
        let mut count: NodeId = 0;
        for (number, node) in Nodes::<T>::iter() {
            count = count.saturating_add(1);
            holds(number < next, "a node has a number that was not given")?;
            holds(NodeOf::<T>::get(node.sign_pk) == Some(number), "a node's key does not lead to it")?;
            let measurement = usize::try_from(node.measurement).is_ok_and(|index| index < measurements);
            holds(measurement, "a node's measurement is not in the list")?;
            holds(node.gone_idle.0 <= slot, "a node has said what it loses in a slot to come")?;
            match &node.last_report {
                None => holds(node.power == 0, "a node without a report has power")?,
                Some(last) => {
                    holds(last.slot >= 1 && last.slot <= slot, "a node has reported in slot 0 or in one to come")?;
                    holds(last.block <= Self::now(), "a report is in a block to come")?;
                }
            }
        }
        holds(count == next, "a number was given to no node")?;
        for (_, number) in NodeOf::<T>::iter() {
            holds(Nodes::<T>::contains_key(number), "a key leads to a node that is not there")?;
        }
        Ok(())
    }

    /// The power of a slot is that of the reports in it. A node's record has only its last, so older slots hold more.
    fn slots_sum_up_their_reports() -> Result<(), DispatchError> {
        let slot = Self::slot();
        let reported = |slot: Slot| -> u128 {
            Nodes::<T>::iter_values()
                .filter(|node| node.last_report.as_ref().is_some_and(|last| last.slot == slot))
                .fold(0, |sum, node| sum.saturating_add(node.power.into()))
        };
        for (kept, sum) in SlotPower::<T>::iter() {
            holds(kept <= slot && slot.saturating_sub(kept) < KEPT_SLOTS, "the power of an old slot is still kept")?;
            holds(reported(kept) <= sum, "a slot has less power than was reported in it")?;
        }
        holds(reported(slot) == SlotPower::<T>::get(slot), "this slot's power is not the sum of its reports")
    }

    /// Of each part one edition is kept, and of families a bounded number.
    fn collateral_is_bounded() -> Result<(), DispatchError> {
        let families = TcbInfos::<T>::iter_keys().fold(0u32, |count, _| count.saturating_add(1));
        holds(families == TcbInfos::<T>::count() && families <= MAX_FAMILIES, "the families are miscounted")?;
        let editions = RootCrl::<T>::get()
            .map(|list| list.edition)
            .into_iter()
            .chain(PckCrls::<T>::iter_values().map(|list| list.edition))
            .chain(TcbInfos::<T>::iter_values().map(|document| document.edition))
            .chain(QeIdentities::<T>::iter_values().map(|document| document.edition));
        for edition in editions {
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
