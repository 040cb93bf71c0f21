//! Durations as text, and places in a TOML file.

use std::time::Duration;

use serde::{Deserialize as _, Deserializer, Serializer, de};

const UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];

/// Writes a duration as a whole number of milliseconds, seconds, minutes or hours.
pub(super) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let (unit, size) = UNITS
        .into_iter()
        .rev()
        .find(|(_, size)| millis > 0 && millis.is_multiple_of(*size))
        .unwrap_or(("ms", 1));
    serializer.collect_str(&format_args!("{}{unit}", millis / size))
}

/// Reads a whole number with a unit: `1500ms`, `20s`, `15m`, `2h`.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    parse(&text).ok_or_else(|| {
        de::Error::custom(format!(
            "{text:?} is no duration; write a whole number and ms, s, m or h (\"20s\")"
        ))
    })
}

fn parse(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let (_, size) = UNITS.into_iter().find(|(name, _)| *name == unit)?;
    digits.parse::<u64>().ok()?.checked_mul(size).map(Duration::from_millis)
}

/// The line (from 1) that holds byte `offset`, and the dotted field it sets, if it sets one.
pub(super) fn locate(source: &str, offset: usize) -> (usize, Option<String>) {
    let mut table = String::new();
    let mut end = 0;
    for (index, line) in source.split('\n').enumerate() {
        end += line.len() + 1;
        if let Some(name) = table_name(line) {
            name.clone_into(&mut table);
        }
        if offset < end {
            let key = line.split_once('=').map(|(key, _)| key.trim()).filter(|key| !key.is_empty());
            return (index + 1, key.map(|key| join(&table, key)));
        }
    }
    (source.lines().count().max(1), None)
}

/// The line (from 1) that sets the dotted `field`; that of its table, or 1, if none does.
pub(super) fn line_of(source: &str, field: &str) -> usize {
    let mut table = "";
    let mut found = 1;
    for (index, line) in source.lines().enumerate() {
        if let Some(name) = table_name(line) {
            table = name;
            if field.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')) {
                found = index + 1;
            }
        } else if let Some((key, _)) = line.split_once('=')
            && join(table, key.trim()) == field
        {
            return index + 1;
        }
    }
    found
}

fn table_name(line: &str) -> Option<&str> {
    line.trim().strip_prefix('[')?.split(']').next().map(str::trim)
}

/// `table.key`, or the key alone outside of a table.
pub(super) fn join(table: &str, key: &str) -> String {
    if table.is_empty() { key.to_owned() } else { format!("{table}.{key}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_and_nothing_else_does() {
        for (text, millis) in
            [("0ms", 0), ("1500ms", 1500), ("20s", 20_000), ("15m", 900_000), ("2h", 7_200_000)]
        {
            assert_eq!(parse(text), Some(Duration::from_millis(millis)), "{text}");
        }
        for text in
            ["", "5", "s", "-1s", "1.5s", "1 s", "1d", "99999999999999999999s", "9999999999999999999h"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
