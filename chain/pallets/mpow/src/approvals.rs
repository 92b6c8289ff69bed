//! Which programs may speak, and on what kind of platform: governed by Root. And what becomes of a node that has fallen
//! out of either: it keeps its registration, its replicas and its pay for the revocation delay, gets nothing new, and
//! is out then, without a slash. A node that cannot renew because the chain's own collateral is out of date is out in the
//! same way, a delay after its registration's end, should the vendor never publish again.
//!
//! A program is withdrawn on chain, at a block that is known: a node's standing follows from its record and the list of
//! approvals, and no node is touched. That a platform has fallen out of policy only its evidence shows: the renewal that
//! does is recorded.

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use crust_evidence::{Claims, Report, TcbStatus, Tee};
use crust_protocol::{
    BlockNumber, NodeId,
    attestation::Measurement,
    development::{MR_ENCLAVE, ROOT_CA},
};
use frame_support::{BoundedVec, dispatch::DispatchResult, ensure, traits::ConstU32};
use scale_info::TypeInfo;

use crate::{
    Config, Error, Event, MAX_MEASUREMENTS, Measurements, NextMeasurement, Node, Nodes, Pallet, Parameters, Policy,
    TrustedRoot,
};

/// A program that may register.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct Approval {
    pub measurement: Measurement,
    /// The lowest security version (ISVSVN) of it. A TDX guest has none; it counts as 0.
    pub min_svn: u16,
    /// The first block in which it is expired.
    pub expires: Option<BlockNumber>,
    /// The block in which it was revoked.
    pub revoked: Option<BlockNumber>,
}

impl Approval {
    /// Without a minimum and without an end.
    pub fn of(measurement: Measurement) -> Self {
        Approval { measurement, min_svn: 0, expires: None, revoked: None }
    }

    /// The block since which nothing registers under it any more, if that is not to come.
    pub fn withdrawn(&self, now: BlockNumber) -> Option<BlockNumber> {
        self.revoked.into_iter().chain(self.expires).min().filter(|since| *since <= now)
    }
}

/// A security advisory as its vendor names it, such as `INTEL-SA-00615`.
pub type Advisory = BoundedVec<u8, ConstU32<32>>;

/// What the chain asks of a platform beyond that it is genuine.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct PlatformPolicy {
    /// Accepted states of its firmware.
    pub statuses: BoundedVec<TcbStatus, ConstU32<8>>,
    /// TCB evaluation numbers up to which collateral is taken: the vendor signs early ones months ahead.
    pub evaluation: u32,
    pub allow_dynamic_platform: bool,
    pub allow_cached_keys: bool,
    pub allow_smt: bool,
    /// Advisories that may not apply to it.
    pub rejected_advisories: BoundedVec<Advisory, ConstU32<128>>,
}

impl Default for PlatformPolicy {
    /// Firmware that is up to date; what is asked for on top can only be seen to by software or by the operator, and
    /// most servers run with SMT.
    fn default() -> Self {
        let statuses = [
            TcbStatus::UpToDate,
            TcbStatus::SwHardeningNeeded,
            TcbStatus::ConfigurationNeeded,
            TcbStatus::ConfigurationAndSwHardeningNeeded,
        ];
        PlatformPolicy {
            statuses: BoundedVec::truncate_from(statuses.to_vec()),
            evaluation: u32::MAX,
            allow_dynamic_platform: true,
            allow_cached_keys: true,
            allow_smt: true,
            rejected_advisories: BoundedVec::new(),
        }
    }
}

impl PlatformPolicy {
    /// Whether the platform's mode of operation is allowed. What its certificate does not say is not held against it.
    fn accepts_mode(&self, claims: &Claims) -> bool {
        [
            (claims.dynamic_platform, self.allow_dynamic_platform),
            (claims.cached_keys, self.allow_cached_keys),
            (claims.smt, self.allow_smt),
        ]
        .into_iter()
        .all(|(claim, allowed)| allowed || claim != Some(true))
    }

