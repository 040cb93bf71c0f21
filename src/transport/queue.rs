//! Frames waiting to be sent to one peer, on one channel, in one class.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use tokio::sync::Notify;

use super::config::Limits;

/// A queue that drops what does not fit: who sends never waits.
pub(super) struct SendQueue {
    limits: Limits,
    waiting: Mutex<Waiting>,
    filled: Notify,
}

#[derive(Default)]
struct Waiting {
    frames: VecDeque<Bytes>,
    bytes: usize,
}

impl SendQueue {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, waiting: Mutex::default(), filled: Notify::new() }
    }

    /// Queues `frame`; false if there is no room for it. One frame always fits.
    pub(super) fn push(&self, frame: Bytes) -> bool {
        let mut waiting = self.lock();
        let bytes = waiting.bytes + frame.len();
        let full = waiting.frames.len() >= self.limits.queue_frames || bytes > self.limits.queue_bytes;
        if full && !waiting.frames.is_empty() {
            return false;
        }
        waiting.bytes = bytes;
        waiting.frames.push_back(frame);
        drop(waiting);
        self.filled.notify_one();
        true
    }

    /// Takes what is there, up to about `max` bytes, waiting until there is something.
    pub(super) async fn take(&self, max: usize) -> Vec<Bytes> {
        loop {
            let frames = self.try_take(max);
            if !frames.is_empty() {
                return frames;
            }
            self.filled.notified().await;
        }
    }

    /// Drops everything, and says how many frames that was.
    pub(super) fn clear(&self) -> usize {
        std::mem::take(&mut *self.lock()).frames.len()
    }

    fn try_take(&self, max: usize) -> Vec<Bytes> {
        let mut waiting = self.lock();
        let mut bytes = 0;
        let within = |frame: &&Bytes| {
            let fits = bytes == 0 || bytes + frame.len() <= max;
            bytes += frame.len();
            fits
        };
        let count = waiting.frames.iter().take_while(within).count();
        let frames: Vec<_> = waiting.frames.drain(..count).collect();
        waiting.bytes -= frames.iter().map(Bytes::len).sum::<usize>();
        frames
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
