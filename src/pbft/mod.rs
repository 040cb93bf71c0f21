//! One replica of one channel, as a pure state machine: everything from a validated candidate to a
//! committed block. No I/O, no clock, no randomness, no map with random order.
//!
//! `step(now, input, outputs)`: inputs are typed and verified; outputs are an ordered queue, and
//! *order is the proof*: a promise leaves only when every record before it is durable; a prepare when
//! those before it that [`Record::binds_prepares`] are. What a replica broadcasts comes back to it as an
//! input after that same wait, so its own vote counts only once it could not be contradicted any more.
//!
//! The protocol, file by file:
//!
//! 1. `proposal`: the primary of the view merges waiting candidates (`pool`) into a block on top of
//!    the last proposal, minus duplicates (`dedup`), and broadcasts a pre-prepare.
//! 2. `pre_prepare`: a backup that finds it right accepts it and broadcasts a prepare.
//! 3. `prepare`: a quorum (`quorum`) of prepares, with the number below prepared or committed, is a
//!    certificate; the replica broadcasts a commit, which is its signature over the block.
//! 4. `commit`: a quorum of commits of one view, with the block below committed, is a block.
//! 5. `suspicion`: a primary that is silent, slow, censoring or crawling (`leftovers`) is complained
//!    about (`complaint`), and given up on when a quorum complains; one that is caught lying, at once.
//! 6. `view_change`: a replica asks for the next view, with what it committed and prepared.
//! 7. `new_view`: a quorum of view-changes fixes what the next view must propose again.
//! 8. `status`, `fetch`, `catch_up`: messages, candidates and blocks that went missing.
//! 9. `recovery`: a restart from ledger and log; `bound`: what it may vote on after one.
//!
//! Everything held is bounded by n, the window, the candidates outstanding, or a named constant.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod bound;
mod catch_up;
mod commit;
mod complaint;
mod dedup;
mod fetch;
mod interface;
mod leftovers;
pub mod message;
mod new_view;
mod pace;
mod pool;
mod pre_prepare;
mod prepare;
mod proposal;
pub mod quorum;
mod recovery;
mod slot;
mod status;
mod suspicion;
mod view_change;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::plant::{Hoard, Plant};
use crate::types::{BlockCertificate, Candidate, Digest, Number, Place, Time, View};
use bound::Bound;
use catch_up::Asked;
use complaint::Complaint;
use dedup::Dedup;
use fetch::Fetches;
pub use interface::{ChainTip, Config, Input, Note, Output, Probe, Record, Role};
use leftovers::Leftovers;
use message::{Message, NewView, NewViewBody, Offence, SignedViewChange, Unsigned};
use new_view::Outcome;
use pace::Pace;
use pool::{Arrival, Pool};
use quorum::Quorum;
use slot::{Sealed, Slot};
use status::Peer;
use suspicion::{Delay, Samples};

/// Where the chain ends for this replica.
#[derive(Clone, Debug)]
struct Tip {
    number: Number,
    hash: Digest,
    certificate: Option<Arc<BlockCertificate>>,
}

/// Where a replica stands with its view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// It votes in the view.
    Active,
    /// The view's new-view is here; the block that it builds on is not yet.
    Entering,
    /// It asked for the view, and votes in none.
    Leaving,
}

/// One replica.
///
/// Invariants: (1) `accepted_top` is the tip's number or that of the highest proposal of an unbroken
/// chain accepted in this view on top of the tip; (2) `dedup` knows exactly the ids of the dedup window's
/// blocks and of that chain; (3) `unprepared` are the numbers voted on in this view without a
/// certificate of it; (4) every promise in `outputs` comes after the records that forbid
/// contradicting it.
#[derive(Clone, Debug)]
pub struct Replica {
    config: Config,
    quorum: Quorum,
    /// The time of the input being handled.
    now: Time,
    halted: bool,
    tip: Tip,
    durable: Number,
    slots: BTreeMap<Number, Slot>,
    sealed: BTreeMap<Number, Sealed>,
    dedup: Dedup,
    pool: Pool,
    invalid: BTreeSet<Digest>,
    fetches: Fetches,

    view: View,
    phase: Phase,
    /// The last view it was active in.
    left_view: View,
    /// The new-view that started this view, and what follows from it.
    entered: Option<(Arc<NewView>, Outcome)>,
    /// The new-view that this replica, as primary, decided on and waits to have back signed.
    chosen: Option<Arc<NewViewBody>>,
    /// The highest of each sender.
    view_changes: BTreeMap<Place, Arc<SignedViewChange>>,
    /// Those kept against the rule that says one for each sender.
    hoard: Hoard<Arc<SignedViewChange>>,
    /// Views since the last progress.
    failed_views: u32,
    progressed: bool,
    change_deadline: Option<Time>,

