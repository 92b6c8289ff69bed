//! The index: which orders this node knows and how far they are, where each block of a held file lies, which disk
//! stood where. One redb file in the state directory.
//!
//! Nothing in it is trusted by the enclave. Where index and enclave differ at a start, the enclave's log is right and
//! the index follows it.

use std::path::Path;

use codec::{Decode, Encode};
use crust_protocol::{
    BlockNumber, Slot,
    file::{Cid, Multihash},
    order::{Content, OrderId},
};
use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};

use super::disks::DiskId;

/// What can go wrong with the index.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the index: {0}")]
    Database(Box<redb::Error>),
    #[error("the index: an entry of `{0}` cannot be read")]
    Entry(&'static str),
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
}

/// Where a block's bytes are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Place {
    pub order: OrderId,
    /// In the stream.
    pub offset: u64,
    pub length: u32,
}

const META: TableDefinition<&str, &[u8]> = TableDefinition::new("meta");
const DISKS: TableDefinition<&str, &[u8]> = TableDefinition::new("disks");
const ORDERS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("orders");
/// state ‖ order.
const STATES: TableDefinition<&[u8], ()> = TableDefinition::new("states");
/// cid ‖ order, of records that are not refused.
const CIDS: TableDefinition<&[u8], ()> = TableDefinition::new("cids");
/// multihash ‖ order → offset ‖ length.
const BLOCKS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("blocks");
/// order ‖ offset (big-endian) → multihash ‖ length.
const FILES: TableDefinition<&[u8], &[u8]> = TableDefinition::new("files");

/// Block rows removed in one transaction.
const REMOVE: usize = 16_384;

/// The index. Calls do file I/O: short ones may run anywhere, those that write belong off the async runtime.
pub struct Index {
    database: Database,
}

