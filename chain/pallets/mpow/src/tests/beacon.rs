//! The beacon: of which blocks it is, when it stands, how long it is kept.

use crust_protocol::{Hash, h, parameters::Parameters};
use frame_support::traits::Get;

use crate::{
    SlotBeacons, WindowBeacons, WindowOutputs,
    beacon::{Beacons, KEPT_BEACONS},
    mock::*,
};

/// What the authors of these blocks make together.
fn made_by(blocks: core::ops::Range<u32>) -> Hash {
    let outputs: Vec<Hash> = blocks.map(|block| h(&[&[Chance::get()], &block.to_le_bytes()])).collect();
    h(&outputs.iter().map(|output| output.as_slice()).collect::<Vec<_>>())
}

#[test]
fn a_beacon_is_of_its_windows_authors_and_stands_as_the_window_ends() {
    let parameters = Parameters { beacon_blocks: 5, ..Parameters::DEVELOPMENT };
    Chain { parameters, ..Chain::default() }.run(|| {
        go_to(15);
        // Block 14 has ended: the first window of slot 1 is over, that of slot 0 lacks the genesis block's author.
        assert_eq!(SlotBeacons::<Test>::get().get(1), Some(made_by(10..15)));
        assert_eq!(SlotBeacons::<Test>::get().get(0), Some(made_by(1..5)));
        assert_eq!(SlotBeacons::<Test>::get().get(2), None);
        assert_eq!(WindowBeacons::<Test>::get().numbers(), 0..3);
        assert_eq!(WindowBeacons::<Test>::get().get(1), Some(made_by(5..10)));
        assert_eq!(Mpow::audit(0), None, "nobody is there to be drawn");
        // The second window of the slot adds nothing to the slot's beacon.
        go_to(20);
        assert_eq!(SlotBeacons::<Test>::get().get(1), Some(made_by(10..15)));
        assert_eq!(WindowBeacons::<Test>::get().get(3), Some(made_by(15..20)));
        go_to(24);
        assert_eq!(WindowOutputs::<Test>::get().into_inner(), (20..24).map(output).collect::<Vec<_>>());
        assert_eq!(SlotBeacons::<Test>::get().newest(), 1);
    });
}

fn output(block: u32) -> Hash {
    h(&[&[Chance::get()], &block.to_le_bytes()])
}

#[test]
fn one_block_is_window_enough_and_other_authors_make_another_beacon() {
    Chain::default().run(|| {
        go_to(11);
        let beacon = SlotBeacons::<Test>::get().get(1);
        assert_eq!(beacon, Some(h(&[&output(10)])));
        assert_eq!(Vrf::get(), Some(output(11)));
        Chance::set(1);
        go_to(21);
        assert_eq!(SlotBeacons::<Test>::get().get(2), Some(h(&[&output(20)])));
        assert_eq!(SlotBeacons::<Test>::get().get(1), beacon);
    });
}

#[test]
fn lesson_17_the_last_128_are_kept() {
    Chain::default().run(|| {
        let last = KEPT_BEACONS + 20;
        go_to_slot(last);
        let (slots, windows) = (SlotBeacons::<Test>::get(), WindowBeacons::<Test>::get());
        assert_eq!(slots.numbers(), last + 1 - KEPT_BEACONS..last + 1);
        assert_eq!(windows.numbers(), last * 10 + 1 - KEPT_BEACONS..last * 10 + 1);
        assert_eq!(slots.get(20), None);
        assert_eq!(slots.get(21), Some(h(&[&output(210)])));
        assert_eq!(slots.get(last), Some(h(&[&output(last * 10)])));
        assert_eq!(slots.get(last + 1), None);
        assert_eq!(windows.get(last * 10), slots.get(last));
    });
}

#[test]
fn beacons_are_found_by_number_and_begin_anew_after_a_gap() {
    let mut beacons = Beacons::default();
    assert_eq!((beacons.numbers(), beacons.newest(), beacons.get(0)), (0..0, 0, None));
    for number in 7..10u8 {
        beacons.push(number.into(), [number; 32]);
    }
    assert_eq!(beacons.numbers(), 7..10);
    assert_eq!(
        [6, 7, 9, 10, u32::MAX].map(|number| beacons.get(number)),
        [None, Some([7; 32]), Some([9; 32]), None, None]
    );
    beacons.push(20, [20; 32]);
    assert_eq!((beacons.numbers(), beacons.get(9), beacons.get(20)), (20..21, None, Some([20; 32])));
}
