//! Saying something on the chain: a statement is made by the enclave on the root where the chain stands, is durable in
//! the log before its signature exists, and is said again, as a new one, when it was displaced, refused or forgotten.
//!
//! Used by the workers that give receipts, report and delete. The enclave decides what must be said first; this file
//! obeys: files that are gone are named gone on the line before anything else.

use crust_client::chain::{BlockRef, Said, Statement};
use crust_enclave::rpc::{self, Audit, Request, Response, Saying, Signed};
use crust_protocol::{Hash, NodeId, Slot, order::OrderId};

use crate::{
    enclave_client::{self, Enclave},
    host::Host,
};

/// Orders that one statement may name.
pub const RECEIPTS: usize = 64;
pub const GONE: usize = 256;
/// `Gone`s that may be needed before another statement, at a time.
const GONE_FIRST: usize = 64;

/// Why something could not be said.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Chain(#[from] crust_client::chain::Error),
    #[error(transparent)]
    Enclave(#[from] enclave_client::Error),
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
}

/// What is to be said.
#[derive(Clone, Debug)]
pub enum Words {
    Receipts(Vec<OrderId>),
    Gone(Vec<OrderId>),
    /// With what the node's due draw is answered from, if there is one.
    Report(Slot, Option<Box<Audit>>),
}

/// Says something once, on the root where the chain stands now; first, if the enclave demands it, what is gone. The
/// block in which the chain accepted it, and the root.
pub async fn say(host: &Host, number: NodeId, words: Words) -> Result<(BlockRef, Hash), Error> {
    for _ in 0..GONE_FIRST {
        let prev = root(host, number).await?;
        match say_on(host, number, prev, words.clone()).await {
            Err(Error::Enclave(enclave_client::Error::Refused(rpc::Error::GoneFirst { orders }))) => {
                tracing::info!(orders = orders.len(), "files that are gone are named first");
                say_on(host, number, prev, Words::Gone(orders)).await?;
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
    Err(Error::Refused("too much is gone to be named at once; it goes on".into()))
}

/// The root in the node's last statement, as of the best block.
async fn root(host: &Host, number: NodeId) -> Result<Hash, Error> {
    let view = host.chain.view(crust_client::chain::Finality::Best).await?;
    let node = view.node(number).await?.ok_or(Error::UnknownNode(number))?;
    if node.sign_pk != host.identity.sign_pk {
        return Err(Error::UnknownNode(number));
    }
    Ok(node.root)
}

async fn say_on(host: &Host, number: NodeId, prev: Hash, words: Words) -> Result<(BlockRef, Hash), Error> {
    let statement = match words {
        Words::Receipts(orders) => Saying::Receipts { prev, orders },
        Words::Gone(orders) => Saying::Gone { prev, orders },
        Words::Report(slot, audit) => Saying::Report { prev, slot, audit: audit.map(|audit| *audit) },
    };
    let (statement, signature) = sign(&host.enclave, statement).await?;
    let root = statement.root();
    match host.chain.say(number, statement, signature).await? {
        Said::Accepted(block) => Ok((block, root)),
        Said::Refused(reason) => Err(Error::Refused(reason)),
        Said::Unheard => Err(Error::Unheard),
    }
}

/// Has a statement made, logged and signed.
async fn sign(enclave: &Enclave, statement: Saying) -> Result<(Statement, [u8; 64]), Error> {
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
