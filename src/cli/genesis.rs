//! `sbft genesis`: keys, configurations and genesis block of a network.

use std::process::ExitCode;

/// Arguments of `sbft genesis`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {}

/// Runs it.
pub(super) fn run(_args: Args) -> anyhow::Result<ExitCode> {
    anyhow::bail!("`sbft genesis` is not part of this build yet")
}
