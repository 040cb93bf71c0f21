//! One peer: dialling it, taking its calls, and which connection counts.
//!
//! Both sides dial when they have no connection, so that whoever starts last connects at once. If
//! that makes two connections, both sides keep the one dialled by the replica with the smaller
//! certificate. A connection of another process than before (the peer was started again)
//! replaces what there was, whoever dialled it.

use std::sync::Arc;
use std::time::Duration;

use quinn::{Connection, ConnectionError};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info, warn};

use super::backoff::Backoff;
use super::config::Peer;
use super::frame::{FrameError, FrameReader, MAX_PREAMBLE, Preamble, PreambleError};
use super::{Shared, close_code, receive, stats, tls};

/// A connection whose both ends have greeted each other.
pub(super) struct Established {
    pub(super) connection: Connection,
    /// Tells the peer's process from the one before a restart.
    pub(super) incarnation: u64,
    /// This side dialled.
    pub(super) dialled: bool,
}

/// Keeps one peer connected.
pub(super) struct PeerTask {
    pub(super) shared: Arc<Shared>,
    pub(super) peer: Peer,
    /// Where senders find the connection.
    pub(super) active: Arc<watch::Sender<Option<Connection>>>,
    /// Connections that the peer dialled.
    pub(super) calls: mpsc::Receiver<Established>,
    /// Cancelled when the peer is removed, changed, or the transport closed.
    pub(super) removed: CancellationToken,
}

