//! Snapshots: what the log says so far, in parts that take the place of its records.
//!
//! A snapshot is one sequence of entries: the core, then units, statements, losses, bad samples, files in work and files. A part holds
//! as many as fill it, is an item with the number of the last record that the snapshot stands for, and is sealed under
//! that record's head and the entry it begins with: parts of different moments, or of two copies of one enclave, do not
//! fit together, and neither do the records of another log after them.
//!
//! It moves no head, and restores what its records would have, no more: a host that brings back an old one is where a
//! host is that cuts the log there. What was deleted is in no snapshot.

use codec::{Decode, Encode};
use crust_protocol::{Hash, h, order::OrderId};
use zeroize::Zeroizing;

use crate::{
    Constants,
    check::{Bad, Checks, Target},
    files::File,
    filler::Unit,
    identity::{Identity, Secrets},
    log::{Log, StateKey, aead_key, open_item, seal_item},
    rpc::{Disk, Error},
    seal::Salt,
    state::{State, Succession},
    statements::{Lines, Said},
    unfinished,
};

/// A part that has this many bytes takes no further entry.
const PART: usize = 4 << 20;

/// The order of the variants' numbers is the disk format.
#[derive(Encode, Decode)]
pub(crate) enum Entry {
    #[codec(index = 0)]
    Core(Box<Core>),
    #[codec(index = 1)]
    Unit { disk: Disk, key: [u8; 32], unit: Unit },
    #[codec(index = 2)]
    Said { root: Hash, said: Said },
    /// A file with a receipt that is gone, by the number of the record that says so.
    #[codec(index = 3)]
    Owed { order: OrderId, number: u64 },
    #[codec(index = 4)]
    Bad { target: Target, bad: Bad },
    #[codec(index = 5)]
    File { file: File, further: Vec<Salt> },
    /// A file in work, as far as it is durable.
    #[codec(index = 6)]
    Unfinished(unfinished::Part),
}

/// The first entry.
#[derive(Encode, Decode)]
pub(crate) struct Core {
    head: Hash,
    secrets: Secrets,
    /// The final root, and what the last report up to it covered.
    base: (Hash, u64),
    checks: Checks,
    succession: Succession,
}

/// One part of a snapshot.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Part {
    /// Of the last record that the snapshot stands for.
    pub number: u64,
    pub item: Vec<u8>,
    /// The entry with which the next part begins.
    pub next: Option<u64>,
}

/// The part that begins with an entry; `None` if there is no such entry.
pub(crate) fn part(state: &State, from: u64) -> Result<Option<Part>, Error> {
    let mut plain = vec![0];
    let mut entries = entries(state, from).peekable();
    let mut next = from;
    while plain.len() < PART
        && let Some(entry) = entries.next()
    {
        entry.encode_to(&mut plain);
        next = next.saturating_add(1);
    }
    let last = entries.peek().is_none();
    if next == from {
        return Ok(None);
    }
    if let Some(flag) = plain.first_mut() {
        *flag = u8::from(last);
    }
    let number = state.next_item().saturating_sub(1);
    let item = seal_item(&key(&state.state_key)?, number, &place(&state.root(), from), plain)?;
    Ok(Some(Part { number, item, next: (!last).then_some(next) }))
}

/// All entries, from one on.
pub(crate) fn entries(state: &State, from: u64) -> impl Iterator<Item = Entry> + '_ {
    let from = usize::try_from(from).unwrap_or(usize::MAX);
    let core = || {
        let (secrets, checks) = (state.identity.secrets().clone(), state.checks.core());
        let (head, base, succession) = (state.root(), state.lines.base(), state.succession.clone());
        Entry::Core(Box::new(Core { head, secrets, base, checks, succession }))
    };
    let units = state.filler.units().map(|(disk, key, unit)| Entry::Unit { disk, key: **key, unit: unit.clone() });
    let said = state.lines.said().map(|(root, said)| Entry::Said { root: *root, said: said.clone() });
    let owed = state.lines.owed().map(|(order, number)| Entry::Owed { order: *order, number: *number });
    let bad = state.checks.bad().map(|(target, bad)| Entry::Bad { target: *target, bad: *bad });
    let sizes = [state.filler.units().count(), state.lines.said().count(), state.lines.owed().count()];
    let before = sizes.into_iter().fold(state.checks.bad().count().saturating_add(1), usize::saturating_add);
    let before = before.saturating_add(state.unfinished.iter().count());
    let unfinished = state.unfinished.iter().map(|part| Entry::Unfinished(part.clone()));
    let files = state.files.all(from.saturating_sub(before));
    let files = files.map(|(file, further)| Entry::File { file: file.clone(), further: further.to_vec() });
    [()].into_iter()
        .map(move |()| core())
        .chain(units)
        .chain(said)
        .chain(owed)
        .chain(bad)
        .chain(unfinished)
        .skip(from)
        .chain(files)
}

