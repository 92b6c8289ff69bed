//! What the pallet stores, and what it asks of whoever keeps the orders.

use alloc::vec::Vec;
use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use core::marker::PhantomData;
use crust_evidence::Family;
use crust_protocol::{
    BlockNumber, Hash, Key, NodeId, Slot, attestation::MaxCollateralPart, draw::Drawn, order::OrderId,
    parameters::Parameters, statement::first_root,
};
use frame_support::{
    BoundedVec,
    pallet_prelude::{DispatchError, Weight},
    traits::{ConstU32, Get},
};
use scale_info::TypeInfo;
use sp_runtime::AccountId32;

use crate::{Config, Standby, audits::Audits};

/// Bytes of the trusted root's certificate.
pub type MaxRoot = ConstU32<4_096>;
/// Programs that may be approved at once.
pub const MAX_MEASUREMENTS: u32 = 64;
/// Bytes of a certificate (PEM) that signs collateral.
pub type MaxSigner = ConstU32<4_096>;
/// Families of platforms that the chain keeps collateral for.
pub const MAX_FAMILIES: u32 = 1_024;
/// Slots whose power the chain remembers.
pub const KEPT_SLOTS: Slot = 128;
/// `Gone`s of a registered node in a slot that may end nothing before the first order of each must count.
pub const IDLE_GONES: u8 = 20;

/// A libp2p peer id, base58 text.
pub type PeerId = BoundedVec<u8, ConstU32<64>>;
/// Multiaddresses, as text.
pub type Addresses = BoundedVec<BoundedVec<u8, ConstU32<128>>, ConstU32<4>>;

/// Where a node is reached.
#[derive(Clone, PartialEq, Eq, Debug, Default, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct Endpoint {
    pub peer_id: PeerId,
    pub addresses: Addresses,
}

/// A storage node: one daemon with its enclave. What every report reads and writes; where the node is reached is kept
/// apart ([`Endpoints`](crate::Endpoints)).
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct Node {
    pub provider: AccountId32,
    /// sr25519, of the enclave that speaks for this node.
    pub sign_pk: Key,
    /// X25519, of its attested channel.
    pub channel_pk: Key,
    /// H of the PPID.
    pub platform: Hash,
    /// Index of the approved measurement that its evidence shows.
    pub measurement: u32,
    /// The last block of its registration.
    pub registered_until: BlockNumber,
    /// Of the last accepted statement.
    pub root: Hash,
    pub last_report: Option<LastReport>,
    /// By its last report.
    pub power: u64,
    /// A slot, and how many of the node's `Gone`s ended nothing in it.
    pub gone_idle: (Slot, u8),
    /// Whose collateral judges its evidence.
    pub family: Family,
    /// The block of the renewal that first showed its platform out of policy.
    pub out_since: Option<BlockNumber>,
    /// Bytes of filler that count, by its last report.
    pub idle: u64,
    /// The enclave that may follow, and the slot in which it was named.
    pub heir: Option<(Slot, Key)>,
    /// What it owes to audits.
    pub audits: Audits,
}

/// What a node last vouched for.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct LastReport {
    pub slot: Slot,
    /// The block that the report is in.
    pub block: BlockNumber,
    pub filler_bytes: u64,
    pub stored_bytes: u64,
    pub good_filler: u8,
    pub good_files: u8,
    pub scrubbed_until: Slot,
}

/// A node as the outside sees it.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, TypeInfo)]
pub struct NodeInfo {
    pub provider: Key,
    pub sign_pk: Key,
    pub channel_pk: Key,
    pub platform: Hash,
    pub measurement: u32,
    pub registered_until: BlockNumber,
    /// Whether the registration lasts at this block.
    pub registered: bool,
    pub peer_id: Vec<u8>,
    pub addresses: Vec<Vec<u8>>,
    pub root: Hash,
    pub last_report: Option<LastReport>,
    pub power: u64,
    /// Bytes of filler that count, by its last report.
    pub idle: u64,
    /// The block from which it is out, if it has fallen out of approval or policy.
    pub leaves: Option<BlockNumber>,
    /// The enclave that may follow.
    pub heir: Option<Key>,
}

