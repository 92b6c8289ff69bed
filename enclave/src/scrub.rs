//! The scrub: a rolling pass that reads everything again.
//!
//! Whatever was read longest ago comes next: whole units of filler, whole files with their hash trees, in stretches that
//! the host shows ([`Stretch`]). What was read to its end and was good is marked with the slot that was shown when its
//! reading began. How fast it goes is the host's affair: the oldest mark stands in every report.
//!
//! What is bad is logged at once and from then on read with every draw ([`crate::check`]); its mark stays where it was,
//! and it is read again here when it is good. What lies on disks that wait for a full scrub comes before all else. A disk
//! that is not there taints itself and is left alone for the rest of the slot.
//!
//! How far the scrub is stands in the log from time to time; what was read since is read again after a restart.

use std::collections::{BTreeSet, BinaryHeap, VecDeque};

use codec::{Decode, Encode};
use crust_protocol::Slot;

use crate::{
    check::Target,
    filler::PAGE,
    rpc::{Disk, Error, Sample, Stretch},
    seal::{self, SEALED_CHUNK},
    state::State,
    tree,
};

/// Chunks and nodes in a stretch, at most.
const CHUNKS: u64 = 32;
/// Pages in a stretch, at most.
const PAGES: u64 = 512;
/// Targets chosen at a time.
const QUEUE: usize = 1_024;
/// Targets read to their end, and bytes read, after which that is logged.
const MOST_DONE: usize = 256;
const MOST_READ: u64 = 1 << 30;

/// How far the scrub is.
#[derive(Clone, Default, Encode, Decode)]
pub(crate) struct Scrub {
    /// What was in work when it was logged last.
    logged: Option<Work>,
    /// That was taken up in this run, or given up.
    #[codec(skip)]
    resumed: bool,
    #[codec(skip)]
    work: Option<Work>,
    #[codec(skip)]
    queue: VecDeque<Target>,
    /// Read to the end and good, and not logged yet, each with the slot of its begin.
    #[codec(skip)]
    done: Vec<(Target, Slot)>,
    /// Bytes read since the last record.
    #[codec(skip)]
    read: u64,
    /// Disks that were not there in this slot.
    #[codec(skip)]
    away: BTreeSet<u8>,
}

/// What is being read.
#[derive(Clone, Copy, Encode, Decode)]
pub(crate) struct Work {
    pub target: Target,
    /// Chunks and nodes of a file, pages of a unit, that were read.
    pub next: u64,
    /// The slot shown when that began.
    pub since: Slot,
    pub spoilt: bool,
}

/// What the scrub has found.
#[derive(Encode, Decode)]
pub(crate) struct Scrubbed {
    pub bad: Option<Sample>,
    /// A disk that is not there.
    pub away: Option<Disk>,
    pub done: Vec<(Target, Slot)>,
    pub work: Option<Work>,
}

impl Scrub {
    /// A slot was shown.
    pub fn show(&mut self, slot: Slot) {
        self.away.clear();
        let works = self.logged.iter_mut().chain(&mut self.work).map(|work| &mut work.since);
        for since in works.chain(self.done.iter_mut().map(|(_, since)| since)) {
            *since = slot.min(*since);
        }
    }

    /// These targets are gone; others of the same name may come.
    pub fn forget(&mut self, gone: impl Fn(&Target) -> bool) {
        for work in [&mut self.logged, &mut self.work] {
            *work = work.filter(|work| !gone(&work.target));
        }
        self.done.retain(|(target, _)| !gone(target));
    }

    /// What was in work is so in the log.
    pub fn log(&mut self, work: Option<Work>) {
        self.logged = work;
    }
}

impl State {
    /// What is to be read next.
    pub fn scrub_next(&mut self) -> Option<Stretch> {
        loop {
            let work = match self.checks.scrub.work {
                Some(work) => work,
                None => self.scrub_begin()?,
            };
            match self.stretch(&work) {
                Some(stretch) => {
                    self.checks.scrub.work = Some(work);
                    return Some(stretch);
                }
                None => self.scrub_end(&work),
            }
        }
    }

