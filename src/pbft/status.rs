//! How far everyone is, and the repair that follows from it.
//!
//! Messages may be lost, repeated and reordered; statuses, sent on connect and a few times a
//! second, make the protocol recover from all of it. A status is never answered by a status, and
//! every answer is limited in rate, so nothing can amplify.

use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use super::message::{Message, PrePrepare, Prepare, PrepareVote, Status};
use super::{Output, Phase, Replica, Role};
use crate::plant::Plant;
use crate::types::{Digest, Number, Place, Time};

/// The pause between repeated view-changes and new-views to one peer doubles this often.
const VIEW_REPAIR_DOUBLINGS: u32 = 3;

/// Who was heard of within a second was heard of lately, but within two status intervals at least and ten at most:
/// much is ordered in a few seconds, and the dedup window has an end.
const LATELY: RangeInclusive<u32> = 2..=10;
const LATELY_AT_MOST: Duration = Duration::from_secs(1);

/// What is known of another replica.
#[derive(Clone, Debug, Default)]
pub(super) struct Peer {
    /// What it said last.
    pub(super) status: Option<Status>,
    /// Highest block that it said it has. Only a hint whom to ask.
    pub(super) claimed: Number,
    /// Its link is down.
    pub(super) down: bool,
    /// Votes are not sent to it again before this.
    next_repair: Time,
    /// The view-change or new-view is not sent to it again before this, after so many times.
    pub(super) next_view_repair: Time,
    pub(super) view_repairs: u32,
    /// When it was heard of last.
    pub(super) heard: Time,
    /// Since when it has waited in a higher view than this replica's, and how often a view was given
    /// up for its sake.
    pub(super) stranded_since: Option<Time>,
    pub(super) handovers: u32,
    /// Blocks of this view that were put together here while it complained.
    pub(super) outlived: u64,
    /// Bytes of candidates sent to it in this interval.
    pub(super) served: u64,
    /// Which it was sent because it asked, in this interval and the one before.
    pub(super) given: BTreeSet<Digest>,
    pub(super) given_before: BTreeSet<Digest>,
}

impl Replica {
    /// This replica's own status.
    pub(super) fn status(&self) -> Status {
        let above = |top: Number| if top > self.tip.number { top } else { Number(0) };
        Status {
            view: self.view,
            active: self.phase == Phase::Active && self.config.role == Role::Voter,
            follows: self.config.role != Role::Voter,
            complains: self.complains(),
            committed: self.tip.number,
            accepted: above(self.accepted_top),
            prepared: above(self.prepared_top),
        }
    }

    /// Whether this replica knows how far the others are, and is not behind: no honest one is known to have what
    /// this one would fetch at once.
    ///
    /// One that is behind may hold candidates that were committed longer ago than the dedup window reaches.
    /// Whoever it sends them to would not know them again, and they would be ordered twice.
    pub fn is_current(&self) -> bool {
        self.hears_enough() && !self.lags()
    }

    /// Whether this replica knows how far the others are, and what it finds not committed is in none of their
    /// blocks either but such as they remember: it is behind by less than half the dedup window. So what it cuts
    /// now can be sent.
    pub fn knows_what_is_new(&self) -> bool {
        let remembered = self.config.window.max(self.config.dedup.blocks / 2);
        self.hears_enough() && self.behind_by() <= remembered
    }

    /// f + 1 others were heard of lately.
    fn hears_enough(&self) -> bool {
        let interval = self.config.status_interval;
        let lately = (interval * *LATELY.end()).min(LATELY_AT_MOST).max(interval * *LATELY.start());
        let heard = |peer: &&Peer| peer.status.is_some() && self.now.since(peer.heard) <= lately;
        self.others().filter(heard).count() >= self.quorum.weak().min(self.config.n - 1)
    }

    /// Some honest replica says that it has what this one would fetch at once.
    pub(super) fn lags(&self) -> bool {
        self.is_behind(Number(self.tip.number.0.saturating_add(self.behind_by())))
    }

    /// Blocks that some honest replica says it has above this one's last.
    fn behind_by(&self) -> u64 {
        let mut claims: Vec<Number> = self.others().map(|peer| peer.claimed).collect();
        claims.sort_unstable();
        let honest = claims.iter().rev().nth(self.quorum.faulty()).copied().unwrap_or_default();
        honest.0.saturating_sub(self.tip.number.0)
    }

    fn others(&self) -> impl Iterator<Item = &Peer> {
        let me = self.config.me.index();
        self.peers.iter().enumerate().filter(move |(place, _)| *place != me).map(|(_, peer)| peer)
    }

    /// Sends the status that is due, and does what is done as often.
    pub(super) fn on_status_due(&mut self, out: &mut Vec<Output>) {
        if self.status_due > self.now {
            return;
        }
        self.status_due = self.now.after(self.config.status_interval);
        for peer in &mut self.peers {
            peer.served = 0;
            peer.given_before = std::mem::take(&mut peer.given);
        }
        self.ask_again(out);
        self.watch_waiting(out);
        self.judge_speed(out);
        self.judge_leftovers(out);
        self.watch_stranded(out);
        self.weigh_complaints(out);
        if !self.planted(Plant::NoRetransmission) {
            out.push(Output::TellAll(Message::Status(self.status())));
        }
    }

