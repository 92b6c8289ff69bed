//! A runtime around the pallet, a market that is a table, and enclaves that sign what a test has them say.

use crust_protocol::{
    BlockNumber, Hash, Key, NodeId, Slot,
    attestation::{Collateral, Evidence, Identity, Measurement},
    audit, development,
    draw::{self, Drawn},
    file::HashFunction,
    order::OrderId,
    parameters::Parameters,
    statement::{Answer, Gone, Heir, Receipts, Report, Signature, Statement, signed_bytes},
};
use frame_support::{
    assert_ok, derive_impl,
    dispatch::{DispatchResult, GetDispatchInfo},
    pallet_prelude::{TransactionSource, TransactionValidityError, ValidTransaction},
    parameter_types,
    traits::{ConstU32, ConstU64, Get, Hooks},
    weights::Weight,
};
use sp_core::{H256, Pair, sr25519};
use sp_runtime::{
    AccountId32, BuildStorage, DispatchError, MultiSignature,
    traits::{Checkable, IdentityLookup},
};

use crate::{
    self as pallet_mpow, Addresses, Endpoint, GenesisConfig, Market, Node, Nodes, PeerId, PlatformPolicy,
    fixtures::{self, NOW, Platform},
};

pub type Extension = (frame_system::AuthorizeCall<Test>,);
pub type Header = sp_runtime::generic::Header<BlockNumber, sp_runtime::traits::BlakeTwo256>;
pub type UncheckedExtrinsic =
    sp_runtime::generic::UncheckedExtrinsic<AccountId32, RuntimeCall, MultiSignature, Extension>;
pub type Block = sp_runtime::generic::Block<Header, UncheckedExtrinsic>;

#[frame_support::runtime]
mod runtime {
    #[runtime::runtime]
    #[runtime::derive(RuntimeCall, RuntimeEvent, RuntimeError, RuntimeOrigin, RuntimeTask)]
    pub struct Test;

    #[runtime::pallet_index(0)]
    pub type System = frame_system::Pallet<Test>;
    #[runtime::pallet_index(1)]
    pub type Timestamp = pallet_timestamp::Pallet<Test>;
    #[runtime::pallet_index(40)]
    pub type Mpow = pallet_mpow::Pallet<Test>;
}

#[derive_impl(frame_system::config_preludes::TestDefaultConfig)]
impl frame_system::Config for Test {
    type Block = Block;
    type AccountId = AccountId32;
    type Lookup = IdentityLookup<AccountId32>;
    type BlockHashCount = ConstU32<2_400>;
}

impl pallet_timestamp::Config for Test {
    type Moment = u64;
    type OnTimestampSet = ();
    type MinimumPeriod = ConstU64<1>;
    type WeightInfo = ();
}

impl pallet_mpow::Config for Test {
    type Time = Timestamp;
    type Market = Table;
    type AuthorVrf = Vrf;
    type WeightInfo = pallet_mpow::weights::Measured<Test>;
}

parameter_types! {
    /// Places that a node holds: (node, order, size).
    pub static Places: Vec<(NodeId, OrderId, u64)> = Vec::new();
    /// Live replicas: (node, order, size).
    pub static Replicas: Vec<(NodeId, OrderId, u64)> = Vec::new();
    /// What the pallet has told of reports.
    pub static Heard: Vec<(NodeId, Slot, u8)> = Vec::new();
    /// Bytes of idle space that everybody's collateral covers.
    pub static Covered: u64 = u64::MAX;
    /// Whether the market fails as a whole.
    pub static Failing: bool = false;
    /// Nodes that answered their draws.
    pub static AnsweredDraws: Vec<NodeId> = Vec::new();
    /// Nodes whose draws failed, with what was due then.
    pub static FailedDraws: Vec<(NodeId, Option<OrderId>)> = Vec::new();
    /// Another chance for another number.
    pub static Chance: u8 = 0;
}

/// What the author of the present block brings.
pub struct Vrf;

