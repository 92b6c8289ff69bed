//! Who may speak: registration, renewal and announcement of nodes.
//!
//! Evidence is judged here, in consensus, so that every validator checks it: the verifier says what a quote shows
//! ([`crust_evidence`]), this file that it shows it of these keys, this provider and this chain, [`crate::approvals`]
//! whether the program and the platform are welcome, [`crate::platforms`] whether the platform is free. One path serves
//! every trusted root.

use alloc::vec::Vec;
use crust_evidence::{Claims, Family};
use crust_protocol::{
    BlockNumber, Hash, Key, NodeId,
    attestation::{Evidence, Identity},
};
use frame_support::{dispatch::DispatchResult, ensure, traits::UnixTime};
use frame_system::pallet_prelude::BlockNumberFor;
use sp_runtime::{AccountId32, DispatchError};

use crate::{
    Config, Endpoint, Endpoints, Error, Event, NextNode, Node, NodeOf, Nodes, Pallet, Parameters, Standby, Standbys,
    TrustedRoot,
};

/// What genuine evidence shows.
struct Shown<T> {
    pub family: Family,
    pub platform: Hash,
    /// Index of the approved measurement.
    pub measurement: u32,
    /// The last block of a registration that begins now.
    pub until: BlockNumber,
    /// Why nothing new registers with it, the program's withdrawal first.
    pub withdrawn: Option<(BlockNumber, Error<T>)>,
    pub objection: Option<Error<T>>,
}

impl<T> Shown<T> {
    /// For whoever is new here: nothing may stand against it.
    pub fn welcome(self) -> Result<Self, Error<T>> {
        match self {
            Shown { withdrawn: Some((_, refusal)), .. } | Shown { objection: Some(refusal), .. } => Err(refusal),
            shown => Ok(shown),
        }
    }
}

/// An enclave that its provider presents: its keys, its evidence, and where its daemon is reached.
pub(crate) struct Applicant {
    pub provider: AccountId32,
    pub sign_pk: Key,
    pub channel_pk: Key,
    pub block_number: BlockNumber,
    pub evidence: Evidence,
    pub endpoint: Endpoint,
}

impl<T: Config> Pallet<T> {
    pub(crate) fn do_register(applicant: Applicant) -> DispatchResult {
        let sign_pk = applicant.sign_pk;
        ensure!(!NodeOf::<T>::contains_key(sign_pk) && !Standbys::<T>::contains_key(sign_pk), Error::<T>::KeyUsed);
        let enclave = Self::admit(applicant)?;
        let node = NextNode::<T>::get();
        NextNode::<T>::put(node.checked_add(1).ok_or(Error::<T>::NoNumberLeft)?);
        NodeOf::<T>::insert(sign_pk, node);
        let Standby { provider, measurement, registered_until: until, endpoint, .. } = enclave.clone();
        Endpoints::<T>::insert(node, endpoint);
        Nodes::<T>::insert(node, Node::of(sign_pk, enclave));
        Self::deposit_event(Event::Registered { node, provider, sign_pk, measurement, until });
        Ok(())
    }

    /// An enclave that nothing stands against, as it begins: its machine serves its provider.
    pub(crate) fn admit(applicant: Applicant) -> Result<Standby, DispatchError> {
        let Applicant { provider, sign_pk, channel_pk, block_number, evidence, endpoint } = applicant;
        check_endpoint::<T>(&endpoint)?;
        let shown = Self::judge(&provider, sign_pk, channel_pk, block_number, &evidence)?.welcome()?;
        let Shown { family, platform, measurement, until: registered_until, .. } = shown;
        Self::serve(platform, &provider, registered_until)?;
        Ok(Standby { provider, channel_pk, family, platform, measurement, registered_until, endpoint })
    }

    /// New evidence of a node. That the node has fallen out of approval or policy is no error as long as the delay runs:
    /// it is recorded.
    pub(crate) fn do_renew(
        provider: AccountId32,
        node: NodeId,
        block_number: BlockNumber,
        evidence: &Evidence,
    ) -> DispatchResult {
        let mut record = Self::node_of_provider(&provider, node)?;
        let shown = Self::judge(&provider, record.sign_pk, record.channel_pk, block_number, evidence)?;
        let Shown { family, platform, measurement, until, withdrawn, objection } = shown;
        let now = Self::now();
        Self::serve(platform, &provider, until)?;
        Self::move_billed(node, record.platform, platform)?;
        record.family = family;
        record.platform = platform;
        record.measurement = measurement;
        record.registered_until = until;
        record.out_since = objection.as_ref().map(|_| record.out_since.unwrap_or(now));
        let refusal = withdrawn.map(|(_, refusal)| refusal).or(objection);
        if let (Some(refusal), Some(out)) = (refusal, Self::leaves(&record)) {
            ensure!(now < out, refusal);
            Self::deposit_event(Event::Leaving { node, out });
        }
        Nodes::<T>::insert(node, record);
        Self::deposit_event(Event::Renewed { node, measurement, until });
        Ok(())
    }

