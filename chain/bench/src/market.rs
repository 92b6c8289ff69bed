//! The market's calls and hooks, in the shapes in which they cost most.

use codec::Encode;
use crust_protocol::{
    Hash, TOKEN,
    file::{Cid, Codec, HashFunction},
    parameters::Parameters,
};
use crust_runtime::{Balances, Header, Runtime, StorageMarket, System, UncheckedExtrinsic};
use frame_support::{BoundedVec, traits::fungible::Mutate};
use pallet_mpow::{NextNode, SlotSums, Sums};
use pallet_storage_market::{
    Call, Leave, Leavers, NodeAccounts, NodesWatched, Orders, PowerWindow, Shares, UnmovedShares, WATCHED_A_BLOCK,
};
use sp_core::H256;
use sp_runtime::traits::Header as _;

use crate::{
    machine::Cost,
    world::{
        NOW, SLOT, World, cheapen, crowd, done, earn, hash_of, hold, let_draw, pass_beacons_since, place, registered,
        rich, set_beacons, signed, take,
    },
};

const GIB: u64 = 1 << 30;

pub fn place_order(world: &mut World) -> anyhow::Result<UncheckedExtrinsic> {
    world.make(|| {
        rich("client")?;
        let cid = *Cid::of(Codec::Raw, HashFunction::Sha2_256, b"file").as_bytes();
        let call = Call::place_order {
            nonce: 0,
            cid,
            size: GIB,
            audit_root: [1; 32],
            flags: 0,
            replicas: 20,
            term: 200,
            balance: TOKEN,
            nodes: Default::default(),
        };
        signed("client", 0, call)
    })
}

/// By somebody else.
pub fn fund(world: &mut World) -> anyhow::Result<UncheckedExtrinsic> {
    world.make(|| {
        rich("friend")?;
        let order = place(0, GIB, 20, Hash::default())?.id;
        crowd(order, 19);
        signed("friend", 0, Call::fund { order, amount: TOKEN })
    })
}

/// Where the node's own take has lapsed, as 18 others have.
pub fn take_again(world: &mut World) -> anyhow::Result<UncheckedExtrinsic> {
    world.make(|| {
        let order = place(0, GIB, 20, Hash::default())?.id;
        for node in 0..20 {
            take(&registered(node)?, order)?;
        }
        Orders::<Runtime>::mutate_extant(order, |order| order.takes.iter_mut().for_each(|take| take.until = NOW));
        let speaker = registered(20)?;
        signed(&speaker.provider, 0, Call::take { order, node: 20 })
    })
}

pub fn claim(world: &mut World) -> anyhow::Result<UncheckedExtrinsic> {
    world.make(|| {
        rich("anyone")?;
        let order = place(0, GIB, 20, Hash::default())?.id;
        hold(&registered(0)?, order)?;
        earn(0, &[order]);
        crowd(order, 20);
        signed("anyone", 0, Call::claim { order, node: 0 })
    })
}

/// Cancelling an order with so many replicas, each by a node of its own that is drawn and has a further one, and so many
/// lapsed takes.
pub fn cancel(world: &mut World, replicas: u32, takes: u32) -> anyhow::Result<UncheckedExtrinsic> {
    world.make(|| {
        let placed = place(0, GIB, 20, Hash::default())?;
        for node in 0..replicas {
            let speaker = registered(node)?;
            hold(&speaker, placed.id)?;
            hold(&speaker, place(1 + u64::from(node), GIB, 20, Hash::default())?.id)?;
            earn(node, &[placed.id]);
        }
        for node in replicas..replicas + takes {
            take(&registered(node)?, placed.id)?;
        }
        Orders::<Runtime>::mutate_extant(placed.id, |order| {
            order.takes.iter_mut().for_each(|take| take.until = NOW);
        });
        let_draw(&(0..replicas.max(1)).collect::<Vec<_>>(), |_| true)?;
        signed(&placed.client, 0, Call::cancel { order: placed.id })
    })
}

pub fn withdraw_collateral(world: &mut World) -> anyhow::Result<UncheckedExtrinsic> {
    world.make(|| {
        let speaker = registered(0)?;
        signed(&speaker.provider, 0, Call::withdraw_collateral { node: 0, amount: TOKEN })
    })
}

