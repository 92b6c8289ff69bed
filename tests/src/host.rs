//! A host that does as it likes with a real enclave: it drives the library itself, keeps what it wants of the log and
//! of the bytes, and talks to a real chain. It panics where a test would.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "it is a part of tests")]

use std::{collections::BTreeMap, sync::Arc};

use crate::Network;
use crust_client::{
    chain::{Call, Chain, Finality, NewOrder, Said, Statement},
    wallet::Wallet,
};
use crust_enclave::{
    Constants, Enclave, Opened,
    rpc::{Audit, Error, Sample, Saying, Signed},
    seal::Out,
};
use crust_enclave_dev::platform::SoftwarePlatform;
use crust_protocol::{
    Balance, Hash, NodeId, Slot, TOKEN,
    attestation::Evidence,
    file::{Cid, Codec, HashFunction},
    order::{Content, OrderId},
    statement::Signature,
};

/// A sealed chunk with its tag.
const STRIDE: usize = 65_552;
/// Transactions sent at the same time.
const AT_ONCE: usize = 128;
/// Orders of one receipt.
const RECEIPT: usize = 64;
/// What each node deposits.
const COLLATERAL: Balance = 10 * TOKEN;

pub struct Host {
    pub chain: Chain,
    pub client: Wallet,
    pub provider: Wallet,
    pub enclave: Enclave,
    pub node: NodeId,
    platform: Arc<SoftwarePlatform>,
    /// The log's items, as the host keeps them.
    pub log: Vec<Vec<u8>>,
    pub sealed: BTreeMap<OrderId, Vec<u8>>,
}

/// An enclave that is about to register: the calls with its evidence.
pub struct Applicant {
    platform: Arc<SoftwarePlatform>,
    pub enclave: Enclave,
    pub opened: Opened,
}

impl Applicant {
    /// A new identity for a chain and a provider.
    pub fn new(chain: &Chain, provider: &Wallet, seed: u8) -> Applicant {
        let platform = Arc::new(SoftwarePlatform::from_seed([seed; 32]).unwrap());
        let mut enclave = Enclave::new(platform.clone(), Constants::DEVELOPMENT);
        let opened = enclave.open(chain.genesis(), provider.account()).unwrap();
        Applicant { platform, enclave, opened }
    }

    /// The calls that bring its collateral and register it.
    pub async fn calls(&self, chain: &Chain) -> (Call, Call) {
        let block = chain.head(Finality::Finalized).await.unwrap();
        let (quote, collateral) = self.enclave.evidence(block.hash).unwrap();
        let register = Call::Register {
            sign_pk: self.opened.sign_pk,
            channel_pk: self.opened.channel_pk,
            block_number: block.number,
            evidence: Evidence::Dcap(quote.clone().try_into().unwrap()),
            peer_id: "12D3KooWJkpqAz2zTTpbJ1TtV3xJmzRoskfBTwBxDBnoApsMgpPR".into(),
            addresses: vec!["/ip4/127.0.0.1/tcp/9".into()],
        };
        (Call::SubmitCollateral { collateral: Box::new(collateral.unwrap()), quote }, register)
    }
}

impl Host {
    /// A new enclave, registered for a development provider.
    pub async fn register(network: &Network, provider: &str, seed: u8) -> Host {
        let chain = network.chain().await.unwrap();
        let client = Wallet::development("//Client", &chain).unwrap();
        let provider = Wallet::development(provider, &chain).unwrap();
        let applicant = Applicant::new(&chain, &provider, seed);
        let (collateral, register) = applicant.calls(&chain).await;
        chain.submit(collateral, &provider).await.unwrap();
        chain.submit(register, &provider).await.unwrap();
        let Applicant { platform, enclave, opened } = applicant;
        let node = chain.view(Finality::Best).await.unwrap().node_of(opened.sign_pk).await.unwrap().unwrap();
        chain.submit(Call::DepositCollateral { node, amount: COLLATERAL }, &provider).await.unwrap();
        Host { chain, client, provider, enclave, node, platform, log: opened.items, sealed: BTreeMap::new() }
    }

    /// Another enclave on the same platform that is fed only the first items of the log.
    pub async fn copy(&self, items: usize) -> Host {
        let mut enclave = Enclave::new(self.platform.clone(), Constants::DEVELOPMENT);
        let log = self.log[..items].to_vec();
        enclave.load(&log).unwrap();
        assert!(enclave.open(self.chain.genesis(), self.provider.account()).unwrap().items.is_empty());
        let (chain, client) = (self.chain.clone(), Wallet::development("//Client", &self.chain).unwrap());
        let provider = self.provider.clone();
        let (node, platform, sealed) = (self.node, self.platform.clone(), self.sealed.clone());
        Host { chain, client, provider, enclave, node, platform, log, sealed }
    }