    /// A link came up or went down.
    pub(super) fn on_link(&mut self, peer: Place, up: bool, out: &mut Vec<Output>) {
        if peer == self.config.me || peer.index() >= self.config.n {
            return;
        }
        let known = &mut self.peers[peer.index()];
        known.down = !up;
        if !up && let Some(status) = &mut known.status {
            status.complains = false; // that was then
        }
        if up && !self.planted(Plant::NoRetransmission) {
            out.push(Output::Tell(peer, Message::Status(self.status())));
        }
    }

    /// What a peer lacks is sent again: a view-change or new-view, votes, proposals. What this
    /// replica lacks it fetches.
    pub(super) fn on_status(&mut self, from: Place, status: Status, out: &mut Vec<Output>) {
        if from == self.config.me || from.index() >= self.config.n {
            return;
        }
        if self.planted(Plant::StatusAnswersStatus) {
            out.push(Output::Tell(from, Message::Status(self.status())));
        }
        let peer = &mut self.peers[from.index()];
        // A lower number than before is a restart from an older ledger: what it says now counts.
        peer.claimed = status.committed;
        peer.heard = self.now;
        let before = peer.status.replace(status.clone());
        // Stuck since the last time: what is merely under way is not sent twice.
        let stuck =
            before.is_some_and(|before| (before.view, before.committed) == (status.view, status.committed));
        if status.view < self.view || status.view == self.view && !status.active {
            self.repair_view(from, &status, out);
        }
        if stuck && status.active && status.view == self.view {
            self.repair_votes(from, &status, out);
        }
        self.weigh_complaints(out);
        self.try_catch_up(out);
    }

    fn repair_view(&mut self, to: Place, status: &Status, out: &mut Vec<Output>) {
        if !self.votes() || self.planted(Plant::ViewChangeNotRepeated) {
            return; // not even what its own key signed before the log was lost
        }
        let message = match self.phase {
            Phase::Active | Phase::Entering => {
                let Some((new_view, _)) = &self.entered else { return };
                Message::NewView(Arc::clone(new_view))
            }
            Phase::Leaving => {
                let mine = self.view_changes.get(&self.config.me);
                let Some(mine) = mine.filter(|change| change.body.view == self.view) else { return };
                if status.view == self.view && status.active {
                    return;
                }
                Message::ViewChange(Arc::clone(mine))
            }
        };
        let peer = &mut self.peers[to.index()];
        if self.now < peer.next_view_repair && !self.config.plants.has(Plant::AnswersAmplify) {
            return;
        }
        let pause = self.config.status_interval * (1 << peer.view_repairs.min(VIEW_REPAIR_DOUBLINGS));
        peer.next_view_repair = self.now.after(pause);
        peer.view_repairs += 1;
        if status.view < self.view
            && let Some(proof) = &self.proof
        {
            out.push(Output::Tell(to, Message::Offence(proof.clone())));
        }
        out.push(Output::Repeat(to, message));
    }

    /// Sends the votes that a peer may lack for the numbers above its last committed one. A
    /// proposal is sent by everyone who holds it, since it carries the primary's own signature.
    fn repair_votes(&mut self, to: Place, status: &Status, out: &mut Vec<Output>) {
        let peer = &mut self.peers[to.index()];
        if self.now < peer.next_repair || self.phase != Phase::Active {
            return;
        }
        peer.next_repair = self.now.after(self.config.status_interval / 2);
        let (view, me, primary) = (self.view, self.config.me, self.primary());
        let settled = self.settled();
        let last = Number(status.committed.0.saturating_add(self.config.reach()));
        for (number, slot) in self.slots.range(status.committed.next()..) {
            if *number > last {
                break;
            }
            if slot.refused.is_some_and(|(refused_in, _)| refused_in == view)
                && let Some(wrong) = slot.pending.get(&view)
            {
                out.push(Output::Repeat(to, Message::PrePrepare(wrong.clone())));
            }
            let prepares = slot.prepares.get(&view);
            if *number > status.accepted
                && *number > settled
                && let Some(voted) = slot.voted_in(view)
                && let Some((digest, signature)) = prepares.and_then(|votes| votes.get(&primary))
                && *digest == voted.known.digest
            {
                let proposal = Arc::clone(&voted.known.proposal);
                let pre_prepare = PrePrepare { view, proposal, signature: signature.clone() };
                out.push(Output::Repeat(to, Message::PrePrepare(pre_prepare)));
            }
            if *number > status.prepared
                && let Some((digest, signature)) = prepares.and_then(|votes| votes.get(&me))
            {
                let vote = PrepareVote { view, number: *number, digest: *digest };
                let prepare = Prepare { vote, signer: me, signature: signature.clone() };
                out.push(Output::Repeat(to, Message::Prepare(prepare)));
            }
            if let Some(commit) = slot.commits.get(&view).and_then(|votes| votes.get(&me)) {
                out.push(Output::Repeat(to, Message::Commit(Arc::clone(commit))));
            }
        }
    }
}
