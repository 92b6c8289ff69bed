//! A chain of this pallet and balances, for the tests: the development column, accounts with money, nodes by number.
//!
//! [`run`] starts it, tells a story and then checks that every invariant holds and that no money came or went.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    reason = "a test may panic"
)]

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
};

use crust_protocol::{
    Balance, BlockNumber, NodeId, Slot, TOKEN,
    file::{Cid, Codec, HashFunction},
    order::{Content, OrderId},
    parameters::Parameters,
};
use frame_support::{
    PalletId, assert_ok, derive_impl, parameter_types,
    traits::{ConstU32, ConstU128, Hooks},
};
use sp_runtime::{AccountId32, BuildStorage, traits::IdentityLookup};

use crate::{
    Barred, Event, HoldReason, NodeAccounts, Nodes, Order, Orders,
    pallet::{self},
    runtime_api::CollateralInfo,
    weights::Measured,
};

pub type Market = crate::Pallet<Test>;

frame_support::construct_runtime!(
    pub enum Test {
        System: frame_system,
        Balances: pallet_balances,
        StorageMarket: pallet,
    }
);

parameter_types! {
    pub static TestParameters: Parameters = Parameters::DEVELOPMENT;
    pub const MarketPalletId: PalletId = PalletId(*b"crst/mkt");
    pub Pot: AccountId32 = account(250);
    pub Treasury: AccountId32 = account(251);
}

pub const EXISTENTIAL_DEPOSIT: Balance = 1_000;

#[derive_impl(frame_system::config_preludes::TestDefaultConfig)]
impl frame_system::Config for Test {
    type AccountId = AccountId32;
    type Lookup = IdentityLookup<AccountId32>;
    type Block = frame_system::mocking::MockBlockU32<Test>;
    type AccountData = pallet_balances::AccountData<Balance>;
}

#[derive_impl(pallet_balances::config_preludes::TestDefaultConfig)]
impl pallet_balances::Config for Test {
    type Balance = Balance;
    type AccountStore = System;
    type ExistentialDeposit = ConstU128<EXISTENTIAL_DEPOSIT>;
    type MaxFreezes = ConstU32<4>;
    type FreezeIdentifier = u8;
}

impl crate::Config for Test {
    type RuntimeHoldReason = RuntimeHoldReason;
    type Currency = Balances;
    type Parameters = TestParameters;
    type Nodes = Registry;
    type PalletId = MarketPalletId;
    type Pot = Pot;
    type Treasury = Treasury;
    type WeightInfo = Measured<Test>;
}

thread_local! {
    static EXPIRED: RefCell<BTreeSet<NodeId>> = const { RefCell::new(BTreeSet::new()) };
    /// Billed bytes of each node's live replicas, as told to its platform.
    static BILLED: RefCell<BTreeMap<NodeId, u64>> = const { RefCell::new(BTreeMap::new()) };
    static OUT: RefCell<BTreeSet<NodeId>> = const { RefCell::new(BTreeSet::new()) };
    /// Who reported in which slot; each has one unit of power.
    static REPORTS: RefCell<BTreeSet<(Slot, NodeId)>> = const { RefCell::new(BTreeSet::new()) };
    static ROOM: RefCell<BTreeMap<NodeId, u64>> = const { RefCell::new(BTreeMap::new()) };
    static DUE: RefCell<BTreeMap<NodeId, OrderId>> = const { RefCell::new(BTreeMap::new()) };
    static ON_PROBATION: RefCell<BTreeSet<NodeId>> = const { RefCell::new(BTreeSet::new()) };
}

parameter_types! {
    /// What each change of a node's replicas found as it was announced: the node, and what seed 0 drew then.
    pub static Changes: Vec<(NodeId, Option<OrderId>)> = Vec::new();
}

/// Nodes 0 to 99; node `n` works for `provider(n % 50)`, so each provider has two.
pub struct Registry;

