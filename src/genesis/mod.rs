//! Keys, certificates and genesis blocks: what `sbft keygen`, `genesis` and `network` make.
//!
//! Everything is written to new files only; nothing here ever replaces a key.

mod authority;
mod block;
mod layout;
mod material;
mod spec;
#[cfg(test)]
mod tests;

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use bytes::Bytes;

pub use authority::{CertificateAuthority, CertificateRequest, Issued, Purpose, Unit};
pub use block::genesis_block;
pub use layout::{KeyAndCertificate, Layout, OrganizationLayout, ReplicaLayout};
pub use material::{
    APPLICATION_MSP, NetworkMaterial, NetworkSpec, ORDERER_MSP, ReplicaAddress, create_member,
    create_organization, create_replica, write_genesis,
};
pub use spec::{
    BatchSpec, ConsensusKind, GenesisSpec, OptionsSpec, OrganizationRole, OrganizationSpec, ReplicaSpec,
    Writers,
};

use crate::channel_config::ConfigError;
use crate::crypto::KeyFileError;

/// Why keys or a genesis block could not be made.
#[derive(Debug, thiserror::Error)]
pub enum GenesisError {
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file or directory cannot be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file or directory.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// A file that would be made is there already.
    #[error(
        "{path} exists already, and is left as it is; name another directory, or remove it if it is not needed"
    )]
    Exists {
        /// The file or directory.
        path: PathBuf,
    },
    /// A file's content cannot be used.
    #[error("{path}: {reason}")]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// A key cannot be made or written.
    #[error(transparent)]
    Key(#[from] KeyFileError),
    /// A certificate cannot be made.
    #[error("cannot make a certificate: {0}; names and hosts in it must be plain ASCII")]
    Certificate(#[from] rcgen::Error),
    /// The values make no configuration that a node would take.
    #[error("the genesis block would be refused: {0}")]
    Config(ConfigError),
    /// The operating system gives no random bytes.
    #[error("the operating system gave no random bytes")]
    NoRandomness,
    /// A time before 1970.
    #[error("a date before 1970; is this machine's clock right?")]
    Clock,
}

impl GenesisError {
    fn read(path: &Path, source: io::Error) -> Self {
        Self::Read { path: path.to_owned(), source }
    }

    fn write(path: &Path, source: io::Error) -> Self {
        Self::Write { path: path.to_owned(), source }
    }

    fn unusable(path: &Path, reason: &str) -> Self {
        Self::Unusable { path: path.to_owned(), reason: reason.to_owned() }
    }
}

fn read_text(path: &Path) -> Result<String, GenesisError> {
    fs::read_to_string(path).map_err(|source| GenesisError::read(path, source))
}

fn read_bytes(path: &Path) -> Result<Bytes, GenesisError> {
    fs::read(path).map(Bytes::from).map_err(|source| GenesisError::read(path, source))
}

/// Writes a new file, and its directory if that is missing.
fn write_new(path: &Path, content: &[u8]) -> Result<(), GenesisError> {
    material::create_parent(path)?;
    let write = || {
        let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
        file.write_all(content)?;
        file.sync_all()
    };
    write().map_err(|source| match source.kind() {
        io::ErrorKind::AlreadyExists => GenesisError::Exists { path: path.to_owned() },
        _ => GenesisError::write(path, source),
    })
}
