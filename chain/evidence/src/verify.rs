//! The native side of the host functions: dcap-qvl with ring, behind errors coarse enough to be the same for ever.

use codec::DecodeAll;
use crust_protocol::{
    attestation::Collateral,
    h,
    quote::{Quoted, Report, Unreadable},
};
use dcap_qvl::{
    PckCertFlag, QuoteClaims, QuoteCollateralV3, QuotePolicy,
    config::PckCa,
    configs::RingConfig,
    intel::{extract_cert_chain, parse_pck_extension_with, pck_ca_with},
    quote::Quote,
    verify::QuoteVerifier,
};

use crate::{Ca, Claims, Error, Family, TcbStatus, Tee, parts::Parts};

/// Certification data that holds the platform's whole certificate chain.
const PCK_CHAIN: u16 = 5;

/// Reads the family that a quote belongs to.
pub fn family(quote: &[u8]) -> Result<Family, Error> {
    let tee = match read(quote)?.report {
        Report::Sgx { .. } => Tee::Sgx,
        Report::Tdx { .. } => Tee::Tdx,
    };
    let quote = Quote::parse(quote).map_err(|_| Error::MalformedQuote)?;
    if quote.inner_cert_type() != PCK_CHAIN {
        return Err(Error::MalformedQuote);
    }
    let chain = extract_cert_chain(&quote).map_err(|_| Error::MalformedQuote)?;
    let leaf = chain.first().ok_or(Error::MalformedQuote)?;
    let fmspc = parse_pck_extension_with::<RingConfig>(leaf).map_err(|_| Error::MalformedQuote)?.fmspc;
    let ca = match pck_ca_with::<RingConfig>(leaf).map_err(|_| Error::MalformedQuote)? {
        PckCa::Processor => Ca::Processor,
        PckCa::Platform => Ca::Platform,
    };
    Ok(Family { tee, ca, fmspc })
}

fn read(quote: &[u8]) -> Result<Quoted, Error> {
    Quoted::read(quote).map_err(|unreadable| match unreadable {
        Unreadable::Cut => Error::MalformedQuote,
        Unreadable::Version => Error::UnknownVersion,
    })
}

/// Verifies a quote. What it says is returned without judgement, a debug attribute or an old TCB included.
pub fn verify(quote: &[u8], collateral: &[u8], now: u64, root: &[u8]) -> Result<Claims, Error> {
    let Quoted { report, report_data } = read(quote)?;
    let family = family(quote)?;
    let collateral = Collateral::decode_all(&mut &collateral[..]).map_err(|_| Error::MalformedCollateral)?;
    let parts = Parts::read(&collateral)?;
    parts.in_date(now)?;
    parts.of(&family)?;
    let claims = QuoteVerifier::<RingConfig>::new_with_config(root.to_vec())
        .allow_debug(true)
        .verify_with_policy(quote, input(collateral)?, now, &QuotePolicy::claims_only(now))
        .map_err(|_| Error::Untrusted)?;
    Ok(Claims {
        family,
        platform: h(&[&claims.platform.pck.ppid]),
        status: status(&claims),
        advisories: claims.tcb.advisory_ids.iter().map(|id| id.as_bytes().to_vec()).collect(),
        dynamic_platform: flag(claims.platform.pck.dynamic_platform),
        cached_keys: flag(claims.platform.pck.cached_keys),
        smt: flag(claims.platform.pck.smt_enabled),
        report,
        report_data,
        editions: parts.editions,
        tcb_info_signer: parts.tcb_info_signer.into_bytes(),
        qe_identity_signer: parts.qe_identity_signer.into_bytes(),
    })
}

/// The collateral in the form that the verifier takes. The platform's own chain is in the quote, and so is the issuer
/// of the PCK's revocation list: the verifier does not read the chain that comes with it.
fn input(collateral: Collateral) -> Result<QuoteCollateralV3, Error> {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).map_err(|_| Error::MalformedCollateral);
    Ok(QuoteCollateralV3 {
        pck_crl_issuer_chain: text(collateral.pck_crl_issuer_chain.into_inner())?,
        root_ca_crl: collateral.root_ca_crl.into_inner(),
        pck_crl: collateral.pck_crl.into_inner(),
        tcb_info_issuer_chain: text(collateral.tcb_info_issuer_chain.into_inner())?,
        tcb_info: text(collateral.tcb_info.into_inner())?,
        tcb_info_signature: collateral.tcb_info_signature.to_vec(),
        qe_identity_issuer_chain: text(collateral.qe_identity_issuer_chain.into_inner())?,
        qe_identity: text(collateral.qe_identity.into_inner())?,
        qe_identity_signature: collateral.qe_identity_signature.to_vec(),
        pck_certificate_chain: None,
    })
}

fn status(claims: &QuoteClaims) -> TcbStatus {
    use dcap_qvl::TcbStatus as Vendor;
    match claims.tcb.status {
        Vendor::UpToDate => TcbStatus::UpToDate,
        Vendor::SWHardeningNeeded => TcbStatus::SwHardeningNeeded,
        Vendor::ConfigurationNeeded => TcbStatus::ConfigurationNeeded,
        Vendor::ConfigurationAndSWHardeningNeeded => TcbStatus::ConfigurationAndSwHardeningNeeded,
        Vendor::OutOfDateConfigurationNeeded => TcbStatus::OutOfDateConfigurationNeeded,
        // A revoked level never comes here: the verifier refuses it. Relaunch is advised in newer quotes only.
        Vendor::OutOfDate
        | Vendor::Revoked
        | Vendor::TDRelaunchAdvised
        | Vendor::TDRelaunchAdvisedConfigurationNeeded => TcbStatus::OutOfDate,
    }
}

fn flag(flag: PckCertFlag) -> Option<bool> {
    match flag {
        PckCertFlag::False => Some(false),
        PckCertFlag::True => Some(true),
        PckCertFlag::Undefined => None,
    }
}
