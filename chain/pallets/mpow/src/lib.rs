//! The workload proof (MPoW) on chain: which enclaves may speak, what they said, and how much it weighs.
//!
//! * [`environment`](mod@environment): registration and renewal with evidence, by signed calls of providers; with it
//!   [`collateral`](mod@collateral) (what vendors publish, brought by anyone), [`approvals`](mod@approvals) (programs
//!   and policy, governed by Root), [`platforms`](mod@platforms) (what one machine can count for) and
//!   [`succession`](mod@succession) (another enclave takes a node over).
//! * [`statements`](mod@statements): receipts, losses and reports that enclaves sign. They are general transactions
//!   without a fee, authorised by the enclave's signature, chained by their roots; what they mean for orders goes to
//!   the [`Market`].
//! * [`audits`](mod@audits): what the chain's randomness, the [`beacon`](mod@beacon), has a node show of its files.
//! * [`power`](mod@power): what a report weighs, kept per node and summed per slot.
//! * [`prefetch`](mod@prefetch): what a block's statements will touch, for a node to read ahead.
//!
//! One node is one record in [`Nodes`]; [`NodeOf`] remembers every key that ever stood behind one. The pallet knows
//! nothing of orders, prices and validators.

#![cfg_attr(not(feature = "std"), no_std)]
#![cfg_attr(not(test), deny(clippy::float_arithmetic))]

extern crate alloc;

pub mod approvals;
pub mod audits;
pub mod beacon;
pub mod collateral;
pub mod environment;
pub mod genesis;
mod invariants;
mod measured;
pub mod platforms;
pub mod power;
pub mod prefetch;
pub mod runtime_api;
pub mod statements;
pub mod succession;
pub mod types;
pub mod weights;

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "tests")]
mod fixtures;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::arithmetic_side_effects, reason = "tests")]
mod mock;
#[cfg(test)]
mod tests;

pub use approvals::{Advisory, Approval, PlatformPolicy};
pub use pallet::*;
pub use platforms::Platform;
pub use power::Sums;
pub use succession::Standby;
pub use types::*;
pub use weights::WeightInfo;

#[frame_support::pallet]
#[allow(unused_qualifications, reason = "the pallet macro writes out whole paths")]
#[allow(clippy::expect_used, reason = "in the macro's own code; this module has none")]
pub mod pallet {
    use alloc::{boxed::Box, vec::Vec};
    use crust_evidence::{Ca, Edition, Fmspc, Tee};
    use crust_protocol::{
        BlockNumber, Hash, Key, NodeId, Slot,
        attestation::{Collateral, Evidence, MaxQuote, Measurement},
        order::OrderId,
        parameters,
        statement::{Gone, Heir, Receipts, Report, Signature},
    };
    use frame_support::{pallet_prelude::*, sp_runtime::AccountId32, traits::UnixTime};
    use frame_system::pallet_prelude::*;
    use sp_core::H256;

    use crate::{
        Approval, Platform, PlatformPolicy, Standby, Sums,
        beacon::{Beacons, MaxWindow},
        collateral::Part,
        environment::Applicant,
        genesis,
        statements::count,
        types::*,
        weights::WeightInfo,
    };

    #[pallet::pallet]
    pub struct Pallet<T>(_);

    #[pallet::config]
    pub trait Config:
        frame_system::Config<AccountId = AccountId32, Hash = H256, RuntimeEvent: From<Event<Self>>>
    {
        /// The clock that evidence is judged by.
        type Time: UnixTime;
        /// Whoever keeps the orders that receipts and losses are about.
        type Market: Market;
        /// The VRF output of this block's author, as the block ends.
        type AuthorVrf: Get<Option<Hash>>;
        type WeightInfo: WeightInfo;
    }

    /// The parameters of this chain, set in genesis; other pallets read them through [`ParametersOf`](crate::ParametersOf).
    #[pallet::storage]
    pub type Parameters<T> = StorageValue<_, parameters::Parameters, ValueQuery, genesis::Production>;

    /// Certificate (DER) that all evidence must lead to. Written in genesis and by no call.
    #[pallet::storage]
    pub type TrustedRoot<T> = StorageValue<_, BoundedVec<u8, MaxRoot>, ValueQuery>;

    /// What the environment of a platform must be like. Written in genesis and by Root.
    #[pallet::storage]
    pub type Policy<T> = StorageValue<_, PlatformPolicy, ValueQuery>;

    /// The programs that may register, by index: at most [`MAX_MEASUREMENTS`]. Written in genesis and by Root.
    #[pallet::storage]
    pub type Measurements<T> = CountedStorageMap<_, Twox64Concat, u32, Approval>;

