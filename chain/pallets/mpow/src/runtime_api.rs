//! What clients and daemons read of this pallet.

use alloc::vec::Vec;
use crust_protocol::{Key, NodeId, Slot, parameters::Parameters};

use crate::{Config, Nodes, Pallet, types::NodeInfo};

/// Nodes that one call returns at most.
pub const MAX_PAGE: u32 = 1_000;

sp_api::decl_runtime_apis! {
    pub trait MpowApi {
        fn parameters() -> Parameters;
        /// The slot of this block.
        fn slot() -> Slot;
        fn node(node: NodeId) -> Option<NodeInfo>;
        /// The node that this key speaks or spoke for.
        fn node_of(sign_pk: Key) -> Option<NodeId>;
        /// Nodes by number, from `start` on, at most `limit` and 1,000.
        fn nodes(start: NodeId, limit: u32) -> Vec<(NodeId, NodeInfo)>;
        /// Power reported in a slot.
        fn power(slot: Slot) -> u128;
        /// Certificate (DER) that evidence must lead to.
        fn trusted_root() -> Vec<u8>;
        /// Whether the chain has collateral for this quote's family that is in date.
        fn collateral_current(quote: Vec<u8>) -> bool;
    }
}

impl<T: Config> Pallet<T> {
    pub fn api_node(node: NodeId) -> Option<NodeInfo> {
        Nodes::<T>::get(node).map(|node| node.info(Self::now()))
    }

    pub fn api_nodes(start: NodeId, limit: u32) -> Vec<(NodeId, NodeInfo)> {
        let end = crate::NextNode::<T>::get().min(start.saturating_add(limit.min(MAX_PAGE)));
        (start..end).filter_map(|node| Some((node, Self::api_node(node)?))).collect()
    }
}