impl Get<Option<Hash>> for Vrf {
    fn get() -> Option<Hash> {
        Some(crust_protocol::h(&[&[Chance::get()], &System::block_number().to_le_bytes()]))
    }
}

/// A market without money: whoever has a place may fill it.
pub struct Table;

impl Market for Table {
    fn would_apply(node: NodeId, order: &OrderId) -> bool {
        Places::get().iter().any(|place| place.0 == node && place.1 == *order)
    }

    fn receipts(node: NodeId, provider: &AccountId32, orders: &[OrderId]) -> Result<(u32, Weight), DispatchError> {
        assert_eq!(crate::Pallet::<Test>::provider(node).as_ref(), Some(provider));
        if Failing::get() {
            return Err(DispatchError::Corruption);
        }
        let wanted = |place: &(NodeId, OrderId, u64)| place.0 == node && orders.contains(&place.1);
        let (filled, open): (Vec<_>, Vec<_>) = Places::get().into_iter().partition(wanted);
        Places::set(open);
        let mut applied = 0;
        for (node, order, size) in filled {
            if size <= Mpow::platform_room(node) {
                Table::hold(node, order, size);
                applied += 1;
            }
        }
        Ok((applied, Weight::zero()))
    }

    fn would_end(node: NodeId, order: &OrderId) -> bool {
        Replicas::get().iter().any(|replica| replica.0 == node && replica.1 == *order)
    }

    fn gone(node: NodeId, due: Option<OrderId>, is_out: bool, orders: &[OrderId]) -> (u32, Weight) {
        let goes = |replica: &(NodeId, OrderId, u64)| replica.0 == node && orders.contains(&replica.1);
        let (gone, kept): (Vec<_>, Vec<_>) = Replicas::get().into_iter().partition(goes);
        assert_eq!((Mpow::before_change(node), Mpow::is_out(node)), (due, is_out));
        Replicas::set(kept);
        gone.iter().for_each(|(node, _, size)| Mpow::replica_ended(*node, *size));
        (gone.len() as u32, Weight::zero())
    }

    fn reported(_: &Parameters, node: NodeId, slot: Slot, good_files: u8) -> (u64, u64) {
        Heard::mutate(|heard| heard.push((node, slot, good_files)));
        (Table::billed(node), Covered::get())
    }

    fn billed(node: NodeId) -> u64 {
        Replicas::get().iter().filter(|replica| replica.0 == node).map(|replica| replica.2).sum()
    }

    fn draw_answered(node: NodeId) {
        AnsweredDraws::mutate(|answered| answered.push(node));
    }

    fn draw_failed(node: NodeId) {
        FailedDraws::mutate(|failed| failed.push((node, Mpow::due(node))));
    }

    fn draw(node: NodeId, seed: &Hash) -> Option<Drawn> {
        let replicas: Vec<_> = Replicas::get().into_iter().filter(|replica| replica.0 == node).collect();
        let (point, chunk) = draw::halves(seed);
        let (_, order, size) = replicas.get(point.checked_rem(replicas.len() as u128)? as usize)?;
        let chunk = (chunk % u128::from(audit::chunks(*size))) as u64;
        let audit_root = HashFunction::Blake3.digest(&file(order, *size));
        Some(Drawn { order: *order, audit_root, size: *size, chunk })
    }
}

impl Table {
    /// A node's replica becomes live.
    pub fn hold(node: NodeId, order: OrderId, size: u64) {
        Mpow::before_change(node);
        Replicas::mutate(|replicas| replicas.push((node, order, size)));
        Mpow::replica_begun(node, size);
    }

    /// An order ends: so does the node's replica of it.
    pub fn end(node: NodeId, order: &OrderId) {
        assert_eq!(<Table as Market>::gone(node, Mpow::before_change(node), Mpow::is_out(node), &[*order]).0, 1);
    }
}

/// The bytes of an order's file.
pub fn file(order: &OrderId, size: u64) -> Vec<u8> {
    let byte = |at: u64| order[0] ^ (at % 251) as u8;
    (0..size).map(byte).collect()
}

