//! Sealing: what is stored of a file, and how it is opened again.
//!
//! The stream of a file is cut into chunks of 64 KiB and segments of exactly 1 GiB. A segment has a key of its own, of
//! `K_seal` and a salt that is drawn in the run that seals it and logged only when the file is complete: no state that
//! the host can bring back makes an enclave emit the same sealed bytes again. Inside a segment a chunk is AES-256-GCM
//! with its index as nonce and (order, segment, index, last?) as associated data, so a chunk proves itself, its place
//! and its file. Sealed chunks lie one after the other in one host file: chunk i at i × [`SEALED_CHUNK`].

use crust_protocol::{
    Slot,
    file::Cid,
    order::{Content, OrderId},
    walk::{self, Block, Fed, Walk},
};
use ring::aead::{Aad, LessSafeKey, NONCE_LEN, Nonce};

use crate::{
    log::{StateKey, aead_key, random},
    rpc::Error,
};

/// Bytes of the stream in a chunk; the last may have fewer.
pub const CHUNK: usize = 64 << 10;
pub(crate) const CHUNK_BYTES: u64 = CHUNK as u64;
/// Bytes that the proof of a chunk adds.
pub const TAG: usize = 16;
/// A whole chunk on disk.
pub const SEALED_CHUNK: usize = CHUNK + TAG;
/// Chunks in a segment: 1 GiB.
pub const SEGMENT_CHUNKS: u64 = 16_384;

/// The salt of a segment.
pub(crate) type Salt = [u8; 32];

/// Chunks of a file: an empty one has one, of no bytes.
pub fn chunks(size: u64) -> u64 {
    size.div_ceil(CHUNK_BYTES).max(1)
}

/// Room for what the bytes of one block can complete.
pub(crate) fn sealed_room(block: usize) -> usize {
    block.saturating_add((block / CHUNK).saturating_mul(TAG)).saturating_add(SEALED_CHUNK)
}

/// Bytes of the stream in a chunk of a file.
fn chunk_length(size: u64, chunk: u64) -> Option<usize> {
    if chunk >= chunks(size) {
        return None;
    }
    let rest = size.checked_sub(chunk.checked_mul(CHUNK_BYTES)?)?;
    usize::try_from(rest.min(CHUNK_BYTES)).ok()
}

/// A file on its way in.
pub struct Sealer {
    content: Content,
    id: OrderId,
    state_key: StateKey,
    begun: Begun,
    walk: Walk,
    audit: blake3::Hasher,
    /// Of the segments so far, the one in work last.
    salts: Vec<Salt>,
    key: Option<LessSafeKey>,
    /// Bytes of the stream that do not fill a chunk yet.
    pending: Vec<u8>,
    /// Chunks sealed.
    sealed: u64,
    /// A refusal ended it.
    spent: bool,
}

/// When something began to be written: the slot then shown, and how often lower slots had been shown.
#[derive(Clone, Copy)]
pub(crate) struct Begun {
    pub slot: Slot,
    pub pulls: u64,
}

/// A file that is sealed and checked, and not yet held.
pub struct Sealed {
    pub(crate) content: Content,
    pub(crate) id: OrderId,
    pub(crate) salts: Vec<Salt>,
    pub(crate) begun: Begun,
}

impl Sealer {
    pub(crate) fn new(content: Content, state_key: StateKey, begun: Begun, limits: walk::Limits) -> Self {
        Sealer {
            id: content.id(),
            walk: Walk::new(content.cid, limits),
            content,
            state_key,
            begun,
            audit: blake3::Hasher::new(),
            salts: Vec::new(),
            key: None,
            pending: Vec::new(),
            sealed: 0,
            spent: false,
        }
    }

    /// The block that comes next; `None` when the graph is complete.
    pub fn wanted(&self) -> Option<Cid> {
        self.walk.wanted()
    }

    /// Whether a refusal has ended the file.
    pub fn is_spent(&self) -> bool {
        self.spent
    }

    /// Takes the wanted block and appends the chunks that it completes to `out`. Wrong bytes change nothing and may be
    /// followed by the right ones; any other refusal ends the file.
    pub fn feed(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        let refused = |error: walk::Error| Error::Graph(error.to_string());
        if self.spent {
            return Err(Error::NoSealing);
        }
        let Some(cid) = self.walk.wanted() else {
            return Err(Error::Graph("it is complete, and no further block belongs to it".into()));
        };
        let block = Block::check(cid, bytes).map_err(refused)?;
        self.spent = true;
        let fed = self.walk.feed(&block).map_err(refused)?;
        if self.walk.size() > self.content.size {
            return Err(Error::Size { ordered: self.content.size, found: self.walk.size() });
        }
        if let Fed::Bytes { .. } = fed {
            self.audit.update(bytes);
            self.absorb(bytes, out)?;
        }
        self.spent = false;
        Ok(())
    }

    /// Ends the file: all blocks are there, the size and the audit root are those of the order. Appends the last chunk.
    pub fn finish(mut self, out: &mut Vec<u8>) -> Result<Sealed, Error> {
        if self.spent {
            return Err(Error::NoSealing);
        }
        if let Some(next) = self.walk.wanted() {
            return Err(Error::Incomplete { next });
        }
        if self.walk.size() != self.content.size {
            return Err(Error::Size { ordered: self.content.size, found: self.walk.size() });
        }
        if *self.audit.finalize().as_bytes() != self.content.audit_root {
            return Err(Error::AuditRoot);
        }
        if !self.pending.is_empty() || self.sealed == 0 {
            let last = std::mem::take(&mut self.pending);
            self.seal_chunk(&last, out)?;
        }
        Ok(Sealed { content: self.content, id: self.id, salts: self.salts, begun: self.begun })
    }

