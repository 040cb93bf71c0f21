//! What replicas say to each other about ordering, and the exact bytes that they sign.
//!
//! Signatures cover a canonical encoding of the *fields*, made here, and never protobuf bytes:
//! however a message travelled, there is one string of bytes that its signature can mean.
//! Each starts with [`SIGNED_PREFIX`], which no protobuf message can start with, then a tag of
//! its kind, the genesis hash, the era and the signer, so that no signature means anything in
//! another channel, era or role. The block signature in a [`Commit`] is the exception: its bytes
//! are Fabric's (fabric-spec C.3), and what binds it is the metadata value (view, number,
//! proposal digest) and the header (the hash chain down to the genesis block).

use std::sync::Arc;

use crate::header::{header_bytes, sha256};
use crate::types::{
    BlockCertificate, BlockSignature, CandidateRef, Digest, Era, Header, Number, Place, Signature, View,
};

/// First byte of everything signed here: a protobuf tag with field number 0, which is illegal.
pub const SIGNED_PREFIX: u8 = 0x07;

/// Most candidates that one proposal may name, however many envelopes fit a block.
pub const MAX_CANDIDATES: usize = 4096;

/// What binds a signature to one channel and one set of consenters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Domain {
    /// Header hash of the channel's genesis block.
    pub genesis: Digest,
    /// The era whose consenters the signer is one of.
    pub era: Era,
}

/// The body of a proposal: the block's header and the candidates it is made of, whole and in order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Proposal {
    /// The block's header.
    pub header: Header,
    /// At least one, none twice.
    pub candidates: Vec<CandidateRef>,
}

impl Proposal {
    /// The proposal digest: over genesis hash, header and the exact list of candidates, without
    /// the view, so that a proposal made again in a later view keeps its digest.
    pub fn digest(&self, genesis: &Digest) -> Digest {
        let header = header_bytes(&self.header);
        let mut bytes = Vec::with_capacity(2 + 32 + 8 + header.len() + 8 + self.candidates.len() * (2 + 32));
        bytes.extend([SIGNED_PREFIX, b'D']);
        bytes.extend(genesis.0);
        put_bytes(&mut bytes, &header);
        put_len(&mut bytes, self.candidates.len());
        for candidate in &self.candidates {
            bytes.extend(candidate.origin.0.to_be_bytes());
            bytes.extend(candidate.digest.0);
        }
        sha256(&bytes)
    }

    /// The block's number.
    pub fn number(&self) -> Number {
        self.header.number
    }
}

/// A primary's proposal: the body, and the primary's ordinary prepare signature over it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrePrepare {
    /// The view; its primary is the signer.
    pub view: View,
    /// The body.
    pub proposal: Arc<Proposal>,
    /// [`PrepareVote::signing_bytes`] signed by the view's primary.
    pub signature: Signature,
}

/// What a prepare says, before it is signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PrepareVote {
    /// The view.
    pub view: View,
    /// The block's number.
    pub number: Number,
    /// The proposal digest.
    pub digest: Digest,
}

impl PrepareVote {
    /// The bytes that `signer` signs.
    pub fn signing_bytes(&self, domain: &Domain, signer: Place) -> Vec<u8> {
        let mut bytes = signed_start(b'P', domain, signer);
        bytes.extend(self.view.0.to_be_bytes());
        bytes.extend(self.number.0.to_be_bytes());
        bytes.extend(self.digest.0);
        bytes
    }
}

/// A signed prepare.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prepare {
    /// What is signed.
    pub vote: PrepareVote,
    /// By whom.
    pub signer: Place,
    /// Over [`PrepareVote::signing_bytes`].
    pub signature: Signature,
}

/// What a commit says, before it is signed. The header and the last config number are not taken
/// on trust: they are what the block signature is checked against, and a replica counts a commit
/// only if they equal what it computed itself.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CommitVote {
    /// The view, which the signed metadata value carries.
    pub view: View,
    /// The block's header.
    pub header: Header,
    /// The proposal digest, which the signed metadata value carries.
    pub digest: Digest,
    /// Number of the last config block at this block, which the signed metadata value carries.
    pub last_config: Number,
}

