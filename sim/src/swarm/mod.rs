//! The search for schedules that break something: many random ones, and children of those that
//! went where none had been.
//!
//! Schedule number i of a search is always the same, whatever the number of threads: it has the
//! seed `base + i`, or is a mutation, drawn from `base` and i, of a parent. Parents are chosen
//! among schedules that added abstract states (`coverage.rs`) two generations or more
//! before, so that nobody waits for anybody and still the order in which threads come home does
//! not matter. A [`Name`] holds a schedule's whole descent: it alone runs it again, without the
//! search.
//!
//! Memory is bounded: states are eight bytes each up to [`MOST_STATES`], of schedules only the
//! names of [`MOST_PARENTS`] are kept, of failures the first [`MOST_FAILURES`].

mod ledger;
pub mod profile;
mod tally;

use std::time::{Duration, Instant};

use sbft::plant::Plant;

use crate::plan::{Plan, Show};
use crate::schedule::{Name, Schedule};
use crate::violation::{Class, Violation};

use ledger::{Done, Ledger};
pub use ledger::{GENERATION, MOST_FAILURES, MOST_PARENTS, MOST_STATES};
pub use tally::Tally;

/// The check that fails when one seed gives two runs.
pub const DETERMINISM: &str = "determinism";

/// How long a search goes on, unless something fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// So many schedules.
    Schedules(u64),
    /// So long.
    Time(Duration),
}

/// What to search, and how.
#[derive(Clone, Debug)]
pub struct Search {
    /// When to stop.
    pub limit: Limit,
    /// How many threads.
    pub jobs: usize,
    /// Fixes every schedule of the search.
    pub base: u64,
    /// What profiles schedules may have.
    pub choice: profile::Choice,
    /// Replicas; drawn if none.
    pub n: Option<usize>,
    /// A rule to take away.
    pub plant: Option<Plant>,
    /// Go on after a failure.
    pub keep_going: bool,
    /// Every schedule whose number is a multiple of this runs twice, to compare; none if 0.
    pub twice_every: u64,
}

/// A schedule that failed.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Its number in the search.
    pub index: u64,
    /// What it is.
    pub schedule: Schedule,
    /// What failed.
    pub violation: Violation,
    /// It did not fail, but its second run was another one.
    pub not_deterministic: bool,
}

/// How far a search has come, or what it came to.
#[derive(Clone, Debug, Default)]
pub struct Progress {
    /// What was counted.
    pub tally: Tally,
    /// Abstract states seen.
    pub states: u64,
    /// How many of them are new in the last [`Progress::window`] schedules: a search has seen what
    /// it can see when hardly any are.
    pub new_states: u64,
    /// Over how many schedules they were counted, 10,000 once there are so many.
    pub window: u64,
    /// Schedules that failed, also those not kept.
    pub violations: u64,
    /// The last of them: which schedule, and which check failed.
    pub last_violation: Option<(Name, &'static str)>,
    /// Wall time.
    pub elapsed: Duration,
}

impl Progress {
    /// Schedules in a second, of all threads together.
    pub fn rate(&self) -> f64 {
        self.tally.schedules as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }
}

impl Search {
    /// Searches. `watch` is called from time to time, at least every second while schedules end.
    /// Gives what it came to, and the failures in order of their numbers.
    pub fn run(&self, watch: impl Fn(&Progress) + Sync) -> (Progress, Vec<Failure>) {
        let ledger = Ledger::new(self);
        let began = Instant::now();
        std::thread::scope(|scope| {
            for _ in 0..self.jobs.max(1) {
                scope.spawn(|| {
                    while let Some((index, name)) = ledger.take(began.elapsed()) {
                        let done = self.try_one(index, name);
                        if let Some(progress) = ledger.give(index, done, began.elapsed()) {
                            watch(&progress);
                        }
                    }
                });
            }
        });
        ledger.close(began.elapsed())
    }

    /// The schedule of this name.
    pub fn schedule(&self, name: Name) -> Schedule {
        Schedule { name, choice: self.choice.clone(), n: self.n }
    }

    /// The plan of a schedule, without the rule that is taken away.
    pub fn plan(&self, schedule: &Schedule) -> Plan {
        let plan = schedule.plan();
        match self.plant {
            Some(plant) => plan.without_rule(plant),
            None => plan,
        }
    }

    fn try_one(&self, index: u64, name: Name) -> Done {
        let schedule = self.schedule(name.clone());
        let plan = self.plan(&schedule);
        let report = plan.run(Show { cover: true, ..Show::default() });
        let twice = self.twice_every > 0 && index.is_multiple_of(self.twice_every);
        let mut failure = report.violation.clone().map(|violation| (violation, false));
        if twice {
            let again = plan.run(Show::default());
            if (again.hash, again.events) != (report.hash, report.events) && failure.is_none() {
                let text = format!(
                    "two runs differ: {} events with hash {:016x}, then {} with {:016x}",
                    report.events, report.hash, again.events, again.hash
                );
                failure = Some((Violation::new(Class::Safety, DETERMINISM, text), true));
            }
        }
        let failure = failure.map(|(violation, not_deterministic)| {
            Box::new(Failure { index, schedule, violation, not_deterministic })
        });
        Done { name, states: report.states.clone(), failure, report, twice }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn search(jobs: usize) -> Search {
        Search {
            limit: Limit::Schedules(900),
            jobs,
            base: 11,
            choice: profile::Choice::default(),
            n: Some(4),
            plant: None,
            keep_going: true,
            twice_every: 100,
        }
    }

    #[test]
    fn a_search_is_the_same_on_one_thread_and_on_three() {
        let (one, _) = search(1).run(|_| {});
        let (three, _) = search(3).run(|_| {});
        assert_eq!(one.tally.schedules, 900);
        assert_eq!(one.tally, three.tally);
        assert_eq!((one.states, one.new_states), (three.states, three.new_states));
        assert!(one.tally.mutated > 50, "{} of 900 were mutated", one.tally.mutated);
        assert_eq!(one.tally.twice, 9);
    }

    #[test]
    fn the_first_failure_is_the_same_on_every_number_of_threads_and_reproduces_from_its_name() {
        let search =
            |jobs| Search { plant: Some(Plant::CommitsAcrossViews), keep_going: false, ..search(jobs) };
        let (progress, failures) = search(1).run(|_| {});
        let first = failures.first().expect("commits counted across views are noticed");
        assert!(progress.violations >= 1 && progress.tally.schedules <= 900);
        let (_, others) = search(3).run(|_| {});
        assert_eq!(others.first().map(|failure| failure.index), Some(first.index));
        let again = search(1).plan(&first.schedule).run(Show::default());
        assert_eq!(again.violation.as_ref(), Some(&first.violation));
    }
}
