//! One replica of one channel, as a pure state machine: everything from a validated candidate to a
//! committed block. No I/O, no clock, no randomness, no map with random order.
//!
//! `step(now, input, outputs)`: inputs are typed and verified; outputs are an ordered queue, and
//! *order is the proof*: a promise leaves only when every record before it is durable. What a
//! replica broadcasts comes back to it as an input after that same wait, so its own vote counts
//! only once it is durable.
//!
//! The protocol, file by file:
//!
//! 1. `proposal`: the primary of the view merges waiting candidates (`pool`) into a block on top of
//!    the last proposal, minus duplicates (`dedup`), and broadcasts a pre-prepare.
//! 2. `pre_prepare`: a backup that finds it right accepts it and broadcasts a prepare.
//! 3. `prepare`: a quorum (`quorum`) of prepares, with the number below prepared or committed, is a
//!    certificate; the replica broadcasts a commit, which is its signature over the block.
//! 4. `commit`: a quorum of commits of one view, with the block below committed, is a block.
//! 5. `suspicion`: a primary that is silent, slow or censoring is complained about (`complaint`), and
//!    given up on when a quorum complains; one that is caught lying, at once.
//! 6. `view_change`: a replica asks for the next view, with what it committed and prepared.
//! 7. `new_view`: a quorum of view-changes fixes what the next view must propose again.
//! 8. `status`, `fetch`, `catch_up`: messages, candidates and blocks that went missing.
//! 9. `recovery`: a restart from ledger and log.
//!
//! Everything held is bounded by n, the window, the candidates outstanding, or a named constant.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod catch_up;
mod commit;
mod complaint;
mod dedup;
mod fetch;
pub mod message;
mod new_view;
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
use std::time::Duration;

use crate::plant::{Plant, Plants};
use crate::types::{
    BlockCertificate, Candidate, CommittedBlock, Digest, Number, Place, RequestId, Time, Verified, View,
};
use catch_up::Asked;
use complaint::Complaint;
use dedup::Dedup;
use fetch::Fetches;
use message::{
    Domain, Message, NewView, NewViewBody, Offence, PreparedCertificate, Proposal, SignedViewChange, Unsigned,
};
use new_view::Outcome;
use pool::{Arrival, Pool};
use quorum::Quorum;
use slot::{Sealed, Slot};
use status::Peer;
use suspicion::Samples;

/// What all replicas of a channel agree on, and which of them this is.
#[derive(Clone, Debug)]
pub struct Config {
    /// Genesis hash and era.
    pub domain: Domain,
    /// How many replicas the channel has, 1 or more.
    pub n: usize,
    /// Which one this is.
    pub me: Place,
    /// Votes, or only follows (and why, for people).
    pub role: Role,
    /// Number of the last config block.
    pub last_config: Number,
    /// Config sequence that candidates must have been validated under.
    pub config_sequence: u64,
    /// How many block numbers may be in flight above the last committed one.
    pub window: u64,
    /// D: an envelope is in the chain at most once within this many blocks.
    pub dedup_blocks: u64,
    /// Candidates outstanding per origin.
    pub outstanding: usize,
    /// Envelopes per block, counted before duplicates fall out.
    pub max_message_count: u32,
    /// Bytes (payload plus signature of each envelope) per block, before duplicates fall out.
    pub absolute_max_bytes: u64,
    /// Bytes that the primary aims at when it merges candidates.
    pub preferred_max_bytes: u64,
    /// A waiting candidate older than this is sent to the primary.
    pub forward_timeout: Duration,
    /// Nothing commits for this long while work waits: suspect the primary.
    pub complain_timeout: Duration,
    /// How long a view change may take; doubles per failed view.
    pub view_change_timeout: Duration,
    /// Cap of the doubling.
    pub view_change_timeout_cap: Duration,
    /// How often a status goes to every replica.
    pub status_interval: Duration,
    /// The primary is slow when its delay from candidate to proposal is more than this many
    /// times the round time that this replica measures.
    pub slow_primary_factor: u32,
    /// Rules taken away on purpose, for the tests of the tests; [`Plants::NONE`] otherwise
    /// (and always, without the feature `plant`).
    pub plants: Plants,
}

/// What a replica may do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Role {
    /// Votes.
    Voter,
    /// Follows, catches up and serves; sends no vote and no view-change. The text says why.
    Follower(String),
}

