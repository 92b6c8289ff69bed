//! The chain of the model: for one node the rules of `chain/pallets/mpow/src/statements.rs` and `audits.rs`, and forks.
//!
//! A statement continues the stored root, one a block; without a registration nothing is taken but a `Gone` that ends
//! something; the first order of a receipt must be wanted; what no longer applies is skipped; of `Gone`s that end nothing
//! a few are taken in a slot; an heir is named once a slot; a report is of the slot and the fork, once, after the slot's
//! first window, and answers the due draw, which stays due until then or until its file is named gone, also when the
//! order has ended. Only the node's key is heard ([`Forks`]): `succeed` puts the key of the heir named last in its
//! place, and a key that has been the node's is named no more.
//!
//! That these are the pallet's rules is shown by a file of [`Step`]s out of the model's histories: a test here holds
//! [`Block::take`] to it, and `chain/pallets/mpow/src/tests/line.rs` the pallet.

use std::{collections::BTreeSet, fs, path::Path};

use codec::{Decode, DecodeAll, Encode};
use crust_protocol::{
    Hash, Key, Slot, audit,
    draw::Drawn,
    order::OrderId,
    statement::{Signature, first_root},
};
use proptest::{
    strategy::{Strategy, ValueTree},
    test_runner::TestRunner,
};

use super::{LYING, dishonest, steps};
use crate::rpc::Signed;

/// Blocks of a slot before the first that may hold a report.
pub const WINDOW: u32 = 2;
/// `Gone`s that end nothing, of a slot; the pallet's 20 would not come up in so short a history.
const IDLE_GONES: u32 = 3;

/// What the chain is after one of its blocks.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode)]
pub struct Block {
    pub slot: Slot,
    pub slot_hash: Hash,
    /// Blocks since the slot's first, and the moment of that one.
    pub age: u32,
    pub began: u64,
    pub root: Hash,
    pub registered: bool,
    /// Orders that want a replica here, those that have it, and the slot last reported.
    pub wanted: BTreeSet<OrderId>,
    pub live: BTreeSet<OrderId>,
    pub reported: Slot,
    /// What the last report counted.
    pub filler: u64,
    pub due: Option<Drawn>,
    /// `Gone`s in this slot that ended nothing.
    pub idle_gones: u32,
    /// The heir, and the slot in which it was named.
    pub heir: Option<(Slot, Key)>,
}

impl Block {
    /// A statement in this block. Whether it is valid there; otherwise the block stays as it is.
    fn take(&mut self, statement: &Signed) -> bool {
        let (prev, root) = ends(statement);
        if prev != self.root || !self.registered && !matches!(statement, Signed::Gone(_)) {
            return false;
        }
        match statement {
            Signed::Receipts(receipts) => {
                let applies = |block: &Block, order| block.wanted.contains(order) && !block.live.contains(order);
                if !applies(self, &receipts.orders[0]) {
                    return false;
                }
                for order in &receipts.orders {
                    if applies(self, order) {
                        self.live.insert(*order);
                    }
                }
            }
            Signed::Gone(gone) => {
                let due = self.due.as_ref().map(|due| due.order);
                let ends = |order: &OrderId| self.live.contains(order) || due == Some(*order);
                let idle = if self.registered { IDLE_GONES } else { 0 };
                if self.idle_gones >= idle && !ends(&gone.orders[0]) {
                    return false;
                }
                self.idle_gones += u32::from(!gone.orders.iter().any(ends));
                self.live.retain(|order| !gone.orders.contains(order));
                self.due = self.due.take().filter(|due| !gone.orders.contains(&due.order));
            }
            Signed::Report(report) => {
                let owed = match (&self.due, &report.audit) {
                    (None, None) => true,
                    (Some(due), Some(answer)) => audit::verify(&due.audit_root, due.size, due.chunk, answer),
                    (None, Some(_)) | (Some(_), None) => false,
                };
                let timely = self.age >= WINDOW && self.reported < self.slot;
                if !owed || !timely || (report.slot, report.slot_hash) != (self.slot, self.slot_hash) {
                    return false;
                }
                (self.reported, self.filler, self.due) = (self.slot, report.filler_bytes, None);
            }
            Signed::Heir(heir) => {
                if self.heir.is_some_and(|(named, _)| named == self.slot) {
                    return false;
                }
                self.heir = Some((self.slot, heir.heir));
            }
        }
        self.root = root;
        true
    }
}

/// A chain that forks.
pub struct Forks {
    pub blocks: Vec<Block>,
    /// For each block the key that speaks for the node after it.
    pub keys: Vec<Key>,
    /// Blocks that stay.
    pub fixed: usize,
    made: u32,
}

impl Forks {
    /// A chain on which this key was registered.
    pub fn new(key: Key) -> Self {
        let block = Block {
            slot: 0,
            slot_hash: [0; 32],
            age: 0,
            began: 0,
            root: first_root(&key),
            registered: true,
            wanted: BTreeSet::new(),
            live: BTreeSet::new(),
            reported: 0,
            filler: 0,
            due: None,
            idle_gones: 0,
            heir: None,
        };
        let mut forks = Forks { blocks: vec![block], keys: vec![key], fixed: 1, made: 0 };
        forks.next_slot(0);
        forks
    }

