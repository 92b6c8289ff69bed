//! How a file is named and how its blocks refer to one another: the 36-byte form of a CID, and the links of a block in
//! the order in which they stand in its encoding.
//!
//! Sources: the CID specification (multiformats), the DAG-PB and DAG-CBOR specifications (IPLD). Used by [`crate::walk`]
//! and by everything that stores or signs a CID.

use alloc::vec::Vec;
use blake2::Digest as _;
use codec::{Decode, DecodeWithMemTracking, Encode, Input, MaxEncodedLen};
use core::fmt;
use scale_info::TypeInfo;

use crate::Hash;

/// Length of a CID in every stored or signed value: version, codec, hash function, digest length, 32 bytes of digest.
pub const CID_LEN: usize = 36;

/// Bytes that an identity CID may carry, as in the rest of IPFS (IPIP-512). Without a bound, identity CIDs nested in one
/// another would be read as many times over as they are deep.
pub const MAX_INLINE: u64 = 128;

/// The bytes of a CIDv1 as they arrive from outside, unchecked. [`Cid::from_bytes`] checks them.
pub type CidBytes = [u8; CID_LEN];

/// How a block's bytes are to be read (multicodec code).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Codec {
    /// Bytes without links.
    Raw = 0x55,
    /// Merkle DAG protobuf: UnixFS files and directories.
    DagPb = 0x70,
    /// DAG-CBOR.
    DagCbor = 0x71,
}

impl Codec {
    fn from_code(code: u64) -> Result<Self, Error> {
        match code {
            0x55 => Ok(Codec::Raw),
            0x70 => Ok(Codec::DagPb),
            0x71 => Ok(Codec::DagCbor),
            other => Err(Error::Codec(other)),
        }
    }
}

/// The hash function of a CID (multihash code); always 32 bytes of digest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum HashFunction {
    Sha2_256 = 0x12,
    Blake3 = 0x1e,
}

impl HashFunction {
    fn from_code(code: u64) -> Result<Self, Error> {
        match code {
            0x12 => Ok(HashFunction::Sha2_256),
            0x1e => Ok(HashFunction::Blake3),
            other => Err(Error::HashFunction(other)),
        }
    }

    /// The digest of `bytes`.
    pub fn digest(self, bytes: &[u8]) -> Hash {
        match self {
            HashFunction::Sha2_256 => sha2::Sha256::digest(bytes).into(),
            HashFunction::Blake3 => *blake3::hash(bytes).as_bytes(),
        }
    }
}

/// What is wrong with a CID or with the encoding of a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Error {
    /// Not the binary form of a CID.
    MalformedCid,
    /// A codec other than raw, dag-pb and dag-cbor.
    Codec(u64),
    /// A hash function other than sha2-256 and blake3.
    HashFunction(u64),
    /// A digest that is not 32 bytes long.
    DigestLength(u64),
    /// An identity CID where a block is to be named.
    Identity,
    /// An identity CID that carries more than [`MAX_INLINE`] bytes.
    InlineTooLarge(u64),
    /// Not the encoding of a dag-pb block.
    MalformedDagPb,
    /// Not the encoding of a dag-cbor block.
    MalformedDagCbor,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::MalformedCid => write!(f, "not a CID"),
            Error::Codec(code) => write!(f, "codec 0x{code:x} is not supported (raw, dag-pb and dag-cbor are)"),
            Error::HashFunction(code) => {
                write!(f, "hash function 0x{code:x} is not supported (sha2-256 and blake3 are)")
            }
            Error::DigestLength(length) => write!(f, "a digest of {length} bytes is not supported (32 are)"),
            Error::Identity => write!(f, "an identity CID carries its data and names no block"),
            Error::InlineTooLarge(length) => {
                write!(f, "an identity CID with {length} bytes of data is not supported (at most {MAX_INLINE} are)")
            }
            Error::MalformedDagPb => write!(f, "not a dag-pb block"),
            Error::MalformedDagCbor => write!(f, "not a dag-cbor block"),
        }
    }
}

impl core::error::Error for Error {}

/// A CID in the one form in which the system compares, stores and signs it: CIDv1, a supported codec, a supported hash
/// function, 32 bytes of digest. A CIDv0 is the same as its CIDv1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Encode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct Cid(CidBytes);

/// Hash function and digest of a block, without its codec: what a block's bytes are known by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Multihash {
    pub function: HashFunction,
    pub digest: Hash,
}

impl Multihash {
    /// The 34 bytes of the multihash: function, length, digest. Provider records of the DHT are keyed by them.
    pub fn to_bytes(&self) -> [u8; 34] {
        let mut bytes = [0; 34];
        let (head, digest) = bytes.split_at_mut(2);
        head.copy_from_slice(&[self.function as u8, 32]);
        digest.copy_from_slice(&self.digest);
        bytes
    }
}

