//! Draws: which nodes a slot's beacon asks, and for what. The chain goes by these rules; whoever knows a beacon can
//! follow them.

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;

use crate::{Hash, NodeId, h, order::OrderId};

/// What a node must show of one of its replicas: a chunk ([`crate::audit`]) of this stream.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct Drawn {
    pub order: OrderId,
    /// What the client committed to.
    pub audit_root: Hash,
    /// Bytes of the stream.
    pub size: u64,
    /// The chunk, numbered from 0.
    pub chunk: u64,
}

/// Whether a slot's beacon draws a node, one in `rate` (with a rate of 0 nobody): `H(beacon, node)` must be small. Then
/// the hash of that hash is the seed of what is drawn.
pub fn seed(beacon: &Hash, node: NodeId, rate: u32) -> Option<Hash> {
    let bound = u128::MAX.checked_div(rate.into())?;
    let hash = h(&[beacon, &node.to_le_bytes()]);
    let (high, _) = halves(&hash);
    (high <= bound).then(|| h(&[&hash]))
}

/// Two numbers of a hash, big-endian: one to choose a replica by, one to choose its chunk by.
pub fn halves(hash: &Hash) -> (u128, u128) {
    let number = |bytes: &[u8]| bytes.iter().fold(0u128, |number, byte| number << 8 | u128::from(*byte));
    let (high, low) = hash.split_at(16);
    (number(high), number(low))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One in `rate`, within five standard deviations, for many nodes of one beacon and one node of many beacons.
    #[test]
    fn a_beacon_draws_one_node_in_the_rate() {
        let draws = |rate: u32| {
            let of_nodes = (0..24_000).filter(|node| seed(&[7; 32], *node, rate).is_some()).count();
            let of_beacons = (0..24_000u32).filter(|slot| seed(&h(&[&slot.to_le_bytes()]), 7, rate).is_some()).count();
            [of_nodes, of_beacons]
        };
        // 24,000/24 = 1,000 with a deviation of 31; a quarter is 6,000 with one of 67.
        assert!(draws(24).iter().all(|drawn| drawn.abs_diff(1_000) < 5 * 31), "{:?}", draws(24));
        assert!(draws(4).iter().all(|drawn| drawn.abs_diff(6_000) < 5 * 67), "{:?}", draws(4));
        assert_eq!(draws(1), [24_000; 2]);
        assert_eq!(draws(0), [0; 2]);
    }

    #[test]
    fn golden_seed() {
        let hash = h(&[&[7; 32], &[9, 0, 0, 0]]);
        assert_eq!(seed(&[7; 32], 9, 1), Some(h(&[&hash])));
        assert_eq!(halves(&core::array::from_fn(|at| u8::from(at == 15) + 2 * u8::from(at == 30))), (1, 512));
        // Of two nodes at the two sides of a bound one is drawn.
        let (high, _) = halves(&hash);
        let rate = u32::try_from(u128::MAX / high).unwrap_or(u32::MAX);
        assert!(seed(&[7; 32], 9, rate).is_some());
        assert!(seed(&[7; 32], 9, rate.saturating_add(1)).is_none());
    }
}
