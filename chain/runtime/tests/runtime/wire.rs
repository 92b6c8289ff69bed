//! The bytes of calls and transactions: promises to everybody who signed one, held by golden bytes. And what happens to
//! a transaction on its way into a block.

use codec::{DecodeAll, Encode};
use crust_evidence::{Ca, Family, Tee};
use crust_protocol::{
    Key, NodeId,
    attestation::Evidence,
    audit, development,
    statement::{Answer, Gone, Heir, Receipts, Report, first_root, signed_bytes},
};
use crust_runtime::{
    AccountId, Address, Balances, Executive, Runtime, RuntimeCall, RuntimeOrigin, Signature, SignedPayload,
    StorageMarket, System, UncheckedExtrinsic,
    configs::system::TreasuryAccount,
    extension,
    presets::{self, ISSUANCE},
};
use frame_support::{assert_ok, traits::GetCallName};
use hex_literal::hex;
use sp_core::{H256, Pair, sr25519};
use sp_keyring::Sr25519Keyring;
use sp_runtime::transaction_validity::{
    InvalidTransaction, TransactionSource, TransactionValidity, TransactionValidityError,
};

use crate::externalities;

type Mpow = pallet_mpow::Call<Runtime>;
type Market = pallet_storage_market::Call<Runtime>;

pub fn report() -> Report {
    Report {
        prev: [1; 32],
        root: [2; 32],
        slot: 3,
        slot_hash: [4; 32],
        filler_bytes: 5,
        stored_bytes: 6,
        good_filler: 7,
        good_files: 8,
        scrubbed_until: 9,
        audit: None,
    }
}

pub fn said(call: Mpow) -> UncheckedExtrinsic {
    UncheckedExtrinsic::new_transaction(call.into(), extension(0))
}

/// Every call of the workload proof with its index, as small as it can be.
pub fn mpow_calls() -> Vec<(u8, Mpow)> {
    let evidence = || Evidence::Dcap(Default::default());
    let receipts = || Receipts { prev: [0; 32], root: [0; 32], orders: Default::default() };
    let gone = || Gone { prev: [0; 32], root: [0; 32], orders: Default::default() };
    let (key, addresses) = ([0; 32], pallet_mpow::Addresses::default);
    let part = || crust_protocol::attestation::part(Vec::new()).unwrap();
    let collateral = crust_protocol::attestation::Collateral {
        pck_crl_issuer_chain: part(),
        root_ca_crl: part(),
        pck_crl: part(),
        tcb_info_issuer_chain: part(),
        tcb_info: part(),
        tcb_info_signature: [0; 64],
        qe_identity_issuer_chain: part(),
        qe_identity: part(),
        qe_identity_signature: [0; 64],
    };
    let since_the_start = [
        Mpow::submit_collateral { collateral: Box::new(collateral), quote: Default::default() },
        Mpow::register {
            sign_pk: key,
            channel_pk: key,
            block_number: 0,
            evidence: evidence(),
            peer_id: Default::default(),
            addresses: addresses(),
        },
        Mpow::renew { node: 0, block_number: 0, evidence: evidence() },
        Mpow::announce { node: 0, peer_id: Default::default(), addresses: addresses() },
        Mpow::receipts { node: 0, statement: receipts(), signature: [0; 64] },
        Mpow::gone { node: 0, statement: gone(), signature: [0; 64] },
        Mpow::report { node: 0, statement: report(), signature: [0; 64] },
    ];
    let later = [
        Mpow::set_policy { policy: Default::default() },
        Mpow::approve_measurement { measurement: development::MEASUREMENT, min_svn: 0, expires: None },
        Mpow::revoke_measurement { measurement: 0 },
        Mpow::stand_by {
            sign_pk: key,
            channel_pk: key,
            block_number: 0,
            evidence: evidence(),
            peer_id: Default::default(),
            addresses: addresses(),
        },
        Mpow::heir { node: 0, statement: Heir { prev: key, root: key, heir: key }, signature: [0; 64] },
        Mpow::succeed { node: 0 },
    ];
    (0u8..).zip(since_the_start).chain((10u8..).zip(later)).collect()
}

