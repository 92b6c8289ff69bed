//! The chain's state machine: which pallets it has, under which indices, and how they are put together.
//!
//! This file is the list; the choices are in [`configs`], one file a concern, the programming interface of the node and
//! of clients in [`apis`], the genesis states in [`presets`]. Pallet and call indices are promises to everybody who
//! ever signed or stored something: they never change (a golden-bytes test holds them).
//!
//! One wasm serves production and development: what differs between them is in the genesis, as the parameters that
//! [`pallet_mpow`] keeps, and is read from storage.

#![cfg_attr(not(feature = "std"), no_std)]
#![cfg_attr(not(test), deny(clippy::float_arithmetic))]
#![recursion_limit = "512"]

extern crate alloc;

#[cfg(feature = "std")]
include!(concat!(env!("OUT_DIR"), "/wasm_binary.rs"));

pub mod apis;
pub mod configs;
pub mod presets;

use alloc::{borrow::Cow, vec::Vec};

use pallet_session::historical as pallet_session_historical;
use sp_runtime::{
    MultiAddress, MultiSignature, generic, impl_opaque_keys,
    traits::{BlakeTwo256, IdentifyAccount, Verify},
};
use sp_version::RuntimeVersion;

pub use crust_protocol::{Balance, BlockNumber};

/// A signature by an account.
pub type Signature = MultiSignature;
/// 32 bytes that say who: an sr25519 or ed25519 key or the hash of an ECDSA key.
pub type AccountId = <<Signature as Verify>::Signer as IdentifyAccount>::AccountId;
/// How many transactions an account has sent.
pub type Nonce = u32;
/// BLAKE2-256, as the SDK writes it.
pub type Hash = sp_core::H256;
/// An account as a transaction names it.
pub type Address = MultiAddress<AccountId, ()>;
/// The header of a block.
pub type Header = generic::Header<BlockNumber, BlakeTwo256>;
/// A block with its transactions.
pub type Block = generic::Block<Header, UncheckedExtrinsic>;
/// A transaction before it was checked.
pub type UncheckedExtrinsic = generic::UncheckedExtrinsic<Address, RuntimeCall, Signature, TxExtension>;
/// A transaction as its sender signs it.
pub type SignedPayload = generic::SignedPayload<RuntimeCall, TxExtension>;

/// What every transaction passes through, in this order. `AuthorizeCall` is first: what an enclave says is authorised
/// by its own signature inside the call. `WeightReclaim` is last: it gives back what all others have left over.
pub type TxExtension = (
    frame_system::AuthorizeCall<Runtime>,
    frame_system::CheckNonZeroSender<Runtime>,
    frame_system::CheckSpecVersion<Runtime>,
    frame_system::CheckTxVersion<Runtime>,
    frame_system::CheckGenesis<Runtime>,
    frame_system::CheckEra<Runtime>,
    frame_system::CheckNonce<Runtime>,
    frame_system::CheckWeight<Runtime>,
    pallet_transaction_payment::ChargeTransactionPayment<Runtime>,
    frame_system::WeightReclaim<Runtime>,
);

/// What a transaction passes through that never expires and gives no tip.
pub fn extension(nonce: Nonce) -> TxExtension {
    (
        frame_system::AuthorizeCall::new(),
        frame_system::CheckNonZeroSender::new(),
        frame_system::CheckSpecVersion::new(),
        frame_system::CheckTxVersion::new(),
        frame_system::CheckGenesis::new(),
        frame_system::CheckEra::from(generic::Era::Immortal),
        frame_system::CheckNonce::from(nonce),
        frame_system::CheckWeight::new(),
        pallet_transaction_payment::ChargeTransactionPayment::from(0),
        frame_system::WeightReclaim::new(),
    )
}

/// Executes blocks.
pub type Executive =
    frame_executive::Executive<Runtime, Block, frame_system::ChainContext<Runtime>, Runtime, AllPalletsWithSystem>;

/// What the node knows of blocks: it does not look into transactions.
pub mod opaque {
    use super::{BlakeTwo256, generic};

    pub use sp_runtime::OpaqueExtrinsic as UncheckedExtrinsic;

    /// The header of a block.
    pub type Header = super::Header;
    /// A block whose transactions are bytes.
    pub type Block = generic::Block<Header, UncheckedExtrinsic>;
    /// The number or hash of a block.
    pub type BlockId = generic::BlockId<Block>;
    /// The hash of a block.
    pub type Hash = <BlakeTwo256 as sp_runtime::traits::Hash>::Output;
}

impl_opaque_keys! {
    /// What a validator signs with: blocks and finality votes.
    pub struct SessionKeys {
        pub babe: Babe,
        pub grandpa: Grandpa,
    }
}

/// `transaction_version` rises whenever the bytes of a call or of the extensions change, `spec_version` with every
/// release of the runtime. `system_version` 0 keeps values in the leaves of the state's trie, not in records of their own
/// behind them (docs/decisions/0009).
#[sp_version::runtime_version]
pub const VERSION: RuntimeVersion = RuntimeVersion {
    spec_name: Cow::Borrowed("crust"),
    impl_name: Cow::Borrowed("crust"),
    authoring_version: 1,
    spec_version: 1,
    impl_version: 1,
    apis: apis::RUNTIME_API_VERSIONS,
    transaction_version: 1,
    system_version: 0,
};

#[frame_support::runtime]
mod runtime {
    #[runtime::runtime]
    #[runtime::derive(
        RuntimeCall,
        RuntimeEvent,
        RuntimeError,
        RuntimeOrigin,
        RuntimeFreezeReason,
        RuntimeHoldReason,
        RuntimeSlashReason,
        RuntimeLockId,
        RuntimeTask,
        RuntimeViewFunction
    )]
    pub struct Runtime;

    #[runtime::pallet_index(0)]
    pub type System = frame_system;
    #[runtime::pallet_index(1)]
    pub type Timestamp = pallet_timestamp;
    #[runtime::pallet_index(2)]
    pub type Babe = pallet_babe;
    #[runtime::pallet_index(3)]
    pub type Authorship = pallet_authorship;
    #[runtime::pallet_index(4)]
    pub type Balances = pallet_balances;
    #[runtime::pallet_index(5)]
    pub type TransactionPayment = pallet_transaction_payment;
    #[runtime::pallet_index(6)]
    pub type Staking = pallet_staking;
    #[runtime::pallet_index(7)]
    pub type Session = pallet_session;
    #[runtime::pallet_index(8)]
    pub type Historical = pallet_session_historical;
    #[runtime::pallet_index(9)]
    pub type Offences = pallet_offences;
    #[runtime::pallet_index(10)]
    pub type Grandpa = pallet_grandpa;
    #[runtime::pallet_index(11)]
    pub type Utility = pallet_utility;
    #[runtime::pallet_index(12)]
    pub type Proxy = pallet_proxy;
    #[runtime::pallet_index(13)]
    pub type Sudo = pallet_sudo;

    // After Babe: what it writes as a block ends, it finds there.
    #[runtime::pallet_index(40)]
    pub type Mpow = pallet_mpow;
    #[runtime::pallet_index(41)]
    pub type StorageMarket = pallet_storage_market;
}
