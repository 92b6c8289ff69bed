//! A chain's state in memory, as full as it may become: made by the runtime's own code, natively, and then called into
//! through its wasm.
//!
//! Production's parameters. The present block is in the middle of a slot, so that a report may be in it; records are as
//! large as they can be, and everybody who has a part in a call has an account and a hold of their own.

use anyhow::{Context, anyhow, bail, ensure};
use codec::{Decode, Encode};
use crust_evidence::{Ca, Edition, Family, Tee};
use crust_protocol::{
    Balance, Hash, NodeId, Slot, TOKEN, audit,
    draw::{self, halves},
    file::{Cid, Codec, HashFunction},
    h,
    order::{Content, OrderId},
    parameters::Parameters,
    statement::{Answer, Gone, Receipts, Report, Statement, first_root, signed_bytes},
};
use crust_runtime::{
    AccountId, Address, Balances, Header, Nonce, Runtime, RuntimeCall, RuntimeOrigin, Signature, SignedPayload,
    StorageMarket, System, UncheckedExtrinsic, extension, presets,
};
use frame_support::{BoundedVec, traits::fungible::Mutate};
use pallet_mpow::{Document, Endpoint, Endpoints, Node, Nodes, Platform, Platforms, beacon::Beacons, collateral::Part};
use pallet_storage_market::{Live, NodeAccounts, Orders, Replicas, collateral::Withheld};
use sp_consensus_babe::digests::{CompatibleDigestItem, PreDigest, SecondaryPlainPreDigest};
use sp_core::{H256, Pair, sr25519};
use sp_runtime::{ApplyExtrinsicResult, BuildStorage, Digest, DigestItem, traits::Header as _};
use sp_state_machine::BasicExternalities;
use sp_storage::Storage;

use crate::machine::{APPLY, Cost, Keys, Machine, accepted};

/// The present slot.
pub const SLOT: Slot = 1_000;
/// The present block.
pub const NOW: u32 = SLOT * Parameters::PRODUCTION.slot_blocks + 100;
/// Seconds since 1970: the collateral of the pallet's tests is in date.
const TIME: u64 = crate::fixtures::NOW + 1_000;
/// Slots of an order's term at least.
const TERM: u32 = 200;
/// What everybody has.
const RICH: Balance = 10_000 * TOKEN;

/// Whose collateral is out of date.
const FAMILY: Family = Family { tee: Tee::Sgx, ca: Ca::Platform, fmspc: *b"crust0" };

/// The hash of a block before the present one.
pub fn hash_of(block: u32) -> Hash {
    h(&[b"block", &block.to_le_bytes()])
}

/// The key of whoever has this name; accounts and enclaves alike.
pub fn pair(name: &str) -> sr25519::Pair {
    sr25519::Pair::from_seed(&h(&[name.as_bytes()]))
}

pub fn account(name: &str) -> AccountId {
    AccountId::new(pair(name).public().0)
}

/// What a call of the runtime answers, if it went well.
pub fn done<T, E: std::fmt::Debug>(outcome: Result<T, E>) -> anyhow::Result<T> {
    outcome.map_err(|error| anyhow!("refused: {error:?}"))
}

/// The state of a chain with production's parameters under the development root.
pub fn genesis(parameters: Parameters) -> anyhow::Result<Storage> {
    let genesis = presets::Genesis { parameters, ..presets::local() };
    genesis.config().build_storage().map_err(|error| anyhow!(error))
}

/// A node's record, as large as it can be.
pub fn node_of(provider: AccountId, enclave: &sr25519::Public, number: NodeId) -> Node {
    Node {
        provider,
        sign_pk: enclave.0,
        channel_pk: [1; 32],
        platform: h(&[b"platform", &number.to_le_bytes()]),
        measurement: 0,
        registered_until: u32::MAX,
        root: first_root(&enclave.0),
        last_report: Some(pallet_mpow::LastReport {
            slot: 0,
            block: 0,
            filler_bytes: 1 << 40,
            stored_bytes: 0,
            good_filler: 255,
            good_files: 255,
            scrubbed_until: 0,
        }),
        power: 1 << 40,
        gone_idle: (0, 0),
        family: FAMILY,
        out_since: None,
        idle: 1 << 40,
        heir: Some((0, [2; 32])),
        audits: Default::default(),
    }
}

