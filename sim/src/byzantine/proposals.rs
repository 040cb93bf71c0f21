//! Lies of a primary about what comes next.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use sbft::header::header_hash;
use sbft::pbft::message::{CommitVote, Message, PrePrepare, PrepareVote, Proposal, Unsigned};
use sbft::types::{Candidate, CandidateRef, Digest, Header, Number};

use super::{Act, Fork, Liar, Stage, Strategy};
use crate::draw::Purpose;
use crate::network::{Kind, Packet};
use crate::workload;

impl Liar {
    /// The core proposes: one story, two, a broken one, a late one or none.
    pub(super) fn bend_proposal(
        &mut self,
        stage: &mut Stage<'_>,
        pre_prepare: &PrePrepare,
        acts: &mut Vec<Act>,
    ) {
        let key = [u64::from(self.me.0), pre_prepare.view.0, pre_prepare.proposal.number().0];
        if self.does(Strategy::SilentPrimary) {
            acts.clear();
            return;
        }
        if self.does(Strategy::ProposeToFew) {
            let few = stage.keys.quorum() - 1;
            let first = stage.draws.below(Purpose::Lie, &key, acts.len().max(1) as u64) as usize;
            let first = first.min(acts.len());
            acts.rotate_left(first);
            acts.truncate(few);
        }
        if self.does(Strategy::SlowPrimary) {
            let delay = stage.draws.below(Purpose::Lie, &[key[0], key[1], 21], 380);
            for act in &mut *acts {
                act.delay = Duration::from_millis(delay);
            }
        }
        if self.does(Strategy::BadProposals)
            && stage.draws.below(Purpose::Lie, &[key[0], key[1], key[2], 22], 2) == 0
        {
            let packet = self.bad_proposal(stage, pre_prepare, &key, acts);
            for act in &mut *acts {
                if matches!(act.packet, Packet::Message(_)) {
                    act.packet = packet.clone();
                }
            }
        }
        if self.does(Strategy::EquivocateHalves) || self.does(Strategy::EquivocateOne) {
            self.tell_two_stories(stage, pre_prepare, acts);
        }
    }

    fn tell_two_stories(&mut self, stage: &mut Stage<'_>, pre_prepare: &PrePrepare, acts: &mut Vec<Act>) {
        let (view, number) = (pre_prepare.view, pre_prepare.proposal.number());
        if let Some(fork) = self.forks.get(&(view, number)) {
            // Said again: the other story was told once, and the rest hear this one.
            let told = fork.told.clone();
            acts.retain(|act| !told.contains(&act.to));
            return;
        }
        let told = self.told_otherwise(stage, view, number);
        // A client of the liar's own submits it, so it is valid.
        let envelope = workload::envelope(stage.workload.submit_unnamed(), 0);
        let other = self.made_up(vec![envelope]);
        let below = number.0.checked_sub(1).and_then(|below| self.other_chain.get(&Number(below)));
        let previous_hash = match below {
            Some(hash) if stage.draws.below(Purpose::Lie, &[view.0, number.0, 23], 2) == 0 => Some(*hash),
            _ => pre_prepare.proposal.header.previous_hash,
        };
        let header = Header { number, previous_hash, data_hash: other.data_hash };
        self.other_chain.insert(number, header_hash(&header));
        let named = CandidateRef { origin: self.me, digest: other.digest };
        let proposal = Arc::new(Proposal { header, candidates: vec![named] });
        let digest = proposal.digest(&stage.keys.domain().genesis);
        let sealed = stage.keys.seal(self.me, Unsigned::PrePrepare { view, proposal: proposal.clone() }, 0);
        let packet = stage.packet(sealed);
        acts.retain(|act| !told.contains(&act.to));
        let prepare = stage.keys.prepare(self.me, PrepareVote { view, number, digest });
        let vote = CommitVote { view, header: proposal.header.clone(), digest, last_config: Number(0) };
        let commit =
            stage.keys.commit(self.me, vote, stage.draws.bits(Purpose::Nonce, &[view.0, number.0, 3]));
        let (prepare, commit) =
            (stage.packet(Message::Prepare(prepare)), stage.packet(Message::Commit(commit)));
        for to in &told {
            let act = |packet: &Packet| Act { to: *to, delay: Duration::ZERO, packet: packet.clone() };
            acts.push(act(&Packet::Repair(other.clone())));
            acts.extend([act(&packet), act(&prepare), act(&commit)]);
        }
        self.forks.insert((view, number), Fork { told });
    }

    /// A candidate of its own, which it answers for when asked.
    fn made_up(&mut self, envelopes: Vec<Bytes>) -> Arc<Candidate> {
        self.sequence += 1;
        let candidate = workload::candidate(self.me, self.sequence, envelopes);
        self.stock.insert(candidate.digest, candidate.clone());
        candidate
    }

    /// A valid candidate that says it is its victim's, of low sequence, so that it would stand at
    /// the head of the victim's line if that could be believed.
    pub(super) fn forge_origin(&mut self, stage: &mut Stage<'_>, acts: &mut Vec<Act>) {
        let victim = self.victim(stage);
        let index = stage.workload.submit_unnamed();
        let candidate = workload::candidate(victim, index % 7, vec![workload::envelope(index, 0)]);
        self.stock.insert(candidate.digest, candidate.clone());
        for to in stage.others(self.me) {
            acts.push(Act { to, delay: Duration::ZERO, packet: Packet::Repair(candidate.clone()) });
        }
    }

    /// A proposal that breaks one rule, properly signed.
    fn bad_proposal(
        &mut self,
        stage: &mut Stage<'_>,
        pre_prepare: &PrePrepare,
        key: &[u64; 3],
        acts: &mut Vec<Act>,
    ) -> Packet {
        let mut proposal = pre_prepare.proposal.as_ref().clone();
        let mut view = pre_prepare.view;
        match stage.draws.below(Purpose::Lie, &[key[0], key[1], key[2], 24], 9) {
            0 => proposal.header.previous_hash = Some(Digest([0xee; 32])),
            1 => proposal.header.data_hash = Digest([0xdd; 32]),
            2 => proposal.header.number = Number(proposal.header.number.0 + 1),
            3 => proposal.candidates.clear(),
            4 => proposal.candidates.extend(proposal.candidates.clone()),
            5 => proposal.header.number = Number(u64::MAX),
            6 => {
                proposal.candidates = vec![CandidateRef { origin: self.me, digest: Digest([0xcc; 32]) }];
            }
            7 => view = view.next(),
            _ => {
                // Names an envelope that nobody submitted.
                let bad = self.made_up(vec![Bytes::from_static(b"bad")]);
                proposal.header.data_hash = bad.data_hash;
                proposal.candidates = vec![CandidateRef { origin: self.me, digest: bad.digest }];
                for to in stage.others(self.me) {
                    let packet = Packet::Repair(bad.clone());
                    acts.push(Act { to, delay: Duration::ZERO, packet });
                }
            }
        }
        let proposal = Arc::new(proposal);
        stage.packet(stage.keys.seal(self.me, Unsigned::PrePrepare { view, proposal }, 0))
    }

    /// Where it told two stories, its core's votes go only to those who heard the core's.
    pub(super) fn keep_stories_apart(&self, label: &crate::network::Label, acts: &mut Vec<Act>) {
        if !matches!(label.kind, Kind::Prepare | Kind::Commit) {
            return;
        }
        if let Some(fork) = self.forks.get(&(label.view, label.number)) {
            acts.retain(|act| !fork.told.contains(&act.to));
        }
    }
}
