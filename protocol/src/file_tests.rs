//! CIDs and links against the IPLD crates as oracles.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;
use alloc::{
    collections::BTreeMap,
    string::{String, ToString},
    vec,
};
use ipld_core::{codec::Codec as _, ipld::Ipld};
use ipld_dagpb::{DagPbCodec, PbLink, PbNode};
use proptest::prelude::*;
use serde_ipld_dagcbor::codec::DagCborCodec;

type Theirs = cid::Cid;

fn theirs(cid: &Cid) -> Theirs {
    Theirs::try_from(&cid.as_bytes()[..]).unwrap()
}

fn any_cid() -> impl Strategy<Value = Cid> {
    let codec = prop_oneof![Just(Codec::Raw), Just(Codec::DagPb), Just(Codec::DagCbor)];
    let function = prop_oneof![Just(HashFunction::Sha2_256), Just(HashFunction::Blake3)];
    (codec, function, any::<Hash>()).prop_map(|(codec, function, digest)| Cid::new(codec, function, digest))
}

fn any_ipld() -> impl Strategy<Value = Ipld> {
    let leaf = prop_oneof![
        Just(Ipld::Null),
        any::<bool>().prop_map(Ipld::Bool),
        any::<i64>().prop_map(|integer| Ipld::Integer(integer.into())),
        (-1e9f64..1e9).prop_map(Ipld::Float),
        ".{0,30}".prop_map(Ipld::String),
        proptest::collection::vec(any::<u8>(), 0..300).prop_map(Ipld::Bytes),
        any_cid().prop_map(|cid| Ipld::Link(theirs(&cid))),
        any_cid().prop_map(|cid| Ipld::Link(theirs(&cid))),
    ];
    leaf.prop_recursive(5, 60, 8, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..8).prop_map(Ipld::List),
            proptest::collection::btree_map(".{0,12}", inner, 0..8).prop_map(Ipld::Map),
        ]
    })
}

/// The links as they stand in the canonical encoding: map keys by length, then by bytes.
fn links_of(ipld: &Ipld, links: &mut Vec<Link>) {
    match ipld {
        Ipld::Link(cid) => links.push(Link::from_bytes(&cid.to_bytes()).unwrap()),
        Ipld::List(items) => items.iter().for_each(|item| links_of(item, links)),
        Ipld::Map(map) => {
            let mut entries: Vec<(&String, &Ipld)> = map.iter().collect();
            entries.sort_by_key(|(key, _)| (key.len(), key.as_bytes()));
            entries.iter().for_each(|(_, item)| links_of(item, links));
        }
        _ => {}
    }
}

#[test]
fn golden_cids() {
    let cid = Cid::of(Codec::Raw, HashFunction::Sha2_256, b"crust");
    assert_eq!(cid.to_string(), "bafkreiaqdeboweocylk5xvkg3q7t3hi5c6cp7i7eeagjkrsanoowwhn2gq");
    assert_eq!(cid.as_bytes()[..4], [1, 0x55, 0x12, 32]);
    let cid = Cid::of(Codec::DagCbor, HashFunction::Blake3, b"crust");
    assert_eq!(cid.as_bytes()[..4], [1, 0x71, 0x1e, 32]);
    // The empty directory of UnixFS, as every IPFS node knows it, in both versions.
    let v0: Cid = "QmUNLLsPACCz1vLxQVkXqqLX5R1X345qqfHbsf67hvA3Nn".parse().unwrap();
    let v1: Cid = "bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354".parse().unwrap();
    assert_eq!(v0, v1);
    assert!(v0.names(&[0x0a, 2, 8, 1]));
    assert_eq!(links(v0.codec(), &[0x0a, 2, 8, 1]), Ok(vec![]));
    assert_eq!(v0.multihash().to_bytes()[..2], [0x12, 32]);
}

#[test]
fn other_cids_are_refused_and_named() {
    let digest = [7u8; 32];
    let with = |head: &[u8], digest: &[u8]| [head, digest].concat();
    assert_eq!(Cid::from_bytes(&with(&[1, 0x72, 0x12, 32], &digest)), Err(Error::Codec(0x72)));
    assert_eq!(Cid::from_bytes(&with(&[1, 0x55, 0x13, 32], &digest)), Err(Error::HashFunction(0x13)));
    assert_eq!(Cid::from_bytes(&with(&[1, 0x55, 0x12, 31], &digest[1..])), Err(Error::DigestLength(31)));
    assert_eq!(Cid::from_bytes(&with(&[1, 0x55, 0x00, 3], b"abc")), Err(Error::Identity));
    let inline = |length: usize| with(&[1, 0x55, 0, 0x80 | u8::try_from(length % 128).unwrap(), 1], &vec![7; length]);
    assert_eq!(Link::from_bytes(&inline(128)), Ok(Link::Inline { codec: Codec::Raw, data: vec![7; 128] }));
    assert_eq!(Link::from_bytes(&inline(129)), Err(Error::InlineTooLarge(129)));
    for malformed in [&[][..], &[1], &[0x12, 0x20], &[2, 0x55, 0x12, 32], &[1, 0x55, 0x12, 32, 0], &[0x81, 0, 0x55]] {
        assert_eq!(Cid::from_bytes(malformed), Err(Error::MalformedCid), "{malformed:?}");
    }
    assert_eq!(Cid::from_bytes(&with(&[1, 0x55, 0x12, 32], &[7; 33])), Err(Error::MalformedCid));
    assert!("not a CID".parse::<Cid>().is_err());
    assert!(Cid::decode(&mut &with(&[0x12, 0x20], &[7; 34])[..]).is_err(), "only version 1 is stored");
}