    /// Takes what stands in the stretch that is next; what of it is bad, and what is to be logged.
    pub fn scrub(
        &mut self,
        stretch: Stretch,
        bytes: Option<Vec<u8>>,
    ) -> Result<(Vec<Sample>, Option<Scrubbed>), Error> {
        if self.scrub_next() != Some(stretch) {
            return Err(Error::NotNext);
        }
        let Some(mut work) = self.checks.scrub.work else { return Err(Error::NotNext) };
        let Some(bytes) = bytes else { return Ok((Vec::new(), self.scrub_away(&work))) };
        let bad = self.bad_in(&stretch, &bytes);
        let news = bad.first().filter(|_| !work.spoilt).copied();
        work.next = work.next.saturating_add(match stretch {
            Stretch::Filler { pages, .. } => pages.into(),
            Stretch::File { chunks, .. } => chunks.into(),
            Stretch::Tree { nodes, .. } => nodes.into(),
        });
        work.spoilt |= !bad.is_empty();
        self.checks.scrub.work = Some(work);
        self.checks.scrub.read = self.checks.scrub.read.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        if self.stretch(&work).is_none() {
            self.scrub_end(&work);
        }
        let scrub = &mut self.checks.scrub;
        let full = scrub.done.len() >= MOST_DONE || scrub.read >= MOST_READ;
        let idle = scrub.work.is_none() && scrub.queue.is_empty();
        if !full && !idle && news.is_none() {
            return Ok((bad, None));
        }
        scrub.read = 0;
        Ok((bad, Some(Scrubbed { bad: news, away: None, done: std::mem::take(&mut scrub.done), work: scrub.work })))
    }

    /// Begins with the next target.
    fn scrub_begin(&mut self) -> Option<Work> {
        let resumed = std::mem::replace(&mut self.checks.scrub.resumed, true);
        if let Some(logged) = self.checks.scrub.logged.filter(|work| !resumed && self.is_due(&work.target)) {
            return Some(logged);
        }
        if self.checks.scrub.queue.is_empty() {
            self.checks.scrub.queue = self.oldest_targets();
        }
        loop {
            let target = self.checks.scrub.queue.pop_front()?;
            if self.is_due(&target) {
                return Some(Work { target, next: 0, since: self.checks.slot(), spoilt: false });
            }
        }
    }

    /// Ends with a target: it was read to its end, or is gone.
    fn scrub_end(&mut self, work: &Work) {
        if !work.spoilt && self.mark_of(&work.target).is_some() {
            self.checks.scrub.done.push((work.target, work.since));
        }
        self.checks.scrub.work = None;
    }

    /// A disk is not there. That is logged once a slot.
    fn scrub_away(&mut self, work: &Work) -> Option<Scrubbed> {
        let number = self.mark_of(&work.target)?.1;
        self.checks.scrub.away.insert(number);
        self.checks.scrub.work = None;
        if self.checks.tainted_at(number) == Some(self.checks.slot()) {
            return None;
        }
        let done = std::mem::take(&mut self.checks.scrub.done);
        Some(Scrubbed { bad: None, away: self.checks.disk(number), done, work: None })
    }

    /// Whether a target is to be read: counts, is not known to be bad, and was not read in this slot.
    fn is_due(&self, target: &Target) -> bool {
        let checks = &self.checks;
        let due = |(mark, disk): (Slot, u8)| mark < checks.slot() && !checks.scrub.away.contains(&disk);
        self.mark_of(target).is_some_and(due) && !checks.is_bad(target)
    }

    /// When a target that counts was read last, and the number of its disk.
    fn mark_of(&self, target: &Target) -> Option<(Slot, u8)> {
        match target {
            Target::File(order) => {
                let file = self.files.held(order).filter(|file| file.counts())?;
                Some((file.written(), file.disk()))
            }
            Target::Unit(disk, begin) => Some((self.filler.part(disk, *begin)?.1, self.checks.number(disk)?)),
        }
    }

