//! When a replica turns against a primary: silent, slow, censoring, or caught lying.
//!
//! Never for plain age: under overload an honest primary has a backlog, and overload must not
//! cause view changes. Before it complains a replica makes sure that the primary has the candidate.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::complaint::Reason;
use super::message::{Message, Offence, Proposal};
use super::{Output, Phase, Replica};
use crate::plant::Plant;
use crate::types::{Candidate, Digest, Number, Place, Time, View};

/// How many measurements are kept of the primary's delay and of the round time.
const SAMPLES: usize = 16;
/// A replica alone sends its candidates to everyone at the first, second, fourth, … forward, and at
/// every multiple of this.
const SPREAD_EVERY: u32 = 16;
/// A primary's delay below this is never slow, whatever the round time.
const DELAY_FLOOR: Duration = Duration::from_millis(50);
/// A primary need not be late with every proposal to be slow: it is too if it was late for half of the
/// last so many complain timeouts,
const LATE_WITHIN: u32 = 4;
/// with so many proposals.
const LATE_TIMES: usize = 3;

/// The last measurements of something.
#[derive(Clone, Debug, Default)]
pub(super) struct Samples(VecDeque<Duration>);

impl Samples {
    pub(super) fn push(&mut self, sample: Duration) {
        if self.0.len() == SAMPLES {
            self.0.pop_front();
        }
        self.0.push_back(sample);
    }

    /// The median, once there are enough: one late message is no slow primary.
    pub(super) fn median(&self) -> Option<Duration> {
        let mut sorted = [Duration::ZERO; SAMPLES];
        if self.0.len() != SAMPLES {
            return None;
        }
        for (to, sample) in sorted.iter_mut().zip(&self.0) {
            *to = *sample;
        }
        sorted.sort_unstable();
        Some(sorted[SAMPLES / 2])
    }
}

/// How long the primary takes with the candidates of one origin.
#[derive(Clone, Debug, Default)]
pub(super) struct Delay {
    pub(super) samples: Samples,
    /// The last that may be too long, and when each ended. They do not overlap.
    late: VecDeque<(Time, Duration)>,
    /// When the primary last made everybody wait that may have been too long.
    pause: (Time, Time),
    /// This replica passes the origin's candidates on to the primary.
    pub(super) forwarded: bool,
}

impl Delay {
    /// A proposal has something that arrived then, and the primary had room for it since `room_since`. A
    /// delay up to `floor` is never too long.
    fn push(&mut self, now: Time, arrived: Time, room_since: Time, floor: Duration) {
        self.samples.push(now.since(arrived.max(room_since)));
        // What comes with a late proposal, right behind it, is as late.
        let (began, ended) = self.pause;
        let together = now.since(ended) <= DELAY_FLOOR;
        let known = self.late.back().map_or(Time::ZERO, |(ended, _)| *ended);
        let late = now.since(arrived.max(if together { began } else { room_since }).max(known));
        if late > floor {
            if self.late.len() == SAMPLES {
                self.late.pop_front();
            }
            self.late.push_back((now, late));
        }
    }

    /// The longest delay beyond `limit`, if half of the last `span` was spent on such.
    ///
    /// A primary that is late with a whole window of proposals has a median of next to nothing, and one that is
    /// late by much makes its sixteenth proposal when all clients have waited for long.
    fn late_for(&mut self, now: Time, span: Duration, limit: Duration) -> Option<Duration> {
        self.late.retain(|(ended, _)| now.since(*ended) <= span);
        let late = || self.late.iter().map(|(_, sample)| *sample).filter(|sample| *sample > limit);
        let enough = late().count() >= LATE_TIMES && late().sum::<Duration>() >= span / 2;
        late().max().filter(|_| enough)
    }
}

/// `base` doubled `times`, at most `cap` (and never less than `base`).
pub(super) fn backed_off(base: Duration, times: u32, cap: Duration) -> Duration {
    base.saturating_mul(1u32.checked_shl(times.min(30)).unwrap_or(u32::MAX)).min(cap.max(base))
}

impl Replica {
    /// Something committed or a view began: the complaint clock starts again.
    pub(super) fn note_progress(&mut self) {
        self.last_progress = self.now;
        self.excuses = 0;
        self.withdraw(Reason::Stalled);
    }

    /// Keeps track of whether any work waits.
    pub(super) fn note_work(&mut self) {
        let work = self.pool.waiting() > 0 || self.accepted_top > self.tip.number;
        self.work_since = match self.work_since {
            since @ Some(_) if work => since,
            _ => work.then_some(self.now),
        };
    }

