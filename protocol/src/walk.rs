//! The stream of a file: its blocks depth-first, links in the order in which they stand in the encoded block, a
//! block's bytes once, at the first visit of its multihash. The client, the storage node and the enclave all walk with
//! this code, so a byte's address is the same for all: its offset in the stream.
//!
//! A [`Walk`] says which block comes next ([`Walk::wanted`]); its owner finds the block, checks it ([`Block::check`])
//! and feeds it ([`Walk::feed`]). The walk holds no block bytes and follows links once per CID: a block that is needed
//! under a second codec is fed again and followed, but adds nothing to the stream.

use alloc::{collections::BTreeMap, vec::Vec};
use core::fmt;

use crate::file::{self, Cid, Codec, Link, Multihash};

/// The largest block, in bytes.
pub const MAX_BLOCK: usize = 2 << 20;

/// What a graph may cost whoever walks it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Blocks, and links, in the whole graph.
    pub blocks: u32,
    /// Links from the root to a block.
    pub depth: u32,
    /// Bytes of links that wait to be visited.
    pub pending: usize,
}

impl Limits {
    /// MAX_BLOCKS, MAX_DEPTH and 256 MiB of waiting links.
    pub const PROTOCOL: Limits = Limits { blocks: 4 << 20, depth: 1_024, pending: 256 << 20 };
}

/// Why a graph is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    /// A block or a link that cannot be read.
    File(file::Error),
    /// The bytes are not those that the CID names.
    WrongBytes(Cid),
    /// The block is not the one that comes next.
    NotWanted(Cid),
    /// A block over 2 MiB.
    BlockTooLarge(usize),
    /// More blocks or links than allowed.
    TooManyBlocks,
    /// Deeper than allowed.
    TooDeep,
    /// More links waiting than allowed.
    TooManyPending,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::File(error) => error.fmt(f),
            Error::WrongBytes(cid) => write!(f, "the bytes are not those that {cid:?} names"),
            Error::NotWanted(cid) => write!(f, "{cid:?} is not the next block of the stream"),
            Error::BlockTooLarge(size) => write!(f, "a block of {size} bytes is over the limit of {MAX_BLOCK}"),
            Error::TooManyBlocks => write!(f, "the graph has too many blocks or links"),
            Error::TooDeep => write!(f, "the graph is too deep"),
            Error::TooManyPending => write!(f, "too many links wait to be visited"),
        }
    }
}

impl core::error::Error for Error {}

impl From<file::Error> for Error {
    fn from(error: file::Error) -> Self {
        Error::File(error)
    }
}

/// A block whose bytes have been checked against its CID.
#[derive(Clone, Copy)]
pub struct Block<'a> {
    cid: Cid,
    bytes: &'a [u8],
}

impl<'a> Block<'a> {
    /// Checks size and hash.
    pub fn check(cid: Cid, bytes: &'a [u8]) -> Result<Self, Error> {
        if bytes.len() > MAX_BLOCK {
            return Err(Error::BlockTooLarge(bytes.len()));
        }
        if !cid.names(bytes) {
            return Err(Error::WrongBytes(cid));
        }
        Ok(Block { cid, bytes })
    }

    /// A block that the caller has checked already, by [`Block::check`] or by naming it after its bytes. Not for bytes
    /// that another program has checked.
    pub fn checked_before(cid: Cid, bytes: &'a [u8]) -> Self {
        Block { cid, bytes }
    }

    pub fn cid(&self) -> Cid {
        self.cid
    }

    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }
}

/// What a fed block adds to the stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fed {
    /// Its bytes, at this offset.
    Bytes { offset: u64 },
    /// Nothing: the same bytes came before under another codec.
    Nothing,
}

/// A walk over the graph under one root.
pub struct Walk {
    limits: Limits,
    wanted: Option<Cid>,
    /// From the root down to the parent of what is wanted: the links not yet visited, in reverse.
    path: Vec<Vec<Link>>,
    /// Bytes of all links in `path`.
    pending: usize,
    /// Every multihash visited, with the codecs under which it was followed, one bit each.
    visited: BTreeMap<Multihash, u8>,
    links: u32,
    size: u64,
}

impl Walk {
    pub fn new(root: Cid, limits: Limits) -> Self {
        Walk { limits, wanted: Some(root), path: Vec::new(), pending: 0, visited: BTreeMap::new(), links: 0, size: 0 }
    }

