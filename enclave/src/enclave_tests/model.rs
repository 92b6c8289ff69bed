//! Chain and enclave together, through random histories: crashes, snapshots, reorganisations, a chain that stands
//! still, audits, filler that comes and goes, heirs that are named and follow ([`succession`]), statements that are
//! refused, dropped, late or sent again; and hosts that clone, roll back, withhold and lie. What such a host would earn
//! with the line rule off: pay for files that it dropped, under a history that the chain believes, and a second history
//! to go back to.
//!
//! The chain is [`chain`]: the pallet's rules for one node, which the pallet itself is held to.

mod chain;
mod succession;

use std::collections::BTreeSet;

use crust_protocol::{audit, draw::Drawn};
use proptest::prelude::*;

use super::*;
use chain::{Block, Forks, Step, WINDOW, ends};
use succession::Standby;

/// A statement, under which key, and what its node held when it said it.
#[derive(Clone)]
struct Spoken {
    speaker: Key,
    statement: Signed,
    signature: Signature,
    held: BTreeSet<OrderId>,
    /// When each page of filler on its disk was written.
    pages: Vec<u64>,
}

/// A node as a host runs it.
struct Node {
    host: Host,
    /// Records since the snapshot from which it starts.
    base: Vec<Vec<u8>>,
    records: usize,
}

impl Node {
    fn new(host: Host) -> Self {
        Node { host, base: Vec::new(), records: 0 }
    }

    /// `kill -9`, and a start from what is on disk: the newest snapshot and what follows it.
    fn crash(&mut self) {
        let mut enclave = Enclave::new(Arc::new(TestPlatform(self.host.platform)), CONSTANTS);
        enclave.load(&self.base).unwrap();
        enclave.load(&self.host.log[self.records..]).unwrap();
        let opened = enclave.open(GENESIS, PROVIDER).unwrap();
        assert_eq!(opened.root, self.host.root());
        self.host.enclave = enclave;
    }

    fn snapshot(&mut self) {
        let part = self.host.enclave.snapshot(0).unwrap();
        assert_eq!(part.next, None);
        (self.base, self.records) = (part.items, self.host.log.len());
    }

    /// A copy of it as it is, or as it was.
    fn copy(&self, records: usize) -> Self {
        let mut host = self.host.clone_at(records.clamp(2, self.host.log.len()));
        // An enclave of the past makes its filler behind what it knows of, and of what it knows some may be gone.
        let known = host.filled();
        host.filler.entry(DISK).or_default().resize(known, 0);
        Node::new(host)
    }

    fn held(&self) -> BTreeSet<OrderId> {
        let files = &self.host.enclave.state().unwrap().files;
        files.all(0).filter(|(file, _)| !file.is_lost()).map(|(file, _)| file.info().order).collect()
    }

    fn say(&mut self, saying: Saying) -> Result<(Signed, Signature, BTreeSet<OrderId>), Error> {
        let root = self.host.say(saying)?;
        let statement = self.host.enclave.state().unwrap().lines.statement(&root).unwrap().clone();
        Ok((statement, self.host.enclave.release(&root).unwrap(), self.held()))
    }

    /// Shows the tip's slot, if it was not shown last.
    fn check(&mut self, tip: &Block) {
        self.show(tip.slot, tip.slot_hash);
    }

    fn show(&mut self, slot: Slot, slot_hash: Hash) {
        let overview = self.host.enclave.overview().unwrap();
        if overview.checking || overview.shown != Some((slot, slot_hash)) {
            let (items, draw) = self.host.enclave.show(slot, slot_hash).unwrap();
            self.host.keep(items);
            self.host.answer(&draw);
        }
    }
}

impl Host {
    /// Length of the filler that the enclave knows of.
    fn filled(&self) -> usize {
        let filler = self.enclave.overview().unwrap().filler;
        filler.first().map_or(0, |(_, length)| *length as usize)
    }
}

