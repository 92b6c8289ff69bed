//! Reports, each slot, what is held: the enclave draws samples, this worker reads them, the enclave says what it found,
//! the chain hears it.
//!
//! Trigger: a best block. Action: as soon as a slot begins, its hash (of the last block before it) is shown and the
//! draw is answered; at the node's own offset in the first two thirds of the slot, past the first beacon window, the
//! report is said on the root where the chain stands. It is said again until the best chain has it: after a reorg, or
//! when it was dropped. A slot whose hash changed under it is checked again. After a restart the same slot goes on.
//!
//! Follow-up: filler that somebody cut short is given up, a slot after finality the enclave hears which root is final.
//! A slot below that of the last final report is never shown: whoever names it is wrong about the chain.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use crust_client::chain::{BlockRef, Finality};
use crust_enclave::rpc::{self, CheckResult, Request, Sample};
use crust_protocol::{BlockNumber, Hash, NodeId, Slot, order::OrderId};
use tokio::sync::watch;

use super::{
    Error, Next, Worker,
    drawn::{Showing, Shown},
};
use crate::{
    enclave_client,
    host::{Host, next_head},
    sampling,
    statements::{self, Words},
    store::{disks::DiskId, filler},
    trees,
};

/// The part of a slot that its check may take longer so that those who are being served do not wait for it.
const PATIENCE: u32 = 20;

pub struct Report {
    host: Arc<Host>,
    heads: watch::Receiver<Option<BlockRef>>,
    /// The slot checked last.
    checked: Option<(Slot, Hash)>,
    /// Disks on which filler was bad in that check, with the lowest bad page.
    bad_filler: Vec<(DiskId, u64)>,
    good_filler: u8,
    /// Files of whose hash trees something was bad in it.
    bad_trees: BTreeSet<OrderId>,
    /// The report that the chain was last seen to have.
    reported: Option<Slot>,
    /// A root that was seen final, and the block in which it was.
    final_root: Option<(BlockNumber, Hash)>,
    told: Option<Hash>,
    dropped: Dropped,
    showing: Showing,
    /// What went wrong beside the report.
    trouble: Option<String>,
}

impl Report {
    pub fn new(host: Arc<Host>) -> Self {
        let heads = host.best.subscribe();
        Report {
            host,
            heads,
            checked: None,
            bad_filler: Vec::new(),
            good_filler: u8::MAX,
            bad_trees: BTreeSet::new(),
            reported: None,
            final_root: None,
            told: None,
            dropped: Dropped::default(),
            showing: Showing::default(),
            trouble: None,
        }
    }

    /// Checks a slot: shows it, reads what is drawn, hands it over.
    async fn check(&mut self, slot: Slot, slot_hash: Hash) -> Result<(), Error> {
        let started = tokio::time::Instant::now();
        let host = self.host.clone();
        let parameters = host.parameters();
        let patience = Duration::from_millis(parameters.block_millis).saturating_mul(parameters.slot_blocks) / PATIENCE;
        let checked = sampling::check(&host.store, &host.enclave, &host.serve, (slot, slot_hash), patience);
        let sampling::Check { result, samples } = checked.await?;
        let took = started.elapsed();
        metrics::gauge!("crust_check_seconds").set(took.as_secs_f64());
        metrics::gauge!("crust_good_filler").set(f64::from(result.good_filler));
        metrics::gauge!("crust_good_files").set(f64::from(result.good_files));
        tracing::debug!(slot, samples, ms = took.as_millis(), bad = result.bad.len(), "checked");
        self.checked = Some((slot, slot_hash));
        // Notes are for the operator; a slot is not lost for want of them.
        if let Err(error) = self.note(&result).await {
            tracing::warn!("what was bad cannot be noted: {error}");
        }
        Ok(())
    }