impl Cid {
    /// A CID of its parts.
    pub fn new(codec: Codec, function: HashFunction, digest: Hash) -> Self {
        let mut bytes = [0; CID_LEN];
        let (head, tail) = bytes.split_at_mut(4);
        head.copy_from_slice(&[1, codec as u8, function as u8, 32]);
        tail.copy_from_slice(&digest);
        Cid(bytes)
    }

    /// The CID of a block.
    pub fn of(codec: Codec, function: HashFunction, block: &[u8]) -> Self {
        Self::new(codec, function, function.digest(block))
    }

    /// The binary form, version 0 (34 bytes) or 1 (36 bytes); nothing may follow.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        match Link::from_bytes(bytes)? {
            Link::Block(cid) => Ok(cid),
            Link::Inline { .. } => Err(Error::Identity),
        }
    }

    /// The 36 bytes.
    pub fn as_bytes(&self) -> &CidBytes {
        &self.0
    }

    pub fn codec(&self) -> Codec {
        match self.0[1] {
            0x70 => Codec::DagPb,
            0x71 => Codec::DagCbor,
            _ => Codec::Raw,
        }
    }

    pub fn multihash(&self) -> Multihash {
        let function =
            if self.0[2] == HashFunction::Blake3 as u8 { HashFunction::Blake3 } else { HashFunction::Sha2_256 };
        let mut digest = [0; 32];
        for (to, from) in digest.iter_mut().zip(self.0.iter().skip(4)) {
            *to = *from;
        }
        Multihash { function, digest }
    }

    /// Whether these are the bytes that the CID names.
    pub fn names(&self, block: &[u8]) -> bool {
        let multihash = self.multihash();
        multihash.function.digest(block) == multihash.digest
    }
}

impl Decode for Cid {
    fn decode<I: Input>(input: &mut I) -> Result<Self, codec::Error> {
        let bytes = CidBytes::decode(input)?;
        match bytes {
            [1, ..] => Cid::from_bytes(&bytes).map_err(|_| "unsupported or malformed CID".into()),
            _ => Err("unsupported or malformed CID".into()),
        }
    }
}

#[cfg(feature = "std")]
impl fmt::Display for Cid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The 36 bytes are a valid CIDv1, so the crate reads them.
        match cid::Cid::read_bytes(&self.0[..]) {
            Ok(cid) => cid.fmt(f),
            Err(_) => Err(fmt::Error),
        }
    }
}

impl fmt::Debug for Cid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        #[cfg(feature = "std")]
        return fmt::Display::fmt(self, f);
        #[cfg(not(feature = "std"))]
        return write!(f, "Cid({:?})", self.0);
    }
}

#[cfg(feature = "std")]
impl core::str::FromStr for Cid {
    type Err = Error;

    /// The text form, in any multibase (`bafy…`) or as a CIDv0 (`Qm…`).
    fn from_str(text: &str) -> Result<Self, Error> {
        let cid: cid::Cid = text.parse().map_err(|_| Error::MalformedCid)?;
        Cid::from_bytes(&cid.to_bytes())
    }
}

/// What a block refers to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Link {
    /// Another block.
    Block(Cid),
    /// Data that stands in the link itself (an identity CID): followed, but it adds no bytes to a file.
    Inline { codec: Codec, data: Vec<u8> },
}

impl Link {
    /// The binary form of a CID of any supported kind; nothing may follow.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, Error> {
        if let [0x12, 0x20, digest @ ..] = bytes {
            let digest = digest.try_into().map_err(|_| Error::MalformedCid)?;
            return Ok(Link::Block(Cid::new(Codec::DagPb, HashFunction::Sha2_256, digest)));
        }
        let mut rest = bytes;
        if varint(&mut rest).ok_or(Error::MalformedCid)? != 1 {
            return Err(Error::MalformedCid);
        }
        let codec = varint(&mut rest).ok_or(Error::MalformedCid)?;
        let function = varint(&mut rest).ok_or(Error::MalformedCid)?;
        let length = varint(&mut rest).ok_or(Error::MalformedCid)?;
        if u64::try_from(rest.len()) != Ok(length) {
            return Err(Error::MalformedCid);
        }
        let codec = Codec::from_code(codec)?;
        if function == 0 {
            if length > MAX_INLINE {
                return Err(Error::InlineTooLarge(length));
            }
            return Ok(Link::Inline { codec, data: rest.to_vec() });
        }
        let function = HashFunction::from_code(function)?;
        let digest = rest.try_into().map_err(|_| Error::DigestLength(length))?;
        Ok(Link::Block(Cid::new(codec, function, digest)))
    }
}

/// The links of an encoded block, in the order in which they stand in it.
pub fn links(codec: Codec, block: &[u8]) -> Result<Vec<Link>, Error> {
    match codec {
        Codec::Raw => Ok(Vec::new()),
        Codec::DagPb => dag_pb_links(block),
        Codec::DagCbor => dag_cbor_links(block),
    }
}

