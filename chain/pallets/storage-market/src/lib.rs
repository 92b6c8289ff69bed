//! The storage market: clients order copies of files, nodes store them, the chain pays by what the nodes' reports prove.
//!
//! This file is the interface: configuration, storage, events, errors and calls; a call is an origin check and one
//! `do_*`. The work is in one file a concern: [`orders`] (placing, funding, cancelling, the end queue), [`pricing`]
//! (what a term costs), [`accounts`] (what is kept of a node), [`replicas`] (takes, receipts), [`draws`] (which of them an
//! audit is of), [`payout`] (what was earned and who gets it), [`ledger`] (what moves between accounts in a step),
//! [`collateral`] (what providers put on hold, and who gets it), [`losses`] (replicas that end early), [`standing`] (a
//! node while its replicas end), [`silence`] (nodes that are not heard), [`leaving`] (nodes that go), `prefetch` (what
//! a statement will touch), [`runtime_api`] (what the world may ask) and [`try_state`] (what must hold after every block).
//!
//! The pallet knows nothing of enclaves, statements or evidence: whoever verifies them calls [`Pallet::receipts`],
//! [`Pallet::gone`] and [`Pallet::reported`]; what it must know of nodes comes through [`Nodes`]. Nothing here works
//! through all nodes, files or orders: a call touches one order with at most [`MaxReplicas`] replicas, the hook at most
//! [`ENDS_A_BLOCK`] orders, [`WATCHED_A_BLOCK`] nodes and [`LEAVE_A_BLOCK`] replicas.
//!
//! **Money.** An order's balance and deposit are on hold in its client's account, a node's collateral in its provider's;
//! every payment moves from the client's hold to the provider's free balance and to the market's own account, where the
//! shares of pot and treasury wait for the slot's end ([`Shares`]). Nothing is minted or burnt.

#![cfg_attr(not(feature = "std"), no_std)]
#![cfg_attr(not(test), deny(clippy::float_arithmetic))]

extern crate alloc;

mod accounts;
pub mod collateral;
pub mod draws;
pub mod leaving;
mod ledger;
pub mod losses;
mod measured;
pub mod orders;
pub mod payout;
mod prefetch;
pub mod pricing;
pub mod replicas;
pub mod runtime_api;
pub mod silence;
mod standing;
pub mod try_state;
pub mod weights;

#[cfg(test)]
mod mock;
#[cfg(test)]
mod tests;

use alloc::vec::Vec;
use crust_protocol::{NodeId, Slot, order::OrderId};
use frame_support::{
    PalletId,
    pallet_prelude::ConstU32,
    traits::{Get, fungible},
};
use sp_runtime::AccountId32;

pub use accounts::NodeAccount;
pub use collateral::Collateral;
pub use draws::{Counts, Entry, Position};
pub use leaving::Leave;
pub(crate) use ledger::Ledger;
pub use orders::{Live, Order, Wanted};
pub use pallet::*;
pub use payout::{Holding, Shares};
pub use replicas::{Replica, Take};
pub use runtime_api::Barred;
pub(crate) use standing::Standing;
pub use weights::WeightInfo;

/// Replicas that an order may want, whatever the chain's parameters say.
pub const MAX_REPLICAS: u32 = 20;
/// The same as a type.
pub type MaxReplicas = ConstU32<MAX_REPLICAS>;
/// Nodes for each of which one take of an order is free; further nodes pay the ordinary fee.
pub type MaxFreeTakes = ConstU32<64>;
/// Orders whose term's end the hook settles in one block.
pub const ENDS_A_BLOCK: u32 = 20;
/// Empty slots that the hook passes in one block, should it ever have been behind.
pub const SLOTS_A_BLOCK: u32 = 20;
/// Nodes that the hook watches for silence in one block.
pub const WATCHED_A_BLOCK: u32 = 64;
/// Replicas of leaving nodes that the hook ends or offers in one block.
pub const LEAVE_A_BLOCK: u32 = 64;
/// Nodes that they are of, at most.
pub const LEAVERS_A_BLOCK: u32 = 8;
/// Slots with which a node's takes may lapse, at most, while they hold collateral.
pub type MaxTakeSlots = ConstU32<64>;
/// Slots over which power may be averaged to tell whether a slot counts, whatever the chain's parameters say.
pub type MaxCountWindow = ConstU32<256>;
/// Slots whose reports a node's [`Holding`] remembers one by one.
pub const RING: u32 = 128;
/// Entries that one question to the runtime API answers at most.
pub const MAX_PAGE: u32 = 256;

