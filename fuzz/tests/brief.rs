//! Every target on the stable toolchain: its seeds, what once failed, and a fixed number of mutations.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::{fs, path::Path};

use crust_fuzz::{engine::exercise, target};

fn brief(name: &str) {
    let target = target(name).unwrap();
    let mut seeds = (target.seeds)();
    assert!(!seeds.is_empty());
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("seeds").join(name);
    for entry in fs::read_dir(kept).into_iter().flatten() {
        seeds.push(fs::read(entry.unwrap().path()).unwrap());
    }
    exercise(name, target.check, &seeds, target.rounds);
}

macro_rules! targets {
    ($($name:ident),*) => {
        $(#[test]
        fn $name() {
            brief(stringify!($name));
        })*

        #[test]
        fn no_target_is_left_out() {
            let here = [$(stringify!($name)),*];
            assert!(crust_fuzz::TARGETS.iter().map(|target| target.name).eq(here));
        }
    };
}
targets!(
    quote,
    evidence,
    collateral,
    receipts,
    gone,
    heir,
    report,
    answer,
    sealed_chunk,
    state_log,
    snapshot,
    hand_over,
    inherit,
    rpc
);
