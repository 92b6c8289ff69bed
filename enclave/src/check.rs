//! Checking: what is drawn for a slot, and what the answers say.
//!
//! Shown a slot and its hash, the enclave logs them and draws from a PRF of that hash and the log's head after that
//! record, with replacement, uniform over every byte that the log then says is held. Deleting, shrinking and sealing
//! wait until all is answered, and a restart before that draws the same.
//!
//! What was bad is remembered, one sample for every unit of filler and every file, and read again with each later draw
//! (outside the count of that draw). When it is good again it is forgotten; at the 24th failed re-read the unit is
//! dropped or the file lost. Bytes that the host cannot produce just now, of a disk that is not mounted say, are bad
//! but no failed re-read.
//!
//! A disk on which anything was bad gets no new filler before a full scrub of it has passed ([`crate::scrub`]): nothing
//! on it is bad any more, and all of it was read again in later slots. On which disk a file lies the host says, as it
//! says what a disk is; whoever lies about it has the bad file counted in every draw all the same.

use std::collections::{BTreeMap, BTreeSet};

use codec::{Decode, Encode};
use crust_protocol::{Hash, Slot, order::OrderId, statement::good};

use crate::{
    log::Checked,
    rpc::{Disk, Error, Sample},
    scrub::Scrub,
};

/// Failed re-reads after which a unit is dropped and a file lost.
pub const MAX_FAILED: u8 = 24;
/// The most re-reads of one draw; when more wait, the draw says with which it begins.
const MAX_REREADS: usize = 32_768;

/// The most disks of a node.
const MAX_DISKS: usize = 256;

/// What is good or bad as a whole, and scrubbed as a whole.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Encode, Decode)]
pub(crate) enum Target {
    /// A unit, by where it begins on its disk.
    #[codec(index = 0)]
    Unit(Disk, u64),
    #[codec(index = 1)]
    File(OrderId),
}

/// A sample that was bad when it was read last, and how often since it was first.
#[derive(Clone, Copy, Encode, Decode)]
pub(crate) struct Bad {
    sample: Sample,
    failed: u8,
    /// The number of its disk.
    disk: u8,
}

/// A disk that was named once.
#[derive(Clone, Encode, Decode)]
struct Watched {
    disk: Disk,
    /// The slot in which something on it was found bad last, until a full scrub of it has passed.
    tainted: Option<Slot>,
}

/// The slot shown last.
#[derive(Clone, Copy, Encode, Decode)]
pub(crate) struct Shown {
    pub slot: Slot,
    pub slot_hash: Hash,
    /// Number of the record that says so, and the log's head after it.
    pub number: u64,
    pub head: Hash,
}

