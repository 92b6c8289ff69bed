//! Claims the pay of the replicas held, once a day each. (What an order has not paid by its end, the chain pays then.)
//!
//! Trigger: a new slot. Action: `claim` for replicas whose last claim is long enough ago. On a production chain, an
//! amount that is not worth the fee waits.

use std::{sync::Arc, time::Duration};

use crust_client::chain::{self, BlockRef, Call, Event, Finality};
use crust_protocol::{Balance, NodeId, Slot, TOKEN, order::OrderId};
use tokio::sync::watch;

use super::{Error, Next, Worker};
use crate::{
    host::{Host, next_head},
    store::index::State,
};

/// Slots between two claims on a development chain.
const DEVELOPMENT: u32 = 5;
/// What a claim must bring on another.
const WORTH: Balance = TOKEN / 1_000;
/// Orders looked at, at a time.
const LOOK: usize = 64;

pub struct Claim {
    host: Arc<Host>,
    heads: watch::Receiver<Option<BlockRef>>,
    every: u32,
    cursor: Option<OrderId>,
}

impl Claim {
    pub fn new(host: Arc<Host>) -> Self {
        let heads = host.best.subscribe();
        let parameters = host.parameters();
        let slot_millis = parameters.block_millis.saturating_mul(parameters.slot_blocks.into()).max(1);
        let day = u32::try_from(86_400_000 / slot_millis).unwrap_or(u32::MAX).max(1);
        let usual = if host.chain.development() { DEVELOPMENT } else { day };
        let every = host.config.claim_every.unwrap_or(usual);
        Claim { host, heads, every, cursor: None }
    }

    async fn claim(&self, number: NodeId, id: OrderId, slot: Slot) -> Result<(), Error> {
        let host = &self.host;
        let Some(record) = host.store.index.order(&id)? else { return Ok(()) };
        if record.state != State::Held || slot < record.claimed.saturating_add(self.every) {
            return Ok(());
        }
        let view = host.chain.view(Finality::Best).await?;
        let due = view.claimable(id, number).await?;
        let worth = if host.chain.development() { 1 } else { WORTH };
        if due >= worth {
            let included = match host.chain.submit(Call::Claim { order: id, node: number }, &host.wallet).await {
                Ok(included) => included,
                // It may have ended meanwhile; the others' pay does not wait for it.
                Err(error @ (chain::Error::Refused { .. } | chain::Error::Invalid { .. })) => {
                    tracing::warn!(order = hex::encode(id), "its pay is not claimed: {error}");
                    return Ok(());
                }
                Err(error) => return Err(error.into()),
            };
            for event in &included.events {
                if let Event::Claimed { order, provider_part, .. } = event
                    && *order == id
                {
                    tracing::info!(order = hex::encode(id), plancks = %provider_part, "pay claimed");
                    metrics::counter!("crust_claimed_plancks_total")
                        .increment(u64::try_from(*provider_part).unwrap_or(u64::MAX));
                }
            }
        }
        host.store.run(move |index| index.change(&id, |record| record.claimed = slot)).await?;
        Ok(())
    }
}

impl Worker for Claim {
    fn name(&self) -> &'static str {
        "claim"
    }

    async fn work(&mut self) -> Result<Next, Error> {
        if self.every == 0 {
            return Ok(Next::Wait);
        }
        let number = self.host.number()?;
        let slot = self.host.parameters().slot_of(self.host.head()?.number);
        let cursor = self.cursor;
        let held = self.host.store.run(move |index| index.in_state(State::Held, cursor, LOOK)).await?;
        for order in &held {
            self.claim(number, *order, slot).await?;
        }
        self.cursor = held.last().copied().filter(|_| held.len() >= LOOK);
        Ok(if self.cursor.is_some() { Next::Again } else { Next::Wait })
    }

    async fn wait(&mut self) {
        let slot = |head: &Option<BlockRef>| head.map(|head| self.host.parameters().slot_of(head.number));
        let now = slot(&self.heads.borrow());
        let mut heads = self.heads.clone();
        while slot(&heads.borrow_and_update()) == now {
            next_head(&mut heads, Duration::from_secs(60)).await;
        }
        self.heads = heads;
    }
}
