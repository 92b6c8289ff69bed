//! What a draw finds, measured over many seeds against 1 - (1 - f)^SAMPLES, with the draw that enclaves make.

use super::*;
use crate::check::{Draw, Prf, Shown};

const SEEDS: u32 = 1_000;
const UNITS: u64 = 200;
const FILES: u64 = 300;

/// Ten thousandths of the bytes are missing; whether this seed's draw found any, and the share it vouches for (in
/// 255ths): of filler, and of files.
fn drawn(host: &Host, per_10_000: u64, seed: u32) -> [(bool, u8); 2] {
    let state = host.enclave.state().unwrap();
    let shown = Shown { slot: 1, slot_hash: slot_hash(seed), number: 0, head: [7; 32] };
    let mut draw = Draw::new(
        Prf::new(&[5; 32], &shown),
        Constants::PRODUCTION.samples,
        (state.filler.bytes(), |offsets: &[u64]| state.filler.draw(offsets)),
        (state.files.bytes(), |offsets: &[u64]| state.files.draw(offsets)),
        &state.checks,
    );
    assert_eq!(draw.left(), 2 * Constants::PRODUCTION.samples as usize);
    // Scattered over all bytes.
    let missing = |sample: &Sample| {
        let place = match sample {
            Sample::Filler { disk, page } => page + (u64::from(disk[0]) << 40),
            Sample::File { order, chunk } => chunk.wrapping_add(u64::from_le_bytes(order[..8].try_into().unwrap())),
            Sample::Tree { .. } => panic!("trees are not sampled"),
        };
        (place.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32) % 10_000 < per_10_000
    };
    draw.answer(vec![Some(Vec::new()); draw.left()], |sample, _| !missing(sample)).unwrap();
    let checked = draw.finish().0;
    let found = |filler: bool| checked.bad.iter().any(|bad| matches!(bad, Sample::Filler { .. }) == filler);
    [(found(true), checked.good_filler), (found(false), checked.good_files)]
}

/// A node with so much that single pages and chunks do not weigh: 200 GiB of filler in units of 1 GiB, and files of very
/// different sizes.
fn node() -> Host {
    let mut host = Host::new();
    let state = host.enclave.state_mut().unwrap();
    let unit = Constants::PRODUCTION.filler_unit;
    (0..UNITS).for_each(|number| state.filler.add(number, [(number % 3) as u8; 16], [1; 32], number * unit, unit, 0));
    for number in 0..FILES {
        let size = (1 + number % 7) * (1 + number % 11) * (500 << 20) + number;
        let order = crust_protocol::h(&[&number.to_le_bytes()]);
        let (salts, tree, disk) = (&[[0; 32]], None, 0);
        state.files.insert(crate::files::New { order, size, flags: 0, salts, tree, disk, written: 0 });
    }
    host
}

#[test]
fn the_detection_rate_is_the_formulas_and_power_is_at_most_what_is_there() {
    let host = node();
    for per_10_000 in [5u64, 10, 100] {
        let missing = per_10_000 as f64 / 10_000.0;
        let expected = 1.0 - (1.0 - missing).powi(Constants::PRODUCTION.samples as i32);
        let (mut found, mut honest) = ([0u32; 2], [0u32; 2]);
        for seed in 0..SEEDS {
            for (group, (bad, good)) in drawn(&host, per_10_000, seed).into_iter().enumerate() {
                found[group] += u32::from(bad);
                honest[group] += u32::from(f64::from(good) / 255.0 <= 1.0 - missing);
            }
        }
        for group in 0..2 {
            let rate = f64::from(found[group]) / f64::from(SEEDS);
            let sigma = (expected * (1.0 - expected) / f64::from(SEEDS)).sqrt();
            // Where nearly every draw finds it, one miss is more than three sigma: allow for the one.
            let allowed = (3.0 * sigma).max(1.0 / f64::from(SEEDS));
            let what = ["filler", "files"][group];
            println!("{what}, {missing}: found {rate:.4}, formula {expected:.4}");
            assert!((rate - expected).abs() <= allowed, "{what}, {missing}: {rate} against {expected}");
            if per_10_000 >= 10 {
                let share = f64::from(honest[group]) / f64::from(SEEDS);
                assert!(share >= 0.98, "{what}, {missing}: power is over what is there in {}", 1.0 - share);
            }
        }
    }
}

/// Killing the enclave, or a copy of it, to draw again: how much one can hide by trying is bounded by the same formula.
/// The coin: full power with 1 % of the disk sold.
#[test]
fn no_retry_hides_a_hundredth() {
    let host = node();
    let best = (0..SEEDS).map(|seed| drawn(&host, 100, seed).map(|(_, good)| good)).max().unwrap();
    assert!(best.iter().all(|good| *good < 255), "{best:?}");
    // 0.4 % in 10^7 tries: the chance that any finds nothing.
    let nothing = (1.0f64 - 0.004).powi(Constants::PRODUCTION.samples as i32) * 1e7;
    assert!(nothing < 0.02, "{nothing}");
}