/// What the market must know of nodes.
pub trait Nodes {
    /// The provider that a node works for.
    fn provider(node: NodeId) -> Option<AccountId32>;
    /// Why a node may take nothing new, whatever the market knows of it; nothing if it may.
    fn barred(node: NodeId) -> Option<Barred>;
    /// Peer id and addresses, as text.
    fn endpoint(node: NodeId) -> Option<(Vec<u8>, Vec<Vec<u8>>)>;
    /// Billed bytes that the cap of a node's platform leaves.
    fn platform_room(node: NodeId) -> u64;
    /// A replica of the node has begun: so many billed bytes.
    fn replica_begun(node: NodeId, billed: u64);
    /// A replica of the node has ended.
    fn replica_ended(node: NodeId, billed: u64);
    /// Whether a node's program or platform was withdrawn so long ago that it may speak no more.
    fn is_out(node: NodeId) -> bool;
    /// How many nodes there are; their numbers are those below.
    fn count() -> NodeId;
    /// Power reported in a slot that is just over.
    fn slot_power(slot: Slot) -> u128;
    /// The node's live replicas are about to change: a draw that is still to be made is of them as they stand now. Gives
    /// the order of the due draw.
    fn before_change(node: NodeId) -> Option<OrderId>;
    /// The order of a node's due draw, made or still to be made.
    fn due(node: NodeId) -> Option<OrderId>;
    /// Whether a node earns nothing, because it failed a draw and has not made up for it.
    fn on_probation(node: NodeId) -> bool;
    /// A node will not answer: the market found it silent, or its provider gave it up. Its due draw, should it have one,
    /// has failed: whoever keeps the draws then calls [`Pallet::draw_failed`]. To be called before its replicas end.
    fn unanswered(node: NodeId);
}

#[frame_support::pallet]
#[expect(unused_qualifications, reason = "the macro names its own attributes with their path")]
#[allow(clippy::expect_used, reason = "in the macro's own code; this module has none")]
pub mod pallet {
    use super::*;
    use crust_protocol::{
        Balance, Hash,
        file::{Cid, CidBytes},
        parameters::Parameters,
    };
    use frame_support::pallet_prelude::*;
    use frame_system::pallet_prelude::*;
    use sp_runtime::SaturatedConversion;

    #[pallet::pallet]
    pub struct Pallet<T>(_);

    #[pallet::config]
    pub trait Config: frame_system::Config<AccountId = AccountId32, RuntimeEvent: From<Event<Self>>> {
        /// The runtime's reasons for a hold.
        type RuntimeHoldReason: From<HoldReason>;
        /// The chain's money.
        type Currency: fungible::Mutate<AccountId32, Balance = Balance>
            + fungible::MutateHold<AccountId32, Reason = Self::RuntimeHoldReason>;
        /// The chain's parameters.
        type Parameters: Get<Parameters>;
        /// Who the nodes are.
        type Nodes: Nodes;
        /// Names the market's own account, where counted shares wait to be moved.
        #[pallet::constant]
        type PalletId: Get<PalletId>;
        /// The staking pot's account.
        type Pot: Get<AccountId32>;
        /// The treasury's account.
        type Treasury: Get<AccountId32>;
        /// Weights of calls and hooks.
        type WeightInfo: WeightInfo;
    }

