//! The log: what it binds, where it may end, what it shows.

use super::*;

#[test]
fn an_identity_is_bound_to_chain_provider_and_platform() {
    let host = Host::new();
    let open = |platform, genesis, provider| {
        let mut enclave = Enclave::new(Arc::new(TestPlatform(platform)), CONSTANTS);
        enclave.load(&host.log)?;
        enclave.open(genesis, provider)
    };
    assert_eq!(open(7, GENESIS, PROVIDER).unwrap().sign_pk, host.sign_pk);
    assert_eq!(open(7, GENESIS, PROVIDER).unwrap().items, Vec::<Vec<u8>>::new());
    assert_eq!(open(7, [0; 32], PROVIDER), Err(Error::OtherGenesis));
    assert_eq!(open(7, GENESIS, [0; 32]), Err(Error::OtherProvider));
    assert_eq!(open(8, GENESIS, PROVIDER), Err(Error::Log { item: 0 }));
    let (quote, _) = host.enclave.evidence([5; 32]).unwrap();
    let identity = crust_protocol::attestation::Identity {
        genesis: GENESIS,
        provider: PROVIDER,
        sign_pk: host.sign_pk,
        channel_pk: host.enclave.state().unwrap().identity.channel_pk,
        block_hash: [5; 32],
    };
    assert_eq!(quote, identity.report_data());
}

#[test]
fn nothing_works_before_the_log_is_open_and_it_opens_once() {
    let mut enclave = Enclave::new(Arc::new(TestPlatform(7)), CONSTANTS);
    assert_eq!(enclave.overview(), Err(Error::NotOpen));
    assert_eq!(enclave.show(1, [0; 32]), Err(Error::NotOpen));
    enclave.open(GENESIS, PROVIDER).unwrap();
    assert_eq!(enclave.open(GENESIS, PROVIDER), Err(Error::AlreadyOpen));
    assert_eq!(enclave.load(&[]), Err(Error::AlreadyOpen));
}

/// A history with a record of every kind.
pub(super) fn history() -> Host {
    let mut host = Host::new();
    let chain = host.first();
    host.fill(DISK);
    let kept = sealed(&mut host, 200_000, 1);
    let lost = sealed(&mut host, 10, 2);
    let deleted = sealed(&mut host, 0, 3);
    host.check(4);
    host.scrub();
    let receipts = host.receipts(chain, &[kept, lost]).unwrap();
    host.fill(DISK);
    let item = host.enclave.lose(vec![lost]).unwrap();
    host.keep([item]);
    host.delete(deleted);
    let gone = host.gone(receipts, &[lost]).unwrap();
    host.report(gone, 4).unwrap();
    let items = host.enclave.finalise(receipts).unwrap();
    host.keep(items);
    let items = host.enclave.shrink(DISK, UNIT + 4096).unwrap();
    host.keep(items);
    host.show(5);
    host
}

#[test]
fn the_log_may_end_anywhere() {
    let host = history();
    for items in 2..=host.log.len() {
        let mut enclave = Enclave::new(Arc::new(TestPlatform(7)), CONSTANTS);
        enclave.load(&host.log[..items]).unwrap();
        let opened = enclave.open(GENESIS, PROVIDER).unwrap();
        let mut root = host.first();
        for item in &host.log[1..items] {
            root = next_root(&root, item);
        }
        assert_eq!((opened.root, opened.items), (root, Vec::new()));
    }
}

/// The coin: the pay of every loss that such an item would take back.
#[test]
fn an_item_that_is_cut_flipped_moved_or_repeated_is_refused() {
    let host = history();
    for item in 0..host.log.len() {
        let whole = &host.log[item];
        let mut spoilt = vec![whole[..whole.len() - 1].to_vec(), whole[..whole.len() / 2].to_vec(), Vec::new()];
        for byte in [7, 8, 20, whole.len() - 1] {
            let mut flipped = whole.clone();
            flipped[byte] ^= 1;
            spoilt.push(flipped);
        }
        spoilt.extend(host.log.get(item + 1).cloned());
        spoilt.extend(item.checked_sub(1).filter(|before| *before > 0).map(|before| host.log[before].clone()));
        for bad in spoilt {
            let mut enclave = Enclave::new(Arc::new(TestPlatform(7)), CONSTANTS);
            enclave.load(&host.log[..item]).unwrap();
            let refused = enclave.load(&[bad]).unwrap_err();
            assert!(matches!(refused, Error::Log { .. }), "{refused}");
            // What was loaded before still stands, and the true item still fits.
            if item > 0 {
                enclave.load(&host.log[item..]).unwrap();
                enclave.open(GENESIS, PROVIDER).unwrap();
            }
        }
    }
}

#[test]
fn a_restart_keeps_everything() {
    let mut host = history();
    let overview = host.enclave.overview().unwrap();
    let files = host.enclave.files(None, 10).unwrap();
    host.restart();
    assert_eq!(host.enclave.overview().unwrap(), overview);
    assert_eq!(host.enclave.files(None, 10).unwrap(), files);
    assert!(files.iter().any(|file| file.lost) && files.iter().any(|file| file.receipt_signed && !file.lost));
}

/// A host that has only the wrapped key, and nothing that was said under it, is as good as new.
#[test]
fn a_log_cut_after_its_first_item_begins_an_identity() {
    let first = Host::new();
    let host = Host::at(first.log[..1].to_vec());
    assert_ne!(host.sign_pk, first.sign_pk);
    assert_eq!(host.log.len(), 2);
    assert_eq!(Host::at(host.log).sign_pk, host.sign_pk);
}

#[test]
fn loading_can_begin_again() {
    let host = history();
    let mut enclave = Enclave::new(Arc::new(TestPlatform(7)), CONSTANTS);
    enclave.load(&host.log[..4]).unwrap();
    enclave.load(&host.log).unwrap();
    assert_eq!(enclave.open(GENESIS, PROVIDER).unwrap().root, host.root());
}

/// No plain byte and no key is in what the host keeps: of a file, of the filler's key, of the identity.
#[test]
fn what_the_host_keeps_shows_nothing() {
    let mut host = Host::new();
    let zeros = vec![0; 1 << 20];
    let order = host.seal(&content(&zeros, 1), &zeros);
    let all: Vec<u8> = host.log.concat().into_iter().chain(host.files[&order].clone()).collect();
    assert!(!all.windows(64).any(|window| window == [0; 64]));
    host.enclave.filler(DISK, 4096).unwrap();
    let Ok(Record::FillerUnit { key, .. }) = host.enclave.state().unwrap().filler.finished(DISK) else { panic!() };
    host.fill(DISK);
    assert!(!host.log.concat().windows(32).any(|window| window == key));
}
