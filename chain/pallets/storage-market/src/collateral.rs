//! Collateral: what a provider puts on hold for each of its nodes, and who gets it when a replica is lost.
//!
//! Owns the [`Collateral`] of the nodes' records. Of what is deposited for a node part is *reserved*: for each live
//! replica, from its receipt to its end, the pay of [`COLLATERAL_SLOTS`]; part is held by open *takes*, for which as much
//! must be free; the rest is *free*. Only what is free can be withdrawn, and only it buys places.
//!
//! A take holds collateral as long as it holds its place for certain, by the slot: the record keeps one sum for each
//! slot with which takes lapse, so what has lapsed needs nobody's step to be free again.
//!
//! A replica that ends in order gives all back, one that is lost what the loss does not cost; while a draw of its node is
//! due, whichever replica that is of, when the draw is settled. A loss costs in this order: what its order lacks to buy
//! the place at today's price, what the client paid for the replica, and what is left of it goes to the treasury. More
//! can be reserved than is deposited, after a failed draw; then nothing is free.
//!
//! What covers idle space has been there since before the slot: otherwise one sum, moved from node to node as each
//! reports, would cover them all.
//!
//! [`COLLATERAL_SLOTS`]: crust_protocol::parameters::Parameters::collateral_slots

use codec::{Decode, Encode, MaxEncodedLen};
use crust_protocol::{
    Balance, NodeId, Slot,
    order::OrderId,
    parameters::{Parameters, TIB},
};
use frame_support::{
    BoundedVec,
    dispatch::DispatchResult,
    ensure,
    traits::{
        Get,
        fungible::{Inspect, MutateHold},
        tokens::{Fortitude, Precision, Preservation},
    },
};
use scale_info::TypeInfo;
use sp_arithmetic::{Rounding, helpers_128bit::multiply_by_rational_with_rounding};
use sp_runtime::{AccountId32, SaturatedConversion};

use crate::{
    Config, Error, Event, HoldReason, Ledger, MaxTakeSlots, Nodes, Order, Pallet, Replica, Shares, Standing, Take,
    runtime_api::CollateralInfo,
};

/// The share of what is reserved that a failed draw costs: one in so many.
const FAILED_DRAW: Balance = 7;

/// What a provider has put on hold for a node, and what for.
#[derive(Clone, PartialEq, Eq, Debug, Default, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct Collateral {
    /// On hold in the provider's account.
    pub deposited: Balance,
    /// A slot, and what was deposited in it.
    pub fresh: (Slot, Balance),
    /// For live replicas, and what is withheld.
    pub reserved: Balance,
    /// Held by takes, by the slot from which on they hold it no more.
    pub taken: BoundedVec<(Slot, Balance), MaxTakeSlots>,
    /// Reserved still, although its replicas have ended; there only while a draw is due.
    pub withheld: Option<Withheld>,
    /// The live replica of this order was drawn and the draw failed: its loss is found, not admitted.
    pub failed: Option<OrderId>,
}

/// What waits for the outcome of a node's due draw: replicas that ended while it was due.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct Withheld {
    /// Of the replica that was drawn.
    pub drawn: Balance,
    /// Of others.
    pub others: Balance,
    /// The node's silence counts from here, as it did while it held the first of them.
    pub heard: u32,
}

impl Withheld {
    pub fn total(&self) -> Balance {
        self.drawn.saturating_add(self.others)
    }
}

impl Collateral {
    /// What takes hold in this slot.
    pub fn taken(&self, slot: Slot) -> Balance {
        let holding = self.taken.iter().filter(|(until, _)| *until > slot);
        holding.fold(0, |sum: Balance, (_, amount)| sum.saturating_add(*amount))
    }

    /// What neither replicas nor takes need.
    pub fn free(&self, slot: Slot) -> Balance {
        self.deposited.saturating_sub(self.reserved).saturating_sub(self.taken(slot))
    }

    /// Holds something for a take up to this slot. Fails if takes lapse with too many different slots.
    fn hold(&mut self, amount: Balance, until: Slot, now: Slot) -> Result<(), ()> {
        self.taken.retain(|(until, _)| *until > now);
        if amount == 0 {
            return Ok(());
        }
        match self.taken.iter_mut().find(|(slot, _)| *slot == until) {
            Some((_, sum)) => *sum = sum.saturating_add(amount),
            None => self.taken.try_push((until, amount)).map_err(|_| ())?,
        }
        Ok(())
    }

    /// What is withheld is free.
    pub(crate) fn let_withheld_go(&mut self) {
        let withheld = self.withheld.take().map_or(0, |withheld| withheld.total());
        self.reserved = self.reserved.saturating_sub(withheld);
    }

