//! Reading what is held: the sealed chunks around a stretch of a file's stream, opened by the enclave.
//!
//! Used by whoever serves blocks, and to find a file's blocks again.

use std::io;

use bytes::Bytes;
use crust_enclave::rpc::{self, Request, Response};

use crate::{
    enclave_client::{self, Enclave},
    store::{self, Store, index::Record, sealed},
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
}

/// Bytes of a public file's stream, at most a few MiB. Checked by their seal, not against any CID.
pub async fn read(store: &Store, enclave: &Enclave, record: &Record, offset: u64, length: u64) -> Result<Bytes, Error> {
    // A block of no bytes lies nowhere.
    if length == 0 {
        return Ok(Bytes::new());
    }
    let path = store.file(record)?;
    let first = offset / sealed::CHUNK;
    let count = offset.saturating_add(length).div_ceil(sealed::CHUNK).saturating_sub(first);
    let read = tokio::task::spawn_blocking(move || sealed::read(&path, first, count));
    let sealed = read.await.map_err(io::Error::other)??;
    let request = Request::Read { order: record.content.id(), chunk: first, sealed };
    let plain = match enclave.ask(request).await {
        Ok(Response::Plain { bytes }) => Bytes::from(bytes),
        Ok(_) => return Err(enclave_client::Error::Answer("Read").into()),
        Err(enclave_client::Error::Refused(rpc::Error::Damaged { chunk })) => return Err(Error::Damaged(chunk)),
        Err(error) => return Err(error.into()),
    };
    let skip = usize::try_from(offset % sealed::CHUNK).unwrap_or(usize::MAX);
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    match skip.checked_add(length).filter(|end| *end <= plain.len()) {
        // A copy, so that the chunks around a small block are not kept with it.
        Some(end) => Ok(Bytes::copy_from_slice(&plain.slice(skip..end))),
        None => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
    }
}
