//! What travels, and what the network may know of it: kind, view, number, and roughly its size.

use std::fmt;
use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use sbft::pbft::message::{Message, Offence, ViewChange};
use sbft::types::{Candidate, CommittedBlock, Digest, Number, View};

use crate::digests::digest_of;
use crate::draw::mix;
use crate::signing::Flaw;

/// What travels.
#[derive(Clone, Debug)]
pub enum Packet {
    /// A message of the ordering plane.
    Message(Rc<Letter>),
    /// A candidate from its origin, on the bulk stream.
    Candidate(Arc<Candidate>),
    /// A candidate on the repair stream.
    Repair(Arc<Candidate>),
    /// Please send these candidates.
    WantCandidates(Vec<Digest>),
    /// Please send these blocks.
    WantBlocks(Number, Number),
    /// Consecutive blocks.
    Blocks(Vec<Arc<CommittedBlock>>),
}

/// A message and what the network may know of it, worked out once for all receivers.
#[derive(Clone, Debug)]
pub struct Letter {
    /// The message.
    pub message: Message,
    /// The checker's verdict, which is the same for every receiver.
    pub good: Result<(), Flaw>,
    /// Its label.
    pub label: Label,
}

/// The kind of a packet, for rules and traces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A proposal.
    PrePrepare,
    /// A prepare vote.
    Prepare,
    /// A commit vote.
    Commit,
    /// A vote for another view.
    ViewChange,
    /// The start of a view.
    NewView,
    /// A status.
    Status,
    /// Proof of a lie.
    Offence,
    /// A candidate on the bulk stream.
    Candidate,
    /// A candidate on the repair stream.
    Repair,
    /// A request for candidates.
    WantCandidates,
    /// A request for blocks.
    WantBlocks,
    /// Blocks.
    Blocks,
}

impl Kind {
    /// Every kind with its name in scenario files and traces.
    pub const NAMES: [(Self, &'static str); 12] = [
        (Self::PrePrepare, "pre-prepare"),
        (Self::Prepare, "prepare"),
        (Self::Commit, "commit"),
        (Self::ViewChange, "view-change"),
        (Self::NewView, "new-view"),
        (Self::Status, "status"),
        (Self::Offence, "offence"),
        (Self::Candidate, "candidate"),
        (Self::Repair, "repair"),
        (Self::WantCandidates, "want-candidates"),
        (Self::WantBlocks, "want-blocks"),
        (Self::Blocks, "blocks"),
    ];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::NAMES.iter().find(|(kind, _)| kind == self).map_or("?", |(_, name)| name);
        f.write_str(name)
    }
}

/// What a packet is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Label {
    /// Its kind.
    pub kind: Kind,
    /// Its view; 0 where it has none.
    pub view: View,
    /// Its number; 0 where it has none.
    pub number: Number,
    /// Tells its content from others', for draws and traces.
    pub tag: u64,
}

impl Packet {
    /// About how many bytes it has on the wire.
    pub fn bytes(&self) -> usize {
        /// A signed message without anything of variable length.
        const MESSAGE: usize = 250;
        match self {
            Self::Message(letter) => match &letter.message {
                Message::PrePrepare(m) => MESSAGE + m.proposal.candidates.len() * 36,
                Message::ViewChange(m) => MESSAGE + change_bytes(&m.body),
                Message::NewView(m) => {
                    m.body.view_changes.iter().map(|c| MESSAGE + change_bytes(&c.body)).sum()
                }
                _ => MESSAGE,
            },
            Self::Candidate(candidate) | Self::Repair(candidate) => candidate.encoding.len(),
            Self::WantCandidates(digests) => 16 + digests.len() * 32,
            Self::WantBlocks(..) => 24,
            Self::Blocks(blocks) => {
                blocks.iter().map(|block| 600 + block.data.iter().map(Bytes::len).sum::<usize>()).sum()
            }
        }
    }

    /// What it is about.
    pub fn label(&self) -> Label {
        match self {
            Self::Message(letter) => letter.label,
            Self::Candidate(candidate) => Label {
                kind: Kind::Candidate,
                view: View(0),
                number: Number(0),
                tag: short(&candidate.digest),
            },
            Self::Repair(candidate) => {
                Label { kind: Kind::Repair, view: View(0), number: Number(0), tag: short(&candidate.digest) }
            }
            Self::WantCandidates(digests) => Label {
                kind: Kind::WantCandidates,
                view: View(0),
                number: Number(0),
                tag: digests.first().map_or(0, short),
            },
            Self::WantBlocks(first, last) => {
                Label { kind: Kind::WantBlocks, view: View(0), number: *first, tag: last.0 }
            }
            Self::Blocks(blocks) => Label {
                kind: Kind::Blocks,
                view: View(0),
                number: blocks.first().map_or(Number(0), |block| block.number()),
                tag: blocks.len() as u64,
            },
        }
    }
}

fn change_bytes(change: &ViewChange) -> usize {
    change
        .prepared
        .iter()
        .map(|certificate| {
            150 + certificate.proposal.candidates.len() * 36 + certificate.signatures.len() * 70
        })
        .sum::<usize>()
        + change.base.as_ref().map_or(0, |base| 200 + base.signatures.len() * 110)
}

/// The label of a message. `digest` is the proposal digest of a pre-prepare, which the caller
/// has at hand.
pub fn label(message: &Message, genesis: &Digest) -> Label {
    let (kind, view, number, tag) = match message {
        Message::PrePrepare(m) => {
            (Kind::PrePrepare, m.view, m.proposal.number(), short(&digest_of(&m.proposal, genesis)))
        }
        Message::Prepare(m) => (Kind::Prepare, m.vote.view, m.vote.number, short(&m.vote.digest)),
        Message::Commit(m) => (Kind::Commit, m.vote.view, m.vote.header.number, short(&m.vote.digest)),
        Message::ViewChange(m) => (
            Kind::ViewChange,
            m.body.view,
            m.body.base_number(),
            mix(m.body.prepared.len() as u64, u64::from(m.signer.0)),
        ),
        Message::NewView(m) => {
            let tag = m.body.view_changes.iter().fold(0, |tag, change| mix(tag, u64::from(change.signer.0)));
            (Kind::NewView, m.body.view, Number(0), tag)
        }
        Message::Status(m) => {
            (Kind::Status, m.view, m.committed, mix(m.accepted.0, m.prepared.0 << 1 | u64::from(m.active)))
        }
        Message::Offence(offence) => {
            let view = match offence {
                Offence::Prepares(one, _) => one.vote.view,
                Offence::Commits(one, _) => one.vote.view,
                Offence::NewView(new_view) => new_view.body.view,
            };
            (Kind::Offence, view, Number(0), 0)
        }
    };
    Label { kind, view, number, tag }
}

/// The first eight bytes of a digest.
pub fn short(digest: &Digest) -> u64 {
    u64::from_be_bytes(digest.0[..8].try_into().expect("a digest has 32 bytes"))
}
