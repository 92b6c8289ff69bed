//! An audit with all that takes part in it on the chain: BABE's outputs, the market's list, the client's audit root.

use crust_protocol::{
    Hash, TOKEN, audit,
    draw::Drawn,
    file::{Cid, Codec, HashFunction},
    h,
    order::{Content, OrderId},
    statement::{Answer, Gone, Receipts, Report, Statement, first_root, signed_bytes},
};
use crust_runtime::{
    Executive, Mpow, Runtime, RuntimeOrigin, StorageMarket, System, configs::consensus::EPOCH_CONFIG, presets,
};
use frame_support::{assert_ok, traits::Hooks};
use sp_consensus_babe::AllowedSlots;
use sp_core::{H256, Pair, sr25519};
use sp_runtime::transaction_validity::{InvalidTransaction, TransactionValidityError};

use crate::{externalities, wire::said};

type Call = pallet_mpow::Call<Runtime>;

const NODE: u32 = 0;

fn hash(block: u32) -> H256 {
    h(&[b"block", &block.to_le_bytes()]).into()
}

/// Ends the present block and begins others up to this one; their authors bring some output each.
fn go_to(block: u32) {
    while System::block_number() < block {
        let now = System::block_number();
        if now > 0 {
            pallet_babe::AuthorVrfRandomness::<Runtime>::put(Some(h(&[&now.to_le_bytes()])));
            Mpow::on_finalize(now);
        }
        System::initialize(&(now + 1), &hash(now), &Default::default());
        Mpow::on_initialize(now + 1);
        StorageMarket::on_initialize(now + 1);
    }
}

fn file() -> Vec<u8> {
    (0..200_000u32).map(|at| (at % 253) as u8).collect()
}

/// What a node answers that has the file.
fn answer(drawn: &Drawn) -> Answer {
    let file = file();
    let part = |first: u64, chunks: u64| {
        let start = (first * audit::CHUNK) as usize;
        &file[start..file.len().min(start + (chunks * audit::CHUNK) as usize)]
    };
    let siblings = audit::siblings(drawn.size, drawn.chunk);
    let path: Vec<Hash> = siblings.iter().map(|at| audit::subtree(at.first, part(at.first, at.chunks))).collect();
    Answer { bytes: part(drawn.chunk, 1).to_vec().try_into().unwrap(), path: path.try_into().unwrap() }
}

fn record() -> pallet_mpow::Node {
    pallet_mpow::Nodes::<Runtime>::get(NODE).unwrap()
}

struct Enclave(sr25519::Pair);

impl Enclave {
    fn sign<S: Statement>(&self, statement: &S) -> [u8; 64] {
        self.0.sign(&signed_bytes(&hash(0).0, &self.0.public().0, statement)).0
    }

    /// Says it in the present block.
    fn say(&self, call: Call) -> Result<(), TransactionValidityError> {
        Executive::apply_extrinsic(said(call)).map(|outcome| outcome.unwrap())
    }

    fn receipts(&self, order: OrderId) -> Result<(), TransactionValidityError> {
        let prev = record().root;
        let statement = Receipts { prev, root: h(&[&prev]), orders: vec![order].try_into().unwrap() };
        let signature = self.sign(&statement);
        self.say(Call::receipts { node: NODE, statement, signature })
    }

    fn gone(&self, order: OrderId) -> Result<(), TransactionValidityError> {
        let prev = record().root;
        let statement = Gone { prev, root: h(&[&prev]), orders: vec![order].try_into().unwrap() };
        let signature = self.sign(&statement);
        self.say(Call::gone { node: NODE, statement, signature })
    }

    fn report(&self, audit: Option<Answer>) -> Result<(), TransactionValidityError> {
        let (prev, slot) = (record().root, Mpow::slot());
        let statement = Report {
            prev,
            root: h(&[&prev]),
            slot,
            slot_hash: hash(slot * 10 - 1).0,
            filler_bytes: 1 << 30,
            stored_bytes: 0,
            good_filler: 255,
            good_files: 255,
            scrubbed_until: slot,
            audit,
        };
        let signature = self.sign(&statement);
        self.say(Call::report { node: NODE, statement, signature })
    }
}

