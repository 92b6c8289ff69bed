//! Checking: what is drawn for a slot, and what the answers say.
//!
//! Shown a slot and its hash, the enclave logs them and draws from a PRF of that hash and the log's head after that
//! record, with replacement, uniform over every byte that the log then says is held. Deleting, shrinking and sealing
//! wait until all is answered, and a restart before that draws the same.
//!
//! What was bad is remembered, one sample for every unit of filler and every file, and read again with each later draw
//! (outside the count of that draw). When it is good again it is forgotten; at the 24th failed re-read the unit is
//! dropped or the file lost. Bytes that the host cannot produce just now, of a disk that is not mounted say, are bad
//! but no failed re-read. While a disk has anything bad, or any file has (an enclave does not know on which disk a file
//! lies), no new filler is made for it: the strictest rule without a scrub. It ends with a later draw whose every
//! sample and re-read for it is good.

use std::collections::{BTreeMap, BTreeSet};

use codec::{Decode, Encode};
use crust_protocol::{Hash, Slot, order::OrderId, statement::good};

use crate::{
    log::Checked,
    rpc::{Disk, Error, Sample},
};

/// Failed re-reads after which a unit is dropped and a file lost.
pub const MAX_FAILED: u8 = 24;
/// The most re-reads of one draw; when more wait, the draw says with which it begins.
const MAX_REREADS: usize = 32_768;

/// What was bad when it was read last.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Encode, Decode)]
pub(crate) enum Target {
    /// A unit, by where it begins on its disk.
    #[codec(index = 0)]
    Unit(Disk, u64),
    #[codec(index = 1)]
    File(OrderId),
}

/// A sample that was bad, and how often since.
#[derive(Clone, Copy, Encode, Decode)]
pub(crate) struct Bad {
    sample: Sample,
    failed: u8,
}

/// The slot shown last.
#[derive(Clone, Copy, Encode, Decode)]
pub(crate) struct Shown {
    pub slot: Slot,
    pub slot_hash: Hash,
    /// Of the log after the record that says so.
    pub head: Hash,
}

/// The outcome of the draw answered last.
#[derive(Clone, Encode, Decode)]
pub(crate) struct Outcome {
    pub checked: Checked,
    /// Length of each disk's filler as it was drawn over, less what has given way since.
    pub drawn: BTreeMap<Disk, u64>,
}

/// Everything about checks that the log says.
#[derive(Default, Encode, Decode)]
pub(crate) struct Checks {
    pub shown: Option<Shown>,
    /// Of the slot shown, once its draw is answered.
    pub outcome: Option<Outcome>,
    /// In a snapshot entry by entry, as they may be many.
    #[codec(skip)]
    bad: BTreeMap<Target, Bad>,
    tainted: BTreeSet<Disk>,
    files_tainted: bool,
}

impl Checks {
    /// Whether a draw waits for answers.
    pub fn is_open(&self) -> bool {
        self.shown.is_some() && self.outcome.is_none()
    }

    pub fn slot(&self) -> Slot {
        self.shown.map_or(0, |shown| shown.slot)
    }

    pub fn show(&mut self, shown: Shown) {
        self.shown = Some(shown);
        self.outcome = None;
    }

    pub fn may_fill(&self, disk: &Disk) -> bool {
        !self.files_tainted && !self.tainted.contains(disk)
    }

    /// Takes over the answers to a draw; says what was given up.
    pub fn apply(
        &mut self,
        checked: Checked,
        drawn: BTreeMap<Disk, u64>,
        target: impl Fn(&Sample) -> Option<Target>,
    ) -> Vec<Sample> {
        for sample in &checked.mended {
            target(sample).and_then(|target| self.bad.remove(&target));
        }
        let mut given_up = Vec::new();
        for sample in &checked.failed {
            let Some(target) = target(sample) else { continue };
            if let Some(bad) = self.bad.get_mut(&target) {
                bad.failed = bad.failed.saturating_add(1);
                if bad.failed >= MAX_FAILED {
                    given_up.push(bad.sample);
                    self.bad.remove(&target);
                }
            }
        }
        for sample in &checked.bad {
            if let Some(target) = target(sample) {
                self.bad.entry(target).or_insert(Bad { sample: *sample, failed: 0 });
            }
        }
        for sample in &given_up {
            target(sample).and_then(|target| self.bad.remove(&target));
        }
        let still = self.bad.values().map(|bad| bad.sample);
        let found: Vec<Sample> = still.chain(checked.bad.iter().copied()).chain(given_up.iter().copied()).collect();
        self.tainted.clear();
        self.files_tainted = false;
        for sample in found {
            match sample {
                Sample::Filler { disk, .. } => {
                    self.tainted.insert(disk);
                }
                Sample::File { .. } => self.files_tainted = true,
            }
        }
        self.outcome = Some(Outcome { checked, drawn });
        given_up
    }

    /// Everything but what was bad.
    pub fn core(&self) -> Self {
        Checks {
            shown: self.shown,
            outcome: self.outcome.clone(),
            bad: BTreeMap::new(),
            tainted: self.tainted.clone(),
            files_tainted: self.files_tainted,
        }
    }

    /// All that was bad when it was read last.
    pub fn bad(&self) -> impl Iterator<Item = (&Target, &Bad)> {
        self.bad.iter()
    }

    pub fn restore(&mut self, target: Target, bad: Bad) {
        self.bad.insert(target, bad);
    }

    /// A file is no longer held.
    pub fn forget_file(&mut self, order: &OrderId) {
        self.bad.remove(&Target::File(*order));
    }