    /// Up to where the log says that prepares may have been cast; and what it said when this replica
    /// started.
    bound: Bound,
    forgotten: Bound,

    accepted_top: Number,
    prepared_top: Number,
    unprepared: BTreeSet<Number>,
    /// An accepted config block that is not committed: nothing goes above it.
    open_config: Option<Number>,

    peers: Vec<Peer>,
    status_due: Time,
    behind_since: Option<Time>,
    asked: Option<Asked>,
    next_source: Place,

    complaint: Complaint,
    /// Proof of the lie for which this replica left a view: whoever is still there must hear it.
    proof: Option<Offence>,
    /// How often in a row, and for which missed tick last, this replica's own stall was excused.
    excuses: u32,
    excused_for: Option<Time>,
    /// When its view-change was last asked to be signed.
    asked_at: Time,
    accused: BTreeSet<(Place, u8)>,
    /// Proof against the primaries of this view and later ones that is not acted on yet: of each
    /// place, that for the nearest view.
    kept_proofs: BTreeMap<Place, Offence>,
    last_progress: Time,
    work_since: Option<Time>,
    complaint_put_off: Time,
    /// Candidates ordered so far, to count who was passed over.
    ordered: u64,
    /// The primary's delays by origin, and this replica's own rounds from prepared to committed.
    delays: Vec<Delay>,
    rounds: Samples,
    prepared_at: BTreeMap<Number, Time>,
    /// How long it waits before it proposes again, as a primary.
    pace: Pace,
    /// Since when the primary has had room for another proposal.
    room_since: Time,
    /// What the primary leaves behind, by origin.
    leftovers: Vec<Leftovers>,
    /// Slots up to this one hold no votes of others any more.
    thinned: Number,
}

impl Replica {
    /// Takes one input; appends what the driver must do.
    pub fn step(&mut self, now: Time, input: Input, outputs: &mut Vec<Output>) {
        self.now = now.max(self.now);
        if self.halted {
            return;
        }
        self.excuse_stall();
        match input {
            Input::Message { from, message } => self.on_message(from, message.into_inner(), outputs),
            Input::Candidate { from, candidate, config_sequence } => {
                self.on_candidate(from, candidate.into_inner(), config_sequence, outputs);
            }
            Input::InvalidCandidate { from, digest, config_sequence } => {
                self.on_invalid_candidate(from, digest, config_sequence, outputs);
            }
            Input::CandidatesWanted { from, digests } => {
                return self.on_candidates_wanted(from, &digests, outputs);
            }
            Input::Blocks { from, blocks } => {
                self.on_blocks(from, blocks, outputs);
                self.try_activate(outputs);
                self.try_catch_up(outputs);
            }
            Input::BlocksDurable(number) => {
                self.durable = number.min(self.tip.number).max(self.durable);
                self.forget_old_slots();
            }
            Input::Link { peer, up } => self.on_link(peer, up, outputs),
            Input::Tick => {
                self.on_status_due(outputs);
                self.on_change_deadline(outputs);
                self.complain(outputs);
                self.poll_fetches(outputs);
                self.try_catch_up(outputs);
            }
        }
        self.advance(outputs);
    }

    /// When [`Input::Tick`] is due next, if nothing else happens before.
    pub fn next_deadline(&self) -> Option<Time> {
        if self.halted {
            return None;
        }
        let change = self.change_deadline.filter(|_| self.phase == Phase::Leaving);
        let blocks = self.asked.map(|asked| asked.until).filter(|until| *until > self.now);
        let (complaint, merging) = (self.complaint_due(), self.merging_due());
        let all = [Some(self.status_due), change, complaint, merging, self.fetches.due(), blocks];
        all.into_iter().flatten().min()
    }

    /// The view it is in or has asked for, and its last committed block.
    pub fn stands(&self) -> (View, Number) {
        (self.view, self.tip.number)
    }

    /// A snapshot for status, metrics and checks.
    pub fn probe(&self) -> Probe {
        let slots: usize = self.slots.values().map(Slot::messages).sum();
        let messages_held = slots + self.view_changes.len() + self.hoard.len();
        Probe { messages_held, ..self.outline() }
    }

    /// Whether it holds any vote, proposal or view-change.
    pub fn holds_messages(&self) -> bool {
        !self.view_changes.is_empty()
            || !self.hoard.is_empty()
            || self.slots.values().any(|slot| slot.messages() > 0)
    }

    /// The same as [`Self::probe`], but for the count of messages, for which all slots are walked
    /// through; it is 0.
    pub fn outline(&self) -> Probe {
        Probe {
            view: self.view,
            active: self.phase == Phase::Active && self.config.role == Role::Voter,
            complains: self.complains(),
            primary: self.primary(),
            committed: self.tip.number,
            accepted: self.accepted_top,
            prepared: self.prepared_top,
            in_flight: (self.accepted_top.0 - self.tip.number.0) as usize,
            waiting: self.pool.waiting(),
            candidates_held: self.pool.len(),
            messages_held: 0,
            halted: self.halted,
        }
    }

