//! From a failing run to a small one that fails by the same check.
//!
//! The chances of the run (what became of each packet, where replicas crashed) are written down
//! first, and done again on a network where every packet takes one millisecond. From then on all
//! that troubles the run is a list, and whatever can be taken off it is: first in large pieces,
//! then one by one. In the end times are made round and settings usual, so that a person can read
//! the file. Every step is kept only if the same check still fails.
//!
//! Where this ends depends on the way: nothing more can be taken off alone, and yet there may be a
//! far smaller run. So what is not small after one way is tried by others (`WAYS`).

mod merge;
mod search;
mod steps;
mod times;

use sbft::types::Time;

use crate::expect::Expect;
use crate::network::Fate;
use crate::plan::{Plan, Show};
use crate::violation::Violation;

use search::Search;

/// How far to go.
pub struct Limits<'a> {
    /// Runs at the same time.
    pub jobs: usize,
    /// Asked before every run, with how many there have been: whether to stop.
    pub stop: &'a (dyn Fn(u64) -> bool + Sync),
}

/// A small failing run.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// The run.
    pub plan: Plan,
    /// How it fails.
    pub violation: Violation,
    /// How many runs it took.
    pub runs: u64,
    /// Effective faults before, as far as they were written down.
    pub before: usize,
    /// Effective faults that are left.
    pub after: usize,
    /// Why there was no time to finish, if there was not.
    pub stopped: bool,
}

/// A run with so few effective faults is small: no other way is tried.
const SMALL: usize = 8;

/// A way from a failing run to a small one.
#[derive(Clone, Copy, Debug)]
struct Way {
    /// Whole kinds of trouble and all that is listed already go before the chances are written down.
    lists_first: bool,
    /// Lists are gone through from their ends.
    backwards: bool,
}

/// So many chances make a list that is too long to go through: what can go without it goes first.
const MANY: usize = 2000;

/// The ways, in the order in which they are tried.
const WAYS: [Way; 4] = [
    Way { lists_first: false, backwards: false },
    Way { lists_first: true, backwards: false },
    Way { lists_first: false, backwards: true },
    Way { lists_first: true, backwards: true },
];

/// Makes a failing run small; none if it does not fail.
pub fn shrink(plan: &Plan, limits: &Limits<'_>) -> Option<Shrunk> {
    let mut plan = plan.clone();
    plan.expect = Expect::default();
    let report = plan.run(Show { chances: true, ..Show::default() });
    let violation = report.violation?;
    let chances = report.chances.unwrap_or_default();
    let before = effective(&plan) + chances.crashes.len() + steps::troubled(&chances.singles);
    let (mut runs, mut best) = (1, (plan.clone(), violation.clone()));
    for (nth, mut way) in WAYS.into_iter().enumerate() {
        way.lists_first ^= before > MANY;
        let mut search = Search::new(plan.clone(), violation.clone(), limits);
        (search.runs, search.backwards) = (runs, way.backwards);
        go(&mut search, way);
        runs = search.runs;
        if nth == 0 || measure(&search.best) < measure(&best.0) {
            best = (search.best, search.violation);
        }
        if effective(&best.0) <= SMALL || (limits.stop)(runs) {
            break;
        }
    }
    let (plan, violation) = best;
    let after = effective(&plan);
    Some(Shrunk { violation, runs, before, after, stopped: (limits.stop)(runs), plan })
}

/// Makes a plan small in one way.
fn go(search: &mut Search<'_>, way: Way) {
    steps::end_early(search);
    if way.lists_first {
        steps::whole_families(search);
        steps::list_by_list(search);
        steps::end_early(search);
    }
    steps::write_down_chances(search);
    for _ in 0..3 {
        let (size, runs) = (measure(&search.best), search.runs);
        steps::whole_families(search);
        steps::list_by_list(search);
        steps::fewer_replicas(search);
        steps::narrow_attacks(search);
        steps::usual_settings(search);
        steps::list_by_list(search);
        steps::end_early(search);
        times::round(search);
        if measure(&search.best) == size || search.runs == runs || search.is_over() {
            break;
        }
    }
    steps::readable(search);
    if effective(&search.best) > SMALL {
        merge::pairs(search);
        merge::cuts(search);
        steps::list_by_list(search);
    }
}

/// How many faults a plan lists: each cut or single packet, crash, partition and the like, attack
/// and pair of twins; and one for each kind of trouble that is left to chance.
pub fn effective(plan: &Plan) -> usize {
    let cuts = plan.cuts.iter().filter(|cut| cut.fate != Fate::Pass).count();
    let attacks: usize = plan.liars.iter().map(|(_, specs)| specs.len()).sum();
    plan.faults.len()
        + plan.crashes.len()
        + cuts
        + plan.singles.len()
        + attacks
        + plan.twins.len()
        + steps::left_to_chance(plan)
}

/// A plan of smaller measure is the better one.
fn measure(plan: &Plan) -> (usize, usize, usize) {
    (effective(plan), plan.submissions.len(), plan.settings.n)
}

/// The end of a run that fails for safety's sake.
fn failed_at(search: &Search<'_>) -> Option<Time> {
    (search.violation.check != "settles").then_some(search.violation.at)
}

#[cfg(test)]
mod tests;
