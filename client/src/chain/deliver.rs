//! How a signed transaction gets into a block, once: what stands in the blocks counts, not what a pool says.
//!
//! A transaction that was handed over may be in a block whatever its chain node's pool says of it afterwards, or at
//! once: it may have gone on to other pools, or into a block that was just being made. So it is looked for in the blocks
//! until it is in one, or can be in none any more: its time is over, or another has used its nonce. Only then is it
//! said not to have been accepted; and only then may another one say the same under another nonce.

use std::time::Duration;

use crust_protocol::Key;
use futures::StreamExt;
use subxt::{
    config::DefaultExtrinsicParamsBuilder,
    rpcs::methods::legacy::TransactionStatus,
    transactions::Payload,
    utils::{AccountId32, H256},
};

use super::{BlockRef, Chain, Config, Error, Finality, RESUBSCRIBE, View, error, outcome::Outcome, submit::Included};
use crate::wallet::Wallet;

/// Blocks for which a transaction is valid, from the one that it is born in.
const MORTAL: u32 = 64;
/// So many blocks before the best one that is. A pool that is behind a little knows that block all the same, and a fork
/// of the newest blocks has it too.
const BORN_BEFORE: u32 = 8;
/// Times that a transaction is signed, if the pool refuses it each time for its block or its nonce.
const SIGNINGS: u32 = 5;
/// For how many times the blocks of its validity one is waited for, by the clock, and how long at least.
const PATIENCE: u32 = 2;
const LEAST_PATIENCE: Duration = Duration::from_secs(60);

/// The pool's codes for a transaction that it holds already, and for one that it has handled already.
pub(super) const ALREADY_IMPORTED: i32 = 1013;
const BANNED: i32 = 1012;

/// In what a pool says about a transaction whose first block it does not know yet, or knows another for; or whose nonce
/// is used up, for the chain told the nonce as it was a block before. Signed anew it may be welcome.
const AGAIN: [&str; 3] = ["ancient birth block", "bad signature", "Transaction is outdated"];

pub(super) type Statuses = futures::stream::BoxStream<'static, Result<TransactionStatus<H256>, subxt::rpcs::Error>>;

/// A transaction that was handed over.
struct Sent {
    account: Key,
    nonce: u64,
    /// It can only be in blocks after this one.
    after: BlockRef,
    hash: H256,
    bytes: Vec<u8>,
}

/// What the chain up to a block says of a transaction.
enum Fate {
    /// It is in this one.
    In(H256),
    /// It may still get into one.
    Open,
    /// It is in none and can be in none any more.
    Never(&'static str),
}

impl Chain {
    /// Signs a call, hands it over and waits until it is in a block.
    pub(super) async fn sign_and_watch<P: Payload>(
        &self,
        name: &'static str,
        call: &P,
        wallet: &Wallet,
        finality: Finality,
    ) -> Result<Included, Error> {
        let patience = self.block_time().saturating_mul(PATIENCE.saturating_mul(MORTAL)).max(LEAST_PATIENCE);
        let delivered = async {
            let (sent, statuses) = self.send(name, call, wallet).await?;
            let told = match statuses {
                Some(statuses) => watch(statuses, finality).await,
                None => None,
            };
            let block = match told {
                Some(block) => block,
                None => self.find(name, &sent, finality).await?,
            };
            loop {
                match self.outcome(name, block, sent.hash).await {
                    Err(error) if error.is_retryable() => tokio::time::sleep(RESUBSCRIBE).await,
                    outcome => return outcome,
                }
            }
        };
        tokio::time::timeout(patience, delivered).await.unwrap_or(Err(Error::NotIncluded(name)))
    }

