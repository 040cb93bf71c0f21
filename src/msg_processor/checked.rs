//! Envelopes whose signatures were found valid, so that the same one is not checked twice.
//!
//! A client that submits to every replica makes each replica see its envelope at its own door and again in
//! the candidate of whoever orders it. What is remembered is the envelope's exact bytes, by their digest: no
//! envelope vouches for another one. Only valid ones are kept, so nobody without a key that counts can push
//! others' out; to be forgotten costs no more than another check.

use std::collections::HashSet;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use crate::types::Digest;
use crate::wire::envelope::Parsed;

/// Envelopes in a generation, of which there are two: some seconds' worth of signatures for the cores
/// of today, and 2 MB.
const GENERATION: usize = 1 << 14;
/// How long to wait for a check that somebody else has begun before doing it as well: several times what a
/// thread's share of a batch takes.
const PATIENCE: Duration = Duration::from_millis(5);

/// What was found valid under one configuration.
#[derive(Debug, Default)]
pub(super) struct Checked {
    state: Mutex<State>,
    /// Told when checks end.
    settled: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// The newest.
    young: HashSet<Digest>,
    /// Those before them.
    old: HashSet<Digest>,
    /// Being checked now. As many as there are threads, times what one of them checks at once.
    under_way: HashSet<Digest>,
}

impl State {
    fn is_valid(&self, name: &Digest) -> bool {
        self.young.contains(name) || self.old.contains(name)
    }

    fn remember(&mut self, name: Digest) {
        if self.young.len() >= GENERATION {
            // The set of the old generation keeps its memory and begins anew.
            std::mem::swap(&mut self.young, &mut self.old);
            self.young.clear();
        }
        self.young.insert(name);
    }
}

/// Names an envelope by all that its verdict depends on, besides the configuration.
pub(super) fn name(envelope: &Parsed) -> Digest {
    let mut hasher = Sha256::new();
    // The length tells where the one ends and the other begins.
    hasher.update((envelope.payload.len() as u64).to_be_bytes());
    hasher.update(&envelope.payload);
    hasher.update(&envelope.signature);
    Digest(hasher.finalize().into())
}

impl Checked {
    /// Whether each of these envelopes has a valid signature; `verify` checks those at the given places, and
    /// is asked about no more than need be. It must not wait for anything, other checks least of all: others
    /// wait for it.
    pub(super) fn verify(&self, names: &[Digest], verify: impl Fn(&[usize]) -> Vec<bool>) -> Vec<bool> {
        let mut verdicts = vec![false; names.len()];
        let (mut mine, mut others) = (Vec::new(), Vec::new());
        {
            let mut state = self.lock();
            for (place, name) in names.iter().enumerate() {
                if state.is_valid(name) {
                    verdicts[place] = true;
                } else if state.under_way.insert(*name) {
                    mine.push(place);
                } else {
                    others.push(place);
                }
            }
        }
        let mut check = |places: &[usize]| {
            let mut claim = Claim { checked: self, names, places, valid: Vec::new() };
            claim.valid = verify(places);
            for (place, valid) in places.iter().zip(&claim.valid) {
                verdicts[*place] = *valid;
            }
        };
        if !mine.is_empty() {
            check(&mine);
        }
        // After the own ones, so that nobody who waits keeps others waiting.
        let left = self.wait(names, &mut others);
        if !left.is_empty() {
            check(&left);
        }
        for place in others {
            verdicts[place] = true;
        }
        verdicts
    }

