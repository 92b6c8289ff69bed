//! What the log says: the one place where records become state, at a start and at work alike.

use std::collections::BTreeMap;

use codec::{Decode, Encode};
use crust_protocol::{
    Hash, Key, Slot,
    order::OrderId,
    statement::{Answer, Report, first_root},
};
use zeroize::Zeroizing;

use crate::{
    Constants,
    check::{Checks, Draw, Prf, Shown, Target},
    files::{self, Files},
    filler::{Filler, PAGE},
    identity::{Identity, Secrets},
    log::{Checked, Log, Record, StateKey},
    rpc::{Audit, Error, Sample, Signed},
    scrub::Scrubbed,
    seal::{Begun, sealed_length},
    statements::Lines,
    tree,
    unfinished::Unfinished,
};

/// The state of an enclave that has an identity.
pub(crate) struct State {
    pub identity: Identity,
    pub state_key: StateKey,
    pub files: Files,
    pub unfinished: Unfinished,
    pub filler: Filler,
    pub checks: Checks,
    pub lines: Lines,
    pub succession: Succession,
    /// The draw that is being answered.
    pub draw: Option<Draw>,
    log: Log,
    sample_key: Zeroizing<[u8; 32]>,
    /// How often a lower slot was shown after a higher one in this run, and the lowest of them.
    pulls: u64,
    lowest: Slot,
}

/// The most heirs that are remembered; an older one must be named again.
const MAX_HEIRS: usize = 16;

/// Who may follow.
#[derive(Clone, Default, Encode, Decode)]
pub(crate) struct Succession {
    /// Keys that were named as heirs, the youngest last.
    pub heirs: Vec<Key>,
    /// The key was handed to another enclave.
    pub handed: bool,
    /// The newest date that a vendor signed and this enclave saw, in seconds since 1970.
    pub seen: u64,
}

impl State {
    /// A new identity, with the first items of its log.
    pub fn create(
        state_key: StateKey,
        genesis: Hash,
        provider: Key,
        constants: &Constants,
    ) -> Result<(Self, Vec<u8>), Error> {
        let record = Record::Identity(Secrets::new(genesis, provider)?);
        let item = Log::new(&state_key)?.seal(&record)?;
        let state = Self::from_first(state_key, &item, constants)?.ok_or(Error::Log { item: 1 })?;
        Ok((state, item))
    }

    /// The state after the first record; `None` if the item is none.
    pub fn from_first(state_key: StateKey, item: &[u8], constants: &Constants) -> Result<Option<Self>, Error> {
        let mut log = Log::new(&state_key)?;
        let Some(Record::Identity(secrets)) = log.open(item) else { return Ok(None) };
        let Some(identity) = Identity::new(&secrets) else { return Ok(None) };
        let root = first_root(&identity.sign_pk());
        log.begin(root, item);
        Self::new(identity, log, Lines::new(root, 0), Checks::default(), state_key, constants).map(Some)
    }

    /// A state without files, filler and statements.
    pub fn new(
        identity: Identity,
        log: Log,
        lines: Lines,
        checks: Checks,
        state_key: StateKey,
        constants: &Constants,
    ) -> Result<Self, Error> {
        Ok(State {
            identity,
            files: Files::new(constants.segment),
            unfinished: Unfinished::default(),
            filler: Filler::new(constants.filler_unit)?,
            checks,
            lines,
            succession: Succession::default(),
            draw: None,
            log,
            sample_key: state_key.derive(b"", b"crust/sample/v1"),
            state_key,
            pulls: 0,
            lowest: Slot::MAX,
        })
    }

    pub fn root(&self) -> Hash {
        self.log.head()
    }

    /// The number of the next item.
    pub fn next_item(&self) -> u64 {
        self.log.next()
    }

    /// Takes the next item of a log that is being loaded; `false` if it is not one.
    pub fn replay(&mut self, item: &[u8]) -> bool {
        match self.log.open(item) {
            None | Some(Record::Identity(_)) => false,
            Some(record) => {
                self.append(item, record);
                true
            }
        }
    }

    /// What the next item of the log says, were it this.
    #[cfg(test)]
    pub fn open(&self, item: &[u8]) -> Option<Record> {
        self.log.open(item)
    }

    /// Adds a record to the log; the item for the host.
    pub fn record(&mut self, record: Record) -> Result<Vec<u8>, Error> {
        let item = self.log.seal(&record)?;
        self.append(&item, record);
        Ok(item)
    }

    /// When something begins to be written.
    pub fn begin(&self) -> Begun {
        Begun { slot: self.checks.slot(), pulls: self.pulls }
    }

