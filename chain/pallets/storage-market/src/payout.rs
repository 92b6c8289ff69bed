//! Pay: what a replica has earned, and who gets it.
//!
//! Owns what nodes hold and earned ([`Holding`]) and the shares that wait to be moved. A node's report adds one byte,
//! `good_files`, to its `earned`, in O(1) whatever it holds; a replica remembers `earned` at its receipt or renewal, so
//! what it has earned is a difference. Reports that came after a term are taken off again by the last [`RING`] slots'
//! bytes; and a replica never has more reports than slots.
//!
//! **How often one claims never matters.** All that a replica's parties get is a function of its sum in the term:
//! `pot = floor(15 %)`, `treasury = floor(5 %)`, the provider the rest. A claim pays the growth of each. Where both
//! floors rise with one planck, the provider's sum would shrink by one: a claim leaves that planck for later, the end of
//! the term pays exactly.

use codec::{Decode, Encode, MaxEncodedLen};
use crust_protocol::{Balance, NodeId, Slot, order::OrderId, parameters::Parameters};
use frame_support::{
    dispatch::DispatchResult,
    ensure,
    traits::{
        Get,
        fungible::{Inspect, Mutate},
        tokens::Preservation,
    },
};
use scale_info::TypeInfo;
use sp_arithmetic::{Rounding, helpers_128bit::multiply_by_rational_with_rounding};
use sp_runtime::{AccountId32, traits::AccountIdConversion};

use crate::{
    Config, Counts, Error, Event, HoldReason, Ledger, NodeAccounts, Order, Orders, Pallet, RING, Replica, Replicas,
    UnmovedShares,
};

/// A report that vouches for everything.
const FULL: u64 = 255;

/// What a node with live replicas holds and has earned.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct Holding {
    /// Live replicas.
    pub replicas: u32,
    /// Sum of their sizes.
    pub bytes: u64,
    /// Sum of the bytes that they are billed.
    pub billed: u64,
    /// Sum of `good_files` over all reports since the first of these replicas.
    pub earned: u64,
    /// Slot of the last report; 0 if there is none.
    pub last: Slot,
    /// `good_files` of the last [`RING`] slots up to `last`, at slot modulo [`RING`].
    pub good: [u8; RING as usize],
    /// Its silence is the number of counted slots since this one.
    pub heard: u32,
    /// Live replicas by size class.
    pub counts: Counts,
}

impl Default for Holding {
    fn default() -> Self {
        Holding {
            replicas: 0,
            bytes: 0,
            billed: 0,
            earned: 0,
            last: 0,
            good: [0; RING as usize],
            heard: 0,
            counts: Counts::default(),
        }
    }
}

impl Holding {
    /// Notes the report of a slot. A second one of the same slot, or an earlier one, changes nothing.
    pub fn report(&mut self, slot: Slot, good_files: u8) {
        if slot <= self.last {
            return;
        }
        let missed = self.last.saturating_add(1).max(slot.saturating_sub(RING));
        for slot in missed..slot {
            self.set(slot, 0);
        }
        self.set(slot, good_files);
        self.last = slot;
        self.earned = self.earned.saturating_add(good_files.into());
    }

    /// `earned` without the reports of this slot and later ones, as far back as the ring goes.
    pub fn earned_before(&self, slot: Slot) -> u64 {
        let oldest = self.last.saturating_sub(RING.saturating_sub(1));
        let later: u64 = (slot.max(oldest)..=self.last).map(|slot| u64::from(self.get(slot))).sum();
        self.earned.saturating_sub(later)
    }

    /// Slot and `good_files` of the last report.
    pub fn last_report(&self) -> Option<(Slot, u8)> {
        (self.last > 0).then(|| (self.last, self.get(self.last)))
    }

    pub(crate) fn add(&mut self, size: u64, billed: u64) {
        self.replicas = self.replicas.saturating_add(1);
        self.bytes = self.bytes.saturating_add(size);
        self.billed = self.billed.saturating_add(billed);
    }

    /// Whether a replica is left.
    pub(crate) fn remove(&mut self, size: u64, billed: u64) -> bool {
        self.replicas = self.replicas.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(size);
        self.billed = self.billed.saturating_sub(billed);
        self.replicas > 0
    }

    fn get(&self, slot: Slot) -> u8 {
        self.good.get(place(slot)).copied().unwrap_or_default()
    }

    fn set(&mut self, slot: Slot, good: u8) {
        if let Some(entry) = self.good.get_mut(place(slot)) {
            *entry = good;
        }
    }
}

/// Shares counted and not yet moved.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct Shares {
    pub pot: Balance,
    pub treasury: Balance,
}

impl Shares {
    pub fn total(&self) -> Balance {
        self.pot.saturating_add(self.treasury)
    }
}

