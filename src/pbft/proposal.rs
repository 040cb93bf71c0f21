//! The primary proposes; every replica accepts and so votes.
//!
//! Up to `window` numbers are in flight, each chained to the one below. Under load the primary
//! waits until few proposals are unprepared and merges what came in meanwhile ([`super::pace`]), so the
//! number of blocks (and of votes, signatures and syncs) follows the rounds and not the number of origins.

use std::sync::Arc;

use super::message::{PrepareVote, Proposal, Unsigned};
use super::pool::Limits;
use super::slot::{Known, Voted};
use super::{Note, Output, Phase, Record, Replica};
use crate::header::header_hash;
use crate::plant::Plant;
use crate::types::{Candidate, CandidateRef, Digest, Header, Number, Time};

/// The primary proposes beside what is uncommitted only while fewer numbers than this are unprepared.
const UNPREPARED_BEFORE_MERGING: usize = 2;

impl Replica {
    /// Proposes what waits, as far as rules and window allow. Only the primary does.
    pub(super) fn propose(&mut self, out: &mut Vec<Output>) -> bool {
        let mut proposed = false;
        while self.pool.has_ready() && self.may_propose() {
            let number = self.accepted_top.next();
            let candidates = self.pool.merge(number, self.limits(), &self.dedup);
            if candidates.is_empty() {
                break;
            }
            let content = Arc::new(self.dedup.content(number, &candidates));
            let header =
                Header { number, previous_hash: Some(self.parent_hash()), data_hash: content.data_hash };
            let named = |candidate: &Arc<Candidate>| CandidateRef {
                origin: candidate.origin,
                digest: candidate.digest,
            };
            let proposal = Arc::new(Proposal { header, candidates: candidates.iter().map(named).collect() });
            let mut known = self.known(proposal);
            known.content = Some(content);
            self.accept(known, out);
            self.pace.proposed(number, self.now);
            proposed = true;
        }
        proposed
    }

    fn may_propose(&self) -> bool {
        let number = self.accepted_top.next();
        let unprepared = self.unprepared.range(self.tip.number.next()..).count();
        self.phase == Phase::Active
            && self.votes()
            && self.primary() == self.config.me
            && self.is_open(number)
            && number > self.settled()
            && !self.abstains(number)
            && self.slots.get(&number).is_none_or(|slot| slot.voted_in(self.view).is_none())
            && (self.now >= self.merges_until()
                && (self.accepted_top == self.tip.number || unprepared < UNPREPARED_BEFORE_MERGING)
                || self.pool.fills(self.limits()))
    }

    fn merges_until(&self) -> Time {
        if self.accepted_top == self.tip.number { self.pace.alone_at() } else { self.pace.beside_at() }
    }

    /// When the primary proposes what it merges meanwhile, if nothing is committed and no block is filled before.
    pub(super) fn merging_due(&self) -> Option<Time> {
        let merges =
            self.primary() == self.config.me && self.pool.has_ready() && self.merges_until() > self.now;
        merges.then(|| self.merges_until())
    }

    /// The number may be voted on: within the window, and nothing below it is an open config block.
    pub(super) fn is_open(&self, number: Number) -> bool {
        // The second bound is on what a restart finds: the ledger may come back at the durable
        // block, and a view-change must still have room for every certificate above it.
        number > self.tip.number
            && (number.0 <= self.tip.number.0.saturating_add(self.config.window)
                || self.planted(Plant::WindowNotEnforced))
            && number.0 <= self.durable.0.saturating_add(self.config.reach())
            && self.open_config.is_none()
    }

    /// Hash of the block or proposal that the next one goes on top of.
    pub(super) fn parent_hash(&self) -> Digest {
        if self.accepted_top == self.tip.number {
            return self.tip.hash;
        }
        let slot = self.slots.get(&self.accepted_top).expect("what was accepted has a slot");
        slot.voted.as_ref().expect("it was accepted").known.hash
    }

    pub(super) fn limits(&self) -> Limits {
        Limits {
            envelopes: u64::from(self.config.max_message_count),
            bytes: self.config.absolute_max_bytes,
            preferred: self.config.preferred_max_bytes,
        }
    }

