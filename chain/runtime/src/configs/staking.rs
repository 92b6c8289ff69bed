//! Who may make blocks: stock staking over an election that cannot be won yet.
//!
//! Until stake counts only as far as storage stands behind it, whoever validates in genesis is elected for ever, with
//! its own stake alone. Nothing is issued: the eras pay nothing.

use alloc::vec::Vec;

use frame_election_provider_support::{
    BoundedSupport, BoundedSupports, BoundedSupportsOf, ElectionProvider, PageIndex, Weight,
};
use frame_support::{
    BoundedVec, parameter_types,
    traits::{ConstU32, Nothing},
};
use frame_system::EnsureRoot;
use sp_staking::{
    EraIndex, SessionIndex, StakingAccount,
    currency_to_vote::{CurrencyToVote, U128CurrencyToVote},
};

use crate::{
    AccountId, Balance, Balances, BlockNumber, Runtime, RuntimeEvent, RuntimeHoldReason, Session, Staking, System,
    Timestamp, configs::system::ToTreasury,
};

parameter_types! {
    /// Who is elected: written once, as the genesis is built.
    pub storage GenesisAuthorities: Vec<AccountId> = Vec::new();
    pub const MaxValidators: u32 = 100;
    pub const SessionsPerEra: SessionIndex = 6;
    /// Eras until unbonded stake is free.
    pub const BondingDuration: EraIndex = 28;
    /// Eras for which a slash may still be called off.
    pub const SlashDeferDuration: EraIndex = 27;
}

/// Why the genesis authorities cannot be elected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    /// More than [`MaxValidators`].
    TooMany,
}

/// Elects the genesis authorities, each backed by its own stake.
pub struct GenesisElection;

impl GenesisElection {
    /// Who is elected; as the genesis is built, whoever validates in it is remembered.
    fn authorities() -> Vec<AccountId> {
        if System::block_number() > 0 {
            return GenesisAuthorities::get();
        }
        let mut authorities = pallet_staking::Validators::<Runtime>::iter_keys().collect::<Vec<_>>();
        authorities.sort();
        GenesisAuthorities::set(&authorities);
        authorities
    }

    fn support(stash: AccountId, issuance: Balance) -> (AccountId, BoundedSupport<AccountId, ConstU32<1>>) {
        let bonded = Staking::ledger(StakingAccount::Stash(stash.clone())).map_or(0, |ledger| ledger.active);
        let stake = u128::from(U128CurrencyToVote::to_vote(bonded, issuance));
        let voters = BoundedVec::truncate_from([(stash.clone(), stake)].to_vec());
        (stash, BoundedSupport { total: stake, voters })
    }
}

impl ElectionProvider for GenesisElection {
    type AccountId = AccountId;
    type BlockNumber = BlockNumber;
    type Error = Error;
    type MaxWinnersPerPage = MaxValidators;
    type MaxBackersPerWinner = ConstU32<1>;
    type MaxBackersPerWinnerFinal = ConstU32<1>;
    type Pages = ConstU32<1>;
    type DataProvider = Staking;

    fn elect(_page: PageIndex) -> Result<BoundedSupportsOf<Self>, Error> {
        let issuance = <Balances as frame_support::traits::fungible::Inspect<AccountId>>::total_issuance();
        let elected = Self::authorities().into_iter().map(|stash| Self::support(stash, issuance)).collect::<Vec<_>>();
        BoundedVec::try_from(elected).map(BoundedSupports).map_err(|_| Error::TooMany)
    }

    fn duration() -> BlockNumber {
        0
    }

    fn start() -> Result<(), Error> {
        Ok(())
    }

    fn status() -> Result<Option<Weight>, ()> {
        Ok(Some(
            <Runtime as frame_system::Config>::DbWeight::get().reads(u64::from(MaxValidators::get()).saturating_mul(2)),
        ))
    }
}

/// The weights of the SDK's own pallets are those that it ships.
pub struct NoBenchmarks;

impl pallet_staking::BenchmarkingConfig for NoBenchmarks {
    type MaxValidators = ConstU32<0>;
    type MaxNominators = ConstU32<0>;
}

impl pallet_staking::Config for Runtime {
    type OldCurrency = Balances;
    type Currency = Balances;
    type RuntimeHoldReason = RuntimeHoldReason;
    type CurrencyBalance = Balance;
    type UnixTime = Timestamp;
    type CurrencyToVote = U128CurrencyToVote;
    type ElectionProvider = GenesisElection;
    type GenesisElectionProvider = GenesisElection;
    type NominationsQuota = pallet_staking::FixedNominationsQuota<1>;
    type HistoryDepth = ConstU32<84>;
    type RewardRemainder = ToTreasury;
    type RuntimeEvent = RuntimeEvent;
    type Slash = ToTreasury;
    type Reward = ();
    type SessionsPerEra = SessionsPerEra;
    type BondingDuration = BondingDuration;
    type SlashDeferDuration = SlashDeferDuration;
    type AdminOrigin = EnsureRoot<AccountId>;
    type SessionInterface = Self;
    type EraPayout = ();
    type NextNewSession = Session;
    type MaxExposurePageSize = ConstU32<64>;
    type MaxValidatorSet = MaxValidators;
    type VoterList = pallet_staking::UseNominatorsAndValidatorsMap<Self>;
    type TargetList = pallet_staking::UseValidatorsMap<Self>;
    type MaxUnlockingChunks = ConstU32<32>;
    type MaxControllersInDeprecationBatch = ConstU32<64>;
    type EventListeners = ();
    type Filter = Nothing;
    type BenchmarkingConfig = NoBenchmarks;
    type WeightInfo = pallet_staking::weights::SubstrateWeight<Runtime>;
}
