//! What goes into a replica, what comes out, and what it says of itself: the contract with its driver.

use std::sync::Arc;
use std::time::Duration;

use super::message::{
    Domain, Message, NewView, NewViewBody, Offence, PreparedCertificate, Proposal, Unsigned,
};
use crate::dedup_window::{BlockIds, DedupRule};
use crate::plant::Plants;
use crate::types::{BlockCertificate, Candidate, CommittedBlock, Digest, Number, Place, Verified, View};

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
    /// D and E: within which blocks an envelope is in the chain at most once.
    pub dedup: DedupRule,
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
    /// Time passed: a deadline of [`super::Replica::next_deadline`] has come.
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
    /// An own candidate is in a proposal that this replica accepted: what its intake cuts from now on can be
    /// in the block after that. Comes again if another view proposes it again.
    Proposed(Digest),
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
    /// After a restart: up to this number it votes in this view only for what its log says that it
    /// had voted for, since it may have voted for something else that the log does not know.
    Abstains {
        /// The view.
        view: View,
        /// The last number.
        upto: Number,
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
    /// This replica may have voted prepare in this view at any number up to this one. After a restart it
    /// votes there for nothing but what the log says it accepted.
    Bound {
        /// The view.
        view: View,
        /// The last number.
        upto: Number,
    },
    /// This replica accepted the proposal in this view and voted prepare for it. No vote waits for this
    /// record: it only lets a restarted replica say again what it had said.
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

impl Record {
    /// A prepare waits until this record is durable, if it comes before it. What forbids a replica to
    /// contradict its prepares after a restart is the view that it is in and the bound of its votes there;
    /// all other promises wait for every record before them.
    pub fn binds_prepares(&self) -> bool {
        match self {
            Self::Bound { .. } | Self::ViewChange(_) | Self::NewViewChosen(_) | Self::NewView(_) => true,
            Self::Payload(_) | Self::Accepted { .. } | Self::Prepared(_) => false,
        }
    }
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
    /// Request ids of the blocks in the dedup window at least, oldest block first.
    pub recent: Vec<BlockIds>,
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

impl Config {
    /// How far above the last committed block votes are kept and certificates may be: four times
    /// the window. The ledger may come back at an older block than the one that was the last when
    /// they were made, so nothing is accepted this far above the last durable block; a block store
    /// that syncs every few windows never makes the primary wait.
    pub fn reach(&self) -> u64 {
        self.window.saturating_mul(4)
    }
}
