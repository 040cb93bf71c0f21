//! Lies in votes: A17 to A28.

use std::collections::BTreeMap;

use bytes::Bytes;
use sbft::pbft::message::{CommitVote, Message, Proposal};
use sbft::types::{BlockSignature, Digest, Header, Number, Place, Signature, View};
use std::sync::Arc;

use super::{Act, Attack, Bend, Stage, instead};
use crate::digests::digest_of;
use crate::network::{Kind, Label, Letter, Packet};

fn is_vote(label: &Label) -> bool {
    matches!(label.kind, Kind::Prepare | Kind::Commit)
}

/// A17.
pub(super) fn withhold_prepare() -> Box<dyn Attack> {
    Box::new(Bend(|_, letter, acts| {
        if letter.label.kind == Kind::Prepare {
            acts.clear();
        }
    }))
}

/// A18.
pub(super) fn withhold_commit() -> Box<dyn Attack> {
    Box::new(Bend(|_, letter, acts| {
        if letter.label.kind == Kind::Commit {
            acts.clear();
        }
    }))
}

/// What a vote is for: view, number, digest.
type Slot = (View, Number, Digest);

/// A19: votes prepare and commit for every proposal that anybody mentions.
#[derive(Debug, Default)]
pub(super) struct VoteForAll {
    /// Whether the commit went out, too: for that the header must be known.
    voted: BTreeMap<Slot, bool>,
}

pub(super) fn vote_for_all() -> Box<dyn Attack> {
    Box::new(VoteForAll::default())
}

impl Attack for VoteForAll {
    fn hear(&mut self, stage: &mut Stage<'_>, _: Place, packet: &Packet) -> bool {
        if let Packet::Message(letter) = packet
            && letter.good.is_ok()
        {
            self.vote_for(stage, &letter.message);
        }
        true
    }
}

impl VoteForAll {
    fn vote_for(&mut self, stage: &mut Stage<'_>, message: &Message) {
        match message {
            Message::PrePrepare(m) => {
                let slot = (m.view, m.proposal.number(), digest_of(&m.proposal, &stage.genesis()));
                self.vote(stage, slot, Some(&m.proposal.header));
            }
            Message::Prepare(m) => {
                let header = stage.known.proposal(&m.vote.digest).map(|known| known.header.clone());
                self.vote(stage, (m.vote.view, m.vote.number, m.vote.digest), header.as_ref());
            }
            Message::Commit(m) => {
                let slot = (m.vote.view, m.vote.header.number, m.vote.digest);
                self.vote(stage, slot, Some(&m.vote.header));
            }
            Message::NewView(m) => {
                // Everything that was ever proposed and may be proposed again.
                let next = stage.next_number();
                let known: Vec<(Digest, Arc<Proposal>)> = stage
                    .known
                    .proposals
                    .iter()
                    .rev()
                    .filter(|((_, number, _), _)| *number >= next)
                    .take(8)
                    .map(|((_, _, digest), proposal)| (*digest, proposal.clone()))
                    .collect();
                for (digest, proposal) in known {
                    let slot = (m.body.view, proposal.number(), digest);
                    self.vote(stage, slot, Some(&proposal.header));
                }
            }
            _ => {}
        }
    }

    /// Votes once for each; commits as soon as the header is known.
    pub(super) fn vote(&mut self, stage: &mut Stage<'_>, slot: Slot, header: Option<&Header>) {
        let (view, number, digest) = slot;
        let before = self.voted.get(&slot).copied();
        if before == Some(true) || before == Some(false) && header.is_none() {
            return;
        }
        self.voted.insert(slot, header.is_some());
        while self.voted.len() > 512 {
            self.voted.pop_first();
        }
        if before.is_none() {
            let packet = stage.prepare(view, number, digest);
            stage.send_all(&packet);
        }
        if let Some(header) = header {
            let packet = stage.commit(view, header, digest);
            stage.send_all(&packet);
        }
    }
}

