//! Votes to leave a view.
//!
//! Three rules that implementations got wrong before: the timer for the next view starts only when
//! a quorum of view-changes is there; view-changes count for every view at least mine, not exactly
//! mine, or replicas spread over views wait for ever; and a view-change is never answered by a
//! message that is answered again.

use std::sync::Arc;

use super::complaint::Reason;
use super::message::{Message, SignedViewChange, Unsigned, ViewChange};
use super::new_view::Outcome;
use super::suspicion::Delay;
use super::{Note, Output, Phase, Record, Replica};
use crate::plant::Plant;
use crate::types::{Number, Time, View};

impl Replica {
    /// Gives up on the primary of this view, alone or not: only where it must be so. Whoever merely
    /// wants for progress complains.
    pub(super) fn suspect(&mut self, reason: String, out: &mut Vec<Output>) {
        if self.votes() && self.phase != Phase::Leaving && !self.halted {
            out.push(Output::Note(Note::Suspected { view: self.view.next(), reason }));
            self.leave_for(self.view.next(), out);
        }
    }

    /// Asks for `view`, and casts no vote for a lower one from here on.
    pub(super) fn leave_for(&mut self, view: View, out: &mut Vec<Output>) {
        assert!(view > self.view, "views only rise");
        if self.phase != Phase::Leaving {
            self.left_view = self.view;
        }
        self.failed_views = if self.progressed { 0 } else { self.failed_views.saturating_add(1) };
        self.progressed = false;
        self.view = view;
        self.phase = Phase::Leaving;
        self.chosen = None;
        self.change_deadline = None;
        if !self.planted(Plant::CommitAfterViewChange) {
            self.unprepared.clear();
        }
        self.view_began();
        if self.planted(Plant::TimerBeforeQuorum) {
            self.change_deadline = Some(self.now.after(self.view_change_timeout()));
        }
        self.ask_for_view(out);
    }

    /// Records and sends the view-change for the view that this replica is leaving for.
    pub(super) fn ask_for_view(&mut self, out: &mut Vec<Output>) {
        let body =
            ViewChange { view: self.view, base: self.tip.certificate.clone(), prepared: self.certificates() };
        self.asked_at = self.now;
        // From this record on no vote for a lower view is cast, also not after a restart.
        let mut records = vec![Record::ViewChange(self.view)];
        if self.planted(Plant::ViewChangeNotPersisted) {
            records.clear();
        }
        self.promise(records, Unsigned::ViewChange(body), out);
    }

    /// Asks once more if the view-change never came back: its signer failed, or it was lost before it
    /// was durable. Without it nobody would hear of it, and no clock would run.
    pub(super) fn ask_again(&mut self, out: &mut Vec<Output>) {
        let mine = self.view_changes.get(&self.config.me).map(|change| change.body.view);
        let lost = self.phase == Phase::Leaving && self.votes() && mine != Some(self.view);
        if lost && self.now.since(self.asked_at) >= self.config.view_change_timeout {
            self.ask_for_view(out);
        }
    }

    /// What an honest replica can have sent: in order, and within reach of its base.
    fn is_well_formed(&self, change: &ViewChange) -> bool {
        let reach = Number(change.base_number().0.saturating_add(self.config.reach()));
        let last = change.prepared.last().map(|certificate| certificate.proposal.number());
        is_in_order(change) && last.is_none_or(|last| last <= reach)
    }

    /// A view-change.
    pub(super) fn on_view_change(
        &mut self,
        from_me: bool,
        change: Arc<SignedViewChange>,
        out: &mut Vec<Output>,
    ) {
        let signer = change.signer;
        if self.planted(Plant::AnswersAmplify) && !from_me {
            out.push(Output::Tell(signer, Message::Status(self.status())));
        }
        if signer == self.config.me && !from_me || !self.is_well_formed(&change.body) {
            return;
        }
        if self.planted(Plant::ViewChangesUnbounded) {
            self.hoard.push(Arc::clone(&change));
        }
        // The highest of each sender: one message each, whatever it sends.
        if self.view_changes.get(&signer).is_some_and(|held| held.body.view >= change.body.view) {
            return;
        }
        if signer != self.config.me {
            let claimed = &mut self.peers[signer.index()].claimed;
            *claimed = change.body.base_number().max(*claimed);
        }
        let resigned = signer == self.primary() && change.body.view > self.view;
        self.view_changes.insert(signer, change);
        if resigned {
            self.raise(Reason::Resigned, || "the primary has left the view".to_owned(), out);
        }
        self.weigh_view_changes(out);
        self.weigh_complaints(out);
    }

