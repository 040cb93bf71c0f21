//! Lets reports name the commit that they are about.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-env-changed=SBFT_SIM_COMMIT");
    println!("cargo::rerun-if-changed=build.rs");
    let commit = std::env::var("SBFT_SIM_COMMIT").ok().or_else(described);
    println!("cargo::rustc-env=SBFT_SIM_COMMIT={}", commit.as_deref().unwrap_or("unknown"));
}

/// What git says of the checkout; none outside one, or without git.
fn described() -> Option<String> {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned()).filter(|text| !text.is_empty())
    };
    // A commit moves a branch, or HEAD itself; both leave a line in the log of HEAD.
    let log = git(&["rev-parse", "--git-path", "logs/HEAD"])?;
    if Path::new(&log).exists() {
        println!("cargo::rerun-if-changed={log}");
    }
    git(&["describe", "--always", "--abbrev=12"])
}
