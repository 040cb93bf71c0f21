//! `sbft verify`: offline check of ledger directories and block files.

use std::path::PathBuf;
use std::process::ExitCode;

/// Checks ledger directories or block files offline; exit status 0 only if all is well.
#[derive(Clone, Debug, clap::Args)]
pub struct Args {
    /// Ledger directories (each checked by itself), or N.block files (checked together as one chain).
    #[arg(required = true, value_name = "PATH")]
    pub paths: Vec<PathBuf>,
    /// The channel's genesis block (a serialized common.Block): the root of trust.
    #[arg(long, value_name = "FILE")]
    pub genesis: PathBuf,
    /// An unfinished tail of a ledger is a failure too (a running replica's may have one).
    #[arg(long)]
    pub strict_tail: bool,
    /// Print the report as JSON.
    #[arg(long)]
    pub json: bool,
}

/// Runs the check and prints its report.
pub fn run(args: Args) -> anyhow::Result<ExitCode> {
    let _ = args;
    anyhow::bail!("verify is not yet built")
}
