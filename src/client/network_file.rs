//! `DIR/network.json`: all that another program needs to talk to a network that `sbft network` runs.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

/// File name inside the network's directory.
pub const FILE_NAME: &str = "network.json";

/// A running network. Paths are absolute, addresses are `host:port`, ids count from 1.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NetworkFile {
    /// Channel id.
    pub channel: String,
    /// The channel's genesis block (a serialized `common.Block`).
    pub genesis: PathBuf,
    /// The replicas, by id.
    pub replicas: Vec<ReplicaEntry>,
    /// The client identity that `sbft submit` uses unless told otherwise: the first of `clients`.
    pub client: IdentityFiles,
    /// All client identities.
    pub clients: Vec<IdentityFiles>,
    /// The application organization's administrator.
    pub admin: IdentityFiles,
    /// CA certificate of the replicas' TLS certificates (PEM file); null for a plaintext network.
    pub tls_ca: Option<PathBuf>,
}

/// One replica of the network.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReplicaEntry {
    /// Consenter id, from 1.
    pub id: u32,
    /// Where clients call AtomicBroadcast.
    pub grpc: String,
    /// Where the other replicas connect (UDP).
    pub quic: String,
    /// Operations listener: health, status, metrics.
    pub ops: String,
    /// Process id; null while it is down.
    pub pid: Option<u32>,
    /// Its directory: configuration, log file, data.
    pub dir: PathBuf,
    /// Its ledger directory for the channel, which `sbft verify` reads.
    pub ledger: PathBuf,
}

/// An identity: who, certificate and key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdentityFiles {
    /// The organization.
    pub msp_id: String,
    /// Certificate, PEM.
    pub cert: PathBuf,
    /// Private key, PKCS#8 PEM.
    pub key: PathBuf,
}

/// Why a network file could not be used.
#[derive(Debug, thiserror::Error)]
pub enum NetworkFileError {
    /// It cannot be read.
    #[error(
        "cannot read {path}: {source}; is a network running there? start one with: sbft network --dir {dir}"
    )]
    Read {
        /// The file.
        path: PathBuf,
        /// The directory that was named.
        dir: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// It is not what `sbft network` writes.
    #[error("{path} is not a network file: {source}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and where.
        source: serde_json::Error,
    },
    /// It cannot be written.
    #[error("cannot write {path}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
    /// A replica id that the network does not have.
    #[error("there is no replica {id} in this network; it has 1 to {count}")]
    NoReplica {
        /// The id asked for.
        id: u32,
        /// How many there are.
        count: usize,
    },
}

impl NetworkFile {
    /// Reads `dir/network.json`.
    ///
    /// # Errors
    /// When the file cannot be read or is not a network file.
    pub fn load(dir: &Path) -> Result<Self, NetworkFileError> {
        let path = dir.join(FILE_NAME);
        let text = std::fs::read_to_string(&path).map_err(|source| NetworkFileError::Read {
            path: path.clone(),
            dir: dir.to_owned(),
            source,
        })?;
        serde_json::from_str(&text).map_err(|source| NetworkFileError::Parse { path, source })
    }

    /// Writes `dir/network.json` in one move, so that a reader sees the old file or the new one.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn store(&self, dir: &Path) -> Result<(), NetworkFileError> {
        let path = dir.join(FILE_NAME);
        let partial = dir.join(".network.json.partial");
        let text = serde_json::to_string_pretty(self).expect("strings, numbers and paths serialize");
        let write = || -> std::io::Result<()> {
            let mut file = std::fs::File::create(&partial)?;
            file.write_all(text.as_bytes())?;
            file.write_all(b"\n")?;
            file.sync_all()?;
            std::fs::rename(&partial, &path)
        };
        write().map_err(|source| NetworkFileError::Write { path: path.clone(), source })
    }

    /// The replica with this consenter id.
    ///
    /// # Errors
    /// When the network has none.
    pub fn replica(&self, id: u32) -> Result<&ReplicaEntry, NetworkFileError> {
        self.replicas
            .iter()
            .find(|replica| replica.id == id)
            .ok_or(NetworkFileError::NoReplica { id, count: self.replicas.len() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_stored_is_loaded_and_pids_may_be_null() {
        let dir = tempfile::tempdir().unwrap();
        let identity =
            IdentityFiles { msp_id: "Org1MSP".into(), cert: "/n/c.pem".into(), key: "/n/k.pem".into() };
        let file = NetworkFile {
            channel: "sbft".into(),
            genesis: "/n/genesis.block".into(),
            replicas: vec![ReplicaEntry {
                id: 1,
                grpc: "127.0.0.1:7050".into(),
                quic: "127.0.0.1:7051".into(),
                ops: "127.0.0.1:7052".into(),
                pid: None,
                dir: "/n/replica-1".into(),
                ledger: "/n/replica-1/data/ledger".into(),
            }],
            client: identity.clone(),
            clients: vec![identity.clone()],
            admin: identity,
            tls_ca: None,
        };
        file.store(dir.path()).unwrap();
        assert_eq!(NetworkFile::load(dir.path()).unwrap(), file);
        assert!(file.replica(2).unwrap_err().to_string().contains("no replica 2"));
        let missing = NetworkFile::load(&dir.path().join("none")).unwrap_err().to_string();
        assert!(missing.contains("sbft network"), "{missing}");
    }
}