    /// When nothing having committed becomes a reason to complain.
    pub(super) fn complaint_due(&self) -> Option<Time> {
        if self.planted(Plant::ComplaintNotRearmed) && self.progressed {
            return None; // it stopped at the first block of the view
        }
        let since = self.work_since?.max(self.last_progress).max(self.complaint_put_off);
        // A primary whose proposals find no quorum complains too: others may abstain in this view, and
        // then it takes all who can vote to leave it.
        let leads = self.primary() == self.config.me;
        let watched = self.phase != Phase::Leaving && self.votes();
        let watched = watched && (!leads || self.accepted_top > self.tip.number);
        let watched = watched && !self.complaint.has(Reason::Stalled);
        watched.then(|| since.after(self.complain_timeout()))
    }

    /// Doubles with each view that failed, like the view-change timeout.
    pub(super) fn complain_timeout(&self) -> Duration {
        if self.planted(Plant::NoBackoff) {
            return self.config.complain_timeout;
        }
        backed_off(self.config.complain_timeout, self.failed_views, self.config.view_change_timeout_cap)
    }

    /// Complains about a primary under which nothing commits while work waits.
    pub(super) fn complain(&mut self, out: &mut Vec<Output>) {
        if self.complaint_due().is_none_or(|due| due > self.now) {
            return;
        }
        if self.lags() {
            self.complaint_put_off = self.now; // blocks are committed, and it is not the primary that keeps them from it
            return;
        }
        let heads = self.pool.heads();
        // One that hears of too few others has nobody to send it to.
        let mut sent = self.accepted_top > self.tip.number || !self.is_current();
        // It is sent what waits after the forward timeout, and at the next status: so of the complain
        // timeout there may be less than half left then.
        let patience = self.complain_timeout() / 4;
        for digest in &heads {
            if let Some((watch, _, _)) = self.pool.watch(digest, self.view, self.ordered) {
                sent |= watch.forwards > 0 && self.now.since(watch.first_forwarded) >= patience;
            }
        }
        if sent {
            return self.raise(Reason::Stalled, || "nothing commits while work waits".to_owned(), out);
        }
        // The primary may not have it. It gets it now, and as long as that to propose it.
        for digest in heads {
            self.forward(&digest, out);
        }
        self.complaint_put_off = Time((self.now.0 + patience).saturating_sub(self.complain_timeout()));
    }

    /// Looks at the first of each origin's line: sends it to the primary if it is overdue there, and
    /// complains about a primary that had it and passed it over again and again.
    pub(super) fn watch_waiting(&mut self, out: &mut Vec<Output>) {
        let (view, ordered) = (self.view, self.ordered);
        let watched = self.primary() != self.config.me && self.phase != Phase::Leaving && self.votes();
        let limit = self.config.n as u64 * self.config.outstanding as u64;
        let stalled = self.now.since(self.last_progress) >= self.config.forward_timeout;
        let mut passed_over = None;
        for digest in self.to_be_sent() {
            self.forward(&digest, out);
        }
        for digest in self.pool.heads() {
            let Some(origin) = self.pool.get(&digest).map(|candidate| candidate.origin) else { continue };
            let patience = self.forward_after(origin);
            let Some((watch, _, arrived)) = self.pool.watch(&digest, view, ordered) else { continue };
            let waited = self.now.since(watch.forwarded.max(arrived)) >= patience;
            let overdue = ordered - watch.began > watch.ahead;
            let passed = ordered.saturating_sub(watch.passed_from);
            if watched && watch.forwards >= 2 && passed > limit {
                passed_over = Some((digest, passed));
            }
            if waited && (stalled || overdue) {
                self.forward(&digest, out);
            }
        }
        match passed_over {
            Some((digest, passed)) => {
                let text = || format!("candidate {digest} was passed over by {passed} others");
                self.raise(Reason::PassedOver, text, out);
            }
            None => self.withdraw(Reason::PassedOver),
        }
    }

