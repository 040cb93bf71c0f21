//! What clients see: gRPC Broadcast and Deliver, health, reflection, and the operations listener.
//!
//! One [`Service`] serves all channels of a registrar. Everything a client can make it hold is
//! bounded: connections, streams, bytes read ahead of a decision, answers not yet taken.

mod access;
mod broadcast;
mod codec;
mod deliver;
mod grpc;
mod incoming;
pub mod ops;
pub mod readiness;
mod seek;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};
use tonic::transport::server::{Router, ServerTlsConfig};
use tonic::transport::{Certificate, Identity, Server};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;
use tracing::{info, warn};

use crate::node_config::{BroadcastConfig, DeliverConfig, LimitsConfig};
use crate::proto;
use crate::registrar::Registrar;
pub use incoming::{bind, listen_hint};

/// How often health follows readiness.
const HEALTH_INTERVAL: Duration = Duration::from_millis(250);

/// How the service behaves.
#[derive(Clone, Default)]
pub struct ServiceOptions {
    /// How `Broadcast` answers.
    pub broadcast: BroadcastConfig,
    /// How `Deliver` judges requests.
    pub deliver: DeliverConfig,
    /// What clients may use.
    pub limits: LimitsConfig,
    /// TLS towards clients; plain text without it.
    pub tls: Option<TlsMaterial>,
    /// The clock that timestamps and certificates are judged by.
    pub clock: Clock,
}

/// Certificates and key of the clients' listener, as PEM.
#[derive(Clone)]
pub struct TlsMaterial {
    /// The server's certificate and its intermediates.
    pub certificate: Vec<u8>,
    /// Its private key.
    pub key: Vec<u8>,
    /// CAs of clients; with them every client must show a certificate.
    pub client_ca: Option<Vec<u8>>,
}

/// A source of wall-clock time.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> SystemTime + Send + Sync>);

impl Clock {
    /// A clock that reads `now`.
    pub fn new(now: impl Fn() -> SystemTime + Send + Sync + 'static) -> Self {
        Self(Arc::new(now))
    }

    /// The time now.
    pub fn now(&self) -> SystemTime {
        (self.0)()
    }
}

impl Default for Clock {
    /// The system's clock.
    fn default() -> Self {
        Self::new(SystemTime::now)
    }
}

/// Why the service cannot start.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    /// Certificate, key or client CAs cannot be used.
    #[error("the clients' TLS cannot be used: {0}; check the table [tls]: certificate, key, client_ca")]
    Tls(String),
    /// Server reflection cannot be built from the protobuf descriptors.
    #[error("server reflection: {0}")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The listener has no address.
    #[error("the listener has no address: {0}")]
    Address(#[from] std::io::Error),
}

/// What the tasks of a service share.
struct Shared {
    registrar: Arc<Registrar>,
    options: ServiceOptions,
    /// One permit for each stream that may still be opened.
    streams: Arc<Semaphore>,
    /// Cancelled when the service stops: no new work is taken.
    stopping: CancellationToken,
}

/// A running gRPC server.
pub struct Service {
    address: SocketAddr,
    shared: Arc<Shared>,
    /// Cancelled when clients that have not ended in time are cut off.
    cut: CancellationToken,
    server: JoinHandle<()>,
    health: JoinHandle<()>,
    /// A service that is dropped without [`Self::stop`] stops at once.
    _guards: [DropGuard; 2],
}

