//! The enclave as its host sees it: one method for each request, from the first item of the log to a signature. It
//! checks what may be done; [`crate::state`] does it.

use std::{collections::BTreeSet, sync::Arc};

use bounded_collections::{BoundedVec, Get};
use crust_protocol::{
    Hash, Key, Slot,
    attestation::Collateral,
    order::{Content, OrderId},
    statement::{self, Gone, Receipts, Signature},
};

use crate::{
    Constants,
    filler::Grant,
    handover::Heir,
    load::Load,
    log::{Record, StateKey},
    platform::{self, Platform},
    rpc::{
        self, CheckResult, Disk, Error, FileInfo, MAX_GONE_FIRST, MAX_LIST, MAX_ORDERS, Sample, Saying, Scrub, Signed,
        Stretch,
    },
    seal::{Opener, Sealed, SealedTree, Sealer, TreeSealer},
    state::State,
    tree,
};

mod opening;
mod succession;

pub use succession::Handed;

/// An enclave on a platform.
pub struct Enclave {
    platform: Arc<dyn Platform>,
    constants: Constants,
    stage: Stage,
    /// `K_seal` is wrapped at an older security version than the platform has.
    rewrap: bool,
    /// Whether the platform has sealing keys, so that the log can be opened here again.
    keeps_key: bool,
    /// `K_seal` as another enclave gave it.
    inherited: Option<StateKey>,
    /// Of the hand-over that was begun.
    challenge: Option<Hash>,
    /// The key was asked for.
    heir: Option<Heir>,
    /// The log that is to be taken over.
    predecessor: Option<Load>,
}

/// How far the log is loaded.
enum Stage {
    Empty,
    Loading(Load),
    /// It is complete.
    Open(Box<State>),
}

/// Who an enclave is, and the items that its host does not have yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Opened {
    pub sign_pk: Key,
    pub channel_pk: Key,
    pub root: Hash,
    pub items: Vec<Vec<u8>>,
}

/// A part of a snapshot, for the host.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SnapshotPart {
    /// Of the last record that the snapshot stands for, and the root after it.
    pub number: u64,
    pub root: Hash,
    pub items: Vec<Vec<u8>>,
    /// From where the next part is to be asked for.
    pub next: Option<u64>,
}

/// What a stretch of the scrub showed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Scrubbed {
    pub items: Vec<Vec<u8>>,
    pub bad: Vec<Sample>,
    pub next: Option<Stretch>,
}

/// Where the answers to a draw stand.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Progress {
    pub left: u32,
    pub items: Vec<Vec<u8>>,
    pub result: Option<CheckResult>,
}

impl Enclave {
    pub fn new(platform: Arc<dyn Platform>, constants: Constants) -> Self {
        Enclave {
            platform,
            constants,
            stage: Stage::Empty,
            rewrap: false,
            keeps_key: false,
            inherited: None,
            challenge: None,
            heir: None,
            predecessor: None,
        }
    }

    /// Evidence for the identity, bound to a recent block.
    pub fn evidence(&self, block_hash: Hash) -> Result<(Vec<u8>, Option<Collateral>), Error> {
        let report_data = self.state()?.identity.report_data(block_hash);
        let quote = self.platform.quote(&report_data).map_err(unavailable)?;
        Ok((quote, self.platform.collateral().map_err(unavailable)?))
    }

    /// Begins to seal a file. The work goes on outside, so that several can be sealed at once.
    pub fn seal(&self, content: Content) -> Result<Sealer, Error> {
        let state = self.state()?;
        let order = content.id();
        if state.files.held(&order).is_some() {
            return Err(Error::AlreadySealed { order });
        }
        Ok(Sealer::new(content, state.state_key.clone(), state.begin(), &self.constants))
    }

    /// Begins to seal a file after its finished segments, if there are any: all of it is fed again, and sealed bytes come
    /// of what follows them.
    pub fn resume(&self, content: Content) -> Result<Sealer, Error> {
        let state = self.state()?;
        let order = content.id();
        if state.files.held(&order).is_some() {
            return Err(Error::AlreadySealed { order });
        }
        let mut begun = state.begin();
        let salts = match state.unfinished.get(&order) {
            Some(part) => {
                begun.slot = begun.slot.min(part.written());
                part.salts().to_vec()
            }
            None => Vec::new(),
        };
        Ok(Sealer::after(content, state.state_key.clone(), begun, &self.constants, salts))
    }

