//! Since when something is so of orders: what cannot be undone is done once it has been so for a while.

use std::collections::BTreeMap;

use crust_protocol::{BlockNumber, order::OrderId};

/// Orders of which something is so, with the block at which that was seen first.
#[derive(Default)]
pub struct Since(BTreeMap<OrderId, BlockNumber>);

impl Since {
    /// It is so at this block. Whether it has been for so many blocks: that is told once.
    pub fn lasts(&mut self, order: OrderId, block: BlockNumber, blocks: BlockNumber) -> bool {
        let since = *self.0.entry(order).or_insert(block);
        let lasts = block >= since.saturating_add(blocks);
        if lasts {
            self.ends(&order);
        }
        lasts
    }

    /// It is so no more.
    pub fn ends(&mut self, order: &OrderId) {
        self.0.remove(order);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_so_for_a_while_is_told_once_and_begins_anew() {
        let (mut since, order) = (Since::default(), [1; 32]);
        assert_eq!([5, 9, 14, 15].map(|block| since.lasts(order, block, 10)), [false, false, false, true]);
        assert_eq!([16, 25].map(|block| since.lasts(order, block, 10)), [false, false]);
        since.ends(&order);
        assert_eq!([26, 35, 36].map(|block| since.lasts(order, block, 10)), [false, false, true]);
        assert!(since.lasts([2; 32], 36, 0));
    }
}
