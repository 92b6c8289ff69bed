//! A small mutation engine without dependencies: the same inputs in every run, so that a failure is one for everybody.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Longest input that is made.
const LONGEST: usize = 1 << 20;
/// Mutations of one input, at most.
const MUTATIONS: u64 = 6;
/// Numbers at which code likes to break.
const EDGES: [u64; 10] = [0, 1, 0x7f, 0x80, 0xff, 0xffff, 0x7fff_ffff, 0xffff_ffff, 1 << 62, u64::MAX];

/// Checks the seeds, then so many mutations of them. An input that fails is shown before the panic goes on.
pub fn exercise(name: &str, check: impl Fn(&[u8]), seeds: &[Vec<u8>], rounds: u32) {
    let mut random = Random(name.bytes().fold(1u64, |sum, byte| sum.wrapping_mul(31).wrapping_add(byte.into())));
    let checked = |input: &[u8]| {
        if let Err(panic) = catch_unwind(AssertUnwindSafe(|| check(input))) {
            let shown: String = input.iter().take(4_096).map(|byte| format!("{byte:02x}")).collect();
            eprintln!("{name} fails on {} bytes: {shown}", input.len());
            resume_unwind(panic);
        }
    };
    checked(&[]);
    seeds.iter().for_each(|seed| checked(seed));
    for _ in 0..rounds {
        let mut input = random.pick(seeds).cloned().unwrap_or_default();
        for _ in 0..=random.below(MUTATIONS) {
            mutate(&mut input, random.pick(seeds), &mut random);
        }
        input.truncate(LONGEST);
        checked(&input);
    }
}

/// Changes an input in one way.
fn mutate(input: &mut Vec<u8>, other: Option<&Vec<u8>>, random: &mut Random) {
    let (from, to) = random.range(input.len());
    match random.below(9) {
        0 => flip(input, from, random),
        1 => drop(input.drain(from..to)),
        2 => {
            let copied = input[from..to].to_vec();
            let at = random.index(input.len() + 1);
            drop(input.splice(at..at, copied));
        }
        3 => input.truncate(from),
        4 => input[from..to].iter_mut().for_each(|byte| *byte = random.byte()),
        5 => {
            let edge = EDGES[random.index(EDGES.len())].to_le_bytes();
            let width = 1 << random.below(4);
            let end = input.len().min(from + width);
            input[from..end].iter_mut().zip(edge).for_each(|(byte, edge)| *byte = edge);
        }
        6 => {
            let inserted: Vec<u8> = (0..=random.below(32)).map(|_| random.byte()).collect();
            drop(input.splice(from..from, inserted));
        }
        7 => {
            if let Some(other) = other {
                let (begin, end) = random.range(other.len());
                drop(input.splice(from..to, other[begin..end].iter().copied()));
            }
        }
        _ => {
            let (begin, _) = random.range(input.len());
            input.rotate_left(begin);
        }
    }
}

fn flip(input: &mut [u8], at: usize, random: &mut Random) {
    let bit = random.below(8);
    if let Some(byte) = input.get_mut(at) {
        *byte ^= 1 << bit;
    }
}

/// SplitMix64.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Below a bound over 0.
    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn byte(&mut self) -> u8 {
        self.next().to_le_bytes()[0]
    }

    /// An index below a length; 0 if there is none.
    fn index(&mut self, length: usize) -> usize {
        let length = u64::try_from(length).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.below(length)).unwrap_or_default()
    }

    /// A range inside a length, short ones more often than long ones.
    fn range(&mut self, length: usize) -> (usize, usize) {
        let from = self.index(length + 1);
        let longest = (length - from) >> self.below(8);
        (from, from + self.index(longest + 1))
    }

    fn pick<'a, T>(&mut self, items: &'a [T]) -> Option<&'a T> {
        items.get(self.index(items.len()))
    }
}
