//! Candidate blocks: `sbft.Candidate` bytes to and from [`Candidate`].
//!
//! The digest is over the exact encoding, and only the canonical encoding decodes, so one list of
//! envelopes of one origin has one name. Envelopes are slices of the encoding, not copies.

use bytes::{BufMut as _, Bytes, BytesMut};

use super::envelope::{EnvelopeError, Parsed};
use super::error::Problem;
use super::shape::Cursor;
use crate::header::{data_hash, sha256};
use crate::types::{Candidate, Digest, Place, RequestId};

/// What a candidate may hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Envelopes, at most.
    pub max_count: usize,
    /// Sum of the envelopes' sizes (payload plus signature), bytes, at most.
    pub max_bytes: u64,
}

impl Limits {
    /// No limits: for candidates that this replica made or has checked before.
    pub const NONE: Self = Self { max_count: usize::MAX, max_bytes: u64::MAX };
}

/// Why bytes are no candidate.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CandidateError {
    /// Not the canonical encoding of an `sbft.Candidate`.
    #[error("candidate's {field}: {problem}")]
    Form {
        /// Which field.
        field: &'static str,
        /// What is wrong with it.
        problem: Problem,
    },
    /// No envelopes.
    #[error("candidate is empty")]
    Empty,
    /// More envelopes than the channel allows.
    #[error("candidate holds more than {max} envelopes")]
    TooMany {
        /// How many it may hold.
        max: usize,
    },
    /// More bytes than the channel allows.
    #[error("candidate's envelopes take {bytes} bytes, at most {max} are allowed")]
    TooLarge {
        /// Payloads plus signatures.
        bytes: u64,
        /// How many it may hold.
        max: u64,
    },
    /// One of the envelopes is no envelope.
    #[error("envelope {index} of the candidate: {error}")]
    Envelope {
        /// Which, from 0.
        index: usize,
        /// What is wrong with it.
        error: EnvelopeError,
    },
    /// A config envelope together with others.
    #[error("envelope {index} of the candidate is a config envelope, which must be alone")]
    ConfigNotAlone {
        /// Which, from 0.
        index: usize,
    },
}

/// Makes a candidate of canonical envelope frames.
///
/// # Errors
/// The same as [`decode`] without limits, so that nobody sends what others refuse.
pub fn encode(origin: Place, sequence: u64, envelopes: Vec<Bytes>) -> Result<Candidate, CandidateError> {
    decode(frame(origin, sequence, &envelopes), &Limits::NONE)
}

/// Makes a candidate of envelopes whose identities and sizes are known, without taking the
/// envelopes apart again. They must be canonical, at least one, and a config envelope alone: it
/// is what [`encode`] makes of the same envelopes.
pub fn encode_known(
    origin: Place,
    sequence: u64,
    envelopes: &[Bytes],
    ids: Vec<RequestId>,
    sizes: Vec<u32>,
    is_config: bool,
) -> Candidate {
    let encoding = frame(origin, sequence, envelopes);
    let mut at = encoding.len();
    // Slices of the encoding, so that the memory of the envelopes as they came is given back.
    let mut slices: Vec<Bytes> = Vec::with_capacity(envelopes.len());
    for envelope in envelopes.iter().rev() {
        slices.push(encoding.slice(at - envelope.len()..at));
        at -= envelope.len() + 1 + varint_len(envelope.len() as u64);
    }
    slices.reverse();
    let data_hash = data_hash(&slices);
    let digest = digest(&encoding);
    Candidate { origin, sequence, digest, encoding, envelopes: slices, ids, sizes, data_hash, is_config }
}

fn frame(origin: Place, sequence: u64, envelopes: &[Bytes]) -> Bytes {
    let bytes: usize = envelopes.iter().map(|envelope| envelope.len() + 11).sum();
    let mut out = BytesMut::with_capacity(bytes + 24);
    for (number, value) in [(1_u8, u64::from(origin.0)), (2, sequence)] {
        if value != 0 {
            out.put_u8(number << 3 | Cursor::VARINT);
            put_varint(&mut out, value);
        }
    }
    for envelope in envelopes {
        out.put_u8(3 << 3 | Cursor::LENGTH_DELIMITED);
        put_varint(&mut out, envelope.len() as u64);
        out.put_slice(envelope);
    }
    out.freeze()
}

/// Reads a candidate. The envelopes' form is checked and their identities computed; their
/// signatures are not looked at.
pub fn decode(encoding: Bytes, limits: &Limits) -> Result<Candidate, CandidateError> {
    decode_named(digest(&encoding), encoding, limits)
}

