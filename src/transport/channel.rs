//! A channel that this replica has joined: its members, and what waits for them and from them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::config::{Limits, Tuning};
use super::inbox::{Inbox, InboxSender, inbox};
use super::link::{Class, LinkEvent};
use super::queue::SendQueue;
use super::stats;

/// A joined channel.
pub(super) struct Channel {
    pub(super) name: String,
    pub(super) tuning: Tuning,
    /// Cancelled when the channel is left.
    pub(super) left: CancellationToken,
    votes: InboxSender,
    repair: InboxSender,
    members: Mutex<BTreeMap<u32, Arc<Member>>>,
    /// Peers whose vote stream for this channel is open now, each with a number that is new for
    /// each stream. Having one means that the peer is connected and has joined.
    heard: watch::Sender<BTreeMap<u32, u64>>,
    streams: AtomicU64,
}

/// A peer of a channel.
pub(super) struct Member {
    pub(super) id: u32,
    /// Cancelled when the peer is no member any more, or the channel is left.
    pub(super) removed: CancellationToken,
    /// Rings when the peer is heard, so that streams it refused before are opened again at once.
    pub(super) joined: Notify,
    votes: SendQueue,
    bulk: SendQueue,
    repair: SendQueue,
    bulk_in: mpsc::Sender<Bytes>,
    bulk_out: Mutex<Option<mpsc::Receiver<Bytes>>>,
}

impl Channel {
    pub(super) fn new(name: &str, tuning: Tuning, left: CancellationToken) -> (Arc<Self>, Inbox, Inbox) {
        let of = |limits: Limits| inbox(limits.queue_frames, limits.queue_bytes);
        let (votes, votes_out) = of(tuning.votes);
        let (repair, repair_out) = of(tuning.repair);
        let channel = Self {
            name: name.to_owned(),
            tuning,
            left,
            votes,
            repair,
            members: Mutex::default(),
            heard: watch::Sender::default(),
            streams: AtomicU64::new(0),
        };
        (Arc::new(channel), votes_out, repair_out)
    }

    pub(super) fn limits(&self, class: Class) -> Limits {
        match class {
            Class::Votes => self.tuning.votes,
            Class::Bulk => self.tuning.bulk,
            Class::Repair => self.tuning.repair,
        }
    }

    pub(super) fn member(&self, peer: u32) -> Option<Arc<Member>> {
        self.members().get(&peer).cloned()
    }

    /// Makes `peers` the members; returns those that are new.
    pub(super) fn set_members(&self, peers: &[u32]) -> Vec<Arc<Member>> {
        let mut members = self.members();
        members.retain(|peer, member| {
            let stays = peers.contains(peer);
            if !stays {
                member.removed.cancel();
                self.votes.forget(*peer);
                self.repair.forget(*peer);
            }
            stays
        });
        let mut new = Vec::new();
        for peer in peers {
            members.entry(*peer).or_insert_with(|| {
                let member = Arc::new(Member::new(*peer, self));
                new.push(Arc::clone(&member));
                member
            });
        }
        new
    }

    /// See [`super::LinkSender::send`].
    pub(super) fn send(&self, peer: u32, class: Class, frame: Bytes) -> bool {
        let fits = frame.len() <= self.limits(class).max_frame;
        let reachable = self.heard.borrow().contains_key(&peer);
        let queued = fits
            && reachable
            && self.members().get(&peer).is_some_and(|member| member.queue(class).push(frame));
        if !queued {
            stats::dropped(peer, class, 1);
        }
        queued
    }

    pub(super) fn connected(&self) -> Vec<u32> {
        self.heard.borrow().keys().copied().collect()
    }

    /// Takes note that the peer's vote stream is open, for as long as the answer lives.
    pub(super) fn hear(self: &Arc<Self>, member: &Member) -> Heard {
        let stream = self.streams.fetch_add(1, Ordering::Relaxed);
        self.heard.send_modify(|heard| {
            heard.insert(member.id, stream);
        });
        member.joined.notify_waiters();
        Heard { channel: Arc::clone(self), peer: member.id, stream }
    }

    /// Waits until the peer's vote stream is open: from then on it takes our streams.
    pub(super) async fn until_heard(&self, peer: u32) {
        let mut heard = self.heard.subscribe();
        // The sender lives as long as the channel does.
        let _open = heard.wait_for(|heard| heard.contains_key(&peer)).await;
    }

    /// Hands a frame to whoever reads it, waiting while that is behind. False if nobody reads.
    pub(super) async fn deliver(&self, member: &Member, class: Class, frame: Bytes) -> bool {
        match class {
            Class::Votes => self.votes.push(member.id, frame).await,
            Class::Repair => self.repair.push(member.id, frame).await,
            Class::Bulk => member.bulk_in.send(frame).await.is_ok(),
        }
    }

    /// Tells who comes and goes, until the channel is left. A peer that came back in between is
    /// told as gone and back, and however slow the listener is, the last it hears is true.
    pub(super) async fn tell(self: Arc<Self>, events: mpsc::Sender<LinkEvent>) {
        let mut heard = self.heard.subscribe();
        let mut told = BTreeMap::new();
        loop {
            let now = heard.borrow_and_update().clone();
            let gone = told.iter().filter(|(peer, stream)| now.get(peer) != Some(stream));
            let come = now.iter().filter(|(peer, stream)| told.get(peer) != Some(stream));
            let down = gone.map(|(peer, _)| LinkEvent { peer: *peer, up: false });
            let up = come.map(|(peer, _)| LinkEvent { peer: *peer, up: true });
            let news: Vec<_> = down.chain(up).collect();
            for event in news {
                if events.send(event).await.is_err() {
                    return;
                }
            }
            told = now;
            if heard.changed().await.is_err() {
                return;
            }
        }
    }

    /// Ends everything that belongs to the channel.
    pub(super) fn leave(&self) {
        self.left.cancel();
        self.votes.close();
        self.repair.close();
    }

    fn members(&self) -> MutexGuard<'_, BTreeMap<u32, Arc<Member>>> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Member {
    fn new(id: u32, channel: &Channel) -> Self {
        let (bulk_in, bulk_out) = mpsc::channel(1);
        Self {
            id,
            removed: channel.left.child_token(),
            joined: Notify::new(),
            votes: SendQueue::new(channel.tuning.votes),
            bulk: SendQueue::new(channel.tuning.bulk),
            repair: SendQueue::new(channel.tuning.repair),
            bulk_in,
            bulk_out: Mutex::new(Some(bulk_out)),
        }
    }

    pub(super) fn queue(&self, class: Class) -> &SendQueue {
        match class {
            Class::Votes => &self.votes,
            Class::Bulk => &self.bulk,
            Class::Repair => &self.repair,
        }
    }

    /// The reading end of the peer's bulk frames, once.
    pub(super) fn take_bulk(&self) -> Option<mpsc::Receiver<Bytes>> {
        self.bulk_out.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// A peer's vote stream is open.
pub(super) struct Heard {
    channel: Arc<Channel>,
    peer: u32,
    stream: u64,
}

impl Drop for Heard {
    fn drop(&mut self) {
        self.channel.heard.send_if_modified(|heard| match heard.get(&self.peer) == Some(&self.stream) {
            true => heard.remove(&self.peer).is_some(),
            false => false,
        });
    }
}