/// The world: a chain, the files that there are, enclaves for one node, heirs that stand by, all that they ever said,
/// and when every page of filler was written, by its first bytes.
struct World {
    forks: Forks,
    orders: Vec<(Content, Vec<u8>)>,
    nodes: Vec<Node>,
    standbys: Vec<Standby>,
    spoken: Vec<Spoken>,
    written: BTreeMap<[u8; 16], u64>,
    moment: u64,
    /// What the chain was asked, and what it made of it.
    steps: Vec<Step>,
    /// Heirs that followed for good.
    successions: usize,
    /// Statements where the chain stands, under another key than the node's.
    unheard: usize,
}

impl World {
    fn new() -> Self {
        let host = Host::new();
        // Of one chunk to 21, with and without a hash tree.
        let orders = (0..8).map(|nonce| {
            let bytes = bytes(10 + 3_000 * nonce as usize, nonce);
            (content(&bytes, nonce), bytes)
        });
        World {
            forks: Forks::new(host.sign_pk),
            orders: orders.collect(),
            nodes: vec![Node::new(host)],
            standbys: Vec::new(),
            spoken: Vec::new(),
            written: BTreeMap::new(),
            moment: 0,
            steps: Vec::new(),
            successions: 0,
            unheard: 0,
        }
    }

    fn next_moment(&mut self) -> u64 {
        self.moment += 1;
        self.moment
    }

    fn fill(&mut self, node: usize) {
        self.nodes[node].check(self.forks.tip());
        let host = &mut self.nodes[node].host;
        if host.enclave.state().unwrap().checks.may_fill(&DISK) {
            let unit = host.fill(DISK);
            let moment = self.next_moment();
            self.written.extend(unit.chunks(4096).map(|page| (page[..16].try_into().unwrap(), moment)));
        }
    }

    /// Filler gives way, as far as its host says.
    fn give_up(&mut self, node: usize, to: usize) {
        self.nodes[node].check(self.forks.tip());
        let host = &mut self.nodes[node].host;
        let pages = host.filled() / 4096;
        let to = to.checked_rem(pages).unwrap_or(0) * 4096;
        let items = host.enclave.shrink(DISK, to as u64).unwrap();
        host.keep(items);
        host.filler.entry(DISK).or_default().truncate(to);
    }

    /// The chain's randomness asks for a chunk of a file that it believes to be here.
    fn draw(&mut self, which: usize, chunk: usize) {
        let live: Vec<OrderId> = self.forks.tip().live.iter().copied().collect();
        let Some(order) = which.checked_rem(live.len()).map(|at| live[at]) else { return };
        let content = &self.orders.iter().find(|(content, _)| content.id() == order).unwrap().0;
        let (audit_root, size) = (content.audit_root, content.size);
        let due = Drawn { order, audit_root, size, chunk: chunk as u64 % audit::chunks(size) };
        self.forks.next(|block| block.due = block.due.take().or(Some(due)));
    }

    fn seal(&mut self, node: usize, order: usize) {
        let (content, bytes) = self.orders[order].clone();
        let host = &mut self.nodes[node].host;
        if host.enclave.state().unwrap().files.held(&content.id()).is_none() {
            self.nodes[node].check(self.forks.tip());
            self.nodes[node].host.seal(&content, &bytes);
        }
    }

    fn drop_file(&mut self, node: usize, order: usize, lost: bool) {
        let order = self.orders[order].0.id();
        self.nodes[node].check(self.forks.tip());
        let enclave = &mut self.nodes[node].host.enclave;
        let item = if lost { enclave.lose(vec![order]) } else { enclave.delete(vec![order]) };
        self.nodes[node].host.keep(item);
    }

    /// Makes a statement; `sent` says whether it reaches the chain now. Whether the chain took it.
    fn say(&mut self, node: usize, saying: Saying, sent: bool) -> Result<bool, Error> {
        let (statement, signature, held) = self.nodes[node].say(saying)?;
        let disk = self.nodes[node].host.filler.get(&DISK).map(Vec::as_slice).unwrap_or_default();
        let pages = disk.chunks_exact(4096).filter_map(|page| self.written.get(&page[..16])).copied().collect();
        let speaker = self.nodes[node].host.sign_pk;
        self.spoken.push(Spoken { speaker, statement, signature, held, pages });
        Ok(sent && self.submit(self.spoken.len() - 1))
    }

