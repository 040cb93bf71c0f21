//! `sbft node`: one replica, from its configuration file until it is told to stop.

use std::path::PathBuf;
use std::process::ExitCode;

use super::lies::{self, Lie};
use crate::node;
use crate::node_config::NodeConfig;

/// Arguments of `sbft node`.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The node's configuration (TOML); relative paths in it start from the file's own directory
    #[arg(long, value_name = "FILE", env = "SBFT_NODE_CONFIG")]
    config: PathBuf,
    /// Stop when standard input ends: for a parent process whose end must be this one's too
    #[arg(long, hide = true)]
    until_stdin_ends: bool,
    /// Lie to the other replicas, for measurements; only in builds with the feature `liar`
    #[arg(long, value_name = "LIE", value_parser = lies::lie, hide = cfg!(not(feature = "liar")))]
    lie: Vec<Lie>,
    /// Be honest until SIGUSR1 comes
    #[arg(long, requires = "lie", hide = cfg!(not(feature = "liar")))]
    lie_on_signal: bool,
}

/// Runs the node until SIGTERM or SIGINT (exit status 0) or until it cannot go on (1).
pub(super) fn run(args: Args) -> anyhow::Result<ExitCode> {
    let config = NodeConfig::load(&args.config)?;
    super::block_on_threads(config.threads, async move {
        lies::begin(args.lie, args.lie_on_signal)?;
        let told = node::termination()?;
        let shutdown = async {
            if args.until_stdin_ends {
                tokio::select! {
                    () = told => {}
                    () = stdin_ends() => {}
                }
            } else {
                told.await;
            }
        };
        node::run(config, shutdown).await?;
        Ok(ExitCode::SUCCESS)
    })
}

async fn stdin_ends() {
    let (ended, end) = tokio::sync::oneshot::channel();
    // A thread of its own: a read of standard input cannot be given up, and must not keep the
    // runtime from ending.
    std::thread::spawn(move || {
        // Whatever is read is of no interest, and an error is an end too.
        let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
        let _ = ended.send(());
    });
    let _ = end.await;
}
