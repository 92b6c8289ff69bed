//! Succession: another enclave takes the node over, with its number, its files and all that it has said.
//!
//! The same hand-over gives an enclave its own node's key back where its platform keeps none ([`regain`]).
//!
//! Two ways lead there, of the same steps (`docs/decisions/0008-succession-in-the-daemon.md`):
//!
//! * [`upgrade`]: the next release on the same machine. One daemon, two enclaves; the operator names the socket of the
//!   second.
//! * [`standby`]: an enclave on another machine, with a daemon of its own that does nothing but keep it ready. When the
//!   node's board is dead its disks are moved, and the standby is told to follow.
//!
//! The steps: the heir's enclave gets the key of the node's ([`giver`], [`heir`]), is registered as a standby, and named
//! by the node's enclave. From then on it may follow. Before `succeed`, which cannot be undone, the heir's enclave reads
//! the node's log and goes on with it for trial: a log that it cannot use, or that is not where the chain stands, stops
//! it there. Each step looks at what is there and goes on from it, so that all of it may be done again after a crash.

pub mod giver;
pub mod heir;
pub mod regain;
pub mod standby;
pub mod upgrade;

use std::path::PathBuf;

use crust_client::chain;
use crust_enclave::{
    release::SignedRelease,
    rpc::{self, Shown},
};

use crate::{
    enclave_client::{self, Evidence},
    releases, statements, store,
    vendor::{self, Vendor},
    workers,
};

/// What stands between a node and its heir.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Enclave(#[from] enclave_client::Error),
    #[error(transparent)]
    Chain(#[from] chain::Error),
    #[error(transparent)]
    Statement(#[from] statements::Error),
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error(transparent)]
    Release(#[from] releases::Error),
    #[error(transparent)]
    Worker(#[from] workers::Error),
    /// Of the node's daemon, to that of its standby.
    #[error("the node's daemon at {url}: {problem}")]
    Node { url: String, problem: String },
    #[error("the node's daemon at {0} still runs: stop it, and its enclave, before another takes its disks")]
    StillRuns(String),
    #[error("the chain knows no node {0}; `crust provider status` lists the account's nodes")]
    UnknownNode(u32),
    #[error("node {0} belongs to another provider than this daemon's account")]
    OtherProvider(u32),
    #[error("node {0} does not name this enclave as its heir: it must, while it lives")]
    NotNamed(u32),
    #[error("{0} is gone: without it nobody can be what the chain knows as this node. Put it back")]
    NoHeir(PathBuf),
    #[error(transparent)]
    Vendor(#[from] vendor::Error),
    #[error("none of the disks holds a copy of the node's log: name the newest `enclave.log` of that node")]
    NoLog,
    #[error("there is no file {0}: name the newest `enclave.log` of that node")]
    NoFile(PathBuf),
}

impl Error {
    /// Whether the same would be refused again, however often it is tried.
    pub fn is_final(&self) -> bool {
        match self {
            Error::Enclave(enclave_client::Error::Refused(refusal)) => matches!(
                refusal,
                rpc::Error::Evidence(_)
                    | rpc::Error::NotSigned
                    | rpc::Error::OtherRelease
                    | rpc::Error::ReleaseOrder { .. }
                    | rpc::Error::OtherGenesis
                    | rpc::Error::OtherProvider
                    | rpc::Error::Platform(_)
            ),
            Error::Enclave(error) => matches!(
                error,
                enclave_client::Error::Version(_)
                    | enclave_client::Error::Exposed { .. }
                    | enclave_client::Error::OtherLine(_)
            ),
            Error::Chain(error)
            | Error::Worker(workers::Error::Chain(error))
            | Error::Vendor(vendor::Error::Chain(error)) => {
                matches!(error, chain::Error::Refused { .. })
            }
            Error::Release(_) | Error::UnknownNode(_) | Error::OtherProvider(_) => true,
            _ => false,
        }
    }

    /// Whether it may pass by itself, within moments.
    pub fn is_passing(&self) -> bool {
        match self {
            Error::Enclave(error) => {
                matches!(error, enclave_client::Error::Down { .. } | enclave_client::Error::Ahead)
            }
            Error::Chain(error) | Error::Vendor(vendor::Error::Chain(error)) => error.is_retryable(),
            _ => false,
        }
    }
}

/// What an enclave shows to another.
async fn shown(vendor: &Vendor, evidence: Evidence, release: SignedRelease) -> Result<Shown, Error> {
    let Evidence { quote, collateral } = evidence;
    let collateral = vendor.find(&quote, collateral).await?;
    Ok(Shown { quote, collateral, release })
}

/// How far a succession is, for the operator.
#[derive(Clone, PartialEq, Eq, Debug, serde::Serialize, utoipa::ToSchema)]
pub struct Progress {
    /// What is being done, or waited for.
    pub stage: &'static str,
    /// Signing key of the heir's enclave, in hexadecimal, once it has one.
    pub heir: Option<String>,
    /// What went wrong last, and is tried again.
    pub error: Option<String>,
    /// Why what the operator asked for last was refused.
    pub refused: Option<String>,
}

impl Progress {
    pub const NONE: Progress = Progress { stage: "none", heir: None, error: None, refused: None };
}
