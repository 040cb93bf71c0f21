//! Lies in votes.

use std::time::Duration;

use sbft::header::header_hash;
use sbft::pbft::message::{CommitVote, Message, PrepareVote};
use sbft::types::{Digest, Number, Place, Signature, View};

use super::{Act, Liar, Stage, Strategy};
use crate::draw::Purpose;
use crate::network::{Kind, Label};

impl Liar {
    /// The core votes: fewer hear it, or later.
    pub(super) fn bend_vote(&mut self, stage: &Stage<'_>, label: &Label, acts: &mut Vec<Act>) {
        let prepare = label.kind == Kind::Prepare;
        if self.does(Strategy::WithholdPrepare) && prepare || self.does(Strategy::WithholdCommit) && !prepare
        {
            acts.clear();
            return;
        }
        self.keep_stories_apart(label, acts);
        let key = [label.kind as u64, label.view.0, label.number.0];
        if self.does(Strategy::SelectiveVote) {
            let others = stage.others(self.me);
            let which = stage.draws.below(Purpose::Lie, &key, others.len().max(1) as u64) as usize;
            acts.retain(|act| others.get(which) == Some(&act.to));
        }
        if self.does(Strategy::LateVote) {
            for act in acts {
                let delay =
                    stage.draws.below(Purpose::Lie, &[key[0], key[1], key[2], u64::from(act.to.0)], 1500);
                act.delay = Duration::from_millis(delay);
            }
        }
    }

    /// Votes prepare and commit for whatever `message` mentions, once each.
    pub(super) fn vote_for_all(&mut self, stage: &Stage<'_>, message: &Message, acts: &mut Vec<Act>) {
        let genesis = stage.keys.domain().genesis;
        let (view, number, digest, header) = match message {
            Message::PrePrepare(m) => {
                let header = Some(m.proposal.header.clone());
                (m.view, m.proposal.number(), m.proposal.digest(&genesis), header)
            }
            Message::Prepare(m) => {
                let header = self
                    .proposals
                    .values()
                    .find(|p| p.number() == m.vote.number && p.digest(&genesis) == m.vote.digest)
                    .map(|p| p.header.clone());
                (m.vote.view, m.vote.number, m.vote.digest, header)
            }
            Message::Commit(m) => {
                (m.vote.view, m.vote.header.number, m.vote.digest, Some(m.vote.header.clone()))
            }
            Message::NewView(new_view) => return self.vote_for_reproposed(stage, new_view.body.view, acts),
            _ => return,
        };
        self.vote_both(stage, (view, number, digest), header, acts);
    }

    fn vote_for_reproposed(&mut self, stage: &Stage<'_>, view: View, acts: &mut Vec<Act>) {
        let genesis = stage.keys.domain().genesis;
        let known: Vec<_> = self.proposals.values().rev().take(8).cloned().collect();
        for proposal in known {
            let slot = (view, proposal.number(), proposal.digest(&genesis));
            self.vote_both(stage, slot, Some(proposal.header.clone()), acts);
        }
    }

    fn vote_both(
        &mut self,
        stage: &Stage<'_>,
        (view, number, digest): (View, Number, Digest),
        header: Option<sbft::types::Header>,
        acts: &mut Vec<Act>,
    ) {
        let committed_too = self.voted.get(&(view, number, digest));
        if committed_too == Some(&true) || committed_too == Some(&false) && header.is_none() {
            return;
        }
        let mut messages = Vec::new();
        if committed_too.is_none() {
            let prepare = stage.keys.prepare(self.me, PrepareVote { view, number, digest });
            messages.push(Message::Prepare(prepare));
        }
        self.voted.insert((view, number, digest), header.is_some());
        while self.voted.len() > 512 {
            self.voted.pop_first();
        }
        if let Some(header) = header {
            self.proposals.entry(header_hash(&header)).or_insert_with(|| {
                std::sync::Arc::new(sbft::pbft::message::Proposal {
                    header: header.clone(),
                    candidates: Vec::new(),
                })
            });
            while self.proposals.len() > 64 {
                self.proposals.pop_first();
            }
            let vote = CommitVote { view, header, digest, last_config: Number(0) };
            let nonce = stage.draws.bits(Purpose::Nonce, &[view.0, number.0, 5]);
            messages.push(Message::Commit(stage.keys.commit(self.me, vote, nonce)));
        }
        for message in messages {
            let packet = stage.packet(message);
            for to in stage.others(self.me) {
                acts.push(Act { to, delay: Duration::ZERO, packet: packet.clone() });
            }
        }
    }

    /// Votes for numbers, views and digests that nobody proposed.
    pub(super) fn flood(&mut self, stage: &Stage<'_>, key: &[u64; 2], whom: Place, acts: &mut Vec<Act>) {
        for which in 0..4 {
            let draw = |what: u64, bound: u64| {
                stage.draws.below(Purpose::Lie, &[key[0], key[1], 31 + which, what], bound)
            };
            let far = draw(0, 2) == 0;
            let number = if far { u64::MAX - draw(1, 3) } else { stage.store.last().0 + draw(1, 40) };
            let view = View(self.highest_view.0 + draw(2, 3) * if far { 1 << 40 } else { 1 });
            let digest = Digest([draw(3, 256) as u8; 32]);
            let prepare = stage.keys.prepare(self.me, PrepareVote { view, number: Number(number), digest });
            let packet = stage.packet(Message::Prepare(prepare));
            acts.push(Act { to: whom, delay: Duration::ZERO, packet });
        }
    }

    /// Statements with bad signatures, or somebody else's name on them.
    pub(super) fn forge(&mut self, stage: &Stage<'_>, key: &[u64; 2], whom: Place, acts: &mut Vec<Act>) {
        let vote = PrepareVote {
            view: self.highest_view,
            number: stage.store.last().next(),
            digest: Digest([key[1] as u8; 32]),
        };
        let mut prepare = stage.keys.prepare(self.me, vote);
        prepare.signer =
            Place(stage.draws.below(Purpose::Lie, &[key[0], key[1], 41], stage.n as u64 + 2) as u16);
        if prepare.signer == self.me {
            prepare.signature = Signature(bytes::Bytes::from_static(b"forged"));
        }
        acts.push(Act { to: whom, delay: Duration::ZERO, packet: stage.packet(Message::Prepare(prepare)) });
    }
}