    /// Those that were read longest ago, on disks that wait for a full scrub before the others.
    fn oldest_targets(&self) -> VecDeque<Target> {
        let checks = &self.checks;
        if checks.slot() == 0 || checks.is_overfull() {
            return VecDeque::new();
        }
        let mut oldest = BinaryHeap::new();
        let mut add = |target: Target, mark: Slot, disk: u8| {
            if mark >= checks.slot() || checks.scrub.away.contains(&disk) || checks.is_bad(&target) {
                return;
            }
            let waits = checks.tainted_at(disk).is_some_and(|tainted| mark <= tainted);
            oldest.push((!waits, mark, target));
            if oldest.len() > QUEUE {
                oldest.pop();
            }
        };
        for (disk, begin, mark) in self.filler.parts() {
            if let Some(number) = checks.number(&disk) {
                add(Target::Unit(disk, begin), mark, number);
            }
        }
        for file in self.files.iter().filter(|file| file.counts()) {
            add(Target::File(file.order()), file.written(), file.disk());
        }
        oldest.into_sorted_vec().into_iter().map(|(_, _, target)| target).collect()
    }

    /// What of a target comes next; `None` if it was read to its end, or is gone.
    fn stretch(&self, work: &Work) -> Option<Stretch> {
        let next = |end: u64, most: u64| {
            let left = end.checked_sub(work.next).filter(|left| *left > 0)?;
            u32::try_from(left.min(most)).ok()
        };
        match work.target {
            Target::Unit(disk, begin) => {
                let pages = next(self.filler.part(&disk, begin)?.0 / PAGE, PAGES)?;
                Some(Stretch::Filler { disk, page: (begin / PAGE).saturating_add(work.next), pages })
            }
            Target::File(order) => {
                let size = self.files.held(&order)?.size();
                let chunks = seal::chunks(size);
                if let Some(chunks) = next(chunks, CHUNKS) {
                    return Some(Stretch::File { order, chunk: work.next, chunks });
                }
                let nodes = next(chunks.saturating_add(tree::nodes(size)), CHUNKS)?;
                Some(Stretch::Tree { order, node: work.next.saturating_sub(chunks), nodes })
            }
        }
    }

    /// Everything in a stretch that is not what it should be.
    fn bad_in(&self, stretch: &Stretch, bytes: &[u8]) -> Vec<Sample> {
        let (mut bad, mut rest) = (Vec::new(), bytes);
        let mut take = |length: usize| {
            let (taken, left) = rest.split_at_checked(length).unwrap_or((rest, &[]));
            rest = left;
            taken
        };
        match *stretch {
            Stretch::Filler { disk, page, pages } => {
                let length = usize::try_from(PAGE).unwrap_or_default();
                for page in page..page.saturating_add(pages.into()) {
                    if !self.filler.is_page(&disk, page, take(length)) {
                        bad.push(Sample::Filler { disk, page });
                    }
                }
            }
            Stretch::File { order, chunk, chunks } => {
                let size = self.files.held(&order).map_or(0, |file| file.size());
                let opener = self.files.opener(&order, chunk, &self.state_key);
                for chunk in chunk..chunk.saturating_add(chunks.into()) {
                    let sealed = take(seal::sealed_length(size, chunk).unwrap_or(SEALED_CHUNK));
                    if !opener.as_ref().is_ok_and(|opener| opener.is_chunk(chunk, sealed)) {
                        bad.push(Sample::File { order, chunk });
                    }
                }
            }
            Stretch::Tree { order, node, nodes } => {
                let size = self.files.held(&order).map_or(0, |file| file.size());
                for (node, length) in (node..).zip(tree::lengths(size, node, nodes.into())) {
                    if self.files.open_node(&order, node, take(length), &self.state_key).is_err() {
                        bad.push(Sample::Tree { order, node });
                    }
                }
            }
        }
        bad
    }
}
