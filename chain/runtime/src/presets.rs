//! Genesis states: `dev` (one authority, the development column of the parameters), `local` (four authorities, the
//! production column) and what a production chain starts from.
//!
//! `dev` and `local` trust the published development root and approve the development measurement, so they prove
//! nothing, and say so (`development`); a production genesis that held either would be refused as it is built.

use alloc::{format, string::ToString, vec, vec::Vec};

use crust_protocol::{TOKEN, attestation::Measurement, development, parameters::Parameters};
use pallet_staking::StakerStatus;
use sp_core::{Pair, ed25519, sr25519};
use sp_genesis_builder::PresetId;
use sp_runtime::{Perbill, traits::IdentifyAccount};

use crate::{
    AccountId, BabeConfig, Balance, BalancesConfig, MpowConfig, RuntimeGenesisConfig, SessionConfig, SessionKeys,
    StakingConfig, SudoConfig,
    configs::{consensus::EPOCH_CONFIG, system::TreasuryAccount},
};

/// Preset of a chain on one machine: a block a second, a report slot of ten.
pub const DEV: &str = "dev";
/// Preset of a chain of four validators with production's numbers.
pub const LOCAL: &str = "local";

/// Seed of the SDK's well-known development phrase, from which all keys of `dev` and `local` derive.
const DEV_SEED: &str = "0xfac7959dbfe72f052e5a0c3c8d6530f202b02fd8f9f5ca3580ec8deb7797479e";

/// All money that there is.
pub const ISSUANCE: Balance = 20_000_000 * TOKEN;
/// What a genesis authority has bonded.
pub const STAKE: Balance = 100_000 * TOKEN;

/// An account that makes blocks from the first one on.
#[derive(Clone, Debug)]
pub struct Authority {
    pub stash: AccountId,
    pub keys: SessionKeys,
}

/// What a genesis is made of, apart from constants.
pub struct Genesis {
    pub authorities: Vec<Authority>,
    /// Balances; what is left of [`ISSUANCE`] goes to the treasury.
    pub balances: Vec<(AccountId, Balance)>,
    /// Key of pallet-sudo; a production chain has none.
    pub sudo: Option<AccountId>,
    pub parameters: Parameters,
    /// DER certificate of the vendor's root.
    pub trusted_root: Vec<u8>,
    pub measurements: Vec<Measurement>,
    /// Whether the development root and measurement are allowed.
    pub development: bool,
}

impl Genesis {
    /// The state of each pallet.
    pub fn config(self) -> RuntimeGenesisConfig {
        let Self { authorities, mut balances, sudo, parameters, trusted_root, measurements, development } = self;
        let endowed = balances.iter().fold(0, |sum: Balance, (_, balance)| sum.saturating_add(*balance));
        balances.push((TreasuryAccount::get(), ISSUANCE.saturating_sub(endowed)));
        let count = u32::try_from(authorities.len()).unwrap_or(u32::MAX);
        let stakers = authorities
            .iter()
            .map(|Authority { stash, .. }| (stash.clone(), stash.clone(), STAKE, StakerStatus::Validator))
            .collect();
        let keys = authorities.into_iter().map(|Authority { stash, keys }| (stash.clone(), stash, keys)).collect();
        RuntimeGenesisConfig {
            babe: BabeConfig { epoch_config: EPOCH_CONFIG, ..Default::default() },
            balances: BalancesConfig { balances, ..Default::default() },
            staking: StakingConfig {
                validator_count: count,
                minimum_validator_count: count,
                slash_reward_fraction: Perbill::from_percent(10),
                stakers,
                ..Default::default()
            },
            session: SessionConfig { keys, ..Default::default() },
            sudo: SudoConfig { key: sudo },
            mpow: MpowConfig { parameters, trusted_root, measurements, development, ..Default::default() },
            ..Default::default()
        }
    }
}

/// A preset by its name.
pub fn genesis(name: &str) -> Option<Genesis> {
    match name {
        DEV => Some(dev()),
        LOCAL => Some(local()),
        _ => None,
    }
}

/// A preset as the JSON that a chain specification holds.
pub fn preset(id: &PresetId) -> Option<Vec<u8>> {
    serde_json::to_vec(&genesis(id)?.config()).ok()
}

/// The names of all presets.
pub fn names() -> Vec<PresetId> {
    vec![DEV.to_string(), LOCAL.to_string()]
}

/// The genesis of `crust-node --chain dev`.
pub fn dev() -> Genesis {
    Genesis { parameters: Parameters::DEVELOPMENT, ..development(&["//Alice"]) }
}

/// The genesis of `crust-node --chain local`.
pub fn local() -> Genesis {
    Genesis { parameters: Parameters::PRODUCTION, ..development(&["//Alice", "//Bob", "//Charlie", "//Dave"]) }
}

/// What `dev` and `local` share: well-known keys, money for tests, the development root.
fn development(authorities: &[&str]) -> Genesis {
    let authorities = authorities.iter().filter_map(|uri| authority(uri)).collect::<Vec<_>>();
    let sudo = account("//Alice");
    let validators = authorities.iter().map(|authority| (authority.stash.clone(), 1_000_000 * TOKEN));
    let client = account("//Client").map(|client| (client, 1_000_000 * TOKEN));
    let providers = (0..16).filter_map(|number| Some((account(&format!("//Provider{number}"))?, 10_000 * TOKEN)));
    Genesis {
        balances: validators.chain(client).chain(providers).collect(),
        authorities,
        sudo,
        parameters: Parameters::DEVELOPMENT,
        trusted_root: development::ROOT_CA.to_vec(),
        measurements: vec![development::MEASUREMENT],
        development: true,
    }
}

/// The account of a well-known development key.
pub fn account(uri: &str) -> Option<AccountId> {
    Some(sp_runtime::MultiSigner::from(public::<sr25519::Pair>(uri)?).into_account())
}

fn authority(uri: &str) -> Option<Authority> {
    let keys =
        SessionKeys { babe: public::<sr25519::Pair>(uri)?.into(), grandpa: public::<ed25519::Pair>(uri)?.into() };
    Some(Authority { stash: account(uri)?, keys })
}

/// The public half of a key derived from [`DEV_SEED`].
fn public<P: Pair>(path: &str) -> Option<P::Public> {
    P::from_string(&format!("{DEV_SEED}{path}"), None).ok().map(|pair| pair.public())
}
