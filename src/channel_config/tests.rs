//! Refusals with their paths.