/// What happens to a replica.
///
/// What the checker at the edge has done before anything becomes a `Verified<Message>`:
///
/// * every signature in it is good and by a replica of this era whose place is below n: also
///   those inside certificates, view-changes and the view-changes of a new-view; within one
///   certificate and within one new-view all signers are distinct;
/// * a prepared certificate has exactly q signatures, a block certificate q of one view;
/// * a pre-prepare's signature is its view's primary's, a new-view's too;
/// * an offence really is one: two prepares (or commits) of one signer, view and number that
///   differ in what they are for, or a new-view whose own signature is good while its content is
///   not (the checker itself turns such a new-view into the offence).
///
/// The core checks the rest: numbers, views, order, window, what extends what.
#[derive(Clone, Debug)]
pub enum Input {
    /// A message; `from` is the link it came over (or this replica itself: its own broadcasts
    /// come back once they are durable).
    Message {
        /// The link's other end.
        from: Place,
        /// What it said.
        message: Verified<Message>,
    },
    /// A candidate whose envelopes were all found valid under `config_sequence`.
    Candidate {
        /// The link it came over; this replica itself for its intake's.
        from: Place,
        /// The candidate.
        candidate: Verified<Arc<Candidate>>,
        /// The config sequence it was validated under.
        config_sequence: u64,
    },
    /// A candidate with this digest has an invalid envelope, or cannot be decoded. Answered by one
    /// [`Output::Release`] on the account of `from`.
    InvalidCandidate {
        /// The link it came over.
        from: Place,
        /// Its name.
        digest: Digest,
        /// The config sequence it was judged under.
        config_sequence: u64,
    },
    /// `from` asks for candidates by digest.
    CandidatesWanted {
        /// Who asks.
        from: Place,
        /// Which.
        digests: Vec<Digest>,
    },
    /// Blocks fetched from `from`, in order; each one's own certificate and form were checked.
    Blocks {
        /// The link they came over.
        from: Place,
        /// Consecutive numbers.
        blocks: Vec<Verified<Arc<CommittedBlock>>>,
    },
    /// The block store holds every block up to this one with its certificate, synced.
    BlocksDurable(Number),
    /// A link came up (true) or went down.
    Link {
        /// The other end.
        peer: Place,
        /// Up or down.
        up: bool,
    },
    /// Time passed: a deadline of [`Replica::next_deadline`] has come.
    Tick,
}

/// What the driver must do, in this order.
#[derive(Clone, Debug, PartialEq)]
pub enum Output {
    /// Append to the log. Everything after it that makes a promise waits until it is durable.
    Persist(Record),
    /// A promise: sign, then, once every persist before it is durable, send to all others and
    /// feed it back as an [`Input::Message`] from this replica itself.
    Broadcast(Unsigned),
    /// A promise to one replica: sign, then, once every persist before it is durable, send.
    Send(Place, Unsigned),
    /// Already signed (own or another's message, repeated): send after the persists before it.
    Repeat(Place, Message),
    /// Promises nothing: send to one replica at once.
    Tell(Place, Message),
    /// Promises nothing: send to all others at once.
    TellAll(Message),
    /// Send this candidate to that replica (repair stream), at once.
    SendCandidate(Place, Arc<Candidate>),
    /// Ask that replica for candidates by digest, at once.
    FetchCandidates(Place, Vec<Digest>),
    /// Ask that replica for committed blocks `first..=last`, at once.
    FetchBlocks {
        /// Whom.
        from: Place,
        /// First number.
        first: Number,
        /// Last number.
        last: Number,
    },
    /// Append to the ledger, at once and in this order.
    CommitBlock(Arc<CommittedBlock>),
    /// Validate this candidate again under the config sequence that the last config block
    /// brought, and give it back as [`Input::Candidate`] or [`Input::InvalidCandidate`] with
    /// `from` its origin.
    Validate(Arc<Candidate>),
    /// A candidate needs no room any more (committed, invalid or dropped): its origin may have
    /// another one outstanding. Comes once for each candidate that arrived over its origin's own
    /// link (this replica's intake included); one whose digest is still charged is not charged
    /// twice, so whoever counts keeps a set of digests.
    Release {
        /// On whose account it was.
        origin: Place,
        /// Its name.
        digest: Digest,
    },
    /// Proof that a replica lied, once each; for logs, metrics and the simulator.
    Accuse(Offence),
    /// Something that people want to know; never changes what the driver does.
    Note(Note),
}

