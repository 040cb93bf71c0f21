//! Which request ids are in the chain, or in the proposals in flight above it.
//!
//! An envelope is in the chain at most once within the dedup window. No message says what falls out as a
//! duplicate: it is the same pure function of chain and candidates at every replica, and this is
//! its state. It has no limit of its own: the dedup window and the proposals in flight bound it.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use crate::dedup_window::{BlockIds, DedupRule, DedupWindow};
use crate::header;
use crate::id_map::IdMap;
use crate::plant::{Plant, Plants};
use crate::types::{Candidate, Digest, Number, RequestId};

/// What a list of candidates is as the data of one block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Content {
    /// The envelopes that stay.
    pub(super) data: Vec<Bytes>,
    /// Their ids.
    pub(super) ids: Arc<[RequestId]>,
    /// Data hash over `data`.
    pub(super) data_hash: Digest,
    /// It is one config envelope.
    pub(super) is_config: bool,
}

/// Request ids of the blocks in the dedup window and of the proposals in flight.
#[derive(Clone, Debug)]
pub(super) struct Dedup {
    planted: Plants,
    tip: Number,
    /// The highest block or proposal that an id is in.
    taken: IdMap<Number>,
    committed: DedupWindow,
    proposals: BTreeMap<Number, InFlight>,
    /// A block's order depends on whose replica this is: a rule taken away.
    leaks_order: bool,
}

#[derive(Clone, Debug)]
struct InFlight {
    content: Arc<Content>,
    /// Ids that are in an older block as well, which counts again if the proposal is abandoned.
    before: Vec<(RequestId, Number)>,
}

impl Dedup {
    /// Starts with the blocks that the ledger ends with, oldest first. A block has at most
    /// `block_count` ids.
    pub(super) fn new(rule: DedupRule, block_count: u32, recent: Vec<BlockIds>, planted: Plants) -> Self {
        let shorter = |length: u64| length - u64::from(planted.has(Plant::DedupWindowTooShort) && length > 0);
        let rule = DedupRule { blocks: shorter(rule.blocks), envelopes: shorter(rule.envelopes) };
        let mut dedup = Self {
            planted,
            tip: Number(0),
            taken: IdMap::new(rule.most_ids(block_count)),
            committed: DedupWindow::new(rule),
            proposals: BTreeMap::new(),
            leaks_order: false,
        };
        for (number, ids) in recent {
            dedup.commit(number, ids);
        }
        dedup
    }

    /// Orders a block's data in a way of its own, for tests that take that rule away.
    pub(super) fn leaking_order(mut self, leaks_order: bool) -> Self {
        self.leaks_order = leaks_order;
        self
    }

    fn find(&self, id: &RequestId) -> Option<Number> {
        self.taken.get(id).copied()
    }

    fn take(&mut self, id: RequestId, number: Number) -> Option<Number> {
        self.taken.insert(id, number)
    }

    /// The id is in a block or proposal below `number` and in its dedup window.
    fn is_taken(&self, id: &RequestId, number: Number) -> bool {
        let Some(mut taken) = self.find(id) else { return false };
        if taken >= number {
            // In flight at this number or above: what counts is what it was in before.
            let above = self.proposals.range(number..).flat_map(|(_, proposal)| &proposal.before);
            match above.into_iter().filter(|(other, _)| other == id).map(|(_, before)| *before).min() {
                Some(before) => taken = before,
                None => return false,
            }
        }
        let off = self.planted.has(Plant::NoDeduplication);
        taken < number && self.reaches(taken, number) && !off
    }

    /// What is in block or proposal `older` counts for `number`, which is above it and at most the next.
    fn reaches(&self, older: Number, number: Number) -> bool {
        if older > self.tip {
            return true; // as in flight as it is: those are fewer than D
        }
        let above =
            self.proposals.range(..number).map(|(_, proposal)| proposal.content.ids.len() as u64).sum();
        self.committed.holds(older) && self.committed.reaches(older, number, above)
    }

    /// The id is in a committed block in the dedup window of the next one.
    pub(super) fn is_committed(&self, id: &RequestId) -> bool {
        match self.find(id) {
            None => false,
            Some(taken) if taken <= self.tip => true,
            Some(_) => self
                .proposals
                .values()
                .flat_map(|proposal| &proposal.before)
                .any(|(other, before)| other == id && self.committed.holds(*before)),
        }
    }

