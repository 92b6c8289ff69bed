//! Who stores an order: takes and receipts.
//!
//! Owns the replicas, the places of an order by provider and the copies of a CID by node. Of an order's places each is
//! *live* (a node's receipt applied), *taken* (a node waits to give its receipt), *just lost* (it opens with the next
//! slot) or *open*; live, taken and just lost together are never more than the replicas wanted. A live place whose node
//! retires is open too: the receipt that finds no other place takes it over.
//!
//! **A take holds its place until another overwrites it.** It is open for a slot and the time that the bytes need, then
//! it lapses; a lapsed take gives way to the next take that finds no other place, and a receipt that comes late but
//! before that still applies: the file is sealed and nobody else wants the place. Under a cancelled order a lapsed take
//! holds nothing.

use codec::{Decode, Encode, MaxEncodedLen};
use crust_protocol::{Balance, BlockNumber, NodeId, Slot, order::OrderId, parameters::Parameters};
use frame_support::{
    dispatch::{DispatchResultWithPostInfo, Pays},
    ensure,
    traits::Get,
    weights::Weight,
};
use scale_info::TypeInfo;
use sp_runtime::{AccountId32, DispatchError, SaturatedConversion};

use crate::{
    Config, Copies, Error, Event, Holding, Leavers, Ledger, Live, NodeAccount, Nodes, OpenOrders, Order, Orders,
    Pallet, Position, Replicas, Standing, WeightInfo, collateral::needed, losses::Loss,
};

/// A place that waits for its node's receipt.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct Take {
    pub node: NodeId,
    pub provider: AccountId32,
    /// The first block in which it has lapsed.
    pub until: BlockNumber,
    /// Collateral that it holds until then.
    pub collateral: Balance,
}

impl Take {
    pub(crate) fn is_open(&self, now: BlockNumber) -> bool {
        now < self.until
    }
}

/// A live replica.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct Replica {
    pub provider: AccountId32,
    /// Block of its receipt.
    pub since: BlockNumber,
    /// The node's `earned` at the receipt or the last renewal.
    pub earned: u64,
    /// Paid in the running term, to all parties together.
    pub paid: Balance,
    /// Paid in earlier terms.
    pub paid_before: Balance,
    /// Collateral that it reserves.
    pub reserved: Balance,
    /// Where it is listed for draws.
    pub position: Position,
}

impl Replica {
    /// Starts to count for a term that begins with this slot.
    pub(crate) fn begin_term(&mut self, holding: &Holding, start: Slot) {
        self.earned = self.earned.max(holding.earned_before(start));
        self.paid_before = self.paid_before.saturating_add(self.paid);
        self.paid = 0;
    }
}

/// A place for a receipt, with what was read of its node; the take holds nothing in it any more.
struct Place {
    order: Order,
    take: Take,
    account: NodeAccount,
    /// What the replica will reserve.
    reserved: Balance,
}

impl<T: Config> Pallet<T> {
    pub(crate) fn do_take(provider: AccountId32, id: OrderId, node: NodeId) -> DispatchResultWithPostInfo {
        ensure!(T::Nodes::provider(node).as_ref() == Some(&provider), Error::<T>::NotProvider);
        ensure!(T::Nodes::barred(node).is_none(), Error::<T>::NotRegistered);
        let mut order = Orders::<T>::get(id).ok_or(Error::<T>::UnknownOrder)?;
        ensure!(!order.cancelled, Error::<T>::OrderCancelled);
        ensure!(!Copies::<T>::contains_key(order.cid, node), Error::<T>::CopyHeld);
        ensure!(!Self::leaves(node), Error::<T>::NodeLeaves);
        let parameters = T::Parameters::get();
        ensure!(has_room::<T>(&parameters, node, &order), Error::<T>::PlatformFull);
        let now = Self::now();
        ensure!(order.live.iter().all(|live| live.provider != provider), Error::<T>::ProviderHasPlace);
        if let Some(own) = order.takes.iter().position(|take| take.provider == provider) {
            let own = order.takes.remove(own);
            ensure!(!own.is_open(now), Error::<T>::ProviderHasPlace);
            Self::free_from(&own);
        }
        if Self::open_places(&order) == 0 {
            return Err(Error::<T>::NoPlace.into());
        }
        if Self::untaken_places(&order) == 0 {
            // A place is open only because a take has lapsed: the one that lapsed first gives way.
            let lapsed = order.takes.iter().enumerate().filter(|(_, take)| !take.is_open(now));
            let (first, _) = lapsed.min_by_key(|(_, take)| take.until).ok_or(Error::<T>::NoPlace)?;
            Self::free_from(&order.takes.remove(first));
        }
        let until = now.saturating_add(parameters.take_window(order.size));
        let take = Take { node, provider, until, collateral: needed(&parameters, &order) };
        Self::hold_for(&take)?;
        order.takes.try_push(take).map_err(|_| Error::<T>::NoPlace)?;
        let free = !order.free_takes.contains(&node) && order.free_takes.try_push(node).is_ok();
        Orders::<T>::insert(id, order);
        Self::deposit_event(Event::Taken { order: id, node, until });
        Ok(if free { Pays::No } else { Pays::Yes }.into())
    }