impl Node {
    /// An enclave as it begins to be a node: nothing said, nothing owed.
    pub(crate) fn of(sign_pk: Key, enclave: Standby) -> Self {
        let Standby { provider, channel_pk, family, platform, measurement, registered_until, endpoint: _ } = enclave;
        Node {
            provider,
            sign_pk,
            channel_pk,
            platform,
            measurement,
            registered_until,
            root: first_root(&sign_pk),
            last_report: None,
            power: 0,
            gone_idle: (0, 0),
            family,
            out_since: None,
            idle: 0,
            heir: None,
            audits: Audits::default(),
        }
    }

    /// The view of it: where it is reached, whether it is registered, and whether it leaves.
    pub fn info(self, endpoint: Endpoint, registered: bool, leaves: Option<BlockNumber>) -> NodeInfo {
        NodeInfo {
            registered,
            leaves,
            provider: self.provider.into(),
            sign_pk: self.sign_pk,
            channel_pk: self.channel_pk,
            platform: self.platform,
            measurement: self.measurement,
            registered_until: self.registered_until,
            peer_id: endpoint.peer_id.into_inner(),
            addresses: endpoint.addresses.into_iter().map(BoundedVec::into_inner).collect(),
            root: self.root,
            last_report: self.last_report,
            power: self.power,
            idle: self.idle,
            heir: self.heir.map(|(_, heir)| heir),
        }
    }
}

/// A list of revoked certificates, DER.
pub type RevocationList = BoundedVec<u8, MaxCollateralPart>;

/// A JSON document that the vendor signed.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct Document {
    /// PEM of the one certificate between the document and the root.
    pub signer: BoundedVec<u8, MaxSigner>,
    pub json: BoundedVec<u8, MaxCollateralPart>,
    pub signature: [u8; 64],
}

/// The keeper of orders and replicas, as far as statements need it.
pub trait Market {
    /// Whether a receipt of this node for this order would count.
    fn would_apply(node: NodeId, order: &OrderId) -> bool;
    /// The node has sealed these orders. Returns how many of them had a place for it, and what all together weighed; the
    /// others are skipped.
    fn receipts(node: NodeId, provider: &AccountId32, orders: &[OrderId]) -> Result<(u32, Weight), DispatchError>;
    /// Whether this node's loss of this order would end a replica.
    fn would_end(node: NodeId, order: &OrderId) -> bool;
    /// The node, whose due draw is of this order, and which is out or not, no longer holds these orders. Returns how many
    /// replicas that ends, and what all together weighed; the others are skipped.
    fn gone(node: NodeId, due: Option<OrderId>, is_out: bool, orders: &[OrderId]) -> (u32, Weight);
    /// Sum of the billed bytes of the node's live replicas.
    fn billed(node: NodeId) -> u64;
    /// The node reported in this slot, vouching for this share of its files. Returns the sum of the sizes of its live
    /// replicas and the idle space that its free collateral covers, both in bytes.
    fn reported(parameters: &Parameters, node: NodeId, slot: Slot, good_files: u8) -> (u64, u64);
    /// The node has answered its due draw.
    fn draw_answered(node: NodeId);
    /// The node failed its due draw: a seventh of all that is reserved. To be called while the draw is still due.
    fn draw_failed(node: NodeId);
    /// What this seed draws of the node's live replicas, by their bytes; nothing if it has none. Whoever changes the
    /// replicas calls [`Pallet::before_change`](crate::Pallet::before_change) first.
    fn draw(node: NodeId, seed: &Hash) -> Option<Drawn>;
}

/// Reads the parameters, for the `Config` of other pallets.
pub struct ParametersOf<T>(PhantomData<T>);

impl<T: Config> Get<Parameters> for ParametersOf<T> {
    fn get() -> Parameters {
        crate::Parameters::<T>::get()
    }
}
