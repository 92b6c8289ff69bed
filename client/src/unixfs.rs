//! UnixFS: how files and directories are written down in dag-pb blocks.
//!
//! The importer needs the encoding of a file's inner node, the way back needs to read whatever other importers make.
//! Sources: the UnixFS specification (IPFS), the DAG-PB specification (IPLD), IPIP-499.

use crust_protocol::file::{self, Cid, Codec, Link};
use ipld_dagpb::PbNode;

/// What a block is, in UnixFS.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Entry {
    /// Bytes of a file: first its own, then those behind its links.
    File(File),
    /// Names of other entries.
    Directory(Vec<Named>),
    /// A directory over several blocks (HAMT).
    Sharded,
    /// A path.
    Symlink,
    /// Some other data.
    Other(&'static str),
}

/// A node of a file.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct File {
    /// Bytes in the node itself, which come first.
    pub data: Vec<u8>,
    /// The nodes with the bytes that follow, and how many each stands for.
    pub parts: Vec<(Link, u64)>,
    /// All bytes of the file below this node, its own included.
    pub size: u64,
}

/// An entry of a directory.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Named {
    pub name: String,
    pub link: Link,
    /// Bytes of all blocks below, as the directory has it.
    pub size: Option<u64>,
}

/// What is wrong with a block.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("it is no UnixFS block")]
    Malformed,
    #[error("the sizes in it contradict each other")]
    Sizes,
    #[error("{0}")]
    Links(#[from] file::Error),
}

/// A child of an inner node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Child {
    pub cid: Cid,
    /// Bytes of the file below it.
    pub content: u64,
    /// Bytes of all blocks below it, its own included; a block that stands twice counts twice.
    pub total: u64,
}

/// The block of an inner node of a file.
pub fn encode_node(children: &[Child]) -> Vec<u8> {
    // File type 2; its size; the size below every link.
    let mut data = vec![0x08, 0x02, 0x18];
    varint(children.iter().fold(0, |sum: u64, child| sum.saturating_add(child.content)), &mut data);
    for child in children {
        data.push(0x20);
        varint(child.content, &mut data);
    }
    let mut block = Vec::with_capacity(children.len().saturating_mul(52).saturating_add(data.len()));
    for child in children {
        let mut link = vec![0x0a, 36];
        link.extend_from_slice(child.cid.as_bytes());
        // An empty name, which is written nevertheless.
        link.extend_from_slice(&[0x12, 0x00, 0x18]);
        varint(child.total, &mut link);
        block.push(0x12);
        varint(u64::try_from(link.len()).unwrap_or(u64::MAX), &mut block);
        block.append(&mut link);
    }
    block.push(0x0a);
    varint(u64::try_from(data.len()).unwrap_or(u64::MAX), &mut block);
    block.append(&mut data);
    block
}

/// Reads a block of a UnixFS graph.
pub fn decode(codec: Codec, block: &[u8]) -> Result<Entry, Error> {
    match codec {
        Codec::Raw => {
            let size = u64::try_from(block.len()).unwrap_or(u64::MAX);
            Ok(Entry::File(File { data: block.into(), parts: Vec::new(), size }))
        }
        Codec::DagCbor => Ok(Entry::Other("dag-cbor data")),
        Codec::DagPb => decode_node(block),
    }
}

fn decode_node(block: &[u8]) -> Result<Entry, Error> {
    let links = file::links(Codec::DagPb, block)?;
    let node = PbNode::from_bytes(bytes_of(block)).map_err(|_| Error::Malformed)?;
    let data = Data::read(node.data.as_deref().unwrap_or_default()).ok_or(Error::Malformed)?;
    match data.kind {
        0 | 2 => {
            if links.len() != data.sizes.len() {
                return Err(Error::Sizes);
            }
            let own = u64::try_from(data.bytes.len()).unwrap_or(u64::MAX);
            let below = data.sizes.iter().try_fold(own, |sum, size| sum.checked_add(*size)).ok_or(Error::Sizes)?;
            if data.size.is_some_and(|size| size != below) {
                return Err(Error::Sizes);
            }
            let parts = links.into_iter().zip(data.sizes).collect();
            Ok(Entry::File(File { data: data.bytes.into(), parts, size: below }))
        }
        1 => {
            let named = links.into_iter().zip(node.links).map(|(link, named)| Named {
                name: named.name.unwrap_or_default(),
                link,
                size: named.size,
            });
            Ok(Entry::Directory(named.collect()))
        }
        4 => Ok(Entry::Symlink),
        5 => Ok(Entry::Sharded),
        _ => Ok(Entry::Other("metadata")),
    }
}

