//! Saying something on the chain: a statement is made by the enclave on the root where the chain stands, is durable in
//! the log before its signature exists, and is said again, as a new one, when it was displaced, refused or forgotten.
//!
//! Used by the workers that give receipts, report and delete, and to name an heir. The enclave decides what must be said
//! first; this file obeys: files that are gone are named gone on the line before anything else, 256 a `Gone` and one
//! `Gone` a block.

use crust_client::chain::{BlockRef, Finality, Said, Statement, View};
use crust_enclave::rpc::{self, Audit, Request, Response, Saying, Signed};
use crust_protocol::{Hash, Key, NodeId, Slot, order::OrderId};

use crate::{
    enclave_client::{self, Enclave},
    host::Host,
    store::{self, Store, index::State},
};

/// Orders that one statement may name.
pub const RECEIPTS: usize = 64;
pub const GONE: usize = 256;
/// `Gone`s a slot that end nothing: the chain refuses a node that says 20 of them.
const IDLE: u32 = 18;
/// Of those, what may go to orders that have come to their end; the others are for losses.
const IDLE_DELETIONS: u32 = 8;
/// What may be needed before a statement, at a time.
const ATTEMPTS: usize = 4;

/// Why something could not be said.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Chain(#[from] crust_client::chain::Error),
    #[error(transparent)]
    Enclave(#[from] enclave_client::Error),
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error("the chain does not know this node (number {0}); is this the right chain endpoint?")]
    UnknownNode(NodeId),
    #[error(
        "stopped speaking: the chain's last statement of this node ({}) is not in the enclave's log. The log was put \
         back from an old copy, or another copy of this enclave speaks. Bring the newest log back, or register a new \
         node with an empty state directory", hex::encode(.0)
    )]
    RolledBack(Hash),
    #[error("the chain refused it: {0}")]
    Refused(String),
    #[error("nothing was heard of it; it is looked after again")]
    Unheard,
    #[error("more is gone than one block takes; it is named first")]
    GoneFirst,
}

impl Error {
    /// Whether the statement is just to be said again, with the next block.
    pub fn is_for_later(&self) -> bool {
        matches!(self, Error::Refused(_) | Error::Unheard | Error::GoneFirst)
    }
}

/// What is to be said.
#[derive(Clone, Debug)]
pub enum Words {
    Receipts(Vec<OrderId>),
    /// With what the node's due draw is answered from, if there is one.
    Report(Slot, Option<Box<Audit>>),
    /// This enclave, by its key, may follow.
    Heir(Key),
}

/// What there is to name gone.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Owed {
    Nothing,
    /// All of it was named.
    Named,
    /// Some of it was named, and more is left.
    More,
    /// The slot has had its share of `Gone`s that end nothing.
    Later,
}

/// `Gone`s that ended nothing in a slot. Its lock is the turn to say a receipt, a `Gone` or an `Heir`; a report waits for neither.
#[derive(Default)]
pub struct IdleGones {
    slot: Slot,
    count: u32,
}

impl IdleGones {
    fn in_slot(&mut self, slot: Slot) -> &mut u32 {
        if self.slot != slot {
            (self.slot, self.count) = (slot, 0);
        }
        &mut self.count
    }
}

/// Says something once, on the root where the chain stands now; first, if the enclave demands it and one block takes it,
/// what is gone. The block in which the chain accepted it, and the root.
pub async fn say(host: &Host, number: NodeId, words: Words) -> Result<(BlockRef, Hash), Error> {
    for _ in 0..ATTEMPTS {
        let turn = match &words {
            Words::Receipts(_) | Words::Heir(_) => Some(host.saying.lock().await),
            Words::Report(..) => None,
        };
        let prev = root(host, number).await?;
        let statement = match words.clone() {
            Words::Receipts(orders) => Saying::Receipts { prev, orders },
            Words::Report(slot, audit) => Saying::Report { prev, slot, audit: audit.map(|audit| *audit) },
            Words::Heir(heir) => Saying::Heir { prev, heir },
        };
        let said = say_on(host, number, statement).await;
        drop(turn);
        match said {
            Err(Error::Enclave(enclave_client::Error::Refused(rpc::Error::GoneFirst { .. }))) => {
                match name_gone(host, number).await? {
                    Owed::Nothing | Owed::Named => (),
                    Owed::More | Owed::Later => {
                        host.wakes.evict.notify_one();
                        return Err(Error::GoneFirst);
                    }
                }
            }
            Err(Error::Enclave(enclave_client::Error::Refused(rpc::Error::UnknownPrev))) => {
                // Only if the chain still stands there: a reorg may have come between.
                if root(host, number).await? == prev {
                    return Err(Error::RolledBack(prev));
                }
            }
            result => return result,
        }
    }
    Err(Error::GoneFirst)
}

