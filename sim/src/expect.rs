//! What a plan says must come of its run, and whether it did.

use std::collections::BTreeMap;

use crate::plan::Report;
use crate::violation::{Class, Violation};

/// What must come of a run. The default: nothing breaks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expect {
    /// No safety check may fail (nor any other but the one for liveness).
    pub safety: bool,
    /// Everything owed commits in time.
    pub liveness: bool,
    /// This must be violated: a check by its name, or a class ("safety", "liveness", "storm",
    /// "panic"). For controls, which show that the checks notice.
    pub violates: Option<String>,
    /// How often each attack must have acted at least.
    pub acted: BTreeMap<String, u64>,
    /// Least highest view that an honest replica entered.
    pub min_view: Option<u64>,
    /// Greatest highest view.
    pub max_view: Option<u64>,
    /// Least length of the chain.
    pub min_blocks: Option<u64>,
    /// How often honest replicas must have crashed at least.
    pub min_crashes: Option<u64>,
    /// How often disks must have gone wrong at least, by what they did; see [`crate::disk::TOLL`].
    pub disk: BTreeMap<String, u64>,
    /// Replicas that must have stopped by themselves, each with a part of the reason it gives.
    pub stopped: BTreeMap<u16, String>,
    /// Replicas that must have refused to start, each with a part of the reason it gives.
    pub refused: BTreeMap<u16, String>,
    /// Replicas that must be down in the end.
    pub down: Vec<u16>,
    /// Replicas that must be up in the end, with the whole chain.
    pub caught_up: Vec<u16>,
}

impl Default for Expect {
    fn default() -> Self {
        Self {
            safety: true,
            liveness: true,
            violates: None,
            acted: BTreeMap::new(),
            min_view: None,
            max_view: None,
            min_blocks: None,
            min_crashes: None,
            disk: BTreeMap::new(),
            stopped: BTreeMap::new(),
            refused: BTreeMap::new(),
            down: Vec::new(),
            caught_up: Vec::new(),
        }
    }
}

/// What a run came to, by what was expected of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All as expected.
    Met,
    /// A check failed that must hold.
    Broke(Violation),
    /// No check failed that must hold, but these expectations were not met.
    Missed(Vec<String>),
}

impl Expect {
    /// Judges a run.
    pub fn judge(&self, report: &Report) -> Verdict {
        let mut missed = Vec::new();
        match (&report.violation, &self.violates) {
            (Some(violation), Some(wanted)) if is_named(violation, wanted) => {}
            (Some(violation), _) if !self.tolerates(violation) => return Verdict::Broke(violation.clone()),
            (_, Some(wanted)) => missed.push(format!("`{wanted}` should have been violated and was not")),
            _ => {}
        }
        let mut at_least = |what: &str, count: u64, wanted: Option<u64>| {
            if let Some(wanted) = wanted.filter(|wanted| count < *wanted) {
                missed.push(format!("{what}: {count}, expected {wanted} at least"));
            }
        };
        at_least("highest view", report.seen.highest_view, self.min_view);
        at_least("blocks", report.seen.blocks, self.min_blocks);
        at_least("crashes", report.seen.crashes, self.min_crashes);
        for (attack, wanted) in &self.acted {
            let acted = report.attacks.get(attack).copied().unwrap_or(0);
            at_least(&format!("times that {attack} acted"), acted, Some(*wanted));
        }
        for (what, wanted) in &self.disk {
            let count = report.disk.get(what).copied().unwrap_or(0);
            at_least(&format!("times that a disk did {what}"), count, Some(*wanted));
        }
        self.fates(report, &mut missed);
        if let Some(most) = self.max_view.filter(|most| report.seen.highest_view > *most) {
            missed.push(format!("highest view: {}, expected {most} at most", report.seen.highest_view));
        }
        if missed.is_empty() { Verdict::Met } else { Verdict::Missed(missed) }
    }

    /// What must have become of some replicas.
    fn fates(&self, report: &Report, missed: &mut Vec<String>) {
        let fate = |place: &u16| report.fates.get(usize::from(*place));
        let given = |reasons: &[String]| match reasons {
            [] => "it never did".to_owned(),
            some => format!("it said: {}", some.join("; ")),
        };
        for (place, part) in &self.stopped {
            let reasons = fate(place).map_or(&[][..], |fate| &fate.stopped);
            if !reasons.iter().any(|reason| reason.contains(part)) {
                missed.push(format!("r{place} should have stopped with `{part}`; {}", given(reasons)));
            }
        }
        for (place, part) in &self.refused {
            let reasons = fate(place).map_or(&[][..], |fate| &fate.refused);
            if !reasons.iter().any(|reason| reason.contains(part)) {
                missed
                    .push(format!("r{place} should have refused to start with `{part}`; {}", given(reasons)));
            }
        }
        let down = self.down.iter().filter(|place| fate(place).is_some_and(|fate| fate.up));
        missed.extend(down.map(|place| format!("r{place} should be down in the end, and is up")));
        for place in &self.caught_up {
            let why = match fate(place) {
                Some(fate) if fate.up && fate.blocks >= report.seen.blocks => continue,
                Some(fate) if fate.up => format!("has {} blocks of {}", fate.blocks, report.seen.blocks),
                _ => "is down".to_owned(),
            };
            missed.push(format!("r{place} should be up in the end with the whole chain, and {why}"));
        }
    }

    fn tolerates(&self, violation: &Violation) -> bool {
        match violation.class {
            Class::Liveness => !self.liveness,
            _ => !self.safety,
        }
    }
}

/// The violation is of this check or class.
pub fn is_named(violation: &Violation, name: &str) -> bool {
    violation.check == name || format!("{:?}", violation.class).eq_ignore_ascii_case(name)
}