impl Registry {
    /// Billed bytes on the node's platform: it has one of its own.
    pub fn billed(node: NodeId) -> u64 {
        BILLED.with_borrow(|sums| sums.get(&node).copied().unwrap_or_default())
    }

    pub fn expire(node: NodeId) {
        EXPIRED.with_borrow_mut(|expired| expired.insert(node));
    }

    /// A node's program was withdrawn, and its delay has passed.
    pub fn put_out(node: NodeId) {
        OUT.with_borrow_mut(|out| out.insert(node));
    }

    /// The cap of a node's platform leaves so much.
    pub fn leave_room(node: NodeId, bytes: u64) {
        ROOM.with_borrow_mut(|room| room.insert(node, bytes));
    }

    /// A node's draw of this order is due.
    pub fn draw(node: NodeId, order: OrderId) {
        DUE.with_borrow_mut(|due| due.insert(node, order));
    }

    /// A node has answered its due draw.
    pub fn answer(node: NodeId) {
        if DUE.with_borrow_mut(|due| due.remove(&node)).is_some() {
            Market::draw_answered(node);
        }
    }

    /// A node failed its due draw, if it has one: the market hears of it while the draw is still due. It makes up for it
    /// no more.
    pub fn fail_draw(node: NodeId) {
        if Self::due(node).is_some() {
            Market::draw_failed(node);
            DUE.with_borrow_mut(|due| due.remove(&node));
            ON_PROBATION.with_borrow_mut(|nodes| nodes.insert(node));
        }
    }

    fn start_anew() {
        EXPIRED.with_borrow_mut(BTreeSet::clear);
        BILLED.with_borrow_mut(BTreeMap::clear);
        OUT.with_borrow_mut(BTreeSet::clear);
        REPORTS.with_borrow_mut(BTreeSet::clear);
        ROOM.with_borrow_mut(BTreeMap::clear);
        DUE.with_borrow_mut(BTreeMap::clear);
        ON_PROBATION.with_borrow_mut(BTreeSet::clear);
    }
}

impl Nodes for Registry {
    fn provider(node: NodeId) -> Option<AccountId32> {
        (node < 100).then(|| provider(node))
    }

    fn barred(node: NodeId) -> Option<Barred> {
        let registered = node < 100 && EXPIRED.with_borrow(|expired| !expired.contains(&node));
        (!registered).then_some(Barred::NotRegistered)
    }

    fn count() -> NodeId {
        100
    }

    fn slot_power(slot: Slot) -> u128 {
        let reported = REPORTS.with_borrow(|reports| reports.iter().filter(|(reported, _)| *reported == slot).count());
        reported as u128
    }

    fn platform_room(node: NodeId) -> u64 {
        let cap = TestParameters::get().platform_cap;
        ROOM.with_borrow(|room| room.get(&node).copied()).unwrap_or_else(|| cap.saturating_sub(Self::billed(node)))
    }

    fn is_out(node: NodeId) -> bool {
        OUT.with_borrow(|out| out.contains(&node))
    }

    fn due(node: NodeId) -> Option<OrderId> {
        DUE.with_borrow(|due| due.get(&node).copied())
    }

    fn on_probation(node: NodeId) -> bool {
        ON_PROBATION.with_borrow(|nodes| nodes.contains(&node))
    }

    fn unanswered(node: NodeId) {
        Self::fail_draw(node);
    }

    fn endpoint(node: NodeId) -> Option<(Vec<u8>, Vec<Vec<u8>>)> {
        (node < 100).then(|| (format!("peer-{node}").into_bytes(), vec![b"/ip4/127.0.0.1/tcp/4001".to_vec()]))
    }

    fn replica_begun(node: NodeId, billed: u64) {
        BILLED.with_borrow_mut(|sums| *sums.entry(node).or_default() += billed);
    }

    fn replica_ended(node: NodeId, billed: u64) {
        BILLED.with_borrow_mut(|sums| *sums.entry(node).or_default() -= billed);
    }