impl Service {
    /// Serves the channels of `registrar` to the clients of `listener`.
    ///
    /// # Errors
    /// The TLS material cannot be used.
    pub async fn start(
        listener: TcpListener,
        registrar: Arc<Registrar>,
        options: ServiceOptions,
    ) -> Result<Self, ServiceError> {
        let address = listener.local_addr()?;
        let limits = options.limits.clone();
        let shared = Arc::new(Shared {
            registrar,
            streams: Arc::new(Semaphore::new(limits.streams.min(Semaphore::MAX_PERMITS))),
            stopping: CancellationToken::new(),
            options,
        });
        let (reporter, router) = router(&shared).await?;
        let stopping = shared.stopping.clone();
        let cut = CancellationToken::new();
        let admission = incoming::Admission {
            limit: limits.connections.min(Semaphore::MAX_PERMITS),
            opening: limits.keepalive_timeout,
            cut: cut.clone(),
        };
        let incoming = incoming::accept(listener, admission);
        let server = tokio::spawn(async move {
            let serving = router.serve_with_incoming_shutdown(incoming, stopping.cancelled_owned());
            if let Err(error) = serving.await {
                warn!(%error, "the gRPC server ended");
            }
        });
        let health = tokio::spawn(follow_readiness(Arc::clone(&shared), reporter));
        info!(%address, tls = shared.options.tls.is_some(), "serving clients");
        let guards = [shared.stopping.clone().drop_guard(), cut.clone().drop_guard()];
        Ok(Self { address, shared, cut, server, health, _guards: guards })
    }

    /// Where it listens; with the port that was taken if port 0 was asked for.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops: takes no new connections, streams or envelopes and ends waiting streams. Clients that
    /// have not ended after `limits.shutdown_grace` are cut off.
    pub async fn stop(self) {
        self.shared.stopping.cancel();
        let Self { shared, cut, mut server, health, .. } = self;
        let grace = shared.options.limits.shutdown_grace;
        if tokio::time::timeout(grace, &mut server).await.is_err() {
            info!(?grace, "cutting off clients that did not end in time");
            cut.cancel();
            // Nothing is left to wait for: with their connections gone all streams end.
            let _ended = tokio::time::timeout(grace, server).await;
        }
        let _ended = health.await;
    }
}

async fn router(shared: &Arc<Shared>) -> Result<(HealthReporter, Router), ServiceError> {
    let limits = &shared.options.limits;
    let mut builder = Server::builder()
        .initial_stream_window_size(limits.stream_window_bytes)
        .initial_connection_window_size(limits.connection_window_bytes)
        .max_concurrent_streams(limits.streams_per_connection)
        .http2_keepalive_interval(Some(limits.keepalive_interval))
        .http2_keepalive_timeout(Some(limits.keepalive_timeout));
    if let Some(tls) = &shared.options.tls {
        let mut config = ServerTlsConfig::new()
            .identity(Identity::from_pem(&tls.certificate, &tls.key))
            .timeout(limits.keepalive_timeout);
        if let Some(ca) = &tls.client_ca {
            config = config.client_ca_root(Certificate::from_pem(ca));
        }
        builder = builder.tls_config(config).map_err(|error| ServiceError::Tls(chain(&error)))?;
    }
    let (reporter, health) = tonic_health::server::health_reporter();
    report(&reporter, ServingStatus::NotServing).await;
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let router = builder
        .add_service(grpc::AtomicBroadcast(Arc::clone(shared)))
        .add_service(health)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?);
    Ok((reporter, router))
}

/// Keeps the health service's answers equal to what [`readiness`] says, until the service stops.
async fn follow_readiness(shared: Arc<Shared>, reporter: HealthReporter) {
    let mut last = ServingStatus::NotServing;
    let mut ticks = tokio::time::interval(HEALTH_INTERVAL);
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = shared.stopping.cancelled() => break,
        }
        let ready = readiness::failed_checks(&shared.registrar).is_empty();
        let status = if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
        if status != last {
            report(&reporter, status).await;
            last = status;
        }
    }
    report(&reporter, ServingStatus::NotServing).await;
}

async fn report(reporter: &HealthReporter, status: ServingStatus) {
    for service in ["", grpc::NAME] {
        reporter.set_service_status(service, status).await;
    }
}

/// An error and its causes on one line; tonic's own text leaves them out.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text = format!("{text}: {error}");
        source = error.source();
    }
    text
}
