//! Offline check of ledgers and block files; shares no code with the core's certificate checks.

use std::path::PathBuf;

/// What `sbft verify` checks with.
#[derive(Clone, Debug, Default)]
pub struct VerifyOptions {
    /// An unfinished tail of a ledger is a failure (otherwise it is reported and ignored).
    pub strict_tail: bool,
}

/// What was found in one path or set of block files.
#[derive(Clone, Debug)]
pub struct Report {
    /// What was checked.
    pub path: PathBuf,
}
