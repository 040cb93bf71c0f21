//! What the tests of this room share: four consenters with keys, envelopes, and values of every
//! kind made from a seed.

mod bad_input;
mod checking;
mod fabric_vectors;
mod forms;

use std::sync::Arc;

use bytes::Bytes;
use ed25519_dalek::pkcs8::EncodePublicKey as _;
use ed25519_dalek::{Signer as _, SigningKey};
use prost::Message as _;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

use super::signing::Signing;
use super::*;
use crate::crypto::PublicKey;
use crate::header::{data_hash, sha256};
use crate::pbft::Record;
use crate::pbft::message::{
    Commit, CommitVote, Domain, Message, NewView, NewViewBody, Offence, PrePrepare, Prepare, PrepareVote,
    PreparedCertificate, Proposal, SignedViewChange, Status, Unsigned, ViewChange,
};
use crate::proto::common::{ChannelHeader, ConfigEnvelope, Envelope, HeaderType, Payload, SignatureHeader};
use crate::types::{
    BlockCertificate, BlockSignature, CandidateRef, CommittedBlock, ConsenterId, Digest, Era, Header, Number,
    Place, Signature, View,
};

/// A consenter id that differs from the place, as ids do in general.
fn id_of(place: Place) -> ConsenterId {
    ConsenterId(u32::from(place.0) * 3 + 11)
}

/// `n` consenters with Ed25519 keys, in one channel and era.
struct Consenters {
    domain: Domain,
    keys: Vec<SigningKey>,
}

impl Consenters {
    fn new(n: u8) -> Self {
        let domain = Domain { genesis: sha256(b"genesis"), era: Era(2) };
        Self { domain, keys: (1..=n).map(|seed| SigningKey::from_bytes(&[seed; 32])).collect() }
    }

    fn places(&self) -> impl Iterator<Item = Place> + use<> {
        (0..self.keys.len() as u16).map(Place)
    }

    fn ids(&self) -> Vec<ConsenterId> {
        self.places().map(id_of).collect()
    }

    fn key_ring(&self) -> KeyRing {
        let public = |key: &SigningKey| {
            let der = key.verifying_key().to_public_key_der().expect("a key encodes");
            PublicKey::from_spki_der(der.as_bytes()).expect("a good key")
        };
        KeyRing::new(self.places().zip(&self.keys).map(|(place, key)| (id_of(place), public(key))).collect())
    }

    fn checker(&self) -> Checker<KeyRing> {
        Checker::new(self.domain, self.key_ring())
    }

    fn sign(&self, place: Place, unsigned: Unsigned) -> Message {
        let signing = Signing { domain: self.domain, place, consenter: id_of(place) };
        let to_sign = signing.to_sign(unsigned, &[place.0 as u8 + 1; NONCE_BYTES]);
        let signature = self.keys[place.index()].sign(to_sign.bytes());
        to_sign.signed(Bytes::copy_from_slice(&signature.to_bytes()))
    }

    fn proposal(&self, number: u64, content: u8) -> Arc<Proposal> {
        let header = Header {
            number: Number(number),
            previous_hash: Some(Digest([number as u8; 32])),
            data_hash: Digest([content; 32]),
        };
        let candidate = CandidateRef { origin: Place(0), digest: Digest([content; 32]) };
        Arc::new(Proposal { header, candidates: vec![candidate] })
    }

    fn vote(&self, view: u64, proposal: &Proposal) -> PrepareVote {
        let digest = proposal.digest(&self.domain.genesis);
        PrepareVote { view: View(view), number: proposal.number(), digest }
    }

    fn pre_prepare(&self, view: u64, proposal: &Arc<Proposal>) -> PrePrepare {
        let primary = View(view).primary(self.keys.len());
        let proposal = Arc::clone(proposal);
        match self.sign(primary, Unsigned::PrePrepare { view: View(view), proposal }) {
            Message::PrePrepare(message) => message,
            other => panic!("{other:?}"),
        }
    }

    fn prepare(&self, place: Place, view: u64, proposal: &Proposal) -> Prepare {
        match self.sign(place, Unsigned::Prepare(self.vote(view, proposal))) {
            Message::Prepare(message) => message,
            other => panic!("{other:?}"),
        }
    }

