//! What is signed, byte for byte.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use super::*;
use codec::DecodeAll;
use proptest::prelude::*;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| alloc::format!("{byte:02x}")).collect()
}

fn report() -> Report {
    Report {
        prev: [3; 32],
        root: [4; 32],
        slot: 0x01020304,
        slot_hash: [5; 32],
        filler_bytes: 0x1122334455667788,
        stored_bytes: 7,
        good_filler: 255,
        good_files: 127,
        scrubbed_until: 9,
        audit: None,
    }
}

/// What an enclave signs, byte for byte: changing any of this orphans every node.
#[test]
fn golden_signed_bytes() {
    let head = |kind: &str| {
        let name = alloc::format!("crust/{kind}/v1");
        hex(name.as_bytes()) + &"01".repeat(32) + &"02".repeat(32) + &"03".repeat(32) + &"04".repeat(32)
    };
    let (genesis, sign_pk) = ([1; 32], [2; 32]);
    let (prev, root) = ([3; 32], [4; 32]);
    let receipts = Receipts { prev, root, orders: alloc::vec![[6; 32], [7; 32]].try_into().unwrap() };
    assert_eq!(
        hex(&signed_bytes(&genesis, &sign_pk, &receipts)),
        head("receipts") + "08" + &"06".repeat(32) + &"07".repeat(32)
    );
    let gone = Gone { prev, root, orders: alloc::vec![[6; 32]; 64].try_into().unwrap() };
    assert_eq!(hex(&signed_bytes(&genesis, &sign_pk, &gone)), head("gone") + "0101" + &"06".repeat(32 * 64));
    let heir = Heir { prev, root, heir: [8; 32] };
    assert_eq!(hex(&signed_bytes(&genesis, &sign_pk, &heir)), head("heir") + &"08".repeat(32));
    let body =
        "04030201".to_string() + &"05".repeat(32) + "8877665544332211" + "0700000000000000" + "ff" + "7f" + "09000000";
    assert_eq!(hex(&signed_bytes(&genesis, &sign_pk, &report())), head("report") + &body + "00");
    let answer =
        Answer { bytes: alloc::vec![1; 2].try_into().unwrap(), path: alloc::vec![[2; 32]].try_into().unwrap() };
    let audited = Report { audit: Some(answer), ..report() };
    assert_eq!(
        hex(&signed_bytes(&genesis, &sign_pk, &audited)),
        head("report") + &body + "01" + "080101" + "04" + &"02".repeat(32)
    );
}

#[test]
fn golden_roots() {
    let first = first_root(&[2; 32]);
    assert_eq!(first, h(&[&[2; 32]]));
    assert_eq!(hex(&first), "d9818087de7244abc1b5fcf28e55e42c7ff9c678c0605181f37ac5d7414a7b95");
    assert_eq!(next_root(&first, b"record"), h(&[&first, b"record"]));
    assert_eq!(hex(&next_root(&first, b"record")), "6fe2736ca83d6083d7cc849bdfceb6eab42b63c441d96945a934f221afca3928");
}

#[test]
fn good_counts_every_bad_sample_twice() {
    for (bad, samples, expected) in [
        (0, 0, 255),
        (0, 256, 255),
        (1, 256, 253),
        (64, 256, 127),
        (127, 256, 1),
        (128, 256, 0),
        (256, 256, 0),
        (u32::MAX, 256, 0),
        (1, 5_120, 254),
        (2_560, 5_120, 0),
        (u32::MAX, u32::MAX, 0),
        (0, u32::MAX, 255),
    ] {
        assert_eq!(good(bad, samples), expected, "{bad} of {samples}");
    }
}

#[test]
fn a_report_is_small_and_has_one_size() {
    assert_eq!(report().encode().len(), 123);
    assert_eq!(Report { filler_bytes: u64::MAX, stored_bytes: u64::MAX, ..report() }.encode().len(), 123);
}

#[test]
fn lists_have_their_bounds() {
    let orders = |count: usize| {
        let mut bytes = [[3u8; 32], [4; 32]].concat();
        codec::Compact(u32::try_from(count).unwrap()).encode_to(&mut bytes);
        bytes.resize(bytes.len() + 32 * count, 1);
        bytes
    };
    assert!(Receipts::decode_all(&mut &orders(64)[..]).is_ok());
    assert!(Receipts::decode_all(&mut &orders(65)[..]).is_err());
    assert!(Gone::decode_all(&mut &orders(256)[..]).is_ok());
    assert!(Gone::decode_all(&mut &orders(257)[..]).is_err());
}

proptest! {
    #[test]
    fn statements_come_back(
        prev: Hash, root: Hash, slot: u32, slot_hash: Hash, filler_bytes: u64, stored_bytes: u64, goods: (u8, u8),
        scrubbed_until: u32,
        orders in proptest::collection::vec(any::<Hash>(), 0..64),
        answer in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..1_024)),
    ) {
        let audit = answer.map(|bytes| Answer {
            bytes: bytes.try_into().unwrap(),
            path: orders.iter().copied().take(34).collect::<Vec<_>>().try_into().unwrap(),
        });
        let report = Report {
            prev, root, slot, slot_hash, filler_bytes, stored_bytes, good_filler: goods.0, good_files: goods.1,
            scrubbed_until, audit,
        };
        prop_assert_eq!(Report::decode_all(&mut &report.encode()[..]).unwrap(), report);
        let gone = Gone { prev, root, orders: orders.clone().try_into().unwrap() };
        prop_assert_eq!(Gone::decode_all(&mut &gone.encode()[..]).unwrap(), gone);
        let receipts = Receipts { prev, root, orders: orders.try_into().unwrap() };
        prop_assert_eq!(Receipts::decode_all(&mut &receipts.encode()[..]).unwrap(), receipts);
    }

    #[test]
    fn random_bytes_are_no_statement_or_exactly_one(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        if let Ok(report) = Report::decode_all(&mut &bytes[..]) {
            prop_assert_eq!(report.encode(), bytes.clone());
        }
        if let Ok(gone) = Gone::decode_all(&mut &bytes[..]) {
            prop_assert_eq!(gone.encode(), bytes.clone());
        }
        if let Ok(heir) = Heir::decode_all(&mut &bytes[..]) {
            prop_assert_eq!(heir.encode(), bytes);
        }
    }
}