    /// Signs and hands over; one at a time, so that two transactions do not take the same nonce. Without statuses the
    /// pool tells nothing about it.
    ///
    /// A pool that is behind, or ahead, may refuse a transaction that is right; then it is signed anew, a block later. It
    /// keeps its nonce as long as one of the earlier ones may still get into a block: so only one of them can.
    async fn send<P: Payload>(
        &self,
        name: &'static str,
        call: &P,
        wallet: &Wallet,
    ) -> Result<(Sent, Option<Statuses>), Error> {
        let account = wallet.account();
        let _one_at_a_time = self.inner.nonce.lock().await;
        let (mut refused, mut reason): (Vec<Sent>, _) = (Vec::new(), String::new());
        for signing in 0..=SIGNINGS {
            let view = self.view(Finality::Best).await?;
            let mut open = Vec::new();
            for sent in refused {
                match self.fate(&sent, view.block()).await {
                    Ok(Fate::Never(_)) => {}
                    Ok(Fate::Open) => open.push(sent),
                    Ok(Fate::In(_)) => return Ok((sent, None)),
                    Err(error) if error.is_retryable() => return Ok((sent, None)),
                    Err(error) => return Err(error),
                }
            }
            refused = open;
            if signing == SIGNINGS {
                break;
            }
            let after = self.birth(&view).await?;
            let nonce = match refused.first() {
                Some(sent) => sent.nonce,
                None => {
                    let next = self.inner.rpc.system_account_next_index(&AccountId32(account)).await;
                    next.map_err(Error::from_rpc)?
                }
            };
            let params = DefaultExtrinsicParamsBuilder::<Config>::new()
                .nonce(nonce)
                .mortal_from_unchecked(MORTAL.into(), after.number.into(), H256(after.hash))
                .build();
            let transactions = view.transactions();
            let mut signable = transactions.create_signable_offline(call, params).map_err(Error::from_subxt)?;
            let signed = signable.sign(wallet.signer()).map_err(Error::from_subxt)?;
            let told = self.inner.rpc.author_submit_and_watch_extrinsic(signed.encoded()).await;
            let sent = Sent { account, nonce, after, hash: signed.hash(), bytes: signed.into_encoded() };
            match told {
                Ok(statuses) => return Ok((sent, Some(statuses.boxed()))),
                Err(subxt::rpcs::Error::User(error)) if [ALREADY_IMPORTED, BANNED].contains(&error.code) => {
                    return Ok((sent, None));
                }
                Err(subxt::rpcs::Error::User(error)) => {
                    reason = error::user_error(&error);
                    let again = AGAIN.iter().any(|sign| reason.contains(sign));
                    match refused.pop() {
                        // Perhaps because an earlier one waits in the pool after all.
                        Some(earlier) if !again => return Ok((earlier, None)),
                        None if !again => return Err(invalid(name, &reason)),
                        earlier => refused.extend(earlier),
                    }
                    tracing::debug!("{name} is signed anew: {reason}");
                    refused.push(sent);
                    tokio::time::sleep(self.block_time()).await;
                }
                Err(error) => match Error::from_rpc(error) {
                    // It may have arrived.
                    Error::Lost(_) => return Ok((sent, None)),
                    error => return Err(error),
                },
            }
        }
        let again = "its chain node says so however often it is signed anew: that node is behind, or wrong. Try again, \
                     or use another chain node";
        Err(invalid(name, &format!("{reason}; {again}")))
    }

    /// The block after which a transaction that is signed now is valid.
    async fn birth(&self, view: &View) -> Result<BlockRef, Error> {
        let number = view.block().number.saturating_sub(BORN_BEFORE);
        let hash = self.block_hash(number).await?;
        Ok(hash.map_or(view.block(), |hash| BlockRef { number, hash }))
    }

    /// The block of a transaction that the pool tells nothing about, or nothing more. It is handed over again until it is
    /// in one: a pool that is changing to a new block may forget what it has just been given.
    async fn find(&self, name: &'static str, sent: &Sent, finality: Finality) -> Result<H256, Error> {
        let mut heads = std::pin::pin!(self.blocks(finality));
        while let Some(head) = heads.next().await {
            match self.fate(sent, head).await {
                Ok(Fate::In(block)) => return Ok(block),
                Ok(Fate::Never(reason)) => return Err(invalid(name, reason)),
                Ok(Fate::Open) => {}
                // The stream of heads connects again.
                Err(error) if error.is_retryable() => continue,
                Err(error) => return Err(error),
            }
            if let Err(refused) = self.inner.rpc.author_submit_extrinsic(&sent.bytes).await {
                tracing::debug!("handed over again: {refused}");
            }
        }
        Err(Error::NotIncluded(name))
    }

    /// What the chain that ends with a block says of a transaction.
    async fn fate(&self, sent: &Sent, head: BlockRef) -> Result<Fate, Error> {
        let last = sent.after.number.saturating_add(MORTAL);
        for number in sent.after.number.saturating_add(1)..=head.number.min(last) {
            let Some(hash) = self.block_hash(number).await? else { return Ok(Fate::Open) };
            if self.view_at(BlockRef { number, hash }).await?.index_of(sent.hash).await?.is_some() {
                return Ok(Fate::In(H256(hash)));
            }
        }
        if head.number > last {
            return Ok(Fate::Never("it got into no block while it was valid; try again"));
        }
        let used = self.view_at(head).await?.nonce(sent.account).await? > sent.nonce;
        Ok(if used { Fate::Never("another one with its nonce came first") } else { Fate::Open })
    }

    /// What the block says about a transaction in it.
    async fn outcome(&self, name: &'static str, block: H256, transaction: H256) -> Result<Included, Error> {
        let view = self.view_at(self.header(block).await?).await?;
        let mut included = Included { block: view.block(), events: Vec::new() };
        for event in view.events_of(transaction).await? {
            match event {
                Outcome::Failed(error) => {
                    return Err(Error::Refused { call: name, reason: error::dispatch(&error) });
                }
                Outcome::Event(event) => included.events.push(event),
            }
        }
        Ok(included)
    }
}

/// The block that the pool says a transaction is in. `None` if it says anything else of how it ended, or no more.
async fn watch(mut statuses: Statuses, finality: Finality) -> Option<H256> {
    while let Some(Ok(status)) = statuses.next().await {
        match status {
            TransactionStatus::InBlock(block) if finality == Finality::Best => return Some(block),
            TransactionStatus::Finalized(block) => return Some(block),
            TransactionStatus::Usurped(_)
            | TransactionStatus::Dropped
            | TransactionStatus::Invalid
            | TransactionStatus::FinalityTimeout(_) => return None,
            _ => {}
        }
    }
    None
}

fn invalid(call: &'static str, reason: &str) -> Error {
    Error::Invalid { call, reason: reason.into() }
}
