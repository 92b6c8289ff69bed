//! Chain and enclave together, through random histories: crashes, snapshots, reorganisations, statements that are
//! refused, dropped, late or sent again; and hosts that clone, roll back, withhold and lie.
//!
//! The chain's rules are those of the pallet, for one node: a statement continues the stored root; the first order of a
//! receipt must be wanted; what no longer applies is skipped; a report is of the slot and the fork, once.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// What the chain is after one of its blocks.
#[derive(Clone)]
struct Block {
    slot: Slot,
    slot_hash: Hash,
    root: Hash,
    /// Orders that want a replica here, those that have it, and the slot last reported.
    wanted: BTreeSet<OrderId>,
    live: BTreeSet<OrderId>,
    reported: Slot,
}

/// A chain that forks.
struct Forks {
    blocks: Vec<Block>,
    /// Blocks that stay.
    fixed: usize,
    made: u32,
}

impl Forks {
    fn new(first: Hash) -> Self {
        let block = Block {
            slot: 0,
            slot_hash: [0; 32],
            root: first,
            wanted: BTreeSet::new(),
            live: BTreeSet::new(),
            reported: 0,
        };
        let mut forks = Forks { blocks: vec![block], fixed: 1, made: 0 };
        forks.next_slot();
        forks
    }

    fn tip(&self) -> &Block {
        self.blocks.last().unwrap()
    }

    fn next_slot(&mut self) {
        self.made += 1;
        let slot_hash = crust_protocol::h(&[b"fork", &self.made.to_le_bytes()]);
        self.blocks.push(Block { slot: self.tip().slot + 1, slot_hash, ..self.tip().clone() });
    }

    fn place(&mut self, order: OrderId) {
        let mut block = self.tip().clone();
        block.wanted.insert(order);
        self.blocks.push(block);
    }

    /// An order ends by itself.
    fn end(&mut self, order: &OrderId) {
        let mut block = self.tip().clone();
        block.wanted.remove(order);
        block.live.remove(order);
        self.blocks.push(block);
    }

    fn reorganise(&mut self, depth: usize) {
        self.blocks.truncate(self.blocks.len().saturating_sub(depth).max(self.fixed));
    }

    /// A statement in a block of its own, if it is valid there.
    fn submit(&mut self, statement: &Signed) -> bool {
        let mut block = self.tip().clone();
        let (prev, root) = ends(statement);
        if prev != block.root {
            return false;
        }
        match statement {
            Signed::Receipts(receipts) => {
                let applies = |block: &Block, order| block.wanted.contains(order) && !block.live.contains(order);
                if !applies(&block, &receipts.orders[0]) {
                    return false;
                }
                for order in &receipts.orders {
                    if applies(&block, order) {
                        block.live.insert(*order);
                    }
                }
            }
            Signed::Gone(gone) => block.live.retain(|order| !gone.orders.contains(order)),
            Signed::Report(report) => {
                if (report.slot, report.slot_hash) != (block.slot, block.slot_hash) || block.reported >= block.slot {
                    return false;
                }
                block.reported = block.slot;
            }
            Signed::Heir(_) => {}
        }
        block.root = root;
        self.blocks.push(block);
        true
    }
}

fn ends(statement: &Signed) -> (Hash, Hash) {
    match statement {
        Signed::Receipts(said) => (said.prev, said.root),
        Signed::Gone(said) => (said.prev, said.root),
        Signed::Report(said) => (said.prev, said.root),
        Signed::Heir(said) => (said.prev, said.root),
    }
}

/// A statement, and what its enclave held when it said it.
struct Spoken {
    statement: Signed,
    held: BTreeSet<OrderId>,
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
        let mut enclave = Enclave::new(Arc::new(TestPlatform(7)), CONSTANTS);
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
        Node::new(self.host.clone_at(records.clamp(2, self.host.log.len())))
    }

    fn held(&self) -> BTreeSet<OrderId> {
        let files = &self.host.enclave.state().unwrap().files;
        files.all(0).filter(|(file, _)| !file.is_lost()).map(|(file, _)| file.info().order).collect()
    }

    fn say(&mut self, saying: Saying) -> Result<Spoken, Error> {
        let root = self.host.say(saying)?;
        let statement = self.host.enclave.state().unwrap().lines.statement(&root).unwrap().clone();
        Ok(Spoken { statement, held: self.held() })
    }

    /// Shows the tip's slot, if it was not shown last.
    fn check(&mut self, tip: &Block) {
        let overview = self.host.enclave.overview().unwrap();
        if overview.checking || overview.shown != Some((tip.slot, tip.slot_hash)) {
            let (items, draw) = self.host.enclave.show(tip.slot, tip.slot_hash).unwrap();
            self.host.keep(items);
            self.host.answer(&draw);
        }
    }
}

/// The world: a chain, the files that there are, nodes on one identity, and all that they ever said.
struct World {
    forks: Forks,
    orders: Vec<(Content, Vec<u8>)>,
    nodes: Vec<Node>,
    spoken: Vec<Spoken>,
}

