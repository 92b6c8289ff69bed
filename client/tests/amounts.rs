//! Amounts of money as people write them.

use crust_client::money::{parse, show};
use crust_protocol::{Balance, TOKEN};
use proptest::prelude::*;

proptest! {
    #[test]
    fn what_is_shown_is_what_is_read(large: Balance, small in 0..TOKEN * 1_000) {
        for plancks in [large, small] {
            let shown = show(plancks);
            prop_assert_eq!(parse(shown.trim_end_matches(" tokens")), Ok(plancks), "{}", shown);
            prop_assert_eq!(parse(&format!("{plancks}plancks")), Ok(plancks));
        }
    }

    #[test]
    fn any_text_is_an_amount_or_an_error(text in "[0-9.a-z ]{0,40}|\\PC{0,40}") {
        if let Ok(plancks) = parse(&text) {
            prop_assert_eq!(parse(show(plancks).trim_end_matches(" tokens")), Ok(plancks));
        }
    }
}
