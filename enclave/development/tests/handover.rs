//! The key from enclave to enclave, and the log after it: what an heir gets, and everything that gets nothing. A coin
//! is what whoever tries would earn with the defence off, by production's numbers.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test")]

use std::sync::Arc;

use crust_enclave::{
    Constants, Enclave, Handed, RELEASE,
    platform::{Error as PlatformError, Platform, SealKey, Svn},
    release::{Release, SignedRelease},
    rpc::{Error, Saying, Shown, Signed},
    seal::Out,
};
use crust_enclave_dev::{
    collateral::{self, CollateralOptions},
    platform::SoftwarePlatform,
    quote::QuoteOptions,
    release,
};
use crust_protocol::{
    Hash, Key,
    attestation::{Collateral, SGX_DEBUG},
    development,
    file::{Cid, Codec, HashFunction},
    order::Content,
    statement::{next_root, signed_bytes},
};

const GENESIS: Hash = [1; 32];
const PROVIDER: Key = [2; 32];
const NOW: u64 = 1_790_000_000;
const DAY: u64 = 24 * 60 * 60;

/// A machine: what it runs, and whether it has sealing keys.
struct Machine {
    platform: SoftwarePlatform,
    runs: QuoteOptions,
    seals: bool,
}

impl Platform for Machine {
    fn seal_key(&self, svn: Option<Svn>) -> Result<Option<SealKey>, PlatformError> {
        if self.seals { self.platform.seal_key(svn) } else { Ok(None) }
    }

    fn quote(&self, report_data: &[u8; 64]) -> Result<Vec<u8>, PlatformError> {
        Ok(self.platform.quote_with(&self.runs, report_data))
    }

    fn collateral(&self) -> Result<Option<Collateral>, PlatformError> {
        Ok(None)
    }
}

fn machine(seed: u8, runs: QuoteOptions, seals: bool) -> Arc<Machine> {
    Arc::new(Machine { platform: SoftwarePlatform::from_seed([seed; 32]).unwrap(), runs, seals })
}

fn enclave(seed: u8) -> Enclave {
    Enclave::new(machine(seed, QuoteOptions::default(), true), Constants::DEVELOPMENT)
}

/// An enclave with an identity, and its log.
fn opened(seed: u8) -> (Enclave, Vec<Vec<u8>>) {
    let mut enclave = enclave(seed);
    let opened = enclave.open(GENESIS, PROVIDER).unwrap();
    (enclave, opened.items)
}

fn shown(quote: Vec<u8>) -> Shown {
    let collateral = collateral::make(&CollateralOptions::around(NOW)).unwrap();
    Shown { quote, collateral, release: release::signed(RELEASE).unwrap() }
}

/// What the giver says to an heir that shows this.
fn offer(giver: &mut Enclave, heir: &mut Enclave, change: impl FnOnce(&mut Shown)) -> Result<Handed, Error> {
    let challenge = giver.challenge().unwrap();
    let (share, quote, _) = heir.ask(GENESIS, PROVIDER, challenge).unwrap();
    let mut shown = shown(quote);
    change(&mut shown);
    giver.hand_over(share, shown)
}

/// The whole exchange. The log of the giver grows; the heir's begins.
fn hand_over(giver: &mut Enclave, log: &mut Vec<Vec<u8>>, heir: &mut Enclave) -> Vec<u8> {
    let Handed { items, share, sealed, quote, .. } = offer(giver, heir, |_| {}).unwrap();
    log.extend(items);
    heir.inherit(share, &sealed, shown(quote)).unwrap()
}

fn content(bytes: &[u8]) -> Content {
    Content {
        client: [3; 32],
        nonce: 1,
        cid: Cid::of(Codec::Raw, HashFunction::Sha2_256, bytes),
        size: bytes.len() as u64,
        audit_root: *blake3::hash(bytes).as_bytes(),
        flags: 0,
    }
}

/// Seals a file; the sealed bytes.
fn seal(enclave: &mut Enclave, log: &mut Vec<Vec<u8>>, bytes: &[u8]) -> Vec<u8> {
    let mut sealer = enclave.seal(content(bytes)).unwrap();
    let mut out = Out::default();
    sealer.feed(bytes, &mut out).unwrap();
    let sealed = sealer.finish(&mut out).unwrap();
    log.push(enclave.hold(&sealed, [9; 16]).unwrap());
    out.sealed
}

