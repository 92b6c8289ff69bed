//! What a vendor publishes about its platforms, for the software platforms: two revocation lists, the accepted
//! security versions (TCB info) and the identity of the quoting enclave, signed under the development root.
//!
//! The same options give the same bytes on every machine, so a chain needs them once a day, whoever brings them.

use crust_protocol::attestation::{Collateral, part};
use rcgen::{CertificateRevocationListParams, KeyIdMethod, RevokedCertParams, SerialNumber};
use serde_json::json;
use time::format_description::well_known::Rfc3339;

use crate::authority::{self, Authority, Error};
use crate::quote::{CPU_SVN, PCE_SVN, QE_ATTRIBUTES, QE_PRODUCT, QE_SIGNER, QE_VERSION};

/// The family of all software platforms.
pub const FMSPC: [u8; 6] = *b"crust1";
/// Provisioning enclave id of all software platforms.
pub const PCE_ID: [u8; 2] = [0, 0];

const DAY: u64 = 24 * 60 * 60;

/// Dates and contents of a collateral.
#[derive(Clone, Debug)]
pub struct CollateralOptions {
    /// Whether it is for quotes of TDX guests, not for those of SGX enclaves.
    pub tdx: bool,
    /// Issue date of every part, in seconds since 1970.
    pub issued: u64,
    /// Date until which every part is valid.
    pub next_update: u64,
    /// Number of both revocation lists.
    pub crl_number: u64,
    /// TCB evaluation data number.
    pub evaluation: u32,
    /// TCB status of the platforms, as Intel spells it: `UpToDate`, `OutOfDate`, …
    pub tcb_status: &'static str,
    /// Security advisories that apply to the platforms at their TCB level.
    pub advisories: Vec<&'static str>,
    /// TCB status of the quoting enclave.
    pub qe_status: &'static str,
    pub fmspc: [u8; 6],
    /// Serial numbers of revoked platform keys ([`crate::platform::SoftwarePlatform::serial`]).
    pub revoked: Vec<u64>,
}

impl CollateralOptions {
    /// Issued at the beginning of the day (UTC) before `now`, valid for 30 days from then.
    pub fn around(now_secs: u64) -> Self {
        let issued = now_secs.saturating_sub(now_secs % DAY).saturating_sub(DAY);
        CollateralOptions {
            tdx: false,
            issued,
            next_update: issued.saturating_add(30 * DAY),
            crl_number: issued / DAY,
            evaluation: 17,
            tcb_status: "UpToDate",
            advisories: Vec::new(),
            qe_status: "UpToDate",
            fmspc: FMSPC,
            revoked: Vec::new(),
        }
    }
}

/// The collateral of all software platforms.
pub fn make(options: &CollateralOptions) -> Result<Collateral, Error> {
    let root = authority::root()?;
    let platform_ca = authority::platform_ca(&root)?;
    let (signer, key) = authority::collateral_signer(&root)?;
    let root_pem = root.certificate.pem();
    let signer_chain = [signer.pem(), root_pem.clone()].concat();
    let tcb_info = tcb_info(options)?;
    let qe_identity = qe_identity(options)?;
    Ok(Collateral {
        pck_crl_issuer_chain: bounded([platform_ca.certificate.pem(), root_pem].concat())?,
        root_ca_crl: bounded(crl(&root, options, &[])?)?,
        pck_crl: bounded(crl(&platform_ca, options, &options.revoked)?)?,
        tcb_info_issuer_chain: bounded(signer_chain.clone())?,
        tcb_info_signature: key.sign_raw(tcb_info.as_bytes()),
        tcb_info: bounded(tcb_info)?,
        qe_identity_issuer_chain: bounded(signer_chain)?,
        qe_identity_signature: key.sign_raw(qe_identity.as_bytes()),
        qe_identity: bounded(qe_identity)?,
    })
}

fn crl(issuer: &Authority, options: &CollateralOptions, revoked: &[u64]) -> Result<Vec<u8>, Error> {
    let revocation_time = authority::date(options.issued)?;
    let revoked_certs = revoked
        .iter()
        .map(|serial| RevokedCertParams {
            serial_number: SerialNumber::from_slice(&serial.to_be_bytes()),
            revocation_time,
            reason_code: None,
            invalidity_date: None,
        })
        .collect();
    let list = CertificateRevocationListParams {
        this_update: authority::date(options.issued)?,
        next_update: authority::date(options.next_update)?,
        crl_number: SerialNumber::from_slice(&options.crl_number.to_be_bytes()),
        issuing_distribution_point: None,
        revoked_certs,
        key_identifier_method: KeyIdMethod::Sha256,
    };
    Ok(list.signed_by(&issuer.issuer)?.der().to_vec())
}

fn tcb_info(options: &CollateralOptions) -> Result<String, Error> {
    let components = |svns: [u8; 16]| svns.map(|svn| json!({ "svn": svn }));
    let mut tcb = json!({ "sgxtcbcomponents": components(CPU_SVN), "pcesvn": PCE_SVN });
    if let Some(tcb) = tcb.as_object_mut().filter(|_| options.tdx) {
        tcb.insert("tdxtcbcomponents".into(), json!(components([0; 16])));
    }
    let mut info = json!({
        "id": if options.tdx { "TDX" } else { "SGX" },
        "version": 3,
        "issueDate": text(options.issued)?,
        "nextUpdate": text(options.next_update)?,
        "fmspc": hex::encode_upper(options.fmspc),
        "pceId": hex::encode_upper(PCE_ID),
        "tcbType": 0,
        "tcbEvaluationDataNumber": options.evaluation,
        "tcbLevels": [{
            "tcb": tcb,
            "tcbDate": "2024-03-13T00:00:00Z",
            "tcbStatus": options.tcb_status,
            "advisoryIDs": options.advisories,
        }],
    });
    if let Some(info) = info.as_object_mut().filter(|_| options.tdx) {
        // A module signed by nobody, in no special mode.
        let module = json!({
            "mrsigner": hex::encode_upper([0; 48]),
            "attributes": "0000000000000000",
            "attributesMask": "FFFFFFFFFFFFFFFF",
        });
        info.insert("tdxModule".into(), module);
    }
    Ok(info.to_string())
}

fn qe_identity(options: &CollateralOptions) -> Result<String, Error> {
    Ok(json!({
        "id": if options.tdx { "TD_QE" } else { "QE" },
        "version": 2,
        "issueDate": text(options.issued)?,
        "nextUpdate": text(options.next_update)?,
        "tcbEvaluationDataNumber": options.evaluation,
        "miscselect": "00000000",
        "miscselectMask": "FFFFFFFF",
        "attributes": hex::encode_upper(QE_ATTRIBUTES),
        "attributesMask": "FBFFFFFFFFFFFFFF0000000000000000",
        "mrsigner": hex::encode_upper(QE_SIGNER),
        "isvprodid": QE_PRODUCT,
        "tcbLevels": [{
            "tcb": { "isvsvn": QE_VERSION },
            "tcbDate": "2024-03-13T00:00:00Z",
            "tcbStatus": options.qe_status,
        }],
    })
    .to_string())
}

fn text(secs: u64) -> Result<String, Error> {
    authority::date(secs)?.format(&Rfc3339).map_err(|_| Error::Date(secs))
}

fn bounded(
    bytes: impl Into<Vec<u8>>,
) -> Result<bounded_collections::BoundedVec<u8, crust_protocol::attestation::MaxCollateralPart>, Error> {
    part(bytes).ok_or(Error::TooLarge)
}
