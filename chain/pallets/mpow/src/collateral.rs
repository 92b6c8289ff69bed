//! Vendor collateral: what a vendor publishes about its platforms, kept on chain so that evidence can be judged.
//!
//! It comes in four kinds of parts, each signed by itself, so parts of different submissions fit together. Of each the
//! newest is kept and no older one is used: nobody can bring back the time before a revocation.

use alloc::vec::Vec;
use codec::Decode;
use crust_evidence::{Edition, Family};
use crust_protocol::attestation::{Collateral, MaxCollateralPart};
use frame_support::{BoundedVec, dispatch::DispatchResult, ensure};
use sp_runtime::DispatchError;

use crate::{
    Config, Document, Error, Event, MAX_FAMILIES, MaxSigner, Pallet, PckCrls, Policy, QeIdentities, RevocationList,
    RootCrl, TcbInfos, environment::refusal,
};

/// Bytes of an encoded [`Edition`].
const EDITION: usize = 20;

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

    /// Whether evidence of this quote's family would find collateral that is in date.
    pub fn collateral_current(quote: &[u8]) -> bool {
        crust_evidence::family(quote).is_ok_and(|family| Self::family_current(&family))
    }

    /// Whether the chain's collateral for a family is in date.
    pub(crate) fn family_current(family: &Family) -> bool {
        let Family { tee, ca, fmspc } = *family;
        let now = Self::seconds();
        [
            RootCrl::<T>::hashed_key().to_vec(),
            PckCrls::<T>::hashed_key_for(ca),
            TcbInfos::<T>::hashed_key_for((tee, fmspc)),
            QeIdentities::<T>::hashed_key_for(tee),
        ]
        .iter()
        .all(|key| stored_edition(key).is_some_and(|edition| edition.in_date(now)))
    }

    /// The chain's own collateral for a family.
    pub(crate) fn collateral_for(family: &Family) -> Result<Collateral, DispatchError> {
        let Family { tee, ca, fmspc } = *family;
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

/// The edition of a stored part of collateral, which is the first of its fields, without the 32 KiB that follow: every
/// statement of a node asks for it whose registration has run out.
fn stored_edition(key: &[u8]) -> Option<Edition> {
    let mut head = [0; EDITION];
    sp_io::storage::read(key, &mut head, 0)?;
    Edition::decode(&mut &head[..]).ok()
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
