//! Full disks, on real file systems: at the sealed file, the filler, the log and the index. A clear error, nothing lost,
//! and all goes on when there is space again.

use std::{fs, time::Duration};

use crust_protocol::{
    file::{Cid, Codec, HashFunction},
    order::Content,
};
use crust_storage_node::store::{
    index::{Index, Record, State},
    log::{Item, Log},
    sealed::{Writer, path},
};
use crust_tests::{Network, Options, SmallDisk, eventually, write_payload};

use crate::{MIB, next_report};

fn record(nonce: u64) -> Record {
    let cid = Cid::of(Codec::Raw, HashFunction::Sha2_256, b"file");
    Record::new(Content { client: [1; 32], nonce, cid, size: 4, audit_root: [2; 32], flags: 0 }, State::Held)
}

#[tokio::test]
async fn a_sealed_file_that_does_not_fit_leaves_no_trace() {
    let dir = tempfile::tempdir().unwrap();
    let disk = SmallDisk::mount(dir.path(), 8 * MIB).unwrap();
    let mut writer = Writer::create(path(dir.path(), &[1; 32]), None).await.unwrap();
    let error = loop {
        if let Err(error) = writer.append(vec![7; 1 << 20]).await {
            break error;
        }
    };
    assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    writer.discard().await;
    let mut writer = Writer::create(path(dir.path(), &[1; 32]), None).await.unwrap();
    for _ in 0..5 {
        writer.append(vec![7; 1 << 20]).await.unwrap();
    }
    writer.finish().await.unwrap();
    drop(disk);
}

/// What is said while the disk is full goes into the space set aside; what does not fit waits, and is there in the end.
#[test]
fn the_log_outlasts_a_full_disk() {
    let dir = tempfile::tempdir().unwrap();
    let disk = SmallDisk::mount(dir.path(), 16 * MIB).unwrap();
    let path = dir.path().join("enclave.log");
    let mut log = Log::open(path.clone(), None).unwrap();
    let item = |number: u64| -> Item { [number.to_le_bytes().as_slice(), &[9; 300]].concat() };
    log.append(&[item(0)]).unwrap();
    disk.fill().unwrap();
    let mut said = 1;
    let error = loop {
        let appended = log.append(&[item(said)]);
        said += 1;
        if let Err(error) = appended {
            break error;
        }
    };
    assert!(said > 1_000, "only {said} records fit");
    assert!(error.to_string().contains("enclave.log") && error.to_string().contains("space"), "{error}");
    assert!(log.trouble().is_some());
    // The one that failed is not forgotten, and nothing overtakes it.
    assert!(log.append(&[item(said)]).is_err());
    said += 1;
    disk.clear().unwrap();
    log.flush().unwrap();
    assert_eq!(log.trouble(), None);
    drop(log);
    let log = Log::open(path, None).unwrap();
    let mut found = Vec::new();
    log.batches::<crust_storage_node::store::log::Error>(|items| {
        found.extend(items);
        Ok(())
    })
    .unwrap();
    assert_eq!(found, (0..said).map(item).collect::<Vec<_>>());
    drop((log, disk));
}

#[test]
fn the_index_goes_on_after_a_full_disk() {
    let dir = tempfile::tempdir().unwrap();
    let disk = SmallDisk::mount(dir.path(), 8 * MIB).unwrap();
    let index = Index::open(&dir.path().join("index.redb")).unwrap();
    index.put(&[record(0)]).unwrap();
    disk.fill().unwrap();
    let mut written = 1;
    let error = loop {
        let mut record = record(written);
        record.note = Some("x".repeat(10_000));
        match index.put(std::slice::from_ref(&record)) {
            Ok(()) => written += 1,
            Err(error) => break error.to_string(),
        }
        assert!(written < 1_000, "the disk is not full");
    };
    assert!(error.contains("index") && error.to_lowercase().contains("space"), "{error}");
    disk.clear().unwrap();
    // It is closed for a moment between two attempts.
    let mut refused = None;
    let goes_on = eventually(Duration::from_secs(20), || {
        refused = index.put(&[record(10_000)]).err();
        refused.is_none()
    });
    assert!(goes_on, "it does not go on: {refused:?}");
    let found = index.records(None, 2_000).unwrap();
    assert_eq!(found.len() as u64, written + 1, "what was acknowledged is there, and nothing else");
    drop((index, disk));
}

/// A whole node on a disk that somebody else fills up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_on_a_full_disk_goes_on_reporting_and_takes_up_work_when_there_is_space() {
    let dir = tempfile::tempdir().unwrap();
    let disk = SmallDisk::mount(&dir.path().join("node-0"), 160 * MIB).unwrap();
    let options = Options { nodes: 1, capacity: "96MiB".into() };
    let mut network = Network::in_dir(dir.path(), options).await.unwrap();
    let node = network.endpoints.nodes[0].id;
    let kept = dir.path().join("kept");
    write_payload(&kept, 81, 4 * MIB).unwrap();
    let kept = (network.put(&kept, &["--replicas", "1", "--term", "2h", "--wait"]).await.unwrap(), kept);
    // In the middle of its growth, if the machine is slow enough.
    while next_report(&network, node).await.0.filler_bytes < 40 * MIB {}
    disk.fill().unwrap();

    // Reports do not need space, and what is held is there.
    let before = next_report(&network, node).await.0;
    let after = next_report(&network, node).await.0;
    assert_eq!((after.slot, after.good_files, after.good_filler), (before.slot + 1, 255, 255));
    assert!(network.get(&kept.0.cid).await.unwrap() == fs::read(&kept.1).unwrap());

    // Filler gives way to what fits in its place, whatever else has filled the disk.
    let late = dir.path().join("late");
    write_payload(&late, 82, 8 * MIB).unwrap();
    let words = ["put", late.to_str().unwrap(), "--replicas", "1", "--term", "2h", "--wait", "--json"];
    let put = tokio::spawn(crust_tests::Finished::of(network.command(words)));
    let full = next_report(&network, node).await.0;
    assert_eq!((full.good_files, full.good_filler), (255, 255));
    disk.clear().unwrap();
    // Had the place lapsed before there was space, the command has given up and goes on when it is given again.
    let put = match put.await.unwrap().unwrap().json() {
        Ok(put) => put,
        Err(_) => network.crust(words).await.unwrap().json().unwrap(),
    };
    let cid = put["cid"].as_str().unwrap();
    assert!(network.get(cid).await.unwrap() == fs::read(&late).unwrap());
    let last = next_report(&network, node).await.0;
    let stored = kept.0.size + put["size"].as_u64().unwrap();
    assert_eq!((last.good_files, last.good_filler, last.stored_bytes), (255, 255, stored));
    network.stop().await.unwrap();
    drop((network, disk));
}
