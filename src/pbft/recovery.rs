//! A restart from ledger and log, and what the log must hold for it.
//!
//! The records are applied in the order in which they were written, and [`Replica::live_records`]
//! is a log that recovers the same promises. A replica comes back in the view that it left, never
//! in a lower one; it repeats what it promised there, with the same content, and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::bound::Bound;
use super::complaint::Complaint;
use super::dedup::Dedup;
use super::fetch::Fetches;
use super::leftovers::Leftovers;
use super::message::{CommitVote, NewView, PrepareVote, PreparedCertificate, Proposal, Unsigned};
use super::new_view::{Contradiction, follow};
use super::pace::Pace;
use super::pool::Pool;
use super::quorum::Quorum;
use super::slot::{Certified, Sealed, Voted};
use super::status::Peer;
use super::suspicion::{Delay, Samples};
use super::{ChainTip, Config, Note, Output, Phase, Record, Replica, Tip};
use crate::plant::{Hoard, Plant};
use crate::types::{Number, Place, Time, View};

impl Replica {
    /// A replica as its ledger and log left it. What it must repeat goes to `outputs`.
    ///
    /// `records` are all that was durable, in order; those about blocks that the ledger holds are
    /// passed over. Nothing in them can make it panic: what does not fit is not voted on again.
    pub fn recover(
        config: Config,
        mut tip: ChainTip,
        records: Vec<Record>,
        now: Time,
        outputs: &mut Vec<Output>,
    ) -> Self {
        let (n, outstanding, sequence) = (config.n, config.outstanding, config.config_sequence);
        if config.plants.has(Plant::RestartForgetsIds) {
            tip.recent.pop(); // those of the last block
        }
        let mut replica = Self {
            quorum: Quorum::of(n),
            now,
            halted: false,
            durable: tip.number,
            slots: BTreeMap::new(),
            sealed: BTreeMap::new(),
            dedup: Dedup::new(config.dedup, config.max_message_count, tip.recent, config.plants)
                .leaking_order(config.plants.has(Plant::OrderLeaks) && config.me.0 % 2 == 1),
            pool: Pool::new(n, outstanding, sequence).planted(config.plants),
            invalid: BTreeSet::new(),
            fetches: Fetches::default(),
            view: View(0),
            phase: Phase::Active,
            left_view: View(0),
            entered: None,
            chosen: None,
            view_changes: BTreeMap::new(),
            hoard: Hoard::default(),
            failed_views: 0,
            progressed: true,
            change_deadline: None,
            bound: Bound::default(),
            forgotten: Bound::default(),
            accepted_top: tip.number,
            prepared_top: tip.number,
            unprepared: BTreeSet::new(),
            open_config: None,
            peers: (0..n).map(|_| Peer::default()).collect(),
            status_due: now,
            behind_since: None,
            asked: None,
            next_source: Place(0),
            complaint: Complaint::default(),
            proof: None,
            excuses: 0,
            excused_for: None,
            asked_at: now,
            accused: BTreeSet::new(),
            kept_proofs: BTreeMap::new(),
            last_progress: now,
            work_since: None,
            complaint_put_off: Time::ZERO,
            ordered: 0,
            delays: vec![Delay::default(); n],
            rounds: Samples::default(),
            prepared_at: BTreeMap::new(),
            pace: Pace::default(),
            room_since: now,
            leftovers: vec![Leftovers::default(); n],
            thinned: Number(0),
            tip: Tip { number: tip.number, hash: tip.hash, certificate: tip.certificate },
            config,
        };
        if let Some(certificate) = replica.tip.certificate.clone() {
            let sealed = Sealed {
                view: certificate.view,
                digest: certificate.proposal,
                last_config: certificate.last_config,
            };
            replica.sealed.insert(replica.tip.number, sealed);
        }
        for record in records {
            replica.apply(record, outputs);
        }
        replica.resume(outputs);
        replica
    }

    /// Puts back one record.
    fn apply(&mut self, record: Record, out: &mut Vec<Output>) {
        match record {
            Record::Payload(candidate) => {
                if candidate.origin.index() < self.config.n {
                    self.pool.restore(self.now, &candidate, &self.dedup);
                }
            }
            Record::Bound { view, upto } => self.bound = self.bound.max(Bound { view, upto }),
            Record::Accepted { view, proposal } => self.apply_accepted(view, proposal),
            Record::Prepared(certificate) => self.apply_prepared(certificate),
            Record::ViewChange(view) => {
                if view > self.view && !self.planted(Plant::RecoveryForgetsViewChange) {
                    (self.view, self.phase, self.chosen) = (view, Phase::Leaving, None);
                }
            }
            Record::NewViewChosen(body) => {
                if body.view >= self.view {
                    self.chosen = Some(body);
                }
            }
            Record::NewView(new_view) => self.apply_new_view(new_view, out),
        }
    }

