//! Who may use how much of a disk: sealed files, files in work, filler. No byte is promised twice, not by the capacity
//! that the operator set and not by what the file system really has.

use std::{
    collections::BTreeMap,
    sync::{Arc, MutexGuard},
};

use crust_protocol::order::OrderId;

use super::{
    Error, Kept, Store,
    disks::DiskId,
    filler,
    index::{Record, State},
    sealed,
};
use crate::enclave_client::Enclave;

/// What filler gives way by beyond what is needed.
const STEP: u64 = 4 << 20;
/// Bytes that are left free on a file system when filler gives way to a file.
const MARGIN: u64 = 4 << 20;

/// Who uses how much of a disk.
#[derive(Default, Debug)]
pub(super) struct Account {
    /// Bytes of sealed files on disk, and of what is in them.
    sealed: u64,
    stored: u64,
    files: u64,
    in_work: BTreeMap<OrderId, InWork>,
    /// Of the files counted those that the index does not know yet, with their sizes.
    found: BTreeMap<OrderId, u64>,
}

#[derive(Clone, Copy, Default, Debug)]
struct InWork {
    promised: u64,
    granted: u64,
    /// Of that what is on the disk already, as far as it is known.
    written: u64,
}

impl Account {
    /// Bytes that another order could have on the disk: all but sealed files and promises, as far as the file system has
    /// them too. `free` is what it has without our filler: there what is written is missing already.
    fn room(&self, capacity: u64, free: u64) -> u64 {
        let usable = capacity.saturating_sub(self.sealed).saturating_sub(self.sum(|order| order.promised));
        let free = free.saturating_sub(self.sum(|order| order.promised.saturating_sub(order.written)));
        usable.min(free).saturating_sub(reserve(capacity))
    }

    /// Bytes of what the file system has free that filler may take: not those that gave way to what is about to be
    /// written.
    fn spare(&self, capacity: u64, free: u64) -> u64 {
        let coming = self.sum(|order| order.granted.saturating_sub(order.written));
        free.saturating_sub(coming).saturating_sub(reserve(capacity))
    }

    fn sum(&self, of: fn(&InWork) -> u64) -> u64 {
        self.in_work.values().map(of).fold(0, u64::saturating_add)
    }

    fn add(&mut self, size: u64) {
        self.sealed = self.sealed.saturating_add(sealed::footprint(size));
        self.stored = self.stored.saturating_add(size);
        self.files = self.files.saturating_add(1);
    }

    fn subtract(&mut self, size: u64) {
        self.sealed = self.sealed.saturating_sub(sealed::footprint(size));
        self.stored = self.stored.saturating_sub(size);
        self.files = self.files.saturating_sub(1);
    }
}

impl Kept {
    /// Bytes that another order could have.
    fn room(&self, account: &Account) -> u64 {
        let free = self.free().unwrap_or_default().saturating_add(self.filler.length());
        account.room(self.disk.capacity(), free)
    }

    /// Bytes that the file system has left for us.
    fn free(&self) -> Result<u64, Error> {
        self.disk.free().map_err(|source| Error::Io { path: self.disk.path.clone(), source })
    }
}

/// What a disk holds, for status and metrics.
#[derive(Clone, Debug, serde::Serialize, utoipa::ToSchema)]
pub struct Usage {
    pub id: String,
    pub path: String,
    /// Whether it is mounted.
    pub present: bool,
    pub capacity: u64,
    /// Bytes of the files kept there; sealed they take a little more.
    pub stored_bytes: u64,
    pub filler_bytes: u64,
    pub files: u64,
    /// Bytes that files in work will need.
    pub promised_bytes: u64,
}

impl Store {
    /// Counts from the index the sealed files, and the files in work: what they were promised they have still.
    pub(super) fn count(&self) -> Result<(), Error> {
        let mut after = None;
        loop {
            let page = self.index.records(after, 1_024)?;
            let Some((last, _)) = page.last() else { return Ok(()) };
            after = Some(*last);
            for (_, record) in &page {
                match record.state {
                    State::Sealed | State::Held | State::Ending => self.count_file(record),
                    State::Taken => self.count_part(record),
                    State::Waiting | State::Refused => (),
                }
            }
        }
    }

    fn count_file(&self, record: &Record) {
        if let Some(disk) = record.disk {
            self.accounts().entry(disk).or_default().add(record.content.size);
        }
    }

    fn count_part(&self, record: &Record) {
        let Some(disk) = record.disk else { return };
        let order = record.content.id();
        let written = self.disk(&disk).map_or(0, |disk| sealed::part_bytes(&disk.path, &order));
        let in_work = InWork { promised: sealed::footprint(record.content.size), granted: written, written };
        self.accounts().entry(disk).or_default().in_work.insert(order, in_work);
    }

    /// Counts a file that is there although the index does not know it; once, however often it is found.
    pub fn count_found(&self, order: OrderId, disk: DiskId, size: u64) {
        let mut accounts = self.accounts();
        let account = accounts.entry(disk).or_default();
        if account.found.insert(order, size).is_none() {
            account.add(size);
        }
    }

    /// The index knows a file that was found: from now on it is counted as its record's.
    pub fn known(&self, order: &OrderId) {
        for account in self.accounts().values_mut() {
            account.found.remove(order);
        }
    }

    /// A file that was found is gone.
    pub fn uncount_found(&self, order: &OrderId) {
        for account in self.accounts().values_mut() {
            if let Some(size) = account.found.remove(order) {
                account.subtract(size);
            }
        }
    }