    /// Sends a waiting candidate to the primary. A replica that is in no active view, and so may be
    /// behind or ahead of the others, sends it to the primaries that the others follow too. One that
    /// is, or whose complaint nobody shares, sends it to everyone now and then: if the primary censors
    /// it, others must hold it to complain as well. One that may be behind sends nothing: see
    /// [`Self::is_current`].
    fn forward(&mut self, digest: &Digest, out: &mut Vec<Output>) {
        if !self.is_current() {
            return;
        }
        let (view, ordered, me, n, now) = (self.view, self.ordered, self.config.me, self.config.n, self.now);
        let (votes, leaving) = (self.votes(), self.phase == Phase::Leaving);
        let no_quorum_left = self.change_deadline.is_none();
        let unheard = self.complaint.is_alone(now, self.config.status_interval);
        let alone = !votes || leaving && no_quorum_left || unheard;
        let mut targets = vec![view.primary(n)];
        if self.phase != Phase::Active || !self.votes() {
            let others =
                self.peers.iter().filter_map(|peer| peer.status.as_ref()).filter(|status| status.active);
            targets.extend(others.map(|status| status.view.primary(n)));
        }
        targets.sort();
        targets.dedup();
        let Some((watch, _, _)) = self.pool.watch(digest, view, ordered) else { return };
        if watch.forwards == 0 {
            watch.first_forwarded = now;
        }
        watch.forwards += 1;
        watch.forwarded = now;
        if alone {
            watch.alone += 1;
            if watch.alone.is_power_of_two() || watch.alone.is_multiple_of(SPREAD_EVERY) {
                targets = (0..n as u16).map(Place).collect();
            }
        }
        if watch.forwards == 2 {
            watch.passed_from = ordered;
        }
        let Some(candidate) = self.pool.get(digest) else { return };
        for target in targets.into_iter().filter(|target| *target != me) {
            out.push(Output::SendCandidate(target, Arc::clone(candidate)));
        }
    }

    /// How long the primary took from having candidate and room to proposing it, as seen here.
    pub(super) fn sample_primary_delay(&mut self, proposal: &Proposal, reproposed: bool) {
        if reproposed || self.primary() == self.config.me {
            return;
        }
        let (now, room_since, floor) = (self.now, self.room_since, self.delay_floor());
        if now.since(room_since) > floor {
            for delay in &mut self.delays {
                delay.pause = (room_since, now);
            }
        }
        for (origin, arrived) in self.pool.arrivals(proposal) {
            self.delays[origin.index()].push(now, arrived, room_since, floor);
        }
    }

    /// A delay up to this is never held against a primary.
    fn delay_floor(&self) -> Duration {
        DELAY_FLOOR.max(self.config.complain_timeout / 4)
    }

    /// A number was prepared here: the round's clock starts.
    pub(super) fn sample_prepared(&mut self, number: Number) {
        self.prepared_at.insert(number, self.now);
        self.room_since = self.now;
    }

    /// A block was committed: if it was prepared here, that was one round from prepare to commit.
    pub(super) fn sample_committed(&mut self, number: Number) {
        if let Some(prepared) = self.prepared_at.remove(&number) {
            self.rounds.push(self.now.since(prepared));
        }
        while self.prepared_at.first_key_value().is_some_and(|(prepared, _)| *prepared <= number) {
            self.prepared_at.pop_first();
        }
    }

    /// Passes a candidate on to the primary, if its origin's are proposed late: then it is the primary.
    pub(super) fn vouch_for(&self, from: Place, candidate: &Arc<Candidate>, out: &mut Vec<Output>) {
        let (origin, primary) = (candidate.origin, self.primary());
        let wanted = from == origin && origin != self.config.me && primary != self.config.me;
        let late = self.phase == Phase::Active && self.delays[origin.index()].forwarded;
        if wanted && late && self.is_current() {
            out.push(Output::SendCandidate(primary, Arc::clone(candidate)));
        }
    }

    /// Complains about a primary that proposes, but takes many times a round for it.
    pub(super) fn judge_speed(&mut self, out: &mut Vec<Output>) {
        if self.phase != Phase::Active
            || self.config.slow_primary_factor == 0
            || self.primary() == self.config.me
        {
            return;
        }
        let Some(round) = self.rounds.median() else { return };
        let limit = round.saturating_mul(self.config.slow_primary_factor).max(self.delay_floor());
        let (now, span) = (self.now, self.config.complain_timeout * LATE_WITHIN);
        let mut slow = None;
        for (origin, delay) in self.delays.iter_mut().enumerate() {
            let median = delay.samples.median();
            let too_long =
                delay.late_for(now, span, limit).or_else(|| median.filter(|median| *median > limit));
            let vouched = delay.forwarded || origin == self.config.me.index();
            if too_long.is_none() {
                delay.forwarded &= median.is_none() || !delay.late.is_empty();
            } else if vouched {
                slow = too_long;
            } else {
                // It may be the origin that sends to the primary late. Measured anew with candidates
                // that the primary gets from here as well.
                *delay = Delay { forwarded: true, ..Delay::default() };
            }
        }
        match slow {
            Some(delay) => {
                let text = || format!("the primary takes {delay:?} to propose, a round takes {round:?}");
                self.raise(Reason::Slow, text, out);
            }
            None => self.withdraw(Reason::Slow),
        }
    }

