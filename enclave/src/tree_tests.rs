//! The stored tree against the answers that the chain verifies, for streams of every shape.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use super::*;
use proptest::prelude::*;

fn stream(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    Hasher::new().update(b"stream").finalize_xof().fill(&mut bytes);
    bytes
}

/// The root, and the nodes in the order in which they come.
fn built(stream: &[u8], pieces: usize) -> (Hash, Vec<Vec<u8>>) {
    let (mut builder, mut nodes) = (Builder::new(stream.len() as u64), Vec::new());
    let mut keep = |node: &[u8]| {
        nodes.push(node.to_vec());
        Ok(())
    };
    for piece in stream.chunks(pieces) {
        builder.update(piece, &mut keep).unwrap();
    }
    let root = builder.finish(&mut keep).unwrap();
    (root, nodes)
}

fn verify_at(stream: &[u8], root: &Hash, nodes: &[Vec<u8>], audited: u64) {
    let size = stream.len() as u64;
    let (chunk, needed) = needed(size, audited).unwrap();
    let from = usize::try_from(chunk * CHUNK_BYTES).unwrap();
    let chunk = &stream[from..stream.len().min(from + usize::try_from(CHUNK_BYTES).unwrap())];
    let shown: Vec<Vec<u8>> = needed.iter().map(|node| nodes[*node as usize].clone()).collect();
    let answer = answer(size, audited, chunk, &shown).unwrap();
    assert!(audit::verify(root, size, audited, &answer), "{audited} of {size} bytes");
}

#[test]
fn every_kilobyte_of_streams_of_every_shape_is_answered() {
    let mut sizes = vec![0, 1, 1_023, 1_024, 1_025, 16_384, 16_385, 20_000, 32_768, 65_536, 65_537, 300_000];
    sizes.extend((1..=9).map(|groups| groups * GROUP_LENGTH + 5));
    for size in sizes {
        let stream = stream(size);
        let (root, nodes) = built(&stream, 7_777);
        assert_eq!(root, *blake3::hash(&stream).as_bytes(), "{size}");
        assert_eq!(nodes.is_empty(), size <= GROUP_LENGTH);
        (0..audit::chunks(size as u64)).for_each(|audited| verify_at(&stream, &root, &nodes, audited));
    }
}

/// Over one node on the lowest level: 32 MiB and a little.
#[test]
fn a_tree_of_two_levels_is_answered_at_its_borders() {
    for size in [FAN * GROUP_LENGTH - 1, FAN * GROUP_LENGTH, FAN * GROUP_LENGTH + 1, 5 * FAN * GROUP_LENGTH / 2 + 3] {
        let stream = stream(size);
        let (root, nodes) = built(&stream, 1 << 20);
        assert_eq!(root, *blake3::hash(&stream).as_bytes());
        let chunks = audit::chunks(size as u64);
        let border = FAN_HASHES * GROUP / AUDITED;
        for audited in [0, 1, 15, 16, border - 1, border, 2 * border, chunks - 2, chunks - 1] {
            if audited < chunks {
                verify_at(&stream, &root, &nodes, audited);
            }
        }
        assert!(needed(size as u64, chunks).is_none());
    }
}

/// The sealed lengths of all nodes of a file, by hand: level by level as they are complete.
fn by_hand(size: u64) -> Vec<u64> {
    let shape = Shape::of(size);
    let (mut waiting, mut sealed_nodes) = (vec![0u64; shape.0.len()], Vec::new());
    let push = |from: usize, waiting: &mut [u64], sealed_nodes: &mut Vec<u64>| {
        for (level, waiting) in waiting.iter_mut().enumerate().skip(from) {
            *waiting += 1;
            if *waiting < FAN_HASHES || shape.is_top(level) {
                break;
            }
            sealed_nodes.push(sealed(*waiting, 1));
            *waiting = 0;
        }
    };
    for _ in 0..shape.0.first().copied().unwrap_or_default() {
        push(0, &mut waiting, &mut sealed_nodes);
    }
    for level in 0..waiting.len() {
        if waiting[level] > 0 {
            sealed_nodes.push(sealed(waiting[level], 1));
            waiting[level] = 0;
            push(level + 1, &mut waiting, &mut sealed_nodes);
        }
    }
    sealed_nodes
}

#[test]
fn every_node_stands_where_its_number_says() {
    let mib = 1u64 << 20;
    for size in [0, 16_384, 16_385, 32 * mib, 32 * mib + 1, 1_024 * mib, 64 * 1_024 * mib, 64 * 1_024 * mib + 1] {
        let lengths = by_hand(size);
        assert_eq!((nodes(size), length(size)), (lengths.len() as u64, lengths.iter().sum()));
        let mut offset = 0;
        for (node, length) in lengths.iter().enumerate() {
            assert_eq!(range(size, node as u64, 1), Some((offset, *length)), "node {node} of {size} bytes");
            offset += length;
        }
        assert_eq!(range(size, 0, nodes(size)), (!lengths.is_empty()).then_some((0, offset)));
        assert_eq!(range(size, nodes(size), 1), None);
        let all: Vec<u64> = super::lengths(size, 0, u64::MAX).map(|length| length as u64).collect();
        assert_eq!(all, lengths);
    }
}

#[test]
fn trees_are_small_and_answers_smaller() {
    let tib = 1u64 << 40;
    assert!(length(tib) <= tib / 490, "a fifth of a percent");
    assert_eq!(needed(1 << 30, 1_000_000).unwrap().1.len(), 2);
    assert_eq!(needed(8 * tib, 8 * tib / 1_024 - 1).unwrap().1.len(), 3);
    // The largest file that there can be: one node a level is held while it is sealed.
    assert_eq!(Shape::of(8 * tib).0.len(), 3);
    assert_eq!(range(u64::MAX, u64::MAX, 1), None);
    assert_eq!(range(u64::MAX, 0, u64::MAX), None);
    assert!(nodes(u64::MAX) > 0);
}

#[test]
fn what_is_not_the_file_makes_no_right_answer() {
    let stream = stream(100_000);
    let (root, nodes) = built(&stream, 4_096);
    let size = stream.len() as u64;
    let mut spoilt = nodes.clone();
    spoilt[0][40] ^= 1;
    let wrong = answer(size, 0, &stream[..65_536], &spoilt);
    assert!(!wrong.is_some_and(|answer| audit::verify(&root, size, 0, &answer)));
    assert!(answer(size, 0, &stream[..65_536], &[]).is_none());
    assert!(answer(size, 0, &stream[..65_536], &[nodes[0][..63].to_vec()]).is_none());
    assert!(answer(size, 0, &[], &nodes).is_none_or(|answer| !audit::verify(&root, size, 0, &answer)));
    assert!(answer(size, 98, &stream[65_536..], &nodes).is_none(), "there is none of that number");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_stream_in_any_pieces(size in 0usize..400_000, pieces in 1usize..100_000, part in 0.0..1.0f64) {
        let stream = stream(size);
        let (root, nodes) = built(&stream, pieces);
        prop_assert_eq!(root, *blake3::hash(&stream).as_bytes());
        let audited = (part * audit::chunks(size as u64) as f64) as u64;
        verify_at(&stream, &root, &nodes, audited);
    }

    #[test]
    fn any_numbers_are_answered(size: u64, node: u64, count: u64, audited: u64) {
        let _ = (range(size, node, count), needed(size, audited), length(size));
        let _ = answer(size, audited, &[0; 100], &[vec![0; 64], vec![0; 64], vec![0; 64]]);
    }
}