    /// The next program that is approved gets this index.
    #[pallet::storage]
    pub type NextMeasurement<T> = StorageValue<_, u32, ValueQuery>;

    /// Which edition is kept of each part of the vendors' collateral.
    #[pallet::storage]
    pub type Editions<T> = StorageMap<_, Blake2_128Concat, Part, Edition>;

    /// The newest list of what the trusted root has revoked.
    #[pallet::storage]
    pub type RootCrl<T> = StorageValue<_, RevocationList>;

    /// The newest list of the platforms that an authority has revoked.
    #[pallet::storage]
    pub type PckCrls<T> = StorageMap<_, Blake2_128Concat, Ca, RevocationList>;

    /// The newest TCB info of each family of platforms.
    #[pallet::storage]
    pub type TcbInfos<T> = CountedStorageMap<_, Blake2_128Concat, (Tee, Fmspc), Document>;

    /// The newest identity of the vendor's quoting enclave.
    #[pallet::storage]
    pub type QeIdentities<T> = StorageMap<_, Blake2_128Concat, Tee, Document>;

    /// The next node gets this number.
    #[pallet::storage]
    pub type NextNode<T> = StorageValue<_, NodeId, ValueQuery>;

    /// Every node, for ever.
    #[pallet::storage]
    pub type Nodes<T> = StorageMap<_, Twox64Concat, NodeId, Node>;

    /// Where each of them is reached.
    #[pallet::storage]
    pub type Endpoints<T> = StorageMap<_, Twox64Concat, NodeId, Endpoint>;

    /// Every key that stands or stood behind a node.
    #[pallet::storage]
    pub type NodeOf<T> = StorageMap<_, Twox64Concat, Key, NodeId>;

    /// Enclaves that may follow a node of their provider, by signing key.
    #[pallet::storage]
    pub type Standbys<T> = StorageMap<_, Twox64Concat, Key, Standby>;

    /// Every machine that a node or a standby was ever registered on, by the hash of its id.
    #[pallet::storage]
    pub type Platforms<T> = StorageMap<_, Twox64Concat, Hash, Platform>;

    /// What was reported in each of the last [`KEPT_SLOTS`] slots.
    #[pallet::storage]
    pub type SlotSums<T> = StorageMap<_, Twox64Concat, Slot, Sums, ValueQuery>;

    /// VRF outputs of the authors in the running window.
    #[pallet::storage]
    pub type WindowOutputs<T> = StorageValue<_, BoundedVec<Hash, MaxWindow>, ValueQuery>;

    /// The beacons of the last windows.
    #[pallet::storage]
    pub type WindowBeacons<T> = StorageValue<_, Beacons, ValueQuery>;

    /// The beacons of the last slots.
    #[pallet::storage]
    pub type SlotBeacons<T> = StorageValue<_, Beacons, ValueQuery>;

    #[pallet::genesis_config]
    pub struct GenesisConfig<T: Config> {
        #[serde(with = "crate::genesis::scale")]
        pub parameters: parameters::Parameters,
        /// Certificate (DER) of the trusted root.
        #[serde(with = "sp_core::bytes")]
        pub trusted_root: Vec<u8>,
        #[serde(with = "crate::genesis::scale")]
        pub measurements: Vec<Measurement>,
        #[serde(with = "crate::genesis::scale")]
        pub policy: PlatformPolicy,
        /// Whether software platforms may be trusted: only then may the root or a measurement be theirs.
        pub development: bool,
        #[serde(skip)]
        pub _config: PhantomData<T>,
    }

    #[pallet::genesis_build]
    impl<T: Config> BuildGenesisConfig for GenesisConfig<T> {
        fn build(&self) {
            genesis::build(self);
        }
    }