/// A signed commit: the block signature is the vote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// What is signed.
    pub vote: CommitVote,
    /// By whom; the consenter id inside the identifier header says the same.
    pub signer: Place,
    /// The block signature.
    pub signature: BlockSignature,
}

/// A proposal and q matching prepare votes of one view (the primary's among them or not).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PreparedCertificate {
    /// The view of the votes.
    pub view: View,
    /// What they are for.
    pub proposal: Arc<Proposal>,
    /// By distinct replicas, in order of place.
    pub signatures: Vec<(Place, Signature)>,
}

/// A vote to leave all views below `view`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViewChange {
    /// The view asked for.
    pub view: View,
    /// Certificate of the last block that this replica committed; none at genesis.
    pub base: Option<Arc<BlockCertificate>>,
    /// For each number above the base and within `Config::reach` at most one: that of the highest
    /// view the replica holds, of a view below `view`, only where it holds the payload. In order
    /// of number; gaps are no offence.
    pub prepared: Vec<Arc<PreparedCertificate>>,
}

impl ViewChange {
    /// Number of the last committed block.
    pub fn base_number(&self) -> Number {
        self.base.as_ref().map_or(Number(0), |certificate| certificate.header.number)
    }

    /// The bytes that `signer` signs.
    pub fn signing_bytes(&self, domain: &Domain, signer: Place) -> Vec<u8> {
        let mut bytes = signed_start(b'V', domain, signer);
        bytes.extend(self.view.0.to_be_bytes());
        match &self.base {
            None => bytes.push(0),
            Some(certificate) => {
                bytes.push(1);
                put_block_certificate(&mut bytes, certificate);
            }
        }
        put_len(&mut bytes, self.prepared.len());
        for certificate in &self.prepared {
            bytes.extend(certificate.view.0.to_be_bytes());
            bytes.extend(certificate.proposal.digest(&domain.genesis).0);
            put_len(&mut bytes, certificate.signatures.len());
            for (place, signature) in &certificate.signatures {
                bytes.extend(place.0.to_be_bytes());
                put_bytes(&mut bytes, &signature.0);
            }
        }
        bytes
    }
}

/// A signed view-change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedViewChange {
    /// What is signed.
    pub body: ViewChange,
    /// By whom.
    pub signer: Place,
    /// Over [`ViewChange::signing_bytes`].
    pub signature: Signature,
}

/// The proof that starts a view: exactly q view-changes for exactly that view by distinct
/// senders. What is proposed again follows from them and is not stated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewViewBody {
    /// The view it starts.
    pub view: View,
    /// In order of place.
    pub view_changes: Vec<Arc<SignedViewChange>>,
}

impl NewViewBody {
    /// The bytes that the view's primary signs.
    pub fn signing_bytes(&self, domain: &Domain, signer: Place) -> Vec<u8> {
        let mut bytes = signed_start(b'N', domain, signer);
        bytes.extend(self.view.0.to_be_bytes());
        put_len(&mut bytes, self.view_changes.len());
        for change in &self.view_changes {
            bytes.extend(change.signer.0.to_be_bytes());
            bytes.extend(sha256(&change.body.signing_bytes(domain, change.signer)).0);
            put_bytes(&mut bytes, &change.signature.0);
        }
        bytes
    }
}

/// A signed new-view.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewView {
    /// What is signed.
    pub body: NewViewBody,
    /// Over [`NewViewBody::signing_bytes`], by the view's primary.
    pub signature: Signature,
}

/// How far a replica is; sent on connect and a few times a second, and what drives all repair.
/// Not signed: it promises nothing and the link says who sent it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The view it is in, or has asked for.
    pub view: View,
    /// It votes in that view (false while it waits for the new-view, and for a follower).
    pub active: bool,
    /// It only follows: it counts for no quorum.
    pub follows: bool,
    /// It suspects the primary of `view`. Promises nothing: it goes on voting, and may think better
    /// of it.
    pub complains: bool,
    /// Number of its last committed block.
    pub committed: Number,
    /// Highest number with an accepted proposal in this view; 0 for none.
    pub accepted: Number,
    /// Highest number prepared in this view; 0 for none.
    pub prepared: Number,
}