    fn commit(&self, place: Place, vote: CommitVote) -> Commit {
        match self.sign(place, Unsigned::Commit(vote)) {
            Message::Commit(message) => message.as_ref().clone(),
            other => panic!("{other:?}"),
        }
    }

    fn commit_vote(&self, view: u64, proposal: &Proposal) -> CommitVote {
        CommitVote {
            view: View(view),
            header: proposal.header.clone(),
            digest: proposal.digest(&self.domain.genesis),
            last_config: Number(0),
        }
    }

    /// The places of a quorum that is not the first.
    fn quorum(&self) -> Vec<Place> {
        let skip = self.keys.len() - quorum(self.keys.len());
        self.places().skip(skip).collect()
    }

    fn prepared(&self, view: u64, proposal: &Arc<Proposal>) -> PreparedCertificate {
        let sign = |place| (place, self.prepare(place, view, proposal).signature);
        let signatures = self.quorum().into_iter().map(sign).collect();
        PreparedCertificate { view: View(view), proposal: Arc::clone(proposal), signatures }
    }

    fn certificate(&self, vote: &CommitVote) -> BlockCertificate {
        let sign = |place| (place, self.commit(place, vote.clone()).signature);
        BlockCertificate {
            view: vote.view,
            header: vote.header.clone(),
            proposal: vote.digest,
            last_config: vote.last_config,
            signatures: self.quorum().into_iter().map(sign).collect(),
        }
    }

    /// A view-change for view 5 on top of block 7, with certificates for 8 and 10.
    fn view_change_body(&self) -> ViewChange {
        let base = self.certificate(&self.commit_vote(3, &self.proposal(7, 7)));
        let prepared = [(2, 8), (4, 10)];
        let prepared = prepared.map(|(view, number)| {
            let proposal = self.proposal(number, number as u8);
            Arc::new(self.prepared(view, &proposal))
        });
        ViewChange { view: View(5), base: Some(Arc::new(base)), prepared: prepared.to_vec() }
    }

    fn view_change(&self, place: Place, body: ViewChange) -> Arc<SignedViewChange> {
        match self.sign(place, Unsigned::ViewChange(body)) {
            Message::ViewChange(message) => message,
            other => panic!("{other:?}"),
        }
    }

    fn new_view_body(&self) -> NewViewBody {
        let empty = ViewChange { view: View(5), base: None, prepared: Vec::new() };
        let change = |place: Place| match place.0 % 2 {
            0 => self.view_change(place, empty.clone()),
            _ => self.view_change(place, self.view_change_body()),
        };
        NewViewBody { view: View(5), view_changes: self.quorum().into_iter().map(change).collect() }
    }

    fn new_view(&self, body: NewViewBody) -> Arc<NewView> {
        let primary = body.view.primary(self.keys.len());
        match self.sign(primary, Unsigned::NewView(body)) {
            Message::NewView(message) => message,
            other => panic!("{other:?}"),
        }
    }

    fn offences(&self) -> Vec<Offence> {
        let (one, two) = (self.proposal(9, 1), self.proposal(9, 2));
        let place = Place(1);
        let mut bad = self.new_view_body();
        bad.view_changes.pop();
        vec![
            Offence::Prepares(Box::new(self.prepare(place, 3, &one)), Box::new(self.prepare(place, 3, &two))),
            Offence::Commits(
                Box::new(self.commit(place, self.commit_vote(3, &one))),
                Box::new(self.commit(place, self.commit_vote(3, &two))),
            ),
            Offence::NewView(Box::new(NewView::clone(&self.new_view(bad)))),
        ]
    }

    /// A good message of each kind.
    fn messages(&self) -> Vec<Message> {
        let proposal = self.proposal(9, 1);
        let mut messages = vec![
            Message::PrePrepare(self.pre_prepare(4, &proposal)),
            Message::Prepare(self.prepare(Place(1), 4, &proposal)),
            Message::Commit(Arc::new(self.commit(Place(2), self.commit_vote(4, &proposal)))),
            Message::ViewChange(self.view_change(Place(3), self.view_change_body())),
            Message::NewView(self.new_view(self.new_view_body())),
            Message::Status(Status { view: View(3), active: true, ..Status::default() }),
        ];
        messages.extend(self.offences().into_iter().map(Message::Offence));
        messages
    }