    /// Keeps what was bad for the operator, and for the filler to be mended.
    async fn note(&mut self, result: &CheckResult) -> Result<(), Error> {
        (self.bad_filler, self.good_filler) = (Vec::new(), result.good_filler);
        self.bad_trees.clear();
        let mut files = BTreeSet::new();
        for sample in &result.bad {
            match sample {
                Sample::Filler { disk, page } => match self.bad_filler.iter_mut().find(|(known, _)| known == disk) {
                    Some((_, lowest)) => *lowest = (*lowest).min(*page),
                    None => self.bad_filler.push((*disk, *page)),
                },
                Sample::File { order, chunk } => {
                    if files.insert(*order) {
                        tracing::warn!(order = hex::encode(order), chunk, "a chunk of this file is bad");
                    }
                }
                Sample::Tree { order, node } => {
                    self.bad_trees.insert(*order);
                    tracing::warn!(order = hex::encode(order), node, "a node of this file's hash tree is bad");
                }
            }
        }
        for (disk, page) in &self.bad_filler {
            tracing::warn!(disk = hex::encode(disk), page, "filler is bad from this page on");
        }
        let bad = result.bad.iter().filter_map(|sample| match sample {
            Sample::File { order, chunk } => Some((*order, *chunk)),
            Sample::Filler { .. } | Sample::Tree { .. } => None,
        });
        let bad: Vec<_> = bad.take(1_024).collect();
        let store = self.host.store.clone();
        let noted = self.host.store.run(move |index| {
            for (order, chunk) in bad {
                // What a missing disk has is out of reach, not damaged.
                if index.order(&order)?.is_none_or(|record| store.file(&record).is_err()) {
                    continue;
                }
                index.change(&order, |record| {
                    if record.damaged.len() < 16 && !record.damaged.contains(&chunk) {
                        record.damaged.push(chunk);
                    }
                })?;
            }
            Ok(())
        });
        noted.await?;
        self.host.wakes.evict.notify_one();
        Ok(())
    }

    /// After the report that admits it: gives up filler that is not there any more, so that it can grow again; makes hash
    /// trees anew for which that failed when they were found.
    async fn mend(&mut self) -> Result<(), Error> {
        for order in std::mem::take(&mut self.bad_trees) {
            if let Err(error) = trees::make_anew(&self.host.store, &self.host.enclave, order).await {
                tracing::warn!(order = hex::encode(order), "its hash tree cannot be made anew: {error}");
            }
        }
        for (disk, page) in std::mem::take(&mut self.bad_filler) {
            let Some(filler) = self.host.store.filler(&disk) else { continue };
            if !self.host.store.disk(&disk).is_some_and(|disk| disk.present()) {
                continue;
            }
            // A disk that does not even answer may have it all: that is for the next check.
            let Ok(there) = filler.on_disk() else { continue };
            // More than a hundredth of it is bad: what is above the first bad page goes too.
            let to = if self.good_filler < 250 { there.min(page.saturating_mul(filler::PAGE)) } else { there };
            let dropped = filler.length().saturating_sub(to);
            if dropped > 0 {
                filler.shrink(&self.host.enclave, to).await?;
                tell_dropped(dropped);
            }
        }
        self.host.wakes.fill.notify_one();
        Ok(())
    }

    /// Tells of filler that the enclave itself has dropped: it is on the disks, and the report did not count it.
    fn count_dropped(&mut self, counted: u64) {
        let fillers = self.host.store.fillers();
        let grows = fillers.iter().any(|(_, filler)| filler.growing());
        let held = fillers.iter().map(|(_, filler)| filler.length()).fold(0, u64::saturating_add);
        let dropped = self.dropped.since_before(Some(held).filter(|_| !grows), counted);
        if dropped > 0 {
            tell_dropped(dropped);
        }
    }

    /// The report waits for what is drawn.
    fn put_off(&mut self, shown: Shown) -> Next {
        match shown {
            Shown::Not(trouble) => {
                self.trouble = Some(trouble);
                Next::Wait
            }
            Shown::Audit(_) | Shown::Nothing | Shown::Anew => Next::Again,
        }
    }

