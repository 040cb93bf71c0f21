//! Commit votes, and blocks.
//!
//! committed(k) needs q commits of one view and committed(k-1). Commits of an older view count as
//! well as those of this one, each view by itself: signatures of mixed views could be put together
//! for a block that a later view replaced.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::message::{Commit, Offence, PreparedCertificate};
use super::slot::{Known, Sealed};
use super::{Note, Output, Phase, Replica};
use crate::plant::Plant;
use crate::types::{BlockCertificate, CandidateRef, CommittedBlock, Digest, Number, Place, View};

impl Replica {
    /// A commit vote.
    pub(super) fn on_commit(&mut self, from: Place, commit: Arc<Commit>, out: &mut Vec<Output>) {
        let (view, number) = (commit.vote.view, commit.vote.header.number);
        let mine = commit.signer == self.config.me;
        if view > self.view.next() || !self.is_near(number) || mine && from != self.config.me {
            return;
        }
        if number <= self.tip.number && !mine {
            return;
        }
        let slot = self.slots.entry(number).or_default();
        if !slot.admit_commits_of(view) {
            return;
        }
        let votes = slot.commits.entry(view).or_default();
        match votes.get(&commit.signer) {
            None => {
                votes.insert(commit.signer, commit);
            }
            Some(first)
                if first.vote == commit.vote && self.config.plants.has(Plant::DuplicateVotesCounted) =>
            {
                votes.insert(Place((self.config.n + votes.len()) as u16), commit);
            }
            Some(first)
                if first.vote.digest != commit.vote.digest || first.vote.header != commit.vote.header =>
            {
                let (first, second) = (first.as_ref().clone(), commit.as_ref().clone());
                self.on_offence(Offence::Commits(Box::new(first), Box::new(second)), out);
            }
            Some(_) => {}
        }
    }

    /// Commits the next block if a quorum of one view committed a proposal that is known here. (If
    /// it is not known, the others' statuses show that they have the block, and it is fetched.)
    pub(super) fn try_commit(&mut self, out: &mut Vec<Output>) -> bool {
        let number = self.tip.number.next();
        let Some(slot) = self.slots.get(&number) else { return false };
        if slot.commits.values().all(|votes| votes.len() < self.commit_quorum())
            && !self.planted(Plant::CommitsAcrossViews)
        {
            return false;
        }
        let voted = slot.voted.iter().map(|voted| &voted.known);
        let certified = slot.certified.iter().map(|certified| &certified.known);
        let mut found = None;
        for known in voted.chain(certified) {
            if let Some(certificate) = self.block_certificate(known, &slot.commits) {
                found = Some((known.clone(), certificate));
                break;
            }
        }
        let Some((mut known, certificate)) = found else { return false };
        let Some(candidates) = self.pool.all_of(&known.proposal) else { return false };
        if known.content.is_none() {
            known.content = Some(Arc::new(self.dedup.content(number, &candidates)));
        }
        let content = Arc::clone(known.content.as_ref().expect("just worked out"));
        if content.data_hash != known.proposal.header.data_hash {
            self.halt(
                format!("a quorum committed {number}, whose data hash is not that of its candidates"),
                out,
            );
            return false;
        }
        let block = CommittedBlock {
            certificate,
            data: content.data.clone(),
            ids: Arc::clone(&content.ids),
            is_config: content.is_config,
        };
        if block.certificate.view == self.view {
            self.outlive_complaints();
        }
        self.commit(Arc::new(block), out);
        true
    }

