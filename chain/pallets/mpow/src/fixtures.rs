//! Evidence for the tests: quotes of two software platforms, over whatever a test wants them to say.

use codec::DecodeAll;
use crust_protocol::attestation::Collateral;
use ring::{
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair},
};

/// The time around which the collateral is in date: 2026-09-21, 14:13:20 UTC.
pub const NOW: u64 = 1_790_000_000;
pub const DAY: u64 = 24 * 60 * 60;

/// Header and report: what the attestation key signs.
const SIGNED: usize = 432;
const SIGNATURE: core::ops::Range<usize> = 436..500;
const ATTESTATION_KEY: core::ops::Range<usize> = 500..564;
pub const CPU_SVN: core::ops::Range<usize> = 48..64;
pub const ATTRIBUTES: core::ops::Range<usize> = 96..112;
pub const MR_ENCLAVE: core::ops::Range<usize> = 112..144;
pub const ISV_PROD_ID: usize = 304;
pub const ISV_SVN: usize = 306;
const REPORT_DATA: core::ops::Range<usize> = 368..432;
/// What the platform's own key vouches for: the quoting enclave's report and the chain of certificates.
const CERTIFICATION: core::ops::RangeFrom<usize> = 564..;

/// The same of a TDX guest.
const HEADER: usize = 48;
const GUEST_SIGNED: usize = HEADER + 584;
pub const GUEST_ATTRIBUTES: core::ops::Range<usize> = 168..176;
pub const MR_TD: core::ops::Range<usize> = 184..232;
pub const RTMR_0: core::ops::Range<usize> = 376..424;
const GUEST_REPORT_DATA: core::ops::Range<usize> = 568..632;
/// Certification data that holds a report of the quoting enclave.
const QE_REPORT: u16 = 6;

macro_rules! data {
    ($name:literal) => {
        include_bytes!(concat!("../tests/data/", $name)).as_slice()
    };
}

/// A software platform.
pub struct Platform {
    quote: &'static [u8],
    attestation: EcdsaKeyPair,
}

impl Platform {
    pub fn one() -> Self {
        Self::new(data!("platform-1.quote"), [1; 32])
    }

    pub fn two() -> Self {
        Self::new(data!("platform-2.quote"), [2; 32])
    }

    /// A platform to which packages may be added.
    pub fn dynamic() -> Self {
        Self::new(data!("platform-dynamic.quote"), [3; 32])
    }

    /// A platform whose keys its vendor keeps.
    pub fn with_cached_keys() -> Self {
        Self::new(data!("platform-cached-keys.quote"), [3; 32])
    }

    /// A platform that runs with SMT.
    pub fn with_smt() -> Self {
        Self::new(data!("platform-smt.quote"), [3; 32])
    }

    /// The platform of a seed; its quote brings everything but the private key, which comes of the seed.
    fn new(quote: &'static [u8], seed: [u8; 32]) -> Self {
        let private = sp_io::hashing::sha2_256(&[seed.as_slice(), b"attestation-key", &[0]].concat());
        let public = [&[4], &quote[ATTESTATION_KEY]].concat();
        let attestation = EcdsaKeyPair::from_private_key_and_public_key(
            &ECDSA_P256_SHA256_FIXED_SIGNING,
            &private,
            &public,
            &SystemRandom::new(),
        );
        Platform { quote, attestation: attestation.unwrap() }
    }

    /// A quote of the development enclave.
    pub fn quote(&self, report_data: [u8; 64]) -> Vec<u8> {
        self.quote_with(report_data, |_| ())
    }

    /// A quote of whatever the change makes of the header and report.
    pub fn quote_with(&self, report_data: [u8; 64], change: impl FnOnce(&mut [u8])) -> Vec<u8> {
        let mut quote = self.quote.to_vec();
        quote[REPORT_DATA].copy_from_slice(&report_data);
        change(&mut quote[..SIGNED]);
        let signature = self.attestation.sign(&SystemRandom::new(), &quote[..SIGNED]).unwrap();
        quote[SIGNATURE].copy_from_slice(signature.as_ref());
        quote
    }

    /// A quote of the TDX guest on this platform, and of whatever the change makes of its header and report.
    pub fn guest_quote_with(&self, report_data: [u8; 64], change: impl FnOnce(&mut [u8])) -> Vec<u8> {
        let mut quote = self.quote[..HEADER].to_vec();
        quote[..2].copy_from_slice(&4u16.to_le_bytes());
        quote[4..8].copy_from_slice(&0x81u32.to_le_bytes());
        quote.resize(GUEST_SIGNED, 0);
        // Of a guest that is never told of a page fault by its host.
        quote[GUEST_ATTRIBUTES][3] = 0x10;
        quote[MR_TD].fill(7);
        quote[RTMR_0].fill(8);
        quote[GUEST_REPORT_DATA].copy_from_slice(&report_data);
        change(&mut quote);
        let signature = self.attestation.sign(&SystemRandom::new(), &quote).unwrap();
        let certification = &self.quote[CERTIFICATION];
        let length = |bytes: usize| u32::try_from(bytes).unwrap().to_le_bytes();
        let authentication = [
            signature.as_ref(),
            &self.quote[ATTESTATION_KEY],
            &QE_REPORT.to_le_bytes(),
            &length(certification.len()),
            certification,
        ]
        .concat();
        [quote, length(authentication.len()).to_vec(), authentication].concat()
    }
}

/// Issued the day before [`NOW`], for 30 days.
pub fn collateral() -> Collateral {
    read(data!("collateral.scale"))
}

/// The same, issued a day later.
pub fn collateral_of_tomorrow() -> Collateral {
    read(data!("collateral-tomorrow.scale"))
}

/// Of the next TCB evaluation.
pub fn collateral_of_early_evaluation() -> Collateral {
    read(data!("collateral-early.scale"))
}

/// For TDX guests on the software platforms.
pub fn collateral_of_guests() -> Collateral {
    read(data!("collateral-tdx.scale"))
}

/// A day later than [`collateral_of_guests`]: an advisory applies to all guests.
pub fn collateral_of_guests_with_advisory() -> Collateral {
    read(data!("collateral-tdx-advisory.scale"))
}

/// A day later than [`collateral_of_guests`]: the firmware under all guests is out of date.
pub fn collateral_of_guests_with_old_firmware() -> Collateral {
    read(data!("collateral-tdx-firmware-old.scale"))
}

/// A day later than [`collateral`]: an advisory applies to all software platforms.
pub fn collateral_with_advisory() -> Collateral {
    read(data!("collateral-advisory.scale"))
}

/// Of other platforms than the software platforms.
pub fn collateral_of_other_family() -> Collateral {
    read(data!("collateral-other-family.scale"))
}

/// A day later than [`collateral`]: the firmware of all software platforms is out of date.
pub fn collateral_with_old_firmware() -> Collateral {
    read(data!("collateral-firmware-old.scale"))
}

/// A day later than [`collateral`]: the first platform is revoked.
pub fn collateral_that_revokes() -> Collateral {
    read(data!("collateral-revoked.scale"))
}

fn read(bytes: &[u8]) -> Collateral {
    Collateral::decode_all(&mut &bytes[..]).unwrap()
}
