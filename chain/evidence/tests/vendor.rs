//! Quotes that real hardware signed, and what becomes of them when anything is changed.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "tests")]

use codec::Encode;
use crust_evidence::{Ca, Claims, Error, Family, INTEL_ROOT_CA, Report, TcbStatus, Tee, family, verify};
use crust_protocol::{
    attestation::{Collateral, Measurement, part, tdx_image},
    development,
    quote::Quoted,
};
use dcap_qvl::{QuoteCollateralV3, quote::Report as VendorReport};
use proptest::prelude::*;

/// 2025-07-01: inside the dates of all collateral of the first two samples.
const IN_DATE: u64 = 1_751_328_000;
/// 2025-09-01.
const AFTER: u64 = 1_756_684_800;
/// 2025-06-01.
const BEFORE: u64 = 1_748_736_000;

struct Sample {
    quote: &'static [u8],
    collateral: Collateral,
}

macro_rules! sample {
    ($name:literal) => {
        Sample {
            quote: include_bytes!(concat!("data/", $name)),
            collateral: collateral(include_bytes!(concat!("data/", $name, "_collateral.json"))),
        }
    };
}

/// The JSON in which dcap-qvl keeps collateral.
fn collateral(json: &[u8]) -> Collateral {
    let vendor: QuoteCollateralV3 = serde_json::from_slice(json).unwrap();
    Collateral {
        pck_crl_issuer_chain: part(vendor.pck_crl_issuer_chain).unwrap(),
        root_ca_crl: part(vendor.root_ca_crl).unwrap(),
        pck_crl: part(vendor.pck_crl).unwrap(),
        tcb_info_issuer_chain: part(vendor.tcb_info_issuer_chain).unwrap(),
        tcb_info: part(vendor.tcb_info).unwrap(),
        tcb_info_signature: vendor.tcb_info_signature.try_into().unwrap(),
        qe_identity_issuer_chain: part(vendor.qe_identity_issuer_chain).unwrap(),
        qe_identity: part(vendor.qe_identity).unwrap(),
        qe_identity_signature: vendor.qe_identity_signature.try_into().unwrap(),
    }
}

impl Sample {
    fn verify(&self, now: u64) -> Result<Claims, Error> {
        verify(self.quote, &self.collateral, now, INTEL_ROOT_CA)
    }

    fn verify_with(&self, change: impl FnOnce(&mut Collateral)) -> Result<Claims, Error> {
        let mut collateral = self.collateral.clone();
        change(&mut collateral);
        verify(self.quote, &collateral, IN_DATE, INTEL_ROOT_CA)
    }
}

fn sgx() -> Sample {
    sample!("sgx_quote")
}

fn tdx() -> Sample {
    sample!("tdx_quote")
}

#[test]
fn intels_sgx_sample_passes_while_its_collateral_is_in_date() {
    let claims = sgx().verify(IN_DATE).unwrap();
    let expected = Family { tee: Tee::Sgx, ca: Ca::Processor, fmspc: [0x00, 0xa0, 0x67, 0x11, 0, 0] };
    assert_eq!(claims.family, expected);
    assert_eq!(family(sgx().quote), Ok(expected));
    assert_eq!(claims.status, TcbStatus::ConfigurationAndSwHardeningNeeded);
    assert_eq!(claims.advisories, [b"INTEL-SA-00289".to_vec(), b"INTEL-SA-00615".to_vec()]);
    assert!(!claims.report.is_debug());
    assert_eq!(claims.editions.tcb_info.number, 17);
    assert_eq!(claims.editions.pck_crl.number, 1);
    assert_eq!(sgx().verify(AFTER), Err(Error::CollateralOutOfDate));
    assert_eq!(sgx().verify(BEFORE), Err(Error::CollateralOutOfDate));
}