    /// The block's proof, if q replicas committed `known` in one view. A commit counts only if it
    /// says exactly what this replica works out itself.
    fn block_certificate(
        &self,
        known: &Known,
        commits: &BTreeMap<View, BTreeMap<Place, Arc<Commit>>>,
    ) -> Option<BlockCertificate> {
        let header = &known.proposal.header;
        if header.previous_hash != Some(self.tip.hash) && !self.planted(Plant::ParentNotChecked) {
            return None;
        }
        let last_config = self.last_config_at(header.number, known);
        let any = self.planted(Plant::CommitCountsAnyDigest);
        let matches = |commit: &Commit| {
            let vote = &commit.vote;
            any || vote.digest == known.digest && vote.header == *header && vote.last_config == last_config
        };
        let certificate = |view: View, signatures: BTreeMap<Place, _>| BlockCertificate {
            view,
            header: header.clone(),
            proposal: known.digest,
            last_config,
            signatures: signatures.into_iter().take(self.commit_quorum()).collect(),
        };
        let mut across = BTreeMap::new();
        for (view, votes) in commits.iter().rev() {
            let mut signatures = BTreeMap::new();
            for (place, commit) in votes.iter().filter(|(_, commit)| matches(commit)) {
                signatures.insert(*place, commit.signature.clone());
            }
            if signatures.len() >= self.commit_quorum() {
                return Some(certificate(*view, signatures));
            }
            across.append(&mut signatures);
        }
        let view = *commits.keys().next_back()?;
        let enough = self.planted(Plant::CommitsAcrossViews) && across.len() >= self.quorum_size();
        enough.then(|| certificate(view, across))
    }

    /// Takes the next block into the chain, put together here or fetched.
    pub(super) fn commit(&mut self, block: Arc<CommittedBlock>, out: &mut Vec<Output>) {
        let number = block.number();
        let certificate = &block.certificate;
        assert_eq!(number, self.tip.number.next(), "blocks are committed in order");
        assert_eq!(certificate.header.previous_hash, Some(self.tip.hash), "each block extends the last");
        self.tip.number = number;
        self.tip.hash = crate::header::header_hash(&certificate.header);
        self.tip.certificate = Some(Arc::new(certificate.clone()));
        if block.is_config {
            self.config.last_config = number;
        }
        let sealed = Sealed {
            view: certificate.view,
            digest: certificate.proposal,
            last_config: certificate.last_config,
        };
        self.sealed.insert(number, sealed);
        while self.sealed.len() as u64 > self.config.reach() {
            self.sealed.pop_first();
        }
        out.push(Output::CommitBlock(Arc::clone(&block)));
        out.push(Output::Note(Note::Committed {
            view: certificate.view,
            number,
            envelopes: block.ids.len(),
        }));

        // Proposals above that do not descend from this block can never be committed. The votes
        // cast for them stand: there will be no other at those views and numbers.
        let ours =
            self.slots.get(&number).and_then(|slot| slot.voted.as_ref()).map(|voted| voted.known.digest);
        if self.accepted_top >= number && ours != Some(certificate.proposal) {
            self.abandon_from(number);
        }
        self.accepted_top = self.accepted_top.max(number);
        self.prepared_top = self.prepared_top.max(number);
        self.pace.committed(number, self.now);
        self.dedup.commit(number, Arc::clone(&block.ids));
        let candidates = self.candidates_of(number, &certificate.proposal);
        // A block that was fetched without its proposal passes nobody over here: catching up on what
        // was ordered while this replica was away says nothing about the primary of today.
        self.ordered += candidates.len() as u64;
        self.pool.settle(number, &candidates, &self.dedup, out);
        if self.open_config.is_some_and(|open| open <= number) {
            self.open_config = None;
        }
        if block.is_config {
            self.config.config_sequence += 1;
            self.pool.configure(self.config.config_sequence, out);
            self.invalid.clear();
        }
        self.fetches.forget_up_to(number);
        self.sample_committed(number);
        if self.planted(Plant::CertificatesDropped)
            && let Some(slot) = self.slots.get_mut(&number)
            && let Some(certified) = slot.certified.take()
        {
            self.unpin(certified.known);
        }
        if self.planted(Plant::DurableTooEarly) {
            self.durable = number;
        }
        self.forget_old_slots();
        if self.phase == Phase::Active {
            self.failed_views = 0;
            self.progressed = true;
        }
        self.note_progress();
        self.room_since = self.now;
    }

    /// What a committed block was made of, if its proposal is known here.
    fn candidates_of(&self, number: Number, digest: &Digest) -> Vec<CandidateRef> {
        let Some(slot) = self.slots.get(&number) else { return Vec::new() };
        let voted = slot.voted.iter().map(|voted| &voted.known);
        let certified = slot.certified.iter().map(|certified| &certified.known);
        let mut known = voted.chain(certified).filter(|known| known.digest == *digest);
        known.next().map_or_else(Vec::new, |known| known.proposal.candidates.clone())
    }

