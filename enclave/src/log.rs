//! The log: everything an enclave knows and has said, as sealed records in one chain. The host keeps it.
//!
//! Item 0 is `K_seal` under the platform's key: `0 (u64) ‖ security version ‖ nonce ‖ AES-256-GCM(K_seal)`. Of a
//! platform without sealing keys it is the number alone, and `K_seal` comes from another enclave.
//!
//! Every other item is a record under a key that comes of `K_seal`: `number (u64) ‖ nonce (12) ‖ AES-256-GCM(record)`,
//! with the head before it and its number as associated data, so no item opens out of its place. The head is the
//! protocol's root: `H(sign_pk)` at first, then `H(head ‖ item)`. Nonces are drawn at random, because a log that was
//! rolled back goes on with other records under the same numbers.
//!
//! A snapshot ([`crate::snapshot`]) may stand for the records up to one of them.

use codec::{Decode, Encode};
use crust_protocol::{Hash, Slot, order::OrderId, statement::next_root};
use hkdf::Hkdf;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::{
    identity::Secrets,
    platform::{SealKey, Svn},
    rpc::{Disk, Error, Sample, Signed},
    scrub::Scrubbed,
    seal::Salt,
    unfinished::Segment,
};

/// What one record says. The order of the variants' numbers is the disk format.
#[derive(Encode, Decode)]
pub(crate) enum Record {
    /// The first: who this is.
    #[codec(index = 0)]
    Identity(Secrets),
    /// A file is held from here on.
    #[codec(index = 1)]
    Sealed { order: OrderId, size: u64, flags: u8, salts: Vec<Salt>, tree: Option<Salt>, disk: Disk, written: Slot },
    /// A filler unit is held from here on, at the end of its disk: `length` bytes of the key's stream, from `start`.
    #[codec(index = 2)]
    FillerUnit { disk: Disk, key: [u8; 32], start: u64, length: u64, written: Slot },
    /// A disk's filler is cut to its first bytes.
    #[codec(index = 3)]
    Shrunk { disk: Disk, to: u64 },
    /// A slot was shown: what is drawn comes of the head after this record.
    #[codec(index = 4)]
    Shown { slot: Slot, slot_hash: Hash },
    /// The draw of the slot shown last was answered.
    #[codec(index = 5)]
    Checked(Checked),
    #[codec(index = 6)]
    Deleted { orders: Vec<OrderId> },
    #[codec(index = 7)]
    Lost { orders: Vec<OrderId> },
    /// A statement; its root is the head after this record, and zero in it.
    #[codec(index = 8)]
    Said(Signed),
    /// The host says that the chain has accepted this root for good.
    #[codec(index = 9)]
    Final { root: Hash },
    /// How far the scrub is, and what it found.
    #[codec(index = 16)]
    Scrubbed(Scrubbed),
    /// A file has another hash tree from here on.
    #[codec(index = 17)]
    Tree { order: OrderId, tree: Option<Salt> },
    /// A segment of a file in work is sealed, and durable.
    #[codec(index = 18)]
    Segment(Segment),
    /// The key was handed to an heir. `seen` is the newest date that a vendor signed, in seconds since 1970.
    #[codec(index = 20)]
    HandedOver { seen: u64 },
    /// An heir goes on with the log: who speaks from here on.
    #[codec(index = 21)]
    Succeeded(Secrets),
}

/// What the answers to a draw showed.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub(crate) struct Checked {
    pub good_filler: u8,
    pub good_files: u8,
    /// Bad in the draw, each once.
    pub bad: Vec<Sample>,
    /// Bad before, read again, and bad again.
    pub failed: Vec<Sample>,
    /// Bad before, and good again.
    pub mended: Vec<Sample>,
}

/// The key from which all state is sealed. Random, the same for the life of the log.
#[derive(Clone)]
pub(crate) struct StateKey(Zeroizing<[u8; 32]>);

impl StateKey {
    pub fn new() -> Result<Self, Error> {
        Ok(StateKey(Zeroizing::new(random()?)))
    }

    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Some(StateKey(Zeroizing::new(bytes.try_into().ok()?)))
    }

    /// `K_seal` itself, for a hand-over.
    pub fn bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// A key for one purpose.
    pub fn derive(&self, salt: &[u8], purpose: &[u8]) -> Zeroizing<[u8; 32]> {
        derive(&self.0, salt, purpose)
    }

    /// Item 0 of the log, on a platform with this sealing key or without any.
    pub fn wrap(&self, platform: Option<&SealKey>) -> Result<Vec<u8>, Error> {
        let Some(platform) = platform else { return Ok(FIRST.to_vec()) };
        let sealed = seal(&wrapping_key(platform)?, &platform.svn(), self.0.to_vec())?;
        Ok([FIRST.as_slice(), &platform.svn(), &sealed].concat())
    }

    /// `None` if the item is not of this platform.
    pub fn unwrap(platform: &SealKey, item: &[u8]) -> Option<Self> {
        let sealed = item.strip_prefix(&FIRST)?.strip_prefix(&platform.svn())?;
        let plain = Zeroizing::new(open(&wrapping_key(platform).ok()?, &platform.svn(), sealed)?);
        Self::from_bytes(&plain)
    }
}

