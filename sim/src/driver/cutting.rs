//! The intake of a body: what clients bring goes in, candidates come out.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use sbft::consenter::sbft::rules;
use sbft::intake::{Batch, IntakeInput, IntakeOutput};
use sbft::pbft::Input;
use sbft::types::Candidate;
use sbft::wire;

use super::Caused;
use crate::network::Packet;
use crate::trace::What;
use crate::violation::{Class, Violation};
use crate::world::World;

/// Candidates that an intake may cut at one instant; a run has fewer envelopes than this. More are
/// the same ones again and again: cut, let go, cut.
const CUTS_AT_ONCE: usize = 1000;

impl World {
    /// Gives the envelopes that wait to the intake, as far as its pool has room.
    pub(crate) fn offer(&mut self, body: usize) {
        let state = &mut self.bodies[body];
        let now = state.local(self.now);
        while state.intake.has_room()
            && !state.intake.is_backlogged(now)
            && let Some((index, envelope)) = state.stalled.pop_front()
        {
            let id = envelope.id;
            let begun = self.meter.as_ref().map(|_| Instant::now());
            state.intake.step(now, IntakeInput::Envelopes(vec![envelope]), &mut state.intake_outputs);
            if let (Some(meter), Some(begun)) = (&mut self.meter, begun) {
                meter.add("intake:envelope", 1, begun);
            }
            if state.intake_outputs.contains(&IntakeOutput::Accepted(id)) {
                self.checks.accepted(state.place, state.incarnation, index, &id);
            }
        }
    }

    /// Works off what the intake wants, when no input of the core led to it.
    pub(crate) fn settle(&mut self, body: usize) {
        let mut inputs = std::mem::take(&mut self.input_buffer);
        self.settle_intake(body, &mut inputs);
        self.feed_all(body, inputs);
    }

    /// Tells the intake what the core released and does what it asks for. What it cuts comes
    /// before all other inputs.
    pub(super) fn settle_intake(&mut self, body: usize, inputs: &mut VecDeque<Caused>) {
        let mut own = Vec::new();
        loop {
            let state = &mut self.bodies[body];
            let now = state.local(self.now);
            for digest in state.released.drain(..) {
                state.intake.step(now, IntakeInput::Released(digest), &mut state.intake_outputs);
            }
            if !state.stalled.is_empty() {
                self.offer(body);
            }
            let mut outputs = std::mem::take(&mut self.bodies[body].intake_outputs);
            if outputs.is_empty() {
                break;
            }
            for output in outputs.drain(..) {
                match output {
                    IntakeOutput::Cut(batch) => {
                        own.extend(self.cut(body, batch));
                        if self.violation.is_some() || !self.bodies[body].is_up() {
                            return;
                        }
                    }
                    IntakeOutput::Revalidate(envelopes) => {
                        for (id, frame) in envelopes {
                            let valid = self.workload.revalidate(frame);
                            let config_sequence = self.workload.config_sequence();
                            let input = IntakeInput::Revalidated { id, config_sequence, valid };
                            let state = &mut self.bodies[body];
                            state.intake.step(now, input, &mut state.intake_outputs);
                        }
                    }
                    // Answers to clients, who do not listen here.
                    IntakeOutput::Accepted(_)
                    | IntakeOutput::Duplicate { .. }
                    | IntakeOutput::Full(_)
                    | IntakeOutput::Done { .. }
                    | IntakeOutput::Dropped(_) => {}
                }
            }
            if self.bodies[body].intake_outputs.is_empty() {
                self.bodies[body].intake_outputs = outputs; // its room, for the next time
            }
        }
        for input in own.into_iter().rev() {
            inputs.push_front(input);
        }
    }

    /// A body lets its candidates go as fast as it cuts them: nothing else would ever happen again.
    /// From an honest one it is a fault; one of the f is stopped.
    pub(super) fn cuts_for_ever(&mut self, body: usize) {
        if !self.bodies[body].is_honest() {
            return self.kill_liar(body);
        }
        let place = self.bodies[body].place;
        let text = format!("{place} lets its candidates go as fast as it cuts them");
        self.fail(Err(Violation::new(Class::Storm, "candidates", text)));
    }

    /// Makes a candidate of a batch, and sends it to all others; gives the input for the core.
    pub(super) fn cut(&mut self, body: usize, batch: Batch) -> Option<Caused> {
        let place = self.bodies[body].place;
        let cuts = &mut self.bodies[body].cuts;
        if cuts.0 != self.now {
            *cuts = (self.now, 0);
        }
        cuts.1 += 1;
        if cuts.1 > CUTS_AT_ONCE {
            self.cuts_for_ever(body);
            return None;
        }
        let sequence = batch.sequence;
        let candidate = match wire::candidate::encode(place, sequence, batch.envelopes) {
            Ok(candidate) => Arc::new(candidate),
            Err(error) => {
                let text =
                    format!("{place} cuts a batch of accepted envelopes that is no candidate: {error}");
                self.fail(Err(Violation::new(Class::Safety, "encoding", text)));
                return None;
            }
        };
        if self.machine.is_some() {
            self.encode_work(body, candidate, batch.config_sequence);
            return None;
        }
        Some(self.hand_out(body, candidate, batch.config_sequence))
    }

    /// Sends an own candidate to all others, and gives it to the core.
    pub(crate) fn send_own(&mut self, body: usize, candidate: Arc<Candidate>, config_sequence: u64) {
        let own = self.hand_out(body, candidate, config_sequence);
        let mut inputs = std::mem::take(&mut self.input_buffer);
        self.settle_intake(body, &mut inputs);
        inputs.push_front(own);
        self.feed_all(body, inputs);
    }

    /// Sends an own candidate to all others; gives the input for the core.
    fn hand_out(&mut self, body: usize, candidate: Arc<Candidate>, config_sequence: u64) -> Caused {
        let place = self.bodies[body].place;
        let state = &mut self.bodies[body];
        let now = state.local(self.now);
        let own = IntakeInput::Own { sequence: candidate.sequence, digest: candidate.digest };
        state.intake.step(now, own, &mut state.intake_outputs);
        let dealt_with = self.trace.cause;
        let cut = self.trace.event(self.now, Some(body), || What::cut(&candidate, &self.workload));
        self.trace.cause = cut;
        for to in self.others(place) {
            self.post(body, to, Packet::Candidate(candidate.clone()));
        }
        self.trace.cause = dealt_with;
        let candidate = rules::vouch_known(candidate, config_sequence);
        (cut, Input::Candidate { from: place, candidate, config_sequence })
    }
}