    /// Proof that a replica lied: told once, passed on once, and held against the primary at once.
    pub(super) fn on_offence(&mut self, offence: Offence, out: &mut Vec<Output>) {
        let (liar, view, kind) = match &offence {
            Offence::Prepares(one, other) => {
                let same = (one.signer, one.vote.view, one.vote.number)
                    == (other.signer, other.vote.view, other.vote.number);
                if !same && !self.planted(Plant::OffenceUnproven) || one.vote.digest == other.vote.digest {
                    return;
                }
                (one.signer, one.vote.view, 0)
            }
            Offence::Commits(one, other) => {
                let place = |commit: &super::message::Commit| {
                    (commit.signer, commit.vote.view, commit.vote.header.number)
                };
                if place(one) != place(other) || one.vote == other.vote {
                    return;
                }
                (one.signer, one.vote.view, 1)
            }
            Offence::NewView(new_view) => (new_view.body.view.primary(self.config.n), new_view.body.view, 2),
        };
        if liar == self.config.me {
            return; // it was this key that signed: nothing that this replica could learn from
        }
        let deposes = view == self.view
            && liar == self.primary()
            && self.votes()
            // Of one that is not in office yet, only an invalid new-view says that it never will be.
            && (self.phase != Phase::Leaving || kind == 2);
        let news = self.accused.insert((liar, kind));
        if news {
            out.push(Output::Accuse(offence.clone()));
        }
        if news || deposes {
            out.push(Output::TellAll(Message::Offence(offence.clone())));
        }
        if !deposes && kind != 2 && view >= self.view && liar == view.primary(self.config.n) {
            self.keep_proof(liar, view, offence);
        } else if deposes {
            // Nobody must be left in the view that this replica leaves alone: the proof goes with its
            // view-change to whoever is still there.
            self.proof = Some(offence);
            if self.phase == Phase::Leaving {
                self.leave_for(view.next(), out);
            } else {
                self.suspect(format!("{liar} lied"), out);
            }
        }
    }

    /// Keeps a proof until the view that it is about starts: the primary of a view can be caught before
    /// the view is active here, and nobody need say it again. The nearest view's of each place, so
    /// that a lie about a view far off displaces nothing.
    fn keep_proof(&mut self, liar: Place, view: View, offence: Offence) {
        let nearer = |held: &Offence| (self.view..=view).contains(&held.view());
        if !self.kept_proofs.get(&liar).is_some_and(nearer) {
            self.kept_proofs.insert(liar, offence);
        }
    }

    /// This view is active: what was found out about its primary before counts now.
    pub(super) fn judge_kept_proof(&mut self, out: &mut Vec<Output>) {
        let primary = self.primary();
        if self.kept_proofs.get(&primary).is_some_and(|held| held.view() <= self.view)
            && let Some(proof) = self.kept_proofs.remove(&primary)
            && proof.view() == self.view
        {
            self.on_offence(proof, out);
        }
    }

    /// A candidate is invalid: nobody waits for it, and a primary that proposes it is complained about.
    pub(super) fn on_invalid_candidate(
        &mut self,
        from: Place,
        digest: Digest,
        sequence: u64,
        out: &mut Vec<Output>,
    ) {
        if sequence == self.config.config_sequence && self.pool.valid(&digest).is_some() {
            // The same bytes under the same configuration were found valid: this is no verdict on them.
            return out.push(Output::Release { origin: from, digest });
        }
        if !self.pool.finish(&digest, out) {
            out.push(Output::Release { origin: from, digest });
        }
        if sequence != self.config.config_sequence || self.fetches.wanted_for(&digest).is_none() {
            return; // only what a proposal names is worth remembering
        }
        self.fetches.found(&digest);
        self.invalid.insert(digest);
        let named =
            self.slots.range(self.tip.number.next()..).filter_map(|(_, slot)| slot.pending.get(&self.view));
        let mut named = named.flat_map(|pending| &pending.proposal.candidates);
        if self.phase == Phase::Active && named.any(|candidate| candidate.digest == digest) {
            self.raise(Reason::Fault, || format!("the primary proposed the invalid candidate {digest}"), out);
        }
    }
}
