//! The workload proof and the storage market: the only place where they meet. Neither knows the other; what one needs
//! of the other it asks through a trait of its own, and [`Storage`] answers.

use alloc::vec::Vec;

use crust_protocol::{NodeId, Slot, order::OrderId};
use frame_support::{PalletId, parameter_types, weights::Weight};
use pallet_storage_market::WeightInfo as _;
use sp_runtime::{AccountId32, DispatchError};

use crate::{
    Balances, Mpow, Runtime, RuntimeHoldReason, StorageMarket, Timestamp,
    configs::system::{PotAccount, TreasuryAccount},
};

parameter_types! {
    /// The market's own account, where counted shares wait to be moved.
    pub const MarketPalletId: PalletId = PalletId(*b"crustmkt");
}

impl pallet_mpow::Config for Runtime {
    type Time = Timestamp;
    type Market = Storage;
    type WeightInfo = Weights;
}

impl pallet_storage_market::Config for Runtime {
    type RuntimeHoldReason = RuntimeHoldReason;
    type Currency = Balances;
    type Parameters = pallet_mpow::ParametersOf<Runtime>;
    type Nodes = Storage;
    type PalletId = MarketPalletId;
    type Pot = PotAccount;
    type Treasury = TreasuryAccount;
    type WeightInfo = OfMarket;
}

type OfMpow = pallet_mpow::weights::Bounds<Runtime>;
type OfMarket = pallet_storage_market::weights::UpperBounds<Runtime>;

/// What the workload proof's calls cost with this market behind them: their own bounds, and the market's for each order
/// that a statement names.
pub struct Weights;

impl pallet_mpow::WeightInfo for Weights {
    fn on_initialize() -> Weight {
        OfMpow::on_initialize()
    }

    fn submit_collateral() -> Weight {
        OfMpow::submit_collateral()
    }

    fn register() -> Weight {
        OfMpow::register()
    }

    fn renew() -> Weight {
        OfMpow::renew()
    }

    fn announce() -> Weight {
        OfMpow::announce()
    }

    fn authorize_receipts() -> Weight {
        OfMpow::authorize_receipts()
    }

    fn receipts(orders: u32) -> Weight {
        OfMpow::receipts(0).saturating_add(OfMarket::receipt().saturating_mul(orders.into()))
    }

    fn authorize_gone() -> Weight {
        OfMpow::authorize_gone()
    }

    fn gone(orders: u32) -> Weight {
        OfMpow::gone(0).saturating_add(OfMarket::gone().saturating_mul(orders.into()))
    }

    fn authorize_report() -> Weight {
        OfMpow::authorize_report()
    }

    fn report() -> Weight {
        OfMpow::report().saturating_add(OfMarket::reported())
    }
}

/// Answers each of the two pallets for the other.
pub struct Storage;

impl pallet_mpow::Market for Storage {
    fn would_apply(node: NodeId, order: &OrderId) -> bool {
        StorageMarket::would_apply(node, order)
    }

    fn receipts(node: NodeId, provider: &AccountId32, orders: &[OrderId]) -> Result<u32, DispatchError> {
        StorageMarket::receipts(node, provider, orders)
    }

    fn would_end(node: NodeId, order: &OrderId) -> bool {
        StorageMarket::would_end(node, order)
    }

    fn gone(node: NodeId, orders: &[OrderId]) -> u32 {
        StorageMarket::gone(node, orders)
    }

    fn held(node: NodeId) -> u64 {
        StorageMarket::held(node)
    }

    fn reported(node: NodeId, slot: Slot, good_files: u8) {
        StorageMarket::reported(node, slot, good_files);
    }
}

impl pallet_storage_market::Nodes for Storage {
    fn provider(node: NodeId) -> Option<AccountId32> {
        pallet_mpow::Nodes::<Runtime>::get(node).map(|node| node.provider)
    }

    fn may_take(node: NodeId) -> bool {
        pallet_mpow::Nodes::<Runtime>::get(node).is_some_and(|node| node.registered(Mpow::now()))
    }

    fn endpoint(node: NodeId) -> Option<(Vec<u8>, Vec<Vec<u8>>)> {
        let node = pallet_mpow::Nodes::<Runtime>::get(node)?;
        let addresses = node.addresses.into_iter().map(|address| address.into_inner()).collect();
        Some((node.peer_id.into_inner(), addresses))
    }
}