/// Why a connection did not come about.
#[derive(Debug, thiserror::Error)]
pub(super) enum ConnectError {
    #[error("address {0} does not resolve: {1}")]
    Resolve(String, std::io::Error),
    #[error("address {0} has no IP address")]
    NoAddress(String),
    #[error(transparent)]
    Connect(#[from] quinn::ConnectError),
    #[error(transparent)]
    Connection(#[from] ConnectionError),
    #[error("greeting: {0}")]
    Write(#[from] quinn::WriteError),
    #[error("greeting: {0}")]
    Frame(#[from] FrameError),
    #[error(transparent)]
    Preamble(#[from] PreambleError),
    #[error("the first stream holds no greeting")]
    NoGreeting,
    #[error("no answer in time")]
    Timeout,
    #[error(transparent)]
    Credentials(#[from] super::TransportError),
}

impl PeerTask {
    pub(super) async fn run(mut self) {
        let removed = self.removed.clone();
        let mut current = None;
        tokio::select! {
            () = removed.cancelled() => {}
            () = self.keep_connected(&mut current) => {}
        }
        if let Some(Established { connection, .. }) = current {
            self.forget(&connection);
            connection.close(close_code::CLOSED, b"closed");
        }
    }

    async fn keep_connected(&mut self, current: &mut Option<Established>) {
        let tuning = self.shared.tuning;
        let mut backoff = Backoff::new(tuning.reconnect_min, tuning.reconnect_max);
        let mut dial_at = Instant::now() + self.head_start();
        let mut path = tokio::time::interval(PATH_INTERVAL);
        loop {
            let established = match current {
                Some(Established { connection, .. }) => tokio::select! {
                    Some(call) = self.calls.recv() => call,
                    reason = connection.closed() => {
                        info!(peer = self.peer.id, %reason, "peer disconnected");
                        self.forget(connection);
                        *current = None;
                        backoff.reset();
                        dial_at = Instant::now() + self.head_start();
                        continue;
                    }
                    _ = path.tick() => {
                        stats::path(self.peer.id, connection);
                        continue;
                    }
                },
                None => {
                    let dial = async {
                        tokio::time::sleep_until(dial_at).await;
                        self.shared.dial(&self.peer).await
                    };
                    tokio::select! {
                        Some(call) = self.calls.recv() => call,
                        result = dial => match result {
                            Ok(established) => established,
                            Err(error) => {
                                self.failed(&error);
                                dial_at = Instant::now() + backoff.next();
                                continue;
                            }
                        },
                    }
                }
            };
            if self.prefers(current.as_ref(), &established) {
                self.switch_to(&established);
                *current = Some(established);
            } else {
                debug!(peer = self.peer.id, "a second connection closed");
                established.connection.close(close_code::DUPLICATE, b"duplicate");
            }
        }
    }

    /// The side whose dialled connection would be kept dials at once, the other a little later,
    /// so that there are rarely two.
    fn head_start(&self) -> Duration {
        match self.dials_first() {
            true => Duration::ZERO,
            false => HEAD_START,
        }
    }

    fn dials_first(&self) -> bool {
        self.shared.server.certificate_der < self.peer.server_cert_der
    }

    fn prefers(&self, current: Option<&Established>, new: &Established) -> bool {
        let Some(current) = current else { return true };
        let restarted = new.incarnation != current.incarnation;
        let kept = |established: &Established| established.dialled == self.dials_first();
        restarted || kept(new) || !kept(current)
    }

    fn switch_to(&self, established: &Established) {
        let connection = established.connection.clone();
        let address = connection.remote_address();
        tokio::spawn(receive::run(Arc::clone(&self.shared), self.peer.id, connection.clone()));
        if let Some(before) = self.active.send_replace(Some(connection)) {
            before.close(close_code::DUPLICATE, b"replaced");
        }
        info!(peer = self.peer.id, %address, dialled = established.dialled, "peer connected");
        stats::connected(self.peer.id, true);
    }

    /// Senders no longer find this connection. If the peer was changed, its new task may have put
    /// another one there already.
    fn forget(&self, connection: &Connection) {
        let was_there = self.active.send_if_modified(|active| {
            let same = active.as_ref().is_some_and(|it| it.stable_id() == connection.stable_id());
            if same {
                *active = None;
            }
            same
        });
        if was_there {
            stats::connected(self.peer.id, false);
        }
    }

    fn failed(&self, error: &ConnectError) {
        stats::handshake_failed();
        match error {
            // A peer that is down is one line when it went, not one for each attempt.
            ConnectError::Timeout | ConnectError::Connection(ConnectionError::TimedOut) => {
                debug!(peer = self.peer.id, address = self.peer.address, %error, "peer not reachable");
            }
            _ => {
                if let Some(held_back) = self.shared.bad_handshakes.allow() {
                    let address = &self.peer.address;
                    warn!(peer = self.peer.id, address, %error, held_back, "cannot connect to peer");
                }
            }
        }
    }
}

impl Shared {
    /// Connects to `peer` and exchanges greetings.
    pub(super) async fn dial(&self, peer: &Peer) -> Result<Established, ConnectError> {
        let attempt = async {
            let mut addresses = tokio::net::lookup_host(&peer.address)
                .await
                .map_err(|error| ConnectError::Resolve(peer.address.clone(), error))?;
            let is_v4 = self.endpoint.local_addr().is_ok_and(|local| local.is_ipv4());
            let address = addresses.find(|address| !is_v4 || address.is_ipv4());
            let address = address.ok_or_else(|| ConnectError::NoAddress(peer.address.clone()))?;
            let crypto = tls::client(&self.client, peer.server_cert_der.clone())?;
            let mut config = quinn::ClientConfig::new(crypto);
            config.transport_config(Arc::clone(&self.quic));
            let connection = self.endpoint.connect_with(config, address, SERVER_NAME)?.await?;
            let incarnation = self.greet(&connection).await?;
            Ok(Established { connection, incarnation, dialled: true })
        };
        timeout(ATTEMPT, attempt).await.unwrap_or(Err(ConnectError::Timeout))
    }

    /// Says hello and waits for the same. Only then both ends know that the other has admitted
    /// them: in TLS 1.3 the dialling side is done before the accepting side has seen its
    /// certificate.
    pub(super) async fn greet(&self, connection: &Connection) -> Result<u64, ConnectError> {
        let mut stream = connection.open_uni().await?;
        stream.write_chunk(Preamble::Greeting { incarnation: self.incarnation }.encode()).await?;
        let mut reader = FrameReader::new(connection.accept_uni().await?);
        let greeting = reader.next(MAX_PREAMBLE).await?.ok_or(ConnectError::NoGreeting)?;
        match Preamble::decode(&greeting) {
            Ok(Preamble::Greeting { incarnation }) => Ok(incarnation),
            Ok(Preamble::Channel { .. }) => {
                connection.close(close_code::GREETING, b"no greeting");
                Err(ConnectError::NoGreeting)
            }
            Err(error) => {
                connection.close(close_code::GREETING, error.to_string().as_bytes());
                Err(error.into())
            }
        }
    }
}

/// A whole attempt to connect may take this long.
pub(super) const ATTEMPT: Duration = Duration::from_secs(2);
/// See [`PeerTask::head_start`].
const HEAD_START: Duration = Duration::from_millis(100);
/// How often round-trip time and losses are recorded.
const PATH_INTERVAL: Duration = Duration::from_secs(1);
/// TLS wants a name; certificates are pinned, so it means nothing.
const SERVER_NAME: &str = "sbft";
