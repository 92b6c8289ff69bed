//! Whether a file would find its nodes: an order that nobody can fill is refused before it costs anything.
//!
//! A node may take a file if the chain gives it anything new, if it reports and does not hold the file already, and if as
//! much of its collateral is free as the replica would reserve; it has room if its machine may hold so much more, and the
//! filler in its last report, which gives way to files, is as large as the file. One whose filler still grows, or that has
//! reported for less than two slots (a first report counts no filler), is taken to have that: how much, only its daemon
//! knows.

use std::collections::{BTreeMap, BTreeSet};

use crust_protocol::{Key, NodeId, Slot, file::Cid, parameters::Parameters};

use super::Error;
use crate::chain::{self, BlockRef, Chain, Collateral, Finality, Node, View};

/// Slots without a report after which a node counts as away.
const SILENT_SLOTS: Slot = 3;
/// Slots within which a node's filler must have grown if it is to grow further.
const GROWTH_SLOTS: u32 = 2;
/// Nodes of one page.
const PAGE: u32 = 256;

/// Refuses a file for which too few nodes are there or have room; without a CID, one that nobody holds yet.
pub async fn check(chain: &Chain, cid: Option<Cid>, size: u64, wanted: u32) -> Result<(), Error> {
    let view = chain.view(Finality::Best).await?;
    let holders: BTreeSet<NodeId> = match cid {
        Some(cid) => view.replicas_of(cid).await?.into_iter().map(|replica| replica.node).collect(),
        None => BTreeSet::new(),
    };
    let mut rooms = Rooms::default();
    let parameters = chain.parameters();
    let needed = Collateral::needed(parameters, size);
    let billed = parameters.billed(size);
    let enough = |rooms: &Rooms| rooms.with(size, billed) >= wanted;
    let mut nodes = Nodes::default();
    while let Some(page) = nodes.next(&view).await? {
        for node in page {
            if is_heard(&node, &view, parameters)
                && !holders.contains(&node.id)
                && let Ok(machine) = view.room(node.id).await?
            {
                let covered = needed <= view.collateral(node.id).await?.free;
                rooms.add(node.id, Room { provider: node.provider, filler: filler(&node), machine, covered });
                if enough(&rooms) {
                    return Ok(());
                }
            }
        }
    }
    let able = rooms.providers();
    if able < wanted {
        return Err(Error::TooFewNodes { wanted, able });
    }
    let able = rooms.covered();
    if able < wanted {
        return Err(Error::TooLittleCollateral { wanted, able, size, needed });
    }
    if let Some(earlier) = earlier(chain, view.block()).await {
        let (mut before, mut nodes) = (BTreeMap::new(), Nodes::default());
        while let Some(page) = nodes.next(&earlier).await? {
            before.extend(page.iter().filter_map(|node| Some((node.id, filler(node)?))));
        }
        rooms.forget_growing(&before);
    }
    if enough(&rooms) {
        return Ok(());
    }
    Err(Error::TooLittleRoom { wanted, able: rooms.with(size, billed), size, most: rooms.most() })
}

/// All nodes, a page at a time.
#[derive(Default)]
struct Nodes {
    start: NodeId,
}

impl Nodes {
    async fn next(&mut self, view: &View) -> Result<Option<Vec<Node>>, chain::Error> {
        let page = view.nodes(self.start, PAGE).await?;
        let Some(last) = page.last() else { return Ok(None) };
        self.start = last.id.saturating_add(1);
        Ok(Some(page))
    }
}

/// Whether the node is there: registered, and heard of lately or new.
fn is_heard(node: &Node, view: &View, parameters: &Parameters) -> bool {
    let heard = match node.last_report {
        Some(report) => report.slot,
        None => parameters.slot_of(node.registered_until.saturating_sub(parameters.attestation_period)),
    };
    node.registered && heard.saturating_add(SILENT_SLOTS) >= view.slot()
}

/// The state of a few slots ago, if there was one and the chain node still has it.
async fn earlier(chain: &Chain, block: BlockRef) -> Option<View> {
    let blocks = chain.parameters().slot_blocks.saturating_mul(GROWTH_SLOTS);
    let number = block.number.saturating_sub(blocks);
    let hash = chain.block_hash(number).await.ok()??;
    chain.view_at(BlockRef { number, hash }).await.ok()
}