/// The same of the market.
pub fn market_calls() -> Vec<(u8, Market)> {
    let key = [0; 32];
    let calls = [
        Market::place_order {
            nonce: 0,
            cid: [0; 36],
            size: 0,
            audit_root: key,
            flags: 0,
            replicas: 0,
            term: 0,
            balance: 0,
            nodes: Default::default(),
        },
        Market::fund { order: key, amount: 0 },
        Market::cancel { order: key },
        Market::take { order: key, node: 0 },
        Market::claim { order: key, node: 0 },
        Market::end { order: key },
        Market::deposit_collateral { node: 0, amount: 0 },
        Market::withdraw_collateral { node: 0, amount: 0 },
        Market::retire { order: key, node: 0 },
        Market::retire_node { node: 0 },
        Market::abandon { node: 0 },
    ];
    (0u8..).zip(calls).collect()
}

#[test]
fn indices_of_all_calls_are_golden() {
    for (index, call) in mpow_calls() {
        assert_eq!(RuntimeCall::from(call).encode()[..2], [40, index]);
    }
    for (index, call) in market_calls() {
        assert_eq!(RuntimeCall::from(call).encode()[..2], [41, index]);
    }
    // None is missing above.
    assert_eq!(Mpow::get_call_names().len(), mpow_calls().len());
    assert_eq!(Market::get_call_names().len(), market_calls().len());
}

/// What is larger than its bound is not even decoded: the pool never gets to see it.
#[test]
fn lesson_4_oversized_evidence_is_no_call() {
    let (key, no_text) = ([0u8; 32], Vec::<Vec<u8>>::new());
    let is_call = |bytes: Vec<u8>| RuntimeCall::decode_all(&mut &bytes[..]).is_ok();
    let register = |quote, peer, addresses: Vec<Vec<u8>>| {
        (40u8, 1u8, key, key, 0u32, (0u8, vec![1u8; quote]), vec![b'x'; peer], addresses).encode()
    };
    let texts = |count, length| vec![vec![b'/'; length]; count];
    assert!(is_call(register(16 * 1024, 64, texts(4, 128))), "as large as it may be");
    assert!(!is_call(register(16 * 1024 + 1, 64, texts(4, 128))));
    assert!(!is_call(register(16 * 1024, 65, texts(4, 128))));
    assert!(!is_call(register(16 * 1024, 64, texts(5, 128))));
    assert!(!is_call(register(16 * 1024, 64, texts(4, 129))));
    let renew = |quote| (40u8, 2u8, 0u32, 0u32, (0u8, vec![1u8; quote])).encode();
    assert!(is_call(renew(16 * 1024)) && !is_call(renew(16 * 1024 + 1)));
    let announce = |peer, addresses: Vec<Vec<u8>>| (40u8, 3u8, 0u32, vec![b'x'; peer], addresses).encode();
    assert!(is_call(announce(64, no_text.clone())) && !is_call(announce(65, no_text)));
    // Of the vendor's collateral, one part at a time.
    let largest = 32 * 1_024;
    let collateral = |one: usize, by: usize| {
        let part = |at| vec![1u8; if at == one { largest + by } else { 1 }];
        let signature = [0u8; 64];
        let tcb = (part(0), part(1), part(2), part(3), part(4), signature);
        (40u8, 0u8, tcb, (part(5), part(6), signature), Vec::<u8>::new()).encode()
    };
    for part in 0..7 {
        assert!(is_call(collateral(part, 0)) && !is_call(collateral(part, 1)), "part {part}");
    }
}

