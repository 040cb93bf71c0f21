//! Signatures found good before, bounded: a vote that arrives again inside a certificate, and a
//! certificate inside every view-change of a new-view, are verified once.

use std::collections::HashSet;
use std::sync::{Mutex, MutexGuard, PoisonError};

use sha2::{Digest as _, Sha256};

use crate::types::Place;

/// How many signatures a generation holds; two generations are kept, 32 bytes and some each.
const GENERATION: usize = 1 << 15;

/// Only good signatures are remembered, so a liar cannot push out more than its own share of
/// valid ones, and forgetting costs time and nothing else.
#[derive(Default)]
pub(super) struct Seen {
    generations: Mutex<Generations>,
}

#[derive(Default)]
struct Generations {
    young: HashSet<[u8; 32]>,
    old: HashSet<[u8; 32]>,
}

impl Seen {
    /// Whether this signature was seen good before, or else what `verify` says.
    pub(super) fn or_verify(
        &self,
        signer: Place,
        bytes: &[u8],
        signature: &[u8],
        verify: impl FnOnce() -> bool,
    ) -> bool {
        let mut hasher = Sha256::new();
        hasher.update(signer.0.to_be_bytes());
        hasher.update((bytes.len() as u64).to_be_bytes());
        hasher.update(bytes);
        hasher.update(signature);
        let key = hasher.finalize().into();
        if self.lock().contains(&key) {
            return true;
        }
        let good = verify();
        if good {
            self.lock().insert(key);
        }
        good
    }

    fn lock(&self) -> MutexGuard<'_, Generations> {
        // A set of digests is never left half-changed, so a panic elsewhere does not spoil it.
        self.generations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Generations {
    fn contains(&self, key: &[u8; 32]) -> bool {
        self.young.contains(key) || self.old.contains(key)
    }

    fn insert(&mut self, key: [u8; 32]) {
        if self.young.len() == GENERATION {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(key);
    }
}