/// The answer of whoever has the file.
pub fn answer(drawn: &Drawn) -> Answer {
    let file = file(&drawn.order, drawn.size);
    let part = |first: u64, chunks: u64| {
        let start = (first * audit::CHUNK).min(drawn.size) as usize;
        &file[start..file.len().min(start + (chunks * audit::CHUNK) as usize)]
    };
    let siblings = audit::siblings(drawn.size, drawn.chunk).into_iter();
    let path: Vec<Hash> = siblings.map(|at| audit::subtree(at.first, part(at.first, at.chunks))).collect();
    Answer { bytes: part(drawn.chunk, 1).to_vec().try_into().unwrap(), path: path.try_into().unwrap() }
}

/// A chain in its first block, on [`NOW`], with the parameters of development but for ramp and audits.
pub struct Chain {
    pub parameters: Parameters,
    pub trusted_root: Vec<u8>,
    pub measurements: Vec<Measurement>,
    pub policy: PlatformPolicy,
    pub development: bool,
    pub collateral: Vec<Collateral>,
}

impl Default for Chain {
    fn default() -> Self {
        Chain {
            parameters: Parameters { ramp: 0, audit_rate: 0, ..Parameters::DEVELOPMENT },
            trusted_root: development::ROOT_CA.to_vec(),
            measurements: vec![development::MEASUREMENT],
            policy: PlatformPolicy::default(),
            development: true,
            collateral: vec![fixtures::collateral()],
        }
    }
}

impl Chain {
    pub fn without_collateral() -> Self {
        Chain { collateral: Vec::new(), ..Chain::default() }
    }

    pub fn externalities(&self) -> sp_io::TestExternalities {
        let genesis = RuntimeGenesisConfig {
            mpow: GenesisConfig {
                parameters: self.parameters.clone(),
                trusted_root: self.trusted_root.clone(),
                measurements: self.measurements.clone(),
                policy: self.policy.clone(),
                development: self.development,
                ..GenesisConfig::default()
            },
            ..RuntimeGenesisConfig::default()
        };
        genesis.build_storage().unwrap().into()
    }

    /// Runs a test on the chain, and proves the state at its end.
    pub fn run(self, test: impl FnOnce()) {
        self.begin(|| {
            test();
            assert_ok!(Mpow::do_try_state());
        });
    }

    /// Runs a test on the chain.
    pub fn begin(self, test: impl FnOnce()) {
        Places::set(Vec::new());
        Replicas::set(Vec::new());
        Heard::set(Vec::new());
        Covered::set(u64::MAX);
        Failing::set(false);
        self.externalities().execute_with(|| {
            go_to(1);
            for collateral in self.collateral {
                submit(collateral, &Platform::two().quote([0; 64])).unwrap();
            }
            test();
        });
    }
}

/// Makes blocks up to this one, a second each.
pub fn go_to(block: BlockNumber) {
    while System::block_number() < block {
        let next = System::block_number() + 1;
        if next > 1 {
            Mpow::on_finalize(next - 1);
        }
        System::initialize(&next, &hash_of(next - 1), &Default::default());
        Timestamp::set_timestamp((NOW + u64::from(next)) * 1_000);
        Mpow::on_initialize(next);
        System::note_finished_initialize();
    }
}

/// The block of this slot in which reports are first accepted.
pub fn go_to_slot(slot: Slot) {
    let parameters = crate::Parameters::<Test>::get();
    go_to(parameters.first_block(slot) + parameters.beacon_blocks);
}

pub fn set_time(seconds: u64) {
    Timestamp::set_timestamp(seconds * 1_000);
}

pub fn hash_of(block: BlockNumber) -> H256 {
    sp_io::hashing::blake2_256(&block.to_le_bytes()).into()
}

pub fn account(name: u8) -> AccountId32 {
    [name; 32].into()
}

pub fn order(name: u8) -> OrderId {
    [name; 32]
}

