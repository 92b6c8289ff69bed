#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]
//! The enclave against a hostile or unlucky host: scenarios over the public methods, with the host of [`host`].

use super::*;
use crate::{
    check::MAX_FAILED,
    platform::SealKey,
    seal::{self, CHUNK, SEALED_CHUNK, TAG},
};
use crust_protocol::{
    file::{Cid, Codec, HashFunction},
    order::PRIVATE,
    statement::{Signature, Statement, first_root, next_root, signed_bytes},
    walk::Limits,
};
use std::collections::{BTreeMap, HashSet};

const GENESIS: Hash = [1; 32];
const PROVIDER: Key = [2; 32];
const DISK: Disk = [9; 16];
const UNIT: u64 = 64 << 10;
const CONSTANTS: Constants = Constants { samples: 128, filler_unit: UNIT, scrub_period: 60, limits: Limits::PROTOCOL };

struct TestPlatform(u8);

impl Platform for TestPlatform {
    fn seal_key(&self) -> Result<SealKey, platform::Error> {
        Ok(SealKey::new([self.0; 32]))
    }

    fn quote(&self, report_data: &[u8; 64]) -> Result<Vec<u8>, platform::Error> {
        Ok(report_data.to_vec())
    }

    fn collateral(&self) -> Result<Option<Collateral>, platform::Error> {
        Ok(None)
    }
}

/// A host that keeps what an honest one keeps.
struct Host {
    enclave: Enclave,
    log: Vec<Vec<u8>>,
    files: BTreeMap<OrderId, Vec<u8>>,
    filler: BTreeMap<Disk, Vec<u8>>,
    sign_pk: Key,
}

impl Host {
    fn new() -> Self {
        Self::at(Vec::new())
    }

    /// A host whose log is this: the same, rolled back, or a copy.
    fn at(log: Vec<Vec<u8>>) -> Self {
        let mut enclave = Enclave::new(Arc::new(TestPlatform(7)), CONSTANTS);
        enclave.load(&log).unwrap();
        let opened = enclave.open(GENESIS, PROVIDER).unwrap();
        let log = [log, opened.items].concat();
        Host { enclave, log, files: BTreeMap::new(), filler: BTreeMap::new(), sign_pk: opened.sign_pk }
    }

    /// The enclave is killed and started again from the log.
    fn restart(&mut self) {
        let again = Self::at(self.log.clone());
        assert_eq!(again.enclave.overview().unwrap().root, self.root());
        self.enclave = again.enclave;
    }

    /// Another enclave from the same log, with the same disks.
    fn clone_at(&self, items: usize) -> Self {
        let mut clone = Self::at(self.log[..items].to_vec());
        (clone.files, clone.filler) = (self.files.clone(), self.filler.clone());
        clone
    }

    fn keep(&mut self, items: impl IntoIterator<Item = Vec<u8>>) {
        self.log.extend(items);
    }

    fn root(&self) -> Hash {
        self.enclave.overview().unwrap().root
    }

    fn first(&self) -> Hash {
        first_root(&self.sign_pk)
    }

    fn seal(&mut self, content: &Content, bytes: &[u8]) -> OrderId {
        let sealed = self.seal_only(content, bytes);
        let item = self.enclave.hold(&sealed.0).unwrap();
        self.keep([item]);
        self.files.insert(content.id(), sealed.1);
        content.id()
    }

    fn seal_only(&self, content: &Content, bytes: &[u8]) -> (Sealed, Vec<u8>) {
        let mut sealer = self.enclave.seal(content.clone()).unwrap();
        let mut out = Vec::new();
        sealer.feed(bytes, &mut out).unwrap();
        let sealed = sealer.finish(&mut out).unwrap();
        (sealed, out)
    }

    /// Finishes a unit on a disk.
    fn fill(&mut self, disk: Disk) -> Vec<u8> {
        let bytes = self.enclave.filler(disk, UNIT as u32).unwrap().bytes();
        let item = self.enclave.commit_filler(disk).unwrap();
        self.keep([item]);
        self.filler.entry(disk).or_default().extend(&bytes);
        bytes
    }

    fn read(&self, sample: &Sample) -> Option<Vec<u8>> {
        match sample {
            Sample::Filler { disk, page } => {
                let at = usize::try_from(page * 4096).unwrap();
                Some(self.filler.get(disk)?.get(at..at + 4096)?.to_vec())
            }
            Sample::File { order, chunk } => {
                let at = usize::try_from(*chunk).unwrap() * SEALED_CHUNK;
                let file = self.files.get(order)?;
                Some(file.get(at..(at + SEALED_CHUNK).min(file.len()))?.to_vec())
            }
        }
    }

    fn show(&mut self, slot: Slot) -> Vec<Sample> {
        let (items, draw) = self.enclave.show(slot, slot_hash(slot)).unwrap();
        self.keep(items);
        draw
    }

    fn answer(&mut self, draw: &[Sample]) -> CheckResult {
        let mut result = None;
        for batch in draw.chunks(50) {
            let answers = batch.iter().map(|sample| self.read(sample)).collect();
            let progress = self.enclave.answer(answers).unwrap();
            self.keep(progress.items);
            result = progress.result;
        }
        result.unwrap_or_else(|| {
            let progress = self.enclave.answer(Vec::new()).unwrap();
            self.keep(progress.items);
            progress.result.unwrap()
        })
    }

    fn check(&mut self, slot: Slot) -> CheckResult {
        let draw = self.show(slot);
        self.answer(&draw)
    }

    fn say(&mut self, saying: Saying) -> Result<Hash, Error> {
        let (item, signed) = self.enclave.say(saying)?;
        self.keep([item]);
        let (root, signature) = match &signed {
            Signed::Receipts(said) => (said.root, self.verified(said)),
            Signed::Gone(said) => (said.root, self.verified(said)),
            Signed::Report(said) => (said.root, self.verified(said)),
        };
        assert_eq!(root, self.root(), "a statement's root is the head after it");
        assert_eq!(self.enclave.release(&root).unwrap().len(), signature.len());
        Ok(root)
    }

