//! Vendor collateral: who may bring it, and which of it stays. The coin of whoever brings the wrong one: a machine's
//! slot, 0.4 tokens, in every slot, for a platform that the vendor has put out; or everybody else's slots.

use frame_support::{assert_err, assert_ok};

use crate::{
    Editions, Error, Event, PlatformPolicy, TcbInfos,
    collateral::Part,
    fixtures::{self, ATTRIBUTES, DAY, MR_ENCLAVE, NOW, Platform},
    mock::*,
};
use crust_evidence::{Ca, Edition, Tee};
use crust_protocol::attestation::part;

const FMSPC: [u8; 6] = *b"crust1";

fn kept() -> [Option<Edition>; 4] {
    [
        Editions::<Test>::get(Part::RootCrl),
        Editions::<Test>::get(Part::PckCrl(Ca::Platform)),
        Editions::<Test>::get(Part::TcbInfo(Tee::Sgx, FMSPC)),
        Editions::<Test>::get(Part::QeIdentity(Tee::Sgx)),
    ]
}

fn newer() -> Vec<u8> {
    events()
        .iter()
        .filter_map(|event| match event {
            Event::CollateralSubmitted { newer, .. } => Some(*newer),
            _ => None,
        })
        .collect()
}

fn quote() -> Vec<u8> {
    Platform::two().quote([7; 64])
}

#[test]
fn of_each_part_the_newest_stays() {
    Chain::without_collateral().run(|| {
        assert!(!Mpow::collateral_current(&quote()));
        assert_eq!(Mpow::api_vendor_collateral(&quote()), None);
        assert_ok!(submit(fixtures::collateral(), &quote()));
        assert_eq!(newer(), [4]);
        assert!(Mpow::collateral_current(&quote()));
        let first = kept();
        // Whoever else has to judge such a quote can do it under the chain's.
        let given = Mpow::api_vendor_collateral(&quote()).unwrap();
        assert!(crust_evidence::verify(&quote(), &given, NOW, &Mpow::root()).is_ok());
        assert_eq!(Mpow::api_vendor_collateral(b"no quote"), None);

        assert_ok!(submit(fixtures::collateral_of_tomorrow(), &quote()));
        assert_eq!(newer(), [4]);
        let second = kept();
        assert!(first < second);

        // What is older, or the same, changes nothing.
        assert_ok!(submit(fixtures::collateral(), &quote()));
        assert_ok!(submit(fixtures::collateral_of_tomorrow(), &quote()));
        assert_eq!(newer(), [0, 0]);
        assert_eq!(kept(), second);
    });
}

#[test]
fn an_older_evaluation_does_not_come_back_under_a_later_date() {
    Chain::without_collateral().run(|| {
        // Evaluation 18 of today, then evaluation 17 of tomorrow: the lists are newer, the documents are not.
        assert_ok!(submit(fixtures::collateral_of_early_evaluation(), &quote()));
        assert_ok!(submit(fixtures::collateral_of_tomorrow(), &quote()));
        assert_eq!(newer(), [4, 2]);
        assert_eq!(kept()[2].unwrap().number, 18);
        assert_eq!(kept()[3].unwrap().number, 18);
    });
}

#[test]
fn parts_of_several_submissions_fit_together() {
    Chain::without_collateral().run(|| {
        assert_ok!(submit(fixtures::collateral_of_early_evaluation(), &quote()));
        assert_ok!(submit(fixtures::collateral_of_tomorrow(), &quote()));
        go_to(2);
        assert_ok!(Enclave::new(1).register());
    });
}

#[test]
fn an_evaluation_beyond_the_policy_is_not_taken_yet() {
    let policy = PlatformPolicy { evaluation: 17, ..PlatformPolicy::default() };
    Chain { policy, ..Chain::without_collateral() }.run(|| {
        let result = submit(fixtures::collateral_of_early_evaluation(), &quote());
        assert_err!(result, Error::<Test>::EvaluationTooNew);
        assert_eq!(kept(), [None; 4]);
        assert_ok!(submit(fixtures::collateral(), &quote()));
    });
}

#[test]
fn any_genuine_quote_brings_collateral_whatever_its_firmware_and_program() {
    Chain::without_collateral().run(|| {
        // Of a program that nobody approved, in debug mode, on firmware that is out of date.
        let stranger = Platform::one().quote_with([3; 64], |signed| {
            signed[MR_ENCLAVE].fill(9);
            signed[ATTRIBUTES][0] |= 2;
        });
        assert_ok!(submit(fixtures::collateral_with_old_firmware(), &stranger));
        assert_eq!(newer(), [4]);
    });
}

#[test]
fn a_quote_that_is_not_genuine_brings_nothing() {
    Chain::without_collateral().run(|| {
        let mut forged = quote();
        forged[440] ^= 1;
        assert_err!(submit(fixtures::collateral(), &forged), Error::<Test>::UntrustedQuote);
        assert_err!(submit(fixtures::collateral(), &[]), Error::<Test>::MalformedQuote);
        assert_err!(submit(fixtures::collateral_of_other_family(), &quote()), Error::<Test>::OtherFamily);
        assert_eq!(kept(), [None; 4]);
    });
}

#[test]
fn collateral_that_is_out_of_date_or_malformed_is_refused() {
    Chain::without_collateral().run(|| {
        set_time(NOW + 40 * DAY);
        assert_err!(submit(fixtures::collateral(), &quote()), Error::<Test>::CollateralOutOfDate);
        set_time(NOW - 10 * DAY);
        assert_err!(submit(fixtures::collateral(), &quote()), Error::<Test>::CollateralOutOfDate);
        set_time(NOW);
        let mut malformed = fixtures::collateral();
        malformed.tcb_info = part(*b"{").unwrap();
        assert_err!(submit(malformed, &quote()), Error::<Test>::MalformedCollateral);
        let mut forged = fixtures::collateral();
        forged.tcb_info_signature[0] ^= 1;
        assert_err!(submit(forged, &quote()), Error::<Test>::UntrustedQuote);
        assert_eq!(kept(), [None; 4]);
    });
}

#[test]
fn what_nobody_signed_is_not_stored() {
    Chain::without_collateral().run(|| {
        let mut padded = fixtures::collateral();
        padded.pck_crl_issuer_chain = part(vec![b' '; 32 << 10]).unwrap();
        let chain = [padded.tcb_info_issuer_chain.to_vec(), vec![b'\n'; 20_000]].concat();
        padded.tcb_info_issuer_chain = part(chain.clone()).unwrap();
        padded.qe_identity_issuer_chain = part(chain).unwrap();
        assert_ok!(submit(padded, &quote()));
        let padded = TcbInfos::<Test>::get((Tee::Sgx, FMSPC)).unwrap();
        assert!(padded.signer.len() < 1_000);
        go_to(2);
        assert_ok!(Enclave::new(1).register());
    });
}