    /// The mark of something that began to be written then: no slot that was taken back since counts, nor one that this
    /// log was never shown, where it began in another that was left for this one.
    pub fn written(&self, begun: Begun) -> Slot {
        let shown = begun.slot.min(self.checks.slot());
        if begun.pulls == self.pulls { shown } else { shown.min(self.lowest) }
    }

    /// Makes the draw of the slot shown.
    pub fn draw(&mut self, constants: &Constants) -> Option<&[Sample]> {
        let shown = self.checks.shown?;
        let draw = Draw::new(
            Prf::new(&self.sample_key, &shown),
            constants.samples,
            (self.filler.bytes(), |offsets: &[u64]| self.filler.draw(offsets)),
            (self.files.bytes(), |offsets: &[u64]| self.files.draw(offsets)),
            &self.checks,
        );
        Some(self.draw.insert(draw).samples())
    }

    /// Whether the host showed the bytes that a sample asks for.
    pub fn is_good(&self, sample: &Sample, bytes: Vec<u8>) -> bool {
        match sample {
            Sample::Filler { disk, page } => self.filler.is_page(disk, *page, &bytes),
            Sample::File { order, chunk } => {
                let opener = self.files.opener(order, *chunk, &self.state_key);
                opener.is_ok_and(|opener| opener.is_chunk(*chunk, &bytes))
            }
            Sample::Tree { order, node } => self.files.open_node(order, *node, &bytes, &self.state_key).is_ok(),
        }
    }

    /// Answers an audit out of what was sealed here.
    pub fn answer(&self, audit: Audit) -> Result<Answer, Error> {
        let Audit { order, audited, chunk, nodes } = audit;
        let size = self.files.held(&order).ok_or(Error::NotSealed { order })?.size();
        let (number, needed) = tree::needed(size, audited).ok_or(Error::NoSuchPart)?;
        if sealed_length(size, number) != Some(chunk.len()) {
            return Err(Error::Damaged { chunk: number });
        }
        let chunk = self.files.opener(&order, number, &self.state_key)?.open(chunk)?;
        if nodes.len() != needed.len() {
            return Err(Error::NoSuchPart);
        }
        let open = |(node, sealed): (&u64, &Vec<u8>)| self.files.open_node(&order, *node, sealed, &self.state_key);
        let nodes = needed.iter().zip(&nodes).map(open).collect::<Result<Vec<_>, _>>()?;
        tree::answer(size, audited, &chunk, &nodes).ok_or(Error::NoSuchPart)
    }

    /// The report on the slot checked last, on a root.
    pub fn report(&self, prev: Hash, slot: Slot, audit: Option<Answer>) -> Result<Report, Error> {
        let (Some(shown), Some(checked)) = (self.checks.shown, &self.checks.outcome) else {
            return Err(Error::NotChecked { slot });
        };
        if shown.slot != slot {
            return Err(Error::NotChecked { slot });
        }
        Ok(Report {
            prev,
            root: [0; 32],
            slot,
            slot_hash: shown.slot_hash,
            filler_bytes: self.filler.held_before(self.lines.covered(&prev)?),
            stored_bytes: self.files.bytes(),
            good_filler: checked.good_filler,
            good_files: checked.good_files,
            scrubbed_until: self.oldest().unwrap_or(slot),
            audit,
        })
    }

    /// The slot shown when the oldest byte held was written or read.
    pub fn oldest(&self) -> Option<Slot> {
        [self.files.oldest(), self.filler.oldest()].into_iter().flatten().min()
    }

    fn append(&mut self, item: &[u8], record: Record) {
        let number = self.log.next();
        self.log.append(item);
        match record {
            Record::Identity(_) => {}
            Record::Sealed { order, size, flags, salts, tree, disk, written } => {
                let disk = self.checks.name(disk);
                self.unfinished.remove(&order);
                self.files.insert(files::New { order, size, flags, salts: &salts, tree, disk, written });
            }
            Record::FillerUnit { disk, key, start, length, written } => {
                self.checks.name(disk);
                self.filler.add(number, disk, key, start, length, written);
            }
            Record::Shrunk { disk, to } => {
                self.filler.shrink(&disk, to);
                self.checks.forget_filler(&disk, to, PAGE);
            }
            Record::Shown { slot, slot_hash } => self.show(slot, slot_hash, number),
            Record::Checked(checked) => self.checked(checked, number),
            Record::Deleted { orders } => {
                for order in orders {
                    let receipt = self.files.get(&order).is_some_and(|file| file.has_receipt() && !file.is_lost());
                    self.files.remove(&order);
                    self.unfinished.remove(&order);
                    self.gone(order, receipt, number);
                }
            }
            Record::Lost { orders } => {
                for order in orders {
                    self.lose(order, number);
                }
            }
            Record::Said(statement) => self.say(statement, number),
            Record::Final { root } => self.lines.finalise(root),
            Record::Scrubbed(scrubbed) => self.scrubbed(scrubbed),
            Record::Tree { order, tree } => {
                self.files.set_tree(&order, tree);
                self.checks.forget_tree(&order);
            }
            Record::Segment(segment) => self.unfinished.add(segment),
            Record::HandedOver { seen } => {
                self.succession.handed = true;
                self.succession.seen = self.succession.seen.max(seen);
            }
            Record::Succeeded(secrets) => {
                if let Some(identity) = Identity::new(&secrets) {
                    self.identity = identity;
                }
                self.succession.heirs.clear();
            }
        }
    }