    /// A node's receipts: each that applies makes a replica live; the others are skipped. Says how many applied, and
    /// what it all weighed.
    pub fn receipts(node: NodeId, provider: &AccountId32, orders: &[OrderId]) -> Result<(u32, Weight), DispatchError> {
        let (mut ledger, mut applied, mut replaced) = (Ledger::open(), 0u32, 0u32);
        for id in orders {
            if let Some(place) = Self::place_for_receipt(&ledger, node, id)
                && place.take.provider == *provider
            {
                replaced = replaced.saturating_add(Self::seal(&mut ledger, *id, place)?.into());
                applied = applied.saturating_add(1);
            }
        }
        ledger.close();
        let named: u32 = orders.len().saturated_into();
        Ok((applied, T::WeightInfo::receipts(applied, replaced, named.saturating_sub(applied))))
    }

    /// Whether a node's receipt for an order would apply now: it holds a place of it and no replica of its CID, it does
    /// not leave, and its collateral and its platform suffice.
    pub fn would_apply(node: NodeId, order: &OrderId) -> bool {
        Self::place_for_receipt(&Ledger::open(), node, order).is_some()
    }

    /// The sum of the sizes of a node's live replicas.
    pub fn held(node: NodeId) -> u64 {
        Self::holding(node).map_or(0, |holding| holding.bytes)
    }

    /// What a node's live replicas are billed, in bytes.
    pub fn billed(node: NodeId) -> u64 {
        Self::holding(node).map_or(0, |holding| holding.billed)
    }

    /// Places that a take could get now: untaken ones and lapsed takes.
    pub(crate) fn open_places(order: &Order) -> u32 {
        let now = Self::now();
        let lapsed: u32 = order.takes.iter().filter(|take| !take.is_open(now)).count().saturated_into();
        Self::untaken_places(order).saturating_add(lapsed)
    }

    /// Places that are neither taken nor just lost, and not live unless they were offered.
    fn untaken_places(order: &Order) -> u32 {
        let slot = Self::slot();
        let just_lost = order.just_lost(slot);
        let offered = order.offered.iter().filter(|(_, offered)| *offered < slot).count();
        let occupied = order.live.len().saturating_add(order.takes.len()).saturating_sub(offered);
        order.replicas.saturating_sub(occupied.saturated_into()).saturating_sub(just_lost)
    }

    pub(crate) fn drop_lapsed_takes(order: &mut Order, now: BlockNumber) {
        order.takes.retain(|take| {
            let open = take.is_open(now);
            if !open {
                Self::free_from(take);
            }
            open
        });
    }

    /// Forgets a live replica: the order's place and the indices. Whoever calls it stores order and standing.
    pub(crate) fn remove_replica(
        ledger: &Ledger<T>,
        id: OrderId,
        order: &mut Order,
        standing: &mut Standing,
        replica: &Replica,
    ) {
        let node = standing.node;
        Self::strike(standing, replica.position);
        Replicas::<T>::remove(node, id);
        Copies::<T>::remove(order.cid, node);
        order.live.retain(|live| live.node != node);
        order.offered.retain(|(offering, _)| *offering != node);
        standing.end(order.size, ledger.parameters.billed(order.size));
        Self::deposit_event(Event::ReplicaEnded { order: id, node });
    }

