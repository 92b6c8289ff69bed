//! Sealing: what is stored of a file, and how it is opened again.
//!
//! The stream of a file is cut into chunks of 64 KiB and segments of exactly 1 GiB. A segment has a key of its own, of
//! `K_seal` and a salt that is drawn in the run that seals it and logged only when the file is complete: no state that
//! the host can bring back makes an enclave emit the same sealed bytes again. Inside a segment a chunk is AES-256-GCM
//! with its index as nonce and (order, segment, index, last?) as associated data, so a chunk proves itself, its place
//! and its file. Sealed chunks lie one after the other in one host file: chunk i at i × [`SEALED_CHUNK`].
//!
//! The file's hash tree ([`crate::tree`]) is sealed in the same way while the stream passes, under a salt of its own.

use crust_protocol::{
    Slot,
    file::Cid,
    order::{Content, OrderId},
    walk::{self, Block, Fed, Walk},
};
use ring::aead::{Aad, LessSafeKey, NONCE_LEN, Nonce};

use crate::{
    Constants,
    log::{StateKey, aead_key, random},
    rpc::Error,
    tree,
    unfinished::Segment,
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

/// Number of the segment that holds a file's hash tree.
const TREE: u64 = u64::MAX;

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

/// Bytes on disk of a chunk of a file.
pub(crate) fn sealed_length(size: u64, chunk: u64) -> Option<usize> {
    Some(chunk_length(size, chunk)?.saturating_add(TAG))
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
    /// Chunks in a segment.
    segment: u64,
    walk: Walk,
    tree: tree::Builder,
    nodes: Nodes,
    /// Of the segments so far, the one in work last.
    salts: Vec<Salt>,
    /// Segments whose salts are in the log.
    logged: u64,
    /// Chunks that were sealed, and are durable, before this run began: they are not sealed again.
    kept: u64,
    key: Option<LessSafeKey>,
    /// Bytes of the stream that do not fill a chunk yet.
    pending: Vec<u8>,
    /// Chunks sealed.
    sealed: u64,
    /// A refusal ended it.
    spent: bool,
}

/// What the host is to keep of a file: bytes that follow those before.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Out {
    /// Whole sealed chunks.
    pub sealed: Vec<u8>,
    /// Whole sealed nodes of the hash tree.
    pub tree: Vec<u8>,
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
    /// Of the hash tree, if the file has one.
    pub(crate) tree: Option<Salt>,
    pub(crate) begun: Begun,
}

impl Sealer {
    pub(crate) fn new(content: Content, state_key: StateKey, begun: Begun, constants: &Constants) -> Self {
        Self::after(content, state_key, begun, constants, Vec::new())
    }