/// A payment, by party.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Parts {
    pub provider: Balance,
    pub shares: Shares,
}

impl Parts {
    /// How a sum is shared.
    pub fn of(parameters: &Parameters, sum: Balance) -> Self {
        let pot = percent(sum, parameters.pot_share).min(sum);
        let rest = sum.saturating_sub(pot);
        let treasury = percent(sum, parameters.treasury_share).min(rest);
        Parts { provider: rest.saturating_sub(treasury), shares: Shares { pot, treasury } }
    }

    /// What each party gets when a sum of which `paid` is paid has grown to `sum`: always the whole growth.
    pub fn growth(parameters: &Parameters, paid: Balance, sum: Balance) -> Self {
        let (before, after) = (Self::of(parameters, paid), Self::of(parameters, sum));
        let total = sum.saturating_sub(paid);
        let pot = after.shares.pot.saturating_sub(before.shares.pot).min(total);
        let rest = total.saturating_sub(pot);
        let provider = after.provider.saturating_sub(before.provider).min(rest);
        Parts { provider, shares: Shares { pot, treasury: rest.saturating_sub(provider) } }
    }

    /// The most of a sum that may be paid while it still grows: without the planck that the provider would have to
    /// give back with the next.
    pub fn claimable(parameters: &Parameters, sum: Balance) -> Balance {
        let shrinks = Self::of(parameters, sum.saturating_add(1)).provider < Self::of(parameters, sum).provider;
        if shrinks { sum.saturating_sub(1) } else { sum }
    }

    pub fn total(&self) -> Balance {
        self.provider.saturating_add(self.shares.total())
    }
}

impl<T: Config> Pallet<T> {
    /// A node's report of a slot was accepted. Says what it holds, the sum of the sizes of its live replicas, and what
    /// idle space its collateral covers, both in bytes.
    pub fn reported(parameters: &Parameters, node: NodeId, slot: Slot, good_files: u8) -> (u64, u64) {
        // Whoever reports is not out: what is withheld stays.
        let mut account = NodeAccounts::<T>::get(node);
        let covered = account.collateral.covers(parameters, slot);
        let Some(holding) = &mut account.holding else { return (0, covered) };
        holding.report(slot, good_files);
        holding.heard = Self::heard_now();
        let held = holding.bytes;
        Self::keep_account(node, account);
        (held, covered)
    }

    /// What a claim would pay a replica's provider now.
    pub fn claimable(id: OrderId, node: NodeId) -> Balance {
        Self::claim_of(id, node)
            .map_or(0, |(_, replica, sum)| Parts::growth(&T::Parameters::get(), replica.paid, sum).provider)
    }

    pub(crate) fn do_claim(id: OrderId, node: NodeId) -> DispatchResult {
        ensure!(Orders::<T>::contains_key(id), Error::<T>::UnknownOrder);
        let (mut order, mut replica, sum) = Self::claim_of(id, node).ok_or(Error::<T>::NoReplica)?;
        ensure!(sum > replica.paid, Error::<T>::NothingEarned);
        let mut ledger = Ledger::open();
        Self::pay(&mut ledger, id, &mut order, node, &mut replica, sum)?;
        ledger.close();
        Replicas::<T>::insert(node, id, replica);
        Orders::<T>::insert(id, order);
        Ok(())
    }

    /// Pays a replica what it earned in the running term by reports of slots before `until`, for the last time in it.
    pub(crate) fn settle(
        ledger: &mut Ledger<T>,
        id: OrderId,
        order: &mut Order,
        node: NodeId,
        replica: &mut Replica,
        holding: &Holding,
        until: Slot,
    ) {
        let sum = earned(&ledger.parameters, order, replica, holding, until);
        Self::pay_at_end(ledger, id, order, node, replica, sum);
    }

    /// Pays a replica of a cancelled order up to the pay of `MIN_SLOTS` over its life, as far as the balance goes.
    pub(crate) fn top_up(ledger: &mut Ledger<T>, id: OrderId, order: &mut Order, node: NodeId, replica: &mut Replica) {
        let least = order.rate.saturating_mul(ledger.parameters.min_slots.into());
        let sum = least.saturating_sub(replica.paid_before);
        Self::pay_at_end(ledger, id, order, node, replica, sum);
    }

    /// Moves the counted shares to pot and treasury. A share that its account cannot receive waits.
    pub(crate) fn move_shares() {
        let mut shares = UnmovedShares::<T>::get();
        if shares.total() == 0 {
            return;
        }
        for (account, share) in [(T::Pot::get(), &mut shares.pot), (T::Treasury::get(), &mut shares.treasury)] {
            if T::Currency::transfer(&Self::account(), &account, *share, Preservation::Preserve).is_ok() {
                *share = 0;
            }
        }
        if shares.total() == 0 {
            UnmovedShares::<T>::kill();
        } else {
            UnmovedShares::<T>::put(shares);
        }
    }

