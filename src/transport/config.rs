//! What the transport is told: this replica's credentials, its peers, and limits.

use std::net::SocketAddr;
use std::time::Duration;

use zeroize::Zeroizing;

/// What [`Transport::start`](super::Transport::start) needs.
pub struct TransportConfig {
    /// UDP address to listen on; port 0 lets the system choose.
    pub listen: SocketAddr,
    /// This replica's TLS certificate, DER: what it shows to peers, dialled or dialling.
    pub certificate_der: Vec<u8>,
    /// The certificate's private key, PKCS#8 DER.
    pub key_der: Zeroizing<Vec<u8>>,
    /// Certificate and key to show when dialling, if another than when dialled.
    pub client: Option<(Vec<u8>, Zeroizing<Vec<u8>>)>,
    /// Limits and timers.
    pub tuning: Tuning,
}

/// A replica to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// Names the peer in this transport, for all channels; unique.
    pub id: u32,
    /// `host:port`, resolved at each attempt to connect.
    pub address: String,
    /// The exact certificate that it shows when dialled, DER.
    pub server_cert_der: Vec<u8>,
    /// The exact certificate that it shows when dialling, DER; unique.
    pub client_cert_der: Vec<u8>,
}

/// Bounds of one class of messages, for each peer and channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Longest frame sent or accepted, bytes. Raising it raises what a peer can make this replica
    /// hold in memory.
    pub max_frame: usize,
    /// Frames waiting to be sent; beyond it a new one is dropped.
    pub queue_frames: usize,
    /// Bytes waiting to be sent; beyond it a new frame is dropped, but one always fits.
    pub queue_bytes: usize,
}

/// Limits and timers. The defaults suit a LAN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tuning {
    /// Votes: small and urgent. The longest are new-views, about q times q times the window times
    /// 70 bytes: 600 KB for 31 replicas and a window of 10, 4 MB for 100.
    pub votes: Limits,
    /// Bulk: candidates.
    pub bulk: Limits,
    /// Repair: fetches and their answers.
    pub repair: Limits,
    /// UDP send and receive buffer, bytes. Smaller ones lose packets under load.
    pub socket_buffer: usize,
    /// Largest UDP payload to try, 1200 to 6500 bytes. Above 1452 only helps where every hop
    /// takes such packets (loopback, jumbo frames), and there a lot. Above 6500 a batch of ten
    /// segments no longer fits into what the kernel takes, and nothing is sent at all.
    pub max_mtu: u16,
    /// A packet goes out at least this often, so that both ends know the other is there.
    pub keep_alive: Duration,
    /// A peer silent for this long is gone. Lower finds dead peers sooner and takes a pause of
    /// the machine for one.
    pub idle_timeout: Duration,
    /// Wait before the second attempt to connect; doubles up to `reconnect_max`, with jitter.
    pub reconnect_min: Duration,
    /// Longest wait between attempts to connect.
    pub reconnect_max: Duration,
    /// Bytes a stream may hold that the reader has not taken yet. Raising it raises throughput
    /// over long distances, and memory.
    pub stream_window: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self { max_frame: 16 << 20, queue_frames: 1024, queue_bytes: 32 << 20 }
    }
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            votes: Limits { max_frame: 16 << 20, queue_frames: 4096, queue_bytes: 32 << 20 },
            bulk: Limits { max_frame: 16 << 20, queue_frames: 256, queue_bytes: 32 << 20 },
            repair: Limits { max_frame: 32 << 20, queue_frames: 256, queue_bytes: 64 << 20 },
            socket_buffer: 4 << 20,
            max_mtu: 1452,
            keep_alive: Duration::from_millis(400),
            idle_timeout: Duration::from_secs(2),
            reconnect_min: Duration::from_millis(50),
            reconnect_max: Duration::from_secs(1),
            stream_window: 2 << 20,
        }
    }
}

impl Tuning {
    /// The same, with room for candidates and blocks of up to `max_bytes` of payloads and
    /// signatures in up to `max_count` envelopes: a channel whose batches do not fit into a frame
    /// would stand still.
    #[must_use]
    pub fn with_room_for(mut self, max_bytes: u32, max_count: u32) -> Self {
        let envelopes = usize::try_from(max_count).unwrap_or(usize::MAX).saturating_mul(ENVELOPE_OVERHEAD);
        let content = usize::try_from(max_bytes).unwrap_or(usize::MAX).saturating_add(envelopes);
        // The length of a frame has four bytes.
        let frame = content.saturating_add(BLOCK_OVERHEAD).min(u32::MAX as usize);
        for limits in [&mut self.bulk, &mut self.repair] {
            limits.max_frame = limits.max_frame.max(frame);
            limits.queue_bytes = limits.queue_bytes.max(frame.saturating_mul(2));
        }
        self
    }

    /// The same, with room for the new-views of `n` replicas whose proposals, at most `window` of them
    /// under way, name up to `names` candidates: if they did not fit into a frame, no view could
    /// ever follow another.
    #[must_use]
    pub fn with_room_for_views(mut self, n: usize, window: u64, names: usize) -> Self {
        let window = usize::try_from(window).unwrap_or(usize::MAX);
        let certificate = names
            .saturating_mul(NAME_BYTES)
            .saturating_add(n.saturating_mul(SIGNATURE_BYTES))
            .saturating_add(CERTIFICATE_OVERHEAD);
        let frame = certificate.saturating_mul(window.saturating_add(1)).saturating_mul(n);
        // The length of a frame has four bytes.
        let frame = frame.min(u32::MAX as usize);
        self.votes.max_frame = self.votes.max_frame.max(frame);
        self.votes.queue_bytes = self.votes.queue_bytes.max(frame.saturating_mul(2));
        self
    }
}

/// A candidate's name in a proposal, bytes, at most: origin, digest, and their fields.
const NAME_BYTES: usize = 40;
/// A signature in a certificate, bytes, at most, with whose it is and the fields.
const SIGNATURE_BYTES: usize = 80;
/// The header and all else of a certificate, bytes, at most.
const CERTIFICATE_OVERHEAD: usize = 512;
/// Field numbers and lengths around one envelope's payload and signature, bytes, at most.
const ENVELOPE_OVERHEAD: usize = 24;
/// Header and metadata of a block of 256 consenters, bytes, at most, and some room.
const BLOCK_OVERHEAD: usize = 256 << 10;
