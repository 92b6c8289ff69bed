//! What chain, enclave and world must agree on: types, canonical bytes and pure checks.
//!
//! Nothing here reads a clock, draws entropy, performs I/O or panics on any input: whatever depends on such things
//! comes in as an argument. The words are those of `docs/glossary.md`; the rules those of `docs/protocol.md`.

#![cfg_attr(not(feature = "std"), no_std)]
#![cfg_attr(not(test), deny(clippy::arithmetic_side_effects, clippy::float_arithmetic))]

extern crate alloc;

pub mod attestation;
pub mod audit;
pub mod development;
pub mod draw;
pub mod file;
pub mod order;
pub mod parameters;
pub mod quote;
pub mod statement;
pub mod walk;

#[cfg(test)]
mod codec_tests;

use blake2::{Blake2b, Digest, digest::consts::U32};

/// A block of the chain, by number.
pub type BlockNumber = u32;
/// A report slot: `block number / slot length`. Slot 0 has no report.
pub type Slot = u32;
/// A storage node's number on chain, for ever.
pub type NodeId = u32;
/// An amount of money in plancks; 10^12 of them are a token.
pub type Balance = u128;
/// 32 bytes: a hash, a root, a genesis hash.
pub type Hash = [u8; 32];
/// 32 bytes: a public key or an account.
pub type Key = [u8; 32];
/// One token, in plancks.
pub const TOKEN: Balance = 1_000_000_000_000;

/// H of the protocol: BLAKE2-256 over the plain concatenation of its arguments.
pub fn h(parts: &[&[u8]]) -> Hash {
    let mut hasher = Blake2b::<U32>::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().into()
}
