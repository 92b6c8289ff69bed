//! Which keys a block's statements will touch, told before the block is executed.
//!
//! Execution asks for one key after the other, and where nothing is in memory each waits for the disk. A node that knows
//! the keys has the disk look for many of them at once. What is named here is a hint: a key too many or too few changes
//! the time that a block takes and nothing else.

use alloc::{vec, vec::Vec};

use crust_protocol::{NodeId, order::OrderId};

use crate::{Call, Config, Nodes, Pallet, Platforms};

/// Keys that are read for a block at most: three times as many as a block full of reports touches.
pub const MAX_KEYS: usize = 1 << 15;

sp_api::decl_runtime_apis! {
    pub trait PrefetchApi {
        /// Keys of the state that these will read or write. Those of a later `round`, counted from 0, follow from the
        /// values of the earlier ones, which this call reads itself; where it names none, there is no later round.
        fn prefetch_keys(extrinsics: Vec<Block::Extrinsic>, round: u32) -> Vec<Vec<u8>>;
    }
}

/// Whose statement a call is, and which orders it names; nothing if it is none.
pub fn statement<T: Config>(call: &Call<T>) -> Option<(NodeId, &[OrderId])> {
    match call {
        Call::receipts { node, statement, .. } => Some((*node, &statement.orders)),
        Call::gone { node, statement, .. } => Some((*node, &statement.orders)),
        Call::report { node, .. } | Call::heir { node, .. } => Some((*node, &[])),
        _ => None,
    }
}

impl<T: Config> Pallet<T> {
    /// Keys of this pallet that a statement of a node reads, in a round of [`PrefetchApi`].
    pub fn prefetch_keys(node: NodeId, round: u32) -> Vec<Vec<u8>> {
        match round {
            0 => vec![Nodes::<T>::hashed_key_for(node)],
            1 => Nodes::<T>::get(node)
                .map(|record| Platforms::<T>::hashed_key_for(record.platform))
                .into_iter()
                .collect(),
            _ => Vec::new(),
        }
    }
}