impl Index {
    /// Opens or creates the file. The cache is small on purpose.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let database = Database::builder().set_cache_size(8 << 20).create(path)?;
        let write = database.begin_write()?;
        write.open_table(META)?;
        write.open_table(DISKS)?;
        write.open_table(ORDERS)?;
        write.open_table(STATES)?;
        write.open_table(CIDS)?;
        write.open_table(BLOCKS)?;
        write.open_table(FILES)?;
        write.commit()?;
        Ok(Index { database })
    }

    /// A value of its own kind, by name.
    pub fn meta<T: Decode>(&self, name: impl AsRef<str>) -> Result<Option<T>, Error> {
        let table = self.database.begin_read()?.open_table(META)?;
        let Some(value) = table.get(name.as_ref())? else { return Ok(None) };
        T::decode(&mut value.value()).map(Some).map_err(|_| Error::Entry("meta"))
    }

    pub fn set_meta<T: Encode>(&self, name: impl AsRef<str>, value: &T) -> Result<(), Error> {
        let write = self.database.begin_write()?;
        write.open_table(META)?.insert(name.as_ref(), value.encode().as_slice())?;
        Ok(write.commit()?)
    }

    /// The disk that stood at a path.
    pub fn disk_at(&self, path: &Path) -> Result<Option<DiskId>, Error> {
        let table = self.database.begin_read()?.open_table(DISKS)?;
        let Some(value) = table.get(path.to_string_lossy().as_ref())? else { return Ok(None) };
        DiskId::decode(&mut value.value()).map(Some).map_err(|_| Error::Entry("disks"))
    }

    pub fn set_disk(&self, path: &Path, id: DiskId) -> Result<(), Error> {
        let write = self.database.begin_write()?;
        write.open_table(DISKS)?.insert(path.to_string_lossy().as_ref(), id.as_slice())?;
        Ok(write.commit()?)
    }

    /// What is known of an order.
    pub fn order(&self, id: &OrderId) -> Result<Option<Record>, Error> {
        let table = self.database.begin_read()?.open_table(ORDERS)?;
        let Some(value) = table.get(id.as_slice())? else { return Ok(None) };
        decode(value.value()).map(Some)
    }

    /// Writes what is known of an order, durably.
    pub fn put(&self, record: &Record) -> Result<(), Error> {
        let id = record.content.id();
        let write = self.database.begin_write()?;
        {
            let mut orders = write.open_table(ORDERS)?;
            let mut states = write.open_table(STATES)?;
            let mut cids = write.open_table(CIDS)?;
            let before = orders.insert(id.as_slice(), record.encode().as_slice())?;
            if let Some(before) = before {
                states.remove(state_key(decode(before.value())?.state, &id).as_slice())?;
            }
            states.insert(state_key(record.state, &id).as_slice(), ())?;
            let cid = cid_key(&record.content.cid, &id);
            match record.state {
                State::Refused => cids.remove(cid.as_slice())?,
                _ => cids.insert(cid.as_slice(), ())?,
            };
        }
        Ok(write.commit()?)
    }

    /// Changes what is known of an order, if it is known.
    pub fn change(&self, id: &OrderId, change: impl FnOnce(&mut Record)) -> Result<Option<Record>, Error> {
        let Some(mut record) = self.order(id)? else { return Ok(None) };
        let before = record.clone();
        change(&mut record);
        if record != before {
            self.put(&record)?;
        }
        Ok(Some(record))
    }

    /// Forgets an order and its blocks.
    pub fn forget(&self, id: &OrderId) -> Result<(), Error> {
        self.forget_blocks(id)?;
        let write = self.database.begin_write()?;
        {
            let mut orders = write.open_table(ORDERS)?;
            let before = orders.remove(id.as_slice())?;
            if let Some(before) = before {
                let record = decode(before.value())?;
                write.open_table(STATES)?.remove(state_key(record.state, id).as_slice())?;
                write.open_table(CIDS)?.remove(cid_key(&record.content.cid, id).as_slice())?;
            }
        }
        Ok(write.commit()?)
    }

    /// Orders in a state, after one of them, in order of their ids.
    pub fn in_state(&self, state: State, after: Option<OrderId>, limit: usize) -> Result<Vec<OrderId>, Error> {
        let table = self.database.begin_read()?.open_table(STATES)?;
        let (first, last) = (state_key(state, &after.unwrap_or([0; 32])), state_key(state, &[0xff; 32]));
        let mut found = Vec::new();
        for entry in table.range(first.as_slice()..=last.as_slice())? {
            let (key, _) = entry?;
            let id = key.value().get(1..).and_then(|id| id.try_into().ok()).ok_or(Error::Entry("states"))?;
            if Some(id) != after {
                found.push(id);
            }
            if found.len() >= limit {
                break;
            }
        }
        Ok(found)
    }

    /// How many orders are in a state.
    pub fn count(&self, state: State) -> Result<u64, Error> {
        let table = self.database.begin_read()?.open_table(STATES)?;
        let (first, last) = (state_key(state, &[0; 32]), state_key(state, &[0xff; 32]));
        let entries = table.range(first.as_slice()..=last.as_slice())?;
        Ok(u64::try_from(entries.count()).unwrap_or(u64::MAX))
    }

    /// Records after an order, in order of their ids.
    pub fn records(&self, after: Option<OrderId>, limit: usize) -> Result<Vec<(OrderId, Record)>, Error> {
        let table = self.database.begin_read()?.open_table(ORDERS)?;
        let first = after.unwrap_or([0; 32]);
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
    }

    /// Orders for a file, those refused apart.
    pub fn orders_for(&self, cid: &Cid) -> Result<Vec<OrderId>, Error> {
        let table = self.database.begin_read()?.open_table(CIDS)?;
        let (first, last) = (cid_key(cid, &[0; 32]), cid_key(cid, &[0xff; 32]));
        let mut found = Vec::new();
        for entry in table.range(first.as_slice()..=last.as_slice())? {
            let (key, _) = entry?;
            found.push(key.value().get(36..).and_then(|id| id.try_into().ok()).ok_or(Error::Entry("cids"))?);
        }
        Ok(found)
    }

    /// Adds blocks of a file.
    pub fn add_blocks(&self, order: &OrderId, blocks: &[(Multihash, u64, u32)]) -> Result<(), Error> {
        let write = self.database.begin_write()?;
        {
            let mut by_hash = write.open_table(BLOCKS)?;
            let mut by_file = write.open_table(FILES)?;
            for (hash, offset, length) in blocks {
                by_hash.insert(block_key(hash, order).as_slice(), (*offset, *length).encode().as_slice())?;
                let value = [hash.to_bytes().as_slice(), &length.encode()].concat();
                by_file.insert(file_key(order, *offset).as_slice(), value.as_slice())?;
            }
        }
        Ok(write.commit()?)
    }

    /// Forgets the blocks of a file, a transaction for every few thousand.
    pub fn forget_blocks(&self, order: &OrderId) -> Result<(), Error> {
        let (first, last) = (file_key(order, 0), file_key(order, u64::MAX));
        loop {
            let write = self.database.begin_write()?;
            let mut removed = 0_usize;
            {
                let mut by_hash = write.open_table(BLOCKS)?;
                let mut by_file = write.open_table(FILES)?;
                let mut rows = Vec::new();
                for entry in by_file.range(first.as_slice()..=last.as_slice())?.take(REMOVE) {
                    let (key, value) = entry?;
                    let hash = value.value().get(..34).map(<[u8]>::to_vec).ok_or(Error::Entry("files"))?;
                    rows.push((key.value().to_vec(), [hash.as_slice(), order.as_slice()].concat()));
                }
                for (key, block) in rows {
                    by_file.remove(key.as_slice())?;
                    by_hash.remove(block.as_slice())?;
                    removed = removed.saturating_add(1);
                }
            }
            write.commit()?;
            if removed < REMOVE {
                return Ok(());
            }
        }
    }

    /// Every place where a block lies.
    pub fn places(&self, hash: &Multihash) -> Result<Vec<Place>, Error> {
        let table = self.database.begin_read()?.open_table(BLOCKS)?;
        let (first, last) = (block_key(hash, &[0; 32]), block_key(hash, &[0xff; 32]));
        let mut places = Vec::new();
        for entry in table.range(first.as_slice()..=last.as_slice())? {
            let (key, value) = entry?;
            let order = key.value().get(34..).and_then(|id| id.try_into().ok()).ok_or(Error::Entry("blocks"))?;
            let (offset, length) = <(u64, u32)>::decode(&mut value.value()).map_err(|_| Error::Entry("blocks"))?;
            places.push(Place { order, offset, length });
        }
        Ok(places)
    }
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

