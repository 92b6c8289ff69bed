//! Brings the index to what the enclave's log says, once at a start. The log is right: it is written first, and what it
//! does not have cannot be vouched for.
//!
//! A file that the enclave holds and the index has not heard of finishing is finished; one that the index does not know
//! at all is counted, and noted for [`crate::workers::find`]. A file that only the index has is fetched again if it had
//! no receipt yet; otherwise it is kept, with a note: an old log may have been put back, and the newer one may still be
//! found.

use crust_enclave::rpc::{FileInfo, Request, Response};
use crust_protocol::order::OrderId;

use crate::{
    enclave_client::{self, Enclave},
    store::{
        Store,
        index::{Record, State},
    },
    workers::Error,
};

/// Files and records of one page.
const PAGE: u32 = 4_096;

/// Compares index and enclave, both in the order of their ids.
pub async fn run(store: &Store, enclave: &Enclave) -> Result<(), Error> {
    let mut after = None;
    loop {
        let files = page(enclave, after).await?;
        let last = files.last().map(|file| file.order);
        compare(store, after, last, &files)?;
        if last.is_none() {
            return Ok(());
        }
        after = last;
    }
}

async fn page(enclave: &Enclave, after: Option<OrderId>) -> Result<Vec<FileInfo>, Error> {
    match enclave.ask(Request::Files { after, limit: PAGE }).await? {
        Response::Files { files } => Ok(files),
        _ => Err(enclave_client::Error::Answer("Files").into()),
    }
}

/// Compares files of the enclave with the records between `after` and `last`, or all that follow: each is read once.
fn compare(store: &Store, after: Option<OrderId>, last: Option<OrderId>, files: &[FileInfo]) -> Result<(), Error> {
    let mut left = files.iter().peekable();
    let mut unknown = Vec::new();
    let mut from = after;
    'records: loop {
        let records = store.index.records(from, usize::try_from(PAGE).unwrap_or(usize::MAX))?;
        let Some((end, _)) = records.last() else { break };
        from = Some(*end);
        for (id, record) in &records {
            if last.is_some_and(|last| *id > last) {
                break 'records;
            }
            while let Some(file) = left.next_if(|file| file.order < *id) {
                unknown.push(file);
            }
            match left.next_if(|file| file.order == *id) {
                Some(file) => held(store, file, record)?,
                None => missing(store, id, record)?,
            }
        }
        if from == last {
            break;
        }
    }
    unknown.extend(left);
    if unknown.is_empty() {
        return Ok(());
    }
    tracing::warn!(files = unknown.len(), "held by the enclave and not in the index: they are found again");
    for file in &unknown {
        if let Some(disk) = store.find(&file.order) {
            store.count_found(file.order, disk.id, file.size);
        }
    }
    let orders: Vec<OrderId> = unknown.into_iter().map(|file| file.order).collect();
    Ok(store.index.find(&orders)?)
}

/// A file that the enclave holds, and what the index says of it.
fn held(store: &Store, file: &FileInfo, record: &Record) -> Result<(), Error> {
    let id = file.order;
    let (state, lost) = match file.lost {
        true => (State::Ending, true),
        false => (State::Sealed, false),
    };
    let counted = matches!(record.state, State::Sealed | State::Held | State::Ending);
    if !counted || lost && !record.lost {
        let changed = store.index.change(&id, |record| (record.state, record.lost) = (state, lost))?;
        tracing::info!(order = hex::encode(id), ?state, "taken up from the enclave's log");
        if let Some(record) = changed.filter(|_| !counted) {
            store.sealed(&record);
        }
    }
    Ok(())
}

/// A record that says more than the enclave's log.
fn missing(store: &Store, id: &OrderId, record: &Record) -> Result<(), Error> {
    match record.state {
        State::Sealed => {
            tracing::warn!(order = hex::encode(id), "not in the enclave's log: sealed anew");
            store.in_work_again(record);
            store.index.change(id, |record| record.state = State::Taken)?;
        }
        State::Held => {
            tracing::error!(order = hex::encode(id), "held according to the chain, but not in the enclave's log");
            store.index.change(id, |record| {
                record.note = Some("not in the enclave's log: was an old copy of the log put back?".into());
            })?;
        }
        State::Taken | State::Waiting | State::Refused | State::Ending => (),
    }
    Ok(())
}
