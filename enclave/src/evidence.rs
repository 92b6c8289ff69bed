//! Evidence of another enclave, judged by this one: by its own trusted root, its own policy and no clock.
//!
//! A host can hold back time and the vendor's publications, so what counts as now is the newest date that a vendor
//! signed and this enclave ever saw. Called by [`crate::handover`].

use crust_protocol::{attestation::Collateral, quote::Quoted};
use dcap_qvl::{QuoteCollateralV3, QuotePolicy, TcbStatus, verify::QuoteVerifier};

use crate::rpc::Error;

/// Verifies a quote under a root: what it says, and the newest date that a vendor signed. `seen` is the newest seen so
/// far.
pub(crate) fn verify(quote: &[u8], collateral: Collateral, seen: u64, root: &[u8]) -> Result<(Quoted, u64), Error> {
    let refused = |reason: &str| Error::Evidence(reason.into());
    let quoted =
        Quoted::read(quote).map_err(|_| refused("it is no quote of version 3 for SGX or 4 for TDX, or it is cut"))?;
    let issued = |document: &[u8]| issue_date(document).ok_or_else(|| refused("its collateral bears no date"));
    let now = issued(&collateral.tcb_info)?.max(issued(&collateral.qe_identity)?).max(seen);
    let policy = QuotePolicy::strict(now)
        .allow_status(TcbStatus::SWHardeningNeeded)
        .allow_status(TcbStatus::ConfigurationNeeded)
        .allow_status(TcbStatus::ConfigurationAndSWHardeningNeeded)
        .allow_dynamic_platform(true)
        .allow_cached_keys(true)
        .allow_smt(true);
    let collateral = vendor_form(collateral).ok_or_else(|| refused("its collateral is no text"))?;
    QuoteVerifier::new(root.to_vec())
        .verify_with_policy(quote, collateral, now, &policy)
        .map_err(|error| refused(&error.to_string()))?;
    Ok((quoted, now))
}

/// The collateral in the form that the verifier takes; the platform's own chain is in the quote.
fn vendor_form(collateral: Collateral) -> Option<QuoteCollateralV3> {
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).ok();
    Some(QuoteCollateralV3 {
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

/// The `issueDate` of a document, in seconds since 1970. That the vendor signed it is shown later.
fn issue_date(document: &[u8]) -> Option<u64> {
    let document: serde_json::Value = serde_json::from_slice(document).ok()?;
    seconds(document.get("issueDate")?.as_str()?)
}

/// Seconds since 1970 of a date like `2026-09-20T14:13:20Z`.
fn seconds(date: &str) -> Option<u64> {
    let number = |from: usize, to: usize| date.get(from..to)?.parse::<u64>().ok();
    let form = date.bytes().enumerate().all(|(at, byte)| match at {
        4 | 7 => byte == b'-',
        10 => byte == b'T',
        13 | 16 => byte == b':',
        19 => byte == b'Z',
        _ => byte.is_ascii_digit(),
    });
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    if !form || date.len() != 20 || !(1970..=9999).contains(&year) || !(1..=12).contains(&month) || day == 0 {
        return None;
    }
    // Years begin in March, so that the day of a leap year comes last.
    let year = if month > 2 { year } else { year.checked_sub(1)? };
    let month = month.checked_add(9)? % 12;
    let leap = (year / 4).checked_sub(year / 100)?.checked_add(year / 400)?;
    let in_year = month.checked_mul(153)?.checked_add(2)? / 5;
    let days =
        year.checked_mul(365)?.checked_add(leap)?.checked_add(in_year)?.checked_add(day)?.checked_sub(719_469)?;
    let clock = number(11, 13)?.checked_mul(3_600)?.checked_add(number(14, 16)?.checked_mul(60)?)?;
    days.checked_mul(86_400)?.checked_add(clock)?.checked_add(number(17, 19)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One root for the chain and for the enclaves.
    #[test]
    fn the_vendors_root_is_the_chains() {
        let chains = include_bytes!("../../chain/evidence/src/intel-root.der");
        assert_eq!(crate::Constants::PRODUCTION.trusted_root, chains);
    }

    #[test]
    fn dates_are_seconds_since_1970() {
        assert_eq!(seconds("1970-01-01T00:00:00Z"), Some(0));
        assert_eq!(seconds("2000-02-29T23:59:59Z"), Some(951_868_799));
        assert_eq!(seconds("2026-09-21T14:13:20Z"), Some(1_790_000_000));
        assert_eq!(seconds("2100-03-01T00:00:00Z"), Some(4_107_542_400));
        let refused = ["", "2026-09-21", "2026-09-21T14:13:20+00:00", "2026-13-21T14:13:20Z", "2026-09-00T14:13:20Z"];
        assert!(refused.iter().all(|date| seconds(date).is_none()));
        assert!(seconds("2026-09-2éT14:13:20Z").is_none());
    }
}
