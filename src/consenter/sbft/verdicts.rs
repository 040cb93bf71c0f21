//! Candidates found valid that somebody still holds: one that comes again, over another link or from
//! a liar that repeats it for ever, is not decoded and its signatures are not checked again.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError, Weak};

use super::rules::vouch_known;
use crate::types::{Candidate, Digest, Verified};

/// Verdicts remembered; more than the candidates that a channel of usual size has under way.
const REMEMBERED: usize = 4096;

/// What was found valid, and under which config sequence.
#[derive(Debug, Default)]
pub(super) struct Verdicts(Mutex<Remembered>);

#[derive(Debug, Default)]
struct Remembered {
    valid: HashMap<Digest, (Weak<Candidate>, u64)>,
    /// Oldest first.
    order: VecDeque<Digest>,
}

impl Verdicts {
    /// The candidate, if it was found valid under this config sequence and is held still.
    pub(super) fn valid(&self, digest: &Digest, config_sequence: u64) -> Option<Verified<Arc<Candidate>>> {
        let remembered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (candidate, sequence) = remembered.valid.get(digest)?;
        // It was checked when it was remembered.
        candidate
            .upgrade()
            .filter(|_| *sequence == config_sequence)
            .map(|it| vouch_known(it, config_sequence))
    }

    /// Remembers a candidate that was found valid.
    pub(super) fn remember(&self, candidate: &Verified<Arc<Candidate>>, config_sequence: u64) {
        let candidate = candidate.get();
        let mut remembered = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let verdict = (Arc::downgrade(candidate), config_sequence);
        if remembered.valid.insert(candidate.digest, verdict).is_some() {
            return;
        }
        remembered.order.push_back(candidate.digest);
        if remembered.order.len() > REMEMBERED
            && let Some(oldest) = remembered.order.pop_front()
        {
            remembered.valid.remove(&oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Place;
    use bytes::Bytes;

    fn candidate(number: u64) -> Verified<Arc<Candidate>> {
        let mut digest = Digest([0; 32]);
        digest.0[..8].copy_from_slice(&number.to_be_bytes());
        Verified::vouch(Arc::new(Candidate {
            origin: Place(1),
            sequence: number,
            digest,
            encoding: Bytes::new(),
            envelopes: Vec::new(),
            ids: Vec::new(),
            sizes: Vec::new(),
            data_hash: Digest([0; 32]),
            is_config: false,
        }))
    }

    #[test]
    fn a_verdict_holds_under_its_configuration_and_as_long_as_the_candidate_is_held() {
        let verdicts = Verdicts::default();
        let held = candidate(1);
        verdicts.remember(&held, 7);
        let digest = held.get().digest;
        assert!(verdicts.valid(&digest, 7).is_some_and(|known| Arc::ptr_eq(known.get(), held.get())));
        assert!(verdicts.valid(&digest, 8).is_none(), "under another configuration it may be invalid");
        drop(held);
        assert!(verdicts.valid(&digest, 7).is_none());
    }

    #[test]
    fn the_oldest_verdicts_are_forgotten() {
        let verdicts = Verdicts::default();
        let held: Vec<_> = (0..=REMEMBERED as u64).map(candidate).collect();
        for candidate in &held {
            verdicts.remember(candidate, 0);
            verdicts.remember(candidate, 0);
        }
        assert!(verdicts.valid(&held[0].get().digest, 0).is_none());
        assert!(verdicts.valid(&held[1].get().digest, 0).is_some());
        assert_eq!(verdicts.0.lock().expect("not poisoned").order.len(), REMEMBERED);
    }
}
