//! `sbft submit`: signs and submits envelopes.

use std::process::ExitCode;

/// Arguments of `sbft submit`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

/// Runs it.
pub(super) fn run(_args: Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("`sbft submit` is not part of this build yet")
}