    fn records(&self) -> Vec<Record> {
        let proposal = self.proposal(9, 1);
        vec![
            Record::Payload(Arc::new(some_candidate())),
            Record::Bound { view: View(0), upto: Number(32) },
            Record::Bound { view: View(u64::MAX), upto: Number(u64::MAX) },
            Record::Accepted { view: View(4), proposal: Arc::clone(&proposal) },
            Record::Prepared(Arc::new(self.prepared(4, &proposal))),
            Record::ViewChange(View(0)),
            Record::ViewChange(View(u64::MAX)),
            Record::NewViewChosen(Arc::new(self.new_view_body())),
            Record::NewView(self.new_view(self.new_view_body())),
        ]
    }

    /// Block 9, with a config envelope or three others.
    fn block(&self, is_config: bool) -> CommittedBlock {
        let data = match is_config {
            true => vec![config_frame("replica", b"update")],
            false => vec![frame(b"one", b"nonce"), frame(b"two", b"nonce2"), frame(b"three", b"nonce3")],
        };
        let mut vote = self.commit_vote(4, &self.proposal(9, 1));
        vote.header.data_hash = data_hash(&data);
        vote.last_config = if is_config { Number(9) } else { Number(8) };
        let parsed = |frame: &Bytes| envelope::Parsed::from_frame(frame.clone()).expect("canonical").id;
        let ids = data.iter().map(parsed).collect();
        CommittedBlock { certificate: self.certificate(&vote), data, ids, is_config }
    }
}

/// An ordinary signed envelope.
fn frame(data: &[u8], nonce: &[u8]) -> Bytes {
    frame_of(HeaderType::EndorserTransaction, data, b"creator", nonce)
}

/// A config envelope by `creator` around an update with this payload.
fn config_frame(creator: &str, update: &[u8]) -> Bytes {
    let last_update = Envelope {
        payload: Bytes::copy_from_slice(update),
        signature: Bytes::from_static(b"the update's signature"),
    };
    let config = ConfigEnvelope { config: None, last_update: Some(last_update) };
    frame_of(HeaderType::Config, &config.encode_to_vec(), creator.as_bytes(), creator.as_bytes())
}

fn frame_of(kind: HeaderType, data: &[u8], creator: &[u8], nonce: &[u8]) -> Bytes {
    let channel_header = ChannelHeader {
        r#type: kind as i32,
        channel_id: "orders".to_owned(),
        tx_id: "what a client says".to_owned(),
        ..ChannelHeader::default()
    };
    let signature_header =
        SignatureHeader { creator: Bytes::copy_from_slice(creator), nonce: Bytes::copy_from_slice(nonce) };
    let header = crate::proto::common::Header {
        channel_header: channel_header.encode_to_vec().into(),
        signature_header: signature_header.encode_to_vec().into(),
    };
    let payload = Payload { header: Some(header), data: Bytes::copy_from_slice(data) };
    let signature = Bytes::from_static(b"signature");
    Envelope { payload: payload.encode_to_vec().into(), signature }.encode_to_vec().into()
}

fn some_candidate() -> crate::types::Candidate {
    let envelopes = vec![frame(b"one", b"a"), frame(&[7; 300], b"b"), frame(b"three", b"c")];
    candidate::encode(Place(3), 300, envelopes).expect("good envelopes")
}

/// Values of every kind from a seed: well-formed, and otherwise without sense.
struct Random(StdRng);