    /// A statement reaches the chain. What it takes must be true: whoever said it held all that the chain believes, and
    /// the filler that counts was on its disk as the slot began.
    fn submit(&mut self, spoken: usize) -> bool {
        let Spoken { speaker, statement, signature, held, pages } = &self.spoken[spoken];
        let (before, heard) = (self.forks.in_the_making(), self.forks.hears(speaker, statement));
        let taken = self.forks.submit(speaker, statement);
        let tip = self.forks.tip();
        if heard {
            let (statement, signature, after) = (statement.clone(), *signature, taken.then(|| tip.clone()));
            self.steps.push(Step { sign_pk: *speaker, before, statement, signature, after });
        } else {
            self.unheard += usize::from(ends(statement).0 == before.root);
        }
        if taken && !matches!(statement, Signed::Gone(_)) {
            assert!(tip.live.is_subset(held), "the chain believes what the speaker does not hold");
        }
        if taken && let Signed::Report(report) = statement {
            let there = pages.iter().filter(|written| **written < tip.began).count() as u64 * 4096;
            // Of what a host threw away the samples tell, outside this model.
            assert!(report.good_filler < 255 || report.filler_bytes <= there, "filler counts that came too late");
        }
        taken
    }

    /// As the daemon does it: on the chain's root, with what the chain asks for, and first what is owed there.
    fn report(&mut self, node: usize, sent: bool) -> Result<bool, Error> {
        self.nodes[node].check(self.forks.tip());
        let Block { root: prev, slot, due, .. } = self.forks.tip().clone();
        let held = self.nodes[node].held();
        let due = due.filter(|due| held.contains(&due.order));
        let audit = due.map(|due| self.nodes[node].host.audit(due.order, due.chunk));
        match self.say(node, Saying::Report { prev, slot, audit }, sent) {
            Err(Error::GoneFirst { orders }) => self.say(node, Saying::Gone { prev, orders }, sent),
            other => other,
        }
    }

    fn name(&mut self, node: usize, heir: Key, sent: bool) -> Result<bool, Error> {
        let prev = self.forks.tip().root;
        match self.say(node, Saying::Heir { prev, heir }, sent) {
            Err(Error::GoneFirst { orders }) => self.say(node, Saying::Gone { prev, orders }, sent),
            other => other,
        }
    }

    fn receipts(&mut self, node: usize, sent: bool) -> Result<bool, Error> {
        let tip = self.forks.tip();
        let prev = tip.root;
        let wanted = self.nodes[node].held().into_iter();
        let orders: Vec<_> = wanted.filter(|id| tip.wanted.contains(id) && !tip.live.contains(id)).collect();
        if orders.is_empty() {
            return Ok(false);
        }
        match self.say(node, Saying::Receipts { prev, orders }, sent) {
            Err(Error::GoneFirst { orders }) => self.say(node, Saying::Gone { prev, orders }, sent),
            other => other,
        }
    }

    /// The chain fixes some of its blocks, and the host hears of those that were fixed before.
    fn finalise(&mut self, node: usize, blocks: usize) {
        let root = self.forks.blocks[self.forks.fixed - 1].root;
        // A root of another copy, or one older than the last, is refused.
        if let Ok(items) = self.nodes[node].host.enclave.finalise(root) {
            self.nodes[node].host.keep(items);
        }
        self.forks.fixed = (self.forks.fixed + blocks).min(self.forks.blocks.len());
    }

