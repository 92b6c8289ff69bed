//! What enclaves say, in the shapes in which it costs most.

use anyhow::Context;
use crust_protocol::{Hash, draw, statement::Heir};
use crust_runtime::{Runtime, RuntimeOrigin, StorageMarket, UncheckedExtrinsic};
use pallet_mpow::Nodes;
use sp_core::Pair;

use crate::world::{
    SLOT, Speaker, World, account, answer_for, beacon, cheapen, chunk_of, crowd, done, earn, endpoint, hold, let_draw,
    offer, pair, pass_beacons_since, place, registered, said, set_beacons, signed, take,
};

const GIB: u64 = 1 << 30;
/// The largest file that may be ordered.
const LARGEST: u64 = 8 << 40;
/// The node that speaks.
const NODE: u32 = 0;

/// The kinds of statements that nodes make in every slot; with one order, where they name any.
#[derive(Clone, Copy)]
pub enum Said {
    Report,
    Receipts,
    Gone,
}

/// A report, of a node that holds one file; with an answer for a file of this size, or of a node that nothing is asked
/// of; after so many slots in which it has not reported.
pub fn report(world: &mut World, answer: Option<u64>, missed: u32) -> anyhow::Result<UncheckedExtrinsic> {
    world.make(|| {
        let speaker = registered(NODE)?;
        let size = answer.unwrap_or(GIB);
        let newest = beacon(NODE, answer.is_some(), |_| true)?;
        let passed_by = beacon(NODE, false, |_| true)?;
        let (audit_root, answer) = match answer {
            Some(size) => {
                let seed = draw::seed(&newest, NODE, rate()).context("not drawn")?;
                let (root, answer) = answer_for(size, chunk_of(&seed, size)?)?;
                (root, Some(answer))
            }
            None => (Hash::default(), None),
        };
        hold(&speaker, place(0, size, 20, audit_root)?.id)?;
        pass_beacons_since(NODE, SLOT - missed);
        set_beacons(|slot| if slot == SLOT { newest } else { passed_by });
        speaker.report(answer)
    })
}

/// A report with an answer that many points of the market's list had to be tried for.
pub fn report_of_many_tries(world: &mut World) -> anyhow::Result<UncheckedExtrinsic> {
    /// Every other point of its width is behind its bytes.
    const SIZE: u64 = (1 << 29) + 1;
    const WIDTH: u128 = 1 << 30;
    const LISTED: u64 = 200;
    /// As the market has it.
    const TRIES: usize = 16;
    world.make(|| {
        let speaker = registered(NODE)?;
        let drawn = |seed: &Hash| {
            let mut seed = *seed;
            for tried in 1..=TRIES {
                let (point, _) = draw::halves(&seed);
                let point = point % (WIDTH * u128::from(LISTED));
                if tried == TRIES || point % WIDTH < u128::from(SIZE) {
                    return (tried, point / WIDTH, seed);
                }
                seed = crust_protocol::h(&[&seed]);
            }
            (TRIES, 0, seed)
        };
        let newest = beacon(NODE, true, |seed| drawn(seed).0 == TRIES)?;
        let (_, index, seed) = drawn(&draw::seed(&newest, NODE, rate()).context("not drawn")?);
        let (root, answer) = answer_for(SIZE, chunk_of(&seed, SIZE)?)?;
        for number in 0..LISTED {
            let audit_root = if u128::from(number) == index { root } else { Hash::default() };
            hold(&speaker, place(number, SIZE, 20, audit_root)?.id)?;
        }
        pass_beacons_since(NODE, SLOT - 1);
        set_beacons(|_| newest);
        speaker.report(Some(answer))
    })
}

/// A signature by the enclave, but of something else: all other checks pass.
pub fn misquoted(world: &mut World, said_well: &UncheckedExtrinsic) -> anyhow::Result<UncheckedExtrinsic> {
    use pallet_mpow::Call;
    world.make(|| {
        let other = Speaker::new(NODE).sign(&Heir { prev: [8; 32], root: [8; 32], heir: [8; 32] });
        let crust_runtime::RuntimeCall::Mpow(mut call) = said_well.function.clone() else {
            anyhow::bail!("no statement")
        };
        match &mut call {
            Call::receipts { signature, .. }
            | Call::gone { signature, .. }
            | Call::report { signature, .. }
            | Call::heir { signature, .. } => *signature = other,
            other => anyhow::bail!("no statement: {other:?}"),
        }
        Ok(said(call))
    })
}

