//! Parity over real files: what one bad piece a group costs, what two do, and what damage of the parity itself does.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use std::fs;

use super::*;

struct Pair {
    dir: tempfile::TempDir,
    bytes: Vec<u8>,
}

impl Pair {
    fn new(length: u64) -> Pair {
        let mut bytes = vec![0; usize::try_from(length).unwrap()];
        blake3::Hasher::new().update(&length.to_le_bytes()).finalize_xof().fill(&mut bytes);
        let mut builder = Builder::new(length);
        let mut parity = builder.head();
        // In parts that respect no piece.
        for part in bytes.chunks(100_001) {
            parity.extend(builder.take(part));
        }
        assert_eq!(len(&parity), super::length(length));
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("file"), &bytes).unwrap();
        fs::write(dir.path().join("parity"), parity).unwrap();
        Pair { dir, bytes }
    }

    fn read(&self, first: u64, count: u64) -> Read {
        let file = open_to_mend(&self.dir.path().join("file")).unwrap();
        read(&file, &self.dir.path().join("parity"), first, count).unwrap()
    }

    fn flip(&self, name: &str, at: u64) {
        let file = OpenOptions::new().read(true).write(true).open(self.dir.path().join(name)).unwrap();
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).unwrap();
        file.write_all_at(&byte.map(|byte| byte ^ 4), at).unwrap();
    }

    fn whole(&self) -> bool {
        fs::read(self.dir.path().join("file")).unwrap() == self.bytes
    }
}

const LENGTHS: [u64; 7] = [16, PIECE, PIECE + 17, 63 * PIECE + 1, 64 * PIECE, 65 * PIECE, 200 * PIECE + 99];

#[test]
fn one_bad_piece_is_mended_wherever_it_is() {
    for length in LENGTHS {
        let pair = Pair::new(length);
        let pieces = length.div_ceil(PIECE);
        assert!(pair.read(0, pieces).mended.is_empty());
        for piece in [0, pieces / 2, pieces - 1] {
            pair.flip("file", (piece * PIECE + 7).min(length - 1));
            let read = pair.read(0, pieces);
            assert_eq!((read.mended, read.bytes == pair.bytes), (vec![piece], true), "piece {piece} of {length} bytes");
            assert!(pair.whole(), "it is written back");
        }
    }
}

/// Damage in one place falls into as many groups as there are: two of three pieces on end are always mended.
#[test]
fn pieces_on_end_are_mended_and_two_of_a_group_are_not() {
    let pair = Pair::new(200 * PIECE);
    for piece in 10..14 {
        pair.flip("file", piece * PIECE);
    }
    let read = pair.read(11, 2);
    assert_eq!((read.mended, read.bytes == pair.bytes[11 * 65_552..13 * 65_552]), (vec![11, 12], true));
    assert_eq!(pair.read(0, 200).mended, [10, 13]);
    // 200 pieces are 4 groups: 20 and 24 are of the same.
    pair.flip("file", 20 * PIECE);
    pair.flip("file", 24 * PIECE);
    let read = pair.read(20, 1);
    assert!(read.mended.is_empty() && read.bytes != pair.bytes[20 * 65_552..21 * 65_552]);
}

#[test]
fn what_is_cut_off_is_mended_if_it_is_one_piece() {
    let pair = Pair::new(70 * PIECE + 5);
    let file = OpenOptions::new().write(true).open(pair.dir.path().join("file")).unwrap();
    file.set_len(69 * PIECE + 1).unwrap();
    // Pieces 69 and 70 are of different groups.
    assert_eq!(pair.read(0, 71).mended, [69, 70]);
    assert!(pair.whole());
    file.set_len(60 * PIECE).unwrap();
    let read = pair.read(69, 1);
    assert!(read.mended.is_empty() && read.bytes.is_empty());
}

#[test]
fn damaged_parity_only_fails_to_mend() {
    let pair = Pair::new(5 * PIECE);
    // A check, which its group sets right; then the parity itself.
    let parity = fs::read(pair.dir.path().join("parity")).unwrap();
    pair.flip("parity", HEAD + 2 * CHECK);
    let read = pair.read(0, 5);
    assert!(read.mended.is_empty() && read.bytes == pair.bytes);
    assert!(fs::read(pair.dir.path().join("parity")).unwrap() == parity, "the check is right again");
    pair.flip("parity", HEAD + 5 * CHECK + 11);
    pair.flip("file", 3 * PIECE + 11);
    let damaged = fs::read(pair.dir.path().join("file")).unwrap();
    let read = pair.read(3, 1);
    assert!(read.mended.is_empty() && read.bytes == damaged[3 * 65_552..4 * 65_552]);
    // What the parity says of the file's length is worth nothing where it is wrong: a longer one, a shorter one.
    pair.flip("file", 3 * PIECE + 11);
    for bit in [0, 1, 2] {
        pair.flip("parity", 8 + bit);
        let read = pair.read(0, 5);
        assert!(read.mended.is_empty() && read.bytes[..pair.bytes.len()] == pair.bytes, "byte {bit} of the length");
        assert_eq!(pair.read(4, 1).bytes, pair.bytes[4 * 65_552..]);
        pair.flip("parity", 8 + bit);
    }
    // No parity at all, or something else under its name.
    for other in [Some(b"something else".as_slice()), None] {
        match other {
            Some(other) => fs::write(pair.dir.path().join("parity"), other).unwrap(),
            None => fs::remove_file(pair.dir.path().join("parity")).unwrap(),
        }
        assert!(pair.read(0, 9).bytes == pair.bytes);
    }
}

/// A file that is sealed anew while its predecessor is being read is not mended with that one's bytes.
#[test]
fn what_is_mended_goes_to_the_file_that_was_read() {
    let pair = Pair::new(70 * PIECE);
    pair.flip("file", 9 * PIECE);
    let path = pair.dir.path().join("file");
    let file = open_to_mend(&path).unwrap();
    fs::rename(&path, pair.dir.path().join("before")).unwrap();
    fs::write(&path, vec![7; pair.bytes.len()]).unwrap();
    let read = read(&file, &pair.dir.path().join("parity"), 9, 1).unwrap();
    assert_eq!(read.mended, [9]);
    assert!(fs::read(pair.dir.path().join("before")).unwrap() == pair.bytes);
    assert!(fs::read(&path).unwrap().iter().all(|byte| *byte == 7));
}

/// A file on a disk that takes nothing any more is mended all the same, only not for long.
#[test]
fn what_cannot_be_written_back_is_mended_each_time() {
    let pair = Pair::new(70 * PIECE);
    pair.flip("file", 9 * PIECE);
    let file = File::open(pair.dir.path().join("file")).unwrap();
    for _ in 0..2 {
        let read = read(&file, &pair.dir.path().join("parity"), 9, 1).unwrap();
        assert_eq!((read.mended, read.bytes == pair.bytes[9 * 65_552..10 * 65_552]), (vec![9], true));
    }
}

/// The promise of 1.6 % for a large file.
#[test]
fn it_takes_little_space() {
    let large = 1 << 40;
    assert!(length(large) < large / 1_000 * 16 + (8 << 20), "{}", length(large));
    assert_eq!(length(16), HEAD + CHECK + 16);
}
