//! What moves between accounts in one step: a call, a statement, an order that the hook settles, a page of replicas.
//!
//! The end of a replica pays up to five parties out of two holds, and of a statement's many orders most parties are the
//! same. A [`Ledger`] reads each of their balances as it is first needed and writes it once, when the step is over; so
//! it does with the counted [`Shares`]. The events tell of every single move. Money only changes places in it: what one
//! account gives another one gets. While it is open, nothing else moves the money of those who are in it.
//!
//! It also keeps what a step asks for again and again: the chain's parameters, the block and the slot.

use alloc::collections::BTreeMap;
use core::marker::PhantomData;

use crust_protocol::{Balance, BlockNumber, Slot, parameters::Parameters};
use frame_support::{
    ensure,
    traits::{
        Get,
        fungible::{Inspect, InspectHold, MutateHold, Unbalanced, UnbalancedHold},
    },
};
use sp_runtime::{AccountId32, ArithmeticError, DispatchError, DispatchResult, TokenError};

use crate::{Config, HoldReason, Pallet, Shares, UnmovedShares};

/// The moves of a step.
pub(crate) struct Ledger<T> {
    pub parameters: Parameters,
    pub now: BlockNumber,
    pub slot: Slot,
    accounts: BTreeMap<AccountId32, Account>,
    shares: Shares,
    of: PhantomData<T>,
}

/// Of an account what the step has needed so far.
#[derive(Default)]
struct Account {
    free: Option<Sum>,
    orders: Option<Sum>,
    collateral: Option<Sum>,
}

/// As it is stored, and as it will be.
#[derive(Clone, Copy)]
struct Sum {
    was: Balance,
    is: Balance,
}

impl Sum {
    fn of(balance: Balance) -> Self {
        Sum { was: balance, is: balance }
    }
}

impl<T: Config> Ledger<T> {
    pub fn open() -> Self {
        let parameters = T::Parameters::get();
        let now = Pallet::<T>::now();
        let slot = parameters.slot_of(now);
        Ledger { parameters, now, slot, accounts: BTreeMap::new(), shares: Shares::default(), of: PhantomData }
    }

    /// Moves money that is on hold to whoever may do with it what he likes. Fails if it is not there, or if his balance
    /// would be less than an account may have; then nothing moves.
    pub fn transfer(
        &mut self,
        reason: HoldReason,
        from: &AccountId32,
        to: &AccountId32,
        amount: Balance,
    ) -> DispatchResult {
        let held = self.held(reason, from).checked_sub(amount).ok_or(TokenError::FundsUnavailable)?;
        let free = self.after_deposit(to, amount)?;
        self.set_held(reason, from, held);
        self.set_free(to, free);
        T::Currency::done_transfer_on_hold(&reason.into(), from, to, amount);
        Ok(())
    }

    /// Puts on hold what is free. The account keeps what it must have.
    pub fn hold(&mut self, reason: HoldReason, who: &AccountId32, amount: Balance) -> DispatchResult {
        let free = self.free(who).checked_sub(amount).ok_or(TokenError::FundsUnavailable)?;
        ensure!(free >= T::Currency::minimum_balance(), TokenError::FundsUnavailable);
        let held = self.held(reason, who).checked_add(amount).ok_or(ArithmeticError::Overflow)?;
        self.set_free(who, free);
        self.set_held(reason, who, held);
        T::Currency::done_hold(&reason.into(), who, amount);
        Ok(())
    }

    /// Frees what is on hold, as much of it as there is. Says how much.
    pub fn release(
        &mut self,
        reason: HoldReason,
        who: &AccountId32,
        amount: Balance,
    ) -> Result<Balance, DispatchError> {
        let held = self.held(reason, who);
        let amount = amount.min(held);
        let free = if amount > 0 { self.after_deposit(who, amount)? } else { self.free(who) };
        self.set_held(reason, who, held.saturating_sub(amount));
        self.set_free(who, free);
        T::Currency::done_release(&reason.into(), who, amount);
        Ok(amount)
    }

    /// Counts shares that the market's own account has received.
    pub fn count(&mut self, shares: Shares) {
        self.shares.pot = self.shares.pot.saturating_add(shares.pot);
        self.shares.treasury = self.shares.treasury.saturating_add(shares.treasury);
    }

    /// Writes all that has changed.
    pub fn close(self) {
        for (who, account) in &self.accounts {
            if let Err(error) = Self::write(who, account) {
                log::error!(target: "storage-market", "the money of {who:?} does not move: {error:?}");
            }
        }
        if self.shares.total() > 0 {
            UnmovedShares::<T>::mutate(|shares| {
                shares.pot = shares.pot.saturating_add(self.shares.pot);
                shares.treasury = shares.treasury.saturating_add(self.shares.treasury);
            });
        }
    }

    /// What becomes free comes first: whoever has nothing else would be forgotten with his hold.
    fn write(who: &AccountId32, account: &Account) -> DispatchResult {
        let changed = |sum: &Option<Sum>| sum.filter(|sum| sum.is != sum.was).map(|sum| sum.is);
        if let Some(free) = changed(&account.free)
            && let Some(dust) = T::Currency::write_balance(who, free)?
        {
            T::Currency::handle_raw_dust(dust);
        }
        for (reason, sum) in [(HoldReason::Order, &account.orders), (HoldReason::Collateral, &account.collateral)] {
            if let Some(held) = changed(sum) {
                T::Currency::set_balance_on_hold(&reason.into(), who, held)?;
            }
        }
        Ok(())
    }

    /// An account's free balance once it has received this.
    fn after_deposit(&mut self, who: &AccountId32, amount: Balance) -> Result<Balance, DispatchError> {
        let free = self.free(who).checked_add(amount).ok_or(ArithmeticError::Overflow)?;
        ensure!(free >= T::Currency::minimum_balance(), TokenError::CannotCreate);
        Ok(free)
    }

    fn free(&mut self, who: &AccountId32) -> Balance {
        let account = self.account(who);
        account.free.get_or_insert_with(|| Sum::of(T::Currency::balance(who))).is
    }

    fn set_free(&mut self, who: &AccountId32, balance: Balance) {
        if let Some(sum) = &mut self.account(who).free {
            sum.is = balance;
        }
    }

    fn held(&mut self, reason: HoldReason, who: &AccountId32) -> Balance {
        let stored = || Sum::of(T::Currency::balance_on_hold(&reason.into(), who));
        self.on_hold(reason, who).get_or_insert_with(stored).is
    }

    fn set_held(&mut self, reason: HoldReason, who: &AccountId32, balance: Balance) {
        if let Some(sum) = self.on_hold(reason, who) {
            sum.is = balance;
        }
    }

    fn on_hold(&mut self, reason: HoldReason, who: &AccountId32) -> &mut Option<Sum> {
        let account = self.account(who);
        match reason {
            HoldReason::Order => &mut account.orders,
            HoldReason::Collateral => &mut account.collateral,
        }
    }

    fn account(&mut self, who: &AccountId32) -> &mut Account {
        self.accounts.entry(who.clone()).or_default()
    }
}
