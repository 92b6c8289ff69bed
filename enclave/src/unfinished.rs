//! Files in work: of each the salts of the segments that are sealed and durable on the host's disk. An enclave that was
//! cut off goes on after them: it is fed the whole file again, for the check of the graph and the audit root, and seals
//! what comes after. What was sealed before is not given out a second time.

use codec::{Decode, Encode};
use crust_protocol::{
    Slot,
    order::{OrderId, PRIVATE},
};

use crate::{
    log::StateKey,
    rpc::Error,
    seal::{Opener, Salt},
};

/// The most files that are remembered; the one that was begun first gives way, and is sealed anew.
const MOST: usize = 64;

/// The finished segments of a file in work.
#[derive(Clone, Encode, Decode)]
pub(crate) struct Part {
    order: OrderId,
    size: u64,
    flags: u8,
    /// The slot shown when the oldest of them began to be written.
    written: Slot,
    salts: Vec<Salt>,
}

/// One more segment that is finished.
#[derive(Clone, Encode, Decode)]
pub(crate) struct Segment {
    pub order: OrderId,
    pub size: u64,
    pub flags: u8,
    /// Its number in the file. The first begins the file anew.
    pub number: u64,
    pub salt: Salt,
    pub written: Slot,
}

impl Part {
    pub fn written(&self) -> Slot {
        self.written
    }

    pub fn salts(&self) -> &[Salt] {
        &self.salts
    }

    /// What opens the chunks of a public file, from one of them on, with so many in a segment.
    pub fn opener(&self, chunk: u64, segment: u64, state_key: &StateKey) -> Result<Opener, Error> {
        if self.flags & PRIVATE != 0 {
            return Err(Error::Private);
        }
        let before = usize::try_from(chunk.checked_div(segment).unwrap_or_default()).unwrap_or(usize::MAX);
        Opener::new(self.order, self.size, (chunk, segment), self.salts.iter().skip(before).copied(), state_key)
    }
}

/// All files in work of which a segment is finished, in the order in which those were.
#[derive(Default)]
pub(crate) struct Unfinished(Vec<Part>);

impl Unfinished {
    pub fn get(&self, order: &OrderId) -> Option<&Part> {
        self.0.iter().find(|part| part.order == *order)
    }

    pub fn iter(&self) -> impl Iterator<Item = &Part> {
        self.0.iter()
    }

    pub fn add(&mut self, segment: Segment) {
        let Segment { order, size, flags, number, salt, written } = segment;
        if number == 0 {
            self.remove(&order);
            self.push(Part { order, size, flags, written, salts: vec![salt] });
        } else if let Some(part) = self.0.iter_mut().find(|part| part.order == order)
            && u64::try_from(part.salts.len()) == Ok(number)
        {
            part.salts.push(salt);
            part.written = part.written.min(written);
        }
    }

    /// Adds a file behind the others: a new one, or the next of a snapshot.
    pub fn push(&mut self, part: Part) {
        if self.0.len() >= MOST {
            self.0.remove(0);
        }
        self.0.push(part);
    }

    /// The file is held, or not wanted any more.
    pub fn remove(&mut self, order: &OrderId) {
        self.0.retain(|part| part.order != *order);
    }

    /// A lower slot was shown.
    pub fn pull_down(&mut self, slot: Slot) {
        for part in &mut self.0 {
            part.written = part.written.min(slot);
        }
    }
}
