//! Any bytes are an error, never a panic.

use codec::{Decode, Encode};
use crust_protocol::attestation::{Collateral, part};
use frame_support::assert_ok;
use proptest::{collection::vec, prelude::*};

use crate::{NextNode, fixtures, mock::*};

/// Runs one case on a chain of its own.
fn on_chain(test: impl FnOnce()) {
    Chain::default().run(|| {
        go_to(2);
        test();
    });
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn lesson_4_random_evidence_registers_nothing(
        quote in vec(any::<u8>(), 0..8_000),
        block in any::<u32>(),
        version in 0u8..7,
    ) {
        on_chain(|| {
            let enclave = Enclave::new(1);
            assert!(enclave.register_with(block, quote.clone()).is_err());
            assert!(enclave.register_with(1, quote.clone()).is_err());
            let headed = [vec![version, 0, 2, 0, 0, 0, 0, 0], quote].concat();
            assert!(enclave.register_with(1, headed.clone()).is_err());
            assert!(submit(fixtures::collateral(), &headed).is_err());
            assert!(!Mpow::collateral_current(&headed));
            assert_eq!(NextNode::<Test>::get(), 0);
        });
    }

    /// A flipped bit is found, or it is in bytes that say nothing (the quote's copy of the root, the length of the
    /// certificates); then the evidence is the enclave's all the same.
    #[test]
    fn lesson_4_a_flipped_bit_makes_no_other_identity(at in 0usize..4_000, bit in 0u8..8, end in 0usize..4_000) {
        on_chain(|| {
            let enclave = Enclave::new(1);
            let mut quote = enclave.quote(1);
            assert!(enclave.register_with(1, quote[..end].to_vec()).is_err());
            quote[at] ^= 1 << bit;
            if enclave.register_with(1, quote).is_ok() {
                assert!(at >= 1_048);
                assert_eq!(node(0).provider, account(1));
                assert_eq!(node(0).sign_pk, enclave.sign_pk());
            }
        });
    }

    #[test]
    fn random_collateral_is_refused(parts in vec(vec(any::<u8>(), 0..400), 7), signature in any::<u8>()) {
        on_chain(|| {
            let bounded = |index: usize| part(parts[index].clone()).unwrap();
            let collateral = Collateral {
                pck_crl_issuer_chain: bounded(0),
                root_ca_crl: bounded(1),
                pck_crl: bounded(2),
                tcb_info_issuer_chain: bounded(3),
                tcb_info: bounded(4),
                tcb_info_signature: [signature; 64],
                qe_identity_issuer_chain: bounded(5),
                qe_identity: bounded(6),
                qe_identity_signature: [signature; 64],
            };
            assert!(submit(collateral, &Enclave::new(1).quote(1)).is_err());
        });
    }

    #[test]
    fn random_bytes_are_no_statement(bytes in vec(any::<u8>(), 0..600), call in prop::sample::select(vec![4u8, 5, 6, 14]), kind in 0u8..4) {
        on_chain(|| {
            assert_ok!(Enclave::new(1).register());
            // As a general transaction, and as any other extrinsic.
            for head in [vec![0x45, 0, 0, 0, 0, 40, call], vec![kind], vec![]] {
                let body = [head, bytes.clone()].concat();
                let mut extrinsic = codec::Compact(body.len() as u32).encode();
                extrinsic.extend(body);
                if let Ok(extrinsic) = UncheckedExtrinsic::decode(&mut &extrinsic[..]) {
                    assert!(validate(extrinsic.function).is_err());
                }
            }
        });
    }
}
