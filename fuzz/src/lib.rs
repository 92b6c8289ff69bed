//! Fuzz targets: what takes bytes from strangers, each as a plain function that panics if what must hold does not, with
//! seeds to begin from.
//!
//! `make test` runs every target briefly on the stable toolchain (`tests/brief.rs`): its seeds, whatever once failed
//! (`seeds/<target>/`), and a fixed number of mutations. `libfuzzer/` wraps the same functions for `cargo fuzz`, which
//! runs as long as one likes. The verifier of quotes and collateral has its targets in the chain's workspace
//! (`chain/evidence/tests/fuzz.rs`), over the same [`engine`]; here both are only read.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a target fails by panicking")]

pub mod engine;

mod enclave;
mod handover;
mod statements;

/// Something that reads bytes.
pub struct Target {
    pub name: &'static str,
    /// Panics if what must hold does not.
    pub check: fn(&[u8]),
    /// Genuine inputs.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Mutations in a brief run.
    pub rounds: u32,
}

pub const TARGETS: [Target; 14] = [
    Target { name: "quote", check: statements::quote, seeds: statements::quote_seeds, rounds: 50_000 },
    Target { name: "evidence", check: statements::evidence, seeds: statements::evidence_seeds, rounds: 20_000 },
    Target { name: "collateral", check: statements::collateral, seeds: statements::collateral_seeds, rounds: 20_000 },
    Target { name: "receipts", check: statements::receipts, seeds: statements::receipts_seeds, rounds: 50_000 },
    Target { name: "gone", check: statements::gone, seeds: statements::gone_seeds, rounds: 50_000 },
    Target { name: "heir", check: statements::heir, seeds: statements::heir_seeds, rounds: 50_000 },
    Target { name: "report", check: statements::report, seeds: statements::report_seeds, rounds: 50_000 },
    Target { name: "answer", check: statements::answer, seeds: statements::answer_seeds, rounds: 50_000 },
    Target { name: "sealed_chunk", check: enclave::sealed_chunk, seeds: enclave::sealed_chunk_seeds, rounds: 2_000 },
    Target { name: "state_log", check: enclave::state_log, seeds: enclave::state_log_seeds, rounds: 5_000 },
    Target { name: "snapshot", check: enclave::state_log, seeds: enclave::snapshot_seeds, rounds: 5_000 },
    Target { name: "hand_over", check: handover::hand_over, seeds: handover::hand_over_seeds, rounds: 1_000 },
    Target { name: "inherit", check: handover::inherit, seeds: handover::inherit_seeds, rounds: 1_000 },
    Target { name: "rpc", check: enclave::rpc, seeds: enclave::rpc_seeds, rounds: 2_000 },
];

/// A target by its name.
pub fn target(name: &str) -> Option<&'static Target> {
    TARGETS.iter().find(|target| target.name == name)
}
