//! The search for schedules that break something.

pub mod profile;
