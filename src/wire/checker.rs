//! The one place where signatures and certificates of replicas are judged.
//!
//! [`Checker::check`] turns what arrived into a `Verified<_>` or says why not. It looks at form
//! and signatures only: whether a message is early, stale or contradicts another is the core's
//! business, except where a signed message proves by itself that its signer broke the rules.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;

use super::block::{commit_signing_bytes, signer_of, vote_of};
use super::error::WireError;
use super::quorum;
use super::seen::Seen;
use crate::header::data_hash;
use crate::pbft::message::{
    Commit, CommitVote, Domain, Message, NewView, Offence, PrePrepare, Prepare, PrepareVote,
    PreparedCertificate, Proposal, SignedViewChange,
};
use crate::types::{
    BlockCertificate, BlockSignature, Candidate, CommittedBlock, ConsenterId, Era, Header, Number, Place,
    Signature, Verified, View,
};

/// The consenters' keys in an era, by place.
pub trait VoteKeys: Send + Sync {
    /// Whether `signature` over `message` is the replica's at `place`, by the strict rule for
    /// votes; false for a place that there is not.
    fn verify(&self, place: Place, message: &[u8], signature: &[u8]) -> bool;
    /// The consenter id of the replica at `place`, which is below [`n`](Self::n).
    fn consenter_id(&self, place: Place) -> ConsenterId;
    /// How many replicas there are.
    fn n(&self) -> usize;
}

impl<K: VoteKeys + ?Sized> VoteKeys for Arc<K> {
    fn verify(&self, place: Place, message: &[u8], signature: &[u8]) -> bool {
        (**self).verify(place, message, signature)
    }

    fn consenter_id(&self, place: Place) -> ConsenterId {
        (**self).consenter_id(place)
    }

    fn n(&self) -> usize {
        (**self).n()
    }
}

/// Checks messages of one channel and era. Shared by worker threads.
pub struct Checker<K> {
    domain: Domain,
    keys: K,
    seen: Seen,
}

/// A message or block that does not count.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{reason}")]
pub struct Rejection {
    /// Why.
    pub reason: Reason,
    /// If the rejected message proves by itself that its signer lied: the proof, for the core
    /// to act on and pass on.
    pub proof: Option<Box<Verified<Message>>>,
}

/// Why a message or block does not count.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// The frame does not decode.
    #[error("{0}")]
    Form(WireError),
    /// From another era.
    #[error("message of era {}, this is era {}", theirs.0, ours.0)]
    Era {
        /// In the message.
        theirs: Era,
        /// The checker's.
        ours: Era,
    },
    /// A place that the channel does not have.
    #[error("{place} is not one of the channel's {n} replicas")]
    Place {
        /// Which.
        place: Place,
        /// How many there are.
        n: usize,
    },
    /// A signature that is not the named signer's.
    #[error("signature of {what} is not that of {signer}")]
    Signature {
        /// Over what.
        what: &'static str,
        /// Who should have signed.
        signer: Place,
    },
    /// An identifier header that is not canonical, or names someone else.
    #[error("identifier header of {signer}: {problem}")]
    IdentifierHeader {
        /// Whose.
        signer: Place,
        /// What is wrong.
        problem: String,
    },
    /// A proposal that no honest primary makes.
    #[error("proposal for {number}: {problem}")]
    Proposal {
        /// The block's number.
        number: Number,
        /// What is wrong.
        problem: &'static str,
    },
    /// A set of signatures or view-changes of the wrong size.
    #[error("{found} {what}, needed are {needed}")]
    Count {
        /// Of what.
        what: &'static str,
        /// How many there are.
        found: usize,
        /// How many it takes: a quorum.
        needed: usize,
    },
    /// A set whose members are not in order of place, or not distinct.
    #[error("{what} are not by distinct replicas in order of place")]
    Order {
        /// Which set.
        what: &'static str,
    },
    /// A view-change or new-view that breaks a rule.
    #[error("view change to {view}: {problem}")]
    ViewChange {
        /// The view asked for.
        view: View,
        /// Which rule.
        problem: &'static str,
    },
    /// An alleged offence that is none.
    #[error("alleged offence proves nothing: {0}")]
    NoOffence(&'static str),
    /// A block that is not what its certificate says.
    #[error("block {number}: {problem}")]
    Block {
        /// Its number.
        number: Number,
        /// What is wrong.
        problem: &'static str,
    },
}

