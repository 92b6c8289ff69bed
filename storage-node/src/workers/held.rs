//! What the enclave knows of one file. It may hold one of which the index has not heard: whoever removes what there is of
//! a file asks here first.

use crust_enclave::rpc::{FileInfo, Request, Response};
use crust_protocol::order::OrderId;

use super::Error;
use crate::enclave_client::{self, Enclave, Exclusive};

/// What the enclave knows of a file.
pub async fn file(enclave: &Enclave, order: OrderId) -> Result<Option<FileInfo>, Error> {
    told(order, enclave.ask(asking(order)).await?)
}

/// Whether it holds a file.
pub async fn is_held(enclave: &Enclave, order: OrderId) -> Result<bool, Error> {
    Ok(file(enclave, order).await?.is_some_and(|file| !file.lost))
}

/// Whether it holds a file, and does so as long as nobody else may change that.
pub async fn is_held_in(line: &mut Exclusive<'_>, order: OrderId) -> Result<bool, Error> {
    let file = told(order, line.change(asking(order)).await?)?;
    Ok(file.is_some_and(|file| !file.lost))
}

fn asking(order: OrderId) -> Request {
    let mut before = order;
    // The id before this one; of the first there is none.
    let borrowed = before.iter_mut().rev().all(|byte| {
        let borrow = *byte == 0;
        *byte = byte.wrapping_sub(1);
        borrow
    });
    Request::Files { after: (!borrowed).then_some(before), limit: 1 }
}

fn told(order: OrderId, response: Response) -> Result<Option<FileInfo>, Error> {
    match response {
        Response::Files { files } => Ok(files.into_iter().find(|file| file.order == order)),
        _ => Err(enclave_client::Error::Answer("Files").into()),
    }
}