    fn verified(&self, statement: &impl Statement) -> Signature {
        let signature = self.enclave.release(&statement.root()).unwrap();
        let key = schnorrkel::PublicKey::from_bytes(&self.sign_pk).unwrap();
        let bytes = signed_bytes(&GENESIS, &self.sign_pk, statement);
        let parsed = schnorrkel::Signature::from_bytes(&signature).unwrap();
        key.verify_simple(b"substrate", &bytes, &parsed).unwrap();
        signature
    }

    fn receipts(&mut self, prev: Hash, orders: &[OrderId]) -> Result<Hash, Error> {
        self.say(Saying::Receipts { prev, orders: orders.to_vec() })
    }

    fn gone(&mut self, prev: Hash, orders: &[OrderId]) -> Result<Hash, Error> {
        self.say(Saying::Gone { prev, orders: orders.to_vec() })
    }

    fn report(&mut self, prev: Hash, slot: Slot) -> Result<Hash, Error> {
        self.say(Saying::Report { prev, slot })
    }

    fn delete(&mut self, order: OrderId) {
        let item = self.enclave.delete(vec![order]).unwrap();
        self.keep([item]);
        self.files.remove(&order);
    }
}

/// A chain that knows one node: it takes a statement only on the root that it stores.
struct Chain {
    root: Hash,
    live: HashSet<OrderId>,
    reports: u32,
}

impl Chain {
    fn new(host: &Host) -> Self {
        Chain { root: host.first(), live: HashSet::new(), reports: 0 }
    }

    fn submit(&mut self, host: &Host, root: &Hash) -> bool {
        let state = host.enclave.state().unwrap();
        let (prev, root) = match state.lines.statement(root).unwrap() {
            Signed::Receipts(said) => (said.prev, said.root),
            Signed::Gone(said) => (said.prev, said.root),
            Signed::Report(said) => (said.prev, said.root),
        };
        if prev != self.root {
            return false;
        }
        self.root = root;
        match state.lines.statement(&root).unwrap() {
            Signed::Receipts(said) => self.live.extend(said.orders.iter().copied()),
            Signed::Gone(said) => self.live.retain(|order| !said.orders.contains(order)),
            Signed::Report(_) => self.reports += 1,
        }
        true
    }
}

fn slot_hash(slot: Slot) -> Hash {
    crust_protocol::h(&[b"slot", &slot.to_le_bytes()])
}

fn bytes(length: usize, seed: u64) -> Vec<u8> {
    let mut bytes = vec![0; length];
    blake3::Hasher::new().update(&seed.to_le_bytes()).finalize_xof().fill(&mut bytes);
    bytes
}

/// An order for one raw block.
fn content(bytes: &[u8], nonce: u64) -> Content {
    Content {
        client: [3; 32],
        nonce,
        cid: Cid::of(Codec::Raw, HashFunction::Sha2_256, bytes),
        size: bytes.len() as u64,
        audit_root: *blake3::hash(bytes).as_bytes(),
        flags: 0,
    }
}

fn sealed(host: &mut Host, length: usize, nonce: u64) -> OrderId {
    let bytes = bytes(length, nonce);
    host.seal(&content(&bytes, nonce), &bytes)
}

