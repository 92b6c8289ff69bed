//! A network as the chain sees it, on the real runtime with real money: blocks and the outputs of their authors, clients
//! that order, providers with collateral, and enclaves whose keys the test holds.

use std::cell::Cell;

use crust_protocol::{
    Balance, Hash, NodeId, audit,
    draw::Drawn,
    file::{Cid, Codec, HashFunction},
    h,
    order::{Content, OrderId},
    parameters::Parameters,
    statement::{Answer, Gone, Receipts, Report, Statement, signed_bytes},
};
use crust_runtime::{
    AccountId, Balances, Executive, Mpow, Runtime, RuntimeOrigin, StorageMarket, System, presets, presets::ISSUANCE,
};
use frame_support::{
    assert_ok,
    traits::{Hooks, fungible::Inspect},
};
use sp_core::{H256, Pair, sr25519};
use sp_runtime::transaction_validity::{InvalidTransaction, TransactionValidityError};

use crate::{externalities, wire::said};

type Call = pallet_mpow::Call<Runtime>;

thread_local! {
    /// Another number for other outputs of the authors, and so for other draws.
    static CHANCE: Cell<u8> = const { Cell::new(0) };
}

/// Runs a story from block 2 of a `dev` chain with these parameters; then the state must hold together, and all money
/// must be somebody's.
pub fn run<R>(parameters: Parameters, chance: u8, story: impl FnOnce() -> R) -> R {
    CHANCE.set(chance);
    externalities(presets::dev()).execute_with(|| {
        pallet_mpow::Parameters::<Runtime>::put(parameters);
        go_to(2);
        let outcome = story();
        assert_ok!(Mpow::do_try_state());
        assert_ok!(StorageMarket::do_try_state());
        let accounts = frame_system::Account::<Runtime>::iter_values();
        let everybodys: Balance = accounts.map(|account| account.data.free + account.data.reserved).sum();
        assert_eq!((everybodys, Balances::total_issuance()), (ISSUANCE, ISSUANCE));
        outcome
    })
}

fn hash(block: u32) -> H256 {
    h(&[b"block", &block.to_le_bytes()]).into()
}

/// Ends the present block and begins others up to this one; their authors bring some output each.
pub fn go_to(block: u32) {
    while System::block_number() < block {
        let now = System::block_number();
        if now > 0 {
            let output = h(&[&[CHANCE.get()], &now.to_le_bytes()]);
            pallet_babe::AuthorVrfRandomness::<Runtime>::put(Some(output));
            Mpow::on_finalize(now);
        }
        System::reset_events();
        System::initialize(&(now + 1), &hash(now), &Default::default());
        Mpow::on_initialize(now + 1);
        StorageMarket::on_initialize(now + 1);
    }
}

/// The first block of this slot in which reports are accepted.
pub fn go_to_slot(slot: u32) {
    let parameters = parameters();
    go_to(parameters.first_block(slot) + parameters.beacon_blocks);
}

pub fn parameters() -> Parameters {
    pallet_mpow::Parameters::<Runtime>::get()
}

/// The bytes of a file: from a number alone, so whoever knows it needs no disk for them.
pub fn file(number: u8) -> Vec<u8> {
    (0..200_000u32).map(|at| (at % 253) as u8 ^ number).collect()
}

/// The answer of whoever has, or can make, a file.
pub fn answer(file: &[u8], drawn: &Drawn) -> Answer {
    let part = |first: u64, chunks: u64| {
        let start = (first * audit::CHUNK) as usize;
        &file[start..file.len().min(start + (chunks * audit::CHUNK) as usize)]
    };
    let siblings = audit::siblings(drawn.size, drawn.chunk);
    let path: Vec<Hash> = siblings.iter().map(|at| audit::subtree(at.first, part(at.first, at.chunks))).collect();
    Answer { bytes: part(drawn.chunk, 1).to_vec().try_into().unwrap(), path: path.try_into().unwrap() }
}

/// What an account owns, free and on hold.
pub fn wealth(account: &AccountId) -> Balance {
    <Balances as Inspect<AccountId>>::total_balance(account)
}

/// What a client orders: by number, so that each is another file.
pub struct Wish {
    pub client: AccountId,
    pub number: u8,
    pub size: u64,
    pub audit_root: Hash,
    pub replicas: u32,
    pub term: u32,
}

impl Wish {
    /// Of a file that nobody has: for those who do not mean to store it.
    pub fn of_bytes(number: u8, size: u64, term: u32) -> Wish {
        let client = presets::account("//Client").unwrap();
        Wish { client, number, size, audit_root: [number; 32], replicas: 1, term }
    }

