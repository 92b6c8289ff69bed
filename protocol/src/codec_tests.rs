//! What is stored, signed or sent comes back as it was, and each value is written in one way only.

use alloc::{vec, vec::Vec};
use core::fmt::Debug;

use codec::{Codec as Scale, DecodeAll};
use proptest::prelude::*;

use crate::{
    attestation::{Collateral, Evidence, Measurement, part},
    file::{Cid, Codec, HashFunction},
    order::Content,
    parameters::Parameters,
    statement::{Answer, Gone, Heir, Receipts, Report},
};

/// A value comes back; and if its bytes, changed as `change` does it, are those of a value, they are that value's bytes.
fn written_in_one_way<T: Scale + PartialEq + Debug>(value: &T, change: impl Fn(&mut Vec<u8>)) {
    let mut bytes = value.encode();
    assert_eq!(T::decode_all(&mut &bytes[..]).as_ref(), Ok(value));
    change(&mut bytes);
    if let Ok(other) = T::decode_all(&mut &bytes[..]) {
        assert_eq!(other.encode(), bytes);
    }
}

proptest! {
    #[test]
    fn everything_comes_back_and_is_written_in_one_way(
        hash: [u8; 32], text in proptest::collection::vec(any::<u8>(), 0..100), long: u64, short: u32, byte: u8,
        at: prop::sample::Index, to: u8, cut: bool,
    ) {
        let change = |bytes: &mut Vec<u8>| {
            let at = at.index(bytes.len().max(1));
            match bytes.get_mut(at) {
                Some(found) if !cut => *found = to,
                _ => bytes.truncate(at),
            }
        };
        let cid = Cid::new(Codec::DagPb, HashFunction::Sha2_256, hash);
        let content =
            Content { client: hash, nonce: long, cid, size: long, audit_root: hash, flags: byte };
        written_in_one_way(&content, change);
        written_in_one_way(&Evidence::Dcap(text.clone().try_into().unwrap()), change);
        let document = || part(text.clone()).unwrap();
        let collateral = Collateral {
            pck_crl_issuer_chain: document(),
            root_ca_crl: document(),
            pck_crl: document(),
            tcb_info_issuer_chain: document(),
            tcb_info: document(),
            tcb_info_signature: [byte; 64],
            qe_identity_issuer_chain: document(),
            qe_identity: document(),
            qe_identity_signature: [byte; 64],
        };
        written_in_one_way(&collateral, change);
        let program = Measurement::Sgx {
            mr_enclave: hash,
            isv_prod_id: byte.into(),
            attributes: [byte; 16],
            attributes_mask: [to; 16],
            misc_select: short,
            misc_mask: short,
        };
        written_in_one_way(&program, change);
        let machine = vec![[byte; 48]; usize::from(byte % 17)].try_into().unwrap();
        written_in_one_way(&Measurement::Tdx { image: hash, machine }, change);
        let parameters = Parameters { slot_blocks: short, price: long.into(), pot_share: byte, ..Parameters::PRODUCTION };
        written_in_one_way(&parameters, change);
        let orders = || vec![hash; usize::from(byte % 64)];
        written_in_one_way(&Receipts { prev: hash, root: hash, orders: orders().try_into().unwrap() }, change);
        written_in_one_way(&Gone { prev: hash, root: hash, orders: orders().try_into().unwrap() }, change);
        written_in_one_way(&Heir { prev: hash, root: hash, heir: hash }, change);
        let path = vec![hash; usize::from(byte % 34)].try_into().unwrap();
        let audit = (byte > 50).then(|| Answer { bytes: text.clone().try_into().unwrap(), path });
        let report = Report {
            prev: hash,
            root: hash,
            slot: short,
            slot_hash: hash,
            filler_bytes: long,
            stored_bytes: long,
            good_filler: byte,
            good_files: to,
            scrubbed_until: short,
            audit,
        };
        written_in_one_way(&report, change);
    }
}
