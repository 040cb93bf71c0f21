//! Scenario files: a run in TOML, with the meaning that a reader guesses. sim/docs/scenarios.md
//! has every key with its default.
//!
//! [`Scenario::read`] makes a [`Plan`] of a file; [`Scenario::to_toml`] writes any plan as a file
//! that is the same run. A mistake is told with its file, line and key.

mod context;
mod error;
mod file;
mod read;
mod read_faults;
mod read_network;
mod units;
mod write;
mod write_faults;

use std::path::Path;

pub use error::ScenarioError;
pub use units::Span;

use crate::plan::Plan;

/// A run with a name and, perhaps, its story.
#[derive(Clone, Debug)]
pub struct Scenario {
    /// What people call it.
    pub name: Option<String>,
    /// What it shows, for people.
    pub about: Option<String>,
    /// The run.
    pub plan: Plan,
}

impl Scenario {
    /// Reads a scenario from its text.
    pub fn parse(text: &str) -> Result<Self, ScenarioError> {
        read::scenario(text)
    }

    /// Reads a scenario file.
    pub fn read(file: &Path) -> Result<Self, ScenarioError> {
        let text = std::fs::read_to_string(file).map_err(|error| ScenarioError::unreadable(file, &error))?;
        Self::parse(&text).map_err(|error| ScenarioError { file: Some(file.to_owned()), ..error })
    }

    /// The scenario as a file: what is as usual is left out.
    pub fn to_toml(&self) -> String {
        write::scenario(self)
    }
}

#[cfg(test)]
mod tests;
