//! The index: which orders this node knows and how far they are, where each block of a held file lies, which disk
//! stood where. One redb file in the state directory.
//!
//! Nothing in it is trusted by the enclave. Where index and enclave differ at a start, the enclave's log is right and
//! the index follows it. And nothing in it is lost with it: what the enclave holds is found again from its log, the
//! chain's orders and the sealed files.

use std::path::Path;

use codec::{Decode, Encode};
use crust_protocol::{
    BlockNumber, Slot,
    file::{Cid, Multihash},
    order::{Content, OrderId},
};
use redb::{ReadableTable, TableDefinition, WriteTransaction};

use super::{database::Database, disks::DiskId};

/// What can go wrong with the index.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the index: {0}")]
    Database(Box<redb::Error>),
    #[error("the index: an entry of `{0}` cannot be read")]
    Entry(&'static str),
    #[error("the index is closed until its disk takes it again: {0}")]
    Closed(String),
}

macro_rules! database {
    ($($error:ident),*) => {$(
        impl From<redb::$error> for Error {
            fn from(error: redb::$error) -> Self {
                Error::Database(Box::new(error.into()))
            }
        }
    )*};
}
database!(DatabaseError, TransactionError, TableError, StorageError, CommitError);

/// How far an order is on this node.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Encode, Decode, serde::Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// A place is held; the bytes are awaited or on their way.
    #[codec(index = 0)]
    Taken,
    /// Sealed, in the enclave's log, without a receipt on the chain.
    #[codec(index = 1)]
    Sealed,
    /// The chain has the receipt: a live replica.
    #[codec(index = 2)]
    Held,
    /// The bytes could not be had in time; tried again later.
    #[codec(index = 3)]
    Waiting,
    /// The content is not what was ordered. Left alone until the order ends.
    #[codec(index = 4)]
    Refused,
    /// Deleted or given up in the enclave's log or about to be; the file goes next.
    #[codec(index = 5)]
    Ending,
}

/// What the node knows of an order.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Record {
    pub content: Content,
    pub state: State,
    /// Where its file is or is being written.
    pub disk: Option<DiskId>,
    /// Takes that came to nothing.
    pub attempts: u32,
    /// Taken: the block at which the place lapses. Waiting: the block not before which to try again.
    pub until: BlockNumber,
    /// The order's end, as last seen.
    pub end: Slot,
    /// The slot up to which its pay was claimed last.
    pub claimed: Slot,
    /// Chunks that were found damaged, at most a few.
    pub damaged: Vec<u64>,
    /// Whether the file is lost: given up, not deleted in order.
    pub lost: bool,
    /// What an operator should know.
    pub note: Option<String>,
}

impl Record {
    pub fn new(content: Content, state: State) -> Self {
        let (damaged, note) = (Vec::new(), None);
        Record { content, state, disk: None, attempts: 0, until: 0, end: 0, claimed: 0, damaged, lost: false, note }
    }

    /// Whether there may be a part of its file on a disk.
    pub fn is_in_work(&self) -> bool {
        self.state == State::Taken
    }
}

/// A block of a file: where it begins in the stream, and its length.
pub type Row = (Multihash, u64, u32);

/// Where a block's bytes are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    pub order: OrderId,
    /// In the stream.
    pub offset: u64,
    pub length: u32,
}

const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
const ORDERS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("orders");
/// state ‖ order.
const STATES: TableDefinition<&[u8], ()> = TableDefinition::new("states");
/// cid ‖ order, of records that are not refused.
const CIDS: TableDefinition<&[u8], ()> = TableDefinition::new("cids");
/// multihash ‖ order → offset ‖ length.
const BLOCKS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("blocks");
/// order ‖ offset ‖ length (big-endian) → multihash ‖ length.
const FILES: TableDefinition<&[u8], &[u8]> = TableDefinition::new("files");

/// Orders that the enclave holds and of which the record or the blocks have to be found again.
const FIND: TableDefinition<&[u8], ()> = TableDefinition::new("find");

/// Block rows removed in one transaction.
const REMOVE: usize = 16_384;

/// The index. Calls do file I/O: short ones may run anywhere, those that write belong off the async runtime.
pub struct Index {
    database: Database,
}