impl From<Reason> for Rejection {
    fn from(reason: Reason) -> Self {
        Self { reason, proof: None }
    }
}

/// Vouches for a candidate whose envelopes `validate` found valid, and says under which config
/// sequence. `candidate` comes from [`candidate::decode`](super::candidate::decode), so its form
/// is right.
///
/// # Errors
/// Those of `validate`.
pub fn check_candidate<E>(
    candidate: Arc<Candidate>,
    validate: impl FnOnce(&[Bytes]) -> Result<u64, E>,
) -> Result<(Verified<Arc<Candidate>>, u64), E> {
    let sequence = validate(&candidate.envelopes)?;
    Ok((Verified::vouch(candidate), sequence))
}

impl<K: VoteKeys> Checker<K> {
    /// A checker for `domain`, whose consenters have these keys.
    ///
    /// # Panics
    /// If there are no keys.
    pub fn new(domain: Domain, keys: K) -> Self {
        assert!(keys.n() > 0, "a channel has at least one replica");
        Self { domain, keys, seen: Seen::default() }
    }

    /// Genesis hash and era.
    pub fn domain(&self) -> &Domain {
        &self.domain
    }

    /// The keys.
    pub fn keys(&self) -> &K {
        &self.keys
    }

    /// Decodes a frame of the vote stream and checks it.
    pub fn check_frame(&self, from: Place, frame: Bytes) -> Result<Verified<Message>, Rejection> {
        self.check(from, self.decode_frame(frame)?)
    }

    /// Decodes a frame of the vote stream; its signatures are not looked at.
    ///
    /// # Errors
    /// It has not the form of a message, or is of another era.
    pub fn decode_frame(&self, frame: Bytes) -> Result<Message, Rejection> {
        let (theirs, message) = super::message::decode(frame).map_err(Reason::Form)?;
        let ours = self.domain.era;
        match theirs == ours {
            true => Ok(message),
            false => Err(Reason::Era { theirs, ours }.into()),
        }
    }

    /// Checks a message that came from the replica at `from`, who need not be its signer.
    pub fn check(&self, from: Place, message: Message) -> Result<Verified<Message>, Rejection> {
        self.in_range(from)?;
        match &message {
            Message::PrePrepare(message) => self.pre_prepare(message)?,
            Message::Prepare(message) => self.prepare(message)?,
            Message::Commit(message) => self.commit(message)?,
            Message::ViewChange(message) => self.view_change(message)?,
            Message::NewView(message) => self.new_view(message)?,
            Message::Status(_) => {}
            Message::Offence(offence) => self.offence(offence)?,
        }
        Ok(Verified::vouch(message))
    }

    /// Vouches for what this replica has just signed by the key that the channel knows as its own, in this
    /// process: the core made it, and the signature cannot be wrong.
    pub fn own(message: Message) -> Verified<Message> {
        Verified::vouch(message)
    }

    /// Checks a fetched block by its own certificate, and its data by the header.
    pub fn check_block(&self, block: CommittedBlock) -> Result<Verified<Arc<CommittedBlock>>, Rejection> {
        let number = block.number();
        let wrong = |problem| Reason::Block { number, problem };
        if block.data.is_empty() {
            return Err(wrong("no data").into());
        }
        if block.ids.len() != block.data.len() {
            return Err(wrong("not one id for each envelope").into());
        }
        if data_hash(&block.data) != block.certificate.header.data_hash {
            return Err(wrong("data hash is not that of the data").into());
        }
        self.block_certificate(&block.certificate)?;
        Ok(Verified::vouch(Arc::new(block)))
    }

    fn in_range(&self, place: Place) -> Result<(), Reason> {
        let n = self.keys.n();
        match place.index() < n {
            true => Ok(()),
            false => Err(Reason::Place { place, n }),
        }
    }