pub fn peer_id() -> PeerId {
    b"12D3KooWEyoppNCUx8Yx66oV9fJnriXwCcXwDDUA2kj6vnc6iDEp".to_vec().try_into().unwrap()
}

pub fn addresses() -> Addresses {
    vec![b"/ip4/127.0.0.1/tcp/4001".to_vec().try_into().unwrap()].try_into().unwrap()
}

pub fn endpoint() -> Endpoint {
    Endpoint { peer_id: peer_id(), addresses: addresses() }
}

pub fn submit(collateral: Collateral, quote: &[u8]) -> DispatchResult {
    let quote = quote.to_vec().try_into().unwrap();
    Mpow::submit_collateral(RuntimeOrigin::signed(account(99)), Box::new(collateral), quote)
}

pub fn node(number: NodeId) -> Node {
    Nodes::<Test>::get(number).unwrap()
}

/// An enclave of a provider: keys, and the platform that it runs on.
pub struct Enclave {
    pub provider: AccountId32,
    pub pair: sr25519::Pair,
    pub channel_pk: Key,
    pub platform: Platform,
}

impl Enclave {
    /// The enclave of a name, of the provider of that name: 2 has a platform of its own, all others share the first.
    pub fn new(name: u8) -> Self {
        Enclave {
            provider: account(name),
            pair: sr25519::Pair::from_seed(&[name; 32]),
            channel_pk: [name; 32],
            platform: if name == 2 { Platform::two() } else { Platform::one() },
        }
    }

    /// Another enclave of the same provider on the same platform.
    pub fn sibling(&self, name: u8) -> Self {
        let platform = if self.provider == account(2) { Platform::two() } else { Platform::one() };
        Enclave { provider: self.provider.clone(), platform, ..Enclave::new(name) }
    }

    pub fn sign_pk(&self) -> Key {
        self.pair.public().0
    }

    /// What its evidence binds, as of a block.
    pub fn identity(&self, block: BlockNumber) -> Identity {
        Identity {
            genesis: hash_of(0).0,
            provider: self.provider.clone().into(),
            sign_pk: self.sign_pk(),
            channel_pk: self.channel_pk,
            block_hash: hash_of(block).0,
        }
    }

    pub fn quote(&self, block: BlockNumber) -> Vec<u8> {
        self.platform.quote(self.identity(block).report_data())
    }

    pub fn register(&self) -> DispatchResult {
        let block = System::block_number() - 1;
        self.register_with(block, self.quote(block))
    }

    pub fn register_with(&self, block: BlockNumber, quote: Vec<u8>) -> DispatchResult {
        self.register_by(&self.provider, block, quote)
    }

    pub fn register_by(&self, provider: &AccountId32, block: BlockNumber, quote: Vec<u8>) -> DispatchResult {
        Mpow::register(
            RuntimeOrigin::signed(provider.clone()),
            self.sign_pk(),
            self.channel_pk,
            block,
            evidence(quote),
            peer_id(),
            addresses(),
        )
    }

    pub fn renew(&self, node: NodeId) -> DispatchResult {
        let block = System::block_number() - 1;
        let quote = evidence(self.quote(block));
        Mpow::renew(RuntimeOrigin::signed(self.provider.clone()), node, block, quote)
    }

    /// Waits to follow a node.
    pub fn stand_by(&self) -> DispatchResult {
        let block = System::block_number() - 1;
        self.stand_by_with(block, self.quote(block))
    }

    pub fn stand_by_with(&self, block: BlockNumber, quote: Vec<u8>) -> DispatchResult {
        Mpow::stand_by(
            RuntimeOrigin::signed(self.provider.clone()),
            self.sign_pk(),
            self.channel_pk,
            block,
            evidence(quote),
            peer_id(),
            addresses(),
        )
    }

    pub fn sign<S: Statement>(&self, statement: &S) -> Signature {
        self.sign_on(&hash_of(0).0, statement)
    }

    /// On the chain that begins with this block.
    pub fn sign_on<S: Statement>(&self, genesis: &Hash, statement: &S) -> Signature {
        self.pair.sign(&signed_bytes(genesis, &self.sign_pk(), statement)).0
    }