impl Random {
    fn new(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    fn up_to(&mut self, max: usize) -> usize {
        self.0.random_range(0..=max)
    }

    /// Often small, at times anything.
    fn number(&mut self) -> u64 {
        let bits = self.0.random_range(0..64);
        self.0.random::<u64>() >> bits
    }

    fn bytes(&mut self, min: usize, max: usize) -> Bytes {
        let length = self.0.random_range(min..=max);
        (0..length).map(|_| self.0.random::<u8>()).collect()
    }

    fn digest(&mut self) -> Digest {
        Digest(self.0.random())
    }

    fn place(&mut self) -> Place {
        Place((self.number() & 0xffff) as u16)
    }

    fn signature(&mut self) -> Signature {
        Signature(self.bytes(1, 128))
    }

    fn many<T>(&mut self, max: usize, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let count = self.up_to(max);
        (0..count).map(|_| make(self)).collect()
    }

    fn header(&mut self) -> Header {
        Header {
            number: Number(self.number().max(1)),
            previous_hash: Some(self.digest()),
            data_hash: self.digest(),
        }
    }

    fn proposal(&mut self) -> Arc<Proposal> {
        let reference = |it: &mut Self| CandidateRef { origin: it.place(), digest: it.digest() };
        let mut candidates = vec![reference(self)];
        candidates.extend(self.many(4, reference));
        Arc::new(Proposal { header: self.header(), candidates })
    }

    fn prepare(&mut self) -> Prepare {
        let vote =
            PrepareVote { view: View(self.number()), number: Number(self.number()), digest: self.digest() };
        Prepare { vote, signer: self.place(), signature: self.signature() }
    }

    fn block_signature(&mut self) -> BlockSignature {
        BlockSignature { identifier_header: self.bytes(1, 64), signature: self.signature() }
    }

    fn commit(&mut self) -> Commit {
        let vote = CommitVote {
            view: View(self.number()),
            header: self.header(),
            digest: self.digest(),
            last_config: Number(self.number()),
        };
        Commit { vote, signer: self.place(), signature: self.block_signature() }
    }

    fn prepared(&mut self) -> Arc<PreparedCertificate> {
        Arc::new(PreparedCertificate {
            view: View(self.number()),
            proposal: self.proposal(),
            signatures: self.many(5, |it| (it.place(), it.signature())),
        })
    }

    fn view_change(&mut self) -> Arc<SignedViewChange> {
        let certificate = |it: &mut Self| BlockCertificate {
            view: View(it.number()),
            header: it.header(),
            proposal: it.digest(),
            last_config: Number(it.number()),
            signatures: it.many(5, |it| (it.place(), it.block_signature())),
        };
        let base = (self.up_to(2) > 0).then(|| Arc::new(certificate(self)));
        let body = ViewChange { view: View(self.number()), base, prepared: self.many(3, Self::prepared) };
        Arc::new(SignedViewChange { body, signer: self.place(), signature: self.signature() })
    }

    fn new_view(&mut self) -> NewView {
        let body = NewViewBody { view: View(self.number()), view_changes: self.many(3, Self::view_change) };
        NewView { body, signature: self.signature() }
    }

    fn message(&mut self) -> Message {
        match self.up_to(8) {
            0 => Message::PrePrepare(PrePrepare {
                view: View(self.number()),
                proposal: self.proposal(),
                signature: self.signature(),
            }),
            1 => Message::Prepare(self.prepare()),
            2 => Message::Commit(Arc::new(self.commit())),
            3 => Message::ViewChange(self.view_change()),
            4 => Message::NewView(Arc::new(self.new_view())),
            5 => Message::Status(Status {
                view: View(self.number()),
                active: self.up_to(1) == 1,
                follows: self.up_to(1) == 1,
                complains: self.up_to(1) == 1,
                committed: Number(self.number()),
                accepted: Number(self.number()),
                prepared: Number(self.number()),
            }),
            6 => Message::Offence(Offence::Prepares(Box::new(self.prepare()), Box::new(self.prepare()))),
            7 => Message::Offence(Offence::Commits(Box::new(self.commit()), Box::new(self.commit()))),
            _ => Message::Offence(Offence::NewView(Box::new(self.new_view()))),
        }
    }

    fn record(&mut self) -> Record {
        match self.up_to(5) {
            5 => Record::Bound { view: View(self.number()), upto: Number(self.number()) },
            0 => Record::Accepted { view: View(self.number()), proposal: self.proposal() },
            1 => Record::Prepared(self.prepared()),
            2 => Record::ViewChange(View(self.number())),
            3 => Record::NewViewChosen(Arc::new(self.new_view().body)),
            _ => Record::NewView(Arc::new(self.new_view())),
        }
    }

    fn repair(&mut self) -> repair::Repair {
        use repair::Repair;
        match self.up_to(3) {
            0 => {
                let mut digests = vec![self.digest()];
                digests.extend(self.many(5, Self::digest));
                Repair::FetchCandidates(digests)
            }
            1 => Repair::Candidate(self.bytes(1, 100)),
            2 => {
                let (one, two) = (self.number(), self.number());
                Repair::FetchBlocks { first: Number(one.min(two)), last: Number(one.max(two)) }
            }
            _ => {
                let mut blocks = vec![self.bytes(1, 50)];
                blocks.extend(self.many(3, |it| it.bytes(1, 50)));
                Repair::Blocks(blocks)
            }
        }
    }
}