/// Receipts for so many orders, each the last place of its order; of orders that are cancelled, or not.
pub fn receipts(world: &mut World, count: u64, cancelled: bool) -> anyhow::Result<UncheckedExtrinsic> {
    world.make(|| {
        let speaker = holder()?;
        let mut orders = Vec::new();
        for number in 0..count {
            let placed = place(number, GIB, 20, Hash::default())?;
            take(&speaker, placed.id)?;
            crowd(placed.id, 19);
            if cancelled {
                done(
                    StorageMarket::cancel(RuntimeOrigin::signed(account(&placed.client)), placed.id)
                        .map_err(|it| it.error),
                )?;
            }
            orders.push(placed.id);
        }
        let_draw(&[NODE], |_| true)?;
        speaker.receipts(&orders)
    })
}

/// Receipts for so many orders, each in the place of a node that retires, which is another one each time.
pub fn receipts_that_replace(world: &mut World, count: u32) -> anyhow::Result<UncheckedExtrinsic> {
    world.make(|| {
        let speaker = holder()?;
        let mut orders = Vec::new();
        for number in 0..count {
            let leaving = registered(1 + number)?;
            // Not its last file: the node stays, and another file takes the place of this one in its list.
            let placed = place(number.into(), GIB, 20, Hash::default())?;
            let other = place(10_000 + u64::from(number), GIB, 20, Hash::default())?;
            hold(&leaving, placed.id)?;
            hold(&leaving, other.id)?;
            earn(leaving.node, &[placed.id]);
            cheapen(&[placed.id]);
            offer(placed.id, leaving.node);
            take(&speaker, placed.id)?;
            crowd(placed.id, 20);
            orders.push(placed.id);
        }
        let_draw(&[NODE], |_| true)?;
        speaker.receipts(&orders)
    })
}

/// So many files are gone, each of another client, each in so many copies, all of them there; all have earned, the first is
/// what was drawn.
pub fn gone(world: &mut World, count: u64, copies: u32) -> anyhow::Result<UncheckedExtrinsic> {
    world.make(|| {
        let speaker = holder()?;
        let mut orders = Vec::new();
        for number in 0..count {
            let placed = place(number, GIB, copies, Hash::default())?;
            hold(&speaker, placed.id)?;
            crowd(placed.id, copies);
            orders.push(placed.id);
        }
        // As many again: each of these takes the place of a lost one in the node's list.
        for number in count..2 * count {
            hold(&speaker, place(number, GIB, 20, Hash::default())?.id)?;
        }
        earn(NODE, &orders);
        cheapen(&orders);
        // Of all files, the one that no statement names comes first in the list; they are of one size.
        let listed = 2 * u128::from(count) + 1;
        let named = 1..=u128::from(count);
        let_draw(&[NODE], |seed| named.contains(&((draw::halves(seed).0 % (listed << 30)) >> 30)))?;
        speaker.gone(&orders)
    })
}

/// The last copy of an order is gone, while nodes have taken its other places.
pub fn gone_with_takes(world: &mut World, takes: u32) -> anyhow::Result<UncheckedExtrinsic> {
    world.make(|| {
        let speaker = holder()?;
        let placed = place(0, GIB, 20, Hash::default())?;
        let other = place(1, GIB, 20, Hash::default())?;
        hold(&speaker, placed.id)?;
        hold(&speaker, other.id)?;
        earn(NODE, &[placed.id]);
        cheapen(&[placed.id]);
        for number in 0..takes {
            take(&registered(1 + number)?, placed.id)?;
        }
        let_draw(&[NODE], |_| true)?;
        speaker.gone(&[placed.id])
    })
}

/// The node's enclave names its heir.
pub fn heir(world: &mut World) -> anyhow::Result<UncheckedExtrinsic> {
    world.make(|| {
        let speaker = registered(NODE)?;
        let heir = stand_by(&speaker)?;
        let statement = Heir { prev: speaker.prev()?, root: [5; 32], heir };
        let signature = speaker.sign(&statement);
        Ok(said(pallet_mpow::Call::heir { node: NODE, statement, signature }))
    })
}

/// The heir follows.
pub fn succeed(world: &mut World) -> anyhow::Result<UncheckedExtrinsic> {
    world.make(|| {
        let speaker = registered(NODE)?;
        hold(&speaker, place(0, GIB, 20, Hash::default())?.id)?;
        let heir = stand_by(&speaker)?;
        Nodes::<Runtime>::mutate_extant(NODE, |node| node.heir = Some((SLOT - 1, heir)));
        signed(&speaker.provider, 0, pallet_mpow::Call::succeed { node: NODE })
    })
}