    /// Notes that the next finished segment of a file in work is durable on the host's disk.
    pub fn finish_segment(&mut self, sealer: &mut Sealer) -> Result<Vec<u8>, Error> {
        let state = self.state_mut()?;
        let mut segment = sealer.finished().ok_or(Error::NoSuchPart)?;
        segment.written = state.written(sealer.begun());
        let item = state.record(Record::Segment(segment))?;
        sealer.logged();
        Ok(item)
    }

    /// Holds a file whose sealed bytes are durable on a disk.
    pub fn hold(&mut self, sealed: &Sealed, disk: Disk) -> Result<Vec<u8>, Error> {
        let state = self.unchecked()?;
        if !state.checks.has_room(&disk) {
            return Err(Error::TooManyDisks);
        }
        if state.files.held(&sealed.id).is_some() {
            return Err(Error::AlreadySealed { order: sealed.id });
        }
        let record = Record::Sealed {
            order: sealed.id,
            size: sealed.content.size,
            flags: sealed.content.flags,
            salts: sealed.salts.clone(),
            tree: sealed.tree,
            disk,
            written: state.written(sealed.begun),
        };
        state.record(record)
    }

    /// Begins to make a file's hash tree anew, out of its sealed bytes.
    pub fn seal_tree(&self, order: OrderId) -> Result<TreeSealer, Error> {
        let state = self.state()?;
        let file = state.files.held(&order).ok_or(Error::NotSealed { order })?;
        let salts = state.files.salts(&order).unwrap_or_default();
        Ok(TreeSealer::new(order, file.size(), salts, state.state_key.clone(), self.constants.segment))
    }

    /// Holds a hash tree whose sealed bytes are durable; that before it can be deleted.
    pub fn hold_tree(&mut self, sealed: &SealedTree) -> Result<Vec<u8>, Error> {
        let state = self.unchecked()?;
        let order = sealed.order;
        let salts = state.files.salts(&order).unwrap_or_default();
        if salts.is_empty() || salts.first().copied() != sealed.of {
            return Err(Error::NotSealed { order });
        }
        state.record(Record::Tree { order, tree: sealed.salt })
    }

    /// What opens the chunks of a public file, or of its finished segments, from one of them on.
    pub fn opener(&self, order: &OrderId, chunk: u64) -> Result<Opener, Error> {
        let state = self.state()?;
        let Some(file) = state.files.held(order) else {
            let part = state.unfinished.get(order).ok_or(Error::NotSealed { order: *order })?;
            return part.opener(chunk, self.constants.segment, &state.state_key);
        };
        if file.is_private() {
            return Err(Error::Private);
        }
        state.files.opener(order, chunk, &state.state_key)
    }

    /// Leave to take the next filler of a disk.
    pub fn filler(&mut self, disk: Disk, bytes: u32) -> Result<Grant, Error> {
        let state = self.state_mut()?;
        if !state.checks.may_fill(&disk) {
            return Err(Error::DiskBad);
        }
        if !state.checks.has_room(&disk) {
            return Err(Error::TooManyDisks);
        }
        let shown = state.checks.slot();
        state.filler.grant(disk, bytes, shown)
    }

    /// Counts the filler unit in work on a disk, whose bytes are durable.
    pub fn commit_filler(&mut self, disk: Disk) -> Result<Vec<u8>, Error> {
        let state = self.unchecked()?;
        if !state.checks.may_fill(&disk) {
            return Err(Error::DiskBad);
        }
        let record = state.filler.finished(disk)?;
        state.record(record)
    }

    /// Cuts a disk's filler, and throws the unit in work on it away; no item if only that.
    pub fn shrink(&mut self, disk: Disk, to: u64) -> Result<Vec<Vec<u8>>, Error> {
        let state = self.unchecked()?;
        state.filler.may_shrink(&disk, to)?;
        if to == state.filler.length(&disk) {
            state.filler.abandon(&disk);
            return Ok(Vec::new());
        }
        Ok(vec![state.record(Record::Shrunk { disk, to })?])
    }

    /// Shows a slot: what is to be read. The draw of the slot shown last is the same until it is answered; an answered
    /// one is not drawn again.
    pub fn show(&mut self, slot: Slot, slot_hash: Hash) -> Result<(Vec<Vec<u8>>, Vec<Sample>), Error> {
        let constants = self.constants;
        let state = self.state_mut()?;
        let mut items = Vec::new();
        let again = state.checks.shown.is_some_and(|shown| (shown.slot, shown.slot_hash) == (slot, slot_hash));
        if again && !state.checks.is_open() {
            return Ok((items, Vec::new()));
        }
        if !again {
            items.push(state.record(Record::Shown { slot, slot_hash })?);
        }
        let draw = state.draw(&constants).unwrap_or_default().to_vec();
        Ok((items, draw))
    }