    /// Whether block `number` made of this candidate alone would have an envelope.
    pub(super) fn adds_something(&self, number: Number, candidate: &Candidate) -> bool {
        candidate.ids.iter().any(|id| !self.is_taken(id, number))
    }

    /// The data of block `number` made of these candidates: their envelopes in order, minus those
    /// in blocks and proposals of its dedup window, minus those that came before in this block.
    pub(super) fn content(&self, number: Number, candidates: &[Arc<Candidate>]) -> Content {
        let all = || candidates.iter().flat_map(|candidate| candidate.envelopes.iter().zip(&candidate.ids));
        let repeated = if self.planted.has(Plant::NoDeduplication) {
            Vec::new()
        } else {
            repeated(all().map(|(_, id)| *id))
        };
        let (mut data, mut ids) = (Vec::new(), Vec::new());
        for (position, (envelope, id)) in all().enumerate() {
            if !self.is_taken(id, number) && repeated.binary_search(&position).is_err() {
                data.push(envelope.clone());
                ids.push(*id);
            }
        }
        if self.leaks_order {
            data.reverse();
            ids.reverse();
        }
        let data_hash = match candidates {
            // Nothing fell out: the hash that the candidate's validation computed is the block's.
            [only] if only.envelopes.len() == data.len() && !self.leaks_order => only.data_hash,
            _ => header::data_hash(&data),
        };
        let is_config = candidates.iter().any(|candidate| candidate.is_config);
        Content { data, ids: ids.into(), data_hash, is_config }
    }

    /// A proposal is in flight from here on; numbers come in order.
    pub(super) fn propose(&mut self, number: Number, content: Arc<Content>) {
        let mut before = Vec::new();
        for id in content.ids.iter() {
            if let Some(older) = self.take(*id, number) {
                before.push((*id, older));
            }
        }
        self.proposals.insert(number, InFlight { content, before });
    }

    /// No proposal is in flight any more.
    pub(super) fn abandon_proposals(&mut self) {
        while let Some((number, InFlight { content, before })) = self.proposals.pop_last() {
            self.release(number, &content.ids);
            for (id, older) in before {
                if older > self.tip || self.committed.holds(older) {
                    self.take(id, older);
                }
            }
        }
    }

    /// A block was committed; numbers come in order.
    pub(super) fn commit(&mut self, number: Number, ids: Arc<[RequestId]>) {
        if self
            .proposals
            .first_key_value()
            .is_some_and(|(first, proposal)| *first != number || proposal.content.ids != ids)
        {
            self.abandon_proposals(); // what was in flight is not what was committed
        }
        if self.proposals.remove(&number).is_none() {
            for id in ids.iter() {
                self.take(*id, number);
            }
        }
        self.tip = number;
        self.committed.push(number, ids);
        while let Some((oldest, ids)) = self.committed.pop() {
            self.release(oldest, &ids);
        }
    }

    fn release(&mut self, number: Number, ids: &[RequestId]) {
        for id in ids {
            if self.taken.get(id) == Some(&number) {
                self.taken.remove(id);
            }
        }
    }
}

