//! Whatever happens in whatever order, the state holds together, and nobody counts for more than there is.

use crust_evidence::TcbStatus;
use crust_protocol::{NodeId, development::MEASUREMENT, parameters::Parameters};
use frame_support::{assert_ok, dispatch::DispatchResult, storage::with_storage_layer};
use proptest::prelude::*;

use crate::{NextNode, NodeOf, PlatformPolicy, SlotSums, fixtures::Platform, mock::*};

const CAP: u64 = 1_000;

/// The enclaves of two providers, with a machine each; what is odd belongs to the second.
fn enclave(name: u8) -> Enclave {
    let owner = Enclave::new(1 + name % 2);
    owner.sibling(10 + name)
}

fn machine(number: u8) -> Platform {
    if number.is_multiple_of(2) { Platform::one() } else { Platform::two() }
}

/// The enclave that stands behind a node now.
fn speaker(number: NodeId) -> Enclave {
    let key = node(number).sign_pk;
    (0..8).map(enclave).find(|enclave| enclave.sign_pk() == key).unwrap()
}

/// A call as it is dispatched: what fails leaves nothing behind. That it is refused is as good as any other outcome.
fn call(call: impl FnOnce() -> DispatchResult) {
    let _ = with_storage_layer(call);
}

/// The same of a statement.
fn say(statement: RuntimeCall) {
    let _ = apply(statement);
}

/// Does one thing.
fn act(what: u8, who: u8, whom: u8, bytes: u64) {
    let nodes = NextNode::<Test>::get();
    let number = if nodes == 0 { 0 } else { u32::from(who) % nodes };
    match what {
        0 => call(|| enclave(who).register()),
        1 => call(|| enclave(who).stand_by()),
        2 => call(|| Enclave { platform: machine(whom), ..enclave(who) }.stand_by()),
        3 => go_to(System::block_number() + u32::from(whom) * 9 + 1),
        4 if bytes.is_multiple_of(3) => call(|| Mpow::revoke_measurement(RuntimeOrigin::root(), u32::from(whom % 2))),
        4 if bytes % 3 == 1 => call(|| Mpow::approve_measurement(RuntimeOrigin::root(), MEASUREMENT, 0, None)),
        4 => {
            let mut policy = PlatformPolicy::default();
            if whom.is_multiple_of(2) {
                policy.statuses = vec![TcbStatus::OutOfDate].try_into().unwrap();
            }
            assert_ok!(Mpow::set_policy(RuntimeOrigin::root(), policy));
        }
        _ if nodes == 0 => {}
        5 => call(|| Enclave { platform: machine(whom), ..speaker(number) }.renew(number)),
        6 => say(speaker(number).heir(number, heir(number, &enclave(whom)))),
        7 => call(|| Mpow::succeed(RuntimeOrigin::signed(node(number).provider), number)),
        8 => {
            Places::mutate(|places| places.push((number, order(whom), bytes)));
            say(speaker(number).receipts(number, receipts(number, &[order(whom)])));
        }
        9 => say(speaker(number).gone(number, gone(number, &[order(whom)]))),
        _ => say(speaker(number).report(number, report(number, bytes))),
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn lesson_15_the_state_holds_together_whatever_happens(
        story in proptest::collection::vec((0u8..12, 0u8..8, 0u8..8, 0u64..700), 1..60),
    ) {
        let parameters = Parameters { platform_cap: CAP, audit_rate: 0, ..Parameters::DEVELOPMENT };
        Chain { parameters, ..Chain::default() }.run(|| {
            go_to(11);
            let mut keys = 0;
            for (what, who, whom, bytes) in story {
                act(what, who, whom, bytes);
                assert_ok!(Mpow::do_try_state());
                let used = NodeOf::<Test>::iter().count();
                assert!(used >= keys, "a key was forgotten");
                keys = used;
            }
            for sums in SlotSums::<Test>::iter_values() {
                assert!(sums.idle <= u128::from(2 * CAP), "{sums:?} on two machines");
            }
        });
    }
}
