//! The environment of an enclave: vendor collateral, registration, renewal.
//!
//! Evidence is judged here, in consensus, so that every validator checks it: the verifier says what a quote shows
//! ([`crust_evidence`]), this file whether that may speak on this chain. One path serves every trusted root.
//!
//! Collateral lives on chain in four kinds of parts, each signed by itself, so parts of different submissions fit
//! together. Of each the newest is kept and no older one is used: nobody can bring back the time before a revocation.

use alloc::vec::Vec;
use crust_evidence::{Claims, Edition, Family, Report};
use crust_protocol::{
    BlockNumber, Key, NodeId,
    attestation::{Collateral, Evidence, Identity, MaxCollateralPart, Measurement},
    statement::first_root,
};
use frame_support::{BoundedVec, dispatch::DispatchResult, ensure, traits::UnixTime};
use frame_system::pallet_prelude::BlockNumberFor;
use sp_runtime::{AccountId32, DispatchError};

use crate::{
    Addresses, Config, Document, Error, Event, MAX_FAMILIES, MaxSigner, Measurements, NextNode, Node, NodeOf, Nodes,
    Pallet, Parameters, PckCrls, PeerId, Policy, QeIdentities, RevocationList, RootCrl, TcbInfos, TrustedRoot,
};

/// What an accepted evidence shows.
struct Accepted {
    platform: [u8; 32],
    measurement: u32,
    until: BlockNumber,
}

impl<T: Config> Pallet<T> {
    pub(crate) fn do_submit_collateral(collateral: Collateral, quote: &[u8]) -> DispatchResult {
        let claims =
            crust_evidence::verify(quote, &collateral, Self::seconds(), &Self::root()).map_err(refusal::<T>)?;
        let Family { tee, ca, fmspc } = claims.family;
        let editions = claims.editions;
        let evaluation = Policy::<T>::get().evaluation;
        ensure!(
            editions.tcb_info.number <= evaluation && editions.qe_identity.number <= evaluation,
            Error::<T>::EvaluationTooNew
        );
        ensure!(
            TcbInfos::<T>::contains_key((tee, fmspc)) || TcbInfos::<T>::count() < MAX_FAMILIES,
            Error::<T>::TooManyFamilies
        );
        let signer = |pem: Vec<u8>| -> Result<BoundedVec<u8, MaxSigner>, Error<T>> {
            pem.try_into().map_err(|_| Error::<T>::MalformedCollateral)
        };
        let list = |edition, list| RevocationList { edition, list };
        let tcb_info = Document {
            edition: editions.tcb_info,
            signer: signer(claims.tcb_info_signer)?,
            json: collateral.tcb_info,
            signature: collateral.tcb_info_signature,
        };
        let qe_identity = Document {
            edition: editions.qe_identity,
            signer: signer(claims.qe_identity_signer)?,
            json: collateral.qe_identity,
            signature: collateral.qe_identity_signature,
        };
        let newer = [
            keep_newer(RootCrl::<T>::get(), list(editions.root_crl, collateral.root_ca_crl), |list| {
                RootCrl::<T>::put(list);
            }),
            keep_newer(PckCrls::<T>::get(ca), list(editions.pck_crl, collateral.pck_crl), |list| {
                PckCrls::<T>::insert(ca, list);
            }),
            keep_newer(TcbInfos::<T>::get((tee, fmspc)), tcb_info, |document| {
                TcbInfos::<T>::insert((tee, fmspc), document);
            }),
            keep_newer(QeIdentities::<T>::get(tee), qe_identity, |document| {
                QeIdentities::<T>::insert(tee, document);
            }),
        ];
        let newer = newer.into_iter().map(u8::from).fold(0, u8::saturating_add);
        Self::deposit_event(Event::CollateralSubmitted { tee, ca, fmspc, newer });
        Ok(())
    }