    fn signature(
        &self,
        what: &'static str,
        signer: Place,
        bytes: &[u8],
        signature: &Signature,
    ) -> Result<(), Reason> {
        self.in_range(signer)?;
        let verify = || self.keys.verify(signer, bytes, &signature.0);
        match self.seen.or_verify(signer, bytes, &signature.0, verify) {
            true => Ok(()),
            false => Err(Reason::Signature { what, signer }),
        }
    }

    fn pre_prepare(&self, message: &PrePrepare) -> Result<(), Reason> {
        self.proposal(&message.proposal)?;
        let primary = message.view.primary(self.keys.n());
        let vote = self.vote_for(message.view, &message.proposal);
        let bytes = vote.signing_bytes(&self.domain, primary);
        self.signature("pre-prepare", primary, &bytes, &message.signature)
    }

    fn prepare(&self, message: &Prepare) -> Result<(), Reason> {
        let bytes = message.vote.signing_bytes(&self.domain, message.signer);
        self.signature("prepare", message.signer, &bytes, &message.signature)
    }

    fn commit(&self, message: &Commit) -> Result<(), Reason> {
        self.block_signature("commit", &message.vote, message.signer, &message.signature)
    }

    fn block_signature(
        &self,
        what: &'static str,
        vote: &CommitVote,
        signer: Place,
        signature: &BlockSignature,
    ) -> Result<(), Reason> {
        self.in_range(signer)?;
        header(&vote.header)?;
        let wrong = |problem| Reason::IdentifierHeader { signer, problem };
        let id = signer_of(&signature.identifier_header).map_err(|error| wrong(error.to_string()))?;
        if id != self.keys.consenter_id(signer) {
            return Err(wrong(format!("names consenter {id}")));
        }
        let bytes = commit_signing_bytes(vote, &signature.identifier_header);
        self.signature(what, signer, &bytes, &signature.signature)
    }

    fn proposal(&self, proposal: &Proposal) -> Result<(), Reason> {
        header(&proposal.header)?;
        let number = proposal.number();
        let wrong = |problem| Err(Reason::Proposal { number, problem });
        if proposal.candidates.is_empty() {
            return wrong("names no candidate");
        }
        let names: BTreeSet<_> = proposal.candidates.iter().map(|candidate| candidate.digest).collect();
        if names.len() != proposal.candidates.len() {
            return wrong("names a candidate twice");
        }
        proposal.candidates.iter().try_for_each(|candidate| self.in_range(candidate.origin))
    }

    fn vote_for(&self, view: View, proposal: &Proposal) -> PrepareVote {
        PrepareVote { view, number: proposal.number(), digest: proposal.digest(&self.domain.genesis) }
    }

    /// Exactly q, by distinct replicas of the channel in order of place. More would prove nothing
    /// more, and leave whoever assembles the set a choice that it does not need.
    fn quorum_of(&self, what: &'static str, places: &[Place]) -> Result<(), Reason> {
        let needed = quorum(self.keys.n());
        let found = places.len();
        if found != needed {
            return Err(Reason::Count { what, found, needed });
        }
        if places.windows(2).any(|pair| pair[0] >= pair[1]) {
            return Err(Reason::Order { what });
        }
        places.iter().try_for_each(|place| self.in_range(*place))
    }

    fn prepared_certificate(&self, certificate: &PreparedCertificate) -> Result<(), Reason> {
        const WHAT: &str = "signatures of a prepared certificate";
        let places: Vec<_> = certificate.signatures.iter().map(|(place, _)| *place).collect();
        self.quorum_of(WHAT, &places)?;
        self.proposal(&certificate.proposal)?;
        let vote = self.vote_for(certificate.view, &certificate.proposal);
        certificate.signatures.iter().try_for_each(|(place, signature)| {
            let bytes = vote.signing_bytes(&self.domain, *place);
            self.signature("prepare in a certificate", *place, &bytes, signature)
        })
    }

    fn block_certificate(&self, certificate: &BlockCertificate) -> Result<(), Reason> {
        const WHAT: &str = "signatures of a block certificate";
        let places: Vec<_> = certificate.signatures.iter().map(|(place, _)| *place).collect();
        self.quorum_of(WHAT, &places)?;
        let vote = vote_of(certificate);
        certificate.signatures.iter().try_for_each(|(place, signature)| {
            self.block_signature("commit in a certificate", &vote, *place, signature)
        })
    }

