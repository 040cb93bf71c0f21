//! What follows from a quorum of view-changes, and how a view starts.
//!
//! [`follow`] is a pure function. For the block numbers above the highest committed one it takes,
//! number by number, the certificate of the highest view, and stops at the first number that has
//! none or whose certificate does not extend the one before.
//!
//! Why stopping is safe: if block k may have been committed anywhere, then q replicas hold a
//! certificate for k, so an honest one of them is in every quorum of view-changes; no later view
//! can hold a different certificate for k; and the same is true for every number below k, because
//! prepared(k) needs prepared(k-1) in the same view or committed(k-1). So a committed block is
//! never past the stop.
//!
//! Why it is per number, and not just "the highest certificate": a replica may have prepared only
//! a prefix again in a newer view, and its newest certificate is then *shorter* than what had
//! been committed before.

use std::sync::Arc;

use super::complaint::Reason;
use super::message::{NewView, NewViewBody, Offence, PreparedCertificate, SignedViewChange, Unsigned};
use super::view_change::is_in_order;
use super::{Note, Output, Phase, Record, Replica};
use crate::header::header_hash;
use crate::plant::{Plant, Plants};
use crate::types::{BlockCertificate, Digest, Number, View};

/// What a new-view means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Outcome {
    /// The highest committed block in the set; none is the genesis block.
    pub(super) base: Option<Arc<BlockCertificate>>,
    /// What is proposed again for the numbers above it, in order and without a gap.
    pub(super) again: Vec<Arc<PreparedCertificate>>,
}

impl Outcome {
    /// Number of the base.
    pub(super) fn base_number(&self) -> Number {
        self.base.as_ref().map_or(Number(0), |certificate| certificate.header.number)
    }

    /// The last number that is settled: proposed again, or the base.
    pub(super) fn last(&self) -> Number {
        Number(self.base_number().0 + self.again.len() as u64)
    }
}

/// Two quorums contradict each other: more than f replicas are faulty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Contradiction(pub(super) String);

/// What follows from this set of view-changes. It does not depend on their order.
pub(super) fn follow(
    set: &[Arc<SignedViewChange>],
    genesis: &Digest,
    plants: Plants,
) -> Result<Outcome, Contradiction> {
    let base =
        set.iter().filter_map(|change| change.body.base.as_ref()).max_by_key(|base| base.header.number);
    let base = base.cloned();
    let mut number = base.as_ref().map_or(Number(0), |base| base.header.number);
    let mut hash = base.as_ref().map_or(*genesis, |base| header_hash(&base.header));
    for other in set.iter().filter_map(|change| change.body.base.as_ref()) {
        if other.header.number == number && header_hash(&other.header) != hash {
            return Err(Contradiction(format!("two committed blocks {number}")));
        }
    }

    if plants.has(Plant::NewViewIgnoresCertificates) {
        return Ok(Outcome { base, again: Vec::new() });
    }
    let all = || set.iter().flat_map(|change| &change.body.prepared);
    let highest_view = all().map(|certificate| certificate.view).max();
    let mut again = Vec::new();
    loop {
        number = number.next();
        let here = || all().filter(|certificate| certificate.proposal.number() == number);
        let views = || here().map(|certificate| certificate.view);
        let lowest = plants.has(Plant::LowestCertificate);
        let Some(view) = (if lowest { views().min() } else { views().max() }) else { break };
        if plants.has(Plant::SingleHighestCertificate) && Some(view) != highest_view {
            break;
        }
        let mut highest = here().filter(|certificate| certificate.view == view);
        let certificate = highest.next().expect("one has the highest view");
        let digest = certificate.proposal.digest(genesis);
        if highest.any(|other| other.proposal.digest(genesis) != digest) {
            return Err(Contradiction(format!("two certificates for {number} in {view}")));
        }
        // First the certificate of the highest view, then the test: a lower one that would extend
        // is no way out, it was overtaken.
        if certificate.proposal.header.previous_hash != Some(hash) {
            break;
        }
        hash = header_hash(&certificate.proposal.header);
        again.push(Arc::clone(certificate));
    }
    Ok(Outcome { base, again })
}

impl Replica {
    /// The primary of the view that was asked for looks for a set to start it with.
    ///
    /// It may choose any q of the view-changes for exactly this view, and uses only a set whose
    /// base it has committed and whose payloads it holds: it must be able to lead what it starts.
    pub(super) fn try_new_view(&mut self, out: &mut Vec<Output>) {
        if self.phase != Phase::Leaving
            || self.primary() != self.config.me
            || self.chosen.is_some()
            || !self.votes()
        {
            return;
        }
        let mut usable = Vec::new();
        for change in self.view_changes.values() {
            if change.body.view == self.view && change.body.base_number() <= self.tip.number {
                let missing =
                    change.body.prepared.iter().map(|certificate| self.missing(&certificate.proposal).len());
                usable.push((missing.sum::<usize>(), change.signer != self.config.me, change));
            }
        }
        if usable.len() < self.new_view_quorum() {
            return;
        }
        usable.sort_by_key(|(missing, other, change)| (*missing, *other, change.signer));
        usable.truncate(self.new_view_quorum());
        let mut view_changes: Vec<_> = usable.into_iter().map(|(_, _, change)| Arc::clone(change)).collect();
        view_changes.sort_by_key(|change| change.signer);

        let outcome = match follow(&view_changes, &self.config.domain.genesis, self.config.plants) {
            Ok(outcome) => outcome,
            Err(Contradiction(reason)) => return self.halt(reason, out),
        };
        let mut complete = true;
        for certificate in &outcome.again {
            if certificate.proposal.number() > self.tip.number {
                complete &= self.hold_or_fetch(&certificate.proposal, certificate.proposal.number());
            }
        }
        if !complete {
            return; // tried again when the candidates arrive
        }
        let body = NewViewBody { view: self.view, view_changes };
        self.chosen = Some(Arc::new(body.clone()));
        // A new-view is a vote: after a restart it is this one that is sent, and no other.
        let mut records = vec![Record::NewViewChosen(Arc::new(body.clone()))];
        if self.planted(Plant::NewViewChoiceNotPersisted) {
            records.clear();
        }
        self.promise(records, Unsigned::NewView(body), out);
    }