fn filler(node: &Node) -> Option<u64> {
    node.last_report.map(|report| report.filler_bytes)
}

/// A node that may take a file.
struct Room {
    provider: Key,
    /// What its disks have room for, as far as that is known.
    filler: Option<u64>,
    /// What its machine may hold more, as it is billed.
    machine: u64,
    /// Whether its free collateral covers the replica.
    covered: bool,
}

/// The nodes that may take a file.
#[derive(Default)]
struct Rooms(BTreeMap<NodeId, Room>);

impl Rooms {
    fn add(&mut self, node: NodeId, room: Room) {
        self.0.insert(node, room);
    }

    /// Forgets how much room a node has whose filler was smaller a while ago, or that had not reported then.
    fn forget_growing(&mut self, before: &BTreeMap<NodeId, u64>) {
        for (id, room) in &mut self.0 {
            room.filler.take_if(|room| before.get(id).is_none_or(|filler| *room > *filler));
        }
    }

    fn providers(&self) -> u32 {
        count(self.0.values())
    }

    /// Providers that have a node whose collateral suffices.
    fn covered(&self) -> u32 {
        count(self.0.values().filter(|room| room.covered))
    }

    /// Of these, providers that have a node with room for a file of this size, or may have.
    fn with(&self, size: u64, billed: u64) -> u32 {
        count(self.0.values().filter(|room| room.covered && room.fits(size, billed)))
    }

    fn most(&self) -> u64 {
        self.0.values().filter(|room| room.covered).filter_map(Room::known).max().unwrap_or_default()
    }
}

impl Room {
    fn fits(&self, size: u64, billed: u64) -> bool {
        self.machine >= billed && self.filler.is_none_or(|filler| filler >= size)
    }

    fn known(&self) -> Option<u64> {
        self.filler.map(|filler| filler.min(self.machine))
    }
}

fn count<'a>(rooms: impl Iterator<Item = &'a Room>) -> u32 {
    u32::try_from(rooms.map(|room| room.provider).collect::<BTreeSet<_>>().len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn room(provider: u8, filler: Option<u64>) -> Room {
        Room { provider: [provider; 32], filler, machine: u64::MAX, covered: true }
    }

    #[test]
    fn providers_count_once_and_only_with_room() {
        let mut rooms = Rooms::default();
        for (node, provider, filler) in [(0, 1, Some(10)), (1, 1, Some(30)), (2, 2, Some(20)), (3, 3, None)] {
            rooms.add(node, room(provider, filler));
        }
        assert_eq!((rooms.providers(), rooms.most()), (3, 30));
        assert_eq!([0, 20, 21, 30, 31].map(|size| rooms.with(size, size)), [3, 3, 2, 2, 1]);
    }

    #[test]
    fn who_has_too_little_collateral_has_no_room() {
        let mut rooms = Rooms::default();
        for (node, filler, covered) in [(0, Some(50), false), (1, None, false), (2, Some(20), true)] {
            rooms.add(node, Room { covered, ..room(node as u8, filler) });
        }
        assert_eq!((rooms.providers(), rooms.covered(), rooms.with(0, 0), rooms.most()), (3, 1, 1, 20));
    }

    /// A machine has room as files are billed, its disks as they are long.
    #[test]
    fn whose_machine_is_full_has_no_room() {
        let mut rooms = Rooms::default();
        for (node, filler, machine) in [(0, Some(50), 30), (1, None, 9), (2, Some(20), 100)] {
            rooms.add(node, Room { machine, ..room(node as u8, filler) });
        }
        assert_eq!(
            [(0, 10), (9, 9), (20, 20), (21, 21), (31, 31)].map(|(size, billed)| rooms.with(size, billed)),
            [2, 3, 2, 1, 0]
        );
        assert_eq!(rooms.most(), 30);
    }

    #[test]
    fn who_still_grows_may_have_room() {
        let mut rooms = Rooms::default();
        for (node, provider) in [(0, 10), (1, 11), (2, 12), (3, 13)] {
            rooms.add(node, room(provider, Some(10)));
        }
        rooms.add(4, room(14, Some(0)));
        // Smaller before, as large, larger, and two that had not reported.
        rooms.forget_growing(&BTreeMap::from([(0, 9), (1, 10), (2, 11), (7, 0)]));
        assert_eq!(rooms.with(1 << 40, 1 << 40), 3);
    }
}
