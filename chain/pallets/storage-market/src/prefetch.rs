//! Which keys of the market a statement will touch, told before its block is executed. Hints: a key too many or too few
//! changes the time that the block takes and nothing else.

use alloc::vec::Vec;

use crust_protocol::{NodeId, order::OrderId};

use crate::{Config, Copies, NodeAccounts, Orders, Pallet, Replicas};

impl<T: Config> Pallet<T> {
    /// Keys of a node and of these orders that its statement reads or writes; those of round 1 follow from the values of those of
    /// round 0, and there are no later ones.
    pub fn prefetch_keys(node: NodeId, orders: &[OrderId], round: u32) -> Vec<Vec<u8>> {
        match round {
            0 => {
                let of_order = |order| [Orders::<T>::hashed_key_for(order), Replicas::<T>::hashed_key_for(node, order)];
                core::iter::once(NodeAccounts::<T>::hashed_key_for(node))
                    .chain(orders.iter().flat_map(of_order))
                    .collect()
            }
            1 => {
                let copy = |id| Some(Copies::<T>::hashed_key_for(Orders::<T>::get(id)?.cid, node));
                orders.iter().filter_map(copy).collect()
            }
            _ => Vec::new(),
        }
    }
}
