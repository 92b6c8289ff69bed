//! Power: what a report weighs. One number per node, summed per slot as the reports land; nothing ever walks over the
//! nodes.

use codec::{Decode, Encode, MaxEncodedLen};
use crust_protocol::{BlockNumber, Slot, parameters};
use frame_support::weights::Weight;
use scale_info::TypeInfo;
use sp_runtime::SaturatedConversion;

use crate::{Config, Node, Pallet, Parameters, SlotSums, WeightInfo, types::KEPT_SLOTS};

/// What the reports of a slot add up to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Encode, Decode, MaxEncodedLen, TypeInfo)]
pub struct Sums {
    pub power: u128,
    pub idle: u128,
}

/// How far a platform has ramped up: `min(1, age / ramp)`, as a fraction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ramp {
    part: u128,
    whole: u128,
}

impl Ramp {
    /// After so many blocks, of a ramp of so many. Without a ramp nothing is held back.
    pub fn after(age: BlockNumber, ramp: BlockNumber) -> Self {
        match ramp {
            0 => Ramp { part: 1, whole: 1 },
            _ => Ramp { part: age.min(ramp).into(), whole: ramp.into() },
        }
    }

    /// This part of some bytes, rounded down.
    pub fn of(&self, bytes: u64) -> u64 {
        let part = self.part.saturating_mul(bytes.into()).checked_div(self.whole);
        part.unwrap_or_default().saturated_into()
    }
}

/// `floor((good_filler × idle + ramp × good_files × held) / 255)`: a byte weighs one, ordered or filler. `idle` has its
/// ramp in it.
pub fn power(good_filler: u8, idle: u64, good_files: u8, held: u64, ramp: Ramp) -> u64 {
    let weigh = |good: u8, bytes: u64| u128::from(good).saturating_mul(u128::from(bytes));
    // At most 2^8 × 2^64 × 2^32 each.
    let idle = weigh(good_filler, idle).saturating_mul(ramp.whole);
    let held = weigh(good_files, held).saturating_mul(ramp.part);
    let whole = ramp.whole.saturating_mul(255);
    idle.saturating_add(held).checked_div(whole).unwrap_or_default().saturated_into()
}

/// Whether a node has lately read all that it holds: what is older than two scrubs nobody vouches for.
pub(crate) fn scrubbed_lately(parameters: &parameters::Parameters, slot: Slot, scrubbed_until: Slot) -> bool {
    slot.saturating_sub(scrubbed_until) <= parameters.scrub_period.saturating_mul(2)
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

    /// Power reported in a slot.
    pub fn slot_power(slot: Slot) -> u128 {
        SlotSums::<T>::get(slot).power
    }

    /// Idle bytes that counted in a slot.
    pub fn slot_idle(slot: Slot) -> u128 {
        SlotSums::<T>::get(slot).idle
    }

    /// What a report weighs, as `(idle, power)`: of so much filler, of which so much is covered by collateral, and of
    /// these bytes of files. `good` is that of filler and of files.
    pub(crate) fn weigh(
        parameters: &parameters::Parameters,
        record: &Node,
        slot: Slot,
        (filler, covered, held): (u64, u64, u64),
        good: (u8, u8),
    ) -> (u64, u64) {
        let (counted, age) = Self::count_filler(parameters, record.platform, slot, filler, covered);
        let ramp = Ramp::after(age, parameters.ramp);
        let idle = ramp.of(counted);
        (idle, power(good.0, idle, good.1, held, ramp))
    }

    /// Adds a report to the sums of its slot.
    pub(crate) fn add_report(slot: Slot, power: u64, idle: u64) {
        SlotSums::<T>::mutate(slot, |sums| {
            sums.power = sums.power.saturating_add(power.into());
            sums.idle = sums.idle.saturating_add(idle.into());
        });
    }

    /// In the first block of a slot, drops the sums that have become too old.
    pub(crate) fn forget_old_slot() -> Weight {
        let parameters = Parameters::<T>::get();
        let slot = parameters.slot_of(Self::now());
        if parameters.first_block(slot) == Self::now()
            && let Some(old) = slot.checked_sub(KEPT_SLOTS)
        {
            SlotSums::<T>::remove(old);
        }
        T::WeightInfo::on_initialize()
    }
}