impl Index {
    /// Opens or creates the file.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let database = Database::open(path)?;
        // Nothing is written where nothing is missing: a full disk is no reason not to start.
        if database.read(|read| Ok(read.open_table(FIND).is_ok()))? {
            return Ok(Index { database });
        }
        database.write(|write| {
            write.open_table(META)?;
            write.open_table(ORDERS)?;
            write.open_table(STATES)?;
            write.open_table(CIDS)?;
            write.open_table(BLOCKS)?;
            write.open_table(FILES)?;
            write.open_table(FIND)?;
            Ok(())
        })?;
        Ok(Index { database })
    }

    /// A value of its own kind, by name.
    pub fn meta<T: Decode>(&self, name: impl AsRef<str>) -> Result<Option<T>, Error> {
        self.database.read(|read| {
            let table = read.open_table(META)?;
            let Some(value) = table.get(name.as_ref())? else { return Ok(None) };
            T::decode(&mut value.value()).map(Some).map_err(|_| Error::Entry("meta"))
        })
    }

    pub fn set_meta<T: Encode>(&self, name: impl AsRef<str>, value: &T) -> Result<(), Error> {
        self.database.write(|write| {
            write.open_table(META)?.insert(name.as_ref(), value.encode().as_slice())?;
            Ok(())
        })
    }

    /// What is known of an order.
    pub fn order(&self, id: &OrderId) -> Result<Option<Record>, Error> {
        self.database.read(|read| {
            let table = read.open_table(ORDERS)?;
            let Some(value) = table.get(id.as_slice())? else { return Ok(None) };
            decode(value.value()).map(Some)
        })
    }

    /// Writes what is known of orders, durably.
    pub fn put(&self, records: &[Record]) -> Result<(), Error> {
        self.database.write(|write| records.iter().try_for_each(|record| put(write, record)))
    }

    /// Changes what is known of an order, if it is known. Several may do so at the same time.
    pub fn change(&self, id: &OrderId, change: impl FnOnce(&mut Record)) -> Result<Option<Record>, Error> {
        self.database.write(|write| changed(write, id, change))
    }

    /// Changes what is known of several orders, all at once; the records of those that are known.
    pub fn change_each(&self, ids: &[OrderId], mut change: impl FnMut(&mut Record)) -> Result<Vec<Record>, Error> {
        self.database.write(|write| {
            let changed = ids.iter().map(|id| changed(write, id, &mut change));
            changed.filter_map(Result::transpose).collect()
        })
    }

    /// Refuses an order of which nothing was sealed: no sealing of it comes to its end any more. Its record, if that is so.
    pub fn refuse(&self, id: &OrderId) -> Result<Option<Record>, Error> {
        let change = |record: &mut Record| {
            if matches!(record.state, State::Taken | State::Waiting) {
                record.state = State::Refused;
            }
        };
        Ok(self.change(id, change)?.filter(|record| record.state == State::Refused))
    }

    /// Forgets orders and their blocks, in as few transactions as their blocks allow.
    pub fn forget(&self, ids: &[OrderId]) -> Result<(), Error> {
        let mut rest = ids;
        while !rest.is_empty() {
            let done = self.database.write(|write| {
                let (mut rows, mut done) = (0_usize, 0_usize);
                for id in rest {
                    let left = REMOVE.saturating_sub(rows);
                    rows = rows.saturating_add(forget_some_blocks(write, id, left)?);
                    if rows >= REMOVE {
                        break;
                    }
                    forget_order(write, id)?;
                    done = done.saturating_add(1);
                }
                Ok(done)
            })?;
            rest = rest.get(done..).unwrap_or_default();
        }
        Ok(())
    }

    /// Orders in a state, after one of them, in order of their ids.
    pub fn in_state(&self, state: State, after: Option<OrderId>, limit: usize) -> Result<Vec<OrderId>, Error> {
        let (first, last) = (state_key(state, &after.unwrap_or([0; 32])), state_key(state, &[0xff; 32]));
        let orders = self.orders(STATES, &first, &last, 1, limit.saturating_add(1))?;
        Ok(orders.into_iter().filter(|id| Some(*id) != after).take(limit).collect())
    }

    /// How many orders are in a state.
    pub fn count(&self, state: State) -> Result<u64, Error> {
        let (first, last) = (state_key(state, &[0; 32]), state_key(state, &[0xff; 32]));
        self.database.read(|read| {
            let count = read.open_table(STATES)?.range(first.as_slice()..=last.as_slice())?.count();
            Ok(u64::try_from(count).unwrap_or(u64::MAX))
        })
    }

    /// Records after an order, in order of their ids.
    pub fn records(&self, after: Option<OrderId>, limit: usize) -> Result<Vec<(OrderId, Record)>, Error> {
        let first = after.unwrap_or([0; 32]);
        self.database.read(|read| {
            let table = read.open_table(ORDERS)?;
            let mut found = Vec::new();
            for entry in table.range(first.as_slice()..)? {
                let (key, value) = entry?;
                let id = OrderId::try_from(key.value()).map_err(|_| Error::Entry("orders"))?;
                if Some(id) != after {
                    found.push((id, decode(value.value())?));
                }
                if found.len() >= limit {
                    break;
                }
            }
            Ok(found)
        })
    }

    /// Orders for a file, those refused apart.
    pub fn orders_for(&self, cid: &Cid) -> Result<Vec<OrderId>, Error> {
        self.orders(CIDS, &cid_key(cid, &[0; 32]), &cid_key(cid, &[0xff; 32]), 36, usize::MAX)
    }

    /// Notes orders of which the record or the blocks have to be found again.
    pub fn find(&self, orders: &[OrderId]) -> Result<(), Error> {
        self.database.write(|write| {
            let mut table = write.open_table(FIND)?;
            for order in orders {
                table.insert(order.as_slice(), ())?;
            }
            Ok(())
        })
    }

    /// Those, after one of them.
    pub fn to_find(&self, after: Option<OrderId>, limit: usize) -> Result<Vec<OrderId>, Error> {
        let orders = self.orders(FIND, &after.unwrap_or([0; 32]), &[0xff; 32], 0, limit.saturating_add(1))?;
        Ok(orders.into_iter().filter(|id| Some(*id) != after).take(limit).collect())
    }

    /// An order's blocks were found, or it is not held any more.
    pub fn found(&self, order: &OrderId) -> Result<(), Error> {
        self.database.write(|write| {
            write.open_table(FIND)?.remove(order.as_slice())?;
            Ok(())
        })
    }

    /// Adds blocks of a file.
    pub fn add_blocks(&self, order: &OrderId, blocks: &[Row]) -> Result<(), Error> {
        self.database.write(|write| add_blocks(write, order, blocks))
    }

    /// Adds many files with their blocks, all or none.
    pub fn add(&self, files: &[(Record, Vec<Row>)]) -> Result<(), Error> {
        self.database.write(|write| {
            for (record, blocks) in files {
                put(write, record)?;
                add_blocks(write, &record.content.id(), blocks)?;
            }
            Ok(())
        })
    }

    /// Forgets the blocks of a file, a transaction for every few thousand.
    pub fn forget_blocks(&self, order: &OrderId) -> Result<(), Error> {
        while self.database.write(|write| forget_some_blocks(write, order, REMOVE))? >= REMOVE {}
        Ok(())
    }

    /// Every place where a block lies.
    pub fn places(&self, hash: &Multihash) -> Result<Vec<Place>, Error> {
        let (first, last) = (block_key(hash, &[0; 32]), block_key(hash, &[0xff; 32]));
        self.database.read(|read| {
            let table = read.open_table(BLOCKS)?;
            let mut places = Vec::new();
            for entry in table.range(first.as_slice()..=last.as_slice())? {
                let (key, value) = entry?;
                let order = key.value().get(34..).and_then(|id| id.try_into().ok()).ok_or(Error::Entry("blocks"))?;
                let (offset, length) = <(u64, u32)>::decode(&mut value.value()).map_err(|_| Error::Entry("blocks"))?;
                places.push(Place { order, offset, length });
            }
            Ok(places)
        })
    }

    /// The orders in a table's keys, after `skip` bytes of each.
    fn orders(
        &self,
        table: TableDefinition<&[u8], ()>,
        first: &[u8],
        last: &[u8],
        skip: usize,
        limit: usize,
    ) -> Result<Vec<OrderId>, Error> {
        self.database.read(|read| {
            let mut found = Vec::new();
            for entry in read.open_table(table)?.range(first..=last)?.take(limit) {
                let (key, ()) = entry.map(|(key, value)| (key, value.value()))?;
                let id = key.value().get(skip..).and_then(|id| id.try_into().ok());
                found.push(id.ok_or(Error::Entry("orders' keys"))?);
            }
            Ok(found)
        })
    }
}