#[test]
fn intels_tdx_sample_passes_while_its_collateral_is_in_date() {
    let claims = tdx().verify(IN_DATE).unwrap();
    assert_eq!(claims.family, Family { tee: Tee::Tdx, ca: Ca::Platform, fmspc: [0xb0, 0xc0, 0x6f, 0, 0, 0] });
    assert_eq!(claims.status, TcbStatus::UpToDate);
    assert!(!claims.report.is_debug());
    assert_eq!(tdx().verify(AFTER), Err(Error::CollateralOutOfDate));
    assert_eq!(tdx().verify(BEFORE), Err(Error::CollateralOutOfDate));
}

#[test]
fn quotes_of_version_5_are_unknown() {
    for sample in [sample!("tdx_quote_outdated"), sample!("tdx_quote_td15ex")] {
        for now in [IN_DATE, AFTER] {
            assert_eq!(sample.verify(now), Err(Error::UnknownVersion));
        }
        assert_eq!(family(sample.quote), Err(Error::UnknownVersion));
    }
}

#[test]
fn another_root_trusts_none_of_them() {
    for sample in [sgx(), tdx()] {
        let result = verify(sample.quote, &sample.collateral, IN_DATE, development::ROOT_CA);
        assert_eq!(result, Err(Error::Untrusted));
        assert_eq!(verify(sample.quote, &sample.collateral, IN_DATE, &[]), Err(Error::Untrusted));
        assert_eq!(verify(sample.quote, &sample.collateral, IN_DATE, b"no certificate"), Err(Error::Untrusted));
    }
}

#[test]
fn collateral_of_another_family_is_told_apart() {
    assert_eq!(verify(sgx().quote, &tdx().collateral, IN_DATE, INTEL_ROOT_CA), Err(Error::OtherFamily));
    // The right TCB info with the identity of the other quoting enclave.
    let mixed = sgx().verify_with(|collateral| {
        collateral.qe_identity = tdx().collateral.qe_identity;
        collateral.qe_identity_signature = tdx().collateral.qe_identity_signature;
    });
    assert_eq!(mixed, Err(Error::Untrusted));
    // The list of the other authority says nothing about this platform.
    let unlisted = sgx().verify_with(|collateral| collateral.pck_crl = tdx().collateral.pck_crl);
    assert_eq!(unlisted, Err(Error::Untrusted));
}

#[test]
fn every_part_of_a_collateral_is_needed_unless_the_quote_brings_it() {
    let empty = || part([]).unwrap();
    let parts: [fn(&mut Collateral) -> &mut _; 6] = [
        |collateral| &mut collateral.root_ca_crl,
        |collateral| &mut collateral.pck_crl,
        |collateral| &mut collateral.tcb_info_issuer_chain,
        |collateral| &mut collateral.tcb_info,
        |collateral| &mut collateral.qe_identity_issuer_chain,
        |collateral| &mut collateral.qe_identity,
    ];
    for of in parts {
        assert_eq!(sgx().verify_with(|collateral| *of(collateral) = empty()), Err(Error::MalformedCollateral));
        let damaged = sgx().verify_with(|collateral| {
            let mut bytes = of(collateral).to_vec();
            let at = bytes.len() / 4;
            bytes[at] ^= 1;
            *of(collateral) = part(bytes).unwrap();
        });
        assert!(damaged.is_err());
    }
    assert_eq!(sgx().verify_with(|collateral| collateral.tcb_info_signature[7] ^= 1), Err(Error::Untrusted));
    assert_eq!(sgx().verify_with(|collateral| collateral.qe_identity_signature[7] ^= 1), Err(Error::Untrusted));
    // The issuer of the platform's list is in the quote.
    assert_eq!(sgx().verify_with(|collateral| collateral.pck_crl_issuer_chain = empty()), sgx().verify(IN_DATE));
}

#[test]
fn the_signers_that_claims_name_stand_for_the_whole_chain() {
    for sample in [sgx(), tdx()] {
        let claims = sample.verify(IN_DATE).unwrap();
        let shorter = sample.verify_with(|collateral| {
            collateral.tcb_info_issuer_chain = part(claims.tcb_info_signer.clone()).unwrap();
            collateral.qe_identity_issuer_chain = part(claims.qe_identity_signer.clone()).unwrap();
        });
        assert_eq!(shorter, Ok(claims));
    }
}

