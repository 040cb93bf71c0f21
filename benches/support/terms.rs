//! Under which terms a figure was measured; printed with every table.

use std::fmt;
use std::process::Command;

/// A short mode shows that the bench works and measures nothing: `cargo test --bench NAME`, or
/// `cargo bench --bench NAME -- --test`.
pub(crate) fn is_short() -> bool {
    let given = |flag| std::env::args().any(|argument| argument == flag);
    given("--test") || !given("--bench")
}

/// What a figure means.
#[derive(Clone, Debug)]
pub(crate) struct Terms {
    /// Replicas.
    pub(crate) n: usize,
    /// What is ordered or handled, with its size.
    pub(crate) payload: String,
    /// How replicas and clients sign, and whether clients' signatures are checked.
    pub(crate) signatures: &'static str,
    /// What is synced to disk, and when.
    pub(crate) sync: &'static str,
    /// How messages travel.
    pub(crate) transport: &'static str,
}

impl fmt::Display for Terms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "  n {}; payload: {}", self.n, self.payload)?;
        writeln!(f, "  signatures: {}", self.signatures)?;
        writeln!(f, "  sync: {}", self.sync)?;
        writeln!(f, "  transport: {}", self.transport)?;
        write!(f, "  {}", machine())
    }
}

/// Commit, cores and build, in one line.
fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let build = match (is_short(), cfg!(debug_assertions)) {
        (true, _) => "SHORT MODE, no figure counts",
        (false, true) => "NOT OPTIMISED, no figure counts",
        (false, false) => "optimised",
    };
    format!("commit {}; {cores} cores for everything, client included; {build}", commit())
}

/// The commit of the working tree, `-dirty` if it has changes.
fn commit() -> String {
    let described = Command::new("git")
        .args(["describe", "--always", "--dirty", "--abbrev=10", "--exclude=*"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output();
    match described {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        _ => "unknown (no git here)".to_owned(),
    }
}
