//! Giving up a disk that will not come back. What lay on it is lost all the same; admitted before one of its files is
//! drawn, it costs half of what that reserves, and the node goes on without it: no draw fails, nothing on it is bad in any
//! sample.

use crust_enclave::rpc::{self, MAX_ORDERS, Request};
use crust_protocol::order::OrderId;

use crate::{
    enclave_client,
    host::Host,
    store::{disks::DiskId, index::State},
    workers::Error,
};

/// Gives up all files and all filler of a disk that is no longer in the configuration. How many files those are.
pub async fn disk(host: &Host, disk: DiskId) -> Result<usize, Error> {
    let (mut after, mut lost) = (None, 0_usize);
    loop {
        let page = host.store.run(move |index| index.records(after, MAX_ORDERS)).await?;
        after = page.last().map(|(order, _)| *order);
        let held = page
            .iter()
            .filter(|(_, record)| record.disk == Some(disk) && matches!(record.state, State::Sealed | State::Held));
        let orders: Vec<OrderId> = held.map(|(order, _)| *order).collect();
        lost = lost.saturating_add(lose(host, orders).await?);
        if page.len() < MAX_ORDERS {
            break;
        }
    }
    match host.enclave.change(Request::Shrink { disk, to: 0 }).await {
        Ok(_) => (),
        // It had none.
        Err(enclave_client::Error::Refused(rpc::Error::ShrinkTo { .. })) => (),
        Err(error) => return Err(error.into()),
    }
    tracing::error!(disk = hex::encode(disk), files = lost, "given up, with all that lay on it");
    host.wakes.evict.notify_one();
    Ok(lost)
}

/// Has the enclave give up files. How many it still held.
async fn lose(host: &Host, orders: Vec<OrderId>) -> Result<usize, Error> {
    if orders.is_empty() {
        return Ok(0);
    }
    let count = orders.len();
    match host.enclave.change(Request::Lost { orders: orders.clone() }).await {
        Ok(_) => return Ok(count),
        // It does not know them all: one by one.
        Err(enclave_client::Error::Refused(rpc::Error::NotSealed { .. })) => (),
        Err(error) => return Err(error.into()),
    }
    let mut lost = 0_usize;
    for order in orders {
        match host.enclave.change(Request::Lost { orders: vec![order] }).await {
            Ok(_) => lost = lost.saturating_add(1),
            Err(enclave_client::Error::Refused(rpc::Error::NotSealed { .. })) => (),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(lost)
}
