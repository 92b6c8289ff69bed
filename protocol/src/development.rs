//! The published development identity: a software platform makes structurally genuine quotes under this root, so it
//! proves nothing. A production genesis refuses both constants.

use crate::attestation::Measurement;

/// Certificate (DER) of the development root. Its private key is in `enclave/development`, for everyone to use.
pub const ROOT_CA: &[u8] = include_bytes!("development-root.der");

/// MRENCLAVE of every software platform.
pub const MR_ENCLAVE: [u8; 32] = *b"crust/development-enclave/v1\0\0\0\0";

/// SGX attributes of the software platform: INIT, MODE64BIT; XFRM legacy.
pub const ATTRIBUTES: [u8; 16] = [0x05, 0, 0, 0, 0, 0, 0, 0, 0x03, 0, 0, 0, 0, 0, 0, 0];

/// What a development genesis approves.
pub const MEASUREMENT: Measurement = Measurement::Sgx {
    mr_enclave: MR_ENCLAVE,
    isv_prod_id: 0,
    attributes: ATTRIBUTES,
    attributes_mask: [0xff; 16],
    misc_select: 0,
    misc_mask: u32::MAX,
};