    /// Tells the enclave which root is final, a slot after it was seen to be.
    async fn finality(&mut self, number: NodeId) -> Result<(), Error> {
        let Some(head) = *self.host.finalized.borrow() else { return Ok(()) };
        let slot_blocks = self.host.parameters().slot_blocks;
        match self.final_root {
            Some((block, root)) if head.number >= block.saturating_add(slot_blocks) => {
                self.final_root = None;
                if self.told != Some(root) {
                    match self.host.enclave.change(Request::Final { root }).await {
                        Ok(_) => self.told = Some(root),
                        // The first root is nobody's statement.
                        Err(enclave_client::Error::Refused(_)) => (),
                        Err(error) => return Err(error.into()),
                    }
                }
            }
            // Seen final in a block that is still to come: the endpoint was wrong about how far the chain is.
            Some((block, _)) if head.number < block => self.final_root = None,
            Some(_) => (),
            None => {
                let Some(node) = self.host.chain.view_at(head).await?.node(number).await? else { return Ok(()) };
                self.final_root = Some((head.number, node.root));
                if let Some(report) = node.last_report
                    && self.host.last_final().await? < report.slot
                {
                    self.host.set_last_final(report.slot).await?;
                }
            }
        }
        Ok(())
    }
}

impl Worker for Report {
    fn name(&self) -> &'static str {
        "report"
    }

    async fn work(&mut self) -> Result<Next, Error> {
        let number = self.host.number()?;
        let parameters = self.host.parameters().clone();
        let view = self.host.chain.view(Finality::Best).await?;
        let (head, slot) = (view.block(), view.slot());
        if slot == 0 {
            return Ok(Next::Wait);
        }
        let first = parameters.first_block(slot);
        // An index that does not answer costs no slot: what it would say is one more safeguard.
        let last_final = self.host.last_final().await.unwrap_or_default();
        if slot < last_final {
            return Err(Error::Other(format!(
                "the chain endpoint is in slot {slot}, but this node's report of slot {last_final} is final: the \
                 endpoint is behind or wrong. Nothing is shown to the enclave until it is past that, or another is set"
            )));
        }
        let before = first.saturating_sub(1);
        let slot_hash = self.host.chain.block_hash(before).await?;
        let slot_hash = slot_hash.ok_or_else(|| Error::Other(format!("the chain endpoint has no block {before}")))?;
        if self.checked != Some((slot, slot_hash)) {
            self.check(slot, slot_hash).await?;
        }
        self.trouble = self.finality(number).await.err().map(|error| error.to_string());
        let node = view.node(number).await?.ok_or(statements::Error::UnknownNode(number))?;
        if let Some(report) = node.last_report.filter(|report| report.slot == slot) {
            if self.reported != Some(slot) {
                self.reported = Some(slot);
                self.host.note_said(|said| said.report = Some((slot, node.root)));
                metrics::gauge!("crust_last_report_slot").set(f64::from(slot));
                self.count_dropped(report.filler_bytes);
                self.mend().await?;
            }
            return Ok(Next::Wait);
        }
        let next = head.number.saturating_add(1);
        let offset = offset(number, parameters.slot_blocks, parameters.beacon_blocks);
        if next < first.saturating_add(offset) || parameters.slot_of(next) != slot {
            return Ok(Next::Wait);
        }
        let owed = view.audit(number).await?.ok_or(statements::Error::UnknownNode(number))?;
        if owed.slot < slot {
            // The beacon of this slot is not known yet: it says what the report has to answer.
            return Ok(Next::Wait);
        }
        metrics::gauge!("crust_probation").set(f64::from(owed.probation));
        self.host.note_said(|said| said.audit = Some(owed.clone()));
        let audit = match &owed.due {
            None => None,
            Some(drawn) => match self.showing.show(&self.host, slot, drawn).await? {
                Shown::Nothing => None,
                Shown::Audit(audit) => Some(audit),
                shown => return Ok(self.put_off(shown)),
            },
        };
        let answers = audit.is_some();
        match statements::say(&self.host, number, Words::Report(slot, audit)).await {
            Ok((block, root)) => {
                tracing::info!(slot, block = block.number, good_filler = self.good_filler, answers, "report accepted");
                metrics::counter!("crust_reports_total").increment(1);
                if answers {
                    metrics::counter!("crust_draws_answered_total").increment(1);
                }
                self.host.note_said(|said| said.report = Some((slot, root)));
                Ok(Next::Again)
            }
            Err(error) if error.is_for_later() => {
                tracing::info!(slot, "the report is said again: {error}");
                Ok(Next::Wait)
            }
            Err(error) => {
                // Whatever it was, the check is asked for again; one that is done costs nothing.
                self.checked = None;
                match (owed.due, error) {
                    // What was shown is not what it should be.
                    (Some(drawn), statements::Error::Enclave(enclave_client::Error::Refused(why)))
                        if matches!(why, rpc::Error::Damaged { .. } | rpc::Error::DamagedTree { .. }) =>
                    {
                        let shown = self.showing.refused(&self.host, slot, &drawn, why).await?;
                        Ok(self.put_off(shown))
                    }
                    (_, error) => Err(error.into()),
                }
            }
        }
    }

    async fn wait(&mut self) {
        next_head(&mut self.heads, Duration::from_secs(30)).await;
    }

    fn trouble(&self) -> Option<String> {
        self.trouble.clone()
    }
}