    #[pallet::event]
    #[pallet::generate_deposit(pub(crate) fn deposit_event)]
    pub enum Event<T: Config> {
        /// Collateral was checked; how many of its four parts are newer than what the chain had.
        #[codec(index = 0)]
        CollateralSubmitted { tee: Tee, ca: Ca, fmspc: Fmspc, newer: u8 },
        #[codec(index = 1)]
        Registered { node: NodeId, provider: AccountId32, sign_pk: Key, measurement: u32, until: BlockNumber },
        #[codec(index = 2)]
        Renewed { node: NodeId, measurement: u32, until: BlockNumber },
        #[codec(index = 3)]
        Announced { node: NodeId },
        /// Receipts were accepted; this many of their orders had a place for the node.
        #[codec(index = 4)]
        ReceiptsAccepted { node: NodeId, root: Hash, applied: u32 },
        /// Losses or deletions were accepted; this many replicas ended.
        #[codec(index = 5)]
        GoneAccepted { node: NodeId, root: Hash, ended: u32 },
        #[codec(index = 6)]
        Reported {
            node: NodeId,
            root: Hash,
            slot: Slot,
            filler_bytes: u64,
            stored_bytes: u64,
            good_filler: u8,
            good_files: u8,
            power: u64,
        },
        #[codec(index = 10)]
        PolicySet,
        /// A program may register, or may on other terms.
        #[codec(index = 11)]
        MeasurementApproved { measurement: u32, min_svn: u16, expires: Option<BlockNumber> },
        /// Nothing registers under this program any more; the nodes that do are out after the revocation delay.
        #[codec(index = 12)]
        MeasurementRevoked { measurement: u32 },
        /// A renewal showed that a node has fallen out of approval or policy: it is out from this block on.
        #[codec(index = 13)]
        Leaving { node: NodeId, out: BlockNumber },
        #[codec(index = 14)]
        StoodBy { provider: AccountId32, sign_pk: Key, measurement: u32, until: BlockNumber },
        /// A node's enclave named the one that may follow it.
        #[codec(index = 15)]
        HeirNamed { node: NodeId, root: Hash, heir: Key },
        /// A node has another enclave; the key of the old one is used up.
        #[codec(index = 16)]
        Succeeded { node: NodeId, sign_pk: Key, measurement: u32, until: BlockNumber },
        /// The beacon has drawn a node, and its replicas change before it has reported: the draw stays due.
        #[codec(index = 20)]
        DrawMade { node: NodeId, order: OrderId, chunk: u64 },
        /// A node has shown what the beacon drew.
        #[codec(index = 21)]
        DrawAnswered { node: NodeId, order: OrderId },
        /// A node has lost what the beacon drew, or kept silent: it is on probation.
        #[codec(index = 22)]
        DrawFailed { node: NodeId, order: OrderId },
    }

    #[pallet::error]
    pub enum Error<T> {
        /// The quote cannot be read. Get a new one from the enclave.
        #[codec(index = 0)]
        MalformedQuote,
        /// Only SGX quotes of version 3 and TDX quotes of version 4 are known.
        #[codec(index = 1)]
        UnknownQuoteVersion,
        /// The collateral cannot be read. Fetch it again from the vendor.
        #[codec(index = 2)]
        MalformedCollateral,
        /// The collateral is not in date at this block's time. Fetch and submit a newer one.
        #[codec(index = 3)]
        CollateralOutOfDate,
        /// The collateral is for other platforms than that of the quote.
        #[codec(index = 4)]
        OtherFamily,
        /// The quote does not lead to this chain's trusted root, or its platform is revoked.
        #[codec(index = 5)]
        UntrustedQuote,
        /// The chain has no collateral for this family of platforms. Submit it first.
        #[codec(index = 6)]
        NoCollateral,
        /// The collateral is of a later evaluation than this chain's policy takes yet.
        #[codec(index = 7)]
        EvaluationTooNew,
        /// The chain keeps collateral for as many families as it can.
        #[codec(index = 8)]
        TooManyFamilies,
        /// The enclave runs in debug mode: its host can read its memory.
        #[codec(index = 9)]
        DebugEnclave,
        /// The enclave is not a program that this chain has approved, or not in an approved mode.
        #[codec(index = 10)]
        MeasurementNotApproved,
        /// The platform's firmware is not in a state that this chain accepts. Update it.
        #[codec(index = 11)]
        TcbStatusNotAccepted,
        /// This chain does not accept platforms with SMT, cached keys or added packages.
        #[codec(index = 12)]
        PlatformNotAccepted,
        /// The evidence is for another chain, provider, key or block than named in the call.
        #[codec(index = 13)]
        WrongIdentity,
        /// The block that the evidence names is too old or not on this chain. Get new evidence.
        #[codec(index = 14)]
        StaleEvidence,
        /// The signing key belongs or belonged to a node. Start the enclave with a new identity.
        #[codec(index = 15)]
        KeyUsed,
        /// There is no node of this number.
        #[codec(index = 16)]
        UnknownNode,
        /// The node is another provider's.
        #[codec(index = 17)]
        NotProvider,
        /// All node numbers are given.
        #[codec(index = 18)]
        NoNumberLeft,
        /// A peer id is base58 text of at most 64 bytes.
        #[codec(index = 19)]
        MalformedPeerId,
        /// An address is a multiaddress as text, of at most 128 bytes.
        #[codec(index = 20)]
        MalformedAddress,
        /// The statement does not continue the node's last one. Say it again on the stored root.
        #[codec(index = 21)]
        NotOnRoot,
        /// The program's security version (ISVSVN) is lower than this chain accepts. Run a newer release.
        #[codec(index = 30)]
        IsvSvnTooLow,
        /// A security advisory that this chain rejects applies to the platform. Update its firmware.
        #[codec(index = 31)]
        AdvisoryRejected,
        /// The approval of the program has expired. Run a newer release.
        #[codec(index = 32)]
        MeasurementExpired,
        /// The program's approval was revoked. Run another release.
        #[codec(index = 33)]
        MeasurementRevoked,
        /// The platform serves another provider until the last registration on it has ended.
        #[codec(index = 34)]
        PlatformServesAnother,
        /// The platform has no room for the node's replicas: it counts bytes up to a cap only.
        #[codec(index = 35)]
        PlatformFull,
        /// The development enclave is approved on development chains only.
        #[codec(index = 36)]
        DevelopmentMeasurement,
        /// No program of this index is approved.
        #[codec(index = 37)]
        UnknownMeasurement,
        /// As many programs as can be are approved. Revoke one, and wait until the nodes under it are out.
        #[codec(index = 38)]
        TooManyMeasurements,
        /// The node's enclave has named no heir.
        #[codec(index = 39)]
        NoHeir,
        /// The heir follows another node by now. Name another.
        #[codec(index = 40)]
        HeirGone,
        /// The heir's registration has lapsed, or its program is withdrawn. Let it stand by again.
        #[codec(index = 41)]
        HeirOutOfPolicy,
    }