#[test]
fn encodings_that_are_not_canonical_are_refused() {
    let pb = |bytes: &[u8]| links(Codec::DagPb, bytes);
    assert!(pb(&[0x0a, 0, 0x0a, 0]).is_err(), "data twice");
    assert!(pb(&[0x12, 0]).is_err(), "a link without a hash");
    assert!(pb(&[0x1a, 0]).is_err(), "an unknown field");
    assert!(pb(&[0x0a, 0x80, 0]).is_err(), "a length in two bytes where one does");
    let cbor = |bytes: &[u8]| links(Codec::DagCbor, bytes);
    for malformed in [
        &[][..],
        &[0x9f, 0xff],
        &[0x81],
        &[0xd8, 43, 0x40],
        &[0xd8, 42, 0x41, 1],
        &[0xf7],
        &[0xf9, 0, 0],
        &[0x61, 0xff],
        &[0, 0],
    ] {
        assert_eq!(cbor(malformed), Err(Error::MalformedDagCbor), "{malformed:x?}");
    }
    // Neither depth nor a declared length costs memory.
    assert!(cbor(&vec![0x81; 2 << 20]).is_err());
    assert!(cbor(&[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]).is_err());
    assert!(cbor(&[0xbb, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]).is_err());
    assert!(cbor(&[0x5b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]).is_err());
}

proptest! {
    #[test]
    fn cids_are_those_of_the_cid_crate(cid in any_cid()) {
        prop_assert_eq!(theirs(&cid).to_bytes(), cid.as_bytes().to_vec());
        prop_assert_eq!(theirs(&cid).to_string(), cid.to_string());
        prop_assert_eq!(cid.to_string().parse::<Cid>(), Ok(cid));
        prop_assert_eq!(Cid::decode(&mut &cid.encode()[..]).unwrap(), cid);
        prop_assert_eq!(Cid::new(cid.codec(), cid.multihash().function, cid.multihash().digest), cid);
        if cid.codec() == Codec::DagPb && cid.multihash().function == HashFunction::Sha2_256 {
            let v0 = Theirs::new_v0(*theirs(&cid).hash()).unwrap();
            prop_assert_eq!(v0.to_string().parse::<Cid>(), Ok(cid));
        }
    }

    #[test]
    fn dag_pb_links_are_the_oracles(
        cids in proptest::collection::vec((any_cid(), proptest::option::of(".{0,20}"), proptest::option::of(any::<u64>())), 0..20),
        data in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..100)),
    ) {
        let mut node = PbNode {
            links: cids.iter().map(|(cid, name, size)| PbLink { cid: theirs(cid), name: name.clone(), size: *size }).collect(),
            data: data.map(Into::into),
        };
        let block = node.clone().into_bytes();
        // The encoder sorts links by name; what stands in the block counts.
        node.links = PbNode::from_bytes(block.clone().into()).unwrap().links;
        let expected: Vec<Link> = node.links.iter().map(|link| Link::from_bytes(&link.cid.to_bytes()).unwrap()).collect();
        prop_assert_eq!(links(Codec::DagPb, &block), Ok(expected));
    }

    #[test]
    fn dag_cbor_links_are_the_oracles(ipld in any_ipld()) {
        let block = DagCborCodec::encode_to_vec(&ipld).unwrap();
        let mut expected = Vec::new();
        links_of(&ipld, &mut expected);
        prop_assert_eq!(links(Codec::DagCbor, &block), Ok(expected));
    }

    /// Whatever we read, the oracles read too, with the same links: a block cannot mean one thing here and another
    /// elsewhere. (They refuse more than we do: text order of map keys, say.)
    #[test]
    fn random_bytes_never_panic_and_mean_the_same(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = Cid::from_bytes(&bytes);
        let _ = Link::from_bytes(&bytes);
        let _ = Cid::decode(&mut &bytes[..]);
        let pb: Result<Ipld, _> = DagPbCodec::decode_from_slice(&bytes);
        if let (Ok(ours), Ok(_)) = (links(Codec::DagPb, &bytes), &pb) {
            let theirs = PbNode::from_bytes(bytes.clone().into()).unwrap().links;
            let theirs: Vec<Link> = theirs.iter().map(|link| Link::from_bytes(&link.cid.to_bytes()).unwrap()).collect();
            prop_assert_eq!(ours, theirs);
        }
        let cbor: Result<Ipld, _> = DagCborCodec::decode_from_slice(&bytes);
        if let (Ok(ours), Ok(ipld)) = (links(Codec::DagCbor, &bytes), cbor) {
            let mut expected = Vec::new();
            links_of(&ipld, &mut expected);
            prop_assert_eq!(ours.len(), expected.len());
        }
    }

    /// A block with a byte changed is read the same way by us and by the oracle, or refused.
    #[test]
    fn spoilt_blocks_mean_the_same(ipld in any_ipld(), at: prop::sample::Index, to: u8) {
        let mut block = DagCborCodec::encode_to_vec(&ipld).unwrap();
        let at = at.index(block.len());
        block[at] = to;
        let again: Result<Ipld, _> = DagCborCodec::decode_from_slice(&block);
        if let (Ok(ours), Ok(ipld)) = (links(Codec::DagCbor, &block), again) {
            let mut expected = Vec::new();
            links_of(&ipld, &mut expected);
            let count = |links: &[Link]| {
                let mut counts: BTreeMap<String, usize> = BTreeMap::new();
                links.iter().for_each(|link| *counts.entry(alloc::format!("{link:?}")).or_default() += 1);
                counts
            };
            prop_assert_eq!(count(&ours), count(&expected));
        }
    }
}