fn say(enclave: &mut Enclave, log: &mut Vec<Vec<u8>>, saying: Saying) -> Result<Signed, Error> {
    let (item, signed) = enclave.say(saying)?;
    log.push(item);
    Ok(signed)
}

fn check(enclave: &mut Enclave, log: &mut Vec<Vec<u8>>, slot: u32) {
    let (items, draw) = enclave.show(slot, [9; 32]).unwrap();
    log.extend(items);
    log.extend(enclave.answer(draw.iter().map(|_| None).collect()).unwrap().items);
}

/// An heir on another machine goes on where its predecessor stopped: with its log, its files and its root.
#[test]
fn an_heir_goes_on_with_the_log_and_the_files() {
    let (mut first, mut log) = opened(1);
    let bytes = vec![7; 100_000];
    let sealed = seal(&mut first, &mut log, &bytes);
    let order = content(&bytes).id();
    let mut heir = enclave(2);
    let item = hand_over(&mut first, &mut log, &mut heir);
    let begun = heir.open(GENESIS, PROVIDER).unwrap();
    assert_ne!(begun.sign_pk, first.overview().unwrap().sign_pk);
    assert_eq!(heir.opener(&order, 0).err(), Some(Error::NotSealed { order }), "it has the key and not the log");

    let prev = crust_protocol::statement::first_root(&first.overview().unwrap().sign_pk);
    let Signed::Receipts(receipts) = say(&mut first, &mut log, Saying::Receipts { prev, orders: vec![order] }).unwrap()
    else {
        panic!()
    };
    let named = say(&mut first, &mut log, Saying::Heir { prev: receipts.root, heir: begun.sign_pk }).unwrap();
    let Signed::Heir(named) = named else { panic!() };
    assert!(first.release(&named.root).is_ok());

    // The board dies. The standby reads what its host has copied.
    drop(first);
    assert_eq!(heir.succeed().err(), Some(Error::Log { item: 1 }));
    heir.follow(&log).unwrap();
    let next = heir.succeed().unwrap();
    assert_eq!((next.sign_pk, next.items.len()), (begun.sign_pk, 1));
    assert_eq!(next.root, next_root(&named.root, &next.items[0]), "one chain of roots");
    assert_eq!(heir.opener(&order, 0).unwrap().open(sealed.clone()).unwrap(), bytes);
    let mut own = [&[item], &log[1..], &next.items].concat();
    check(&mut heir, &mut own, 5);
    let report = say(&mut heir, &mut own, Saying::Report { prev: named.root, slot: 5, audit: None }).unwrap();
    let Signed::Report(report) = report else { panic!() };
    let signature = schnorrkel::Signature::from_bytes(&heir.release(&report.root).unwrap()).unwrap();
    let key = schnorrkel::PublicKey::from_bytes(&begun.sign_pk).unwrap();
    key.verify_simple(b"substrate", &signed_bytes(&GENESIS, &begun.sign_pk, &report), &signature).unwrap();

    // Its log is a log like any other, on its own machine.
    let mut again = enclave(2);
    again.load(&own).unwrap();
    let reopened = again.open(GENESIS, PROVIDER).unwrap();
    assert_eq!((reopened.sign_pk, reopened.root), (begun.sign_pk, report.root));
    assert_eq!(again.opener(&order, 0).unwrap().open(sealed).unwrap(), bytes);
    assert_eq!(enclave(1).load(&own).err(), Some(Error::Log { item: 0 }));
}