    #[pallet::hooks]
    impl<T: Config> Hooks<BlockNumberFor<T>> for Pallet<T> {
        fn on_initialize(_: BlockNumberFor<T>) -> Weight {
            Self::forget_old_slot().saturating_add(T::WeightInfo::on_finalize())
        }

        fn on_finalize(_: BlockNumberFor<T>) {
            Self::note_output();
        }

        fn integrity_test() {
            genesis::integrity_test::<T>();
        }
    }

    #[pallet::call]
    impl<T: Config> Pallet<T> {
        /// Brings a vendor's collateral, with any genuine quote of the family as proof that it is complete. Of each
        /// part the chain keeps the newest.
        #[pallet::call_index(0)]
        #[pallet::weight(T::WeightInfo::submit_collateral())]
        pub fn submit_collateral(
            origin: OriginFor<T>,
            collateral: Box<Collateral>,
            quote: BoundedVec<u8, MaxQuote>,
        ) -> DispatchResult {
            ensure_signed(origin)?;
            Self::do_submit_collateral(*collateral, &quote)
        }

        /// Registers an enclave of the signing provider as a node; it gets the next number.
        #[pallet::call_index(1)]
        #[pallet::weight(T::WeightInfo::register())]
        pub fn register(
            origin: OriginFor<T>,
            sign_pk: Key,
            channel_pk: Key,
            block_number: BlockNumber,
            evidence: Evidence,
            peer_id: PeerId,
            addresses: Addresses,
        ) -> DispatchResult {
            let provider = ensure_signed(origin)?;
            let endpoint = Endpoint { peer_id, addresses };
            Self::do_register(Applicant { provider, sign_pk, channel_pk, block_number, evidence, endpoint })
        }

        /// Prolongs a node's registration with new evidence.
        #[pallet::call_index(2)]
        #[pallet::weight(T::WeightInfo::renew())]
        pub fn renew(
            origin: OriginFor<T>,
            node: NodeId,
            block_number: BlockNumber,
            evidence: Evidence,
        ) -> DispatchResult {
            let provider = ensure_signed(origin)?;
            Self::do_renew(provider, node, block_number, &evidence)
        }

        /// Changes where a node is reached.
        #[pallet::call_index(3)]
        #[pallet::weight(T::WeightInfo::announce())]
        pub fn announce(origin: OriginFor<T>, node: NodeId, peer_id: PeerId, addresses: Addresses) -> DispatchResult {
            let provider = ensure_signed(origin)?;
            Self::do_announce(provider, node, Endpoint { peer_id, addresses })
        }

        // Statements are general transactions, which have nobody to charge. They still say that they pay: a signed
        // transaction with such a call fails, and must not fail for free. What they name and has no effect weighs next to
        // nothing afterwards: otherwise a few of them would fill a block.

