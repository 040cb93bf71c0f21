//! Prepare votes, and the certificates that a quorum of them makes.
//!
//! prepared(view, k) needs this replica's own acceptance (so it holds the payload), a quorum of
//! prepares by distinct signers, the primary's among them or not, and prepared(view, k-1) or
//! committed(k-1). Without the last part a certificate could stand above a gap, and a new view
//! that stops at the gap would drop a block that had been committed.

use std::ops::RangeInclusive;
use std::sync::Arc;

use super::message::{CommitVote, Offence, Prepare, PreparedCertificate, Unsigned};
use super::slot::Certified;
use super::{Note, Output, Phase, Record, Replica};
use crate::plant::Plant;
use crate::types::{Number, Place, View};

impl Replica {
    /// A prepare vote; true if it is the first of its signer, view and number.
    pub(super) fn on_prepare(&mut self, from: Place, prepare: Prepare, out: &mut Vec<Output>) -> bool {
        let Prepare { vote, signer, .. } = &prepare;
        let (view, number) = (vote.view, vote.number);
        if view < self.oldest_vote_view() || view > self.view.next() || !self.is_near(number) {
            return false;
        }
        // Our own vote counts when it comes back to us: then it is durable.
        if *signer == self.config.me && from != self.config.me {
            return false;
        }
        if self.planted(Plant::OffenceUnproven) {
            self.accuse_across_views(&prepare, out);
        }
        let Prepare { vote, signer, .. } = &prepare;
        let votes = self.slots.entry(number).or_default().prepares.entry(view).or_default();
        if let Some((digest, signature)) = votes.get(signer) {
            if *digest != vote.digest {
                let first = Prepare {
                    vote: super::message::PrepareVote { digest: *digest, ..*vote },
                    signer: *signer,
                    signature: signature.clone(),
                };
                self.on_offence(Offence::Prepares(Box::new(first), Box::new(prepare.clone())), out);
            }
            self.keep_repeated_prepare(prepare);
            return false;
        }
        votes.insert(prepare.signer, (prepare.vote.digest, prepare.signature));
        true
    }

    /// For tests that take away the rule that only votes of one view contradict each other.
    fn accuse_across_views(&mut self, prepare: &Prepare, out: &mut Vec<Output>) {
        let vote = prepare.vote;
        let Some(slot) = self.slots.get(&vote.number) else { return };
        let other = slot.prepares.iter().find_map(|(view, votes)| {
            let (digest, signature) = votes.get(&prepare.signer)?;
            let vote = super::message::PrepareVote { view: *view, digest: *digest, ..vote };
            Some(Prepare { vote, signer: prepare.signer, signature: signature.clone() })
        });
        if let Some(other) = other.filter(|other| other.vote.digest != vote.digest) {
            self.on_offence(Offence::Prepares(Box::new(other), Box::new(prepare.clone())), out);
        }
    }

    /// For tests that take away the rule of one prepare for each signer, view and number.
    fn keep_repeated_prepare(&mut self, prepare: Prepare) {
        let Prepare { vote, signer, signature } = prepare;
        let votes = self.slots.entry(vote.number).or_default().prepares.entry(vote.view).or_default();
        let same = votes.get(&signer).is_some_and(|(first, _)| *first == vote.digest);
        let planted = if same { Plant::DuplicateVotesCounted } else { Plant::VotesUnbounded };
        if self.config.plants.has(planted) {
            votes.insert(Place((self.config.n + votes.len()) as u16), (vote.digest, signature));
        }
    }

    /// Makes certificates for what has a quorum of prepares, lowest number first.
    pub(super) fn try_prepare(&mut self, out: &mut Vec<Output>) -> bool {
        let Some(view) = self.voting_view() else { return false };
        let mut progress = false;
        let mut next = self.unprepared.first().copied();
        while let Some(number) = next {
            let prepared = self.is_prepared(view, number);
            if prepared {
                self.unprepared.remove(&number);
                self.prepared(view, number, out);
                progress = true;
            } else if number > self.tip.number && !self.planted(Plant::NoPrefixRule) {
                break; // nothing above it can be prepared
            }
            next = self.unprepared.range(number.next()..).next().copied();
        }
        progress
    }

