//! What fits into a block.

use crust_protocol::statement::{Answer, Gone, Receipts, Report};
use crust_runtime::{Executive, Runtime, RuntimeCall, System, configs::system::Weights, presets};
use frame_support::{
    dispatch::{DispatchClass, GetDispatchInfo},
    pallet_prelude::Weight,
};
use sp_runtime::traits::TransactionExtension;

use crate::externalities;

type Mpow = pallet_mpow::Call<Runtime>;

/// What a transaction with this call takes of a block, all extensions and the base included.
fn whole(call: impl Into<RuntimeCall>) -> (DispatchClass, Weight) {
    let call = call.into();
    let info = call.get_dispatch_info();
    let extensions = crust_runtime::extension(0).weight(&call);
    let base = Weights::get().get(info.class).base_extrinsic;
    (info.class, info.call_weight + extensions + base)
}

#[test]
fn lesson_16_a_block_holds_three_thousand_reports() {
    let (mut externalities, enclave) = crate::wire::chain();
    externalities.execute_with(|| {
        crate::wire::begin_block();
        let before = System::block_weight().total();
        let report = crate::wire::sign(&enclave, crate::wire::honest(&enclave));
        let (class, at_most) = whole(report.clone());
        assert_eq!(class, DispatchClass::Operational);
        assert_eq!(Executive::apply_extrinsic(crate::wire::said(report)), Ok(Ok(())));
        let each = System::block_weight().total() - before;
        let limits = Weights::get();
        let room = limits.get(class).max_total.unwrap() - limits.base_block;
        let all = each * 2_999 + at_most;
        assert!(all.all_lte(room), "a report weighs {each:?}, 3,000 of them {all:?}, a block {room:?}");
    });
}

#[test]
fn lesson_16_every_call_of_ours_fits_into_a_block_at_its_largest() {
    let orders = || vec![[0; 32]; 256];
    let receipts = Receipts { prev: [0; 32], root: [0; 32], orders: orders()[..64].to_vec().try_into().unwrap() };
    let gone = Gone { prev: [0; 32], root: [0; 32], orders: orders().try_into().unwrap() };
    let answer = Answer { bytes: vec![0; 1_024].try_into().unwrap(), path: vec![[0; 32]; 34].try_into().unwrap() };
    let report = Report { audit: Some(answer), ..crate::wire::report() };
    // Only what names orders, or brings an answer, weighs by what is in it.
    let largest: [RuntimeCall; 3] = [
        Mpow::report { node: 0, statement: report, signature: [0; 64] }.into(),
        Mpow::receipts { node: 0, statement: receipts, signature: [0; 64] }.into(),
        Mpow::gone { node: 0, statement: gone, signature: [0; 64] }.into(),
    ];
    let mpow = crate::wire::mpow_calls().into_iter().map(|(_, call)| call.into());
    let market = crate::wire::market_calls().into_iter().map(|(_, call)| call.into());
    let calls: Vec<RuntimeCall> = largest.into_iter().chain(mpow).chain(market).collect();
    externalities(presets::dev()).execute_with(|| {
        let limits = Weights::get();
        for call in calls {
            let (class, weight) = whole(call.clone());
            let room = limits.get(class).max_extrinsic.unwrap();
            assert!(weight.all_lte(room), "{call:?} weighs {weight:?} of {room:?}");
        }
    });
}

/// *Losses that end nothing*, said for free by whoever has registered keys: 20 a key and slot, of 256 orders each.
/// **Coin**: everybody else's orders, takes and claims, which find no room in a block. At what such a statement may weigh
/// at most, a good hundred keys would fill all blocks; at what it does weigh it takes 10,000, each registered anew every
/// two weeks, on machines that are genuine.
#[test]
fn a_flood_of_losses_that_end_nothing_fills_no_block() {
    let (mut externalities, enclave) = crate::wire::chain();
    externalities.execute_with(|| {
        crate::wire::begin_block();
        let flood = |name: u8| {
            let prev = pallet_mpow::Nodes::<Runtime>::get(0).unwrap().root;
            let orders = (0..=255).map(|order| [order ^ name; 32]).collect::<Vec<_>>();
            crate::wire::sign_gone(&enclave, Gone { prev, root: [name; 32], orders: orders.try_into().unwrap() })
        };
        let idle = pallet_mpow::IDLE_GONES;
        let (class, at_most) = whole(flood(0));
        let before = System::block_weight().get(class).ref_time();
        for name in 0..idle {
            assert_eq!(Executive::apply_extrinsic(crate::wire::said(flood(name))), Ok(Ok(())));
        }
        let refused = Executive::apply_extrinsic(crate::wire::said(flood(idle)));
        assert_eq!(refused, Err(pallet_mpow::statements::Refusal::NothingGone.into()));
        let by_a_key = System::block_weight().get(class).ref_time() - before;
        let block = Weights::get().get(class).max_total.unwrap().ref_time();
        let slot = block * u64::from(crust_protocol::parameters::Parameters::PRODUCTION.slot_blocks);
        assert!(slot / (at_most.ref_time() * u64::from(idle)) < 120);
        assert!(slot / by_a_key > 10_000, "{} keys fill all blocks", slot / by_a_key);
    });
}

/// The end queue works through a bounded number of orders a block, whatever is due.
#[test]
fn lesson_16_the_hooks_leave_room_for_transactions() {
    use pallet_storage_market::{LEAVE_A_BLOCK, LEAVERS_A_BLOCK, WeightInfo};
    externalities(presets::dev()).execute_with(|| {
        type Bounds = pallet_storage_market::weights::Measured<Runtime>;
        let ends = Bounds::conclude(20) * u64::from(pallet_storage_market::ENDS_A_BLOCK);
        let hook = Bounds::begin_block()
            + Bounds::begin_slot()
            + Bounds::watch(pallet_storage_market::WATCHED_A_BLOCK)
            + Bounds::leave(LEAVERS_A_BLOCK, LEAVE_A_BLOCK, LEAVE_A_BLOCK * pallet_storage_market::MAX_REPLICAS)
            + ends;
        let block = Weights::get().max_block;
        assert!(hook.all_lte(block / 4), "the hook may weigh {hook:?} of {block:?}");
    });
}
