//! A strict verifier accepts the software platform under the published root, and nobody else does.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;
use crust_protocol::development;
use dcap_qvl::{QuoteCollateralV3, QuotePolicy, verify::QuoteVerifier};

const NOW: u64 = 1_790_000_000;
const DAY: u64 = 24 * 60 * 60;

fn vendor_form(collateral: &Collateral) -> QuoteCollateralV3 {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    QuoteCollateralV3 {
        pck_crl_issuer_chain: text(&collateral.pck_crl_issuer_chain),
        root_ca_crl: collateral.root_ca_crl.to_vec(),
        pck_crl: collateral.pck_crl.to_vec(),
        tcb_info_issuer_chain: text(&collateral.tcb_info_issuer_chain),
        tcb_info: text(&collateral.tcb_info),
        tcb_info_signature: collateral.tcb_info_signature.to_vec(),
        qe_identity_issuer_chain: text(&collateral.qe_identity_issuer_chain),
        qe_identity: text(&collateral.qe_identity),
        qe_identity_signature: collateral.qe_identity_signature.to_vec(),
        pck_certificate_chain: None,
    }
}

fn verify(quote: &[u8], collateral: &Collateral, now: u64) -> Result<dcap_qvl::policy::QuoteClaims, String> {
    QuoteVerifier::new(development::ROOT_CA.to_vec())
        .verify_with_policy(quote, vendor_form(collateral), now, &QuotePolicy::strict(now))
        .map_err(|error| format!("{error:#}"))
}

#[test]
fn the_published_root_is_the_one_in_protocol() {
    let root = authority::root().unwrap();
    if std::env::var_os("UPDATE").is_some() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../protocol/src/development-root.der");
        fs::write(path, root.certificate.der()).unwrap();
    }
    assert_eq!(root.certificate.der().as_ref(), development::ROOT_CA);
}

#[test]
fn a_strict_policy_accepts_under_the_development_root_and_intels_root_refuses() {
    let platform = SoftwarePlatform::from_seed([7; 32]).unwrap();
    let (quote, collateral) = (platform.quote(&[9; 64]), platform.collateral(NOW).unwrap());
    assert!(quote.len() < 6_000, "{}", quote.len());
    let claims = verify(&quote, &collateral, NOW).unwrap();
    assert_eq!(claims.platform.pck.ppid, platform.ppid());
    assert_eq!(claims.platform.pck.fmspc, FMSPC);
    assert_eq!(claims.platform.root_ca_crl_num, u32::try_from(NOW / DAY - 1).unwrap());
    let report = claims.report.as_sgx().unwrap();
    assert_eq!(report.mr_enclave, development::MR_ENCLAVE);
    assert_eq!(report.attributes, development::ATTRIBUTES);
    assert_eq!(report.report_data, [9; 64]);

    let intel = QuoteVerifier::new_prod();
    let refused = intel.verify_with_policy(&quote, vendor_form(&collateral), NOW, &QuotePolicy::strict(NOW));
    assert!(refused.is_err());
}

#[test]
fn verification_finds_what_the_options_spoil() {
    let platform = SoftwarePlatform::from_seed([7; 32]).unwrap();
    let good = platform.collateral(NOW).unwrap();
    let quote = platform.quote(&[9; 64]);

    let mut debug = QuoteOptions::default();
    debug.attributes[0] |= crust_protocol::attestation::SGX_DEBUG;
    assert!(verify(&platform.quote_with(&debug, &[9; 64]), &good, NOW).unwrap_err().contains("Debug"));
    for version in [2, 4, 5] {
        let options = QuoteOptions { version, ..QuoteOptions::default() };
        assert!(verify(&platform.quote_with(&options, &[9; 64]), &good, NOW).is_err());
    }
    let mut flipped = quote.clone();
    flipped[400] ^= 1;
    assert!(verify(&flipped, &good, NOW).is_err());

    let around = CollateralOptions::around(NOW);
    let spoilt = |change: &dyn Fn(&mut CollateralOptions)| {
        let mut options = around.clone();
        change(&mut options);
        verify(&quote, &platform.collateral_with(&options).unwrap(), NOW).unwrap_err()
    };
    assert!(spoilt(&|options| options.next_update = NOW - 1).contains("xpired"));
    assert!(spoilt(&|options| options.issued = NOW + DAY).contains("future"));
    assert!(spoilt(&|options| options.tcb_status = "OutOfDate").contains("OutOfDate"));
    assert!(spoilt(&|options| options.qe_status = "Revoked").contains("Revoked"));
    assert!(spoilt(&|options| options.fmspc = *b"other1").contains("Fmspc"));
    assert!(spoilt(&|options| options.revoked = vec![platform.serial()]).contains("chain"));
}

#[test]
fn platforms_publish_the_same_collateral_and_are_told_apart_by_their_ppid() {
    let [one, other] = [[1; 32], [2; 32]].map(|seed| SoftwarePlatform::from_seed(seed).unwrap());
    assert_ne!(one.ppid(), other.ppid());
    assert_eq!(one.collateral(NOW).unwrap(), other.collateral(NOW + 1).unwrap());
    assert!(verify(&one.quote(&[0; 64]), &other.collateral(NOW).unwrap(), NOW).is_ok());
}

#[test]
fn sealing_keys_follow_the_security_version() {
    let dir = tempfile::tempdir().unwrap();
    let at = |version: &str| {
        fs::write(dir.path().join(VERSION_FILE), version).unwrap();
        SoftwarePlatform::open(dir.path())
    };
    let key = |platform: &SoftwarePlatform, svn| platform.seal_key(svn).map(|key| key.is_some()).is_ok();
    let svn = |version| std::array::from_fn(|byte| if byte == 0 { version } else { 0 });
    let (old, new) = (svn(1), svn(2));
    let platform = at("1").unwrap();
    assert!(key(&platform, None) && key(&platform, Some(old)) && !key(&platform, Some(new)));
    let platform = at("2\n").unwrap();
    assert!(key(&platform, Some(old)) && key(&platform, Some(new)));
    assert!(matches!(at("256"), Err(Error::Version(_))));
}

#[test]
fn a_directory_keeps_its_platform() {
    let dir = tempfile::tempdir().unwrap();
    let first = SoftwarePlatform::open(dir.path()).unwrap();
    let again = SoftwarePlatform::open(dir.path()).unwrap();
    assert_eq!(first.ppid(), again.ppid());
    assert_eq!(first.quote(&[1; 64]), again.quote(&[1; 64]));
    fs::write(dir.path().join(SEED_FILE), b"short").unwrap();
    assert!(matches!(SoftwarePlatform::open(dir.path()), Err(Error::Seed(_))));
}
