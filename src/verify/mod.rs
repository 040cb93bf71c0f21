//! Offline check of ledgers and block files; shares no code with the core's certificate checks.
//!
//! It reads blocks with the protobuf types and does everything else itself: header encoding,
//! hashes, keys, signatures, the consenters of each configuration. A mistake that it shared with
//! the core would be invisible.
//!
//! Trust starts with the genesis block that the caller gives. It is stricter than Fabric's own
//! verifiers (fabric-spec C.6): see [`Reason`] for all that is refused. One rule depends on who
//! made the block: consenter metadata with a proposal digest (field 16) is ours, must be encoded
//! canonically and name the block's own number, and from such a block on all must be ours.
//! Anything else there is Fabric's (SmartBFT's view metadata), which no verifier looks into.

mod block;
mod chain;
mod config;
mod files;
mod signature;
#[cfg(test)]
mod tests;

pub use block::{Fault, Reason};
pub use chain::{Checked, Verifier};
pub use files::{Failure, Report, Tail, VerifyError, VerifyOptions, verify_paths};
