//! Who makes blocks and when: timestamp, BABE, GRANDPA, sessions.
//!
//! Every number of time comes from the genesis parameters through storage: BABE's slot is the block time, an epoch
//! (which is a session) is as long as a report slot and at least a minute of development blocks.

use frame_support::{parameter_types, traits::Get};
use sp_consensus_babe::{AllowedSlots, BabeEpochConfiguration};
use sp_runtime::traits::{ConvertInto, OpaqueKeys};

use crate::{
    AccountId, Babe, Balance, Balances, Historical, Offences, Runtime, RuntimeEvent, Session, SessionKeys, Staking,
    configs::staking::{BondingDuration, MaxValidators, SessionsPerEra},
};

/// One slot in four has a primary author on average; secondary authors with a VRF fill the others, so every block
/// adds to the randomness of the chain.
pub const EPOCH_CONFIG: BabeEpochConfiguration =
    BabeEpochConfiguration { c: (1, 4), allowed_slots: AllowedSlots::PrimaryAndSecondaryVRFSlots };

/// Blocks of the shortest epoch.
const SHORTEST_EPOCH: u64 = 60;

/// Milliseconds between blocks: BABE's slot. Never changes after genesis, because BABE's slot number is the time
/// divided by it.
pub struct BlockMillis;

impl Get<u64> for BlockMillis {
    fn get() -> u64 {
        pallet_mpow::Parameters::<Runtime>::get().block_millis
    }
}

/// BABE takes twice the minimum period for its slot.
pub struct MinimumPeriod;

impl Get<u64> for MinimumPeriod {
    fn get() -> u64 {
        BlockMillis::get() / 2
    }
}

/// Blocks of an epoch.
pub struct EpochDuration;

impl Get<u64> for EpochDuration {
    fn get() -> u64 {
        u64::from(pallet_mpow::Parameters::<Runtime>::get().slot_blocks).max(SHORTEST_EPOCH)
    }
}

/// How old an offence may be when it is reported: as long as its author's stake is bonded, in blocks.
pub struct ReportLongevity;

impl Get<u64> for ReportLongevity {
    fn get() -> u64 {
        u64::from(BondingDuration::get())
            .saturating_mul(SessionsPerEra::get().into())
            .saturating_mul(EpochDuration::get())
    }
}

impl pallet_timestamp::Config for Runtime {
    type Moment = u64;
    type OnTimestampSet = Babe;
    type MinimumPeriod = MinimumPeriod;
    type WeightInfo = pallet_timestamp::weights::SubstrateWeight<Runtime>;
}

impl pallet_babe::Config for Runtime {
    type EpochDuration = EpochDuration;
    type ExpectedBlockTime = BlockMillis;
    type EpochChangeTrigger = pallet_babe::ExternalTrigger;
    type DisabledValidators = Session;
    type WeightInfo = ();
    type MaxAuthorities = MaxValidators;
    type MaxNominators = MaxGuarantors;
    type KeyOwnerProof = sp_session::MembershipProof;
    type EquivocationReportSystem = pallet_babe::EquivocationReportSystem<Self, Offences, Historical, ReportLongevity>;
}

parameter_types! {
    /// Guarantors of a validator that a slash reaches.
    pub const MaxGuarantors: u32 = 512;
    /// GRANDPA remembers which session an authority set belonged to for as long as stake is bonded.
    pub const MaxSetIdSessionEntries: u64 = 28 * 6;
}

impl pallet_grandpa::Config for Runtime {
    type RuntimeEvent = RuntimeEvent;
    type WeightInfo = ();
    type MaxAuthorities = MaxValidators;
    type MaxNominators = MaxGuarantors;
    type MaxSetIdSessionEntries = MaxSetIdSessionEntries;
    type KeyOwnerProof = sp_session::MembershipProof;
    type EquivocationReportSystem =
        pallet_grandpa::EquivocationReportSystem<Self, Offences, Historical, ReportLongevity>;
}

impl pallet_authorship::Config for Runtime {
    type FindAuthor = pallet_session::FindAccountFromAuthorIndex<Self, Babe>;
    type EventHandler = Staking;
}

parameter_types! {
    /// Held while an account has session keys.
    pub const KeyDeposit: Balance = crust_protocol::TOKEN;
}

impl pallet_session::Config for Runtime {
    type RuntimeEvent = RuntimeEvent;
    type ValidatorId = AccountId;
    type ValidatorIdOf = ConvertInto;
    type ShouldEndSession = Babe;
    type NextSessionRotation = Babe;
    type SessionManager = pallet_session::historical::NoteHistoricalRoot<Self, Staking>;
    type SessionHandler = <SessionKeys as OpaqueKeys>::KeyTypeIdProviders;
    type Keys = SessionKeys;
    type DisablingStrategy = pallet_session::disabling::UpToLimitWithReEnablingDisablingStrategy;
    type WeightInfo = pallet_session::weights::SubstrateWeight<Runtime>;
    type Currency = Balances;
    type KeyDeposit = KeyDeposit;
}

impl pallet_session::historical::Config for Runtime {
    type RuntimeEvent = RuntimeEvent;
    type FullIdentification = ();
    type FullIdentificationOf = pallet_staking::UnitIdentificationOf<Self>;
}

impl pallet_offences::Config for Runtime {
    type RuntimeEvent = RuntimeEvent;
    type IdentificationTuple = pallet_session::historical::IdentificationTuple<Self>;
    type OnOffenceHandler = Staking;
}
