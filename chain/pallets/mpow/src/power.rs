//! Power: what a report weighs. One number per node, summed per slot as the reports land; nothing ever walks over the
//! nodes.

use crust_protocol::{BlockNumber, Slot};
use frame_support::weights::Weight;
use sp_runtime::SaturatedConversion;

use crate::{Config, Pallet, Parameters, SlotPower, WeightInfo, types::KEPT_SLOTS};

/// `floor((good_filler × filler_bytes + good_files × held) / 255)`: a byte weighs one, ordered or filler.
pub fn power(good_filler: u8, filler_bytes: u64, good_files: u8, held: u64) -> u64 {
    let weigh = |good: u8, bytes: u64| u128::from(good).saturating_mul(u128::from(bytes));
    let sum = weigh(good_filler, filler_bytes).saturating_add(weigh(good_files, held));
    sum.checked_div(255).unwrap_or_default().saturated_into()
}

impl<T: Config> Pallet<T> {
    /// The block that is being made, or the last one.
    pub fn now() -> BlockNumber {
        frame_system::Pallet::<T>::block_number().saturated_into()
    }

    /// The slot of [`Self::now`].
    pub fn slot() -> Slot {
        Parameters::<T>::get().slot_of(Self::now())
    }

    /// Adds a node's power to that of its slot.
    pub(crate) fn add_power(slot: Slot, power: u64) {
        SlotPower::<T>::mutate(slot, |sum| *sum = sum.saturating_add(power.into()));
    }

    /// In the first block of a slot, drops the sum that has become too old.
    pub(crate) fn forget_old_slot() -> Weight {
        let parameters = Parameters::<T>::get();
        let slot = parameters.slot_of(Self::now());
        if parameters.first_block(slot) == Self::now()
            && let Some(old) = slot.checked_sub(KEPT_SLOTS)
        {
            SlotPower::<T>::remove(old);
        }
        T::WeightInfo::on_initialize()
    }
}
