//! A channel's end of the transport.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::Shared;
use super::channel::Channel;
use super::inbox::Inbox;

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

impl Class {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Votes, Self::Bulk, Self::Repair];
}

/// A peer became reachable on the channel, or stopped being so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LinkEvent {
    /// Which peer.
    pub peer: u32,
    /// It is connected and has joined the channel. An `up` after an `up` is never seen: a
    /// reconnection is told as down and up.
    pub up: bool,
}

/// One channel's streams to and from its peers. The channel is left when this and all senders
/// made from it are dropped, or by [`LinkSender::leave`].
pub struct ChannelLink {
    /// Votes received.
    pub votes: Inbox,
    /// Repair messages received.
    pub repair: Inbox,
    /// Peers coming and going.
    pub events: mpsc::Receiver<LinkEvent>,
    pub(super) sender: LinkSender,
}

/// Sends on a channel; cheap to clone. Useless once the channel is left.
#[derive(Clone)]
pub struct LinkSender {
    pub(super) membership: Arc<Membership>,
}

/// Being in the channel.
pub(super) struct Membership {
    pub(super) channel: Arc<Channel>,
    pub(super) shared: Arc<Shared>,
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.shared.leave(&self.channel);
    }
}

impl LinkSender {
    /// Queues `frame` for `peer` and returns at once. False if it was dropped: the peer is not
    /// reachable, its queue is full, or the frame is longer than the class allows.
    pub fn send(&self, peer: u32, class: Class, frame: Bytes) -> bool {
        self.membership.channel.send(peer, class, frame)
    }

    /// The peers that are reachable on the channel now, in order.
    pub fn connected(&self) -> Vec<u32> {
        self.membership.channel.connected()
    }

    /// Leaves the channel now: streams end, and readers when they have read what is there.
    pub fn leave(&self) {
        self.membership.shared.leave(&self.membership.channel);
    }
}

impl ChannelLink {
    /// A handle for sending that other tasks may hold.
    pub fn sender(&self) -> LinkSender {
        self.sender.clone()
    }

    /// See [`LinkSender::send`].
    pub fn send(&self, peer: u32, class: Class, frame: Bytes) -> bool {
        self.sender.send(peer, class, frame)
    }

    /// See [`LinkSender::connected`].
    pub fn connected(&self) -> Vec<u32> {
        self.sender.connected()
    }

    /// The bulk frames of one peer, once; `None` if taken before, or no peer of the channel. It
    /// holds one frame: not reading it stops reading that peer's bulk stream, and only that.
    pub fn bulk(&mut self, peer: u32) -> Option<mpsc::Receiver<Bytes>> {
        self.sender.membership.channel.member(peer)?.take_bulk()
    }

    /// Replaces the channel's peers, as a change of its consenters does. A peer that was removed
    /// and comes back is a new one, with a new [`bulk`](Self::bulk).
    pub fn set_members(&self, peers: &[u32]) {
        let Membership { channel, shared } = &*self.sender.membership;
        for member in channel.set_members(peers) {
            shared.start_sending(channel, &member);
        }
    }
}
