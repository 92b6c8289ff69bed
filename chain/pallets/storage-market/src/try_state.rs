//! What must hold after every block. Every test of this pallet checks it at its end; it walks all storage, so no block
//! ever runs it.

use alloc::collections::BTreeMap;
use crust_protocol::Balance;
use frame_support::{
    ensure,
    traits::{
        Get,
        fungible::{Inspect, InspectHold},
    },
};
use sp_runtime::{SaturatedConversion, TryRuntimeError};

use crate::{
    Config, Copies, Cursor, Holding, Holdings, OpenOrders, Order, Orders, OrdersOf, Pallet, Places, Queue, Replicas,
    UnmovedShares,
};

impl<T: Config> Pallet<T> {
    /// All invariants of the market's storage.
    pub fn do_try_state() -> Result<(), TryRuntimeError> {
        Self::check_money()?;
        Self::check_orders()?;
        Self::check_replicas()
    }

    /// Every account's hold is the sum of its orders' balances and deposits; counted shares are there.
    fn check_money() -> Result<(), TryRuntimeError> {
        let mut holds = BTreeMap::new();
        for order in Orders::<T>::iter_values() {
            let hold: &mut Balance = holds.entry(order.client).or_default();
            *hold = hold.saturating_add(order.balance).saturating_add(order.deposit);
        }
        for (account, hold) in holds {
            let held = T::Currency::balance_on_hold(&Self::reason(), &account);
            ensure!(held == hold, "a client's hold is not the sum of its orders' money");
        }
        let waiting = UnmovedShares::<T>::get().total();
        ensure!(T::Currency::balance(&Self::account()) >= waiting, "counted shares are not in the market's account");
        Ok(())
    }

    fn check_orders() -> Result<(), TryRuntimeError> {
        let (mut orders, mut open, mut places) = (0usize, 0usize, 0usize);
        for (id, order) in Orders::<T>::iter() {
            orders = orders.saturating_add(1);
            let Order { nodes, takes, replicas, vacated, .. } = &order;
            let just_lost = if vacated.0 == Self::slot() { vacated.1 } else { 0 };
            let taken: u32 = nodes.len().saturating_add(takes.len()).saturated_into();
            ensure!(taken.saturating_add(just_lost) <= *replicas, "more places are taken than replicas are wanted");
            let left = order.cost().saturating_sub(order.spent);
            ensure!(order.balance >= left, "an order's balance does not cover the rest of its term");
            ensure!(Queue::<T>::get(order.due, order.number) == Some(id), "an order is not where it is due");
            ensure!(order.due >= Cursor::<T>::get(), "an order is due where the queue has passed");
            ensure!(order.due <= order.end, "an order is due after its term");
            ensure!(OrdersOf::<T>::contains_key(&order.client, id), "an order is not among its client's");
            let is_open = !order.cancelled && nodes.len() < usize::try_from(*replicas).unwrap_or(usize::MAX);
            ensure!(OpenOrders::<T>::contains_key(id) == is_open, "the open orders are not those that want replicas");
            open = open.saturating_add(is_open.into());
            for node in nodes {
                let replica = Replicas::<T>::get(node, id).ok_or("an order names a node without a replica")?;
                ensure!(Places::<T>::get(id, replica.provider) == Some(*node), "a live replica has no place");
            }
            for take in takes {
                ensure!(Places::<T>::get(id, &take.provider) == Some(take.node), "a take has no place");
            }
            places = places.saturating_add(nodes.len()).saturating_add(takes.len());
        }
        ensure!(Queue::<T>::iter_values().count() == orders, "the queue has entries without an order");
        ensure!(OrdersOf::<T>::iter_values().count() == orders, "an account has orders that do not exist");
        ensure!(OpenOrders::<T>::iter_values().count() == open, "open orders that do not exist");
        ensure!(Places::<T>::iter_values().count() == places, "places that nobody holds");
        Ok(())
    }

    fn check_replicas() -> Result<(), TryRuntimeError> {
        let (mut replicas, mut holdings) = (0usize, BTreeMap::new());
        for (node, id, replica) in Replicas::<T>::iter() {
            replicas = replicas.saturating_add(1);
            let order = Orders::<T>::get(id).ok_or("a replica of no order")?;
            ensure!(order.nodes.contains(&node), "a replica that its order does not name");
            ensure!(Copies::<T>::get(order.cid, node) == Some(id), "a replica that its CID does not name");
            ensure!(replica.paid <= order.spent, "a replica was paid more than its order spent");
            let (count, bytes, billed): &mut (u32, u64, u64) = holdings.entry(node).or_default();
            *count = count.saturating_add(1);
            *bytes = bytes.saturating_add(order.size);
            *billed = billed.saturating_add(T::Parameters::get().billed(order.size));
        }
        ensure!(Copies::<T>::iter_values().count() == replicas, "copies without a replica");
        ensure!(Holdings::<T>::iter_values().count() == holdings.len(), "a holding without a replica");
        for (node, sums) in holdings {
            let holding = Holdings::<T>::get(node).ok_or("a node with replicas has no holding")?;
            let Holding { replicas, bytes, billed, .. } = holding;
            ensure!((replicas, bytes, billed) == sums, "a holding is not the sum of its replicas");
        }
        Ok(())
    }
}
