//! Blocks, accounts, money, fees, proxies.
//!
//! Issuance is constant: fees, dust and slashes go to the treasury, nothing is minted, and nobody's money is burnt but by himself.

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use crust_protocol::TOKEN;
use frame_support::{
    PalletId, derive_impl,
    dispatch::DispatchClass,
    parameter_types,
    traits::{ConstU32, InstanceFilter, VariantCountOf, fungible::Credit, tokens::imbalance::ResolveTo},
    weights::{
        ConstantMultiplier, IdentityFee, Weight,
        constants::{ParityDbWeight, WEIGHT_REF_TIME_PER_SECOND},
    },
};
use frame_system::limits::{BlockLength, BlockWeights};
use pallet_transaction_payment::{FungibleAdapter, Multiplier, TargetedFeeAdjustment};
use scale_info::TypeInfo;
use sp_runtime::{
    FixedPointNumber, Perbill, Perquintill,
    traits::{AccountIdConversion, BlakeTwo256, Bounded},
};
use sp_version::RuntimeVersion;

use crate::{
    AccountId, Balance, Balances, Block, BlockNumber, Hash, Nonce, PalletInfo, Runtime, RuntimeCall, RuntimeEvent,
    RuntimeFreezeReason, RuntimeHoldReason, RuntimeOrigin, RuntimeTask, System, UncheckedExtrinsic, VERSION,
};

/// The smallest balance that an account may have: a thousandth of a token.
pub const EXISTENTIAL_DEPOSIT: Balance = TOKEN / 1_000;
/// How much of a block ordinary transactions may fill; the rest is for reports and the like.
const NORMAL_RATIO: Perbill = Perbill::from_percent(75);
/// Half of a production block's six seconds: what its author has to fill it.
const MAX_BLOCK: Weight = Weight::from_parts(WEIGHT_REF_TIME_PER_SECOND.saturating_mul(3), u64::MAX);
/// Bytes of a block.
const MAX_BLOCK_BYTES: u32 = 5 << 20;

parameter_types! {
    /// The last 2,400 blocks can be referred to: by eras, evidence and slot hashes.
    pub const BlockHashCount: BlockNumber = 2_400;
    pub const Version: RuntimeVersion = VERSION;
    pub const Ss58Prefix: u16 = 42;
    pub Weights: BlockWeights = BlockWeights::with_sensible_defaults(MAX_BLOCK, NORMAL_RATIO);
    pub Length: BlockLength = BlockLength::builder()
        .max_length(MAX_BLOCK_BYTES)
        .modify_max_length_for_class(DispatchClass::Normal, |max| *max = NORMAL_RATIO.mul_floor(MAX_BLOCK_BYTES))
        .build();
}

#[derive_impl(frame_system::config_preludes::SolochainDefaultConfig)]
impl frame_system::Config for Runtime {
    type Block = Block;
    type BlockWeights = Weights;
    type BlockLength = Length;
    type AccountId = AccountId;
    type Nonce = Nonce;
    type Hash = Hash;
    type BlockHashCount = BlockHashCount;
    type DbWeight = ParityDbWeight;
    type Version = Version;
    type AccountData = pallet_balances::AccountData<Balance>;
    type SystemWeightInfo = frame_system::weights::SubstrateWeight<Runtime>;
    type ExtensionsWeightInfo = frame_system::SubstrateExtensionsWeight<Runtime>;
    type SS58Prefix = Ss58Prefix;
    type MaxConsumers = ConstU32<16>;
}

/// Reports of a validator that equivocated enter a block without a sender.
impl<C> frame_system::offchain::CreateTransactionBase<C> for Runtime
where
    RuntimeCall: From<C>,
{
    type Extrinsic = UncheckedExtrinsic;
    type RuntimeCall = RuntimeCall;
}

impl<C> frame_system::offchain::CreateBare<C> for Runtime
where
    RuntimeCall: From<C>,
{
    fn create_bare(call: RuntimeCall) -> UncheckedExtrinsic {
        UncheckedExtrinsic::new_bare(call)
    }
}

parameter_types! {
    /// Fees, dust, slashes, placing fees and a share of what clients pay. No one holds its key.
    pub TreasuryAccount: AccountId = PalletId(*b"crusttrs").into_account_truncating();
    /// The staking pot: a share of what clients pay, for validators and guarantors.
    pub PotAccount: AccountId = PalletId(*b"crustpot").into_account_truncating();
}

/// Where money goes that the SDK would burn.
pub type ToTreasury = ResolveTo<TreasuryAccount, Balances>;
/// Money taken from somebody, on its way.
pub type Taken = Credit<AccountId, Balances>;

parameter_types! {
    pub const ExistentialDeposit: Balance = EXISTENTIAL_DEPOSIT;
}