/// Where a node is reached, as long as it can be.
pub fn endpoint() -> Endpoint {
    let text = |length| vec![b'x'; length];
    let address = BoundedVec::truncate_from(text(128));
    Endpoint { peer_id: BoundedVec::truncate_from(text(64)), addresses: BoundedVec::truncate_from(vec![address; 4]) }
}

/// Puts a node into the state, alone on its machine.
pub fn insert_node(number: NodeId, node: Node) {
    let platform =
        Platform { provider: node.provider.clone(), first_seen: 0, serves_until: u32::MAX, billed: 0, filler: (0, 0) };
    Platforms::<Runtime>::insert(node.platform, platform);
    pallet_mpow::NodeOf::<Runtime>::insert(node.sign_pk, number);
    Nodes::<Runtime>::insert(number, node);
    Endpoints::<Runtime>::insert(number, endpoint());
    pallet_mpow::NextNode::<Runtime>::mutate(|next| *next = (*next).max(number + 1));
}

/// An audit root, and the answer that shows this chunk of a file of this size under it.
pub fn answer_for(size: u64, chunk: u64) -> anyhow::Result<(Hash, Answer)> {
    let (_, length) = audit::range(size, chunk).context("the file has no such chunk")?;
    let bytes = vec![7; usize::try_from(length)?];
    let siblings = audit::siblings(size, chunk);
    let path: Vec<Hash> = siblings.iter().map(|sibling| h(&[&sibling.first.to_le_bytes()])).collect();
    let mut hash = audit::subtree(chunk, &bytes);
    let mut left = siblings.len();
    for (sibling, other) in siblings.iter().zip(&path) {
        left -= 1;
        let (first, second) = if sibling.first > chunk { (&hash, other) } else { (other, &hash) };
        hash = if left == 0 { audit::root(first, second) } else { audit::parent(first, second) };
    }
    if siblings.is_empty() {
        hash = HashFunction::Blake3.digest(&bytes);
    }
    let answer = Answer { bytes: BoundedVec::truncate_from(bytes), path: BoundedVec::truncate_from(path) };
    ensure!(audit::verify(&hash, size, chunk, &answer), "the answer does not fit");
    Ok((hash, answer))
}

/// What an enclave says, as a transaction.
pub fn said(call: pallet_mpow::Call<Runtime>) -> UncheckedExtrinsic {
    UncheckedExtrinsic::new_transaction(call.into(), extension(0))
}

pub fn sign<S: Statement>(genesis: &Hash, enclave: &sr25519::Pair, statement: &S) -> [u8; 64] {
    enclave.sign(&signed_bytes(genesis, &enclave.public().0, statement)).0
}

/// A node with those who stand behind it.
pub struct Speaker {
    pub node: NodeId,
    pub enclave: sr25519::Pair,
    /// Its provider's name.
    pub provider: String,
}

impl Speaker {
    pub fn new(node: NodeId) -> Self {
        Speaker { node, enclave: pair(&format!("enclave {node}")), provider: format!("provider {node}") }
    }

    /// The root that its next statement continues.
    pub fn prev(&self) -> anyhow::Result<Hash> {
        Ok(Nodes::<Runtime>::get(self.node).context("no such node")?.root)
    }

    pub fn sign<S: Statement>(&self, statement: &S) -> [u8; 64] {
        sign(&hash_of(0), &self.enclave, statement)
    }

    /// Receipts for these orders.
    pub fn receipts(&self, orders: &[OrderId]) -> anyhow::Result<UncheckedExtrinsic> {
        let orders = BoundedVec::truncate_from(orders.to_vec());
        let statement = Receipts { prev: self.prev()?, root: [5; 32], orders };
        let signature = self.sign(&statement);
        Ok(said(pallet_mpow::Call::receipts { node: self.node, statement, signature }))
    }

    /// These orders are gone.
    pub fn gone(&self, orders: &[OrderId]) -> anyhow::Result<UncheckedExtrinsic> {
        let orders = BoundedVec::truncate_from(orders.to_vec());
        let statement = Gone { prev: self.prev()?, root: [5; 32], orders };
        let signature = self.sign(&statement);
        Ok(said(pallet_mpow::Call::gone { node: self.node, statement, signature }))
    }