    /// Goes on after the segments that have these salts.
    pub(crate) fn after(
        content: Content,
        state_key: StateKey,
        begun: Begun,
        constants: &Constants,
        salts: Vec<Salt>,
    ) -> Self {
        let logged = u64::try_from(salts.len()).unwrap_or(u64::MAX);
        Sealer {
            id: content.id(),
            segment: constants.segment,
            walk: Walk::new(content.cid, constants.limits),
            tree: tree::Builder::new(content.size),
            nodes: Nodes::default(),
            content,
            state_key,
            begun,
            salts,
            logged,
            kept: logged.saturating_mul(constants.segment),
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

    /// Segments that are sealed and durable, and need not be sealed again.
    pub fn kept(&self) -> u64 {
        self.kept.checked_div(self.segment).unwrap_or_default()
    }

    /// The first segment that is sealed whole and not logged yet.
    pub(crate) fn finished(&self) -> Option<Segment> {
        if self.spent || self.sealed.checked_div(self.segment).unwrap_or_default() <= self.logged {
            return None;
        }
        let salt = *self.salts.get(usize::try_from(self.logged).ok()?)?;
        let Content { size, flags, .. } = self.content;
        Some(Segment { order: self.id, size, flags, number: self.logged, salt, written: self.begun.slot })
    }

    pub(crate) fn begun(&self) -> Begun {
        self.begun
    }

    /// The segment is logged.
    pub(crate) fn logged(&mut self) {
        self.logged = self.logged.saturating_add(1);
    }

    /// Takes the wanted block and appends to `out` what it completes. Wrong bytes change nothing and may be followed by
    /// the right ones; any other refusal ends the file.
    pub fn feed(&mut self, bytes: &[u8], out: &mut Out) -> Result<(), Error> {
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
            self.absorb(bytes, out)?;
        }
        self.spent = false;
        Ok(())
    }

    /// Ends the file: all blocks are there, the size and the audit root are those of the order. Appends the last chunk
    /// and the last nodes.
    pub fn finish(mut self, out: &mut Out) -> Result<Sealed, Error> {
        if self.spent {
            return Err(Error::NoSealing);
        }
        if let Some(next) = self.walk.wanted() {
            return Err(Error::Incomplete { next });
        }
        if self.walk.size() != self.content.size {
            return Err(Error::Size { ordered: self.content.size, found: self.walk.size() });
        }
        if !self.pending.is_empty() || self.sealed == 0 {
            let last = std::mem::take(&mut self.pending);
            self.seal_chunk(&last, out)?;
        }
        let Sealer { content, id, state_key, mut nodes, salts, begun, .. } = self;
        let root = self.tree.finish(&mut |node| nodes.seal(node, &id, content.size, &state_key, &mut out.tree))?;
        if root != content.audit_root {
            return Err(Error::AuditRoot);
        }
        Ok(Sealed { content, id, salts, tree: nodes.salt, begun })
    }

    fn absorb(&mut self, mut bytes: &[u8], out: &mut Out) -> Result<(), Error> {
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

    fn seal_chunk(&mut self, plain: &[u8], out: &mut Out) -> Result<(), Error> {
        let Sealer { tree, nodes, id, content, state_key, .. } = self;
        tree.update(plain, &mut |node| nodes.seal(node, id, content.size, state_key, &mut out.tree))?;
        if self.sealed < self.kept {
            self.sealed = self.sealed.saturating_add(1);
            return Ok(());
        }
        let place = Place::of(&self.id, self.content.size, self.sealed, self.segment);
        let key = match &self.key {
            Some(key) if place.index > 0 => key,
            _ => {
                let salt = random()?;
                self.salts.push(salt);
                self.key.insert(segment_key(&self.state_key, &salt)?)
            }
        };
        seal(key, &place, plain, &mut out.sealed)?;
        self.sealed = self.sealed.saturating_add(1);
        Ok(())
    }
}

/// The nodes of a hash tree on their way out.
#[derive(Default)]
struct Nodes {
    salt: Option<Salt>,
    key: Option<LessSafeKey>,
    sealed: u64,
}

impl Nodes {
    fn seal(
        &mut self,
        node: &[u8],
        order: &OrderId,
        size: u64,
        state_key: &StateKey,
        out: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let key = match &self.key {
            Some(key) => key,
            None => self.key.insert(tree_key(state_key, self.salt.insert(random()?))?),
        };
        seal(key, &Place::of_node(order, size, self.sealed), node, out)?;
        self.sealed = self.sealed.saturating_add(1);
        Ok(())
    }
}

/// A hash tree that is made anew, out of the sealed file.
pub struct TreeSealer {
    order: OrderId,
    size: u64,
    salts: Vec<Salt>,
    state_key: StateKey,
    /// Chunks in a segment.
    segment: u64,
    tree: tree::Builder,
    nodes: Nodes,
    /// Chunks taken.
    taken: u64,
}

/// A hash tree that is made anew, and not the file's yet.
pub struct SealedTree {
    pub(crate) order: OrderId,
    /// Of the file's first segment: it must be the same file still.
    pub(crate) of: Option<Salt>,
    pub(crate) salt: Option<Salt>,
}

impl TreeSealer {
    pub(crate) fn new(order: OrderId, size: u64, salts: Vec<Salt>, state_key: StateKey, segment: u64) -> Self {
        let tree = tree::Builder::new(size);
        TreeSealer { order, size, salts, state_key, segment, tree, nodes: Nodes::default(), taken: 0 }
    }

    /// Takes the file's next whole sealed chunks, at least one. Damaged ones change nothing and may be followed by the
    /// right ones.
    pub fn feed(&mut self, sealed: Vec<u8>, out: &mut Out) -> Result<(), Error> {
        let before = self.taken.checked_div(self.segment).unwrap_or_default();
        let salts = self.salts.iter().skip(usize::try_from(before).unwrap_or(usize::MAX)).copied();
        let at = (self.taken, self.segment);
        let plain = Opener::new(self.order, self.size, at, salts, &self.state_key)?.open(sealed)?;
        let TreeSealer { order, size, state_key, tree, nodes, .. } = self;
        tree.update(&plain, &mut |node| nodes.seal(node, order, *size, state_key, &mut out.tree))?;
        let chunks = u64::try_from(plain.len().div_ceil(CHUNK).max(1)).unwrap_or(u64::MAX);
        self.taken = self.taken.saturating_add(chunks);
        Ok(())
    }

    /// Ends the file; appends the last nodes.
    pub fn finish(self, out: &mut Out) -> Result<SealedTree, Error> {
        let TreeSealer { order, size, salts, state_key, tree, mut nodes, taken, .. } = self;
        if taken != chunks(size) {
            return Err(Error::NoSuchPart);
        }
        tree.finish(&mut |node| nodes.seal(node, &order, size, &state_key, &mut out.tree))?;
        Ok(SealedTree { order, of: salts.first().copied(), salt: nodes.salt })
    }
}

/// Opens the chunks of one file, from one that is asked for.
pub struct Opener {
    id: OrderId,
    size: u64,
    chunk: u64,
    /// Chunks in a segment.
    segment: u64,
    /// Of the segment of `chunk`, and of the next if there is one.
    keys: Vec<LessSafeKey>,
}

impl Opener {
    /// From a chunk on, with so many in a segment; `salts` are those of its segment and of the next.
    pub(crate) fn new(
        id: OrderId,
        size: u64,
        (chunk, segment): (u64, u64),
        salts: impl Iterator<Item = Salt>,
        state_key: &StateKey,
    ) -> Result<Self, Error> {
        let keys = salts.take(2).map(|salt| segment_key(state_key, &salt)).collect::<Result<_, _>>()?;
        Ok(Opener { id, size, chunk, segment, keys })
    }

    /// Whether this is that whole sealed chunk, at most one segment further on than the first.
    pub(crate) fn is_chunk(&self, chunk: u64, sealed: &[u8]) -> bool {
        let whole = sealed_length(self.size, chunk) == Some(sealed.len());
        whole && self.open_chunk(chunk, &mut sealed.to_vec()).is_ok()
    }

    /// The plain bytes of whole sealed chunks that follow each other.
    pub fn open(&self, mut sealed: Vec<u8>) -> Result<Vec<u8>, Error> {
        let (mut chunk, mut from, mut to) = (self.chunk, 0usize, 0usize);
        while from < sealed.len() || chunk == self.chunk {
            let damaged = Error::Damaged { chunk };
            let length = chunk_length(self.size, chunk).ok_or(damaged.clone())?;
            let end = from.saturating_add(length).saturating_add(TAG);
            let bytes = sealed.get_mut(from..end).ok_or(damaged)?;
            self.open_chunk(chunk, bytes)?;
            sealed.copy_within(from..from.saturating_add(length), to);
            (from, to) = (end, to.saturating_add(length));
            chunk = chunk.saturating_add(1);
        }
        sealed.truncate(to);
        Ok(sealed)
    }

    fn open_chunk(&self, chunk: u64, sealed: &mut [u8]) -> Result<(), Error> {
        let place = Place::of(&self.id, self.size, chunk, self.segment);
        let first = self.chunk.checked_div(self.segment).unwrap_or_default();
        let further = place.segment.checked_sub(first).ok_or(Error::Damaged { chunk })?;
        let key = usize::try_from(further).ok().and_then(|key| self.keys.get(key)).ok_or(Error::Damaged { chunk })?;
        let opened = key.open_in_place(place.nonce(), Aad::from(place.associated_data()), sealed);
        opened.map(drop).map_err(|_| Error::Damaged { chunk })
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
    fn of(order: &'a OrderId, size: u64, chunk: u64, segment: u64) -> Self {
        Place {
            order,
            segment: chunk.checked_div(segment).unwrap_or_default(),
            index: chunk.checked_rem(segment).unwrap_or_default(),
            last: chunk.saturating_add(1) == chunks(size),
        }
    }

    /// Of a node of the hash tree.
    fn of_node(order: &'a OrderId, size: u64, node: u64) -> Self {
        Place { order, segment: TREE, index: node, last: node.saturating_add(1) == tree::nodes(size) }
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

/// Appends bytes, sealed in their place.
fn seal(key: &LessSafeKey, place: &Place<'_>, plain: &[u8], out: &mut Vec<u8>) -> Result<(), Error> {
    let begin = out.len();
    out.extend_from_slice(plain);
    let sealed = out.get_mut(begin..).unwrap_or_default();
    // Fails only beyond 64 GiB.
    let tag = key
        .seal_in_place_separate_tag(place.nonce(), Aad::from(place.associated_data()), sealed)
        .map_err(|_| Error::Damaged { chunk: place.index })?;
    out.extend_from_slice(tag.as_ref());
    Ok(())
}

/// The plain bytes of a sealed node of a file's hash tree.
pub(crate) fn open_node(
    order: &OrderId,
    size: u64,
    node: u64,
    salt: &Salt,
    state_key: &StateKey,
    mut sealed: Vec<u8>,
) -> Result<Vec<u8>, Error> {
    let damaged = Error::DamagedTree { node };
    let place = Place::of_node(order, size, node);
    let key = tree_key(state_key, salt)?;
    let opened = key.open_in_place(place.nonce(), Aad::from(place.associated_data()), &mut sealed);
    let length = opened.map_err(|_| damaged)?.len();
    sealed.truncate(length);
    Ok(sealed)
}

fn tree_key(state_key: &StateKey, salt: &Salt) -> Result<LessSafeKey, Error> {
    aead_key(&state_key.derive(salt, b"crust/tree/v1"))
}

fn segment_key(state_key: &StateKey, salt: &Salt) -> Result<LessSafeKey, Error> {
    aead_key(&state_key.derive(salt, b"crust/segment/v1"))
}
