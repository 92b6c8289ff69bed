//! Snapshots: they say what the log says, and are no way to roll anything back.

use codec::Encode;

use super::{log::history, *};
use crate::snapshot;

/// All parts of a snapshot as they are now, and how many they are.
fn parts(enclave: &mut Enclave) -> (Vec<Vec<u8>>, usize) {
    let (mut items, mut from, mut count) = (Vec::new(), Some(0), 0);
    while let Some(at) = from {
        let part = enclave.snapshot(at).unwrap();
        assert_eq!(part.root, enclave.overview().unwrap().root);
        items.extend(part.items);
        (from, count) = (part.next, count + 1);
    }
    (items, count)
}

fn load(items: &[Vec<u8>]) -> Result<Enclave, Error> {
    let mut enclave = Enclave::new(Arc::new(TestPlatform(7)), CONSTANTS);
    enclave.load(items)?;
    enclave.open(GENESIS, PROVIDER)?;
    Ok(enclave)
}

/// Everything that the log says, in a form that can be compared.
fn everything(enclave: &Enclave) -> Vec<Vec<u8>> {
    let state = enclave.state().unwrap();
    let mut entries: Vec<Vec<u8>> = snapshot::entries(state, 0).map(|entry| entry.encode()).collect();
    let statements = 1 + state.filler.units().count();
    entries[statements..statements + state.lines.said().len()].sort();
    entries
}

/// Of every prefix of a log the snapshot restores the same, and the rest of the log, and nothing else, follows it.
#[test]
fn a_snapshot_says_what_the_log_before_it_says() {
    let host = history();
    let whole = everything(&load(&host.log).unwrap());
    for end in 2..=host.log.len() {
        let mut before = load(&host.log[..end]).unwrap();
        let (snapshot, _) = parts(&mut before);
        let after = load(&snapshot).unwrap();
        assert_eq!(everything(&after), everything(&before));
        assert_eq!(after.overview().unwrap(), before.overview().unwrap());
        assert_eq!(after.files(None, 100).unwrap(), before.files(None, 100).unwrap());
        let again = load(&[snapshot.as_slice(), &host.log[end..]].concat()).unwrap();
        assert_eq!(everything(&again), whole);
        // A draw that waits is the same.
        let draw = |mut enclave: Enclave| {
            let shown = enclave.overview().unwrap().shown?;
            Some(enclave.show(shown.0, shown.1).unwrap())
        };
        assert_eq!(draw(after), draw(before));
    }
}

/// An old snapshot with records of a later time, and a new one with records of an earlier time: neither loads. The
/// coin: the pay of every loss that is in the records left out.
#[test]
fn records_follow_the_snapshot_of_their_own_past_only() {
    let host = history();
    for end in 2..=host.log.len() {
        let (snapshot, _) = parts(&mut load(&host.log[..end]).unwrap());
        for (from, item) in host.log.iter().enumerate().skip(1) {
            let follows = load(&[snapshot.as_slice(), std::slice::from_ref(item)].concat()).is_ok();
            assert_eq!(follows, from == end, "record {from} after a snapshot of {end} items");
        }
    }
}

/// Two copies of one enclave that have parted: what one says follows no snapshot of the other. The coin: pay on one
/// line for what the other copy holds.
#[test]
fn copies_that_parted_share_no_snapshot() {
    let mut host = Host::new();
    sealed(&mut host, 100, 19);
    let mut copy = host.clone_at(host.log.len());
    let parted = host.log.len();
    sealed(&mut host, 100, 20);
    sealed(&mut copy, 100, 21);
    sealed(&mut host, 100, 22);
    sealed(&mut copy, 100, 23);
    let (snapshot, _) = parts(&mut load(&host.log[..=parted]).unwrap());
    assert!(load(&[snapshot.as_slice(), &host.log[parted + 1..]].concat()).is_ok());
    let refused = load(&[snapshot.as_slice(), &copy.log[parted + 1..]].concat()).err();
    assert_eq!(refused, Some(Error::Log { item: parted as u64 + 1 }));
}

