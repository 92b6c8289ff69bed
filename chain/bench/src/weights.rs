//! Every call and hook of the two pallets over its worst path, and the files that their weights are made of.

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::Context;
use crust_runtime::UncheckedExtrinsic;

use crate::{
    evidence,
    machine::{Cost, Machine},
    market, statements,
    world::World,
};

/// By the name of the constant.
pub type Costs = BTreeMap<&'static str, Cost>;

/// The pallets' folders, and the constants of each.
const FILES: [(&str, &[&str]); 2] = [
    (
        "pallets/mpow",
        &[
            "SUBMIT_COLLATERAL",
            "REGISTER",
            "RENEW",
            "ANNOUNCE",
            "AUTHORIZE_RECEIPTS",
            "RECEIPTS",
            "AUTHORIZE_GONE",
            "GONE_STATEMENT",
            "AUTHORIZE_REPORT",
            "AUTHORIZE_ANSWER",
            "MISSED_BEACON",
            "REPORT",
            "REPORT_ANSWERS",
            "SET_POLICY",
            "APPROVE_MEASUREMENT",
            "REVOKE_MEASUREMENT",
            "AUTHORIZE_HEIR",
            "HEIR",
            "SUCCEED",
        ],
    ),
    (
        "pallets/storage-market",
        &[
            "PLACE_ORDER",
            "FUND",
            "TAKE",
            "CLAIM",
            "CONCLUDE",
            "CONCLUDE_REPLICA",
            "TAKE_ENDS",
            "MOVE_COLLATERAL",
            "RETIRE",
            "RECEIPT",
            "RECEIPT_REPLACES",
            "GONE",
            "BEGIN_BLOCK",
            "BEGIN_SLOT",
            "WATCH",
            "LEAVE",
            "LEAVE_NODE",
        ],
    ),
];

/// Orders of a statement that names many: enough to tell what each costs.
const MANY: u32 = 24;
/// Copies of an order at most.
const ALL: u32 = pallet_storage_market::MAX_REPLICAS;
/// Slots that a node may have missed.
const MISSED: u32 = pallet_mpow::beacon::KEPT_BEACONS;

/// Measures them all, each in a world of its own.
pub fn costs(machine: &Machine) -> anyhow::Result<Costs> {
    let measurer = Measurer { machine };
    let mut costs = Costs::new();
    measurer.evidence(&mut costs)?;
    measurer.reports(&mut costs)?;
    measurer.orders_of_statements(&mut costs)?;
    measurer.market(&mut costs)?;
    measurer.hooks(&mut costs)?;
    Ok(costs)
}

struct Measurer<'a> {
    machine: &'a Machine,
}

type Made = anyhow::Result<UncheckedExtrinsic>;

