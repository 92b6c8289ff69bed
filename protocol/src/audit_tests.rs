//! The proof of a chunk against BLAKE3 itself, for every shape of tree, and against whoever would bend it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use alloc::vec::Vec;

use proptest::prelude::*;

use super::*;

/// A stream without repetition.
fn stream(size: usize) -> Vec<u8> {
    let mut bytes = vec![0; size];
    Hasher::new().update(b"stream").finalize_xof().fill(&mut bytes);
    bytes
}

fn hash_of(bytes: &[u8], part: Subtree) -> Hash {
    let start = usize::try_from(part.first * CHUNK).unwrap();
    let end = bytes.len().min(usize::try_from((part.first + part.chunks) * CHUNK).unwrap());
    subtree(part.first, &bytes[start..end])
}

fn answer(bytes: &[u8], chunk: u64) -> Answer {
    let size = u64::try_from(bytes.len()).unwrap();
    let (start, length) = range(size, chunk).unwrap();
    let (start, length) = (usize::try_from(start).unwrap(), usize::try_from(length).unwrap());
    let path: Vec<Hash> = siblings(size, chunk).into_iter().map(|part| hash_of(bytes, part)).collect();
    Answer { bytes: bytes[start..start + length].to_vec().try_into().unwrap(), path: path.try_into().unwrap() }
}

fn root_of(bytes: &[u8]) -> Hash {
    *blake3::hash(bytes).as_bytes()
}

#[test]
fn every_chunk_of_every_small_stream_is_proven() {
    for size in [0, 1, 1_023, 1_024, 1_025, 2_048, 2_049, 3_072, 5_000, 16_384, 16_385, 33_000, 65_536, 70_001] {
        let bytes = stream(size);
        let (root, size) = (root_of(&bytes), u64::try_from(size).unwrap());
        for chunk in 0..chunks(size) {
            assert!(verify(&root, size, chunk, &answer(&bytes, chunk)), "chunk {chunk} of {size} bytes");
        }
        assert_eq!(range(size, chunks(size)), None);
    }
}

#[test]
fn an_empty_stream_has_one_chunk_of_no_bytes() {
    let nothing = Answer { bytes: Default::default(), path: Default::default() };
    assert_eq!(chunks(0), 1);
    assert!(verify(&root_of(&[]), 0, 0, &nothing));
    assert!(!verify(&root_of(&[]), 0, 1, &nothing));
    assert!(!verify(&root_of(&[0]), 1, 0, &nothing));
}

#[test]
fn the_longest_path_fits_and_hostile_numbers_do_no_harm() {
    assert_eq!(siblings(8 << 40, 0).len(), 33);
    assert_eq!(siblings(1 << 30, 12_345).len(), 20, "1,664 bytes for 1 GiB");
    assert!(siblings(u64::MAX, u64::MAX).len() <= 64);
    assert_eq!(range(u64::MAX, u64::MAX), None);
    let nothing = Answer { bytes: Default::default(), path: Default::default() };
    for (size, chunk) in [(u64::MAX, 0), (u64::MAX, u64::MAX), (0, u64::MAX)] {
        assert!(!verify(&[0; 32], size, chunk, &nothing));
    }
}

proptest! {
    #[test]
    fn whatever_is_changed_is_refused(size in 1usize..200_000, at in any::<prop::sample::Index>(), bit in 0u8..8,
                                      what in any::<prop::sample::Index>()) {
        let bytes = stream(size);
        let (root, size) = (root_of(&bytes), u64::try_from(size).unwrap());
        let chunk = u64::try_from(at.index(usize::try_from(chunks(size)).unwrap())).unwrap();
        let good = answer(&bytes, chunk);
        prop_assert!(verify(&root, size, chunk, &good));

        let mut flat: Vec<u8> = good.bytes.iter().copied().chain(good.path.iter().flatten().copied()).collect();
        let place = what.index(flat.len());
        flat[place] ^= 1 << bit;
        let (data, path) = flat.split_at(good.bytes.len());
        let path: Vec<Hash> = path.as_chunks::<32>().0.to_vec();
        let bent = Answer { bytes: data.to_vec().try_into().unwrap(), path: path.try_into().unwrap() };
        prop_assert!(!verify(&root, size, chunk, &bent));

        for other in [chunk.wrapping_add(1), chunk.wrapping_sub(1), chunk ^ 2] {
            prop_assert!(other == chunk || !verify(&root, size, other, &good));
        }
        let mut short = good.clone();
        if short.path.pop().is_some() {
            prop_assert!(!verify(&root, size, chunk, &short));
        }
        let mut long = good;
        prop_assert!(long.path.try_push([0; 32]).is_ok());
        prop_assert!(!verify(&root, size, chunk, &long));
    }
}
