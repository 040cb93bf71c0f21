//! What a liar has heard and said, kept for later use; colluding liars share one.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use sbft::pbft::message::{Message, PreparedCertificate, Proposal, SignedViewChange};
use sbft::types::{Candidate, Digest, Number, Place, Signature, View};

use crate::digests::digest_of;
use crate::network::Packet;

/// The last packets kept, and the first ones.
const MEMORY: usize = 64;
const SLOTS: usize = 256;
const VIEWS: usize = 8;
const STOCK: usize = 512;

/// What a liar knows. Bounded, so that a long run stays small.
#[derive(Clone, Debug, Default)]
pub struct Knowledge {
    /// Proposals by view, number and digest: made in that view, or only voted for.
    pub proposals: BTreeMap<(View, Number, Digest), Arc<Proposal>>,
    /// Prepare votes with their signers.
    pub prepares: BTreeMap<(View, Number, Digest), BTreeMap<Place, Signature>>,
    /// Good view-changes, by view and signer.
    pub view_changes: BTreeMap<View, BTreeMap<Place, Arc<SignedViewChange>>>,
    /// Prepared certificates, by number and view.
    pub certificates: BTreeMap<(Number, View), Arc<PreparedCertificate>>,
    /// Candidates heard of.
    pub candidates: BTreeMap<Digest, Arc<Candidate>>,
    /// Candidates that it made up; the liar answers for them when asked.
    pub stock: BTreeMap<Digest, Arc<Candidate>>,
    /// The last packets said or heard.
    pub memory: VecDeque<Packet>,
    /// The first ones.
    pub relics: Vec<Packet>,
    /// Where two stories are told: the digest of the other one, and who is told it.
    pub(super) stories: BTreeMap<(View, Number), (Digest, Vec<Place>)>,
    /// Candidates of its own making so far, and nonces drawn.
    pub(super) made: u64,
    /// Digests that each replica heard of by itself, for those who share one memory.
    pub(super) heard: BTreeSet<(Place, Digest)>,
}

impl Knowledge {
    /// Takes note of what `who` said or heard.
    pub(super) fn learn(&mut self, who: Place, packet: &Packet, genesis: &Digest) {
        match packet {
            Packet::Message(letter) => self.learn_message(who, &letter.message, genesis),
            Packet::Candidate(candidate) | Packet::Repair(candidate) => {
                self.candidates.insert(candidate.digest, candidate.clone());
                shrink(&mut self.candidates, STOCK);
            }
            _ => return,
        }
        if self.relics.len() < MEMORY / 2 {
            self.relics.push(packet.clone());
        }
        if self.memory.len() == MEMORY {
            self.memory.pop_front();
        }
        self.memory.push_back(packet.clone());
    }

    fn learn_message(&mut self, who: Place, message: &Message, genesis: &Digest) {
        match message {
            Message::PrePrepare(m) => {
                let digest = digest_of(&m.proposal, genesis);
                self.heard.insert((who, digest));
                while self.heard.len() > 4 * SLOTS {
                    self.heard.pop_first();
                }
                self.proposals.insert((m.view, m.proposal.number(), digest), m.proposal.clone());
                shrink(&mut self.proposals, SLOTS);
            }
            Message::Prepare(m) => {
                let slot = (m.vote.view, m.vote.number, m.vote.digest);
                self.prepares.entry(slot).or_default().insert(m.signer, m.signature.clone());
                shrink(&mut self.prepares, SLOTS);
            }
            Message::ViewChange(change) => self.learn_view_change(change),
            Message::NewView(new_view) => {
                for change in &new_view.body.view_changes {
                    self.learn_view_change(change);
                }
            }
            Message::Commit(_) | Message::Status(_) | Message::Offence(_) => {}
        }
    }

    fn learn_view_change(&mut self, change: &Arc<SignedViewChange>) {
        let known = self.view_changes.entry(change.body.view).or_default();
        known.entry(change.signer).or_insert_with(|| change.clone());
        // The lowest goes: but a view far away must not push out the ones in use.
        while self.view_changes.len() > VIEWS {
            let far = self.view_changes.last_key_value().is_some_and(|(view, _)| view.0 > 1 << 20);
            if far {
                self.view_changes.pop_last();
            } else {
                self.view_changes.pop_first();
            }
        }
        for certificate in &change.body.prepared {
            let key = (certificate.proposal.number(), certificate.view);
            self.certificates.insert(key, certificate.clone());
        }
        shrink(&mut self.certificates, SLOTS);
    }

    /// Notes that these are told the story `digest`, and everybody else another one.
    pub(super) fn note_story(&mut self, view: View, number: Number, digest: Digest, told: Vec<Place>) {
        self.stories.insert((view, number), (digest, told));
        shrink(&mut self.stories, SLOTS);
    }

    /// Who is to hear votes for this digest, where two stories are told.
    pub(super) fn audience(
        &self,
        view: View,
        number: Number,
        digest: &Digest,
    ) -> Option<impl Fn(Place) -> bool> {
        let (other, told) = self.stories.get(&(view, number))?;
        let is_other = other == digest;
        Some(move |place| told.contains(&place) == is_other)
    }

    /// The digests proposed or voted for at this view and number.
    pub fn digests_at(&self, view: View, number: Number) -> BTreeSet<Digest> {
        let (from, to) = ((view, number, Digest([0; 32])), (view, number, Digest([0xff; 32])));
        let proposed = self.proposals.range(from..=to).map(|((_, _, digest), _)| *digest);
        proposed.chain(self.prepares.range(from..=to).map(|((_, _, digest), _)| *digest)).collect()
    }

    /// The proposal with this digest, whatever its view.
    pub fn proposal(&self, digest: &Digest) -> Option<&Arc<Proposal>> {
        self.proposals.iter().find(|((_, _, known), _)| known == digest).map(|(_, proposal)| proposal)
    }
}

fn shrink<K: Ord, V>(map: &mut BTreeMap<K, V>, most: usize) {
    while map.len() > most {
        map.pop_first();
    }
}