#[test]
fn a_measurement_is_what_was_approved_and_nothing_else() {
    let Report::Sgx { mr_enclave, isv_prod_id, attributes, misc_select, .. } = sgx().verify(IN_DATE).unwrap().report
    else {
        panic!("an SGX quote");
    };
    let report = sgx().verify(IN_DATE).unwrap().report;
    let approved = |change: fn(&mut [u8; 32], &mut u16, &mut [u8; 16], &mut u32)| {
        let (mut enclave, mut product, mut mode, mut misc) = (mr_enclave, isv_prod_id, attributes, misc_select);
        change(&mut enclave, &mut product, &mut mode, &mut misc);
        Measurement::Sgx {
            mr_enclave: enclave,
            isv_prod_id: product,
            attributes: mode,
            attributes_mask: [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0],
            misc_select: misc,
            misc_mask: 0x0000_ffff,
        }
    };
    assert!(report.is(&approved(|_, _, _, _| ())));
    assert!(!report.is(&approved(|enclave, _, _, _| enclave[31] ^= 1)));
    assert!(!report.is(&approved(|_, product, _, _| *product ^= 1)));
    assert!(!report.is(&approved(|_, _, mode, _| mode[0] ^= 4)));
    assert!(!report.is(&approved(|_, _, _, misc| *misc ^= 1)));
    // Outside the masks anything goes.
    assert!(report.is(&approved(|_, _, mode, misc| {
        mode[8] ^= 1;
        *misc ^= 1 << 16;
    })));

    let guest = tdx().verify(IN_DATE).unwrap().report;
    let Report::Tdx { mr_td, rtmr, mr_config_id, mr_owner, mr_owner_config, .. } = &guest else {
        panic!("a TDX quote");
    };
    let image = tdx_image([mr_td, &rtmr[1], &rtmr[2], &rtmr[3], mr_config_id, mr_owner, mr_owner_config]);
    let shapes = |shapes: &[[u8; 48]]| Measurement::Tdx { image, machine: shapes.to_vec().try_into().unwrap() };
    assert!(guest.is(&shapes(&[[0; 48], rtmr[0]])));
    assert!(!guest.is(&shapes(&[[0; 48]])));
    assert!(!guest.is(&Measurement::Tdx { image: [0; 32], machine: vec![rtmr[0]].try_into().unwrap() }));
    assert!(!guest.is(&approved(|_, _, _, _| ())));
    assert!(!report.is(&shapes(&[rtmr[0]])));
}

/// `crust-protocol` reads a quote's fields for the chain and for enclaves; the verifier reads them too.
#[test]
fn what_is_read_of_a_quote_is_what_the_verifier_reads() {
    for sample in [sgx(), tdx()] {
        let Quoted { report, report_data } = Quoted::read(sample.quote).unwrap();
        match (report, dcap_qvl::quote::Quote::parse(sample.quote).unwrap().report) {
            (
                Report::Sgx { mr_enclave, mr_signer, isv_prod_id, isv_svn, attributes, misc_select },
                VendorReport::SgxEnclave(theirs),
            ) => {
                assert_eq!((mr_enclave, mr_signer), (theirs.mr_enclave, theirs.mr_signer));
                assert_eq!((isv_prod_id, isv_svn), (theirs.isv_prod_id, theirs.isv_svn));
                assert_eq!((attributes, misc_select), (theirs.attributes, theirs.misc_select));
                assert_eq!(report_data, theirs.report_data);
            }
            (
                Report::Tdx { mr_td, rtmr, mr_config_id, mr_owner, mr_owner_config, td_attributes, xfam },
                VendorReport::TD10(theirs),
            ) => {
                assert_eq!((mr_td, mr_config_id), (theirs.mr_td, theirs.mr_config_id));
                assert_eq!((mr_owner, mr_owner_config), (theirs.mr_owner, theirs.mr_owner_config));
                assert_eq!(rtmr, [theirs.rt_mr0, theirs.rt_mr1, theirs.rt_mr2, theirs.rt_mr3]);
                assert_eq!((td_attributes, xfam), (theirs.td_attributes, theirs.xfam));
                assert_eq!(report_data, theirs.report_data);
            }
            (ours, theirs) => panic!("{ours:?} and {theirs:?}"),
        }
    }
}

