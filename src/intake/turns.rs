//! Turns by the envelope's id, for clients that submit to every replica.
//!
//! Such clients would make every replica send every envelope to every other. Where an envelope
//! that is another replica's to send is usually seen in another's candidate too, replicas take
//! turns: the one that the id names sends it at once, the next one in the ring only if it has not
//! seen it for a while, the one after that a while later, and so on. A replica that is down so
//! costs its envelopes one pause, and none of them is sent more than about once.

use std::time::Duration;

use crate::types::{Place, RequestId};

/// Weight of a new sample is one in this many.
const MEMORY: u32 = 16;
/// Shares are fixed-point: this is 1.
const ONE: u32 = 1 << 16;
/// Turns begin above this share and end below the other one.
const BEGIN: u32 = ONE / 2;
const END: u32 = ONE / 4;
/// Bounds of the pause for one step in the ring. The lower one is several times the way of a
/// candidate on a LAN and its validation; the upper one bounds what a replica that is down costs.
const PAUSE_MIN: Duration = Duration::from_millis(20);
const PAUSE_MAX: Duration = Duration::from_millis(500);

#[derive(Clone, Debug)]
pub(super) struct Turns {
    n: usize,
    me: Place,
    /// Of the envelopes accepted here that are another's turn: the share seen in others'
    /// candidates, as a moving average.
    share: u32,
    taken: bool,
    /// Moving average from own cut to commit.
    latency: Duration,
}

impl Turns {
    pub(super) fn new(n: usize, me: Place) -> Self {
        Self { n, me, share: 0, taken: false, latency: Duration::ZERO }
    }

    pub(super) fn configure(&mut self, n: usize, me: Place) {
        (self.n, self.me) = (n, me);
    }

    /// Turns are taken now.
    pub(super) fn taken(&self) -> bool {
        self.taken
    }

    /// An accepted envelope was, or was not, in another's candidate too.
    pub(super) fn sample(&mut self, id: &RequestId, elsewhere: bool) {
        if self.rank(id) == 0 {
            return; // others leave out what is our turn, so it says nothing
        }
        let value = if elsewhere { ONE } else { 0 };
        self.share = self.share - self.share / MEMORY + value / MEMORY;
        if self.share > BEGIN {
            self.taken = true;
        } else if self.share < END {
            self.taken = false;
        }
    }

    /// An envelope of an own candidate was committed this long after the cut.
    pub(super) fn committed_after(&mut self, latency: Duration) {
        self.latency = self.latency - self.latency / MEMORY + latency / MEMORY;
    }

    /// How long to hold back the envelope; `None` if it goes at once.
    pub(super) fn pause(&self, id: &RequestId) -> Option<Duration> {
        let rank = self.rank(id);
        if !self.taken || rank == 0 {
            return None;
        }
        Some((self.latency * 2).clamp(PAUSE_MIN, PAUSE_MAX) * rank)
    }

    /// How many steps after the replica that the id names this one comes.
    fn rank(&self, id: &RequestId) -> u32 {
        let mut head = [0; 8];
        head.copy_from_slice(&id.0[..8]);
        let turn = (u64::from_be_bytes(head) % self.n as u64) as usize;
        ((self.me.index() + self.n - turn) % self.n) as u32
    }
}