/// Everything about checks that the log says.
#[derive(Default, Encode, Decode)]
pub(crate) struct Checks {
    pub shown: Option<Shown>,
    /// What the draw of the slot shown found, once it is answered.
    pub outcome: Option<Checked>,
    /// In a snapshot entry by entry, as they may be many.
    #[codec(skip)]
    bad: BTreeMap<Target, Bad>,
    /// Every disk of a file or a unit, in the order of their numbers.
    disks: Vec<Watched>,
    pub scrub: Scrub,
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
        for tainted in self.disks.iter_mut().filter_map(|watched| watched.tainted.as_mut()) {
            *tainted = shown.slot.min(*tainted);
        }
        self.scrub.show(shown.slot);
        self.shown = Some(shown);
        self.outcome = None;
    }

    /// The number of a disk that was named.
    pub fn number(&self, disk: &Disk) -> Option<u8> {
        u8::try_from(self.disks.iter().position(|watched| watched.disk == *disk)?).ok()
    }

    pub fn disk(&self, number: u8) -> Option<Disk> {
        self.disks.get(usize::from(number)).map(|watched| watched.disk)
    }

    /// Whether this is a disk that was named, or can be.
    pub fn has_room(&self, disk: &Disk) -> bool {
        self.disks.len() < MAX_DISKS || self.number(disk).is_some()
    }

    /// The number of a disk, named from now on.
    pub fn name(&mut self, disk: Disk) -> u8 {
        self.number(&disk).unwrap_or_else(|| {
            self.disks.push(Watched { disk, tainted: None });
            u8::try_from(self.disks.len().saturating_sub(1)).unwrap_or(u8::MAX)
        })
    }

    pub fn may_fill(&self, disk: &Disk) -> bool {
        self.disks.iter().all(|watched| watched.disk != *disk || watched.tainted.is_none())
    }

    /// The slot in which something on a disk was found bad last, until a full scrub of it has passed.
    pub fn tainted_at(&self, number: u8) -> Option<Slot> {
        self.disks.get(usize::from(number))?.tainted
    }

    /// Disks that wait for a full scrub.
    pub fn tainted(&self) -> impl Iterator<Item = Disk> + '_ {
        self.disks.iter().filter(|watched| watched.tainted.is_some()).map(|watched| watched.disk)
    }

    /// Something on a disk is bad.
    pub fn taint(&mut self, number: u8) {
        let slot = self.slot();
        if let Some(watched) = self.disks.get_mut(usize::from(number)) {
            watched.tainted = Some(slot);
        }
    }

    /// Lifts the taint of disks on which nothing is bad and all was read since, in later slots.
    pub fn lift(&mut self, all_read: impl Fn(u8, &Disk, Slot) -> bool) {
        for (number, watched) in (0..=u8::MAX).zip(&mut self.disks) {
            if let Some(tainted) = watched.tainted
                && !self.bad.values().any(|bad| bad.disk == number)
                && all_read(number, &watched.disk, tainted)
            {
                watched.tainted = None;
            }
        }
    }

    /// Whether something of a target was bad when it was read last.
    pub fn is_bad(&self, target: &Target) -> bool {
        self.bad.contains_key(target)
    }

    /// Whether more is bad than one draw reads again: then nothing more is looked for.
    pub fn is_overfull(&self) -> bool {
        self.bad.len() >= MAX_REREADS
    }

    /// Something bad was found.
    pub fn find(&mut self, sample: Sample, target: Target, disk: u8) {
        self.bad.entry(target).or_insert(Bad { sample, failed: 0, disk });
        self.taint(disk);
    }

    /// Takes over the answers to a draw; says what was given up. `target` names what a sample is of, and the number of
    /// its disk.
    pub fn apply(&mut self, checked: Checked, target: impl Fn(&Sample) -> Option<(Target, u8)>) -> Vec<Target> {
        for sample in &checked.mended {
            target(sample).and_then(|(target, _)| self.bad.remove(&target));
        }
        let mut given_up = Vec::new();
        for sample in &checked.failed {
            let Some((target, _)) = target(sample) else { continue };
            if let Some(bad) = self.bad.get_mut(&target) {
                bad.failed = bad.failed.saturating_add(1);
                if bad.failed >= MAX_FAILED {
                    given_up.push(target);
                }
            }
        }
        for sample in &checked.bad {
            if let Some((target, disk)) = target(sample) {
                self.find(*sample, target, disk);
            }
        }
        for target in &given_up {
            if let Some(bad) = self.bad.remove(target) {
                self.taint(bad.disk);
            }
        }
        self.outcome = Some(checked);
        given_up
    }

    /// Everything but what was bad.
    pub fn core(&self) -> Self {
        Checks {
            shown: self.shown,
            outcome: self.outcome.clone(),
            bad: BTreeMap::new(),
            disks: self.disks.clone(),
            scrub: self.scrub.clone(),
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
        self.scrub.forget(|target| *target == Target::File(*order));
    }

    /// A file has another hash tree: what was bad of the old one is gone, and the file is read again from its begin.
    pub fn forget_tree(&mut self, order: &OrderId) {
        let target = Target::File(*order);
        if self.bad.get(&target).is_some_and(|bad| matches!(bad.sample, Sample::Tree { .. })) {
            self.bad.remove(&target);
        }
        self.scrub.forget(|other| *other == target);
    }

    /// A disk's filler was cut.
    pub fn forget_filler(&mut self, disk: &Disk, to: u64, page: u64) {
        self.bad.retain(|_, bad| match &bad.sample {
            Sample::Filler { disk: of, page: at } => of != disk || at.saturating_mul(page) < to,
            Sample::File { .. } | Sample::Tree { .. } => true,
        });
        self.scrub.forget(|target| matches!(target, Target::Unit(of, begin) if of == disk && *begin >= to));
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
                        Sample::File { .. } | Sample::Tree { .. } => &mut self.files.1,
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