    fn rejects(&self, advisory: &[u8]) -> bool {
        self.rejected_advisories.iter().any(|rejected| rejected.eq_ignore_ascii_case(advisory))
    }
}

impl<T: Config> Pallet<T> {
    pub(crate) fn do_set_policy(policy: PlatformPolicy) -> DispatchResult {
        Policy::<T>::put(policy);
        Self::deposit_event(Event::PolicySet);
        Ok(())
    }

    /// Approves a program, or changes the terms on which one is approved.
    pub(crate) fn do_approve_measurement(
        measurement: Measurement,
        min_svn: u16,
        expires: Option<BlockNumber>,
    ) -> DispatchResult {
        let genuine = !is_development_measurement(&measurement) || is_development_root(&TrustedRoot::<T>::get());
        ensure!(genuine, Error::<T>::DevelopmentMeasurement);
        let same = Measurements::<T>::iter().find(|(_, approval)| approval.measurement == measurement);
        let index = match same {
            Some((index, _)) => index,
            None => Self::next_measurement()?,
        };
        Measurements::<T>::insert(index, Approval { measurement, min_svn, expires, revoked: None });
        Self::deposit_event(Event::MeasurementApproved { measurement: index, min_svn, expires });
        Ok(())
    }

    pub(crate) fn do_revoke_measurement(index: u32) -> DispatchResult {
        let now = Self::now();
        Measurements::<T>::try_mutate_exists(index, |approval| -> DispatchResult {
            let approval = approval.as_mut().ok_or(Error::<T>::UnknownMeasurement)?;
            ensure!(approval.revoked.is_none(), Error::<T>::MeasurementRevoked);
            approval.revoked = Some(now);
            Ok(())
        })?;
        Self::deposit_event(Event::MeasurementRevoked { measurement: index });
        Ok(())
    }

    /// The block from which a node is out, if it is on its way: a revocation delay before, its program was withdrawn,
    /// its platform fell out of policy, or its registration ended and only the chain's own collateral, which is out of
    /// date, kept it from renewing.
    pub fn leaves(node: &Node) -> Option<BlockNumber> {
        Self::leaves_if(node, Self::now() > node.registered_until && !Self::family_current(&node.family))
    }

    /// Whether a node may speak no more, because it left ([`Self::leaves`]). The chain's collateral, which is large, is
    /// looked at only where it matters.
    pub fn is_out(node: NodeId) -> bool {
        Nodes::<T>::get(node).is_some_and(|record| Self::may_not_speak(&record))
    }

    /// The same of a node's record.
    pub(crate) fn may_not_speak(node: &Node) -> bool {
        let (now, ended) = (Self::now(), node.registered_until);
        let overdue = now > ended && now >= Self::out_after(ended) && !Self::family_current(&node.family);
        Self::leaves_if(node, overdue).is_some_and(|out| out <= now)
    }

    /// Whether a node's registration holds: it lasts, or only the chain's own collateral keeps the node from renewing
    /// it, and the node is not out.
    pub fn registered(node: &Node) -> bool {
        let now = Self::now();
        let overdue = now > node.registered_until;
        let lapsed = overdue && Self::family_current(&node.family);
        !lapsed && Self::leaves_if(node, overdue).is_none_or(|out| now < out)
    }

    /// Whether a node gets anything new: it is registered, in policy, and would not lose its keys with its machine.
    pub fn gets_new(node: &Node) -> bool {
        Self::is_durable(node) && Self::registered(node) && Self::fell_out(node).is_none()
    }

    /// Whether a node's keys outlive its machine's memory: a TDX guest seals nothing, so it needs an heir.
    pub fn is_durable(node: &Node) -> bool {
        node.family.tee != Tee::Tdx || node.heir.is_some()
    }

