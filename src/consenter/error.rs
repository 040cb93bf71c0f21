//! What can go wrong between a channel and its chain, one enum for each operation.

use crate::types::Number;

/// Why an envelope was not accepted for ordering. The texts go to clients.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// `start` was not called yet.
    #[error("the chain of channel {channel} has not been started")]
    NotStarted {
        /// The channel.
        channel: String,
    },
    /// Halted, or stopped because of a failure.
    #[error("the chain of channel {channel} has stopped: {reason}")]
    Stopped {
        /// The channel.
        channel: String,
        /// Why.
        reason: String,
    },
    /// No room came up in time.
    #[error(
        "the pool is full ({limit} envelopes or {limit_bytes} bytes, or fewer that have waited for long to be \
         proposed); submit again later"
    )]
    PoolFull {
        /// Envelopes that the pool holds at most.
        limit: usize,
        /// Bytes that the pool holds at most.
        limit_bytes: u64,
    },
    /// The configuration changed, and the filters refuse the envelope now.
    #[error("the channel's configuration has changed, and the envelope does not pass its filters: {reason}")]
    Invalid {
        /// What the filter said.
        reason: String,
    },
    /// Config envelopes cannot be ordered yet.
    #[error("config updates are not served by this version")]
    ConfigUpdatesNotServed,
}

/// Why a chain cannot accept envelopes now. The text goes to clients as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text}")]
pub struct NotReady {
    /// For the client: what is wrong.
    pub text: String,
}

/// Why an accepted envelope will not be seen to commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotCommitted {
    /// The chain stopped first; the envelope may or may not be ordered.
    #[error("the chain stopped before the envelope was seen to commit; submit it again to be sure")]
    Stopped,
    /// A new configuration forbids it.
    #[error("the channel's configuration has changed and no longer allows the envelope")]
    Dropped,
}

/// Why a block was not written or read. The chain that meets one must stop.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The block is not the next one.
    #[error("block {found} of channel {channel} does not follow: the ledger expects block {expected}")]
    OutOfOrder {
        /// The channel.
        channel: String,
        /// The number it has.
        found: Number,
        /// The number it should have.
        expected: Number,
    },
    /// A block without a proper header or without data.
    #[error("the block cannot be written: {reason}")]
    Malformed {
        /// What is wrong with it.
        reason: String,
    },
    /// The block could not be signed.
    #[error("cannot sign block {number}: {reason}")]
    Sign {
        /// Which.
        number: Number,
        /// What the signer said.
        reason: String,
    },
    /// The block store failed.
    #[error("the ledger of channel {channel} failed: {reason}")]
    Ledger {
        /// The channel.
        channel: String,
        /// What the store said.
        reason: String,
    },
    /// An earlier write failed, in the background.
    #[error("an earlier write of channel {channel} failed: {reason}")]
    Earlier {
        /// The channel.
        channel: String,
        /// What it said.
        reason: String,
    },
    /// Config blocks cannot be made yet.
    #[error("config blocks other than the genesis block are not served by this version")]
    ConfigUpdatesNotServed,
}

/// Why a channel cannot run.
#[derive(Debug, thiserror::Error)]
pub enum HandleChainError {
    /// Its configuration asks for something that this consenter does not do.
    #[error("channel {channel}: {reason}")]
    Config {
        /// The channel.
        channel: String,
        /// What, and what to do.
        reason: String,
    },
    /// This node's identity is not among the channel's consenters.
    #[error(
        "channel {channel}: this node's signing certificate is none of the channel's {consenters} consenters; \
         check signing_cert in the node's configuration"
    )]
    NotAConsenter {
        /// The channel.
        channel: String,
        /// How many there are.
        consenters: usize,
    },
    /// The write-ahead log cannot be used.
    #[error("channel {channel}: the log in {directory} cannot be used: {reason}")]
    Log {
        /// The channel.
        channel: String,
        /// Where.
        directory: String,
        /// Why, and what to do.
        reason: String,
    },
    /// The ledger cannot be read.
    #[error("channel {channel}: the ledger cannot be read: {reason}")]
    Ledger {
        /// The channel.
        channel: String,
        /// Why, and what to do.
        reason: String,
    },
}