/// One statement each of so many nodes, none of which is drawn.
pub fn of_many(world: &mut World, what: Said, count: u32) -> anyhow::Result<Vec<UncheckedExtrinsic>> {
    world.make(|| {
        let beacons = (0..u64::MAX).map(|at| crust_protocol::h(&[b"beacon", &at.to_le_bytes()]));
        let mut passing = beacons.filter(|beacon| (0..count).all(|node| draw::seed(beacon, node, rate()).is_none()));
        let passing = passing.next().context("no beacon passes them all by")?;
        let statement = |node: u32| {
            let speaker = registered(node)?;
            hold(&speaker, place(1_000_000 + u64::from(node), GIB, 20, Hash::default())?.id)?;
            let placed = place(node.into(), GIB, 20, Hash::default())?;
            let said = match what {
                Said::Report => speaker.report(None),
                Said::Receipts => {
                    take(&speaker, placed.id)?;
                    crowd(placed.id, 19);
                    speaker.receipts(&[placed.id])
                }
                Said::Gone => {
                    hold(&speaker, placed.id)?;
                    crowd(placed.id, 20);
                    earn(node, &[placed.id]);
                    cheapen(&[placed.id]);
                    speaker.gone(&[placed.id])
                }
            };
            pass_beacons_since(node, SLOT - 1);
            said
        };
        let statements = (0..count).map(statement).collect();
        set_beacons(|_| passing);
        statements
    })
}

/// The largest answer that there is.
pub fn largest_answer(world: &mut World) -> anyhow::Result<UncheckedExtrinsic> {
    report(world, Some(LARGEST), 1)
}

/// The node, with a file that no statement names.
fn holder() -> anyhow::Result<Speaker> {
    let speaker = registered(NODE)?;
    hold(&speaker, place(1_000_000, GIB, 20, Hash::default())?.id)?;
    Ok(speaker)
}

fn stand_by(speaker: &Speaker) -> anyhow::Result<Hash> {
    let node = Nodes::<Runtime>::get(speaker.node).context("no such node")?;
    let heir = pair("heir").public().0;
    let platform = crust_protocol::h(&[b"another platform"]);
    let machine = pallet_mpow::Platforms::<Runtime>::get(node.platform).context("no platform")?;
    pallet_mpow::Platforms::<Runtime>::insert(platform, machine);
    let standby = pallet_mpow::Standby {
        provider: node.provider,
        channel_pk: node.channel_pk,
        family: node.family,
        platform,
        measurement: node.measurement,
        registered_until: u32::MAX,
        endpoint: endpoint(),
    };
    pallet_mpow::Standbys::<Runtime>::insert(heir, standby);
    Ok(heir)
}

fn rate() -> u32 {
    pallet_mpow::Parameters::<Runtime>::get().audit_rate
}

#[cfg(test)]
mod tests {
    use codec::{Decode, Encode};

    use super::*;
    use crate::machine::{APPLY, Machine};

    /// What a node is told to read for a statement before it executes it.
    fn named(world: &mut World, machine: &Machine, statement: &UncheckedExtrinsic) -> anyhow::Result<Vec<Vec<u8>>> {
        let mut named = Vec::new();
        for round in 0.. {
            let asked = (vec![statement], round).encode();
            let keys = machine.call(&mut world.state, "PrefetchApi_prefetch_keys", &asked)?;
            let keys = Vec::<Vec<u8>>::decode(&mut &*keys)?;
            if keys.is_empty() {
                break;
            }
            named.extend(keys);
        }
        Ok(named)
    }

    #[test]
    fn what_is_named_before_is_what_a_statement_touches() -> anyhow::Result<()> {
        let machine = Machine::new(false)?;
        // Of what a report reads of its node all is named. Orders lead on: to accounts and their holds, and to lists.
        for (said, all) in [(Said::Report, true), (Said::Receipts, false), (Said::Gone, false)] {
            let mut world = World::new(&machine)?;
            let statements = of_many(&mut world, said, 2)?;
            let mut touched = |at: usize| machine.keys(&mut world.state, APPLY, &statements[at].encode());
            let (own, others) = (touched(0)?.1, touched(1)?.1);
            let named = named(&mut world, &machine, &statements[0])?;
            assert!(named.len() >= 3, "{} keys", named.len());
            let idle: Vec<_> = named.iter().filter(|key| !own.has(key)).map(|key| format!("{key:02x?}")).collect();
            assert!(idle.is_empty(), "named and not touched: {idle:?}");
            let unnamed = own.read_alone(&others).into_iter().filter(|key| !named.contains(key)).count();
            assert!(!all || unnamed == 0, "{unnamed} keys are read and not named");
        }
        Ok(())
    }
}
