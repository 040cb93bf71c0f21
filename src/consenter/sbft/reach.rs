//! Which consenters can be reached, and whether they are enough for a quorum.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::pbft::message::Status;
use crate::types::Place;
use crate::wire::quorum;

/// How long a quorum may be out of reach before clients are told.
const PATIENCE: Duration = Duration::from_secs(2);
/// A peer that said nothing for this many status intervals, and at least this long, is out of
/// reach even if its link is up (a stopped process keeps its link for a while).
const SILENT_INTERVALS: u32 = 5;
const SILENT_MIN: Duration = Duration::from_secs(1);

/// What is known of the links to the others.
#[derive(Debug)]
pub(super) struct Reach {
    begun: Instant,
    silent: Duration,
    me: Place,
    peers: Vec<PeerReach>,
}

#[derive(Debug, Default)]
struct PeerReach {
    up: AtomicBool,
    /// Milliseconds from `begun` to the last frame heard; 0 before the first.
    heard: AtomicU64,
    status: Mutex<Option<Status>>,
}

/// How many consenters can be reached, this one included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reachable {
    pub(super) reachable: usize,
    pub(super) needed: usize,
    pub(super) n: usize,
    /// For how long they have been too few.
    pub(super) lacking: Duration,
}

impl Reachable {
    /// The reason to refuse clients, if there is one.
    pub(super) fn refusal(&self) -> Option<String> {
        let Self { reachable, needed, n, lacking } = self;
        (reachable < needed && *lacking >= PATIENCE)
            .then(|| format!("no quorum: {reachable} of {n} reachable, {needed} needed"))
    }
}

impl Reach {
    pub(super) fn new(n: usize, me: Place, status_interval: Duration) -> Self {
        Self {
            begun: Instant::now(),
            silent: (status_interval * SILENT_INTERVALS).max(SILENT_MIN),
            me,
            peers: (0..n).map(|_| PeerReach::default()).collect(),
        }
    }

    fn now(&self) -> u64 {
        self.begun.elapsed().as_millis() as u64
    }

    /// A frame came from `place`.
    pub(super) fn heard(&self, place: Place) {
        if let Some(peer) = self.peers.get(place.index()) {
            peer.heard.store(self.now().max(1), Ordering::Relaxed);
        }
    }

    /// A status came from `place`.
    pub(super) fn told(&self, place: Place, status: &Status) {
        if let Some(peer) = self.peers.get(place.index()) {
            *peer.status.lock().unwrap_or_else(PoisonError::into_inner) = Some(status.clone());
        }
    }

    /// The link to `place` came up or went down.
    pub(super) fn link(&self, place: Place, up: bool) {
        if let Some(peer) = self.peers.get(place.index()) {
            peer.up.store(up, Ordering::Relaxed);
        }
        if up {
            self.heard(place);
        }
    }

    /// The last status of `place`.
    pub(super) fn status(&self, place: Place) -> Option<Status> {
        self.peers.get(place.index())?.status.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether `place` can be reached now.
    pub(super) fn is_reachable(&self, place: Place) -> bool {
        place == self.me
            || self.peers.get(place.index()).is_some_and(|peer| {
                let heard = Duration::from_millis(peer.heard.load(Ordering::Relaxed));
                peer.up.load(Ordering::Relaxed)
                    && Duration::from_millis(self.now()).saturating_sub(heard) < self.silent
            })
    }

    /// How many can be reached now.
    pub(super) fn count(&self) -> Reachable {
        let n = self.peers.len();
        let needed = quorum(n);
        let reachable = (0..n).filter(|place| self.is_reachable(Place(*place as u16))).count();
        // A quorum was last there when the one that was heard longest ago, of the most recent
        // q - 1 others, was heard.
        let others = self.peers.iter().enumerate().filter(|(place, _)| *place != self.me.index());
        let mut heard: Vec<u64> = others.map(|(_, peer)| peer.heard.load(Ordering::Relaxed)).collect();
        heard.sort_unstable_by(|a, b| b.cmp(a));
        let last = if needed < 2 { self.now() } else { heard[needed - 2] };
        let lacking = Duration::from_millis(self.now().saturating_sub(last));
        Reachable { reachable, needed, n, lacking }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quorum_that_is_out_of_reach_is_refused_after_two_seconds_with_the_text_clients_know() {
        let reach = |lacking| Reachable { reachable: 2, needed: 3, n: 4, lacking };
        assert_eq!(reach(Duration::from_millis(1999)).refusal(), None);
        let text = "no quorum: 2 of 4 reachable, 3 needed".to_owned();
        assert_eq!(reach(Duration::from_secs(2)).refusal(), Some(text));
    }

    #[test]
    fn links_that_are_up_and_heard_count_and_this_replica_counts_itself() {
        let reach = Reach::new(4, Place(1), Duration::from_millis(100));
        assert_eq!((reach.count().reachable, reach.count().needed), (1, 3));
        reach.link(Place(0), true);
        reach.link(Place(3), true);
        let count = reach.count();
        assert_eq!((count.reachable, count.refusal()), (3, None));
        assert!(count.lacking < PATIENCE);
        reach.link(Place(3), false);
        assert_eq!(reach.count().reachable, 2);
    }

    #[test]
    fn a_channel_of_one_always_has_its_quorum() {
        let count = Reach::new(1, Place(0), Duration::from_millis(100)).count();
        assert_eq!((count.reachable, count.needed, count.refusal()), (1, 1, None));
    }
}
