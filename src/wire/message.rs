//! Replica messages to and from frames of the vote stream (`sbft.ReplicaMessage`).
//!
//! Also the pieces that log records share with them. Decoding finds out whether the form is
//! right; whether signatures and certificates are is the [`checker`](super::checker)'s business.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message as _;

use super::error::{Problem, WireError};
use super::{schema, shape};
use crate::pbft::message::{
    Commit, CommitVote, Message, NewView, NewViewBody, Offence, PrePrepare, Prepare, PrepareVote,
    PreparedCertificate, Proposal, SignedViewChange, Status, ViewChange,
};
use crate::proto::sbft as proto;
use crate::proto::sbft::{offence::Kind, replica_message::Body};
use crate::types::{
    BlockCertificate, BlockSignature, CandidateRef, Digest, Era, Header, Number, Place, Signature, View,
};

/// The frame that carries `message` from a replica in `era`.
pub fn encode(message: &Message, era: Era) -> Bytes {
    let body = match message {
        Message::PrePrepare(message) => Body::PrePrepare(proto::PrePrepare {
            view: message.view.0,
            proposal: Some(from_proposal(&message.proposal)),
            signature: message.signature.0.clone(),
        }),
        Message::Prepare(message) => Body::Prepare(from_prepare(message)),
        Message::Commit(message) => Body::Commit(from_commit(message)),
        Message::ViewChange(message) => Body::ViewChange(from_view_change(message)),
        Message::NewView(message) => Body::NewView(from_new_view(message)),
        Message::Status(message) => Body::Status(proto::Status {
            view: message.view.0,
            active: message.active,
            committed: message.committed.0,
            accepted: message.accepted.0,
            prepared: message.prepared.0,
            follows: message.follows,
            complains: message.complains,
        }),
        Message::Offence(message) => Body::Offence(from_offence(message)),
    };
    proto::ReplicaMessage { era: era.0, body: Some(body) }.encode_to_vec().into()
}

/// Reads a frame: the sender's era and the message.
pub fn decode(frame: Bytes) -> Result<(Era, Message), WireError> {
    shape::check(&frame, &schema::REPLICA_MESSAGE)?;
    let message = proto::ReplicaMessage::decode(frame).map_err(undecodable)?;
    let message = (Era(message.era), required("body", message.body)?);
    let body = match message.1 {
        Body::PrePrepare(message) => to_pre_prepare(message).map(Message::PrePrepare),
        Body::Prepare(message) => to_prepare(message).map(Message::Prepare),
        Body::Commit(message) => to_commit(message).map(|it| Message::Commit(Arc::new(it))),
        Body::ViewChange(message) => to_view_change(message).map(|it| Message::ViewChange(Arc::new(it))),
        Body::NewView(message) => to_new_view(message).map(|it| Message::NewView(Arc::new(it))),
        Body::Status(message) => Ok(Message::Status(Status {
            view: View(message.view),
            active: message.active,
            follows: message.follows,
            complains: message.complains,
            committed: Number(message.committed),
            accepted: Number(message.accepted),
            prepared: Number(message.prepared),
        })),
        Body::Offence(message) => to_offence(message).map(Message::Offence),
    };
    Ok((message.0, body?))
}

/// Shape-checked bytes that prost refuses all the same.
pub(super) fn undecodable(error: prost::DecodeError) -> WireError {
    WireError::at("message", Problem::Invalid(error.to_string()))
}

pub(super) fn required<T>(field: &str, value: Option<T>) -> Result<T, WireError> {
    value.ok_or_else(|| WireError::at(field, Problem::Missing))
}

pub(super) fn digest(field: &str, bytes: &[u8]) -> Result<Digest, WireError> {
    let error = || WireError::at(field, Problem::Length { length: bytes.len(), min: 32, max: 32 });
    Digest::from_slice(bytes).ok_or_else(error)
}

fn place(field: &str, value: u32) -> Result<Place, WireError> {
    let error = || Problem::Range { value: u64::from(value), max: u64::from(u16::MAX) };
    u16::try_from(value).map(Place).map_err(|_| WireError::at(field, error()))
}

fn signature(field: &str, bytes: Bytes) -> Result<Signature, WireError> {
    match bytes.is_empty() {
        true => Err(WireError::at(field, Problem::Missing)),
        false => Ok(Signature(bytes)),
    }
}

/// Converts a list; an error names the element.
fn each<A, B>(
    field: &str,
    values: Vec<A>,
    convert: impl Fn(A) -> Result<B, WireError>,
) -> Result<Vec<B>, WireError> {
    let element = |(index, value)| {
        convert(value).map_err(|error: WireError| error.inside(format_args!("{field}[{index}]")))
    };
    values.into_iter().enumerate().map(element).collect()
}

pub(super) fn from_header(header: &Header) -> proto::BlockHeader {
    proto::BlockHeader {
        number: header.number.0,
        previous_hash: header.previous_hash.map_or_else(Bytes::new, |hash| copy(&hash)),
        data_hash: copy(&header.data_hash),
    }
}

