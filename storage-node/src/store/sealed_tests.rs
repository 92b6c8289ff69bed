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
    sweep(dir.path()).unwrap();
    let mut whole = Writer::create(path(dir.path(), &[1; 32]), None).await.unwrap();
    whole.append(vec![1]).await.unwrap();
    whole.finish().await.unwrap();
    let stray = Writer::create(path(dir.path(), &[2; 32]), Some(9)).await.unwrap();
    drop(stray);
    sweep(dir.path()).unwrap();
    assert!(path(dir.path(), &[1; 32]).exists());
    assert!(!temporary(&path(dir.path(), &[2; 32])).exists());
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
