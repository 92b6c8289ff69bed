//! Audits: what is shown, what is answered, what is refused.

use super::*;
use crust_protocol::{audit, statement::Report};

fn reported(host: &mut Host, prev: Hash, slot: Slot, shown: Audit) -> Result<Report, Error> {
    let (item, signed) = host.enclave.say(Saying::Report { prev, slot, audit: Some(shown) })?;
    host.keep([item]);
    let Signed::Report(report) = signed else { panic!() };
    host.verified(&report);
    Ok(report)
}

#[test]
fn a_report_answers_the_draw_out_of_what_is_stored() {
    let mut host = Host::new();
    let sizes = [0, 1, 1_024, 5_000, 16_384, 16_385, 70_000, 33 << 20];
    let mut prev = host.first();
    for (nonce, size) in (0..).zip(sizes) {
        let plain = bytes(size, nonce);
        let ordered = content(&plain, nonce);
        let order = host.seal(&ordered, &plain);
        host.restart();
        let slot = nonce as Slot + 1;
        host.check(slot);
        let chunks = audit::chunks(ordered.size);
        for audited in [0, chunks / 2, chunks - 1] {
            let shown = host.audit(order, audited);
            assert!(shown.nodes.len() <= 2 && shown.chunk.len() <= SEALED_CHUNK);
            let report = reported(&mut host, prev, slot, shown).unwrap();
            prev = report.root;
            let answer = report.audit.unwrap();
            assert!(audit::verify(&ordered.audit_root, ordered.size, audited, &answer), "{audited} of {size}");
        }
        assert_eq!(host.enclave.audit_reads(&order, chunks).err(), Some(Error::NoSuchPart));
    }
    assert!(host.enclave.audit_reads(&[0; 32], 0).is_err());
}

/// 20 hashes and 1 KiB: what the chain pays for.
#[test]
fn the_answer_for_a_gibibyte_has_at_most_1800_bytes() {
    let (size, audited) = (1u64 << 30, 777_777);
    let (_, needed) = tree::needed(size, audited).unwrap();
    let nodes: Vec<Vec<u8>> = tree::lengths(size, 0, tree::nodes(size)).map(|length| vec![7; length - TAG]).collect();
    let nodes: Vec<Vec<u8>> = needed.iter().map(|node| nodes[*node as usize].clone()).collect();
    let answer = tree::answer(size, audited, &bytes(CHUNK, 1), &nodes).unwrap();
    assert_eq!(answer.path.len(), 20);
    assert!(codec::Encode::encoded_size(&answer) <= 1_800);
}

/// The enclave answers out of its own sealed bytes alone, in their place: who has the plain file, another node's replica
/// or another chunk gets no answer signed. The coin: two days' pay for all that the node holds, and its power.
#[test]
fn nothing_but_this_nodes_own_replica_is_answered_from() {
    let mut host = Host::new();
    let plain = bytes(3 * CHUNK, 1);
    let order = host.seal(&content(&plain, 1), &plain);
    let copy = host.seal(&content(&plain, 2), &plain);
    let mut other = Host::new();
    assert_eq!(other.seal(&content(&plain, 1), &plain), order);
    host.check(1);
    let first = host.first();
    let good = host.audit(order, 100);
    let damaged = Err(Error::Damaged { chunk: 1 });
    let spoilt = Err(Error::DamagedTree { node: 0 });
    let cases = [
        (Audit { chunk: plain[CHUNK..2 * CHUNK].to_vec(), ..good.clone() }, damaged.clone()),
        (Audit { chunk: host.audit(copy, 100).chunk, ..good.clone() }, damaged.clone()),
        (Audit { chunk: other.audit(order, 100).chunk, ..good.clone() }, damaged.clone()),
        (Audit { chunk: host.audit(order, 10).chunk, ..good.clone() }, damaged.clone()),
        (Audit { chunk: [good.chunk.clone(), vec![0]].concat(), ..good.clone() }, damaged.clone()),
        (Audit { chunk: Vec::new(), ..good.clone() }, damaged),
        (Audit { nodes: host.audit(copy, 100).nodes, ..good.clone() }, spoilt.clone()),
        (Audit { nodes: other.audit(order, 100).nodes, ..good.clone() }, spoilt.clone()),
        (Audit { nodes: vec![good.chunk.clone()], ..good.clone() }, spoilt.clone()),
        (Audit { nodes: vec![Vec::new()], ..good.clone() }, spoilt),
        (Audit { nodes: Vec::new(), ..good.clone() }, Err(Error::NoSuchPart)),
        (Audit { audited: 192, ..good.clone() }, Err(Error::NoSuchPart)),
        (Audit { audited: u64::MAX, ..good.clone() }, Err(Error::NoSuchPart)),
        (Audit { order: [0; 32], ..good.clone() }, Err(Error::NotSealed { order: [0; 32] })),
    ];
    for (number, (shown, refused)) in cases.into_iter().enumerate() {
        assert_eq!(reported(&mut host, first, 1, shown), refused, "case {number}");
    }
    assert!(reported(&mut host, first, 1, good).is_ok());
}

