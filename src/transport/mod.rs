//! QUIC between replicas: one authenticated connection per pair, for all channels.
//!
//! Bytes in, bytes out; nothing here knows what they mean. Delivery is best effort: a message is
//! sent at most once, and what a slow or absent peer misses is lost for that peer alone. The
//! protocol above repairs that by itself.

mod backoff;
mod channel;
mod config;
mod frame;
mod inbox;
mod link;
mod peer;
mod queue;
mod receive;
mod send;
mod socket;
mod stats;
#[cfg(test)]
mod tests;
mod tls;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use quinn::{Connection, Endpoint, Incoming, TokioRuntime};
use rustls::pki_types::CertificateDer;
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use channel::{Channel, Member};
pub use config::{Limits, Peer, TransportConfig, Tuning};
use frame::MAX_CHANNEL_NAME;
pub use inbox::{Inbox, PeerInbox};
use link::Membership;
pub use link::{ChannelLink, Class, LinkEvent, LinkSender};
use peer::{ConnectError, Established, PeerTask};
use stats::Seldom;
use tls::{Credentials, Pins};

/// Channels that a transport carries, at most.
pub const MAX_CHANNELS: usize = 256;

/// Why the transport cannot start, or refuses what it is told.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The socket cannot be opened.
    #[error("cannot listen on udp {address}: {error}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why not.
        error: std::io::Error,
    },
    /// Certificate or key are unusable.
    #[error("replica TLS certificate or key: {0}")]
    Credentials(String),
    /// A tuning value that does not work.
    #[error("transport tuning: {0}")]
    Tuning(String),
    /// The list of peers contradicts itself.
    #[error("peer {id}: {problem}")]
    Peer {
        /// Which.
        id: u32,
        /// What is wrong.
        problem: String,
    },
    /// The channel cannot be joined.
    #[error("channel {channel}: {problem}")]
    Channel {
        /// Which.
        channel: String,
        /// Why not.
        problem: &'static str,
    },
}

/// This replica's end of all connections. Dropping it closes them without waiting.
pub struct Transport {
    shared: Arc<Shared>,
    local: SocketAddr,
}

/// What all tasks of a transport know.
struct Shared {
    endpoint: Endpoint,
    quic: Arc<quinn::TransportConfig>,
    server: Credentials,
    client: Credentials,
    tuning: Tuning,
    /// Random: tells this process from the one before a restart.
    incarnation: u64,
    pins: Arc<Pins>,
    peers: Mutex<BTreeMap<u32, PeerEntry>>,
    /// The present connection to each peer; outlives the peer's entry, because channels may wait
    /// for peers that are named later.
    connections: Mutex<BTreeMap<u32, Arc<watch::Sender<Option<Connection>>>>>,
    channels: Mutex<BTreeMap<String, Arc<Channel>>>,
    closed: CancellationToken,
    /// Rings when peers are named. No call is answered before: everyone would be a stranger.
    named: Notify,
    bad_handshakes: Seldom,
    bad_streams: Seldom,
}

struct PeerEntry {
    peer: Peer,
    calls: mpsc::Sender<Established>,
    removed: CancellationToken,
}

impl Transport {
    /// Opens the socket and starts to accept. Must run inside a tokio runtime.
    ///
    /// # Errors
    /// If the address cannot be bound, the credentials do not fit together, or the tuning makes
    /// no sense.
    pub fn start(config: TransportConfig) -> Result<Self, TransportError> {
        let TransportConfig { listen, certificate_der, key_der, client, tuning } = config;
        let server = Credentials { certificate_der, key_der };
        let client = match client {
            Some((certificate_der, key_der)) => Credentials { certificate_der, key_der },
            None => Credentials {
                certificate_der: server.certificate_der.clone(),
                key_der: server.key_der.clone(),
            },
        };
        let quic = socket::quic(&tuning)?;
        let pins = Arc::new(Pins::default());
        let mut server_config = quinn::ServerConfig::with_crypto(tls::server(&server, Arc::clone(&pins))?);
        server_config.transport_config(Arc::clone(&quic)).max_incoming(MAX_INCOMING);
        // Says now, and not at the first attempt to connect, if the client's key is unusable.
        tls::client(&client, Vec::new())?;
        let mut endpoint_config = tls::endpoint_config(&server);
        endpoint_config
            .max_udp_payload_size(tuning.max_mtu.max(DEFAULT_UDP_PAYLOAD))
            .map_err(|error| TransportError::Tuning(error.to_string()))?;
        let socket = socket::open(listen, tuning.socket_buffer)?;
        let listen_error = |error| TransportError::Listen { address: listen, error };
        let local = socket.local_addr().map_err(listen_error)?;
        let endpoint = Endpoint::new(endpoint_config, Some(server_config), socket, Arc::new(TokioRuntime))
            .map_err(listen_error)?;
        let shared = Arc::new(Shared {
            endpoint,
            quic,
            server,
            client,
            tuning,
            incarnation: rand::random(),
            pins,
            peers: Mutex::default(),
            connections: Mutex::default(),
            channels: Mutex::default(),
            closed: CancellationToken::new(),
            named: Notify::new(),
            bad_handshakes: Seldom::default(),
            bad_streams: Seldom::default(),
        });
        info!(address = %local, "listening for replicas");
        tokio::spawn(accept(Arc::clone(&shared)));
        Ok(Self { shared, local })
    }

