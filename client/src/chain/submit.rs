//! Signed transactions: the calls that clients and daemons make, and what became of them.

use std::time::Duration;

use crust_protocol::{
    Balance, BlockNumber, Hash, Key, NodeId,
    attestation::{Collateral, Evidence},
    file::Cid,
    order::OrderId,
};
use futures::StreamExt;
use subxt::{
    config::DefaultExtrinsicParamsBuilder,
    rpcs::methods::legacy::TransactionStatus,
    transactions::Payload,
    utils::{AccountId32, H256, Static},
};

use super::{BlockRef, Chain, Config, Error, Event, Finality, View, error, generated, outcome::Outcome};
use crate::wallet::Wallet;

/// Blocks for which a transaction is valid.
const MORTAL: u64 = 64;
/// So many blocks before the best one that begins. A pool that is behind a little knows that block all the same, and a
/// fork of the newest blocks has it too.
const BORN_BEFORE: u32 = 8;
/// Times that a transaction is signed, if the pool refuses it each time for its block or its nonce.
const SIGNINGS: u32 = 5;

/// A call that an account signs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Call {
    SubmitCollateral {
        collateral: Box<Collateral>,
        quote: Vec<u8>,
    },
    Register {
        sign_pk: Key,
        channel_pk: Key,
        block_number: BlockNumber,
        evidence: Evidence,
        peer_id: String,
        addresses: Vec<String>,
    },
    Renew {
        node: NodeId,
        block_number: BlockNumber,
        evidence: Evidence,
    },
    Announce {
        node: NodeId,
        peer_id: String,
        addresses: Vec<String>,
    },
    /// Registers an enclave that may follow a node, or prolongs its registration.
    StandBy {
        sign_pk: Key,
        channel_pk: Key,
        block_number: BlockNumber,
        evidence: Evidence,
        peer_id: String,
        addresses: Vec<String>,
    },
    /// Puts the heir that a node's enclave named in its place.
    Succeed {
        node: NodeId,
    },
    PlaceOrder(NewOrder),
    Fund {
        order: OrderId,
        amount: Balance,
    },
    Cancel {
        order: OrderId,
    },
    Take {
        order: OrderId,
        node: NodeId,
    },
    Claim {
        order: OrderId,
        node: NodeId,
    },
    End {
        order: OrderId,
    },
    DepositCollateral {
        node: NodeId,
        amount: Balance,
    },
    WithdrawCollateral {
        node: NodeId,
        amount: Balance,
    },
    Retire {
        order: OrderId,
        node: NodeId,
    },
    RetireNode {
        node: NodeId,
    },
    Abandon {
        node: NodeId,
    },
}

/// An order to place; its client is the account that signs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewOrder {
    pub nonce: u64,
    pub cid: Cid,
    pub size: u64,
    pub audit_root: Hash,
    pub flags: u8,
    pub replicas: u32,
    pub term: u32,
    pub balance: Balance,
}

/// A transaction that succeeded.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Included {
    /// The block it is in.
    pub block: BlockRef,
    pub events: Vec<Event>,
}

impl Call {
    /// The call's name, for messages.
    pub fn name(&self) -> &'static str {
        match self {
            Call::SubmitCollateral { .. } => "submit_collateral",
            Call::Register { .. } => "register",
            Call::Renew { .. } => "renew",
            Call::Announce { .. } => "announce",
            Call::StandBy { .. } => "stand_by",
            Call::Succeed { .. } => "succeed",
            Call::PlaceOrder(_) => "place_order",
            Call::Fund { .. } => "fund",
            Call::Cancel { .. } => "cancel",
            Call::Take { .. } => "take",
            Call::Claim { .. } => "claim",
            Call::End { .. } => "end",
            Call::DepositCollateral { .. } => "deposit_collateral",
            Call::WithdrawCollateral { .. } => "withdraw_collateral",
            Call::Retire { .. } => "retire",
            Call::RetireNode { .. } => "retire_node",
            Call::Abandon { .. } => "abandon",
        }
    }
}

impl Chain {
    /// Signs a call, sends it and waits until it is in a best block. An error of the call itself is
    /// [`Error::Refused`] with the name that the pallet gives it.
    pub async fn submit(&self, call: Call, wallet: &Wallet) -> Result<Included, Error> {
        self.submit_until(call, wallet, Finality::Best).await
    }

    /// Like [`Chain::submit`], and waits until the block is final.
    pub async fn submit_finalized(&self, call: Call, wallet: &Wallet) -> Result<Included, Error> {
        self.submit_until(call, wallet, Finality::Finalized).await
    }