fn changed(write: &WriteTransaction, id: &OrderId, change: impl FnOnce(&mut Record)) -> Result<Option<Record>, Error> {
    let before = write.open_table(ORDERS)?.get(id.as_slice())?.map(|value| decode(value.value())).transpose()?;
    let Some(before) = before else { return Ok(None) };
    let mut record = before.clone();
    change(&mut record);
    if record != before {
        put(write, &record)?;
    }
    Ok(Some(record))
}

fn forget_order(write: &WriteTransaction, id: &OrderId) -> Result<(), Error> {
    let before = write.open_table(ORDERS)?.remove(id.as_slice())?.map(|value| decode(value.value())).transpose()?;
    if let Some(record) = before {
        write.open_table(STATES)?.remove(state_key(record.state, id).as_slice())?;
        write.open_table(CIDS)?.remove(cid_key(&record.content.cid, id).as_slice())?;
    }
    write.open_table(FIND)?.remove(id.as_slice())?;
    Ok(())
}

/// Forgets at most so many blocks of a file; how many it were.
fn forget_some_blocks(write: &WriteTransaction, order: &OrderId, most: usize) -> Result<usize, Error> {
    let (first, last) = (file_key(order, 0, 0), file_key(order, u64::MAX, u32::MAX));
    let mut by_hash = write.open_table(BLOCKS)?;
    let mut by_file = write.open_table(FILES)?;
    let mut rows = Vec::new();
    for entry in by_file.range(first.as_slice()..=last.as_slice())?.take(most) {
        let (key, value) = entry?;
        let hash = value.value().get(..34).map(<[u8]>::to_vec).ok_or(Error::Entry("files"))?;
        rows.push((key.value().to_vec(), [hash.as_slice(), order.as_slice()].concat()));
    }
    for (key, block) in &rows {
        by_file.remove(key.as_slice())?;
        by_hash.remove(block.as_slice())?;
    }
    Ok(rows.len())
}

