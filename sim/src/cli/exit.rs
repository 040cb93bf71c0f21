//! How the process ends: the exit codes, all in one place.

use std::process::ExitCode;

use sbft_sim::plan::Report;
use sbft_sim::violation::Class;

/// An exit code with its meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Exit {
    /// All is well.
    Ok = 0,
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