/// A20: commits at once, without a certificate, and never prepares.
#[derive(Debug)]
struct CommitWithoutPrepare;

pub(super) fn commit_without_prepare() -> Box<dyn Attack> {
    Box::new(CommitWithoutPrepare)
}

impl Attack for CommitWithoutPrepare {
    fn hear(&mut self, stage: &mut Stage<'_>, _: Place, packet: &Packet) -> bool {
        if let Packet::Message(letter) = packet
            && let (Ok(()), Message::PrePrepare(m)) = (letter.good, &letter.message)
        {
            let digest = digest_of(&m.proposal, &stage.genesis());
            let commit = stage.commit(m.view, &m.proposal.header, digest);
            stage.send_all(&commit);
        }
        true
    }

    fn say(&mut self, _: &mut Stage<'_>, letter: &Letter, acts: &mut Vec<Act>) {
        if letter.label.kind == Kind::Prepare {
            acts.clear();
        }
    }
}

/// A21: every vote eight times.
pub(super) fn vote_spam() -> Box<dyn Attack> {
    Box::new(Bend(|_, letter, acts| {
        if is_vote(&letter.label) {
            let once = acts.clone();
            for _ in 0..7 {
                acts.extend(once.iter().cloned());
            }
        }
    }))
}

/// A22: its votes reach one replica only, so that exactly one may decide.
pub(super) fn selective_vote() -> Box<dyn Attack> {
    Box::new(Bend(|stage, letter, acts| {
        if is_vote(&letter.label) {
            let drawn = stage.pick(&[letter.label.view.0, letter.label.number.0]);
            let one = stage.against.first().copied().unwrap_or(drawn);
            acts.retain(|act| act.to == one);
        }
    }))
}

/// A23: its votes come when their view is over.
#[derive(Debug, Default)]
struct LateVote {
    kept: Vec<(View, Act)>,
}

pub(super) fn late_vote() -> Box<dyn Attack> {
    Box::new(LateVote::default())
}

impl Attack for LateVote {
    fn say(&mut self, _: &mut Stage<'_>, letter: &Letter, acts: &mut Vec<Act>) {
        if is_vote(&letter.label) {
            let room = 256usize.saturating_sub(self.kept.len());
            self.kept.extend(acts.drain(..).take(room).map(|act| (letter.label.view, act)));
        }
    }

    fn wake(&mut self, stage: &mut Stage<'_>) {
        let view = stage.view();
        let (late, kept): (Vec<_>, Vec<_>) = self.kept.drain(..).partition(|(of, _)| *of < view);
        self.kept = kept;
        for (_, act) in late {
            stage.send(act.to, act.packet);
        }
    }
}

/// The same vote with something about it changed, signed anew.
fn revote(stage: &Stage<'_>, letter: &Letter, change: impl FnOnce(&mut View, &mut Number)) -> Option<Packet> {
    match &letter.message {
        Message::Prepare(m) if m.signer == stage.me => {
            let mut vote = m.vote;
            change(&mut vote.view, &mut vote.number);
            Some(stage.prepare(vote.view, vote.number, vote.digest))
        }
        Message::Commit(m) if m.signer == stage.me => {
            let CommitVote { mut view, mut header, digest, .. } = m.vote.clone();
            change(&mut view, &mut header.number);
            Some(stage.commit(view, &header, digest))
        }
        _ => None,
    }
}

/// A24: votes in the view below or above.
pub(super) fn vote_other_view() -> Box<dyn Attack> {
    Box::new(Bend(|stage, letter, acts| {
        let up = stage.chance(&[letter.label.view.0, letter.label.number.0], 0.5);
        let change = |view: &mut View, _: &mut Number| {
            view.0 = if up { view.0 + 1 } else { view.0.checked_sub(1).unwrap_or(1) };
        };
        if let Some(packet) = revote(stage, letter, change) {
            instead(acts, &packet);
        }
    }))
}

