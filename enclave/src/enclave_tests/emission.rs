//! No sealed or filler byte leaves twice.

use super::*;

/// From every prefix of a log, an enclave that makes filler and seals the same file emits nothing that any other
/// emitted. The coin: the power and pay of a whole disk for the price of keeping a log.
#[test]
fn no_byte_is_emitted_twice_over_every_prefix_of_the_log() {
    let mut host = Host::new();
    let plain = bytes(CHUNK * 2 + 1, 1);
    let order = content(&plain, 1);
    let (mut pages, mut chunks) = (HashSet::new(), HashSet::new());
    let mut emit = |filler: &[u8], sealed: &[u8]| {
        for page in filler.chunks(4096) {
            assert!(pages.insert(page.to_vec()), "a page of filler was emitted twice");
        }
        for chunk in sealed.chunks(SEALED_CHUNK) {
            assert!(chunks.insert(chunk.to_vec()), "a sealed chunk was emitted twice");
        }
    };
    let filler = host.fill(DISK);
    emit(&filler, &[]);
    host.seal(&order, &plain);
    emit(&[], &host.files[&order.id()]);
    // A unit that is not finished, and one that gives way and grows again.
    emit(&host.enclave.filler([8; 16], 8192).unwrap().bytes(), &[]);
    emit(&host.enclave.filler([8; 16], 4096).unwrap().bytes(), &[]);
    let items = host.enclave.shrink([8; 16], 0).unwrap();
    assert!(items.is_empty(), "only a unit in work was thrown away");
    let items = host.enclave.shrink(DISK, 4096).unwrap();
    host.keep(items);
    host.filler.get_mut(&DISK).unwrap().truncate(4096);
    emit(&host.fill(DISK), &[]);
    host.check(1);
    host.delete(order.id());
    host.seal(&order, &plain);
    emit(&[], &host.files[&order.id()]);
    for items in 2..=host.log.len() {
        for _ in 0..2 {
            let mut other = Host::at(host.log[..items].to_vec());
            for _ in 0..2 {
                let bytes = other.enclave.filler(DISK, UNIT as u32);
                emit(&bytes.map(Grant::bytes).unwrap_or_default(), &[]);
                if other.enclave.overview().unwrap().checking {
                    other.enclave.shrink(DISK, 0).unwrap_err();
                    break;
                }
                other.enclave.commit_filler(DISK).unwrap();
            }
            if other.enclave.state().unwrap().files.held(&order.id()).is_none() {
                let out = other.seal_only(&order, &plain).1;
                emit(&[], &out.sealed);
                emit(&[], &out.tree);
            }
        }
    }
}

#[test]
fn a_unit_ends_where_it_ends_and_filler_comes_in_pages() {
    let mut host = Host::new();
    for bytes in [0, 1, 4095, 4097, (4 << 20) + 4096] {
        assert_eq!(host.enclave.filler(DISK, bytes).err(), Some(Error::FillerSize));
    }
    assert_eq!(host.enclave.commit_filler(DISK), Err(Error::NoUnit));
    assert_eq!(host.enclave.filler(DISK, (UNIT - 4096) as u32).unwrap().bytes().len() as u64, UNIT - 4096);
    assert_eq!(host.enclave.filler(DISK, 8192).unwrap().bytes().len(), 4096, "what is left of the unit");
    assert_eq!(host.enclave.filler(DISK, 4096).err(), Some(Error::UnitFull));
    let item = host.enclave.commit_filler(DISK).unwrap();
    host.keep([item]);
    assert_eq!(host.enclave.overview().unwrap().filler, vec![(DISK, UNIT)]);
    for to in [1, UNIT + 4096, u64::MAX] {
        assert_eq!(host.enclave.shrink(DISK, to), Err(Error::ShrinkTo { length: UNIT }));
    }
    for disk in 0..=255u8 {
        host.enclave.filler([disk; 16], 4096).unwrap();
    }
    assert_eq!(host.enclave.filler(*b"one disk too man", 4096).err(), Some(Error::TooManyDisks));
}
