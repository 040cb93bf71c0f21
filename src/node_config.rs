//! The local settings of one node (TOML): addresses, keys, paths, limits.
//!
//! What all consenters must agree on stands in the channel configuration instead. A minimal file:
//!
//! ```toml
//! id = 1
//! genesis = "genesis.block"
//!
//! [identity]
//! msp_id = "OrdererOrg"
//! certificate = "identity/cert.pem"
//! key = "identity/key.pem"
//!
//! [cluster]
//! certificate = "cluster/cert.pem"
//! key = "cluster/key.pem"
//! ```

mod comments;
#[cfg(test)]
mod tests;
mod text;

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The settings of one node. Every field that has a default may be left out; a field that does
/// not exist is an error, so that a misspelt one is not silently without effect.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NodeConfig {
    /// This node's consenter id, as the channel's consenter mapping gives it; from 1.
    pub id: u32,
    /// The channel's genesis block (serialized `common.Block`). Read at every start; a data
    /// directory that belongs to another genesis is refused.
    pub genesis: PathBuf,
    /// Where ledgers and logs are. Default `data`. Put it on a disk of its own if you can: every
    /// block is synced to it.
    #[serde(default = "default_data_dir")]
    pub data_dir: PathBuf,
    /// Threads that run this node's tasks: connections, protocol, clients. Default: one for each core.
    /// (Signatures are checked on other threads, one for each core.) Fewer where nodes share a machine:
    /// each thread beyond the cores that a node has to itself costs it time with every message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub threads: Option<NonZeroUsize>,
    /// Who this node is to other replicas and to verifiers of blocks.
    pub identity: IdentityConfig,
    /// The listeners.
    #[serde(default)]
    pub listen: ListenConfig,
    /// TLS of the clients' gRPC listener; without this table it is plain text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tls: Option<TlsConfig>,
    /// Keys of the connections between replicas.
    pub cluster: ClusterConfig,
    /// How `Broadcast` answers.
    #[serde(default)]
    pub broadcast: BroadcastConfig,
    /// How `Deliver` judges requests.
    #[serde(default)]
    pub deliver: DeliverConfig,
    /// What one client, and all together, may use.
    #[serde(default)]
    pub limits: LimitsConfig,
    /// What is logged, and how.
    #[serde(default)]
    pub log: LogConfig,
    /// How the data directory is written.
    #[serde(default)]
    pub storage: StorageConfig,
}

/// The enrolment identity with which a node signs blocks and votes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IdentityConfig {
    /// The MSP the certificate belongs to.
    pub msp_id: String,
    /// The X.509 certificate (PEM); must be the one in this node's consenter entry.
    pub certificate: PathBuf,
    /// Its private key (PKCS#8 PEM, Ed25519 or ECDSA P-256); readable by the owner only.
    pub key: PathBuf,
}

/// Addresses to listen on. Port 0 takes a free port.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ListenConfig {
    /// Clients: gRPC `AtomicBroadcast`, health and reflection. Default `0.0.0.0:7050`.
    pub grpc: SocketAddr,
    /// Other replicas: QUIC over UDP. Default `0.0.0.0:7051`.
    pub quic: SocketAddr,
    /// Operations over plain HTTP: health, metrics, log filter, status. It has no authentication,
    /// and `PUT /logspec` changes the log: keep it on the loopback or an operators' network.
    /// Default `127.0.0.1:8443`.
    pub ops: SocketAddr,
}

/// TLS towards clients.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// The server's certificate, followed by its intermediates (PEM).
    pub certificate: PathBuf,
    /// Its private key (PEM).
    pub key: PathBuf,
    /// CAs (PEM, one or more) that clients' certificates must come from. With it TLS is mutual:
    /// clients without such a certificate cannot connect, and `Deliver` requests must name it in
    /// `tls_cert_hash`. Without it clients stay anonymous to TLS.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_ca: Option<PathBuf>,
}

/// TLS between replicas: both sides always show a certificate, and each must be exactly the one
/// that the channel configuration pins for its consenter.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClusterConfig {
    /// The certificate (PEM) that this node's consenter entry names for server and client.
    pub certificate: PathBuf,
    /// Its private key (PKCS#8 PEM).
    pub key: PathBuf,
    /// Largest UDP payload to try, 1200 to 6500 bytes. Raising it above the default doubles the
    /// throughput between replicas, but only where every hop takes such packets: the loopback and
    /// networks with jumbo frames. Default 1452.
    #[serde(default = "default_max_mtu")]
    pub max_mtu: u16,
    /// UDP send and receive buffer, bytes; the system may allow less. Smaller ones lose packets
    /// under load. Default 4 MiB.
    #[serde(default = "default_socket_buffer")]
    pub socket_buffer_bytes: usize,
}

