//! `sbft verify`: checks a ledger or block files, offline.

use std::process::ExitCode;

/// Arguments of `sbft verify`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

/// Runs it.
pub(super) fn run(_args: Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("`sbft verify` is not part of this build yet")
}