    /// The report of the present slot.
    pub fn report(&self, audit: Option<Answer>) -> anyhow::Result<UncheckedExtrinsic> {
        let statement = Report {
            prev: self.prev()?,
            root: [5; 32],
            slot: SLOT,
            slot_hash: hash_of(SLOT * Parameters::PRODUCTION.slot_blocks - 1),
            filler_bytes: 1 << 40,
            stored_bytes: 1 << 40,
            good_filler: 255,
            good_files: 255,
            scrubbed_until: SLOT,
            audit,
        };
        let signature = self.sign(&statement);
        Ok(said(pallet_mpow::Call::report { node: self.node, statement, signature }))
    }
}

/// The state, and the wasm that is called into.
pub struct World<'a> {
    machine: &'a Machine,
    pub state: BasicExternalities,
    /// What any transaction touches: its weight is the base of all.
    base: Keys,
}

impl<'a> World<'a> {
    pub fn new(machine: &'a Machine) -> anyhow::Result<Self> {
        let state = BasicExternalities::new(genesis(Parameters::PRODUCTION)?);
        let mut world = World { machine, state, base: Keys::default() };
        let idle = world.state.execute_with(|| -> anyhow::Result<_> {
            for block in (0..1).chain(NOW - 2_400..NOW) {
                frame_system::BlockHash::<Runtime>::insert(block, H256(hash_of(block)));
            }
            System::set_block_number(NOW - 1);
            System::initialize(&NOW, &H256(hash_of(NOW - 1)), &Default::default());
            System::note_finished_initialize();
            System::note_inherents_applied();
            pallet_timestamp::Now::<Runtime>::put(TIME * 1_000);
            pallet_storage_market::CountedSlots::<Runtime>::put(SLOT);
            set_beacons(|_| [0; 32]);
            outdate_collateral();
            rich("idle")?;
            signed("idle", 0, frame_system::Call::remark { remark: Vec::new() })
        })?;
        let (answer, keys) = machine.keys(&mut world.state, APPLY, &idle.encode())?;
        accepted(&answer)?;
        world.base = keys;
        Ok(world)
    }

    /// Runs the runtime's own code on the state.
    pub fn make<R>(&mut self, make: impl FnOnce() -> anyhow::Result<R>) -> anyhow::Result<R> {
        self.state.execute_with(|| {
            let made = make()?;
            System::reset_events();
            Ok(made)
        })
    }

    /// What a transaction costs that is accepted and succeeds.
    pub fn accepted(&mut self, transaction: &UncheckedExtrinsic) -> anyhow::Result<Cost> {
        self.cost(APPLY, &transaction.encode(), accepted)
    }

    /// Microseconds that each of these transactions takes in the next block.
    pub fn micros_in_block(&mut self, transactions: &[UncheckedExtrinsic]) -> anyhow::Result<f64> {
        let slot = TIME * 1_000 / Parameters::PRODUCTION.block_millis + 1;
        let pre_digest = PreDigest::SecondaryPlain(SecondaryPlainPreDigest { authority_index: 0, slot: slot.into() });
        let digest = Digest { logs: vec![<DigestItem as CompatibleDigestItem>::babe_pre_digest(pre_digest)] };
        let parent = H256(hash_of(NOW));
        let begin = Header::new(NOW + 1, Default::default(), Default::default(), parent, digest);
        let now = pallet_timestamp::Call::<Runtime>::set { now: slot * Parameters::PRODUCTION.block_millis };
        self.machine.micros_in_block(&mut self.state, &begin, &UncheckedExtrinsic::new_bare(now.into()), transactions)
    }

    /// What it costs to refuse a transaction.
    pub fn refused(&mut self, transaction: &UncheckedExtrinsic) -> anyhow::Result<Cost> {
        self.cost(APPLY, &transaction.encode(), |answer| match ApplyExtrinsicResult::decode(&mut &*answer)? {
            Err(_) => Ok(()),
            Ok(outcome) => bail!("not refused: {outcome:?}"),
        })
    }

    /// What a call of the runtime costs.
    pub fn cost(&mut self, method: &str, data: &[u8], check: fn(&[u8]) -> anyhow::Result<()>) -> anyhow::Result<Cost> {
        let (answer, keys) = self.machine.keys(&mut self.state, method, data)?;
        check(&answer)?;
        let (reads, writes) = keys.beyond(&self.base);
        Ok(Cost { micros: self.machine.micros(&mut self.state, method, data)?, reads, writes })
    }
}

