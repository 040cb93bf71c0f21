//! Frames received from the peers of a channel, waiting to be read.

use bytes::Bytes;

/// Frames of one class, from all peers of a channel.
pub struct Inbox {}

impl Inbox {
    /// The next frame and the peer it came from, taking turns between peers; `None` when the
    /// channel is closed.
    pub async fn recv(&mut self) -> Option<(u32, Bytes)> {
        std::future::pending().await
    }
}