    /// Joins a view that an honest replica asks for; starts the clock when a quorum asks.
    pub(super) fn weigh_view_changes(&mut self, out: &mut Vec<Output>) {
        if !self.votes() {
            return;
        }
        let others = self.view_changes.values().filter(|change| change.signer != self.config.me);
        let mut asked: Vec<View> = others.map(|change| change.body.view).collect();
        asked.sort_by(|a, b| b.cmp(a));
        // The (f+1)-th highest: at least one honest replica asks for that view or a higher one, and
        // f liars that ask for views without end move nobody.
        let enough = self.quorum.weak() - usize::from(self.planted(Plant::JoinTooEarly));
        if let Some(view) = asked.get(enough.max(1) - 1).copied()
            && view > self.view
            && !self.planted(Plant::NoJoinRule)
        {
            let reason = format!("{} others ask for {view} or higher", self.quorum.weak());
            out.push(Output::Note(Note::Suspected { view, reason }));
            self.leave_for(view, out);
        }
        let exactly = self.planted(Plant::SameViewOnly);
        let counts = |view: View| if exactly { view == self.view } else { view >= self.view };
        let asking = self.view_changes.values().filter(|change| counts(change.body.view)).count();
        if self.phase == Phase::Leaving && asking >= self.quorum_size() && self.change_deadline.is_none() {
            self.change_deadline = Some(self.now.after(self.view_change_timeout()));
        }
        self.try_new_view(out);
    }

    /// The view that a quorum asked for did not start in time.
    ///
    /// Unless f + 1 others vote in it: then an honest one does, and sends its new-view until it is
    /// here. To go on alone would be to go where nobody comes.
    pub(super) fn on_change_deadline(&mut self, out: &mut Vec<Output>) {
        if self.phase == Phase::Leaving && self.change_deadline.is_some_and(|due| due <= self.now) {
            let voting = self.peers.iter().filter(|peer| {
                let status = peer.status.as_ref();
                !peer.down
                    && self.now.since(peer.heard) <= self.config.view_change_timeout
                    && status.is_some_and(|status| status.view == self.view && status.active)
            });
            if voting.count() >= self.quorum.weak() {
                self.change_deadline = Some(self.now.after(self.view_change_timeout()));
                return;
            }
            let view = self.view.next();
            out.push(Output::Note(Note::Suspected {
                view,
                reason: format!("{} did not start in time", self.view),
            }));
            self.leave_for(view, out);
            self.weigh_view_changes(out);
        }
    }

    /// Doubles with each view that failed, up to the cap.
    pub(super) fn view_change_timeout(&self) -> std::time::Duration {
        if self.planted(Plant::NoBackoff) {
            return self.config.view_change_timeout;
        }
        super::suspicion::backed_off(
            self.config.view_change_timeout,
            self.failed_views,
            self.config.view_change_timeout_cap,
        )
    }

    /// Leaves what was in flight in the view before: its candidates wait again.
    /// What `outcome` proposes again is kept: a new primary fetched it to be able to.
    pub(super) fn leave_proposals(&mut self, outcome: &Outcome) {
        self.dedup.abandon_proposals();
        let again = outcome.again.iter().flat_map(|certificate| &certificate.proposal.candidates);
        self.pool.land_all(&again.map(|named| named.digest).collect());
        self.fetches.clear();
        self.unprepared.clear();
        self.open_config = None;
        self.accepted_top = self.tip.number;
        self.prepared_top = self.tip.number;
        for slot in self.slots.values_mut() {
            slot.reproposed = None;
        }
    }

    /// Housekeeping at every change of the view.
    pub(super) fn view_began(&mut self) {
        self.pace.abandon();
        let oldest = self.oldest_vote_view();
        for slot in self.slots.values_mut() {
            slot.prepares.retain(|view, _| *view >= oldest);
            let keeps_old = self.config.plants.has(Plant::StaleProposalAccepted);
            slot.pending.retain(|view, _| *view >= oldest || keeps_old);
        }
        self.invalid.clear(); // what a proposal names is asked for anew: that bounds the set
        self.work_since = self.work_since.map(|_| self.now);
        self.delays.fill(Delay::default());
        self.room_since = self.now;
        self.forget_complaint();
        self.forget_leftovers();
        for peer in &mut self.peers {
            (peer.view_repairs, peer.next_view_repair) = (0, Time::ZERO);
            peer.outlived = 0;
        }
    }
}

/// Certificates of views below, in order of number, above the base. Gaps are no offence.
pub(super) fn is_in_order(change: &ViewChange) -> bool {
    let mut above = change.base_number();
    change.view > View(0)
        && change.prepared.iter().all(|certificate| {
            let number = certificate.proposal.number();
            let rises = number > above;
            above = number;
            rises && certificate.view < change.view
        })
}
