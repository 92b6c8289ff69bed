//! From a process without a memory to an enclave with an identity, and back to what a host keeps of it.

use crust_protocol::{Hash, Key};

use super::{Enclave, Opened, SnapshotPart, Stage, unavailable};
use crate::{
    load::Load,
    log::{FIRST, StateKey, wrapped_at},
    rpc::Error,
    snapshot,
    state::State,
};

impl Enclave {
    /// Takes the next items of the log; item 0 begins it again. After an error the state is that before the item that
    /// it names.
    pub fn load(&mut self, items: &[Vec<u8>]) -> Result<(), Error> {
        if let Stage::Open(_) = self.stage {
            return Err(Error::AlreadyOpen);
        }
        for item in items {
            if item.starts_with(&FIRST) {
                self.stage = Stage::Empty;
                self.stage = Stage::Loading(Load::Key(self.unwrap(item)?));
                continue;
            }
            let Stage::Loading(load) = &mut self.stage else { return Err(Error::Log { item: 0 }) };
            load.take(item, &self.constants)?;
        }
        Ok(())
    }

    /// Ends the log. Without a first record a new identity is made, without item 0 a key before it.
    pub fn open(&mut self, genesis: Hash, provider: Key) -> Result<Opened, Error> {
        let mut items = Vec::new();
        let state_key = match &self.stage {
            Stage::Open(_) => return Err(Error::AlreadyOpen),
            Stage::Loading(Load::Snapshot(restore)) => return Err(Error::Log { item: restore.number() }),
            Stage::Loading(Load::Log(_)) => None,
            Stage::Loading(Load::Key(state_key)) => Some(state_key.clone()),
            Stage::Empty => {
                let state_key = StateKey::new()?;
                items.push(self.wrap(&state_key)?);
                Some(state_key)
            }
        };
        if let Some(state_key) = state_key {
            let (state, first) = State::create(state_key, genesis, provider, &self.constants)?;
            items.push(first);
            self.stage = Stage::Loading(Load::Log(Box::new(state)));
        }
        let Stage::Loading(Load::Log(state)) = &self.stage else { return Err(Error::NotOpen) };
        state.identity.check(&genesis, &provider)?;
        self.keeps_key = self.platform.seal_key(None).map_err(unavailable)?.is_some();
        let opened = opened(state, items);
        if let Stage::Loading(Load::Log(state)) = std::mem::replace(&mut self.stage, Stage::Empty) {
            self.stage = Stage::Open(state);
        }
        Ok(opened)
    }

    /// A part of the snapshot that takes the place of the whole log, its first item included.
    pub fn snapshot(&mut self, from: u64) -> Result<SnapshotPart, Error> {
        let state = self.state()?;
        let part = snapshot::part(state, from)?.ok_or(Error::NoEntry { from })?;
        let root = state.root();
        let mut items = Vec::new();
        if from == 0 {
            items.push(self.wrap(&state.state_key)?);
        }
        items.push(part.item);
        if part.next.is_none() {
            self.rewrap = false;
        }
        Ok(SnapshotPart { number: part.number, root, items, next: part.next })
    }

    /// Item 0 for a key, at the platform's present security version.
    pub(super) fn wrap(&self, state_key: &StateKey) -> Result<Vec<u8>, Error> {
        let platform = self.platform.seal_key(None).map_err(unavailable)?;
        state_key.wrap(platform.as_ref())
    }

    fn unwrap(&mut self, item: &[u8]) -> Result<StateKey, Error> {
        if let Some(inherited) = self.inherited.clone() {
            // Item 0 may wrap the key at a security version that is out of reach; the records show whether it is theirs.
            self.rewrap = item != FIRST;
            return Ok(inherited);
        }
        if item == FIRST {
            return Err(Error::NoKey);
        }
        let svn = wrapped_at(item).ok_or(Error::Log { item: 0 })?;
        let platform = self.platform.seal_key(Some(svn)).map_err(unavailable)?;
        let unwrapped = platform.and_then(|platform| StateKey::unwrap(&platform, item));
        let present = self.platform.seal_key(None).map_err(unavailable)?;
        self.rewrap = present.is_some_and(|present| present.svn() != svn);
        unwrapped.ok_or(Error::Log { item: 0 })
    }
}

/// What the host hears of an identity, and the items that it does not have yet.
pub(super) fn opened(state: &State, items: Vec<Vec<u8>>) -> Opened {
    Opened { sign_pk: state.identity.sign_pk(), channel_pk: state.identity.channel_pk, root: state.root(), items }
}
