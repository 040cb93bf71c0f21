//! When envelopes and blocks pass the stations of their way, for who wants to know where a commit's time
//! goes.
//!
//! Each station is an event of `tracing`, level TRACE, target [`TARGET`]; the listener takes the time.
//! With nobody listening a station costs a load and a branch, and `info`, the usual filter of the log,
//! does not listen. `benches/commit_latency.rs` does.

use tracing::{Level, enabled, trace};

use crate::types::{Number, Place, RequestId};

/// Target of all events of this module.
pub const TARGET: &str = "sbft::phases";

/// Stations of an envelope at the replica that it was submitted to: field `station`, and `envelope`,
/// [`short`] for its request id.
pub mod envelope {
    /// Read from the client's stream and decoded.
    pub const RECEIVED: &str = "received";
    /// Passed the filters.
    pub const FILTERED: &str = "filtered";
    /// In the pool of the protocol task.
    pub const POOLED: &str = "pooled";
}

/// Stations of a candidate at its origin: field `station`, `replica` (the origin's place) and `sequence`.
pub mod candidate {
    /// The cutter has made a batch.
    pub const CUT: &str = "cut";
    /// Encoded and given to the links. Comes once for each of its envelopes, with `envelope`.
    pub const SENT: &str = "sent";
}

/// Stations of a block at each replica: field `station`, `replica` (a place) and `number`.
pub mod block {
    /// The proposal was accepted.
    pub const ACCEPTED: &str = "accepted";
    /// The primary's proposal is signed, what it rests on synced, and it is given to the links.
    pub const PRE_PREPARE_SENT: &str = "pre-prepare sent";
    /// The same for a prepare.
    pub const PREPARE_SENT: &str = "prepare sent";
    /// A quorum of prepares.
    pub const PREPARED: &str = "prepared";
    /// The same as for the prepare, for the commit.
    pub const COMMIT_SENT: &str = "commit sent";
    /// A quorum of commits.
    pub const COMMITTED: &str = "committed";
    /// In the ledger, where readers see it.
    pub const APPENDED: &str = "appended";
}

/// The first eight bytes of a request id: enough to tell envelopes of one run apart.
pub fn short(id: &RequestId) -> u64 {
    let mut first = [0; 8];
    first.copy_from_slice(&id.0[..8]);
    u64::from_be_bytes(first)
}

/// Somebody listens.
pub fn is_watched() -> bool {
    enabled!(target: TARGET, Level::TRACE)
}

/// An envelope is at one of [`envelope`]'s stations.
pub fn of_envelope(station: &'static str, id: &RequestId) {
    trace!(target: TARGET, station, envelope = short(id));
}

/// The batch `sequence` of the replica `origin` was cut.
pub fn of_batch(origin: Place, sequence: u64) {
    trace!(target: TARGET, station = candidate::CUT, replica = u64::from(origin.0), sequence);
}

/// The candidate `sequence` of the replica `origin`, with these envelopes in it, is on its way.
pub fn of_candidate(origin: Place, sequence: u64, ids: &[RequestId]) {
    if !is_watched() {
        return;
    }
    for id in ids {
        let (replica, envelope) = (u64::from(origin.0), short(id));
        trace!(target: TARGET, station = candidate::SENT, replica, sequence, envelope);
    }
}

/// A block is at one of [`block`]'s stations at this replica.
pub fn of_block(station: &'static str, replica: Place, number: Number) {
    trace!(target: TARGET, station, replica = u64::from(replica.0), number = number.0);
}
