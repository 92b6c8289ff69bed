//! Orders: placing, funding, cancelling, and the end queue that renews or ends each in time.
//!
//! Owns the records of orders, an account's orders, the open orders and the queue. An order is in the queue exactly
//! once, under the slot in which it is *due*: the end of its running term, or, once cancelled, the slot by which its last
//! open take has lapsed.
//!
//! What happens then ([`Pallet::conclude`]), whether the hook or the call `end` comes first:
//! 1. each live replica is paid what it earned in the term; under a cancelled order at least [`MIN_SLOTS`] over its
//!    life, as far as the balance goes, unless its node is on probation;
//! 2. what was not earned of the term's cost goes back to the client;
//! 3. an order with a live replica, not cancelled, whose balance buys another term at the price of the day goes on;
//! 4. any other ends: balance and deposit go back to the client, and nothing of it stays on chain.
//!
//! [`MIN_SLOTS`]: crust_protocol::parameters::Parameters::min_slots

use alloc::vec::Vec;
use codec::{Decode, Encode, MaxEncodedLen};
use crust_protocol::{
    Balance, BlockNumber, Hash, NodeId, Slot,
    file::{Cid, CidBytes},
    order::{Content, OrderId, PRIVATE},
};
use frame_support::{
    BoundedVec,
    dispatch::{DispatchResultWithPostInfo, PostDispatchInfo},
    ensure,
    traits::{
        Get,
        fungible::{Inspect, Mutate, MutateHold},
        tokens::{Fortitude, Precision, Preservation},
    },
    weights::Weight,
};
use scale_info::TypeInfo;
use sp_runtime::{AccountId32, DispatchResult, SaturatedConversion};

use crate::{
    Config, Cursor, ENDS_A_BLOCK, Error, Event, HoldReason, Holding, Ledger, MaxFreeTakes, MaxReplicas, NextNumber,
    Nodes, OpenOrders, Orders, OrdersOf, Pallet, Queue, Replica, Replicas, SLOTS_A_BLOCK, Take, WeightInfo, pricing,
};

/// What a client asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wanted {
    pub nonce: u64,
    pub cid: CidBytes,
    pub size: u64,
    pub audit_root: Hash,
    pub flags: u8,
    pub replicas: u32,
    pub term: u32,
    pub balance: Balance,
    pub nodes: BoundedVec<NodeId, MaxReplicas>,
}

/// A node with a live replica of an order, and its provider.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct Live {
    pub node: NodeId,
    pub provider: AccountId32,
}

/// The record of a live order.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct Order {
    pub client: AccountId32,
    pub nonce: u64,
    pub cid: Cid,
    pub size: u64,
    pub audit_root: Hash,
    pub flags: u8,
    /// Replicas wanted.
    pub replicas: u32,
    /// Slots of a term.
    pub term: u32,
    pub placed: Slot,
    /// First slot of the running term.
    pub start: Slot,
    /// First slot after it.
    pub end: Slot,
    /// Plancks a slot and replica, fixed for the term.
    pub rate: Balance,
    /// On hold for the order, deposit apart.
    pub balance: Balance,
    /// On hold for the order's record.
    pub deposit: Balance,
    /// Paid in the running term.
    pub spent: Balance,
    pub cancelled: bool,
    /// Its number in the end queue.
    pub number: u64,
    /// Its slot in the end queue.
    pub due: Slot,
    /// The last slot in which it lost replicas, and how many: their places open with the next slot, so that no place
    /// has two reports in one slot.
    pub vacated: (Slot, u32),
    /// Places that wait for a receipt, lapsed ones included.
    pub takes: BoundedVec<Take, MaxReplicas>,
    /// Who has a live replica.
    pub live: BoundedVec<Live, MaxReplicas>,
    /// Nodes that had their free take.
    pub free_takes: BoundedVec<NodeId, MaxFreeTakes>,
    /// Of the nodes with a live replica those that retire, and the slot in which each offered its place to others.
    pub offered: BoundedVec<(NodeId, Slot), MaxReplicas>,
}

impl Order {
    /// What the running term costs if all replicas earn everything.
    pub(crate) fn cost(&self) -> Balance {
        pricing::cost(self.rate, self.replicas, self.term).unwrap_or(Balance::MAX)
    }

    /// Whether it takes new replicas, some time if not in this slot.
    pub(crate) fn wants_replicas(&self) -> bool {
        let stay: u32 = self.live.len().saturating_sub(self.offered.len()).saturated_into();
        !self.cancelled && stay < self.replicas
    }

