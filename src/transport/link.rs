//! A channel's end of the transport.

use bytes::Bytes;
use tokio::sync::mpsc;

use super::Inbox;

/// What kind of message it is: each kind has its own stream, priority and limits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Class {
    /// Small and urgent.
    Votes,
    /// Candidates.
    Bulk,
    /// Fetches and their answers.
    Repair,
}

/// A peer became reachable on the channel, or stopped being so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkEvent {
    /// Which peer.
    pub peer: u32,
    /// It has joined the channel and is connected. An `up` after an `up` is never seen: a
    /// reconnection is told as down and up.
    pub up: bool,
}

/// One channel's streams to and from its peers. Dropping it leaves the channel.
pub struct ChannelLink {
    /// Votes received.
    pub votes: Inbox,
    /// Repair messages received.
    pub repair: Inbox,
    /// Peers coming and going.
    pub events: mpsc::Receiver<LinkEvent>,
}

/// Sends on a channel; cheap to clone.
#[derive(Clone)]
pub struct LinkSender {}

impl LinkSender {
    /// Queues `frame` for `peer`. False if it was dropped: the peer is not reachable, its queue
    /// is full, or the frame is longer than the class allows.
    pub fn send(&self, _peer: u32, _class: Class, _frame: Bytes) -> bool {
        false
    }

    /// The peers that are reachable on the channel now, in order.
    pub fn connected(&self) -> Vec<u32> {
        Vec::new()
    }
}

impl ChannelLink {
    pub(super) fn new(_channel: &str, _peers: &[u32]) -> Self {
        Self { votes: Inbox {}, repair: Inbox {}, events: mpsc::channel(1).1 }
    }

    /// A handle for sending that other tasks may hold.
    pub fn sender(&self) -> LinkSender {
        LinkSender {}
    }

    /// See [`LinkSender::send`].
    pub fn send(&self, peer: u32, class: Class, frame: Bytes) -> bool {
        self.sender().send(peer, class, frame)
    }

    /// See [`LinkSender::connected`].
    pub fn connected(&self) -> Vec<u32> {
        self.sender().connected()
    }

    /// The bulk frames of one peer, once; `None` if taken before, or no peer of the channel. It
    /// holds one frame: not reading it stops reading that peer's bulk stream, and only that.
    pub fn bulk(&mut self, _peer: u32) -> Option<mpsc::Receiver<Bytes>> {
        None
    }

    /// Replaces the channel's peers, as a change of its consenters does.
    pub fn set_members(&self, _peers: &[u32]) {}
}
