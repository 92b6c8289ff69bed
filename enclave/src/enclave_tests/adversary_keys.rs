//! An adversary that has read the board's sealing key off a bus, and so all that the log says. What the key alone is
//! good for, and what it is not.

use super::*;
use crate::{
    load::Load,
    log::{StateKey, wrapped_at},
    state::State,
};
use crust_protocol::{
    audit,
    statement::{Answer, Report},
};

/// What the sealing key and a log give away: everything that the enclave knows, its signing key too.
fn opened(host: &Host) -> Box<State> {
    let platform = TestPlatform(7).seal_key(wrapped_at(&host.log[0])).unwrap().unwrap();
    let mut load = Load::Key(StateKey::unwrap(&platform, &host.log[0]).unwrap());
    host.log[1..].iter().for_each(|item| load.take(item, &CONSTANTS).unwrap());
    let Load::Log(state) = load else { panic!("no state") };
    state
}

/// Whether a chain would take the thief's signature.
fn is_signed(thief: &State, report: &Report) -> bool {
    let signature = schnorrkel::Signature::from_bytes(&thief.identity.sign(report)).unwrap();
    let key = schnorrkel::PublicKey::from_bytes(&thief.identity.sign_pk()).unwrap();
    key.verify_simple(b"substrate", &signed_bytes(&GENESIS, &thief.identity.sign_pk(), report), &signature).is_ok()
}

/// A stolen sealing key speaks for the node, and says whatever its thief likes; the draw it cannot answer, for want of
/// the data, be all the rest of the answer right. The coin: pay and power of all that the node is believed to hold, to
/// the end of its terms, without a disk.
#[test]
fn adversary_a_stolen_sealing_key_speaks_and_cannot_answer() {
    let mut host = Host::new();
    let plain = bytes(100_000, 1);
    let ordered = content(&plain, 1);
    let order = host.seal(&ordered, &plain);
    let first = host.first();
    let prev = host.receipts(first, &[order]).unwrap();
    host.check(1);
    // What the chain has seen of the file: its neighbour's answer, in which all hashes but one are those of this draw.
    let neighbour = host.audit(order, 61);
    let (item, said) = host.enclave.say(Saying::Report { prev, slot: 1, audit: Some(neighbour) }).unwrap();
    host.keep([item]);
    let Signed::Report(earlier) = said else { panic!() };
    let earlier_answer = earlier.audit.clone().unwrap();

    let thief = opened(&host);
    assert_eq!(thief.identity.sign_pk(), host.sign_pk);
    let mut report = Report {
        prev: earlier.root,
        root: [9; 32],
        slot: 2,
        slot_hash: slot_hash(2),
        filler_bytes: 1 << 50,
        stored_bytes: ordered.size,
        good_filler: 255,
        good_files: 255,
        scrubbed_until: 2,
        audit: None,
    };
    assert!(is_signed(&thief, &report), "it speaks");

    let answers = |answer: &Answer| audit::verify(&ordered.audit_root, ordered.size, 60, answer);
    let mut path = earlier_answer.path.clone();
    path[0] = audit::subtree(61, &earlier_answer.bytes);
    let key_stream = thief.state_key.derive(&order, b"crust/segment/v1").repeat(32);
    let made_up = [Vec::new(), vec![0; 1_024], earlier_answer.bytes.to_vec(), key_stream, bytes(1_024, 1)];
    let logged = host.log.iter().map(|item| item.iter().copied().cycle().take(1_024).collect());
    for bytes in made_up.into_iter().chain(logged) {
        for path in [path.clone(), earlier_answer.path.clone(), Vec::new().try_into().unwrap()] {
            assert!(!answers(&Answer { bytes: bytes.clone().try_into().unwrap(), path }));
        }
    }
    // With the sealed bytes of the disk in hand the same key answers: it is these that it lacks.
    let shown = host.audit(order, 60);
    let chunk = thief.files.opener(&order, 0, &thief.state_key).unwrap().open(shown.chunk).unwrap();
    let nodes = thief.files.open_node(&order, 0, &shown.nodes[0], &thief.state_key).unwrap();
    let answer = tree::answer(ordered.size, 60, &chunk, &[nodes]).unwrap();
    assert!(answers(&answer));
    assert_eq!(answer.path, path, "all else it had");
    report.audit = Some(answer);
    assert!(is_signed(&thief, &report));
}
