//! Frames: golden bytes, limits, random input. Messages, and the log's records, are written in one way only.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;
use codec::Codec;
use proptest::prelude::*;

use crate::{log::Record, release::SignedRelease};

#[test]
fn frames_go_through_a_stream_one_after_the_other() {
    let messages = [
        Request::Hello,
        Request::SealBlock { bytes: vec![7; 1 << 20] },
        Request::Samples { bytes: vec![None, Some(vec![1; 4096])] },
        Request::Sign { statement: Saying::Report { prev: [1; 32], slot: 9, audit: None } },
    ];
    let mut stream = Vec::new();
    for message in &messages {
        write_frame(&mut stream, message).unwrap();
    }
    let (mut rest, mut body) = (&stream[..], Vec::new());
    for message in &messages {
        assert!(read_frame(&mut rest, &mut body).unwrap());
        assert_eq!(&decode::<Request>(&body).unwrap(), message);
    }
    assert!(!read_frame(&mut rest, &mut body).unwrap());
}

#[test]
fn golden_frames() {
    assert_eq!(hex(&encode(&Request::Hello).unwrap()), "0100000000");
    let show = Request::Show { slot: 258, slot_hash: [0xaa; 32] };
    assert_eq!(hex(&encode(&show).unwrap()), format!("250000000c02010000{}", "aa".repeat(32)));
    let error = Response::Error(Error::NotChecked { slot: 3 });
    assert_eq!(hex(&encode(&error).unwrap()), "06000000001b03000000");
    let sample = Sample::File { order: [1; 32], chunk: 2 };
    assert_eq!(hex(&sample.encode()), format!("01{}0200000000000000", "01".repeat(32)));
}

/// The short ways for the bytes of a file say what the long ones say.
#[test]
fn blocks_and_sealed_bytes_have_one_form() {
    for length in [0, 1, 63, 64, 16_383, 16_384, 1 << 20] {
        let bytes = vec![7; length];
        let frame = encode(&Request::SealBlock { bytes: bytes.clone() }).unwrap();
        assert_eq!(block_of(&frame[4..]).unwrap(), bytes);
        assert_eq!(block_of(&frame[4..frame.len() - 1]).map(<[u8]>::len), None);
        let written = |kind| {
            let mut stream = Vec::new();
            let strings = [bytes.as_slice(), b"tree"];
            let strings = if matches!(kind, Bytes::Sealed) { &strings } else { &strings[..1] };
            write_bytes(&mut stream, kind, strings).unwrap();
            stream
        };
        let sealed = Response::SealOut { sealed: bytes.clone(), tree: b"tree".to_vec() };
        assert_eq!(written(Bytes::Sealed), encode(&sealed).unwrap());
        assert_eq!(written(Bytes::Plain), encode(&Response::Plain { bytes: bytes.clone() }).unwrap());
        assert_eq!(written(Bytes::Filler), encode(&Response::FillerOut { bytes: bytes.clone() }).unwrap());
        let frame = written(Bytes::Filler);
        let body = &frame[4..];
        let start = &body[..BYTES_HEAD.min(body.len())];
        let head = head_of(Bytes::Filler, start, body.len()).unwrap();
        assert!(head <= BYTES_HEAD);
        assert_eq!(body[head..], bytes);
        assert_eq!(head_of(Bytes::Plain, start, body.len()), None);
        assert_eq!(head_of(Bytes::Filler, start, body.len() + 1), None);
        assert_eq!(head_of(Bytes::Sealed, &written(Bytes::Sealed)[4..], body.len() + 5), None);
    }
    assert_eq!(head_of(Bytes::Filler, &[], 0), None);
    assert_eq!(block_of(&Request::Hello.encode()), None);
    assert_eq!(block_of(&[]), None);
    assert!(write_bytes(&mut Vec::new(), Bytes::Plain, &[&vec![0; MAX_FRAME]]).is_err());
}

#[test]
fn what_is_too_large_or_cut_is_refused() {
    let mut body = Vec::new();
    let huge = (MAX_FRAME as u32 + 1).to_le_bytes();
    assert!(matches!(read_frame(&mut &huge[..], &mut body), Err(FrameError::TooLarge(_))));
    assert!(matches!(encode(&vec![0u8; MAX_FRAME]), Err(FrameError::TooLarge(_))));
    let frame = encode(&Request::Load { items: vec![vec![1; 100]] }).unwrap();
    for cut in 1..frame.len() {
        assert!(read_frame(&mut &frame[..cut], &mut body).is_err());
    }
    // 8 MiB of empty vectors would take 192 MiB.
    let mut bomb = vec![1];
    bomb.extend(Compact(7_000_000u32).encode());
    bomb.resize(MAX_FRAME, 0);
    assert!(matches!(decode::<Request>(&bomb), Err(FrameError::Malformed)));
    // Nothing may follow a message.
    assert!(decode::<Request>(&[0, 0]).is_err());
}

proptest! {
    #[test]
    fn random_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2_000)) {
        if let Ok(request) = decode::<Request>(&bytes) {
            prop_assert_eq!(request.encode(), bytes.clone());
        }
        let _ = decode::<Response>(&bytes);
        let _ = read_frame(&mut &bytes[..], &mut Vec::new());
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether the bytes begin with a value. If so, these are the bytes that the value is written as.
fn begins_with<T: Codec>(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    let Ok(value) = T::decode(&mut rest) else { return false };
    let used = &bytes[..bytes.len() - rest.len()];
    assert_eq!(value.encode(), used);
    true
}

/// Of which variants a value was found in bytes that go on like these.
fn variants<T: Codec>(bytes: &[u8]) -> usize {
    (0..=u8::MAX).filter(|variant| begins_with::<T>(&[&[*variant], bytes].concat())).count()
}

/// Zeros are a value of every variant, but for those with a CID in them.
#[test]
fn every_variant_is_met() {
    let zeros = [0; 1_024];
    assert_eq!((variants::<Request>(&zeros), variants::<Response>(&zeros)), (34, 24));
    assert_eq!(variants::<Record>(&zeros), 15);
    assert!(begins_with::<SignedRelease>(&zeros));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn messages_and_records_are_written_in_one_way(
        bytes in proptest::collection::vec(prop_oneof![3 => Just(0u8), 2 => 0u8..12, 1 => any::<u8>()], 0..600),
    ) {
        variants::<Request>(&bytes);
        variants::<Response>(&bytes);
        variants::<Record>(&bytes);
        begins_with::<SignedRelease>(&bytes);
    }
}
