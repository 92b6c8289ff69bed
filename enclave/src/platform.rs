//! What the enclave asks of the hardware under it. Only implementations of [`Platform`] know which one that is.

use crust_protocol::attestation::Collateral;
use zeroize::{Zeroize, ZeroizeOnDrop};

pub mod gramine;
pub mod tdx;

/// Why the platform did not answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("the platform gives no quote, key or collateral: {0}")]
    Unavailable(String),
}

/// A platform's security version, by which its sealing keys differ: CPUSVN on SGX.
pub type Svn = [u8; 16];

/// A key that only this program on this machine can have, at one security version or a later; it wraps `K_seal`.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct SealKey {
    svn: Svn,
    key: [u8; 32],
}

impl SealKey {
    pub fn new(svn: Svn, key: [u8; 32]) -> Self {
        SealKey { svn, key }
    }

    pub(crate) fn svn(&self) -> Svn {
        self.svn
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.key
    }
}

/// The hardware under an enclave.
pub trait Platform: Send + Sync {
    /// The sealing key of this program on this machine at a security version that it has or had (at its present one
    /// without), always the same; `None` if the platform has no such keys.
    fn seal_key(&self, svn: Option<Svn>) -> Result<Option<SealKey>, Error>;

    /// Evidence that this program said `report_data`.
    fn quote(&self, report_data: &[u8; 64]) -> Result<Vec<u8>, Error>;

    /// What the vendor publishes about this machine, where the platform brings it itself; on real hardware the host
    /// fetches it.
    fn collateral(&self) -> Result<Option<Collateral>, Error>;
}