    /// A proposal with its digest and hash, its data not yet worked out.
    pub(super) fn known(&self, proposal: Arc<Proposal>) -> Known {
        let digest = proposal.digest(&self.config.domain.genesis);
        let hash = header_hash(&proposal.header);
        Known { proposal, digest, hash, content: None, pinned: false }
    }

    /// Accepts a proposal for the number after the last accepted one, and votes for it. All its
    /// candidates are held and its data is worked out.
    ///
    pub(super) fn accept(&mut self, known: Known, out: &mut Vec<Output>) {
        let number = known.proposal.number();
        assert_eq!(number, self.accepted_top.next(), "proposals are accepted in order");
        let content = Arc::clone(known.content.as_ref().expect("it was worked out"));
        let reproposed = self.slots.entry(number).or_default().reproposed.take().is_some();
        self.sample_primary_delay(&known.proposal, reproposed);
        if content.is_config {
            self.open_config = Some(number);
        }
        self.dedup.propose(number, content);
        self.pool.take_flight(&known.proposal);
        for named in &known.proposal.candidates {
            // Whose it is, its own bytes say: the proposal may name another.
            if self.pool.get(&named.digest).is_some_and(|held| held.origin == self.config.me) {
                out.push(Output::Proposed(named.digest));
            }
        }
        self.accepted_top = number;
        if !reproposed {
            self.note_leftovers(&known.proposal);
        }
        self.vote(known, reproposed, out);
        self.room_since = self.now;
    }

    /// Casts the vote for `known` in the current view, and records it; or abstains.
    ///
    /// The vote does not wait for the record of what was accepted: after a restart nothing up to the
    /// bound is voted on anew ([`super::bound`]). The commit waits, for the payload too.
    pub(super) fn vote(&mut self, mut known: Known, reproposed: bool, out: &mut Vec<Output>) {
        let (view, number, digest) = (self.view, known.proposal.number(), known.digest);
        let proposal = Arc::clone(&known.proposal);
        let cast = self.votes() && !self.abstains(number);
        let mut payload = Vec::new();
        if number > self.durable && self.missing(&proposal).is_empty() {
            self.pin(&mut known);
            payload = self.payload_records(&proposal);
        }
        let slot = self.slots.entry(number).or_default();
        let first = slot.voted_in(view).is_none_or(|voted| voted.known.digest == digest);
        assert!(first, "one vote for each view and number, whatever a restart brought back");
        if let Some(before) = slot.voted.replace(Voted { view, known, cast, abandoned: false }) {
            self.unpin(before.known);
        }
        if !self.votes() {
            return; // a follower keeps the proposal to see it commit, and promises nothing
        }
        self.unprepared.insert(number);
        out.push(Output::Note(Note::Accepted { view, number }));
        if cast {
            let unsigned = if self.primary() == self.config.me && !reproposed {
                Unsigned::PrePrepare { view, proposal: Arc::clone(&proposal) }
            } else {
                Unsigned::Prepare(PrepareVote { view, number, digest })
            };
            let bound = self.bound_before_vote(number);
            self.promise(bound, unsigned, out);
        }
        out.extend(payload.into_iter().map(Output::Persist));
        if cast || self.planted(Plant::AbstentionRecorded) {
            out.push(Output::Persist(Record::Accepted { view, proposal }));
        }
    }

    /// The payloads of a proposal that are not in the log yet.
    pub(super) fn payload_records(&mut self, proposal: &Proposal) -> Vec<Record> {
        if !self.votes() || self.planted(Plant::PayloadNotPersisted) {
            return Vec::new();
        }
        let mut records = Vec::new();
        for named in &proposal.candidates {
            if self.pool.log(&named.digest) {
                let candidate = self.pool.get(&named.digest).expect("it is pinned");
                records.push(Record::Payload(Arc::clone(candidate)));
            }
        }
        records
    }

    pub(super) fn pin(&mut self, known: &mut Known) {
        if !known.pinned {
            self.pool.pin(&known.proposal);
            known.pinned = true;
        }
    }

    pub(super) fn unpin(&mut self, known: Known) {
        if known.pinned {
            self.pool.unpin(&known.proposal);
        }
    }
}
