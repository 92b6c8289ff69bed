//! Filler: sealed pseudo-random data that proves idle space.
//!
//! It is the key stream of AES-256 in counter mode under a key drawn at every start. A stretch of it is granted once
//! ([`Grant`]), so no byte leaves the enclave twice; of earlier runs the enclave keeps keys and ranges only to check
//! pages that the host shows. A unit is held when the host has made it durable; one that is not finished when the
//! enclave stops is gone, and if no unit of its run was finished, so is the key. What a report counts was held at the
//! draw of an earlier report already ([`Filler::held_before`]).
//!
//! On every disk units stand one after the other in one file, which gives way from its end. A unit that is dropped
//! leaves a gap that no longer counts until the file is cut below it.

use std::collections::BTreeMap;

use aes::Aes256;
use codec::{Decode, Encode};
use crust_protocol::Slot;
use ctr::{
    Ctr128BE,
    cipher::{KeyIvInit, StreamCipher, StreamCipherSeek},
};
use zeroize::Zeroizing;

use crate::{
    log::{Record, random},
    rpc::{Disk, Error, MAX_FILLER, Sample},
};

/// What is checked and given up at once.
pub const PAGE: u64 = 4 << 10;
/// Bytes of key stream made at a time: what stays in the nearest cache.
const PIECE: usize = 16 << 10;
/// The most disks of a node.
const MAX_DISKS: usize = 256;

pub(crate) type StreamKey = Zeroizing<[u8; 32]>;

/// The filler of all disks.
pub(crate) struct Filler {
    /// Of this run.
    run_key: StreamKey,
    /// Where the next unit begins in this run's stream.
    next_start: u64,
    unit: u64,
    /// Of all units, one for every run that finished one.
    keys: Vec<StreamKey>,
    disks: BTreeMap<Disk, OnDisk>,
}

#[derive(Default)]
struct OnDisk {
    units: Vec<Unit>,
    work: Option<Work>,
}

/// A finished unit. It begins in the file where the one before it ends.
#[derive(Clone, Encode, Decode)]
pub(crate) struct Unit {
    key: u32,
    /// Of the record since which it is held.
    number: u64,
    /// When all of it was written or read last.
    written: Slot,
    /// In the key's stream.
    start: u64,
    /// In the file.
    end: u64,
    dropped: bool,
}

/// A unit that is being written.
struct Work {
    start: u64,
    granted: u64,
    written: Slot,
}

/// Leave to take a stretch of this run's key stream, once.
pub struct Grant {
    key: StreamKey,
    start: u64,
    length: usize,
}

impl Grant {
    /// Appends the bytes to `out`.
    pub fn fill(self, out: &mut Vec<u8>) {
        let mut stream = key_stream(&self.key, self.start);
        out.reserve(self.length);
        let mut left = self.length;
        while left > 0 {
            let mut piece = [0; PIECE];
            let piece = piece.get_mut(..left.min(PIECE)).unwrap_or_default();
            stream.apply_keystream(piece);
            out.extend_from_slice(piece);
            left = left.saturating_sub(PIECE);
        }
    }

    #[cfg(test)]
    pub fn bytes(self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.fill(&mut bytes);
        bytes
    }
}

impl Filler {
    /// Of a run that begins: with a key that was never used.
    pub fn new(unit: u64) -> Result<Self, Error> {
        Ok(Filler { run_key: Zeroizing::new(random()?), next_start: 0, unit, keys: Vec::new(), disks: BTreeMap::new() })
    }

    /// The next bytes of the unit in work, or the first of a new one.
    pub fn grant(&mut self, disk: Disk, bytes: u32, shown: Slot) -> Result<Grant, Error> {
        if bytes == 0 || bytes > MAX_FILLER || !u64::from(bytes).is_multiple_of(PAGE) {
            return Err(Error::FillerSize);
        }
        if !self.disks.contains_key(&disk) && self.disks.len() >= MAX_DISKS {
            return Err(Error::TooManyDisks);
        }
        let on_disk = self.disks.entry(disk).or_default();
        let work = match &mut on_disk.work {
            Some(work) => work,
            none => {
                let start = self.next_start;
                // 2^64 bytes are more than an enclave emits in its life.
                self.next_start = start.checked_add(self.unit).ok_or(Error::FillerSize)?;
                none.insert(Work { start, granted: 0, written: shown })
            }
        };
        let length = self.unit.saturating_sub(work.granted).min(u64::from(bytes));
        if length == 0 {
            return Err(Error::UnitFull);
        }
        let start = work.start.saturating_add(work.granted);
        work.granted = work.granted.saturating_add(length);
        let length = usize::try_from(length).map_err(|_| Error::FillerSize)?;
        Ok(Grant { key: self.run_key.clone(), start, length })
    }

