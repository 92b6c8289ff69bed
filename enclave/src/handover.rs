//! The hand-over of `K_seal` to another enclave of the same provider: the next release on this machine, or a standby on
//! another one.
//!
//! ```text
//! giver                                      heir, without a log
//!   challenge ────────────────────────────►  share: X25519, drawn for this
//!             ◄──────────────────────────── quote over (chain, provider, challenge, share), release
//!   share, K_seal under both shares ──────►
//!   quote over all of it, release
//! ```
//!
//! The host carries it all and can read none of it. Each side takes the other's word for nothing but evidence that it
//! verifies itself and a release that the release keys signed: the giver, or a program of the host's would get the key;
//! the heir, or a host could give it a key that the host knows, and seal without keeping anything. Nothing of a chain
//! comes into it, so a made-up chain gains nothing.

use crust_protocol::{Hash, Key};
use hkdf::Hkdf;
use ring::aead::{Aad, LessSafeKey, NONCE_LEN, Nonce};
use sha2::{Digest, Sha256, Sha512};
use x25519_dalek::{PublicKey, StaticSecret};
use zeroize::Zeroizing;

use crate::{
    Constants, evidence,
    log::{StateKey, aead_key, random},
    rpc::{Error, Shown},
};

/// Who asks for the key and who gives it, for which chain and provider, in which exchange.
#[derive(Clone, Copy)]
pub(crate) struct Exchange {
    pub genesis: Hash,
    pub provider: Key,
    pub challenge: Hash,
    pub heir: Key,
}

impl Exchange {
    /// What the heir's evidence carries.
    pub fn heirs_report_data(&self) -> [u8; 64] {
        self.report_data(b"crust/heir/v1", &[])
    }

    /// What the giver's evidence carries.
    pub fn givers_report_data(&self, giver: &Key) -> [u8; 64] {
        self.report_data(b"crust/hand-over/v1", giver)
    }

    fn report_data(&self, purpose: &[u8], giver: &[u8]) -> [u8; 64] {
        let mut hasher = Sha512::new();
        for part in [purpose, &self.genesis, &self.provider, &self.challenge, &self.heir, giver] {
            hasher.update(part);
        }
        hasher.finalize().into()
    }

    /// The key under which `K_seal` travels, once.
    fn key(&self, shared: &[u8; 32], giver: &Key) -> Result<LessSafeKey, Error> {
        let mut key = Zeroizing::new([0; 32]);
        let purpose = [self.givers_report_data(giver).as_slice(), b"key"].concat();
        // HKDF gives 32 bytes always.
        Hkdf::<Sha256>::new(Some(self.challenge.as_slice()), shared)
            .expand(&purpose, key.as_mut_slice())
            .map_err(|_| Error::NotBound)?;
        aead_key(&key)
    }
}

/// An heir's wait for the key.
pub(crate) struct Heir {
    exchange: Exchange,
    secret: StaticSecret,
}

impl Heir {
    pub fn new(genesis: Hash, provider: Key, challenge: Hash) -> Result<Self, Error> {
        let secret = StaticSecret::from(random::<32>()?);
        let heir = PublicKey::from(&secret).to_bytes();
        Ok(Heir { exchange: Exchange { genesis, provider, challenge, heir }, secret })
    }

    pub fn exchange(&self) -> &Exchange {
        &self.exchange
    }

    /// Opens what a giver gave.
    pub fn take(self, giver: Key, sealed: &[u8], shown: Shown, constants: &Constants) -> Result<StateKey, Error> {
        let report_data = self.exchange.givers_report_data(&giver);
        let (number, _) = judge(shown, &report_data, 0, constants)?;
        if number > constants.release {
            return Err(Error::ReleaseOrder { giver: number, heir: constants.release });
        }
        let shared = self.secret.diffie_hellman(&PublicKey::from(giver));
        let key = self.exchange.key(shared.as_bytes(), &giver)?;
        let mut bytes = Zeroizing::new(sealed.to_vec());
        let plain = key
            .open_in_place(Nonce::assume_unique_for_key([0; NONCE_LEN]), Aad::empty(), &mut bytes)
            .map_err(|_| Error::NotBound)?;
        StateKey::from_bytes(plain).ok_or(Error::NotBound)
    }
}

/// A key on its way.
pub(crate) struct Given {
    pub share: Key,
    pub sealed: Vec<u8>,
    /// The newest date seen.
    pub now: u64,
}

/// Seals the key for an heir that has shown who it is.
pub(crate) fn give(
    exchange: &Exchange,
    shown: Shown,
    state_key: &StateKey,
    seen: u64,
    constants: &Constants,
) -> Result<Given, Error> {
    let (number, now) = judge(shown, &exchange.heirs_report_data(), seen, constants)?;
    if number < constants.release {
        return Err(Error::ReleaseOrder { giver: constants.release, heir: number });
    }
    let secret = StaticSecret::from(random::<32>()?);
    let share = PublicKey::from(&secret).to_bytes();
    let shared = secret.diffie_hellman(&PublicKey::from(exchange.heir));
    if !shared.was_contributory() {
        return Err(Error::NotBound);
    }
    let key = exchange.key(shared.as_bytes(), &share)?;
    let mut sealed = state_key.bytes().to_vec();
    // Fails only beyond 64 GiB.
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key([0; NONCE_LEN]), Aad::empty(), &mut sealed)
        .map_err(|_| Error::Entropy)?;
    Ok(Given { share, sealed, now })
}

/// The number of the release that is at the other end, and the newest date seen.
fn judge(shown: Shown, report_data: &[u8; 64], seen: u64, constants: &Constants) -> Result<(u32, u64), Error> {
    let Shown { quote, collateral, release } = shown;
    let release = release.verify(&constants.release_keys)?;
    let (quoted, now) = evidence::verify(&quote, collateral, seen, constants.trusted_root)?;
    if !quoted.report.is(&release.measurement) {
        return Err(Error::OtherRelease);
    }
    if quoted.report_data != *report_data {
        return Err(Error::NotBound);
    }
    Ok((release.number, now))
}