    /// Takes answers to the draw, in its order. An empty batch ends an empty draw, and says again what the last found.
    pub fn answer(&mut self, batch: Vec<Option<Vec<u8>>>) -> Result<Progress, Error> {
        let state = self.state_mut()?;
        let Some(mut draw) = state.draw.take() else {
            let result = last_result(state).filter(|_| batch.is_empty()).ok_or(Error::NoCheck)?;
            return Ok(Progress { left: 0, items: Vec::new(), result: Some(result) });
        };
        let answered = draw.answer(batch, |sample, bytes| state.is_good(sample, bytes));
        let left = u32::try_from(draw.left()).unwrap_or(u32::MAX);
        if answered.is_err() || left > 0 {
            state.draw = Some(draw);
            answered?;
            return Ok(Progress { left, items: Vec::new(), result: None });
        }
        let (checked, bad) = draw.finish();
        let slot = state.checks.slot();
        let result = CheckResult { slot, good_filler: checked.good_filler, good_files: checked.good_files, bad };
        let items = vec![state.record(Record::Checked(checked))?];
        Ok(Progress { left, items, result: Some(result) })
    }

    /// What an audit of 1 KiB of a file is answered from: a sealed chunk, and sealed nodes of the hash tree.
    pub fn audit_reads(&self, order: &OrderId, audited: u64) -> Result<(u64, Vec<u64>), Error> {
        let file = self.state()?.files.held(order).ok_or(Error::NotSealed { order: *order })?;
        tree::needed(file.size(), audited).ok_or(Error::NoSuchPart)
    }

    /// Where the scrub stands.
    pub fn scrub_next(&mut self) -> Result<Scrub, Error> {
        let period = self.constants.scrub_period;
        let state = self.unchecked()?;
        let next = state.scrub_next();
        Ok(Scrub { next, until: state.oldest(), period, waiting: state.checks.tainted().collect() })
    }

    /// Takes what stands in the stretch that is next.
    pub fn scrub(&mut self, stretch: Stretch, bytes: Option<Vec<u8>>) -> Result<Scrubbed, Error> {
        let state = self.unchecked()?;
        let (bad, record) = state.scrub(stretch, bytes)?;
        let items = record.map(|record| state.record(Record::Scrubbed(record))).transpose()?;
        Ok(Scrubbed { items: items.into_iter().collect(), bad, next: state.scrub_next() })
    }

    /// Forgets files.
    pub fn delete(&mut self, orders: Vec<OrderId>) -> Result<Vec<u8>, Error> {
        let state = self.unchecked()?;
        distinct(&orders, MAX_ORDERS)?;
        let known = |order| state.files.get(order).is_some() || state.unfinished.get(order).is_some();
        if let Some(order) = orders.iter().find(|order| !known(order)) {
            return Err(Error::NotSealed { order: *order });
        }
        state.record(Record::Deleted { orders })
    }

    /// Gives files up.
    pub fn lose(&mut self, orders: Vec<OrderId>) -> Result<Vec<u8>, Error> {
        let state = self.unchecked()?;
        distinct(&orders, MAX_ORDERS)?;
        if let Some(order) = orders.iter().find(|order| state.files.held(order).is_none()) {
            return Err(Error::NotSealed { order: *order });
        }
        state.record(Record::Lost { orders })
    }

    /// Makes a statement, if the line of its `prev` allows it.
    pub fn say(&mut self, saying: Saying) -> Result<(Vec<u8>, Signed), Error> {
        let keeps_key = self.keeps_key;
        let state = self.state_mut()?;
        let unsigned = match saying {
            Saying::Receipts { prev, orders } => {
                nothing_due(state, &prev)?;
                if !keeps_key && !state.succession.handed {
                    return Err(Error::NoStandby);
                }
                if let Some(order) = orders.iter().find(|order| state.files.held(order).is_none()) {
                    return Err(Error::NotSealed { order: *order });
                }
                Signed::Receipts(Receipts { prev, root: [0; 32], orders: named(orders)? })
            }
            Saying::Gone { prev, orders } => {
                state.lines.check_prev(&prev)?;
                if let Some(order) = orders.iter().find(|order| !state.lines.is_owed(order)) {
                    return Err(Error::NotGone { order: *order });
                }
                Signed::Gone(Gone { prev, root: [0; 32], orders: named(orders)? })
            }
            Saying::Report { prev, slot, audit } => {
                nothing_due(state, &prev)?;
                let answer = audit.map(|audit| state.answer(audit)).transpose()?;
                Signed::Report(state.report(prev, slot, answer)?)
            }
            Saying::Heir { prev, heir } => {
                nothing_due(state, &prev)?;
                Signed::Heir(statement::Heir { prev, root: [0; 32], heir })
            }
        };
        let item = state.record(Record::Said(unsigned))?;
        let said = state.lines.statement(&state.root()).cloned().ok_or(Error::UnknownRoot)?;
        Ok((item, said))
    }

