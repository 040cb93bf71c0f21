//! Real encodings that messages and records may be sent through.

use sbft::pbft::Record;
use sbft::pbft::message::Message;

/// Real encodings that everything goes through, instead of being handed over as it is. The
/// simulator knows none itself; who runs it may bring them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Encodings {
    /// Encodes and decodes a message, as between two replicas.
    pub message: Option<Through<Message>>,
    /// Encodes and decodes a log record, as between two lives of a replica.
    pub record: Option<Through<Record>>,
}

/// Encodes a value and gives back what was decoded from it.
#[derive(Debug)]
pub struct Through<T>(pub fn(&T) -> Result<T, String>);

// By hand: derived, they would ask the same of T.
impl<T> Clone for Through<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Through<T> {}
