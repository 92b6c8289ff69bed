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
pub const ATTRIBUTES: core::ops::Range<usize> = 96..112;
pub const MR_ENCLAVE: core::ops::Range<usize> = 112..144;
pub const ISV_PROD_ID: usize = 304;
const REPORT_DATA: core::ops::Range<usize> = 368..432;

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