// ---- the log

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
fn history() -> Host {
    let mut host = Host::new();
    let chain = host.first();
    host.fill(DISK);
    let kept = sealed(&mut host, 200_000, 1);
    let lost = sealed(&mut host, 10, 2);
    let deleted = sealed(&mut host, 0, 3);
    host.check(4);
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

// ---- lessons

/// Damage to a file, or to what is kept of it, is never waved through: the list of blocks of the reference lay unsealed
/// and a mismatch left the file valid for ever.
#[test]
fn lesson_6_a_damaged_file_is_bad_until_it_is_good_or_gone() {
    let mut host = Host::new();
    let order = sealed(&mut host, CHUNK * 4, 1);
    let root = host.receipts(host.first(), &[order]).unwrap();
    let whole = host.files[&order].clone();
    host.files.get_mut(&order).unwrap()[SEALED_CHUNK * 2 + 5] ^= 1;
    let mut good = Vec::new();
    for slot in 1..=u32::from(MAX_FAILED) {
        let result = host.check(slot);
        assert!(result.good_files < 255 && !result.bad.is_empty(), "slot {slot}");
        good.push(result.good_files);
    }
    // Not lost yet: mended now, it would be good again.
    assert!(!host.enclave.files(None, 1).unwrap()[0].lost);
    let mut mended = host.clone_at(host.log.len());
    mended.files.insert(order, whole);
    assert_eq!(mended.check(99).good_files, 255);
    assert_eq!(mended.enclave.state().unwrap().lines.owed(), 0);
    // The 24th failed re-read: lost, and owed.
    host.check(u32::from(MAX_FAILED) + 1);
    assert!(host.enclave.files(None, 1).unwrap()[0].lost);
    assert_eq!(host.report(root, u32::from(MAX_FAILED) + 1), Err(Error::GoneFirst { orders: vec![order] }));
    host.restart();
    assert_eq!(host.enclave.gone_due(&root, 9).unwrap(), vec![order]);
}

/// The draw comes of the chain's public randomness and the enclave's own key; filler is 4,096 random bytes a page; a
/// file once lost does not come back by itself.
#[test]
fn lesson_8_draws_follow_public_randomness_and_lost_stays_lost() {
    let mut host = Host::new();
    host.fill(DISK);
    let order = sealed(&mut host, CHUNK * 32, 1);
    let clone = |host: &Host| host.clone_at(host.log.len());
    let (mut one, mut other) = (clone(&host), clone(&host));
    let draws = [one.enclave.show(1, [1; 32]).unwrap().1, other.enclave.show(1, [2; 32]).unwrap().1];
    assert_ne!(draws[0], draws[1], "another hash, another draw");
    assert_eq!(draws[0].len(), 2 * CONSTANTS.samples as usize);
    let pages: HashSet<&[u8]> = host.filler[&DISK].chunks(4096).collect();
    assert_eq!(pages.len(), host.filler[&DISK].len() / 4096);
    assert!(host.filler[&DISK].chunks(4096).all(|page| page.iter().collect::<HashSet<_>>().len() > 200));

    let first = host.first();
    let root = host.receipts(first, &[order]).unwrap();
    let item = host.enclave.lose(vec![order]).unwrap();
    host.keep([item]);
    // The bytes are all there, and good: yet lost is lost.
    assert_eq!(host.check(1).good_files, 255);
    assert!(matches!(host.report(root, 1), Err(Error::GoneFirst { .. })));
    assert!(matches!(host.receipts(root, &[order]), Err(Error::GoneFirst { .. })));
    assert_eq!(host.enclave.opener(&order, 0).err(), Some(Error::NotSealed { order }));
}

/// A change costs a record of its own size, whatever else is held, and a log that is rolled back loses its voice.
#[test]
fn lesson_9_the_log_is_append_only_and_a_rollback_ends_the_line() {
    let mut host = Host::new();
    let mut sizes = HashSet::new();
    for nonce in 0..100 {
        sealed(&mut host, 10, nonce);
        sizes.insert(host.log.last().unwrap().len());
    }
    assert_eq!(sizes.len(), 1);
    let mut chain = Chain::new(&host);
    host.check(1);
    let root = host.report(chain.root, 1).unwrap();
    assert!(chain.submit(&host, &root));
    let before = host.log.len();
    let order = sealed(&mut host, 100, 1_000);
    let receipt = host.receipts(chain.root, &[order]).unwrap();
    assert!(chain.submit(&host, &receipt));
    // The log of before the file: it knows neither the file nor the chain's root.
    let mut rolled_back = host.clone_at(before);
    rolled_back.check(2);
    assert_eq!(rolled_back.report(chain.root, 2), Err(Error::UnknownPrev));
    let stale = rolled_back.report(root, 2).unwrap();
    assert!(!chain.submit(&rolled_back, &stale), "the chain is past this root");
}

/// Units are large whatever they hold, and giving way to files is one record.
#[test]
fn lesson_10_filler_is_few_files_and_gives_way_by_itself() {
    let production = Constants::PRODUCTION;
    assert!((1u64 << 40) / production.filler_unit <= 1_024, "units a TiB; they stand in one file a disk");
    let mut host = Host::new();
    for _ in 0..4 {
        host.fill(DISK);
    }
    let before = host.log.len();
    let items = host.enclave.shrink(DISK, UNIT * 3 / 2).unwrap();
    host.keep(items);
    assert_eq!(host.log.len(), before + 1);
    assert_eq!(host.enclave.overview().unwrap().filler, vec![(DISK, UNIT * 3 / 2)]);
    host.filler.get_mut(&DISK).unwrap().truncate(usize::try_from(UNIT * 3 / 2).unwrap());
    assert_eq!(host.check(1).good_filler, 255);
}

/// Sealed bytes open in the enclave that sealed them and nowhere else, and a private file's not for its host.
#[test]
fn lesson_11_sealed_bytes_open_for_nobody_else() {
    let mut host = Host::new();
    let plain = bytes(CHUNK * 2, 1);
    let order = host.seal(&content(&plain, 1), &plain);
    let sealed = host.files[&order].clone();
    assert_eq!(host.enclave.opener(&order, 0).unwrap().open(sealed.clone()).unwrap(), plain);
    let mut other = Host::new();
    let same = other.seal(&content(&plain, 1), &plain);
    assert_eq!(same, order);
    assert_eq!(other.enclave.opener(&order, 0).unwrap().open(sealed), Err(Error::Damaged { chunk: 0 }));
    let private = Content { flags: PRIVATE, ..content(&plain, 2) };
    let order = host.seal(&private, &plain);
    assert_eq!(host.enclave.opener(&order, 0).err(), Some(Error::Private));
    host.restart();
    assert_eq!(host.enclave.opener(&order, 0).err(), Some(Error::Private));
    assert_eq!(host.check(1).good_files, 255);
}

// ---- sealing

#[test]
fn files_of_all_sizes_come_back() {
    let mut host = Host::new();
    for (nonce, length) in [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK, 1 << 20].into_iter().enumerate() {
        let plain = bytes(length, nonce as u64);
        let order = host.seal(&content(&plain, nonce as u64), &plain);
        let sealed = host.files[&order].clone();
        assert_eq!(sealed.len(), length + length.div_ceil(CHUNK).max(1) * TAG);
        assert_eq!(host.enclave.opener(&order, 0).unwrap().open(sealed.clone()).unwrap(), plain);
        if length > 2 * CHUNK {
            let middle = sealed[SEALED_CHUNK..2 * SEALED_CHUNK].to_vec();
            assert_eq!(host.enclave.opener(&order, 1).unwrap().open(middle).unwrap(), plain[CHUNK..2 * CHUNK]);
        }
    }
    assert_eq!(host.check(1).good_files, 255);
    host.restart();
    assert_eq!(host.check(2).good_files, 255);
}

/// A file over two segments, in 514 blocks of 2 MiB: of the sealed bytes only those about the border are kept.
#[test]
fn a_file_goes_over_the_border_of_a_segment() {
    use crust_protocol::walk::MAX_BLOCK;
    let border = seal::SEGMENT_CHUNKS as usize;
    let leaves = border * CHUNK / MAX_BLOCK + 1;
    let leaf = |number: usize| {
        let mut leaf = vec![7; MAX_BLOCK];
        leaf[..8].copy_from_slice(&number.to_le_bytes());
        leaf
    };
    let (mut root, mut audit) = (Vec::new(), blake3::Hasher::new());
    for number in 0..leaves {
        let cid = Cid::of(Codec::Raw, HashFunction::Blake3, &leaf(number));
        root.extend([0x12, 38, 0x0a, 36]);
        root.extend(cid.as_bytes());
    }
    audit.update(&root);
    for number in 0..leaves {
        audit.update(&leaf(number));
    }
    let ordered = Content {
        cid: Cid::of(Codec::DagPb, HashFunction::Sha2_256, &root),
        size: (root.len() + leaves * MAX_BLOCK) as u64,
        audit_root: *audit.finalize().as_bytes(),
        ..content(&[], 1)
    };
    let mut host = Host::new();
    let mut sealer = host.enclave.seal(ordered.clone()).unwrap();
    let (from, mut at, mut kept) = ((border - 2) * SEALED_CHUNK, 0, Vec::new());
    let mut out = Vec::new();
    sealer.feed(&root, &mut out).unwrap();
    for number in 0..leaves {
        sealer.feed(&leaf(number), &mut out).unwrap();
        kept.extend(out.iter().skip(from.saturating_sub(at)));
        at += out.len();
        out.clear();
    }
    let sealed = sealer.finish(&mut out).unwrap();
    kept.extend(out);
    assert_eq!(sealed.salts.len(), 2);
    let item = host.enclave.hold(&sealed).unwrap();
    host.keep([item]);
    host.restart();
    let order = ordered.id();
    let open = |chunk: u64, bytes: &[u8]| host.enclave.opener(&order, chunk).unwrap().open(bytes.to_vec());
    let plain = open(border as u64 - 2, &kept[..4 * SEALED_CHUNK]).unwrap();
    assert_eq!(plain.len(), 4 * CHUNK);
    // A leaf begins once in these 256 KiB at most; all else is what leaves are filled with.
    assert!(plain.iter().filter(|byte| **byte != 7).count() <= 8);
    assert!(open(border as u64, &kept[2 * SEALED_CHUNK..]).is_ok(), "to the end");
    // The same index in the other segment is another place.
    assert!(open(0, &kept[2 * SEALED_CHUNK..3 * SEALED_CHUNK]).is_err());
}

#[test]
fn a_chunk_that_is_flipped_cut_swapped_or_of_another_file_is_damaged() {
    let mut host = Host::new();
    let plain = bytes(CHUNK * 3 + 100, 1);
    let (one, two) = (content(&plain, 1), content(&plain, 2));
    let (one, two) = (host.seal(&one, &plain), host.seal(&two, &plain));
    let (sealed, other) = (host.files[&one].clone(), host.files[&two].clone());
    let open = |chunk, bytes: &[u8]| host.enclave.opener(&one, chunk).unwrap().open(bytes.to_vec());
    for byte in [0, CHUNK - 1, CHUNK, SEALED_CHUNK - 1] {
        let mut flipped = sealed.clone();
        flipped[SEALED_CHUNK + byte] ^= 1;
        assert_eq!(open(0, &flipped), Err(Error::Damaged { chunk: 1 }));
    }
    for cut in [0, 1, SEALED_CHUNK - 1, sealed.len() - 1] {
        assert!(matches!(open(0, &sealed[..cut]), Err(Error::Damaged { .. })), "{cut}");
    }
    // Another place in the same file, the same place in a file of the same bytes, and more than the file has.
    assert_eq!(open(1, &sealed[..SEALED_CHUNK]), Err(Error::Damaged { chunk: 1 }));
    assert_eq!(open(0, &other), Err(Error::Damaged { chunk: 0 }));
    assert_eq!(open(0, &[sealed.clone(), vec![0; 16]].concat()), Err(Error::Damaged { chunk: 4 }));
    assert_eq!(open(9, &sealed), Err(Error::Damaged { chunk: 9 }));
    assert_eq!(open(u64::MAX, &sealed), Err(Error::Damaged { chunk: u64::MAX }));
}

#[test]
fn only_the_ordered_content_is_held() {
    let host = Host::new();
    let plain = bytes(1_000, 1);
    let good = content(&plain, 1);
    let try_seal = |content: &Content, blocks: &[&[u8]]| {
        let mut sealer = host.enclave.seal(content.clone()).unwrap();
        let mut out = Vec::new();
        for block in blocks {
            sealer.feed(block, &mut out)?;
        }
        sealer.finish(&mut out).map(|_| ())
    };
    assert_eq!(try_seal(&good, &[&plain]), Ok(()));
    assert!(matches!(try_seal(&good, &[&plain[1..]]), Err(Error::Graph(_))));
    assert!(matches!(try_seal(&good, &[&plain, &plain]), Err(Error::Graph(_))));
    assert_eq!(try_seal(&good, &[]), Err(Error::Incomplete { next: good.cid }));
    for size in [0, 999, 1_001, u64::MAX] {
        let other = Content { size, ..good.clone() };
        assert_eq!(try_seal(&other, &[&plain]), Err(Error::Size { ordered: size, found: 1_000 }));
    }
    assert_eq!(try_seal(&Content { audit_root: [0; 32], ..good }, &[&plain]), Err(Error::AuditRoot));
}

#[test]
fn wrong_bytes_may_be_followed_by_the_right_ones_and_nothing_else() {
    let host = Host::new();
    let plain = bytes(1_000, 1);
    let mut sealer = host.enclave.seal(content(&plain, 1)).unwrap();
    let mut out = Vec::new();
    assert!(sealer.feed(b"wrong", &mut out).is_err());
    assert!(!sealer.is_spent());
    sealer.feed(&plain, &mut out).unwrap();
    sealer.finish(&mut out).unwrap();
    let mut sealer = host.enclave.seal(Content { size: 1, ..content(&plain, 1) }).unwrap();
    assert!(matches!(sealer.feed(&plain, &mut out), Err(Error::Size { .. })));
    assert!(sealer.is_spent());
    assert_eq!(sealer.feed(&plain, &mut out), Err(Error::NoSealing));
    assert_eq!(sealer.finish(&mut out).err(), Some(Error::NoSealing));
}

#[test]
fn a_file_is_held_once_and_can_be_sealed_again_when_it_is_lost() {
    let mut host = Host::new();
    let plain = bytes(1_000, 1);
    let order = host.seal(&content(&plain, 1), &plain);
    assert_eq!(host.enclave.seal(content(&plain, 1)).err(), Some(Error::AlreadySealed { order }));
    let first = host.first();
    let root = host.receipts(first, &[order]).unwrap();
    let item = host.enclave.lose(vec![order]).unwrap();
    host.keep([item]);
    host.seal(&content(&plain, 1), &plain);
    // It is back, but the loss must be named before anything else is said.
    assert_eq!(host.receipts(root, &[order]), Err(Error::GoneFirst { orders: vec![order] }));
    let gone = host.gone(root, &[order]).unwrap();
    let again = host.receipts(gone, &[order]).unwrap();
    // Lost once more: the first `Gone` does not speak for the second loss.
    let item = host.enclave.lose(vec![order]).unwrap();
    host.keep([item]);
    host.check(1);
    assert_eq!(host.report(again, 1), Err(Error::GoneFirst { orders: vec![order] }));
    let gone = host.gone(again, &[order]).unwrap();
    host.report(gone, 1).unwrap();
}

// ---- never the same bytes twice

/// From every prefix of a log, an enclave that makes filler and seals the same file emits nothing that any other
/// emitted.
#[test]
fn no_byte_is_emitted_twice_over_every_prefix_of_the_log() {
    let mut host = Host::new();
    let plain = bytes(CHUNK * 2 + 1, 1);
    let order = content(&plain, 1);
    let (mut pages, mut chunks) = (HashSet::new(), HashSet::new());
    let mut emit = |filler: &[u8], sealed: &[u8]| {
        for page in filler.chunks(4096) {
            assert!(pages.insert(page.to_vec()), "a page of filler was emitted twice");
        }
        for chunk in sealed.chunks(SEALED_CHUNK) {
            assert!(chunks.insert(chunk.to_vec()), "a sealed chunk was emitted twice");
        }
    };
    let filler = host.fill(DISK);
    emit(&filler, &[]);
    host.seal(&order, &plain);
    emit(&[], &host.files[&order.id()]);
    // A unit that is not finished, and one that gives way and grows again.
    emit(&host.enclave.filler([8; 16], 8192).unwrap().bytes(), &[]);
    emit(&host.enclave.filler([8; 16], 4096).unwrap().bytes(), &[]);
    let items = host.enclave.shrink([8; 16], 0).unwrap();
    assert!(items.is_empty(), "only a unit in work was thrown away");
    let items = host.enclave.shrink(DISK, 4096).unwrap();
    host.keep(items);
    host.filler.get_mut(&DISK).unwrap().truncate(4096);
    emit(&host.fill(DISK), &[]);
    host.check(1);
    host.delete(order.id());
    host.seal(&order, &plain);
    emit(&[], &host.files[&order.id()]);
    for items in 2..=host.log.len() {
        for _ in 0..2 {
            let mut other = Host::at(host.log[..items].to_vec());
            for _ in 0..2 {
                let bytes = other.enclave.filler(DISK, UNIT as u32);
                emit(&bytes.map(Grant::bytes).unwrap_or_default(), &[]);
                if other.enclave.overview().unwrap().checking {
                    other.enclave.shrink(DISK, 0).unwrap_err();
                    break;
                }
                other.enclave.commit_filler(DISK).unwrap();
            }
            if other.enclave.state().unwrap().files.held(&order.id()).is_none() {
                emit(&[], &other.seal_only(&order, &plain).1);
            }
        }
    }
}

#[test]
fn a_unit_ends_where_it_ends_and_filler_comes_in_pages() {
    let mut host = Host::new();
    for bytes in [0, 1, 4095, 4097, (4 << 20) + 4096] {
        assert_eq!(host.enclave.filler(DISK, bytes).err(), Some(Error::FillerSize));
    }
    assert_eq!(host.enclave.commit_filler(DISK), Err(Error::NoUnit));
    assert_eq!(host.enclave.filler(DISK, (UNIT - 4096) as u32).unwrap().bytes().len() as u64, UNIT - 4096);
    assert_eq!(host.enclave.filler(DISK, 8192).unwrap().bytes().len(), 4096, "what is left of the unit");
    assert_eq!(host.enclave.filler(DISK, 4096).err(), Some(Error::UnitFull));
    let item = host.enclave.commit_filler(DISK).unwrap();
    host.keep([item]);
    assert_eq!(host.enclave.overview().unwrap().filler, vec![(DISK, UNIT)]);
    for to in [1, UNIT + 4096, u64::MAX] {
        assert_eq!(host.enclave.shrink(DISK, to), Err(Error::ShrinkTo { length: UNIT }));
    }
    for disk in 0..=255u8 {
        let granted = host.enclave.filler([disk; 16], 4096);
        assert!(granted.is_ok() || matches!(granted, Err(Error::TooManyDisks)));
    }
    assert_eq!(host.enclave.filler([0xee; 16], 4096).err().is_none_or(|error| error == Error::TooManyDisks), true);
}

// ---- checks

#[test]
fn a_restart_before_the_answers_draws_the_same_and_nothing_changes_meanwhile() {
    let mut host = Host::new();
    host.fill(DISK);
    let order = sealed(&mut host, CHUNK * 20, 1);
    let first = host.first();
    let draw = host.show(3);
    let plain = bytes(5, 9);
    let waiting = host.seal_only(&content(&plain, 9), &plain).0;
    for round in 0..3 {
        assert_eq!(host.enclave.hold(&waiting), Err(Error::Checking));
        assert_eq!(host.enclave.delete(vec![order]), Err(Error::Checking));
        assert_eq!(host.enclave.lose(vec![order]), Err(Error::Checking));
        assert_eq!(host.enclave.shrink(DISK, 0), Err(Error::Checking));
        assert_eq!(host.enclave.commit_filler(DISK), Err(Error::Checking));
        assert_eq!(host.report(first, 3), Err(Error::NotChecked { slot: 3 }));
        // Statements may go on.
        host.receipts(first, &[order]).unwrap();
        if round < 2 {
            host.restart();
            assert!(host.enclave.overview().unwrap().checking);
            let items = host.log.len();
            assert_eq!(host.show(3), draw);
            assert_eq!(host.log.len(), items, "no new record");
            let part = draw.iter().take(7).map(|sample| host.read(sample)).collect();
            assert_eq!(host.enclave.answer(part).unwrap().left as usize, draw.len() - 7);
        }
    }
    assert_eq!(host.show(3), draw);
    let result = host.answer(&draw);
    assert_eq!((result.good_filler, result.good_files, result.bad.len()), (255, 255, 0));
    // Shown again, the answered slot has nothing to ask, and says what it found.
    assert_eq!(host.show(3), Vec::new());
    assert_eq!(host.answer(&[]), result);
    host.restart();
    assert_eq!(host.answer(&[]), result);
    assert_eq!(host.enclave.answer(vec![None]), Err(Error::NoCheck));
    host.report(first, 3).unwrap();
}

#[test]
fn a_reorg_or_a_lower_slot_is_a_new_draw_and_pulls_the_marks_down() {
    let mut host = Host::new();
    host.fill(DISK);
    host.check(100);
    let order = sealed(&mut host, 1_000, 1);
    let first = host.first();
    let marks = |host: &Host, slot| host.enclave.state().unwrap().report([0; 32], slot).unwrap().scrubbed_until;
    assert_eq!(marks(&host, 100), 0, "the filler was written before a slot was shown");
    let items = host.enclave.shrink(DISK, 0).unwrap();
    host.keep(items);
    assert_eq!(marks(&host, 100), 100);
    // In work while a lying endpoint names a far slot, then the true one.
    let plain = bytes(7, 7);
    host.check(1_000_000);
    let waiting = host.seal_only(&content(&plain, 7), &plain).0;
    host.enclave.filler(DISK, 4096).unwrap();
    let draw = host.show(101);
    host.answer(&draw);
    assert_eq!(host.report(first, 1_000_000), Err(Error::NotChecked { slot: 1_000_000 }));
    let item = host.enclave.hold(&waiting).unwrap();
    host.keep([item]);
    let item = host.enclave.commit_filler(DISK).unwrap();
    host.keep([item]);
    host.delete(order);
    assert_eq!(marks(&host, 101), 101);
    // The same slot with another hash.
    let (items, again) = host.enclave.show(101, [0xee; 32]).unwrap();
    host.keep(items);
    assert_ne!(again, draw);
    host.restart();
    assert_eq!(host.enclave.show(101, [0xee; 32]).unwrap(), (Vec::new(), again));
}

#[test]
fn a_tenth_of_the_filler_missing_shows_at_the_next_check() {
    let mut host = Host::new();
    for _ in 0..10 {
        host.fill(DISK);
    }
    assert_eq!(host.check(1).good_filler, 255);
    let from = usize::try_from(UNIT * 3).unwrap();
    host.filler.get_mut(&DISK).unwrap()[from..from + usize::try_from(UNIT).unwrap()].fill(0);
    let result = host.check(2);
    assert!(result.good_filler < 255 && result.good_filler > 120, "{}", result.good_filler);
    assert_eq!(result.good_files, 255);
    // While that is so, no new filler here; elsewhere it goes on. Given up, it is good again after one more check.
    assert_eq!(host.enclave.filler(DISK, 4096).err(), Some(Error::DiskBad));
    assert_eq!(host.enclave.commit_filler(DISK), Err(Error::DiskBad));
    assert!(host.enclave.filler([1; 16], 4096).is_ok());
    host.restart();
    assert_eq!(host.enclave.filler(DISK, 4096).err(), Some(Error::DiskBad));
    let items = host.enclave.shrink(DISK, UNIT * 3).unwrap();
    host.keep(items);
    assert_eq!(host.enclave.filler(DISK, 4096).err(), Some(Error::DiskBad), "not before a check");
    host.filler.get_mut(&DISK).unwrap().truncate(from);
    assert_eq!(host.check(3).good_filler, 255);
    assert!(host.enclave.filler(DISK, 4096).is_ok());
}

#[test]
fn what_gives_way_after_the_draw_leaves_the_report_and_what_grows_does_not_enter() {
    let mut host = Host::new();
    for _ in 0..4 {
        host.fill(DISK);
    }
    host.check(1);
    let first = host.first();
    let filler = |host: &Host| host.enclave.state().unwrap().report(first, 1).unwrap().filler_bytes;
    assert_eq!(filler(&host), UNIT * 4);
    let items = host.enclave.shrink(DISK, UNIT * 2).unwrap();
    host.keep(items);
    assert_eq!(filler(&host), UNIT * 2);
    host.fill(DISK);
    host.fill([1; 16]);
    assert_eq!(filler(&host), UNIT * 2, "space is never promised twice");
    host.restart();
    assert_eq!(filler(&host), UNIT * 2);
}

#[test]
fn a_unit_is_dropped_at_the_24th_failed_re_read_and_not_while_its_disk_is_away() {
    let mut host = Host::new();
    host.fill(DISK);
    host.fill(DISK);
    let away = host.filler.remove(&DISK).unwrap();
    for slot in 1..40 {
        assert_eq!(host.check(slot).good_filler, 0);
    }
    host.filler.insert(DISK, away);
    assert_eq!(host.check(40).good_filler, 255, "a disk mounted late costs nothing more");
    host.filler.get_mut(&DISK).unwrap()[..usize::try_from(UNIT).unwrap()].fill(1);
    for slot in 41..=41 + u32::from(MAX_FAILED) {
        assert!(host.check(slot).good_filler < 255);
    }
    let result = host.check(100);
    assert_eq!((result.good_filler, result.bad.len()), (255, 0), "the unit no longer counts");
    let first = host.first();
    assert_eq!(host.enclave.state().unwrap().report(first, 100).unwrap().filler_bytes, UNIT);
    assert_eq!(host.enclave.overview().unwrap().filler, vec![(DISK, UNIT * 2)], "and leaves a gap");
    let root = host.report(first, 100).unwrap();
    host.restart();
    let again = host.enclave.state().unwrap().report(root, 100).unwrap();
    assert_eq!(again.filler_bytes, UNIT);
}

#[test]
fn the_draw_is_uniform_over_bytes() {
    let mut host = Host::new();
    let small = sealed(&mut host, CHUNK * 2, 1);
    sealed(&mut host, CHUNK * 14, 2);
    let mut drawn = 0;
    for slot in 1..=64 {
        let draw = host.show(slot);
        drawn += draw.iter().filter(|sample| matches!(sample, Sample::File { order, .. } if *order == small)).count();
    }
    // 64 × 128 draws at 1/8: 1,024 expected, 5 standard deviations are 150.
    assert!((874..1_174).contains(&drawn), "{drawn}");
}

#[test]
fn an_empty_node_is_good() {
    let mut host = Host::new();
    let first = host.first();
    assert_eq!(host.show(2), Vec::new());
    assert!(host.enclave.overview().unwrap().checking);
    let result = host.answer(&[]);
    assert_eq!((result.good_filler, result.good_files), (255, 255));
    host.report(first, 2).unwrap();
    let report = host.enclave.state().unwrap().report(first, 2).unwrap();
    assert_eq!((report.filler_bytes, report.stored_bytes, report.scrubbed_until), (0, 0, 2));
}

// ---- statements

#[test]
fn receipts_are_for_files_of_this_log() {
    let mut host = Host::new();
    let first = host.first();
    let order = sealed(&mut host, 10, 1);
    let unknown = [0xcc; 32];
    assert_eq!(host.receipts(first, &[order, unknown]), Err(Error::NotSealed { order: unknown }));
    assert_eq!(host.receipts(first, &[]), Err(Error::Orders));
    assert_eq!(host.receipts(first, &[order, order]), Err(Error::Orders));
    let many: Vec<OrderId> = (10..75).map(|nonce| sealed(&mut host, 1, nonce)).collect();
    assert_eq!(host.receipts(first, &many), Err(Error::Orders));
    host.receipts(first, &many[..64]).unwrap();
    assert_eq!(host.receipts([0; 32], &[order]), Err(Error::UnknownPrev));
    assert_eq!(host.gone(first, &[order]), Err(Error::NotGone { order }), "it is held");
    assert_eq!(host.gone(first, &[unknown]), Err(Error::NotGone { order: unknown }));
    assert_eq!(host.enclave.release(&[0; 32]), Err(Error::UnknownRoot));
}

#[test]
fn a_withheld_gone_blocks_every_later_statement_on_any_line() {
    let mut host = Host::new();
    let mut chain = Chain::new(&host);
    let first = host.first();
    let (order, other) = (sealed(&mut host, 10, 1), sealed(&mut host, 10, 2));
    let receipt = host.receipts(first, &[order]).unwrap();
    assert!(chain.submit(&host, &receipt));
    host.delete(order);
    for slot in 1..=3 {
        host.check(slot);
        for prev in [first, receipt] {
            assert_eq!(host.report(prev, slot), Err(Error::GoneFirst { orders: vec![order] }));
            assert_eq!(host.receipts(prev, &[other]), Err(Error::GoneFirst { orders: vec![order] }));
        }
        host.restart();
    }
    // Named on another line it does not count here.
    let elsewhere = host.gone(first, &[order]).unwrap();
    host.report(elsewhere, 3).unwrap();
    assert_eq!(host.report(receipt, 3), Err(Error::GoneFirst { orders: vec![order] }));
    let gone = host.gone(receipt, &[order]).unwrap();
    let report = host.report(gone, 3).unwrap();
    assert!(chain.submit(&host, &gone) && chain.submit(&host, &report));
    assert!(chain.live.is_empty());
}

#[test]
fn a_receipt_that_was_never_sent_counts_like_one_that_was() {
    let mut host = Host::new();
    let first = host.first();
    let order = sealed(&mut host, 10, 1);
    host.receipts(first, &[order]).unwrap();
    host.delete(order);
    host.check(1);
    assert_eq!(host.report(first, 1), Err(Error::GoneFirst { orders: vec![order] }));
    // A file without a receipt goes without a word.
    let order = sealed(&mut host, 10, 2);
    host.delete(order);
    assert_eq!(host.enclave.gone_due(&first, 100).unwrap().len(), 1);
}

#[test]
fn two_gones_on_one_root_cannot_hide_a_loss() {
    let mut host = Host::new();
    let mut chain = Chain::new(&host);
    let orders = [sealed(&mut host, 10, 1), sealed(&mut host, 10, 2)];
    let first = host.first();
    let receipt = host.receipts(first, &orders).unwrap();
    assert!(chain.submit(&host, &receipt));
    orders.iter().for_each(|order| host.delete(*order));
    let one = host.gone(receipt, &orders[..1]).unwrap();
    let two = host.gone(receipt, &orders[1..]).unwrap();
    assert!(chain.submit(&host, &one));
    assert!(!chain.submit(&host, &two), "the chain has moved on");
    host.check(1);
    assert_eq!(host.report(one, 1), Err(Error::GoneFirst { orders: vec![orders[1]] }));
    assert_eq!(host.report(two, 1), Err(Error::GoneFirst { orders: vec![orders[0]] }));
    let rest = host.gone(one, &orders[1..]).unwrap();
    let report = host.report(rest, 1).unwrap();
    assert!(chain.submit(&host, &rest) && chain.submit(&host, &report));
    assert!(chain.live.is_empty());
}

#[test]
fn of_two_copies_only_one_line_goes_on() {
    let mut host = Host::new();
    let mut chain = Chain::new(&host);
    let first = host.first();
    let order = sealed(&mut host, 10, 1);
    let receipt = host.receipts(first, &[order]).unwrap();
    assert!(chain.submit(&host, &receipt));
    let mut copy = host.clone_at(host.log.len());
    host.check(1);
    copy.check(1);
    let (one, two) = (host.report(receipt, 1).unwrap(), copy.report(receipt, 1).unwrap());
    assert_ne!(one, two);
    assert!(chain.submit(&host, &one));
    assert!(!chain.submit(&copy, &two));
    // The copy never learns a root that the chain knows.
    copy.check(2);
    assert_eq!(copy.report(one, 2), Err(Error::UnknownPrev));
    let stale = copy.report(two, 2).unwrap();
    assert!(!chain.submit(&copy, &stale));
    host.check(2);
    let next = host.report(one, 2).unwrap();
    assert!(chain.submit(&host, &next));
    assert_eq!(chain.reports, 2);
}

#[test]
fn what_was_dropped_or_reorganised_is_said_again_on_the_root_where_the_chain_stands() {
    let mut host = Host::new();
    let mut chain = Chain::new(&host);
    let first = host.first();
    let order = sealed(&mut host, 10, 1);
    host.check(1);
    let report = host.report(first, 1).unwrap();
    let receipt = host.receipts(report, &[order]).unwrap();
    assert!(chain.submit(&host, &report) && chain.submit(&host, &receipt));
    // A reorg takes both back; the receipt comes first now.
    (chain.root, chain.live) = (first, HashSet::new());
    host.restart();
    let receipt = host.receipts(first, &[order]).unwrap();
    let report = host.report(receipt, 1).unwrap();
    assert!(chain.submit(&host, &receipt) && chain.submit(&host, &report));
    assert!(chain.live.contains(&order));
}

#[test]
fn finality_forgets_older_lines_and_keeps_what_is_owed() {
    let mut host = Host::new();
    let first = host.first();
    let orders = [sealed(&mut host, 10, 1), sealed(&mut host, 10, 2)];
    let receipt = host.receipts(first, &orders).unwrap();
    let dead = host.receipts(first, &orders[..1]).unwrap();
    host.delete(orders[0]);
    let gone = host.gone(receipt, &orders[..1]).unwrap();
    host.delete(orders[1]);
    let finalise = |host: &mut Host, root| {
        let items = host.enclave.finalise(root).unwrap();
        let count = items.len();
        host.keep(items);
        count
    };
    assert_eq!(host.enclave.finalise([0; 32]), Err(Error::UnknownRoot));
    assert_eq!(finalise(&mut host, gone), 1);
    assert_eq!(finalise(&mut host, gone), 0, "known");
    for round in 0..2 {
        for old in [first, receipt, dead] {
            assert_eq!(host.gone(old, &orders[1..]), Err(Error::UnknownPrev));
            assert_eq!(host.enclave.finalise(old), Err(Error::UnknownRoot));
        }
        assert_eq!(host.enclave.gone_due(&gone, 10).unwrap(), vec![orders[1]]);
        assert_eq!(host.gone(gone, &orders[..1]), Err(Error::NotGone { order: orders[0] }), "settled for good");
        if round == 0 {
            host.restart();
        }
    }
    let last = host.gone(gone, &orders[1..]).unwrap();
    assert_eq!(host.enclave.overview().unwrap().gone_due, 1);
    finalise(&mut host, last);
    assert_eq!(host.enclave.overview().unwrap().gone_due, 0);
}

#[test]
fn hundreds_of_losses_are_named_in_statements_of_256() {
    let mut host = Host::new();
    let first = host.first();
    let orders: Vec<OrderId> = (0..600).map(|nonce| sealed(&mut host, 1, nonce)).collect();
    let mut root = first;
    for orders in orders.chunks(64) {
        root = host.receipts(root, orders).unwrap();
    }
    let item = host.enclave.lose(orders.clone()).unwrap();
    host.keep([item]);
    host.check(1);
    let mut statements = 0;
    while let Err(Error::GoneFirst { orders }) = host.report(root, 1) {
        root = host.gone(root, &orders).unwrap();
        statements += 1;
    }
    assert_eq!(statements, 3);
}

/// A report as an extrinsic: statement, signature, node, and what a general transaction adds (version, extensions).
#[test]
fn a_report_has_one_size_whatever_is_stored() {
    use codec::Encode;
    let mut sizes = HashSet::new();
    for files in [0, 1, 500] {
        let mut host = Host::new();
        for nonce in 0..files {
            sealed(&mut host, 10, nonce);
        }
        host.check(1);
        let first = host.first();
        sizes.insert(host.enclave.state().unwrap().report(first, 1).unwrap().encode().len());
    }
    assert_eq!(sizes.into_iter().collect::<Vec<_>>(), vec![32 + 32 + 4 + 32 + 8 + 8 + 1 + 1 + 4 + 1]);
}
