//! How the process ends: the exit codes, all in one place.

use std::process::ExitCode;

use sbft_sim::expect::Verdict;
use sbft_sim::plan::Report;
use sbft_sim::violation::Class;

/// An exit code with its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Exit {
    /// All is well.
    Ok = 0,
    /// No check failed, but what the scenario expects did not come about; or two traces differ;
    /// or a planted bug was not found.
    Unmet = 1,
    /// The command was called wrongly, or given a file that is no good.
    Usage = 2,
    /// Something happened that must never happen.
    Safety = 10,
    /// Something did not happen in time.
    Liveness = 11,
    /// Replicas talk, work or remember without bound.
    Storm = 12,
    /// The code under test panicked, or the simulator did.
    Panic = 13,
    /// The same seed gave two different runs.
    NotDeterministic = 14,
}

impl Exit {
    /// How a run ends the process, by what was expected of it.
    pub(crate) fn of_verdict(verdict: &Verdict, report: &Report) -> Self {
        match verdict {
            Verdict::Met => Self::Ok,
            Verdict::Missed(_) => Self::Unmet,
            Verdict::Broke(_) => Self::of(report),
        }
    }

    /// The same for a run that was made twice, if it was: whether both had the same events.
    pub(crate) fn unless_differing(self, same: Option<bool>) -> Self {
        if same == Some(false) { Self::NotDeterministic } else { self }
    }

    /// The same where some files could not be written: that matters least.
    pub(crate) fn with(self, unwritten: &[String]) -> Self {
        if self == Self::Ok && !unwritten.is_empty() { Self::Usage } else { self }
    }

    /// How a run of one schedule ends the process.
    pub(crate) fn of(report: &Report) -> Self {
        report.violation.as_ref().map_or(Self::Ok, |violation| Self::of_class(violation.class))
    }

    /// How a failed check of this kind ends the process.
    pub(crate) fn of_class(class: Class) -> Self {
        match class {
            Class::Safety => Self::Safety,
            Class::Liveness => Self::Liveness,
            Class::Storm => Self::Storm,
            Class::Panic => Self::Panic,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