/// Host and copy hold the same number of records: their parts do not mix, leave none out, and come in their order. The
/// coin: the same, and the pay of every loss that stands in a part left out.
#[test]
fn parts_belong_to_one_moment_and_come_in_order() {
    let mut host = Host::new();
    let mut copy = host.clone_at(2);
    for host in [&mut host, &mut copy] {
        let state = host.enclave.state_mut().unwrap();
        for number in 0..90_000u32 {
            let mut order = [0; 32];
            order[..4].copy_from_slice(&number.to_le_bytes());
            let salts = vec![[7; 32]; 1 + (number % 3) as usize];
            let size = 10 + (u64::from(number % 3) << 30);
            let sealed = Record::Sealed { order, size, flags: 0, salts, tree: None, disk: DISK, written: 0 };
            state.record(sealed).unwrap();
        }
    }
    let (snapshot, count) = parts(&mut host.enclave);
    let (other, _) = parts(&mut copy.enclave);
    assert!(count > 2 && snapshot.len() == count + 1, "{count}");
    assert!(snapshot.iter().all(|item| item.len() < rpc::MAX_FRAME / 3 * 2));
    let whole = load(&snapshot).unwrap();
    assert_eq!(everything(&whole), everything(&host.enclave));
    assert_eq!(host.enclave.snapshot(1_000_000).err(), Some(Error::NoEntry { from: 1_000_000 }));
    let number = u64::from_le_bytes(*snapshot[1].first_chunk().unwrap());
    for at in 1..snapshot.len() {
        let mut mixed = snapshot.clone();
        mixed[at] = other[at].clone();
        assert_eq!(load(&mixed).err(), Some(Error::Log { item: number }), "a part of the copy at {at}");
        let mut short = snapshot.clone();
        short.remove(at);
        assert!(matches!(load(&short).err(), Some(Error::Log { .. })), "without part {at}");
        assert!(load(&snapshot[..at]).is_ok_and(|new| new.overview().unwrap().files == 0) == (at == 1));
    }
    let mut swapped = snapshot.clone();
    swapped.swap(2, 3);
    assert_eq!(load(&swapped).err(), Some(Error::Log { item: number }));
}

/// A file's salt is in the log until the next snapshot, and then nowhere.
#[test]
fn what_was_deleted_is_in_no_snapshot() {
    let mut host = Host::new();
    let plain = bytes(CHUNK, 1);
    let order = host.seal(&content(&plain, 1), &plain);
    let kept = sealed(&mut host, 10, 2);
    // The record of the file is the log's third item.
    let Some(Record::Sealed { salts, .. }) = host.clone_at(2).enclave.state().unwrap().open(&host.log[2]) else {
        panic!()
    };
    let salt = salts[0];
    let holds = |enclave: &Enclave| {
        let state = enclave.state().unwrap();
        let all = snapshot::entries(state, 0).map(|entry| entry.encode()).collect::<Vec<_>>().concat();
        all.windows(32).any(|window| window == salt)
    };
    assert!(holds(&host.enclave));
    host.delete(order);
    assert!(!holds(&host.enclave));
    let (snapshot, _) = parts(&mut host.enclave);
    let after = load(&snapshot).unwrap();
    assert!(!holds(&after));
    assert_eq!(after.opener(&order, 0).err(), Some(Error::NotSealed { order }));
    assert!(after.opener(&kept, 0).is_ok());
}

/// A microcode update raises the security version: the old key still opens the log, and the next snapshot wraps it anew.
#[test]
fn a_risen_security_version_wraps_the_key_anew() {
    struct At(u8);
    impl Platform for At {
        fn seal_key(&self, svn: Option<Svn>) -> Result<Option<SealKey>, platform::Error> {
            let svn = svn.unwrap_or([self.0; 16]);
            let known = svn <= [self.0; 16];
            Ok(known.then(|| SealKey::new(svn, svn.repeat(2).try_into().unwrap())))
        }

        fn quote(&self, _: &[u8; 64]) -> Result<Vec<u8>, platform::Error> {
            Ok(Vec::new())
        }

        fn collateral(&self) -> Result<Option<Collateral>, platform::Error> {
            Ok(None)
        }
    }
    let load = |version, items: &[Vec<u8>]| {
        let mut enclave = Enclave::new(Arc::new(At(version)), CONSTANTS);
        enclave.load(items)?;
        let opened = enclave.open(GENESIS, PROVIDER)?;
        Ok::<_, Error>((enclave, opened))
    };
    let (old, opened) = load(1, &[]).unwrap();
    assert!(!old.overview().unwrap().rewrap);
    let (mut new, _) = load(2, &opened.items).unwrap();
    assert!(new.overview().unwrap().rewrap);
    let (snapshot, _) = parts(&mut new);
    assert!(!new.overview().unwrap().rewrap);
    let (later, again) = load(2, &snapshot).unwrap();
    assert_eq!((later.overview().unwrap().rewrap, again.sign_pk), (false, opened.sign_pk));
    assert_eq!(load(1, &snapshot).err(), Some(Error::Log { item: 0 }), "firmware was taken back");
}