/// What an answer SUCCESS of `Broadcast` means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Success {
    /// Accepted for ordering, as in Fabric: lost if this replica fails before it passed it on.
    #[default]
    Accepted,
    /// In a committed block, whose number is the answer's `info`. Costs each envelope the commit
    /// latency; up to `broadcast.pipeline` envelopes of a stream wait side by side.
    Committed,
}

/// How `Broadcast` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BroadcastConfig {
    /// What SUCCESS means: `accepted` (default) or `committed`.
    pub success: Success,
    /// Answers of one stream that may be outstanding before the node stops reading it. With
    /// `committed` this bounds a stream's throughput to `pipeline` envelopes per commit latency.
    /// Raising it costs memory per stream (an envelope's id and a slot each). Default 1024.
    pub pipeline: usize,
    /// Envelopes of one stream that are checked side by side. Raising it makes signature batches
    /// cheaper and holds more undecided envelopes per stream in memory. Default 256.
    pub batch: usize,
    /// Bytes of undecided envelopes per stream after which no further one is read (one envelope
    /// may always be read, whatever its size). Raising it costs that much memory per stream.
    /// Default 4 MiB.
    pub batch_bytes: usize,
    /// Refuse envelopes of creators whose certificate has expired. Default true. A check of this
    /// node's clock at admission; blocks are never judged by it.
    pub check_expiration: bool,
}

/// How `Deliver` judges requests and reads blocks.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DeliverConfig {
    /// How far a request's timestamp may be from this node's clock. Raising it lets a captured
    /// request be replayed for longer. Default `15m`.
    #[serde(with = "text")]
    pub time_window: Duration,
    /// Blocks read ahead for one stream, in bytes. Raising it speeds up catching up and costs
    /// that much memory per stream. Default 4 MiB; a single larger block is still served.
    pub read_ahead_bytes: usize,
}

/// What one client, and all together, may use. Beyond a limit a client is answered the gRPC
/// status RESOURCE_EXHAUSTED with the limit's name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Largest gRPC message, received or sent, in bytes. The worst case of memory is this times
    /// `streams`. Must exceed the channel's absolute_max_bytes. Default 100 MiB.
    pub max_message_bytes: usize,
    /// Clients' connections. Each costs a socket and some 100 KiB. Default 1024.
    pub connections: usize,
    /// Streams on one connection. Default 256.
    pub streams_per_connection: u32,
    /// Broadcast and Deliver streams of all clients. Default 4096.
    pub streams: usize,
    /// HTTP/2 flow-control window of one stream, in bytes: what a client may send before the
    /// node has taken it up. Smaller windows cost throughput, larger ones memory per stream.
    /// 65535 or more; default 1 MiB.
    pub stream_window_bytes: u32,
    /// The same for all streams of one connection. Default 4 MiB.
    pub connection_window_bytes: u32,
    /// A connection with no traffic for this long is probed. Lowering it costs a packet each
    /// time; raising it keeps dead clients' streams for longer. Default `2h`.
    #[serde(with = "text")]
    pub keepalive_interval: Duration,
    /// How long a probe may go unanswered, a TLS handshake may take, and a new connection may say
    /// nothing. Default `20s`.
    #[serde(with = "text")]
    pub keepalive_timeout: Duration,
    /// How long open streams may take to end when the node stops. Default `5s`.
    #[serde(with = "text")]
    pub shutdown_grace: Duration,
}

/// What is logged, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogConfig {
    /// Comma-separated directives, each a level or `target=level` (`info,sbft=debug`).
    /// Changeable at run time by `PUT /logspec`. `debug` and below log several lines per block.
    /// Default `info`.
    pub filter: String,
    /// `human` (default) or `json`, a line each to standard error.
    pub format: LogFormat,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text for people.
    #[default]
    Human,
    /// One JSON object per line.
    Json,
}

/// How the data directory is written, and what waits to be written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StorageConfig {
    /// When the logs of votes and the ledgers are synced to the disk: `always`.
    pub sync: SyncPolicy,
    /// How long an appended block may wait for the ledger's sync; until then the log keeps all
    /// that recovers it. Raising it saves syncs and lengthens the log. Default `40ms`.
    #[serde(with = "text")]
    pub block_sync_interval: Duration,
    /// The log is rewritten without what is no longer needed after this many bytes. Raising it
    /// costs disk space and a longer restart. Default 64 MiB.
    pub compact_bytes: u64,
    /// Bytes of accepted envelopes that wait to be ordered, at most; beyond it clients wait, and
    /// then are answered SERVICE_UNAVAILABLE (where the primary does not keep up, clients wait before it is
    /// reached). Raising it takes that much more memory. Default 256 MiB.
    pub pool_bytes: u64,
}

