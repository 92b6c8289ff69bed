//! What the node and clients may ask the runtime: the SDK's interfaces, and our own of the workload proof and the
//! market. A method never changes its meaning; a changed one gets a new version of its trait.

use alloc::vec::Vec;

use codec::Encode;
use crust_protocol::{
    Hash, Key, NodeId, Slot, attestation::Collateral, draw::Drawn, file::CidBytes, order::OrderId,
    parameters::Parameters,
};
use frame_support::{
    genesis_builder_helper::{build_state, get_preset},
    traits::{Get, KeyOwnerProofSystem},
    weights::Weight,
};
use pallet_grandpa::AuthorityId as GrandpaId;
use pallet_mpow::{NodeInfo, audits::AuditInfo};
use pallet_storage_market::runtime_api::{Barred, CollateralInfo, OrderInfo, Quote, QuoteError, ReplicaInfo};
use sp_api::impl_runtime_apis;
use sp_consensus_babe::AuthorityId as BabeId;
use sp_core::{OpaqueMetadata, crypto::KeyTypeId};
use sp_runtime::{
    ApplyExtrinsicResult,
    traits::{Block as BlockT, NumberFor},
    transaction_validity::{TransactionSource, TransactionValidity},
};
use sp_session::OpaqueGeneratedSessionKeys;
use sp_version::RuntimeVersion;

use crate::{
    AccountId, Babe, Balance, Block, Executive, Grandpa, Historical, InherentDataExt, Mpow, Nonce, Runtime,
    RuntimeCall, RuntimeGenesisConfig, SessionKeys, StorageMarket, System, TransactionPayment, VERSION,
    configs::consensus::{EPOCH_CONFIG, EpochDuration},
    configs::storage::prefetch_keys,
    presets,
};