    fn apply_accepted(&mut self, view: View, proposal: Arc<Proposal>) {
        if proposal.number() <= self.tip.number || self.planted(Plant::VoteAgainAfterRestart) {
            return;
        }
        let known = self.known(proposal);
        let slot = self.slots.entry(known.proposal.number()).or_default();
        if slot.voted.as_ref().is_none_or(|voted| voted.view <= view) {
            slot.voted = Some(Voted { view, known, cast: true, abandoned: false });
        }
    }

    fn apply_prepared(&mut self, certificate: Arc<PreparedCertificate>) {
        if certificate.proposal.number() <= self.tip.number
            || self.planted(Plant::RecoveryForgetsCertificates)
        {
            return;
        }
        let known = self.known(Arc::clone(&certificate.proposal));
        let slot = self.slots.entry(known.proposal.number()).or_default();
        if slot.certified.as_ref().is_none_or(|held| held.certificate.view <= certificate.view) {
            slot.certified = Some(Certified { certificate, known });
        }
    }

    fn apply_new_view(&mut self, new_view: Arc<NewView>, out: &mut Vec<Output>) {
        if new_view.body.view < self.view {
            return;
        }
        match follow(&new_view.body.view_changes, &self.config.domain.genesis, self.config.plants) {
            Ok(outcome) => {
                (self.view, self.phase, self.chosen) = (new_view.body.view, Phase::Entering, None);
                self.entered = Some((new_view, outcome));
            }
            Err(Contradiction(reason)) => self.halt(reason, out),
        }
    }

    /// Takes up where the records left off.
    fn resume(&mut self, out: &mut Vec<Output>) {
        if self.halted {
            return;
        }
        self.left_view = self.view;
        self.remember_bound(out);
        self.keep_payloads();
        let last = self.tip.certificate.as_ref().map_or(View(0), |certificate| certificate.view);
        if last > self.view {
            // Blocks of a view that this replica never entered: it was a follower, or fetched them.
            // That view began, so no lower one is worth a vote.
            (self.view, self.phase, self.chosen) = (last, Phase::Leaving, None);
            if self.votes() {
                out.push(Output::Persist(Record::ViewChange(last)));
            }
        }
        match self.phase {
            Phase::Leaving => {
                if self.votes() {
                    self.ask_for_view(out);
                    if let Some(body) = self.chosen.clone() {
                        out.push(Output::Broadcast(Unsigned::NewView(Arc::unwrap_or_clone(body))));
                    }
                }
            }
            Phase::Active => {
                self.repeat_votes(out);
                self.resign_if_unsure(out);
            }
            Phase::Entering => self.try_activate(out),
        }
        self.advance(out);
    }

    /// Pins the payloads that proposals and certificates name; the others are not needed.
    fn keep_payloads(&mut self) {
        let numbers: Vec<_> = self.slots.keys().copied().collect();
        for number in numbers {
            let mut slot = self.slots.remove(&number).expect("just listed");
            let voted = slot.voted.iter_mut().map(|voted| &mut voted.known);
            let certified = slot.certified.iter_mut().map(|certified| &mut certified.known);
            for known in voted.chain(certified) {
                if self.missing(&known.proposal).is_empty() {
                    self.pin(known);
                }
            }
            self.slots.insert(number, slot);
        }
        self.pool.land_all(&BTreeSet::new());
    }

