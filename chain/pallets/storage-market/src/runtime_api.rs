//! What the world may ask the market, without an indexer: prices, orders, replicas and where they are, in bounded pages.
//!
//! A page begins after `start` (at the beginning without one), in the order of the storage; it holds at most
//! [`MAX_PAGE`] entries. An entry that ends between two pages is no hindrance.

use alloc::vec::Vec;
use codec::{Decode, Encode};
use crust_protocol::{
    Balance, BlockNumber, Hash, NodeId, Slot,
    file::{Cid, CidBytes},
    order::OrderId,
};
use scale_info::TypeInfo;
use sp_runtime::AccountId32;

use crate::{Config, Copies, MAX_PAGE, Nodes, OpenOrders, Order, Orders, OrdersOf, Pallet, Replica, Replicas, Take};

/// What an order costs.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, TypeInfo)]
pub struct Quote {
    /// Plancks a slot and replica.
    pub rate: Balance,
    /// Of one term: the least `balance` of `place_order`. What is not earned of it comes back.
    pub balance: Balance,
    /// Goes to the treasury and never comes back.
    pub placing_fee: Balance,
    /// Comes back when the order ends.
    pub deposit: Balance,
    /// Of all three: what the account needs, transaction fee and existential deposit apart.
    pub total: Balance,
}

/// Why no such order may be placed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, TypeInfo)]
pub enum QuoteError {
    SizeTooLarge {
        largest: u64,
    },
    NoReplicas,
    TooManyReplicas {
        most: u32,
    },
    TermTooShort {
        shortest: u32,
    },
    TermTooLong {
        longest: u32,
    },
    /// No balance covers it.
    TooDear,
}

/// A live order.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, TypeInfo)]
pub struct OrderInfo {
    pub id: OrderId,
    pub client: AccountId32,
    pub nonce: u64,
    pub cid: Cid,
    pub size: u64,
    pub audit_root: Hash,
    pub flags: u8,
    /// Replicas ordered.
    pub wanted: u32,
    pub term: u32,
    pub placed: Slot,
    /// First slot of the running term.
    pub start: Slot,
    /// First slot after it.
    pub end: Slot,
    /// Plancks a slot and replica in the running term.
    pub rate: Balance,
    /// On hold for the order, deposit apart.
    pub balance: Balance,
    pub deposit: Balance,
    pub cancelled: bool,
    /// Places that a node could take now.
    pub open_places: u32,
    pub takes: Vec<TakeInfo>,
    /// Live replicas.
    pub replicas: Vec<ReplicaInfo>,
}

/// A place that waits for its node's receipt.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, TypeInfo)]
pub struct TakeInfo {
    pub node: NodeId,
    pub provider: AccountId32,
    /// From this block on another take overwrites it.
    pub until: BlockNumber,
    /// Peer id, as text; empty if the node is unknown.
    pub peer_id: Vec<u8>,
    pub addresses: Vec<Vec<u8>>,
}

/// A live replica, its health and where to fetch it.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, TypeInfo)]
pub struct ReplicaInfo {
    pub order: OrderId,
    pub node: NodeId,
    pub provider: AccountId32,
    /// Block of the receipt.
    pub since: BlockNumber,
    /// Peer id, as text; empty if the node is unknown.
    pub peer_id: Vec<u8>,
    pub addresses: Vec<Vec<u8>>,
    /// The node's last report since it holds replicas.
    pub health: Option<Health>,
}

/// A node's collateral, in plancks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Encode, Decode, TypeInfo)]
pub struct CollateralInfo {
    /// On hold in the provider's account.
    pub deposited: Balance,
    /// For live replicas.
    pub reserved: Balance,
    /// Held by takes.
    pub taken: Balance,
    /// The rest: what buys places, and what may be withdrawn.
    pub free: Balance,
}

/// Why a node takes nothing new.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, TypeInfo)]
pub enum Barred {
    /// There is no such node, or its registration has ended.
    NotRegistered,
    /// Its program or its platform is approved no more: it will be out.
    Withdrawn,
    /// Its keys would be lost with its machine, and no heir has them.
    NoHeir,
    /// It retires, was abandoned or fell silent.
    Leaves,
}

/// What a node last reported of its files.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, TypeInfo)]
pub struct Health {
    pub slot: Slot,
    /// 255 is all good.
    pub good_files: u8,
}