    /// Orders bytes that fit into one block, and takes the place.
    pub async fn order(&mut self, nonce: u64, bytes: &[u8]) -> Content {
        let content = Content {
            client: self.client.account(),
            nonce,
            cid: Cid::of(Codec::Raw, HashFunction::Sha2_256, bytes),
            size: bytes.len() as u64,
            audit_root: *blake3::hash(bytes).as_bytes(),
            flags: 0,
        };
        let quote = self.chain.view(Finality::Best).await.unwrap().quote(content.size, 1, 1_000).await.unwrap();
        let order = NewOrder {
            nonce,
            cid: content.cid,
            size: content.size,
            audit_root: content.audit_root,
            flags: 0,
            replicas: 1,
            term: 1_000,
            balance: quote.balance,
        };
        self.chain.submit(Call::PlaceOrder(order), &self.client).await.unwrap();
        self.chain.submit(Call::Take { order: content.id(), node: self.node }, &self.provider).await.unwrap();
        content
    }

    /// Has one block sealed as this content.
    pub fn seal(&mut self, content: &Content, bytes: &[u8]) -> Result<(), Error> {
        let mut sealer = self.enclave.seal(content.clone())?;
        let mut out = Out::default();
        sealer.feed(bytes, &mut out)?;
        let sealed = sealer.finish(&mut out)?;
        let item = self.enclave.hold(&sealed, [9; 16])?;
        self.log.push(item);
        self.sealed.insert(content.id(), out.sealed);
        Ok(())
    }

    /// Orders, seals and receipts some bytes; the order is live then.
    pub async fn store(&mut self, nonce: u64, bytes: &[u8]) -> OrderId {
        let content = self.order(nonce, bytes).await;
        self.seal(&content, bytes).unwrap();
        let prev = self.root().await;
        let said = self.say(Saying::Receipts { prev, orders: vec![content.id()] }).await.unwrap();
        assert!(matches!(said, Said::Accepted(_)), "{said:?}");
        content.id()
    }

    /// Orders, seals and receipts very many files of 8 bytes.
    pub async fn store_many(&mut self, nonces: std::ops::Range<u64>) -> Vec<OrderId> {
        let balance = self.chain.view(Finality::Best).await.unwrap().quote(8, 1, 1_000).await.unwrap().balance;
        let order = |nonce: u64| NewOrder {
            nonce,
            cid: Cid::of(Codec::Raw, HashFunction::Sha2_256, &nonce.to_le_bytes()),
            size: 8,
            audit_root: *blake3::hash(&nonce.to_le_bytes()).as_bytes(),
            flags: 0,
            replicas: 1,
            term: 1_000,
            balance,
        };
        let orders: Vec<NewOrder> = nonces.map(order).collect();
        let content = |NewOrder { nonce, cid, size, audit_root, flags, .. }: NewOrder| Content {
            client: self.client.account(),
            nonce,
            cid,
            size,
            audit_root,
            flags,
        };
        let contents: Vec<Content> = orders.iter().cloned().map(content).collect();
        for (orders, contents) in orders.chunks(AT_ONCE).zip(contents.chunks(AT_ONCE)) {
            let placed = orders.iter().map(|order| self.chain.submit(Call::PlaceOrder(order.clone()), &self.client));
            futures::future::try_join_all(placed).await.unwrap();
            let takes = contents.iter().map(|content| Call::Take { order: content.id(), node: self.node });
            futures::future::try_join_all(takes.map(|take| self.chain.submit(take, &self.provider))).await.unwrap();
        }
        for content in &contents {
            self.seal(content, &content.nonce.to_le_bytes()).unwrap();
        }
        let ids: Vec<OrderId> = contents.iter().map(Content::id).collect();
        for orders in ids.chunks(RECEIPT) {
            let prev = self.root().await;
            let said = self.say(Saying::Receipts { prev, orders: orders.to_vec() }).await.unwrap();
            assert!(matches!(said, Said::Accepted(_)), "{said:?}");
        }
        ids
    }

    pub fn delete(&mut self, order: OrderId) {
        let item = self.enclave.delete(vec![order]).unwrap();
        self.log.push(item);
        self.sealed.remove(&order);
    }

