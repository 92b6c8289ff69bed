//! What the chain refuses costs its fee, each time. So it is not sent again before a wait, which doubles with every
//! refusal in a row.

use std::sync::{Mutex, PoisonError};

use crust_client::chain::Error;
use crust_protocol::{BlockNumber, parameters::Parameters};

/// What the chain refused last, of calls of one purpose.
#[derive(Default)]
pub struct Refusals(Mutex<Option<Refused>>);

struct Refused {
    call: &'static str,
    reason: String,
    /// The block before which nothing is sent, and how long that wait is.
    until: BlockNumber,
    wait: BlockNumber,
}

impl Refusals {
    /// Says once more what the chain said, as long as that has to be waited for.
    pub fn check(&self, now: BlockNumber) -> Result<(), Error> {
        match &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(Refused { call, reason, until, .. }) if now < *until => {
                Err(Error::Refused { call, reason: format!("{reason} (sent again from block {until} on)") })
            }
            _ => Ok(()),
        }
    }

    /// Takes note of what became of something that was sent at a block.
    pub fn note<T>(&self, sent: Result<T, Error>, now: BlockNumber, parameters: &Parameters) -> Result<T, Error> {
        let mut refused = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &sent {
            Err(Error::Refused { call, reason }) => {
                let slot = parameters.slot_blocks;
                // A quarter of the time that there is for a renewal.
                let longest = parameters.attestation_period / 12;
                let wait = refused.as_ref().map_or(slot, |before| before.wait.saturating_mul(2));
                let wait = wait.min(longest).max(slot);
                *refused = Some(Refused { call, reason: reason.clone(), until: now.saturating_add(wait), wait });
            }
            // It is not known what the chain says to it.
            Err(_) => (),
            Ok(_) => *refused = None,
        }
        sent
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    /// At every block, as a standby does.
    #[test]
    fn what_is_refused_is_sent_less_and_less_often() {
        let (refusals, parameters) = (Refusals::default(), Parameters::DEVELOPMENT);
        let refused = || Error::Refused { call: "stand_by", reason: "MeasurementNotApproved".into() };
        let mut sent = Vec::new();
        for block in 5..200 {
            if let Err(error) = refusals.check(block) {
                assert!(error.to_string().contains("MeasurementNotApproved"), "{error}");
                continue;
            }
            sent.push(block);
            refusals.note(Err::<(), _>(refused()), block, &parameters).unwrap_err();
        }
        assert_eq!(sent, [5, 15, 35, 75, 125, 175]);
        // Lost on its way: nobody has paid.
        let lost = Error::Lost("away".into());
        refusals.note(Err::<(), _>(lost), 225, &parameters).unwrap_err();
        assert!(refusals.check(225).is_ok());
        refusals.note(Ok(()), 225, &parameters).unwrap();
        refusals.note(Err::<(), _>(refused()), 226, &parameters).unwrap_err();
        assert!(refusals.check(235).is_err() && refusals.check(236).is_ok(), "the first wait again");
    }
}