    fn before_change(node: NodeId) -> Option<OrderId> {
        let drawn = Market::draw(node, &[0; 32]).map(|drawn| drawn.order);
        Changes::mutate(|changes| changes.push((node, drawn)));
        Self::due(node)
    }
}

pub fn account(number: u8) -> AccountId32 {
    AccountId32::new([number; 32])
}

/// A client's account: 1, 2 or 3.
pub fn client(number: u8) -> AccountId32 {
    assert!((1..=3).contains(&number));
    account(number)
}

/// The account that a node works for.
pub fn provider(node: NodeId) -> AccountId32 {
    account(100 + u8::try_from(node % 50).unwrap())
}

/// The money that every client begins with.
pub const ENDOWMENT: Balance = 1_000 * TOKEN;
/// The money that every provider begins with.
pub const PROVIDER_ENDOWMENT: Balance = TOKEN;

/// The development column, without collateral.
pub const PLAIN: Parameters = Parameters { collateral_slots: 0, ..Parameters::DEVELOPMENT };
/// The same with a collateral of ten slots' pay for each replica.
pub const SECURED: Parameters = Parameters { collateral_slots: 10, ..PLAIN };

/// Starts a chain in block 10, the first of slot 1, and runs a story on it.
pub fn run(story: impl FnOnce()) {
    run_with(PLAIN, story);
}

/// The same under other parameters.
pub fn run_with(parameters: Parameters, story: impl FnOnce()) {
    TestParameters::set(parameters.clone());
    Registry::start_anew();
    let mut balances: Vec<_> = (1..=3).map(|number| (client(number), ENDOWMENT)).collect();
    balances.extend((0..50).map(|node| (provider(node), PROVIDER_ENDOWMENT)));
    balances.push((Treasury::get(), ENDOWMENT));
    let genesis = RuntimeGenesisConfig {
        balances: pallet_balances::GenesisConfig { balances, ..Default::default() },
        ..Default::default()
    };
    let mut externalities = sp_io::TestExternalities::new(genesis.build_storage().unwrap());
    externalities.execute_with(|| {
        let issuance = Balances::total_issuance();
        run_to(parameters.first_block(1));
        story();
        check();
        assert_eq!(Balances::total_issuance(), issuance, "money came or went");
    });
}

/// Every invariant, and all money being somebody's.
pub fn check() {
    assert_ok!(Market::do_try_state());
    let everybodys: Balance =
        frame_system::Account::<Test>::iter_values().map(|account| account.data.free + account.data.reserved).sum();
    assert_eq!(everybodys, Balances::total_issuance(), "balances and issuance differ");
    let accounts = || frame_system::Account::<Test>::iter_keys();
    let on_hold: Balance = accounts().map(|account| held(&account)).sum();
    let ordered: Balance = Orders::<Test>::iter_values().map(|order| order.balance + order.deposit).sum();
    assert_eq!(on_hold, ordered, "something is on hold for no order");
    for node in 0..100 {
        assert_eq!(Registry::billed(node), Market::billed(node), "a platform was told otherwise");
    }
    let on_hold: Balance = accounts().map(|account| collateral_held(&account)).sum();
    let deposited: Balance = NodeAccounts::<Test>::iter_values().map(|account| account.collateral.deposited).sum();
    assert_eq!(on_hold, deposited, "something is on hold for no node");
}

pub fn now() -> BlockNumber {
    System::block_number()
}

pub fn slot() -> Slot {
    TestParameters::get().slot_of(now())
}

/// Makes blocks up to this one, which it begins.
pub fn run_to(block: BlockNumber) {
    assert!(block >= now(), "blocks are made forwards");
    while now() < block {
        System::set_block_number(now() + 1);
        Market::on_initialize(now());
    }
}

/// Makes blocks up to the first of a slot.
pub fn run_to_slot(slot: Slot) {
    run_to(TestParameters::get().first_block(slot));
}