/// Collateral for [`FAMILY`], as large as it may be; the last part that is looked at is out of date.
fn outdate_collateral() {
    let Family { tee, ca, fmspc } = FAMILY;
    let part = || BoundedVec::truncate_from(vec![b' '; 32 << 10]);
    let document =
        || Document { signer: BoundedVec::truncate_from(vec![b' '; 4 << 10]), json: part(), signature: [0; 64] };
    pallet_mpow::RootCrl::<Runtime>::put(part());
    pallet_mpow::PckCrls::<Runtime>::insert(ca, part());
    pallet_mpow::TcbInfos::<Runtime>::insert((tee, fmspc), document());
    pallet_mpow::QeIdentities::<Runtime>::insert(tee, document());
    for (part, expires) in Part::of(&FAMILY).into_iter().zip([u64::MAX, u64::MAX, u64::MAX, 0]) {
        pallet_mpow::Editions::<Runtime>::insert(part, Edition { number: 0, issued: 0, expires });
    }
}

/// Gives somebody money.
pub fn rich(name: &str) -> anyhow::Result<AccountId> {
    let account = account(name);
    done(Balances::mint_into(&account, RICH))?;
    Ok(account)
}

/// A transaction that an account signs.
pub fn signed(name: &str, nonce: Nonce, call: impl Into<RuntimeCall>) -> anyhow::Result<UncheckedExtrinsic> {
    let pair = pair(name);
    let payload = done(SignedPayload::new(call.into(), extension(nonce)))?;
    let signature = payload.using_encoded(|bytes| pair.sign(bytes));
    let (call, extension, _) = payload.deconstruct();
    Ok(UncheckedExtrinsic::new_signed(call, Address::Id(account(name)), Signature::Sr25519(signature), extension))
}

/// The beacons of the slots up to the present one.
pub fn set_beacons(beacon: impl Fn(Slot) -> Hash) {
    let mut beacons = Beacons::default();
    for slot in SLOT + 1 - pallet_mpow::beacon::KEPT_BEACONS..=SLOT {
        beacons.push(slot, beacon(slot));
    }
    pallet_mpow::SlotBeacons::<Runtime>::put(beacons);
}

/// A node with collateral that many takes hold a part of.
pub fn registered(node: NodeId) -> anyhow::Result<Speaker> {
    let speaker = Speaker::new(node);
    let owner = rich(&speaker.provider)?;
    let mut record = node_of(owner.clone(), &speaker.enclave.public(), node);
    record.audits.judged = SLOT - 1;
    // It has run out, and lasts only because the chain's own collateral is out of date.
    record.registered_until = NOW - 1;
    record.last_report = record.last_report.map(|last| pallet_mpow::LastReport { slot: SLOT - 1, ..last });
    insert_node(node, record);
    done(StorageMarket::deposit_collateral(RuntimeOrigin::signed(owner), node, RICH / 2))?;
    NodeAccounts::<Runtime>::mutate(node, |account| {
        // It waits for a draw: whoever reads this looks whether the node is out.
        account.collateral.withheld = Some(Withheld { drawn: 1, others: 1, heard: SLOT });
        account.collateral.reserved += 2;
        account.collateral.taken = BoundedVec::truncate_from((1..60).map(|after| (SLOT + after, 1)).collect());
    });
    Ok(speaker)
}

/// An order by a client of its own.
pub struct Placed {
    pub id: OrderId,
    pub client: String,
}

pub fn place(number: u64, size: u64, replicas: u32, audit_root: Hash) -> anyhow::Result<Placed> {
    let client = format!("client {number}");
    let owner = rich(&client)?;
    let cid = Cid::new(Codec::Raw, HashFunction::Sha2_256, h(&[b"file", &number.to_le_bytes()]));
    let term = Parameters::PRODUCTION.shortest_term(size).max(TERM);
    let balance = 2 * done(StorageMarket::quote(size, replicas, term))?.balance;
    let origin = RuntimeOrigin::signed(owner.clone());
    let nodes = Default::default();
    let placed = StorageMarket::place_order(
        origin,
        number,
        *cid.as_bytes(),
        size,
        audit_root,
        0,
        replicas,
        term,
        balance,
        nodes,
    );
    done(placed)?;
    Ok(Placed { id: Content { client: owner.into(), nonce: number, cid, size, audit_root, flags: 0 }.id(), client })
}

