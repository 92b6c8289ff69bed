//! Keeps the node's collateral at what its provider has decided: with too little of it the node may take nothing, and
//! its idle space does not count.
//!
//! Trigger: a best block. Action: if less is deposited for the node than `provider.collateral` says, the difference is
//! deposited. More than that stays: to take it back is the provider's own step (`crust provider collateral`). Collateral
//! that is there and does not suffice is told: in the log once, in the status and the metrics as long as it lasts.

use std::{sync::Arc, time::Duration};

use crust_client::{
    chain::{self, BlockRef, Call, Finality},
    money,
};
use crust_protocol::{Balance, BlockNumber, NodeId};
use tokio::sync::watch;

use super::{Error, Next, Worker};
use crate::host::{Host, next_head};

/// Blocks between two looks once all is well.
const EVERY: BlockNumber = 10;

pub struct Collateral {
    host: Arc<Host>,
    heads: watch::Receiver<Option<BlockRef>>,
    /// Enough was deposited at this block.
    well: Option<BlockNumber>,
    trouble: Option<String>,
}

impl Collateral {
    pub fn new(host: Arc<Host>) -> Self {
        let heads = host.best.subscribe();
        Collateral { host, heads, well: None, trouble: None }
    }

    /// What is to be said of collateral as it is.
    fn judge(&self, number: NodeId, collateral: &chain::Collateral) -> Option<String> {
        let filler = self.host.store.usage().iter().map(|disk| disk.filler_bytes).fold(0, u64::saturating_add);
        let lacks = collateral.lacks(self.host.parameters(), filler);
        let (there, lacks) = (money::show(collateral.deposited), money::show(Some(lacks).filter(|lacks| *lacks > 0)?));
        Some(format!(
            "{there} of collateral are too little: idle space does not count in full, or no file can be taken; raise \
             `provider.collateral` by {lacks}, or `crust provider collateral {number} AMOUNT`"
        ))
    }
}

impl Worker for Collateral {
    fn name(&self) -> &'static str {
        "collateral"
    }

    async fn work(&mut self) -> Result<Next, Error> {
        let host = self.host.clone();
        let Some(number) = *host.number.borrow() else { return Ok(Next::Wait) };
        let view = host.chain.view(Finality::Best).await?;
        let block = view.block().number;
        if self.well.is_some_and(|well| (well..well.saturating_add(EVERY)).contains(&block)) {
            return Ok(Next::Wait);
        }
        let collateral = view.collateral(number).await?;
        for (part, amount) in [
            ("deposited", collateral.deposited),
            ("reserved", collateral.reserved),
            ("taken", collateral.taken),
            ("free", collateral.free),
        ] {
            metrics::gauge!("crust_collateral_tokens", "part" => part).set(tokens(amount));
        }
        let wanted = host.config.provider.collateral.unwrap_or_default();
        let missing = wanted.saturating_sub(collateral.deposited);
        if missing == 0 || host.collateral.borrow().is_some() {
            host.collateral.send_replace(Some(collateral));
        }
        if missing > 0 {
            let deposit = Call::DepositCollateral { node: number, amount: missing };
            let amount = money::show(missing);
            if let Err(error) = host.chain.submit(deposit, &host.wallet).await {
                return Err(Error::Other(format!(
                    "{amount} of collateral are missing and not deposited: {error}. Fund {}, or lower \
                     `provider.collateral`",
                    host.wallet.address()
                )));
            }
            tracing::info!(amount, "collateral deposited");
            return Ok(Next::Again);
        }
        let trouble = self.judge(number, &collateral);
        if let Some(trouble) = trouble.as_ref().filter(|_| self.trouble.is_none()) {
            tracing::warn!("{trouble}");
        }
        self.trouble = trouble;
        self.well = Some(block);
        Ok(Next::Wait)
    }

    async fn wait(&mut self) {
        next_head(&mut self.heads, Duration::from_secs(60)).await;
    }

    fn trouble(&self) -> Option<String> {
        self.trouble.clone()
    }
}

/// An amount as a gauge shows it.
fn tokens(amount: Balance) -> f64 {
    money::show(amount).split(' ').next().and_then(|tokens| tokens.parse().ok()).unwrap_or_default()
}