    /// The record that makes the unit in work count.
    pub fn finished(&self, disk: Disk) -> Result<Record, Error> {
        let work = self.disks.get(&disk).and_then(|on_disk| on_disk.work.as_ref()).ok_or(Error::NoUnit)?;
        Ok(Record::FillerUnit {
            disk,
            key: *self.run_key,
            start: work.start,
            length: work.granted,
            written: work.written,
        })
    }

    /// Adds a finished unit, with the number of the record that says so.
    pub fn add(&mut self, number: u64, disk: Disk, key: [u8; 32], start: u64, length: u64, written: Slot) {
        let end = self.length(&disk).saturating_add(length);
        self.restore(disk, key, Unit { key: 0, number, written, start, end, dropped: false });
    }

    /// Adds a unit as it stands, behind the others of its disk.
    pub fn restore(&mut self, disk: Disk, key: [u8; 32], unit: Unit) {
        if self.keys.last().is_none_or(|last| **last != key) {
            self.keys.push(Zeroizing::new(key));
        }
        let key = u32::try_from(self.keys.len().saturating_sub(1)).unwrap_or(u32::MAX);
        let on_disk = self.disks.entry(disk).or_default();
        on_disk.units.push(Unit { key, ..unit });
        on_disk.work = None;
    }

    /// All units, each with its disk and its key.
    pub fn units(&self) -> impl Iterator<Item = (Disk, &StreamKey, &Unit)> {
        let key = |unit: &Unit| usize::try_from(unit.key).ok().and_then(|key| self.keys.get(key));
        let on_disk = self.disks.iter().flat_map(|(disk, on_disk)| on_disk.units.iter().map(|unit| (*disk, unit)));
        on_disk.filter_map(move |(disk, unit)| Some((disk, key(unit)?, unit)))
    }

    /// Whether a disk's filler can be cut to its first `to` bytes.
    pub fn may_shrink(&self, disk: &Disk, to: u64) -> Result<(), Error> {
        let length = self.length(disk);
        if to <= length && to.is_multiple_of(PAGE) { Ok(()) } else { Err(Error::ShrinkTo { length }) }
    }

    /// Throws away the unit in work. Its bytes are never emitted again, nor counted.
    pub fn abandon(&mut self, disk: &Disk) {
        if let Some(on_disk) = self.disks.get_mut(disk) {
            on_disk.work = None;
        }
    }

    /// Cuts a disk's filler.
    pub fn shrink(&mut self, disk: &Disk, to: u64) {
        let Some(on_disk) = self.disks.get_mut(disk) else { return };
        on_disk.work = None;
        while on_disk.units.last().is_some_and(|_| on_disk.begin_of_last() >= to) {
            on_disk.units.pop();
        }
        match on_disk.units.last_mut() {
            Some(last) => last.end = last.end.min(to),
            None => drop(self.disks.remove(disk)),
        }
    }

    /// Drops the unit that a page belongs to.
    pub fn drop_unit(&mut self, disk: &Disk, page: u64) {
        if let Some((unit, _)) = self.disks.get_mut(disk).and_then(|on_disk| on_disk.unit_of_mut(page)) {
            unit.dropped = true;
        }
    }

    /// Where the unit begins that a page belongs to; `None` if it does not count.
    pub fn unit_of(&self, disk: &Disk, page: u64) -> Option<u64> {
        let (unit, begin) = self.disks.get(disk)?.unit_of(page)?;
        (!unit.dropped).then_some(begin)
    }

    /// Whether these are the bytes of a page that counts.
    pub fn is_page(&self, disk: &Disk, page: u64, bytes: &[u8]) -> bool {
        let Some((unit, begin)) = self.disks.get(disk).and_then(|on_disk| on_disk.unit_of(page)) else { return false };
        let key = usize::try_from(unit.key).ok().and_then(|key| self.keys.get(key));
        let (Some(key), Ok(length)) = (key, usize::try_from(PAGE)) else { return false };
        let start = unit.start.saturating_add(page.saturating_mul(PAGE).saturating_sub(begin));
        let mut expected = vec![0; length];
        key_stream(key, start).apply_keystream(&mut expected);
        !unit.dropped && expected == bytes
    }

    /// Bytes on all disks.
    pub fn bytes(&self) -> u64 {
        self.held_before(u64::MAX)
    }