    /// The market's own account, where counted shares wait.
    pub fn account() -> AccountId32 {
        T::PalletId::get().into_account_truncating()
    }

    /// Makes sure that the market's account and the pot exist, out of the treasury: what is below the existential
    /// deposit could not be paid to them.
    pub(crate) fn open_accounts() {
        let least = T::Currency::minimum_balance();
        for account in [Self::account(), T::Pot::get()] {
            if T::Currency::balance(&account) < least {
                let opened = T::Currency::transfer(&T::Treasury::get(), &account, least, Preservation::Preserve);
                if let Err(error) = opened {
                    log::warn!(target: "storage-market", "the treasury cannot open {account:?}: {error:?}");
                }
            }
        }
    }

    /// Order, replica and the sum up to which a claim pays now.
    fn claim_of(id: OrderId, node: NodeId) -> Option<(Order, Replica, Balance)> {
        let replica = Replicas::<T>::get(node, id)?;
        let order = Orders::<T>::get(id)?;
        let holding = Self::holding(node)?;
        let parameters = T::Parameters::get();
        let slot = parameters.slot_of(Self::now());
        // Whoever may be replaced in this slot is not paid for it.
        let until = if order.is_offered(node, slot) { slot } else { slot.saturating_add(1) }.min(order.end);
        let sum = earned(&parameters, &order, &replica, &holding, until);
        Some((order, replica, Parts::claimable(&parameters, sum)))
    }

    /// [`Self::pay`] where nobody could repeat it: what a party's account cannot receive stays with the client.
    fn pay_at_end(
        ledger: &mut Ledger<T>,
        id: OrderId,
        order: &mut Order,
        node: NodeId,
        replica: &mut Replica,
        sum: Balance,
    ) {
        if let Err(error) = Self::pay(ledger, id, order, node, replica, sum) {
            log::warn!(target: "storage-market", "node {node} was not paid in full at the end: {error:?}");
        }
    }

    /// Pays all parties the growth of a replica's sum, out of the order's balance. After an error some may have been
    /// paid, and the records say so.
    fn pay(
        ledger: &mut Ledger<T>,
        id: OrderId,
        order: &mut Order,
        node: NodeId,
        replica: &mut Replica,
        sum: Balance,
    ) -> DispatchResult {
        let sum = sum.min(replica.paid.saturating_add(order.balance));
        if sum <= replica.paid {
            return Ok(());
        }
        let parts = Parts::growth(&ledger.parameters, replica.paid, sum);
        replica.paid = sum;
        let to_provider = pay_out(ledger, order, &replica.provider, parts.provider);
        let to_shares = pay_out(ledger, order, &Self::account(), parts.shares.total());
        if to_shares.is_ok() {
            ledger.count(parts.shares);
        }
        to_provider?;
        to_shares?;
        Self::deposit_event(Event::Claimed {
            order: id,
            node,
            provider_part: parts.provider,
            pot_part: parts.shares.pot,
            treasury_part: parts.shares.treasury,
        });
        Ok(())
    }
}

/// `floor(rate × Δearned / 255)` over the reports of the running term in slots before `until`.
fn earned(parameters: &Parameters, order: &Order, replica: &Replica, holding: &Holding, until: Slot) -> Balance {
    let from = order.start.max(parameters.slot_of(replica.since));
    let most = FULL.saturating_mul(until.saturating_sub(from).into());
    let earned = holding.earned_before(until).saturating_sub(replica.earned).min(most);
    multiply_by_rational_with_rounding(order.rate, earned.into(), FULL.into(), Rounding::Down).unwrap_or(Balance::MAX)
}

/// Moves money from an order's hold to an account, whatever else freezes the client's balance: what is on hold here was
/// promised first.
fn pay_out<T: Config>(
    ledger: &mut Ledger<T>,
    order: &mut Order,
    account: &AccountId32,
    amount: Balance,
) -> DispatchResult {
    if amount == 0 {
        return Ok(());
    }
    ledger.transfer(HoldReason::Order, &order.client, account, amount)?;
    order.balance = order.balance.saturating_sub(amount);
    order.spent = order.spent.saturating_add(amount);
    Ok(())
}

fn place(slot: Slot) -> usize {
    // Less than RING; RING is not zero.
    usize::try_from(slot.checked_rem(RING).unwrap_or_default()).unwrap_or_default()
}

fn percent(sum: Balance, share: u8) -> Balance {
    multiply_by_rational_with_rounding(sum, share.into(), 100, Rounding::Down).unwrap_or(sum)
}