/// The predecessor's log may be a snapshot; a log that does not name the heir, or ends before it does, is none of its.
/// The coin: as many enclaves on one log as there are heirs, of which each reports what one disk holds.
#[test]
fn only_a_log_that_names_the_heir_is_taken_over() {
    let (mut first, mut log) = opened(1);
    let mut heir = enclave(2);
    hand_over(&mut first, &mut log, &mut heir);
    let begun = heir.open(GENESIS, PROVIDER).unwrap();
    let prev = crust_protocol::statement::first_root(&first.overview().unwrap().sign_pk);
    heir.follow(&log).unwrap();
    assert_eq!(heir.succeed().err(), Some(Error::NotHeir));
    say(&mut first, &mut log, Saying::Heir { prev, heir: [0xcc; 32] }).unwrap();
    heir.follow(&log).unwrap();
    assert_eq!(heir.succeed().err(), Some(Error::NotHeir), "another is named");
    say(&mut first, &mut log, Saying::Heir { prev, heir: begun.sign_pk }).unwrap();
    // Another enclave of the provider, with a key of its own.
    let (_, other) = opened(3);
    assert_eq!(heir.follow(&other).err(), Some(Error::Log { item: 1 }));
    let snapshot = first.snapshot(0).unwrap();
    assert_eq!(snapshot.next, None);
    heir.follow(&snapshot.items).unwrap();
    assert_eq!(heir.succeed().unwrap().sign_pk, begun.sign_pk);
}

/// Giver and heir share the key from which all else comes, and yet no sealed byte. The coin: the pay of a second replica,
/// or a second node's, without its disk.
#[test]
fn adversary_one_copy_does_not_serve_giver_and_heir() {
    let (mut first, mut log) = opened(1);
    let bytes = vec![7; 100_000];
    let order = content(&bytes).id();
    let sealed = seal(&mut first, &mut log, &bytes);
    let mut heir = enclave(2);
    let mut own = vec![hand_over(&mut first, &mut log, &mut heir)];
    own.extend(heir.open(GENESIS, PROVIDER).unwrap().items);
    let again = seal(&mut heir, &mut own, &bytes);
    assert!(again.chunks(4096).zip(sealed.chunks(4096)).all(|(one, other)| one != other));
    assert!(matches!(heir.opener(&order, 0).unwrap().open(sealed.clone()), Err(Error::Damaged { .. })));
    assert!(matches!(first.opener(&order, 0).unwrap().open(again), Err(Error::Damaged { .. })));
    let (items, draw) = heir.show(1, [9; 32]).unwrap();
    own.extend(items);
    let chunks: Vec<&[u8]> = sealed.chunks(crust_enclave::seal::SEALED_CHUNK).collect();
    let copied = draw.iter().map(|sample| match sample {
        crust_enclave::rpc::Sample::File { chunk, .. } => Some(chunks[*chunk as usize].to_vec()),
        _ => None,
    });
    let result = heir.answer(copied.collect()).unwrap().result.unwrap();
    assert_eq!(result.good_files, 0, "the giver's copy");
}

/// An heir started again and again until a draw suits: only the one that is named goes on, each start is a line of its
/// own of which the chain takes one, and each draw is one more throw of dice that hide a thousandth at most
/// (`no_retry_hides_a_hundredth`). What the chain draws for audits goes by the node's number, which no heir changes. The
/// coin: a draw of one's choice in every slot.
#[test]
fn adversary_heirs_started_until_a_draw_suits() {
    let (mut first, mut log) = opened(1);
    let bytes = vec![7; 30 * crust_enclave::seal::CHUNK];
    seal(&mut first, &mut log, &bytes);
    let mut heirs: Vec<Enclave> = (2..6).map(enclave).collect();
    for heir in &mut heirs {
        hand_over(&mut first, &mut log, heir);
        heir.open(GENESIS, PROVIDER).unwrap();
    }
    let prev = crust_protocol::statement::first_root(&first.overview().unwrap().sign_pk);
    let named = heirs[0].overview().unwrap().sign_pk;
    let Signed::Heir(named) = say(&mut first, &mut log, Saying::Heir { prev, heir: named }).unwrap() else { panic!() };
    for heir in &mut heirs[1..] {
        heir.follow(&log).unwrap();
        assert_eq!(heir.succeed().err(), Some(Error::NotHeir));
    }
    // The one that is named, from copies of its own log.
    let own = heirs[0].snapshot(0).unwrap().items;
    let (mut draws, mut roots) = (std::collections::BTreeSet::new(), std::collections::BTreeSet::new());
    for _ in 0..8 {
        let mut again = enclave(2);
        again.load(&own).unwrap();
        again.open(GENESIS, PROVIDER).unwrap();
        again.follow(&log).unwrap();
        again.succeed().unwrap();
        let (_, draw) = again.show(5, [9; 32]).unwrap();
        again.answer(draw.iter().map(|_| None).collect()).unwrap();
        let said = again.say(Saying::Report { prev: named.root, slot: 5, audit: None }).unwrap().1;
        let Signed::Report(report) = said else { panic!() };
        assert_eq!((report.prev, report.good_files), (named.root, 0));
        assert!(draws.insert(draw) && roots.insert(report.root));
    }
}

