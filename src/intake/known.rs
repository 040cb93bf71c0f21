//! Request ids that are known: in other replicas' candidates, and in the blocks of the dedup window.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::dedup_window::{DedupRule, DedupWindow};
use crate::id_map::IdMap;
use crate::types::{Candidate, Digest, Number, Place, RequestId};

/// The ids in other replicas' valid candidates that are not released yet.
///
/// Bounded: what an origin has at the same time beyond a multiple of its quota is not remembered,
/// which costs only duplicates.
#[derive(Clone, Debug)]
pub(super) struct Seen {
    candidates: BTreeMap<Digest, (Place, Vec<RequestId>)>,
    per_origin: BTreeMap<Place, usize>,
    holders: IdMap<u32>,
    limit: usize,
}

/// How many times its quota of candidates an origin is remembered with: those that are fetched or
/// forwarded come on top of those that its own stream may carry.
const QUOTAS: usize = 4;

impl Seen {
    /// For origins with so many candidates outstanding each, and `expected` ids in all of them.
    pub(super) fn new(outstanding: usize, expected: u64) -> Self {
        Self {
            candidates: BTreeMap::new(),
            per_origin: BTreeMap::new(),
            holders: IdMap::new(expected),
            limit: outstanding.saturating_mul(QUOTAS),
        }
    }

    pub(super) fn configure(&mut self, outstanding: usize) {
        self.limit = outstanding.saturating_mul(QUOTAS);
    }

    /// Remembers a candidate; false if it is known or there is no room.
    pub(super) fn add(&mut self, candidate: &Candidate) -> bool {
        let count = self.per_origin.entry(candidate.origin).or_default();
        if *count >= self.limit || self.candidates.contains_key(&candidate.digest) {
            return false;
        }
        *count += 1;
        for id in &candidate.ids {
            *self.holders.or_default(*id) += 1;
        }
        self.candidates.insert(candidate.digest, (candidate.origin, candidate.ids.clone()));
        true
    }

    /// Forgets a candidate; the ids that no candidate holds any more.
    pub(super) fn remove(&mut self, digest: &Digest) -> Vec<RequestId> {
        let Some((origin, mut ids)) = self.candidates.remove(digest) else { return Vec::new() };
        if let Some(count) = self.per_origin.get_mut(&origin) {
            *count -= 1;
        }
        ids.retain(|id| {
            let Some(holders) = self.holders.get_mut(id) else { return false };
            *holders -= 1;
            if *holders == 0 {
                self.holders.remove(id);
                return true;
            }
            false
        });
        ids
    }

    /// Some candidate holds the id.
    pub(super) fn holds(&self, id: &RequestId) -> bool {
        self.holders.contains_key(id)
    }
}

/// The ids of the blocks in the dedup window.
#[derive(Clone, Debug)]
pub(super) struct Committed {
    numbers: IdMap<Number>,
    window: DedupWindow,
}

impl Committed {
    /// For blocks of at most `block_count` ids each.
    pub(super) fn new(rule: DedupRule, block_count: u32) -> Self {
        Self { numbers: IdMap::new(rule.most_ids(block_count)), window: DedupWindow::new(rule) }
    }

    pub(super) fn set_rule(&mut self, rule: DedupRule) {
        self.window.set_rule(rule);
        self.forget();
    }

    /// Adds the next block's ids.
    pub(super) fn add(&mut self, number: Number, ids: Arc<[RequestId]>) {
        for id in ids.iter() {
            self.numbers.insert(*id, number);
        }
        self.window.push(number, ids);
        self.forget();
    }

    pub(super) fn number_of(&self, id: &RequestId) -> Option<Number> {
        self.numbers.get(id).copied()
    }

    fn forget(&mut self) {
        while let Some((number, ids)) = self.window.pop() {
            for id in ids.iter() {
                // A later block may hold the same id again once this one is beyond the window.
                if self.numbers.get(id) == Some(&number) {
                    self.numbers.remove(id);
                }
            }
        }
    }
}
