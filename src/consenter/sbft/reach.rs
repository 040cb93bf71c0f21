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
    /// This replica itself votes, and so counts for a quorum.
    votes: bool,
    peers: Vec<PeerReach>,
}

#[derive(Debug, Default)]
struct PeerReach {
    up: AtomicBool,
    /// Milliseconds from `begun` to the last frame heard; 0 before the first.
    heard: AtomicU64,
    status: Mutex<Option<Status>>,
}

/// How many consenters that vote can be reached, this one included.
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
    pub(super) fn new(n: usize, me: Place, votes: bool, status_interval: Duration) -> Self {
        Self {
            begun: Instant::now(),
            silent: (status_interval * SILENT_INTERVALS).max(SILENT_MIN),
            me,
            votes,
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

    /// Whether `place` votes, as far as it has said. A follower makes no quorum fuller.
    fn votes(&self, place: Place) -> bool {
        if place == self.me { self.votes } else { self.status(place).is_none_or(|status| !status.follows) }
    }

    /// How many that vote can be reached now.
    pub(super) fn count(&self) -> Reachable {
        let n = self.peers.len();
        let needed = quorum(n);
        let voters: Vec<_> =
            (0..n).map(|place| Place(place as u16)).filter(|place| self.votes(*place)).collect();
        let reachable = voters.iter().filter(|place| self.is_reachable(**place)).count();
        // A quorum was last there when the one that was heard longest ago, of the most recent
        // q - 1 others (q for one that does not vote itself), was heard.
        let others = voters.iter().filter(|place| **place != self.me);
        let mut heard: Vec<u64> =
            others.map(|place| self.peers[place.index()].heard.load(Ordering::Relaxed)).collect();
        heard.sort_unstable_by(|a, b| b.cmp(a));
        let last = match needed - usize::from(self.votes) {
            0 => self.now(),
            others => heard.get(others - 1).copied().unwrap_or(0),
        };
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
        let reach = Reach::new(4, Place(1), true, Duration::from_millis(100));
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
    fn a_follower_counts_for_no_quorum() {
        let reach = Reach::new(4, Place(0), true, Duration::from_millis(100));
        reach.link(Place(1), true);
        reach.link(Place(3), true);
        assert_eq!(reach.count().reachable, 3);
        reach.told(Place(3), &Status { follows: true, ..Status::default() });
        assert_eq!((reach.count().reachable, reach.count().needed), (2, 3));
        let follower = Reach::new(4, Place(0), false, Duration::from_millis(100));
        follower.link(Place(1), true);
        assert_eq!(follower.count().reachable, 1);
    }

    #[test]
    fn a_channel_of_one_always_has_its_quorum() {
        let count = Reach::new(1, Place(0), true, Duration::from_millis(100)).count();
        assert_eq!((count.reachable, count.needed, count.refusal()), (1, 1, None));
    }
}
