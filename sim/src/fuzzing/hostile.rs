//! A network of four, one of whom lies as the bytes say: hostile messages of every type, well
//! signed, well formed or not, at running cores with all checks on.
//!
//! The first bytes choose the liar's place, losses and crashes; the others are its acts, some at
//! each of its wakes. Afterwards the network heals, and everything that honest replicas accepted
//! must commit.

use std::sync::Arc;
use std::time::Duration;

use sbft::pbft::message::{
    Message, Offence, PreparedCertificate, Proposal, SignedViewChange, Status, ViewChange,
};
use sbft::plant::Plants;
use sbft::types::{Digest, Header, Number, Place, Time, View};

use super::Reader;
use crate::byzantine::{Attack, Stage, Trigger};
use crate::network::{Conditions, Delay, Packet};
use crate::plan::{Plan, Report, Show, Submission};
use crate::world::{Fault, Settings};

/// Acts at each wake.
const AT_ONCE: usize = 6;

/// Runs it; panics when a check fails.
pub fn run(data: &[u8]) {
    let report = report(data, Plants::NONE);
    if let Some(violation) = report.violation {
        panic!("{violation}");
    }
}

/// Runs it, with these rules taken away.
pub fn report(data: &[u8], plants: Plants) -> Report {
    let mut script = Reader::new(data);
    let liar = Place(script.below(4) as u16);
    let mut plan = plan(&mut script, liar);
    plan.settings.config.plants = plants;
    let attack = Scripted { script };
    plan.run_with(Show::default(), |world| {
        world.attach(liar, "scripted", Box::new(attack), Trigger::default())
    })
    .expect("the plan names the liar")
}

fn plan(script: &mut Reader, liar: Place) -> Plan {
    let mut settings = Settings::calm(u64::from(script.byte()), 4);
    settings.conditions = Conditions {
        loss: [0.0, 0.0, 0.05, 0.2][script.below(4)],
        ..Conditions::clean(Delay::Exponential {
            least: Duration::from_millis(1),
            mean: Duration::from_millis(script.below(8) as u64),
        })
    };
    settings.config.window = [1, 2, 4, 8][script.below(4)];
    let mut plan = Plan::quiet(settings, Time(Duration::from_millis(1500)));
    plan.liars.push((liar, Vec::new()));
    for _ in 0..script.below(3) {
        let body = script.below(4);
        let at = Time(Duration::from_millis(50 + u64::from(script.byte()) * 5));
        plan.faults.push((at, Fault::Crash(body)));
    }
    for index in 0..24 {
        let at = Time(Duration::from_millis(5 + index * 60));
        let place = Place((index % 4) as u16);
        plan.submissions.push(Submission { at, place, index, variant: 0 });
    }
    plan
}

/// An attack whose acts are read from bytes.
#[derive(Debug)]
struct Scripted {
    script: Reader,
}

impl Attack for Scripted {
    fn wake(&mut self, stage: &mut Stage<'_>) {
        for _ in 0..AT_ONCE {
            if self.script.is_empty() {
                return;
            }
            let packet = self.packet(stage);
            let to = self.script.below(5);
            match (packet, stage.others().get(to)) {
                (Some(packet), Some(place)) => stage.send(*place, packet),
                (Some(packet), None) => stage.send_all(&packet),
                (None, _) => {}
            }
        }
    }

    fn hear(&mut self, _: &mut Stage<'_>, _: Place, packet: &Packet) -> bool {
        // Now and then it closes its own core's ears.
        !matches!(packet, Packet::Message(_))
            || self.script.is_empty()
            || !self.script.byte().is_multiple_of(16)
    }
}

