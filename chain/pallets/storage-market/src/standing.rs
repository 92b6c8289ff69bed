//! A node whose replicas end: what the market keeps of it is read once, however many end in a step, and written once.
//!
//! Between [`Pallet::standing`] and [`Pallet::keep`] nothing else reads or changes the node's account.

use core::cell::OnceCell;

use crust_protocol::{NodeId, Slot, order::OrderId};

use crate::{Collateral, Config, Holding, NodeAccount, Nodes, Pallet};

/// What the market keeps of a node, while its replicas end.
pub(crate) struct Standing {
    pub node: NodeId,
    pub holding: Holding,
    pub collateral: Collateral,
    leaving: bool,
    /// Whether it is out, once somebody has asked.
    out: OnceCell<bool>,
    /// The order of its due draw.
    pub due: Option<OrderId>,
    /// The same, if what ends waits for the draw's outcome.
    pub waits_for: Option<OrderId>,
    /// How many replicas have ended, and what they were billed.
    ended: (u32, u64),
}

impl Standing {
    /// Whether the node is out.
    pub fn is_out<T: Config>(&self) -> bool {
        *self.out.get_or_init(|| T::Nodes::is_out(self.node))
    }

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
        Self::standing_after(node, Self::slot(), T::Nodes::before_change(node), OnceCell::new())
    }

    /// The same in this slot, where the due draw is made and known.
    pub(crate) fn standing_after(
        node: NodeId,
        slot: Slot,
        due: Option<OrderId>,
        out: OnceCell<bool>,
    ) -> Option<Standing> {
        let is_out = || *out.get_or_init(|| T::Nodes::is_out(node));
        let NodeAccount { holding, collateral, leaving } = Self::account_if(node, slot, is_out);
        let holding = holding?;
        let waits_for = due.filter(|_| !is_out());
        Some(Standing { node, holding, collateral, leaving, out, due, waits_for, ended: (0, 0) })
    }

    /// Writes what has become of a node, if a replica of it has ended.
    pub(crate) fn keep(standing: Standing) {
        let Standing { node, holding, collateral, leaving, ended: (count, billed), .. } = standing;
        if count == 0 {
            return;
        }
        T::Nodes::replica_ended(node, billed);
        let holding = (holding.replicas > 0).then_some(holding);
        Self::keep_account(node, NodeAccount { holding, collateral, leaving });
    }
}
