//! The UDP socket and QUIC's parameters.

use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;

use quinn::{AckFrequencyConfig, IdleTimeout, MtuDiscoveryConfig, TransportConfig as QuicConfig, VarInt};
use socket2::{Domain, Protocol, Socket, Type};
use tracing::warn;

use super::config::Tuning;
use super::{MAX_CHANNELS, TransportError};

/// Opens a socket with large buffers: with the kernel's usual 208 KiB a burst of candidates loses
/// thousands of packets, with 4 MiB none.
pub(super) fn open(address: SocketAddr, buffer: usize) -> Result<UdpSocket, TransportError> {
    let socket = bind(address, buffer).map_err(|error| TransportError::Listen { address, error })?;
    for (name, size) in [("receive", socket.recv_buffer_size()), ("send", socket.send_buffer_size())] {
        // Linux reports twice what it grants, the other half being its own overhead.
        match size {
            Ok(size) if size >= buffer => {}
            Ok(size) => warn!(
                buffer = name,
                wanted = buffer,
                granted = size,
                "small UDP buffer: packets get lost under load; raise net.core.rmem_max and wmem_max"
            ),
            Err(error) => warn!(buffer = name, %error, "cannot tell the size of the UDP buffer"),
        }
    }
    Ok(socket.into())
}

fn bind(address: SocketAddr, buffer: usize) -> std::io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
    if address.is_ipv6() && address.ip().is_unspecified() {
        socket.set_only_v6(false)?;
    }
    socket.set_recv_buffer_size(buffer)?;
    socket.set_send_buffer_size(buffer)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

/// QUIC's parameters for every connection.
pub(super) fn quic(tuning: &Tuning) -> Result<Arc<QuicConfig>, TransportError> {
    let Tuning { max_mtu, keep_alive, idle_timeout, stream_window, .. } = *tuning;
    let refuse = |text: &str| Err(TransportError::Tuning(text.to_owned()));
    if !(MIN_MTU..=MAX_MTU).contains(&max_mtu) {
        return refuse(&format!("max_mtu is {max_mtu}, must be {MIN_MTU} to {MAX_MTU}"));
    }
    if keep_alive * 2 > idle_timeout {
        return refuse("keep_alive must be at most half of idle_timeout, or idle peers are lost");
    }
    let Ok(idle) = IdleTimeout::try_from(idle_timeout) else {
        return refuse("idle_timeout is too long");
    };
    let mut mtu = MtuDiscoveryConfig::default();
    mtu.upper_bound(max_mtu);
    let mut acks = AckFrequencyConfig::default();
    acks.ack_eliciting_threshold(VarInt::from_u32(PACKETS_AN_ACK));
    let mut config = QuicConfig::default();
    config
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(3 * MAX_CHANNELS as u32 + SPARE_STREAMS))
        .datagram_receive_buffer_size(None)
        .max_idle_timeout(Some(idle))
        .keep_alive_interval(Some(keep_alive))
        .stream_receive_window(VarInt::from_u32(stream_window))
        // What is written to a stream that the peer does not read counts here too, so it must
        // hold many such streams before votes have to wait.
        .send_window(u64::from(stream_window) * SEND_WINDOW_STREAMS)
        .initial_rtt(INITIAL_RTT)
        .ack_frequency_config(Some(acks))
        .mtu_discovery_config(Some(mtu));
    Ok(Arc::new(config))
}

/// Packets that may come before one acknowledges them (draft-ietf-quic-ack-frequency); after 25 ms it is
/// done anyhow. QUIC's own is every other packet, and most packets of small blocks are votes: nearly half
/// of all packets then do nothing but acknowledge.
const PACKETS_AN_ACK: u32 = 10;
/// The least that QUIC asks of a path.
const MIN_MTU: u16 = 1200;
/// quinn sends ten segments in one call, which the kernel refuses beyond 64 KiB; quinn does not
/// notice, and nothing arrives any more.
const MAX_MTU: u16 = 6500;
/// Streams beyond three for each channel: the greeting, and streams that replace others.
const SPARE_STREAMS: u32 = 64;
/// Full streams that fit into the send window of a connection.
const SEND_WINDOW_STREAMS: u64 = 32;
/// A first packet to a peer that is just starting is repeated after three times this.
const INITIAL_RTT: std::time::Duration = std::time::Duration::from_millis(50);
