//! Counters of the transport, and log lines that a peer cannot flood.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use metrics::{counter, gauge};

use super::link::Class;
use crate::metrics::{
    TRANSPORT_BYTES_RECEIVED, TRANSPORT_BYTES_SENT, TRANSPORT_CONGESTION_WINDOW, TRANSPORT_CONNECTED,
    TRANSPORT_DROPPED, TRANSPORT_FRAMES_RECEIVED, TRANSPORT_FRAMES_SENT, TRANSPORT_HANDSHAKES_FAILED,
    TRANSPORT_PACKETS_LOST, TRANSPORT_ROUND_TRIP, TRANSPORT_STREAMS_RESET,
};

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
    counter!(TRANSPORT_FRAMES_SENT, "peer" => peer.to_string(), "class" => class.name())
        .increment(frames as u64);
    counter!(TRANSPORT_BYTES_SENT, "peer" => peer.to_string(), "class" => class.name())
        .increment(bytes as u64);
}

pub(super) fn received(peer: u32, class: Class, bytes: usize) {
    counter!(TRANSPORT_FRAMES_RECEIVED, "peer" => peer.to_string(), "class" => class.name()).increment(1);
    counter!(TRANSPORT_BYTES_RECEIVED, "peer" => peer.to_string(), "class" => class.name())
        .increment(bytes as u64);
}

pub(super) fn dropped(peer: u32, class: Class, frames: usize) {
    counter!(TRANSPORT_DROPPED, "peer" => peer.to_string(), "class" => class.name()).increment(frames as u64);
}

pub(super) fn stream_reset(peer: u32, reason: &'static str) {
    counter!(TRANSPORT_STREAMS_RESET, "peer" => peer.to_string(), "reason" => reason).increment(1);
}

pub(super) fn handshake_failed() {
    counter!(TRANSPORT_HANDSHAKES_FAILED).increment(1);
}

pub(super) fn connected(peer: u32, connected: bool) {
    gauge!(TRANSPORT_CONNECTED, "peer" => peer.to_string()).set(f64::from(u8::from(connected)));
}

pub(super) fn path(peer: u32, connection: &quinn::Connection) {
    let path = connection.stats().path;
    gauge!(TRANSPORT_ROUND_TRIP, "peer" => peer.to_string()).set(path.rtt.as_secs_f64());
    gauge!(TRANSPORT_PACKETS_LOST, "peer" => peer.to_string()).set(path.lost_packets as f64);
    gauge!(TRANSPORT_CONGESTION_WINDOW, "peer" => peer.to_string()).set(path.cwnd as f64);
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