    pub fn receipts(&self, node: NodeId, statement: Receipts) -> RuntimeCall {
        let signature = self.sign(&statement);
        crate::Call::receipts { node, statement, signature }.into()
    }

    pub fn gone(&self, node: NodeId, statement: Gone) -> RuntimeCall {
        let signature = self.sign(&statement);
        crate::Call::gone { node, statement, signature }.into()
    }

    pub fn report(&self, node: NodeId, statement: Report) -> RuntimeCall {
        let signature = self.sign(&statement);
        crate::Call::report { node, statement, signature }.into()
    }

    pub fn heir(&self, node: NodeId, statement: Heir) -> RuntimeCall {
        let signature = self.sign(&statement);
        crate::Call::heir { node, statement, signature }.into()
    }
}

pub fn evidence(quote: Vec<u8>) -> Evidence {
    Evidence::Dcap(quote.try_into().unwrap())
}

/// Some root that follows another.
pub fn after(root: Hash) -> Hash {
    sp_io::hashing::blake2_256(&root)
}

/// Receipts on the node's stored root.
pub fn receipts(number: NodeId, orders: &[OrderId]) -> Receipts {
    let prev = node(number).root;
    Receipts { prev, root: after(prev), orders: orders.to_vec().try_into().unwrap() }
}

/// `Gone` on the node's stored root.
pub fn gone(number: NodeId, orders: &[OrderId]) -> Gone {
    let prev = node(number).root;
    Gone { prev, root: after(prev), orders: orders.to_vec().try_into().unwrap() }
}

/// An `Heir` on the node's stored root.
pub fn heir(number: NodeId, heir: &Enclave) -> Heir {
    let prev = node(number).root;
    Heir { prev, root: after(prev), heir: heir.sign_pk() }
}

/// A report on the node's stored root, true in this slot.
pub fn report(number: NodeId, filler_bytes: u64) -> Report {
    let prev = node(number).root;
    let slot = Mpow::slot();
    let first = crate::Parameters::<Test>::get().first_block(slot);
    Report {
        prev,
        root: after(prev),
        slot,
        slot_hash: hash_of(first.saturating_sub(1)).0,
        filler_bytes,
        stored_bytes: 0,
        good_filler: 255,
        good_files: 255,
        scrubbed_until: slot,
        audit: None,
    }
}

/// What the pool thinks of a general transaction.
pub fn validate(call: RuntimeCall) -> Result<ValidTransaction, TransactionValidityError> {
    let extrinsic = UncheckedExtrinsic::new_transaction(call, (frame_system::AuthorizeCall::new(),));
    let (info, length) = (extrinsic.get_dispatch_info(), codec::Encode::encoded_size(&extrinsic));
    let checked = extrinsic.check(&frame_system::ChainContext::<Test>::default())?;
    sp_runtime::traits::Applyable::validate::<Test>(&checked, TransactionSource::External, &info, length)
}

/// Executes a general transaction as in a block.
pub fn apply(call: RuntimeCall) -> Result<DispatchResult, TransactionValidityError> {
    let extrinsic = UncheckedExtrinsic::new_transaction(call, (frame_system::AuthorizeCall::new(),));
    let (info, length) = (extrinsic.get_dispatch_info(), codec::Encode::encoded_size(&extrinsic));
    let checked = extrinsic.check(&frame_system::ChainContext::<Test>::default())?;
    let result = sp_runtime::traits::Applyable::apply::<Test>(checked, &info, length)?;
    Ok(result.map(|_| ()).map_err(|failed| failed.error))
}

/// Events of this pallet since the last call of this function.
pub fn events() -> Vec<crate::Event<Test>> {
    let records = System::read_events_no_consensus().map(|record| record.event).collect::<Vec<_>>();
    System::reset_events();
    records
        .into_iter()
        .filter_map(|event| if let RuntimeEvent::Mpow(event) = event { Some(event) } else { None })
        .collect()
}
