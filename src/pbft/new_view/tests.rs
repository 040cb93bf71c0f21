//! Unit cases of what follows from a set of view-changes.
