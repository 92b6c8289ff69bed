//! How long a worker waits after a unit of work that failed: longer each time. A connection to the chain that is away
//! is no fault of the work, and asking for it costs little: it is asked for every two seconds, until it has answered.
//! Kept by [`super::run`], one a worker.

use std::time::Duration;

use tokio::time::Instant;

use super::Error;
use crate::{statements, vendor};

/// The first pause after a failure.
pub(super) const FIRST: Duration = Duration::from_millis(500);
/// The longest.
const LONGEST: Duration = Duration::from_secs(30);
/// The longest while the chain is away.
const LONGEST_AWAY: Duration = Duration::from_secs(2);
/// A worker whose units have gone well for so long begins with the first pause again.
const CALM: Duration = Duration::from_secs(60);

pub(super) struct Pauses {
    next: Duration,
    /// Since when units have gone well.
    calm: Option<Instant>,
    /// The next one while the chain is away; `None` if it was there.
    away: Option<Duration>,
}

impl Pauses {
    pub(super) fn new() -> Pauses {
        Pauses { next: FIRST, calm: None, away: None }
    }

    /// A unit went well.
    pub(super) fn well(&mut self, now: Instant) {
        self.away = None;
        self.calm.get_or_insert(now);
    }

    /// The chain was there, whatever it said.
    pub(super) fn answered(&mut self) {
        self.away = None;
    }

    /// A unit failed: the pause after it, and whether that is news.
    pub(super) fn failed(&mut self, error: &Error, now: Instant) -> (Duration, bool) {
        if is_away(error) {
            let (pause, news) = (self.away.unwrap_or(FIRST), self.away.is_none());
            self.away = Some(pause.saturating_mul(2).min(LONGEST_AWAY));
            return (pause, news);
        }
        self.away = None;
        if self.calm.take().is_some_and(|calm| now.duration_since(calm) > CALM) {
            self.next = FIRST;
        }
        let pause = self.next;
        self.next = pause.saturating_mul(2).min(LONGEST);
        (pause, true)
    }
}

/// Whether the connection to the chain is what failed.
fn is_away(error: &Error) -> bool {
    use crust_client::chain::Error as Chain;
    let (Error::Chain(error)
    | Error::Statement(statements::Error::Chain(error))
    | Error::Vendor(vendor::Error::Chain(error))) = error
    else {
        return false;
    };
    matches!(error, Chain::Unreachable { .. } | Chain::Lost(_))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crust_client::chain;

    /// The pauses after so many failures in a row, in milliseconds.
    fn row(pauses: &mut Pauses, error: &Error, failures: usize) -> Vec<u128> {
        let now = Instant::now();
        (0..failures).map(|_| pauses.failed(error, now).0.as_millis()).collect()
    }

    #[test]
    fn a_chain_that_comes_and_goes_is_never_waited_for_long() {
        let away = [
            Error::Chain(chain::Error::Lost("gone".into())),
            Error::Statement(statements::Error::Chain(chain::Error::Lost("gone".into()))),
            Error::Vendor(vendor::Error::Chain(chain::Error::Lost("gone".into()))),
            Error::Chain(chain::Error::Unreachable { url: "ws://127.0.0.1:1".into(), reason: "refused".into() }),
        ];
        let mut pauses = Pauses::new();
        for error in &away {
            assert!(pauses.failed(error, Instant::now()).1, "the first of a row is told");
            assert_eq!(row(&mut pauses, error, 5), [1_000, 2_000, 2_000, 2_000, 2_000]);
            assert!(!pauses.failed(error, Instant::now()).1);
            pauses.well(Instant::now());
        }
        // Other pauses are as if it had not been, and a chain that has answered one of these was there.
        assert!(pauses.failed(&away[0], Instant::now()).1);
        assert_eq!(row(&mut pauses, &Error::Other("no luck".into()), 2), [500, 1_000]);
        assert!(pauses.failed(&away[0], Instant::now()).1, "it is away anew");
        pauses.answered();
        assert!(pauses.failed(&away[0], Instant::now()).1, "and once more");
    }

    #[test]
    fn what_fails_by_itself_is_tried_less_and_less_until_it_is_calm() {
        let (mut pauses, error) = (Pauses::new(), Error::Other("no luck".into()));
        assert_eq!(row(&mut pauses, &error, 8), [500, 1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
        let refused = Error::Chain(chain::Error::Refused { call: "take", reason: "no place".into() });
        pauses.well(Instant::now());
        assert_eq!(row(&mut pauses, &refused, 1), [30_000], "one success between two failures changes nothing");
        let now = Instant::now();
        pauses.well(now);
        let (pause, _) = pauses.failed(&error, now + CALM + FIRST);
        assert_eq!(pause, FIRST);
    }
}