/// The same, for who knows the digest of the encoding already: hashing is much of the work.
pub fn decode_named(digest: Digest, encoding: Bytes, limits: &Limits) -> Result<Candidate, CandidateError> {
    decode_parsed(digest, encoding, limits).map(|(candidate, _)| candidate)
}

/// The same, with the envelopes taken apart, for who goes on to judge them.
pub fn decode_parsed(
    digest: Digest,
    encoding: Bytes,
    limits: &Limits,
) -> Result<(Candidate, Vec<Parsed>), CandidateError> {
    let (origin, sequence, envelopes) = fields(&encoding, limits.max_count)?;
    finish(digest, encoding, origin, sequence, envelopes, limits)
}

/// Whether this is a candidate all of whose envelopes have an id that `knows`: it is asked up to the first
/// that it does not know. Much cheaper than decoding, since nothing is hashed but ids.
pub fn has_only(encoding: &Bytes, limits: &Limits, mut knows: impl FnMut(&RequestId) -> bool) -> bool {
    let Ok((_, _, envelopes)) = fields(encoding, limits.max_count) else { return false };
    let mut known = |envelope| Parsed::from_frame(envelope).is_ok_and(|parsed| knows(&parsed.id));
    !envelopes.is_empty() && envelopes.into_iter().all(&mut known)
}

/// Origin, sequence and envelopes; the latter are not looked at, and at most `max_count`.
fn fields(encoding: &Bytes, max_count: usize) -> Result<(Place, u64, Vec<Bytes>), CandidateError> {
    let mut cursor = Cursor::new(encoding);
    let (mut origin, mut sequence) = (0, 0);
    let mut envelopes: Vec<Bytes> = Vec::new();
    let mut last = 0;
    while !cursor.is_empty() {
        let form = |field| move |problem| CandidateError::Form { field, problem };
        let (number, wire_type) = cursor.tag().map_err(form("tag"))?;
        let (field, expected) = match number {
            1 => ("origin", Cursor::VARINT),
            2 => ("sequence", Cursor::VARINT),
            3 => ("envelopes", Cursor::LENGTH_DELIMITED),
            other => return Err(form("tag")(Problem::UnknownField(other))),
        };
        if wire_type != expected {
            return Err(form(field)(Problem::WireType(wire_type)));
        }
        if number < last || number == last && number != 3 {
            return Err(form(field)(Problem::Order));
        }
        last = number;
        if number == 3 {
            if envelopes.len() == max_count {
                return Err(CandidateError::TooMany { max: max_count });
            }
            let envelope = cursor.delimited().map_err(form(field))?;
            envelopes.push(encoding.slice_ref(envelope));
            continue;
        }
        let value = cursor.varint().map_err(form(field))?;
        let max = if number == 1 { u64::from(u16::MAX) } else { u64::MAX };
        match value {
            0 => return Err(form(field)(Problem::Default)),
            value if value > max => return Err(form(field)(Problem::Range { value, max })),
            value if number == 1 => origin = value as u16,
            value => sequence = value,
        }
    }
    Ok((Place(origin), sequence, envelopes))
}

/// The name of the candidate with this encoding.
pub fn digest(encoding: &[u8]) -> Digest {
    sha256(encoding)
}

fn finish(
    digest: Digest,
    encoding: Bytes,
    origin: Place,
    sequence: u64,
    envelopes: Vec<Bytes>,
    limits: &Limits,
) -> Result<(Candidate, Vec<Parsed>), CandidateError> {
    if envelopes.is_empty() {
        return Err(CandidateError::Empty);
    }
    let mut ids = Vec::with_capacity(envelopes.len());
    let mut sizes = Vec::with_capacity(envelopes.len());
    let mut all = Vec::with_capacity(envelopes.len());
    let mut bytes = 0;
    let mut is_config = false;
    for (index, envelope) in envelopes.iter().enumerate() {
        let parsed = Parsed::from_frame(envelope.clone())
            .map_err(|error| CandidateError::Envelope { index, error })?;
        if parsed.is_config() && envelopes.len() > 1 {
            return Err(CandidateError::ConfigNotAlone { index });
        }
        is_config |= parsed.is_config();
        bytes += u64::from(parsed.size);
        ids.push(parsed.id);
        sizes.push(parsed.size);
        all.push(parsed);
    }
    if bytes > limits.max_bytes {
        return Err(CandidateError::TooLarge { bytes, max: limits.max_bytes });
    }
    let data_hash = data_hash(&envelopes);
    let candidate =
        Candidate { origin, sequence, digest, encoding, envelopes, ids, sizes, data_hash, is_config };
    Ok((candidate, all))
}

fn varint_len(value: u64) -> usize {
    (64 - value.max(1).leading_zeros() as usize).div_ceil(7)
}

fn put_varint(out: &mut BytesMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}
