//! A backup looks at what the primary proposes, and accepts it or suspects the primary.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::complaint::Reason;
use super::message::{MAX_CANDIDATES, Message, PrePrepare, Prepare, PrepareVote, Proposal};
use super::slot::Slot;
use super::{Output, Phase, Replica};
use crate::plant::Plant;
use crate::types::{Number, Place, View};

/// What is wrong with a proposal that an honest primary would not have made.
struct Fault(String);

impl Replica {
    /// A proposal, signed by its view's primary.
    pub(super) fn on_pre_prepare(&mut self, from: Place, pre_prepare: PrePrepare, out: &mut Vec<Output>) {
        let (view, number) = (pre_prepare.view, pre_prepare.proposal.number());
        if view < self.view || view > self.view.next() {
            return;
        }
        let digest = pre_prepare.proposal.digest(&self.config.domain.genesis);
        let signer = view.primary(self.config.n);
        if self.planted(Plant::SecondProposal) {
            self.forget_vote(view, number, signer);
        }
        // It is the primary's prepare as well. A second, different one is an offence, found there.
        let vote = PrepareVote { view, number, digest };
        self.on_prepare(from, Prepare { vote, signer, signature: pre_prepare.signature.clone() }, out);
        let slot = self.slots.get(&number);
        let counted = slot.and_then(|slot| slot.prepares.get(&view)).and_then(|votes| votes.get(&signer));
        if signer == self.config.me || counted.is_none_or(|(first, _)| *first != digest) {
            return;
        }
        if number > self.tip.number && number.0 <= self.tip.number.0.saturating_add(self.config.reach()) {
            self.slots.entry(number).or_default().pending.entry(view).or_insert(pre_prepare);
        }
    }

    /// For tests that take away the rule of one proposal for each view and number.
    fn forget_vote(&mut self, view: View, number: Number, primary: Place) {
        if view != self.view
            || number != self.accepted_top
            || number <= self.tip.number
            || primary == self.config.me
        {
            return;
        }
        self.abandon_from(number);
        self.accepted_top = Number(number.0 - 1);
        if let Some(slot) = self.slots.get_mut(&number) {
            slot.prepares.entry(view).or_default().remove(&primary);
            slot.pending.remove(&view);
            if let Some(voted) = slot.voted.take() {
                self.unpin(voted.known);
            }
        }
    }

    /// Accepts the proposal for the next number, if there is one that can be accepted. What cannot
    /// yet (parent, payload, an open config block below, the window) stays where it is.
    pub(super) fn try_accept(&mut self, out: &mut Vec<Output>) -> bool {
        let number = self.accepted_top.next();
        if self.phase != Phase::Active || !self.is_open(number) {
            return false;
        }
        let Some(slot) = self.slots.get(&number) else { return false };
        if slot.voted_in(self.view).is_some() {
            return false; // voted before, for something that did not hold: never for another
        }
        if let Some(proposal) = slot.reproposed.clone() {
            return self.accept_again(number, proposal, out);
        }
        if number <= self.settled() {
            return false; // the new-view said what belongs here, and a commit overtook it
        }
        let Some(proposal) = self.pending_proposal(slot) else {
            return false;
        };
        let parent = self.parent_hash();
        if slot.refused == Some((self.view, parent)) {
            return false;
        }
        if let Err(Fault(reason)) = self.check_form(&proposal) {
            return self.refuse(number, reason, out);
        }
        // Before anything is fetched, and again with each candidate that comes: a proposal that is too
        // large must not make this replica hold all that it names.
        if !self.fits_a_block(&proposal) {
            return self.refuse(number, format!("the proposal {number} is larger than a block may be"), out);
        }
        if !self.hold_or_fetch(&proposal, number) {
            return false;
        }
        let candidates = self.pool.all_of(&proposal).expect("all are held");
        if candidates.iter().any(|candidate| self.pool.valid(&candidate.digest).is_none()) {
            return false; // validated under an older configuration; it comes again
        }
        let content = self.dedup.content(number, &candidates);
        let fault = if candidates.len() > 1 && candidates.iter().any(|candidate| candidate.is_config) {
            Some("has a config envelope that is not alone")
        } else if content.ids.is_empty() {
            Some("has nothing that is not in the chain")
        } else if content.data_hash != proposal.header.data_hash && !self.planted(Plant::DataHashNotChecked) {
            Some("has another data hash than its candidates")
        } else {
            None
        };
        if let Some(fault) = fault {
            return self.refuse(number, format!("the proposal {number} {fault}"), out);
        }
        let mut known = self.known(proposal);
        known.content = Some(Arc::new(content));
        self.slots.entry(number).or_default().pending.remove(&self.view);
        self.accept(known, out);
        true
    }