    pub(crate) fn do_register(
        provider: AccountId32,
        sign_pk: Key,
        channel_pk: Key,
        block_number: BlockNumber,
        evidence: &Evidence,
        peer_id: PeerId,
        addresses: Addresses,
    ) -> DispatchResult {
        ensure!(!NodeOf::<T>::contains_key(sign_pk), Error::<T>::KeyUsed);
        check_place::<T>(&peer_id, &addresses)?;
        let accepted = Self::accept(&provider, sign_pk, channel_pk, block_number, evidence)?;
        let node = NextNode::<T>::get();
        NextNode::<T>::put(node.checked_add(1).ok_or(Error::<T>::NoNumberLeft)?);
        NodeOf::<T>::insert(sign_pk, node);
        let Accepted { platform, measurement, until } = accepted;
        Nodes::<T>::insert(
            node,
            Node {
                provider: provider.clone(),
                sign_pk,
                channel_pk,
                platform,
                measurement,
                registered_until: until,
                peer_id,
                addresses,
                root: first_root(&sign_pk),
                last_report: None,
                power: 0,
                gone_idle: (0, 0),
            },
        );
        Self::deposit_event(Event::Registered { node, provider, sign_pk, measurement, until });
        Ok(())
    }

    pub(crate) fn do_renew(
        provider: AccountId32,
        node: NodeId,
        block_number: BlockNumber,
        evidence: &Evidence,
    ) -> DispatchResult {
        let mut record = Self::node_of_provider(&provider, node)?;
        let accepted = Self::accept(&provider, record.sign_pk, record.channel_pk, block_number, evidence)?;
        let Accepted { platform, measurement, until } = accepted;
        record.platform = platform;
        record.measurement = measurement;
        record.registered_until = until;
        Nodes::<T>::insert(node, record);
        Self::deposit_event(Event::Renewed { node, measurement, until });
        Ok(())
    }

    pub(crate) fn do_announce(
        provider: AccountId32,
        node: NodeId,
        peer_id: PeerId,
        addresses: Addresses,
    ) -> DispatchResult {
        let mut record = Self::node_of_provider(&provider, node)?;
        check_place::<T>(&peer_id, &addresses)?;
        record.peer_id = peer_id;
        record.addresses = addresses;
        Nodes::<T>::insert(node, record);
        Self::deposit_event(Event::Announced { node });
        Ok(())
    }

    /// The account that a node belongs to.
    pub fn provider(node: NodeId) -> Option<AccountId32> {
        Nodes::<T>::get(node).map(|node| node.provider)
    }

    /// Whether a node may take new orders: its registration lasts.
    pub fn may_take(node: NodeId) -> bool {
        Nodes::<T>::get(node).is_some_and(|node| node.registered(Self::now()))
    }

    /// Where a node is reached.
    pub fn endpoint(node: NodeId) -> Option<(PeerId, Addresses)> {
        Nodes::<T>::get(node).map(|node| (node.peer_id, node.addresses))
    }

    /// Whether evidence of this quote's family would find collateral that is in date.
    pub fn collateral_current(quote: &[u8]) -> bool {
        let Ok(Family { tee, ca, fmspc }) = crust_evidence::family(quote) else {
            return false;
        };
        let now = Self::seconds();
        [
            RootCrl::<T>::get().map(|list| list.edition),
            PckCrls::<T>::get(ca).map(|list| list.edition),
            TcbInfos::<T>::get((tee, fmspc)).map(|document| document.edition),
            QeIdentities::<T>::get(tee).map(|document| document.edition),
        ]
        .iter()
        .all(|edition| edition.is_some_and(|edition| edition.in_date(now)))
    }

    /// Hash of the genesis block, which evidence and statements are bound to.
    pub(crate) fn genesis_hash() -> [u8; 32] {
        Self::block_hash(0)
    }

    /// Hash of a recent block; zero if it is not known, or not any more.
    pub(crate) fn block_hash(number: BlockNumber) -> [u8; 32] {
        frame_system::Pallet::<T>::block_hash(BlockNumberFor::<T>::from(number)).0
    }

    /// Judges evidence for a node's keys; cheap checks first.
    fn accept(
        provider: &AccountId32,
        sign_pk: Key,
        channel_pk: Key,
        block_number: BlockNumber,
        evidence: &Evidence,
    ) -> Result<Accepted, DispatchError> {
        let parameters = Parameters::<T>::get();
        let now = Self::now();
        let age = now.checked_sub(block_number).ok_or(Error::<T>::StaleEvidence)?;
        let block_hash = Self::block_hash(block_number);
        ensure!(age > 0 && age <= parameters.evidence_age && block_hash != [0; 32], Error::<T>::StaleEvidence);

        let Evidence::Dcap(quote) = evidence;
        let collateral = Self::collateral_for(quote)?;
        let claims =
            crust_evidence::verify(quote, &collateral, Self::seconds(), &Self::root()).map_err(refusal::<T>)?;

        ensure!(!claims.report.is_debug(), Error::<T>::DebugEnclave);
        let measurement = approved(&Measurements::<T>::get(), &claims.report);
        let measurement = measurement.ok_or(Error::<T>::MeasurementNotApproved)?;
        let policy = Policy::<T>::get();
        ensure!(policy.statuses.contains(&claims.status), Error::<T>::TcbStatusNotAccepted);
        ensure!(policy.accepts_mode(&claims), Error::<T>::PlatformNotAccepted);

        let identity = Identity {
            genesis: Self::genesis_hash(),
            provider: provider.clone().into(),
            sign_pk,
            channel_pk,
            block_hash,
        };
        ensure!(claims.report_data == identity.report_data(), Error::<T>::WrongIdentity);
        let Claims { platform, .. } = claims;
        Ok(Accepted { platform, measurement, until: now.saturating_add(parameters.attestation_period) })
    }

