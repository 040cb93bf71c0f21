//! What a genesis block is made from: a TOML file that a person can write, and the same with the
//! certificates it names read in.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::GenesisError;

/// A genesis specification, `genesis.toml`. Paths are relative to the file's directory. What is
/// left out has the default that `sbft network` uses; an unknown field is an error.
///
/// ```toml
/// channel = "sbft"
///
/// [[organization]]
/// role = "orderer"
/// name = "OrdererOrg"
/// msp_id = "OrdererMSP"
/// ca = ["orderer/ca/cert.pem"]
/// tls_ca = ["orderer/tls-ca/cert.pem"]
///
/// [[organization]]
/// role = "application"
/// name = "Org1"
/// msp_id = "Org1MSP"
/// ca = ["org1/ca/cert.pem"]
///
/// [[replica]]
/// id = 1
/// msp_id = "OrdererMSP"
/// host = "orderer1.example.com"
/// port = 7051
/// endpoint = "orderer1.example.com:7050"
/// identity = "replica-1/identity/cert.pem"
/// cluster = "replica-1/cluster/cert.pem"
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GenesisSpec {
    /// The channel's id.
    pub channel: String,
    /// How the channel orders. Default BFT.
    #[serde(default)]
    pub consensus: ConsensusKind,
    /// Whose envelopes are ordered. Default signed.
    #[serde(default)]
    pub writers: Writers,
    /// Limits of batches and envelopes.
    #[serde(default)]
    pub batch: BatchSpec,
    /// Rules and timers of consensus type BFT.
    #[serde(default)]
    pub options: OptionsSpec,
    /// The organizations; at least one orders.
    #[serde(rename = "organization")]
    pub organizations: Vec<OrganizationSpec>,
    /// The replicas; their order is their place.
    #[serde(rename = "replica", default)]
    pub replicas: Vec<ReplicaSpec>,
}

/// How a channel orders.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ConsensusKind {
    /// Byzantine fault tolerant, any number of replicas.
    #[default]
    #[serde(rename = "BFT")]
    Bft,
    /// One node, for development.
    #[serde(rename = "solo")]
    Solo,
}

/// Whose envelopes are ordered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Writers {
    /// Those of the organizations' members, by their signature.
    #[default]
    Signed,
    /// Anyone's: the Writers policy asks for no signature. Envelopes without any signature are
    /// refused all the same, because verifiers of blocks refuse them.
    Open,
}

/// Limits of batches and envelopes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BatchSpec {
    /// Envelopes per batch. Default 500.
    pub max_message_count: u32,
    /// Bytes per envelope, and per block. Default 10 MiB.
    pub absolute_max_bytes: u32,
    /// Bytes that a batch of more than one envelope may have. Default 2 MiB.
    pub preferred_max_bytes: u32,
    /// How long an envelope may wait for others. Default 200 ms.
    #[serde(with = "go_text")]
    pub timeout: Duration,
}

impl Default for BatchSpec {
    fn default() -> Self {
        Self {
            max_message_count: 500,
            absolute_max_bytes: 10 << 20,
            preferred_max_bytes: 2 << 20,
            timeout: Duration::from_millis(200),
        }
    }
}

/// Rules and timers of consensus type BFT. The defaults give a failover under a second between
/// machines of one network; over wide areas raise all timeouts to several round trips.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OptionsSpec {
    /// Envelopes that may wait at one replica; no more are taken before that, if they wait long to be proposed.
    /// Default 100000.
    pub request_pool_size: u64,
    /// A candidate that waits longer is sent to the primary. Default 200 ms.
    #[serde(with = "go_text")]
    pub forward_timeout: Duration,
    /// Nothing commits for this long while work waits: suspect the primary. Default 500 ms.
    #[serde(with = "go_text")]
    pub complain_timeout: Duration,
    /// How long a view change may take; doubles per failed view. Default 1 s.
    #[serde(with = "go_text")]
    pub view_change_timeout: Duration,
    /// Cap of the doubling. Default 8 s.
    #[serde(with = "go_text")]
    pub view_change_timeout_cap: Duration,
    /// How often replicas exchange their status. Default 100 ms.
    #[serde(with = "go_text")]
    pub resend_interval: Duration,
    /// Block numbers in flight. Default 10.
    pub window: u64,
    /// Blocks within which an envelope is ordered at most once. Default 1000.
    pub dedup_blocks: u64,
    /// And within as many blocks as have this many envelopes, if those are more. Default 200,000.
    pub dedup_envelopes: u64,
    /// Candidates outstanding per origin. Default 16.
    pub candidates_outstanding: u64,
    /// Round times that a primary may sit on a candidate. Default 20.
    pub slow_primary_factor: u64,
}