    /// Last config number at a block: its own if it is one, else the last one below it. Nothing is
    /// accepted above an open config block, so for open numbers that is the last committed one.
    pub(super) fn last_config_at(&self, number: Number, known: &Known) -> Number {
        match self.sealed.get(&number) {
            Some(sealed) => sealed.last_config,
            None if known
                .content
                .as_ref()
                .map_or_else(|| self.is_config(known), |content| content.is_config) =>
            {
                number
            }
            None => self.config.last_config,
        }
    }

    fn is_config(&self, known: &Known) -> bool {
        let candidates = known.proposal.candidates.iter().filter_map(|named| self.pool.get(&named.digest));
        candidates.into_iter().any(|candidate| candidate.is_config)
    }

    /// Abandons what was accepted from `number` on; its candidates wait again.
    pub(super) fn abandon_from(&mut self, number: Number) {
        for (_, slot) in self.slots.range_mut(number..) {
            if let Some(voted) = &mut slot.voted {
                voted.abandoned = true;
            }
            slot.reproposed = None;
        }
        self.unprepared.retain(|open| *open < number);
        self.dedup.abandon_proposals();
        self.pool.land_all(&BTreeSet::new());
        self.open_config = None;
        self.accepted_top = number;
        self.prepared_top = number;
    }

    /// Drops payload and certificates of blocks that are durable, and whole slots further below.
    ///
    /// Not earlier: until the block itself is durable with its certificate, the certificate in the
    /// log is what proves after a crash that the number is taken.
    pub(super) fn forget_old_slots(&mut self) {
        for (_, slot) in self.slots.range_mut(..=self.durable) {
            if let Some(certified) = slot.certified.take()
                && certified.known.pinned
            {
                self.pool.unpin(&certified.known.proposal);
            }
            if let Some(voted) = &mut slot.voted {
                voted.known.content = None;
                if std::mem::take(&mut voted.known.pinned) {
                    self.pool.unpin(&voted.known.proposal);
                }
            }
            slot.pending.clear();
            slot.forget_commits_of_others(self.config.me);
        }
        // Committed and not durable, as many as the ledger is slow: what proves the number is kept, and
        // what this replica voted. What others voted helps nobody this far down.
        // Nothing of theirs is taken in this far down, so each slot is thinned out once.
        let far = Number(self.tip.number.0.saturating_sub(self.config.window + 1));
        let thinned = self.thinned.max(self.durable);
        if far > thinned {
            let me = self.config.me;
            for (_, slot) in self.slots.range_mut(thinned.next()..=far) {
                slot.forget_others(me);
            }
            self.thinned = far;
        }
        while let Some((number, _)) = self.slots.first_key_value() {
            let number = *number;
            if number > self.durable || number.0.saturating_add(self.config.window) >= self.tip.number.0 {
                break;
            }
            self.slots.pop_first();
            self.unprepared.remove(&number);
        }
    }

    /// Numbers that votes are kept for: some below the tip (to help others with), and above it as
    /// far as others may be ahead.
    pub(super) fn is_near(&self, number: Number) -> bool {
        number.0.saturating_add(self.config.window) >= self.tip.number.0
            && number > Number(0)
            && number.0 <= self.tip.number.0.saturating_add(self.config.reach())
    }

    /// For tests that take the rule away.
    pub(super) fn drop_certificates(&mut self) {
        let certified: Vec<_> = self.slots.values_mut().filter_map(|slot| slot.certified.take()).collect();
        for certified in certified {
            self.unpin(certified.known);
        }
    }

    /// Certificates for the numbers above the last committed block, whose payload is held.
    pub(super) fn certificates(&self) -> Vec<Arc<PreparedCertificate>> {
        if self.planted(Plant::ViewChangeHidesCertificates) {
            return Vec::new();
        }
        let above = self.slots.range(self.tip.number.next()..);
        let certified = above.filter_map(|(_, slot)| slot.certified.as_ref());
        let held = certified.filter(|certified| self.missing(&certified.certificate.proposal).is_empty());
        held.map(|certified| Arc::clone(&certified.certificate)).collect()
    }
}
