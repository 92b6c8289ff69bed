//! Who an enclave is: the keys it drew itself, and the chain and provider it was opened for. It has one identity and
//! one log for as long as it lives.

use codec::{Decode, Encode};
use crust_protocol::{
    Hash, Key, attestation,
    statement::{Signature, Statement, signed_bytes},
};
use schnorrkel::{ExpansionMode, Keypair, MiniSecretKey};
use zeroize::{Zeroize, ZeroizeOnDrop};

use crate::{log::random, rpc::Error};

/// What the first record of a log holds.
#[derive(Clone, Encode, Decode, Zeroize, ZeroizeOnDrop)]
pub(crate) struct Secrets {
    /// Seed of the sr25519 key that signs statements.
    sign: [u8; 32],
    /// X25519 secret of the attested channel.
    channel: [u8; 32],
    genesis: Hash,
    provider: Key,
}

impl Secrets {
    pub fn new(genesis: Hash, provider: Key) -> Result<Self, Error> {
        Ok(Secrets { sign: random()?, channel: random()?, genesis, provider })
    }
}

/// The keys at work.
pub(crate) struct Identity {
    pub genesis: Hash,
    pub provider: Key,
    pub channel_pk: Key,
    secrets: Secrets,
    sign: Keypair,
}

impl Identity {
    pub fn new(secrets: &Secrets) -> Option<Self> {
        let seed = MiniSecretKey::from_bytes(&secrets.sign).ok()?;
        let channel = x25519_dalek::StaticSecret::from(secrets.channel);
        Some(Identity {
            genesis: secrets.genesis,
            provider: secrets.provider,
            channel_pk: x25519_dalek::PublicKey::from(&channel).to_bytes(),
            secrets: secrets.clone(),
            sign: seed.expand_to_keypair(ExpansionMode::Ed25519),
        })
    }

    pub fn secrets(&self) -> &Secrets {
        &self.secrets
    }

    /// Whether it was made for this chain and provider.
    pub fn check(&self, genesis: &Hash, provider: &Key) -> Result<(), Error> {
        if self.genesis != *genesis {
            return Err(Error::OtherGenesis);
        }
        if self.provider != *provider {
            return Err(Error::OtherProvider);
        }
        Ok(())
    }

    pub fn sign_pk(&self) -> Key {
        self.sign.public.to_bytes()
    }

    /// What evidence for this identity carries, bound to a block.
    pub fn report_data(&self, block_hash: Hash) -> [u8; 64] {
        let identity = attestation::Identity {
            genesis: self.genesis,
            provider: self.provider,
            sign_pk: self.sign_pk(),
            channel_pk: self.channel_pk,
            block_hash,
        };
        identity.report_data()
    }

    pub fn sign(&self, statement: &impl Statement) -> Signature {
        let bytes = signed_bytes(&self.genesis, &self.sign_pk(), statement);
        self.sign.sign_simple(b"substrate", &bytes).to_bytes()
    }
}