    /// What both kinds of world do: `step` picks, `a` and `b` say with what.
    fn step(&mut self, node: usize, step: u8, a: usize, b: usize) {
        let order = a % self.orders.len();
        let sent = !b.is_multiple_of(4);
        match step {
            0 => {
                let id = self.orders[order].0.id();
                self.forks.next(|block| block.wanted.extend([id]));
                self.seal(node, order);
            }
            1 | 2 => drop(self.receipts(node, sent)),
            3 | 4 => drop(self.report(node, sent)),
            5 => {
                let began = self.next_moment();
                self.forks.next_slot(began);
                (0..b % 4).for_each(|_| self.forks.next(|_| {}));
            }
            6 => self.drop_file(node, order, b.is_multiple_of(2)),
            // An order ends by itself.
            7 => {
                let id = self.orders[order].0.id();
                let kept = |orders: &mut BTreeSet<OrderId>| orders.retain(|order| *order != id);
                self.forks.next(|block| [&mut block.wanted, &mut block.live].into_iter().for_each(kept));
                self.drop_file(node, order, false);
            }
            8 => self.forks.reorganise(b % 6),
            9 => self.finalise(node, b % 4),
            10 => self.nodes[node].crash(),
            11 => self.nodes[node].snapshot(),
            12 => self.draw(a, b),
            13 => self.fill(node),
            14 => self.give_up(node, b),
            15 => self.forks.next(|block| block.registered = !block.registered),
            // The chain stands still: what is said goes nowhere, however often, and the node is started again.
            16 => {
                for _ in 0..b % 8 {
                    let _ = (self.receipts(node, false), self.report(node, false));
                    self.nodes[node].crash();
                }
            }
            // Only where no succession is under way: the one named last follows.
            17 if !self.is_succeeded(node) => drop(self.name(node, [a as u8; 32], sent)),
            18 => {
                let heir = self.stand_by(node);
                if !self.is_succeeded(node) {
                    let _ = self.name(node, self.standbys[heir].sign_pk, sent);
                }
            }
            // Up to all of a succession at once.
            19 => {
                for stage in 0..1 + b % 4 {
                    self.finalise(node, if stage == 0 { b % 3 } else { 1_000 });
                    self.succession(node, a, b);
                }
            }
            // A statement is late, or is sent again.
            _ => {
                if let Some(spoken) = a.checked_rem(self.spoken.len()) {
                    self.submit(spoken);
                }
            }
        }
    }

    /// The next slot, and the report on it by a node in order, or by its heir of this very slot; what it counts.
    fn reported_in_the_next_slot(&mut self, by_an_heir: bool) -> u64 {
        let began = self.next_moment();
        self.forks.next_slot(began);
        (0..WINDOW).for_each(|_| self.forks.next(|block| block.registered = true));
        let slot = self.forks.tip().slot;
        if by_an_heir {
            self.succeeded_by_another(0);
        }
        for _ in 0..2 {
            if self.forks.tip().reported < slot {
                assert!(self.report(0, true).unwrap(), "what is said is taken");
            }
        }
        assert_eq!(self.forks.tip().reported, slot);
        self.forks.tip().filler
    }
}

/// Kinds of steps that honest nodes take, and that happen to them.
const HONEST: u8 = 21;
/// And of those that liars take.
const LYING: u8 = HONEST + 9;

fn steps(kinds: u8) -> impl Strategy<Value = Vec<(u8, usize, usize)>> {
    proptest::collection::vec((0..kinds, 0usize..1_000, 0usize..1_000), 1..80)
}

