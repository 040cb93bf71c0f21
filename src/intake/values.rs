//! What goes into an intake and what comes out.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::block_cutter::CutLimits;
use crate::dedup_window::DedupRule;
use crate::plant::Plants;
use crate::types::{Candidate, CommittedBlock, Digest, Number, Place, RequestId};

/// What an intake goes by. All but `pool_bytes` are the channel's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IntakeConfig {
    /// How many replicas the channel has, 1 or more.
    pub n: usize,
    /// Which one this is.
    pub me: Place,
    /// Limits of the block cutter.
    pub limits: CutLimits,
    /// How long a partial batch waits at most while own candidates wait to be proposed.
    pub batch_timeout: Duration,
    /// Own candidates outstanding at most; past it envelopes wait in the pool.
    pub outstanding: usize,
    /// While fewer own candidates than this wait to be proposed, and those are small, a partial batch is cut at
    /// once. With one, only when none waits. More is less latency and more, smaller blocks.
    pub eager: usize,
    /// No more is taken in while a block's worth of this replica's own waits to be proposed and the first of that
    /// has waited for so long. A primary that keeps up lets nothing wait for that long, and what waits by then
    /// keeps it busy until more comes.
    pub backlog_after: Duration,
    /// Envelopes in the pool at most, from accepted to committed.
    pub pool_count: usize,
    /// Once the pool has this many bytes (payload plus signature) no envelope is taken; so it
    /// holds less than this and one envelope more.
    pub pool_bytes: u64,
    /// For which blocks committed ids are remembered.
    pub dedup: DedupRule,
    /// Config sequence that envelopes must have been validated under.
    pub config_sequence: u64,
    /// Rules taken away on purpose, for the tests of the tests.
    pub plants: Plants,
}

/// An envelope that passed the filters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// Its identity.
    pub id: RequestId,
    /// Its canonical encoding.
    pub frame: Bytes,
    /// Payload plus signature, bytes.
    pub size: u32,
    /// A config envelope, which travels alone.
    pub is_config: bool,
    /// The config sequence that it was validated under.
    pub config_sequence: u64,
}

/// What happens to an intake.
#[derive(Clone, Debug)]
pub enum IntakeInput {
    /// Envelopes that passed the filters, in order. Each is answered by one output.
    Envelopes(Vec<Envelope>),
    /// The batch with this sequence became the candidate with this digest.
    Own {
        /// Of the batch.
        sequence: u64,
        /// Of the candidate.
        digest: Digest,
    },
    /// A valid candidate that is not from a batch of this intake.
    Seen(Arc<Candidate>),
    /// A proposal has the own candidate with this digest.
    Proposed(Digest),
    /// The core has released the candidate: committed, or dropped. If its block was committed by
    /// the same step, that is told first.
    Released(Digest),
    /// A block was committed; in order of number, none left out.
    Committed(Arc<CommittedBlock>),
    /// The configuration changed. Envelopes in the pool are validated again.
    Configured(IntakeConfig),
    /// The answer to [`IntakeOutput::Revalidate`] for one envelope.
    Revalidated {
        /// Its identity.
        id: RequestId,
        /// The config sequence that it was validated under.
        config_sequence: u64,
        /// It passed.
        valid: bool,
    },
    /// Time passed: the deadline of [`Intake::next_deadline`](super::Intake::next_deadline) has come.
    Tick,
}

/// What the driver must do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum IntakeOutput {
    /// The envelope is in the pool and will be ordered.
    Accepted(RequestId),
    /// The id is known: waiting, or committed in the block given.
    Duplicate {
        /// The id.
        id: RequestId,
        /// The block that holds it, if it is committed.
        committed: Option<Number>,
    },
    /// There is no room; the envelope was not taken.
    Full(RequestId),
    /// Make a candidate of this batch, give it to the core and send it to all.
    Cut(Batch),
    /// An envelope of the pool is in a committed block and leaves the pool.
    Done {
        /// Its identity.
        id: RequestId,
        /// The block.
        number: Number,
        /// From accepted here to committed here.
        waited: Duration,
    },
    /// Run the filters over these again and answer each with [`IntakeInput::Revalidated`].
    Revalidate(Vec<(RequestId, Bytes)>),
    /// The filters refuse the envelope under the new configuration; it leaves the pool.
    Dropped(RequestId),
}

/// What becomes a candidate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Counts the batches since the start, from 0.
    pub sequence: u64,
    /// The envelopes' encodings, in order; at least one.
    pub envelopes: Vec<Bytes>,
    /// Their identities.
    pub ids: Vec<RequestId>,
    /// Their sizes, payload plus signature, bytes.
    pub sizes: Vec<u32>,
    /// The one envelope is a config envelope.
    pub is_config: bool,
    /// The config sequence that all were validated under.
    pub config_sequence: u64,
    /// How long the first of them has been in the pool.
    pub waited: Duration,
}

/// Numbers for metrics.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IntakeProbe {
    /// Envelopes in the pool.
    pub pool: usize,
    /// Their bytes.
    pub pool_bytes: u64,
    /// Own candidates outstanding.
    pub outstanding: usize,
    /// Replicas take turns by the envelope's id.
    pub takes_turns: bool,
}
