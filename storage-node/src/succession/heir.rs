//! The heir's side: an enclave that gets the key, begins a log of its own under it, is registered as a standby and, when
//! its time has come, goes on with the node's log.

use std::{fs, io, path::Path};

use crust_client::{
    chain::{Call, View},
    wallet::Wallet,
};
use crust_enclave::rpc;
use crust_protocol::{Hash, Key};

use super::{Error, giver::Giver, shown};
use crate::{
    enclave_client::{self, Bare, Begun, Enclave, Given, Identity, SharedLog},
    releases,
    store::{log::Log, successor},
    vendor::{Refusals, Vendor},
    workers::register,
};

/// An enclave that has the node's key and may follow it.
pub struct Heir {
    pub enclave: Enclave,
    pub identity: Identity,
    /// What the chain refused of it.
    refusals: Refusals,
}

/// For which chain and provider, and where the release files are.
#[derive(Clone, Copy)]
pub struct Party<'a> {
    pub vendor: &'a Vendor,
    pub provider: Key,
    pub releases: Option<&'a Path>,
}

/// How others reach whoever stands behind a key.
pub type Endpoint = (String, Vec<String>);

impl Heir {
    /// The enclave behind a socket, with the key: from before, by the log that it began then, or from the giver now. A log
    /// from before may be the only one of whom the chain knows as the node's heir. So nothing is done to it until the key
    /// has come, and it goes on if it opens under that; otherwise it is kept aside.
    pub async fn begin(socket: &Path, own: &Path, party: Party<'_>, giver: Giver<'_>) -> Result<Heir, Error> {
        if let Some(log) = begun(own)? {
            match Self::open(socket, own, party, log).await {
                Err(Error::Enclave(error)) if lacks_key(&error) => {
                    tracing::info!("the heir that was begun before is not opened by this enclave: {error}");
                }
                heir => return heir,
            }
        }
        let (mut bare, given) = ask(socket, party, giver).await?;
        let first = bare.inherit(given).await?;
        if let Some(log) = begun(own)? {
            match Self::open(socket, own, party, log).await {
                Err(Error::Enclave(error)) if lacks_key(&error) => successor::put_heir_aside(own)?,
                heir => return heir,
            }
        }
        let Begun { sign_pk, channel_pk, items } =
            bare.begin(party.vendor.chain.genesis(), party.provider, first).await?;
        // Before the log, so that an heir with a log is known.
        successor::keep_keys_of_heir(own, (sign_pk, channel_pk))?;
        let mut log = Log::open(own.to_owned(), None).map_err(crate::store::Error::from)?;
        log.append(&items).map_err(crate::store::Error::from)?;
        Self::open(socket, own, party, log).await
    }

    /// The enclave that began the log at `own`, nobody else.
    pub async fn again(socket: &Path, own: &Path, party: Party<'_>) -> Result<Heir, Error> {
        let log = begun(own)?.ok_or_else(|| Error::NoHeir(own.to_owned()))?;
        Self::open(socket, own, party, log).await
    }

    async fn open(socket: &Path, own: &Path, party: Party<'_>, log: Log) -> Result<Heir, Error> {
        let known = successor::keys_of_heir(own)?;
        let enclave = Enclave::heir(socket, party.vendor.chain.genesis(), party.provider, known, log);
        let identity = enclave.open().await?;
        let keys = (identity.sign_pk, identity.channel_pk);
        if known != Some(keys) {
            successor::keep_keys_of_heir(own, keys)?;
        }
        enclave.wrap_anew().await?;
        Ok(Heir { enclave, identity, refusals: Refusals::default() })
    }

    pub fn key(&self) -> Key {
        self.identity.sign_pk
    }

    /// Keeps it registered as a standby: whether anything was sent.
    pub async fn stand_by(
        &self,
        vendor: &Vendor,
        wallet: &Wallet,
        view: &View,
        (peer_id, addresses): Endpoint,
    ) -> Result<bool, Error> {
        let chain = &vendor.chain;
        let period = chain.parameters().attestation_period;
        if let Some(until) = view.standby(self.key()).await?
            && until.saturating_sub(view.block().number) > period / 3
        {
            return Ok(false);
        }
        self.refusals.check(view.block().number)?;
        let (block_number, evidence) = register::evidence(vendor, wallet, &self.enclave, view).await?;
        let Identity { sign_pk, channel_pk, .. } = self.identity;
        let call = Call::StandBy { sign_pk, channel_pk, block_number, evidence, peer_id, addresses };
        let included = self.refusals.note(chain.submit(call, wallet).await, view.block().number, chain.parameters())?;
        tracing::info!(block = included.block.number, key = hex::encode(sign_pk), "stands by");
        Ok(true)
    }

    /// Follows a log for trial. `root` is where the chain stands: after this it is known that the heir can speak there. How
    /// far the log goes.
    pub async fn rehearse(&self, log: &SharedLog, root: Hash) -> Result<u64, Error> {
        Ok(self.enclave.exclusive().await.follow(log, root).await?)
    }

    /// Follows a log for good, and writes its own to `path`: complete and durable when this returns, or worth nothing.
    pub async fn follow(&self, log: &SharedLog, root: Hash, path: &Path) -> Result<(), Error> {
        let mut enclave = self.enclave.exclusive().await;
        enclave.follow(log, root).await?;
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(path, error)),
            _ => (),
        }
        let log = Log::open(path.to_owned(), None).map_err(crate::store::Error::from)?;
        Ok(enclave.write_down(log).await?)
    }
}

/// Has an enclave that was stopped get its node's key back from a giver, such as its standby, where its platform keeps
/// none; the node's own log can be loaded then.
pub async fn regain(socket: &Path, party: Party<'_>, giver: Giver<'_>) -> Result<(), Error> {
    let (mut bare, given) = ask(socket, party, giver).await?;
    bare.inherit(given).await?;
    tracing::info!("the enclave has its key back");
    Ok(())
}

/// Has an enclave without a log ask for the key.
async fn ask(socket: &Path, party: Party<'_>, giver: Giver<'_>) -> Result<(Bare, Given), Error> {
    // First of all: a process that has a log is stopped for nothing if nobody gives.
    let challenge = giver.challenge().await?;
    let mut bare = Bare::connect(socket).await?;
    let release = releases::find(party.releases, &bare.about)?;
    let (share, evidence) = bare.ask(party.vendor.chain.genesis(), party.provider, challenge).await?;
    let given = giver.hand_over(share, shown(party.vendor, evidence, release).await?).await?;
    Ok((bare, given))
}

/// The log that an heir began, unless there is none: an enclave without one would make a key of its own.
fn begun(own: &Path) -> Result<Option<Log>, Error> {
    if !own.exists() {
        return Ok(None);
    }
    let log = Log::open(own.to_owned(), None).map_err(crate::store::Error::from)?;
    Ok(Some(log).filter(|log| !log.is_empty()))
}

/// Whether a log was not opened because the enclave does not have its key. One of another chain or provider is a mistake of
/// the configuration.
pub fn lacks_key(error: &enclave_client::Error) -> bool {
    matches!(error.refusal(), Some(rpc::Error::Log { .. } | rpc::Error::NoKey | rpc::Error::Platform(_)))
}

fn failed(path: &Path, source: io::Error) -> Error {
    crate::store::Error::Io { path: path.to_owned(), source }.into()
}
