//! Shows what the chain has drawn of this node's files, for [`super::report`].
//!
//! As long as it is not shown no report is accepted, and in the end the node counts as silent, which costs all that its
//! replicas reserve. So a drawn file that is not whole where it should be is given up, which costs that file, a seventh
//! and the probation: in the second slot in which it cannot be shown; if its disk is not there, only when the node is
//! about to count as silent. A hash tree that is damaged is made anew first, for the file may be whole.

use std::collections::BTreeSet;

use crust_enclave::rpc::{self, Audit, Request};
use crust_protocol::{Slot, draw::Drawn, order::OrderId};

use super::Error;
use crate::{enclave_client, host::Host, reading, trees};

/// Slots in which a drawn file could not be shown, after which it is given up.
const UNSHOWN: usize = 2;
/// Slots before silence in which one is given up whose disk is not there.
const BEFORE_SILENCE: u32 = 2;

/// What there is to show of a due draw.
pub enum Shown {
    Audit(Box<Audit>),
    /// Its file is gone: it is named so first, which ends the draw.
    Nothing,
    /// Something was done about it: to be asked again.
    Anew,
    /// It cannot be shown for now: what the operator should know.
    Not(String),
}

/// What could not be shown so far.
#[derive(Default)]
pub struct Showing {
    /// A drawn order, and the slots in which it could not be shown.
    failed: Option<(OrderId, BTreeSet<Slot>)>,
    /// Whose hash tree was made anew last, and in which slot: once is enough.
    tree: Option<(OrderId, Slot)>,
}

impl Showing {
    /// What the node's due draw is answered from, in a report of this slot.
    pub async fn show(&mut self, host: &Host, slot: Slot, drawn: &Drawn) -> Result<Shown, Error> {
        match reading::audit(&host.store, &host.enclave, drawn).await {
            Ok(audit) => Ok(Shown::Audit(Box::new(audit))),
            Err(reading::Error::Enclave(enclave_client::Error::Refused(rpc::Error::NotSealed { .. }))) => {
                Ok(Shown::Nothing)
            }
            Err(reading::Error::Enclave(error)) => Err(error.into()),
            Err(error) => {
                let tree = matches!(error, reading::Error::Tree(_));
                self.fail(host, slot, drawn, tree, error.to_string()).await
            }
        }
    }

    /// The enclave would not take what was shown.
    pub async fn refused(&mut self, host: &Host, slot: Slot, drawn: &Drawn, why: rpc::Error) -> Result<Shown, Error> {
        let tree = matches!(why, rpc::Error::DamagedTree { .. });
        self.fail(host, slot, drawn, tree, why.to_string()).await
    }

    async fn fail(&mut self, host: &Host, slot: Slot, drawn: &Drawn, tree: bool, why: String) -> Result<Shown, Error> {
        let order = drawn.order;
        if tree && self.tree.replace((order, slot)) != Some((order, slot)) {
            match trees::make_anew(&host.store, &host.enclave, order).await {
                Ok(()) => return Ok(Shown::Anew),
                Err(error) => tracing::warn!(order = hex::encode(order), "its hash tree cannot be made anew: {error}"),
            }
        }
        let slots = match &mut self.failed {
            Some((failed, slots)) if *failed == order => slots,
            failed => &mut failed.insert((order, BTreeSet::new())).1,
        };
        let first_time = slots.insert(slot);
        let tried = slots.len();
        let away = disk_away(host, order).await?;
        let patience = if away { before_silence(host) } else { UNSHOWN };
        let (name, chunk) = (hex::encode(order), drawn.chunk);
        if tried < patience {
            let left = patience.saturating_sub(tried);
            let remedy = if away { "mount its disk, or give that up" } else { "put its file back" };
            let trouble = format!(
                "chunk {chunk} of order {name}, which is drawn, cannot be shown: {why}. Until it is, nothing is earned; \
                 {remedy}, or the file is given up in {left} slots"
            );
            if first_time {
                tracing::warn!("{trouble}");
            }
            return Ok(Shown::Not(trouble));
        }
        tracing::error!(order = name, chunk, "given up: it is drawn and cannot be shown: {why}");
        self.failed = None;
        match host.enclave.change(Request::Lost { orders: vec![order] }).await {
            Ok(_) | Err(enclave_client::Error::Refused(rpc::Error::NotSealed { .. })) => Ok(Shown::Anew),
            Err(error) => Err(error.into()),
        }
    }
}

/// The slots for which a disk is waited for.
fn before_silence(host: &Host) -> usize {
    let slots = host.parameters().max_silent.saturating_sub(BEFORE_SILENCE);
    usize::try_from(slots).unwrap_or(UNSHOWN).max(UNSHOWN)
}

/// Whether an order's file may lie on a disk that is not there now, or not in the configuration any more.
async fn disk_away(host: &Host, order: OrderId) -> Result<bool, Error> {
    let record = host.store.run(move |index| index.order(&order)).await?;
    Ok(match record.and_then(|record| record.disk) {
        Some(disk) => host.store.disk(&disk).is_none_or(|disk| !disk.present()),
        None => host.store.disks().iter().any(|disk| !disk.present()),
    })
}