/// When what must be durable is synced.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SyncPolicy {
    /// Before anything leaves that rests on it, many records in one sync: certificates before commits, and
    /// before prepares how far they may go. There is no other policy: a replica that forgets its votes in
    /// a crash, and does not know that it did, counts as a Byzantine one.
    #[default]
    Always,
}

impl Default for ListenConfig {
    fn default() -> Self {
        let any = |port| SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
        Self { grpc: any(7050), quic: any(7051), ops: SocketAddr::from((Ipv4Addr::LOCALHOST, 8443)) }
    }
}

impl Default for BroadcastConfig {
    fn default() -> Self {
        Self {
            success: Success::Accepted,
            pipeline: 1024,
            batch: 256,
            batch_bytes: 4 << 20,
            check_expiration: true,
        }
    }
}

impl Default for DeliverConfig {
    fn default() -> Self {
        Self { time_window: Duration::from_secs(15 * 60), read_ahead_bytes: 4 << 20 }
    }
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            max_message_bytes: 100 << 20,
            connections: 1024,
            streams_per_connection: 256,
            streams: 4096,
            stream_window_bytes: 1 << 20,
            connection_window_bytes: 4 << 20,
            keepalive_interval: Duration::from_secs(2 * 60 * 60),
            keepalive_timeout: Duration::from_secs(20),
            shutdown_grace: Duration::from_secs(5),
        }
    }
}

impl Default for StorageConfig {
    fn default() -> Self {
        Self {
            sync: SyncPolicy::Always,
            block_sync_interval: Duration::from_millis(40),
            compact_bytes: 64 << 20,
            pool_bytes: 256 << 20,
        }
    }
}

impl Default for LogConfig {
    fn default() -> Self {
        Self { filter: "info".to_owned(), format: LogFormat::Human }
    }
}

/// Reads a log filter; the error says what is wrong with it.
///
/// # Errors
/// It is empty, or a directive cannot be read.
pub fn parse_filter(text: &str) -> Result<tracing_subscriber::EnvFilter, String> {
    if text.trim().is_empty() {
        return Err("is empty; write a level such as \"info\"".to_owned());
    }
    tracing_subscriber::EnvFilter::builder()
        .parse(text)
        .map_err(|error| format!("{error}; write levels such as \"info,sbft=debug\""))
}

fn default_data_dir() -> PathBuf {
    PathBuf::from("data")
}

fn default_max_mtu() -> u16 {
    1452
}

fn default_socket_buffer() -> usize {
    4 << 20
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum NodeConfigError {
    /// The file cannot be read.
    #[error("cannot read the node configuration {path}: {source}; give its path with --config")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file is not TOML, or a field is unknown, missing or of the wrong type.
    #[error("{path}:{line}: {field}{reason}; mend this line, `sbft genesis` writes files to start from", path = .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// The field in backticks and a colon, or nothing where no field is known.
        field: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A value is out of range or contradicts another.
    #[error("{path}:{line}: `{field}`: {reason}", path = .path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The line, from 1; that of the table if the field is left out.
        line: usize,
        /// The field.
        field: &'static str,
        /// What is wrong with it, and what to do.
        reason: String,
    },
}

impl NodeConfig {
    /// Settings with every default, for `id`, with the file names that `sbft genesis` uses.
    pub fn with_defaults(id: u32, msp_id: &str) -> Self {
        Self {
            id,
            genesis: PathBuf::from("genesis.block"),
            data_dir: default_data_dir(),
            threads: None,
            identity: IdentityConfig {
                msp_id: msp_id.to_owned(),
                certificate: PathBuf::from("identity/cert.pem"),
                key: PathBuf::from("identity/key.pem"),
            },
            listen: ListenConfig::default(),
            tls: None,
            cluster: ClusterConfig {
                certificate: PathBuf::from("cluster/cert.pem"),
                key: PathBuf::from("cluster/key.pem"),
                max_mtu: default_max_mtu(),
                socket_buffer_bytes: default_socket_buffer(),
            },
            broadcast: BroadcastConfig::default(),
            deliver: DeliverConfig::default(),
            limits: LimitsConfig::default(),
            log: LogConfig::default(),
            storage: StorageConfig::default(),
        }
    }

