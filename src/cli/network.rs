//! `sbft network`: a network of replicas on this machine.

use std::process::ExitCode;

/// Arguments of `sbft network`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

/// Runs it.
pub(super) fn run(_args: Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("`sbft network` is not part of this build yet")
}
