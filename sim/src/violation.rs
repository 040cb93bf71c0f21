//! A check that failed, and what kind of promise it was about.

use std::fmt;

use sbft::types::Time;

/// What kind of promise was broken; each has its own exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Class {
    /// Something that must never happen did.
    Safety,
    /// Something that must happen in time did not.
    Liveness,
    /// Replicas talk or work without bound.
    Storm,
    /// The code panicked.
    Panic,
}

impl Class {
    /// The exit code of a run that fails like this.
    pub fn exit_code(self) -> i32 {
        match self {
            Self::Safety => 10,
            Self::Liveness => 11,
            Self::Storm => 12,
            Self::Panic => 13,
        }
    }
}

/// There is a check or a class of this name.
pub fn is_known(name: &str) -> bool {
    let classes = [Class::Safety, Class::Liveness, Class::Storm, Class::Panic];
    crate::checks::invariant_of(name).is_some()
        || classes.iter().any(|class| format!("{class:?}").eq_ignore_ascii_case(name))
}

/// A check that failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// What kind.
    pub class: Class,
    /// The check's name.
    pub check: &'static str,
    /// What happened.
    pub text: String,
    /// When.
    pub at: Time,
}

impl Violation {
    pub(crate) fn new(class: Class, check: &'static str, text: String) -> Self {
        Self { class, check, text, at: Time::ZERO }
    }

    /// The check with the invariant that it belongs to, as people see it: `I1 agreement`.
    pub fn id(&self) -> String {
        match crate::checks::invariant_of(self.check) {
            Some(invariant) if invariant != self.check => format!("{invariant} {}", self.check),
            _ => self.check.to_owned(),
        }
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} ({}) at {}: {}", self.class, self.id(), self.at, self.text)
    }
}
