//! Simulated signatures and the checker that judges them.
//!
//! A signature is a keyed hash under a secret that only the harness holds, so nobody forges one,
//! and it costs a hundred nanoseconds instead of sixty microseconds. The checker verifies every
//! signature inside a message, however deep, and shares no code with the core's own counting:
//! its quorum, its rules for certificates and its block bytes are written here again.

use std::collections::BTreeSet;

use bytes::Bytes;
use sbft::header::{data_hash, header_bytes};
use sbft::pbft::message::{
    Commit, CommitVote, Domain, Message, NewView, NewViewBody, Offence, PrePrepare, Prepare, PrepareVote,
    PreparedCertificate, SignedViewChange, Unsigned, ViewChange,
};
use sbft::plant::{Plant, Plants};
use sbft::types::{
    BlockCertificate, BlockSignature, Candidate, CommittedBlock, ConsenterId, Digest, Place, RequestId,
    Signature, Verified, View,
};
use sbft::wire::NONCE_BYTES;
use sbft::wire::block::{commit_signing_bytes, identifier_header};
use std::sync::Arc;

use crate::digests::digest_of;
use crate::draw::{Draws, Purpose, mix};
use crate::network::Letter;
use crate::real::RealKeys;
use crate::workload::Workload;

/// Everyone's secrets. Signs for anybody: who may ask is the harness's business.
#[derive(Clone, Debug)]
pub struct Keys {
    domain: Domain,
    secrets: Vec<u64>,
    n: usize,
    /// Rules of the edge taken away.
    plants: Plants,
    /// What signs and verifies instead of the secrets, in runs with real keys.
    real: Option<Arc<RealKeys>>,
}

