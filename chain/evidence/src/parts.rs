//! The dates and numbers of a collateral's parts, and who signed them. Native only; called by [`crate::verify`].
//!
//! Read before any signature is checked: a part that is merely old gets an error of its own.

use chrono::DateTime;
use crust_protocol::attestation::Collateral;
use dcap_qvl::{QeIdentity, TcbInfo};
use der::{Decode, asn1::UintRef, oid::AssociatedOid};
use x509_cert::{Certificate, certificate::Rfc5280, crl::CertificateList, ext::pkix::crl::CrlNumber, time::Validity};

use crate::{Edition, Editions, Error, Family, Tee};

/// What the signed parts of a collateral say about themselves.
pub struct Parts {
    pub editions: Editions,
    /// PEM of the certificate that signed the TCB info.
    pub tcb_info_signer: String,
    /// PEM of the certificate that signed the QE identity.
    pub qe_identity_signer: String,
    family: (String, String),
}

impl Parts {
    pub fn read(collateral: &Collateral) -> Result<Self, Error> {
        let tcb_info: TcbInfo = serde_json::from_slice(&collateral.tcb_info).map_err(|_| Error::MalformedCollateral)?;
        let qe_identity: QeIdentity =
            serde_json::from_slice(&collateral.qe_identity).map_err(|_| Error::MalformedCollateral)?;
        let (tcb_info_signer, tcb_info_certificate) = signer(&collateral.tcb_info_issuer_chain)?;
        let (qe_identity_signer, qe_identity_certificate) = signer(&collateral.qe_identity_issuer_chain)?;
        let editions = Editions {
            root_crl: crl(&collateral.root_ca_crl)?,
            pck_crl: crl(&collateral.pck_crl)?,
            tcb_info: document(
                tcb_info.tcb_evaluation_data_number,
                (&tcb_info.issue_date, &tcb_info.next_update),
                &tcb_info_certificate,
            )?,
            qe_identity: document(
                qe_identity.tcb_evaluation_data_number,
                (&qe_identity.issue_date, &qe_identity.next_update),
                &qe_identity_certificate,
            )?,
        };
        Ok(Parts { editions, tcb_info_signer, qe_identity_signer, family: (tcb_info.id, tcb_info.fmspc) })
    }

    /// Every part must be in date.
    pub fn in_date(&self, now: u64) -> Result<(), Error> {
        let Editions { root_crl, pck_crl, tcb_info, qe_identity } = &self.editions;
        match [root_crl, pck_crl, tcb_info, qe_identity].iter().all(|edition| edition.in_date(now)) {
            true => Ok(()),
            false => Err(Error::CollateralOutOfDate),
        }
    }

    /// The TCB info must be of the quote's family.
    pub fn of(&self, family: &Family) -> Result<(), Error> {
        let (id, fmspc) = &self.family;
        let tee = match family.tee {
            Tee::Sgx => "SGX",
            Tee::Tdx => "TDX",
        };
        let wanted: String = family.fmspc.iter().map(|byte| format!("{byte:02X}")).collect();
        match id == tee && fmspc.eq_ignore_ascii_case(&wanted) {
            true => Ok(()),
            false => Err(Error::OtherFamily),
        }
    }
}

/// The first certificate of a PEM chain, alone and as PEM again, with its validity.
fn signer(chain: &[u8]) -> Result<(String, Validity), Error> {
    let certificates = pem::parse_many(chain).map_err(|_| Error::MalformedCollateral)?;
    let first = certificates.into_iter().next().ok_or(Error::MalformedCollateral)?.into_contents();
    let certificate = Certificate::from_der(&first).map_err(|_| Error::MalformedCollateral)?;
    let validity = *certificate.tbs_certificate().validity();
    Ok((pem::encode(&pem::Pem::new("CERTIFICATE", first)), validity))
}

/// A signed JSON document may be used as long as it and its signer are in date.
fn document(number: u32, (issued, next): (&str, &str), signer: &Validity) -> Result<Edition, Error> {
    let until = signer.not_after.to_unix_duration().as_secs();
    Ok(Edition { number, issued: seconds(issued)?, expires: seconds(next)?.min(until) })
}

fn seconds(date: &str) -> Result<u64, Error> {
    let date = DateTime::parse_from_rfc3339(date).map_err(|_| Error::MalformedCollateral)?;
    date.timestamp().try_into().map_err(|_| Error::MalformedCollateral)
}

/// A list without a number or an end counts as number 0 or as without end; the verifier decides whether it will do.
fn crl(der: &[u8]) -> Result<Edition, Error> {
    let list = CertificateList::<Rfc5280>::from_der(der).map_err(|_| Error::MalformedCollateral)?.tbs_cert_list;
    let number = list.crl_extensions.iter().flatten().find(|extension| extension.extn_id == CrlNumber::OID);
    let number = match number {
        None => 0,
        Some(extension) => UintRef::from_der(extension.extn_value.as_bytes())
            .ok()
            .and_then(|number| {
                number.as_bytes().iter().try_fold(0u32, |sum, byte| sum.checked_mul(256)?.checked_add(u32::from(*byte)))
            })
            .ok_or(Error::MalformedCollateral)?,
    };
    Ok(Edition {
        number,
        issued: list.this_update.to_unix_duration().as_secs(),
        expires: list.next_update.map_or(u64::MAX, |time| time.to_unix_duration().as_secs()),
    })
}
