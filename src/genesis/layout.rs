//! Where the files of a network are, below one directory.
//!
//! ```text
//! DIR/genesis.toml                 what the genesis block was made from
//! DIR/genesis.block
//! DIR/crypto/orderer/ca/           cert.pem and key.pem of the orderer organization's CA
//! DIR/crypto/orderer/tls-ca/       of its TLS CA, which all replicas' TLS certificates come from
//! DIR/crypto/orderer/admin/
//! DIR/crypto/org1/ca/ tls-ca/ admin/ client-1/ client-2/ …
//! DIR/replica-1/node.toml          the node's settings (written by the command line)
//! DIR/replica-1/identity/          cert.pem and key.pem that sign votes and blocks
//! DIR/replica-1/cluster/           of the connections between replicas, pinned in the genesis
//! DIR/replica-1/tls/               of the listener for clients
//! DIR/replica-1/data/              ledgers and logs
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use super::GenesisError;
use crate::crypto::write_key_file;

/// A certificate file and the file of its private key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyAndCertificate {
    /// Certificate, PEM.
    pub certificate: PathBuf,
    /// Private key, PKCS#8 PEM, readable by its owner only.
    pub key: PathBuf,
}

impl KeyAndCertificate {
    /// `cert.pem` and `key.pem` in `directory`.
    pub fn in_directory(directory: impl AsRef<Path>) -> Self {
        let directory = directory.as_ref();
        Self { certificate: directory.join("cert.pem"), key: directory.join("key.pem") }
    }

    /// Writes both files, the key first, and the directory if it is missing.
    ///
    /// # Errors
    /// One of them exists (it is left as it is) or cannot be written.
    pub(super) fn write(&self, certificate: &str, key: &str) -> Result<(), GenesisError> {
        for file in [&self.certificate, &self.key] {
            if file.exists() {
                return Err(GenesisError::Exists { path: file.clone() });
            }
        }
        if let Some(directory) = self.key.parent() {
            fs::create_dir_all(directory).map_err(|source| GenesisError::write(directory, source))?;
        }
        write_key_file(&self.key, key)?;
        super::write_new(&self.certificate, certificate.as_bytes())
    }
}

/// The directories of one organization's authorities and members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrganizationLayout {
    /// The organization's directory.
    pub root: PathBuf,
}

impl OrganizationLayout {
    /// The organization in `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The authority of members' identities.
    pub fn ca(&self) -> KeyAndCertificate {
        KeyAndCertificate::in_directory(self.root.join("ca"))
    }

    /// The authority of TLS certificates.
    pub fn tls_ca(&self) -> KeyAndCertificate {
        KeyAndCertificate::in_directory(self.root.join("tls-ca"))
    }

    /// The administrator.
    pub fn admin(&self) -> KeyAndCertificate {
        KeyAndCertificate::in_directory(self.root.join("admin"))
    }

    /// The client `number`, from 1.
    pub fn client(&self, number: usize) -> KeyAndCertificate {
        KeyAndCertificate::in_directory(self.root.join(format!("client-{number}")))
    }
}

/// The directory of one replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaLayout {
    /// The replica's directory.
    pub root: PathBuf,
}

impl ReplicaLayout {
    /// The replica in `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The node's settings, TOML.
    pub fn config(&self) -> PathBuf {
        self.root.join("node.toml")
    }

    /// What signs votes and blocks.
    pub fn identity(&self) -> KeyAndCertificate {
        KeyAndCertificate::in_directory(self.root.join("identity"))
    }

    /// TLS between replicas, in both directions.
    pub fn cluster(&self) -> KeyAndCertificate {
        KeyAndCertificate::in_directory(self.root.join("cluster"))
    }

    /// TLS of the listener for clients.
    pub fn tls(&self) -> KeyAndCertificate {
        KeyAndCertificate::in_directory(self.root.join("tls"))
    }

    /// Ledgers and logs.
    pub fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    /// What the node logs, when the network's command keeps it.
    pub fn log(&self) -> PathBuf {
        self.root.join("node.log")
    }
}

/// The directory of a network.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The network's directory.
    pub root: PathBuf,
}

impl Layout {
    /// The network in `root`.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The genesis block, a serialized `common.Block`.
    pub fn genesis_block(&self) -> PathBuf {
        self.root.join("genesis.block")
    }

    /// What the genesis block was made from, TOML.
    pub fn genesis_spec(&self) -> PathBuf {
        self.root.join("genesis.toml")
    }

    /// All authorities' and clients' keys.
    pub fn crypto(&self) -> PathBuf {
        self.root.join("crypto")
    }

    /// The organization that orders.
    pub fn orderer(&self) -> OrganizationLayout {
        OrganizationLayout::new(self.crypto().join("orderer"))
    }

    /// The organization of the clients.
    pub fn application(&self) -> OrganizationLayout {
        OrganizationLayout::new(self.crypto().join("org1"))
    }

    /// The replica with consenter id `id`, from 1.
    pub fn replica(&self, id: u32) -> ReplicaLayout {
        ReplicaLayout::new(self.root.join(format!("replica-{id}")))
    }
}
