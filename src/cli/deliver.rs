//! `sbft deliver`: prints blocks, or writes them to files.

use std::process::ExitCode;

/// Arguments of `sbft deliver`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

/// Runs it.
pub(super) fn run(_args: Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("`sbft deliver` is not part of this build yet")
}
