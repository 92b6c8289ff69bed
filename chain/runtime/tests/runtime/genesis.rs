//! How a chain starts: the presets, what a production genesis refuses, who is elected.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crust_protocol::{TOKEN, attestation::Measurement, development, parameters::Parameters};
use crust_runtime::{
    Babe, Balances, Runtime, RuntimeCall, RuntimeOrigin, Staking, System,
    configs::staking::{GenesisAuthorities, GenesisElection},
    presets::{self, Genesis, ISSUANCE, STAKE},
};
use frame_election_provider_support::ElectionProvider;
use frame_support::{
    assert_noop, assert_ok,
    traits::{Get, IntegrityTest},
};
use sp_keyring::Sr25519Keyring::{Alice, Bob};
use sp_runtime::{MultiAddress, traits::Dispatchable};

use crate::externalities;

fn production() -> Genesis {
    Genesis {
        sudo: None,
        parameters: Parameters::PRODUCTION,
        trusted_root: crust_evidence::INTEL_ROOT_CA.to_vec(),
        measurements: vec![Measurement::Tdx { image: [7; 32], machine: Default::default() }],
        development: false,
        ..presets::local()
    }
}

fn refused(genesis: Genesis) -> String {
    let panic = catch_unwind(AssertUnwindSafe(|| drop(externalities(genesis)))).expect_err("the genesis is refused");
    panic.downcast_ref::<String>().cloned().or_else(|| panic.downcast_ref::<&str>().map(ToString::to_string)).unwrap()
}

#[test]
fn presets_are_named_and_known() {
    for name in presets::names() {
        assert!(presets::preset(&name).is_some(), "{name}");
    }
    assert_eq!(presets::names(), ["dev", "local"]);
    assert_eq!(presets::preset(&"production".into()), None);
    assert_eq!(presets::account("//Alice"), Some(Alice.to_account_id()));
    assert_eq!(presets::dev().authorities.len(), 1);
    assert_eq!(presets::local().authorities.len(), 4);
}

#[test]
fn every_genesis_has_the_same_money() {
    for genesis in [presets::dev(), presets::local(), production()] {
        externalities(genesis).execute_with(|| assert_eq!(Balances::total_issuance(), ISSUANCE));
    }
    externalities(presets::dev()).execute_with(|| {
        let free = |uri| Balances::free_balance(presets::account(uri).unwrap());
        assert_eq!(free("//Client"), 1_000_000 * TOKEN);
        assert_eq!(free("//Provider0"), 10_000 * TOKEN);
        assert_eq!(free("//Provider15"), 10_000 * TOKEN);
        assert_eq!(free("//Provider16"), 0);
    });
}

#[test]
fn time_follows_the_parameters() {
    for (genesis, parameters) in [(presets::dev(), Parameters::DEVELOPMENT), (presets::local(), Parameters::PRODUCTION)]
    {
        externalities(genesis).execute_with(|| {
            assert_eq!(pallet_mpow::Parameters::<Runtime>::get(), parameters);
            assert_eq!(Babe::slot_duration(), parameters.block_millis);
            let epoch: u64 = <Runtime as pallet_babe::Config>::EpochDuration::get();
            assert_eq!(epoch, u64::from(parameters.slot_blocks).max(60));
        });
    }
}

#[test]
fn lesson_1_and_2_a_production_genesis_refuses_the_development_root() {
    let genesis = Genesis { trusted_root: development::ROOT_CA.to_vec(), ..production() };
    assert!(refused(genesis).contains("development root"));
}

#[test]
fn lesson_1_and_2_a_production_genesis_refuses_the_development_measurement() {
    let mut genesis = production();
    genesis.measurements.push(development::MEASUREMENT);
    assert!(refused(genesis).contains("development enclave"));
}

#[test]
fn a_production_genesis_trusts_the_vendor_and_has_no_sudo_key() {
    externalities(production()).execute_with(|| {
        assert_eq!(pallet_mpow::TrustedRoot::<Runtime>::get().into_inner(), crust_evidence::INTEL_ROOT_CA);
        assert_eq!(pallet_sudo::Key::<Runtime>::get(), None);
        let remark = Box::new(RuntimeCall::System(frame_system::Call::remark { remark: Vec::new() }));
        for account in [Alice, Bob] {
            let call = RuntimeCall::Sudo(pallet_sudo::Call::sudo { call: remark.clone() });
            let origin = RuntimeOrigin::signed(account.to_account_id());
            assert_noop!(call.dispatch(origin), pallet_sudo::Error::<Runtime>::RequireSudo);
        }
    });
}

#[test]
fn the_genesis_authorities_are_elected_for_ever() {
    externalities(presets::local()).execute_with(|| {
        System::set_block_number(1);
        let authorities = GenesisAuthorities::get();
        assert_eq!(authorities.len(), 4);
        let client = presets::account("//Client").unwrap();
        let origin = RuntimeOrigin::signed(client.clone());
        assert_ok!(Staking::bond(origin.clone(), 10 * STAKE, pallet_staking::RewardDestination::Staked));
        assert_ok!(Staking::validate(origin, Default::default()));
        assert_ok!(Staking::nominate(
            {
                let guarantor = presets::account("//Provider0").unwrap();
                let origin = RuntimeOrigin::signed(guarantor);
                assert_ok!(Staking::bond(origin.clone(), 1_000 * TOKEN, pallet_staking::RewardDestination::Staked));
                origin
            },
            vec![MultiAddress::Id(authorities[0].clone())]
        ));
        let elected = GenesisElection::elect(0).unwrap().0;
        assert_eq!(elected.iter().map(|(stash, _)| stash.clone()).collect::<Vec<_>>(), authorities);
        for (stash, support) in elected {
            assert_eq!(support.total, STAKE);
            assert_eq!(support.voters.into_inner(), [(stash, STAKE)]);
        }
    });
}

#[test]
fn eras_pay_nothing() {
    type EraPayout = <Runtime as pallet_staking::Config>::EraPayout;
    let paid = <EraPayout as sp_staking::EraPayout<u128>>::era_payout(ISSUANCE / 2, ISSUANCE, 86_400_000);
    assert_eq!(paid, (0, 0));
}

/// What Root does by `set_storage` or `set_code` is a runtime upgrade; nothing else may change whom the chain trusts.
#[test]
fn no_call_of_ours_writes_the_trusted_root() {
    let mut writers = Vec::new();
    for pallet in ["mpow", "storage-market"] {
        let folder = format!("{}/../pallets/{pallet}/src", env!("CARGO_MANIFEST_DIR"));
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|extension| extension == "rs") {
                let source = std::fs::read_to_string(&path).unwrap();
                let name = path.file_name().unwrap().to_string_lossy().into_owned();
                let tests = ["mock.rs", "tests.rs", "fixtures.rs"].contains(&name.as_str());
                let writes = source.match_indices("TrustedRoot::<").any(|(at, _)| {
                    let call = source[at..].split_once(">::").map_or("", |(_, call)| call);
                    !call.starts_with("get(")
                });
                if writes && !tests {
                    writers.push(format!("{pallet}/{name}"));
                }
            }
        }
    }
    assert_eq!(writers, ["mpow/genesis.rs"]);
}

#[test]
fn the_pallets_fit_together() {
    for genesis in [presets::dev(), presets::local()] {
        externalities(genesis).execute_with(crust_runtime::AllPalletsWithSystem::integrity_test);
    }
}
