//! Quantities as people write them: `"400ms"`, `"200/s"`, `"1KiB"`, and replicas by place.

use std::fmt;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error as _, Visitor};

/// A length of time, or a moment since the run began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Span(pub Duration);

/// How often something happens in a second, in thousandths.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rate(pub(super) u64);

/// A number of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Size(pub(super) u64);

/// Bytes in a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bandwidth(pub(super) u64);

/// A replica: its place, or `"3b"` for the second body of the twins at place 3.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Who {
    /// The place.
    pub(super) place: u16,
    /// The twin and not the first body.
    pub(super) twin: bool,
}

/// Splits `"1.25ms"` into 1_250_000_000 (of 10^-9) and `"ms"`.
fn quantity(text: &str) -> Option<(u128, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || fraction.len() > 9 || fraction.contains('.') || number.ends_with('.') {
        return None;
    }
    let mut value = whole.parse::<u64>().ok().map(u128::from)? * 1_000_000_000;
    if !fraction.is_empty() {
        value += fraction.parse::<u128>().ok()? * 10u128.pow(9 - fraction.len() as u32);
    }
    Some((value, unit.trim()))
}

impl Span {
    /// Reads `"400ms"`; the units are ns, us (or µs), ms, s, m and h.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no time; write it like \"400ms\", \"1.5s\" or \"250us\"");
        let (value, unit) = quantity(text).ok_or_else(wrong)?;
        let nanos: u128 = match unit {
            "ns" => 1,
            "us" | "µs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" | "min" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            "" if value == 0 => 1,
            _ => return Err(wrong()),
        };
        let scaled = value.checked_mul(nanos).ok_or_else(wrong)?;
        if scaled % 1_000_000_000 != 0 {
            return Err(format!("`{text}` is finer than a nanosecond"));
        }
        let nanos = u64::try_from(scaled / 1_000_000_000)
            .map_err(|_| format!("`{text}` is longer than a run can be"))?;
        Ok(Self(Duration::from_nanos(nanos)))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let nanos = self.0.as_nanos();
        let (unit, name) = match nanos {
            0 => return f.write_str("0s"),
            _ if nanos.is_multiple_of(1_000_000_000) || nanos >= 10_000_000_000 => (1_000_000_000, "s"),
            1_000_000.. => (1_000_000, "ms"),
            1_000.. => (1_000, "us"),
            _ => (1, "ns"),
        };
        let (whole, rest) = (nanos / unit, nanos % unit);
        if rest == 0 {
            return write!(f, "{whole}{name}");
        }
        let width = unit.ilog10() as usize;
        let fraction = format!("{rest:0width$}");
        write!(f, "{whole}.{}{name}", fraction.trim_end_matches('0'))
    }
}

impl Rate {
    /// Reads `"200/s"`; also per `ms`, `m`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no rate; write it like \"200/s\"");
        let (number, unit) = text.split_once('/').ok_or_else(wrong)?;
        let (value, rest) = quantity(number).ok_or_else(wrong)?;
        let per_second = match (rest, unit.trim()) {
            ("", "s") => value,
            ("", "ms") => value * 1000,
            ("", "m" | "min") => value / 60,
            _ => return Err(wrong()),
        };
        let thousandths = u64::try_from(per_second / 1_000_000).map_err(|_| wrong())?;
        if thousandths == 0 {
            return Err(format!("`{text}` is no rate above one in a thousand seconds"));
        }
        Ok(Self(thousandths))
    }
}

impl Size {
    /// Reads `"1KiB"`; also B, KB, KiB, MB and MiB.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{text}` is no size; write it like \"512B\", \"1KiB\" or \"2MB\"");
        let (value, unit) = quantity(text).ok_or_else(wrong)?;
        let factor: u128 = match unit {
            "B" | "" => 1,
            "KB" | "kB" => 1000,
            "KiB" => 1024,
            "MB" => 1_000_000,
            "MiB" => 1 << 20,
            _ => return Err(wrong()),
        };
        u64::try_from(value * factor / 1_000_000_000).map(Self).map_err(|_| wrong())
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let units: [(u64, &str); 4] = [(1 << 20, "MiB"), (1_000_000, "MB"), (1024, "KiB"), (1000, "KB")];
        match units.iter().find(|(factor, _)| self.0 > 0 && self.0.is_multiple_of(*factor)) {
            Some((factor, name)) => write!(f, "{}{name}", self.0 / factor),
            None => write!(f, "{}B", self.0),
        }
    }
}

impl<'de> Deserialize<'de> for Bandwidth {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let parse = |text: &str| {
            let size =
                text.trim().strip_suffix("/s").ok_or(()).and_then(|size| Size::parse(size).map_err(drop));
            let wrong = |()| format!("`{text}` is no bandwidth; write it like \"10MB/s\"");
            size.map(|size| Self(size.0)).map_err(wrong)
        };
        from.deserialize_any(FromText("a bandwidth such as \"10MB/s\"", parse, |_| None))
    }
}