    /// The chain's own collateral for the family of a quote.
    fn collateral_for(quote: &[u8]) -> Result<Collateral, DispatchError> {
        let Family { tee, ca, fmspc } = crust_evidence::family(quote).map_err(refusal::<T>)?;
        let missing = Error::<T>::NoCollateral;
        let (Some(root_crl), Some(pck_crl)) = (RootCrl::<T>::get(), PckCrls::<T>::get(ca)) else {
            return Err(missing.into());
        };
        let (Some(tcb_info), Some(qe_identity)) = (TcbInfos::<T>::get((tee, fmspc)), QeIdentities::<T>::get(tee))
        else {
            return Err(missing.into());
        };
        Ok(Collateral {
            // The issuer of the list is in the quote.
            pck_crl_issuer_chain: BoundedVec::new(),
            root_ca_crl: root_crl.list,
            pck_crl: pck_crl.list,
            tcb_info_issuer_chain: chain(tcb_info.signer),
            tcb_info: tcb_info.json,
            tcb_info_signature: tcb_info.signature,
            qe_identity_issuer_chain: chain(qe_identity.signer),
            qe_identity: qe_identity.json,
            qe_identity_signature: qe_identity.signature,
        })
    }

    /// A node, for calls of its provider.
    fn node_of_provider(provider: &AccountId32, node: NodeId) -> Result<Node, DispatchError> {
        let record = Nodes::<T>::get(node).ok_or(Error::<T>::UnknownNode)?;
        ensure!(record.provider == *provider, Error::<T>::NotProvider);
        Ok(record)
    }

    fn seconds() -> u64 {
        T::Time::now().as_secs()
    }

    fn root() -> Vec<u8> {
        TrustedRoot::<T>::get().into_inner()
    }
}

/// The index of the approved program that this is.
fn approved(measurements: &[Measurement], report: &Report) -> Option<u32> {
    let index = measurements.iter().position(|measurement| report.is(measurement))?;
    u32::try_from(index).ok()
}

/// Anything that comes in editions.
trait Dated {
    fn edition(&self) -> Edition;
}

impl Dated for RevocationList {
    fn edition(&self) -> Edition {
        self.edition
    }
}

impl Dated for Document {
    fn edition(&self) -> Edition {
        self.edition
    }
}

/// Keeps what is submitted if it is newer than what is kept; returns whether it is.
fn keep_newer<D: Dated>(kept: Option<D>, submitted: D, keep: impl FnOnce(D)) -> bool {
    let newer = kept.is_none_or(|kept| kept.edition() < submitted.edition());
    if newer {
        keep(submitted);
    }
    newer
}

/// The one certificate of a chain that is not the root.
fn chain(signer: BoundedVec<u8, MaxSigner>) -> BoundedVec<u8, MaxCollateralPart> {
    BoundedVec::truncate_from(signer.into_inner())
}

/// A peer id is base58 text, an address begins with a slash; what they mean is the network's affair.
fn check_place<T: Config>(peer_id: &PeerId, addresses: &Addresses) -> DispatchResult {
    ensure!(!peer_id.is_empty() && peer_id.iter().all(u8::is_ascii_alphanumeric), Error::<T>::MalformedPeerId);
    let is_address = |address: &[u8]| address.starts_with(b"/") && address.iter().all(u8::is_ascii_graphic);
    ensure!(addresses.iter().all(|address| is_address(address)), Error::<T>::MalformedAddress);
    Ok(())
}

/// The pallet's error for a refusal by the verifier.
fn refusal<T: Config>(error: crust_evidence::Error) -> Error<T> {
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