/// The node takes a place of an order.
pub fn take(speaker: &Speaker, order: OrderId) -> anyhow::Result<()> {
    let origin = RuntimeOrigin::signed(account(&speaker.provider));
    done(StorageMarket::take(origin, order, speaker.node).map_err(|refusal| refusal.error))?;
    Ok(())
}

/// The node holds an order: taken and sealed.
pub fn hold(speaker: &Speaker, order: OrderId) -> anyhow::Result<()> {
    take(speaker, order)?;
    let (applied, _) = done(StorageMarket::receipts(speaker.node, &account(&speaker.provider), &[order]))?;
    ensure!(applied == 1, "the receipt does not apply");
    Ok(())
}

/// Fills an order's record with nodes of other orders up to so many, and with all its free takes.
pub fn crowd(order: OrderId, nodes: u32) {
    Orders::<Runtime>::mutate_extant(order, |order| {
        let other = |at: usize| Live { node: 1_000_000, provider: AccountId::new(h(&[&at.to_le_bytes()])) };
        while (order.live.len() as u64) < u64::from(nodes) && order.live.try_push(other(order.live.len())).is_ok() {}
        while order.free_takes.try_push(2_000_000).is_ok() {}
    });
}

/// These orders' price was half of today's: the loss of a copy has to make up for that.
pub fn cheapen(orders: &[OrderId]) {
    for order in orders {
        Orders::<Runtime>::mutate_extant(order, |order| order.rate /= 2);
    }
}

/// The node offered its place to others, in the slot before.
pub fn offer(order: OrderId, node: NodeId) {
    Orders::<Runtime>::mutate_extant(order, |order| {
        let _full = order.offered.try_push((node, SLOT - 1));
    });
}

/// The node has reported in the present slot, after its replicas were sealed in an earlier one: all have earned.
pub fn earn(node: NodeId, orders: &[OrderId]) {
    for order in orders {
        Replicas::<Runtime>::mutate(node, order, |replica| {
            if let Some(replica) = replica {
                replica.since -= 10 * Parameters::PRODUCTION.slot_blocks;
            }
        });
        Orders::<Runtime>::mutate_extant(order, |order| {
            order.placed -= 10;
            order.start -= 10;
        });
    }
    NodeAccounts::<Runtime>::mutate(node, |account| {
        if let Some(holding) = &mut account.holding {
            for slot in SLOT - 9..=SLOT {
                holding.report(slot, 200);
            }
        }
    });
}

/// A beacon that draws a node, or does not; with a seed that passes a test if it does.
pub fn beacon(node: NodeId, drawn: bool, suits: impl Fn(&Hash) -> bool) -> anyhow::Result<Hash> {
    let beacons = (0..u64::MAX).map(|at| h(&[b"beacon", &at.to_le_bytes()]));
    let rate = pallet_mpow::Parameters::<Runtime>::get().audit_rate;
    let mut found = beacons.filter(|beacon| match draw::seed(beacon, node, rate) {
        Some(seed) => drawn && suits(&seed),
        None => !drawn,
    });
    found.next().context("no beacon suits")
}

/// The newest beacon draws the first of these nodes with a seed that suits, and has yet to be looked at for any of them.
/// To be called last: whatever changes a node's files makes its draw.
pub fn let_draw(nodes: &[NodeId], suits: impl Fn(&Hash) -> bool) -> anyhow::Result<()> {
    ensure!(pallet_mpow::Parameters::<Runtime>::get().audit_rate > 0, "nobody is drawn on this chain");
    let newest = beacon(*nodes.first().context("no node")?, true, suits)?;
    set_beacons(|_| newest);
    for node in nodes {
        pass_beacons_since(*node, SLOT - 1);
    }
    Ok(())
}

/// A node's record says that the beacons up to this slot have been looked at.
pub fn pass_beacons_since(node: NodeId, judged: Slot) {
    Nodes::<Runtime>::mutate_extant(node, |record| {
        record.audits = pallet_mpow::audits::Audits { judged, ..Default::default() };
    });
}

/// The chunk that a seed draws of a file of this size.
pub fn chunk_of(seed: &Hash, size: u64) -> anyhow::Result<u64> {
    let (_, chunk) = halves(seed);
    Ok(u64::try_from(chunk % u128::from(audit::chunks(size)))?)
}