        /// An enclave has sealed files.
        #[pallet::call_index(4)]
        #[pallet::weight((T::WeightInfo::receipts(count(&statement.orders)), DispatchClass::Normal))]
        #[pallet::authorize(Self::authorize_receipts)]
        #[pallet::weight_of_authorize(T::WeightInfo::authorize_receipts())]
        pub fn receipts(
            origin: OriginFor<T>,
            node: NodeId,
            statement: Receipts,
            signature: Signature,
        ) -> DispatchResultWithPostInfo {
            Self::ensure_said(origin, signature)?;
            Self::do_receipts(node, statement)
        }

        /// An enclave has lost or deleted files.
        #[pallet::call_index(5)]
        #[pallet::weight((T::WeightInfo::gone(count(&statement.orders)), DispatchClass::Normal))]
        #[pallet::authorize(Self::authorize_gone)]
        #[pallet::weight_of_authorize(T::WeightInfo::authorize_gone())]
        pub fn gone(
            origin: OriginFor<T>,
            node: NodeId,
            statement: Gone,
            signature: Signature,
        ) -> DispatchResultWithPostInfo {
            Self::ensure_said(origin, signature)?;
            Self::do_gone(node, statement)
        }

        /// An enclave has checked what it holds.
        #[pallet::call_index(6)]
        #[pallet::weight((T::WeightInfo::report(statement.audit.is_some()), DispatchClass::Operational))]
        #[pallet::authorize(Self::authorize_report)]
        #[pallet::weight_of_authorize(T::WeightInfo::authorize_report(statement.audit.is_some()))]
        pub fn report(origin: OriginFor<T>, node: NodeId, statement: Report, signature: Signature) -> DispatchResult {
            Self::ensure_said(origin, signature)?;
            Self::do_report(node, statement)
        }

        /// Sets what a platform must be like. By Root.
        #[pallet::call_index(10)]
        #[pallet::weight(T::WeightInfo::set_policy())]
        pub fn set_policy(origin: OriginFor<T>, policy: PlatformPolicy) -> DispatchResult {
            ensure_root(origin)?;
            Self::do_set_policy(policy)
        }

        /// Approves a program, or changes the terms on which it is approved. By Root.
        #[pallet::call_index(11)]
        #[pallet::weight(T::WeightInfo::approve_measurement())]
        pub fn approve_measurement(
            origin: OriginFor<T>,
            measurement: Measurement,
            min_svn: u16,
            expires: Option<BlockNumber>,
        ) -> DispatchResult {
            ensure_root(origin)?;
            Self::do_approve_measurement(measurement, min_svn, expires)
        }

        /// Lets nothing register under a program any more; nodes under it are out after the revocation delay. By Root.
        #[pallet::call_index(12)]
        #[pallet::weight(T::WeightInfo::revoke_measurement())]
        pub fn revoke_measurement(origin: OriginFor<T>, measurement: u32) -> DispatchResult {
            ensure_root(origin)?;
            Self::do_revoke_measurement(measurement)
        }

        /// Registers an enclave of the signing provider that may follow one of its nodes, or prolongs its registration.
        /// It gets no number.
        #[pallet::call_index(13)]
        #[pallet::weight(T::WeightInfo::register())]
        pub fn stand_by(
            origin: OriginFor<T>,
            sign_pk: Key,
            channel_pk: Key,
            block_number: BlockNumber,
            evidence: Evidence,
            peer_id: PeerId,
            addresses: Addresses,
        ) -> DispatchResult {
            let provider = ensure_signed(origin)?;
            let endpoint = Endpoint { peer_id, addresses };
            Self::do_stand_by(Applicant { provider, sign_pk, channel_pk, block_number, evidence, endpoint })
        }

        /// An enclave names the one that may follow it.
        #[pallet::call_index(14)]
        #[pallet::weight((T::WeightInfo::heir(), DispatchClass::Normal))]
        #[pallet::authorize(Self::authorize_heir)]
        #[pallet::weight_of_authorize(T::WeightInfo::authorize_heir())]
        pub fn heir(origin: OriginFor<T>, node: NodeId, statement: Heir, signature: Signature) -> DispatchResult {
            Self::ensure_said(origin, signature)?;
            Self::do_heir(node, statement)
        }

        /// Puts the heir that a node's enclave named in its place, with the node's number and record.
        #[pallet::call_index(15)]
        #[pallet::weight(T::WeightInfo::succeed())]
        pub fn succeed(origin: OriginFor<T>, node: NodeId) -> DispatchResult {
            let provider = ensure_signed(origin)?;
            Self::do_succeed(provider, node)
        }
    }
}