#[test]
fn indices_of_the_sdks_pallets_are_golden() {
    use frame_support::traits::PalletInfoAccess;
    let indices = [
        (System::index(), 0),
        (crust_runtime::Timestamp::index(), 1),
        (crust_runtime::Babe::index(), 2),
        (crust_runtime::Authorship::index(), 3),
        (Balances::index(), 4),
        (crust_runtime::TransactionPayment::index(), 5),
        (crust_runtime::Staking::index(), 6),
        (crust_runtime::Session::index(), 7),
        (crust_runtime::Historical::index(), 8),
        (crust_runtime::Offences::index(), 9),
        (crust_runtime::Grandpa::index(), 10),
        (crust_runtime::Utility::index(), 11),
        (crust_runtime::Proxy::index(), 12),
        (crust_runtime::Sudo::index(), 13),
        (crust_runtime::Mpow::index(), 40),
        (StorageMarket::index(), 41),
    ];
    for (index, golden) in indices {
        assert_eq!(index, golden);
    }
}

#[test]
fn a_report_as_a_transaction_is_golden() {
    let bytes = said(Mpow::report { node: 0x0b0a, statement: report(), signature: [0x5a; 64] }).encode();
    let golden = hex!(
        "19 03"                             // compact length
        "45 00"                             // general transaction, extension version
        "00 00 00"                          // era, nonce, tip
        "28 06"                             // pallet, call
        "0a0b0000"                          // node
        "0101010101010101010101010101010101010101010101010101010101010101"
        "0202020202020202020202020202020202020202020202020202020202020202"
        "03000000"
        "0404040404040404040404040404040404040404040404040404040404040404"
        "0500000000000000" "0600000000000000" "07" "08" "09000000" "00"
        "5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a"
        "5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a"
    );
    assert_eq!(bytes, golden);
    assert!(bytes.len() <= 320, "a report has {} bytes", bytes.len());
}

#[test]
fn a_report_with_an_answer_is_golden() {
    let answer = Answer { bytes: vec![0x11; 3].try_into().unwrap(), path: vec![[0x22; 32]; 2].try_into().unwrap() };
    let statement = Report { audit: Some(answer), ..report() };
    let bytes = said(Mpow::report { node: 0x0b0a, statement, signature: [0x5a; 64] }).encode();
    let golden = hex!(
        "2d 04"                             // compact length
        "45 00" "00 00 00" "28 06" "0a0b0000"
        "0101010101010101010101010101010101010101010101010101010101010101"
        "0202020202020202020202020202020202020202020202020202020202020202"
        "03000000"
        "0404040404040404040404040404040404040404040404040404040404040404"
        "0500000000000000" "0600000000000000" "07" "08" "09000000"
        "01" "0c111111" "08"                // an answer: its bytes, its path
        "2222222222222222222222222222222222222222222222222222222222222222"
        "2222222222222222222222222222222222222222222222222222222222222222"
        "5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a"
        "5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a5a"
    );
    assert_eq!(bytes, golden);
    // The answer for a file of 1 GiB: a chunk, and a hash for each of 20 levels.
    let siblings = audit::siblings(1 << 30, 7).len();
    let path = vec![[0; 32]; siblings].try_into().unwrap();
    let answer = Answer { bytes: vec![0; 1_024].try_into().unwrap(), path };
    assert_eq!((siblings, answer.encoded_size()), (20, 2 + 1_024 + 1 + 20 * 32));
}

const GENESIS: H256 = H256([9; 32]);
const NODE: u32 = 0;

/// A `dev` chain in its third block of slot 1, with one registered node.
pub fn chain() -> (sp_io::TestExternalities, sr25519::Pair) {
    let enclave = sr25519::Pair::from_seed(&[1; 32]);
    let mut externalities = externalities(presets::dev());
    let sign_pk = enclave.public().0;
    externalities.execute_with(|| {
        for number in 0..12 {
            frame_system::BlockHash::<Runtime>::insert(number, hash(number));
        }
        begin_block();
        register(NODE, sign_pk, presets::account("//Provider0").unwrap());
    });
    (externalities, enclave)
}