impl Measurer<'_> {
    fn accepted(&self, make: impl FnOnce(&mut World) -> Made) -> anyhow::Result<Cost> {
        let mut world = World::new(self.machine)?;
        let transaction = make(&mut world)?;
        world.accepted(&transaction)
    }

    /// A statement: what it costs until its signature is checked, and what it costs in all.
    fn statement(&self, make: impl FnOnce(&mut World) -> Made) -> anyhow::Result<(Cost, Cost)> {
        let mut world = World::new(self.machine)?;
        let transaction = make(&mut world)?;
        let misquoted = statements::misquoted(&mut world, &transaction)?;
        Ok((world.refused(&misquoted)?, world.accepted(&transaction)?))
    }

    fn evidence(&self, costs: &mut Costs) -> anyhow::Result<()> {
        costs.insert("SUBMIT_COLLATERAL", self.accepted(evidence::submit_collateral)?);
        let register = |on_guest| self.accepted(|world| evidence::register(world, on_guest));
        costs.insert("REGISTER", register(false)?.most(register(true)?));
        let renew = |on_guest| self.accepted(|world| evidence::renew(world, on_guest));
        costs.insert("RENEW", renew(false)?.most(renew(true)?));
        costs.insert("ANNOUNCE", self.accepted(evidence::announce)?);
        costs.insert("SET_POLICY", self.accepted(evidence::set_policy)?);
        costs.insert("APPROVE_MEASUREMENT", self.accepted(evidence::approve_measurement)?);
        costs.insert("REVOKE_MEASUREMENT", self.accepted(evidence::revoke_measurement)?);
        let (authorize, all) = self.statement(statements::heir)?;
        costs.insert("AUTHORIZE_HEIR", authorize);
        costs.insert("HEIR", all.beyond(authorize));
        costs.insert("SUCCEED", self.accepted(statements::succeed)?);
        Ok(())
    }

    fn reports(&self, costs: &mut Costs) -> anyhow::Result<()> {
        let (authorize, all) = self.statement(|world| statements::report(world, None, 1))?;
        let (late, all_late) = self.statement(|world| statements::report(world, None, MISSED))?;
        let (largest, all_largest) = self.statement(statements::largest_answer)?;
        let (tried, all_tried) = self.statement(statements::report_of_many_tries)?;
        costs.insert("AUTHORIZE_REPORT", authorize);
        costs.insert("MISSED_BEACON", late.beyond(authorize).share(MISSED - 1));
        costs.insert("AUTHORIZE_ANSWER", largest.most(tried).beyond(authorize));
        let silent = all.beyond(authorize).most(all_late.beyond(late));
        let answered = all_largest.beyond(largest).most(all_tried.beyond(tried));
        costs.insert("REPORT", silent);
        costs.insert("REPORT_ANSWERS", answered.beyond(silent));
        Ok(())
    }

    /// What a statement costs for itself, and what each order costs that it names.
    fn orders_of_statements(&self, costs: &mut Costs) -> anyhow::Result<()> {
        let (authorize, one) = self.statement(|world| statements::receipts(world, 1, false))?;
        let receipts =
            |count: u32, cancelled| self.accepted(move |world| statements::receipts(world, count.into(), cancelled));
        let each = |cancelled| anyhow::Ok(receipts(MANY, cancelled)?.beyond(receipts(1, cancelled)?).share(MANY - 1));
        let receipt = each(false)?.most(each(true)?);
        let replacing_one = self.accepted(|world| statements::receipts_that_replace(world, 1))?;
        let replacing = self.accepted(|world| statements::receipts_that_replace(world, MANY))?;
        let replacing = replacing.beyond(replacing_one).share(MANY - 1);
        costs.insert("AUTHORIZE_RECEIPTS", authorize);
        costs.insert("RECEIPTS", one.beyond(authorize).beyond(receipt));
        costs.insert("RECEIPT", receipt);
        // The first of a statement pays parties that the others find paid already.
        costs.insert("RECEIPT_REPLACES", replacing.beyond(receipt).most(replacing_one.beyond(one)));

        let (authorize, one) = self.statement(|world| statements::gone(world, 1, ALL))?;
        let losses = |count: u32, copies| self.accepted(move |world| statements::gone(world, count.into(), copies));
        // The last copy's end is its order's.
        let each = |copies| anyhow::Ok(losses(MANY, copies)?.beyond(losses(1, copies)?).share(MANY - 1));
        let gone = each(ALL)?.most(each(1)?);
        costs.insert("AUTHORIZE_GONE", authorize);
        costs.insert("GONE_STATEMENT", one.beyond(authorize).beyond(gone));
        costs.insert("GONE", gone);
        let takes = |count| self.accepted(move |world| statements::gone_with_takes(world, count));
        costs.insert("TAKE_ENDS", takes(19)?.beyond(takes(0)?).share(19));
        Ok(())
    }

    fn market(&self, costs: &mut Costs) -> anyhow::Result<()> {
        costs.insert("PLACE_ORDER", self.accepted(market::place_order)?);
        costs.insert("FUND", self.accepted(market::fund)?);
        costs.insert("TAKE", self.accepted(market::take_again)?);
        costs.insert("CLAIM", self.accepted(market::claim)?);
        let cancel = |replicas, takes| self.accepted(move |world| market::cancel(world, replicas, takes));
        let takes = costs.get("TAKE_ENDS").map_or(Cost::default(), |take| take.with(*take, |one, _| one * 20.0));
        let one = cancel(1, 0)?;
        let replica = cancel(20, 0)?.beyond(one).share(19);
        costs.insert("CONCLUDE", cancel(0, 20)?.beyond(takes).most(one.beyond(replica)));
        costs.insert("CONCLUDE_REPLICA", replica);
        costs.insert("MOVE_COLLATERAL", self.accepted(market::withdraw_collateral)?);
        let retire = |whole_node| self.accepted(move |world| market::retire(world, whole_node));
        costs.insert("RETIRE", retire(false)?.most(retire(true)?).most(self.accepted(market::abandon)?));
        Ok(())
    }

    fn hooks(&self, costs: &mut Costs) -> anyhow::Result<()> {
        let mut world = World::new(self.machine)?;
        let idle = market::next_block(&mut world)?;
        market::shares_to_move(&mut world)?;
        let slot = market::next_slot(&mut world)?;
        costs.insert("BEGIN_BLOCK", idle);
        costs.insert("BEGIN_SLOT", slot.beyond(idle));
        let watched = |silent: bool| {
            let mut world = World::new(self.machine)?;
            if silent {
                market::silent_nodes(&mut world)?
            } else {
                market::heard_nodes(&mut world)?
            }
            market::next_block(&mut world)
        };
        let watched = watched(true)?.most(watched(false)?).beyond(idle);
        costs.insert("WATCH", watched.share(pallet_storage_market::WATCHED_A_BLOCK));
        let leaving = |replicas: u32, copies| {
            let mut world = World::new(self.machine)?;
            market::leaver(&mut world, replicas.into(), copies)?;
            anyhow::Ok(market::next_block(&mut world)?.beyond(idle))
        };
        const PAGE: u32 = pallet_storage_market::LEAVE_A_BLOCK;
        // Of a node that has many more, so that other replicas take the places in its list.
        let each = |copies| anyhow::Ok(leaving(8 * PAGE, copies)?.beyond(leaving(1, copies)?).share(PAGE - 1));
        let each = each(ALL)?.most(each(1)?);
        costs.insert("LEAVE", each);
        costs.insert("LEAVE_NODE", leaving(1, ALL)?.most(leaving(1, 1)?).beyond(each));
        Ok(())
    }
}