/// Signed proof that a replica lied: two statements that no honest replica makes both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Offence {
    /// Two prepares (or a proposal and a prepare) at one view and number with different digests.
    Prepares(Box<Prepare>, Box<Prepare>),
    /// Two commits at one view and number with different proposal digests or headers.
    Commits(Box<Commit>, Box<Commit>),
    /// A signed new-view that does not follow the rules.
    NewView(Box<NewView>),
}

impl Offence {
    /// The view in which it was committed.
    pub fn view(&self) -> View {
        match self {
            Self::Prepares(first, _) => first.vote.view,
            Self::Commits(first, _) => first.vote.view,
            Self::NewView(new_view) => new_view.body.view,
        }
    }
}

/// Everything that arrives for the ordering plane.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Message {
    /// A proposal.
    PrePrepare(PrePrepare),
    /// A prepare vote.
    Prepare(Prepare),
    /// A commit vote.
    Commit(Arc<Commit>),
    /// A vote for another view.
    ViewChange(Arc<SignedViewChange>),
    /// The start of a view.
    NewView(Arc<NewView>),
    /// How far the sender is.
    Status(Status),
    /// Proof of an offence, passed on.
    Offence(Offence),
}

impl Message {
    /// The same as [`Unsigned::is_prepare`], once it is signed.
    pub fn is_prepare(&self) -> bool {
        matches!(self, Self::PrePrepare(_) | Self::Prepare(_))
    }
}

/// A message that the driver signs before it sends it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unsigned {
    /// Becomes a [`PrePrepare`]: sign the prepare vote for the proposal.
    PrePrepare {
        /// The view.
        view: View,
        /// The body.
        proposal: Arc<Proposal>,
    },
    /// Becomes a [`Prepare`].
    Prepare(PrepareVote),
    /// Becomes a [`Commit`].
    Commit(CommitVote),
    /// Becomes a [`SignedViewChange`].
    ViewChange(ViewChange),
    /// Becomes a [`NewView`].
    NewView(NewViewBody),
}

impl Unsigned {
    /// A prepare, the primary's among them: it waits for fewer records than all other promises
    /// ([`Record::binds_prepares`](super::Record::binds_prepares)).
    pub fn is_prepare(&self) -> bool {
        matches!(self, Self::PrePrepare { .. } | Self::Prepare(_))
    }
}

fn signed_start(tag: u8, domain: &Domain, signer: Place) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(128);
    bytes.extend([SIGNED_PREFIX, tag]);
    bytes.extend(domain.genesis.0);
    bytes.extend(domain.era.0.to_be_bytes());
    bytes.extend(signer.0.to_be_bytes());
    bytes
}

fn put_len(bytes: &mut Vec<u8>, len: usize) {
    bytes.extend((len as u64).to_be_bytes());
}

fn put_bytes(bytes: &mut Vec<u8>, value: &[u8]) {
    put_len(bytes, value.len());
    bytes.extend(value);
}

fn put_header(bytes: &mut Vec<u8>, header: &Header) {
    put_bytes(bytes, &header_bytes(header));
}

fn put_block_certificate(bytes: &mut Vec<u8>, certificate: &BlockCertificate) {
    bytes.extend(certificate.view.0.to_be_bytes());
    put_header(bytes, &certificate.header);
    bytes.extend(certificate.proposal.0);
    bytes.extend(certificate.last_config.0.to_be_bytes());
    put_len(bytes, certificate.signatures.len());
    for (place, signature) in &certificate.signatures {
        bytes.extend(place.0.to_be_bytes());
        put_bytes(bytes, &signature.identifier_header);
        put_bytes(bytes, &signature.signature.0);
    }
}