    fn show(&mut self, slot: Slot, slot_hash: Hash, number: u64) {
        if slot < self.checks.slot() {
            self.files.pull_down(slot);
            self.unfinished.pull_down(slot);
            self.filler.pull_down(slot);
            self.pulls = self.pulls.saturating_add(1);
            self.lowest = self.lowest.min(slot);
        }
        self.draw = None;
        self.checks.show(Shown { slot, slot_hash, number, head: self.log.head() });
    }

    fn checked(&mut self, checked: Checked, number: u64) {
        let named = [&checked.mended, &checked.failed, &checked.bad].into_iter().flatten();
        let targets: BTreeMap<Sample, (Target, u8)> =
            named.filter_map(|sample| Some((*sample, self.target_of(sample)?))).collect();
        for target in self.checks.apply(checked, |sample| targets.get(sample).copied()) {
            match target {
                Target::Unit(disk, begin) => self.filler.drop_unit(&disk, begin / PAGE),
                Target::File(order) => self.lose(order, number),
            }
        }
        self.lift();
    }

    fn scrubbed(&mut self, scrubbed: Scrubbed) {
        for (target, since) in scrubbed.done {
            match target {
                Target::Unit(disk, begin) => self.filler.mark_read(&disk, begin, since),
                Target::File(order) => self.files.mark_read(&order, since),
            }
        }
        if let Some((sample, (target, disk))) = scrubbed.bad.and_then(|sample| Some((sample, self.target_of(&sample)?)))
        {
            self.checks.find(sample, target, disk);
        }
        if let Some(number) = scrubbed.away.and_then(|disk| self.checks.number(&disk)) {
            self.checks.taint(number);
        }
        self.checks.scrub.log(scrubbed.work);
        self.lift();
    }

    /// What a sample is of, if that counts, and the number of its disk.
    fn target_of(&self, sample: &Sample) -> Option<(Target, u8)> {
        match sample {
            Sample::Filler { disk, page } => {
                let begin = self.filler.unit_of(disk, *page)?;
                Some((Target::Unit(*disk, begin), self.checks.number(disk)?))
            }
            Sample::File { order, .. } | Sample::Tree { order, .. } => {
                Some((Target::File(*order), self.files.held(order)?.disk()))
            }
        }
    }

    /// Lifts the taint of disks that were scrubbed.
    fn lift(&mut self) {
        let (files, filler) = (&self.files, &self.filler);
        self.checks.lift(|number, disk, tainted| {
            let file = files.iter().all(|file| file.disk() != number || !file.counts() || file.written() > tainted);
            file && filler.parts().all(|(on, _, mark)| on != *disk || mark > tainted)
        });
    }

    fn lose(&mut self, order: OrderId, number: u64) {
        if self.files.held(&order).is_some() {
            let receipt = self.files.lose(&order).unwrap_or_default();
            self.gone(order, receipt, number);
        }
    }

    /// A file is gone; what was lost before is not gone a second time.
    fn gone(&mut self, order: OrderId, receipt: bool, number: u64) {
        self.checks.forget_file(&order);
        if receipt {
            self.lines.owe(order, number);
        }
    }

    fn say(&mut self, mut statement: Signed, number: u64) {
        let head = self.log.head();
        match &mut statement {
            Signed::Receipts(receipts) => {
                receipts.root = head;
                for order in receipts.orders.iter() {
                    self.files.mark_receipt(order);
                }
            }
            Signed::Gone(gone) => gone.root = head,
            Signed::Report(report) => report.root = head,
            Signed::Heir(heir) => {
                heir.root = head;
                let heirs = &mut self.succession.heirs;
                heirs.retain(|known| *known != heir.heir);
                heirs.push(heir.heir);
                if heirs.len() > MAX_HEIRS {
                    heirs.remove(0);
                }
            }
        }
        let drawn = self.checks.shown.map_or(0, |shown| shown.number);
        self.lines.say(head, number, statement, drawn);
    }
}
