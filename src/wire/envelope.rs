//! A client's envelope: its parts as received, its identity, and its canonical frame.
//!
//! Payload and signature bytes are kept as received and never re-encoded. The outer frame is made
//! canonical (fields 1 and 2 and nothing else) once, here, because Fabric's verifiers refuse a
//! block whose envelopes do not re-encode to themselves (fabric-spec C.2).

use bytes::Bytes;
use prost::Message as _;
use sha2::{Digest as _, Sha256};

use super::error::Problem;
use super::shape::Cursor;
use crate::header::sha256;
use crate::proto::common::{ChannelHeader, Envelope, Header, HeaderType, Payload, SignatureHeader};
use crate::types::RequestId;

/// An envelope, taken apart as far as ordering needs it. Nothing about it has been judged: not
/// its signature, not its creator, not its channel.
#[derive(Clone, Debug, PartialEq)]
pub struct Parsed {
    /// Which channel, what kind.
    pub channel_header: ChannelHeader,
    /// Who signed, and a nonce.
    pub signature_header: SignatureHeader,
    /// The payload bytes as received: what the signature is over.
    pub payload: Bytes,
    /// The payload's data.
    pub data: Bytes,
    /// The signature as received; may be empty.
    pub signature: Bytes,
    /// The canonical encoding of the envelope: what goes into a block.
    pub frame: Bytes,
    /// The envelope's identity (see [`RequestId`]).
    pub id: RequestId,
    /// Payload plus signature, bytes: what limits count.
    pub size: u32,
}

/// Why bytes are no envelope that can be ordered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EnvelopeError {
    /// Not a `common.Envelope`.
    #[error("not an envelope: {0}")]
    Envelope(String),
    /// No payload.
    #[error("message payload is empty")]
    EmptyPayload,
    /// No signature; a block with an unsigned envelope is refused by Fabric's verifiers.
    #[error("message is not signed")]
    Unsigned,
    /// Payload and signature together are longer than any limit can say.
    #[error("message of {0} bytes is too large")]
    TooLarge(usize),
    /// The payload is not a `common.Payload`.
    #[error("could not determine channel ID: payload does not decode: {0}")]
    Payload(String),
    /// The payload has no header.
    #[error("could not determine channel ID: header not set")]
    NoHeader,
    /// The channel header is not a `common.ChannelHeader`.
    #[error("could not determine channel ID: channel header does not decode: {0}")]
    ChannelHeader(String),
    /// The signature header is not a `common.SignatureHeader`.
    #[error("signature header does not decode: {0}")]
    SignatureHeader(String),
    /// A config envelope without the update that led to it.
    #[error("config envelope carries no update: {0}")]
    ConfigEnvelope(String),
    /// The outer frame is not the canonical encoding.
    #[error("envelope is not in canonical form: {0}")]
    NotCanonical(String),
}

/// The one field of a `common.ConfigEnvelope` that identity needs; the configuration itself, a
/// large tree, is skipped.
#[derive(Clone, PartialEq, prost::Message)]
struct LastUpdate {
    #[prost(message, optional, tag = "2")]
    last_update: Option<Envelope>,
}

impl Parsed {
    /// Takes an envelope's encoding apart. Unknown fields of the outer frame are dropped.
    pub fn decode(bytes: Bytes) -> Result<Self, EnvelopeError> {
        let envelope = Envelope::decode(bytes).map_err(|error| EnvelopeError::Envelope(error.to_string()))?;
        Self::from_envelope(envelope)
    }

    /// Takes an envelope apart.
    pub fn from_envelope(envelope: Envelope) -> Result<Self, EnvelopeError> {
        let frame = Bytes::from(envelope.encode_to_vec());
        Self::new(envelope, frame)
    }

    /// Takes a canonical, signed envelope apart without copying it: what candidates and blocks
    /// hold. The error says so if it is not canonical.
    pub fn from_frame(frame: Bytes) -> Result<Self, EnvelopeError> {
        check_canonical(&frame)?;
        let envelope =
            Envelope::decode(frame.clone()).map_err(|error| EnvelopeError::Envelope(error.to_string()))?;
        Self::new(envelope, frame)
    }

    fn new(Envelope { payload, signature }: Envelope, frame: Bytes) -> Result<Self, EnvelopeError> {
        if payload.is_empty() {
            return Err(EnvelopeError::EmptyPayload);
        }
        let bytes = payload.len() + signature.len();
        let size = u32::try_from(bytes).map_err(|_| EnvelopeError::TooLarge(bytes))?;
        let Payload { header, data } =
            Payload::decode(payload.clone()).map_err(|error| EnvelopeError::Payload(error.to_string()))?;
        let Header { channel_header, signature_header } = header.ok_or(EnvelopeError::NoHeader)?;
        let channel_header = ChannelHeader::decode(channel_header)
            .map_err(|error| EnvelopeError::ChannelHeader(error.to_string()))?;
        let signature_header = SignatureHeader::decode(signature_header)
            .map_err(|error| EnvelopeError::SignatureHeader(error.to_string()))?;
        let id = match is_config(&channel_header) {
            true => config_id(&data)?,
            false => request_id(&signature_header.nonce, &signature_header.creator),
        };
        Ok(Self { channel_header, signature_header, payload, data, signature, frame, id, size })
    }

    /// A config envelope, which travels alone.
    pub fn is_config(&self) -> bool {
        is_config(&self.channel_header)
    }
}

/// SHA-256 of nonce and creator.
pub fn request_id(nonce: &[u8], creator: &[u8]) -> RequestId {
    let mut hasher = Sha256::new();
    hasher.update(nonce);
    hasher.update(creator);
    RequestId(hasher.finalize().into())
}

/// Whether `frame` is the canonical encoding of an envelope with a payload and a signature:
/// field 1, then field 2, shortest lengths, nothing else.
pub fn check_canonical(frame: &[u8]) -> Result<(), EnvelopeError> {
    let problem = |problem: Problem| EnvelopeError::NotCanonical(problem.to_string());
    let mut cursor = Cursor::new(frame);
    for (number, missing) in [(1, EnvelopeError::EmptyPayload), (2, EnvelopeError::Unsigned)] {
        if cursor.is_empty() {
            return Err(missing);
        }
        match cursor.tag().map_err(problem)? {
            (field, Cursor::LENGTH_DELIMITED) if field == number => {}
            (2, Cursor::LENGTH_DELIMITED) if number == 1 => return Err(missing),
            (field, _) => {
                return Err(EnvelopeError::NotCanonical(format!("field {field} where {number} belongs")));
            }
        }
        if cursor.delimited().map_err(problem)?.is_empty() {
            return Err(missing);
        }
    }
    match cursor.is_empty() {
        true => Ok(()),
        false => Err(EnvelopeError::NotCanonical("bytes after the signature".to_owned())),
    }
}

fn is_config(channel_header: &ChannelHeader) -> bool {
    channel_header.r#type == HeaderType::Config as i32
}

/// n submissions of one update to n replicas make n config envelopes, each signed by another
/// replica; what they have in common is the update.
fn config_id(data: &Bytes) -> Result<RequestId, EnvelopeError> {
    let LastUpdate { last_update } =
        LastUpdate::decode(data.clone()).map_err(|error| EnvelopeError::ConfigEnvelope(error.to_string()))?;
    let update =
        last_update.ok_or_else(|| EnvelopeError::ConfigEnvelope("last_update not set".to_owned()))?;
    Ok(RequestId(sha256(&update.encode_to_vec()).0))
}