    /// The root where the chain stands.
    pub async fn root(&self) -> Hash {
        self.chain.view(Finality::Best).await.unwrap().node(self.node).await.unwrap().unwrap().root
    }

    pub async fn is_live(&self, order: OrderId) -> bool {
        let record = self.chain.view(Finality::Best).await.unwrap().order(order).await.unwrap();
        record.is_some_and(|record| record.replica_of(self.node).is_some())
    }

    /// Has a statement made and signed.
    pub fn sign(&mut self, saying: Saying) -> Result<(Statement, Signature), Error> {
        let (item, signed) = self.enclave.say(saying)?;
        self.log.push(item);
        let statement = match signed {
            Signed::Receipts(it) => Statement::Receipts(it),
            Signed::Gone(it) => Statement::Gone(it),
            Signed::Report(it) => Statement::Report(it),
            Signed::Heir(it) => Statement::Heir(it),
        };
        let signature = self.enclave.release(&statement.root())?;
        Ok((statement, signature))
    }

    /// The same, and hands it to the chain.
    pub async fn say(&mut self, saying: Saying) -> Result<Said, Error> {
        let (statement, signature) = self.sign(saying)?;
        Ok(self.chain.say(self.node, statement, signature).await.unwrap())
    }

    /// Shows a slot with any hash and answers the draw truthfully.
    pub fn check(&mut self, slot: Slot, slot_hash: Hash) -> u8 {
        let (items, draw) = self.enclave.show(slot, slot_hash).unwrap();
        self.log.extend(items);
        let answers = draw.into_iter().map(|sample| match sample {
            Sample::Filler { .. } | Sample::Tree { .. } => None,
            Sample::File { order, chunk } => {
                let sealed = self.sealed.get(&order)?;
                let from = usize::try_from(chunk).ok()?.checked_mul(STRIDE)?;
                sealed.get(from..sealed.len().min(from + STRIDE)).map(<[u8]>::to_vec)
            }
        });
        let progress = self.enclave.answer(answers.collect()).unwrap();
        self.log.extend(progress.items);
        progress.result.unwrap().good_files
    }

    /// Waits for the first blocks of a slot that has no report yet; the slot and the true hash.
    pub async fn next_slot(&self, network: &Network) -> (Slot, Hash) {
        next_slot(network, self.node).await
    }

    /// An honest report in the next slot.
    pub async fn report(&mut self, network: &Network) -> Result<Said, Error> {
        let (slot, hash) = self.next_slot(network).await;
        self.check(slot, hash);
        let prev = self.root().await;
        let report = self.report_on(prev, slot).await;
        self.say(report).await
    }

    /// A report on a root, with what the chain has drawn of this node.
    pub async fn report_on(&self, prev: Hash, slot: Slot) -> Saying {
        Saying::Report { prev, slot, audit: self.audit().await }
    }

    /// What the node's due draw is answered from. Files of one group have no tree.
    async fn audit(&self) -> Option<Audit> {
        let drawn = self.chain.view(Finality::Best).await.unwrap().audit(self.node).await.unwrap().unwrap().due?;
        let (chunk, nodes) = self.enclave.audit_reads(&drawn.order, drawn.chunk).ok()?;
        assert!(nodes.is_empty(), "this host keeps no hash trees");
        let sealed = self.sealed.get(&drawn.order)?;
        let from = usize::try_from(chunk).unwrap() * STRIDE;
        let chunk = sealed[from..sealed.len().min(from + STRIDE)].to_vec();
        Some(Audit { order: drawn.order, audited: drawn.chunk, chunk, nodes: Vec::new() })
    }
}

/// Waits for the first blocks of a slot in which a node has not reported; the slot and the true hash.
pub async fn next_slot(network: &Network, node: NodeId) -> (Slot, Hash) {
    let chain = network.chain().await.unwrap();
    let parameters = chain.parameters();
    let fresh = network.until("a fresh slot", 40, |view| async move {
        let number = view.block().number;
        let slot = parameters.slot_of(number);
        let offset = number - parameters.first_block(slot);
        let reported = view.node(node).await?.unwrap().last_report.map(|report| report.slot);
        let early = (parameters.beacon_blocks..parameters.slot_blocks / 2).contains(&offset);
        Ok((slot > 0 && early && reported != Some(slot)).then_some(slot))
    });
    let slot = fresh.await.unwrap();
    let last = parameters.first_block(slot) - 1;
    (slot, chain.block_hash(last).await.unwrap().unwrap())
}
