//! Load on a network and what came of it: the engine of `sbft load`, for benches too.
//!
//! A run sends envelopes of its own making at given times ([`Plan`]) to the replicas of a
//! [`Target`], finds them again in the blocks that one replica delivers, and tells latency,
//! throughput and cost in a [`Report`]. It measures from outside, as a client: it knows nothing of
//! replicas' insides, and never judges a network by what a replica says of itself.

mod fault;
mod flight;
mod lane;
mod marker;
mod mint;
mod pace;
pub mod page;
mod plan;
mod process;
mod record;
mod report;
mod run;
mod series;
mod sweep;
mod target;
mod watch;

pub use fault::{Action, Fault, Victim};
pub use plan::{Pace, Plan, To};
pub use report::{
    BlockLimits, Client, FaultReport, Latency, MachineReport, Range, Report, Sample, Settings, Summary,
};
pub use run::{Observer, Phase, Silent, run, runs, smallest_size};
pub use series::{Point, Series};
pub use sweep::{Step, Sweep, SweepPlan, sweep};
pub use target::{Endpoint, Target};

use crate::client::envelope::MakeError;
use crate::client::network_file::NetworkFileError;

/// Why a run could not be made or ended early.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// What was asked for cannot be done.
    #[error("{0}")]
    Plan(String),
    /// No envelope is that small.
    #[error(
        "--size {wanted} is too small: an envelope {identity} has at least {smallest} bytes; \
         give --size {smallest} or more"
    )]
    Size {
        /// What was asked for, bytes.
        wanted: usize,
        /// The smallest that is possible, bytes.
        smallest: usize,
        /// Whose envelope.
        identity: &'static str,
    },
    /// A client's identity, or a file that it needs, cannot be used.
    #[error("cannot use a client's identity: {0}")]
    Identity(String),
    /// The same, from the client.
    #[error(transparent)]
    Make(#[from] MakeError),
    /// The network's file cannot be used.
    #[error(transparent)]
    Network(#[from] NetworkFileError),
    /// No replica can be used.
    #[error("no replica can be used: {0}")]
    Unreachable(String),
    /// Nothing came.
    #[error("{0}")]
    Nothing(String),
    /// A fault could not be injected or undone.
    #[error("{0}")]
    Fault(String),
    /// A thread or task of the load itself failed.
    #[error("the load generator failed: {0}; please report this")]
    Internal(String),
}