fn file_key(order: &OrderId, offset: u64) -> Vec<u8> {
    [order.as_slice(), &offset.to_be_bytes()].concat()
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "tests")]
mod tests {
    use super::*;
    use crust_protocol::file::{Codec, HashFunction};

    fn content(nonce: u64) -> Content {
        let cid = Cid::of(Codec::Raw, HashFunction::Sha2_256, b"file");
        Content { client: [1; 32], nonce, cid, size: 4, audit_root: [2; 32], flags: 0 }
    }

    #[test]
    fn orders_are_found_by_state_and_by_file() {
        let dir = tempfile::tempdir().unwrap();
        let index = Index::open(&dir.path().join("index")).unwrap();
        let mut ids = Vec::new();
        for nonce in 0..5 {
            let record = Record::new(content(nonce), State::Taken);
            ids.push(record.content.id());
            index.put(&record).unwrap();
        }
        ids.sort();
        assert_eq!(index.in_state(State::Taken, None, 9).unwrap(), ids);
        assert_eq!(index.in_state(State::Taken, Some(ids[1]), 2).unwrap(), ids[2..4]);
        assert_eq!(index.orders_for(&content(0).cid).unwrap().len(), 5);
        index.change(&ids[0], |record| record.state = State::Refused).unwrap().unwrap();
        assert_eq!(index.in_state(State::Refused, None, 9).unwrap(), ids[..1]);
        assert_eq!((index.count(State::Taken).unwrap(), index.count(State::Held).unwrap()), (4, 0));
        assert_eq!(index.orders_for(&content(0).cid).unwrap(), ids[1..]);
        index.forget(&ids[0]).unwrap();
        assert_eq!(index.order(&ids[0]).unwrap(), None);
        assert!(index.in_state(State::Refused, None, 9).unwrap().is_empty());
        let all: Vec<_> = index.records(None, 9).unwrap().into_iter().map(|(id, _)| id).collect();
        assert_eq!(all, ids[1..]);
        assert_eq!(index.records(Some(ids[3]), 9).unwrap().len(), 1);
    }

    #[test]
    fn blocks_are_found_in_every_file_that_has_them() {
        let dir = tempfile::tempdir().unwrap();
        let index = Index::open(&dir.path().join("index")).unwrap();
        let hash = |text: &[u8]| Cid::of(Codec::Raw, HashFunction::Sha2_256, text).multihash();
        let (a, b) = ([1; 32], [2; 32]);
        index.add_blocks(&a, &[(hash(b"x"), 0, 1), (hash(b"y"), 1, 1)]).unwrap();
        index.add_blocks(&b, &[(hash(b"y"), 7, 1)]).unwrap();
        let places = index.places(&hash(b"y")).unwrap();
        assert_eq!(places, [Place { order: a, offset: 1, length: 1 }, Place { order: b, offset: 7, length: 1 }]);
        index.forget_blocks(&a).unwrap();
        assert!(index.places(&hash(b"x")).unwrap().is_empty());
        assert_eq!(index.places(&hash(b"y")).unwrap().len(), 1);
    }

    #[test]
    fn it_is_there_after_it_was_closed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("index");
        let index = Index::open(&path).unwrap();
        index.set_meta("owner", &[3_u8; 16]).unwrap();
        index.set_disk(Path::new("/a"), [4; 16]).unwrap();
        drop(index);
        let index = Index::open(&path).unwrap();
        assert_eq!(index.meta("owner").unwrap(), Some([3_u8; 16]));
        assert_eq!(index.meta::<u32>("other").unwrap(), None);
        assert_eq!(index.disk_at(Path::new("/a")).unwrap(), Some([4; 16]));
    }
}
