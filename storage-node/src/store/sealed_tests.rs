//! Sealed files on a real file system.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]

use super::*;

#[test]
fn lengths() {
    assert_eq!((chunks(0), length(0)), (1, 16));
    assert_eq!((chunks(65_536), length(65_536)), (1, 65_552));
    assert_eq!((chunks(65_537), length(65_537)), (2, 65_569));
}

#[tokio::test]
async fn a_file_appears_whole_or_not_at_all() {
    let dir = tempfile::tempdir().unwrap();
    let order = [0xab; 32];
    let mut writer = Writer::create(path(dir.path(), &order), None).await.unwrap();
    writer.append(vec![1; 65_552]).await.unwrap();
    writer.append(vec![2; 20]).await.unwrap();
    let path = path(dir.path(), &order);
    assert!(path.starts_with(dir.path().join("sealed/ab")));
    assert!(!path.exists());
    writer.finish().await.unwrap();
    assert_eq!(read(&path, 0, 2).unwrap().len(), 65_572);
    assert_eq!(read(&path, 1, 9).unwrap(), vec![2; 20]);
    assert!(read(&path, 2, 1).is_err());
    remove(dir.path(), &order).unwrap();
    remove(dir.path(), &order).unwrap();
    assert!(!path.exists());
}

#[tokio::test]
async fn strays_are_swept() {
    let dir = tempfile::tempdir().unwrap();
    sweep(dir.path(), |_| false).unwrap();
    let mut whole = Writer::create(path(dir.path(), &[1; 32]), None).await.unwrap();
    whole.append(vec![1]).await.unwrap();
    whole.finish().await.unwrap();
    let stray = Writer::create(path(dir.path(), &[2; 32]), Some(9)).await.unwrap();
    drop(stray);
    sweep(dir.path(), |order| *order == [2; 32]).unwrap();
    assert!(temporary(&path(dir.path(), &[2; 32])).exists());
    sweep(dir.path(), |_| false).unwrap();
    assert!(path(dir.path(), &[1; 32]).exists());
    assert_eq!(fs::read_dir(dir.path().join("sealed/work")).unwrap().count(), 0, "parity included");
    Writer::create(path(dir.path(), &[3; 32]), Some(9)).await.unwrap().discard().await;
    assert!(!temporary(&path(dir.path(), &[3; 32])).exists());
}

/// Parity on: a flipped bit and a piece cut off are mended before anybody sees them. Off: they are found, not mended.
#[tokio::test]
async fn what_is_read_is_mended_with_parity_and_found_without() {
    let dir = tempfile::tempdir().unwrap();
    let size = 3 * CHUNK + 5;
    let sealed: Vec<u8> = (0..length(size)).map(|at| u8::try_from(at % 251).unwrap()).collect();
    for (order, parity) in [([1; 32], Some(length(size))), ([2; 32], None)] {
        let mut writer = Writer::create(path(dir.path(), &order), parity).await.unwrap();
        for part in sealed.chunks(70_000) {
            writer.append(part.to_vec()).await.unwrap();
        }
        writer.finish().await.unwrap();
        let path = path(dir.path(), &order);
        let mut bad = sealed.clone();
        bad[100_000] ^= 1;
        fs::write(&path, &bad).unwrap();
        let found = read(&path, 0, 4).unwrap();
        assert_eq!(found == sealed, parity.is_some());
        assert_eq!(fs::read(&path).unwrap() == sealed, parity.is_some());
        fs::write(&path, &sealed[..sealed.len() - 7]).unwrap();
        assert_eq!(read(&path, 3, 1).unwrap() == sealed[3 * 65_552..], parity.is_some());
        remove(dir.path(), &order).unwrap();
        assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 0);
    }
}

/// Cut off in its second segment, a file goes on after the first, and has the parity that it would have had.
#[tokio::test]
async fn an_attempt_goes_on_after_its_finished_segments() {
    let dir = tempfile::tempdir().unwrap();
    let size = 16_384 * CHUNK + 5 * CHUNK + 1;
    let whole = length(size);
    // One piece after the other, told apart by their first bytes.
    let piece = |number: u64| {
        let mut piece = vec![3; usize::try_from(STRIDE.min(whole - number * STRIDE)).unwrap()];
        piece[..8].copy_from_slice(&number.to_le_bytes());
        piece
    };
    let parts =
        |from: u64, to: u64| (from..to).step_by(16).map(move |at| (at..to.min(at + 16)).flat_map(piece).collect());
    let (straight, cut) = (path(dir.path(), &[1; 32]), path(dir.path(), &[2; 32]));
    for file in [&straight, &cut] {
        assert_eq!(segments(file, Some(whole)), 0);
        let mut writer = Writer::create(file.clone(), Some(whole)).await.unwrap();
        let end = if *file == cut { 16_384 + 3 } else { chunks(size) };
        for part in parts(0, end) {
            writer.append(part).await.unwrap();
        }
        match *file == cut {
            true => writer.sync().await.unwrap(),
            false => writer.finish().await.unwrap(),
        }
    }
    assert_eq!((segments(&cut, Some(whole)), segments(&cut, None)), (1, 1));
    assert_eq!(read_part(&cut, 7, 1).unwrap(), piece(7));
    let mut writer = Writer::resume(cut.clone(), Some(whole), 1).await.unwrap();
    assert_eq!(writer.written(), SEGMENT);
    for part in parts(16_384, chunks(size)) {
        writer.append(part).await.unwrap();
    }
    writer.finish().await.unwrap();
    assert!(same(&straight, &cut) && same(&parity_of(&straight), &parity_of(&cut)));
    // It has its name, and the enclave does not hold it: it is gone on with like any other part, also if it was cut off
    // on its way to the name or back.
    let bytes = part_bytes(dir.path(), &[2; 32]);
    assert_eq!((segments(&cut, Some(whole)), segments(&cut, None)), (1, 1));
    fs::rename(&cut, temporary(&cut)).unwrap();
    assert_eq!(segments(&cut, Some(whole)), 1);
    take_back(cut.clone()).await.unwrap();
    assert!(!cut.exists() && !parity_of(&cut).exists());
    assert_eq!((segments(&cut, Some(whole)), part_bytes(dir.path(), &[2; 32])), (1, bytes));
    assert_eq!(read_part(&cut, 7, 1).unwrap(), piece(7));
    // Without all of the parity nothing can be gone on with.
    let parity = OpenOptions::new().write(true).open(temporary(&parity_of(&cut))).unwrap();
    parity.set_len(parity::written(whole, SEGMENT) - 1).unwrap();
    assert_eq!((segments(&cut, Some(whole)), segments(&cut, None)), (0, 1));
}

/// Whether two files are the same, read piece by piece.
fn same(one: &Path, two: &Path) -> bool {
    let (one, two) = (File::open(one).unwrap(), File::open(two).unwrap());
    let length = one.metadata().unwrap().len();
    let piece = |file: &File, at: u64| {
        let mut bytes = vec![0; usize::try_from((length - at).min(1 << 20)).unwrap()];
        file.read_exact_at(&mut bytes, at).unwrap();
        bytes
    };
    let mut pieces = (0..length).step_by(1 << 20);
    two.metadata().unwrap().len() == length && pieces.all(|at| piece(&one, at) == piece(&two, at))
}