    /// Where it listens, with the port that the system chose if it was asked for port 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Whom to connect to, and which certificates they show; replaces the list before. Peers no
    /// longer in it are disconnected, changed ones are reconnected. Must run inside a runtime.
    ///
    /// # Errors
    /// If two peers share an id or a client certificate, or one is this replica itself; then
    /// nothing changes.
    pub fn set_peers(&self, peers: Vec<Peer>) -> Result<(), TransportError> {
        let mut pins = BTreeMap::new();
        let mut ids = BTreeMap::new();
        for peer in &peers {
            let refuse =
                |problem: &str| Err(TransportError::Peer { id: peer.id, problem: problem.to_owned() });
            if ids.insert(peer.id, ()).is_some() {
                return refuse("is named twice");
            }
            if peer.server_cert_der == self.shared.server.certificate_der {
                return refuse("has this replica's own certificate");
            }
            if let Some(other) = pins.insert(peer.client_cert_der.clone(), peer.id) {
                return refuse(&format!("has the same client certificate as peer {other}"));
            }
        }
        self.shared.pins.replace(pins);
        self.shared.named.notify_one();
        let mut entries = self.shared.peers();
        entries.retain(|_, entry| {
            let stays = peers.contains(&entry.peer);
            if !stays {
                entry.removed.cancel();
            }
            stays
        });
        for peer in peers {
            entries.entry(peer.id).or_insert_with(|| self.start_peer(peer));
        }
        Ok(())
    }

    /// Joins a channel with these peers, by id (also ones that [`set_peers`](Self::set_peers)
    /// names later), until the link and its senders are dropped. Must run inside a runtime.
    ///
    /// # Errors
    /// If the channel is joined already, its name is empty or too long, or there are too many.
    pub fn join(&self, channel: &str, peers: &[u32]) -> Result<ChannelLink, TransportError> {
        let refuse = |problem| TransportError::Channel { channel: channel.to_owned(), problem };
        if !(1..=MAX_CHANNEL_NAME).contains(&channel.len()) {
            return Err(refuse("its name must have 1 to 249 bytes"));
        }
        let mut channels = self.shared.channels();
        if channels.contains_key(channel) {
            return Err(refuse("is joined already"));
        }
        if channels.len() == MAX_CHANNELS {
            return Err(refuse("no more channels fit"));
        }
        let left = self.shared.closed.child_token();
        let (joined, votes, repair) = Channel::new(channel, self.shared.tuning, left);
        channels.insert(channel.to_owned(), Arc::clone(&joined));
        drop(channels);
        let (tell, events) = mpsc::channel(EVENTS);
        let telling = Arc::clone(&joined).tell(tell);
        let (left, ending) = (joined.left.clone(), Arc::clone(&joined));
        tokio::spawn(async move {
            tokio::select! {
                () = left.cancelled() => {}
                () = telling => {}
            }
            left.cancelled().await;
            ending.leave();
        });
        let shared = Arc::clone(&self.shared);
        let sender = LinkSender { membership: Arc::new(Membership { channel: joined, shared }) };
        let link = ChannelLink { votes, repair, events, sender };
        link.set_members(peers);
        Ok(link)
    }

    /// Closes all connections, telling the peers, and waits up to a second until they know.
    pub async fn close(&self) {
        self.shared.close();
        if timeout(CLOSE_TIMEOUT, self.shared.endpoint.wait_idle()).await.is_err() {
            warn!("a peer did not confirm the end of its connection");
        }
    }

    fn start_peer(&self, peer: Peer) -> PeerEntry {
        let (calls, received) = mpsc::channel(CALLS);
        let removed = self.shared.closed.child_token();
        let task = PeerTask {
            shared: Arc::clone(&self.shared),
            peer: peer.clone(),
            active: self.shared.connection(peer.id),
            calls: received,
            removed: removed.clone(),
        };
        tokio::spawn(task.run());
        PeerEntry { peer, calls, removed }
    }
}