    async fn submit_until(&self, call: Call, wallet: &Wallet, finality: Finality) -> Result<Included, Error> {
        let name = call.name();
        let mpow = generated::transactions().mpow();
        let market = generated::transactions().storage_market();
        match call {
            Call::SubmitCollateral { collateral, quote } => {
                let call = mpow.submit_collateral(Static(*collateral), bounded(quote));
                self.sign_and_watch(name, &call, wallet, finality).await
            }
            Call::Register { sign_pk, channel_pk, block_number, evidence, peer_id, addresses } => {
                let (peer_id, addresses) = endpoint(peer_id, addresses);
                let evidence = Static(evidence);
                let call = mpow.register(sign_pk, channel_pk, block_number, evidence, peer_id, addresses);
                self.sign_and_watch(name, &call, wallet, finality).await
            }
            Call::Renew { node, block_number, evidence } => {
                let call = mpow.renew(node, block_number, Static(evidence));
                self.sign_and_watch(name, &call, wallet, finality).await
            }
            Call::Announce { node, peer_id, addresses } => {
                let (peer_id, addresses) = endpoint(peer_id, addresses);
                self.sign_and_watch(name, &mpow.announce(node, peer_id, addresses), wallet, finality).await
            }
            Call::StandBy { sign_pk, channel_pk, block_number, evidence, peer_id, addresses } => {
                let (peer_id, addresses) = endpoint(peer_id, addresses);
                let evidence = Static(evidence);
                let call = mpow.stand_by(sign_pk, channel_pk, block_number, evidence, peer_id, addresses);
                self.sign_and_watch(name, &call, wallet, finality).await
            }
            Call::Succeed { node } => self.sign_and_watch(name, &mpow.succeed(node), wallet, finality).await,
            Call::PlaceOrder(order) => {
                let NewOrder { nonce, cid, size, audit_root, flags, replicas, term, balance } = order;
                let (cid, nodes) = (*cid.as_bytes(), bounded(Vec::new()));
                let call = market.place_order(nonce, cid, size, audit_root, flags, replicas, term, balance, nodes);
                self.sign_and_watch(name, &call, wallet, finality).await
            }
            Call::Fund { order, amount } => {
                self.sign_and_watch(name, &market.fund(order, amount), wallet, finality).await
            }
            Call::Cancel { order } => self.sign_and_watch(name, &market.cancel(order), wallet, finality).await,
            Call::Take { order, node } => self.sign_and_watch(name, &market.take(order, node), wallet, finality).await,
            Call::Claim { order, node } => {
                self.sign_and_watch(name, &market.claim(order, node), wallet, finality).await
            }
            Call::End { order } => self.sign_and_watch(name, &market.end(order), wallet, finality).await,
            Call::DepositCollateral { node, amount } => {
                self.sign_and_watch(name, &market.deposit_collateral(node, amount), wallet, finality).await
            }
            Call::WithdrawCollateral { node, amount } => {
                self.sign_and_watch(name, &market.withdraw_collateral(node, amount), wallet, finality).await
            }
            Call::Retire { order, node } => {
                self.sign_and_watch(name, &market.retire(order, node), wallet, finality).await
            }
            Call::RetireNode { node } => self.sign_and_watch(name, &market.retire_node(node), wallet, finality).await,
            Call::Abandon { node } => self.sign_and_watch(name, &market.abandon(node), wallet, finality).await,
        }
    }

    async fn sign_and_watch<P: Payload>(
        &self,
        name: &'static str,
        call: &P,
        wallet: &Wallet,
        finality: Finality,
    ) -> Result<Included, Error> {
        let patience = self.block_time().saturating_mul(u32::try_from(MORTAL).unwrap_or(u32::MAX));
        let sent = async {
            let (sent, statuses) = self.send(name, call, wallet).await?;
            let block = match statuses {
                Some(statuses) => watch(name, statuses, finality).await?,
                None => self.find(&sent, finality).await?,
            };
            self.outcome(name, block, sent.hash).await
        };
        let patience = patience.max(Duration::from_secs(60));
        tokio::time::timeout(patience, sent).await.unwrap_or(Err(Error::NotIncluded(name)))
    }

