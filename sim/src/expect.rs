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
        if let Some(most) = self.max_view.filter(|most| report.seen.highest_view > *most) {
            missed.push(format!("highest view: {}, expected {most} at most", report.seen.highest_view));
        }
        if missed.is_empty() { Verdict::Met } else { Verdict::Missed(missed) }
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
