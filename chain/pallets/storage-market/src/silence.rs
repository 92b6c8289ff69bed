//! Silence: which nodes have not been heard for too long.
//!
//! Silence is counted in slots that *count*: a slot counts only if enough of the network reported in it, nodes with two
//! thirds of the average power of the last [`COUNT_WINDOW`] slots. So an outage of the network, a chain that stood still
//! or a report that nobody could bring to the chain makes no node silent.
//!
//! The chain numbers the slots that count; a node's [`Holding`] keeps the number that stood when it was last heard, so
//! silence is a difference. The slot in which it was heard is not silence, nor, when that one did not count, the next
//! that does. A watch goes round all nodes, a bounded number a block, and hands silent ones over to
//! [`leaving`](crate::leaving); so it does with nodes that are out, because their program or platform was withdrawn.
//!
//! [`COUNT_WINDOW`]: crust_protocol::parameters::Parameters::count_window

use crust_protocol::{NodeId, Slot, parameters::Parameters};
use frame_support::{traits::Get, weights::Weight};
use sp_runtime::SaturatedConversion;

use crate::{
    Config, CountedSlots, Event, Holding, Leave, Leavers, NodeAccounts, Nodes, NodesWatched, Pallet, PowerWindow,
    WATCHED_A_BLOCK, WeightInfo, collateral::Withheld,
};

impl<T: Config> Pallet<T> {
    /// Whether a node with replicas has been silent for `MAX_SILENT` counted slots.
    pub fn is_silent(node: NodeId) -> bool {
        Self::holding(node).is_some_and(|holding| Self::silent_since(&T::Parameters::get(), holding.heard))
    }

    /// The number from which on a node's silence counts that is heard now.
    pub(crate) fn heard_now() -> u32 {
        CountedSlots::<T>::get().saturating_add(1)
    }

    /// A slot is over: does it count?
    pub(crate) fn count_slot(slot: Slot) {
        let power = T::Nodes::slot_power(slot);
        let mut window = PowerWindow::<T>::get();
        let sum = window.iter().fold(0u128, |sum, power| sum.saturating_add(*power));
        let slots: u128 = window.len().saturated_into();
        // power >= 2/3 x sum / slots; a slot without any power proves nothing.
        let enough = power.saturating_mul(slots).saturating_mul(3) >= sum.saturating_mul(2);
        if power > 0 && sum > 0 && enough {
            CountedSlots::<T>::mutate(|count| *count = count.saturating_add(1));
        }
        let keep: usize = T::Parameters::get().count_window.saturating_sub(1).saturated_into();
        while window.len() > keep || window.is_full() {
            window.remove(0);
        }
        // There is room: what is full lost an entry.
        let _ = window.try_push(power);
        PowerWindow::<T>::put(window);
    }

    /// Watches as many nodes as it takes to pass each once in `MAX_SILENT` slots.
    pub(crate) fn watch() -> Weight {
        let parameters = T::Parameters::get();
        let count = T::Nodes::count();
        let blocks = parameters.max_silent.saturating_mul(parameters.slot_blocks).max(1);
        let watched = count.div_ceil(blocks).min(WATCHED_A_BLOCK);
        let mut next = NodesWatched::<T>::get();
        for _ in 0..watched {
            let node = next.checked_rem(count).unwrap_or_default();
            next = node.saturating_add(1);
            let account = NodeAccounts::<T>::get(node);
            match (account.holding, account.collateral.withheld) {
                (Some(holding), _) => Self::look_at(&parameters, node, &holding),
                (None, Some(withheld)) => Self::look_at_withheld(&parameters, node, withheld),
                (None, None) => {}
            }
        }
        if watched > 0 {
            NodesWatched::<T>::put(next);
        }
        T::WeightInfo::watch(watched)
    }

    /// Has a node's replicas ended if it is out or silent.
    fn look_at(parameters: &Parameters, node: NodeId, holding: &Holding) {
        let leave = match T::Nodes::is_out(node) {
            true => Leave::Out,
            false if Self::silent_since(parameters, holding.heard) => Leave::Silent,
            false => return,
        };
        if let Some(Leave::Silent | Leave::Abandoned { .. } | Leave::Out) = Leavers::<T>::get(node) {
            return;
        }
        if leave == Leave::Silent {
            T::Nodes::unanswered(node);
            Self::deposit_event(Event::NodeSilent { node });
        }
        Leavers::<T>::insert(node, leave);
    }

    /// A node that holds nothing any more may still owe the answer to a draw, and collateral waits for it: silence ends
    /// that as well.
    fn look_at_withheld(parameters: &Parameters, node: NodeId, withheld: Withheld) {
        if Self::silent_since(parameters, withheld.heard) && !T::Nodes::is_out(node) {
            T::Nodes::unanswered(node);
        }
    }

    /// Whether whoever was heard last with this number has been silent for `MAX_SILENT` counted slots.
    pub(crate) fn silent_since(parameters: &Parameters, heard: u32) -> bool {
        let silent = CountedSlots::<T>::get().saturating_sub(heard);
        silent >= parameters.max_silent.max(1)
    }
}
