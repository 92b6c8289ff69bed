//! What clients and daemons read of this pallet.

use alloc::vec::Vec;
use crust_protocol::{Hash, Key, NodeId, Slot, attestation::Collateral, draw::Drawn, parameters::Parameters};

use crate::{Config, Endpoints, Nodes, Pallet, Platform, Standby, audits::AuditInfo, types::NodeInfo};

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
        /// What a node's next report must answer.
        fn audit(node: NodeId) -> Option<AuditInfo>;
        /// The due draws of nodes by number, from `start` on, of at most `limit` nodes and 1,000.
        fn due_draws(start: NodeId, limit: u32) -> Vec<(NodeId, Drawn)>;
        /// The beacon of a slot, if it is one of the last 128.
        fn beacon(slot: Slot) -> Option<Hash>;
        /// Power reported in a slot.
        fn power(slot: Slot) -> u128;
        /// Idle bytes that counted in a slot.
        fn idle(slot: Slot) -> u128;
        /// The machine of this hash, if a node was ever registered on it.
        fn platform(platform: Hash) -> Option<Platform>;
        /// The enclave of this key that waits to follow a node.
        fn standby(sign_pk: Key) -> Option<Standby>;
        /// Certificate (DER) that evidence must lead to.
        fn trusted_root() -> Vec<u8>;
        /// The chain's collateral for this quote's family, in date or not: another verifier can judge the quote under it.
        fn vendor_collateral(quote: Vec<u8>) -> Option<Collateral>;
        /// Whether the chain has collateral for this quote's family that is in date.
        fn collateral_current(quote: Vec<u8>) -> bool;
    }
}

impl<T: Config> Pallet<T> {
    pub fn api_node(node: NodeId) -> Option<NodeInfo> {
        let record = Nodes::<T>::get(node)?;
        let endpoint = Endpoints::<T>::get(node).unwrap_or_default();
        let (registered, leaves) = (Self::registered(&record), Self::leaves(&record));
        Some(record.info(endpoint, registered, leaves))
    }

    pub fn api_vendor_collateral(quote: &[u8]) -> Option<Collateral> {
        Self::collateral_for(&crust_evidence::family(quote).ok()?).ok()
    }

    pub fn api_nodes(start: NodeId, limit: u32) -> Vec<(NodeId, NodeInfo)> {
        let end = crate::NextNode::<T>::get().min(start.saturating_add(limit.min(MAX_PAGE)));
        (start..end).filter_map(|node| Some((node, Self::api_node(node)?))).collect()
    }
}