    /// Why the market keeps money on hold.
    #[pallet::composite_enum]
    pub enum HoldReason {
        /// Balance and deposit of the account's live orders.
        #[codec(index = 0)]
        Order,
        /// Collateral of the account's nodes.
        #[codec(index = 1)]
        Collateral,
    }

    /// The live orders.
    #[pallet::storage]
    pub type Orders<T: Config> = StorageMap<_, Blake2_128Concat, OrderId, Order>;

    /// The live replicas: of a node, by order.
    #[pallet::storage]
    pub type Replicas<T: Config> = StorageDoubleMap<_, Twox64Concat, NodeId, Blake2_128Concat, OrderId, Replica>;

    /// Which nodes hold a live replica of a CID, and for which order. One of a CID per node.
    #[pallet::storage]
    pub type Copies<T: Config> = StorageDoubleMap<_, Blake2_128Concat, Cid, Twox64Concat, NodeId, OrderId>;

    /// The live orders of an account.
    #[pallet::storage]
    pub type OrdersOf<T: Config> = StorageDoubleMap<_, Blake2_128Concat, AccountId32, Blake2_128Concat, OrderId, ()>;

    /// The orders that want more replicas than are live and take new ones.
    #[pallet::storage]
    pub type OpenOrders<T: Config> = StorageMap<_, Blake2_128Concat, OrderId, ()>;

    /// What the market keeps of each node.
    #[pallet::storage]
    pub type NodeAccounts<T: Config> = StorageMap<_, Twox64Concat, NodeId, NodeAccount, ValueQuery>;

    /// The number of slots so far that count as silence for whoever was not heard in them.
    #[pallet::storage]
    pub type CountedSlots<T: Config> = StorageValue<_, u32, ValueQuery>;

    /// Power reported in the last slots, the newest last.
    #[pallet::storage]
    pub type PowerWindow<T: Config> = StorageValue<_, BoundedVec<u128, MaxCountWindow>, ValueQuery>;

    /// The node that is watched next.
    #[pallet::storage]
    pub type NodesWatched<T: Config> = StorageValue<_, NodeId, ValueQuery>;

    /// The nodes whose replicas the hook ends or offers.
    #[pallet::storage]
    pub type Leavers<T: Config> = StorageMap<_, Twox64Concat, NodeId, Leave>;

    /// The one of them that had its turn last.
    #[pallet::storage]
    pub type LeaverServed<T: Config> = StorageValue<_, NodeId, ValueQuery>;

    /// The live replicas of a node as draws are made over them: by size class, numbered from 0.
    #[pallet::storage]
    pub type Listed<T: Config> = StorageDoubleMap<_, Twox64Concat, NodeId, Twox64Concat, Position, Entry>;

    /// The end queue: every live order under the slot in which it is due and its number.
    #[pallet::storage]
    pub type Queue<T: Config> = StorageDoubleMap<_, Twox64Concat, Slot, Twox64Concat, u64, OrderId>;

    /// No slot before this one has an entry in the [`Queue`].
    #[pallet::storage]
    pub type Cursor<T: Config> = StorageValue<_, Slot, ValueQuery>;

    /// The number of the next order.
    #[pallet::storage]
    pub type NextNumber<T: Config> = StorageValue<_, u64, ValueQuery>;

    /// Shares counted and not yet moved; the market's own account holds them.
    #[pallet::storage]
    pub type UnmovedShares<T: Config> = StorageValue<_, Shares, ValueQuery>;

    /// Genesis has no values of its own: it makes sure that the accounts which receive shares exist.
    #[pallet::genesis_config]
    #[derive(frame_support::DefaultNoBound)]
    pub struct GenesisConfig<T: Config> {
        #[serde(skip)]
        pub config: PhantomData<T>,
    }

    #[pallet::genesis_build]
    impl<T: Config> BuildGenesisConfig for GenesisConfig<T> {
        fn build(&self) {
            Pallet::<T>::open_accounts();
        }
    }