impl pallet_balances::Config for Runtime {
    type RuntimeEvent = RuntimeEvent;
    type RuntimeHoldReason = RuntimeHoldReason;
    type RuntimeFreezeReason = RuntimeFreezeReason;
    type WeightInfo = pallet_balances::weights::SubstrateWeight<Runtime>;
    type Balance = Balance;
    type DustRemoval = ToTreasury;
    type ExistentialDeposit = ExistentialDeposit;
    type AccountStore = System;
    type ReserveIdentifier = [u8; 8];
    type FreezeIdentifier = RuntimeFreezeReason;
    type MaxLocks = ConstU32<50>;
    type MaxReserves = ConstU32<50>;
    type MaxFreezes = VariantCountOf<RuntimeFreezeReason>;
    type DoneSlashHandler = ();
}

parameter_types! {
    /// A second of computing costs a token, a megabyte too.
    pub const TransactionByteFee: Balance = TOKEN / 1_000_000;
    pub const OperationalFeeMultiplier: u8 = 5;
    /// Fees rise while blocks are more than a quarter full.
    pub const TargetBlockFullness: Perquintill = Perquintill::from_percent(25);
    pub AdjustmentVariable: Multiplier = Multiplier::saturating_from_rational(75, 1_000_000);
    /// They never fall under what they start with, so that a quiet chain's fees can be foretold to the planck.
    pub MinimumMultiplier: Multiplier = Multiplier::from_u32(1);
    pub MaximumMultiplier: Multiplier = Bounded::max_value();
}

impl pallet_transaction_payment::Config for Runtime {
    type RuntimeEvent = RuntimeEvent;
    type OnChargeTransaction = FungibleAdapter<Balances, ToTreasury>;
    type WeightToFee = IdentityFee<Balance>;
    type LengthToFee = ConstantMultiplier<Balance, TransactionByteFee>;
    type FeeMultiplierUpdate =
        TargetedFeeAdjustment<Runtime, TargetBlockFullness, AdjustmentVariable, MinimumMultiplier, MaximumMultiplier>;
    type OperationalFeeMultiplier = OperationalFeeMultiplier;
    type WeightInfo = pallet_transaction_payment::weights::SubstrateWeight<Runtime>;
}

impl pallet_utility::Config for Runtime {
    type RuntimeEvent = RuntimeEvent;
    type RuntimeCall = RuntimeCall;
    type PalletsOrigin = crate::OriginCaller;
    type WeightInfo = pallet_utility::weights::SubstrateWeight<Runtime>;
}

type Market = pallet_storage_market::Call<Runtime>;

/// What an account lets another one do in its name.
#[derive(
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Debug,
    Default,
    Encode,
    Decode,
    DecodeWithMemTracking,
    MaxEncodedLen,
    TypeInfo,
)]
pub enum ProxyType {
    /// Everything.
    #[default]
    #[codec(index = 0)]
    Any,
    /// A provider's daemon: the calls that a node lives by. None of them moves the provider's money to another account:
    /// placing and funding orders, which does, is left out, and so is giving a node up.
    #[codec(index = 1)]
    Storage,
    /// Bonding, validating, session keys.
    #[codec(index = 2)]
    Staking,
}

impl InstanceFilter<RuntimeCall> for ProxyType {
    fn filter(&self, call: &RuntimeCall) -> bool {
        match self {
            ProxyType::Any => true,
            ProxyType::Storage => matches!(
                call,
                RuntimeCall::Mpow(_)
                    | RuntimeCall::StorageMarket(
                        Market::take { .. }
                            | Market::claim { .. }
                            | Market::end { .. }
                            | Market::deposit_collateral { .. }
                            | Market::withdraw_collateral { .. }
                            | Market::retire { .. }
                            | Market::retire_node { .. }
                    )
            ),
            ProxyType::Staking => matches!(call, RuntimeCall::Staking(_) | RuntimeCall::Session(_)),
        }
    }

    fn is_superset(&self, other: &Self) -> bool {
        self == &ProxyType::Any || self == other
    }
}

parameter_types! {
    /// For the record of an account's proxies, and for each of them.
    pub const ProxyDepositBase: Balance = TOKEN / 100;
    pub const ProxyDepositFactor: Balance = TOKEN / 100;
}

impl pallet_proxy::Config for Runtime {
    type RuntimeEvent = RuntimeEvent;
    type RuntimeCall = RuntimeCall;
    type Currency = Balances;
    type ProxyType = ProxyType;
    type ProxyDepositBase = ProxyDepositBase;
    type ProxyDepositFactor = ProxyDepositFactor;
    type MaxProxies = ConstU32<32>;
    type WeightInfo = pallet_proxy::weights::SubstrateWeight<Runtime>;
    type MaxPending = ConstU32<32>;
    type CallHasher = BlakeTwo256;
    type AnnouncementDepositBase = ProxyDepositBase;
    type AnnouncementDepositFactor = ProxyDepositFactor;
    type BlockNumberProvider = System;
}

/// Inert without a key, and only the genesis of a development chain has one.
impl pallet_sudo::Config for Runtime {
    type RuntimeEvent = RuntimeEvent;
    type RuntimeCall = RuntimeCall;
    type WeightInfo = pallet_sudo::weights::SubstrateWeight<Runtime>;
}
