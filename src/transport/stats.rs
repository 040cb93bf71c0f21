//! Counters of the transport, and log lines that a peer cannot flood.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use metrics::{counter, gauge};

use super::link::Class;

/// Frames handed to QUIC, by peer and class.
pub const FRAMES_SENT: &str = "sbft_transport_frames_sent_total";
/// Bytes of those frames.
pub const BYTES_SENT: &str = "sbft_transport_bytes_sent_total";
/// Frames received, by peer and class.
pub const FRAMES_RECEIVED: &str = "sbft_transport_frames_received_total";
/// Bytes of those frames.
pub const BYTES_RECEIVED: &str = "sbft_transport_bytes_received_total";
/// Frames dropped instead of sent (peer not reachable, queue full, too long), by peer and class.
pub const FRAMES_DROPPED: &str = "sbft_transport_frames_dropped_total";
/// Streams of a peer that were reset because of what it sent, by peer and reason.
pub const STREAMS_RESET: &str = "sbft_transport_streams_reset_total";
/// Connections refused or lost during their handshake.
pub const HANDSHAKES_FAILED: &str = "sbft_transport_handshakes_failed_total";
/// 1 while the peer is connected, by peer.
pub const CONNECTED: &str = "sbft_transport_connected";
/// QUIC's smoothed round-trip time in seconds, by peer.
pub const ROUND_TRIP: &str = "sbft_transport_round_trip_seconds";
/// Packets lost on the present connection, by peer.
pub const PACKETS_LOST: &str = "sbft_transport_packets_lost";
/// QUIC's congestion window in bytes, by peer.
pub const CONGESTION_WINDOW: &str = "sbft_transport_congestion_window_bytes";

impl Class {
    /// The class as logs and metrics show it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Votes => "votes",
            Self::Bulk => "bulk",
            Self::Repair => "repair",
        }
    }
}

pub(super) fn sent(peer: u32, class: Class, frames: usize, bytes: usize) {
    counter!(FRAMES_SENT, "peer" => peer.to_string(), "class" => class.name()).increment(frames as u64);
    counter!(BYTES_SENT, "peer" => peer.to_string(), "class" => class.name()).increment(bytes as u64);
}

pub(super) fn received(peer: u32, class: Class, bytes: usize) {
    counter!(FRAMES_RECEIVED, "peer" => peer.to_string(), "class" => class.name()).increment(1);
    counter!(BYTES_RECEIVED, "peer" => peer.to_string(), "class" => class.name()).increment(bytes as u64);
}

pub(super) fn dropped(peer: u32, class: Class, frames: usize) {
    counter!(FRAMES_DROPPED, "peer" => peer.to_string(), "class" => class.name()).increment(frames as u64);
}

pub(super) fn stream_reset(peer: u32, reason: &'static str) {
    counter!(STREAMS_RESET, "peer" => peer.to_string(), "reason" => reason).increment(1);
}

pub(super) fn handshake_failed() {
    counter!(HANDSHAKES_FAILED).increment(1);
}

pub(super) fn connected(peer: u32, connected: bool) {
    gauge!(CONNECTED, "peer" => peer.to_string()).set(f64::from(u8::from(connected)));
}

pub(super) fn path(peer: u32, connection: &quinn::Connection) {
    let path = connection.stats().path;
    gauge!(ROUND_TRIP, "peer" => peer.to_string()).set(path.rtt.as_secs_f64());
    gauge!(PACKETS_LOST, "peer" => peer.to_string()).set(path.lost_packets as f64);
    gauge!(CONGESTION_WINDOW, "peer" => peer.to_string()).set(path.cwnd as f64);
}

/// Lets a log line through once a second and counts those it held back.
#[derive(Default)]
pub(super) struct Seldom(Mutex<Option<(Instant, u64)>>);

impl Seldom {
    /// How many lines were held back since the last one, if this one may be written.
    pub(super) fn allow(&self) -> Option<u64> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &mut *state {
            Some((last, held_back)) if last.elapsed() < INTERVAL => {
                *held_back += 1;
                None
            }
            state => {
                let held_back = state.map_or(0, |(_, held_back)| held_back);
                *state = Some((Instant::now(), 0));
                Some(held_back)
            }
        }
    }
}

const INTERVAL: Duration = Duration::from_secs(1);