    /// The block that comes next; `None` when the stream is complete.
    pub fn wanted(&self) -> Option<Cid> {
        self.wanted
    }

    /// Bytes of the stream so far; of the whole file when nothing is wanted any more.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Distinct blocks so far.
    pub fn blocks(&self) -> usize {
        self.visited.len()
    }

    /// Links that wait to be visited, next first: what a fetcher may ask for ahead of time. Blocks visited before are
    /// among them.
    pub fn ahead(&self) -> impl Iterator<Item = Cid> + '_ {
        self.wanted.into_iter().chain(self.path.iter().rev().flat_map(|links| {
            links.iter().rev().filter_map(|link| match link {
                Link::Block(cid) => Some(*cid),
                Link::Inline { .. } => None,
            })
        }))
    }

    /// Whether the links of this CID were followed already, so that it is not wanted again.
    pub fn followed(&self, cid: &Cid) -> bool {
        self.visited.get(&cid.multihash()).is_some_and(|codecs| codecs & bit(cid.codec()) != 0)
    }

    /// Takes the wanted block and moves on. After an error the walk is of no further use.
    pub fn feed(&mut self, block: &Block<'_>) -> Result<Fed, Error> {
        let cid = block.cid;
        if self.wanted != Some(cid) {
            return Err(Error::NotWanted(cid));
        }
        let codecs = self.visited.entry(cid.multihash()).or_default();
        let fed = if *codecs == 0 {
            let offset = self.size;
            // A block has at most 2 MiB and there are at most 2^32 of them: no overflow.
            self.size = self.size.saturating_add(u64::try_from(block.bytes.len()).unwrap_or(u64::MAX));
            Fed::Bytes { offset }
        } else {
            Fed::Nothing
        };
        *codecs |= bit(cid.codec());
        if u32::try_from(self.visited.len()).map_or(true, |blocks| blocks > self.limits.blocks) {
            return Err(Error::TooManyBlocks);
        }
        self.descend(cid.codec(), block.bytes)?;
        self.advance()?;
        Ok(fed)
    }

    /// Puts the links of a block on the path.
    fn descend(&mut self, codec: Codec, bytes: &[u8]) -> Result<(), Error> {
        let mut links = file::links(codec, bytes)?;
        if links.is_empty() {
            return Ok(());
        }
        let count = u32::try_from(links.len()).map_err(|_| Error::TooManyBlocks)?;
        self.links = self.links.checked_add(count).ok_or(Error::TooManyBlocks)?;
        if self.links > self.limits.blocks {
            return Err(Error::TooManyBlocks);
        }
        self.pending = links.iter().fold(self.pending, |sum, link| sum.saturating_add(cost(link)));
        if self.pending > self.limits.pending {
            return Err(Error::TooManyPending);
        }
        links.reverse();
        links.shrink_to_fit();
        self.path.push(links);
        if u32::try_from(self.path.len()).map_or(true, |depth| depth > self.limits.depth) {
            return Err(Error::TooDeep);
        }
        Ok(())
    }

    /// Finds the next link that was not followed yet.
    fn advance(&mut self) -> Result<(), Error> {
        self.wanted = None;
        while let Some(links) = self.path.last_mut() {
            let Some(link) = links.pop() else {
                self.path.pop();
                continue;
            };
            self.pending = self.pending.saturating_sub(cost(&link));
            match link {
                Link::Block(cid) => {
                    let followed = self.visited.get(&cid.multihash()).copied().unwrap_or_default();
                    if followed & bit(cid.codec()) == 0 {
                        self.wanted = Some(cid);
                        return Ok(());
                    }
                }
                Link::Inline { codec, data } => self.descend(codec, &data)?,
            }
        }
        Ok(())
    }
}

fn bit(codec: Codec) -> u8 {
    match codec {
        Codec::Raw => 1,
        Codec::DagPb => 2,
        Codec::DagCbor => 4,
    }
}

fn cost(link: &Link) -> usize {
    let inline = match link {
        Link::Block(_) => 0,
        Link::Inline { data, .. } => data.len(),
    };
    inline.saturating_add(size_of::<Link>())
}

#[cfg(test)]
#[path = "walk_tests.rs"]
mod tests;