/// A header of a block above the genesis block.
pub(super) fn to_header(header: &proto::BlockHeader) -> Result<Header, WireError> {
    if header.number == 0 {
        return Err(WireError::at("number", Problem::Missing));
    }
    Ok(Header {
        number: Number(header.number),
        previous_hash: Some(digest("previous_hash", &header.previous_hash)?),
        data_hash: digest("data_hash", &header.data_hash)?,
    })
}

fn header_of(header: Option<proto::BlockHeader>) -> Result<Header, WireError> {
    to_header(&required("header", header)?).map_err(|error| error.inside("header"))
}

fn copy(digest: &Digest) -> Bytes {
    Bytes::copy_from_slice(&digest.0)
}

pub(super) fn from_proposal(proposal: &Proposal) -> proto::Proposal {
    let reference = |candidate: &CandidateRef| proto::CandidateRef {
        origin: u32::from(candidate.origin.0),
        digest: copy(&candidate.digest),
    };
    proto::Proposal {
        header: Some(from_header(&proposal.header)),
        candidates: proposal.candidates.iter().map(reference).collect(),
    }
}

pub(super) fn to_proposal(proposal: Option<proto::Proposal>) -> Result<Arc<Proposal>, WireError> {
    let proposal = required("proposal", proposal)?;
    let inside = |error: WireError| error.inside("proposal");
    let header = header_of(proposal.header).map_err(inside)?;
    if proposal.candidates.is_empty() {
        return Err(inside(WireError::at("candidates", Problem::Missing)));
    }
    let candidates = each("candidates", proposal.candidates, |candidate| {
        Ok(CandidateRef {
            origin: place("origin", candidate.origin)?,
            digest: digest("digest", &candidate.digest)?,
        })
    });
    Ok(Arc::new(Proposal { header, candidates: candidates.map_err(inside)? }))
}

fn to_pre_prepare(message: proto::PrePrepare) -> Result<PrePrepare, WireError> {
    let pre_prepare = || {
        Ok(PrePrepare {
            view: View(message.view),
            proposal: to_proposal(message.proposal)?,
            signature: signature("signature", message.signature)?,
        })
    };
    pre_prepare().map_err(|error: WireError| error.inside("pre_prepare"))
}

fn from_prepare(message: &Prepare) -> proto::Prepare {
    proto::Prepare {
        view: message.vote.view.0,
        number: message.vote.number.0,
        digest: copy(&message.vote.digest),
        signer: u32::from(message.signer.0),
        signature: message.signature.0.clone(),
    }
}

fn to_prepare(message: proto::Prepare) -> Result<Prepare, WireError> {
    let prepare = || {
        Ok(Prepare {
            vote: PrepareVote {
                view: View(message.view),
                number: Number(message.number),
                digest: digest("digest", &message.digest)?,
            },
            signer: place("signer", message.signer)?,
            signature: signature("signature", message.signature)?,
        })
    };
    prepare().map_err(|error: WireError| error.inside("prepare"))
}

fn from_block_signature(signature: &BlockSignature) -> proto::BlockSignature {
    proto::BlockSignature {
        identifier_header: signature.identifier_header.clone(),
        signature: signature.signature.0.clone(),
    }
}

fn to_block_signature(message: Option<proto::BlockSignature>) -> Result<BlockSignature, WireError> {
    let message = required("signature", message)?;
    if message.identifier_header.is_empty() {
        return Err(WireError::at("signature.identifier_header", Problem::Missing));
    }
    Ok(BlockSignature {
        identifier_header: message.identifier_header,
        signature: signature("signature.signature", message.signature)?,
    })
}

fn from_commit(message: &Commit) -> proto::Commit {
    proto::Commit {
        view: message.vote.view.0,
        header: Some(from_header(&message.vote.header)),
        digest: copy(&message.vote.digest),
        last_config: message.vote.last_config.0,
        signer: u32::from(message.signer.0),
        signature: Some(from_block_signature(&message.signature)),
    }
}

fn to_commit(message: proto::Commit) -> Result<Commit, WireError> {
    let commit = || {
        Ok(Commit {
            vote: CommitVote {
                view: View(message.view),
                header: header_of(message.header)?,
                digest: digest("digest", &message.digest)?,
                last_config: Number(message.last_config),
            },
            signer: place("signer", message.signer)?,
            signature: to_block_signature(message.signature)?,
        })
    };
    commit().map_err(|error: WireError| error.inside("commit"))
}

pub(super) fn from_prepared(certificate: &PreparedCertificate) -> proto::PreparedCertificate {
    let placed = |(place, signature): &(Place, Signature)| proto::PlacedSignature {
        place: u32::from(place.0),
        signature: signature.0.clone(),
    };
    proto::PreparedCertificate {
        view: certificate.view.0,
        proposal: Some(from_proposal(&certificate.proposal)),
        signatures: certificate.signatures.iter().map(placed).collect(),
    }
}