fn put(write: &WriteTransaction, record: &Record) -> Result<(), Error> {
    let id = record.content.id();
    let mut orders = write.open_table(ORDERS)?;
    let mut states = write.open_table(STATES)?;
    let mut cids = write.open_table(CIDS)?;
    if let Some(before) = orders.insert(id.as_slice(), record.encode().as_slice())? {
        states.remove(state_key(decode(before.value())?.state, &id).as_slice())?;
    }
    states.insert(state_key(record.state, &id).as_slice(), ())?;
    let cid = cid_key(&record.content.cid, &id);
    match record.state {
        State::Refused => cids.remove(cid.as_slice())?,
        _ => cids.insert(cid.as_slice(), ())?,
    };
    Ok(())
}

fn add_blocks(write: &WriteTransaction, order: &OrderId, blocks: &[Row]) -> Result<(), Error> {
    let mut by_hash = write.open_table(BLOCKS)?;
    let mut by_file = write.open_table(FILES)?;
    for (hash, offset, length) in blocks {
        by_hash.insert(block_key(hash, order).as_slice(), (*offset, *length).encode().as_slice())?;
        // Blocks of no bytes share their offset with the next one.
        let value = [hash.to_bytes().as_slice(), &length.encode()].concat();
        by_file.insert(file_key(order, *offset, *length).as_slice(), value.as_slice())?;
    }
    Ok(())
}

fn decode(mut bytes: &[u8]) -> Result<Record, Error> {
    Record::decode(&mut bytes).map_err(|_| Error::Entry("orders"))
}

fn state_key(state: State, order: &OrderId) -> Vec<u8> {
    [state.encode().as_slice(), order].concat()
}

fn cid_key(cid: &Cid, order: &OrderId) -> Vec<u8> {
    [cid.as_bytes().as_slice(), order].concat()
}

fn block_key(hash: &Multihash, order: &OrderId) -> Vec<u8> {
    [hash.to_bytes().as_slice(), order].concat()
}

fn file_key(order: &OrderId, offset: u64, length: u32) -> Vec<u8> {
    [order.as_slice(), &offset.to_be_bytes(), &length.to_be_bytes()].concat()
}

#[cfg(test)]
#[path = "index_tests.rs"]
mod tests;