/// A `dev` chain that draws every node in every slot, in slot 1, with one node that holds an order for five slots.
fn chain(test: impl FnOnce(Enclave, OrderId)) {
    externalities(presets::dev()).execute_with(|| {
        pallet_mpow::Parameters::<Runtime>::mutate(|parameters| parameters.audit_rate = 1);
        go_to(2);
        let enclave = Enclave(sr25519::Pair::from_seed(&[1; 32]));
        let sign_pk = enclave.0.public().0;
        let [client, provider] = ["//Client", "//Provider0"].map(|uri| presets::account(uri).unwrap());
        crate::wire::register(sign_pk, provider.clone());
        assert_eq!(record().root, first_root(&sign_pk));

        let (cid, size) = (Cid::of(Codec::Raw, HashFunction::Sha2_256, &file()), file().len() as u64);
        let audit_root = HashFunction::Blake3.digest(&file());
        let content = Content { client: client.clone().into(), nonce: 0, cid, size, audit_root, flags: 0 };
        let balance = StorageMarket::quote(size, 1, 5).unwrap().balance;
        let origin = RuntimeOrigin::signed(client);
        let none = Default::default();
        assert_ok!(StorageMarket::place_order(origin, 0, *cid.as_bytes(), size, audit_root, 0, 1, 5, balance, none));
        let origin = RuntimeOrigin::signed(provider);
        assert_ok!(StorageMarket::deposit_collateral(origin.clone(), NODE, 100 * TOKEN));
        assert_ok!(StorageMarket::take(origin, content.id(), NODE));
        assert_ok!(enclave.receipts(content.id()));
        go_to(11);
        let drawn = Mpow::audit(NODE).unwrap().due.expect("every slot draws");
        assert_eq!((drawn.order, drawn.audit_root, drawn.size), (content.id(), audit_root, size));
        assert_ok!(enclave.report(Some(answer(&drawn))));
        test(enclave, content.id());
        assert_ok!(Mpow::do_try_state());
        assert_ok!(StorageMarket::do_try_state());
    });
}

fn refused(code: u8) -> Result<(), TransactionValidityError> {
    Err(InvalidTransaction::Custom(code).into())
}

#[test]
fn every_block_brings_an_output() {
    assert_eq!(EPOCH_CONFIG.allowed_slots, AllowedSlots::PrimaryAndSecondaryVRFSlots);
}

#[test]
fn only_the_answer_to_what_was_drawn_is_accepted() {
    chain(|enclave, _| {
        for slot in 2..5 {
            go_to(slot * 10 + 1);
            let drawn = Mpow::audit(NODE).unwrap().due.unwrap();
            let other = Drawn { chunk: (drawn.chunk + 1) % audit::chunks(drawn.size), ..drawn.clone() };
            assert_eq!(enclave.report(None), refused(20));
            assert_eq!(enclave.report(Some(answer(&other))), refused(21));
            assert_ok!(enclave.report(Some(answer(&drawn))));
            assert_eq!(record().last_report.unwrap().slot, slot);
        }
    });
}

#[test]
fn an_order_that_ends_leaves_its_draw_due() {
    chain(|enclave, order| {
        go_to(61);
        assert!(StorageMarket::order(order).is_none(), "its term is over and nothing is left");
        let drawn = Mpow::audit(NODE).unwrap().due.unwrap();
        assert_eq!(drawn.order, order);
        assert_eq!(enclave.report(None), refused(20));
        assert_ok!(enclave.report(Some(answer(&drawn))));
        go_to(71);
        assert_eq!(Mpow::audit(NODE).unwrap().due, None);
        assert_ok!(enclave.report(None));
    });
}

#[test]
fn a_lost_draw_pauses_power_and_pay() {
    chain(|enclave, order| {
        let earned = || pallet_storage_market::Holdings::<Runtime>::get(NODE).map(|holding| holding.earned);
        assert_eq!(earned(), Some(255));
        go_to(21);
        assert_ok!(enclave.gone(order));
        assert!(Mpow::paused(NODE));
        assert_ok!(enclave.report(None));
        assert_eq!(record().power, 0);
        assert_eq!(pallet_mpow::SlotSums::<Runtime>::get(2).power, 0);
    });
}

#[test]
fn a_node_that_is_given_up_under_a_due_draw_fails_it() {
    chain(|_, order| {
        go_to(21);
        assert_eq!(Mpow::audit(NODE).unwrap().due.unwrap().order, order);
        let before = StorageMarket::collateral(NODE);
        assert!(before.reserved > 0);
        let origin = RuntimeOrigin::signed(presets::account("//Provider0").unwrap());
        assert_ok!(StorageMarket::abandon(origin.clone(), NODE));
        assert!(Mpow::paused(NODE));
        assert_eq!(Mpow::audit(NODE).unwrap().due, None);
        go_to(22);
        let left = before.deposited - before.reserved / 7 - before.reserved;
        let after = StorageMarket::collateral(NODE);
        assert_eq!((after.deposited, after.reserved, after.free), (left, 0, left));
        assert_ok!(StorageMarket::withdraw_collateral(origin, NODE, left));
    });
}
