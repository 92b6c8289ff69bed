//! The verifier of quotes under the mutation engine of `fuzz/`: whatever quote and collateral come, it answers without
//! a panic, and what it accepts says exactly what the vendor's sample says.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "tests")]

#[path = "../../../fuzz/src/engine.rs"]
mod engine;

use codec::{Decode, Encode};
use crust_evidence::{Claims, INTEL_ROOT_CA, family, verify};
use crust_protocol::attestation::{Collateral, part};
use dcap_qvl::QuoteCollateralV3;

/// 2025-07-01: inside the dates of the samples' collateral.
const IN_DATE: u64 = 1_751_328_000;
const ROUNDS: u32 = 1_500;

fn sample(quote: &[u8], json: &[u8]) -> (Vec<u8>, Collateral) {
    let vendor: QuoteCollateralV3 = serde_json::from_slice(json).unwrap();
    let collateral = Collateral {
        pck_crl_issuer_chain: part(vendor.pck_crl_issuer_chain).unwrap(),
        root_ca_crl: part(vendor.root_ca_crl).unwrap(),
        pck_crl: part(vendor.pck_crl).unwrap(),
        tcb_info_issuer_chain: part(vendor.tcb_info_issuer_chain).unwrap(),
        tcb_info: part(vendor.tcb_info).unwrap(),
        tcb_info_signature: vendor.tcb_info_signature.try_into().unwrap(),
        qe_identity_issuer_chain: part(vendor.qe_identity_issuer_chain).unwrap(),
        qe_identity: part(vendor.qe_identity).unwrap(),
        qe_identity_signature: vendor.qe_identity_signature.try_into().unwrap(),
    };
    (quote.to_vec(), collateral)
}

fn samples() -> [(Vec<u8>, Collateral); 2] {
    [
        sample(include_bytes!("data/sgx_quote"), include_bytes!("data/sgx_quote_collateral.json")),
        sample(include_bytes!("data/tdx_quote"), include_bytes!("data/tdx_quote_collateral.json")),
    ]
}

/// What matters to the chain of a verified quote.
fn says(claims: &Claims) -> impl PartialEq + std::fmt::Debug + use<> {
    (claims.family, claims.platform, claims.status, claims.report.encode(), claims.report_data)
}

#[test]
fn a_quote() {
    for (quote, collateral) in samples() {
        let genuine = verify(&quote, &collateral, IN_DATE, INTEL_ROOT_CA).unwrap();
        let check = |bytes: &[u8]| {
            let _ = family(bytes);
            if let Ok(claims) = verify(bytes, &collateral, IN_DATE, INTEL_ROOT_CA) {
                assert_eq!(says(&claims), says(&genuine), "a changed quote says something else");
            }
        };
        engine::exercise("quote", check, &[quote], ROUNDS);
    }
}

#[test]
fn a_collateral() {
    for (quote, collateral) in samples() {
        let genuine = verify(&quote, &collateral, IN_DATE, INTEL_ROOT_CA).unwrap();
        let check = |bytes: &[u8]| {
            let Ok(collateral) = Collateral::decode(&mut &bytes[..]) else { return };
            if let Ok(claims) = verify(&quote, &collateral, IN_DATE, INTEL_ROOT_CA) {
                assert_eq!(says(&claims), says(&genuine), "a changed collateral says something else");
            }
        };
        engine::exercise("collateral", check, &[collateral.encode()], ROUNDS);
    }
}
