//! What the chain says, in plain types: no generated one leaves this folder.

use std::fmt::{self, Display, Formatter};

use crust_network::{Multiaddr, PeerId};
use crust_protocol::{
    Balance, BlockNumber, Hash, Key, NodeId, Slot,
    draw::Drawn,
    file::Cid,
    order::{Content, OrderId},
    parameters::{Parameters, TIB},
};

/// A block, by number and hash.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct BlockRef {
    pub number: BlockNumber,
    pub hash: Hash,
}

/// Which chain of blocks is meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Finality {
    /// The best one: newest, may still be replaced.
    Best,
    /// What is final.
    Finalized,
}

/// A storage node's record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Node {
    pub id: NodeId,
    pub provider: Key,
    pub sign_pk: Key,
    pub channel_pk: Key,
    pub platform: Hash,
    /// Index of the approved measurement.
    pub measurement: u32,
    /// The last block of the registration.
    pub registered_until: BlockNumber,
    /// Whether the registration holds in the block that was looked at.
    pub registered: bool,
    /// The daemon's libp2p peer id, as text.
    pub peer_id: String,
    /// Its multiaddresses, as text.
    pub addresses: Vec<String>,
    /// The root in the last statement that the chain accepted.
    pub root: Hash,
    pub last_report: Option<LastReport>,
    pub power: u64,
    /// Bytes of filler that count, by its last report.
    pub idle: u64,
    /// The block from which it is out, if its program or platform is no longer accepted.
    pub leaves: Option<BlockNumber>,
    /// Signing key of the enclave that may follow.
    pub heir: Option<Key>,
}

/// Why a node takes nothing new.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Barred {
    NotRegistered,
    /// Its program or platform is approved no more.
    Withdrawn,
    NoHeir,
    Leaves,
}

/// The reason, and what to do.
impl Display for Barred {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Barred::NotRegistered => {
                "its registration has ended; its daemon renews it, and the worker `register` says what it waits for"
            }
            Barred::Withdrawn => {
                "its program or its platform is approved no more; upgrade to an approved release, or update the \
                 machine's firmware"
            }
            Barred::NoHeir => "its key would be lost with its machine; start a standby, which becomes its heir",
            Barred::Leaves => "it retires or was abandoned, for good, or it fell silent and loses what it holds",
        })
    }
}

/// What a node's last accepted report said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LastReport {
    pub slot: Slot,
    /// The block it was in.
    pub block: BlockNumber,
    pub filler_bytes: u64,
    pub stored_bytes: u64,
    pub good_filler: u8,
    pub good_files: u8,
    pub scrubbed_until: Slot,
}

/// What a node owes to the chain's audits.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Audit {
    /// The newest slot whose beacon stands: a report of a later slot may owe something else.
    pub slot: Slot,
    /// What the node's next report must answer.
    pub due: Option<Drawn>,
    /// Answers until the node earns again; 0 if it does.
    pub probation: u32,
}

/// A file's replica on a node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Replica {
    pub order: OrderId,
    pub node: NodeId,
    pub provider: Key,
    /// The block of its receipt.
    pub since: BlockNumber,
    pub peer_id: String,
    pub addresses: Vec<String>,
    /// The node's last report since it holds replicas: its slot, and how good its files are (255 is all good).
    pub health: Option<(Slot, u8)>,
}

/// A place of an order that a node holds until it has sent its receipt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Take {
    pub node: NodeId,
    pub provider: Key,
    /// From this block on another take overwrites it.
    pub until: BlockNumber,
    pub peer_id: String,
    pub addresses: Vec<String>,
}

/// An order's record.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Order {
    pub id: OrderId,
    pub client: Key,
    pub nonce: u64,
    pub cid: Cid,
    pub size: u64,
    pub audit_root: Hash,
    pub flags: u8,
    /// Replicas wanted.
    pub wanted: u32,
    /// Slots of a term.
    pub term: u32,
    pub placed: Slot,
    /// First slot of the running term.
    pub start: Slot,
    /// The slot after the running term.
    pub end: Slot,
    /// Plancks a slot and replica.
    pub rate: Balance,
    /// What is still on hold for it, the deposit apart.
    pub balance: Balance,
    pub deposit: Balance,
    pub cancelled: bool,
    /// Places that a node could take now.
    pub open_places: u32,
    pub takes: Vec<Take>,
    /// Live replicas.
    pub replicas: Vec<Replica>,
}

impl Order {
    /// What the order's id binds.
    pub fn content(&self) -> Content {
        Content {
            client: self.client,
            nonce: self.nonce,
            cid: self.cid,
            size: self.size,
            audit_root: self.audit_root,
            flags: self.flags,
        }
    }

    /// Replicas that are wanted and not live.
    pub fn unsealed(&self) -> u32 {
        self.wanted.saturating_sub(u32::try_from(self.replicas.len()).unwrap_or(u32::MAX))
    }

    /// The take of a node, lapsed or not.
    pub fn take_of(&self, node: NodeId) -> Option<&Take> {
        self.takes.iter().find(|take| take.node == node)
    }

    pub fn replica_of(&self, node: NodeId) -> Option<&Replica> {
        self.replicas.iter().find(|replica| replica.node == node)
    }
}

