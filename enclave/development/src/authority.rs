//! The published certificate authorities: the development root, the CA of the platforms' keys, and the signer of
//! their vendor collateral. Their private keys are derived from names that stand here, for everyone to use.
//!
//! All signatures are deterministic (RFC 6979), so every software platform publishes the same bytes.

use p256::ecdsa::{Signature, SigningKey, signature::Signer};
use rcgen::{
    BasicConstraints, Certificate, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyUsagePurpose,
    PublicKeyData, SerialNumber, SignatureAlgorithm,
};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

/// Why a key, certificate, quote or collateral could not be made.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("a certificate could not be made: {0}")]
    Certificate(#[from] rcgen::Error),
    #[error("no P-256 key comes of this seed; choose another seed")]
    Key,
    #[error("{0} s is not a date that a certificate can carry; check the clock")]
    Date(u64),
    #[error("a part of the collateral is larger than the chain takes")]
    TooLarge,
}

/// A P-256 key that comes of a seed and a name.
pub struct KeyPair {
    signing: SigningKey,
    /// SEC1, uncompressed: 0x04 ‖ x ‖ y.
    public: Vec<u8>,
}

impl KeyPair {
    /// The same key for the same seed and name, always.
    pub fn derive(seed: &[u8], name: &str) -> Result<Self, Error> {
        // One hash in 2^32 is not a scalar of the curve.
        for attempt in 0..=u8::MAX {
            let hash = Sha256::new().chain_update(seed).chain_update(name).chain_update([attempt]).finalize();
            if let Ok(signing) = SigningKey::from_bytes(&hash) {
                let public = signing.verifying_key().to_encoded_point(false).as_bytes().to_vec();
                return Ok(KeyPair { signing, public });
            }
        }
        Err(Error::Key)
    }

    /// One of the published keys.
    pub fn published(name: &str) -> Result<Self, Error> {
        Self::derive(b"crust/published-development-key/v1/", name)
    }

    /// `x ‖ y`.
    pub fn public_point(&self) -> [u8; 64] {
        let mut point = [0; 64];
        for (to, from) in point.iter_mut().zip(self.public.iter().skip(1)) {
            *to = *from;
        }
        point
    }

    /// `r ‖ s` over the SHA-256 of `message`.
    pub fn sign_raw(&self, message: &[u8]) -> [u8; 64] {
        let signature: Signature = self.signing.sign(message);
        signature.to_bytes().into()
    }
}

impl PublicKeyData for KeyPair {
    fn der_bytes(&self) -> &[u8] {
        &self.public
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        &rcgen::PKCS_ECDSA_P256_SHA256
    }
}

impl rcgen::SigningKey for KeyPair {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        let signature: Signature = self.signing.sign(message);
        Ok(signature.to_der().as_bytes().to_vec())
    }
}

/// A certificate authority: its certificate and what signs with it.
pub struct Authority {
    pub certificate: Certificate,
    pub issuer: Issuer<'static, KeyPair>,
}

/// The development root. Its certificate is `crust_protocol::development::ROOT_CA`.
pub fn root() -> Result<Authority, Error> {
    let key = KeyPair::published("root")?;
    let params = ca_params("Crust Development Root CA", 1)?;
    Ok(Authority { certificate: params.self_signed(&key)?, issuer: Issuer::new(params, key) })
}

/// The CA of all platforms' keys, under the root. Like Intel's for servers it is a *Platform* CA, so its certificates
/// carry the platform's configuration.
pub fn platform_ca(root: &Authority) -> Result<Authority, Error> {
    let key = KeyPair::published("platform-ca")?;
    let mut params = ca_params("Crust Development PCK Platform CA", 2)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.use_authority_key_identifier_extension = true;
    let certificate = params.signed_by(&key, &root.issuer)?;
    Ok(Authority { certificate, issuer: Issuer::new(params, key) })
}

/// The signer of TCB info and QE identity, under the root.
pub fn collateral_signer(root: &Authority) -> Result<(Certificate, KeyPair), Error> {
    let key = KeyPair::published("collateral-signer")?;
    let certificate = leaf_params("Crust Development TCB Signing", 3)?.signed_by(&key, &root.issuer)?;
    Ok((certificate, key))
}

/// A certificate that signs data, not certificates; valid as long as the root.
pub fn leaf_params(name: &str, serial: u64) -> Result<CertificateParams, Error> {
    let mut params = params(name, serial)?;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::ContentCommitment];
    params.is_ca = IsCa::ExplicitNoCa;
    params.use_authority_key_identifier_extension = true;
    Ok(params)
}

/// A time as certificates carry it.
pub fn date(secs: u64) -> Result<OffsetDateTime, Error> {
    let signed = i64::try_from(secs).map_err(|_| Error::Date(secs))?;
    OffsetDateTime::from_unix_timestamp(signed).map_err(|_| Error::Date(secs))
}

fn ca_params(name: &str, serial: u64) -> Result<CertificateParams, Error> {
    let mut params = params(name, serial)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    Ok(params)
}

fn params(name: &str, serial: u64) -> Result<CertificateParams, Error> {
    let mut params = CertificateParams::default();
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2049, 12, 31);
    params.serial_number = Some(SerialNumber::from_slice(&serial.to_be_bytes()));
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.distinguished_name.push(DnType::OrganizationName, "Crust development, proves nothing");
    Ok(params)
}
