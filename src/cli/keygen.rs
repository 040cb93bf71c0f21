//! `sbft keygen`: one key, and a certificate for it.

use std::process::ExitCode;

/// Arguments of `sbft keygen`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

/// Runs it.
pub(super) fn run(_args: Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("`sbft keygen` is not part of this build yet")
}
