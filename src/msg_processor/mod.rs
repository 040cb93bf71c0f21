//! Decides which envelopes may be ordered: classification and filters.
