//! Which keys of the market a statement will touch, told before its block is executed. Hints: a key too many or too few
//! changes the time that the block takes and nothing else.

use alloc::vec::Vec;

use crust_protocol::{NodeId, order::OrderId};

use crate::{Config, NodeAccounts, Orders, Pallet, Replicas};

impl<T: Config> Pallet<T> {
    /// Keys that a statement of a node reads or writes which names these orders; without any that follow from the orders.
    pub fn prefetch_keys(node: NodeId, orders: &[OrderId]) -> Vec<Vec<u8>> {
        let of_order = |order| [Orders::<T>::hashed_key_for(order), Replicas::<T>::hashed_key_for(node, order)];
        core::iter::once(NodeAccounts::<T>::hashed_key_for(node)).chain(orders.iter().flat_map(of_order)).collect()
    }
}