    /// Of [`file`].
    pub fn of_file(number: u8, term: u32) -> Wish {
        let file = file(number);
        let audit_root = HashFunction::Blake3.digest(&file);
        Wish { audit_root, ..Wish::of_bytes(number, file.len() as u64, term) }
    }

    /// Orders it for one term.
    pub fn place(self) -> OrderId {
        let Wish { client, number, size, audit_root, replicas, term } = self;
        let (nonce, cid) = (number.into(), Cid::of(Codec::Raw, HashFunction::Sha2_256, &[number]));
        let balance = StorageMarket::quote(size, replicas, term).unwrap().balance;
        let content = Content { client: client.clone().into(), nonce, cid, size, audit_root, flags: 0 };
        assert_ok!(StorageMarket::place_order(
            RuntimeOrigin::signed(client),
            nonce,
            *cid.as_bytes(),
            size,
            audit_root,
            0,
            replicas,
            term,
            balance,
            Default::default(),
        ));
        content.id()
    }
}

/// A node of a provider of its own, on a machine of its own.
pub struct Node {
    pub number: NodeId,
    pub provider: AccountId,
    key: sr25519::Pair,
}

impl Node {
    /// Registers the next node, with so much collateral.
    pub fn register(number: u8, collateral: Balance) -> Node {
        let provider = presets::account(&format!("//Provider{number}")).unwrap();
        let key = sr25519::Pair::from_seed(&[number + 1; 32]);
        crate::wire::register(number.into(), key.public().0, provider.clone());
        let node = Node { number: number.into(), provider, key };
        if collateral > 0 {
            node.deposit(collateral);
        }
        node
    }

    pub fn origin(&self) -> RuntimeOrigin {
        RuntimeOrigin::signed(self.provider.clone())
    }

    pub fn deposit(&self, amount: Balance) {
        assert_ok!(StorageMarket::deposit_collateral(self.origin(), self.number, amount));
    }

    pub fn withdraw(&self, amount: Balance) {
        assert_ok!(StorageMarket::withdraw_collateral(self.origin(), self.number, amount));
    }

    /// Takes an order and says that it has sealed it.
    pub fn seal(&self, order: OrderId) {
        assert_ok!(StorageMarket::take(self.origin(), order, self.number));
        assert_ok!(self.receipts(&[order]));
        assert!(StorageMarket::would_end(self.number, &order), "its receipt did not apply");
    }

    pub fn record(&self) -> pallet_mpow::Node {
        pallet_mpow::Nodes::<Runtime>::get(self.number).unwrap()
    }

    pub fn wealth(&self) -> Balance {
        wealth(&self.provider)
    }

    pub fn due(&self) -> Option<Drawn> {
        Mpow::audit(self.number).unwrap().due
    }

    pub fn receipts(&self, orders: &[OrderId]) -> Result<(), TransactionValidityError> {
        let prev = self.record().root;
        let statement = Receipts { prev, root: h(&[&prev]), orders: orders.to_vec().try_into().unwrap() };
        let signature = self.sign(&statement);
        self.say(Call::receipts { node: self.number, statement, signature })
    }

    pub fn gone(&self, orders: &[OrderId]) -> Result<(), TransactionValidityError> {
        let prev = self.record().root;
        let statement = Gone { prev, root: h(&[&prev]), orders: orders.to_vec().try_into().unwrap() };
        let signature = self.sign(&statement);
        self.say(Call::gone { node: self.number, statement, signature })
    }

    /// Reports everything good in this slot, and so much filler.
    pub fn report(&self, filler_bytes: u64, audit: Option<Answer>) -> Result<(), TransactionValidityError> {
        let (prev, slot) = (self.record().root, Mpow::slot());
        let statement = Report {
            prev,
            root: h(&[&prev]),
            slot,
            slot_hash: hash(parameters().first_block(slot) - 1).0,
            filler_bytes,
            stored_bytes: 0,
            good_filler: 255,
            good_files: 255,
            scrubbed_until: slot,
            audit,
        };
        let signature = self.sign(&statement);
        self.say(Call::report { node: self.number, statement, signature })
    }

    fn sign<S: Statement>(&self, statement: &S) -> [u8; 64] {
        self.key.sign(&signed_bytes(&hash(0).0, &self.key.public().0, statement)).0
    }

    /// Says it in the present block.
    fn say(&self, call: Call) -> Result<(), TransactionValidityError> {
        Executive::apply_extrinsic(said(call)).map(|outcome| outcome.unwrap())
    }
}

/// That a statement was refused with this code.
pub fn refused(code: u8) -> Result<(), TransactionValidityError> {
    Err(InvalidTransaction::Custom(code).into())
}
