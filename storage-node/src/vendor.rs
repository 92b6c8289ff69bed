//! What a platform's vendor publishes about it: collateral, without which nobody can judge evidence. The chain keeps the
//! newest of it for every family of platforms. What it lacks comes from the platform, or from a service of the vendor's
//! documents: a caching one (PCCS) on the premises, or the vendor's own.

mod refusals;
mod service;

use std::{sync::Arc, time::SystemTime};

use crust_client::{
    chain::{Call, Chain, Finality, View},
    wallet::Wallet,
};
use crust_protocol::attestation::Collateral;
use dcap_qvl::QuoteCollateralV3;
use serde_json::Value;

pub use refusals::Refusals;

/// Why there is no collateral.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("`pccs` {url}: {problem}")]
    Service { url: String, problem: String },
    #[error(
        "the chain has no collateral in date for this platform, and the platform brings none: name a service of the \
         vendor's documents as `pccs` in the configuration"
    )]
    None,
    #[error("the vendor's documents are out of date since {0}, by this machine's clock: have `pccs` get newer ones")]
    Past(String),
    #[error(transparent)]
    Chain(#[from] crust_client::chain::Error),
}

/// Where collateral is found.
#[derive(Clone)]
pub struct Vendor {
    pub chain: Chain,
    /// URL of a service, without the path of its interface.
    pccs: Option<String>,
    /// What the chain refused of it.
    refusals: Arc<Refusals>,
}

impl Vendor {
    pub fn new(chain: Chain, pccs: Option<String>) -> Self {
        Vendor { chain, pccs, refusals: Arc::default() }
    }

    /// Sees to it that the chain has collateral in date for the family of a quote. `brought` came with the quote.
    pub async fn bring(
        &self,
        wallet: &Wallet,
        view: &View,
        quote: &[u8],
        brought: Option<Collateral>,
    ) -> Result<(), Error> {
        if view.collateral_current(quote.to_vec()).await? {
            return Ok(());
        }
        let now = view.block().number;
        self.refusals.check(now)?;
        let collateral = self.published(quote, brought).await?.ok_or(Error::None)?;
        if let Some(date) = past(&collateral, SystemTime::now()) {
            return Err(Error::Past(date));
        }
        tracing::info!("the platform's collateral goes to the chain");
        let call = Call::SubmitCollateral { collateral: Box::new(collateral), quote: quote.to_vec() };
        let submitted = self.chain.submit(call, wallet).await;
        // Another node of the same family may have been faster.
        if self.chain.view(Finality::Best).await?.collateral_current(quote.to_vec()).await? {
            return Ok(());
        }
        self.refusals.note(submitted, now, self.chain.parameters())?;
        Ok(())
    }

    /// Collateral under which another enclave can judge a quote: the platform's own, or the chain's if that is in date, for
    /// the chain has verified it. Only without either the service's; at last what the chain has.
    pub async fn find(&self, quote: &[u8], brought: Option<Collateral>) -> Result<Collateral, Error> {
        if let Some(brought) = brought {
            return Ok(brought);
        }
        let view = self.chain.view(Finality::Best).await?;
        let chains = view.vendor_collateral(quote.to_vec()).await?;
        match (chains, view.collateral_current(quote.to_vec()).await?) {
            (Some(collateral), true) => Ok(collateral),
            (chains, _) => match self.published(quote, None).await {
                Ok(published) => published.or(chains).ok_or(Error::None),
                Err(error) => chains.ok_or(error),
            },
        }
    }

    async fn published(&self, quote: &[u8], brought: Option<Collateral>) -> Result<Option<Collateral>, Error> {
        let Some(url) = self.pccs.as_ref().filter(|_| brought.is_none()) else { return Ok(brought) };
        let failed = |problem: String| Error::Service { url: url.clone(), problem };
        let fetched = service::fetch(url, quote).await.map_err(failed)?;
        collateral(fetched).map(Some).ok_or_else(|| failed("an answer is too large or of another form".into()))
    }
}

/// In the form that the chain takes.
fn collateral(fetched: QuoteCollateralV3) -> Option<Collateral> {
    Some(Collateral {
        pck_crl_issuer_chain: fetched.pck_crl_issuer_chain.into_bytes().try_into().ok()?,
        root_ca_crl: fetched.root_ca_crl.try_into().ok()?,
        pck_crl: fetched.pck_crl.try_into().ok()?,
        tcb_info_issuer_chain: fetched.tcb_info_issuer_chain.into_bytes().try_into().ok()?,
        tcb_info: fetched.tcb_info.into_bytes().try_into().ok()?,
        tcb_info_signature: fetched.tcb_info_signature.try_into().ok()?,
        qe_identity_issuer_chain: fetched.qe_identity_issuer_chain.into_bytes().try_into().ok()?,
        qe_identity: fetched.qe_identity.into_bytes().try_into().ok()?,
        qe_identity_signature: fetched.qe_identity_signature.try_into().ok()?,
    })
}

/// The date since which a signed document may not be used any more, if it has one.
fn past(collateral: &Collateral, now: SystemTime) -> Option<String> {
    let now = date(now)?;
    let next = |document: &[u8]| {
        let document: Value = serde_json::from_slice(document).ok()?;
        Some(document.get("nextUpdate")?.as_str()?.to_owned())
    };
    let dates = [&collateral.tcb_info, &collateral.qe_identity].map(|document| next(document.as_slice()));
    // In this form the older date is the lesser text; another form is for the chain to judge.
    dates.into_iter().flatten().find(|next| next.len() == now.len() && *next < now)
}

/// In the vendor's form, such as `2026-09-20T14:13:20Z`.
fn date(time: SystemTime) -> Option<String> {
    let seconds = time.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs();
    let (days, clock) = (seconds / 86_400, seconds % 86_400);
    // Years begin in March, so that the day of a leap year comes last; 400 of them have always the same days.
    let days = days.saturating_add(719_468);
    let (era, day) = (days / 146_097, days % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    let year = 400 * era + year + next;
    let (hour, minute, second) = (clock / 3_600, clock / 60 % 60, clock % 60);
    Some(format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::time::Duration;

    use crust_enclave_dev::{collateral::CollateralOptions, platform::SoftwarePlatform};

    use super::*;

    #[test]
    fn documents_that_are_past_are_known_by_their_own_dates() {
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_868_799, "2000-02-29T23:59:59Z"),
            (1_790_000_000, "2026-09-21T14:13:20Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(date(at(seconds)).as_deref(), Some(text));
        }
        let options = CollateralOptions::around(1_790_000_000);
        let collateral = SoftwarePlatform::from_seed([7; 32]).unwrap().collateral_with(&options).unwrap();
        assert_eq!(past(&collateral, at(options.next_update)), None);
        assert_eq!(past(&collateral, at(options.next_update + 1)), date(at(options.next_update)));
    }
}
