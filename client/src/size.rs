//! Numbers of bytes as people write them: `4096`, `10GiB`.

/// Reads a number of bytes, with or without a unit: powers of 1,024 (`KiB` to `TiB`) or of 1,000 (`kB` to `TB`).
pub fn parse(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is not a number of bytes: write one like 4096, 10MB or 2GiB");
    let unit = text.trim_start_matches(|c: char| c.is_ascii_digit());
    let number: u64 = text.strip_suffix(unit).unwrap_or_default().parse().map_err(|_| wrong())?;
    let factor: u64 = match unit {
        "" | "B" => 1,
        "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        _ => return Err(wrong()),
    };
    number.checked_mul(factor).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        let sizes = [("0", 0), ("4096", 4_096), ("7B", 7), ("10MB", 10_000_000), ("2GiB", 2 << 30), ("16TiB", 1 << 44)];
        for (text, size) in sizes {
            assert_eq!(parse(text), Ok(size), "{text}");
        }
        for text in ["", "GiB", "-1", "1.5GB", "1 GB", "1gib", "1K", "99999999TiB", "1GiBGiB"] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}
