//! What a search has counted: how much ran, and in how many schedules the interesting things
//! happened. A search in which something never happens says nothing about it.

use std::collections::BTreeMap;

use crate::checks::SOMETIMES;
use crate::plan::Report;
use crate::schedule::Name;

/// Counts over all schedules of a search.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Schedules run.
    pub schedules: u64,
    /// Of these, mutations of others.
    pub mutated: u64,
    /// Of these, run twice.
    pub twice: u64,
    /// Events carried out.
    pub events: u64,
    /// Virtual time, milliseconds.
    pub millis: u64,
    /// Blocks committed.
    pub blocks: u64,
    /// The longest time from healing until all was settled, milliseconds.
    pub slowest_ms: u64,
    /// In how many schedules something happened.
    pub sometimes: BTreeMap<&'static str, u64>,
    /// In how many schedules an attack really acted.
    pub attacks: BTreeMap<String, u64>,
}

impl Tally {
    /// Adds one schedule.
    pub(super) fn add(&mut self, name: &Name, report: &Report, twice: bool) {
        self.schedules += 1;
        self.mutated += u64::from(name.is_mutated());
        self.twice += u64::from(twice);
        self.events += report.events;
        self.millis += report.ended.0.as_millis() as u64;
        self.blocks += report.seen.blocks;
        self.slowest_ms = self.slowest_ms.max(report.settled_after.as_millis() as u64);
        for (what, happened) in SOMETIMES {
            *self.sometimes.entry(what).or_default() += u64::from(happened(&report.seen));
        }
        for (attack, _) in report.attacks.iter().filter(|(_, acted)| **acted > 0) {
            *self.attacks.entry(attack.clone()).or_default() += 1;
        }
    }

    /// What never happened in any schedule.
    pub fn never(&self) -> impl Iterator<Item = &'static str> + '_ {
        self.sometimes.iter().filter(|(_, count)| **count == 0).map(|(what, _)| *what)
    }
}