/// The CID of a file of this name.
pub fn cid(name: &str) -> Cid {
    Cid::of(Codec::DagPb, HashFunction::Sha2_256, name.as_bytes())
}

/// What a test orders: 1 GiB, two replicas, ten slots, a balance for one term.
#[derive(Clone)]
pub struct Wish {
    pub client: u8,
    pub nonce: u64,
    pub name: &'static str,
    pub size: u64,
    pub replicas: u32,
    pub term: u32,
    /// In plancks; what `quote` says for one term, if not set.
    pub balance: Option<Balance>,
}

pub fn wish() -> Wish {
    Wish { client: 1, nonce: 0, name: "file", size: 1 << 30, replicas: 2, term: 10, balance: None }
}

impl Wish {
    pub fn client(self, client: u8) -> Self {
        Wish { client, ..self }
    }

    pub fn nonce(self, nonce: u64) -> Self {
        Wish { nonce, ..self }
    }

    pub fn name(self, name: &'static str) -> Self {
        Wish { name, ..self }
    }

    pub fn size(self, size: u64) -> Self {
        Wish { size, ..self }
    }

    pub fn replicas(self, replicas: u32) -> Self {
        Wish { replicas, ..self }
    }

    pub fn term(self, term: u32) -> Self {
        Wish { term, ..self }
    }

    pub fn balance(self, balance: Balance) -> Self {
        Wish { balance: Some(balance), ..self }
    }

    /// A balance for so many terms.
    pub fn terms(self, terms: u128) -> Self {
        let one = Market::quote(self.size, self.replicas, self.term).unwrap().balance;
        self.balance(one * terms)
    }

    pub fn id(&self) -> OrderId {
        Content {
            client: client(self.client).into(),
            nonce: self.nonce,
            cid: cid(self.name),
            size: self.size,
            audit_root: [7; 32],
            flags: 0,
        }
        .id()
    }

    pub fn try_place(&self) -> Result<OrderId, sp_runtime::DispatchError> {
        let balance = self.balance.unwrap_or_else(|| {
            Market::quote(self.size, self.replicas, self.term).map(|quote| quote.balance).unwrap_or(TOKEN)
        });
        Market::place_order(
            RuntimeOrigin::signed(client(self.client)),
            self.nonce,
            *cid(self.name).as_bytes(),
            self.size,
            [7; 32],
            0,
            self.replicas,
            self.term,
            balance,
            Default::default(),
        )?;
        Ok(self.id())
    }

    pub fn place(&self) -> OrderId {
        self.try_place().unwrap()
    }
}

pub fn take(order: OrderId, node: NodeId) -> frame_support::dispatch::DispatchResultWithPostInfo {
    Market::take(RuntimeOrigin::signed(provider(node)), order, node)
}

/// A node's receipt, as its verified statement brings it.
pub fn receipt(order: OrderId, node: NodeId) -> bool {
    let would = Market::would_apply(node, &order);
    let (applied, _) = Market::receipts(node, &provider(node), &[order]).unwrap();
    let applied = applied == 1;
    assert_eq!(would, applied, "would_apply and receipts differ");
    applied
}

/// A node takes a place and seals at once.
pub fn seal(order: OrderId, node: NodeId) {
    assert_ok!(take(order, node));
    assert!(receipt(order, node));
}

/// A node's `Gone`, as its verified statement brings it: a due draw of what it names fails first.
pub fn gone(order: OrderId, node: NodeId) -> bool {
    if Registry::due(node) == Some(order) {
        Registry::fail_draw(node);
    }
    let would = Market::would_end(node, &order);
    let ended = gone_all(node, &[order]) == 1;
    assert_eq!(would, ended, "would_end and gone differ");
    ended
}

/// What the treasury has, and what is counted for it.
pub fn treasury() -> Balance {
    free(&Treasury::get()) + crate::UnmovedShares::<Test>::get().treasury
}