/// The next node, without the evidence, on a machine of its own.
pub fn register(number: NodeId, sign_pk: Key, provider: AccountId) {
    let node = pallet_mpow::Node {
        provider,
        sign_pk,
        channel_pk: [0; 32],
        platform: [u8::try_from(number).unwrap(); 32],
        measurement: 0,
        registered_until: 1_000_000,
        root: first_root(&sign_pk),
        last_report: None,
        power: 0,
        gone_idle: (0, 0),
        family: Family { tee: Tee::Sgx, ca: Ca::Platform, fmspc: *b"crust1" },
        out_since: None,
        idle: 0,
        heir: None,
        audits: Default::default(),
    };
    let platform = pallet_mpow::Platform {
        provider: node.provider.clone(),
        first_seen: 0,
        serves_until: 1_000_000,
        billed: 0,
        filler: (0, 0),
    };
    pallet_mpow::Platforms::<Runtime>::insert(node.platform, platform);
    pallet_mpow::Nodes::<Runtime>::insert(number, node);
    pallet_mpow::Endpoints::<Runtime>::insert(number, pallet_mpow::Endpoint::default());
    pallet_mpow::NodeOf::<Runtime>::insert(sign_pk, number);
    pallet_mpow::NextNode::<Runtime>::put(number + 1);
}

/// Block 12 is being built.
pub fn begin_block() {
    System::set_block_number(11);
    System::initialize(&12, &hash(11), &Default::default());
}

fn hash(number: u32) -> H256 {
    if number == 0 { GENESIS } else { H256::repeat_byte(u8::try_from(number).unwrap()) }
}

/// A report of slot 1.
pub fn honest(enclave: &sr25519::Pair) -> Report {
    Report {
        prev: first_root(&enclave.public().0),
        slot: 1,
        slot_hash: hash(9).0,
        filler_bytes: 1 << 30,
        good_filler: 255,
        ..report()
    }
}

pub fn sign(enclave: &sr25519::Pair, report: Report) -> Mpow {
    let signature = enclave.sign(&signed_bytes(&GENESIS.0, &enclave.public().0, &report)).0;
    Mpow::report { node: NODE, statement: report, signature }
}

/// A loss of node 0.
pub fn sign_gone(enclave: &sr25519::Pair, statement: Gone) -> Mpow {
    let signature = enclave.sign(&signed_bytes(&GENESIS.0, &enclave.public().0, &statement)).0;
    Mpow::gone { node: NODE, statement, signature }
}

/// What the pool makes of a transaction, as seen after block 11.
fn pooled(transaction: UncheckedExtrinsic) -> TransactionValidity {
    frame_support::storage::transactional::with_storage_layer::<_, sp_runtime::DispatchError, _>(|| {
        System::set_block_number(11);
        Ok(Executive::validate_transaction(TransactionSource::External, transaction, hash(11)))
    })
    .unwrap()
}

fn refusal(validity: TransactionValidity) -> InvalidTransaction {
    match validity {
        Err(TransactionValidityError::Invalid(refusal)) => refusal,
        other => panic!("not refused: {other:?}"),
    }
}

#[test]
fn the_pool_takes_what_an_enclave_says_and_nothing_else() {
    let (mut externalities, enclave) = chain();
    externalities.execute_with(|| {
        let call = sign(&enclave, honest(&enclave));
        let valid = pooled(said(call.clone())).expect("a report of a registered node is valid");
        assert_eq!(valid.provides.len(), 1);
        assert!(valid.requires.is_empty());
        assert!(valid.propagate);

        let Mpow::report { statement, signature, .. } = call.clone() else { unreachable!() };
        let forged = Mpow::report { node: NODE, statement: statement.clone(), signature: [0; 64] };
        assert_eq!(refusal(pooled(said(forged))), InvalidTransaction::BadProof);
        let unknown = Mpow::report { node: 1, statement: statement.clone(), signature };
        assert_eq!(refusal(pooled(said(unknown))), InvalidTransaction::BadSigner);
        let elsewhere = sign(&enclave, Report { prev: [7; 32], ..statement });
        assert_eq!(refusal(pooled(said(elsewhere))), InvalidTransaction::Stale);

        let bare = UncheckedExtrinsic::new_bare(call.into());
        assert!(pooled(bare).is_err(), "what nobody authorised stays outside");
        let transfer = pallet_balances::Call::<Runtime>::burn { value: 1, keep_alive: true };
        assert!(pooled(UncheckedExtrinsic::new_transaction(transfer.into(), extension(0))).is_err());
    });
}