    fn view_change(&self, message: &SignedViewChange) -> Result<(), Reason> {
        let SignedViewChange { body, signer, signature } = message;
        let bytes = body.signing_bytes(&self.domain, *signer);
        self.signature("view-change", *signer, &bytes, signature)?;
        let wrong = |problem| Err(Reason::ViewChange { view: body.view, problem });
        if body.view == View(0) {
            return wrong("nobody asks for the first view");
        }
        let mut below = body.base_number();
        for certificate in &body.prepared {
            if certificate.view >= body.view {
                return wrong("a prepared certificate of a view that is not below");
            }
            if certificate.proposal.number() <= below {
                return wrong("prepared numbers do not rise from the base");
            }
            below = certificate.proposal.number();
        }
        body.base.iter().try_for_each(|certificate| self.block_certificate(certificate))?;
        body.prepared.iter().try_for_each(|certificate| self.prepared_certificate(certificate))
    }

    fn new_view(&self, message: &NewView) -> Result<(), Rejection> {
        self.new_view_signature(message)?;
        self.new_view_body(message).map_err(|reason| {
            // Its primary signed it and what it holds is not a proof: nobody honest does that.
            let offence = Offence::NewView(Box::new(message.clone()));
            let proof = Some(Box::new(Verified::vouch(Message::Offence(offence))));
            Rejection { reason, proof }
        })
    }

    fn new_view_signature(&self, message: &NewView) -> Result<(), Reason> {
        let primary = message.body.view.primary(self.keys.n());
        let bytes = message.body.signing_bytes(&self.domain, primary);
        self.signature("new-view", primary, &bytes, &message.signature)
    }

    fn new_view_body(&self, message: &NewView) -> Result<(), Reason> {
        const WHAT: &str = "view-changes of a new-view";
        let changes = &message.body.view_changes;
        let places: Vec<_> = changes.iter().map(|change| change.signer).collect();
        self.quorum_of(WHAT, &places)?;
        let view = message.body.view;
        if changes.iter().any(|change| change.body.view != view) {
            return Err(Reason::ViewChange {
                view,
                problem: "new-view holds a view-change for another view",
            });
        }
        changes.iter().try_for_each(|change| self.view_change(change))
    }

    fn offence(&self, offence: &Offence) -> Result<(), Reason> {
        match offence {
            Offence::Prepares(first, second) => {
                let (one, two) = (&first.vote, &second.vote);
                if first.signer != second.signer {
                    return Err(Reason::NoOffence("two signers"));
                }
                if (one.view, one.number) != (two.view, two.number) || one.digest == two.digest {
                    return Err(Reason::NoOffence("the prepares do not contradict each other"));
                }
                self.prepare(first)?;
                self.prepare(second)
            }
            Offence::Commits(first, second) => {
                let (one, two) = (&first.vote, &second.vote);
                if first.signer != second.signer {
                    return Err(Reason::NoOffence("two signers"));
                }
                let same_place = (one.view, one.header.number) == (two.view, two.header.number);
                if !same_place || (one.digest == two.digest && one.header == two.header) {
                    return Err(Reason::NoOffence("the commits do not contradict each other"));
                }
                self.commit(first)?;
                self.commit(second)
            }
            Offence::NewView(message) => {
                self.new_view_signature(message)?;
                match self.new_view_body(message) {
                    Ok(()) => Err(Reason::NoOffence("the new-view keeps the rules")),
                    Err(_) => Ok(()),
                }
            }
        }
    }
}

/// Replicas order the blocks above the genesis block, each with a parent.
fn header(header: &Header) -> Result<(), Reason> {
    let wrong = |problem| Err(Reason::Proposal { number: header.number, problem });
    match (header.number, header.previous_hash) {
        (Number(0), _) => wrong("the genesis block is not ordered"),
        (_, None) => wrong("no previous hash"),
        (_, Some(_)) => Ok(()),
    }
}