/// An heir is shown a far slot on the log that it leaves, and begins to seal there: what it seals is not taken for read in
/// that slot. The coin: a file that no scrub ever asks for again.
#[test]
fn adversary_a_far_slot_does_not_outlive_a_succession() {
    let (mut first, mut log) = opened(1);
    let mut heir = enclave(2);
    hand_over(&mut first, &mut log, &mut heir);
    let begun = heir.open(GENESIS, PROVIDER).unwrap();
    let prev = crust_protocol::statement::first_root(&first.overview().unwrap().sign_pk);
    say(&mut first, &mut log, Saying::Heir { prev, heir: begun.sign_pk }).unwrap();
    check(&mut first, &mut log, 5);
    check(&mut heir, &mut Vec::new(), 1_000_000);
    let bytes = vec![7; 100];
    let mut sealer = heir.seal(content(&bytes)).unwrap();
    let mut out = Out::default();
    sealer.feed(&bytes, &mut out).unwrap();
    let sealed = sealer.finish(&mut out).unwrap();
    heir.follow(&log).unwrap();
    heir.succeed().unwrap();
    heir.hold(&sealed, [9; 16]).unwrap();
    assert_eq!(heir.scrub_next().unwrap().until, Some(5));
}

/// What is owed comes first, as before every statement but `Gone`. The coin: the pay of what is gone, to the end of its
/// term, under an heir that never heard of it.
#[test]
fn an_heir_is_not_named_while_a_loss_is_not() {
    let (mut first, mut log) = opened(1);
    let bytes = vec![7; 10];
    seal(&mut first, &mut log, &bytes);
    let order = content(&bytes).id();
    let prev = crust_protocol::statement::first_root(&first.overview().unwrap().sign_pk);
    say(&mut first, &mut log, Saying::Receipts { prev, orders: vec![order] }).unwrap();
    log.push(first.lose(vec![order]).unwrap());
    let refused = say(&mut first, &mut log, Saying::Heir { prev, heir: [5; 32] }).err();
    assert_eq!(refused, Some(Error::GoneFirst { orders: vec![order] }));
}

/// *`K_seal` asked for by a program of the host's, by an older release, in debug mode.* The coin: a node's signing key,
/// and every sealed byte and page of filler on demand: its idle power without a disk, and the pay of its files until
/// the first draw, 9.6 tokens on the average for a full machine.
#[test]
fn no_other_program_gets_the_key() {
    let (mut giver, _) = opened(1);
    let refused = |giver: &mut Enclave, runs: QuoteOptions, change: &dyn Fn(&mut Shown)| {
        let mut heir = Enclave::new(machine(2, runs, true), Constants::DEVELOPMENT);
        offer(giver, &mut heir, change).err().unwrap()
    };
    let genuine = QuoteOptions::default;
    let unsigned = |release: Release| SignedRelease { release, signatures: Vec::new().try_into().unwrap() };
    let of = |number, mr_enclave: [u8; 32]| {
        let mut release = release::signed(number).unwrap().release;
        let crust_protocol::attestation::Measurement::Sgx { mr_enclave: measured, .. } = &mut release.measurement
        else {
            panic!()
        };
        *measured = mr_enclave;
        release
    };
    // B is signed by nobody; by the release keys, but as another release; by keys of its own.
    let release = release::signed(RELEASE).unwrap();
    assert_eq!(
        refused(&mut giver, genuine(), &|shown| shown.release = unsigned(release.release.clone())),
        Error::NotSigned
    );
    assert_eq!(refused(&mut giver, genuine(), &|shown| shown.release.release.number += 1), Error::NotSigned);
    assert_eq!(refused(&mut giver, genuine(), &|shown| shown.release.signatures[0].0 = 1), Error::NotSigned);
    assert_eq!(refused(&mut giver, genuine(), &|shown| shown.release.signatures[0].1[0] ^= 1), Error::NotSigned);
    // It runs something else than what is signed; what it runs is signed, but in debug mode.
    let other = QuoteOptions { mr_enclave: [0xcc; 32], ..genuine() };
    assert_eq!(refused(&mut giver, other, &|_| {}), Error::OtherRelease);
    let product = QuoteOptions { isv_prod_id: 1, ..genuine() };
    assert_eq!(refused(&mut giver, product, &|_| {}), Error::OtherRelease);
    let mut debug = genuine();
    debug.attributes[0] |= SGX_DEBUG;
    assert!(matches!(refused(&mut giver, debug, &|_| {}), Error::Evidence(_)));
    // An older release.
    let newer = Constants { release: RELEASE + 1, ..Constants::DEVELOPMENT };
    let mut newer = Enclave::new(machine(1, genuine(), true), newer);
    newer.open(GENESIS, PROVIDER).unwrap();
    let older = Error::ReleaseOrder { giver: RELEASE + 1, heir: RELEASE };
    assert_eq!(refused(&mut newer, genuine(), &|_| {}), older);
    let named = |shown: &mut Shown| shown.release = release::sign(of(RELEASE + 1, development::MR_ENCLAVE)).unwrap();
    let mut heir = enclave(2);
    assert!(offer(&mut newer, &mut heir, named).is_ok(), "a later release gets it");
    // No release key is made yet: a production enclave gives its key to nobody.
    let production = Constants { trusted_root: development::ROOT_CA, ..Constants::PRODUCTION };
    let mut production = Enclave::new(machine(1, genuine(), true), production);
    production.open(GENESIS, PROVIDER).unwrap();
    assert_eq!(refused(&mut production, genuine(), &|_| {}), Error::NotSigned);
}

