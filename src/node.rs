//! Builds a node from its configuration and runs it until told to stop.
//!
//! [`run`] is the process: logs, metrics, and then a [`Node`], which tests start by themselves.

mod data_dir;
mod identity;
mod telemetry;

use std::collections::BTreeMap;
use std::fs;
use std::future::Future;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{FuturesUnordered, StreamExt as _};
use prost::Message as _;
use tokio::signal::unix::{SignalKind, signal};
use tracing::{error, info};

use crate::channel_config::{ChannelConfig, ConfigError, Consensus};
use crate::consenter::sbft::{SbftConsenter, SbftOptions};
use crate::consenter::solo::SoloConsenter;
use crate::consenter::{Consenter, Health};
use crate::ledger::LedgerOptions;
use crate::metrics::{FABRIC_VERSION, describe_all};
use crate::msg_processor::ProcessorOptions;
use crate::node_config::NodeConfig;
use crate::proto::common::Block;
use crate::registrar::{JoinError, Registrar, RegistrarOptions};
use crate::service::ops::{Ops, OpsOptions};
use crate::service::{Clock, Service, ServiceError, ServiceOptions, TlsMaterial, bind, listen_hint};
use crate::transport::{Transport, TransportConfig, TransportError, Tuning};
use crate::wire::MAX_CANDIDATES_PER_PROPOSAL;
use data_dir::DataDir;
pub use data_dir::DataDirError;
pub use identity::{IdentityFault, OtherCertificate};
pub use telemetry::Telemetry;

/// How often old samples are folded away in the metrics.
const UPKEEP_INTERVAL: Duration = Duration::from_secs(5);