    #[pallet::event]
    #[pallet::generate_deposit(pub(crate) fn deposit_event)]
    pub enum Event<T: Config> {
        /// An order was placed; its money is on hold.
        #[codec(index = 0)]
        OrderPlaced { order: OrderId, client: AccountId32, cid: Cid, size: u64 },
        /// Somebody added to an order's balance.
        #[codec(index = 1)]
        Funded { order: OrderId, funder: AccountId32, amount: Balance },
        /// The client cancelled an order; it ends when no take of it is open.
        #[codec(index = 2)]
        Cancelled { order: OrderId },
        /// A node holds a place of an order for its receipt until a block (exclusive).
        #[codec(index = 3)]
        Taken { order: OrderId, node: NodeId, until: u32 },
        /// A node's receipt applied: its replica is live.
        #[codec(index = 4)]
        ReplicaSealed { order: OrderId, node: NodeId },
        /// A replica is live no more: lost, deleted, or its order ended.
        #[codec(index = 5)]
        ReplicaEnded { order: OrderId, node: NodeId },
        /// A replica's pay moved: at a claim, a term's end or the replica's end.
        #[codec(index = 6)]
        Claimed { order: OrderId, node: NodeId, provider_part: Balance, pot_part: Balance, treasury_part: Balance },
        /// An order goes on for another term, after what was not earned went back to its client.
        #[codec(index = 7)]
        Renewed { order: OrderId, end: Slot, rate: Balance, returned: Balance },
        /// An order ended and its record is gone; all that was on hold for it went back to its client.
        #[codec(index = 8)]
        OrderEnded { order: OrderId, refund: Balance },
        /// A provider added to a node's collateral.
        #[codec(index = 9)]
        CollateralDeposited { node: NodeId, amount: Balance, deposited: Balance },
        /// A provider took back what was free of a node's collateral.
        #[codec(index = 10)]
        CollateralWithdrawn { node: NodeId, amount: Balance, deposited: Balance },
        /// The end of a replica cost its node collateral: what its order lacked, what its client is given back, the rest.
        #[codec(index = 11)]
        Slashed { order: OrderId, node: NodeId, to_order: Balance, to_client: Balance, to_treasury: Balance },
        /// A node failed its due draw, which cost this much of its collateral.
        #[codec(index = 12)]
        DrawFailed { node: NodeId, amount: Balance },
        /// A node's place is offered to others from the next slot on.
        #[codec(index = 13)]
        ReplicaOffered { order: OrderId, node: NodeId },
        /// A node takes nothing new, and the places of all its replicas are being offered to others.
        #[codec(index = 14)]
        NodeRetires { node: NodeId },
        /// A provider gave up a node; all its replicas are being ended.
        #[codec(index = 15)]
        NodeAbandoned { node: NodeId, found: bool },
        /// A node was not heard for too long; all its replicas are being ended.
        #[codec(index = 16)]
        NodeSilent { node: NodeId },
    }