    /// Reads `path`. Relative paths inside it start from the file's own directory; an error names
    /// the file, line and field, and what to do.
    pub fn load(path: &Path) -> Result<Self, NodeConfigError> {
        let source = std::fs::read_to_string(path)
            .map_err(|source| NodeConfigError::Unreadable { path: path.to_owned(), source })?;
        let mut config = Self::parse(&source, path)?;
        let base = path.parent().unwrap_or_else(|| Path::new(""));
        for file in config.paths() {
            if file.is_relative() {
                *file = base.join(&*file);
            }
        }
        Ok(config)
    }

    /// Parses `source`; `path` is only for messages. Paths stay as written.
    pub fn parse(source: &str, path: &Path) -> Result<Self, NodeConfigError> {
        let config: Self = toml::from_str(source).map_err(|error| {
            let (line, field) = error.span().map_or((1, None), |span| text::locate(source, span.start));
            NodeConfigError::Malformed {
                path: path.to_owned(),
                line,
                field: field.map(|field| format!("`{field}`: ")).unwrap_or_default(),
                reason: error.message().to_owned(),
            }
        })?;
        config.check().map_err(|(field, reason)| NodeConfigError::Value {
            path: path.to_owned(),
            line: text::line_of(source, field),
            field,
            reason,
        })?;
        Ok(config)
    }

    /// The settings as a TOML file, every field written out and explained.
    pub fn to_toml(&self) -> String {
        comments::annotate(&toml::to_string(self).expect("every field is a TOML value, tables come last"))
    }

    fn paths(&mut self) -> impl Iterator<Item = &mut PathBuf> {
        let tls = self.tls.as_mut().map(|tls| {
            [Some(&mut tls.certificate), Some(&mut tls.key), tls.client_ca.as_mut()].into_iter().flatten()
        });
        [
            &mut self.genesis,
            &mut self.data_dir,
            &mut self.identity.certificate,
            &mut self.identity.key,
            &mut self.cluster.certificate,
            &mut self.cluster.key,
        ]
        .into_iter()
        .chain(tls.into_iter().flatten())
    }

    fn check(&self) -> Result<(), (&'static str, String)> {
        let at_least = |field, value: u64, least: u64| {
            if value < least { Err((field, format!("is {value}; the least is {least}"))) } else { Ok(()) }
        };
        at_least("id", self.id.into(), 1)?;
        if self.identity.msp_id.is_empty() {
            return Err(("identity.msp_id", "is empty; name the MSP of the node's organization".to_owned()));
        }
        let limits = &self.limits;
        at_least("broadcast.pipeline", self.broadcast.pipeline as u64, 1)?;
        at_least("broadcast.batch", self.broadcast.batch as u64, 1)?;
        at_least("limits.max_message_bytes", limits.max_message_bytes as u64, 1024)?;
        at_least("limits.connections", limits.connections as u64, 1)?;
        at_least("limits.streams_per_connection", limits.streams_per_connection.into(), 1)?;
        at_least("limits.streams", limits.streams as u64, 1)?;
        at_least("limits.stream_window_bytes", limits.stream_window_bytes.into(), 65_535)?;
        at_least("limits.connection_window_bytes", limits.connection_window_bytes.into(), 65_535)?;
        at_least("cluster.max_mtu", self.cluster.max_mtu.into(), 1200)?;
        if self.cluster.max_mtu > 6500 {
            return Err(("cluster.max_mtu", format!("is {}; the most is 6500", self.cluster.max_mtu)));
        }
        at_least("cluster.socket_buffer_bytes", self.cluster.socket_buffer_bytes as u64, 64 << 10)?;
        at_least("storage.compact_bytes", self.storage.compact_bytes, 1 << 20)?;
        at_least("storage.pool_bytes", self.storage.pool_bytes, 1 << 20)?;
        for (field, window) in [
            ("limits.stream_window_bytes", limits.stream_window_bytes),
            ("limits.connection_window_bytes", limits.connection_window_bytes),
        ] {
            if window > i32::MAX as u32 {
                return Err((field, format!("is {window}; HTTP/2 allows {} at most", i32::MAX)));
            }
        }
        for (field, duration) in [
            ("deliver.time_window", self.deliver.time_window),
            ("limits.keepalive_interval", limits.keepalive_interval),
            ("limits.keepalive_timeout", limits.keepalive_timeout),
        ] {
            if duration.is_zero() {
                return Err((field, "is zero; write a duration such as \"20s\"".to_owned()));
            }
        }
        if let Err(error) = parse_filter(&self.log.filter) {
            return Err(("log.filter", error));
        }
        Ok(())
    }
}
