//! Whether the node can order envelopes now, and if not, why: for health checks and `/healthz`.

use serde::Serialize;

use crate::consenter::ChainStatus;
use crate::registrar::Registrar;

/// One reason why the node is not ready.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct FailedCheck {
    /// What is not ready: `node`, or `channel/` and its name.
    pub component: String,
    /// Why, for people.
    pub reason: String,
}

/// Everything that keeps the node from ordering; empty means ready.
pub fn failed_checks(registrar: &Registrar) -> Vec<FailedCheck> {
    let channels = registrar.channels();
    if channels.is_empty() {
        return vec![FailedCheck { component: "node".into(), reason: "no channel is served yet".into() }];
    }
    channels
        .iter()
        .filter_map(|channel| {
            let reason = obstacle(&channel.chain().status())?;
            Some(FailedCheck { component: format!("channel/{}", channel.id()), reason })
        })
        .collect()
}

/// What keeps a chain from ordering.
pub fn obstacle(status: &ChainStatus) -> Option<String> {
    if let Some(failure) = &status.failure {
        return Some(failure.clone());
    }
    let ChainStatus { reachable, consenters, needed, .. } = status;
    (!status.quorum).then(|| format!("no quorum: {reachable} of {consenters} reachable, {needed} needed"))
}