pub(super) fn to_prepared(
    message: proto::PreparedCertificate,
) -> Result<Arc<PreparedCertificate>, WireError> {
    let signatures = each("signatures", message.signatures, |placed| {
        Ok((place("place", placed.place)?, signature("signature", placed.signature)?))
    });
    Ok(Arc::new(PreparedCertificate {
        view: View(message.view),
        proposal: to_proposal(message.proposal)?,
        signatures: signatures?,
    }))
}

fn from_certificate(certificate: &BlockCertificate) -> proto::BlockCertificate {
    let placed = |(place, signature): &(Place, BlockSignature)| proto::PlacedBlockSignature {
        place: u32::from(place.0),
        signature: Some(from_block_signature(signature)),
    };
    proto::BlockCertificate {
        view: certificate.view.0,
        header: Some(from_header(&certificate.header)),
        proposal: copy(&certificate.proposal),
        last_config: certificate.last_config.0,
        signatures: certificate.signatures.iter().map(placed).collect(),
    }
}

fn to_certificate(message: proto::BlockCertificate) -> Result<Arc<BlockCertificate>, WireError> {
    let signatures = each("signatures", message.signatures, |placed| {
        Ok((place("place", placed.place)?, to_block_signature(placed.signature)?))
    });
    Ok(Arc::new(BlockCertificate {
        view: View(message.view),
        header: header_of(message.header)?,
        proposal: digest("proposal", &message.proposal)?,
        last_config: Number(message.last_config),
        signatures: signatures?,
    }))
}

fn from_view_change(message: &SignedViewChange) -> proto::ViewChange {
    proto::ViewChange {
        view: message.body.view.0,
        base: message.body.base.as_deref().map(from_certificate),
        prepared: message.body.prepared.iter().map(|certificate| from_prepared(certificate)).collect(),
        signer: u32::from(message.signer.0),
        signature: message.signature.0.clone(),
    }
}

fn to_signed_view_change(message: proto::ViewChange) -> Result<SignedViewChange, WireError> {
    let base = message.base.map(to_certificate).transpose().map_err(|error| error.inside("base"))?;
    let prepared = each("prepared", message.prepared, to_prepared)?;
    Ok(SignedViewChange {
        body: ViewChange { view: View(message.view), base, prepared },
        signer: place("signer", message.signer)?,
        signature: signature("signature", message.signature)?,
    })
}

fn to_view_change(message: proto::ViewChange) -> Result<SignedViewChange, WireError> {
    to_signed_view_change(message).map_err(|error| error.inside("view_change"))
}

pub(super) fn from_new_view(message: &NewView) -> proto::NewView {
    from_new_view_body(&message.body, message.signature.0.clone())
}

pub(super) fn from_new_view_body(body: &NewViewBody, signature: Bytes) -> proto::NewView {
    let view_changes = body.view_changes.iter().map(|change| from_view_change(change)).collect();
    proto::NewView { view: body.view.0, view_changes, signature }
}

pub(super) fn to_new_view(message: proto::NewView) -> Result<NewView, WireError> {
    let new_view = || {
        let signature = signature("signature", message.signature)?;
        let body = to_new_view_body(message.view, message.view_changes)?;
        Ok(NewView { body, signature })
    };
    new_view().map_err(|error: WireError| error.inside("new_view"))
}

pub(super) fn to_new_view_body(
    view: u64,
    view_changes: Vec<proto::ViewChange>,
) -> Result<NewViewBody, WireError> {
    let arc = |change| to_signed_view_change(change).map(Arc::new);
    Ok(NewViewBody { view: View(view), view_changes: each("view_changes", view_changes, arc)? })
}

fn from_offence(message: &Offence) -> proto::Offence {
    let kind = match message {
        Offence::Prepares(first, second) => Kind::Prepares(proto::Prepares {
            first: Some(from_prepare(first)),
            second: Some(from_prepare(second)),
        }),
        Offence::Commits(first, second) => Kind::Commits(proto::Commits {
            first: Some(from_commit(first)),
            second: Some(from_commit(second)),
        }),
        Offence::NewView(message) => Kind::NewView(from_new_view(message)),
    };
    proto::Offence { kind: Some(kind) }
}

fn to_offence(message: proto::Offence) -> Result<Offence, WireError> {
    let offence = || match required("kind", message.kind)? {
        Kind::Prepares(proto::Prepares { first, second }) => Ok(Offence::Prepares(
            Box::new(to_prepare(required("first", first)?)?),
            Box::new(to_prepare(required("second", second)?)?),
        )),
        Kind::Commits(proto::Commits { first, second }) => Ok(Offence::Commits(
            Box::new(to_commit(required("first", first)?)?),
            Box::new(to_commit(required("second", second)?)?),
        )),
        Kind::NewView(message) => Ok(Offence::NewView(Box::new(to_new_view(message)?))),
    };
    offence().map_err(|error: WireError| error.inside("offence"))
}
