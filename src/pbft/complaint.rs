//! Complaints: suspicion that promises nothing.
//!
//! Leaving a view is a promise never to vote in it again. A replica that left alone, because it
//! stalled or because a liar baited it, could vote with nobody until the next fault. So one that
//! wants for progress *complains* first: it says so in its status, at once and then with every
//! status, goes on voting, and withdraws the complaint when its reason is gone.
//!
//! * It complains while it has a reason of its own, or while f + 1 others complain (an *echo*): one
//!   of those is honest, and what it sees counts although this replica does not see it.
//! * A peer whose complaint a window of blocks of this view outlived is not echoed again in this view.
//!   Its complaint still counts for the quorum.
//! * It leaves the view when a quorum, itself counted, complains about the view or has left it; or
//!   at once on a signed offence, whose proof takes all others along; or when f + 1 others ask for
//!   a higher view.
//!
//! Why nobody is left behind: if f + 1 honest replicas complain and go on, every honest one hears
//! f + 1 others or is one of them, so all n - f ≥ q of them complain, and all leave. A reason that
//! fewer have is shared: whoever complains alone sends its waiting candidates to everyone, and who
//! holds a candidate that the primary passes over comes to complain by itself. That is also why a
//! view that commits block after block needs no echo: if f + 1 honest replicas could not vote, no
//! quorum would be left to commit with, and every other reason is seen by each one itself.
//!
//! Why hardly anybody leaves alone: in a quorum of complaints at least q - f ≥ f + 1 are honest. But
//! an echo is one of them, and f liars and one honest replica that stalls for a moment are f + 1, so
//! together they can make the others echo. No threshold helps: with n = 3f + 1, f + 1 honest replicas
//! must be enough. What helps is that a liar cannot tell the moment: it has to complain all the time,
//! or again and again, blocks are committed meanwhile, and then it is echoed no more.
//!
//! It costs nothing in a failover but one message delay: the view change needs a quorum of
//! view-changes anyhow, and waiting for f + 1 complaints instead would end no earlier, since the
//! others would join only when f + 1 view-changes had come.

use std::time::Duration;

use super::message::Message;
use super::{Note, Output, Phase, Replica};
use crate::types::{Place, Time};

/// A peer that waits in a higher view is fetched by a view change after this many times the cap of
/// the view-change timeout; the pause doubles each time that it was done for the same peer.
const STRANDED_AFTER: u32 = 4;
/// That pause doubles at most this often.
const STRANDED_DOUBLINGS: u32 = 16;
/// How often in a row the clocks start again because this replica itself had not been running.
/// Bounded, or a machine that is always late would never notice that its primary is dead.
const STALLS_EXCUSED: u32 = 3;

/// What a replica holds against the primary of its view.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Reason {
    /// Nothing commits while work waits. Withdrawn by the next commit.
    Stalled,
    /// A candidate that the primary has is passed over. Withdrawn when it is proposed.
    PassedOver,
    /// It takes many rounds to propose. Withdrawn when it is faster again.
    Slow,
    /// Its blocks have room for what it leaves behind. Withdrawn when it takes that.
    Crawls,
    /// It proposed what an honest primary would not. Kept for as long as the view lasts.
    Fault,
    /// A peer waits in a higher view and cannot come back: no fault of the primary's.
    Stranded,
    /// It has left the view itself: after a restart, for one, it does not know what it proposed.
    Resigned,
}

const REASONS: usize = 7;

/// This replica's complaint about the primary of its view.
#[derive(Clone, Debug, Default)]
pub(super) struct Complaint {
    reasons: [bool; REASONS],
    /// f + 1 others complain.
    echoes: bool,
    /// Since when it has had a reason of its own.
    since: Option<Time>,
    /// The others were told, or will be with the next status.
    told: bool,
    /// Before this it is told with the next status, and not at once: whoever makes this replica
    /// complain and stop again gets no message for it.
    quiet_until: Time,
    /// The last reason, for people.
    text: String,
}

impl Complaint {
    pub(super) fn has(&self, reason: Reason) -> bool {
        self.reasons[reason as usize]
    }

    fn stands(&self) -> bool {
        self.echoes || self.reasons.contains(&true)
    }

    /// It has complained for `patience` and the view goes on: the others lack its reason.
    pub(super) fn is_alone(&self, now: Time, patience: Duration) -> bool {
        self.since.is_some_and(|since| now.since(since) >= patience)
    }
}

impl Replica {
    /// Complains about the primary of this view, if it is to be complained about.
    pub(super) fn raise(&mut self, reason: Reason, text: impl FnOnce() -> String, out: &mut Vec<Output>) {
        if !self.may_complain() || self.complaint.has(reason) {
            return;
        }
        self.complaint.reasons[reason as usize] = true;
        self.complaint.since.get_or_insert(self.now);
        self.complaint.text = text();
        self.weigh_complaints(out);
    }

    /// The reason is gone.
    pub(super) fn withdraw(&mut self, reason: Reason) {
        self.complaint.reasons[reason as usize] = false;
        if !self.complaint.reasons.contains(&true) {
            self.complaint.since = None;
        }
    }

    /// A view begins or ends: nothing is held against its primary yet.
    pub(super) fn forget_complaint(&mut self) {
        self.complaint = Complaint { quiet_until: self.complaint.quiet_until, ..Complaint::default() };
    }

    fn may_complain(&self) -> bool {
        self.votes() && self.phase != Phase::Leaving && !self.halted
    }

