//! What is wrong with bytes that do not decode, and where in them.

use std::fmt;

/// Bytes that are not what they should be: the field, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct WireError {
    /// Path of the field from the outermost message, such as `new_view.view_changes[2].signer`.
    pub field: String,
    /// What is wrong there.
    pub problem: Problem,
}

/// What can be wrong with a field.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// The bytes end inside the field.
    #[error("the bytes end too early")]
    Truncated,
    /// A number that is not encoded in the shortest way, or does not fit into 64 bits.
    #[error("a number is not in its shortest encoding")]
    Varint,
    /// A field that this version does not know.
    #[error("unknown field {0}")]
    UnknownField(u64),
    /// The field has another type than it should.
    #[error("has wire type {0}, which this field never has")]
    WireType(u8),
    /// A field twice, or fields not in the order of their numbers.
    #[error("is repeated or out of order")]
    Order,
    /// A default value that is spelled out; it must be left out.
    #[error("a default value must be left out")]
    Default,
    /// More elements than allowed.
    #[error("more than {max} elements")]
    TooMany {
        /// How many there may be.
        max: usize,
    },
    /// Bytes of a wrong length.
    #[error("is {length} bytes long, must be {min} to {max}")]
    Length {
        /// What it is.
        length: usize,
        /// At least.
        min: usize,
        /// At most.
        max: usize,
    },
    /// A number that is too large.
    #[error("is {value}, must be at most {max}")]
    Range {
        /// What it is.
        value: u64,
        /// At most.
        max: u64,
    },
    /// A field that must be there is not.
    #[error("is missing")]
    Missing,
    /// Anything else, in words.
    #[error("{0}")]
    Invalid(String),
}

impl WireError {
    /// `problem` at `field`.
    pub(super) fn at(field: impl Into<String>, problem: Problem) -> Self {
        Self { field: field.into(), problem }
    }

    /// The same error, seen from one message further out.
    pub(super) fn inside(mut self, outer: impl fmt::Display) -> Self {
        self.field = match self.field.is_empty() {
            true => outer.to_string(),
            false => format!("{outer}.{}", self.field),
        };
        self
    }
}