impl Scripted {
    fn packet(&mut self, stage: &mut Stage<'_>) -> Option<Packet> {
        let kind = self.script.below(16);
        match kind {
            0 => {
                let (view, number) = self.slot(stage);
                let digest = self.digest(stage);
                Some(stage.prepare(view, number, digest))
            }
            1 => {
                let (view, _) = self.slot(stage);
                let header = self.header(stage);
                let digest = self.digest(stage);
                Some(stage.commit(view, &header, digest))
            }
            2 => {
                let (view, _) = self.slot(stage);
                let proposal = self.proposal(stage)?;
                Some(stage.pre_prepare(view, proposal))
            }
            3 => {
                let change = self.view_change(stage);
                Some(stage.packet(Message::ViewChange(change)))
            }
            4 => self.new_view(stage),
            5 => Some(stage.packet(Message::Status(self.status(stage)))),
            6 => self.offence(stage).map(|offence| stage.packet(Message::Offence(offence))),
            7 | 8 => {
                let memory = if kind == 7 {
                    stage.known.memory.iter().cloned().collect()
                } else {
                    stage.known.relics.clone()
                };
                memory.get(self.script.below(memory.len())).cloned()
            }
            9 => {
                let envelopes =
                    (0..self.script.below(5)).filter_map(|_| stage.envelope()).collect::<Vec<_>>();
                let origin = self.origin(stage);
                let candidate = stage.candidate_of(origin, envelopes);
                Some(if self.script.byte() & 1 == 0 {
                    Packet::Candidate(candidate)
                } else {
                    Packet::Repair(candidate)
                })
            }
            10 => {
                let candidates: Vec<_> = stage.known.candidates.values().cloned().collect();
                let candidate = candidates.get(self.script.below(candidates.len()))?.clone();
                Some(Packet::Repair(candidate))
            }
            11 => {
                Some(Packet::WantCandidates((0..self.script.below(40)).map(|_| self.digest(stage)).collect()))
            }
            12 => Some(Packet::WantBlocks(Number(self.script.number()), Number(self.script.number()))),
            13 => self.blocks(stage),
            14 => {
                stage.flap(stage.others()[self.script.below(3)]);
                None
            }
            _ => {
                // A message under somebody else's name: no checker lets it through.
                let (view, number) = self.slot(stage);
                let digest = self.digest(stage);
                let Packet::Message(letter) = stage.prepare(view, number, digest) else { return None };
                let Message::Prepare(mut prepare) = letter.message.clone() else { return None };
                prepare.signer = self.origin(stage);
                Some(stage.packet(Message::Prepare(prepare)))
            }
        }
    }

    /// A view near the liar's own, or anywhere.
    fn view(&mut self, stage: &Stage<'_>) -> View {
        let own = stage.view().0;
        match self.script.below(6) {
            0 => View(self.script.number()),
            1 => View(own.saturating_sub(1)),
            2 => View(own + 1),
            3 => View(own + self.script.below(6) as u64),
            _ => View(own),
        }
    }

    fn number(&mut self, stage: &Stage<'_>) -> Number {
        let next = stage.next_number().0;
        match self.script.below(6) {
            0 => Number(self.script.number()),
            1 => Number(next.saturating_sub(1)),
            2 => Number(next + self.script.below(10) as u64),
            _ => Number(next),
        }
    }

    fn slot(&mut self, stage: &Stage<'_>) -> (View, Number) {
        let known: Vec<_> = stage.known.proposals.keys().copied().collect();
        match self.script.byte() {
            even if even & 1 == 0 && !known.is_empty() => {
                let (view, number, _) = known[self.script.below(known.len())];
                (view, number)
            }
            _ => (self.view(stage), self.number(stage)),
        }
    }

    fn digest(&mut self, stage: &Stage<'_>) -> Digest {
        let known: Vec<Digest> = stage
            .known
            .proposals
            .keys()
            .map(|(_, _, digest)| *digest)
            .chain(stage.known.candidates.keys().copied())
            .collect();
        match self.script.below(4) {
            0 => Digest([self.script.byte(); 32]),
            _ if known.is_empty() => stage.genesis(),
            _ => known[self.script.below(known.len())],
        }
    }

    fn origin(&mut self, stage: &Stage<'_>) -> Place {
        match self.script.below(4) {
            0 => Place(self.script.number() as u16),
            1 => stage.me,
            _ => stage.others()[self.script.below(3)],
        }
    }

    fn header(&mut self, stage: &Stage<'_>) -> Header {
        let known: Vec<_> = stage.known.proposals.values().cloned().collect();
        match known.get(self.script.below(known.len() + 1)) {
            Some(proposal) => proposal.header.clone(),
            None => Header {
                number: self.number(stage),
                previous_hash: Some(self.digest(stage)),
                data_hash: self.digest(stage),
            },
        }
    }

    fn proposal(&mut self, stage: &mut Stage<'_>) -> Option<Arc<Proposal>> {
        let known: Vec<_> = stage.known.proposals.values().cloned().collect();
        let mut proposal = match known.get(self.script.below(known.len() + 1)) {
            Some(proposal) => Proposal::clone(proposal),
            None => {
                let number = self.number(stage);
                let previous = self.header(stage).previous_hash;
                let (candidate, proposal) = stage.other_proposal(number, previous)?;
                stage.send_all(&Packet::Candidate(candidate));
                Proposal::clone(&proposal)
            }
        };
        match self.script.below(8) {
            0 => proposal.header.number = self.number(stage),
            1 => proposal.header.previous_hash = Some(self.digest(stage)),
            2 => proposal.header.previous_hash = None,
            3 => proposal.candidates.clear(),
            4 => proposal.candidates.extend(proposal.candidates.first().copied()),
            5 => proposal.candidates.reverse(),
            _ => {}
        }
        Some(Arc::new(proposal))
    }

