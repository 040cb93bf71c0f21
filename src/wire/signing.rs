//! From an [`Unsigned`] message to the bytes to sign, and with the signature to the [`Message`].
//!
//! The node signs through its `LocalSigner`, the simulator with its own keys; what is signed is
//! the same.

use std::sync::Arc;

use bytes::Bytes;

use super::NONCE_BYTES;
use super::block::{commit_signing_bytes, identifier_header};
use crate::pbft::message::{
    Commit, Domain, Message, NewView, PrePrepare, Prepare, PrepareVote, SignedViewChange, Unsigned,
};
use crate::types::{BlockSignature, ConsenterId, Place, Signature};

/// Who signs, in which channel and era.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signing {
    /// Genesis hash and era.
    pub domain: Domain,
    /// The signer's place.
    pub place: Place,
    /// The signer's consenter id, which block signatures carry.
    pub consenter: ConsenterId,
}

/// A message that waits for its signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToSign {
    bytes: Vec<u8>,
    unsigned: Unsigned,
    identifier_header: Bytes,
    place: Place,
}

impl Signing {
    /// What to sign for `unsigned`. The nonce makes this signer's block signatures differ from
    /// each other; only commits use it, and it must be random.
    pub fn to_sign(&self, unsigned: Unsigned, nonce: &[u8; NONCE_BYTES]) -> ToSign {
        let Self { domain, place, consenter } = self;
        let identifier_header = match &unsigned {
            Unsigned::Commit(_) => identifier_header(*consenter, nonce),
            _ => Bytes::new(),
        };
        let bytes = match &unsigned {
            Unsigned::PrePrepare { view, proposal } => {
                let digest = proposal.digest(&domain.genesis);
                PrepareVote { view: *view, number: proposal.number(), digest }.signing_bytes(domain, *place)
            }
            Unsigned::Prepare(vote) => vote.signing_bytes(domain, *place),
            Unsigned::Commit(vote) => commit_signing_bytes(vote, &identifier_header),
            Unsigned::ViewChange(body) => body.signing_bytes(domain, *place),
            Unsigned::NewView(body) => body.signing_bytes(domain, *place),
        };
        ToSign { bytes, unsigned, identifier_header, place: *place }
    }
}

impl ToSign {
    /// The bytes to sign.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The message, with `signature` over [`bytes`](Self::bytes). Unverified like anyone's: it
    /// goes through the checker before it counts, so that a key that does not fit the channel is
    /// noticed here and not in a block.
    pub fn signed(self, signature: Bytes) -> Message {
        let Self { unsigned, identifier_header, place: signer, .. } = self;
        let signature = Signature(signature);
        match unsigned {
            Unsigned::PrePrepare { view, proposal } => {
                Message::PrePrepare(PrePrepare { view, proposal, signature })
            }
            Unsigned::Prepare(vote) => Message::Prepare(Prepare { vote, signer, signature }),
            Unsigned::Commit(vote) => {
                let signature = BlockSignature { identifier_header, signature };
                Message::Commit(Arc::new(Commit { vote, signer, signature }))
            }
            Unsigned::ViewChange(body) => {
                Message::ViewChange(Arc::new(SignedViewChange { body, signer, signature }))
            }
            Unsigned::NewView(body) => Message::NewView(Arc::new(NewView { body, signature })),
        }
    }
}
