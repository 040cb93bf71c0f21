//! Which request ids are in the chain, or in the proposals in flight above it.
//!
//! An envelope is in the chain at most once within D blocks. No message says what falls out as a
//! duplicate: it is the same pure function of chain and candidates at every replica, and this is
//! its state. It has no limit of its own: D blocks and the window bound it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use bytes::Bytes;

use crate::header;
use crate::types::{Candidate, Digest, Number, RequestId};

/// What a list of candidates is as the data of one block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Content {
    /// The envelopes that stay.
    pub(super) data: Vec<Bytes>,
    /// Their ids.
    pub(super) ids: Vec<RequestId>,
    /// Data hash over `data`.
    pub(super) data_hash: Digest,
    /// It is one config envelope.
    pub(super) is_config: bool,
}

/// Request ids of the last D blocks and of the proposals in flight.
#[derive(Debug)]
pub(super) struct Dedup {
    depth: u64,
    off: bool,
    committed: BTreeMap<RequestId, Number>,
    blocks: VecDeque<(Number, Vec<RequestId>)>,
    in_flight: BTreeMap<RequestId, Number>,
    proposals: BTreeMap<Number, Arc<Content>>,
}

impl Dedup {
    /// Starts with the blocks that the ledger ends with, oldest first.
    pub(super) fn new(depth: u64, recent: Vec<(Number, Vec<RequestId>)>, off: bool) -> Self {
        let mut dedup = Self {
            depth,
            off,
            committed: BTreeMap::new(),
            blocks: VecDeque::new(),
            in_flight: BTreeMap::new(),
            proposals: BTreeMap::new(),
        };
        for (number, ids) in recent {
            dedup.commit(number, ids);
        }
        dedup
    }

    /// The id is in a block or proposal `number - D .. number`.
    fn is_taken(&self, id: &RequestId, number: Number) -> bool {
        let recent = |taken: &Number| *taken < number && taken.0.saturating_add(self.depth) >= number.0;
        !self.off
            && (self.committed.get(id).is_some_and(recent) || self.in_flight.get(id).is_some_and(recent))
    }

    /// The id is in one of the last D committed blocks.
    pub(super) fn is_committed(&self, id: &RequestId) -> bool {
        self.committed.contains_key(id)
    }

    /// Whether block `number` made of this candidate alone would have an envelope.
    pub(super) fn adds_something(&self, number: Number, candidate: &Candidate) -> bool {
        candidate.ids.iter().any(|id| !self.is_taken(id, number))
    }

    /// The data of block `number` made of these candidates: their envelopes in order, minus those
    /// in blocks and proposals `number - D .. number`, minus those that came before in this block.
    pub(super) fn content(&self, number: Number, candidates: &[Arc<Candidate>]) -> Content {
        let mut seen = BTreeSet::new();
        let (mut data, mut ids) = (Vec::new(), Vec::new());
        for candidate in candidates {
            for (envelope, id) in candidate.envelopes.iter().zip(&candidate.ids) {
                if !self.is_taken(id, number) && (seen.insert(*id) || self.off) {
                    data.push(envelope.clone());
                    ids.push(*id);
                }
            }
        }
        let data_hash = match candidates {
            // Nothing fell out: the hash that the candidate's validation computed is the block's.
            [only] if only.envelopes.len() == data.len() => only.data_hash,
            _ => header::data_hash(&data),
        };
        let is_config = candidates.iter().any(|candidate| candidate.is_config);
        Content { data, ids, data_hash, is_config }
    }

    /// A proposal is in flight from here on; numbers come in order.
    pub(super) fn propose(&mut self, number: Number, content: Arc<Content>) {
        for id in &content.ids {
            self.in_flight.insert(*id, number);
        }
        self.proposals.insert(number, content);
    }

    /// No proposal is in flight any more.
    pub(super) fn abandon_proposals(&mut self) {
        self.in_flight.clear();
        self.proposals.clear();
    }

    /// A block was committed; numbers come in order.
    pub(super) fn commit(&mut self, number: Number, ids: Vec<RequestId>) {
        if let Some(content) = self.proposals.remove(&number) {
            for id in &content.ids {
                if self.in_flight.get(id) == Some(&number) {
                    self.in_flight.remove(id);
                }
            }
        }
        for id in &ids {
            self.committed.insert(*id, number);
        }
        self.blocks.push_back((number, ids));
        while let Some((oldest, _)) = self.blocks.front()
            && oldest.0.saturating_add(self.depth) <= number.0
        {
            let (oldest, ids) = self.blocks.pop_front().expect("there is a front");
            for id in ids {
                if self.committed.get(&id) == Some(&oldest) {
                    self.committed.remove(&id);
                }
            }
        }
    }
}
