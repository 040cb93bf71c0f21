//! Lies of primaries: proposing nothing, late, next to nothing, or two things.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use super::attack::{Act, Attack, Scene};
use crate::header::header_hash;
use crate::pbft::Output;
use crate::pbft::message::{Message, Proposal, Unsigned};
use crate::types::{Candidate, CandidateRef, Digest, Header, Number, Place, RequestId, Time, View};

/// The proposal in what the core asks for, if it is one.
fn proposal(output: &Output) -> Option<(View, &Arc<Proposal>)> {
    match output {
        Output::Broadcast(Unsigned::PrePrepare { view, proposal }) => Some((*view, proposal)),
        _ => None,
    }
}

/// Proposes to nobody but itself.
pub(super) struct Silent;

impl Attack for Silent {
    fn say(&mut self, scene: &mut Scene, output: Output) -> Option<Output> {
        match output {
            Output::Broadcast(what @ Unsigned::PrePrepare { .. }) => {
                scene.act(Act::Only { to: Vec::new(), what, own: true });
                None
            }
            Output::Repeat(_, message) if scene.is_own_proposal(&message) => None,
            output => Some(output),
        }
    }
}

/// Each proposal leaves, and counts for itself, a while after the core made it.
pub(super) struct Slow {
    by: Duration,
    /// Oldest first.
    held: VecDeque<(Time, Output)>,
}

impl Slow {
    pub(super) fn by(delay: Duration) -> Self {
        Self { by: delay, held: VecDeque::new() }
    }
}

impl Attack for Slow {
    fn say(&mut self, scene: &mut Scene, output: Output) -> Option<Output> {
        if proposal(&output).is_none() {
            return Some(output);
        }
        self.held.push_back((scene.now.after(self.by), output));
        None
    }

    fn wake(&mut self, scene: &mut Scene) {
        while self.held.front().is_some_and(|(due, _)| *due <= scene.now)
            && let Some((_, output)) = self.held.pop_front()
        {
            scene.act(Act::Output(output));
        }
    }
}

/// Keeps all candidates from its core, and now and then proposes a single envelope of one of them in
/// a candidate of its own. What it proposes, it proposes at once; the rest waits.
pub(super) struct Crawling {
    every: Duration,
    last: Time,
    waiting: VecDeque<Arc<Candidate>>,
    proposed: BTreeSet<RequestId>,
}

/// Candidates that a crawling primary picks from.
const WAITING: usize = 256;
/// Envelopes that it remembers to have proposed.
const PROPOSED: usize = 4096;

impl Crawling {
    pub(super) fn every(pace: Duration) -> Self {
        Self { every: pace, last: Time::ZERO, waiting: VecDeque::new(), proposed: BTreeSet::new() }
    }
}

impl Attack for Crawling {
    fn hear(&mut self, scene: &mut Scene, candidate: &Arc<Candidate>) -> bool {
        if !scene.leads {
            return true;
        }
        if self.waiting.len() == WAITING {
            self.waiting.pop_front();
        }
        self.waiting.push_back(candidate.clone());
        false
    }

    fn lets_in(&self, scene: &Scene) -> bool {
        !scene.leads
    }

    fn wake(&mut self, scene: &mut Scene) {
        if !scene.leads || scene.now.since(self.last) < self.every {
            return;
        }
        if self.proposed.len() >= PROPOSED {
            self.proposed.clear();
        }
        let envelope = self.waiting.iter().find_map(|candidate| {
            let mut all = candidate.ids.iter().zip(&candidate.envelopes);
            all.find(|(id, _)| !self.proposed.contains(*id)).map(|(id, envelope)| (*id, envelope.clone()))
        });
        let Some((id, envelope)) = envelope else { return };
        self.proposed.insert(id);
        if let Some(own) = scene.candidate(vec![envelope]) {
            self.last = scene.now;
            scene.act(Act::Candidate(own));
        }
    }
}

/// Half of the others hear what the core proposes, the rest something else at the same number: a
/// chain of its own, whose blocks hold one of the envelopes each.
#[derive(Default)]
pub(super) struct Halves {
    /// The last block of the other chain.
    fork: Option<(Number, Digest)>,
    /// What the core proposed at the numbers that were told twice.
    told: BTreeMap<Number, View>,
}

/// Numbers that are remembered as told twice: more than any window.
const TOLD: usize = 1024;

impl Halves {
    fn other(&self, proposal: &Proposal, scene: &mut Scene) -> Option<Proposal> {
        let number = proposal.number();
        let envelope = proposal
            .candidates
            .iter()
            .find_map(|named| scene.stock.get(&named.digest)?.envelopes.first().cloned())?;
        let own = scene.candidate(vec![envelope])?;
        let on_the_fork = self.fork.filter(|(tip, _)| tip.next() == number).map(|(_, hash)| hash);
        let header = Header {
            number,
            previous_hash: on_the_fork.or(proposal.header.previous_hash),
            data_hash: own.data_hash,
        };
        let candidates = vec![CandidateRef { origin: scene.me, digest: own.digest }];
        // They must have it, or they would ask for it.
        for place in scene.others() {
            scene.send(place, crate::transport::Class::Bulk, own.encoding.clone());
        }
        Some(Proposal { header, candidates })
    }

    /// The smaller half hears the truth.
    fn halves(scene: &Scene) -> (Vec<Place>, Vec<Place>) {
        let others: Vec<_> = scene.others().collect();
        let (one, other) = others.split_at(others.len() / 2);
        (one.to_vec(), other.to_vec())
    }
}

impl Attack for Halves {
    fn say(&mut self, scene: &mut Scene, output: Output) -> Option<Output> {
        if let Output::Repeat(place, message) = &output {
            let told = match message {
                Message::PrePrepare(it) => Some((it.proposal.number(), it.view)),
                Message::Prepare(it) if it.signer == scene.me => Some((it.vote.number, it.vote.view)),
                _ => None,
            };
            let is_told = told.is_some_and(|(number, view)| self.told.get(&number) == Some(&view));
            let (_, other) = Self::halves(scene);
            return (!(is_told && other.contains(place))).then_some(output);
        }
        let Some((view, proposal)) = proposal(&output) else { return Some(output) };
        let proposal = Arc::clone(proposal);
        let Some(other) = self.other(&proposal, scene) else { return Some(output) };
        let number = proposal.number();
        self.fork = Some((number, header_hash(&other.header)));
        if self.told.len() >= TOLD {
            self.told.pop_first();
        }
        self.told.insert(number, view);
        let (one, rest) = Self::halves(scene);
        scene.act(Act::Only { to: one, what: Unsigned::PrePrepare { view, proposal }, own: true });
        let what = Unsigned::PrePrepare { view, proposal: Arc::new(other) };
        scene.act(Act::Only { to: rest, what, own: false });
        None
    }
}