/// What a replica says about itself for logs, metrics and traces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// A proposal was accepted (it is in the log and a prepare follows).
    Accepted {
        /// The view.
        view: View,
        /// The block's number.
        number: Number,
    },
    /// A quorum of prepares.
    Prepared {
        /// The view.
        view: View,
        /// The block's number.
        number: Number,
    },
    /// A quorum of commits, and all numbers below committed.
    Committed {
        /// The view of the certificate.
        view: View,
        /// The block's number.
        number: Number,
        /// Envelopes in it.
        envelopes: usize,
    },
    /// This replica complains about the primary of `view`, and goes on voting there.
    Complains {
        /// The view.
        view: View,
        /// Why, for people.
        reason: String,
    },
    /// What it complained about is gone.
    Withdrew {
        /// The view.
        view: View,
    },
    /// This replica gave up on the primary and asks for `view`.
    Suspected {
        /// The view asked for.
        view: View,
        /// Why, for people.
        reason: String,
    },
    /// This replica votes in `view` from here on.
    EnteredView {
        /// The view.
        view: View,
        /// Its primary.
        primary: Place,
        /// How many blocks are proposed again in it.
        reproposed: usize,
    },
    /// A quorum contradicts another: more than f replicas are faulty. The replica has stopped.
    Halted {
        /// What contradicts what.
        reason: String,
    },
}

/// What must be durable. Recovery applies the same records in the same order.
#[derive(Clone, Debug, PartialEq)]
pub enum Record {
    /// The payload of a proposal accepted next.
    Payload(Arc<Candidate>),
    /// This replica accepted the proposal in this view and may have voted prepare for it.
    Accepted {
        /// The view.
        view: View,
        /// The proposal.
        proposal: Arc<Proposal>,
    },
    /// This replica holds the certificate and may have voted commit for it.
    Prepared(Arc<PreparedCertificate>),
    /// This replica asked for this view and casts no vote for a lower one.
    ViewChange(View),
    /// This replica is the view's primary and signs no other new-view for the view than this one,
    /// whose signature is made after the record is durable.
    NewViewChosen(Arc<NewViewBody>),
    /// This replica entered the view that this message starts.
    NewView(Arc<NewView>),
}

/// Where the ledger ends, as recovery needs it.
#[derive(Clone, Debug)]
pub struct ChainTip {
    /// Header hash of the last block.
    pub hash: Digest,
    /// Its number.
    pub number: Number,
    /// Its certificate; none for the genesis block.
    pub certificate: Option<Arc<BlockCertificate>>,
    /// Request ids of the last D blocks, oldest block first.
    pub recent: Vec<(Number, Vec<RequestId>)>,
}

/// What people may want to know of a replica's state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// The view it is in or has asked for.
    pub view: View,
    /// It votes in that view.
    pub active: bool,
    /// It complains about the view's primary.
    pub complains: bool,
    /// The view's primary.
    pub primary: Place,
    /// Last committed number.
    pub committed: Number,
    /// Highest accepted number in this view.
    pub accepted: Number,
    /// Highest prepared number in this view.
    pub prepared: Number,
    /// Numbers in flight.
    pub in_flight: usize,
    /// Valid candidates waiting to be proposed, of all origins.
    pub waiting: usize,
    /// Candidates held, of all kinds, for the memory bound.
    pub candidates_held: usize,
    /// Votes, proposals and view-changes held, for the memory bound.
    pub messages_held: usize,
    /// It has stopped for good: see [`Note::Halted`].
    pub halted: bool,
}

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
/// chain accepted in this view on top of the tip; (2) `dedup` knows exactly the ids of the last D
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
    /// Views since the last progress.
    failed_views: u32,
    progressed: bool,
    change_deadline: Option<Time>,

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
    last_progress: Time,
    work_since: Option<Time>,
    complaint_put_off: Time,
    /// Candidates ordered so far, to count who was passed over.
    ordered: u64,
    /// The primary's delays, and this replica's own rounds from prepared to committed.
    delays: Samples,
    rounds: Samples,
    prepared_at: BTreeMap<Number, Time>,
    /// Since when the primary has had room for another proposal.
    room_since: Time,
}

impl Config {
    /// How far above the last committed block votes are kept and certificates may be: four times
    /// the window. The ledger may come back at an older block than the one that was the last when
    /// they were made, so nothing is accepted this far above the last durable block; a block store
    /// that syncs every few windows never makes the primary wait.
    pub fn reach(&self) -> u64 {
        self.window.saturating_mul(4)
    }
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
                let number = if self.planted(Plant::DurableTooEarly) { self.tip.number } else { number };
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
        let all = [Some(self.status_due), change, self.complaint_due(), self.fetches.due(), blocks];
        all.into_iter().flatten().min()
    }

    /// A snapshot for status, metrics and checks.
    pub fn probe(&self) -> Probe {
        let slots: usize = self.slots.values().map(Slot::messages).sum();
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
            messages_held: slots + self.view_changes.len(),
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
    }

    /// Goes on as far as what is known allows.
    fn advance(&mut self, out: &mut Vec<Output>) {
        loop {
            let committed = !self.halted && self.try_commit(out);
            if committed {
                self.try_activate(out);
            }
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
    fn promise(&self, records: Vec<Record>, unsigned: Unsigned, out: &mut Vec<Output>) {
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