    /// A certificate that the liar holds, or one with something wrong.
    fn certificate(&mut self, stage: &mut Stage<'_>) -> Option<Arc<PreparedCertificate>> {
        let known: Vec<_> = stage.known.certificates.values().cloned().collect();
        let mut certificate = match known.get(self.script.below(known.len() + 1)) {
            Some(certificate) => PreparedCertificate::clone(certificate),
            None => {
                let proposal = self.proposal(stage)?;
                let digest = proposal.digest(&stage.genesis());
                let votes = stage.known.prepares.iter().find(|((_, _, known), _)| *known == digest);
                let (view, signatures) = match votes {
                    Some(((view, ..), votes)) => {
                        (*view, votes.iter().map(|(who, sig)| (*who, sig.clone())).collect())
                    }
                    None => (self.view(stage), Vec::new()),
                };
                PreparedCertificate { view, proposal, signatures }
            }
        };
        match self.script.below(8) {
            0 => certificate.view = self.view(stage),
            1 => certificate.signatures.truncate(2),
            2 => certificate.signatures.reverse(),
            3 => {
                let first = certificate.signatures.first().cloned();
                certificate.signatures.extend(first);
            }
            _ => {}
        }
        Some(Arc::new(certificate))
    }

    fn view_change(&mut self, stage: &mut Stage<'_>) -> Arc<SignedViewChange> {
        let view = self.view(stage);
        let block = Number(stage.store.last().0.saturating_sub(self.script.below(4) as u64));
        let base = stage.store.block(block).map(|block| Arc::new(block.certificate.clone()));
        let prepared = (0..self.script.below(4)).filter_map(|_| self.certificate(stage)).collect();
        stage.view_change(ViewChange { view, base, prepared })
    }

    fn new_view(&mut self, stage: &mut Stage<'_>) -> Option<Packet> {
        let view = self.view(stage);
        let mut changes: Vec<_> =
            stage.known.view_changes.values().flat_map(|changes| changes.values().cloned()).collect();
        for _ in 0..self.script.below(3) {
            changes.push(self.view_change(stage));
        }
        if self.script.byte() & 1 == 0 {
            changes.retain(|change| change.body.view == view);
        }
        for _ in 0..changes.len().saturating_sub(2 + self.script.below(3)) {
            changes.remove(self.script.below(changes.len()));
        }
        (!changes.is_empty()).then(|| stage.new_view(view, changes))
    }

    fn status(&mut self, stage: &Stage<'_>) -> Status {
        let flags = self.script.byte();
        Status {
            view: self.view(stage),
            active: flags & 1 == 0,
            follows: flags & 14 == 14,
            committed: self.number(stage),
            accepted: self.number(stage),
            prepared: self.number(stage),
            ..Status::default()
        }
    }

    fn offence(&mut self, stage: &mut Stage<'_>) -> Option<Offence> {
        let prepares: Vec<_> = stage
            .known
            .memory
            .iter()
            .filter_map(|packet| match packet {
                Packet::Message(letter) => match &letter.message {
                    Message::Prepare(prepare) => Some(prepare.clone()),
                    _ => None,
                },
                _ => None,
            })
            .collect();
        let mut pick = || prepares.get(self.script.below(prepares.len())).cloned();
        Some(Offence::Prepares(Box::new(pick()?), Box::new(pick()?)))
    }

    fn blocks(&mut self, stage: &Stage<'_>) -> Option<Packet> {
        let first = self.script.below(stage.store.last().0 as usize + 1) as u64;
        let blocks = (first..first + 3).filter_map(|number| stage.store.block(Number(number)).cloned());
        let blocks: Vec<_> = blocks
            .map(|block| {
                let mut block = block.as_ref().clone();
                match self.script.below(8) {
                    0 => block.data.clear(),
                    1 => block.certificate.view = self.view(stage),
                    2 => block.certificate.signatures.truncate(2),
                    3 => block.certificate.header.number = self.number(stage),
                    4 => block.ids = [].into(),
                    _ => {}
                }
                Arc::new(block)
            })
            .collect();
        (!blocks.is_empty()).then_some(Packet::Blocks(blocks))
    }
}