/// The same on a machine whose keys are known to be out, or under a root of the host's. The coin: as above.
#[test]
fn no_other_platform_gets_the_key() {
    let (mut giver, _) = opened(1);
    let mut refused = |change: &dyn Fn(&mut Shown)| offer(&mut giver, &mut enclave(2), change).err().unwrap();
    let judged =
        |options: CollateralOptions| move |shown: &mut Shown| shown.collateral = collateral::make(&options).unwrap();
    let around = CollateralOptions::around(NOW);
    let serial = SoftwarePlatform::from_seed([2; 32]).unwrap().serial();
    for options in [
        CollateralOptions { tcb_status: "OutOfDate", ..around.clone() },
        CollateralOptions { tcb_status: "Revoked", ..around.clone() },
        CollateralOptions { qe_status: "Revoked", ..around.clone() },
        CollateralOptions { revoked: vec![serial], ..around.clone() },
        CollateralOptions { fmspc: *b"other1", ..around.clone() },
    ] {
        assert!(matches!(refused(&judged(options)), Error::Evidence(_)));
    }
    assert!(matches!(refused(&|shown| shown.quote[400] ^= 1), Error::Evidence(_)));
    assert!(matches!(refused(&|shown| shown.quote.truncate(700)), Error::Evidence(_)));
    assert!(matches!(refused(&|shown| shown.collateral.tcb_info_signature[0] ^= 1), Error::Evidence(_)));
    // A root that is not the giver's own.
    let intel = Constants { trusted_root: Constants::PRODUCTION.trusted_root, ..Constants::DEVELOPMENT };
    let mut strict = Enclave::new(machine(1, QuoteOptions::default(), true), intel);
    strict.open(GENESIS, PROVIDER).unwrap();
    assert!(matches!(offer(&mut strict, &mut enclave(2), |_| {}), Err(Error::Evidence(_))));
}

/// Time is the newest date that a vendor signed: what was out of date then stays so, after a restart too. The coin: as
/// above, with a machine whose vendor revoked it after that date.
#[test]
fn collateral_that_ran_out_before_what_was_seen_is_refused() {
    let (mut giver, mut log) = opened(1);
    let dated = |now: u64| {
        move |shown: &mut Shown| {
            shown.collateral = collateral::make(&CollateralOptions::around(now)).unwrap();
        }
    };
    log.extend(offer(&mut giver, &mut enclave(2), dated(NOW)).unwrap().items);
    log.extend(offer(&mut giver, &mut enclave(2), dated(NOW + 60 * DAY)).unwrap().items);
    assert!(matches!(offer(&mut giver, &mut enclave(2), dated(NOW)), Err(Error::Evidence(_))));
    let snapshot = giver.snapshot(0).unwrap().items;
    for log in [log, snapshot] {
        let mut again = enclave(1);
        again.load(&log).unwrap();
        again.open(GENESIS, PROVIDER).unwrap();
        assert!(matches!(offer(&mut again, &mut enclave(2), dated(NOW)), Err(Error::Evidence(_))));
        assert!(offer(&mut again, &mut enclave(2), dated(NOW + 59 * DAY)).is_ok());
    }
}

