//! From one enclave to the next: the key handed over, and the log taken over.
//!
//! An heir gets `K_seal` first ([`crate::handover`]), makes an identity of its own under it and registers. Later it
//! reads its predecessor's log, which names it, and goes on with that log under its own name: its first record there
//! says who speaks from now on. What it said before, on the log that it began, nobody waits for any more.

use crust_protocol::{Hash, Key, attestation::Collateral};

use super::{Enclave, Opened, Stage, opening::opened, unavailable};
use crate::{
    handover::{self, Exchange, Heir},
    load::Load,
    log::{FIRST, Record, random},
    rpc::{Error, Shown},
};

/// `K_seal` on its way to an heir.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Handed {
    pub items: Vec<Vec<u8>>,
    pub share: Key,
    pub sealed: Vec<u8>,
    pub quote: Vec<u8>,
    pub collateral: Option<Collateral>,
}

impl Enclave {
    /// Begins a hand-over: what the heir's evidence has to answer. It ends one that was begun before.
    pub fn challenge(&mut self) -> Result<Hash, Error> {
        self.state()?;
        Ok(*self.challenge.insert(random()?))
    }

    /// Asks for the key of another enclave: the share under which it may come, and evidence for it.
    pub fn ask(
        &mut self,
        genesis: Hash,
        provider: Key,
        challenge: Hash,
    ) -> Result<(Key, Vec<u8>, Option<Collateral>), Error> {
        let Stage::Empty = self.stage else { return Err(Error::AlreadyOpen) };
        let heir = Heir::new(genesis, provider, challenge)?;
        let exchange = *heir.exchange();
        let quote = self.platform.quote(&exchange.heirs_report_data()).map_err(unavailable)?;
        let collateral = self.platform.collateral().map_err(unavailable)?;
        self.heir = Some(heir);
        Ok((exchange.heir, quote, collateral))
    }

    /// Hands the key over, to an heir that has answered the challenge.
    pub fn hand_over(&mut self, heir: Key, shown: Shown) -> Result<Handed, Error> {
        let challenge = self.challenge.take();
        let (constants, platform) = (self.constants, std::sync::Arc::clone(&self.platform));
        let state = self.state_mut()?;
        let challenge = challenge.ok_or(Error::NoChallenge)?;
        let (genesis, provider) = (state.identity.genesis, state.identity.provider);
        let exchange = Exchange { genesis, provider, challenge, heir };
        let given = handover::give(&exchange, shown, &state.state_key, state.succession.seen, &constants)?;
        let quote = platform.quote(&exchange.givers_report_data(&given.share)).map_err(unavailable)?;
        let collateral = platform.collateral().map_err(unavailable)?;
        let items = vec![state.record(Record::HandedOver { seen: given.now })?];
        Ok(Handed { items, share: given.share, sealed: given.sealed, quote, collateral })
    }

    /// Takes the key that was asked for; the first item of this enclave's own log. After it follows either a log under
    /// this key or, at once, [`Enclave::open`].
    pub fn inherit(&mut self, share: Key, sealed: &[u8], shown: Shown) -> Result<Vec<u8>, Error> {
        let heir = self.heir.take().ok_or(Error::NoChallenge)?;
        let state_key = heir.take(share, sealed, shown, &self.constants)?;
        let item = self.wrap(&state_key)?;
        self.inherited = Some(state_key.clone());
        self.stage = Stage::Loading(Load::Key(state_key));
        Ok(item)
    }

    /// Reads the next items of the predecessor's log, or of a snapshot of it. Item 0 begins it again; as it wraps the
    /// key for another machine, no more is read of it.
    pub fn follow(&mut self, items: &[Vec<u8>]) -> Result<(), Error> {
        let state_key = self.state()?.state_key.clone();
        for item in items {
            if item.starts_with(&FIRST) {
                self.predecessor = Some(Load::Key(state_key.clone()));
                continue;
            }
            let load = self.predecessor.as_mut().ok_or(Error::Log { item: 0 })?;
            load.take(item, &self.constants)?;
        }
        Ok(())
    }

    /// Goes on with the predecessor's log, which must name this enclave as an heir. The items follow that log.
    pub fn succeed(&mut self) -> Result<Opened, Error> {
        let own = &self.state()?.identity;
        let predecessor = match &self.predecessor {
            Some(Load::Log(state)) => state,
            Some(Load::Snapshot(restore)) => return Err(Error::Log { item: restore.number() }),
            Some(Load::Key(_)) | None => return Err(Error::Log { item: 1 }),
        };
        predecessor.identity.check(&own.genesis, &own.provider)?;
        if !predecessor.succession.heirs.contains(&own.sign_pk()) {
            return Err(Error::NotHeir);
        }
        let record = Record::Succeeded(own.secrets().clone());
        let Some(Load::Log(mut state)) = self.predecessor.take() else { return Err(Error::NotOpen) };
        let item = state.record(record)?;
        let opened = opened(&state, vec![item]);
        self.stage = Stage::Open(state);
        Ok(opened)
    }
}