    /// The mounted disk with the most room, if a file of this size fits there.
    pub fn choose(&self, size: u64) -> Option<DiskId> {
        let needed = sealed::footprint(size);
        let room = |kept: &Kept| (kept.room(self.accounts().entry(kept.disk.id).or_default()), kept.disk.id);
        let (room, disk) =
            self.all_kept().iter().map(Arc::as_ref).filter(|kept| kept.disk.present()).map(room).max()?;
        (room >= needed).then_some(disk)
    }

    /// Promises a disk's space to an order, which keeps what it was promised there and gives back what it was promised
    /// elsewhere. `false` if there is not enough.
    pub fn promise(&self, order: &OrderId, disk: &DiskId, size: u64) -> bool {
        let Some(kept) = self.kept(disk) else { return false };
        let promised = sealed::footprint(size);
        let mut accounts = self.accounts();
        let account = accounts.entry(*disk).or_default();
        if account.in_work.get(order).is_none_or(|known| known.promised < promised) {
            if kept.room(account) < promised {
                return false;
            }
            account.in_work.insert(*order, InWork { promised, ..InWork::default() });
        }
        for (_, other) in accounts.iter_mut().filter(|(id, _)| *id != disk) {
            other.in_work.remove(order);
        }
        true
    }

    /// Whether the file system still has what was promised to an order, what there is of its file included: somebody else
    /// may have filled it meanwhile.
    pub fn still_fits(&self, order: &OrderId, disk: &DiskId) -> Result<bool, Error> {
        let kept = self.kept(disk).ok_or(Error::NoDisk(*disk))?;
        let promised = self.accounts().get(disk).and_then(|account| account.in_work.get(order).copied());
        let promised = promised.unwrap_or_default().promised;
        let needed = promised.saturating_sub(sealed::part_bytes(&kept.disk.path, order)).saturating_add(MARGIN);
        Ok(kept.free()?.saturating_add(kept.filler.length()) >= needed)
    }

    /// Makes room for the bytes of an order's file up to `bytes`, of which `coming` are not written yet: filler gives
    /// way, to what the capacity leaves and to what the file system has.
    pub async fn grant(
        &self,
        order: &OrderId,
        disk: &DiskId,
        (bytes, coming): (u64, u64),
        enclave: &Enclave,
    ) -> Result<(), Error> {
        let kept = self.kept(disk).ok_or(Error::NoDisk(*disk))?;
        let mut needed = coming;
        if let Some(in_work) = self.accounts().entry(*disk).or_default().in_work.get_mut(order) {
            in_work.granted = in_work.granted.max(bytes.min(in_work.promised));
            in_work.written = bytes.saturating_sub(coming);
            needed = needed.min(in_work.promised);
        }
        let (length, target) = (kept.filler.length(), self.filler_target(disk));
        let short = needed.saturating_add(MARGIN).saturating_sub(kept.free()?);
        let target = target.min(length.saturating_sub(short));
        if length > target {
            // A little more than needed, so that many small files do not each cost a record of the enclave's log.
            kept.filler.shrink(enclave, target.saturating_sub(STEP)).await?;
        }
        Ok(())
    }

    /// Takes back what was promised to an order.
    pub fn release(&self, order: &OrderId) {
        for account in self.accounts().values_mut() {
            account.in_work.remove(order);
        }
    }

    /// Books a finished file.
    pub fn sealed(&self, record: &Record) {
        self.release(&record.content.id());
        self.count_file(record);
    }

    /// Books a file off.
    pub fn removed(&self, record: &Record) {
        if let Some(disk) = record.disk {
            self.accounts().entry(disk).or_default().subtract(record.content.size);
        }
    }

    /// Books a file off that is to be sealed anew: its space stays its own.
    pub fn in_work_again(&self, record: &Record) {
        self.removed(record);
        self.count_part(record);
    }

    /// Bytes that filler may have on a disk now.
    pub fn filler_target(&self, disk: &DiskId) -> u64 {
        let Some(kept) = self.kept(disk) else { return 0 };
        let used = |account: &Account| account.sealed.saturating_add(account.sum(|order| order.granted));
        let used = self.accounts().get(disk).map_or(0, used);
        let capacity = kept.disk.capacity();
        let target = capacity.saturating_sub(reserve(capacity)).saturating_sub(used);
        target / filler::PAGE * filler::PAGE
    }

    /// Bytes up to which it may grow at this moment: less than that where the file system has not so much.
    pub fn filler_limit(&self, disk: &DiskId) -> u64 {
        let Some(kept) = self.kept(disk) else { return 0 };
        let (capacity, free) = (kept.disk.capacity(), kept.free().unwrap_or_default());
        let spare = self.accounts().entry(*disk).or_default().spare(capacity, free);
        self.filler_target(disk).min(kept.filler.length().saturating_add(spare))
    }

    /// What every disk holds.
    pub fn usage(&self) -> Vec<Usage> {
        let usage = |kept: &Kept| {
            let (stored_bytes, files, promised_bytes) = {
                let mut accounts = self.accounts();
                let account = accounts.entry(kept.disk.id).or_default();
                (account.stored, account.files, account.sum(|order| order.promised))
            };
            Usage {
                id: hex::encode(kept.disk.id),
                path: kept.disk.path.display().to_string(),
                present: kept.disk.present(),
                capacity: kept.disk.capacity(),
                stored_bytes,
                filler_bytes: kept.filler.length(),
                files,
                promised_bytes,
            }
        };
        self.all_kept().iter().map(Arc::as_ref).map(usage).collect()
    }

    fn accounts(&self) -> MutexGuard<'_, BTreeMap<DiskId, Account>> {
        // Every change is one step: a poisoned account is whole.
        self.accounts.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// What is left free of a capacity, for the copy of the log and the file system's own needs.
pub fn reserve(capacity: u64) -> u64 {
    (capacity / 64).min(1 << 30)
}

#[cfg(test)]
#[path = "store_tests.rs"]
mod tests;
