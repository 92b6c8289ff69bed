//! The calls that clients and daemons sign. How they get into a block is in [`super::deliver`].

use crust_protocol::{
    Balance, BlockNumber, Hash, Key, NodeId,
    attestation::{Collateral, Evidence},
    file::Cid,
    order::OrderId,
};
use subxt::utils::Static;

use super::{BlockRef, Chain, Error, Event, Finality, generated};
use crate::wallet::Wallet;

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