impl fmt::Display for Who {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.twin { write!(f, "\"{}b\"", self.place) } else { write!(f, "{}", self.place) }
    }
}

struct FromText<T>(&'static str, fn(&str) -> Result<T, String>, fn(u64) -> Option<T>);

impl<T> Visitor<'_> for FromText<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<T, E> {
        (self.1)(text).map_err(E::custom)
    }

    fn visit_i64<E: serde::de::Error>(self, value: i64) -> Result<T, E> {
        u64::try_from(value)
            .ok()
            .and_then(self.2)
            .ok_or_else(|| E::custom(format!("{value} is not {}", self.0)))
    }
}

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let zero = |value| (value == 0).then_some(Self(Duration::ZERO));
        from.deserialize_any(FromText("a time such as \"400ms\"", Self::parse, zero))
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(FromText("a rate such as \"200/s\"", Self::parse, |_| None))
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        from.deserialize_any(FromText("a size such as \"1KiB\"", Self::parse, |value| Some(Self(value))))
    }
}

impl<'de> Deserialize<'de> for Who {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let second = |text: &str| {
            let place = text.strip_suffix('b').and_then(|place| place.parse().ok());
            place.map(|place| Self { place, twin: true }).ok_or_else(|| {
                format!("`{text}` is no replica; write its place, such as 2, or \"2b\" for its twin")
            })
        };
        let place = |value| u16::try_from(value).ok().map(|place| Self { place, twin: false });
        from.deserialize_any(FromText("a replica's place", second, place))
    }
}

/// One value, or the least and the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Between(pub(super) Duration, pub(super) Duration);

impl<'de> Deserialize<'de> for Between {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(
            untagged,
            expecting = "expected a time such as \"2ms\", or a pair such as [\"1ms\", \"40ms\"]"
        )]
        enum Either {
            One(Span),
            Two([Span; 2]),
        }
        match Either::deserialize(from)? {
            Either::One(Span(both)) => Ok(Self(both, both)),
            Either::Two([Span(low), Span(high)]) if low <= high => Ok(Self(low, high)),
            Either::Two(_) => Err(D::Error::custom("the first of the two times must not be the longer")),
        }
    }
}

impl fmt::Display for Between {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == self.1 {
            write!(f, "\"{}\"", Span(self.0))
        } else {
            write!(f, "[\"{}\", \"{}\"]", Span(self.0), Span(self.1))
        }
    }
}

/// One size, or the smallest and the largest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sizes(pub(super) u64, pub(super) u64);

impl<'de> Deserialize<'de> for Sizes {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        #[derive(serde::Deserialize)]
        #[serde(
            untagged,
            expecting = "expected a size such as \"1KiB\", or a pair such as [\"200B\", \"40KB\"]"
        )]
        enum Either {
            One(Size),
            Two([Size; 2]),
        }
        match Either::deserialize(from)? {
            Either::One(Size(both)) => Ok(Self(both, both)),
            Either::Two([Size(low), Size(high)]) if low <= high => Ok(Self(low, high)),
            Either::Two(_) => Err(D::Error::custom("the first of the two sizes must not be the larger")),
        }
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 == self.1 {
            write!(f, "\"{}\"", Size(self.0))
        } else {
            write!(f, "[\"{}\", \"{}\"]", Size(self.0), Size(self.1))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_written_as_it_is_read() {
        for (text, micros) in [
            ("400ms", 400_000),
            ("1.5s", 1_500_000),
            ("250us", 250),
            ("0s", 0),
            ("2m", 120_000_000),
            ("1.5h", 5_400_000_000),
        ] {
            assert_eq!(Span::parse(text), Ok(Span(Duration::from_micros(micros))), "{text}");
        }
        for nanos in [0, 1, 999, 1000, 1500, 999_999, 1_234_567, 2_000_000_000, 1_234_567_891, 61_000_000_001]
        {
            let span = Span(Duration::from_nanos(nanos));
            assert_eq!(Span::parse(&span.to_string()), Ok(span), "{span}");
        }
        for wrong in
            ["", "ms", "12", "1.5.5s", "-1s", "1d", "1.s", ".5s", "0.0000000001s", "99999999999999999999s"]
        {
            assert!(Span::parse(wrong).is_err(), "`{wrong}` was read");
        }
    }

    #[test]
    fn sizes_and_rates_have_units() {
        assert_eq!(Size::parse("1KiB"), Ok(Size(1024)));
        assert_eq!(Size::parse("1.5MB"), Ok(Size(1_500_000)));
        assert_eq!(Size(100_000).to_string(), "100KB");
        assert_eq!(Rate::parse("200/s"), Ok(Rate(200_000)));
        assert!(
            Rate::parse("200").is_err() && Rate::parse("0/s").is_err() && Size::parse("1 apple").is_err()
        );
    }
}
