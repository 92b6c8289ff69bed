//! The boundary between the wasm runtime and the native verifier. Its functions are versioned: one that a block on the
//! chain has called is never changed, a change gets a `#[version]` of its own.

use sp_runtime_interface::{
    pass_by::{AllocateAndReturnByCodec, PassFatPointerAndRead},
    runtime_interface,
};

use crate::{Claims, Error, Family};

/// Called by [`crate::family`] and [`crate::verify`] alone.
#[runtime_interface]
pub trait Evidence {
    fn family(quote: PassFatPointerAndRead<&[u8]>) -> AllocateAndReturnByCodec<Result<Family, Error>> {
        crate::verify::family(quote)
    }

    /// `collateral` is the SCALE encoding of the protocol's type.
    fn verify(
        quote: PassFatPointerAndRead<&[u8]>,
        collateral: PassFatPointerAndRead<&[u8]>,
        now: u64,
        root: PassFatPointerAndRead<&[u8]>,
    ) -> AllocateAndReturnByCodec<Result<Claims, Error>> {
        crate::verify::verify(quote, collateral, now, root)
    }
}