    /// Signs and hands over; one at a time, so that two transactions do not take the same nonce. What the pool tells
    /// about it is `None` if it held it already.
    ///
    /// A pool that is behind, or ahead, may refuse a transaction that is right; then it is signed anew, a block later.
    /// One that was born too long ago keeps its nonce: whatever becomes of the first, only one of them can ever be in a
    /// block. One whose nonce is used up can be in none, and gets another.
    async fn send<P: Payload>(
        &self,
        name: &'static str,
        call: &P,
        wallet: &Wallet,
    ) -> Result<(Sent, Option<Statuses>), Error> {
        let account = AccountId32(wallet.account());
        let _one_at_a_time = self.inner.nonce.lock().await;
        let (mut kept, mut reason) = (None, String::new());
        for _ in 0..SIGNINGS {
            let view = self.view(Finality::Best).await?;
            let after = self.birth(&view).await?;
            let nonce = match kept {
                Some(nonce) => nonce,
                None => self.inner.rpc.system_account_next_index(&account).await.map_err(Error::from_rpc)?,
            };
            let params = DefaultExtrinsicParamsBuilder::<Config>::new()
                .nonce(nonce)
                .mortal_from_unchecked(MORTAL, after.number.into(), H256(after.hash))
                .build();
            let transactions = view.transactions();
            let mut signable = transactions.create_signable_offline(call, params).map_err(Error::from_subxt)?;
            let signed = signable.sign(wallet.signer()).map_err(Error::from_subxt)?;
            let statuses = match self.inner.rpc.author_submit_and_watch_extrinsic(signed.encoded()).await {
                Ok(statuses) => Some(statuses.boxed()),
                Err(subxt::rpcs::Error::User(error)) if error.code == ALREADY_IMPORTED => None,
                Err(subxt::rpcs::Error::User(error)) => {
                    reason = error::user_error(&error);
                    if reason.contains(TOO_OLD) {
                        kept = Some(nonce);
                    } else if !(reason.contains(OUTDATED) && kept.is_none()) {
                        return Err(invalid(name, &reason));
                    }
                    tracing::debug!("{name} is signed anew: {reason}");
                    tokio::time::sleep(self.block_time()).await;
                    continue;
                }
                Err(error) => return Err(Error::from_rpc(error)),
            };
            return Ok((Sent { after, hash: signed.hash(), bytes: signed.into_encoded() }, statuses));
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

    /// The block of a transaction that the pool says it holds already. A pool that is changing to a new block may take
    /// a transaction over before it answers: then it tells nothing more about it, and forgets it with its next block. So
    /// it is looked for in the blocks, and handed over again until it is in one.
    async fn find(&self, sent: &Sent, finality: Finality) -> Result<H256, Error> {
        let mut heads = std::pin::pin!(self.blocks(finality));
        while let Some(head) = heads.next().await {
            for number in sent.after.number.saturating_add(1)..=head.number {
                let Some(hash) = self.block_hash(number).await? else { break };
                if self.view_at(BlockRef { number, hash }).await?.index_of(sent.hash).await?.is_some() {
                    return Ok(H256(hash));
                }
            }
            if let Err(refused) = self.inner.rpc.author_submit_extrinsic(&sent.bytes).await {
                tracing::debug!("handed over again: {refused}");
            }
        }
        Err(Error::Lost("it ended while a transaction was on its way".into()))
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

/// A transaction that was handed over.
struct Sent {
    /// It can only be in blocks after this one.
    after: BlockRef,
    hash: H256,
    bytes: Vec<u8>,
}

/// Waits until the pool says that a transaction is in a block.
async fn watch(name: &'static str, mut statuses: Statuses, finality: Finality) -> Result<H256, Error> {
    while let Some(status) = statuses.next().await {
        match status.map_err(Error::from_rpc)? {
            TransactionStatus::InBlock(block) if finality == Finality::Best => return Ok(block),
            TransactionStatus::Finalized(block) => return Ok(block),
            TransactionStatus::Usurped(_) => return Err(invalid(name, "another one with its nonce came first")),
            TransactionStatus::Dropped => return Err(invalid(name, "the pool is full; try again")),
            TransactionStatus::Invalid => return Err(invalid(name, "it became invalid; try again")),
            TransactionStatus::FinalityTimeout(_) => return Err(Error::NotIncluded(name)),
            _ => {}
        }
    }
    Err(Error::Lost("it ended while a transaction was on its way".into()))
}

/// The pool's code for a transaction that it already holds.
pub(super) const ALREADY_IMPORTED: i32 = 1013;

/// In what the pool says about a transaction whose first block it knows no more, or not yet.
const TOO_OLD: &str = "ancient birth block";

/// In what it says about one whose nonce is used up: the chain told the nonce as it was a block before.
const OUTDATED: &str = "Transaction is outdated";

pub(super) type Statuses = futures::stream::BoxStream<'static, Result<TransactionStatus<H256>, subxt::rpcs::Error>>;

fn invalid(call: &'static str, reason: &str) -> Error {
    Error::Invalid { call, reason: reason.into() }
}

fn bounded<T>(items: Vec<T>) -> generated::runtime_types::bounded_collections::bounded_vec::BoundedVec<T> {
    generated::runtime_types::bounded_collections::bounded_vec::BoundedVec(items)
}

type Bytes = generated::runtime_types::bounded_collections::bounded_vec::BoundedVec<u8>;
type Many = generated::runtime_types::bounded_collections::bounded_vec::BoundedVec<Bytes>;

fn endpoint(peer_id: String, addresses: Vec<String>) -> (Bytes, Many) {
    let addresses = addresses.into_iter().map(|address| bounded(address.into_bytes())).collect();
    (bounded(peer_id.into_bytes()), bounded(addresses))
}