/// [`gone`] without its checks, of many orders. Says how many replicas ended.
pub fn gone_all(node: NodeId, orders: &[OrderId]) -> u32 {
    Market::gone(node, Registry::before_change(node), Registry::is_out(node), orders).0
}

/// A node's report of the present slot.
pub fn report(node: NodeId, good_files: u8) {
    REPORTS.with_borrow_mut(|reports| reports.insert((slot(), node)));
    Market::reported(&TestParameters::get(), node, slot(), good_files);
}

/// From the next slot on, for so many slots: these nodes report everything good. Ends within the last of them.
pub fn report_slots(slots: u32, nodes: &[NodeId]) {
    for _ in 0..slots {
        run_to_slot(slot() + 1);
        for node in nodes {
            report(*node, 255);
        }
    }
}

/// Puts collateral on hold for a node.
pub fn deposit(node: NodeId, amount: Balance) -> sp_runtime::DispatchResult {
    Market::deposit_collateral(RuntimeOrigin::signed(provider(node)), node, amount)
}

/// Takes collateral of a node back.
pub fn withdraw(node: NodeId, amount: Balance) -> sp_runtime::DispatchResult {
    Market::withdraw_collateral(RuntimeOrigin::signed(provider(node)), node, amount)
}

pub fn retire(order: OrderId, node: NodeId) -> sp_runtime::DispatchResult {
    Market::retire(RuntimeOrigin::signed(provider(node)), order, node)
}

pub fn retire_node(node: NodeId) -> sp_runtime::DispatchResult {
    Market::retire_node(RuntimeOrigin::signed(provider(node)), node)
}

pub fn abandon(node: NodeId) -> sp_runtime::DispatchResult {
    Market::abandon(RuntimeOrigin::signed(provider(node)), node)
}

/// What a node's collateral is, and what of it is reserved and free.
pub fn collateral(node: NodeId) -> (Balance, Balance, Balance) {
    let CollateralInfo { deposited, reserved, free, .. } = Market::collateral(node);
    (deposited, reserved, free)
}

/// The idle space that a node's collateral covers.
pub fn covered(node: NodeId) -> u64 {
    Market::account_of(node).collateral.covers(&TestParameters::get(), slot())
}

pub fn claim(order: OrderId, node: NodeId) -> sp_runtime::DispatchResult {
    Market::claim(RuntimeOrigin::signed(account(3)), order, node)
}

pub fn cancel(order: OrderId) -> frame_support::dispatch::DispatchResultWithPostInfo {
    let client = order_of(order).client;
    Market::cancel(RuntimeOrigin::signed(client), order)
}

pub fn end(order: OrderId) -> frame_support::dispatch::DispatchResultWithPostInfo {
    Market::end(RuntimeOrigin::signed(account(3)), order)
}

pub fn order_of(order: OrderId) -> Order {
    Orders::<Test>::get(order).expect("the order is live")
}

pub fn is_live(order: OrderId) -> bool {
    Orders::<Test>::contains_key(order)
}

pub fn free(account: &AccountId32) -> Balance {
    Balances::free_balance(account)
}

pub fn held(account: &AccountId32) -> Balance {
    use frame_support::traits::fungible::InspectHold;
    Balances::balance_on_hold(&HoldReason::Order.into(), account)
}

/// What an account has on hold as collateral.
pub fn collateral_held(account: &AccountId32) -> Balance {
    use frame_support::traits::fungible::InspectHold;
    Balances::balance_on_hold(&HoldReason::Collateral.into(), account)
}

/// What a provider has earned since the start, and not lost.
pub fn income(node: NodeId) -> Balance {
    free(&provider(node)) + collateral_held(&provider(node)) - PROVIDER_ENDOWMENT
}

/// The market's events so far.
pub fn events() -> Vec<Event<Test>> {
    System::events()
        .into_iter()
        .filter_map(|record| match record.event {
            RuntimeEvent::StorageMarket(event) => Some(event),
            _ => None,
        })
        .collect()
}
