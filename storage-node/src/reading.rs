//! Reading what is held: the sealed chunks around a stretch of a file's stream, opened by the enclave.
//!
//! Used by whoever serves blocks, by the scrub and for audits, and to find a file's blocks again.

use std::{io, sync::Arc};

use bytes::Bytes;
use crust_enclave::{
    rpc::{self, Audit, Request, Response, Stretch},
    tree,
};
use crust_protocol::{draw::Drawn, order::OrderId};

use crate::{
    enclave_client::{self, Enclave},
    store::{self, Store, disks::Disk, filler::Filler, index::Record, sealed},
};

/// Why a stretch was not read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Enclave(#[from] enclave_client::Error),
    #[error("{0}")]
    Io(#[from] io::Error),
    #[error("chunk {0} is damaged")]
    Damaged(u64),
    #[error("the hash tree cannot be read: {0}")]
    Tree(io::Error),
}

/// Bytes of a public file's stream, at most a few MiB. Checked by their seal, not against any CID.
pub async fn read(store: &Store, enclave: &Enclave, record: &Record, offset: u64, length: u64) -> Result<Bytes, Error> {
    // A block of no bytes lies nowhere.
    if length == 0 {
        return Ok(Bytes::new());
    }
    let path = store.file(record)?;
    opened(enclave, record, offset, length, move |first, count| sealed::read(&path, first, count)).await
}

/// The same of a file in work, as far as its segments are finished.
pub async fn read_part(
    store: &Store,
    enclave: &Enclave,
    record: &Record,
    offset: u64,
    length: u64,
) -> Result<Bytes, Error> {
    let path = store.file(record)?;
    opened(enclave, record, offset, length, move |first, count| sealed::read_part(&path, first, count)).await
}

async fn opened(
    enclave: &Enclave,
    record: &Record,
    offset: u64,
    length: u64,
    read: impl FnOnce(u64, u64) -> io::Result<Vec<u8>> + Send + 'static,
) -> Result<Bytes, Error> {
    let first = offset / sealed::CHUNK;
    let count = offset.saturating_add(length).div_ceil(sealed::CHUNK).saturating_sub(first);
    let read = tokio::task::spawn_blocking(move || read(first, count));
    let sealed = read.await.map_err(io::Error::other)??;
    let request = Request::Read { order: record.content.id(), chunk: first, sealed };
    let mut plain = vec![0; usize::try_from(count.saturating_mul(sealed::CHUNK)).map_err(io::Error::other)?];
    let opened = enclave.ask_bytes(request, rpc::Bytes::Plain, &mut plain).await.map_err(|error| match error {
        enclave_client::Error::Refused(rpc::Error::Damaged { chunk }) => Error::Damaged(chunk),
        other => other.into(),
    })?;
    plain.truncate(opened);
    let skip = usize::try_from(offset % sealed::CHUNK).unwrap_or(usize::MAX);
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    match skip.checked_add(length).and_then(|end| plain.get(skip..end)) {
        // A copy, so that the chunks around a small block are not kept with it.
        Some(part) => Ok(Bytes::copy_from_slice(part)),
        None => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
    }
}

/// What an audit of a file is answered from: the sealed chunk and the nodes of the hash tree that the enclave names.
pub async fn audit(store: &Arc<Store>, enclave: &Enclave, drawn: &Drawn) -> Result<Audit, Error> {
    let (order, audited, size) = (drawn.order, drawn.chunk, drawn.size);
    let Response::AuditReads { chunk, nodes } = enclave.ask(Request::AuditReads { order, audited }).await? else {
        return Err(enclave_client::Error::Answer("AuditReads").into());
    };
    let store = store.clone();
    let read = tokio::task::spawn_blocking(move || {
        let disk = disk_of(&store, &order).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        let chunk = sealed::read(&sealed::path(&disk.path, &order), chunk, 1)?;
        let path = sealed::tree_path(&disk.path, &order);
        let node = |node| {
            let (offset, length) = tree::range(size, node, 1).ok_or(io::ErrorKind::InvalidInput)?;
            sealed::read_tree(&path, offset, length)
        };
        let nodes = nodes.into_iter().map(node).collect::<io::Result<Vec<_>>>().map_err(Error::Tree)?;
        Ok(Audit { order, audited, chunk, nodes })
    });
    read.await.map_err(io::Error::other)?
}

/// What stands in a stretch that a check or the scrub asks for: zeros or nothing for what cannot be read; `None` if its
/// disk is not there.
pub async fn stretch(store: &Arc<Store>, stretch: Stretch) -> Option<Vec<u8>> {
    let store = store.clone();
    // Index and disks are looked at there too: one that hangs must not hold up the others.
    tokio::task::spawn_blocking(move || shown(&store, stretch)).await.ok().flatten()
}

fn shown(store: &Store, stretch: Stretch) -> Option<Vec<u8>> {
    let order = match stretch {
        Stretch::Filler { disk, page, pages } => {
            let disk = store.disk(&disk).filter(|disk| disk.present())?;
            return Some(Filler::pages(&disk.path, page, pages.into()));
        }
        Stretch::File { order, .. } | Stretch::Tree { order, .. } => order,
    };
    let record = store.index.order(&order).ok().flatten();
    let disk = record.as_ref().and_then(|record| record.disk).and_then(|disk| store.disk(&disk));
    let Some(disk) = disk.or_else(|| store.find(&order)) else {
        // Of a file that is nowhere, it is known only when all disks are there that it can be on.
        let nowhere = record.is_none_or(|record| record.disk.is_none()) && store.all_present();
        return nowhere.then(Vec::new);
    };
    if !disk.present() {
        return None;
    }
    let bytes = match stretch {
        Stretch::Tree { node, nodes, .. } => {
            // Of a file that the index does not know, its own length tells.
            let size = record.map(|record| record.content.size);
            let size = size.or_else(|| sealed::size(&sealed::path(&disk.path, &order)).ok());
            let range = size.and_then(|size| tree::range(size, node, nodes.into()));
            let path = sealed::tree_path(&disk.path, &order);
            range.and_then(|(offset, length)| sealed::read_tree(&path, offset, length).ok())
        }
        Stretch::File { chunk, chunks, .. } => {
            sealed::read(&sealed::path(&disk.path, &order), chunk, chunks.into()).ok()
        }
        Stretch::Filler { .. } => None,
    };
    Some(bytes.unwrap_or_default())
}

/// The disk of an order's file, by the index or by the file itself.
fn disk_of(store: &Store, order: &OrderId) -> Option<Arc<Disk>> {
    let known = store.index.order(order).ok().flatten().and_then(|record| record.disk);
    known.and_then(|disk| store.disk(&disk)).or_else(|| store.find(order))
}
