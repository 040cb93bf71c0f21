//! `sbft node`: one replica, from its configuration file until it is told to stop.

use std::path::PathBuf;
use std::process::ExitCode;

use crate::node;
use crate::node_config::NodeConfig;

/// Arguments of `sbft node`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The node's configuration (TOML); relative paths in it start from the file's own directory
    #[arg(long, value_name = "FILE", env = "SBFT_NODE_CONFIG")]
    config: PathBuf,
}

/// Runs the node until SIGTERM or SIGINT (exit status 0) or until it cannot go on (1).
pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = NodeConfig::load(&args.config)?;
    super::block_on(async move {
        node::run(config, node::termination()?).await?;
        Ok(ExitCode::SUCCESS)
    })
}