impl World {
    fn new() -> Self {
        let host = Host::new();
        let orders = (0..8).map(|nonce| {
            let bytes = bytes(10, nonce);
            (content(&bytes, nonce), bytes)
        });
        World {
            forks: Forks::new(host.first()),
            orders: orders.collect(),
            nodes: vec![Node::new(host)],
            spoken: Vec::new(),
        }
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
        let spoken = self.nodes[node].say(saying)?;
        self.spoken.push(spoken);
        Ok(sent && self.submit(self.spoken.len() - 1))
    }

    /// A statement reaches the chain. What it takes must be true: whoever said it held all that the chain believes.
    fn submit(&mut self, spoken: usize) -> bool {
        let Spoken { statement, held } = &self.spoken[spoken];
        let taken = self.forks.submit(statement);
        if taken && !matches!(statement, Signed::Gone(_)) {
            let live = &self.forks.tip().live;
            assert!(live.is_subset(held), "the chain believes what the speaker does not hold");
        }
        taken
    }

    /// As the daemon does it: on the chain's root, and first what is owed there.
    fn report(&mut self, node: usize, sent: bool) -> Result<bool, Error> {
        self.nodes[node].check(self.forks.tip());
        let (prev, slot) = (self.forks.tip().root, self.forks.tip().slot);
        match self.say(node, Saying::Report { prev, slot, audit: None }, sent) {
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
                self.forks.place(self.orders[order].0.id());
                self.seal(node, order);
            }
            1 | 2 => drop(self.receipts(node, sent)),
            3 | 4 => drop(self.report(node, sent)),
            5 => self.forks.next_slot(),
            6 => self.drop_file(node, order, b.is_multiple_of(2)),
            7 => {
                self.forks.end(&self.orders[order].0.id());
                self.drop_file(node, order, false);
            }
            8 => self.forks.reorganise(b % 6),
            9 => self.finalise(node, b % 4),
            10 => self.nodes[node].crash(),
            11 => self.nodes[node].snapshot(),
            // A statement is late, or is sent again.
            _ => {
                if let Some(spoken) = a.checked_rem(self.spoken.len()) {
                    self.submit(spoken);
                }
            }
        }
    }
}

fn steps(kinds: u8) -> impl Strategy<Value = Vec<(u8, usize, usize)>> {
    proptest::collection::vec((0..kinds, 0usize..1_000, 0usize..1_000), 1..80)
}

proptest! {
    /// Whatever happens to an honest node, it can speak on the root where the chain stands, and with what the chain asks
    /// it to name first it can report in the same slot.
    #[test]
    fn an_honest_node_is_never_locked_out(steps in steps(13)) {
        let mut world = World::new();
        for (step, a, b) in steps {
            world.step(0, step, a, b);
            let tip = world.forks.tip().root;
            prop_assert!(world.nodes[0].host.enclave.gone_due(&tip, 10).is_ok(), "the chain's root is known");
        }
        world.forks.next_slot();
        let slot = world.forks.tip().slot;
        for _ in 0..2 {
            if world.forks.tip().reported < slot {
                prop_assert!(world.report(0, true).unwrap(), "what is said is taken");
            }
        }
        prop_assert_eq!(world.forks.tip().reported, slot);
    }

    /// Hosts that run copies and older states of one enclave, speak on any root and lie about what is final: the chain
    /// never takes a report or a receipt from an enclave that does not hold all that the chain believes.
    #[test]
    fn a_dishonest_branch_dies(steps in steps(18)) {
        let mut world = World::new();
        for (step, a, b) in steps {
            let node = a % world.nodes.len();
            match step {
                0..13 => world.step(node, step, a, b),
                13 | 14 if world.nodes.len() < 5 => {
                    let copy = world.nodes[node].copy(b);
                    world.nodes.push(copy);
                }
                // It is rolled back.
                13 | 14 => world.nodes[node] = world.nodes[node].copy(b),
                // It speaks on any root that there ever was.
                15 | 16 => {
                    let Some(at) = b.checked_rem(world.spoken.len()) else { continue };
                    let (_, prev) = ends(&world.spoken[at].statement);
                    let tip = world.forks.tip().clone();
                    world.nodes[node].check(&tip);
                    let orders = world.nodes[node].held().into_iter().collect::<Vec<_>>();
                    let due = world.nodes[node].host.enclave.gone_due(&prev, 1 + (b % 3) as u32).unwrap_or_default();
                    let saying = match a % 3 {
                        0 => Saying::Report { prev, slot: tip.slot, audit: None },
                        1 => Saying::Receipts { prev, orders },
                        // Not all that is gone.
                        _ => Saying::Gone { prev, orders: due },
                    };
                    let _ = world.say(node, saying, true);
                }
                // It says that any root is final.
                _ => {
                    let Some(at) = b.checked_rem(world.spoken.len()) else { continue };
                    let (_, root) = ends(&world.spoken[at].statement);
                    if let Ok(items) = world.nodes[node].host.enclave.finalise(root) {
                        world.nodes[node].host.keep(items);
                    }
                }
            }
        }
    }
}
