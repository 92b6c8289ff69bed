//! Registration, renewal and what vendors publish: verified in the native host function, with collateral read from the
//! state; and the policy that Root sets.

use crust_protocol::attestation::{Evidence, Identity, Measurement, tdx_image};
use crust_runtime::{Mpow, Runtime, RuntimeCall, RuntimeOrigin, UncheckedExtrinsic};
use frame_support::BoundedVec;
use pallet_mpow::{Advisory, Approval, Call, Measurements, PlatformPolicy, Policy};
use sp_core::Pair;

use crate::{
    fixtures,
    world::{NOW, World, account, done, hash_of, insert_node, node_of, pair, rich, set_beacons, signed},
};

/// The block that evidence names.
const BLOCK: u32 = NOW - 1;
/// The name of the provider.
const PROVIDER: &str = "provider";

/// The guest that the pallet's tests make quotes of.
fn guest() -> Measurement {
    let zero = [0; 48];
    let image = tdx_image([&[7; 48], &zero, &zero, &zero, &zero, &zero, &zero]);
    Measurement::Tdx { image, machine: BoundedVec::truncate_from(vec![[8; 48]; 16]) }
}

/// As many programs as can be are approved, the policy rejects as many advisories, and the chain has collateral.
fn prepare() -> anyhow::Result<()> {
    rich(PROVIDER)?;
    let shape = |number: u32| {
        let machine = BoundedVec::truncate_from(vec![[9; 48]; 16]);
        Approval::of(Measurement::Tdx { image: hash_of(number), machine })
    };
    for number in 1..pallet_mpow::MAX_MEASUREMENTS - 1 {
        Measurements::<Runtime>::insert(number, shape(number));
    }
    Measurements::<Runtime>::insert(pallet_mpow::MAX_MEASUREMENTS - 1, Approval::of(guest()));
    Policy::<Runtime>::put(policy());
    let platform = fixtures::Platform::two();
    let origin = || RuntimeOrigin::signed(account(PROVIDER));
    let sgx = BoundedVec::truncate_from(platform.quote([0; 64]));
    done(Mpow::submit_collateral(origin(), Box::new(fixtures::collateral()), sgx))?;
    let tdx = BoundedVec::truncate_from(platform.guest_quote_with([0; 64], |_| ()));
    done(Mpow::submit_collateral(origin(), Box::new(fixtures::collateral_of_guests()), tdx))
}

fn policy() -> PlatformPolicy {
    let advisories = (0..128u32).map(|number| Advisory::truncate_from(hash_of(number).to_vec()));
    PlatformPolicy { rejected_advisories: BoundedVec::truncate_from(advisories.collect()), ..PlatformPolicy::default() }
}

fn evidence(enclave: &str, on_guest: bool) -> Evidence {
    let identity = Identity {
        genesis: hash_of(0),
        provider: account(PROVIDER).into(),
        sign_pk: pair(enclave).public().0,
        channel_pk: [1; 32],
        block_hash: hash_of(BLOCK),
    };
    let platform = fixtures::Platform::one();
    let quote = match on_guest {
        true => platform.guest_quote_with(identity.report_data(), |_| ()),
        false => platform.quote(identity.report_data()),
    };
    Evidence::Dcap(BoundedVec::truncate_from(quote))
}

/// Registering an enclave, on SGX or in a TDX guest.
pub fn register(world: &mut World, on_guest: bool) -> anyhow::Result<UncheckedExtrinsic> {
    world.make(|| {
        prepare()?;
        let address = BoundedVec::truncate_from([b"/".as_slice(), &[b'x'; 127]].concat());
        let call = Call::register {
            sign_pk: pair("enclave").public().0,
            channel_pk: [1; 32],
            block_number: BLOCK,
            evidence: evidence("enclave", on_guest),
            peer_id: BoundedVec::truncate_from(vec![b'x'; 64]),
            addresses: BoundedVec::truncate_from(vec![address; 4]),
        };
        signed(PROVIDER, 0, call)
    })
}

/// Renewing a registration, from another machine.
pub fn renew(world: &mut World, on_guest: bool) -> anyhow::Result<UncheckedExtrinsic> {
    world.make(|| {
        prepare()?;
        insert_node(0, node_of(account(PROVIDER), &pair("enclave").public(), 0));
        set_beacons(|_| [0; 32]);
        let call = Call::renew { node: 0, block_number: BLOCK, evidence: evidence("enclave", on_guest) };
        signed(PROVIDER, 0, call)
    })
}

/// Collateral of which every part is newer than what the chain has.
pub fn submit_collateral(world: &mut World) -> anyhow::Result<UncheckedExtrinsic> {
    world.make(|| {
        prepare()?;
        let quote = BoundedVec::truncate_from(fixtures::Platform::two().quote([0; 64]));
        let call = Call::submit_collateral { collateral: Box::new(fixtures::collateral_of_tomorrow()), quote };
        signed(PROVIDER, 0, call)
    })
}

pub fn announce(world: &mut World) -> anyhow::Result<UncheckedExtrinsic> {
    world.make(|| {
        rich(PROVIDER)?;
        insert_node(0, node_of(account(PROVIDER), &pair("enclave").public(), 0));
        let address = BoundedVec::truncate_from([b"/".as_slice(), &[b'x'; 127]].concat());
        let call = Call::announce {
            node: 0,
            peer_id: BoundedVec::truncate_from(vec![b'x'; 64]),
            addresses: BoundedVec::truncate_from(vec![address; 4]),
        };
        signed(PROVIDER, 0, call)
    })
}

/// By Root, which the preset gives to a key.
fn by_root(world: &mut World, call: Call<Runtime>) -> anyhow::Result<UncheckedExtrinsic> {
    world.make(|| {
        prepare()?;
        pallet_sudo::Key::<Runtime>::put(account(PROVIDER));
        let call: RuntimeCall = call.into();
        signed(PROVIDER, 0, pallet_sudo::Call::sudo { call: Box::new(call) })
    })
}

pub fn set_policy(world: &mut World) -> anyhow::Result<UncheckedExtrinsic> {
    by_root(world, Call::set_policy { policy: policy() })
}

/// One that is listed already: all others are read.
pub fn approve_measurement(world: &mut World) -> anyhow::Result<UncheckedExtrinsic> {
    by_root(world, Call::approve_measurement { measurement: guest(), min_svn: 1, expires: Some(u32::MAX) })
}

pub fn revoke_measurement(world: &mut World) -> anyhow::Result<UncheckedExtrinsic> {
    by_root(world, Call::revoke_measurement { measurement: 1 })
}
