//! What every part of a scenario's reading needs: the text for line numbers, and the replicas.

use std::ops::Range;

use sbft::types::Place;

use super::error::{ScenarioError, line_in_section, line_of, line_of_key};
use super::file::Whose;
use super::units::Who;

/// The bodies of a run and the text that speaks of them.
pub(super) struct Context<'a> {
    pub(super) text: &'a str,
    pub(super) n: usize,
    pub(super) twins: Vec<Place>,
}

impl Context<'_> {
    /// How many bodies there are.
    pub(super) fn bodies(&self) -> usize {
        self.n + self.twins.len()
    }

    /// A mistake in a `[section]`.
    pub(super) fn in_section(&self, section: &str, key: &str, text: impl Into<String>) -> ScenarioError {
        ScenarioError {
            file: None,
            line: line_in_section(self.text, section, key),
            key: format!("{section}.{key}"),
            text: text.into(),
        }
    }

    /// The entry of a list of tables that begins at `span`.
    pub(super) fn entry(&self, list: &str, nth: usize, span: Range<usize>) -> Entry<'_> {
        Entry { context: self, name: format!("{list}[{nth}]"), span }
    }
}

/// One `[[entry]]`, for what it refers to and for mistakes in it.
pub(super) struct Entry<'a> {
    pub(super) context: &'a Context<'a>,
    name: String,
    span: Range<usize>,
}

impl Entry<'_> {
    /// A mistake in this key of it.
    pub(super) fn wrong(&self, key: &str, text: impl Into<String>) -> ScenarioError {
        ScenarioError {
            file: None,
            line: line_of_key(self.context.text, &self.span, key),
            key: format!("{}.{key}", self.name),
            text: text.into(),
        }
    }

    /// A mistake in it as a whole.
    pub(super) fn lacks(&self, text: impl Into<String>) -> ScenarioError {
        let line = line_of(self.context.text, &self.span);
        ScenarioError { file: None, line, key: self.name.clone(), text: text.into() }
    }

    /// The value of a key that must be there.
    pub(super) fn need<T>(&self, key: &str, value: Option<T>, example: &str) -> Result<T, ScenarioError> {
        value.ok_or_else(|| self.lacks(format!("`{key}` is missing; for example {example}")))
    }

    /// The body of a replica.
    pub(super) fn body(&self, key: &str, who: Who) -> Result<usize, ScenarioError> {
        let n = self.context.n;
        if usize::from(who.place) >= n {
            let text = format!("there is no replica {}; the places are 0 to {}", who.place, n - 1);
            return Err(self.wrong(key, text));
        }
        if !who.twin {
            return Ok(usize::from(who.place));
        }
        let second = self.context.twins.iter().position(|place| place.0 == who.place);
        second.map(|at| n + at).ok_or_else(|| {
            self.wrong(
                key,
                format!(
                    "replica {0} has no twin; add a [[byzantine]] with replica = {0} and attack = \"twins\"",
                    who.place
                ),
            )
        })
    }

    /// The bodies that are meant.
    pub(super) fn bodies(&self, key: &str, whose: Whose) -> Result<Vec<usize>, ScenarioError> {
        match whose {
            Whose::One(who) => Ok(vec![self.body(key, who)?]),
            Whose::None(_) => Ok(Vec::new()),
            Whose::Some(some) if some.is_empty() => Err(self.wrong(
                key,
                "an empty list means nobody; name replicas, such as [0, 2], or leave the key or the entry out",
            )),
            Whose::Some(some) => some.into_iter().map(|who| self.body(key, who)).collect(),
            Whose::All(_) => Ok((0..self.context.bodies()).collect()),
        }
    }

    /// The same as a mask.
    pub(super) fn mask(&self, key: &str, whose: Whose) -> Result<u64, ScenarioError> {
        Ok(self.bodies(key, whose)?.into_iter().fold(0, |mask, body| mask | 1 << body))
    }
}