    /// Replicas that it lost in this slot: their places open with the next.
    pub(crate) fn just_lost(&self, slot: Slot) -> u32 {
        let (lost_in, lost) = self.vacated;
        if lost_in == slot { lost } else { 0 }
    }

    /// The slot in which a node offered its place.
    pub(crate) fn offered_in(&self, node: NodeId) -> Option<Slot> {
        self.offered.iter().find(|(offering, _)| *offering == node).map(|(_, slot)| *slot)
    }

    /// Whether a node's place is open to others in this slot: it was offered in an earlier one.
    pub(crate) fn is_offered(&self, node: NodeId, slot: Slot) -> bool {
        self.offered_in(node).is_some_and(|offered| offered < slot)
    }

    /// The nodes with a live replica.
    pub fn nodes(&self) -> impl Iterator<Item = NodeId> {
        self.live.iter().map(|live| live.node)
    }

    pub(crate) fn has_open_take(&self, now: BlockNumber) -> bool {
        self.takes.iter().any(|take| take.is_open(now))
    }

    /// Whether its term is over, or it was cancelled and waits for nobody.
    fn may_conclude(&self, now: BlockNumber, slot: Slot) -> bool {
        slot >= self.end || self.cancelled && !self.has_open_take(now)
    }
}

impl<T: Config> Pallet<T> {
    /// The block that is being made.
    pub(crate) fn now() -> BlockNumber {
        frame_system::Pallet::<T>::block_number().saturated_into()
    }

    /// The slot of the block that is being made.
    pub(crate) fn slot() -> Slot {
        T::Parameters::get().slot_of(Self::now())
    }

    pub(crate) fn reason() -> T::RuntimeHoldReason {
        HoldReason::Order.into()
    }

    pub(crate) fn do_place_order(client: AccountId32, wanted: Wanted) -> DispatchResult {
        let Wanted { nonce, cid, size, audit_root, flags, replicas, term, balance, nodes } = wanted;
        ensure!(nodes.is_empty(), Error::<T>::NodesNamed);
        let cid = match cid {
            [1, ..] => Cid::from_bytes(&cid).map_err(|_| Error::<T>::BadCid)?,
            _ => return Err(Error::<T>::BadCid.into()),
        };
        ensure!(flags & !PRIVATE == 0, Error::<T>::UnknownFlags);
        let quote = Self::quote(size, replicas, term).map_err(Error::<T>::from)?;
        ensure!(balance >= quote.balance, Error::<T>::BalanceTooSmall);
        let id = Content { client: client.clone().into(), nonce, cid, size, audit_root, flags }.id();
        ensure!(!Orders::<T>::contains_key(id), Error::<T>::OrderExists);

        let held = balance.checked_add(quote.deposit).ok_or(Error::<T>::NotEnoughMoney)?;
        let needed = held.checked_add(quote.placing_fee).ok_or(Error::<T>::NotEnoughMoney)?;
        let free = T::Currency::reducible_balance(&client, Preservation::Preserve, Fortitude::Polite);
        ensure!(needed <= free, Error::<T>::NotEnoughMoney);
        T::Currency::transfer(&client, &T::Treasury::get(), quote.placing_fee, Preservation::Preserve)?;
        T::Currency::hold(&Self::reason(), &client, held)?;

        let slot = Self::slot();
        let end = slot.saturating_add(term);
        let order = Order {
            client: client.clone(),
            nonce,
            cid,
            size,
            audit_root,
            flags,
            replicas,
            term,
            placed: slot,
            start: slot,
            end,
            rate: quote.rate,
            balance,
            deposit: quote.deposit,
            spent: 0,
            cancelled: false,
            number: NextNumber::<T>::mutate(|next| {
                let number = *next;
                *next = next.wrapping_add(1);
                number
            }),
            due: end,
            vacated: (0, 0),
            takes: BoundedVec::new(),
            live: BoundedVec::new(),
            free_takes: BoundedVec::new(),
            offered: BoundedVec::new(),
        };
        Queue::<T>::insert(order.due, order.number, id);
        OrdersOf::<T>::insert(&client, id, ());
        OpenOrders::<T>::insert(id, ());
        Orders::<T>::insert(id, order);
        Self::deposit_event(Event::OrderPlaced { order: id, client, cid, size });
        Ok(())
    }