    fn absorb(&mut self, mut bytes: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        if !self.pending.is_empty() {
            let missing = CHUNK.saturating_sub(self.pending.len()).min(bytes.len());
            let (head, tail) = bytes.split_at_checked(missing).unwrap_or((bytes, &[]));
            self.pending.extend_from_slice(head);
            bytes = tail;
            if self.pending.len() == CHUNK {
                let mut full = std::mem::take(&mut self.pending);
                self.seal_chunk(&full, out)?;
                full.clear();
                self.pending = full;
            }
        }
        let mut whole = bytes.chunks_exact(CHUNK);
        for chunk in whole.by_ref() {
            self.seal_chunk(chunk, out)?;
        }
        self.pending.extend_from_slice(whole.remainder());
        Ok(())
    }

    fn seal_chunk(&mut self, plain: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
        let place = Place::of(&self.id, self.content.size, self.sealed);
        let key = match &self.key {
            Some(key) if place.index > 0 => key,
            _ => {
                let salt = random()?;
                self.salts.push(salt);
                self.key.insert(segment_key(&self.state_key, &salt)?)
            }
        };
        let begin = out.len();
        out.extend_from_slice(plain);
        let sealed = out.get_mut(begin..).unwrap_or_default();
        // Fails only beyond 64 GiB.
        let tag = key
            .seal_in_place_separate_tag(place.nonce(), Aad::from(place.associated_data()), sealed)
            .map_err(|_| Error::Damaged { chunk: self.sealed })?;
        out.extend_from_slice(tag.as_ref());
        self.sealed = self.sealed.saturating_add(1);
        Ok(())
    }
}

/// Opens the chunks of one file, from one that is asked for.
pub struct Opener {
    id: OrderId,
    size: u64,
    chunk: u64,
    /// Of the segment of `chunk`, and of the next if there is one.
    keys: Vec<LessSafeKey>,
}

impl Opener {
    /// `salts` are those of the segment of `chunk` and of the next.
    pub(crate) fn new(
        id: OrderId,
        size: u64,
        chunk: u64,
        salts: impl Iterator<Item = Salt>,
        state_key: &StateKey,
    ) -> Result<Self, Error> {
        let keys = salts.take(2).map(|salt| segment_key(state_key, &salt)).collect::<Result<_, _>>()?;
        Ok(Opener { id, size, chunk, keys })
    }

    /// Whether this is that one whole sealed chunk, and nothing more.
    pub(crate) fn is_chunk(&self, sealed: Vec<u8>) -> bool {
        let length = chunk_length(self.size, self.chunk).map(|length| length.saturating_add(TAG));
        length == Some(sealed.len()) && self.open(sealed).is_ok()
    }

    /// The plain bytes of whole sealed chunks that follow each other.
    pub fn open(&self, mut sealed: Vec<u8>) -> Result<Vec<u8>, Error> {
        let (mut chunk, mut from, mut to) = (self.chunk, 0usize, 0usize);
        while from < sealed.len() || chunk == self.chunk {
            let damaged = Error::Damaged { chunk };
            let length = chunk_length(self.size, chunk).ok_or(damaged.clone())?;
            let end = from.saturating_add(length).saturating_add(TAG);
            let bytes = sealed.get_mut(from..end).ok_or(damaged.clone())?;
            let place = Place::of(&self.id, self.size, chunk);
            let first = self.chunk / SEGMENT_CHUNKS;
            let key = usize::try_from(place.segment.saturating_sub(first)).ok().and_then(|key| self.keys.get(key));
            let key = key.ok_or(damaged.clone())?;
            key.open_in_place(place.nonce(), Aad::from(place.associated_data()), bytes).map_err(|_| damaged)?;
            sealed.copy_within(from..from.saturating_add(length), to);
            (from, to) = (end, to.saturating_add(length));
            chunk = chunk.saturating_add(1);
        }
        sealed.truncate(to);
        Ok(sealed)
    }
}

/// Where a chunk belongs.
struct Place<'a> {
    order: &'a OrderId,
    segment: u64,
    index: u64,
    last: bool,
}

impl<'a> Place<'a> {
    fn of(order: &'a OrderId, size: u64, chunk: u64) -> Self {
        Place {
            order,
            segment: chunk / SEGMENT_CHUNKS,
            index: chunk % SEGMENT_CHUNKS,
            last: chunk.saturating_add(1) == chunks(size),
        }
    }

    fn nonce(&self) -> Nonce {
        let mut nonce = [0; NONCE_LEN];
        for (to, from) in nonce.iter_mut().zip(self.index.to_le_bytes()) {
            *to = from;
        }
        Nonce::assume_unique_for_key(nonce)
    }

    fn associated_data(&self) -> [u8; 49] {
        let mut data = [0; 49];
        let (segment, index) = (self.segment.to_le_bytes(), self.index.to_le_bytes());
        let parts = self.order.iter().chain(&segment).chain(&index).copied().chain([u8::from(self.last)]);
        for (to, from) in data.iter_mut().zip(parts) {
            *to = from;
        }
        data
    }
}

fn segment_key(state_key: &StateKey, salt: &Salt) -> Result<LessSafeKey, Error> {
    aead_key(&state_key.derive(salt, b"crust/segment/v1"))
}