/// Another provider, another chain, a made-up chain, another share, an old challenge: evidence is for one exchange. The
/// coin: as above, for the price of listening once, or of a chain that the host makes up.
#[test]
fn evidence_is_for_one_exchange() {
    let (mut giver, log) = opened(1);
    let ask = |giver: &mut Enclave, genesis, provider| {
        let challenge = giver.challenge().unwrap();
        let (share, quote, _) = enclave(2).ask(genesis, provider, challenge).unwrap();
        giver.hand_over(share, shown(quote)).err()
    };
    assert_eq!(ask(&mut giver, GENESIS, [0xcc; 32]), Some(Error::NotBound), "another provider's");
    assert_eq!(ask(&mut giver, [0xcc; 32], PROVIDER), Some(Error::NotBound), "for another chain");
    assert_eq!(ask(&mut giver, GENESIS, PROVIDER), None);
    // The host's own share in the place of the heir's; a challenge that was used, or was never given.
    let challenge = giver.challenge().unwrap();
    let (share, quote, _) = enclave(2).ask(GENESIS, PROVIDER, challenge).unwrap();
    assert_eq!(giver.hand_over([9; 32], shown(quote.clone())).err(), Some(Error::NotBound));
    assert_eq!(giver.hand_over(share, shown(quote.clone())).err(), Some(Error::NoChallenge));
    giver.challenge().unwrap();
    assert_eq!(giver.hand_over(share, shown(quote)).err(), Some(Error::NotBound));
    // Evidence for a registration is none for a hand-over.
    let (mut other, _) = opened(2);
    let _ = other.challenge();
    giver.challenge().unwrap();
    let registration = other.evidence([5; 32]).unwrap().0;
    assert_eq!(giver.hand_over(share, shown(registration)).err(), Some(Error::NotBound));
    // A chain that the host made up: the log is of the true one, and a new log has a new key.
    let mut fooled = enclave(1);
    fooled.load(&log).unwrap();
    assert_eq!(fooled.open([0xcc; 32], PROVIDER).err(), Some(Error::OtherGenesis));
    assert_eq!(fooled.open(GENESIS, [0xcc; 32]).err(), Some(Error::OtherProvider));
}

/// A host that knew the key could seal what it does not keep: an heir takes it from a genuine enclave only. The coin:
/// filler and files without a disk: 500 TiB of idle power at the cap, and a machine's slot, 0.4 tokens, while audits
/// let it.
#[test]
fn an_heir_takes_its_key_from_an_enclave_only() {
    let (mut giver, _) = opened(1);
    let mut refused = |change: &dyn Fn(&mut Handed, &mut Shown)| {
        let mut heir = enclave(2);
        let mut handed = offer(&mut giver, &mut heir, |_| {}).unwrap();
        let mut shown = shown(handed.quote.clone());
        change(&mut handed, &mut shown);
        heir.inherit(handed.share, &handed.sealed, shown).err()
    };
    assert_eq!(refused(&|_, _| {}), None);
    assert_eq!(refused(&|handed, _| handed.share = [9; 32]), Some(Error::NotBound), "a share of the host's");
    assert_eq!(refused(&|handed, _| handed.sealed[0] ^= 1), Some(Error::NotBound));
    assert_eq!(refused(&|handed, _| handed.sealed.clear()), Some(Error::NotBound));
    let newer = |_: &mut Handed, shown: &mut Shown| {
        let measurement = release::measurement(RELEASE);
        shown.release = release::sign(Release { number: RELEASE + 1, measurement }).unwrap();
    };
    assert_eq!(refused(&newer), Some(Error::ReleaseOrder { giver: RELEASE + 1, heir: RELEASE }));
    assert_eq!(refused(&|_, shown| shown.release.signatures[0].1[0] ^= 1), Some(Error::NotSigned));
    let fake = |_: &mut Handed, shown: &mut Shown| {
        let platform = SoftwarePlatform::from_seed([1; 32]).unwrap();
        shown.quote = platform.quote_with(&QuoteOptions { mr_enclave: [0xcc; 32], ..Default::default() }, &[0; 64]);
    };
    assert_eq!(refused(&fake), Some(Error::OtherRelease), "a program of the host's");
    // Nobody has asked, or somebody has a log already.
    let (mut giver, _) = opened(1);
    assert_eq!(enclave(2).inherit([0; 32], &[], shown(Vec::new())).err(), Some(Error::NoChallenge));
    assert_eq!(giver.ask(GENESIS, PROVIDER, [0; 32]).err(), Some(Error::AlreadyOpen));
    assert_eq!(enclave(2).challenge().err(), Some(Error::NotOpen));
}