    /// The approved program that this is. Of several that fit, the one on whose terms it may best be here.
    pub(crate) fn approved(report: &Report) -> Option<(u32, Approval)> {
        let now = Self::now();
        Measurements::<T>::iter()
            .filter(|(_, approval)| report.is(&approval.measurement))
            .min_by_key(|(index, approval)| (approval.withdrawn(now).is_some(), svn(report) < approval.min_svn, *index))
    }

    /// Why nothing registers under this approval any more, and since when.
    pub(crate) fn withdrawal(approval: &Approval) -> Option<(BlockNumber, Error<T>)> {
        let since = approval.withdrawn(Self::now())?;
        let revoked = approval.revoked.is_some_and(|revoked| revoked <= since);
        Some((since, if revoked { Error::<T>::MeasurementRevoked } else { Error::<T>::MeasurementExpired }))
    }

    /// What the policy has against this evidence.
    pub(crate) fn objection(claims: &Claims, approval: &Approval) -> Option<Error<T>> {
        let policy = Policy::<T>::get();
        let objections = [
            (svn(&claims.report) < approval.min_svn, Error::<T>::IsvSvnTooLow),
            (!policy.statuses.contains(&claims.status), Error::<T>::TcbStatusNotAccepted),
            (claims.advisories.iter().any(|advisory| policy.rejects(advisory)), Error::<T>::AdvisoryRejected),
            (!policy.accepts_mode(claims), Error::<T>::PlatformNotAccepted),
        ];
        objections.into_iter().find_map(|(applies, objection)| applies.then_some(objection))
    }

    /// The block from which a node is out: `overdue` if only the chain's own collateral keeps it from renewing.
    fn leaves_if(node: &Node, overdue: bool) -> Option<BlockNumber> {
        let overdue = overdue.then_some(node.registered_until);
        Self::fell_out(node).into_iter().chain(overdue).min().map(Self::out_after)
    }

    /// The block since which a node's program or platform is accepted no more.
    pub fn fell_out(node: &Node) -> Option<BlockNumber> {
        // What is no longer listed was withdrawn so long ago that everything under it is out.
        let withdrawn = match Measurements::<T>::get(node.measurement) {
            Some(approval) => approval.withdrawn(Self::now()),
            None => Some(0),
        };
        withdrawn.into_iter().chain(node.out_since).min()
    }

    /// The block from which a node is out that fell out of approval or policy in this one.
    fn out_after(since: BlockNumber) -> BlockNumber {
        since.saturating_add(Parameters::<T>::get().revocation_delay)
    }

    /// A free place in the list, if need be that of a program under which nothing is registered any more. An index is
    /// given once.
    fn next_measurement() -> Result<u32, Error<T>> {
        if Measurements::<T>::count() >= MAX_MEASUREMENTS {
            let now = Self::now();
            let over = |approval: &Approval| approval.withdrawn(now).map(Self::out_after).is_some_and(|out| out <= now);
            let gone = Measurements::<T>::iter().filter(|(_, approval)| over(approval)).map(|(index, _)| index).min();
            Measurements::<T>::remove(gone.ok_or(Error::<T>::TooManyMeasurements)?);
        }
        let index = NextMeasurement::<T>::get();
        NextMeasurement::<T>::put(index.checked_add(1).ok_or(Error::<T>::TooManyMeasurements)?);
        Ok(index)
    }
}

/// The security version of a program. TDX measures none.
fn svn(report: &Report) -> u16 {
    match report {
        Report::Sgx { isv_svn, .. } => *isv_svn,
        Report::Tdx { .. } => 0,
    }
}

pub(crate) fn is_development_root(root: &[u8]) -> bool {
    root == ROOT_CA
}

pub(crate) fn is_development_measurement(measurement: &Measurement) -> bool {
    matches!(measurement, Measurement::Sgx { mr_enclave, .. } if *mr_enclave == MR_ENCLAVE)
}