/// The positions of ids that came before in the list, in ascending order.
fn repeated(ids: impl Iterator<Item = RequestId>) -> Vec<usize> {
    let mut order: Vec<(RequestId, usize)> = ids.zip(0..).collect();
    order.sort_unstable();
    let same = order.windows(2).filter(|pair| pair[0].0 == pair[1].0);
    let mut repeated: Vec<usize> = same.map(|pair| pair[1].1).collect();
    repeated.sort_unstable();
    repeated
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Place;

    fn blocks(blocks: u64) -> DedupRule {
        DedupRule { blocks, envelopes: 0 }
    }

    fn ids(names: &[u8]) -> Arc<[RequestId]> {
        names.iter().map(|name| RequestId([*name; 32])).collect()
    }

    fn candidate(names: &[u8]) -> Arc<Candidate> {
        let envelopes: Vec<Bytes> = names.iter().map(|name| Bytes::copy_from_slice(&[*name])).collect();
        Arc::new(Candidate {
            origin: Place(0),
            sequence: 0,
            digest: Digest::default(),
            encoding: Bytes::new(),
            ids: ids(names).to_vec(),
            sizes: vec![1; names.len()],
            data_hash: header::data_hash(&envelopes),
            is_config: false,
            envelopes,
        })
    }

    fn data(dedup: &Dedup, number: u64, candidates: &[&[u8]]) -> Vec<u8> {
        let candidates: Vec<_> = candidates.iter().map(|names| candidate(names)).collect();
        let content = dedup.content(Number(number), &candidates);
        assert_eq!(content.data_hash, header::data_hash(&content.data));
        content.data.iter().map(|envelope| envelope[0]).collect()
    }

    fn propose(dedup: &mut Dedup, number: u64, names: &[u8]) {
        let content = dedup.content(Number(number), &[candidate(names)]);
        dedup.propose(Number(number), Arc::new(content));
    }

    #[test]
    fn an_id_falls_out_if_it_is_in_the_last_d_blocks_in_flight_below_or_earlier_in_the_block() {
        let mut dedup =
            Dedup::new(blocks(3), 10, vec![(Number(1), ids(b"a")), (Number(2), ids(b"b"))], Plants::NONE);
        propose(&mut dedup, 3, b"c");
        assert_eq!(data(&dedup, 4, &[b"abcd", b"dea"]), b"de", "block 1 is within 3 of block 4");
        assert_eq!(data(&dedup, 5, &[b"abcd"]), b"ad", "and not of block 5");
        assert_eq!(data(&dedup, 3, &[b"cd"]), b"cd", "what is in flight at a number is not below it");
        dedup.abandon_proposals();
        assert_eq!(data(&dedup, 4, &[b"c"]), b"c");
    }

    #[test]
    fn an_id_may_come_again_after_d_blocks_and_an_abandoned_repetition_leaves_no_trace() {
        let mut dedup = Dedup::new(blocks(2), 10, vec![(Number(1), ids(b"a"))], Plants::NONE);
        propose(&mut dedup, 2, b"x");
        propose(&mut dedup, 3, b"y");
        propose(&mut dedup, 4, b"a");
        assert_eq!(data(&dedup, 5, &[b"a"]), b"", "in flight at 4");
        assert_eq!(data(&dedup, 3, &[b"a"]), b"", "for block 3 it is block 1 that counts");
        assert!(dedup.is_committed(&ids(b"a")[0]) && !dedup.is_committed(&ids(b"x")[0]));
        dedup.abandon_proposals();
        assert_eq!(data(&dedup, 3, &[b"a"]), b"");
        assert_eq!(data(&dedup, 4, &[b"a"]), b"a");
        dedup.commit(Number(2), ids(b"z"));
        dedup.commit(Number(3), ids(b"w"));
        assert!(!dedup.is_committed(&ids(b"a")[0]), "block 1 is no longer among the last 2");
    }

    #[test]
    fn a_commit_of_something_else_than_what_was_in_flight_takes_all_of_that_back() {
        let mut dedup = Dedup::new(blocks(10), 10, Vec::new(), Plants::NONE);
        propose(&mut dedup, 1, b"a");
        propose(&mut dedup, 2, b"b");
        dedup.commit(Number(1), ids(b"c"));
        assert_eq!(data(&dedup, 2, &[b"abc"]), b"ab");
        propose(&mut dedup, 2, b"a");
        dedup.commit(Number(2), ids(b"a"));
        assert_eq!(data(&dedup, 3, &[b"abc"]), b"b");
    }

    #[test]
    fn blocks_of_few_envelopes_count_by_their_envelopes_those_in_flight_too() {
        let rule = DedupRule { blocks: 2, envelopes: 5 };
        let names: [&[u8]; 4] = [b"a", b"b", b"c", b"de"];
        let recent: Vec<_> = (1..).map(Number).zip(names.map(ids)).collect();
        let mut dedup = Dedup::new(rule, 10, recent, Plants::NONE);
        assert_eq!(data(&dedup, 5, &[b"abcdef"]), b"f", "blocks 1 to 4 have five");
        propose(&mut dedup, 5, b"f");
        assert_eq!(data(&dedup, 6, &[b"abcdef"]), b"a", "and with block 5 they have six");
        assert_eq!(data(&dedup, 5, &[b"abcdef"]), b"f", "which is above block 5 itself");
        propose(&mut dedup, 6, b"a");
        dedup.abandon_proposals();
        assert!(dedup.is_committed(&ids(b"a")[0]));
        dedup.commit(Number(5), ids(b"xyz"));
        assert!(!dedup.is_committed(&ids(b"c")[0]) && dedup.is_committed(&ids(b"d")[0]));
    }
}
