//! Money as people write it: tokens with up to twelve decimals.

use crust_protocol::{Balance, TOKEN};

/// Decimals of a token.
const DECIMALS: usize = 12;

/// Plancks as tokens, `1.5 tokens`; no digit is left out.
pub fn show(plancks: Balance) -> String {
    let (whole, rest) = (plancks / TOKEN, plancks % TOKEN);
    if rest == 0 {
        return format!("{whole} tokens");
    }
    let decimals = format!("{rest:012}");
    format!("{whole}.{} tokens", decimals.trim_end_matches('0'))
}

/// Reads an amount: tokens with decimals (`0.25`), or a whole number of plancks (`1000plancks`).
pub fn parse(text: &str) -> Result<Balance, String> {
    let wrong = || format!("{text:?} is not an amount: write tokens like 0.25, or plancks like 1000plancks");
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    if let Some(plancks) = text.strip_suffix("plancks") {
        let plancks = plancks.trim_end();
        return if digits(plancks) { plancks.parse().map_err(|_| wrong()) } else { Err(wrong()) };
    }
    let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
    if !digits(whole) || !digits(decimals) || decimals.len() > DECIMALS {
        return Err(wrong());
    }
    let whole: Balance = whole.parse().map_err(|_| wrong())?;
    let rest: Balance = format!("{decimals:0<DECIMALS$}").parse().map_err(|_| wrong())?;
    whole.checked_mul(TOKEN).and_then(|plancks| plancks.checked_add(rest)).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_exactly() {
        for (text, plancks) in [
            ("0", 0),
            ("1", TOKEN),
            ("0.25", TOKEN / 4),
            ("1.000000000001", TOKEN + 1),
            ("1000plancks", 1_000),
            ("7 plancks", 7),
        ] {
            assert_eq!(parse(text), Ok(plancks), "{text}");
        }
        for text in ["", ".", "1.", ".5", "-1", "+1", "1e3", "1.0000000000001", "1 000", "plancks", "1.5plancks"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse("400000000000000000000000000000").is_err());
    }

    #[test]
    fn what_is_shown_is_what_is_read() {
        for plancks in [0, 1, 60, TOKEN, TOKEN + 1, TOKEN * 3 / 2, 123_456_789_012_345] {
            let shown = show(plancks);
            assert_eq!(parse(shown.trim_end_matches(" tokens")), Ok(plancks), "{shown}");
        }
    }
}