/// How item 0 begins, and no other.
pub(crate) const FIRST: [u8; 8] = [0; 8];

/// The security version at which item 0 wraps `K_seal`; `None` if it does not.
pub(crate) fn wrapped_at(item: &[u8]) -> Option<Svn> {
    item.strip_prefix(&FIRST)?.first_chunk().copied()
}

/// The end of the log: where the next record goes.
pub(crate) struct Log {
    key: LessSafeKey,
    head: Hash,
    next: u64,
}

impl Log {
    /// Before the first record.
    pub fn new(state_key: &StateKey) -> Result<Self, Error> {
        Self::after(state_key, [0; 32], 1)
    }

    /// Goes on where a snapshot ends.
    pub fn after(state_key: &StateKey, head: Hash, next: u64) -> Result<Self, Error> {
        let key = aead_key(&state_key.derive(b"", b"crust/log/v1"))?;
        Ok(Log { key, head, next })
    }

    /// The root of everything so far.
    pub fn head(&self) -> Hash {
        self.head
    }

    /// The number of the next item.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Seals a record as the next item. It is not part of the log before [`Log::append`].
    pub fn seal(&self, record: &Record) -> Result<Vec<u8>, Error> {
        seal_item(&self.key, self.next, &self.head, record.encode())
    }

    /// Opens what should be the next item.
    pub fn open(&self, item: &[u8]) -> Option<Record> {
        let plain = Zeroizing::new(open_item(&self.key, self.next, &self.head, item)?);
        let mut rest = plain.as_slice();
        let record = Record::decode(&mut rest).ok()?;
        rest.is_empty().then_some(record)
    }

    /// Moves the head over an item.
    pub fn append(&mut self, item: &[u8]) {
        self.head = next_root(&self.head, item);
        self.next = self.next.saturating_add(1);
    }

    /// Moves the head over the identity, the first record, to which the root of the empty log belongs.
    pub fn begin(&mut self, first_root: Hash, item: &[u8]) {
        self.head = first_root;
        self.append(item);
    }
}

/// Random bytes of the platform.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(|_| Error::Entropy)?;
    Ok(bytes)
}

/// An AES-256-GCM key.
pub(crate) fn aead_key(bytes: &[u8; 32]) -> Result<LessSafeKey, Error> {
    // ring refuses other lengths only.
    UnboundKey::new(&AES_256_GCM, bytes).map(LessSafeKey::new).map_err(|_| Error::Entropy)
}

#[expect(clippy::expect_used, reason = "HKDF-SHA256 gives up to 255 x 32 bytes, and 32 are asked for")]
fn derive(key: &[u8; 32], salt: &[u8], purpose: &[u8]) -> Zeroizing<[u8; 32]> {
    let mut derived = Zeroizing::new([0; 32]);
    Hkdf::<Sha256>::new(Some(salt), key).expand(purpose, derived.as_mut_slice()).expect("32 bytes");
    derived
}

fn wrapping_key(platform: &SealKey) -> Result<LessSafeKey, Error> {
    aead_key(&derive(platform.as_bytes(), b"", b"crust/wrap/v1"))
}

/// An item in its place: `number ‖ nonce ‖ AES-256-GCM(plain)`.
pub(crate) fn seal_item(key: &LessSafeKey, number: u64, place: &Hash, plain: Vec<u8>) -> Result<Vec<u8>, Error> {
    let sealed = seal(key, &[place.as_slice(), &number.to_le_bytes()].concat(), plain)?;
    Ok([number.to_le_bytes().as_slice(), &sealed].concat())
}

/// What an item says, if it was sealed in this place.
pub(crate) fn open_item(key: &LessSafeKey, number: u64, place: &Hash, item: &[u8]) -> Option<Vec<u8>> {
    let sealed = item.strip_prefix(&number.to_le_bytes())?;
    open(key, &[place.as_slice(), &number.to_le_bytes()].concat(), sealed)
}

fn seal(key: &LessSafeKey, associated: &[u8], mut plain: Vec<u8>) -> Result<Vec<u8>, Error> {
    let nonce = random::<NONCE_LEN>()?;
    // Fails only beyond 64 GiB.
    key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(associated), &mut plain)
        .map_err(|_| Error::Entropy)?;
    Ok([nonce.as_slice(), &plain].concat())
}

fn open(key: &LessSafeKey, associated: &[u8], item: &[u8]) -> Option<Vec<u8>> {
    let (nonce, sealed) = item.split_at_checked(NONCE_LEN)?;
    let mut bytes = sealed.to_vec();
    let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
    let length = key.open_in_place(nonce, Aad::from(associated), &mut bytes).ok()?.len();
    bytes.truncate(length);
    Some(bytes)
}