/// A platform without sealing keys (TDX 1.x) forgets its key at every stop. It takes no order before a standby has it,
/// and gets it back from there.
#[test]
fn a_platform_without_sealing_keys_needs_a_standby() {
    let start = || Enclave::new(machine(1, QuoteOptions::default(), false), Constants::DEVELOPMENT);
    let mut first = start();
    let begun = first.open(GENESIS, PROVIDER).unwrap();
    let mut log = begun.items;
    assert_eq!(log[0], [0; 8], "nothing wraps the key");
    let bytes = vec![7; 10];
    seal(&mut first, &mut log, &bytes);
    let receipts = Saying::Receipts {
        prev: crust_protocol::statement::first_root(&begun.sign_pk),
        orders: vec![content(&bytes).id()],
    };
    assert_eq!(say(&mut first, &mut log, receipts.clone()).err(), Some(Error::NoStandby));
    let mut standby = enclave(2);
    hand_over(&mut first, &mut log, &mut standby);
    say(&mut first, &mut log, receipts).unwrap();
    standby.open(GENESIS, PROVIDER).unwrap();

    drop(first);
    let mut again = start();
    assert_eq!(again.load(&log).err(), Some(Error::NoKey));
    hand_over(&mut standby, &mut Vec::new(), &mut again);
    again.load(&log).unwrap();
    let reopened = again.open(GENESIS, PROVIDER).unwrap();
    assert_eq!((reopened.sign_pk, reopened.items), (begun.sign_pk, Vec::new()));
}

/// Under Gramine a microcode update puts the old sealing key out of reach. The standby has the node's key; with the next
/// snapshot it is wrapped anew.
#[test]
fn a_sealing_key_out_of_reach_is_made_good_by_a_standby() {
    struct At(u8);
    impl Platform for At {
        fn seal_key(&self, svn: Option<Svn>) -> Result<Option<SealKey>, PlatformError> {
            let present = [self.0; 16];
            match svn {
                Some(svn) if svn != present => Err(PlatformError::Unavailable("of an earlier version".into())),
                _ => Ok(Some(SealKey::new(present, [self.0; 32]))),
            }
        }

        fn quote(&self, report_data: &[u8; 64]) -> Result<Vec<u8>, PlatformError> {
            Ok(SoftwarePlatform::from_seed([1; 32]).unwrap().quote(report_data))
        }

        fn collateral(&self) -> Result<Option<Collateral>, PlatformError> {
            Ok(None)
        }
    }
    let start = |version| Enclave::new(Arc::new(At(version)), Constants::DEVELOPMENT);
    let mut first = start(1);
    let begun = first.open(GENESIS, PROVIDER).unwrap();
    let mut log = begun.items;
    let mut standby = enclave(2);
    hand_over(&mut first, &mut log, &mut standby);
    standby.open(GENESIS, PROVIDER).unwrap();

    drop(first);
    assert!(matches!(start(2).load(&log), Err(Error::Platform(_))));
    let mut again = start(2);
    hand_over(&mut standby, &mut Vec::new(), &mut again);
    again.load(&log).unwrap();
    assert_eq!(again.open(GENESIS, PROVIDER).unwrap().sign_pk, begun.sign_pk);
    assert!(again.overview().unwrap().rewrap);
    let snapshot = again.snapshot(0).unwrap().items;
    let mut later = start(2);
    later.load(&snapshot).unwrap();
    assert_eq!(later.open(GENESIS, PROVIDER).unwrap().sign_pk, begun.sign_pk);
}