    #[pallet::error]
    pub enum Error<T> {
        /// Not the 36 bytes of a CIDv1 with a supported codec and hash function.
        #[codec(index = 0)]
        BadCid,
        /// The file is larger than any file may be.
        #[codec(index = 1)]
        SizeTooLarge,
        /// A flag that has no meaning is set.
        #[codec(index = 2)]
        UnknownFlags,
        /// At least one replica must be wanted.
        #[codec(index = 3)]
        NoReplicas,
        /// More replicas than an order may want.
        #[codec(index = 4)]
        TooManyReplicas,
        /// The term is shorter than the shortest for a file of this size.
        #[codec(index = 5)]
        TermTooShort,
        /// The term is longer than the longest.
        #[codec(index = 6)]
        TermTooLong,
        /// Nodes cannot be named in an order: places are first come, first served. Leave the list empty.
        #[codec(index = 7)]
        NodesNamed,
        /// The balance does not buy one term. Ask `quote` what it costs.
        #[codec(index = 8)]
        BalanceTooSmall,
        /// The account's free balance does not cover balance, placing fee and deposit.
        #[codec(index = 9)]
        NotEnoughMoney,
        /// An order of this id is live. Choose another nonce.
        #[codec(index = 10)]
        OrderExists,
        /// No such order is live.
        #[codec(index = 11)]
        UnknownOrder,
        /// The order belongs to another client.
        #[codec(index = 12)]
        NotClient,
        /// The order was cancelled: it takes no node, no money and no second cancellation.
        #[codec(index = 13)]
        OrderCancelled,
        /// Nothing was to be added.
        #[codec(index = 14)]
        NoAmount,
        /// The node works for another provider, or does not exist.
        #[codec(index = 15)]
        NotProvider,
        /// The node is not registered, or its registration expired. Renew it first.
        #[codec(index = 16)]
        NotRegistered,
        /// The node holds a live replica of this CID.
        #[codec(index = 17)]
        CopyHeld,
        /// The provider holds a place of this order already.
        #[codec(index = 18)]
        ProviderHasPlace,
        /// Every place is live or taken, or was lost in this very slot. Try again when a take has lapsed.
        #[codec(index = 19)]
        NoPlace,
        /// The node holds no live replica of this order.
        #[codec(index = 20)]
        NoReplica,
        /// Nothing was earned since the last claim.
        #[codec(index = 21)]
        NothingEarned,
        /// The order is still running.
        #[codec(index = 22)]
        NotEnded,
        /// Less of the node's collateral is free than a replica of this order needs. Deposit more.
        #[codec(index = 23)]
        NotEnoughCollateral,
        /// Replicas and takes need the rest of the node's collateral.
        #[codec(index = 24)]
        CollateralInUse,
        /// The node waits for takes that lapse with too many different slots. Seal some first.
        #[codec(index = 25)]
        TooManyTakes,
        /// The node retires, was abandoned or fell silent: it takes nothing new.
        #[codec(index = 26)]
        NodeLeaves,
        /// The replica or node was retired or abandoned before.
        #[codec(index = 27)]
        RetiresAlready,
        /// The node's platform may not hold that much more.
        #[codec(index = 28)]
        PlatformFull,
    }

    #[pallet::hooks]
    impl<T: Config> Hooks<BlockNumberFor<T>> for Pallet<T> {
        fn on_initialize(now: BlockNumberFor<T>) -> Weight {
            Self::begin_block(now.saturated_into())
        }
    }

    #[pallet::call]
    impl<T: Config> Pallet<T> {
        /// Orders `replicas` copies of a file for `term` slots and as many further terms as `balance` buys. The balance
        /// and a deposit go on hold; a placing fee goes to the treasury and never comes back. `nodes` must be empty.
        #[pallet::call_index(0)]
        #[pallet::weight(T::WeightInfo::place_order())]
        #[allow(clippy::too_many_arguments, reason = "the arguments are the order, as the protocol lists them")]
        pub fn place_order(
            origin: OriginFor<T>,
            nonce: u64,
            cid: CidBytes,
            size: u64,
            audit_root: Hash,
            flags: u8,
            replicas: u32,
            term: u32,
            #[pallet::compact] balance: Balance,
            nodes: BoundedVec<NodeId, MaxReplicas>,
        ) -> DispatchResult {
            let client = ensure_signed(origin)?;
            Self::do_place_order(client, Wanted { nonce, cid, size, audit_root, flags, replicas, term, balance, nodes })
        }

        /// Adds to an order's balance, by anyone; refunds go to the order's client.
        #[pallet::call_index(1)]
        #[pallet::weight(T::WeightInfo::fund())]
        pub fn fund(origin: OriginFor<T>, order: OrderId, #[pallet::compact] amount: Balance) -> DispatchResult {
            let funder = ensure_signed(origin)?;
            Self::do_fund(&funder, order, amount)
        }

