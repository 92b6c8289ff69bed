//! The enclave against a hostile or unlucky host: scenarios over the public methods, with the host and the chain that
//! stand here.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects)]

use super::*;
use crate::{
    check::MAX_FAILED,
    platform::{SealKey, Svn},
    rpc::Audit,
    seal::{self, CHUNK, Out, SEALED_CHUNK, TAG},
};
use crust_protocol::{
    file::{Cid, Codec, HashFunction},
    order::PRIVATE,
    statement::{Signature, Statement, first_root, next_root, signed_bytes},
};
use std::collections::{BTreeMap, HashSet};

mod adversary_inputs;
mod adversary_keys;
mod adversary_space;
mod audits;
mod checks;
mod detection;
mod emission;
mod lessons;
mod log;
mod model;
mod resume;
mod scrub;
mod sealing;
mod snapshots;
mod statements;

const GENESIS: Hash = [1; 32];
const PROVIDER: Key = [2; 32];
const DISK: Disk = [9; 16];
const UNIT: u64 = 64 << 10;
const CONSTANTS: Constants = Constants { samples: 128, filler_unit: UNIT, ..Constants::DEVELOPMENT };

struct TestPlatform(u8);

impl Platform for TestPlatform {
    fn seal_key(&self, svn: Option<Svn>) -> Result<Option<SealKey>, platform::Error> {
        Ok(Some(SealKey::new(svn.unwrap_or_default(), [self.0; 32])))
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
    trees: BTreeMap<OrderId, Vec<u8>>,
    filler: BTreeMap<Disk, Vec<u8>>,
    sign_pk: Key,
    /// The machine on which it runs.
    platform: u8,
}

impl Host {
    fn new() -> Self {
        Self::at(Vec::new())
    }

    /// A host whose log is this: the same, rolled back, or a copy.
    fn at(log: Vec<Vec<u8>>) -> Self {
        Self::on(7, log)
    }

    /// The same on any machine.
    fn on(platform: u8, log: Vec<Vec<u8>>) -> Self {
        let mut enclave = Enclave::new(Arc::new(TestPlatform(platform)), CONSTANTS);
        enclave.load(&log).unwrap();
        let opened = enclave.open(GENESIS, PROVIDER).unwrap();
        let log = [log, opened.items].concat();
        Host {
            enclave,
            log,
            files: BTreeMap::new(),
            trees: BTreeMap::new(),
            filler: BTreeMap::new(),
            sign_pk: opened.sign_pk,
            platform,
        }
    }

    /// The enclave is killed and started again from the log.
    fn restart(&mut self) {
        let again = Self::on(self.platform, self.log.clone());
        assert_eq!(again.enclave.overview().unwrap().root, self.root());
        self.enclave = again.enclave;
    }

    /// Another enclave from the same log, with the same disks.
    fn clone_at(&self, items: usize) -> Self {
        let mut clone = Self::on(self.platform, self.log[..items].to_vec());
        (clone.files, clone.trees, clone.filler) = (self.files.clone(), self.trees.clone(), self.filler.clone());
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
        self.seal_on(DISK, content, bytes)
    }

    fn seal_on(&mut self, disk: Disk, content: &Content, bytes: &[u8]) -> OrderId {
        let (sealed, out) = self.seal_only(content, bytes);
        let item = self.enclave.hold(&sealed, disk).unwrap();
        self.keep([item]);
        self.files.insert(content.id(), out.sealed);
        self.trees.insert(content.id(), out.tree);
        content.id()
    }

    fn seal_only(&self, content: &Content, bytes: &[u8]) -> (Sealed, Out) {
        let mut sealer = self.enclave.seal(content.clone()).unwrap();
        let mut out = Out::default();
        blocks(bytes).iter().for_each(|block| sealer.feed(block, &mut out).unwrap());
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
            Sample::Tree { order, node } => {
                let (from, length) = tree::range(self.size(order), *node, 1).unwrap();
                let tree = self.trees.get(order)?;
                Some(tree.get(from as usize..(from + length) as usize)?.to_vec())
            }
        }
    }

