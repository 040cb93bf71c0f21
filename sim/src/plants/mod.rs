//! Does the simulator find what was planted?
//!
//! For one planted bug (`sbft::plant`) schedules are tried until a check fails: random ones as in
//! any campaign, and by turns with them some aimed at the kind of bug (`aim`). The same schedule
//! with the rule in force must pass: otherwise the check cried wolf.

mod aim;

use std::time::{Duration, Instant};

use sbft::plant::{Plant, Plants};

use crate::plan::{Plan, Show};
use crate::scenario::Scenario;
use crate::shrink::{Limits, effective, shrink};
use crate::violation::Violation;

pub use aim::aimed;

/// What came of looking for one planted bug.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The bug.
    pub plant: Plant,
    /// Schedules tried.
    pub seeds: u64,
    /// How long that took, on one thread.
    pub took: Duration,
    /// The schedule that showed it.
    pub found: Option<Found>,
    /// Schedules on the way that fail without the bug too.
    pub alarms: Vec<(Origin, Violation)>,
}

/// A schedule that fails with the bug.
#[derive(Clone, Debug)]
pub struct Found {
    /// Where it came from.
    pub origin: Origin,
    /// The schedule, without the bug.
    pub plan: Plan,
    /// The check that failed.
    pub violation: Violation,
}

/// Where a schedule came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Drawn from this seed, as in any campaign.
    Drawn(u64),
    /// Drawn from this seed and aimed at the bug.
    Aimed(u64),
}

impl Origin {
    /// The schedule.
    pub fn plan(self, plant: Plant) -> Plan {
        match self {
            Self::Drawn(seed) => Plan::draw(seed),
            Self::Aimed(seed) => aimed(plant, seed),
        }
    }
}

/// The smallest scenario that shows a bug.
#[derive(Clone, Debug)]
pub struct Smallest {
    /// It violates the check with the bug, and passes without.
    pub scenario: Scenario,
    /// Effective faults that are left.
    pub faults: usize,
    /// How long making it small took.
    pub took: Duration,
}

impl Found {
    /// The schedule with the bug, as small as it gets within `budget`, as a scenario that must
    /// violate the check. It passes without the bug, as this one does.
    pub fn smallest(&self, plant: Plant, budget: Duration) -> Smallest {
        let planted = self.plan.clone().without_rule(plant);
        let began = Instant::now();
        let stop = |_| began.elapsed() >= budget;
        let small = shrink(&planted, &Limits { jobs: 1, stop: &stop }).map(|shrunk| shrunk.plan);
        let mut plan = small.filter(|plan| self.is_shown_by(plan)).unwrap_or(planted);
        plan.expect.violates = Some(self.violation.check.to_owned());
        let faults = effective(&plan);
        let info = plant.info();
        let about = Some(format!("Planted: {}.", info.sentence));
        let scenario = Scenario { name: Some(format!("{plant}")), about, plan };
        Smallest { scenario, faults, took: began.elapsed() }
    }

    /// The plan fails by the same check, and passes without what is planted.
    fn is_shown_by(&self, plan: &Plan) -> bool {
        let check = plan.run(Show::default()).violation.map(|violation| violation.check);
        let mut sound = plan.clone();
        sound.settings.config.plants = Plants::NONE;
        check == Some(self.violation.check) && sound.run(Show::default()).violation.is_none()
    }
}

/// Tries schedules from `first_seed` on until a check fails or the time is up.
pub fn hunt(plant: Plant, first_seed: u64, budget: Duration) -> Finding {
    let began = Instant::now();
    let (mut seeds, mut alarms) = (0, Vec::new());
    while began.elapsed() < budget {
        let seed = first_seed.wrapping_add(seeds / 2);
        let origin = if seeds % 2 == 0 { Origin::Drawn(seed) } else { Origin::Aimed(seed) };
        seeds += 1;
        let plan = origin.plan(plant);
        let Some(violation) = plan.clone().without_rule(plant).run(Show::default()).violation else {
            continue;
        };
        let took = began.elapsed();
        if let Some(alarm) = plan.run(Show::default()).violation {
            // It fails with the rule in force too: this shows something else than the bug.
            alarms.push((origin, alarm));
            continue;
        }
        return Finding { plant, seeds, took, found: Some(Found { origin, plan, violation }), alarms };
    }
    Finding { plant, seeds, took: began.elapsed(), found: None, alarms }
}