/// A replica, or a node with one.
pub fn retire(world: &mut World, whole_node: bool) -> anyhow::Result<UncheckedExtrinsic> {
    world.make(|| {
        let order = place(0, GIB, 20, Hash::default())?.id;
        let speaker = registered(0)?;
        hold(&speaker, order)?;
        crowd(order, 20);
        match whole_node {
            true => signed(&speaker.provider, 0, Call::retire_node { node: 0 }),
            false => signed(&speaker.provider, 0, Call::retire { order, node: 0 }),
        }
    })
}

pub fn abandon(world: &mut World) -> anyhow::Result<UncheckedExtrinsic> {
    world.make(|| {
        let speaker = registered(0)?;
        hold(&speaker, place(0, GIB, 20, Hash::default())?.id)?;
        let_draw(&[0], |_| true)?;
        signed(&speaker.provider, 0, Call::abandon { node: 0 })
    })
}

/// How the next block begins.
pub fn next_block(world: &mut World) -> anyhow::Result<Cost> {
    block(world, NOW + 1)
}

/// How the first block of the next slot begins.
pub fn next_slot(world: &mut World) -> anyhow::Result<Cost> {
    block(world, (SLOT + 1) * Parameters::PRODUCTION.slot_blocks)
}

fn block(world: &mut World, number: u32) -> anyhow::Result<Cost> {
    // The one before is the last that was made.
    world.make(|| {
        System::set_block_number(number - 1);
        Ok(())
    })?;
    let parent = H256(hash_of(number - 1));
    let header = Header::new(number, Default::default(), Default::default(), parent, Default::default());
    world.cost("Core_initialize_block", &header.encode(), |_| Ok(()))
}

/// Shares of pot and treasury wait, and the slot that ends counts.
pub fn shares_to_move(world: &mut World) -> anyhow::Result<()> {
    world.make(|| {
        done(Balances::mint_into(&StorageMarket::account(), 2 * TOKEN))?;
        UnmovedShares::<Runtime>::put(Shares { pot: TOKEN, treasury: TOKEN });
        PowerWindow::<Runtime>::put(BoundedVec::truncate_from(vec![1; 167]));
        SlotSums::<Runtime>::insert(SLOT, Sums { power: 1, idle: 1 });
        Ok(())
    })
}

/// As many nodes as a block watches, all with a replica, all silent under a draw.
pub fn silent_nodes(world: &mut World) -> anyhow::Result<()> {
    world.make(|| {
        for node in 0..WATCHED_A_BLOCK {
            hold(&registered(node)?, place(node.into(), GIB, 20, Hash::default())?.id)?;
            NodeAccounts::<Runtime>::mutate(node, |account| {
                if let Some(holding) = &mut account.holding {
                    holding.heard = 1;
                }
            });
        }
        // Each of them is drawn by some of the beacons.
        set_beacons(hash_of);
        (0..WATCHED_A_BLOCK).for_each(|node| pass_beacons_since(node, 0));
        many_nodes();
        Ok(())
    })
}

/// As many nodes as a block watches, all heard.
pub fn heard_nodes(world: &mut World) -> anyhow::Result<()> {
    world.make(|| {
        for node in 0..WATCHED_A_BLOCK {
            hold(&registered(node)?, place(node.into(), GIB, 20, Hash::default())?.id)?;
        }
        many_nodes();
        Ok(())
    })
}

/// A node that was abandoned under a draw with so many replicas, each of an order that wants so many and has them.
pub fn leaver(world: &mut World, replicas: u64, copies: u32) -> anyhow::Result<()> {
    world.make(|| {
        let speaker = registered(0)?;
        let mut orders = Vec::new();
        for number in 0..replicas {
            let order = place(number, GIB, copies, Hash::default())?.id;
            hold(&speaker, order)?;
            crowd(order, copies);
            orders.push(order);
        }
        earn(0, &orders);
        cheapen(&orders);
        let_draw(&[0], |_| true)?;
        Leavers::<Runtime>::insert(0, Leave::Abandoned { found: true });
        Ok(())
    })
}

/// So many nodes that each is passed once in `MAX_SILENT` slots when a block watches as many as it may.
fn many_nodes() {
    let parameters = Parameters::PRODUCTION;
    NextNode::<Runtime>::put(WATCHED_A_BLOCK * parameters.max_silent * parameters.slot_blocks);
    NodesWatched::<Runtime>::put(0);
}