    pub(crate) fn do_fund(funder: &AccountId32, id: OrderId, amount: Balance) -> DispatchResult {
        ensure!(amount > 0, Error::<T>::NoAmount);
        let mut order = Orders::<T>::get(id).ok_or(Error::<T>::UnknownOrder)?;
        ensure!(!order.cancelled, Error::<T>::OrderCancelled);
        let free = T::Currency::reducible_balance(funder, Preservation::Preserve, Fortitude::Polite);
        ensure!(amount <= free, Error::<T>::NotEnoughMoney);
        order.balance = order.balance.checked_add(amount).ok_or(Error::<T>::NotEnoughMoney)?;
        if *funder == order.client {
            T::Currency::hold(&Self::reason(), funder, amount)?;
        } else {
            T::Currency::transfer_and_hold(
                &Self::reason(),
                funder,
                &order.client,
                amount,
                Precision::Exact,
                Preservation::Preserve,
                Fortitude::Polite,
            )?;
        }
        Orders::<T>::insert(id, order);
        Self::deposit_event(Event::Funded { order: id, funder: funder.clone(), amount });
        Ok(())
    }

    pub(crate) fn do_cancel(client: &AccountId32, id: OrderId) -> DispatchResultWithPostInfo {
        let mut order = Orders::<T>::get(id).ok_or(Error::<T>::UnknownOrder)?;
        ensure!(order.client == *client, Error::<T>::NotClient);
        ensure!(!order.cancelled, Error::<T>::OrderCancelled);
        let (now, slot) = (Self::now(), Self::slot());
        order.cancelled = true;
        Self::drop_lapsed_takes(&mut order, now);
        OpenOrders::<T>::remove(id);
        Self::deposit_event(Event::Cancelled { order: id });
        if order.may_conclude(now, slot) {
            return Ok(concluded::<T>(Self::conclude(id, order)));
        }
        // In the first slot that begins when the last take has lapsed.
        let slot_blocks = T::Parameters::get().slot_blocks.max(1);
        let lapsed = order.takes.iter().map(|take| take.until).max().unwrap_or(now).div_ceil(slot_blocks);
        let due = order.end.min(lapsed);
        Self::enqueue(id, &mut order, due);
        Orders::<T>::insert(id, order);
        Ok(concluded::<T>(0))
    }

    pub(crate) fn do_end(id: OrderId) -> DispatchResultWithPostInfo {
        let order = Orders::<T>::get(id).ok_or(Error::<T>::UnknownOrder)?;
        ensure!(order.may_conclude(Self::now(), Self::slot()), Error::<T>::NotEnded);
        Ok(concluded::<T>(Self::conclude(id, order)))
    }

    /// The first thing in every block: once a slot counts it and moves the shares; watches for silent nodes, works
    /// through what leaves, and settles what is due.
    pub(crate) fn begin_block(now: BlockNumber) -> Weight {
        let parameters = T::Parameters::get();
        let slot = parameters.slot_of(now);
        let mut weight = T::WeightInfo::begin_block();
        if now == parameters.first_block(slot) {
            Self::move_shares();
            if let Some(over) = slot.checked_sub(1) {
                Self::count_slot(over);
            }
            weight = weight.saturating_add(T::WeightInfo::begin_slot());
        }
        weight = weight.saturating_add(Self::watch()).saturating_add(Self::work_through_leavers());
        weight.saturating_add(Self::settle_due(now, slot))
    }

    /// Settles up to [`ENDS_A_BLOCK`] due orders.
    fn settle_due(now: BlockNumber, slot: Slot) -> Weight {
        let mut weight = Weight::zero();
        let mut cursor = Cursor::<T>::get();
        let begun_at = cursor;
        let (mut settled, mut passed) = (0u32, 0u32);
        while settled < ENDS_A_BLOCK && passed < SLOTS_A_BLOCK {
            match Queue::<T>::iter_prefix(cursor).next() {
                Some((number, id)) => {
                    let replicas = Self::conclude_due(cursor, number, id, now, slot);
                    weight = weight.saturating_add(T::WeightInfo::conclude(replicas));
                    settled = settled.saturating_add(1);
                }
                None if cursor < slot => {
                    cursor = cursor.saturating_add(1);
                    weight = weight.saturating_add(T::WeightInfo::pass_slot());
                    passed = passed.saturating_add(1);
                }
                None => break,
            }
        }
        if cursor != begun_at {
            Cursor::<T>::put(cursor);
        }
        weight
    }

    /// Settles one entry of the queue and says how many replicas that touched. The entry is gone afterwards.
    fn conclude_due(due: Slot, number: u64, id: OrderId, now: BlockNumber, slot: Slot) -> u32 {
        Queue::<T>::remove(due, number);
        match Orders::<T>::get(id) {
            Some(order) if order.may_conclude(now, slot) => Self::conclude(id, order),
            Some(mut order) => {
                // A take of a cancelled order was still open when its slot began: once more in the next slot.
                Self::enqueue(id, &mut order, slot.saturating_add(1));
                Orders::<T>::insert(id, order);
                0
            }
            None => 0,
        }
    }