impl Default for OptionsSpec {
    fn default() -> Self {
        Self {
            request_pool_size: 100_000,
            forward_timeout: Duration::from_millis(200),
            complain_timeout: Duration::from_millis(500),
            view_change_timeout: Duration::from_secs(1),
            view_change_timeout_cap: Duration::from_secs(8),
            resend_interval: Duration::from_millis(100),
            window: 10,
            dedup_blocks: 1000,
            dedup_envelopes: 200_000,
            candidates_outstanding: 16,
            slow_primary_factor: 20,
        }
    }
}

/// What an organization does on the channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OrganizationRole {
    /// Runs replicas.
    Orderer,
    /// Has clients and peers.
    Application,
}

/// One organization.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OrganizationSpec {
    /// What it does.
    pub role: OrganizationRole,
    /// Name of its group in the configuration.
    pub name: String,
    /// Its MSP id.
    pub msp_id: String,
    /// Certificates (PEM files) of the authorities of its members' identities.
    pub ca: Vec<PathBuf>,
    /// Certificates (PEM files) of the authorities between those and its members.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub intermediate_ca: Vec<PathBuf>,
    /// Certificates (PEM files) of its TLS authorities.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tls_ca: Vec<PathBuf>,
}

/// One replica.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReplicaSpec {
    /// Consenter id, from 1.
    pub id: u32,
    /// The organization that runs it.
    pub msp_id: String,
    /// Where other replicas reach it (QUIC, UDP).
    pub host: String,
    /// The UDP port there.
    pub port: u16,
    /// Where clients reach it, `host:port` (gRPC).
    pub endpoint: String,
    /// Its identity certificate (PEM file).
    pub identity: PathBuf,
    /// The TLS certificate it shows to other replicas (PEM file).
    pub cluster: PathBuf,
}

impl GenesisSpec {
    /// Reads `path` and makes the paths in it absolute or relative to the working directory.
    ///
    /// # Errors
    /// The file cannot be read or is no specification; the error names file, line and field.
    pub fn load(path: &Path) -> Result<Self, GenesisError> {
        let text = super::read_text(path)?;
        let mut spec: Self = toml::from_str(&text)
            .map_err(|err| GenesisError::Unusable { path: path.to_owned(), reason: err.to_string() })?;
        let base = path.parent().unwrap_or_else(|| Path::new(""));
        for file in spec.paths() {
            *file = base.join(&*file);
        }
        Ok(spec)
    }

    /// The specification as a TOML file, every field written out.
    pub fn to_toml(&self) -> String {
        toml::to_string(self).expect("every field is a TOML value, and tables come last")
    }

    fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let organizations = self.organizations.iter_mut().flat_map(|organization| {
            organization
                .ca
                .iter_mut()
                .chain(&mut organization.intermediate_ca)
                .chain(&mut organization.tls_ca)
        });
        let replicas =
            self.replicas.iter_mut().flat_map(|replica| [&mut replica.identity, &mut replica.cluster]);
        organizations.chain(replicas)
    }
}

/// Durations as Go writes them, since they end up so in the configuration.
mod go_text {
    use std::time::Duration;

    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    use crate::channel_config::{format_go_duration, parse_go_duration};

    pub(super) fn serialize<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&format_go_duration(*duration))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
        let text = String::deserialize(deserializer)?;
        parse_go_duration(&text).map_err(D::Error::custom)
    }
}