/// Why a message was not vouched for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// A signature or the form is bad; anyone could have made this.
    Noise(&'static str),
    /// The signer's own signature is good while what it covers breaks the rules.
    Proof(&'static str),
}

impl Keys {
    /// The keys of `n` replicas.
    pub fn new(draws: Draws, domain: Domain, n: usize) -> Self {
        let secrets = (0..n as u64).map(|place| draws.bits(Purpose::Secret, &[place])).collect();
        Self { domain, secrets, n, plants: Plants::NONE, real: None }
    }

    /// The same keys, judging without these rules: what stands at the replicas' edge. The checks
    /// keep the strict ones.
    #[must_use]
    pub fn lenient(self, plants: Plants) -> Self {
        Self { plants, ..self }
    }

    /// The same, but with these real keys if there are any.
    #[must_use]
    pub(crate) fn with(self, real: Option<Arc<RealKeys>>) -> Self {
        Self { real, ..self }
    }

    /// The real keys, if this run has them.
    pub(crate) fn real(&self) -> Option<&Arc<RealKeys>> {
        self.real.as_ref()
    }

    /// The channel.
    pub fn domain(&self) -> &Domain {
        &self.domain
    }

    /// How many replicas.
    pub fn n(&self) -> usize {
        self.n
    }

    /// How many of n may lie.
    pub fn f(&self) -> usize {
        (self.n - 1) / 3
    }

    /// Two quorums of this size share an honest replica: ceil((n + f + 1) / 2).
    pub fn quorum(&self) -> usize {
        (self.n + self.f() + 2) / 2
    }

    /// Signs `message` as `place`.
    pub fn sign(&self, place: Place, message: &[u8]) -> Signature {
        if let Some(real) = &self.real {
            return real.sign(place, message);
        }
        let secret = self.secrets[place.index()];
        Signature(Bytes::copy_from_slice(&keyed_hash(secret, message)))
    }

    fn good(&self, place: Place, message: &[u8], signature: &Signature) -> bool {
        if let Some(real) = &self.real {
            return real.good(place, message, signature);
        }
        self.secrets
            .get(place.index())
            .is_some_and(|secret| keyed_hash(*secret, message)[..] == signature.0[..])
    }

    /// Signs a message of the core as `place`; `nonce` makes the block signature's header unique.
    pub fn seal(&self, place: Place, unsigned: Unsigned, nonce: u64) -> Message {
        match unsigned {
            Unsigned::PrePrepare { view, proposal } => {
                let digest = digest_of(&proposal, &self.domain.genesis);
                let vote = PrepareVote { view, number: proposal.number(), digest };
                let signature = self.sign(place, &vote.signing_bytes(&self.domain, place));
                Message::PrePrepare(PrePrepare { view, proposal, signature })
            }
            Unsigned::Prepare(vote) => Message::Prepare(self.prepare(place, vote)),
            Unsigned::Commit(vote) => Message::Commit(Arc::new(self.commit(place, vote, nonce))),
            Unsigned::ViewChange(body) => Message::ViewChange(Arc::new(self.view_change(place, body))),
            Unsigned::NewView(body) => Message::NewView(Arc::new(self.new_view(place, body))),
        }
    }

    /// A signed prepare.
    pub fn prepare(&self, signer: Place, vote: PrepareVote) -> Prepare {
        let signature = self.sign(signer, &vote.signing_bytes(&self.domain, signer));
        Prepare { vote, signer, signature }
    }

    /// A signed commit.
    pub fn commit(&self, signer: Place, vote: CommitVote, nonce: u64) -> Commit {
        let mut bytes = [0; NONCE_BYTES];
        bytes[..8].copy_from_slice(&nonce.to_be_bytes());
        let identifier_header = identifier_header(ConsenterId(u32::from(signer.0) + 1), &bytes);
        let bytes =
            self.block_bytes(vote.view, &vote.header, &vote.digest, vote.last_config.0, &identifier_header);
        let signature = BlockSignature { identifier_header, signature: self.sign(signer, &bytes) };
        Commit { vote, signer, signature }
    }

    /// A signed view-change.
    pub fn view_change(&self, signer: Place, body: ViewChange) -> SignedViewChange {
        let signature = self.sign(signer, &body.signing_bytes(&self.domain, signer));
        SignedViewChange { body, signer, signature }
    }

    /// A signed new-view.
    pub fn new_view(&self, signer: Place, body: NewViewBody) -> NewView {
        let signature = self.sign(signer, &body.signing_bytes(&self.domain, signer));
        NewView { body, signature }
    }

    /// Vouches for a message whose every signature and form is good.
    pub fn check(&self, message: Message) -> Result<Verified<Message>, Flaw> {
        self.judge(&message)?;
        Ok(Verified::vouch(message))
    }

    /// The same of a message that `who` sends. The votes that it has signed itself were signed with
    /// the key that they would be judged by, so they are good without looking.
    pub(crate) fn judge_sent(&self, who: Place, sealed: bool, message: &Message) -> Result<(), Flaw> {
        match message {
            Message::Prepare(prepare) if sealed && prepare.signer == who => Ok(()),
            Message::Commit(commit) if sealed && commit.signer == who => Ok(()),
            message => self.judge(message),
        }
    }

    /// Every signature and the form of a message.
    pub fn judge(&self, message: &Message) -> Result<(), Flaw> {
        match message {
            Message::PrePrepare(pre_prepare) => self.judge_pre_prepare(pre_prepare),
            Message::Prepare(prepare) => self.judge_prepare(prepare),
            Message::Commit(commit) => self.judge_commit(commit),
            Message::ViewChange(change) => self.judge_view_change(change),
            Message::NewView(new_view) => self.judge_new_view(new_view),
            Message::Status(_) => Ok(()),
            Message::Offence(offence) => self.judge_offence(offence),
        }
    }

    /// Whether this really is proof that somebody lied.
    pub fn judge_offence(&self, offence: &Offence) -> Result<(), Flaw> {
        match offence {
            Offence::Prepares(one, other) => {
                let (a, b) = (&one.vote, &other.vote);
                let same_slot = one.signer == other.signer && (a.view, a.number) == (b.view, b.number);
                let same_slot = same_slot || self.plants.has(Plant::OffenceUnproven);
                if !same_slot || a.digest == b.digest {
                    return Err(Flaw::Noise("offence: two prepares that do not contradict each other"));
                }
                self.judge_prepare(one)?;
                self.judge_prepare(other)
            }
            Offence::Commits(one, other) => {
                let (a, b) = (&one.vote, &other.vote);
                let same_slot =
                    one.signer == other.signer && (a.view, a.header.number) == (b.view, b.header.number);
                if !same_slot || (a.digest, &a.header) == (b.digest, &b.header) {
                    return Err(Flaw::Noise("offence: two commits that do not contradict each other"));
                }
                self.judge_commit(one)?;
                self.judge_commit(other)
            }
            Offence::NewView(new_view) => match self.judge_new_view(new_view) {
                Err(Flaw::Proof(_)) => Ok(()),
                Err(noise) => Err(noise),
                Ok(()) => Err(Flaw::Noise("offence: a new-view with nothing wrong in it")),
            },
        }
    }

    fn judge_pre_prepare(&self, pre_prepare: &PrePrepare) -> Result<(), Flaw> {
        let digest = digest_of(&pre_prepare.proposal, &self.domain.genesis);
        let vote = PrepareVote { view: pre_prepare.view, number: pre_prepare.proposal.number(), digest };
        let primary = self.primary(pre_prepare.view);
        let by =
            |signer| self.good(signer, &vote.signing_bytes(&self.domain, signer), &pre_prepare.signature);
        let anyone = || (0..self.n as u16).map(Place).any(by);
        if !(by(primary) || self.plants.has(Plant::ProposalByAnyone) && anyone()) {
            return Err(Flaw::Noise("pre-prepare: not signed by the view's primary"));
        }
        Ok(())
    }

    fn judge_prepare(&self, prepare: &Prepare) -> Result<(), Flaw> {
        let bytes = prepare.vote.signing_bytes(&self.domain, prepare.signer);
        if !self.good(prepare.signer, &bytes, &prepare.signature) {
            return Err(Flaw::Noise("prepare: bad signature"));
        }
        Ok(())
    }

    fn judge_commit(&self, commit: &Commit) -> Result<(), Flaw> {
        let vote = &commit.vote;
        self.judge_block_signature(
            commit.signer,
            &commit.signature,
            vote.view,
            &vote.header,
            &vote.digest,
            vote.last_config.0,
        )
    }

    /// One member's signature over a block, in this view.
    pub fn judge_block_signature(
        &self,
        signer: Place,
        signature: &BlockSignature,
        view: View,
        header: &sbft::types::Header,
        proposal: &Digest,
        last_config: u64,
    ) -> Result<(), Flaw> {
        if identifier_in(&signature.identifier_header) != Some(u32::from(signer.0) + 1) {
            return Err(Flaw::Noise("commit: the identifier header names another consenter"));
        }
        let bytes = self.block_bytes(view, header, proposal, last_config, &signature.identifier_header);
        if !self.good(signer, &bytes, &signature.signature) {
            return Err(Flaw::Noise("commit: bad block signature"));
        }
        Ok(())
    }

    /// q good signatures of one view by distinct members.
    pub fn judge_block_certificate(&self, certificate: &BlockCertificate) -> Result<(), Flaw> {
        let mut signers = BTreeSet::new();
        for (signer, signature) in &certificate.signatures {
            if !signers.insert(*signer) {
                return Err(Flaw::Noise("block certificate: one member signed twice"));
            }
            self.judge_block_signature(
                *signer,
                signature,
                certificate.view,
                &certificate.header,
                &certificate.proposal,
                certificate.last_config.0,
            )
            .map_err(|_| Flaw::Noise("block certificate: bad signature"))?;
        }
        let one_less = usize::from(self.plants.has(Plant::BlockCertificateTooSmall));
        if signers.len() < self.quorum() - one_less {
            return Err(Flaw::Noise("block certificate: fewer than q signatures"));
        }
        Ok(())
    }

    /// q good prepare signatures of one view by distinct members.
    pub fn judge_prepared(&self, certificate: &PreparedCertificate) -> Result<(), Flaw> {
        if self.plants.has(Plant::ForgedCertificateAccepted) {
            return Ok(());
        }
        let digest = digest_of(&certificate.proposal, &self.domain.genesis);
        let vote = PrepareVote { view: certificate.view, number: certificate.proposal.number(), digest };
        let older = || {
            let views = (0..certificate.view.0).rev().take(8).map(View);
            views.map(|view| PrepareVote { view, ..vote })
        };
        let mut signers = BTreeSet::new();
        for (signer, signature) in &certificate.signatures {
            if !signers.insert(*signer) {
                return Err(Flaw::Noise("prepared certificate: one member signed twice"));
            }
            let good =
                |vote: PrepareVote| self.good(*signer, &vote.signing_bytes(&self.domain, *signer), signature);
            if !(good(vote) || self.plants.has(Plant::CertificateOfAnyView) && older().any(good)) {
                return Err(Flaw::Noise("prepared certificate: bad signature"));
            }
        }
        if signers.len() != self.quorum() {
            return Err(Flaw::Noise("prepared certificate: not exactly q signatures"));
        }
        Ok(())
    }

    fn judge_view_change(&self, change: &SignedViewChange) -> Result<(), Flaw> {
        let body = &change.body;
        if !self.good(change.signer, &body.signing_bytes(&self.domain, change.signer), &change.signature) {
            return Err(Flaw::Noise("view-change: bad signature"));
        }
        if let Some(base) = &body.base {
            self.judge_block_certificate(base)?;
            if base.header.number.0 == 0 {
                return Err(Flaw::Noise("view-change: a certificate for the genesis block"));
            }
        }
        let mut last = body.base_number();
        for certificate in &body.prepared {
            if certificate.proposal.number() <= last {
                return Err(Flaw::Noise("view-change: certificates out of order or at or below the base"));
            }
            if certificate.view >= body.view {
                return Err(Flaw::Noise("view-change: a certificate of a view not below the one asked for"));
            }
            last = certificate.proposal.number();
            self.judge_prepared(certificate)?;
        }
        Ok(())
    }

    /// A new-view's own signature, and that it is a quorum of good view-changes for its view.
    pub fn judge_new_view(&self, new_view: &NewView) -> Result<(), Flaw> {
        self.judge_new_view_signature(new_view)?;
        if self.plants.has(Plant::NewViewNotChecked) {
            return Ok(());
        }
        let mut senders = BTreeSet::new();
        for change in &new_view.body.view_changes {
            if change.body.view != new_view.body.view {
                return Err(Flaw::Proof("new-view: a view-change for another view"));
            }
            if !senders.insert(change.signer) && !self.plants.has(Plant::NewViewDuplicateSenders) {
                return Err(Flaw::Proof("new-view: two view-changes of one sender"));
            }
            if self.judge_view_change(change).is_err() {
                return Err(Flaw::Proof("new-view: a bad view-change"));
            }
        }
        let count = match self.plants.has(Plant::NewViewDuplicateSenders) {
            true => new_view.body.view_changes.len(),
            false => senders.len(),
        };
        let weak = self.plants.has(Plant::NewViewQuorumWeak);
        if count != if weak { self.f() + 1 } else { self.quorum() } {
            return Err(Flaw::Proof("new-view: not exactly q view-changes"));
        }
        Ok(())
    }

    fn judge_new_view_signature(&self, new_view: &NewView) -> Result<(), Flaw> {
        let primary = self.primary(new_view.body.view);
        let bytes = new_view.body.signing_bytes(&self.domain, primary);
        if !self.good(primary, &bytes, &new_view.signature) {
            return Err(Flaw::Noise("new-view: not signed by the view's primary"));
        }
        Ok(())
    }

    /// A fetched or committed block: its own certificate, and that its data is what the header
    /// says and its ids are those of its envelopes.
    pub fn judge_block(&self, block: &CommittedBlock) -> Result<(), Flaw> {
        if self.plants.has(Plant::FetchedBlockUnchecked) {
            return Ok(());
        }
        self.judge_block_certificate(&block.certificate)?;
        if data_hash(&block.data) != block.certificate.header.data_hash {
            return Err(Flaw::Noise("block: the data is not what the header says"));
        }
        let ids: Option<Vec<RequestId>> = block.data.iter().map(crate::workload::request_id).collect();
        if ids.as_deref() != Some(&block.ids[..]) {
            return Err(Flaw::Noise("block: ids do not belong to the data"));
        }
        Ok(())
    }

    /// What a block signature covers: as Fabric has it where the keys are real.
    fn block_bytes(
        &self,
        view: View,
        header: &sbft::types::Header,
        proposal: &Digest,
        last_config: u64,
        identifier_header: &Bytes,
    ) -> Vec<u8> {
        if self.real.is_none() {
            return block_bytes(view, header, proposal, last_config, identifier_header);
        }
        let last_config = sbft::types::Number(last_config);
        let vote = CommitVote { view, header: header.clone(), digest: *proposal, last_config };
        commit_signing_bytes(&vote, identifier_header)
    }

    fn primary(&self, view: View) -> Place {
        Place((view.0 % self.n as u64) as u16)
    }
}

/// What the checker at the edge makes of a letter: the message, or, of a new-view whose own
/// signature is good while its content is not, the proof of that offence; nothing otherwise.
pub fn verified(letter: &Letter) -> Option<Verified<Message>> {
    match (&letter.good, &letter.message) {
        (Ok(()), message) => Some(Verified::vouch(message.clone())),
        (Err(Flaw::Proof(_)), Message::NewView(new_view)) => {
            Some(Verified::vouch(Message::Offence(Offence::NewView(Box::new(new_view.as_ref().clone())))))
        }
        (Err(_), _) => None,
    }
}

/// One's own message, which one signed oneself.
pub fn own(message: Message) -> Verified<Message> {
    Verified::vouch(message)
}

/// A candidate that passes the filters, and all of whose envelopes some client submitted.
pub fn verified_candidate(
    workload: &Workload,
    candidate: &Arc<Candidate>,
) -> Option<Verified<Arc<Candidate>>> {
    workload.judge(candidate, usize::from(u16::MAX))
}

/// A candidate that nobody looked at.
pub fn unchecked_candidate(candidate: &Arc<Candidate>) -> Verified<Arc<Candidate>> {
    Verified::vouch(candidate.clone())
}

/// The blocks up to the first that is not what its certificate says.
pub fn verified_blocks(keys: &Keys, blocks: &[Arc<CommittedBlock>]) -> Vec<Verified<Arc<CommittedBlock>>> {
    if let Some(real) = keys.real() {
        return real.blocks(blocks);
    }
    let mut last = None;
    let mut verified = Vec::new();
    for block in blocks {
        let number = block.number().0;
        if last.is_some_and(|last: u64| last.checked_add(1) != Some(number))
            || keys.judge_block(block).is_err()
        {
            break;
        }
        last = Some(number);
        verified.push(Verified::vouch(block.clone()));
    }
    verified
}

/// The consenter in an identifier header: field 1, its id, and field 2, 24 bytes, and no more.
fn identifier_in(header: &[u8]) -> Option<u32> {
    let (id, rest) = match *header.strip_prefix(&[0x08])? {
        [low @ 1..0x80, ref rest @ ..] => (u32::from(low), rest),
        [low, high @ 1..0x80, ref rest @ ..] => (u32::from(low & 0x7f) | u32::from(high) << 7, rest),
        _ => return None,
    };
    let nonce = rest.strip_prefix(&[0x12, NONCE_BYTES as u8])?;
    (nonce.len() == NONCE_BYTES).then_some(id)
}

/// What a block signature covers: the simulator's own rendering of metadata value, identifier
/// header and header.
fn block_bytes(
    view: View,
    header: &sbft::types::Header,
    proposal: &Digest,
    last_config: u64,
    identifier_header: &Bytes,
) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(192);
    bytes.push(b'B');
    bytes.extend(view.0.to_be_bytes());
    bytes.extend(header.number.0.to_be_bytes());
    bytes.extend(proposal.0);
    bytes.extend(last_config.to_be_bytes());
    bytes.extend((identifier_header.len() as u64).to_be_bytes());
    bytes.extend(identifier_header);
    bytes.extend_from_slice(&header_bytes(header));
    bytes
}

