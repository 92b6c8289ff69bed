//! What must hold after every block. Every test of this pallet checks it at its end; it walks all storage, so no block
//! ever runs it.

use alloc::collections::{BTreeMap, BTreeSet};
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
    Config, Copies, Cursor, Holding, Listed, Live, NodeAccount, NodeAccounts, Nodes, OpenOrders, Order, Orders,
    OrdersOf, Pallet, Queue, Replicas, UnmovedShares, collateral::holds_until,
};

impl<T: Config> Pallet<T> {
    /// All invariants of the market's storage.
    pub fn do_try_state() -> Result<(), TryRuntimeError> {
        Self::check_money()?;
        Self::check_orders()?;
        Self::check_replicas()?;
        Self::check_collateral()
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
        let (mut orders, mut open) = (0usize, 0usize);
        for (id, order) in Orders::<T>::iter() {
            orders = orders.saturating_add(1);
            let Order { live: places, takes, replicas, .. } = &order;
            let just_lost = order.just_lost(Self::slot());
            let live: u32 = places.len().saturated_into();
            ensure!(live <= *replicas, "more replicas are live than are wanted");
            for (node, slot) in &order.offered {
                ensure!(
                    order.nodes().any(|live| live == *node) && *slot <= Self::slot(),
                    "a place is offered that is not its node's"
                );
            }
            let offered = order.offered.iter().filter(|(_, slot)| *slot < Self::slot()).count();
            let taken: u32 = places.len().saturating_add(takes.len()).saturating_sub(offered).saturated_into();
            ensure!(taken.saturating_add(just_lost) <= *replicas, "more places are taken than replicas are wanted");
            let left = order.cost().saturating_sub(order.spent);
            ensure!(order.balance >= left, "an order's balance does not cover the rest of its term");
            ensure!(Queue::<T>::get(order.due, order.number) == Some(id), "an order is not where it is due");
            ensure!(order.due >= Cursor::<T>::get(), "an order is due where the queue has passed");
            ensure!(order.due <= order.end, "an order is due after its term");
            ensure!(OrdersOf::<T>::contains_key(&order.client, id), "an order is not among its client's");
            let is_open = order.wants_replicas();
            ensure!(OpenOrders::<T>::contains_key(id) == is_open, "the open orders are not those that want replicas");
            open = open.saturating_add(is_open.into());
            for Live { node, provider } in places {
                let replica = Replicas::<T>::get(node, id).ok_or("an order names a node without a replica")?;
                ensure!(replica.provider == *provider, "a live replica is another provider's");
            }
            let holders = places.iter().map(|live| &live.provider).chain(takes.iter().map(|take| &take.provider));
            let distinct: BTreeSet<_> = holders.clone().collect();
            ensure!(distinct.len() == holders.count(), "a provider has several places of an order");
        }
        ensure!(Queue::<T>::iter_values().count() == orders, "the queue has entries without an order");
        ensure!(OrdersOf::<T>::iter_values().count() == orders, "an account has orders that do not exist");
        ensure!(OpenOrders::<T>::iter_values().count() == open, "open orders that do not exist");
        Ok(())
    }

    fn check_replicas() -> Result<(), TryRuntimeError> {
        let (mut replicas, mut holdings) = (0usize, BTreeMap::new());
        for (node, id, replica) in Replicas::<T>::iter() {
            replicas = replicas.saturating_add(1);
            let order = Orders::<T>::get(id).ok_or("a replica of no order")?;
            ensure!(order.nodes().any(|live| live == node), "a replica that its order does not name");
            ensure!(Copies::<T>::get(order.cid, node) == Some(id), "a replica that its CID does not name");
            ensure!(replica.paid <= order.spent, "a replica was paid more than its order spent");
            let entry = Listed::<T>::get(node, replica.position).ok_or("a replica that no draw can find")?;
            ensure!(
                entry.order == id && entry.weighs(order.size),
                "a replica is listed as another, or weighs otherwise"
            );
            let (count, bytes, billed): &mut (u32, u64, u64) = holdings.entry(node).or_default();
            *count = count.saturating_add(1);
            *bytes = bytes.saturating_add(order.size);
            *billed = billed.saturating_add(T::Parameters::get().billed(order.size));
        }
        ensure!(Copies::<T>::iter_values().count() == replicas, "copies without a replica");
        ensure!(Listed::<T>::iter_values().count() == replicas, "a draw could find a replica that is not there");
        let with_holding = NodeAccounts::<T>::iter_values().filter(|account| account.holding.is_some()).count();
        ensure!(with_holding == holdings.len(), "a holding without a replica");
        for (node, sums) in holdings {
            let holding = Self::holding(node).ok_or("a node with replicas has no holding")?;
            let Holding { replicas, bytes, billed, counts, .. } = holding;
            ensure!((replicas, bytes, billed) == sums, "a holding is not the sum of its replicas");
            let listed = counts.0.iter().fold(0u32, |sum, count| sum.saturating_add(*count));
            ensure!(listed == replicas, "a node's size classes do not count its replicas");
        }
        Ok(())
    }

    /// Every provider's hold is the sum of its nodes' collateral; what is reserved and held by takes is the sum over
    /// replicas and takes.
    fn check_collateral() -> Result<(), TryRuntimeError> {
        let (mut reserved, mut taken, mut holds) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for (node, _, replica) in Replicas::<T>::iter() {
            let sum: &mut Balance = reserved.entry(node).or_default();
            *sum = sum.saturating_add(replica.reserved);
        }
        for take in Orders::<T>::iter_values().flat_map(|order| order.takes) {
            if take.collateral > 0 && holds_until(&T::Parameters::get(), &take) > Self::slot() {
                let sum: &mut Balance =
                    taken.entry((take.node, holds_until(&T::Parameters::get(), &take))).or_default();
                *sum = sum.saturating_add(take.collateral);
            }
        }
        for (node, account) in NodeAccounts::<T>::iter() {
            ensure!(account != NodeAccount::default(), "a record of nothing");
            let stored = account.collateral;
            let provider = T::Nodes::provider(node).ok_or("collateral for a node that does not exist")?;
            let hold: &mut Balance = holds.entry(provider).or_default();
            *hold = hold.saturating_add(stored.deposited);
            let withheld = stored.withheld.map_or(0, |withheld| withheld.total());
            let sum = reserved.remove(&node).unwrap_or_default().saturating_add(withheld);
            ensure!(stored.reserved == sum, "what is reserved is not the sum over the replicas");
            let waits = T::Nodes::due(node).is_some() || T::Nodes::is_out(node);
            ensure!(stored.withheld.is_none() || waits, "something is withheld for no draw");
            let lives = stored.failed.is_none_or(|order| Replicas::<T>::contains_key(node, order));
            ensure!(lives, "a draw that failed is of a replica that is not live");
            for (until, amount) in stored.taken.iter().filter(|(until, _)| *until > Self::slot()) {
                let sum = taken.remove(&(node, *until)).unwrap_or_default();
                ensure!(*amount == sum, "what takes hold is not the sum over the takes");
            }
        }
        ensure!(reserved.values().all(|sum| *sum == 0), "a replica reserves what nobody deposited");
        ensure!(taken.is_empty(), "a take holds what nobody deposited");
        for (provider, hold) in holds {
            let held = T::Currency::balance_on_hold(&Self::collateral_reason(), &provider);
            ensure!(held == hold, "a provider's hold is not the sum of its nodes' collateral");
        }
        Ok(())
    }
}
