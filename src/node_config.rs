//! The local settings of one node (TOML).

use std::path::Path;

/// The settings of one node.
#[derive(Clone, Debug)]
pub struct NodeConfig {}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NodeConfigError(String);

impl NodeConfig {
    /// Reads the file.
    pub fn load(path: &Path) -> Result<Self, NodeConfigError> {
        Err(NodeConfigError(format!("{}: not readable in this build yet", path.display())))
    }
}
