//! What a block says about a transaction in it; [`super::submit`] and [`super::say`] ask.

use subxt::{error::DispatchError, utils::H256};

use super::{Config, Error, Event, View, view};

/// An event of a transaction.
pub(super) enum Outcome {
    Event(Event),
    Failed(DispatchError),
}

impl View {
    pub(super) fn transactions(
        &self,
    ) -> subxt::transactions::TransactionsClient<Config, subxt::client::OnlineClientAtBlockImpl<Config>> {
        self.at().transactions()
    }

    /// The place of the transaction with this hash in the block.
    pub(super) async fn index_of(&self, transaction: H256) -> Result<Option<u32>, Error> {
        let extrinsics = self.at().extrinsics().fetch().await.map_err(Error::from_subxt)?;
        let index = extrinsics.iter().position(|extrinsic| {
            extrinsic.is_ok_and(|extrinsic| crust_protocol::h(&[extrinsic.bytes()]) == transaction.0)
        });
        Ok(index.and_then(|index| u32::try_from(index).ok()))
    }

    /// The events of the transaction with this hash.
    pub(super) async fn events_of(&self, transaction: H256) -> Result<Vec<Outcome>, Error> {
        let index = self.index_of(transaction).await?;
        let index = index.ok_or_else(|| Error::Answer("a block does not hold the transaction it is said to".into()))?;
        let events = self.at().events().fetch().await.map_err(Error::from_subxt)?;
        let mut outcomes = Vec::new();
        for event in events.iter() {
            let event = event.map_err(Error::from_subxt)?;
            if event.phase() != subxt::events::Phase::ApplyExtrinsic(index) {
                continue;
            }
            if event.pallet_name() == "System" && event.event_name() == "ExtrinsicFailed" {
                let error = DispatchError::decode_from(event.field_bytes().to_vec(), self.at().metadata());
                outcomes.push(Outcome::Failed(error.map_err(|error| Error::Answer(error.to_string()))?));
            } else {
                outcomes.push(Outcome::Event(view::event_of(&event)?));
            }
        }
        Ok(outcomes)
    }
}
