//! One target of `crust_fuzz::TARGETS`, named in `CRUST_FUZZ`, under libFuzzer:
//!
//! ```sh
//! cargo run --release --workspace --example seeds -- report fuzz/libfuzzer/corpus/report
//! CRUST_FUZZ=report cargo +nightly fuzz run --fuzz-dir fuzz/libfuzzer target fuzz/libfuzzer/corpus/report
//! ```
//!
//! What it finds goes to `fuzz/seeds/report/`, where `make test` keeps it.

#![no_main]

use std::sync::OnceLock;

use crust_fuzz::Target;

fn target() -> &'static Target {
    static TARGET: OnceLock<&'static Target> = OnceLock::new();
    TARGET.get_or_init(|| {
        let name = std::env::var("CRUST_FUZZ").unwrap_or_default();
        let names: Vec<&str> = crust_fuzz::TARGETS.iter().map(|target| target.name).collect();
        crust_fuzz::target(&name).unwrap_or_else(|| panic!("name a target in CRUST_FUZZ: {}", names.join(", ")))
    })
}

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| (target().check)(bytes));