#[test]
fn an_accepted_report_is_free_and_moves_the_root() {
    let (mut externalities, enclave) = chain();
    externalities.execute_with(|| {
        // In slot 0: what is deposited in a slot covers nothing in it yet.
        System::set_block_number(9);
        let provider = RuntimeOrigin::signed(presets::account("//Provider0").unwrap());
        assert_ok!(StorageMarket::deposit_collateral(provider, NODE, crust_protocol::TOKEN));
        begin_block();
        let treasury = Balances::free_balance(TreasuryAccount::get());
        let call = sign(&enclave, honest(&enclave));
        assert_eq!(Executive::apply_extrinsic(said(call.clone())), Ok(Ok(())));
        let node = pallet_mpow::Nodes::<Runtime>::get(NODE).unwrap();
        assert_eq!(node.root, report().root);
        // Its platform is 12 blocks old, of the 200 that its ramp takes.
        assert_eq!((node.idle, node.power), ((1 << 30) * 12 / 200, (1 << 30) * 12 / 200));
        assert_eq!(Balances::free_balance(TreasuryAccount::get()), treasury);
        assert!(Executive::apply_extrinsic(said(call)).is_err(), "once");
    });
}

fn signed(account: Sr25519Keyring, nonce: u32, call: RuntimeCall) -> UncheckedExtrinsic {
    let payload = SignedPayload::new(call, extension(nonce)).unwrap();
    let signature = payload.using_encoded(|bytes| account.sign(bytes));
    let (call, extension, _) = payload.deconstruct();
    let who = Address::Id(account.to_account_id());
    UncheckedExtrinsic::new_signed(call, who, Signature::Sr25519(signature), extension)
}

/// Otherwise anybody could fill blocks for nothing.
#[test]
fn an_account_pays_for_calls_that_are_for_enclaves() {
    let (mut externalities, enclave) = chain();
    externalities.execute_with(|| {
        begin_block();
        let alice = Sr25519Keyring::Alice;
        let before = Balances::free_balance(alice.to_account_id());
        let call = sign(&enclave, honest(&enclave));
        let outcome = Executive::apply_extrinsic(signed(alice, 0, call.into()));
        assert_eq!(outcome, Ok(Err(sp_runtime::DispatchError::BadOrigin)));
        assert!(Balances::free_balance(alice.to_account_id()) < before, "the attempt costs a fee");
    });
}

#[test]
fn fees_go_to_the_treasury_and_nothing_is_burnt() {
    let (mut externalities, _) = chain();
    externalities.execute_with(|| {
        begin_block();
        let (alice, bob) = (Sr25519Keyring::Alice, Sr25519Keyring::Bob);
        let before = (Balances::free_balance(alice.to_account_id()), Balances::free_balance(TreasuryAccount::get()));
        let call = pallet_balances::Call::<Runtime>::transfer_keep_alive {
            dest: Address::Id(bob.to_account_id()),
            value: crust_protocol::TOKEN,
        };
        assert_eq!(Executive::apply_extrinsic(signed(alice, 0, call.into())), Ok(Ok(())));
        let paid = before.0 - Balances::free_balance(alice.to_account_id()) - crust_protocol::TOKEN;
        assert!(paid > 0);
        assert_eq!(Balances::free_balance(TreasuryAccount::get()), before.1 + paid);
        assert_eq!(Balances::total_issuance(), ISSUANCE);
    });
}
