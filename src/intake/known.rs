//! Request ids that are known: in other replicas' candidates, and in the last D blocks.

use std::collections::{BTreeMap, VecDeque};

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

/// The ids of the last D blocks.
#[derive(Clone, Debug)]
pub(super) struct Committed {
    numbers: IdMap<Number>,
    blocks: VecDeque<(Number, Vec<RequestId>)>,
    limit: u64,
}

impl Committed {
    /// For the last so many blocks of at most `block_count` ids each.
    pub(super) fn new(blocks: u64, block_count: u32) -> Self {
        let expected = blocks.saturating_mul(u64::from(block_count));
        Self { numbers: IdMap::new(expected), blocks: VecDeque::new(), limit: blocks }
    }

    pub(super) fn set_blocks(&mut self, blocks: u64) {
        self.limit = blocks;
        self.forget();
    }

    /// Adds the next block's ids.
    pub(super) fn add(&mut self, number: Number, ids: Vec<RequestId>) {
        for id in &ids {
            self.numbers.insert(*id, number);
        }
        self.blocks.push_back((number, ids));
        self.forget();
    }

    pub(super) fn number_of(&self, id: &RequestId) -> Option<Number> {
        self.numbers.get(id).copied()
    }

    fn forget(&mut self) {
        let last = self.blocks.back().map_or(0, |(number, _)| number.0);
        while let Some((number, _)) = self.blocks.front()
            && number.0.saturating_add(self.limit) <= last
        {
            let Some((number, ids)) = self.blocks.pop_front() else { return };
            for id in ids {
                // A later block may hold the same id again once this one is D blocks back.
                if self.numbers.get(&id) == Some(&number) {
                    self.numbers.remove(&id);
                }
            }
        }
    }
}
