//! This replica's candidates on their way to the others: in the order they were cut, on every link.
//!
//! A client's envelopes keep their order as long as their replica's candidates do. Two things would
//! break it. A small batch is encoded at once, a large one on the worker threads: so each waits until
//! those before it are encoded. And what is sent before a link is up, or is under way when it breaks,
//! is lost while what follows arrives: so when a link comes up, all that is outstanding goes out again
//! on it, oldest first, and nothing does before. (The others know a candidate that they hold already by
//! its digest.)
//!
//! What a replica that stood still holds may have been committed so long ago that nobody would know it
//! again. It first finds out whether it is behind, and until then what is to go out waits.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::types::{Candidate, Digest, Place};

/// A candidate and the config sequence that its envelopes were filtered under; none if the batch can
/// be no candidate.
pub(in super::super) type Encoded = Option<(Arc<Candidate>, u64)>;

/// Own candidates that the core has not released yet.
#[derive(Debug, Default)]
pub(super) struct OwnCandidates {
    /// Batches by sequence, oldest first, until they and all before them are encoded.
    encoding: VecDeque<(u64, Option<Encoded>)>,
    /// By sequence; as many as the intake cuts at once, so few.
    outstanding: BTreeMap<u64, Arc<Candidate>>,
    /// Whose link is up, and the first sequence that has not gone out on it.
    links: BTreeMap<Place, u64>,
    /// What comes after all that was encoded.
    next: u64,
}

impl OwnCandidates {
    /// The intake has cut the batch of this sequence.
    pub(super) fn cut(&mut self, sequence: u64) {
        self.encoding.push_back((sequence, None));
    }

    /// The batch is encoded; gives the candidates that may go out now, in order.
    pub(super) fn encoded(&mut self, sequence: u64, encoded: Encoded) -> Vec<(Arc<Candidate>, u64)> {
        if let Some((_, slot)) = self.encoding.iter_mut().find(|(cut, _)| *cut == sequence) {
            *slot = Some(encoded);
        }
        let mut next = Vec::new();
        while self.encoding.front().is_some_and(|(_, encoded)| encoded.is_some()) {
            if let Some((sequence, Some(Some((candidate, config_sequence))))) = self.encoding.pop_front() {
                self.next = sequence + 1;
                self.outstanding.insert(sequence, candidate.clone());
                next.push((candidate, config_sequence));
            }
        }
        next
    }

    /// A link came up or went down.
    pub(super) fn link(&mut self, peer: Place, up: bool) {
        self.links.remove(&peer);
        if up {
            self.links.insert(peer, 0);
        }
    }

    /// Something is outstanding that has not gone out on some link.
    pub(super) fn is_waiting(&self) -> bool {
        let last = self.outstanding.keys().next_back();
        last.is_some_and(|last| self.links.values().any(|next| next <= last))
    }

    /// What goes out now on each link, in order. Only to be asked for if this replica is current.
    pub(super) fn carry(&mut self) -> Vec<(Place, Vec<Arc<Candidate>>)> {
        let mut all = Vec::new();
        for (peer, next) in &mut self.links {
            let candidates: Vec<_> = self.outstanding.range(*next..).map(|(_, it)| it.clone()).collect();
            *next = self.next;
            if !candidates.is_empty() {
                all.push((*peer, candidates));
            }
        }
        all
    }

    /// The core has let go of an own candidate.
    pub(super) fn release(&mut self, digest: &Digest) {
        self.outstanding.retain(|_, candidate| candidate.digest != *digest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    /// Only its name and sequence matter here.
    fn candidate(sequence: u64) -> Encoded {
        let candidate = Candidate {
            origin: Place(1),
            sequence,
            digest: Digest([sequence as u8; 32]),
            encoding: Bytes::new(),
            envelopes: Vec::new(),
            ids: Vec::new(),
            sizes: Vec::new(),
            data_hash: Digest([0; 32]),
            is_config: false,
        };
        Some((Arc::new(candidate), 0))
    }

    fn sequences(candidates: impl IntoIterator<Item = Arc<Candidate>>) -> Vec<u64> {
        candidates.into_iter().map(|candidate| candidate.sequence).collect()
    }

    fn ready(candidates: Vec<(Arc<Candidate>, u64)>) -> Vec<u64> {
        sequences(candidates.into_iter().map(|(candidate, _)| candidate))
    }

    #[test]
    fn a_small_batch_does_not_overtake_a_large_one_that_is_still_being_encoded() {
        let mut own = OwnCandidates::default();
        for sequence in 0..4 {
            own.cut(sequence);
        }
        assert!(own.encoded(1, candidate(1)).is_empty());
        assert_eq!(ready(own.encoded(0, candidate(0))), [0, 1]);
        assert!(own.encoded(3, candidate(3)).is_empty());
        assert_eq!(ready(own.encoded(2, None)), [3], "what can be no candidate holds nobody up");
    }

    fn carried(own: &mut OwnCandidates) -> Vec<(Place, Vec<u64>)> {
        own.carry().into_iter().map(|(peer, candidates)| (peer, sequences(candidates))).collect()
    }

    #[test]
    fn a_link_that_comes_up_carries_what_is_outstanding_first_and_in_order() {
        let mut own = OwnCandidates::default();
        own.link(Place(0), true);
        assert!(!own.is_waiting() && own.carry().is_empty(), "nothing is outstanding");
        let cut = |own: &mut OwnCandidates, sequence| {
            own.cut(sequence);
            own.encoded(sequence, candidate(sequence));
        };
        cut(&mut own, 0);
        assert!(own.is_waiting());
        assert_eq!(carried(&mut own), [(Place(0), vec![0])]);
        assert!(!own.is_waiting() && own.carry().is_empty(), "it has gone out");
        cut(&mut own, 1);
        cut(&mut own, 2);
        let (first, _) = candidate(0).expect("made above");
        own.release(&first.digest);
        own.link(Place(3), true);
        assert_eq!(carried(&mut own), [(Place(0), vec![1, 2]), (Place(3), vec![1, 2])]);
        own.link(Place(0), false);
        cut(&mut own, 3);
        own.link(Place(0), true);
        assert_eq!(carried(&mut own), [(Place(0), vec![1, 2, 3]), (Place(3), vec![3])]);
    }
}
