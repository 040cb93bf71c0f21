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
        let queue = state.peers.get_mut(&peer)?;
        let frame = queue.frames.pop_front()?;
        queue.bytes -= frame.len();
        queue.drained.notify_one();
        state.last = peer;
        Some((peer, frame))
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
        }
        drop(state);
        self.filled.notify_one();
    }
}
