//! `sbft status`: how each replica of a network is.

use std::process::ExitCode;

/// Arguments of `sbft status`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

/// Runs it.
pub(super) fn run(_args: Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("`sbft status` is not part of this build yet")
}