fn keyed_hash(secret: u64, message: &[u8]) -> [u8; 16] {
    let (mut one, mut other) = (mix(secret, message.len() as u64), mix(!secret, 1));
    let mut chunks = message.chunks_exact(8);
    for chunk in &mut chunks {
        let word = u64::from_le_bytes(chunk.try_into().expect("a chunk of eight"));
        one = mix(one, word);
        other = mix(other, word ^ one);
    }
    let mut tail = [0; 8];
    tail[..chunks.remainder().len()].copy_from_slice(chunks.remainder());
    one = mix(one, u64::from_le_bytes(tail));
    other = mix(other, one);
    let mut hash = [0; 16];
    hash[..8].copy_from_slice(&mix(one, secret).to_le_bytes());
    hash[8..].copy_from_slice(&mix(other, !secret).to_le_bytes());
    hash
}

#[cfg(test)]
mod tests {
    use super::*;
    use sbft::types::{Era, Number};

    fn keys() -> Keys {
        Keys::new(Draws::new(3), Domain { genesis: Digest([7; 32]), era: Era(0) }, 4)
    }

    fn vote(digest: u8) -> PrepareVote {
        PrepareVote { view: View(1), number: Number(5), digest: Digest([digest; 32]) }
    }

    #[test]
    fn a_signature_of_another_replica_or_over_another_vote_is_refused() {
        let keys = keys();
        let good = keys.prepare(Place(1), vote(1));
        assert_eq!(keys.judge(&Message::Prepare(good.clone())), Ok(()));
        let borrowed = Prepare { signer: Place(2), ..good.clone() };
        assert!(keys.judge(&Message::Prepare(borrowed)).is_err());
        let altered = Prepare { vote: vote(2), ..good.clone() };
        assert!(keys.judge(&Message::Prepare(altered)).is_err());
        let stranger = Prepare { signer: Place(9), ..good };
        assert!(keys.judge(&Message::Prepare(stranger)).is_err());
    }