sp_api::decl_runtime_apis! {
    /// Questions to the storage market.
    pub trait MarketApi {
        /// What an order costs, exact to the planck at the price of the day.
        fn quote(size: u64, replicas: u32, term: u32) -> Result<Quote, QuoteError>;
        /// A live order.
        fn order(order: OrderId) -> Option<OrderInfo>;
        /// The live orders of an account.
        fn orders_of(account: AccountId32, start: Option<OrderId>, limit: u32) -> Vec<OrderId>;
        /// The live replicas of a CID, whoever ordered them.
        fn replicas_of(cid: CidBytes) -> Vec<ReplicaInfo>;
        /// The orders that want more replicas than are live.
        fn open_orders(start: Option<OrderId>, limit: u32) -> Vec<OrderId>;
        /// The orders of which a node holds a live replica.
        fn node_orders(node: NodeId, start: Option<OrderId>, limit: u32) -> Vec<OrderId>;
        /// What a claim would pay a replica's provider now.
        fn claimable(order: OrderId, node: NodeId) -> Balance;
        /// Billed bytes that a node's machine has room for, or why the node takes nothing new.
        fn room(node: NodeId) -> Result<u64, Barred>;
        /// A node's collateral.
        fn collateral(node: NodeId) -> CollateralInfo;
    }
}

impl<T: Config> Pallet<T> {
    pub fn order(id: OrderId) -> Option<OrderInfo> {
        let order = Orders::<T>::get(id)?;
        let Order { client, nonce, cid, size, audit_root, flags, replicas: wanted, term, placed, start, end, .. } =
            order.clone();
        let replicas = order.nodes().filter_map(|node| Self::replica_info(id, node)).collect();
        let takes = order.takes.iter().map(Self::take_info).collect();
        let Order { rate, balance, deposit, cancelled, .. } = order;
        let open_places = if cancelled { 0 } else { Self::open_places(&order) };
        Some(OrderInfo {
            id,
            client,
            nonce,
            cid,
            size,
            audit_root,
            flags,
            wanted,
            term,
            placed,
            start,
            end,
            rate,
            balance,
            deposit,
            cancelled,
            open_places,
            takes,
            replicas,
        })
    }

    pub fn orders_of(account: &AccountId32, start: Option<OrderId>, limit: u32) -> Vec<OrderId> {
        let keys = match start {
            None => OrdersOf::<T>::iter_key_prefix(account),
            Some(start) => OrdersOf::<T>::iter_key_prefix_from(account, OrdersOf::<T>::hashed_key_for(account, start)),
        };
        page(keys, limit)
    }

    pub fn replicas_of(cid: &CidBytes) -> Vec<ReplicaInfo> {
        let Ok(cid) = Cid::from_bytes(cid) else { return Vec::new() };
        let copies = Copies::<T>::iter_prefix(cid).filter_map(|(node, order)| Self::replica_info(order, node));
        page(copies, MAX_PAGE)
    }

    pub fn open_orders(start: Option<OrderId>, limit: u32) -> Vec<OrderId> {
        let keys = match start {
            None => OpenOrders::<T>::iter_keys(),
            Some(start) => OpenOrders::<T>::iter_keys_from(OpenOrders::<T>::hashed_key_for(start)),
        };
        page(keys, limit)
    }

    pub fn node_orders(node: NodeId, start: Option<OrderId>, limit: u32) -> Vec<OrderId> {
        let keys = match start {
            None => Replicas::<T>::iter_key_prefix(node),
            Some(start) => Replicas::<T>::iter_key_prefix_from(node, Replicas::<T>::hashed_key_for(node, start)),
        };
        page(keys, limit)
    }

    pub fn room(node: NodeId) -> Result<u64, Barred> {
        match T::Nodes::barred(node).or(Self::leaves(node).then_some(Barred::Leaves)) {
            Some(barred) => Err(barred),
            None => Ok(T::Nodes::platform_room(node)),
        }
    }

    fn replica_info(order: OrderId, node: NodeId) -> Option<ReplicaInfo> {
        let Replica { provider, since, .. } = Replicas::<T>::get(node, order)?;
        let (peer_id, addresses) = T::Nodes::endpoint(node).unwrap_or_default();
        let health = Self::holding(node)
            .and_then(|holding| holding.last_report())
            .map(|(slot, good_files)| Health { slot, good_files });
        Some(ReplicaInfo { order, node, provider, since, peer_id, addresses, health })
    }

    fn take_info(take: &Take) -> TakeInfo {
        let Take { node, provider, until, .. } = take.clone();
        let (peer_id, addresses) = T::Nodes::endpoint(node).unwrap_or_default();
        TakeInfo { node, provider, until, peer_id, addresses }
    }
}

fn page<E>(entries: impl Iterator<Item = E>, limit: u32) -> Vec<E> {
    // A u32 fits into a usize wherever the runtime runs.
    let limit = usize::try_from(limit.min(MAX_PAGE)).unwrap_or(usize::MAX);
    entries.take(limit).collect()
}
