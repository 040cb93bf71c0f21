//! A mistake in a scenario file: which file, which line, which key, and what to do about it.

use std::fmt;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// A mistake in a scenario file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScenarioError {
    /// The file; none for a text that came from nowhere.
    pub file: Option<PathBuf>,
    /// The line, from 1; 0 where no line is to blame.
    pub line: usize,
    /// The key or section, empty where none is to blame.
    pub key: String,
    /// What is wrong, and what would be right.
    pub text: String,
}

impl fmt::Display for ScenarioError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(file) => write!(f, "{}", file.display())?,
            None => f.write_str("scenario")?,
        }
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.text)
    }
}

impl std::error::Error for ScenarioError {}

impl ScenarioError {
    pub(super) fn unreadable(file: &Path, error: &std::io::Error) -> Self {
        Self {
            file: Some(file.to_owned()),
            line: 0,
            key: String::new(),
            text: format!("cannot be read: {error}"),
        }
    }

    /// What the TOML reader found, at its place in `text`.
    pub(super) fn of_toml(error: &toml::de::Error, text: &str) -> Self {
        let (line, key) = error.span().map_or((0, String::new()), |span| {
            let line = line_of(text, &span);
            (line, key_in_line(text, line))
        });
        Self { file: None, line, key, text: error.message().trim_end().to_owned() }
    }
}

/// The line (from 1) at which a span of bytes begins.
pub(super) fn line_of(text: &str, span: &Range<usize>) -> usize {
    let start = span.start.min(text.len());
    text.as_bytes()[..start].iter().filter(|byte| **byte == b'\n').count() + 1
}

/// The key (or `[section]`) that a line is about.
fn key_in_line(text: &str, line: usize) -> String {
    let line = text.lines().nth(line.saturating_sub(1)).unwrap_or_default().trim();
    if line.starts_with('[') {
        return line.split('#').next().unwrap_or_default().trim().to_owned();
    }
    let key = line.split_once('=').map_or("", |(key, _)| key.trim());
    key.trim_matches(['"', '\'']).to_owned()
}

/// The line of `key` in the table that begins at `span`, or that table's own line.
pub(super) fn line_of_key(text: &str, span: &Range<usize>, key: &str) -> usize {
    let first = line_of(text, span);
    let own = text.lines().enumerate().skip(first.saturating_sub(1));
    for (nth, line) in own {
        let line = line.trim_start();
        if nth + 1 > first && line.starts_with('[') {
            break;
        }
        if line.split_once('=').is_some_and(|(left, _)| left.trim() == key) {
            return nth + 1;
        }
    }
    first
}

/// The line of `[section]`, and of `key` in it where it is written there.
pub(super) fn line_in_section(text: &str, section: &str, key: &str) -> usize {
    let header = format!("[{section}]");
    let mut offset = 0;
    for line in text.split_inclusive('\n') {
        if line.trim_start().starts_with(&header) {
            return line_of_key(text, &(offset..offset), key);
        }
        offset += line.len();
    }
    0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mistake_is_found_by_its_section_and_key() {
        let text = "[cluster]\nn = 4\n\n[run]\nseed = 1\nchaos = \"2s\"\n";
        assert_eq!(line_in_section(text, "run", "chaos"), 6);
        assert_eq!(line_in_section(text, "run", "n"), 4, "a key of another section is not meant");
        assert_eq!(line_in_section(text, "network", "loss"), 0);
        assert_eq!(key_in_line(text, 6), "chaos");
    }
}