    #[test]
    fn a_view_change_is_refused_for_a_certificate_that_is_one_signature_short() {
        let keys = keys();
        let proposal = Arc::new(sbft::pbft::message::Proposal {
            header: sbft::types::Header {
                number: Number(1),
                previous_hash: Some(Digest([7; 32])),
                data_hash: Digest([1; 32]),
            },
            candidates: Vec::new(),
        });
        let digest = proposal.digest(&keys.domain.genesis);
        let vote = PrepareVote { view: View(0), number: Number(1), digest };
        let signed = |places: &[u16]| {
            let signatures =
                places.iter().map(|p| (Place(*p), keys.prepare(Place(*p), vote).signature)).collect();
            let certificate = PreparedCertificate { view: View(0), proposal: proposal.clone(), signatures };
            let body = ViewChange { view: View(1), base: None, prepared: vec![Arc::new(certificate)] };
            keys.judge(&Message::ViewChange(Arc::new(keys.view_change(Place(0), body))))
        };
        assert_eq!(signed(&[0, 1, 2]), Ok(()));
        assert_eq!(signed(&[0, 1]), Err(Flaw::Noise("prepared certificate: not exactly q signatures")));
        assert_eq!(signed(&[0, 1, 1]), Err(Flaw::Noise("prepared certificate: one member signed twice")));
    }

    #[test]
    fn quorums_are_the_papers() {
        for (n, f, q) in
            [(1, 0, 1), (2, 0, 2), (3, 0, 2), (4, 1, 3), (5, 1, 4), (6, 1, 4), (7, 2, 5), (10, 3, 7)]
        {
            let keys = Keys::new(Draws::new(0), Domain { genesis: Digest([0; 32]), era: Era(0) }, n);
            assert_eq!((keys.f(), keys.quorum()), (f, q), "n = {n}");
        }
    }
}
