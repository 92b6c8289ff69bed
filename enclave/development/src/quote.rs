//! SGX ECDSA quotes, version 3: a report of an enclave, signed by an attestation key, which a report of the quoting
//! enclave names, which the platform's certified key (PCK) signs.
//!
//! Source: Intel, SGX ECDSA QuoteLibReference, quote format 3.

use crust_protocol::development;

/// Vendor id of Intel's quoting enclave: what verifiers expect in the header.
const QE_VENDOR: [u8; 16] =
    [0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07];
/// ECDSA-256 with P-256.
const KEY_TYPE: u16 = 2;
/// Certification data: a PEM chain from the PCK leaf to the root.
const PCK_CHAIN: u16 = 5;
/// Signer of the software quoting enclave.
pub(crate) const QE_SIGNER: [u8; 32] = *b"crust/development-qe-signer/v1\0\0";
/// Product id and version of the software quoting enclave.
pub(crate) const QE_PRODUCT: u16 = 1;
pub(crate) const QE_VERSION: u16 = 8;
/// Attributes of the software quoting enclave: INIT, PROVISION_KEY.
pub(crate) const QE_ATTRIBUTES: [u8; 16] = [0x11, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// Security versions of every software platform.
pub(crate) const CPU_SVN: [u8; 16] = [1; 16];
pub(crate) const PCE_SVN: u16 = 13;

/// What a quote says of the enclave and itself. The default is the development enclave in a quote of version 3.
#[derive(Clone, Debug)]
pub struct QuoteOptions {
    pub version: u16,
    /// 0 is SGX.
    pub tee_type: u32,
    pub mr_enclave: [u8; 32],
    pub mr_signer: [u8; 32],
    pub attributes: [u8; 16],
    pub misc_select: u32,
    pub isv_prod_id: u16,
    pub isv_svn: u16,
}

impl Default for QuoteOptions {
    fn default() -> Self {
        QuoteOptions {
            version: 3,
            tee_type: 0,
            mr_enclave: development::MR_ENCLAVE,
            mr_signer: [0; 32],
            attributes: development::ATTRIBUTES,
            misc_select: 0,
            isv_prod_id: 0,
            isv_svn: 1,
        }
    }
}

/// Header and enclave report: what the attestation key signs.
pub(crate) fn signed_part(options: &QuoteOptions, report_data: &[u8; 64]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(48 + 384);
    bytes.extend_from_slice(&options.version.to_le_bytes());
    bytes.extend_from_slice(&KEY_TYPE.to_le_bytes());
    bytes.extend_from_slice(&options.tee_type.to_le_bytes());
    bytes.extend_from_slice(&QE_VERSION.to_le_bytes());
    bytes.extend_from_slice(&PCE_SVN.to_le_bytes());
    bytes.extend_from_slice(&QE_VENDOR);
    bytes.extend_from_slice(&[0; 20]);
    bytes.extend_from_slice(&report(options, report_data));
    bytes
}

/// The report of the quoting enclave, over the hash that names the attestation key.
pub(crate) fn qe_report(key_hash: &[u8; 32]) -> [u8; 384] {
    let mut report_data = [0; 64];
    for (to, from) in report_data.iter_mut().zip(key_hash) {
        *to = *from;
    }
    let options = QuoteOptions {
        mr_enclave: *b"crust/development-quoting-encl\0\0",
        mr_signer: QE_SIGNER,
        attributes: QE_ATTRIBUTES,
        isv_prod_id: QE_PRODUCT,
        isv_svn: QE_VERSION,
        ..QuoteOptions::default()
    };
    report(&options, &report_data)
}

/// What the quote ends with.
pub(crate) struct Authentication<'a> {
    /// `r ‖ s` by the attestation key over [`signed_part`].
    pub signature: [u8; 64],
    /// `x ‖ y`.
    pub attestation_key: [u8; 64],
    pub qe_report: [u8; 384],
    /// `r ‖ s` by the PCK over the quoting enclave's report.
    pub qe_report_signature: [u8; 64],
    pub qe_auth_data: &'a [u8; 32],
    /// PEM: PCK leaf, its CA, the root.
    pub chain: &'a str,
}

impl Authentication<'_> {
    /// Appends itself, with its length, to the signed part.
    pub fn append_to(&self, quote: &mut Vec<u8>) {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&self.signature);
        bytes.extend_from_slice(&self.attestation_key);
        bytes.extend_from_slice(&self.qe_report);
        bytes.extend_from_slice(&self.qe_report_signature);
        bytes.extend_from_slice(&32u16.to_le_bytes());
        bytes.extend_from_slice(self.qe_auth_data);
        bytes.extend_from_slice(&PCK_CHAIN.to_le_bytes());
        bytes.extend_from_slice(&length(self.chain.as_bytes()));
        bytes.extend_from_slice(self.chain.as_bytes());
        quote.extend_from_slice(&length(&bytes));
        quote.extend_from_slice(&bytes);
    }
}

/// The 384 bytes of an SGX report body.
fn report(options: &QuoteOptions, report_data: &[u8; 64]) -> [u8; 384] {
    let mut bytes = Vec::with_capacity(384);
    bytes.extend_from_slice(&CPU_SVN);
    bytes.extend_from_slice(&options.misc_select.to_le_bytes());
    bytes.extend_from_slice(&[0; 28]);
    bytes.extend_from_slice(&options.attributes);
    bytes.extend_from_slice(&options.mr_enclave);
    bytes.extend_from_slice(&[0; 32]);
    bytes.extend_from_slice(&options.mr_signer);
    bytes.extend_from_slice(&[0; 96]);
    bytes.extend_from_slice(&options.isv_prod_id.to_le_bytes());
    bytes.extend_from_slice(&options.isv_svn.to_le_bytes());
    bytes.extend_from_slice(&[0; 60]);
    bytes.extend_from_slice(report_data);
    let mut body = [0; 384];
    for (to, from) in body.iter_mut().zip(bytes) {
        *to = from;
    }
    body
}

fn length(bytes: &[u8]) -> [u8; 4] {
    // Certificates and reports: a few thousand bytes.
    u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_le_bytes()
}