impl_runtime_apis! {
    impl sp_api::Core<Block> for Runtime {
        fn version() -> RuntimeVersion {
            VERSION
        }

        fn execute_block(block: <Block as BlockT>::LazyBlock) {
            Executive::execute_block(block);
        }

        fn initialize_block(header: &<Block as BlockT>::Header) -> sp_runtime::ExtrinsicInclusionMode {
            Executive::initialize_block(header)
        }
    }

    impl sp_api::Metadata<Block> for Runtime {
        fn metadata() -> OpaqueMetadata {
            OpaqueMetadata::new(Runtime::metadata().into())
        }

        fn metadata_at_version(version: u32) -> Option<OpaqueMetadata> {
            Runtime::metadata_at_version(version)
        }

        fn metadata_versions() -> Vec<u32> {
            Runtime::metadata_versions()
        }
    }

    impl frame_support::view_functions::runtime_api::RuntimeViewFunction<Block> for Runtime {
        fn execute_view_function(
            id: frame_support::view_functions::ViewFunctionId,
            input: Vec<u8>,
        ) -> Result<Vec<u8>, frame_support::view_functions::ViewFunctionDispatchError> {
            Runtime::execute_view_function(id, input)
        }
    }

    impl sp_block_builder::BlockBuilder<Block> for Runtime {
        fn apply_extrinsic(extrinsic: <Block as BlockT>::Extrinsic) -> ApplyExtrinsicResult {
            Executive::apply_extrinsic(extrinsic)
        }

        fn finalize_block() -> <Block as BlockT>::Header {
            Executive::finalize_block()
        }

        fn inherent_extrinsics(data: sp_inherents::InherentData) -> Vec<<Block as BlockT>::Extrinsic> {
            data.create_extrinsics()
        }

        fn check_inherents(
            block: <Block as BlockT>::LazyBlock,
            data: sp_inherents::InherentData,
        ) -> sp_inherents::CheckInherentsResult {
            data.check_extrinsics(&block)
        }
    }

    impl sp_transaction_pool::runtime_api::TaggedTransactionQueue<Block> for Runtime {
        fn validate_transaction(
            source: TransactionSource,
            transaction: <Block as BlockT>::Extrinsic,
            block_hash: <Block as BlockT>::Hash,
        ) -> TransactionValidity {
            Executive::validate_transaction(source, transaction, block_hash)
        }
    }

    impl sp_offchain::OffchainWorkerApi<Block> for Runtime {
        fn offchain_worker(header: &<Block as BlockT>::Header) {
            Executive::offchain_worker(header)
        }
    }

    impl sp_consensus_babe::BabeApi<Block> for Runtime {
        fn configuration() -> sp_consensus_babe::BabeConfiguration {
            let epoch = Babe::epoch_config().unwrap_or(EPOCH_CONFIG);
            sp_consensus_babe::BabeConfiguration {
                slot_duration: Babe::slot_duration(),
                epoch_length: EpochDuration::get(),
                c: epoch.c,
                authorities: Babe::authorities().to_vec(),
                randomness: Babe::randomness(),
                allowed_slots: epoch.allowed_slots,
            }
        }

        fn current_epoch_start() -> sp_consensus_babe::Slot {
            Babe::current_epoch_start()
        }

        fn current_epoch() -> sp_consensus_babe::Epoch {
            Babe::current_epoch()
        }

        fn next_epoch() -> sp_consensus_babe::Epoch {
            Babe::next_epoch()
        }

        fn generate_key_ownership_proof(
            _slot: sp_consensus_babe::Slot,
            authority_id: BabeId,
        ) -> Option<sp_consensus_babe::OpaqueKeyOwnershipProof> {
            Historical::prove((sp_consensus_babe::KEY_TYPE, authority_id))
                .map(|proof| sp_consensus_babe::OpaqueKeyOwnershipProof::new(proof.encode()))
        }

        fn submit_report_equivocation_unsigned_extrinsic(
            equivocation_proof: sp_consensus_babe::EquivocationProof<<Block as BlockT>::Header>,
            key_owner_proof: sp_consensus_babe::OpaqueKeyOwnershipProof,
        ) -> Option<()> {
            Babe::submit_unsigned_equivocation_report(equivocation_proof, key_owner_proof.decode()?)
        }
    }

    impl sp_consensus_grandpa::GrandpaApi<Block> for Runtime {
        fn grandpa_authorities() -> sp_consensus_grandpa::AuthorityList {
            Grandpa::grandpa_authorities()
        }

        fn current_set_id() -> sp_consensus_grandpa::SetId {
            pallet_grandpa::CurrentSetId::<Runtime>::get()
        }

        fn submit_report_equivocation_unsigned_extrinsic(
            equivocation_proof: sp_consensus_grandpa::EquivocationProof<<Block as BlockT>::Hash, NumberFor<Block>>,
            key_owner_proof: sp_consensus_grandpa::OpaqueKeyOwnershipProof,
        ) -> Option<()> {
            Grandpa::submit_unsigned_equivocation_report(equivocation_proof, key_owner_proof.decode()?)
        }

        fn generate_key_ownership_proof(
            _set_id: sp_consensus_grandpa::SetId,
            authority_id: GrandpaId,
        ) -> Option<sp_consensus_grandpa::OpaqueKeyOwnershipProof> {
            Historical::prove((sp_consensus_grandpa::KEY_TYPE, authority_id))
                .map(|proof| sp_consensus_grandpa::OpaqueKeyOwnershipProof::new(proof.encode()))
        }
    }

    impl sp_session::SessionKeys<Block> for Runtime {
        fn generate_session_keys(owner: Vec<u8>, seed: Option<Vec<u8>>) -> OpaqueGeneratedSessionKeys {
            SessionKeys::generate(&owner, seed).into()
        }

        fn decode_session_keys(encoded: Vec<u8>) -> Option<Vec<(Vec<u8>, KeyTypeId)>> {
            SessionKeys::decode_into_raw_public_keys(&encoded)
        }
    }

    impl frame_system_rpc_runtime_api::AccountNonceApi<Block, AccountId, Nonce> for Runtime {
        fn account_nonce(account: AccountId) -> Nonce {
            System::account_nonce(account)
        }
    }

    impl pallet_transaction_payment_rpc_runtime_api::TransactionPaymentApi<Block, Balance> for Runtime {
        fn query_info(
            extrinsic: <Block as BlockT>::Extrinsic,
            length: u32,
        ) -> pallet_transaction_payment_rpc_runtime_api::RuntimeDispatchInfo<Balance> {
            TransactionPayment::query_info(extrinsic, length)
        }

        fn query_fee_details(
            extrinsic: <Block as BlockT>::Extrinsic,
            length: u32,
        ) -> pallet_transaction_payment::FeeDetails<Balance> {
            TransactionPayment::query_fee_details(extrinsic, length)
        }

        fn query_weight_to_fee(weight: Weight) -> Balance {
            TransactionPayment::weight_to_fee(weight)
        }

        fn query_length_to_fee(length: u32) -> Balance {
            TransactionPayment::length_to_fee(length)
        }
    }

    impl pallet_transaction_payment_rpc_runtime_api::TransactionPaymentCallApi<Block, Balance, RuntimeCall> for Runtime {
        fn query_call_info(
            call: RuntimeCall,
            length: u32,
        ) -> pallet_transaction_payment::RuntimeDispatchInfo<Balance> {
            TransactionPayment::query_call_info(call, length)
        }

        fn query_call_fee_details(
            call: RuntimeCall,
            length: u32,
        ) -> pallet_transaction_payment::FeeDetails<Balance> {
            TransactionPayment::query_call_fee_details(call, length)
        }

        fn query_weight_to_fee(weight: Weight) -> Balance {
            TransactionPayment::weight_to_fee(weight)
        }

        fn query_length_to_fee(length: u32) -> Balance {
            TransactionPayment::length_to_fee(length)
        }
    }

    impl pallet_mpow::runtime_api::MpowApi<Block> for Runtime {
        fn parameters() -> Parameters {
            pallet_mpow::Parameters::<Runtime>::get()
        }

        fn slot() -> Slot {
            Mpow::slot()
        }

        fn node(node: NodeId) -> Option<NodeInfo> {
            Mpow::api_node(node)
        }

        fn node_of(sign_pk: Key) -> Option<NodeId> {
            pallet_mpow::NodeOf::<Runtime>::get(sign_pk)
        }

        fn nodes(start: NodeId, limit: u32) -> Vec<(NodeId, NodeInfo)> {
            Mpow::api_nodes(start, limit)
        }

        fn audit(node: NodeId) -> Option<AuditInfo> {
            Mpow::audit(node)
        }

        fn due_draws(start: NodeId, limit: u32) -> Vec<(NodeId, Drawn)> {
            Mpow::due_draws(start, limit)
        }

        fn beacon(slot: Slot) -> Option<Hash> {
            pallet_mpow::SlotBeacons::<Runtime>::get().get(slot)
        }

        fn power(slot: Slot) -> u128 {
            Mpow::slot_power(slot)
        }

        fn idle(slot: Slot) -> u128 {
            Mpow::slot_idle(slot)
        }

        fn platform(platform: Hash) -> Option<pallet_mpow::Platform> {
            pallet_mpow::Platforms::<Runtime>::get(platform)
        }

        fn standby(sign_pk: Key) -> Option<pallet_mpow::Standby> {
            pallet_mpow::Standbys::<Runtime>::get(sign_pk)
        }

        fn trusted_root() -> Vec<u8> {
            pallet_mpow::TrustedRoot::<Runtime>::get().into_inner()
        }

        fn vendor_collateral(quote: Vec<u8>) -> Option<Collateral> {
            Mpow::api_vendor_collateral(&quote)
        }

        fn collateral_current(quote: Vec<u8>) -> bool {
            Mpow::collateral_current(&quote)
        }
    }

    impl pallet_mpow::prefetch::PrefetchApi<Block> for Runtime {
        fn prefetch_keys(extrinsics: Vec<<Block as BlockT>::Extrinsic>, round: u32) -> Vec<Vec<u8>> {
            let keys = extrinsics.iter().flat_map(|extrinsic| prefetch_keys(&extrinsic.function, round));
            keys.take(pallet_mpow::prefetch::MAX_KEYS).collect()
        }
    }

    impl pallet_storage_market::runtime_api::MarketApi<Block> for Runtime {
        fn quote(size: u64, replicas: u32, term: u32) -> Result<Quote, QuoteError> {
            StorageMarket::quote(size, replicas, term)
        }

        fn order(order: OrderId) -> Option<OrderInfo> {
            StorageMarket::order(order)
        }

        fn orders_of(account: AccountId, start: Option<OrderId>, limit: u32) -> Vec<OrderId> {
            StorageMarket::orders_of(&account, start, limit)
        }

        fn replicas_of(cid: CidBytes) -> Vec<ReplicaInfo> {
            StorageMarket::replicas_of(&cid)
        }

        fn open_orders(start: Option<OrderId>, limit: u32) -> Vec<OrderId> {
            StorageMarket::open_orders(start, limit)
        }

        fn node_orders(node: NodeId, start: Option<OrderId>, limit: u32) -> Vec<OrderId> {
            StorageMarket::node_orders(node, start, limit)
        }

        fn claimable(order: OrderId, node: NodeId) -> Balance {
            StorageMarket::claimable(order, node)
        }

        fn room(node: NodeId) -> Result<u64, Barred> {
            StorageMarket::room(node)
        }

        fn collateral(node: NodeId) -> CollateralInfo {
            StorageMarket::collateral(node)
        }
    }

    impl sp_genesis_builder::GenesisBuilder<Block> for Runtime {
        fn build_state(config: Vec<u8>) -> sp_genesis_builder::Result {
            build_state::<RuntimeGenesisConfig>(config)
        }

        fn get_preset(id: &Option<sp_genesis_builder::PresetId>) -> Option<Vec<u8>> {
            get_preset::<RuntimeGenesisConfig>(id, presets::preset)
        }

        fn preset_names() -> Vec<sp_genesis_builder::PresetId> {
            presets::names()
        }
    }
}