    /// Votes again for what it had accepted in this view, and commits what it had prepared.
    pub(super) fn repeat_votes(&mut self, out: &mut Vec<Output>) {
        let (view, me) = (self.view, self.config.me);
        let settled = self.settled();
        let numbers: Vec<_> = self.slots.keys().copied().filter(|number| *number > self.tip.number).collect();
        for number in numbers {
            let Some(voted) = self.slots[&number].voted_in(view) else { continue };
            let (known, cast) = (voted.known.clone(), voted.cast);
            let follows = number == self.accepted_top.next()
                && known.pinned
                && self.open_config.is_none()
                && known.proposal.header.previous_hash == Some(self.parent_hash());
            let candidates = follows.then(|| self.pool.all_of(&known.proposal)).flatten();
            let content = candidates.map(|candidates| Arc::new(self.dedup.content(number, &candidates)));
            let content = content.filter(|content| content.data_hash == known.proposal.header.data_hash);
            let slot = self.slots.get_mut(&number).expect("just listed");
            let voted = slot.voted.as_mut().expect("just seen");
            let Some(content) = content else {
                voted.abandoned = true; // the vote stands; nothing is built on it
                continue;
            };
            voted.known.content = Some(Arc::clone(&content));
            voted.abandoned = false;
            slot.reproposed = None;
            let commit = slot.certified.as_ref().is_some_and(|certified| {
                certified.certificate.view == view && certified.known.digest == known.digest
            });
            if let Some(certified) = &mut slot.certified
                && certified.known.digest == known.digest
            {
                certified.known.content = Some(Arc::clone(&content));
            }
            if content.is_config {
                self.open_config = Some(number);
            }
            self.dedup.propose(number, content);
            self.pool.take_flight(&known.proposal);
            self.accepted_top = number;
            if !self.votes() {
                continue;
            }
            let digest = known.digest;
            out.push(Output::Note(Note::Accepted { view, number }));
            if cast {
                out.push(Output::Broadcast(if self.primary() == me && number > settled {
                    Unsigned::PrePrepare { view, proposal: Arc::clone(&known.proposal) }
                } else {
                    Unsigned::Prepare(PrepareVote { view, number, digest })
                }));
            }
            if commit {
                self.prepared_top = number;
                let known = &self.slots[&number].voted.as_ref().expect("just seen").known;
                out.push(Output::Broadcast(Unsigned::Commit(CommitVote {
                    view,
                    header: known.proposal.header.clone(),
                    digest,
                    last_config: self.last_config_at(number, known),
                })));
            } else {
                self.unprepared.insert(number);
            }
        }
    }

    /// A block came that what was voted for at the next number stands on. After a restart that block may
    /// have been missing: it was fetched and not yet durable before. The vote is in the log and there will
    /// be no other, so without this the number would wait for the next view.
    pub(super) fn take_up_votes(&mut self, out: &mut Vec<Output>) {
        if self.halted || self.phase != Phase::Active || self.accepted_top != self.tip.number {
            return;
        }
        let waits = self.slots.get(&self.tip.number.next()).and_then(|slot| slot.voted_in(self.view));
        if waits.is_some_and(|voted| {
            voted.abandoned
                && voted.known.pinned
                && voted.known.proposal.header.previous_hash == Some(self.tip.hash)
        }) {
            self.repeat_votes(out);
        }
    }

    /// The live records: a log that holds just these recovers the same promises. The driver
    /// writes them into a new segment and then drops the older ones.
    pub fn live_records(&self) -> Vec<Record> {
        let mut records = Vec::new();
        if !self.votes() {
            return records;
        }
        // A view-change may still be under way when its view is entered: it keeps its record.
        let asked = (self.view > View(0)).then_some(Record::ViewChange(self.view));
        let entered = self.entered.as_ref().map(|(new_view, _)| Record::NewView(Arc::clone(new_view)));
        if self.phase == Phase::Leaving {
            records.extend(entered.into_iter().chain(asked));
        } else {
            records.extend(asked.into_iter().chain(entered));
        }
        if self.planted(Plant::CompactionForgetsView) {
            records.clear();
        }
        if self.bound.view == self.view && !self.planted(Plant::CompactionForgetsVotes) {
            records.push(Record::Bound { view: self.bound.view, upto: self.bound.upto });
        }
        if let Some(chosen) = &self.chosen {
            records.push(Record::NewViewChosen(Arc::clone(chosen)));
        }
        let mut logged = BTreeSet::new();
        for (_, slot) in self.slots.range(self.durable.next()..) {
            let voted = slot.voted.as_ref();
            let names = voted
                .map(|voted| &voted.known)
                .into_iter()
                .chain(slot.certified.iter().map(|held| &held.known));
            for named in names.filter(|known| known.pinned).flat_map(|known| &known.proposal.candidates) {
                if logged.insert(named.digest) {
                    let candidate = self.pool.get(&named.digest).expect("pinned candidates are held");
                    records.push(Record::Payload(Arc::clone(candidate)));
                }
            }
            let forgets = self.planted(Plant::CompactionForgetsVotes);
            if let Some(voted) = voted.filter(|voted| voted.cast && !forgets) {
                records
                    .push(Record::Accepted { view: voted.view, proposal: Arc::clone(&voted.known.proposal) });
            }
            if let Some(certified) = &slot.certified {
                records.push(Record::Prepared(Arc::clone(&certified.certificate)));
            }
        }
        records
    }
}