fn tell_dropped(bytes: u64) {
    tracing::warn!(bytes, "filler was bad again and again, or is gone, and is dropped: is its disk dying?");
    metrics::counter!("crust_dropped_filler_bytes_total").increment(bytes);
}

/// Finds out what the enclave has dropped: what is held and does not count, once all that is held has had time to count.
#[derive(Default)]
struct Dropped {
    /// Bytes held, and the reports in a row with which they were the same.
    held: Option<(u64, u32)>,
    dropped: u64,
}

impl Dropped {
    /// Bytes that were dropped since this was asked before. A report counts what was held at the draw of the one before.
    fn since_before(&mut self, held: Option<u64>, counted: u64) -> u64 {
        let reports = match (self.held, held) {
            (Some((before, reports)), Some(held)) if before == held => reports.saturating_add(1),
            _ => 0,
        };
        self.held = held.map(|held| (held, reports));
        match held {
            Some(held) if reports >= 2 => {
                let dropped = held.saturating_sub(counted);
                dropped.saturating_sub(std::mem::replace(&mut self.dropped, dropped))
            }
            _ => 0,
        }
    }
}

/// The block of a slot in which a node's report is due: its own, past the first window and in the first two thirds.
fn offset(node: NodeId, slot_blocks: BlockNumber, beacon_blocks: BlockNumber) -> BlockNumber {
    let room = (slot_blocks.saturating_mul(2) / 3).saturating_sub(beacon_blocks).max(1);
    let hash = crust_protocol::h(&[b"offset", &node.to_le_bytes()]);
    let [a, b, c, d, ..] = hash;
    beacon_blocks.saturating_add(u32::from_le_bytes([a, b, c, d]).checked_rem(room).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filler_that_is_held_and_does_not_count_was_dropped() {
        let mut dropped = Dropped::default();
        let mut all = |reports: &[(Option<u64>, u64)]| -> Vec<u64> {
            reports.iter().map(|(held, counted)| dropped.since_before(*held, *counted)).collect()
        };
        // What grows counts later.
        assert_eq!(all(&[(Some(5), 0), (None, 5), (Some(9), 5), (Some(9), 8), (Some(9), 9)]), [0; 5]);
        assert_eq!(all(&[(Some(9), 7), (Some(9), 7), (Some(9), 4), (Some(9), 4)]), [2, 0, 3, 0]);
        // Cut and grown anew.
        assert_eq!(all(&[(Some(2), 2), (Some(9), 2), (Some(9), 2), (Some(9), 9), (Some(9), 8)]), [0, 0, 0, 0, 1]);
    }

    #[test]
    fn offsets_lie_past_the_first_window_and_in_the_first_two_thirds() {
        for node in 0..1_000 {
            let development = offset(node, 10, 1);
            assert!((1..6).contains(&development), "{development}");
            let production = offset(node, 600, 5);
            assert!((5..400).contains(&production), "{production}");
        }
    }
}
