//! Statements of enclaves: feeless general transactions that their own signature authorises.
//!
//! The pool tells little about them: one that waits, or loses against another, is never heard of again. So the outcome
//! is read where it counts: the statement was accepted when the node's root is the statement's.

use std::time::Duration;

use crust_protocol::{
    Hash, NodeId,
    statement::{Gone, Heir, Receipts, Report, Signature},
};
use futures::StreamExt;
use subxt::{
    config::DefaultExtrinsicParamsBuilder,
    rpcs::methods::legacy::TransactionStatus,
    transactions::Payload,
    utils::{AccountId32, MultiSignature, Static},
};

use super::{
    BlockRef, Chain, Config, Error, Finality,
    deliver::{ALREADY_IMPORTED, Statuses},
    error, generated,
    outcome::Outcome,
};

/// Blocks to wait for a statement to be accepted.
const PATIENCE: u32 = 8;
const LEAST_PATIENCE: Duration = Duration::from_secs(10);

/// A statement to hand to the chain.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Statement {
    Receipts(Receipts),
    Gone(Gone),
    Report(Report),
    Heir(Heir),
}

/// What became of a statement.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Said {
    /// Its root is the node's root in this best block.
    Accepted(BlockRef),
    /// The chain refused it: said again on the same root it would be refused again, if nothing else changes.
    Refused(String),
    /// Nothing was heard of it in time. It may still be accepted: look at the node's root before saying it again.
    Unheard,
}

impl Statement {
    /// The root that the node has once the statement is accepted.
    pub fn root(&self) -> Hash {
        match self {
            Statement::Receipts(statement) => statement.root,
            Statement::Gone(statement) => statement.root,
            Statement::Report(statement) => statement.root,
            Statement::Heir(statement) => statement.root,
        }
    }

    /// The root that the node must have before.
    pub fn prev(&self) -> Hash {
        match self {
            Statement::Receipts(statement) => statement.prev,
            Statement::Gone(statement) => statement.prev,
            Statement::Report(statement) => statement.prev,
            Statement::Heir(statement) => statement.prev,
        }
    }
}

impl Chain {
    /// Hands over a statement with its enclave's signature and waits until the chain has accepted or refused it, for a
    /// few blocks. Errors are those of the connection; the statement may have been accepted all the same.
    pub async fn say(&self, node: NodeId, statement: Statement, signature: Signature) -> Result<Said, Error> {
        let root = statement.root();
        let mpow = generated::transactions().mpow();
        let bytes = match statement {
            Statement::Receipts(statement) => self.general(&mpow.receipts(node, Static(statement), signature)).await?,
            Statement::Gone(statement) => self.general(&mpow.gone(node, Static(statement), signature)).await?,
            Statement::Report(statement) => self.general(&mpow.report(node, Static(statement), signature)).await?,
            Statement::Heir(statement) => self.general(&mpow.heir(node, Static(statement), signature)).await?,
        };
        let statuses = match self.inner.rpc.author_submit_and_watch_extrinsic(&bytes).await {
            Ok(statuses) => Some(statuses.boxed()),
            Err(subxt::rpcs::Error::User(error)) if error.code == ALREADY_IMPORTED => None,
            Err(subxt::rpcs::Error::User(error)) => return Ok(Said::Refused(error::user_error(&error))),
            Err(error) => return Err(Error::from_rpc(error)),
        };
        let patience = self.block_time().saturating_mul(PATIENCE).max(LEAST_PATIENCE);
        let transaction = crust_protocol::h(&[&bytes]);
        let heard = self.hear(node, root, transaction, statuses);
        tokio::time::timeout(patience, heard).await.unwrap_or(Ok(Said::Unheard))
    }

    /// Waits for the pool's word or for the root to appear, whichever is first.
    async fn hear(
        &self,
        node: NodeId,
        root: Hash,
        transaction: Hash,
        mut statuses: Option<Statuses>,
    ) -> Result<Said, Error> {
        let mut blocks = std::pin::pin!(self.blocks(Finality::Best));
        loop {
            let status = async {
                match &mut statuses {
                    Some(statuses) => statuses.next().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                status = status => match status {
                    Some(Ok(TransactionStatus::InBlock(block) | TransactionStatus::Finalized(block))) => {
                        return self.judge(node, root, transaction, block).await;
                    }
                    Some(Ok(TransactionStatus::Invalid)) => {
                        return Ok(Said::Refused("it became invalid: the node's root or the order moved on".into()));
                    }
                    Some(Ok(TransactionStatus::Usurped(_))) => {
                        return Ok(Said::Refused("another statement on the same root came first".into()));
                    }
                    Some(Ok(TransactionStatus::Dropped)) => {
                        return Ok(Said::Refused("the pool is full".into()));
                    }
                    Some(Ok(_)) => {}
                    Some(Err(_)) | None => statuses = None,
                },
                Some(block) = blocks.next() => {
                    let view = self.view_at(block).await?;
                    if view.node(node).await?.is_some_and(|record| record.root == root) {
                        return Ok(Said::Accepted(block));
                    }
                }
            }
        }
    }

    /// Reads the outcome of a statement that is in a block.
    async fn judge(
        &self,
        node: NodeId,
        root: Hash,
        transaction: Hash,
        block: subxt::utils::H256,
    ) -> Result<Said, Error> {
        let view = self.view_at(self.header(block).await?).await?;
        for outcome in view.events_of(transaction.into()).await? {
            if let Outcome::Failed(failure) = outcome {
                return Ok(Said::Refused(error::dispatch(&failure)));
            }
        }
        let record = view.node(node).await?;
        if record.is_some_and(|record| record.root == root) {
            return Ok(Said::Accepted(view.block()));
        }
        Err(Error::Answer("the block that holds the statement does not have its root".into()))
    }

    /// The bytes of a general transaction. Account and signature are asked for and read by nobody: no extension of the
    /// chain does.
    async fn general<P: Payload>(&self, call: &P) -> Result<Vec<u8>, Error> {
        let view = self.view(Finality::Best).await?;
        let transactions = view.transactions();
        let params = DefaultExtrinsicParamsBuilder::<Config>::new().immortal().nonce(0).build();
        let mut general = transactions.create_v5_signable_offline(call, params).map_err(Error::from_subxt)?;
        let nobody = (AccountId32([0; 32]), MultiSignature::Sr25519([0; 64]));
        let bytes = general.sign_with_account_and_signature(&nobody.0, &nobody.1).map_err(Error::from_subxt)?;
        Ok(bytes.into_encoded())
    }
}
