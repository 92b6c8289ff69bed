//! The workload proof and the storage market: the only place where they meet. Neither knows the other; what one needs
//! of the other it asks through a trait of its own, and [`Storage`] answers.

use alloc::vec::Vec;

use crust_protocol::{Hash, NodeId, Slot, draw::Drawn, order::OrderId, parameters::Parameters};
use frame_support::{PalletId, parameter_types, traits::Get, weights::Weight};
use pallet_mpow::{Endpoint, Endpoints, Nodes};
use pallet_storage_market::{Barred, WeightInfo as _};
use sp_runtime::{AccountId32, DispatchError};

use crate::{
    Babe, Balances, Mpow, Runtime, RuntimeCall, RuntimeHoldReason, StorageMarket, Timestamp,
    configs::system::{PotAccount, TreasuryAccount},
};

parameter_types! {
    /// The market's own account, where counted shares wait to be moved.
    pub const MarketPalletId: PalletId = PalletId(*b"crustmkt");
}

impl pallet_mpow::Config for Runtime {
    type Time = Timestamp;
    type Market = Storage;
    type AuthorVrf = AuthorVrf;
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

/// What BABE has made of this block's author's VRF as the block ends: mpow ends its blocks after BABE.
pub struct AuthorVrf;

impl Get<Option<Hash>> for AuthorVrf {
    fn get() -> Option<Hash> {
        Babe::author_vrf_randomness()
    }
}

/// What both pallets read for a statement, as far as it is known before, in rounds.
pub fn prefetch_keys(call: &RuntimeCall, round: u32) -> Vec<Vec<u8>> {
    let RuntimeCall::Mpow(call) = call else { return Vec::new() };
    let Some((node, orders)) = pallet_mpow::prefetch::statement(call) else { return Vec::new() };
    let mut keys = Mpow::prefetch_keys(node, round);
    if round == 0 {
        keys.extend(StorageMarket::prefetch_keys(node, orders));
    }
    keys
}

type OfMpow = pallet_mpow::weights::Measured<Runtime>;
type OfMarket = pallet_storage_market::weights::Measured<Runtime>;

/// What the workload proof's calls cost with this market behind them: with what the market does for each order that a
/// statement names.
pub struct Weights;

impl pallet_mpow::WeightInfo for Weights {
    fn on_initialize() -> Weight {
        OfMpow::on_initialize()
    }

    fn on_finalize() -> Weight {
        OfMpow::on_finalize()
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
        OfMpow::receipts(orders).saturating_add(OfMarket::any_receipts(orders))
    }

    fn authorize_gone() -> Weight {
        OfMpow::authorize_gone()
    }

    fn gone(orders: u32) -> Weight {
        OfMpow::gone(orders).saturating_add(OfMarket::any_gone(orders))
    }

    fn authorize_report(answer: bool) -> Weight {
        OfMpow::authorize_report(answer)
    }

    fn report(answer: bool) -> Weight {
        OfMpow::report(answer)
    }

    fn beacons(passed: u32) -> Weight {
        OfMpow::beacons(passed)
    }

    fn set_policy() -> Weight {
        OfMpow::set_policy()
    }

    fn approve_measurement() -> Weight {
        OfMpow::approve_measurement()
    }

    fn revoke_measurement() -> Weight {
        OfMpow::revoke_measurement()
    }

    fn authorize_heir() -> Weight {
        OfMpow::authorize_heir()
    }

    fn heir() -> Weight {
        OfMpow::heir()
    }

    fn succeed() -> Weight {
        OfMpow::succeed()
    }
}

/// Answers each of the two pallets for the other.
pub struct Storage;

impl pallet_mpow::Market for Storage {
    fn would_apply(node: NodeId, order: &OrderId) -> bool {
        StorageMarket::would_apply(node, order)
    }

    fn receipts(node: NodeId, provider: &AccountId32, orders: &[OrderId]) -> Result<(u32, Weight), DispatchError> {
        StorageMarket::receipts(node, provider, orders)
    }

    fn would_end(node: NodeId, order: &OrderId) -> bool {
        StorageMarket::would_end(node, order)
    }

    fn gone(node: NodeId, due: Option<OrderId>, is_out: bool, orders: &[OrderId]) -> (u32, Weight) {
        StorageMarket::gone(node, due, is_out, orders)
    }

    fn reported(parameters: &Parameters, node: NodeId, slot: Slot, good_files: u8) -> (u64, u64) {
        StorageMarket::reported(parameters, node, slot, good_files)
    }

    fn billed(node: NodeId) -> u64 {
        StorageMarket::billed(node)
    }

    fn draw_answered(node: NodeId) {
        StorageMarket::draw_answered(node);
    }

    fn draw_failed(node: NodeId) {
        StorageMarket::draw_failed(node);
    }

    fn draw(node: NodeId, seed: &Hash) -> Option<Drawn> {
        StorageMarket::draw(node, seed)
    }
}

impl pallet_storage_market::Nodes for Storage {
    fn provider(node: NodeId) -> Option<AccountId32> {
        Mpow::provider(node)
    }

    fn barred(node: NodeId) -> Option<Barred> {
        match Nodes::<Runtime>::get(node).filter(Mpow::registered) {
            None => Some(Barred::NotRegistered),
            Some(record) if Mpow::fell_out(&record).is_some() => Some(Barred::Withdrawn),
            Some(record) => (!Mpow::is_durable(&record)).then_some(Barred::NoHeir),
        }
    }

    fn endpoint(node: NodeId) -> Option<(Vec<u8>, Vec<Vec<u8>>)> {
        let Endpoint { peer_id, addresses } = Endpoints::<Runtime>::get(node)?;
        Some((peer_id.into_inner(), addresses.into_iter().map(|address| address.into_inner()).collect()))
    }

    fn platform_room(node: NodeId) -> u64 {
        Mpow::platform_room(node)
    }

    fn replica_begun(node: NodeId, billed: u64) {
        Mpow::replica_begun(node, billed);
    }

    fn replica_ended(node: NodeId, billed: u64) {
        Mpow::replica_ended(node, billed);
    }

    fn is_out(node: NodeId) -> bool {
        Mpow::is_out(node)
    }

    fn count() -> NodeId {
        pallet_mpow::NextNode::<Runtime>::get()
    }

    fn slot_power(slot: Slot) -> u128 {
        Mpow::slot_power(slot)
    }

    fn before_change(node: NodeId) -> Option<OrderId> {
        Mpow::before_change(node)
    }

    fn due(node: NodeId) -> Option<OrderId> {
        Mpow::due(node)
    }

    fn on_probation(node: NodeId) -> bool {
        Mpow::on_probation(node)
    }

    fn unanswered(node: NodeId) {
        Mpow::unanswered(node);
    }
}
