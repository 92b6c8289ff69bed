//! Cuts a file into the graph that the profile unixfs-v1-2025 (IPIP-499) gives it: CIDv1, sha2-256, raw leaves of 1 MiB,
//! 1,024 links a node, balanced. One leaf alone is the root itself; an empty file is the leaf of no bytes.
//!
//! Two passes. The first hashes the leaves and keeps what is above them; the second reads the file in the order of the
//! stream ([`Walk`]), checks every leaf against the first and computes the audit root. What differs has changed.

use std::{
    collections::HashMap,
    fs::File,
    io::Read,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use crust_protocol::{
    Hash,
    file::{Cid, Codec, HashFunction},
    walk::{Block, Fed, Limits, Walk},
};

use super::{Error, Progress};
use crate::unixfs::{self, Child};

/// Bytes of a leaf.
pub const LEAF: usize = 1 << 20;
/// Links of a node.
pub const LINKS: usize = 1_024;

/// A file that has been cut.
pub struct Import {
    path: PathBuf,
    file: File,
    root: Cid,
    /// Bytes of the file.
    content: u64,
    /// Bytes of its distinct blocks.
    size: u64,
    audit_root: Hash,
    graph: Graph,
}

/// All blocks, by digest. The codec says nothing about bytes.
#[derive(Default)]
struct Graph {
    nodes: HashMap<Hash, Bytes>,
    leaves: HashMap<Hash, Place>,
    /// Nodes in work, by height above the leaves.
    levels: Vec<Vec<Child>>,
}

/// Where a leaf stands in the file, the first time.
#[derive(Clone, Copy)]
struct Place {
    offset: u64,
    length: u32,
}

impl Import {
    /// Refuses at once what cannot be put.
    pub fn check(path: &Path) -> Result<(), Error> {
        let metadata = std::fs::metadata(path).map_err(|error| match error.kind() {
            std::io::ErrorKind::NotFound => Error::Missing(path.into()),
            _ => Error::Read { path: path.into(), error },
        })?;
        if metadata.is_dir() {
            return Err(Error::Directory(path.into()));
        }
        if !metadata.is_file() {
            return Err(Error::NotAFile(path.into()));
        }
        let leaf = u64::try_from(LEAF).unwrap_or(u64::MAX);
        if metadata.len().div_ceil(leaf) >= Limits::PROTOCOL.blocks.into() {
            let reason = format!("a file has at most {} blocks of 1 MiB", Limits::PROTOCOL.blocks);
            return Err(Error::TooLarge { path: path.into(), reason });
        }
        Ok(())
    }

    /// Reads the file twice. Blocks the thread.
    pub fn of(path: &Path, watcher: &dyn Fn(Progress)) -> Result<Import, Error> {
        let mut import = Self::cut(path, watcher)?;
        import.audit(watcher)?;
        Ok(import)
    }

    /// The first pass only: enough for CID and size.
    pub fn cut(path: &Path, watcher: &dyn Fn(Progress)) -> Result<Import, Error> {
        Self::check(path)?;
        let failed = |error| Error::Read { path: path.into(), error };
        let mut file = File::open(path).map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        let mut graph = Graph::default();
        let mut leaf = vec![0; LEAF];
        let mut content: u64 = 0;
        loop {
            let filled = fill(&mut file, &mut leaf).map_err(failed)?;
            if filled == 0 && content > 0 {
                break;
            }
            graph.leaf(content, leaf.get(..filled).unwrap_or_default());
            content = content.saturating_add(u64::try_from(filled).unwrap_or(u64::MAX));
            watcher(Progress::Cut { bytes: content, of: length.max(content) });
            if filled < LEAF {
                break;
            }
        }
        if content != length {
            return Err(Error::Changed(path.into()));
        }
        let root = graph.finish();
        let size = graph.size();
        Ok(Import { path: path.into(), file, root, content, size, audit_root: Hash::default(), graph })
    }

    /// The second pass.
    fn audit(&mut self, watcher: &dyn Fn(Progress)) -> Result<(), Error> {
        let too_large = |reason: String| Error::TooLarge { path: self.path.clone(), reason };
        let mut walk = Walk::new(self.root, Limits::PROTOCOL);
        let mut hasher = blake3::Hasher::new();
        while let Some(cid) = walk.wanted() {
            let bytes = self.block(cid)?;
            let block = Block::check(cid, &bytes).map_err(|_| Error::Changed(self.path.clone()))?;
            if let Fed::Bytes { .. } = walk.feed(&block).map_err(|error| too_large(error.to_string()))? {
                hasher.update(&bytes);
                watcher(Progress::Checked { bytes: walk.size().min(self.content), of: self.content });
            }
        }
        let length = self.file.metadata().map_err(|error| Error::Read { path: self.path.clone(), error })?.len();
        if walk.size() != self.size || length != self.content {
            return Err(Error::Changed(self.path.clone()));
        }
        self.audit_root = *hasher.finalize().as_bytes();
        Ok(())
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn root(&self) -> Cid {
        self.root
    }

    /// Bytes of the file.
    pub fn content(&self) -> u64 {
        self.content
    }

    /// Bytes of the distinct blocks: the size of an order.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// BLAKE3 of the stream.
    pub fn audit_root(&self) -> Hash {
        self.audit_root
    }

    /// Bytes of the distinct leaves.
    pub fn distinct(&self) -> u64 {
        self.graph.leaves.values().fold(0, |sum, place| sum.saturating_add(place.length.into()))
    }

    /// The size of a block of this file.
    pub fn block_size(&self, cid: Cid) -> Option<u32> {
        let digest = cid.multihash().digest;
        match self.graph.nodes.get(&digest) {
            Some(node) => u32::try_from(node.len()).ok(),
            None => self.graph.leaves.get(&digest).map(|place| place.length),
        }
    }

    /// Where a leaf stands in the file the first time, and its length.
    pub fn place(&self, cid: Cid) -> Option<(u64, u32)> {
        self.graph.leaves.get(&cid.multihash().digest).map(|place| (place.offset, place.length))
    }

    /// A block's bytes, a leaf's as they stand in the file now: unchecked. Blocks the thread.
    pub fn block(&self, cid: Cid) -> Result<Bytes, Error> {
        let digest = cid.multihash().digest;
        if let Some(node) = self.graph.nodes.get(&digest) {
            return Ok(node.clone());
        }
        let place = self.graph.leaves.get(&digest).ok_or_else(|| Error::Changed(self.path.clone()))?;
        let mut bytes = vec![0; usize::try_from(place.length).unwrap_or_default()];
        match self.file.read_exact_at(&mut bytes, place.offset) {
            Ok(()) => Ok(bytes.into()),
            Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => Err(Error::Changed(self.path.clone())),
            Err(error) => Err(Error::Read { path: self.path.clone(), error }),
        }
    }
}

impl Graph {
    fn leaf(&mut self, offset: u64, bytes: &[u8]) {
        let digest = HashFunction::Sha2_256.digest(bytes);
        let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        self.leaves.entry(digest).or_insert(Place { offset, length });
        let cid = Cid::new(Codec::Raw, HashFunction::Sha2_256, digest);
        self.push(0, Child { cid, content: length.into(), total: length.into() });
    }

    fn push(&mut self, level: usize, child: Child) {
        if self.levels.len() <= level {
            self.levels.resize_with(level.saturating_add(1), Vec::new);
        }
        let Some(children) = self.levels.get_mut(level) else { return };
        children.push(child);
        if children.len() == LINKS {
            self.close(level);
        }
    }

    /// Makes a node of the children that wait on a level.
    fn close(&mut self, level: usize) {
        let children = self.levels.get_mut(level).map(std::mem::take).unwrap_or_default();
        let block = unixfs::encode_node(&children);
        let digest = HashFunction::Sha2_256.digest(&block);
        let own = u64::try_from(block.len()).unwrap_or(u64::MAX);
        let child = Child {
            cid: Cid::new(Codec::DagPb, HashFunction::Sha2_256, digest),
            content: children.iter().fold(0, |sum, child| sum.saturating_add(child.content)),
            total: children.iter().fold(own, |sum, child| sum.saturating_add(child.total)),
        };
        self.nodes.insert(digest, block.into());
        self.push(level.saturating_add(1), child);
    }

    /// Closes what is open, from the leaves upwards, until one node is left: the root.
    fn finish(&mut self) -> Cid {
        let mut level: usize = 0;
        loop {
            let top = self.levels.len() <= level.saturating_add(1);
            match self.levels.get(level).map(Vec::as_slice).unwrap_or_default() {
                [only] if top => return only.cid,
                [] if top => return Cid::of(Codec::Raw, HashFunction::Sha2_256, &[]),
                [] => {}
                _ => self.close(level),
            }
            level = level.saturating_add(1);
        }
    }

    /// Bytes that stand in the stream: a leaf that is also a node counts once.
    fn size(&self) -> u64 {
        let leaves = self.leaves.values().map(|place| u64::from(place.length));
        let nodes = self.nodes.iter().filter(|(digest, _)| !self.leaves.contains_key(*digest));
        let nodes = nodes.map(|(_, node)| u64::try_from(node.len()).unwrap_or(u64::MAX));
        leaves.chain(nodes).fold(0, u64::saturating_add)
    }
}

/// Reads until the buffer is full or the file ends.
fn fill(file: &mut File, buffer: &mut [u8]) -> std::io::Result<usize> {
    let mut filled: usize = 0;
    while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read(rest) {
            Ok(0) => break,
            Ok(read) => filled = filled.saturating_add(read),
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

#[cfg(test)]
#[path = "import_tests.rs"]
mod tests;