    /// What a term's end, or a cancellation that waits for nobody, brings. Says how many replicas it touched.
    fn conclude(id: OrderId, mut order: Order) -> u32 {
        let mut ledger = Ledger::open();
        let slot = ledger.slot;
        let term_over = slot >= order.end;
        let until = order.end.min(slot.saturating_add(1));
        let mut live = Self::live_replicas(id, &order);
        for (node, replica, holding) in &mut live {
            Self::settle(&mut ledger, id, &mut order, *node, replica, holding, until);
        }
        if order.cancelled {
            for (node, replica, _) in live.iter_mut().filter(|(node, ..)| !T::Nodes::on_probation(*node)) {
                Self::top_up(&mut ledger, id, &mut order, *node, replica);
            }
        }
        let touched = live.len().saturated_into();
        let unearned = order.cost().saturating_sub(order.spent).min(order.balance);
        let left = order.balance.saturating_sub(unearned);
        let rate = ledger.parameters.rate(order.size);
        let next = pricing::cost(rate, order.replicas, order.term);
        let goes_on = term_over && !order.cancelled && !live.is_empty() && next.is_some_and(|next| next <= left);
        if goes_on {
            Self::release(&mut ledger, &mut order, unearned);
            Self::renew(id, order, rate, unearned, live);
        } else {
            for (node, replica, _) in live {
                if let Some(mut standing) = Self::standing(node) {
                    Self::unreserve(&mut standing, id, replica.reserved);
                    Self::remove_replica(&ledger, id, &mut order, &mut standing, &replica);
                    Self::keep(standing);
                }
            }
            Self::finish(&mut ledger, id, order);
        }
        ledger.close();
        touched
    }

    fn renew(id: OrderId, mut order: Order, rate: Balance, returned: Balance, live: Vec<(NodeId, Replica, Holding)>) {
        order.start = order.end;
        order.end = order.start.saturating_add(order.term);
        order.rate = rate;
        order.spent = 0;
        for (node, mut replica, holding) in live {
            replica.begin_term(&holding, order.start);
            Replicas::<T>::insert(node, id, replica);
        }
        let end = order.end;
        Self::enqueue(id, &mut order, end);
        Orders::<T>::insert(id, order);
        Self::deposit_event(Event::Renewed { order: id, end, rate, returned });
    }

    /// Removes an order that has no live replica (any more), with all that belongs to it, and refunds its client. Says
    /// how many takes ended with it.
    pub(crate) fn finish(ledger: &mut Ledger<T>, id: OrderId, mut order: Order) -> u32 {
        let takes = order.takes.len().saturated_into();
        for take in core::mem::take(&mut order.takes) {
            Self::free_from(&take);
        }
        Queue::<T>::remove(order.due, order.number);
        OpenOrders::<T>::remove(id);
        OrdersOf::<T>::remove(&order.client, id);
        Orders::<T>::remove(id);
        let refund = order.balance.saturating_add(order.deposit);
        order.balance = refund;
        Self::release(ledger, &mut order, refund);
        Self::deposit_event(Event::OrderEnded { order: id, refund });
        takes
    }

    /// Puts an order into the queue under this slot, and there alone.
    pub(crate) fn enqueue(id: OrderId, order: &mut Order, due: Slot) {
        Queue::<T>::remove(order.due, order.number);
        order.due = due;
        Queue::<T>::insert(order.due, order.number, id);
    }

    /// Gives part of an order's balance back to its client.
    fn release(ledger: &mut Ledger<T>, order: &mut Order, amount: Balance) {
        // The hold covers every order's balance and deposit (`try_state`), and releasing needs nothing else.
        let released = ledger.release(HoldReason::Order, &order.client, amount);
        if released != Ok(amount) {
            log::error!(target: "storage-market", "released {released:?} of {amount} to {:?}", order.client);
        }
        order.balance = order.balance.saturating_sub(amount);
    }

    fn live_replicas(id: OrderId, order: &Order) -> Vec<(NodeId, Replica, Holding)> {
        let replica = |live: &Live| Some((live.node, Replicas::<T>::get(live.node, id)?, Self::holding(live.node)?));
        order.live.iter().filter_map(replica).collect()
    }
}

fn concluded<T: Config>(replicas: u32) -> PostDispatchInfo {
    Some(T::WeightInfo::conclude(replicas)).into()
}