    /// Waits a while until these are checked. Leaves in `places` those that were found valid; the others
    /// are the caller's to check.
    fn wait(&self, names: &[Digest], places: &mut Vec<usize>) -> Vec<usize> {
        if places.is_empty() {
            return Vec::new();
        }
        let waits = |state: &mut State| places.iter().any(|place| state.under_way.contains(&names[*place]));
        let (mut state, _late) = self
            .settled
            .wait_timeout_while(self.lock(), PATIENCE, waits)
            .unwrap_or_else(PoisonError::into_inner);
        let mut left = Vec::new();
        places.retain(|place| {
            let valid = state.is_valid(&names[*place]);
            if !valid {
                left.push(*place);
            }
            valid
        });
        state.under_way.extend(left.iter().map(|place| names[*place]));
        left
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Checks that a thread has taken on; when they end, however they do, others learn of it.
struct Claim<'a> {
    checked: &'a Checked,
    names: &'a [Digest],
    places: &'a [usize],
    /// The verdict on each place, if there is one.
    valid: Vec<bool>,
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let mut state = self.checked.lock();
        for place in self.places {
            state.under_way.remove(&self.names[*place]);
        }
        for (place, _) in self.places.iter().zip(&self.valid).filter(|(_, valid)| **valid) {
            state.remember(self.names[*place]);
        }
        drop(state);
        self.checked.settled.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::channel;

    use super::*;

    fn names(range: std::ops::Range<u64>) -> Vec<Digest> {
        let name = |number: u64| {
            let mut name = Digest([0; 32]);
            name.0[..8].copy_from_slice(&number.to_be_bytes());
            name
        };
        range.map(name).collect()
    }

    #[test]
    fn what_was_valid_is_not_asked_about_again_and_what_was_not_is() {
        let checked = Checked::default();
        let asked = AtomicUsize::new(0);
        let even = |places: &[usize]| {
            asked.fetch_add(places.len(), Ordering::Relaxed);
            places.iter().map(|place| place % 2 == 0).collect()
        };
        let names = names(0..10);
        let expected: Vec<bool> = (0..10).map(|place| place % 2 == 0).collect();
        assert_eq!(checked.verify(&names, even), expected);
        assert_eq!(checked.verify(&names, even), expected);
        assert_eq!(asked.load(Ordering::Relaxed), 10 + 5);
        assert!(checked.lock().under_way.is_empty());
    }

    #[test]
    fn the_same_envelope_twice_at_once_is_checked_once() {
        let checked = Checked::default();
        let name = names(0..1)[0];
        let verdicts = checked.verify(&[name, name, name], |places| {
            assert_eq!(places, [0]);
            vec![true]
        });
        assert_eq!(verdicts, [true; 3]);
        // One that is not valid is judged on its own each time.
        let other = names(1..2)[0];
        assert_eq!(checked.verify(&[other, other], |places| vec![false; places.len()]), [false; 2]);
    }

    #[test]
    fn who_comes_while_it_is_checked_waits_for_the_verdict() {
        let checked = Checked::default();
        let names = names(0..3);
        let (begun, has_begun) = channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                checked.verify(&names, |places| {
                    begun.send(()).expect("somebody waits");
                    std::thread::yield_now();
                    vec![true; places.len()]
                })
            });
            has_begun.recv().expect("the check begins");
            // If the other thread is held up for longer than anybody waits, both check: the verdict is the same.
            assert_eq!(checked.verify(&names, |places| vec![true; places.len()]), [true; 3]);
        });
        assert!(checked.lock().under_way.is_empty());
    }

    #[test]
    fn a_check_that_never_ends_holds_nobody_up() {
        let checked = Checked::default();
        let names = names(0..2);
        checked.lock().under_way.extend(&names);
        assert_eq!(checked.verify(&names, |places| vec![true; places.len()]), [true; 2]);
        assert!(checked.lock().under_way.is_empty());
    }

    #[test]
    fn a_check_that_panics_is_no_verdict() {
        let checked = Checked::default();
        let names = names(0..2);
        let panics = std::panic::AssertUnwindSafe(|| checked.verify(&names, |_| panic!("on purpose")));
        assert!(std::panic::catch_unwind(panics).is_err());
        assert_eq!(checked.verify(&names, |places| vec![true; places.len()]), [true; 2]);
    }

    #[test]
    fn the_oldest_are_forgotten() {
        let checked = Checked::default();
        let all = names(0..3 * GENERATION as u64);
        for some in all.chunks(100) {
            checked.verify(some, |places| vec![true; places.len()]);
            let state = checked.lock();
            assert!(state.young.len() <= GENERATION && state.old.len() <= GENERATION);
        }
        assert!(checked.lock().is_valid(&all[all.len() - GENERATION]));
        assert!(!checked.lock().is_valid(&all[0]));
    }
}
