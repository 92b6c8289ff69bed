//! One who read an enclave's keys off the memory bus of his own machine: he signs what he likes under genuine evidence.
//! What is signed still counts once, on one chain, for one node, in one slot, on one root.

use crust_client::{
    chain::{Call, Chain, Finality, Said, Statement},
    wallet::Wallet,
};
use crust_enclave_dev::platform::SoftwarePlatform;
use crust_protocol::{
    Hash, NodeId, TOKEN,
    attestation::{Evidence, Identity},
    statement::{self, Report, Signature, first_root, signed_bytes},
};
use crust_tests::{ChainNode, Network, host::next_slot};
use schnorrkel::{ExpansionMode, Keypair, MiniSecretKey};
use serde_json::{Value, json};

use crate::chain_alone;

/// Somebody with a key of his own and a platform that certifies it as an enclave's.
struct Thief {
    chain: Chain,
    node: NodeId,
    key: Keypair,
}

impl Thief {
    /// Registers a stolen key.
    async fn register(chain: &Chain, provider: &str, seed: u8) -> Thief {
        let provider = Wallet::development(provider, chain).unwrap();
        let platform = SoftwarePlatform::from_seed([seed; 32]).unwrap();
        let key = MiniSecretKey::from_bytes(&[seed; 32]).unwrap().expand_to_keypair(ExpansionMode::Ed25519);
        let (sign_pk, block) = (key.public.to_bytes(), chain.head(Finality::Finalized).await.unwrap());
        let identity = Identity {
            genesis: chain.genesis(),
            provider: provider.account(),
            sign_pk,
            channel_pk: [seed; 32],
            block_hash: block.hash,
        };
        let quote = platform.quote(&identity.report_data());
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs();
        let collateral = Box::new(platform.collateral(now).unwrap());
        chain.submit(Call::SubmitCollateral { collateral, quote: quote.clone() }, &provider).await.unwrap();
        let register = Call::Register {
            sign_pk,
            channel_pk: [seed; 32],
            block_number: block.number,
            evidence: Evidence::Dcap(quote.try_into().unwrap()),
            peer_id: "12D3KooWJkpqAz2zTTpbJ1TtV3xJmzRoskfBTwBxDBnoApsMgpPR".into(),
            addresses: vec!["/ip4/127.0.0.1/tcp/9".into()],
        };
        chain.submit(register, &provider).await.unwrap();
        let node = chain.view(Finality::Best).await.unwrap().node_of(sign_pk).await.unwrap().unwrap();
        // What he pays for is what counts of the space that he says he has.
        chain.submit(Call::DepositCollateral { node, amount: TOKEN }, &provider).await.unwrap();
        Thief { chain: chain.clone(), node, key }
    }

    fn first_root(&self) -> Hash {
        first_root(&self.key.public.to_bytes())
    }

    /// Signs anything, for any chain.
    fn sign<S: statement::Statement>(&self, genesis: &Hash, statement: &S) -> Signature {
        let bytes = signed_bytes(genesis, &self.key.public.to_bytes(), statement);
        self.key.sign_simple(b"substrate", &bytes).to_bytes()
    }

    /// A report of everything under the sun.
    fn report(&self, prev: Hash, slot: u32, slot_hash: Hash) -> Report {
        Report {
            prev,
            root: crust_protocol::h(&[&prev, &slot.to_le_bytes()]),
            slot,
            slot_hash,
            filler_bytes: 1 << 30,
            stored_bytes: 0,
            good_filler: 255,
            good_files: 255,
            scrubbed_until: slot,
            audit: None,
        }
    }

    async fn say(&self, node: NodeId, statement: Statement, signature: Signature) -> Said {
        self.chain.say(node, statement, signature).await.unwrap()
    }
}

fn accepted(said: &Said) -> bool {
    matches!(said, Said::Accepted(_))
}

/// A report with one thing wrong, signed with a genuine key: of another chain, another node, another slot, hash or root,
/// or for an audit that was never asked. The true one is accepted; a second in its slot is not. **Coin**: the power and
/// pay of a slot for each report that would count a second time.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_report_counts_once_on_one_chain_for_one_node() {
    let network = chain_alone().await;
    let chain = network.chain().await.unwrap();
    let thief = Thief::register(&chain, "//Provider9", 21).await;
    let other = Thief::register(&chain, "//Provider10", 22).await;
    let there = another_chain(&network).await;
    let foreign = there.connect().await.unwrap();
    assert_ne!(foreign.genesis(), chain.genesis());

    let (slot, hash) = next_slot(&network, thief.node).await;
    let true_one = thief.report(thief.first_root(), slot, hash);
    let audit = statement::Answer { bytes: vec![0; 1_024].try_into().unwrap(), path: Vec::new().try_into().unwrap() };
    let genesis = chain.genesis();
    let lies = [
        ("of another chain", thief.node, true_one.clone(), foreign.genesis()),
        ("of another node", other.node, true_one.clone(), genesis),
        ("of the last slot", thief.node, Report { slot: slot - 1, ..true_one.clone() }, genesis),
        ("of the next slot", thief.node, Report { slot: slot + 1, ..true_one.clone() }, genesis),
        ("with another hash", thief.node, Report { slot_hash: [1; 32], ..true_one.clone() }, genesis),
        ("on another root", thief.node, Report { prev: [2; 32], ..true_one.clone() }, genesis),
        ("with an answer nobody asked for", thief.node, Report { audit: Some(audit), ..true_one.clone() }, genesis),
    ];
    for (what, node, report, genesis) in lies {
        let signature = thief.sign(&genesis, &report);
        let said = thief.say(node, Statement::Report(report), signature).await;
        assert!(matches!(said, Said::Refused(_)), "a report {what}: {said:?}");
    }
    let signature = thief.sign(&genesis, &true_one);
    assert!(accepted(&thief.say(thief.node, Statement::Report(true_one.clone()), signature).await));
    let power = chain.view(Finality::Best).await.unwrap().power(slot).await.unwrap();
    assert!(power > 0, "the report counts for nothing, and so would a second one");

    let second = thief.report(true_one.root, slot, hash);
    let signature = thief.sign(&genesis, &second);
    let said = thief.say(thief.node, Statement::Report(second), signature).await;
    assert!(!accepted(&said), "a second report in one slot: {said:?}");
    assert_eq!(chain.view(Finality::Best).await.unwrap().power(slot).await.unwrap(), power);
}

/// A chain like the network's with another genesis.
async fn another_chain(network: &Network) -> ChainNode {
    let mut specification = ChainNode::specification("dev", true).unwrap();
    let top = specification.pointer_mut("/genesis/raw/top").and_then(Value::as_object_mut).unwrap();
    top.insert(format!("0x{}", hex::encode(b"another chain")), json!("0x01"));
    ChainNode::start(&network.dir().join("another"), &specification).unwrap()
}
