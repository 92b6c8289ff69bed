//! How long a file is to be held, as people write it, and in slots.

use std::{str::FromStr, time::Duration};

use crust_protocol::{Slot, parameters::Parameters};

/// A length of time or a number of slots.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Term {
    Time(Duration),
    Slots(Slot),
}

impl Term {
    /// Whole slots that last at least this long.
    pub fn slots(self, parameters: &Parameters) -> Slot {
        match self {
            Term::Slots(slots) => slots,
            Term::Time(time) => {
                let slot = u128::from(parameters.block_millis).saturating_mul(parameters.slot_blocks.into()).max(1);
                Slot::try_from(time.as_millis().div_ceil(slot)).unwrap_or(Slot::MAX)
            }
        }
    }
}

impl FromStr for Term {
    type Err = String;

    /// `30d`, `12h`, `2w`, `1y` (365 days), `90m`, `30s`, or `100slots`.
    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not a length of time: write one like 30d, 12h, 2w, 1y or 100slots");
        let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
        let number: u64 = text.strip_suffix(unit).unwrap_or_default().parse().map_err(|_| wrong())?;
        let seconds: u64 = match unit {
            "slot" | "slots" => return Slot::try_from(number).map(Term::Slots).map_err(|_| wrong()),
            "s" => 1,
            "m" => 60,
            "h" => 3_600,
            "d" => 86_400,
            "w" => 604_800,
            "y" => 31_536_000,
            _ => return Err(wrong()),
        };
        number.checked_mul(seconds).map(|seconds| Term::Time(Duration::from_secs(seconds))).ok_or_else(wrong)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn terms_are_read() {
        let day = Duration::from_secs(86_400);
        for (text, term) in [
            ("30d", Term::Time(day * 30)),
            ("12h", Term::Time(day / 2)),
            ("2w", Term::Time(day * 14)),
            ("1y", Term::Time(day * 365)),
            ("90m", Term::Time(Duration::from_secs(5_400))),
            ("0s", Term::Time(Duration::ZERO)),
            ("1slot", Term::Slots(1)),
            ("100slots", Term::Slots(100)),
        ] {
            assert_eq!(text.parse(), Ok(term), "{text}");
        }
        for text in ["", "30", "d", "-1d", "1.5d", "30 d", "1month", "99999999999999999999d", "5000000000slots"] {
            assert!(text.parse::<Term>().is_err(), "{text}");
        }
        assert!("18446744073709551615y".parse::<Term>().is_err());
    }

    #[test]
    fn slots_are_rounded_up() {
        let month = Term::Time(Duration::from_secs(30 * 86_400));
        assert_eq!(month.slots(&Parameters::PRODUCTION), 720);
        assert_eq!(month.slots(&Parameters::DEVELOPMENT), 259_200);
        assert_eq!(Term::Time(Duration::from_secs(11)).slots(&Parameters::DEVELOPMENT), 2);
        assert_eq!(Term::Time(Duration::MAX).slots(&Parameters::DEVELOPMENT), Slot::MAX);
        assert_eq!(Term::Slots(7).slots(&Parameters::PRODUCTION), 7);
    }
}