#[test]
fn a_truncated_quote_is_refused() {
    for (sample, length) in [(sgx(), 4_600), (tdx(), 4_936)] {
        for end in (0..length).step_by(41).chain([length - 1]) {
            let result = verify(&sample.quote[..end], &sample.collateral, IN_DATE, INTEL_ROOT_CA);
            assert!(result.is_err(), "{end} bytes");
        }
        assert!(verify(&sample.quote[..length], &sample.collateral, IN_DATE, INTEL_ROOT_CA).is_ok());
    }
}

#[test]
fn the_interface_of_the_host_function_is_golden() {
    let errors = [
        Error::MalformedQuote,
        Error::UnknownVersion,
        Error::MalformedCollateral,
        Error::CollateralOutOfDate,
        Error::OtherFamily,
        Error::Untrusted,
    ];
    assert_eq!(errors.map(|error| error.encode()), [[0], [1], [2], [3], [4], [5]].map(Vec::from));
    let claims = tdx().verify(IN_DATE).unwrap();
    let bytes = claims.encode();
    assert_eq!(bytes[..8], [1, 1, 0xb0, 0xc0, 0x6f, 0, 0, 0]);
    assert_eq!(bytes[8..40], claims.platform);
    // Status, no advisories, three flags, the kind of report.
    assert_eq!(bytes[40..42], [0, 0]);
    assert_eq!(bytes.len(), 8 + 32 + 2 + 6 + 1 + 48 * 8 + 16 + 64 + 4 * 20 + 2 * (2 + claims.tcb_info_signer.len()));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// A change shows, or it was in bytes that say nothing: the copy of the root, the end of the lines of PEM.
    #[test]
    fn a_changed_quote_never_says_anything_else(at in 0usize..4_936, bit in 0u8..8) {
        for sample in [sgx(), tdx()] {
            let mut quote = sample.quote.to_vec();
            quote[at.min(sample.quote.len() - 1)] ^= 1 << bit;
            if let Ok(claims) = verify(&quote, &sample.collateral, IN_DATE, INTEL_ROOT_CA) {
                prop_assert_eq!(&claims, &sample.verify(IN_DATE).unwrap());
            }
        }
    }

    #[test]
    fn any_bytes_are_refused_without_a_panic(
        quote in proptest::collection::vec(any::<u8>(), 0..6_000),
        root in proptest::collection::vec(any::<u8>(), 0..600),
        parts in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..600), 7),
        version in 0u8..6,
        now in any::<u64>(),
    ) {
        let bounded = |index: usize| part(parts[index].clone()).unwrap();
        let garbage = Collateral {
            pck_crl_issuer_chain: bounded(0),
            root_ca_crl: bounded(1),
            pck_crl: bounded(2),
            tcb_info_issuer_chain: bounded(3),
            tcb_info: bounded(4),
            tcb_info_signature: [3; 64],
            qe_identity_issuer_chain: bounded(5),
            qe_identity: bounded(6),
            qe_identity_signature: [4; 64],
        };
        prop_assert!(verify(&quote, &garbage, now, &root).is_err());
        prop_assert!(verify(sgx().quote, &garbage, now, INTEL_ROOT_CA).is_err());
        let mut headed = vec![version, 0, 2, 0, 0, 0, 0, 0];
        headed.extend(&quote);
        prop_assert!(verify(&headed, &sgx().collateral, IN_DATE, INTEL_ROOT_CA).is_err());
    }
}