fn bytes_of(block: &[u8]) -> bytes::Bytes {
    bytes::Bytes::copy_from_slice(block)
}

/// The protobuf message in a node's data: `Type = 1, Data = 2, filesize = 3, blocksizes = 4`; the rest is of no
/// interest here.
#[derive(Default)]
struct Data<'a> {
    kind: u64,
    bytes: &'a [u8],
    size: Option<u64>,
    sizes: Vec<u64>,
}

impl<'a> Data<'a> {
    fn read(mut rest: &'a [u8]) -> Option<Self> {
        let mut data = Data::default();
        let mut kind = None;
        while !rest.is_empty() {
            let tag = read_varint(&mut rest)?;
            match (tag >> 3, tag & 7) {
                (1, 0) => kind = Some(read_varint(&mut rest)?),
                (2, 2) => data.bytes = read_bytes(&mut rest)?,
                (3, 0) => data.size = Some(read_varint(&mut rest)?),
                (4, 0) => data.sizes.push(read_varint(&mut rest)?),
                (4, 2) => {
                    let mut packed = read_bytes(&mut rest)?;
                    while !packed.is_empty() {
                        data.sizes.push(read_varint(&mut packed)?);
                    }
                }
                (_, 0) => {
                    read_varint(&mut rest)?;
                }
                (_, 1) => rest = rest.get(8..)?,
                (_, 2) => {
                    read_bytes(&mut rest)?;
                }
                (_, 5) => rest = rest.get(4..)?,
                _ => return None,
            }
        }
        data.kind = kind?;
        Some(data)
    }
}

fn read_varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value: u64 = 0;
    for shift in (0..64).step_by(7) {
        let (byte, tail) = rest.split_first()?;
        *rest = tail;
        let bits = u64::from(byte & 0x7f);
        if shift == 63 && bits > 1 {
            return None;
        }
        value |= bits << shift;
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

fn read_bytes<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = usize::try_from(read_varint(rest)?).ok()?;
    let (bytes, tail) = rest.split_at_checked(length)?;
    *rest = tail;
    Some(bytes)
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(u8::try_from(value & 0x7f).unwrap_or_default() | 0x80);
        value >>= 7;
    }
    out.push(u8::try_from(value).unwrap_or_default());
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use crust_protocol::file::HashFunction;
    use proptest::prelude::*;

    use super::*;

    fn child(content: u64, total: u64) -> Child {
        Child { cid: Cid::of(Codec::Raw, HashFunction::Sha2_256, &content.to_le_bytes()), content, total }
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(sizes in prop::collection::vec((0u64..1 << 50, 0u64..1 << 50), 1..40)) {
            let children: Vec<_> = sizes.iter().map(|(content, total)| child(*content, *total)).collect();
            let Entry::File(file) = decode(Codec::DagPb, &encode_node(&children)).unwrap() else { panic!() };
            prop_assert_eq!(file.size, sizes.iter().map(|(content, _)| content).sum::<u64>());
            let parts: Vec<_> = children.iter().map(|child| (Link::Block(child.cid), child.content)).collect();
            prop_assert_eq!(file.parts, parts);
        }

        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode(Codec::DagPb, &bytes);
            let _ = Data::read(&bytes);
        }
    }

    #[test]
    fn a_node_without_links_is_what_other_importers_make_of_a_small_file() {
        // Type 2, data "hi", size 2.
        let block = [0x0a, 0x08, 0x08, 0x02, 0x12, 0x02, b'h', b'i', 0x18, 0x02];
        let file = File { data: b"hi".to_vec(), parts: Vec::new(), size: 2 };
        assert_eq!(decode(Codec::DagPb, &block).unwrap(), Entry::File(file));
    }

    #[test]
    fn an_empty_directory_is_a_directory() {
        assert_eq!(decode(Codec::DagPb, &[0x0a, 0x02, 0x08, 0x01]).unwrap(), Entry::Directory(Vec::new()));
    }

    #[test]
    fn sizes_that_contradict_are_refused() {
        let mut block = encode_node(&[child(5, 5), child(6, 6)]);
        *block.last_mut().unwrap() = 7;
        assert!(matches!(decode(Codec::DagPb, &block), Err(Error::Sizes)));
        assert!(matches!(decode(Codec::DagPb, &[]), Err(Error::Malformed)));
    }
}