/// Names what is gone on the line where the chain stands, as much as one `Gone` takes.
pub async fn name_gone(host: &Host, number: NodeId) -> Result<Owed, Error> {
    let Response::State(state) = host.enclave.ask(Request::State).await? else {
        return Err(enclave_client::Error::Answer("State").into());
    };
    if state.gone_due == 0 {
        return Ok(Owed::Nothing);
    }
    let mut idle = host.saying.lock().await;
    let prev = root(host, number).await?;
    let mut due = gone_due(&host.enclave, prev).await?;
    if due.is_empty() {
        return Ok(Owed::Nothing);
    }
    // What it would say is for the operator; a loss is named without it.
    if let Err(error) = mark_lost(&host.store, &due).await {
        tracing::warn!("what is lost cannot be noted: {error}");
    }
    let view = host.chain.view(Finality::Best).await?;
    let ends = one_that_ends_first(&view, number, &mut due).await?;
    if !ends && *idle.in_slot(view.slot()) >= IDLE {
        return Ok(Owed::Later);
    }
    let orders = due.len();
    let (block, _) = say_on(host, number, Saying::Gone { prev, orders: due }).await?;
    if !ends {
        let count = idle.in_slot(view.slot());
        *count = count.saturating_add(1);
    }
    tracing::info!(orders, block = block.number, "gone: the chain knows it");
    Ok(if orders < GONE { Owed::Named } else { Owed::More })
}

/// Whether what has come to its end may be deleted in this slot, and so named gone.
pub async fn may_delete(host: &Host, slot: Slot) -> bool {
    *host.saying.lock().await.in_slot(slot) < IDLE_DELETIONS
}

/// What is to be named gone on a root, as much as one `Gone` takes.
pub async fn gone_due(enclave: &Enclave, prev: Hash) -> Result<Vec<OrderId>, Error> {
    let limit = u32::try_from(GONE).unwrap_or(u32::MAX);
    match enclave.ask(Request::GoneDue { prev, limit }).await {
        Ok(Response::Orders { orders }) => Ok(orders),
        Ok(_) => Err(enclave_client::Error::Answer("GoneDue").into()),
        Err(enclave_client::Error::Refused(rpc::Error::UnknownPrev)) => Err(Error::RolledBack(prev)),
        Err(error) => Err(error.into()),
    }
}

/// What the enclave has given up on its own is shown as lost, and goes.
pub async fn mark_lost(store: &Store, due: &[OrderId]) -> Result<(), Error> {
    let due = due.to_vec();
    let lost = store.run(move |index| {
        let mut lost = 0_u32;
        index.change_each(&due, |record| {
            if record.state != State::Ending {
                lost = lost.saturating_add(1);
                (record.state, record.lost) = (State::Ending, true);
                record.note = Some("lost: its bytes could not be read again and again".into());
            }
        })?;
        Ok(lost)
    });
    let lost = lost.await?;
    if lost > 0 {
        tracing::error!(files = lost, "files are lost");
        metrics::counter!("crust_lost_files_total").increment(u64::from(lost));
    }
    Ok(())
}

/// Puts an order first whose replica the chain still has: for that a `Gone` is always welcome. `false` if there is none.
async fn one_that_ends_first(view: &View, number: NodeId, due: &mut [OrderId]) -> Result<bool, Error> {
    let (mut at, mut found) = (0_usize, false);
    for (place, order) in due.iter().enumerate() {
        if view.order(*order).await?.is_some_and(|order| order.replica_of(number).is_some()) {
            (at, found) = (place, true);
            break;
        }
    }
    if let Some(head) = due.get_mut(..=at) {
        head.rotate_right(1);
    }
    Ok(found)
}

/// The root in the node's last statement, as of the best block.
async fn root(host: &Host, number: NodeId) -> Result<Hash, Error> {
    let view = host.chain.view(Finality::Best).await?;
    let node = view.node(number).await?.ok_or(Error::UnknownNode(number))?;
    if node.sign_pk != host.identity.sign_pk {
        return Err(Error::UnknownNode(number));
    }
    Ok(node.root)
}

async fn say_on(host: &Host, number: NodeId, statement: Saying) -> Result<(BlockRef, Hash), Error> {
    let (statement, signature) = sign(&host.enclave, statement).await?;
    let root = statement.root();
    match host.chain.say(number, statement, signature).await? {
        Said::Accepted(block) => Ok((block, root)),
        Said::Refused(reason) => Err(Error::Refused(reason)),
        Said::Unheard => Err(Error::Unheard),
    }
}

/// Has a statement made, logged and signed.
pub async fn sign(enclave: &Enclave, statement: Saying) -> Result<(Statement, [u8; 64]), Error> {
    // The log is durable when `change` returns, and only then the signature is asked for.
    let Response::Signed { statement, .. } = enclave.change(Request::Sign { statement }).await? else {
        return Err(enclave_client::Error::Answer("Sign").into());
    };
    let statement = match statement {
        Signed::Receipts(statement) => Statement::Receipts(statement),
        Signed::Gone(statement) => Statement::Gone(statement),
        Signed::Report(statement) => Statement::Report(statement),
        Signed::Heir(statement) => Statement::Heir(statement),
    };
    match enclave.ask(Request::Release { root: statement.root() }).await? {
        Response::Signature { signature } => Ok((statement, signature)),
        _ => Err(enclave_client::Error::Answer("Release").into()),
    }
}