/// `PBNode { Links = 2 (repeated message), Data = 1 (bytes) }`, `PBLink { Hash = 1, Name = 2, Tsize = 3 }`. The links
/// stand together, before or after the data.
fn dag_pb_links(block: &[u8]) -> Result<Vec<Link>, Error> {
    let malformed = Error::MalformedDagPb;
    let (mut links, mut data, mut closed) = (Vec::new(), false, false);
    let mut rest = block;
    while !rest.is_empty() {
        match varint(&mut rest).ok_or(malformed)? {
            // field 2, length-delimited: a link
            0x12 if !closed => {
                let mut link = delimited(&mut rest).ok_or(malformed)?;
                if varint(&mut link) != Some(0x0a) {
                    return Err(malformed);
                }
                links.push(Link::from_bytes(delimited(&mut link).ok_or(malformed)?)?);
                if link.first() == Some(&0x12) {
                    link = link.get(1..).ok_or(malformed)?;
                    let name = delimited(&mut link).ok_or(malformed)?;
                    core::str::from_utf8(name).map_err(|_| malformed)?;
                }
                if link.first() == Some(&0x18) {
                    link = link.get(1..).ok_or(malformed)?;
                    varint(&mut link).ok_or(malformed)?;
                }
                if !link.is_empty() {
                    return Err(malformed);
                }
            }
            // field 1, length-delimited: the data, once
            0x0a if !data => {
                delimited(&mut rest).ok_or(malformed)?;
                data = true;
                closed = !links.is_empty();
            }
            _ => return Err(malformed),
        }
    }
    Ok(links)
}

/// Scans the items of the block one after the other: a container only raises the number of items still expected, so
/// neither its nesting nor its declared size costs memory.
fn dag_cbor_links(block: &[u8]) -> Result<Vec<Link>, Error> {
    let malformed = Error::MalformedDagCbor;
    let mut links = Vec::new();
    let mut rest = block;
    let mut expected: u64 = 1;
    while expected > 0 {
        // Every expected item takes at least a byte.
        if u64::try_from(rest.len()).map_err(|_| malformed)? < expected {
            return Err(malformed);
        }
        expected = expected.checked_sub(1).ok_or(malformed)?;
        let (first, tail) = rest.split_first().ok_or(malformed)?;
        rest = tail;
        let (major, minor) = (first >> 5, first & 0x1f);
        if major == 7 {
            match minor {
                20..=22 => {}
                27 => {
                    take(&mut rest, 8).ok_or(malformed)?;
                }
                _ => return Err(malformed),
            }
            continue;
        }
        let argument = cbor_argument(minor, &mut rest).ok_or(malformed)?;
        match major {
            0 | 1 => {}
            2 => {
                take(&mut rest, argument).ok_or(malformed)?;
            }
            3 => {
                core::str::from_utf8(take(&mut rest, argument).ok_or(malformed)?).map_err(|_| malformed)?;
            }
            4 => expected = expected.checked_add(argument).ok_or(malformed)?,
            5 => {
                let items = argument.checked_mul(2).ok_or(malformed)?;
                expected = expected.checked_add(items).ok_or(malformed)?;
            }
            // The only tag of DAG-CBOR: 42, a byte string of 0x00 and a binary CID.
            _ => {
                let (first, tail) = rest.split_first().ok_or(malformed)?;
                if argument != 42 || first >> 5 != 2 {
                    return Err(malformed);
                }
                rest = tail;
                let length = cbor_argument(first & 0x1f, &mut rest).ok_or(malformed)?;
                match take(&mut rest, length).ok_or(malformed)? {
                    [0, cid @ ..] => links.push(Link::from_bytes(cid)?),
                    _ => return Err(malformed),
                }
            }
        }
    }
    if rest.is_empty() { Ok(links) } else { Err(malformed) }
}

fn cbor_argument(minor: u8, rest: &mut &[u8]) -> Option<u64> {
    let length = match minor {
        0..=23 => return Some(minor.into()),
        24 => 1,
        25 => 2,
        26 => 4,
        27 => 8,
        _ => return None,
    };
    Some(take(rest, length)?.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

/// An unsigned LEB128 integer in its shortest form (multiformats and protobuf).
fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value: u64 = 0;
    for shift in (0..64u32).step_by(7) {
        let (byte, tail) = rest.split_first()?;
        *rest = tail;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return None;
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return (shift == 0 || *byte != 0).then_some(value);
        }
    }
    None
}

fn delimited<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = varint(rest)?;
    take(rest, length)
}

fn take<'a>(rest: &mut &'a [u8], length: u64) -> Option<&'a [u8]> {
    let (taken, tail) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    *rest = tail;
    Some(taken)
}

#[cfg(test)]
#[path = "file_tests.rs"]
mod tests;
