//! Durations as Go writes them ("1.5s", "2h45m", "100ms"), the form that Fabric keeps in values.

use std::time::Duration;

/// Why a text is no duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GoDurationError {
    /// Not of the form number, unit, number, unit, …
    #[error("{0:?} is not a Go duration such as \"200ms\", \"1.5s\" or \"1m30s\"")]
    Malformed(String),
    /// Below zero.
    #[error("{0:?} is negative")]
    Negative(String),
    /// More than a Go duration can hold, which is 2^63 - 1 ns (some 292 years).
    #[error("{0:?} is longer than a Go duration can be")]
    TooLong(String),
}

/// Parses a Go duration: a sign if any, then numbers with optional fractions, each with a unit of
/// ns, us (or µs), ms, s, m, h; or "0".
///
/// # Errors
/// Anything else, and everything below zero: no value of a channel can be.
pub fn parse(text: &str) -> Result<Duration, GoDurationError> {
    let malformed = || GoDurationError::Malformed(text.chars().take(MAX_SHOWN).collect());
    let too_long = || GoDurationError::TooLong(text.chars().take(MAX_SHOWN).collect());

    let (negative, unsigned) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if unsigned.is_empty() {
        return Err(malformed());
    }

    let mut nanos = 0_u128;
    let mut rest = unsigned;
    // A bare 0 is the one number that needs no unit.
    while !rest.is_empty() && unsigned != "0" {
        let number_length = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(malformed)?;
        let (number, after) = rest.split_at(number_length);
        let unit_length = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_length);
        rest = after;

        let unit = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(malformed)?.1;
        let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
        if fraction.contains('.') || (whole.is_empty() && fraction.is_empty()) {
            return Err(malformed());
        }
        let whole: u64 = if whole.is_empty() { 0 } else { whole.parse().map_err(|_| too_long())? };
        // Digits below a nanosecond change nothing; 15 keep hours exact to less than that.
        let digits = &fraction[..fraction.len().min(15)];
        let numerator: u64 = if digits.is_empty() { 0 } else { digits.parse().map_err(|_| malformed())? };
        let scale = 10_u128.pow(digits.len() as u32);
        nanos += u128::from(whole) * unit + u128::from(numerator) * unit / scale;
        if nanos > i64::MAX as u128 {
            return Err(too_long());
        }
    }

    if negative && nanos > 0 {
        return Err(GoDurationError::Negative(text.chars().take(MAX_SHOWN).collect()));
    }
    Ok(Duration::from_nanos(nanos as u64)) // at most 2^63 - 1, as was just tested
}

/// Writes a duration so that Go parses it back: a whole number of the largest unit up to seconds
/// that fits. Precise to the nanosecond.
pub fn format(duration: Duration) -> String {
    let nanos = duration.as_nanos();
    for (unit, size) in [("s", SECOND), ("ms", SECOND / 1000), ("us", SECOND / 1_000_000)] {
        if nanos.is_multiple_of(size) {
            return format!("{}{unit}", nanos / size);
        }
    }
    format!("{nanos}ns")
}

const SECOND: u128 = 1_000_000_000;
/// How many characters of a wrong text go into the error.
const MAX_SHOWN: usize = 64;
/// Go's units in nanoseconds. Two ways to write micro: the sign and the Greek letter.
const UNITS: [(&str, u128); 8] = [
    ("ns", 1),
    ("us", 1000),
    ("\u{b5}s", 1000),
    ("\u{3bc}s", 1000),
    ("ms", 1_000_000),
    ("s", SECOND),
    ("m", 60 * SECOND),
    ("h", 3600 * SECOND),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_go_writes_is_read() {
        let cases = [
            ("0", 0),
            ("0s", 0),
            ("-0", 0),
            ("+5s", 5_000_000_000),
            ("5s", 5_000_000_000),
            ("1.5s", 1_500_000_000),
            ("1m30s", 90_000_000_000),
            ("100ms", 100_000_000),
            ("2h45m", 9_900_000_000_000),
            ("3m0s", 180_000_000_000),
            ("1h0m0.25s", 3_600_250_000_000),
            ("7us", 7_000),
            ("7\u{b5}s", 7_000),
            ("7\u{3bc}s", 7_000),
            ("1.5\u{b5}s", 1_500),
            ("12ns", 12),
            (".5s", 500_000_000),
            ("5.s", 5_000_000_000),
            ("1s1s", 2_000_000_000),
            ("0.000000000000000000000001h", 0),
            ("2562047h47m16.854775807s", i64::MAX as u64),
            ("9223372036854775807ns", i64::MAX as u64),
        ];
        for (text, nanos) in cases {
            assert_eq!(parse(text), Ok(Duration::from_nanos(nanos)), "{text:?}");
        }
    }

    #[test]
    fn what_go_refuses_is_refused() {
        for text in [
            "", "-", "+", "s", ".", ".s", "5", "1.2.3s", "5 s", " 5s", "5s ", "5d", "5S", "5s3", "--5s",
            "+-5s",
        ] {
            assert_eq!(parse(text), Err(GoDurationError::Malformed(text.to_owned())), "{text:?}");
        }
        for text in ["2562048h", "9223372036854775808ns", "99999999999999999999s"] {
            assert_eq!(parse(text), Err(GoDurationError::TooLong(text.to_owned())), "{text:?}");
        }
        assert_eq!(parse("-5s"), Err(GoDurationError::Negative("-5s".to_owned())));
    }

    #[test]
    fn a_long_text_is_not_repeated_in_the_error() {
        let error = parse(&"x".repeat(100_000)).expect_err("no duration");
        assert!(error.to_string().len() < 200);
    }

    #[test]
    fn what_is_written_is_read_back() {
        for (nanos, text) in
            [(0, "0s"), (200_000_000, "200ms"), (1_500_000_000, "1500ms"), (7, "7ns"), (9_000, "9us")]
        {
            let duration = Duration::from_nanos(nanos);
            assert_eq!(format(duration), text);
            assert_eq!(parse(text), Ok(duration));
        }
    }
}