    pub(crate) fn do_announce(provider: AccountId32, node: NodeId, endpoint: Endpoint) -> DispatchResult {
        Self::node_of_provider(&provider, node)?;
        check_endpoint::<T>(&endpoint)?;
        Endpoints::<T>::insert(node, endpoint);
        Self::deposit_event(Event::Announced { node });
        Ok(())
    }

    /// The account that a node belongs to.
    pub fn provider(node: NodeId) -> Option<AccountId32> {
        Nodes::<T>::get(node).map(|node| node.provider)
    }

    /// Whether a node may take new orders.
    pub fn may_take(node: NodeId) -> bool {
        Nodes::<T>::get(node).is_some_and(|node| Self::gets_new(&node))
    }

    /// Hash of the genesis block, which evidence and statements are bound to.
    pub(crate) fn genesis_hash() -> [u8; 32] {
        Self::block_hash(0)
    }

    /// Hash of a recent block; zero if it is not known, or not any more.
    pub(crate) fn block_hash(number: BlockNumber) -> [u8; 32] {
        frame_system::Pallet::<T>::block_hash(BlockNumberFor::<T>::from(number)).0
    }

    /// Judges evidence for an enclave's keys; cheap checks first. What is against it but its genuineness is returned.
    fn judge(
        provider: &AccountId32,
        sign_pk: Key,
        channel_pk: Key,
        block_number: BlockNumber,
        evidence: &Evidence,
    ) -> Result<Shown<T>, DispatchError> {
        let parameters = Parameters::<T>::get();
        let now = Self::now();
        let age = now.checked_sub(block_number).ok_or(Error::<T>::StaleEvidence)?;
        let block_hash = Self::block_hash(block_number);
        ensure!(age > 0 && age <= parameters.evidence_age && block_hash != [0; 32], Error::<T>::StaleEvidence);

        let Evidence::Dcap(quote) = evidence;
        let family = crust_evidence::family(quote).map_err(refusal::<T>)?;
        let collateral = Self::collateral_for(&family)?;
        let claims =
            crust_evidence::verify(quote, &collateral, Self::seconds(), &Self::root()).map_err(refusal::<T>)?;

        ensure!(!claims.report.is_debug(), Error::<T>::DebugEnclave);
        let (measurement, approval) = Self::approved(&claims.report).ok_or(Error::<T>::MeasurementNotApproved)?;
        let identity = Identity {
            genesis: Self::genesis_hash(),
            provider: provider.clone().into(),
            sign_pk,
            channel_pk,
            block_hash,
        };
        ensure!(claims.report_data == identity.report_data(), Error::<T>::WrongIdentity);
        let withdrawn = Self::withdrawal(&approval);
        let objection = Self::objection(&claims, &approval);
        let until = now.saturating_add(parameters.attestation_period);
        let Claims { platform, .. } = claims;
        Ok(Shown { family, platform, measurement, until, withdrawn, objection })
    }

    /// A node, for calls of its provider.
    pub(crate) fn node_of_provider(provider: &AccountId32, node: NodeId) -> Result<Node, DispatchError> {
        let record = Nodes::<T>::get(node).ok_or(Error::<T>::UnknownNode)?;
        ensure!(record.provider == *provider, Error::<T>::NotProvider);
        Ok(record)
    }

    pub(crate) fn seconds() -> u64 {
        T::Time::now().as_secs()
    }

    pub(crate) fn root() -> Vec<u8> {
        TrustedRoot::<T>::get().into_inner()
    }
}

/// A peer id is base58 text, an address begins with a slash; what they mean is the network's affair.
fn check_endpoint<T: Config>(Endpoint { peer_id, addresses }: &Endpoint) -> DispatchResult {
    ensure!(!peer_id.is_empty() && peer_id.iter().all(u8::is_ascii_alphanumeric), Error::<T>::MalformedPeerId);
    let is_address = |address: &[u8]| address.starts_with(b"/") && address.iter().all(u8::is_ascii_graphic);
    ensure!(addresses.iter().all(|address| is_address(address)), Error::<T>::MalformedAddress);
    Ok(())
}

/// The pallet's error for a refusal by the verifier.
pub(crate) fn refusal<T: Config>(error: crust_evidence::Error) -> Error<T> {
    use crust_evidence::Error as Refusal;
    match error {
        Refusal::MalformedQuote => Error::<T>::MalformedQuote,
        Refusal::UnknownVersion => Error::<T>::UnknownQuoteVersion,
        Refusal::MalformedCollateral => Error::<T>::MalformedCollateral,
        Refusal::CollateralOutOfDate => Error::<T>::CollateralOutOfDate,
        Refusal::OtherFamily => Error::<T>::OtherFamily,
        Refusal::Untrusted => Error::<T>::UntrustedQuote,
    }
}
