//! The command line: one file per subcommand, and what they share.
//!
//! Each subcommand is a file with `Args` (clap) and `run(args)`. What goes wrong is returned as
//! an error and printed once, here; a subcommand prints only its own output.

mod deliver;
mod genesis;
mod keygen;
mod lies;
mod load;
mod network;
mod node;
#[cfg(feature = "liar")]
mod robustness;
mod status;
mod submit;
mod verify;

use std::fmt::Display;
use std::future::Future;
use std::io::{ErrorKind, Write as _};
use std::num::NonZeroUsize;
use std::process::ExitCode;

use crate::client::connect::chain_of_causes;
use crate::crypto::KeyKind;
use anyhow::Context as _;
use clap::{Parser, Subcommand};

/// A build from which rules can be taken away, or that can lie, says so, and is for tests only: nobody
/// orders with it.
const VERSION: &str = match (cfg!(feature = "plant"), cfg!(feature = "liar")) {
    (true, true) => concat!(env!("CARGO_PKG_VERSION"), " with planted bugs and a liar, for tests only"),
    (true, false) => concat!(env!("CARGO_PKG_VERSION"), " with planted bugs, for tests only"),
    (false, true) => concat!(env!("CARGO_PKG_VERSION"), " with a liar, for tests only"),
    (false, false) => env!("CARGO_PKG_VERSION"),
};

/// A Byzantine-fault-tolerant block-ordering engine.
///
/// Clients hand it signed envelopes over gRPC; n replicas agree on one chain of signed blocks,
/// even if f = (n - 1) / 3 of them lie. Start with `sbft network --load 50`.
#[derive(Debug, Parser)]
#[command(name = "sbft", version = VERSION, propagate_version = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a network of replicas on this machine, one process each
    Network(network::Args),
    /// Run one replica
    Node(node::Args),
    /// Make the keys, configurations and genesis block of a network
    Genesis(genesis::Args),
    /// Make one key, and a certificate request or self-signed certificate for it
    Keygen(keygen::Args),
    /// Sign and submit envelopes
    Submit(submit::Args),
    /// Measure latency and throughput
    Load(Box<load::Args>),
    /// Print blocks, or write them to files
    Deliver(deliver::Args),
    /// Show how each replica of a network is
    Status(status::Args),
    /// Check a ledger or block files, offline
    Verify(verify::Args),
    /// Measure a network under attack by one of its replicas or clients
    #[cfg(feature = "liar")]
    Robustness(robustness::Args),
    /// Measure a network under attack; only in builds with the feature `liar`
    #[cfg(not(feature = "liar"))]
    #[command(hide = true)]
    Robustness(lies::Refused),
}

/// Runs the program with the process's own arguments.
///
/// Exit status: 0 when all is well, 1 when something failed (the reason is on standard error),
/// 2 when the arguments are wrong.
pub fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Network(args) => network::run(args),
        Command::Node(args) => node::run(args),
        Command::Genesis(args) => genesis::run(args),
        Command::Keygen(args) => keygen::run(args),
        Command::Submit(args) => submit::run(args),
        Command::Load(args) => load::run(*args),
        Command::Deliver(args) => deliver::run(args),
        Command::Status(args) => status::run(args),
        Command::Verify(args) => verify::run(args),
        #[cfg(feature = "liar")]
        Command::Robustness(args) => robustness::run(args),
        #[cfg(not(feature = "liar"))]
        Command::Robustness(_) => Ok(lies::refuse()),
    };
    outcome.unwrap_or_else(|error| {
        if error.is::<OutputClosed>() {
            return ExitCode::SUCCESS;
        }
        eprintln!("sbft: {}", chain_of_causes(error.as_ref()));
        ExitCode::FAILURE
    })
}

/// Who read our standard output has gone away, as `head` does when it has seen enough. Not worth
/// a message: the command ends, as it would after its last line.
#[derive(Debug, thiserror::Error)]
#[error("standard output is closed")]
struct OutputClosed;

/// Prints a line to standard output.
///
/// # Errors
/// [`OutputClosed`] when nobody reads any more; another error when it cannot be written.
fn say(text: impl Display) -> anyhow::Result<()> {
    match writeln!(std::io::stdout(), "{text}") {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(OutputClosed.into()),
        Err(error) => Err(error).context("cannot write to standard output"),
    }
}

/// `--key`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Key {
    Ed25519,
    P256,
}

impl From<Key> for KeyKind {
    fn from(key: Key) -> Self {
        match key {
            Key::Ed25519 => Self::Ed25519,
            Key::P256 => Self::EcdsaP256,
        }
    }
}

/// Runs `future` to its end on a multi-threaded runtime with a thread for each core.
fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    block_on_threads(None, future)
}

/// The same with this many threads.
fn block_on_threads<T>(
    threads: Option<NonZeroUsize>,
    future: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if let Some(threads) = threads {
        runtime.worker_threads(threads.get());
    }
    runtime.enable_all().build().context("the asynchronous runtime cannot start")?.block_on(future)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::Cli;

    #[test]
    fn the_definition_of_all_arguments_is_consistent() {
        Cli::command().debug_assert();
    }
}
