//! Bitswap messages: golden frames of the real protocol, round trips, limits.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]
use proptest::prelude::*;
use prost::Message as _;

use super::*;

/// The same messages as an independent implementation of protobuf writes and reads them.
#[path = "../../tests/network/wire.rs"]
mod reference;

fn to_reference(message: &Message) -> reference::Message {
    let entries: Vec<_> = message
        .entries
        .iter()
        .map(|entry| reference::Entry {
            block: entry.cid.clone(),
            priority: entry.priority,
            cancel: entry.cancel,
            want_type: i32::from(entry.kind == Kind::Have),
            send_dont_have: entry.send_dont_have,
        })
        .collect();
    reference::Message {
        wantlist: (message.full || !entries.is_empty()).then_some(reference::Wantlist { entries, full: message.full }),
        payload: message
            .blocks
            .iter()
            .map(|block| reference::Block { prefix: block.prefix.clone(), data: block.data.clone() })
            .collect(),
        presences: message
            .presences
            .iter()
            .map(|presence| reference::Presence { cid: presence.cid.clone(), kind: i32::from(!presence.have) })
            .collect(),
        pending_bytes: 0,
    }
}

fn frame(message: &Message) -> Vec<u8> {
    message.encode().concat()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

// The head of a CIDv1: raw, sha2-256, 32 bytes of digest.
const CID: &str = "01551220";

fn cid(fill: u8) -> Bytes {
    let mut cid = vec![0x01, 0x55, 0x12, 0x20];
    cid.extend([fill; 32]);
    cid.into()
}

#[test]
fn golden_want_block() {
    let entry = Entry { cid: cid(0xaa), priority: 1, cancel: false, kind: Kind::Block, send_dont_have: true };
    let message = Message { entries: vec![entry], ..Message::default() };
    // 2e: 46 bytes of body. 0a 2c: field 1 wantlist of 44. 0a 2a: field 1 entry of 42. 0a 24: field 1 CID of 36.
    // 10 01: field 2 priority. 28 01: field 5 sendDontHave. Cancel and want type are zero and left out.
    let expected = format!("2e0a2c0a2a0a24{CID}{}10012801", "aa".repeat(32));
    assert_eq!(hex(&frame(&message)), expected);
}

#[test]
fn golden_want_have_and_cancel() {
    let have = Entry { cid: cid(0x01), priority: -1, cancel: false, kind: Kind::Have, send_dont_have: false };
    let cancel = Entry { cid: cid(0x02), priority: 0, cancel: true, kind: Kind::Block, send_dont_have: false };
    let message = Message { full: true, entries: vec![have, cancel], ..Message::default() };
    // An entry of 38 + 11 (a negative int32 takes ten bytes) + 2 = 51, one of 38 + 2 = 40, and `full`.
    let expected = format!(
        "630a610a330a24{CID}{}10ffffffffffffffffff0120010a280a24{CID}{}18011001",
        "01".repeat(32),
        "02".repeat(32)
    );
    assert_eq!(hex(&frame(&message)), expected);
}

#[test]
fn golden_blocks_and_presences() {
    let block = Payload { prefix: Bytes::from_static(&[0x01, 0x55, 0x12, 0x20]), data: Bytes::from_static(b"crust") };
    let have = Presence { cid: cid(0x03), have: true };
    let dont = Presence { cid: cid(0x04), have: false };
    let message = Message { blocks: vec![block], presences: vec![have, dont], ..Message::default() };
    // 1a 0d: field 3 block of 13: prefix 0a 04, data 12 05. 22 26: field 4 presence of 38, Have is zero and left out.
    // 22 28: the same with 10 01, DontHave.
    let expected = format!(
        "611a0d0a0401551220120563727573742226{}{CID}{}2228{}{CID}{}1001",
        "0a24",
        "03".repeat(32),
        "0a24",
        "04".repeat(32)
    );
    assert_eq!(hex(&frame(&message)), expected);
}

#[test]
fn long_frames_have_a_varint_length() {
    let block = Payload { prefix: Bytes::from_static(&[1, 0x55, 0x12, 0x20]), data: vec![7u8; 1 << 20].into() };
    let frame = frame(&Message { blocks: vec![block], ..Message::default() });
    // The body: 1a, three bytes of length, 0a 04 and the prefix, 12 and three bytes of length, the data.
    let body = 1 + 3 + 6 + 4 + (1 << 20);
    let mut head = BytesMut::new();
    put_varint(&mut head, body);
    assert_eq!(&frame[..3], &head[..]);
    assert_eq!(frame.len(), 3 + body as usize);
}

#[test]
fn blocks_are_not_copied() {
    let data = Bytes::from(vec![9u8; 100_000]);
    let payload = Payload { prefix: Bytes::from_static(&[1, 0x55, 0x12, 0x20]), data: data.clone() };
    let pieces = Message { blocks: vec![payload], ..Message::default() }.encode();
    assert!(pieces.iter().any(|piece| piece.as_ptr() == data.as_ptr()));
    let body = Bytes::from(pieces[1..].concat());
    let message = Message::decode(body.clone()).unwrap();
    assert!(body.as_ptr_range().contains(&message.blocks[0].data.as_ptr()));
}

#[test]
fn a_message_of_empty_entries_costs_little() {
    let entries = [0x0a, 0x00].repeat(1 << 20);
    let mut wantlist = BytesMut::new();
    put_delimited(&mut wantlist, 1, &entries);
    assert_eq!(Message::decode(wantlist.freeze()).unwrap().entries.len(), MAX_ITEMS);
}

#[test]
fn prefixes() {
    let v1 = Cid::from_bytes(&cid(5)).unwrap();
    assert_eq!(&prefix(&cid(5), &v1)[..], [0x01, 0x55, 0x12, 0x20]);
    assert_eq!(hash_function(&prefix(&cid(5), &v1)), Some(HashFunction::Sha2_256));
    let v0: Bytes = [&[0x12, 0x20][..], &[5; 32]].concat().into();
    assert_eq!(&prefix(&v0, &Cid::from_bytes(&v0).unwrap())[..], [0x00, 0x70, 0x12, 0x20]);
    assert_eq!(hash_function(&prefix(&v0, &v1)), Some(HashFunction::Sha2_256));
    assert_eq!(hash_function(&Bytes::from_static(&[1, 0x55, 0x1e, 0x20])), Some(HashFunction::Blake3));
    for wrong in [&[1u8, 0x55, 0x12][..], &[1, 0x55, 0x12, 0x14], &[1, 0x55, 0x00, 0x20], &[2, 0x55, 0x12, 0x20], &[]] {
        assert_eq!(hash_function(&Bytes::copy_from_slice(wrong)), None);
    }
}

prop_compose! {
    fn any_bytes()(bytes in prop::collection::vec(any::<u8>(), 0..80)) -> Bytes { bytes.into() }
}

prop_compose! {
    fn any_entry()(
        cid in any_bytes(), priority in any::<i32>(), cancel in any::<bool>(), have in any::<bool>(),
        send_dont_have in any::<bool>(),
    ) -> Entry {
        Entry { cid, priority, cancel, kind: if have { Kind::Have } else { Kind::Block }, send_dont_have }
    }
}

prop_compose! {
    fn any_message()(
        full in any::<bool>(),
        entries in prop::collection::vec(any_entry(), 0..8),
        blocks in prop::collection::vec((any_bytes(), any_bytes()), 0..8),
        presences in prop::collection::vec((any_bytes(), any::<bool>()), 0..8),
    ) -> Message {
        Message {
            full,
            entries,
            blocks: blocks.into_iter().map(|(prefix, data)| Payload { prefix, data }).collect(),
            presences: presences.into_iter().map(|(cid, have)| Presence { cid, have }).collect(),
        }
    }
}

proptest! {
    #[test]
    fn every_message_is_what_protobuf_says(message in any_message()) {
        let expected = to_reference(&message).encode_length_delimited_to_vec();
        prop_assert_eq!(frame(&message), expected);
        let body = to_reference(&message).encode_to_vec();
        prop_assert_eq!(Message::decode(body.into()).unwrap(), message);
    }

    #[test]
    fn random_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Message::decode(bytes.into());
    }

    #[test]
    fn a_damaged_message_never_panics(message in any_message(), at in any::<prop::sample::Index>(), with: u8) {
        let mut body = to_reference(&message).encode_to_vec();
        if !body.is_empty() {
            let at = at.index(body.len());
            body[at] = with;
        }
        let _ = Message::decode(body.into());
    }

    #[test]
    fn what_protobuf_reads_is_read_alike(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
        // Groups, which no version of the protocol uses, are read by protobuf alone.
        let ours = Message::decode(bytes.clone().into());
        if let (Ok(ours), Ok(theirs)) = (ours, reference::Message::decode(&bytes[..])) {
            prop_assert_eq!(ours.blocks.len(), theirs.payload.len());
            prop_assert_eq!(ours.presences.len(), theirs.presences.len());
        }
    }
}
