//! A node whose replicas end: what the market keeps of it is read once, however many end in a step, and written once.
//!
//! Between [`Pallet::standing`] and [`Pallet::keep`] nothing else reads or changes the node's holding and collateral.

use crust_protocol::{NodeId, order::OrderId};

use crate::{Collateral, Config, Holding, Holdings, Nodes, Pallet};

/// What the market keeps of a node, while its replicas end.
pub(crate) struct Standing {
    pub node: NodeId,
    pub holding: Holding,
    pub collateral: Collateral,
    /// The order of its due draw.
    pub due: Option<OrderId>,
    /// The same, if what ends waits for the draw's outcome.
    pub waits_for: Option<OrderId>,
    /// How many replicas have ended, and what they were billed.
    ended: (u32, u64),
}

impl Standing {
    /// A replica is no more: so many bytes, and so many that it was billed.
    pub fn end(&mut self, size: u64, billed: u64) {
        let (count, sum) = self.ended;
        self.ended = (count.saturating_add(1), sum.saturating_add(billed));
        self.holding.remove(size, billed);
    }
}

impl<T: Config> Pallet<T> {
    /// A node with a live replica, as it stands before its replicas change.
    pub(crate) fn standing(node: NodeId) -> Option<Standing> {
        let holding = Holdings::<T>::get(node)?;
        let due = T::Nodes::before_change(node);
        let waits_for = due.filter(|_| !T::Nodes::is_out(node));
        Some(Standing { node, holding, collateral: Self::collateral_of(node), due, waits_for, ended: (0, 0) })
    }

    /// Writes what has become of a node, if a replica of it has ended.
    pub(crate) fn keep(standing: Standing) {
        let Standing { node, holding, collateral, ended: (count, billed), .. } = standing;
        if count == 0 {
            return;
        }
        T::Nodes::replica_ended(node, billed);
        if holding.replicas > 0 {
            Holdings::<T>::insert(node, holding);
        } else {
            Holdings::<T>::remove(node);
        }
        Self::keep_collateral(node, collateral);
    }
}
