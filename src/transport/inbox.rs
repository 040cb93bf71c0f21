//! Frames received from the peers of a channel, waiting to be read.
//!
//! Each peer has a bounded queue of its own, and the reader takes turns: a peer that floods
//! fills its own queue, then its stream stops being read, and nobody else notices.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

/// The reading end: frames of one class, from all peers of a channel.
pub struct Inbox {
    shared: Arc<Shared>,
}

/// The reading end of one peer's frames, for readers that do not want to wait for each other. A
/// peer whose frames are not read waits alone; see [`Inbox::split`].
pub struct PeerInbox {
    peer: u32,
    reading: Arc<Inbox>,
}

/// The writing end.
#[derive(Clone)]
pub(super) struct InboxSender {
    shared: Arc<Shared>,
}

struct Shared {
    max_frames: usize,
    max_bytes: usize,
    state: Mutex<State>,
    filled: Notify,
}

#[derive(Default)]
struct State {
    peers: BTreeMap<u32, Queue>,
    /// Whose turn it was.
    last: u32,
    closed: bool,
}

#[derive(Default)]
struct Queue {
    frames: VecDeque<Bytes>,
    bytes: usize,
    filled: Arc<Notify>,
    drained: Arc<Notify>,
}

/// An inbox that holds, for each peer, up to `max_frames` frames and `max_bytes` bytes, or one
/// frame of any length.
pub(super) fn inbox(max_frames: usize, max_bytes: usize) -> (InboxSender, Inbox) {
    let state = Mutex::default();
    let shared = Arc::new(Shared { max_frames, max_bytes, state, filled: Notify::new() });
    (InboxSender { shared: Arc::clone(&shared) }, Inbox { shared })
}

impl Inbox {
    /// The next frame and the peer it came from, taking turns between peers; `None` when the
    /// channel is left. Safe to cancel.
    pub async fn recv(&mut self) -> Option<(u32, Bytes)> {
        loop {
            if let Some(next) = self.try_recv() {
                return Some(next);
            }
            if self.shared.lock().closed {
                return None;
            }
            self.shared.filled.notified().await;
        }
    }

    /// Like [`recv`](Self::recv), but `None` if there is nothing now.
    pub fn try_recv(&mut self) -> Option<(u32, Bytes)> {
        let mut state = self.shared.lock();
        let turn = |(_, queue): &(&u32, &mut Queue)| !queue.frames.is_empty();
        let last = state.last;
        let later = state.peers.range_mut(last.saturating_add(1)..).find(turn).map(|(peer, _)| *peer);
        let peer = later.or_else(|| state.peers.iter_mut().find(turn).map(|(peer, _)| *peer))?;
        let frame = state.peers.get_mut(&peer)?.pop()?;
        state.last = peer;
        Some((peer, frame))
    }

    /// A reader for each of these peers. Frames of others wait, bounded, for nobody.
    pub fn split(self, peers: &[u32]) -> Vec<PeerInbox> {
        let reading = Arc::new(self);
        peers.iter().map(|peer| PeerInbox { peer: *peer, reading: Arc::clone(&reading) }).collect()
    }
}

impl PeerInbox {
    /// Whose frames these are.
    pub fn peer(&self) -> u32 {
        self.peer
    }

    /// The peer's next frame; `None` when the channel is left. Safe to cancel.
    pub async fn recv(&mut self) -> Option<Bytes> {
        loop {
            let filled = {
                let mut state = self.reading.shared.lock();
                let closed = state.closed;
                let queue = state.peers.entry(self.peer).or_default();
                match queue.pop() {
                    Some(frame) => return Some(frame),
                    None if closed => return None,
                    None => Arc::clone(&queue.filled),
                }
            };
            filled.notified().await;
        }
    }
}

impl Queue {
    fn pop(&mut self) -> Option<Bytes> {
        let frame = self.frames.pop_front()?;
        self.bytes -= frame.len();
        self.drained.notify_one();
        Some(frame)
    }
}

impl Drop for Inbox {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl InboxSender {
    /// Queues a frame from `peer`, waiting while its queue is full. False if nobody reads any
    /// more.
    pub(super) async fn push(&self, peer: u32, frame: Bytes) -> bool {
        let mut frame = Some(frame);
        loop {
            let drained = {
                let mut state = self.shared.lock();
                if state.closed {
                    return false;
                }
                let queue = state.peers.entry(peer).or_default();
                let length = frame.as_ref().map_or(0, Bytes::len);
                let full = queue.frames.len() >= self.shared.max_frames
                    || queue.bytes + length > self.shared.max_bytes;
                if !full || queue.frames.is_empty() {
                    queue.bytes += length;
                    queue.frames.extend(frame.take());
                    queue.filled.notify_one();
                    drop(state);
                    self.shared.filled.notify_one();
                    return true;
                }
                Arc::clone(&queue.drained)
            };
            drained.notified().await;
        }
    }

    /// Drops what a former peer left.
    pub(super) fn forget(&self, peer: u32) {
        if let Some(queue) = self.shared.lock().peers.remove(&peer) {
            queue.drained.notify_one();
            queue.filled.notify_one();
        }
    }

    /// Ends the reader once it has read what is there.
    pub(super) fn close(&self) {
        self.shared.close();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        for queue in state.peers.values() {
            queue.drained.notify_one();
            queue.filled.notify_one();
        }
        drop(state);
        self.filled.notify_one();
    }
}