proptest! {
    /// Whatever happens to an honest node, it can speak on the root where the chain stands, and with what the chain
    /// asks it to name first it can report in the same slot, and in the one after that all its filler counts; its heir
    /// too, as soon as it has followed, and the enclave before it never again. What a lock-out would cost: by silence,
    /// all that is reserved, 0.336 tokens a TiB in production. The coin of a predecessor that is still heard: a board
    /// that is free for another node, and has the idle power of two caps, 500 TiB each.
    #[test]
    fn an_honest_node_is_never_locked_out(steps in steps(HONEST)) {
        let (mut world, steps_taken) = (World::new(), steps.len());
        for (step, a, b) in steps {
            world.step(0, step, a, b);
            let tip = world.forks.tip().root;
            prop_assert!(world.nodes[0].host.enclave.gone_due(&tip, 10).is_ok(), "the chain's root is known");
        }
        world.settle(0);
        world.reported_in_the_next_slot(steps_taken % 2 == 0);
        // Whether or not the first of the two is final by then.
        (0..steps_taken % 3).for_each(|_| world.finalise(0, 1_000));
        let counted = world.reported_in_the_next_slot(steps_taken % 4 < 2);
        prop_assert_eq!(counted, world.nodes[0].host.filled() as u64);
    }

    /// Hosts that run copies and older states of one enclave, speak on any root and lie about what is final, and let
    /// any heir that any branch names follow any part of any log: the chain never takes a report or a receipt from an
    /// enclave that does not hold all that the chain believes, and counts no filler that was not there as the slot
    /// began. The coin: the pay to the end of its term of every file that a branch has dropped, 0.0008 tokens a TiB and
    /// slot in production, and the idle power of filler that is somebody else's disk between the draws; with heirs, as
    /// many enclaves that are paid for one disk as were ever named.
    #[test]
    fn a_dishonest_branch_dies(steps in steps(LYING)) {
        dishonest(steps);
    }
}

/// Enclaves for one node that a liar runs, besides the predecessors of heirs.
const MOST_NODES: usize = 5;

/// Through such a history.
fn dishonest(steps: Vec<(u8, usize, usize)>) -> World {
    let mut world = World::new();
    for (step, a, b) in steps {
        let node = a % world.nodes.len();
        match step.checked_sub(HONEST) {
            None => world.step(node, step, a, b),
            Some(0 | 1) if world.nodes.len() < MOST_NODES => {
                let copy = world.nodes[node].copy(b);
                world.nodes.push(copy);
            }
            // It is rolled back.
            Some(0 | 1) => world.nodes[node] = world.nodes[node].copy(b),
            // It speaks on any root that there ever was, of the slot or of one that is made up.
            Some(kind @ 2..=4) => {
                let Some(at) = b.checked_rem(world.spoken.len()) else { continue };
                let (_, prev) = ends(&world.spoken[at].statement);
                let tip = world.forks.tip().clone();
                let slot = if kind == 4 { b as Slot % (tip.slot + 2) } else { tip.slot };
                let slot_hash = if slot == tip.slot { tip.slot_hash } else { slot_hash(slot) };
                world.nodes[node].show(slot, slot_hash);
                let orders = world.nodes[node].held().into_iter().collect::<Vec<_>>();
                let due = world.nodes[node].host.enclave.gone_due(&prev, 1 + (b % 3) as u32).unwrap_or_default();
                let saying = match a % 4 {
                    0 => Saying::Report { prev, slot, audit: None },
                    1 => Saying::Receipts { prev, orders },
                    2 => Saying::Heir { prev, heir: world.some_heir(b / 4) },
                    // Not all that is gone.
                    _ => Saying::Gone { prev, orders: due },
                };
                let _ = world.say(node, saying, true);
            }
            // An heir is the node at once, or is only named.
            Some(5) => {
                let heir = world.stand_by(node);
                let _ = world.name(node, world.standbys[heir].sign_pk, true);
                if !b.is_multiple_of(3) {
                    world.succeed_at_once();
                }
            }
            // An heir follows, be it the chain's or another.
            Some(6 | 7) if !b.is_multiple_of(5) => {
                if let Some(heir) = world.follows_any(node, a, b) {
                    if world.nodes.len() < MOST_NODES { world.nodes.push(heir) } else { world.nodes[node] = heir }
                }
            }
            // What another enclave said is signed again.
            Some(6 | 7) => {
                if let Some(spoken) = a.checked_rem(world.spoken.len()) {
                    world.sign_again(node, spoken);
                }
            }
            // It says that any root is final.
            Some(_) => {
                let Some(at) = b.checked_rem(world.spoken.len()) else { continue };
                let (_, root) = ends(&world.spoken[at].statement);
                if let Ok(items) = world.nodes[node].host.enclave.finalise(root) {
                    world.nodes[node].host.keep(items);
                }
            }
        }
    }
    world
}
