//! The beacon: chance that the authors of blocks make together, out of the VRF outputs of their blocks.
//!
//! A window is [`beacon_blocks`] blocks, aligned to block numbers; `beacon(w)` is H over the outputs of its authors, in
//! the order of its blocks, and stands as its last block ends. `beacon(slot)` is that of the slot's first window. The
//! last [`KEPT_BEACONS`] of each are kept.
//!
//! [`beacon_blocks`]: crust_protocol::parameters::Parameters::beacon_blocks

use alloc::vec::Vec;

use codec::{Decode, Encode, MaxEncodedLen};
use crust_protocol::{Hash, h};
use frame_support::{BoundedVec, pallet_prelude::ConstU32, traits::Get};
use scale_info::TypeInfo;

use crate::{Config, Pallet, Parameters, SlotBeacons, WindowBeacons, WindowOutputs};

/// Beacons of slots, and of windows, that the chain remembers.
pub const KEPT_BEACONS: u32 = 128;
/// Blocks that a window may have.
pub type MaxWindow = ConstU32<64>;

/// Bytes of a beacon.
const SIZE: usize = size_of::<Hash>();

/// The last beacons of a kind; their numbers follow on each other. Every report reads them, and is after one: so they are
/// kept as bytes, which nobody has to take apart.
#[derive(Clone, PartialEq, Eq, Debug, Default, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct Beacons {
    /// The number after that of the newest.
    next: u32,
    /// One after the other, the oldest first.
    kept: BoundedVec<u8, ConstU32<{ KEPT_BEACONS * SIZE as u32 }>>,
}

impl Beacons {
    /// The beacon of this number, if it is kept.
    pub fn get(&self, number: u32) -> Option<Hash> {
        let at = number.checked_sub(self.numbers().start)?;
        let (beacons, _) = self.kept.as_chunks();
        beacons.get(usize::try_from(at).ok()?).copied()
    }

    /// The number of the newest; 0 if there is none yet.
    pub fn newest(&self) -> u32 {
        self.next.saturating_sub(1)
    }

    /// The numbers of those that are kept.
    pub fn numbers(&self) -> core::ops::Range<u32> {
        let kept = self.kept.len().checked_div(SIZE).and_then(|kept| u32::try_from(kept).ok());
        self.next.saturating_sub(kept.unwrap_or(KEPT_BEACONS))..self.next
    }

    /// Keeps a beacon of a number, the last ones before it, and none of before a gap.
    pub fn push(&mut self, number: u32, beacon: Hash) {
        if number != self.next {
            self.kept = BoundedVec::new();
        }
        if self.kept.is_full() {
            self.kept.drain(..SIZE);
        }
        // There is room now.
        let _ = self.kept.try_extend(beacon.into_iter());
        self.next = number.saturating_add(1);
    }
}

impl<T: Config> Pallet<T> {
    /// As a block ends: takes in its author's output, and makes the beacon of the window that ends with it.
    pub(crate) fn note_output() {
        let parameters = Parameters::<T>::get();
        let mut outputs = WindowOutputs::<T>::get();
        if let Some(output) = T::AuthorVrf::get() {
            // Genesis allows no window of more blocks than there is room for.
            let _ = outputs.try_push(output);
        }
        let next = Self::now().saturating_add(1);
        if next.checked_rem(parameters.beacon_blocks) != Some(0) {
            WindowOutputs::<T>::put(outputs);
            return;
        }
        WindowOutputs::<T>::kill();
        let parts: Vec<&[u8]> = outputs.iter().map(|output| output.as_slice()).collect();
        let beacon = h(&parts);
        let window = next.checked_div(parameters.beacon_blocks).unwrap_or_default().saturating_sub(1);
        WindowBeacons::<T>::mutate(|beacons| beacons.push(window, beacon));
        let slot = Self::slot();
        if parameters.first_block(slot).saturating_add(parameters.beacon_blocks) == next {
            SlotBeacons::<T>::mutate(|beacons| beacons.push(slot, beacon));
        }
    }
}
