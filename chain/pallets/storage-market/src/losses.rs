//! Replicas that end before their order does: given up, silent, abandoned, retired. What each costs, and what it does to
//! the order.
//!
//! What a node loses is *found* where it did not say so itself: its draw failed, or it fell silent; that takes all that is
//! reserved for the replica. It is *admitted* when its enclave declares it gone, or its provider abandons the node: half.
//! A replica that was offered to others ([`leaving`](crate::leaving)) for long enough is *free* to go, and so is all that
//! a node holds that is out.
//!
//! The place opens with the next slot, so that no place earns twice in a slot: whoever leaves may have reported in this
//! one. One that was offered in an earlier slot is open already; it is not paid for the slot in which it leaves.

use crust_protocol::{Balance, NodeId, Slot, order::OrderId};
use frame_support::{traits::Get, weights::Weight};
use sp_runtime::SaturatedConversion;

use crate::{Collaterals, Config, Holdings, Nodes, OpenOrders, Order, Orders, Pallet, Replicas, WeightInfo};

/// What the end of a replica costs its node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Loss {
    /// Nothing.
    Free,
    /// What its order lacks to buy the place at today's price, and no more.
    Replaced,
    /// Half of what is reserved.
    Admitted,
    /// All that is reserved.
    Found,
}

impl<T: Config> Pallet<T> {
    /// A node says that it lost or deleted replicas: each that is live ends; the others are skipped. Says how many
    /// ended, and what it all weighed.
    pub fn gone(node: NodeId, orders: &[OrderId]) -> (u32, Weight) {
        let silent = Self::is_silent(node) && !T::Nodes::is_out(node);
        let (mut ended, mut takes) = (0u32, 0u32);
        for id in orders {
            if !Self::would_end(node, id) {
                continue;
            }
            let loss = if silent { Loss::Found } else { Self::declared(*id, node) };
            if let Some(more) = Self::lose(*id, node, loss) {
                ended = ended.saturating_add(1);
                takes = takes.saturating_add(more);
            }
        }
        if ended > 0 && T::Nodes::due(node).is_none() {
            Self::hear(node);
        }
        let named: u32 = orders.len().saturated_into();
        (ended, T::WeightInfo::gone(ended, takes, named.saturating_sub(ended)))
    }

    /// Whether a node's `Gone` for an order would end a replica.
    pub fn would_end(node: NodeId, order: &OrderId) -> bool {
        Replicas::<T>::contains_key(node, order)
    }

    /// Ends a replica out of its order's turn: pays what it earned, takes what its loss costs, opens its place. The last
    /// one ends the order. Says how many takes ended with it.
    pub(crate) fn lose(id: OrderId, node: NodeId, loss: Loss) -> Option<u32> {
        let mut replica = Replicas::<T>::get(node, id)?;
        let mut order = Orders::<T>::get(id)?;
        let holding = Holdings::<T>::get(node)?;
        let slot = Self::slot();
        let offered = order.is_offered(node, slot);
        let until = if offered { slot } else { slot.saturating_add(1) }.min(order.end);
        Self::settle(id, &mut order, node, &mut replica, &holding, until);
        let is_last = order.nodes.len() == 1 && loss != Loss::Replaced;
        let difference = if order.cancelled || is_last { 0 } else { Self::difference(&order, slot) };
        let cost = match loss {
            Loss::Free => 0,
            Loss::Replaced => difference,
            Loss::Admitted => replica.reserved.checked_div(2).unwrap_or_default(),
            Loss::Found => replica.reserved,
        };
        let taken = Self::slash(id, &mut order, node, &replica, cost, difference);
        let in_order = matches!(loss, Loss::Free | Loss::Replaced);
        Self::unreserve(node, id, replica.reserved.saturating_sub(taken), in_order);
        Self::remove_replica(id, &mut order, node, holding);
        if is_last {
            return Some(Self::finish(id, order));
        }
        if !offered {
            order.vacated = (slot, order.just_lost(slot).saturating_add(1));
        }
        if order.wants_replicas() {
            OpenOrders::<T>::insert(id, ());
        }
        Orders::<T>::insert(id, order);
        Some(0)
    }

    /// What it costs when a node declares this replica gone.
    fn declared(id: OrderId, node: NodeId) -> Loss {
        if T::Nodes::is_out(node) {
            return Loss::Free;
        }
        let drawn = T::Nodes::due(node) == Some(id);
        if drawn || Collaterals::<T>::get(node).is_some_and(|collateral| collateral.failed == Some(id)) {
            return Loss::Found;
        }
        let window = T::Parameters::get().retire_window;
        let offered = Orders::<T>::get(id).and_then(|order| order.offered_in(node));
        match offered {
            Some(slot) if Self::slot() >= slot.saturating_add(window) => Loss::Free,
            _ => Loss::Admitted,
        }
    }

    /// What the order lacks to buy one place at today's price for what is left of its term.
    fn difference(order: &Order, slot: Slot) -> Balance {
        let dearer = Self::rate(order.size).saturating_sub(order.rate);
        dearer.saturating_mul(order.end.saturating_sub(slot).into())
    }
}