/// A snapshot that is being loaded.
pub(crate) struct Restore {
    /// `None` once it is complete.
    state: Option<Box<State>>,
    number: u64,
    /// The entry with which the next part begins; `None` after the last part.
    next: Option<u64>,
}

impl Restore {
    /// Takes the first part.
    pub fn begin(state_key: &StateKey, item: &[u8], constants: &Constants) -> Result<Option<Self>, Error> {
        let Some(number) = item.first_chunk().map(|number| u64::from_le_bytes(*number)) else { return Ok(None) };
        let Some((last, mut entries)) = opened(&key(state_key)?, number, &[0; 32], item) else { return Ok(None) };
        if entries.is_empty() {
            return Ok(None);
        }
        let Entry::Core(core) = entries.remove(0) else { return Ok(None) };
        let Some(identity) = Identity::new(&core.secrets) else { return Ok(None) };
        let log = Log::after(state_key, core.head, number.saturating_add(1))?;
        let mut state =
            State::new(identity, log, Lines::new(core.base.0, core.base.1), core.checks, state_key.clone(), constants)?;
        state.succession = core.succession;
        let mut restore = Restore { state: Some(Box::new(state)), number, next: Some(1) };
        restore.apply(entries, last);
        Ok(Some(restore))
    }

    /// Takes the next part; `false` if it is not that.
    pub fn take(&mut self, item: &[u8]) -> Result<bool, Error> {
        let (Some(state), Some(next)) = (&self.state, self.next) else { return Ok(false) };
        let place = place(&state.root(), next);
        let Some((last, entries)) = opened(&key(&state.state_key)?, self.number, &place, item) else {
            return Ok(false);
        };
        self.apply(entries, last);
        Ok(true)
    }

    /// The number of the last record that it stands for.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The state, once all parts are there.
    pub fn complete(&mut self) -> Option<Box<State>> {
        if self.next.is_none() { self.state.take() } else { None }
    }

    fn apply(&mut self, entries: Vec<Entry>, last: bool) {
        let count = u64::try_from(entries.len()).unwrap_or(u64::MAX);
        self.next = self.next.map(|next| next.saturating_add(count)).filter(|_| !last);
        let Some(state) = &mut self.state else { return };
        for entry in entries {
            match entry {
                Entry::Core(_) => {}
                Entry::Unit { disk, key, unit } => state.filler.restore(disk, key, unit),
                Entry::Said { root, said } => state.lines.restore(root, said),
                Entry::Owed { order, number } => state.lines.owe(order, number),
                Entry::Bad { target, bad } => state.checks.restore(target, bad),
                Entry::Unfinished(part) => state.unfinished.push(part),
                Entry::File { file, further } => state.files.push(file, &further),
            }
        }
    }
}

/// What a part says: whether it is the last, and its entries.
fn opened(key: &ring::aead::LessSafeKey, number: u64, place: &Hash, item: &[u8]) -> Option<(bool, Vec<Entry>)> {
    let plain = Zeroizing::new(open_item(key, number, place, item)?);
    let mut rest = plain.as_slice();
    let last = bool::decode(&mut rest).ok()?;
    let mut entries = Vec::new();
    while !rest.is_empty() {
        entries.push(Entry::decode(&mut rest).ok()?);
    }
    Some((last, entries))
}

/// Where a part belongs. The first says itself under which head.
fn place(head: &Hash, from: u64) -> Hash {
    if from == 0 { [0; 32] } else { h(&[head, &from.to_le_bytes()]) }
}

fn key(state_key: &StateKey) -> Result<ring::aead::LessSafeKey, Error> {
    aead_key(&state_key.derive(b"", b"crust/snapshot/v2"))
}
