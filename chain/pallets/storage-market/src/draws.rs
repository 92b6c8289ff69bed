//! Which kilobyte of a node's files an audit is of: every live replica by its billed bytes, in O(1).
//!
//! The replicas of a node are listed by size class, the powers of two up to which their billed bytes go; inside a class
//! they are numbered from 0, and the last one takes the number of one that ends. Laid side by side, each as wide as its
//! class, they make a line; a draw is a point on it. A point behind a replica's own bytes is no draw: there are fewer of
//! these than of others, so a few points are enough ([`TRIES`], and then the last one counts wherever it is).

use codec::{Decode, Encode, MaxEncodedLen};
use crust_protocol::{
    Hash, NodeId, audit,
    draw::{Drawn, halves},
    h,
    order::OrderId,
};
use scale_info::TypeInfo;

use crate::{Config, Holding, Listed, Nodes, Orders, Pallet, Replicas, Standing};

/// Size classes: a class is the power of two that is not less than its replicas' bytes.
const CLASSES: usize = 64;
/// Points that are tried: all but one draw in 2^16 have found a replica's own bytes by then.
const TRIES: u32 = 16;

/// Where a replica is listed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct Position {
    pub class: u8,
    pub index: u32,
}

/// A listed replica.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct Entry {
    pub order: OrderId,
    /// Bytes that it is billed.
    pub bytes: u64,
}

impl Entry {
    /// Whether it weighs no less than the file that it is of.
    pub(crate) fn weighs(&self, size: u64) -> bool {
        self.bytes >= size
    }
}

/// How many replicas a node has in each class.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct Counts(pub [u32; CLASSES]);

impl Default for Counts {
    fn default() -> Self {
        Counts([0; CLASSES])
    }
}

impl Counts {
    /// The replica under a point of the line, and how far into its width the point is.
    fn find(&self, point: u128) -> Option<(Position, u128)> {
        let mut rest = point.checked_rem(self.width())?;
        for (class, count) in (0u8..).zip(self.0) {
            let (width, each) = (width(count, class), width(1, class));
            if rest < width {
                // Less than the count.
                let index = u32::try_from(rest.checked_div(each)?).ok()?;
                return Some((Position { class, index }, rest.checked_rem(each)?));
            }
            rest = rest.saturating_sub(width);
        }
        None
    }

    /// The length of the line: at most 64 classes of 2^32 replicas of 2^63 bytes, less than 2^101.
    fn width(&self) -> u128 {
        (0u8..).zip(self.0).fold(0, |sum, (class, count)| sum.saturating_add(width(count, class)))
    }

    fn of(&mut self, class: u8) -> Option<&mut u32> {
        self.0.get_mut(usize::from(class))
    }
}

impl<T: Config> Pallet<T> {
    /// What a seed draws of a node's live replicas; nothing if it has none.
    pub fn draw(node: NodeId, seed: &Hash) -> Option<Drawn> {
        let counts = Self::holding(node)?.counts;
        let (mut seed, mut drawn) = (*seed, None);
        for _ in 0..TRIES {
            let (point, chunk) = halves(&seed);
            let (position, within) = counts.find(point)?;
            let entry = Listed::<T>::get(node, position)?;
            let found = within < entry.bytes.into();
            drawn = Some((entry.order, chunk));
            if found {
                break;
            }
            seed = h(&[&seed]);
        }
        let (order, chunk) = drawn?;
        let record = Orders::<T>::get(order)?;
        let chunk = chunk.checked_rem(audit::chunks(record.size).into())?;
        Some(Drawn { order, audit_root: record.audit_root, size: record.size, chunk: u64::try_from(chunk).ok()? })
    }

    /// Lists a replica that is about to be live. Whoever calls it stores the holding.
    pub(crate) fn list(node: NodeId, holding: &mut Holding, order: OrderId, bytes: u64) -> Position {
        T::Nodes::before_change(node);
        let class = class_of(bytes);
        let mut position = Position { class, index: 0 };
        if let Some(count) = holding.counts.of(class) {
            position.index = *count;
            *count = count.saturating_add(1);
        }
        Listed::<T>::insert(node, position, Entry { order, bytes });
        position
    }

    /// Strikes a replica, which is about to end, off the list: the last of its class takes its place. Whoever calls it
    /// stores the standing.
    pub(crate) fn strike(standing: &mut Standing, position: Position) {
        let node = standing.node;
        let Some(count) = standing.holding.counts.of(position.class) else { return };
        *count = count.saturating_sub(1);
        let last = Position { index: *count, ..position };
        let Some(moved) = Listed::<T>::take(node, last) else { return };
        if last != position {
            Replicas::<T>::mutate(node, moved.order, |replica| {
                if let Some(replica) = replica {
                    replica.position = position;
                }
            });
            Listed::<T>::insert(node, position, moved);
        }
    }
}

/// How much of the line so many replicas of a class take.
fn width(count: u32, class: u8) -> u128 {
    let each = 1u128.checked_shl(class.into()).unwrap_or(u128::MAX);
    each.saturating_mul(count.into())
}

/// The class of a replica: its bytes' binary logarithm, rounded up.
fn class_of(bytes: u64) -> u8 {
    let bits = u64::BITS.saturating_sub(bytes.saturating_sub(1).leading_zeros());
    // At most 63 for any file that may be ordered.
    u8::try_from(bits.min(63)).unwrap_or(63)
}
