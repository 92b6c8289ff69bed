//! What a term costs. One price per TiB, slot and replica for everybody; a later version moves it each slot.
//!
//! Owns no storage: the price is one of the chain's parameters. [`crate::orders`] asks when an order is placed or
//! renewed, the runtime API for `quote`; both get the same numbers, so a quote is exact to the planck.

use crust_protocol::{Balance, parameters::Parameters};
use frame_support::traits::Get;

use crate::{
    Config, Error, MAX_REPLICAS, Pallet,
    runtime_api::{Quote, QuoteError},
};

impl<T: Config> Pallet<T> {
    /// What an order costs, if it may be placed.
    pub fn quote(size: u64, replicas: u32, term: u32) -> Result<Quote, QuoteError> {
        quote(&T::Parameters::get(), size, replicas, term)
    }
}

/// What a term of an order costs in all; `None` if no balance covers it.
pub(crate) fn cost(rate: Balance, replicas: u32, term: u32) -> Option<Balance> {
    rate.checked_mul(replicas.into())?.checked_mul(term.into())
}

fn quote(parameters: &Parameters, size: u64, replicas: u32, term: u32) -> Result<Quote, QuoteError> {
    if size > parameters.max_size {
        return Err(QuoteError::SizeTooLarge { largest: parameters.max_size });
    }
    if replicas == 0 {
        return Err(QuoteError::NoReplicas);
    }
    let most = parameters.max_replicas.min(MAX_REPLICAS);
    if replicas > most {
        return Err(QuoteError::TooManyReplicas { most });
    }
    let shortest = parameters.shortest_term(size);
    if term < shortest {
        return Err(QuoteError::TermTooShort { shortest });
    }
    if term > parameters.max_term {
        return Err(QuoteError::TermTooLong { longest: parameters.max_term });
    }
    let rate = parameters.rate(size);
    let deposit = parameters.order_deposit;
    // For each wanted replica the pay of the slots that a take may hold.
    let placing_fee = cost(rate, replicas, parameters.take_window_slots(size)).ok_or(QuoteError::TooDear)?;
    let balance = cost(rate, replicas, term).ok_or(QuoteError::TooDear)?;
    let total = balance.checked_add(placing_fee).and_then(|sum| sum.checked_add(deposit)).ok_or(QuoteError::TooDear)?;
    Ok(Quote { rate, balance, placing_fee, deposit, total })
}

impl<T> From<QuoteError> for Error<T> {
    fn from(error: QuoteError) -> Self {
        match error {
            QuoteError::SizeTooLarge { .. } => Error::SizeTooLarge,
            QuoteError::NoReplicas => Error::NoReplicas,
            QuoteError::TooManyReplicas { .. } => Error::TooManyReplicas,
            QuoteError::TermTooShort { .. } => Error::TermTooShort,
            QuoteError::TermTooLong { .. } => Error::TermTooLong,
            QuoteError::TooDear => Error::NotEnoughMoney,
        }
    }
}
