//! Graphs as strangers make them.

#![allow(clippy::unwrap_used, reason = "tests")]

use crust_protocol::file::HashFunction;

use super::*;
use crate::unixfs::{Child, encode_node};

fn assembly(root: Cid) -> (File, Assembly) {
    let output = tempfile::tempfile().unwrap();
    (output.try_clone().unwrap(), Assembly::new(root, output, "file".into()))
}

fn cid(codec: Codec, block: &[u8]) -> Cid {
    Cid::of(codec, HashFunction::Sha2_256, block)
}

fn refused(root: Cid, blocks: &[(Cid, &[u8])]) -> String {
    let (_, mut assembly) = assembly(root);
    for (cid, block) in blocks {
        if let Err(error) = assembly.accept(*cid, block) {
            return error.to_string();
        }
    }
    assembly.finish().unwrap_err().to_string()
}

#[test]
fn a_directory_is_no_file() {
    let block = [0x0a, 0x02, 0x08, 0x01];
    let root = cid(Codec::DagPb, &block);
    assert!(refused(root, &[(root, &block)]).contains("directory"));
}

#[test]
fn data_that_is_no_unixfs_is_refused() {
    let root = cid(Codec::DagPb, b"");
    assert!(refused(root, &[(root, b"")]).contains("no UnixFS"));
    let block = [0xa0];
    let root = cid(Codec::DagCbor, &block);
    assert!(refused(root, &[(root, &block)]).contains("dag-cbor"));
}

#[test]
fn a_part_that_is_not_as_long_as_its_parent_says_is_refused() {
    let leaf = cid(Codec::Raw, b"abc");
    let block = encode_node(&[Child { cid: leaf, content: 4, total: 3 }]);
    let root = cid(Codec::DagPb, &block);
    assert!(refused(root, &[(root, &block), (leaf, b"abc")]).contains("contradict"));
}

#[test]
fn blocks_that_are_missing_or_in_another_order_are_noticed() {
    let (one, two) = (cid(Codec::Raw, b"one"), cid(Codec::Raw, b"two"));
    let block = encode_node(&[Child { cid: one, content: 3, total: 3 }, Child { cid: two, content: 3, total: 3 }]);
    let root = cid(Codec::DagPb, &block);
    assert!(refused(root, &[(root, &block), (one, b"one")]).contains("too early"));
    assert!(refused(root, &[(root, &block), (two, b"two")]).contains("another order"));
    assert!(refused(root, &[(root, &block), (one, b"one"), (two, b"two"), (two, b"two")]).contains("too many"));
    assert!(refused(root, &[]).contains("too early"));
}

#[test]
fn a_few_links_for_more_than_the_disk_holds_are_refused_at_once() {
    let leaf = cid(Codec::Raw, b"x");
    let block = encode_node(&[Child { cid: leaf, content: 1 << 60, total: 1 }]);
    let root = cid(Codec::DagPb, &block);
    let (_, mut assembly) = assembly(root);
    assert!(matches!(assembly.accept(root, &block), Err(Error::NoSpace { .. })));
}

#[test]
fn data_inside_nodes_and_links_comes_in_order() {
    // A node with data of its own, "ab", and a link that carries "cd" itself.
    let inline = [&[1, 0x55, 0, 2][..], b"cd"].concat();
    let link = [&[0x0a, 6][..], &inline].concat();
    let data = [&[0x08, 0x02, 0x12, 0x02][..], b"ab", &[0x18, 0x04, 0x20, 0x02]].concat();
    let length = |bytes: &[u8]| u8::try_from(bytes.len()).unwrap();
    let block = [&[0x12, length(&link)][..], &link, &[0x0a, length(&data)], &data].concat();
    let root = cid(Codec::DagPb, &block);
    let (output, mut assembly) = assembly(root);
    assembly.accept(root, &block).unwrap();
    assert_eq!(assembly.finish().unwrap(), 4);
    let mut content = [0; 4];
    output.read_exact_at(&mut content, 0).unwrap();
    assert_eq!(&content, b"abcd");
}
