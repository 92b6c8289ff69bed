//! What the enclave asks of the hardware under it. Only implementations of [`Platform`] know which one that is.

use crust_protocol::attestation::Collateral;
use zeroize::{Zeroize, ZeroizeOnDrop};

/// Why the platform did not answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the platform gives no quote, key or collateral: {0}")]
    Unavailable(String),
}

/// The key that only this program on this machine can have; it wraps `K_seal`.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SealKey([u8; 32]);

impl SealKey {
    pub fn new(key: [u8; 32]) -> Self {
        SealKey(key)
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// The hardware under an enclave.
pub trait Platform: Send + Sync {
    /// The sealing key of this program on this machine, always the same.
    fn seal_key(&self) -> Result<SealKey, Error>;

    /// Evidence that this program said `report_data`.
    fn quote(&self, report_data: &[u8; 64]) -> Result<Vec<u8>, Error>;

    /// What the vendor publishes about this machine, where the platform brings it itself; on real hardware the host
    /// fetches it.
    fn collateral(&self) -> Result<Option<Collateral>, Error>;
}