/// What an order costs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Quote {
    /// Plancks a slot and replica.
    pub rate: Balance,
    /// The pay of all replicas for one term: what `place_order` is given.
    pub balance: Balance,
    /// Taken at once and never refunded.
    pub placing_fee: Balance,
    /// Held for the record, returned at the end.
    pub deposit: Balance,
    /// All together.
    pub total: Balance,
}

/// An account's money, in plancks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Account {
    pub free: Balance,
    pub held: Balance,
}

/// A node's collateral, in plancks.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Collateral {
    /// All of it, on hold in the provider's account.
    pub deposited: Balance,
    /// What live replicas answer with.
    pub reserved: Balance,
    /// What takes hold.
    pub taken: Balance,
    /// The rest: what lets the node take more, and what may be withdrawn.
    pub free: Balance,
}

impl Collateral {
    /// What a replica of a file of this size needs to be free, at the price of the day.
    pub fn needed(parameters: &Parameters, size: u64) -> Balance {
        parameters.rate(size).saturating_mul(parameters.collateral_slots.into())
    }

    /// What has to be added so that so much idle space counts in full and the node can take at least a small file.
    pub fn lacks(&self, parameters: &Parameters, idle: u64) -> Balance {
        if parameters.collateral_slots == 0 {
            return 0;
        }
        let for_idle = parameters.idle_collateral.saturating_mul(idle.into()).div_ceil(TIB.into());
        let for_file = Self::needed(parameters, 0).saturating_add(self.taken);
        for_idle.max(for_file).saturating_add(self.reserved).saturating_sub(self.deposited)
    }
}

/// What happened in a block, as far as clients care.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Event {
    OrderPlaced {
        order: OrderId,
        client: Key,
        cid: Cid,
        size: u64,
    },
    Funded {
        order: OrderId,
        funder: Key,
        amount: Balance,
    },
    Cancelled {
        order: OrderId,
    },
    Taken {
        order: OrderId,
        node: NodeId,
        until: BlockNumber,
    },
    ReplicaSealed {
        order: OrderId,
        node: NodeId,
    },
    ReplicaEnded {
        order: OrderId,
        node: NodeId,
    },
    CollateralDeposited {
        node: NodeId,
        amount: Balance,
        deposited: Balance,
    },
    /// The end of a replica cost its node collateral.
    Slashed {
        order: OrderId,
        node: NodeId,
        to_order: Balance,
        to_client: Balance,
        to_treasury: Balance,
    },
    /// A node did not answer its due draw, which cost this much of its collateral.
    DrawFailed {
        node: NodeId,
        amount: Balance,
    },
    NodeSilent {
        node: NodeId,
    },
    /// A node brought the answer to its due draw.
    DrawAnswered {
        node: NodeId,
        order: OrderId,
    },
    Claimed {
        order: OrderId,
        node: NodeId,
        provider_part: Balance,
        pot_part: Balance,
        treasury_part: Balance,
    },
    Renewed {
        order: OrderId,
        end: Slot,
        rate: Balance,
        returned: Balance,
    },
    OrderEnded {
        order: OrderId,
        refund: Balance,
    },
    /// Any other event, by the names of its pallet and variant.
    Other {
        pallet: String,
        name: String,
    },
}

/// Reads a peer and its addresses from a node's record; `None` if the peer id is no peer id. Addresses that cannot be
/// read are left out.
fn endpoint(peer_id: &str, addresses: &[String]) -> Option<(PeerId, Vec<Multiaddr>)> {
    let peer = peer_id.parse().ok()?;
    Some((peer, addresses.iter().filter_map(|address| address.parse().ok()).collect()))
}

impl Node {
    /// Where the node's daemon can be dialled.
    pub fn endpoint(&self) -> Option<(PeerId, Vec<Multiaddr>)> {
        endpoint(&self.peer_id, &self.addresses)
    }
}

impl Take {
    /// Where the taking node's daemon can be dialled.
    pub fn endpoint(&self) -> Option<(PeerId, Vec<Multiaddr>)> {
        endpoint(&self.peer_id, &self.addresses)
    }
}

impl Replica {
    /// Where the replica's node can be dialled.
    pub fn endpoint(&self) -> Option<(PeerId, Vec<Multiaddr>)> {
        endpoint(&self.peer_id, &self.addresses)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn collateral_that_lacks_nothing_covers_idle_space_and_a_file() {
        let parameters = Parameters::PRODUCTION;
        let file = Collateral::needed(&parameters, 1);
        assert_eq!(file, 60 * 336, "64 KiB are billed at 60 plancks a slot");
        let lacks = |deposited, reserved, taken, idle| {
            let free = Balance::saturating_sub(deposited, reserved + taken);
            Collateral { deposited, reserved, taken, free }.lacks(&parameters, idle)
        };
        assert_eq!(lacks(0, 0, 0, 0), file);
        assert_eq!(lacks(file, 0, 0, 0), 0);
        assert_eq!(lacks(file + 9, 4, 7, 0), 2);
        let half = parameters.idle_collateral;
        assert_eq!(lacks(file, 0, 0, TIB), half - file);
        assert_eq!(lacks(half + 3, 3, 100, TIB), 0);
        // More is reserved than is deposited.
        assert_eq!(lacks(10, 25, 0, TIB), half + 15);
        let none = Parameters { collateral_slots: 0, ..parameters };
        assert_eq!(Collateral::default().lacks(&none, TIB), 0);
    }
}