        /// Ends the client's order as soon as no take of it is open, and returns what was not earned.
        #[pallet::call_index(2)]
        #[pallet::weight(T::WeightInfo::conclude(MAX_REPLICAS))]
        pub fn cancel(origin: OriginFor<T>, order: OrderId) -> DispatchResultWithPostInfo {
            let client = ensure_signed(origin)?;
            Self::do_cancel(&client, order)
        }

        /// Takes a place of an order for a node of the caller. Free the first time it succeeds for a node and order.
        #[pallet::call_index(3)]
        #[pallet::weight(T::WeightInfo::take())]
        pub fn take(origin: OriginFor<T>, order: OrderId, node: NodeId) -> DispatchResultWithPostInfo {
            let provider = ensure_signed(origin)?;
            Self::do_take(provider, order, node)
        }

        /// Pays out what a replica has earned so far, by anyone.
        #[pallet::call_index(4)]
        #[pallet::weight(T::WeightInfo::claim())]
        pub fn claim(origin: OriginFor<T>, order: OrderId, node: NodeId) -> DispatchResult {
            ensure_signed(origin)?;
            Self::do_claim(order, node)
        }

        /// Settles an order whose term is over, or that was cancelled and has no open take: renewal or end. By anyone;
        /// the end queue does the same by itself.
        #[pallet::call_index(5)]
        #[pallet::weight(T::WeightInfo::conclude(MAX_REPLICAS))]
        pub fn end(origin: OriginFor<T>, order: OrderId) -> DispatchResultWithPostInfo {
            ensure_signed(origin)?;
            Self::do_end(order)
        }

        /// Puts collateral on hold for a node of the caller.
        #[pallet::call_index(6)]
        #[pallet::weight(T::WeightInfo::move_collateral())]
        pub fn deposit_collateral(
            origin: OriginFor<T>,
            node: NodeId,
            #[pallet::compact] amount: Balance,
        ) -> DispatchResult {
            let provider = ensure_signed(origin)?;
            Self::do_deposit_collateral(provider, node, amount)
        }

        /// Takes back collateral of the caller's node that is free.
        #[pallet::call_index(7)]
        #[pallet::weight(T::WeightInfo::move_collateral())]
        pub fn withdraw_collateral(
            origin: OriginFor<T>,
            node: NodeId,
            #[pallet::compact] amount: Balance,
        ) -> DispatchResult {
            let provider = ensure_signed(origin)?;
            Self::do_withdraw_collateral(provider, node, amount)
        }

        /// Offers the place of a replica of the caller's node to others. Until one takes it over the node goes on and
        /// is paid; when `RETIRE_WINDOW` has passed, it may leave for nothing.
        #[pallet::call_index(8)]
        #[pallet::weight(T::WeightInfo::retire())]
        pub fn retire(origin: OriginFor<T>, order: OrderId, node: NodeId) -> DispatchResult {
            let provider = ensure_signed(origin)?;
            Self::do_retire(&provider, order, node)
        }

        /// Offers the places of all replicas of the caller's node to others, a page a block. The node takes nothing
        /// new, ever: whoever begins again registers another one.
        #[pallet::call_index(9)]
        #[pallet::weight(T::WeightInfo::retire())]
        pub fn retire_node(origin: OriginFor<T>, node: NodeId) -> DispatchResult {
            let provider = ensure_signed(origin)?;
            Self::do_retire_node(&provider, node)
        }

        /// Gives up the caller's node, which can no longer speak: all its replicas end, a page a block, each at half of
        /// what it reserves; under a due draw or silence at all of it. It takes nothing new, ever.
        #[pallet::call_index(10)]
        #[pallet::weight(T::WeightInfo::retire())]
        pub fn abandon(origin: OriginFor<T>, node: NodeId) -> DispatchResult {
            let provider = ensure_signed(origin)?;
            Self::do_abandon(&provider, node)
        }
    }
}
