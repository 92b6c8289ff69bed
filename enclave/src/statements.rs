//! The line rule: what may be said on which root.
//!
//! Every statement names the root of the one before it; followed back to the root that is final, that is its line. Once
//! a receipt for a file was signed, on any line, and the file is gone, nothing but `Gone` is said on a line until a
//! `Gone` on that line, younger than the loss, names it. So whoever speaks next for a node has in its log all that the
//! chain believes, or has named it gone.
//!
//! What is final only gives leave to forget. Lines that do not pass through the final root are forgotten with it: the
//! chain can accept nothing on them.

use std::collections::{BTreeMap, HashMap};

use codec::{Decode, Encode};
use crust_protocol::{Hash, order::OrderId};

use crate::rpc::{Error, Signed};

/// A statement, and its number in the log.
#[derive(Clone, Encode, Decode)]
pub(crate) struct Said {
    number: u64,
    statement: Signed,
}

impl Said {
    fn prev(&self) -> Hash {
        match &self.statement {
            Signed::Receipts(receipts) => receipts.prev,
            Signed::Gone(gone) => gone.prev,
            Signed::Report(report) => report.prev,
            Signed::Heir(heir) => heir.prev,
        }
    }
}

/// All that was said since the final root.
pub(crate) struct Lines {
    /// The root that is final; at first that of the empty log.
    base: Hash,
    said: HashMap<Hash, Said>,
    /// Files with a receipt that are gone, by the number of the record that says so, unless the final line names them.
    owed: BTreeMap<OrderId, u64>,
}

impl Lines {
    /// Nothing was said since this root: of the empty log, or the final one.
    pub fn new(base: Hash) -> Self {
        Lines { base, said: HashMap::new(), owed: BTreeMap::new() }
    }

    /// The root that is final.
    pub fn base(&self) -> Hash {
        self.base
    }

    /// A file with a receipt is gone.
    pub fn owe(&mut self, order: OrderId, number: u64) {
        self.owed.insert(order, number);
    }

    pub fn is_owed(&self, order: &OrderId) -> bool {
        self.owed.contains_key(order)
    }

    /// Files with a receipt that are gone, each by the number of the record that says so.
    pub fn owed(&self) -> impl ExactSizeIterator<Item = (&OrderId, &u64)> {
        self.owed.iter()
    }

    /// What must be named gone on the line of `prev`, at most `limit`.
    pub fn due(&self, prev: &Hash, limit: usize) -> Result<Vec<OrderId>, Error> {
        let named = self.named(prev)?;
        let open = |(order, lost): &(&OrderId, &u64)| named.get(*order).is_none_or(|number| number < *lost);
        Ok(self.owed.iter().filter(open).map(|(order, _)| *order).take(limit).collect())
    }

    /// Whether a statement may follow `prev`.
    pub fn check_prev(&self, prev: &Hash) -> Result<(), Error> {
        if *prev == self.base || self.said.contains_key(prev) { Ok(()) } else { Err(Error::UnknownPrev) }
    }

    /// Adds a statement, with the root that it has.
    pub fn say(&mut self, root: Hash, number: u64, statement: Signed) {
        self.restore(root, Said { number, statement });
    }

    pub fn restore(&mut self, root: Hash, said: Said) {
        self.said.insert(root, said);
    }

    /// All statements since the final root.
    pub fn said(&self) -> impl ExactSizeIterator<Item = (&Hash, &Said)> {
        self.said.iter()
    }

    /// The statement with this root.
    pub fn statement(&self, root: &Hash) -> Option<&Signed> {
        self.said.get(root).map(|said| &said.statement)
    }

    /// Whether `root` is a statement that is not final yet; an error if it is none of this log's.
    pub fn may_finalise(&self, root: &Hash) -> Result<bool, Error> {
        if *root == self.base {
            return Ok(false);
        }
        if self.said.contains_key(root) { Ok(true) } else { Err(Error::UnknownRoot) }
    }

    /// Makes a root final: forgets what its line has named gone, and all that does not follow it.
    pub fn finalise(&mut self, root: Hash) {
        let Ok(named) = self.named(&root) else { return };
        let named: HashMap<OrderId, u64> = named.into_iter().map(|(order, number)| (*order, number)).collect();
        self.owed.retain(|order, lost| named.get(order).is_none_or(|number| *number < *lost));
        self.base = root;
        let mut in_order: Vec<(u64, Hash, Hash)> =
            self.said.iter().map(|(root, said)| (said.number, *root, said.prev())).collect();
        in_order.sort_unstable();
        let mut kept = std::collections::HashSet::from([root]);
        for (_, root, prev) in in_order {
            if kept.contains(&prev) {
                kept.insert(root);
            }
        }
        self.said.retain(|said, _| *said != root && kept.contains(said));
    }

    /// What the line of `prev` names gone since the final root, each with the number of its youngest `Gone`.
    fn named(&self, prev: &Hash) -> Result<HashMap<&OrderId, u64>, Error> {
        let mut named: HashMap<&OrderId, u64> = HashMap::new();
        let mut at = *prev;
        while at != self.base {
            let said = self.said.get(&at).ok_or(Error::UnknownPrev)?;
            if let Signed::Gone(gone) = &said.statement {
                for order in gone.orders.iter() {
                    named.entry(order).or_insert(said.number);
                }
            }
            at = said.prev();
        }
        Ok(named)
    }
}
