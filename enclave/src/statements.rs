//! The line rule: what may be said on which root.
//!
//! Every statement names the root of the one before it; followed back to the root that is final, that is its line. Once
//! a receipt for a file was signed, on any line, and the file is gone, nothing but `Gone` is said on a line until a
//! `Gone` on that line, younger than the loss, names it. So whoever speaks next for a node has in its log all that the
//! chain believes, or has named it gone.
//!
//! A line also says which filler may count. The chain takes a report in its own slot only, so whatever stood in the log
//! at the draw of one report on a line, and still does at the draw of the next, was there when the slot of that next
//! one began: nobody can show the same disk twice between two slots.
//!
//! What is final only gives leave to forget. Lines that do not pass through the final root are forgotten with it: the
//! chain can accept nothing on them.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use codec::{Decode, Encode};
use crust_protocol::{Hash, order::OrderId};

use crate::rpc::{Error, Signed};

/// A statement, and its number in the log.
#[derive(Clone, Encode, Decode)]
pub(crate) struct Said {
    number: u64,
    /// Of the record of the draw that the last report on its line is about, itself included; 0 without one.
    covered: u64,
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
    /// As [`Said::covered`], of the base.
    covered: u64,
    said: HashMap<Hash, Said>,
    /// Files with a receipt that are gone, by the number of the record that says so, unless the final line names them.
    owed: BTreeMap<OrderId, u64>,
    /// What is left to be named on the line that was asked about last, so that each `Gone` of very many losses does not
    /// go through all of them.
    left: Option<Left>,
}

/// What is to be named gone on a line.
struct Left {
    prev: Hash,
    orders: BTreeSet<OrderId>,
}

impl Lines {
    /// Nothing was said since this root: of the empty log, or the final one.
    pub fn new(base: Hash, covered: u64) -> Self {
        Lines { base, covered, said: HashMap::new(), owed: BTreeMap::new(), left: None }
    }

    /// The root that is final, and what the last report up to it covered.
    pub fn base(&self) -> (Hash, u64) {
        (self.base, self.covered)
    }

    /// The number of the record before which filler stood in the log that a report on `prev` may count: that of the draw
    /// of the last report on its line. Without one nothing counts.
    pub fn covered(&self, prev: &Hash) -> Result<u64, Error> {
        if *prev == self.base {
            return Ok(self.covered);
        }
        self.said.get(prev).map(|said| said.covered).ok_or(Error::UnknownPrev)
    }

    /// A file with a receipt is gone.
    pub fn owe(&mut self, order: OrderId, number: u64) {
        self.owed.insert(order, number);
        // It is younger than all that was said.
        if let Some(left) = &mut self.left {
            left.orders.insert(order);
        }
    }

    pub fn is_owed(&self, order: &OrderId) -> bool {
        self.owed.contains_key(order)
    }

    /// Files with a receipt that are gone, each by the number of the record that says so.
    pub fn owed(&self) -> impl ExactSizeIterator<Item = (&OrderId, &u64)> {
        self.owed.iter()
    }

    /// What must be named gone on the line of `prev`, at most `limit`.
    pub fn due(&mut self, prev: &Hash, limit: usize) -> Result<Vec<OrderId>, Error> {
        if limit == 0 || self.owed.is_empty() {
            return self.check_prev(prev).map(|()| Vec::new());
        }
        let left = match self.left.take().filter(|left| left.prev == *prev) {
            Some(left) => left,
            None => self.left_on(prev)?,
        };
        let due = left.orders.iter().take(limit).copied().collect();
        self.left = Some(left);
        Ok(due)
    }

    fn left_on(&self, prev: &Hash) -> Result<Left, Error> {
        let named = self.named(prev)?;
        let open = |(order, lost): &(&OrderId, &u64)| named.get(*order).is_none_or(|number| number < *lost);
        Ok(Left { prev: *prev, orders: self.owed.iter().filter(open).map(|(order, _)| *order).collect() })
    }

    /// Whether a statement may follow `prev`.
    pub fn check_prev(&self, prev: &Hash) -> Result<(), Error> {
        if *prev == self.base || self.said.contains_key(prev) { Ok(()) } else { Err(Error::UnknownPrev) }
    }

    /// Adds a statement, with the root that it has. `drawn` is the number of the record of the draw made last.
    pub fn say(&mut self, root: Hash, number: u64, statement: Signed, drawn: u64) {
        let mut said = Said { number, covered: drawn, statement };
        if !matches!(said.statement, Signed::Report(_)) {
            said.covered = self.covered(&said.prev()).unwrap_or_default();
        }
        if let Some(left) = self.left.as_mut().filter(|left| left.prev == said.prev()) {
            left.prev = root;
            if let Signed::Gone(gone) = &said.statement {
                for order in gone.orders.iter() {
                    left.orders.remove(order);
                }
            }
        }
        self.restore(root, said);
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
        self.covered = self.covered(&root).unwrap_or_default();
        (self.base, self.left) = (root, None);
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