impl Drop for Transport {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl Shared {
    fn channel(&self, name: &str) -> Option<Arc<Channel>> {
        self.channels().get(name).cloned()
    }

    /// Starts the tasks that send to a new member.
    fn start_sending(&self, channel: &Arc<Channel>, member: &Arc<Member>) {
        let connections = self.connection(member.id);
        for class in Class::ALL {
            let connections = connections.subscribe();
            tokio::spawn(send::run(Arc::clone(channel), Arc::clone(member), class, connections));
        }
    }

    fn leave(&self, channel: &Arc<Channel>) {
        channel.leave();
        let mut channels = self.channels();
        if channels.get(&channel.name).is_some_and(|joined| Arc::ptr_eq(joined, channel)) {
            channels.remove(&channel.name);
        }
    }

    fn close(&self) {
        self.closed.cancel();
        self.endpoint.close(close_code::CLOSED, b"closed");
    }

    fn connection(&self, peer: u32) -> Arc<watch::Sender<Option<Connection>>> {
        let mut connections = self.connections.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(connections.entry(peer).or_default())
    }

    fn peers(&self) -> MutexGuard<'_, BTreeMap<u32, PeerEntry>> {
        self.peers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn channels(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Channel>>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The peer that shows this certificate when dialling.
    fn caller(&self, connection: &Connection) -> Option<(u32, mpsc::Sender<Established>)> {
        let identity = connection.peer_identity()?;
        let chain = identity.downcast_ref::<Vec<CertificateDer<'static>>>()?;
        let id = self.pins.owner(chain.first()?)?;
        self.peers().get(&id).map(|entry| (id, entry.calls.clone()))
    }

    /// Takes a call: handshake, who it is, greetings.
    async fn answer(&self, incoming: Incoming) -> Result<(), ConnectError> {
        let connection = incoming.await?;
        let Some((_, calls)) = self.caller(&connection) else {
            connection.close(close_code::STRANGER, b"not a peer any more");
            return Ok(());
        };
        let incarnation = self.greet(&connection).await?;
        let established = Established { connection, incarnation, dialled: false };
        // The peer's task may just have been removed; then dropping the connection closes it.
        let _ = calls.send(established).await;
        Ok(())
    }
}

/// Takes calls until the transport is closed. Strangers cost a handshake each, and only so many
/// are under way at a time.
async fn accept(shared: Arc<Shared>) {
    let handshakes = Arc::new(Semaphore::new(HANDSHAKES));
    tokio::select! {
        () = shared.named.notified() => {}
        () = shared.closed.cancelled() => return,
    }
    while let Some(incoming) = shared.endpoint.accept().await {
        let address = incoming.remote_address();
        // Under load a caller must first show that it is where it says; that costs us nothing.
        if handshakes.available_permits() < HANDSHAKES / 2 && incoming.may_retry() {
            if let Err(error) = incoming.retry() {
                warn!(%address, %error, "cannot ask a caller to prove its address");
            }
            continue;
        }
        let Ok(permit) = Arc::clone(&handshakes).try_acquire_owned() else {
            incoming.refuse();
            continue;
        };
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            let _permit = permit;
            let answer = timeout(peer::ATTEMPT, shared.answer(incoming)).await;
            if let Err(error) = answer.unwrap_or(Err(ConnectError::Timeout)) {
                stats::handshake_failed();
                if let Some(held_back) = shared.bad_handshakes.allow() {
                    warn!(%address, %error, held_back, "call refused");
                }
            }
        });
    }
}

/// Why a connection is closed, as the other side sees it.
mod close_code {
    use quinn::VarInt;

    /// Closed by its owner.
    pub(super) const CLOSED: VarInt = VarInt::from_u32(0);
    /// There is another one.
    pub(super) const DUPLICATE: VarInt = VarInt::from_u32(1);
    /// The caller was removed from the peers.
    pub(super) const STRANGER: VarInt = VarInt::from_u32(2);
    /// No greeting, or one of another protocol version.
    pub(super) const GREETING: VarInt = VarInt::from_u32(3);
}

/// Handshakes of callers under way at a time.
const HANDSHAKES: usize = 128;
/// First packets of callers waiting to be looked at.
const MAX_INCOMING: usize = 256;
/// Calls of one peer waiting for its task.
const CALLS: usize = 4;
/// Link events waiting to be read; more are merged.
const EVENTS: usize = 64;
/// What quinn accepts by default, bytes.
const DEFAULT_UDP_PAYLOAD: u16 = 1472;
/// How long [`Transport::close`] waits.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(1);