    /// This replica complains about the primary of its view.
    pub(super) fn complains(&self) -> bool {
        self.may_complain() && self.complaint.stands()
    }

    /// The peer complains about this replica's view, or has left it. One that votes in a higher view
    /// does not count: it has the new-view that leads there, and sends it.
    fn is_against_this_view(&self, peer: Place) -> bool {
        let left = self.view_changes.get(&peer).is_some_and(|change| change.body.view > self.view);
        let status = self.peers[peer.index()].status.as_ref().filter(|status| !status.follows);
        let said = status.is_some_and(|status| {
            status.view > self.view && !status.active || status.view == self.view && status.complains
        });
        peer != self.config.me && (left || said)
    }

    fn against_this_view(&self) -> Vec<Place> {
        let places = (0..self.config.n as u16).map(Place);
        places.filter(|peer| self.is_against_this_view(*peer)).collect()
    }

    /// A block of this view was put together here: the complaints that stand did not stop it.
    pub(super) fn outlive_complaints(&mut self) {
        for place in self.against_this_view() {
            let outlived = &mut self.peers[place.index()].outlived;
            *outlived = outlived.saturating_add(1);
        }
    }

    /// Joins the complaint of f + 1 others, tells of its own, and leaves the view with a quorum.
    pub(super) fn weigh_complaints(&mut self, out: &mut Vec<Output>) {
        if !self.may_complain() {
            return;
        }
        let against = self.against_this_view();
        let others = against.len();
        let worth = |peer: &&Place| self.peers[peer.index()].outlived < self.config.window;
        self.complaint.echoes = against.iter().filter(worth).count() >= self.quorum.weak();
        let view = self.view;
        if !self.complaint.stands() {
            if std::mem::take(&mut self.complaint.told) {
                out.push(Output::Note(Note::Withdrew { view }));
            }
            return;
        }
        if !self.complaint.told {
            self.complaint.told = true;
            let reason = if self.complaint.since.is_some() {
                self.complaint.text.clone()
            } else {
                format!("{others} others do")
            };
            out.push(Output::Note(Note::Complains { view, reason }));
            if self.complaint.quiet_until <= self.now {
                self.complaint.quiet_until = self.now.after(self.config.status_interval);
                out.push(Output::TellAll(Message::Status(self.status())));
            }
        }
        if others + 1 >= self.quorum_size() {
            let own = self.complaint.since.map(|_| format!("{}, and ", self.complaint.text));
            let reason = format!("{}{others} others complain", own.unwrap_or_default());
            self.count_handovers();
            self.count_left_behind();
            self.suspect(reason, out);
        }
    }

    /// Looks for peers that wait in a higher view than this one: they asked for it and nobody came.
    ///
    /// They cannot come back, having promised not to vote below; so the others go there, by an
    /// ordinary view change. It is safe as any is. A liar can ask for it without need, but the pause
    /// doubles with each time for the same peer: over any time it costs the others a number of view
    /// changes that only grows with the logarithm.
    pub(super) fn watch_stranded(&mut self, out: &mut Vec<Output>) {
        let mut waiting = None;
        for place in (0..self.config.n as u16).map(Place) {
            let asks = self.view_changes.get(&place).is_some_and(|change| change.body.view > self.view);
            let peer = &mut self.peers[place.index()];
            let waits = peer
                .status
                .as_ref()
                .is_some_and(|status| status.view > self.view && !status.active && !status.follows);
            if !(asks && waits) || peer.down || self.phase != Phase::Active {
                peer.stranded_since = None;
                continue;
            }
            let since = *peer.stranded_since.get_or_insert(self.now);
            if self.now.since(since) >= stranded_pause(&self.config, peer.handovers) {
                waiting = Some(place);
            }
        }
        match waiting {
            Some(place) => {
                self.raise(Reason::Stranded, || format!("{place} waits in a higher view for long"), out);
            }
            None => self.withdraw(Reason::Stranded),
        }
    }

    /// The view is left: that fetches whoever waits above it for long, whatever the reason is here.
    /// Others may have seen it a moment earlier, and have raised what this replica merely echoes.
    fn count_handovers(&mut self) {
        let moment = self.config.status_interval * 2;
        for peer in &mut self.peers {
            let pause = stranded_pause(&self.config, peer.handovers).saturating_sub(moment);
            let long = |since: Time| self.now.since(since) >= pause;
            if peer.stranded_since.take().is_some_and(long) {
                peer.handovers = (peer.handovers + 1).min(STRANDED_DOUBLINGS);
            }
        }
    }

    /// An input comes long after this replica wanted to be ticked: it was this replica that stood
    /// still, and neither the primary nor the others. Its clocks start again.
    pub(super) fn excuse_stall(&mut self) {
        if self.work_since.is_none() && self.change_deadline.is_none() {
            return; // no clock runs
        }
        let late = self.now.since(self.status_due);
        if late <= self.config.complain_timeout / 2 || self.excused_for == Some(self.status_due) {
            return;
        }
        self.excused_for = Some(self.status_due);
        if self.excuses == STALLS_EXCUSED {
            return;
        }
        self.excuses += 1;
        self.complaint_put_off = self.now;
        self.forget_leftovers();
        let again = self.now.after(self.view_change_timeout());
        self.change_deadline = self.change_deadline.map(|due| due.max(again));
    }
}

fn stranded_pause(config: &super::Config, handovers: u32) -> Duration {
    let cap = config.view_change_timeout_cap.max(config.view_change_timeout);
    cap.saturating_mul(STRANDED_AFTER).saturating_mul(1 << handovers)
}
