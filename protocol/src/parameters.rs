//! The parameters of a chain: one struct in genesis, read through storage, so that one wasm serves production and
//! development. What an enclave goes by is not here but a constant of its measured code.

use codec::{Decode, DecodeWithMemTracking, Encode, MaxEncodedLen};
use scale_info::TypeInfo;

use crate::{Balance, BlockNumber, Slot, TOKEN};

/// Bytes that the price is for.
pub const TIB: u64 = 1 << 40;

/// Speed that a take's window assumes, in bytes a second.
pub const TAKE_BYTES_PER_SECOND: u64 = 10_000_000;

/// Values of protocol.md 9. Terms and windows are in slots unless they say blocks.
#[derive(Clone, PartialEq, Eq, Debug, Encode, Decode, DecodeWithMemTracking, MaxEncodedLen, TypeInfo)]
pub struct Parameters {
    /// Time between blocks, in milliseconds. Must be BABE's slot duration.
    pub block_millis: u64,
    /// Blocks of a report slot.
    pub slot_blocks: BlockNumber,
    /// Blocks of a beacon window; a report is accepted only after the first window of its slot.
    pub beacon_blocks: BlockNumber,
    /// Age in blocks up to which evidence is accepted.
    pub evidence_age: BlockNumber,
    /// Blocks that a registration lasts.
    pub attestation_period: BlockNumber,
    /// Slots that a live replica has earned at least when its order is cancelled.
    pub min_slots: u32,
    pub min_term: u32,
    /// Take windows that a term lasts on top of `min_term`.
    pub min_term_takes: u32,
    pub max_term: u32,
    pub max_replicas: u32,
    /// Bytes that a file is billed at least, in price, not in power.
    pub min_billed: u64,
    /// Largest file that may be ordered, in bytes.
    pub max_size: u64,
    /// Plancks per TiB, slot and replica.
    pub price: Balance,
    /// Plancks held for an order's record.
    pub order_deposit: Balance,
    /// Shares of a payment, in percent; the provider gets the rest.
    pub pot_share: u8,
    pub treasury_share: u8,
    /// A node is drawn for an audit in one of this many slots; 0 means never.
    pub audit_rate: u32,
    /// Answers in a row after a draw that was not answered, before anything is earned again.
    pub probation: u32,
    /// Slots within which everything held is read again; a report that reaches back further than two earns nothing.
    pub scrub_period: u32,
    /// Blocks for which a node under a measurement or policy that is no longer accepted keeps its place.
    pub revocation_delay: BlockNumber,
    /// Blocks until a platform's power counts in full.
    pub ramp: BlockNumber,
    /// Bytes of filler and billed files that count on one platform.
    pub platform_cap: u64,
    /// Counted slots of silence that end a node's replicas.
    pub max_silent: u32,
    /// Slots whose average power tells which slots count.
    pub count_window: u32,
    /// Slots after which a retired replica is free.
    pub retire_window: u32,
    /// Slots of a replica's pay that a provider reserves for it.
    pub collateral_slots: u32,
    /// Plancks that a TiB of idle space is covered by.
    pub idle_collateral: Balance,
}

impl Parameters {
    pub const PRODUCTION: Parameters = Parameters {
        block_millis: 6_000,
        slot_blocks: 600,
        beacon_blocks: 5,
        evidence_age: 600,
        attestation_period: 14 * 14_400,
        min_slots: 24,
        min_term: 24,
        min_term_takes: 2,
        max_term: 366 * 24,
        max_replicas: 20,
        min_billed: 64 << 10,
        // MAX_BLOCKS blocks of 2 MiB.
        max_size: 8 << 40,
        price: TOKEN / 1_000,
        order_deposit: TOKEN / 100,
        pot_share: 15,
        treasury_share: 5,
        audit_rate: 24,
        probation: 24,
        scrub_period: 30 * 24,
        revocation_delay: 30 * 14_400,
        ramp: 30 * 14_400,
        platform_cap: 500 * TIB,
        max_silent: 24,
        count_window: 168,
        retire_window: 336,
        collateral_slots: 336,
        idle_collateral: TOKEN / 2,
    };

    pub const DEVELOPMENT: Parameters = Parameters {
        block_millis: 1_000,
        slot_blocks: 10,
        beacon_blocks: 1,
        evidence_age: 100,
        attestation_period: 600,
        min_slots: 1,
        min_term: 1,
        min_term_takes: 0,
        max_term: 366 * 8_640,
        audit_rate: 4,
        probation: 4,
        scrub_period: 60,
        revocation_delay: 50 * 10,
        ramp: 20 * 10,
        platform_cap: 64 << 30,
        max_silent: 6,
        count_window: 12,
        retire_window: 20,
        ..Self::PRODUCTION
    };

    /// The slot that a block belongs to.
    pub fn slot_of(&self, block: BlockNumber) -> Slot {
        block.checked_div(self.slot_blocks).unwrap_or_default()
    }

    /// The first block of a slot; its hash names nothing yet: `slot_hash` is that of the block before.
    pub fn first_block(&self, slot: Slot) -> BlockNumber {
        slot.saturating_mul(self.slot_blocks)
    }

    /// Bytes that a file of this size is billed.
    pub fn billed(&self, size: u64) -> u64 {
        size.max(self.min_billed)
    }

    /// Blocks for which a take holds a place: one slot and the time that the bytes take at 10 MB/s.
    pub fn take_window(&self, size: u64) -> BlockNumber {
        let millis = u128::from(size).saturating_mul(1_000).div_ceil(u128::from(TAKE_BYTES_PER_SECOND));
        let blocks = millis.div_ceil(u128::from(self.block_millis.max(1)));
        self.slot_blocks.saturating_add(u32::try_from(blocks).unwrap_or(u32::MAX))
    }

    /// The take window in slots, rounded up.
    pub fn take_window_slots(&self, size: u64) -> u32 {
        self.take_window(size).div_ceil(self.slot_blocks.max(1))
    }

    /// The shortest term for a file of this size, in slots.
    pub fn shortest_term(&self, size: u64) -> u32 {
        self.min_term.saturating_add(self.min_term_takes.saturating_mul(self.take_window_slots(size)))
    }

    /// Plancks a slot and replica: `ceil(price × billed bytes)`, the price being per TiB.
    pub fn rate(&self, size: u64) -> Balance {
        let tib = Balance::from(TIB);
        let billed = Balance::from(self.billed(size));
        self.price.checked_mul(billed).map_or(Balance::MAX, |product| product.div_ceil(tib))
    }
}