    /// A new-view by its view's primary.
    pub(super) fn on_new_view(&mut self, new_view: Arc<NewView>, out: &mut Vec<Output>) {
        let view = new_view.body.view;
        if view < self.view && !self.planted(Plant::StaleNewViewAccepted)
            || view == self.view && self.phase != Phase::Leaving
            || view == View(0)
        {
            return;
        }
        if self.tip.certificate.as_ref().is_some_and(|certificate| certificate.view > view) {
            return; // over before this replica heard of it: a later view committed a block
        }
        if !self.follows_the_rules(&new_view.body) {
            self.on_offence(Offence::NewView(Box::new(NewView::clone(&new_view))), out);
            return;
        }
        match follow(&new_view.body.view_changes, &self.config.domain.genesis, self.config.plants) {
            Ok(outcome) => self.adopt(new_view, outcome, out),
            Err(Contradiction(reason)) => self.halt(reason, out),
        }
    }

    /// Exactly q view-changes for exactly that view, by distinct senders, each one in order.
    ///
    /// Word for word what the checker asks of a new-view, and no more: what breaks it is an offence,
    /// and the others must find the same. How far a certificate is above the base is no part of it.
    /// What follows from the set is one unbroken chain, and a certificate beyond that changes nothing.
    fn follows_the_rules(&self, body: &NewViewBody) -> bool {
        if self.planted(Plant::NewViewNotChecked) {
            return true;
        }
        let enough = body.view_changes.len() == self.new_view_quorum();
        let distinct = self.planted(Plant::NewViewDuplicateSenders)
            || body.view_changes.windows(2).all(|pair| pair[0].signer < pair[1].signer);
        let exact = body.view_changes.iter().all(|change| change.body.view == body.view);
        enough && distinct && exact && body.view_changes.iter().all(|change| is_in_order(&change.body))
    }

    /// Enters the view, or begins to: votes are cast once the base is committed.
    fn adopt(&mut self, new_view: Arc<NewView>, outcome: Outcome, out: &mut Vec<Output>) {
        // The view must be durable before the first vote in it, also when it was somebody else's
        // new-view that led here: a replica that came back in an older view could vote in both.
        // A follower promises nothing and so records nothing: a log with records in it is one that
        // remembers all votes.
        if self.votes() && !self.planted(Plant::NewViewNotPersisted) {
            out.push(Output::Persist(Record::NewView(Arc::clone(&new_view))));
        }
        self.leave_proposals(&outcome);
        if self.planted(Plant::CertificatesForgottenOnEntering) {
            self.drop_certificates();
        }
        self.view = new_view.body.view;
        self.phase = Phase::Entering;
        self.chosen = None;
        self.entered = Some((new_view, outcome));
        self.change_deadline = None;
        self.proof = None;
        self.note_progress();
        self.view_began();
        self.try_activate(out);
    }

    /// The last number that this view's new-view settled: above it the primary proposes.
    pub(super) fn settled(&self) -> Number {
        let of_this_view = self.entered.as_ref().filter(|(new_view, _)| new_view.body.view == self.view);
        of_this_view.map_or(Number(0), |(_, outcome)| outcome.last())
    }

    /// Votes in the view once its base is committed.
    pub(super) fn try_activate(&mut self, out: &mut Vec<Output>) {
        if self.phase != Phase::Entering {
            return;
        }
        let Some((_, outcome)) = &self.entered else { return };
        if outcome.base_number() > self.tip.number {
            return; // a block at or below the base is fetched, not voted on
        }
        let again = outcome.again.clone();
        self.phase = Phase::Active;
        // Who complains about this view may have missed just this replica's votes: it is told again.
        for status in self.peers.iter_mut().filter_map(|peer| peer.status.as_mut()) {
            status.complains = false;
        }
        self.accepted_top = self.tip.number;
        out.push(Output::Note(Note::EnteredView {
            view: self.view,
            primary: self.primary(),
            reproposed: again.len(),
        }));
        let mut two_new_views = None;
        for certificate in again {
            let number = certificate.proposal.number();
            if number > self.tip.number {
                self.slots.entry(number).or_default().reproposed = Some(Arc::clone(&certificate.proposal));
            } else if !self.vote_again(&certificate.proposal, out) {
                two_new_views = Some(number);
            }
        }
        if self.halted {
            return;
        }
        // After a restart there may be votes of this view in the log: they come first.
        self.repeat_votes(out);
        self.resign_if_unsure(out);
        if let Some(number) = two_new_views {
            let text = || format!("{number} was committed in this view, and its new-view has another block");
            self.raise(Reason::Fault, text, out);
        }
        if self.phase == Phase::Active {
            self.judge_kept_proof(out);
        }
    }
}

#[cfg(test)]
mod tests;