/// Why a node cannot start or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// A file that the configuration names cannot be read.
    #[error("cannot read {path}, which the node's configuration names as {field}: {source}")]
    File {
        /// The field.
        field: &'static str,
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The genesis file is no block.
    #[error("{path} is no genesis block: {source}; make one with `sbft genesis`", path = .path.display())]
    GenesisBlock {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: prost::DecodeError,
    },
    /// The genesis block's channel configuration cannot be used.
    #[error("the genesis block {path} cannot be used: {source}", path = .path.display())]
    GenesisConfig {
        /// The file.
        path: PathBuf,
        /// Which value, and what is wrong with it.
        source: ConfigError,
    },
    /// Clients could not send, or could not read, what the channel allows.
    #[error(
        "limits.max_message_bytes is {limit}, and channel {channel} allows envelopes and blocks of {absolute} bytes \
         (absolute_max_bytes); set it to {needed} or more"
    )]
    MessageLimit {
        /// The node's limit.
        limit: usize,
        /// The channel.
        channel: String,
        /// Its absolute_max_bytes.
        absolute: u32,
        /// What the limit must be.
        needed: usize,
    },
    /// Certificates and keys do not fit together or do not fit the channel.
    #[error(transparent)]
    Identity(#[from] IdentityFault),
    /// The data directory is in use or of another version.
    #[error(transparent)]
    DataDir(#[from] DataDirError),
    /// A listener cannot be opened.
    #[error(transparent)]
    Listen(#[from] std::io::Error),
    /// The transport between replicas cannot start.
    #[error("connections between replicas (listen.quic, [cluster]): {0}{hint}", hint = transport_hint(.0))]
    Transport(#[from] TransportError),
    /// The channel cannot run.
    #[error(transparent)]
    Join(#[from] JoinError),
    /// The clients' service cannot start.
    #[error(transparent)]
    Service(#[from] ServiceError),
    /// A chain stopped by itself.
    #[error("channel {channel} has stopped: {reason}; mend the cause, then start the node again")]
    ChainFailed {
        /// The channel.
        channel: String,
        /// Why, and what to do.
        reason: String,
    },
}

/// Runs a node until `shutdown` is done (`Ok`) or the node cannot go on. Sets up the process's
/// log and metrics.
///
/// # Errors
/// It cannot start, or a chain failed; everything that was opened is closed again.
pub async fn run(config: NodeConfig, shutdown: impl Future<Output = ()>) -> Result<(), NodeError> {
    let telemetry = Telemetry::install(&config.log);
    describe_all();
    metrics::gauge!(FABRIC_VERSION, "version" => env!("CARGO_PKG_VERSION")).set(1.0);
    let recorder = telemetry.metrics.clone();
    let upkeep = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(UPKEEP_INTERVAL);
        loop {
            ticks.tick().await;
            recorder.run_upkeep();
        }
    });
    tokio::pin!(shutdown);
    let node = tokio::select! {
        node = Node::start(config, telemetry) => node?,
        // What was opened so far is what a crash would leave, and recovers like it.
        () = &mut shutdown => return Ok(()),
    };
    let outcome = tokio::select! {
        () = shutdown => {
            info!("told to stop");
            Ok(())
        }
        failure = node.failed() => Err(failure),
    };
    if let Err(failure) = &outcome {
        error!(%failure, "cannot go on");
    }
    node.stop().await;
    upkeep.abort();
    outcome
}

/// Done when the process is asked to stop (SIGTERM or SIGINT).
///
/// # Errors
/// The signals cannot be watched.
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

/// A running node.
pub struct Node {
    registrar: Arc<Registrar>,
    service: Service,
    ops: Ops,
    transport: Arc<Transport>,
    // Held for as long as the node runs: another process must not open the directory.
    _data: DataDir,
}

impl Node {
    /// Builds and starts everything that `config` asks for.
    ///
    /// # Errors
    /// See [`NodeError`]; each says what to do.
    pub async fn start(config: NodeConfig, telemetry: Telemetry) -> Result<Self, NodeError> {
        let (genesis, channel) = read_genesis(&config.genesis)?;
        check_message_limit(&config, &channel)?;
        let identity = identity::load(&config, &channel)?;
        let data = DataDir::open(&config.data_dir)?;
        let grpc = bind("clients (listen.grpc)", config.listen.grpc)?;
        let ops = bind("operations (listen.ops)", config.listen.ops)?;
        let window = match &channel.consensus {
            Consensus::Sbft(options) => options.window,
            Consensus::Solo => 1,
        };
        let max_count = channel.batch.max_message_count;
        let names = MAX_CANDIDATES_PER_PROPOSAL.min(max_count as usize);
        let transport = Arc::new(Transport::start(TransportConfig {
            listen: config.listen.quic,
            certificate_der: identity.cluster_certificate,
            key_der: identity.cluster_key,
            client: None,
            tuning: Tuning {
                max_mtu: config.cluster.max_mtu,
                socket_buffer: config.cluster.socket_buffer_bytes,
                ..Tuning::default()
            }
            .with_room_for(channel.batch.absolute_max_bytes, max_count)
            .with_room_for_views(channel.consenters.len(), window, names),
        })?);
        let sbft = SbftOptions {
            pool_bytes: config.storage.pool_bytes,
            block_sync_interval: config.storage.block_sync_interval,
            compact_bytes: config.storage.compact_bytes,
            ..SbftOptions::default()
        };
        let sbft = SbftConsenter::new(Arc::clone(&transport), sbft);
        let consenters: BTreeMap<String, Arc<dyn Consenter>> = BTreeMap::from([
            ("BFT".to_owned(), Arc::new(sbft) as Arc<dyn Consenter>),
            ("solo".to_owned(), Arc::new(SoloConsenter) as Arc<dyn Consenter>),
        ]);
        let registrar = Arc::new(Registrar::new(RegistrarOptions {
            data: config.data_dir.clone(),
            signer: identity.signer,
            processor: ProcessorOptions { check_expiration: config.broadcast.check_expiration },
            ledger: LedgerOptions::default(),
            consenters,
        }));
        let options = ServiceOptions {
            tls: read_tls(&config)?,
            broadcast: config.broadcast,
            deliver: config.deliver,
            limits: config.limits,
            clock: Clock::default(),
        };
        // The operations listener first: it tells why a node is not ready while the chain starts.
        let ops = Ops::start(
            ops,
            OpsOptions {
                id: config.id,
                registrar: Arc::clone(&registrar),
                log: telemetry.log,
                metrics: telemetry.metrics,
            },
        )?;
        let joined = registrar.join(genesis).await?;
        let service = Service::start(grpc, Arc::clone(&registrar), options).await?;
        info!(
            id = config.id,
            channel = joined.id(),
            height = joined.height(),
            grpc = %service.address(),
            ops = %ops.address(),
            data = %config.data_dir.display(),
            "node started"
        );
        Ok(Self { registrar, service, ops, transport, _data: data })
    }

    /// Where clients connect.
    pub fn grpc_address(&self) -> SocketAddr {
        self.service.address()
    }

    /// Where operators connect.
    pub fn ops_address(&self) -> SocketAddr {
        self.ops.address()
    }

    /// The channels.
    pub fn registrar(&self) -> &Arc<Registrar> {
        &self.registrar
    }

    /// Returns when a chain has failed, with the reason.
    pub async fn failed(&self) -> NodeError {
        let channels = self.registrar.channels();
        let mut failures: FuturesUnordered<_> = channels
            .iter()
            .map(|channel| async move {
                let mut errored = channel.chain().errored();
                errored.wait().await;
                let reason = match errored.health() {
                    Health::Failed(reason) => reason,
                    Health::Halted | Health::Good => "it was halted".to_owned(),
                };
                NodeError::ChainFailed { channel: channel.id().to_owned(), reason }
            })
            .collect();
        match failures.next().await {
            Some(failure) => failure,
            None => std::future::pending().await,
        }
    }

    /// Stops in order: clients first, then the chains and their ledgers, then the connections.
    pub async fn stop(self) {
        self.service.stop().await;
        self.registrar.halt().await;
        self.transport.close().await;
        self.ops.stop().await;
        info!("stopped");
    }
}

/// A block of one envelope of absolute_max_bytes has headers and signatures around it.
const BLOCK_OVERHEAD: usize = 1 << 20;

fn check_message_limit(config: &NodeConfig, channel: &ChannelConfig) -> Result<(), NodeError> {
    let (limit, absolute) = (config.limits.max_message_bytes, channel.batch.absolute_max_bytes);
    let needed = (absolute as usize).saturating_add(BLOCK_OVERHEAD);
    if limit < needed {
        return Err(NodeError::MessageLimit { limit, channel: channel.channel_id.clone(), absolute, needed });
    }
    Ok(())
}

fn transport_hint(error: &TransportError) -> &'static str {
    match error {
        TransportError::Listen { error, .. } => listen_hint(error),
        _ => "",
    }
}

fn read(field: &'static str, path: &Path) -> Result<Vec<u8>, NodeError> {
    fs::read(path).map_err(|source| NodeError::File { field, path: path.to_owned(), source })
}

fn read_genesis(path: &Path) -> Result<(Block, ChannelConfig), NodeError> {
    let bytes = read("genesis", path)?;
    let block = Block::decode(&bytes[..])
        .map_err(|source| NodeError::GenesisBlock { path: path.to_owned(), source })?;
    let config = ChannelConfig::from_block(&block)
        .map_err(|source| NodeError::GenesisConfig { path: path.to_owned(), source })?;
    Ok((block, config))
}

fn read_tls(config: &NodeConfig) -> Result<Option<TlsMaterial>, NodeError> {
    let Some(tls) = &config.tls else { return Ok(None) };
    let client_ca = tls.client_ca.as_ref().map(|path| read("tls.client_ca", path)).transpose()?;
    Ok(Some(TlsMaterial {
        certificate: read("tls.certificate", &tls.certificate)?,
        key: read("tls.key", &tls.key)?,
        client_ca,
    }))
}
