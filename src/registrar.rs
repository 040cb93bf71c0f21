//! Channels by name.