    /// Bytes of idle space that it covers in this slot: all, if the chain asks for no collateral.
    pub(crate) fn covers(&self, parameters: &Parameters, slot: Slot) -> u64 {
        let price = parameters.idle_collateral;
        if price == 0 || parameters.collateral_slots == 0 {
            return u64::MAX;
        }
        let fresh = if self.fresh.0 == slot { self.fresh.1 } else { 0 };
        let unreserved = self.deposited.saturating_sub(fresh).saturating_sub(self.reserved);
        multiply_by_rational_with_rounding(unreserved, TIB.into(), price, Rounding::Down)
            .unwrap_or(Balance::MAX)
            .saturated_into()
    }

    /// A take holds nothing any more.
    pub(crate) fn end_take(&mut self, parameters: &Parameters, take: &Take) {
        let until = holds_until(parameters, take);
        if let Some((_, sum)) = self.taken.iter_mut().find(|(slot, _)| *slot == until) {
            *sum = sum.saturating_sub(take.collateral);
        }
        self.taken.retain(|(_, sum)| *sum > 0);
    }
}

impl<T: Config> Pallet<T> {
    pub(crate) fn do_deposit_collateral(provider: AccountId32, node: NodeId, amount: Balance) -> DispatchResult {
        ensure!(amount > 0, Error::<T>::NoAmount);
        ensure!(T::Nodes::provider(node).as_ref() == Some(&provider), Error::<T>::NotProvider);
        let free = T::Currency::reducible_balance(&provider, Preservation::Preserve, Fortitude::Polite);
        ensure!(amount <= free, Error::<T>::NotEnoughMoney);
        T::Currency::hold(&Self::collateral_reason(), &provider, amount)?;
        let mut account = Self::account_of(node);
        let collateral = &mut account.collateral;
        collateral.deposited = collateral.deposited.saturating_add(amount);
        collateral.fresh = (Self::slot(), collateral.fresh.1.saturating_add(amount));
        let deposited = collateral.deposited;
        Self::keep_account(node, account);
        Self::deposit_event(Event::CollateralDeposited { node, amount, deposited });
        Ok(())
    }

    pub(crate) fn do_withdraw_collateral(provider: AccountId32, node: NodeId, amount: Balance) -> DispatchResult {
        ensure!(amount > 0, Error::<T>::NoAmount);
        ensure!(T::Nodes::provider(node).as_ref() == Some(&provider), Error::<T>::NotProvider);
        let mut account = Self::account_of(node);
        let collateral = &mut account.collateral;
        ensure!(amount <= collateral.free(Self::slot()), Error::<T>::CollateralInUse);
        T::Currency::release(&Self::collateral_reason(), &provider, amount, Precision::Exact)?;
        collateral.deposited = collateral.deposited.saturating_sub(amount);
        collateral.fresh.1 = collateral.fresh.1.saturating_sub(amount);
        let deposited = collateral.deposited;
        Self::keep_account(node, account);
        Self::deposit_event(Event::CollateralWithdrawn { node, amount, deposited });
        Ok(())
    }

    /// A node has answered its due draw: what was withheld is free.
    pub fn draw_answered(node: NodeId) {
        let mut account = Self::account_of(node);
        if account.collateral.withheld.is_some() {
            account.collateral.let_withheld_go();
            Self::keep_account(node, account);
        }
    }

    /// A node failed its due draw, which is still due. That costs a seventh of all that is reserved, what is withheld
    /// included and out of what is free first, and all that is withheld for the replica that was drawn; the rest of what
    /// is withheld is free. Should the replica be live, its loss will be a found one. One that is out may not even answer:
    /// it pays nothing.
    pub fn draw_failed(node: NodeId) {
        let Some(provider) = T::Nodes::provider(node) else { return };
        let mut account = Self::account_of(node);
        let collateral = &mut account.collateral;
        let (drawn, reserved) = (collateral.withheld.map_or(0, |withheld| withheld.drawn), collateral.reserved);
        collateral.let_withheld_go();
        if !T::Nodes::is_out(node) {
            let seventh = reserved.checked_div(FAILED_DRAW).unwrap_or_default();
            let due = drawn.saturating_add(seventh).min(collateral.deposited);
            let mut ledger = Ledger::<T>::open();
            let amount = Self::forfeit_to_treasury(&mut ledger, &provider, due);
            ledger.close();
            collateral.deposited = collateral.deposited.saturating_sub(amount);
            collateral.failed = T::Nodes::due(node).filter(|order| Self::would_end(node, order));
            Self::deposit_event(Event::DrawFailed { node, amount });
        }
        Self::keep_account(node, account);
    }

    /// What the world may know of a node's collateral.
    pub fn collateral(node: NodeId) -> CollateralInfo {
        let slot = Self::slot();
        let collateral = Self::account_in(node, slot).collateral;
        let (taken, free) = (collateral.taken(slot), collateral.free(slot));
        let Collateral { deposited, reserved, .. } = collateral;
        CollateralInfo { deposited, reserved, taken, free }
    }