    fn is_prepared(&self, view: View, number: Number) -> bool {
        let Some(slot) = self.slots.get(&number) else { return false };
        let Some(voted) = slot.voted_in(view).filter(|voted| !voted.abandoned) else {
            return false;
        };
        if number > self.durable && !voted.known.pinned {
            return false; // a block that was fetched and is not durable: its payload is in no log
        }
        let prepares = slot.prepares_for(self.counted_views(view), &voted.known.digest).count();
        let enough = prepares >= self.quorum_size() || self.planted(Plant::CommitBeforePrepared);
        enough && (self.stands_on_certificates(view, number) || self.planted(Plant::NoPrefixRule))
    }

    /// Every number between the last durable block and this one has its certificate in the log: of
    /// this view if it is open, of any view if its block is committed and not durable yet.
    fn stands_on_certificates(&self, view: View, number: Number) -> bool {
        (self.durable.0 + 1..number.0).map(Number).all(|below| {
            let Some(slot) = self.slots.get(&below) else { return false };
            match self.sealed.get(&below).filter(|_| below <= self.tip.number) {
                Some(sealed) => {
                    slot.certified.as_ref().is_some_and(|held| held.known.digest == sealed.digest)
                }
                None => slot.certified_in(view),
            }
        })
    }

    /// Keeps the certificate and casts the commit.
    ///
    /// The certificate is durable before the commit leaves, and so are those of all numbers below
    /// it down to a durable block: a commit of q replicas then means that q logs hold certificates
    /// for the number and every one below, which is what view changes rest on.
    fn prepared(&mut self, view: View, number: Number, out: &mut Vec<Output>) {
        let (quorum, views) = (self.quorum_size(), self.counted_views(view));
        let slot = self.slots.get_mut(&number).expect("it was voted on");
        let voted = slot.voted.as_mut().expect("it was voted on");
        let mut known = voted.known.clone();
        known.pinned = false;
        let prepares = slot.prepares_for(views, &known.digest).take(quorum);
        let signatures = prepares.map(|(signer, signature)| (signer, signature.clone())).collect();
        let certificate =
            Arc::new(PreparedCertificate { view, proposal: Arc::clone(&known.proposal), signatures });

        let mut records = Vec::new();
        if number > self.durable {
            self.pin(&mut known);
            records = self.payload_records(&certificate.proposal);
        }
        if !self.planted(Plant::CertificateNotPersisted) {
            records.push(Record::Prepared(Arc::clone(&certificate)));
        }
        records.extend(self.bound_ahead());
        let vote = CommitVote {
            view,
            header: known.proposal.header.clone(),
            digest: known.digest,
            last_config: self.last_config_at(number, &known),
        };
        self.certify(Certified { certificate, known });
        if self.prepared_top < number {
            self.prepared_top = number;
        }
        self.sample_prepared(number);
        out.push(Output::Note(Note::Prepared { view, number }));
        self.promise(records, Unsigned::Commit(vote), out);
    }

    /// Keeps the certificate of the highest view.
    pub(super) fn certify(&mut self, certified: Certified) {
        let number = certified.certificate.proposal.number();
        let slot = self.slots.entry(number).or_default();
        if let Some(before) = slot.certified.replace(certified) {
            self.unpin(before.known);
        }
    }

    /// The view that prepares and commits are cast in: the current one, while it is active.
    pub(super) fn voting_view(&self) -> Option<View> {
        match self.phase {
            Phase::Active if self.votes() => Some(self.view),
            Phase::Leaving if self.planted(Plant::CommitAfterViewChange) => Some(self.left_view),
            _ => None,
        }
    }

    /// Prepares are counted in one view, each view by itself.
    fn counted_views(&self, view: View) -> RangeInclusive<View> {
        if self.planted(Plant::PreparesOfAnyView) { View(0)..=View(u64::MAX) } else { view..=view }
    }

    pub(super) fn oldest_vote_view(&self) -> View {
        if self.planted(Plant::CommitAfterViewChange) {
            self.left_view
        } else if self.planted(Plant::PreparesOfAnyView) {
            View(0)
        } else {
            self.view
        }
    }
}