    fn size(&self, order: &OrderId) -> u64 {
        self.enclave.state().unwrap().files.get(order).unwrap().size()
    }

    /// What stands in a stretch of the scrub; `None` if its file is not there.
    fn stretch(&self, stretch: &Stretch) -> Option<Vec<u8>> {
        let (bytes, from, length) = match *stretch {
            Stretch::Filler { disk, page, pages } => (self.filler.get(&disk)?, page * 4096, u64::from(pages) * 4096),
            Stretch::File { order, chunk, chunks } => {
                (self.files.get(&order)?, chunk * SEALED_CHUNK as u64, u64::from(chunks) * SEALED_CHUNK as u64)
            }
            Stretch::Tree { order, node, nodes } => {
                let (from, length) = tree::range(self.size(&order), node, nodes.into()).unwrap();
                (self.trees.get(&order)?, from, length)
            }
        };
        let end = (from + length).min(bytes.len() as u64);
        Some(bytes.get(from as usize..end as usize).unwrap_or_default().to_vec())
    }

    /// Shows the scrub all that it asks for in this slot; what was bad, and how many bytes it read.
    fn scrub(&mut self) -> (Vec<Sample>, usize) {
        let (mut found, mut read) = (Vec::new(), 0);
        let mut next = self.enclave.scrub_next().unwrap().next;
        while let Some(stretch) = next {
            let bytes = self.stretch(&stretch);
            read += bytes.as_ref().map_or(0, Vec::len);
            let scrubbed = self.enclave.scrub(stretch, bytes).unwrap();
            self.keep(scrubbed.items);
            found.extend(scrubbed.bad);
            next = scrubbed.next;
        }
        (found, read)
    }

    /// What an honest host shows for an audit.
    fn audit(&self, order: OrderId, audited: u64) -> Audit {
        let (chunk, nodes) = self.enclave.audit_reads(&order, audited).unwrap();
        let chunk = self.read(&Sample::File { order, chunk }).unwrap();
        let nodes = nodes.iter().map(|node| self.read(&Sample::Tree { order, node: *node }).unwrap()).collect();
        Audit { order, audited, chunk, nodes }
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
            Signed::Heir(said) => (said.root, self.verified(said)),
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
        self.say(Saying::Report { prev, slot, audit: None })
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
            Signed::Heir(said) => (said.prev, said.root),
        };
        if prev != self.root {
            return false;
        }
        self.root = root;
        match state.lines.statement(&root).unwrap() {
            Signed::Receipts(said) => self.live.extend(said.orders.iter().copied()),
            Signed::Gone(said) => self.live.retain(|order| !said.orders.contains(order)),
            Signed::Report(_) => self.reports += 1,
            Signed::Heir(_) => {}
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

/// The blocks of a file in the order of the stream: one raw block, or leaves of 1 MiB under a root.
fn blocks(bytes: &[u8]) -> Vec<Vec<u8>> {
    if bytes.len() <= crust_protocol::walk::MAX_BLOCK {
        return vec![bytes.to_vec()];
    }
    let mut root = Vec::new();
    for leaf in bytes.chunks(1 << 20) {
        root.extend([0x12, 38, 0x0a, 36]);
        root.extend(Cid::of(Codec::Raw, HashFunction::Sha2_256, leaf).as_bytes());
    }
    [root].into_iter().chain(bytes.chunks(1 << 20).map(<[u8]>::to_vec)).collect()
}

/// An order for these bytes; of more than 2 MiB the root is part of the size.
fn content(bytes: &[u8], nonce: u64) -> Content {
    let blocks = blocks(bytes);
    let codec = if blocks.len() == 1 { Codec::Raw } else { Codec::DagPb };
    let stream = blocks.concat();
    Content {
        client: [3; 32],
        nonce,
        cid: Cid::of(codec, HashFunction::Sha2_256, &blocks[0]),
        size: stream.len() as u64,
        audit_root: *blake3::hash(&stream).as_bytes(),
        flags: 0,
    }
}

fn sealed(host: &mut Host, length: usize, nonce: u64) -> OrderId {
    let bytes = bytes(length, nonce);
    host.seal(&content(&bytes, nonce), &bytes)
}
