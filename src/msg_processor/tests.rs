//! The filters' verdicts.
