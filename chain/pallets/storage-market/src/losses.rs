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

use core::cell::OnceCell;

use crust_protocol::{Balance, NodeId, Slot, order::OrderId, parameters::Parameters};
use frame_support::weights::Weight;
use sp_runtime::SaturatedConversion;

use crate::{Config, Ledger, OpenOrders, Order, Orders, Pallet, Replica, Replicas, Standing, WeightInfo};

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
    /// A node, whose due draw is made and of this order, and which is out or not, says that it lost or deleted replicas:
    /// each that is live ends; the others are skipped. Says how many ended, and what it all weighed.
    pub fn gone(node: NodeId, due: Option<OrderId>, is_out: bool, orders: &[OrderId]) -> (u32, Weight) {
        let ledger = Ledger::open();
        let standing = Self::standing_after(node, ledger.slot, due, OnceCell::from(is_out));
        let (ended, takes) = standing.map_or((0, 0), |standing| Self::end_declared(ledger, standing, orders));
        let named: u32 = orders.len().saturated_into();
        (ended, T::WeightInfo::gone(ended, takes, named.saturating_sub(ended)))
    }

    /// Whether a node's `Gone` for an order would end a replica.
    pub fn would_end(node: NodeId, order: &OrderId) -> bool {
        Replicas::<T>::contains_key(node, order)
    }

    /// Ends a live replica out of its order's turn and opens its place; the last one ends the order. Says how many takes
    /// ended with it.
    pub(crate) fn end_early(
        ledger: &mut Ledger<T>,
        id: OrderId,
        mut order: Order,
        standing: &mut Standing,
        replica: Replica,
        loss: Loss,
    ) -> u32 {
        let was_open = order.wants_replicas();
        Self::lose(ledger, id, &mut order, standing, replica, loss);
        if order.live.is_empty() {
            return Self::finish(ledger, id, order);
        }
        if !was_open && order.wants_replicas() {
            OpenOrders::<T>::insert(id, ());
        }
        Orders::<T>::insert(id, order);
        0
    }

    /// Pays what a replica earned, takes what its loss costs, and forgets it. Whoever calls it stores order and standing.
    pub(crate) fn lose(
        ledger: &mut Ledger<T>,
        id: OrderId,
        order: &mut Order,
        standing: &mut Standing,
        mut replica: Replica,
        loss: Loss,
    ) {
        let (node, slot) = (standing.node, ledger.slot);
        let offered = order.is_offered(node, slot);
        let until = if offered { slot } else { slot.saturating_add(1) }.min(order.end);
        Self::settle(ledger, id, order, node, &mut replica, &standing.holding, until);
        let is_last = order.live.len() == 1 && loss != Loss::Replaced;
        let difference = if order.cancelled || is_last { 0 } else { difference(&ledger.parameters, order, slot) };
        let cost = match loss {
            Loss::Free => 0,
            Loss::Replaced => difference,
            Loss::Admitted => replica.reserved.checked_div(2).unwrap_or_default(),
            Loss::Found => replica.reserved,
        };
        let taken = Self::slash(ledger, id, order, standing, &replica, cost, difference);
        Self::unreserve(standing, id, replica.reserved.saturating_sub(taken));
        Self::remove_replica(ledger, id, order, standing, &replica);
        if !offered {
            order.vacated = (slot, order.just_lost(slot).saturating_add(1));
        }
    }

    /// Ends those of these replicas that are live. Says how many, and how many takes ended with them.
    fn end_declared(mut ledger: Ledger<T>, mut standing: Standing, orders: &[OrderId]) -> (u32, u32) {
        let is_out = standing.is_out::<T>();
        let silent = Self::silent_since(&ledger.parameters, standing.holding.heard);
        let (mut ended, mut takes) = (0u32, 0u32);
        for id in orders {
            let Some(replica) = Replicas::<T>::get(standing.node, id) else { continue };
            let Some(order) = Orders::<T>::get(id) else { continue };
            let loss = match (is_out, silent) {
                (true, _) => Loss::Free,
                (false, true) => Loss::Found,
                (false, false) => declared(&ledger, *id, &order, &standing),
            };
            let more = Self::end_early(&mut ledger, *id, order, &mut standing, replica, loss);
            ended = ended.saturating_add(1);
            takes = takes.saturating_add(more);
        }
        if ended > 0 && standing.due.is_none() {
            standing.holding.heard = Self::heard_now();
        }
        Self::keep(standing);
        ledger.close();
        (ended, takes)
    }
}

/// What it costs when a node declares this replica gone.
fn declared<T: Config>(ledger: &Ledger<T>, id: OrderId, order: &Order, standing: &Standing) -> Loss {
    if standing.due == Some(id) || standing.collateral.failed == Some(id) {
        return Loss::Found;
    }
    let window = ledger.parameters.retire_window;
    match order.offered_in(standing.node) {
        Some(slot) if ledger.slot >= slot.saturating_add(window) => Loss::Free,
        _ => Loss::Admitted,
    }
}

/// What the order lacks to buy one place at today's price for what is left of its term.
fn difference(parameters: &Parameters, order: &Order, slot: Slot) -> Balance {
    let dearer = parameters.rate(order.size).saturating_sub(order.rate);
    dearer.saturating_mul(order.end.saturating_sub(slot).into())
}
