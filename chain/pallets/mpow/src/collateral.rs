//! Vendor collateral: what a vendor publishes about its platforms, kept on chain so that evidence can be judged.
//!
//! It comes in four kinds of parts, each signed by itself, so parts of different submissions fit together. Of each the
//! newest is kept and no older one is used: nobody can bring back the time before a revocation. Which edition that is
//! stands apart from the part itself, which is large.

use alloc::vec::Vec;
use codec::{Decode, Encode, MaxEncodedLen};
use crust_evidence::{Ca, Edition, Family, Fmspc, Tee};
use crust_protocol::attestation::{Collateral, MaxCollateralPart};
use frame_support::{BoundedVec, dispatch::DispatchResult, ensure};
use scale_info::TypeInfo;
use sp_runtime::DispatchError;

use crate::{
    Config, Document, Editions, Error, Event, MAX_FAMILIES, MaxSigner, Pallet, PckCrls, Policy, QeIdentities, RootCrl,
    TcbInfos, environment::refusal,
};

/// A part of the collateral for a family of platforms, as far as others share it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub enum Part {
    #[codec(index = 0)]
    RootCrl,
    #[codec(index = 1)]
    PckCrl(Ca),
    #[codec(index = 2)]
    TcbInfo(Tee, Fmspc),
    #[codec(index = 3)]
    QeIdentity(Tee),
}

impl Part {
    /// All that a family needs.
    pub fn of(family: &Family) -> [Part; 4] {
        let Family { tee, ca, fmspc } = *family;
        [Part::RootCrl, Part::PckCrl(ca), Part::TcbInfo(tee, fmspc), Part::QeIdentity(tee)]
    }
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
        let tcb_info = Document {
            signer: signer(claims.tcb_info_signer)?,
            json: collateral.tcb_info,
            signature: collateral.tcb_info_signature,
        };
        let qe_identity = Document {
            signer: signer(claims.qe_identity_signer)?,
            json: collateral.qe_identity,
            signature: collateral.qe_identity_signature,
        };
        let [root_crl_part, pck_crl_part, tcb_info_part, qe_identity_part] = Part::of(&claims.family);
        let newer = [
            Self::is_newer(root_crl_part, editions.root_crl, || RootCrl::<T>::put(collateral.root_ca_crl)),
            Self::is_newer(pck_crl_part, editions.pck_crl, || PckCrls::<T>::insert(ca, collateral.pck_crl)),
            Self::is_newer(tcb_info_part, editions.tcb_info, || TcbInfos::<T>::insert((tee, fmspc), tcb_info)),
            Self::is_newer(qe_identity_part, editions.qe_identity, || QeIdentities::<T>::insert(tee, qe_identity)),
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
        let now = Self::seconds();
        Part::of(family).iter().all(|part| Editions::<T>::get(part).is_some_and(|edition| edition.in_date(now)))
    }

    /// Keeps a part of this edition if it is newer than what is kept. Says whether it is.
    fn is_newer(part: Part, edition: Edition, keep: impl FnOnce()) -> bool {
        let newer = Editions::<T>::get(part).is_none_or(|kept| kept < edition);
        if newer {
            Editions::<T>::insert(part, edition);
            keep();
        }
        newer
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
            root_ca_crl: root_crl,
            pck_crl,
            tcb_info_issuer_chain: chain(tcb_info.signer),
            tcb_info: tcb_info.json,
            tcb_info_signature: tcb_info.signature,
            qe_identity_issuer_chain: chain(qe_identity.signer),
            qe_identity: qe_identity.json,
            qe_identity_signature: qe_identity.signature,
        })
    }
}

/// The one certificate of a chain that is not the root.
fn chain(signer: BoundedVec<u8, MaxSigner>) -> BoundedVec<u8, MaxCollateralPart> {
    BoundedVec::truncate_from(signer.into_inner())
}