    /// What is held of the proposal keeps the limits of a block.
    fn fits_a_block(&self, proposal: &Proposal) -> bool {
        let (mut envelopes, mut bytes) = (0u64, 0u64);
        for candidate in proposal.candidates.iter().filter_map(|named| self.pool.get(&named.digest)) {
            envelopes += candidate.envelopes.len() as u64;
            bytes = bytes.saturating_add(candidate.bytes());
        }
        let fits =
            envelopes <= u64::from(self.config.max_message_count) && bytes <= self.config.absolute_max_bytes;
        fits || self.planted(Plant::LimitsNotChecked)
    }

    /// The proposal is wrong: this replica votes for nothing here in this view, and complains. The
    /// others get the proposal as it is, signed by the primary: they will find the same, or that they
    /// were told something else, which is an offence. False: nothing was accepted.
    fn refuse(&mut self, number: Number, reason: String, out: &mut Vec<Output>) -> bool {
        let parent = self.parent_hash();
        let slot = self.slots.entry(number).or_default();
        slot.refused = Some((self.view, parent));
        self.fetches.forget(number);
        self.pool.forget_wanted(number);
        if let Some(wrong) = self.slots.get(&number).and_then(|slot| slot.pending.get(&self.view)) {
            out.push(Output::TellAll(Message::PrePrepare(wrong.clone())));
        }
        self.raise(Reason::Fault, || reason, out);
        false
    }

    /// What the primary of this view proposed at a number.
    fn pending_proposal(&self, slot: &Slot) -> Option<Arc<Proposal>> {
        let oldest = if self.planted(Plant::StaleProposalAccepted) { View(0) } else { self.view };
        let (_, pending) = slot.pending.range(oldest..=self.view).next_back()?;
        Some(Arc::clone(&pending.proposal))
    }

    fn check_form(&self, proposal: &Proposal) -> Result<(), Fault> {
        let number = proposal.number();
        let names: BTreeSet<_> = proposal.candidates.iter().map(|named| named.digest).collect();
        let extends = proposal.header.previous_hash == Some(self.parent_hash());
        if !extends && !self.planted(Plant::ParentNotChecked) {
            Err(Fault(format!("the proposal {number} does not extend the one below it")))
        } else if names.is_empty() || names.len() != proposal.candidates.len() {
            Err(Fault(format!("the proposal {number} names no candidate, or one twice")))
        } else if names.len() > MAX_CANDIDATES.min(self.config.max_message_count as usize) {
            Err(Fault(format!("the proposal {number} names more candidates than envelopes fit a block")))
        } else if names.iter().any(|digest| self.invalid.contains(digest)) {
            Err(Fault(format!("the proposal {number} names an invalid candidate")))
        } else {
            Ok(())
        }
    }

    /// The current view's new-view proposes this again. A quorum accepted it before, so it is valid
    /// and needs no message from the primary; every replica votes for it with a prepare.
    fn accept_again(&mut self, number: Number, proposal: Arc<Proposal>, out: &mut Vec<Output>) -> bool {
        if proposal.header.previous_hash != Some(self.parent_hash()) {
            return false; // the base or a block above it was overtaken by a commit: nothing to vote on
        }
        if !self.hold_or_fetch(&proposal, number) {
            return false;
        }
        let candidates = self.pool.all_of(&proposal).expect("all are held");
        let content = self.dedup.content(number, &candidates);
        if content.data_hash != proposal.header.data_hash {
            self.halt(
                format!("a quorum prepared {number}, whose data hash is not that of its candidates"),
                out,
            );
            return false;
        }
        let mut known = self.known(proposal);
        known.content = Some(Arc::new(content));
        self.accept(known, out);
        true
    }

    /// Votes in a new view for a block that is committed here already, so that others can commit
    /// it too. Only for what was committed: two digests at one number would be a fork.
    ///
    /// False: the block was committed in this very view, and the view's new-view says another one
    /// belongs there.
    pub(super) fn vote_again(&mut self, proposal: &Arc<Proposal>, out: &mut Vec<Output>) -> bool {
        let number = proposal.number();
        let Some(sealed) = self.sealed.get(&number) else { return true };
        let known = self.known(Arc::clone(proposal));
        let (of, same) = (sealed.view, sealed.digest == known.digest);
        if same {
            self.vote(known, true, out);
            return true;
        }
        if of < self.view {
            // Committed in a view below: an honest replica in every quorum of view-changes says so,
            // and nothing else can be proposed again. Two quorums contradict each other.
            self.halt(format!("{number} is committed, and {} proposes another block again", self.view), out);
        }
        // In a view that was over when the block was committed, anything may have been proposed again.
        // In the block's own view that takes no more than one liar, its primary: it made two new-views,
        // and the block followed from the other one.
        of != self.view
    }
}