    pub fn tip(&self) -> &Block {
        self.blocks.last().unwrap()
    }

    /// The key that speaks for the node.
    pub fn key(&self) -> Key {
        *self.keys.last().unwrap()
    }

    fn push(&mut self, block: Block, key: Key) {
        self.blocks.push(block);
        self.keys.push(key);
    }

    /// The next block of the tip's slot, before anything is in it.
    pub fn in_the_making(&self) -> Block {
        Block { age: self.tip().age + 1, ..self.tip().clone() }
    }

    /// The first block of a slot, at this moment.
    pub fn next_slot(&mut self, began: u64) {
        self.made += 1;
        let slot_hash = crust_protocol::h(&[b"fork", &self.made.to_le_bytes()]);
        let (slot, before) = (self.tip().slot + 1, self.tip().clone());
        self.push(Block { slot, slot_hash, age: 0, began, idle_gones: 0, ..before }, self.key());
    }

    /// A block of the same slot that changes something else than a statement does.
    pub fn next(&mut self, change: impl FnOnce(&mut Block)) {
        let mut block = self.in_the_making();
        change(&mut block);
        self.push(block, self.key());
    }

    /// The provider's call `succeed`: the heir named last is the node, with a registration of its own.
    pub fn succeed(&mut self) {
        let block = self.in_the_making();
        if let Some((_, heir)) = block.heir {
            self.push(Block { registered: true, heir: None, ..block }, heir);
        }
    }

    pub fn reorganise(&mut self, depth: usize) {
        self.blocks.truncate(self.blocks.len().saturating_sub(depth).max(self.fixed));
        self.keys.truncate(self.blocks.len());
    }

    /// Whether this key may say this at all: it must be the node's, and no heir is named that has been the node.
    pub fn hears(&self, key: &Key, statement: &Signed) -> bool {
        let used = |heir: &Key| self.keys.contains(heir);
        *key == self.key() && !matches!(statement, Signed::Heir(said) if used(&said.heir))
    }

    /// A statement under a key, in a block of its own, if it is valid there.
    pub fn submit(&mut self, key: &Key, statement: &Signed) -> bool {
        let mut block = self.in_the_making();
        let taken = self.hears(key, statement) && block.take(statement);
        if taken {
            self.push(block, self.key());
        }
        taken
    }
}

/// The roots that a statement continues and makes.
pub fn ends(statement: &Signed) -> (Hash, Hash) {
    match statement {
        Signed::Receipts(said) => (said.prev, said.root),
        Signed::Gone(said) => (said.prev, said.root),
        Signed::Report(said) => (said.prev, said.root),
        Signed::Heir(said) => (said.prev, said.root),
    }
}

/// What an enclave of this key said in a block, and the block with it, if it is valid there.
#[derive(Clone, Debug, Encode, Decode)]
pub struct Step {
    pub sign_pk: Key,
    pub before: Block,
    pub statement: Signed,
    pub signature: Signature,
    pub after: Option<Block>,
}

impl Step {
    /// Its kind: by the statement, whether it is taken, and if not, whether it is at least on the root.
    fn kind(&self) -> (u8, bool, bool) {
        let statement = match self.statement {
            Signed::Receipts(_) => 0,
            Signed::Gone(_) => 1,
            Signed::Report(_) => 2,
            Signed::Heir(_) => 3,
        };
        (statement, self.after.is_some(), ends(&self.statement).0 == self.before.root)
    }
}

/// Of each kind of steps as many, out of histories of hosts that lie.
fn made_anew() -> Vec<Step> {
    const EACH: usize = 12;
    const HISTORIES: usize = 2_000;
    let (mut kept, mut runner): (Vec<Step>, _) = (Vec::new(), TestRunner::deterministic());
    for _ in 0..HISTORIES {
        let history = steps(LYING).new_tree(&mut runner).unwrap().current();
        for step in dishonest(history).steps {
            if kept.iter().filter(|other| other.kind() == step.kind()).count() < EACH {
                kept.push(step);
            }
        }
    }
    kept
}

/// The same file is replayed against the pallet; `UPDATE=1` makes it anew.
#[test]
fn the_rules_are_those_of_the_steps_that_the_pallet_replays() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../chain/pallets/mpow/tests/data/line.scale");
    if std::env::var_os("UPDATE").is_some() {
        fs::write(&file, made_anew().encode()).unwrap();
    }
    let steps = Vec::<Step>::decode_all(&mut &fs::read(&file).unwrap()[..]).unwrap();
    for step in &steps {
        let mut block = step.before.clone();
        let taken = block.take(&step.statement);
        assert_eq!(taken.then_some(block), step.after, "{step:?}");
    }
    // Of each statement one that is taken, one that is not although it is on the root, and one that is off it.
    let kinds: BTreeSet<_> = steps.iter().map(Step::kind).collect();
    let all = (0..4).flat_map(|kind| [(kind, true, true), (kind, false, true), (kind, false, false)]);
    assert_eq!(kinds, all.collect());
}