    /// Bytes on all disks that are held since before the record of this number.
    pub fn held_before(&self, number: u64) -> u64 {
        let parts = self.disks.values().flat_map(OnDisk::parts).filter(|(_, unit)| unit.number < number);
        parts.map(|(begin, unit)| unit.end.saturating_sub(begin)).fold(0, u64::saturating_add)
    }

    /// Length of a disk's file, gaps included, a unit in work apart.
    pub fn length(&self, disk: &Disk) -> u64 {
        self.disks.get(disk).map_or(0, OnDisk::length)
    }

    /// All disks with their lengths.
    pub fn lengths(&self) -> impl Iterator<Item = (Disk, u64)> + '_ {
        self.disks.iter().map(|(disk, on_disk)| (*disk, on_disk.length()))
    }

    /// The pages that hold these bytes, counted over all that counts; `offsets` ascend.
    pub fn draw(&self, offsets: &[u64]) -> Vec<Sample> {
        let mut draw = Vec::with_capacity(offsets.len());
        let (mut before, mut offsets) = (0u64, offsets.iter().peekable());
        for (disk, on_disk) in &self.disks {
            for (begin, unit) in on_disk.parts() {
                let after = before.saturating_add(unit.end.saturating_sub(begin));
                while let Some(offset) = offsets.next_if(|offset| **offset < after) {
                    let page = begin.saturating_add(offset.saturating_sub(before)) / PAGE;
                    draw.push(Sample::Filler { disk: *disk, page });
                }
                before = after;
            }
        }
        draw
    }

    /// The units that count: disk, begin, and when all of it was written or read last.
    pub fn parts(&self) -> impl Iterator<Item = (Disk, u64, Slot)> + '_ {
        self.disks.iter().flat_map(|(disk, on_disk)| on_disk.parts().map(|(begin, unit)| (*disk, begin, unit.written)))
    }

    /// Length of the unit that begins there, if it counts, and when all of it was written or read last.
    pub fn part(&self, disk: &Disk, begin: u64) -> Option<(u64, Slot)> {
        let (unit, at) = self.disks.get(disk)?.unit_of(begin / PAGE)?;
        (at == begin && !unit.dropped).then_some((unit.end.saturating_sub(begin), unit.written))
    }

    /// All of a unit was read, and was good.
    pub fn mark_read(&mut self, disk: &Disk, begin: u64, slot: Slot) {
        if let Some((unit, at)) = self.disks.get_mut(disk).and_then(|on_disk| on_disk.unit_of_mut(begin / PAGE))
            && at == begin
        {
            unit.written = unit.written.max(slot);
        }
    }

    /// The slot shown when the oldest byte that counts was written or read.
    pub fn oldest(&self) -> Option<Slot> {
        self.disks.values().flat_map(OnDisk::parts).map(|(_, unit)| unit.written).min()
    }

    /// A lower slot was shown.
    pub fn pull_down(&mut self, slot: Slot) {
        for on_disk in self.disks.values_mut() {
            for unit in &mut on_disk.units {
                unit.written = unit.written.min(slot);
            }
            if let Some(work) = &mut on_disk.work {
                work.written = work.written.min(slot);
            }
        }
    }
}

impl OnDisk {
    fn length(&self) -> u64 {
        self.units.last().map_or(0, |unit| unit.end)
    }

    fn begin_of_last(&self) -> u64 {
        self.units.iter().rev().nth(1).map_or(0, |unit| unit.end)
    }

    /// The units that count, each with where it begins.
    fn parts(&self) -> impl Iterator<Item = (u64, &Unit)> {
        let begins = [0].into_iter().chain(self.units.iter().map(|unit| unit.end));
        begins.zip(&self.units).filter(|(_, unit)| !unit.dropped)
    }

    fn position_of(&self, page: u64) -> Option<(usize, u64)> {
        let offset = page.checked_mul(PAGE)?;
        let position = self.units.partition_point(|unit| unit.end <= offset);
        let begin = position.checked_sub(1).and_then(|before| self.units.get(before)).map_or(0, |unit| unit.end);
        Some((position, begin))
    }

    fn unit_of(&self, page: u64) -> Option<(&Unit, u64)> {
        let (position, begin) = self.position_of(page)?;
        Some((self.units.get(position)?, begin))
    }

    fn unit_of_mut(&mut self, page: u64) -> Option<(&mut Unit, u64)> {
        let (position, begin) = self.position_of(page)?;
        Some((self.units.get_mut(position)?, begin))
    }
}

/// A key's stream, from a byte of it on.
fn key_stream(key: &StreamKey, start: u64) -> Ctr128BE<Aes256> {
    let mut stream = Ctr128BE::<Aes256>::new((&**key).into(), &[0; 16].into());
    stream.seek(start);
    stream
}