    /// The place that a node's receipt for an order would fill now, if it applies.
    fn place_for_receipt(ledger: &Ledger<T>, node: NodeId, id: &OrderId) -> Option<Place> {
        let parameters = &ledger.parameters;
        let order = Orders::<T>::get(id)?;
        let take = order.takes.iter().find(|take| take.node == node)?.clone();
        if !take.is_open(ledger.now) && order.cancelled || Copies::<T>::contains_key(order.cid, node) {
            return None;
        }
        let mut account = Self::account_in(node, ledger.slot);
        if account.leaving || Leavers::<T>::contains_key(node) || !has_room::<T>(parameters, node, &order) {
            return None;
        }
        account.collateral.end_take(parameters, &take);
        let reserved = needed(parameters, &order);
        (reserved <= account.collateral.free(ledger.slot)).then_some(Place { order, take, account, reserved })
    }

    /// Makes a replica live. Says whether another one gave way to it.
    fn seal(ledger: &mut Ledger<T>, id: OrderId, place: Place) -> Result<bool, DispatchError> {
        let Place { mut order, take: Take { node, provider, .. }, mut account, reserved } = place;
        let now = ledger.now;
        order.takes.retain(|waiting| waiting.node != node);
        let replaced = Self::make_room(ledger, id, &mut order)?;
        order.live.try_push(Live { node, provider: provider.clone() }).map_err(|_| Error::<T>::NoPlace)?;
        // A node that owes an answer since it held something else is not heard by holding something new.
        let collateral = &mut account.collateral;
        let heard = || collateral.withheld.map_or_else(Self::heard_now, |withheld| withheld.heard);
        let mut holding = account.holding.unwrap_or_else(|| Holding { heard: heard(), ..Holding::default() });
        let billed = ledger.parameters.billed(order.size);
        let position = Self::list(node, &mut holding, id, billed);
        holding.add(order.size, billed);
        T::Nodes::replica_begun(node, billed);
        collateral.reserved = collateral.reserved.saturating_add(reserved);
        let replica =
            Replica { provider, since: now, earned: holding.earned, paid: 0, paid_before: 0, reserved, position };
        Replicas::<T>::insert(node, id, replica);
        Copies::<T>::insert(order.cid, node, id);
        account.holding = Some(holding);
        Self::keep_account(node, account);
        if !order.wants_replicas() {
            OpenOrders::<T>::remove(id);
        }
        if order.cancelled && !order.has_open_take(now) {
            // Nobody is waited for any more: the next block ends it.
            let due = order.end.min(ledger.slot);
            Self::enqueue(id, &mut order, due);
        }
        Orders::<T>::insert(id, order);
        Self::deposit_event(Event::ReplicaSealed { order: id, node });
        Ok(replaced)
    }

    /// Makes room for one more live replica of an order: where all places are live, the first that was offered gives way.
    /// Says whether it did.
    fn make_room(ledger: &mut Ledger<T>, id: OrderId, order: &mut Order) -> Result<bool, DispatchError> {
        let live: u32 = order.live.len().saturated_into();
        if live.saturating_add(order.just_lost(ledger.slot)) < order.replicas {
            return Ok(false);
        }
        let (leaving, _) = *order.offered.first().ok_or(Error::<T>::NoPlace)?;
        let replica = Replicas::<T>::get(leaving, id).ok_or(Error::<T>::NoPlace)?;
        let mut standing = Self::standing(leaving).ok_or(Error::<T>::NoPlace)?;
        Self::lose(ledger, id, order, &mut standing, replica, Loss::Replaced);
        Self::keep(standing);
        Ok(true)
    }
}

/// Whether the cap of a node's platform leaves room for what an order is billed.
fn has_room<T: Config>(parameters: &Parameters, node: NodeId, order: &Order) -> bool {
    parameters.billed(order.size) <= T::Nodes::platform_room(node)
}
