//! Builds a node from its configuration and runs it until told to stop.

use std::future::Future;

use tokio::signal::unix::{SignalKind, signal};

use crate::node_config::NodeConfig;

/// Why a node cannot start or had to stop.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NodeError(String);

/// Runs a node until `shutdown` is done or the node cannot go on.
pub async fn run(_config: NodeConfig, shutdown: impl Future<Output = ()>) -> Result<(), NodeError> {
    shutdown.await;
    Err(NodeError("not part of this build yet".to_owned()))
}

/// Done when the process is asked to stop (SIGTERM or SIGINT).
pub fn termination() -> std::io::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}