    /// Holds what a take needs, if it is free.
    pub(crate) fn hold_for(take: &Take) -> Result<(), Error<T>> {
        let now = Self::slot();
        let mut account = Self::account_in(take.node, now);
        ensure!(take.collateral <= account.collateral.free(now), Error::<T>::NotEnoughCollateral);
        account
            .collateral
            .hold(take.collateral, holds_until(&T::Parameters::get(), take), now)
            .map_err(|()| Error::<T>::TooManyTakes)?;
        Self::keep_account(take.node, account);
        Ok(())
    }

    /// A take ends: what it holds is free again.
    pub(crate) fn free_from(take: &Take) {
        if take.collateral > 0 {
            let mut account = Self::account_of(take.node);
            account.collateral.end_take(&T::Parameters::get(), take);
            Self::keep_account(take.node, account);
        }
    }

    /// A replica ended: what is still reserved for it is free. While a draw of its node is due, it is withheld, however
    /// the replica ended: otherwise whoever cannot answer would let its orders end, have others take them over or name
    /// them gone, before it fails.
    pub(crate) fn unreserve(standing: &mut Standing, order: OrderId, amount: Balance) {
        let Standing { collateral, holding, .. } = standing;
        match standing.waits_for.filter(|_| amount > 0) {
            Some(due) => {
                let mut withheld =
                    collateral.withheld.unwrap_or(Withheld { drawn: 0, others: 0, heard: holding.heard });
                let sum = if due == order { &mut withheld.drawn } else { &mut withheld.others };
                *sum = sum.saturating_add(amount);
                collateral.withheld = Some(withheld);
            }
            None => collateral.reserved = collateral.reserved.saturating_sub(amount),
        }
        collateral.failed = collateral.failed.filter(|failed| *failed != order);
    }

    /// The end of a replica costs so much of what is reserved for it. `difference` is what its order lacks. Says how
    /// much was taken.
    pub(crate) fn slash(
        ledger: &mut Ledger<T>,
        id: OrderId,
        order: &mut Order,
        standing: &mut Standing,
        replica: &Replica,
        cost: Balance,
        difference: Balance,
    ) -> Balance {
        let Standing { node, collateral, .. } = standing;
        let cost = cost.min(replica.reserved).min(collateral.deposited);
        let paid = replica.paid_before.saturating_add(replica.paid);
        let (to_order, to_client) = (cost.min(difference), cost.saturating_sub(difference).min(paid));
        let both = Self::forfeit(ledger, &replica.provider, &order.client, to_order.saturating_add(to_client));
        let (to_order, to_client) = if both > 0 { (to_order, to_client) } else { (0, 0) };
        if to_order > 0 && ledger.hold(HoldReason::Order, &order.client, to_order).is_ok() {
            order.balance = order.balance.saturating_add(to_order);
        }
        let to_treasury = Self::forfeit_to_treasury(ledger, &replica.provider, cost.saturating_sub(both));
        let taken = both.saturating_add(to_treasury);
        if taken > 0 {
            collateral.deposited = collateral.deposited.saturating_sub(taken);
            collateral.reserved = collateral.reserved.saturating_sub(taken);
            Self::deposit_event(Event::Slashed { order: id, node: *node, to_order, to_client, to_treasury });
        }
        taken
    }

    pub(crate) fn collateral_reason() -> T::RuntimeHoldReason {
        HoldReason::Collateral.into()
    }

    /// Moves collateral to the market's own account, as a share of the treasury. Says how much.
    fn forfeit_to_treasury(ledger: &mut Ledger<T>, provider: &AccountId32, amount: Balance) -> Balance {
        let treasury = Self::forfeit(ledger, provider, &Self::account(), amount);
        ledger.count(Shares { pot: 0, treasury });
        treasury
    }

    /// Moves collateral to another account. Says how much.
    fn forfeit(ledger: &mut Ledger<T>, provider: &AccountId32, to: &AccountId32, amount: Balance) -> Balance {
        if amount == 0 {
            return 0;
        }
        match ledger.transfer(HoldReason::Collateral, provider, to, amount) {
            Ok(()) => amount,
            Err(error) => {
                log::error!(target: "storage-market", "{amount} of {provider:?} not forfeited to {to:?}: {error:?}");
                0
            }
        }
    }
}

/// What a replica of this order needs: the pay of `COLLATERAL_SLOTS` at the price of its running term.
pub(crate) fn needed(parameters: &Parameters, order: &Order) -> Balance {
    order.rate.saturating_mul(parameters.collateral_slots.into())
}

/// The slot from which on a take holds no collateral: the first that begins when it has lapsed.
pub(crate) fn holds_until(parameters: &Parameters, take: &Take) -> Slot {
    take.until.div_ceil(parameters.slot_blocks.max(1))
}