    fn on_message(&mut self, from: Place, message: Message, out: &mut Vec<Output>) {
        let n = self.config.n;
        match message {
            Message::PrePrepare(pre_prepare) => self.on_pre_prepare(from, pre_prepare, out),
            Message::Prepare(prepare) if prepare.signer.index() < n => {
                self.on_prepare(from, prepare, out);
            }
            Message::Commit(commit) if commit.signer.index() < n => self.on_commit(from, commit, out),
            Message::ViewChange(change) if change.signer.index() < n => {
                self.on_view_change(from == self.config.me, change, out);
            }
            Message::NewView(new_view) => self.on_new_view(new_view, out),
            Message::Status(status) => self.on_status(from, status, out),
            Message::Offence(offence) => self.on_offence(offence, out),
            Message::Prepare(_) | Message::Commit(_) | Message::ViewChange(_) => {}
        }
    }

    fn on_candidate(&mut self, from: Place, candidate: Arc<Candidate>, sequence: u64, out: &mut Vec<Output>) {
        let (origin, digest) = (candidate.origin, candidate.digest);
        if origin.index() >= self.config.n || from.index() >= self.config.n {
            return;
        }
        if sequence < self.config.config_sequence {
            out.push(Output::Validate(candidate));
            return;
        }
        let fits = !candidate.envelopes.is_empty()
            && candidate.envelopes.len() <= self.config.max_message_count as usize
            && candidate.bytes() <= self.config.absolute_max_bytes
            && (!candidate.is_config || candidate.envelopes.len() == 1);
        let wanted = self.fetches.wanted_for(&digest);
        if !fits && wanted.is_none() {
            // Could never be proposed. (One that a proposal names is looked at with it.)
            if from == origin {
                out.push(Output::Release { origin, digest });
            }
            return;
        }
        self.fetches.found(&digest);
        let arrival = Arrival { now: self.now, from, config_sequence: sequence, wanted };
        self.pool.insert(&candidate, arrival, &self.dedup, out);
        self.vouch_for(from, &candidate, out);
    }

    /// Goes on as far as what is known allows.
    fn advance(&mut self, out: &mut Vec<Output>) {
        loop {
            let committed = !self.halted && self.try_commit(out);
            if committed {
                self.try_activate(out);
            }
            self.take_up_votes(out);
            let accepted = !self.halted && self.try_accept(out);
            let prepared = !self.halted && self.try_prepare(out);
            let proposed = !self.halted && self.propose(out);
            if !(committed || accepted || prepared || proposed) {
                break;
            }
        }
        if !self.halted {
            self.try_new_view(out);
            self.note_work();
        }
    }

    /// Emits a promise after the records that forbid contradicting it.
    fn promise(&self, records: impl IntoIterator<Item = Record>, unsigned: Unsigned, out: &mut Vec<Output>) {
        let records = records.into_iter().map(Output::Persist);
        if self.planted(Plant::VoteBeforePersist) {
            out.push(Output::Broadcast(unsigned));
            out.extend(records);
        } else {
            out.extend(records);
            out.push(Output::Broadcast(unsigned));
        }
    }

    /// Two quorums contradict each other, so more than f replicas are faulty: there is nothing that
    /// this replica could do that is safe.
    fn halt(&mut self, reason: String, out: &mut Vec<Output>) {
        self.halted = true;
        out.push(Output::Note(Note::Halted { reason }));
    }

    fn primary(&self) -> Place {
        self.view.primary(self.config.n)
    }

    fn quorum_size(&self) -> usize {
        let size = self.quorum.size();
        if self.planted(Plant::QuorumTooSmall) {
            (size - 1).max(1)
        } else if self.planted(Plant::NaiveQuorum) {
            2 * self.quorum.faulty() + 1
        } else {
            size
        }
    }

    /// How many commits make a block.
    fn commit_quorum(&self) -> usize {
        if self.planted(Plant::CommitQuorumWeak) { self.quorum.weak() } else { self.quorum_size() }
    }

    /// How many view-changes start a view.
    fn new_view_quorum(&self) -> usize {
        if self.planted(Plant::NewViewQuorumWeak) { self.quorum.weak() } else { self.quorum_size() }
    }

    /// This rule was taken away, to see whether somebody notices.
    fn planted(&self, plant: Plant) -> bool {
        self.config.plants.has(plant)
    }

    /// It casts votes: a follower promises nothing.
    fn votes(&self) -> bool {
        self.config.role == Role::Voter || self.planted(Plant::WipedReplicaVotes)
    }
}

#[cfg(test)]
mod tests;
