//! Keeps the node's collateral at what its provider has decided: with too little of it the node may take nothing, and
//! its idle space does not count.
//!
//! Trigger: a best block. Action: if less is deposited for the node than `provider.collateral` says, the difference is
//! deposited. More than that stays: to take it back is the provider's own step (`crust provider collateral`).

use std::{sync::Arc, time::Duration};

use crust_client::{
    chain::{BlockRef, Call, Finality},
    money,
};
use crust_protocol::BlockNumber;
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
}

impl Collateral {
    pub fn new(host: Arc<Host>) -> Self {
        let heads = host.best.subscribe();
        Collateral { host, heads, well: None }
    }
}

impl Worker for Collateral {
    fn name(&self) -> &'static str {
        "collateral"
    }

    async fn work(&mut self) -> Result<Next, Error> {
        let host = &self.host;
        let number = *host.number.borrow();
        let (Some(wanted), Some(number)) = (host.config.provider.collateral, number) else { return Ok(Next::Wait) };
        let view = host.chain.view(Finality::Best).await?;
        let block = view.block().number;
        if self.well.is_some_and(|well| (well..well.saturating_add(EVERY)).contains(&block)) {
            return Ok(Next::Wait);
        }
        let deposited = view.collateral(number).await?.deposited;
        let amount = wanted.saturating_sub(deposited);
        if amount > 0 {
            host.chain.submit(Call::DepositCollateral { node: number, amount }, &host.wallet).await?;
            tracing::info!(amount = money::show(amount), "collateral deposited");
            return Ok(Next::Again);
        }
        self.well = Some(block);
        Ok(Next::Wait)
    }

    async fn wait(&mut self) {
        next_head(&mut self.heads, Duration::from_secs(60)).await;
    }
}