#[test]
fn a_lost_file_is_not_answered_for() {
    let mut host = Host::new();
    let order = sealed(&mut host, 100_000, 1);
    let shown = host.audit(order, 3);
    let item = host.enclave.lose(vec![order]).unwrap();
    host.keep([item]);
    host.check(1);
    let first = host.first();
    assert_eq!(reported(&mut host, first, 1, shown).err(), Some(Error::NotSealed { order }));
    assert_eq!(host.enclave.audit_reads(&order, 3).err(), Some(Error::NotSealed { order }));
}

#[test]
fn a_private_file_is_audited_and_shows_only_its_ciphertext() {
    let mut host = Host::new();
    let plain = bytes(100_000, 1);
    let private = Content { flags: PRIVATE, ..content(&plain, 1) };
    let order = host.seal(&private, &plain);
    host.check(1);
    let shown = host.audit(order, 97);
    let first = host.first();
    let answer = reported(&mut host, first, 1, shown).unwrap().audit.unwrap();
    assert!(audit::verify(&private.audit_root, private.size, 97, &answer));
}

/// One bad sector in a tree costs no file: the tree is made anew, and its bytes are new ones.
#[test]
fn a_damaged_tree_is_made_anew_out_of_the_sealed_file() {
    let mut host = Host::new();
    let plain = bytes(35 << 20, 1);
    let ordered = content(&plain, 1);
    let order = host.seal(&ordered, &plain);
    let old = std::mem::take(host.trees.get_mut(&order).unwrap());
    host.trees.insert(order, vec![0; old.len()]);
    host.check(1);
    assert_eq!(host.scrub().0.len(), 3, "every node is bad");
    let mut sealer = host.enclave.seal_tree(order).unwrap();
    let mut out = Out::default();
    assert!(sealer.feed(Vec::new(), &mut out).is_err());
    assert_eq!(sealer.feed(host.files[&order][1..].to_vec(), &mut out).err(), Some(Error::Damaged { chunk: 0 }));
    for part in host.files[&order].chunks(SEALED_CHUNK * 50) {
        sealer.feed(part.to_vec(), &mut out).unwrap();
    }
    let item = {
        let sealed = sealer.finish(&mut out).unwrap();
        host.enclave.hold_tree(&sealed).unwrap()
    };
    host.keep([item]);
    assert_eq!((out.sealed.len(), out.tree.len()), (0, old.len()));
    assert_ne!(out.tree, old, "no byte is emitted twice");
    host.trees.insert(order, old);
    host.restart();
    host.check(2);
    assert_eq!(host.scrub().0.len(), 3, "the old one counts no more");
    host.trees.insert(order, out.tree);
    host.check(3);
    assert_eq!(host.scrub().0, Vec::new());
    let shown = host.audit(order, 33_000);
    let first = host.first();
    let answer = reported(&mut host, first, 3, shown).unwrap().audit.unwrap();
    assert!(audit::verify(&ordered.audit_root, ordered.size, 33_000, &answer));
    // Not all of it, or of a file that is gone meanwhile: nothing.
    let mut sealer = host.enclave.seal_tree(order).unwrap();
    sealer.feed(host.files[&order][..SEALED_CHUNK].to_vec(), &mut Out::default()).unwrap();
    assert_eq!(sealer.finish(&mut Out::default()).err(), Some(Error::NoSuchPart));
    let mut sealer = host.enclave.seal_tree(order).unwrap();
    for part in host.files[&order].chunks(SEALED_CHUNK * 50) {
        sealer.feed(part.to_vec(), &mut Out::default()).unwrap();
    }
    let sealed = sealer.finish(&mut Out::default()).unwrap();
    host.delete(order);
    host.seal(&ordered, &plain);
    assert_eq!(host.enclave.hold_tree(&sealed).err(), Some(Error::NotSealed { order }), "another sealing of it");
}