    /// Signs a statement that is durable in the log.
    pub fn release(&self, root: &Hash) -> Result<Signature, Error> {
        let state = self.state()?;
        Ok(match state.lines.statement(root).ok_or(Error::UnknownRoot)? {
            Signed::Receipts(receipts) => state.identity.sign(receipts),
            Signed::Gone(gone) => state.identity.sign(gone),
            Signed::Report(report) => state.identity.sign(report),
            Signed::Heir(heir) => state.identity.sign(heir),
        })
    }

    /// The host says that a root is final; no item if it is known to be.
    pub fn finalise(&mut self, root: Hash) -> Result<Vec<Vec<u8>>, Error> {
        let state = self.state_mut()?;
        if !state.lines.may_finalise(&root)? {
            return Ok(Vec::new());
        }
        Ok(vec![state.record(Record::Final { root })?])
    }

    pub fn overview(&self) -> Result<rpc::State, Error> {
        let state = self.state()?;
        Ok(rpc::State {
            root: state.root(),
            sign_pk: state.identity.sign_pk(),
            filler: state.filler.lengths().collect(),
            files: state.files.count(),
            stored_bytes: state.files.bytes(),
            shown: state.checks.shown.map(|shown| (shown.slot, shown.slot_hash)),
            checking: state.checks.is_open(),
            gone_due: u64::try_from(state.lines.owed().len()).unwrap_or(u64::MAX),
            rewrap: self.rewrap,
        })
    }

    pub fn files(&self, after: Option<&OrderId>, limit: u32) -> Result<Vec<FileInfo>, Error> {
        Ok(self.state()?.files.list(after, list_limit(limit)))
    }

    /// What must be named gone on the line of `prev`.
    pub fn gone_due(&mut self, prev: &Hash, limit: u32) -> Result<Vec<OrderId>, Error> {
        self.state_mut()?.lines.due(prev, list_limit(limit))
    }

    fn state(&self) -> Result<&State, Error> {
        if let Stage::Open(state) = &self.stage { Ok(state) } else { Err(Error::NotOpen) }
    }

    fn state_mut(&mut self) -> Result<&mut State, Error> {
        if let Stage::Open(state) = &mut self.stage { Ok(state) } else { Err(Error::NotOpen) }
    }

    /// The state, unless a draw waits for answers: until then nothing that it was drawn over may change.
    fn unchecked(&mut self) -> Result<&mut State, Error> {
        let state = self.state_mut()?;
        if state.checks.is_open() { Err(Error::Checking) } else { Ok(state) }
    }
}

fn nothing_due(state: &mut State, prev: &Hash) -> Result<(), Error> {
    let orders = state.lines.due(prev, MAX_GONE_FIRST)?;
    if orders.is_empty() { Ok(()) } else { Err(Error::GoneFirst { orders }) }
}

fn last_result(state: &State) -> Option<CheckResult> {
    let checked = state.checks.outcome.as_ref()?;
    Some(CheckResult {
        slot: state.checks.slot(),
        good_filler: checked.good_filler,
        good_files: checked.good_files,
        bad: checked.bad.iter().chain(&checked.failed).copied().collect(),
    })
}

fn named<S: Get<u32>>(orders: Vec<OrderId>) -> Result<BoundedVec<OrderId, S>, Error> {
    distinct(&orders, MAX_ORDERS)?;
    orders.try_into().map_err(|_| Error::Orders)
}

fn distinct(orders: &[OrderId], most: usize) -> Result<(), Error> {
    let different: BTreeSet<&OrderId> = orders.iter().collect();
    if orders.is_empty() || orders.len() > most || different.len() < orders.len() { Err(Error::Orders) } else { Ok(()) }
}

fn list_limit(limit: u32) -> usize {
    usize::try_from(limit.min(MAX_LIST)).unwrap_or_default()
}

fn unavailable(error: platform::Error) -> Error {
    Error::Platform(error.to_string())
}

#[cfg(test)]
#[path = "enclave_tests/mod.rs"]
mod tests;