    /// A disk's filler was cut.
    pub fn forget_filler(&mut self, disk: &Disk, to: u64, page: u64) {
        self.bad.retain(|_, bad| match &bad.sample {
            Sample::Filler { disk: of, page: at } => of != disk || at.saturating_mul(page) < to,
            Sample::File { .. } => true,
        });
        if let Some(length) = self.outcome.as_mut().and_then(|outcome| outcome.drawn.get_mut(disk)) {
            *length = (*length).min(to);
        }
    }

    /// What was bad and is to be read again with this draw.
    fn rereads(&self, prf: &mut Prf) -> Vec<Sample> {
        let count = self.bad.len();
        let first = match u64::try_from(count) {
            Ok(count) if self.bad.len() > MAX_REREADS => usize::try_from(prf.below(count)).unwrap_or(0),
            _ => 0,
        };
        let samples = || self.bad.values().map(|bad| bad.sample);
        samples().skip(first).chain(samples().take(first)).take(MAX_REREADS).collect()
    }
}

/// A draw that is being answered.
pub(crate) struct Draw {
    /// Fresh ones first.
    samples: Vec<Sample>,
    fresh: usize,
    answered: usize,
    /// How many of each group were drawn and bad.
    filler: (u32, u32),
    files: (u32, u32),
    bad: BTreeSet<Sample>,
    failed: Vec<Sample>,
    mended: Vec<Sample>,
    /// Re-reads that could not be done.
    absent: Vec<Sample>,
}

impl Draw {
    /// Draws `count` bytes of each group that holds any, and adds what is to be read again.
    pub fn new(
        mut prf: Prf,
        count: u32,
        (filler_bytes, filler): (u64, impl Fn(&[u64]) -> Vec<Sample>),
        (file_bytes, files): (u64, impl Fn(&[u64]) -> Vec<Sample>),
        checks: &Checks,
    ) -> Self {
        let mut samples = filler(&prf.offsets(count, filler_bytes));
        let filler = u32::try_from(samples.len()).unwrap_or(u32::MAX);
        samples.extend(files(&prf.offsets(count, file_bytes)));
        let fresh = samples.len();
        let files = u32::try_from(fresh).unwrap_or(u32::MAX).saturating_sub(filler);
        samples.extend(checks.rereads(&mut prf));
        Draw {
            samples,
            fresh,
            answered: 0,
            filler: (filler, 0),
            files: (files, 0),
            bad: BTreeSet::new(),
            failed: Vec::new(),
            mended: Vec::new(),
            absent: Vec::new(),
        }
    }

    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }

    pub fn left(&self) -> usize {
        self.samples.len().saturating_sub(self.answered)
    }

    /// Takes a batch of answers; `is_good` compares the bytes.
    pub fn answer(
        &mut self,
        batch: Vec<Option<Vec<u8>>>,
        is_good: impl Fn(&Sample, Vec<u8>) -> bool,
    ) -> Result<(), Error> {
        if batch.len() > self.left() {
            return Err(Error::TooManySamples);
        }
        for bytes in batch {
            let Some(sample) = self.samples.get(self.answered).copied() else { return Err(Error::TooManySamples) };
            let fresh = self.answered < self.fresh;
            self.answered = self.answered.saturating_add(1);
            let there = bytes.is_some();
            let good = bytes.is_some_and(|bytes| is_good(&sample, bytes));
            match (fresh, good) {
                (true, true) => {}
                (true, false) => {
                    let group = match sample {
                        Sample::Filler { .. } => &mut self.filler.1,
                        Sample::File { .. } => &mut self.files.1,
                    };
                    *group = group.saturating_add(1);
                    self.bad.insert(sample);
                }
                (false, true) => self.mended.push(sample),
                (false, false) if there => self.failed.push(sample),
                (false, false) => self.absent.push(sample),
            }
        }
        Ok(())
    }

    /// What the complete answers say, and all that was bad.
    pub fn finish(self) -> (Checked, Vec<Sample>) {
        let all = self.bad.iter().chain(&self.failed).chain(&self.absent).copied().collect();
        let checked = Checked {
            good_filler: good(self.filler.1, self.filler.0),
            good_files: good(self.files.1, self.files.0),
            bad: self.bad.into_iter().collect(),
            failed: self.failed,
            mended: self.mended,
        };
        (checked, all)
    }
}

/// The stream of numbers that a draw comes of: `BLAKE3(K_sample, slot_hash ‖ head)`, as long as it is needed.
pub(crate) struct Prf(blake3::OutputReader);

impl Prf {
    pub fn new(key: &[u8; 32], shown: &Shown) -> Self {
        let mut hasher = blake3::Hasher::new_keyed(key);
        hasher.update(&shown.slot_hash).update(&shown.head);
        Prf(hasher.finalize_xof())
    }

    /// `count` numbers below `bytes`, ascending; none if there are no bytes.
    fn offsets(&mut self, count: u32, bytes: u64) -> Vec<u64> {
        if bytes == 0 {
            return Vec::new();
        }
        let mut offsets: Vec<u64> = (0..count).map(|_| self.below(bytes)).collect();
        offsets.sort_unstable();
        offsets
    }

    /// A number below `bound` (over 0), all equally likely.
    fn below(&mut self, bound: u64) -> u64 {
        let fair = u64::MAX.checked_rem(bound).map_or(0, |rest| u64::MAX.saturating_sub(rest));
        loop {
            let mut bytes = [0; 8];
            self.0.fill(&mut bytes);
            let number = u64::from_le_bytes(bytes);
            if number < fair {
                return number.checked_rem(bound).unwrap_or_default();
            }
        }
    }
}