/// A25: votes for the number below or above.
pub(super) fn vote_other_number() -> Box<dyn Attack> {
    Box::new(Bend(|stage, letter, acts| {
        let up = stage.chance(&[letter.label.view.0, letter.label.number.0], 0.5);
        let change = |_: &mut View, number: &mut Number| {
            number.0 = if up { number.0 + 1 } else { number.0.saturating_sub(1) };
        };
        if let Some(packet) = revote(stage, letter, change) {
            instead(acts, &packet);
        }
    }))
}

/// The same vote with another signature or signer.
fn resigned(letter: &Letter, change: impl FnOnce(&mut Place, &mut Signature)) -> Option<Message> {
    match &letter.message {
        Message::Prepare(m) => {
            let mut vote = m.clone();
            change(&mut vote.signer, &mut vote.signature);
            Some(Message::Prepare(vote))
        }
        Message::Commit(m) => {
            let mut vote = m.as_ref().clone();
            let BlockSignature { identifier_header, mut signature } = vote.signature;
            change(&mut vote.signer, &mut signature);
            vote.signature = BlockSignature { identifier_header, signature };
            Some(Message::Commit(Arc::new(vote)))
        }
        _ => None,
    }
}

/// A26: one bit of the signature is wrong.
pub(super) fn bad_signature() -> Box<dyn Attack> {
    Box::new(Bend(|stage, letter, acts| {
        let flip = |_: &mut Place, signature: &mut Signature| {
            let mut bytes = signature.0.to_vec();
            if let Some(byte) = bytes.first_mut() {
                *byte ^= 1;
            }
            *signature = Signature(Bytes::from(bytes));
        };
        if let Some(message) = resigned(letter, flip) {
            instead(acts, &stage.packet(message));
        }
    }))
}

/// A27: somebody else's name on its own signature.
pub(super) fn borrowed_signature() -> Box<dyn Attack> {
    Box::new(Bend(|stage, letter, acts| {
        let other = stage.pick(&[letter.label.view.0, letter.label.number.0, letter.label.kind as u64]);
        if let Some(message) = resigned(letter, |signer, _| *signer = other) {
            // It votes under its own name as well: the borrowed one comes on top.
            let packet = stage.packet(message);
            let more: Vec<Act> =
                acts.iter().map(|act| Act { packet: packet.clone(), ..act.clone() }).collect();
            acts.extend(more);
        }
    }))
}

/// The order of the Ed25519 group, little-endian.
const GROUP_ORDER: [u8; 32] = [
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14, 0, 0, 0,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10,
];

/// The same signature in another encoding: the group order added to S of an Ed25519 signature, or
/// a byte more behind a simulated one. A lax verifier would take both for good.
fn another_encoding(signature: &Signature) -> Signature {
    let mut bytes = signature.0.to_vec();
    if bytes.len() == 64 {
        let mut carry = 0u16;
        for (byte, of_order) in bytes[32..].iter_mut().zip(GROUP_ORDER) {
            let sum = u16::from(*byte) + u16::from(of_order) + carry;
            *byte = sum as u8;
            carry = sum >> 8;
        }
    } else {
        bytes.push(0);
    }
    Signature(Bytes::from(bytes))
}

/// A28: its signatures in an encoding that only a lax verifier accepts.
pub(super) fn malleable_signature() -> Box<dyn Attack> {
    Box::new(Bend(|stage, letter, acts| {
        let change = |_: &mut Place, signature: &mut Signature| *signature = another_encoding(signature);
        if let Some(message) = resigned(letter, change) {
            instead(acts, &stage.packet(message));
        }
    }))
}

/// Lets its votes take up to a second and a half longer.
pub(super) fn delayed_vote() -> Box<dyn Attack> {
    Box::new(Bend(|stage, letter, acts| {
        if is_vote(&letter.label) {
            for act in acts {
                let key = [letter.label.view.0, letter.label.number.0, u64::from(act.to.0)];
                act.delay = std::time::Duration::from_millis(stage.draw(&key, 1500));
            }
        }
    }))
}
