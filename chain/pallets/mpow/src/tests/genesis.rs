//! What a chain can start with, and who writes what evidence is measured against.

use std::panic::{AssertUnwindSafe, catch_unwind};

use crust_evidence::INTEL_ROOT_CA;
use crust_protocol::{attestation::Measurement, development, parameters::Parameters};

use crate::{
    GenesisConfig, Measurements, PlatformPolicy, Policy, TrustedRoot,
    fixtures::{self, Platform},
    mock::*,
};
use frame_support::{assert_err, assert_ok, traits::Get};
use sp_runtime::DispatchError;

fn starts(chain: Chain) -> bool {
    catch_unwind(AssertUnwindSafe(|| chain.externalities())).is_ok()
}

fn approved() -> Measurement {
    let Measurement::Sgx { attributes, attributes_mask, misc_select, misc_mask, .. } = development::MEASUREMENT else {
        panic!("the development enclave is an SGX enclave in form");
    };
    Measurement::Sgx { mr_enclave: [8; 32], isv_prod_id: 1, attributes, attributes_mask, misc_select, misc_mask }
}

fn production() -> Chain {
    Chain {
        parameters: Parameters::PRODUCTION,
        trusted_root: INTEL_ROOT_CA.to_vec(),
        measurements: vec![approved()],
        development: false,
        ..Chain::default()
    }
}

#[test]
fn a_production_genesis_refuses_the_development_root_and_measurement() {
    assert!(starts(production()));
    assert!(!starts(Chain { trusted_root: development::ROOT_CA.to_vec(), ..production() }));
    assert!(!starts(Chain { measurements: vec![approved(), development::MEASUREMENT], ..production() }));
    // Nor under another product or mode.
    let Measurement::Sgx { mr_enclave, attributes, misc_select, misc_mask, .. } = development::MEASUREMENT else {
        panic!("the development enclave is an SGX enclave in form");
    };
    let attributes_mask = [0; 16];
    let disguised =
        Measurement::Sgx { mr_enclave, isv_prod_id: 5, attributes, attributes_mask, misc_select, misc_mask };
    assert!(!starts(Chain { measurements: vec![disguised], ..production() }));
    // A development chain may have both, with the parameters of production too.
    assert!(starts(Chain { parameters: Parameters::PRODUCTION, ..Chain::default() }));
}

#[test]
fn a_genesis_that_contradicts_itself_makes_no_chain() {
    let good = Parameters::DEVELOPMENT;
    for parameters in [
        Parameters { block_millis: 0, ..good.clone() },
        Parameters { slot_blocks: 0, ..good.clone() },
        Parameters { beacon_blocks: good.slot_blocks, ..good.clone() },
        Parameters { beacon_blocks: 3, ..good.clone() },
        Parameters { beacon_blocks: 0, ..good.clone() },
        Parameters { evidence_age: 2_400, ..good.clone() },
        Parameters { slot_blocks: 2_400, ..good.clone() },
        Parameters { pot_share: 60, treasury_share: 60, ..good.clone() },
    ] {
        assert!(!starts(Chain { parameters, ..Chain::default() }));
    }
    assert!(!starts(Chain { trusted_root: vec![1; 5_000], ..Chain::default() }));
    assert!(!starts(Chain { measurements: vec![development::MEASUREMENT; 65], ..Chain::default() }));
}

#[test]
fn a_chain_without_a_trusted_root_trusts_nobody() {
    Chain { trusted_root: Vec::new(), ..Chain::without_collateral() }.run(|| {
        assert!(submit(fixtures::collateral(), &Platform::one().quote([0; 64])).is_err());
    });
}

#[test]
fn the_genesis_configuration_survives_its_text_form() {
    let config = GenesisConfig::<Test> {
        parameters: Parameters::DEVELOPMENT,
        trusted_root: development::ROOT_CA.to_vec(),
        measurements: vec![development::MEASUREMENT],
        development: true,
        ..GenesisConfig::default()
    };
    let text = serde_json::to_string(&config).unwrap();
    let again: GenesisConfig<Test> = serde_json::from_str(&text).unwrap();
    assert_eq!(again.parameters, config.parameters);
    assert_eq!(again.trusted_root, config.trusted_root);
    assert_eq!(again.measurements, config.measurements);
    assert_eq!(again.policy, config.policy);
    assert!(again.development);
    assert!(serde_json::from_str::<GenesisConfig<Test>>(&text.replace("0x", "0xff")).is_err());
}

#[test]
fn no_call_writes_whom_evidence_leads_to() {
    Chain::default().run(|| {
        let read = || (TrustedRoot::<Test>::get(), <crate::ParametersOf<Test> as Get<Parameters>>::get());
        let governed = || (Policy::<Test>::get(), Measurements::<Test>::get(0), Measurements::<Test>::count());
        let (before, policy) = (read(), governed());
        go_to(2);
        let enclave = Enclave::new(1);
        let heir = enclave.sibling(3);
        assert_ok!(enclave.register());
        assert_ok!(enclave.renew(0));
        assert_ok!(Mpow::announce(RuntimeOrigin::signed(account(1)), 0, peer_id(), addresses()));
        assert_ok!(submit(fixtures::collateral_of_tomorrow(), &enclave.quote(1)));
        Places::set(vec![(0, order(1), 1)]);
        assert_ok!(apply(enclave.receipts(0, receipts(0, &[order(1)]))).unwrap());
        assert_ok!(apply(enclave.gone(0, gone(0, &[order(1)]))).unwrap());
        go_to_slot(1);
        assert_ok!(apply(enclave.report(0, report(0, 1))).unwrap());
        assert_ok!(heir.stand_by());
        assert_ok!(apply(enclave.heir(0, crate::mock::heir(0, &heir))).unwrap());
        assert_ok!(Mpow::succeed(RuntimeOrigin::signed(account(1)), 0));
        // Policy and measurements are Root's to change.
        for origin in [RuntimeOrigin::signed(account(1)), RuntimeOrigin::none()] {
            assert_err!(Mpow::set_policy(origin.clone(), PlatformPolicy::default()), DispatchError::BadOrigin);
            let approve = Mpow::approve_measurement(origin.clone(), approved(), 0, None);
            assert_err!(approve, DispatchError::BadOrigin);
            assert_err!(Mpow::revoke_measurement(origin, 0), DispatchError::BadOrigin);
        }
        assert_eq!(governed(), policy);
        assert_ok!(Mpow::set_policy(RuntimeOrigin::root(), PlatformPolicy { evaluation: 1, ..policy.0.clone() }));
        assert_ok!(Mpow::approve_measurement(RuntimeOrigin::root(), approved(), 0, None));
        assert_ok!(Mpow::revoke_measurement(RuntimeOrigin::root(), 1));
        assert_eq!(read(), before);

        // These are all the calls there are.
        let names = <crate::Call<Test> as frame_support::traits::GetCallName>::get_call_names();
        let tried = [
            "submit_collateral",
            "register",
            "renew",
            "announce",
            "receipts",
            "gone",
            "report",
            "set_policy",
            "approve_measurement",
            "revoke_measurement",
            "stand_by",
            "heir",
            "succeed",
        ];
        assert_eq!(names, tried);
    });
}
