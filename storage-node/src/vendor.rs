//! What a platform's vendor publishes about it: collateral, without which nobody can judge evidence. The chain keeps the
//! newest of it for every family of platforms. What it lacks comes from the platform, or from a service of the vendor's
//! documents: a caching one (PCCS) on the premises, or the vendor's own.

use std::time::Duration;

use crust_client::{
    chain::{Call, Chain, Finality, View},
    wallet::Wallet,
};
use crust_protocol::attestation::Collateral;
use dcap_qvl::{QuoteCollateralV3, collateral::CollateralClient};
use tokio::time::timeout;

/// Time for a service to answer all that is asked for one collateral.
const ANSWER: Duration = Duration::from_secs(60);

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
    #[error(transparent)]
    Chain(#[from] crust_client::chain::Error),
}

/// Where collateral is found.
#[derive(Clone)]
pub struct Vendor {
    pub chain: Chain,
    /// URL of a service, without the path of its interface.
    pccs: Option<String>,
}

impl Vendor {
    pub fn new(chain: Chain, pccs: Option<String>) -> Self {
        Vendor { chain, pccs }
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
        let collateral = self.published(quote, brought).await?.ok_or(Error::None)?;
        tracing::info!("the platform's collateral goes to the chain");
        let call = Call::SubmitCollateral { collateral: Box::new(collateral), quote: quote.to_vec() };
        let submitted = self.chain.submit(call, wallet).await;
        // Another node of the same family may have been faster.
        if self.chain.view(Finality::Best).await?.collateral_current(quote.to_vec()).await? {
            return Ok(());
        }
        submitted.map(|_| ()).map_err(Error::from)
    }

    /// Collateral under which another enclave can judge a quote: whoever gives it, the vendor signed it. Where neither
    /// platform nor service does, the chain's.
    pub async fn find(&self, quote: &[u8], brought: Option<Collateral>) -> Result<Collateral, Error> {
        let missing = match self.published(quote, brought).await {
            Ok(Some(collateral)) => return Ok(collateral),
            Ok(None) => Error::None,
            Err(error) => error,
        };
        let view = self.chain.view(Finality::Best).await?;
        view.vendor_collateral(quote.to_vec()).await?.ok_or(missing)
    }

    async fn published(&self, quote: &[u8], brought: Option<Collateral>) -> Result<Option<Collateral>, Error> {
        let Some(url) = self.pccs.as_ref().filter(|_| brought.is_none()) else { return Ok(brought) };
        let failed = |problem: String| Error::Service { url: url.clone(), problem };
        let fetch = async {
            let service = CollateralClient::with_default_http(url.as_str())?;
            service.fetch(quote).await
        };
        let fetched = timeout(ANSWER, fetch).await.map_err(|_| failed("no answer in time".into()))?;
        // An error of several layers, the outer ones of which do not say what happened.
        let fetched = fetched.map_err(|error| failed(format!("{error:#}")))?;
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
