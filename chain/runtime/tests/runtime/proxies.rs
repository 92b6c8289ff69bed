//! What a provider's daemon may do in its name: whoever steals its key gets none of the provider's money.

use crust_protocol::{NodeId, TOKEN, order::OrderId};
use crust_runtime::{
    Proxy, Runtime, RuntimeCall, RuntimeEvent, RuntimeOrigin, System, configs::system::ProxyType, presets,
};
use frame_support::assert_ok;
use sp_runtime::{DispatchError, MultiAddress};

use crate::externalities;

type Mpow = pallet_mpow::Call<Runtime>;
type Market = pallet_storage_market::Call<Runtime>;

const ORDER: OrderId = [0; 32];
const NODE: NodeId = 0;

/// What became of a call that the daemon of `//Provider0` makes in its name.
fn by_the_daemon(call: impl Into<RuntimeCall>) -> Result<(), DispatchError> {
    let (provider, daemon) = (presets::account("//Provider0").unwrap(), presets::account("//Provider1").unwrap());
    let (provider, daemon) = (MultiAddress::Id(provider), RuntimeOrigin::signed(daemon));
    assert_ok!(Proxy::proxy(daemon, provider, None, Box::new(call.into())));
    let executed = System::events().into_iter().rev().find_map(|record| match record.event {
        RuntimeEvent::Proxy(pallet_proxy::Event::ProxyExecuted { result }) => Some(result),
        _ => None,
    });
    executed.unwrap()
}

#[test]
fn a_daemons_proxy_does_what_a_node_lives_by_and_moves_no_money() {
    externalities(presets::dev()).execute_with(|| {
        System::set_block_number(1);
        let provider = RuntimeOrigin::signed(presets::account("//Provider0").unwrap());
        let daemon = MultiAddress::Id(presets::account("//Provider1").unwrap());
        assert_ok!(Proxy::add_proxy(provider, daemon, ProxyType::Storage, 0));

        let filtered = Err(frame_system::Error::<Runtime>::CallFiltered.into());
        let elsewhere = MultiAddress::Id(presets::account("//Provider2").unwrap());
        let refused: [RuntimeCall; 6] = [
            // An order of somebody else: its refund would be somebody else's too.
            Market::fund { order: ORDER, amount: TOKEN }.into(),
            Market::place_order {
                nonce: 0,
                cid: [0; 36],
                size: 0,
                audit_root: [0; 32],
                flags: 0,
                replicas: 1,
                term: 1,
                balance: TOKEN,
                nodes: Default::default(),
            }
            .into(),
            Market::cancel { order: ORDER }.into(),
            Market::abandon { node: NODE }.into(),
            pallet_balances::Call::<Runtime>::transfer_keep_alive { dest: elsewhere, value: TOKEN }.into(),
            pallet_utility::Call::<Runtime>::batch { calls: vec![Market::fund { order: ORDER, amount: TOKEN }.into()] }
                .into(),
        ];
        for call in refused {
            assert_eq!(by_the_daemon(call.clone()), filtered, "{call:?}");
        }
        let allowed: [RuntimeCall; 8] = [
            Mpow::announce { node: NODE, peer_id: Default::default(), addresses: Default::default() }.into(),
            Market::take { order: ORDER, node: NODE }.into(),
            Market::claim { order: ORDER, node: NODE }.into(),
            Market::end { order: ORDER }.into(),
            Market::deposit_collateral { node: NODE, amount: TOKEN }.into(),
            Market::withdraw_collateral { node: NODE, amount: TOKEN }.into(),
            Market::retire { order: ORDER, node: NODE }.into(),
            Market::retire_node { node: NODE }.into(),
        ];
        for call in allowed {
            let outcome = by_the_daemon(call.clone());
            assert!(outcome.is_err() && outcome != filtered, "{call:?}: {outcome:?}");
        }
    });
}