/// Writes the pallets' files under the folder of the chain's workspace.
pub fn write(workspace: &Path, costs: &Costs) -> anyhow::Result<()> {
    for (pallet, names) in FILES {
        let mut text = String::from(HEAD);
        for name in names {
            let cost = costs.get(name).with_context(|| format!("{name} was not measured"))?;
            let [micros, reads, writes] = [cost.micros, cost.reads, cost.writes].map(|number| number.ceil() as u64);
            text.push_str(&format!("pub(crate) const {name}: (u64, u64, u64) = ({micros}, {reads}, {writes});\n"));
        }
        let path = workspace.join(pallet).join("src/measured.rs");
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(())
}

const HEAD: &str = "//! What this pallet's steps cost in the runtime, over their worst paths: microseconds in wasm
//! without a database, storage keys read, storage keys written. `make weights` measures and writes this file;
//! `crate::weights` makes weights of it.

";

#[cfg(test)]
mod tests {
    use anyhow::ensure;

    use super::*;

    /// What a file declares.
    fn declared(text: &str) -> anyhow::Result<BTreeMap<&str, [f64; 3]>> {
        let lines =
            text.lines().filter_map(|line| line.strip_prefix("pub(crate) const ")?.split_once(": (u64, u64, u64) = ("));
        lines
            .map(|(name, numbers)| {
                let numbers = numbers.trim_end_matches(");").split(", ").map(str::parse::<f64>);
                let numbers = numbers.collect::<Result<Vec<f64>, _>>()?;
                Ok((name, <[f64; 3]>::try_from(numbers).ok().context("not three numbers")?))
            })
            .collect()
    }

    /// Fails where a declared count of reads or writes is below what is counted.
    fn check(texts: [&str; 2], costs: &Costs) -> anyhow::Result<()> {
        let mut checked = 0;
        for ((pallet, names), text) in FILES.iter().zip(texts) {
            let declared = declared(text)?;
            for name in *names {
                let [_, reads, writes] = declared.get(name).with_context(|| format!("{pallet} declares no {name}"))?;
                let counted = costs.get(name).with_context(|| format!("{name} was not counted"))?;
                ensure!(
                    *reads >= counted.reads && *writes >= counted.writes,
                    "{name} of {pallet} reads {} and writes {} keys: more than is declared; run `make weights`",
                    counted.reads,
                    counted.writes,
                );
                checked += 1;
            }
        }
        ensure!(checked == costs.len(), "something was counted that no file declares");
        Ok(())
    }

    #[test]
    fn the_weights_declare_every_read_and_write() -> anyhow::Result<()> {
        let texts = [
            include_str!("../../pallets/mpow/src/measured.rs"),
            include_str!("../../pallets/storage-market/src/measured.rs"),
        ];
        let mut costs = costs(&Machine::new(false)?)?;
        check(texts, &costs)?;
        // A read more than is declared does not pass.
        costs.entry("REPORT").and_modify(|cost| cost.reads += 1.0);
        assert!(check(texts, &costs).is_err());
        Ok(())
    }
}
