//! A log on its way in: from its key, over a snapshot or the first record, to the last record.

use crate::{Constants, log::StateKey, rpc::Error, snapshot::Restore, state::State};

/// How far it is.
pub(crate) enum Load {
    /// Item 0 was loaded.
    Key(StateKey),
    Snapshot(Box<Restore>),
    Log(Box<State>),
}

impl Load {
    /// Takes the next item. After an error it is as it was.
    pub fn take(&mut self, item: &[u8], constants: &Constants) -> Result<(), Error> {
        match self {
            Load::Key(state_key) => {
                if let Some(state) = State::from_first(state_key.clone(), item, constants)? {
                    *self = Load::Log(Box::new(state));
                } else {
                    let restore = Restore::begin(state_key, item, constants)?.ok_or(Error::Log { item: 1 })?;
                    *self = Load::Snapshot(Box::new(restore));
                }
            }
            Load::Snapshot(restore) => {
                if !restore.take(item)? {
                    let stated = item.first_chunk().map_or(0, |number| u64::from_le_bytes(*number));
                    return Err(Error::Log { item: stated });
                }
            }
            Load::Log(state) => {
                let number = state.next_item();
                if !state.replay(item) {
                    return Err(Error::Log { item: number });
                }
            }
        }
        if let Load::Snapshot(restore) = self
            && let Some(state) = restore.complete()
        {
            *self = Load::Log(state);
        }
        Ok(())
    }
}
