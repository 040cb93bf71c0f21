//! Bytes in, domain types out, and back: envelopes, candidates, replica messages, blocks, log
//! records; and the [`checker`], which alone turns them into `Verified<_>`.
//!
//! No I/O and no clock. Every decoder is strict: exactly one string of bytes decodes to a value,
//! counts and lengths are checked before anything is allocated for them, and whatever arrives is
//! answered with an error that names the field, never with a panic.

pub mod block;
pub mod candidate;
pub mod checker;
pub mod envelope;
mod error;
mod key_ring;
pub mod message;
pub mod record;
pub mod repair;
mod schema;
mod seen;
mod shape;
pub mod signing;
#[cfg(test)]
mod tests;

pub use checker::{Checker, VoteKeys};
pub use error::{Problem, WireError};
pub use key_ring::KeyRing;

/// Replicas per channel; a signature list longer than this is refused.
pub const MAX_REPLICAS: usize = 256;

/// Block numbers in flight that a channel may allow.
pub const MAX_WINDOW: usize = 256;

/// Prepared certificates that a view-change may hold: four times the window, since a ledger may come
/// back at an older block than the one that was the last when they were made. A hard cap and not
/// the channel's own, because replicas on either side of a config block may know different windows
/// for a moment.
pub const MAX_PREPARED: usize = 4 * MAX_WINDOW;

/// Candidates that one proposal may name.
pub const MAX_CANDIDATES_PER_PROPOSAL: usize = crate::pbft::message::MAX_CANDIDATES;

/// Candidates that one fetch may ask for.
pub const MAX_CANDIDATES_PER_FETCH: usize = 1024;

/// Blocks that one answer to a fetch may carry.
pub const MAX_BLOCKS_PER_ANSWER: usize = 1024;

/// Length of a nonce in bytes, in signature headers and identifier headers alike.
pub const NONCE_BYTES: usize = 24;

/// q = ceil((n + f + 1) / 2) with f = (n - 1) / 3: any two sets of q among n replicas meet in an
/// honest one (fabric-spec C.4).
///
/// # Panics
/// If `n` is 0.
pub fn quorum(n: usize) -> usize {
    assert!(n > 0, "a channel has at least one replica");
    let f = (n - 1) / 3;
    (n + f + 1).div_ceil(2)
}
