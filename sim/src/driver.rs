//! The driver of the simulated replicas: the node's driver rules, in virtual time.
//!
//! Order is the proof. A promise leaves once every record persisted before it is synced; one
//! sync covers many steps; what promises nothing leaves at once. A broadcast comes back to its
//! sender when it leaves. The replica may die before any output and before any promise leaves.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use sbft::intake::IntakeInput;
use sbft::pbft::{Input, Output, Record};
use sbft::types::Time;

use crate::draw::Purpose;
use crate::network::Packet;
use crate::plan::{CrashAt, Moment};
use crate::scale::meter;
use crate::trace::{self, What};
use crate::world::{Event, Promise, World};

mod blocks;
mod cutting;
mod life;
mod promises;

/// An input and the event that it is the doing of; 0 for what is being dealt with.
pub(crate) type Caused = (u64, Input);

impl World {
    /// Feeds one input to a body's core and carries out what comes of it.
    pub(crate) fn feed(&mut self, body: usize, input: Input) {
        let mut inputs = std::mem::take(&mut self.input_buffer);
        inputs.push_back((0, input));
        self.feed_all(body, inputs);
    }

    fn feed_all(&mut self, body: usize, mut inputs: VecDeque<Caused>) {
        let mut outputs = std::mem::take(&mut self.output_buffer);
        while let Some((cause, input)) = inputs.pop_front() {
            if cause != 0 {
                self.trace.cause = cause;
            }
            if self.violation.is_some() {
                break;
            }
            let now = self.bodies[body].local(self.now);
            let lies = self.bodies[body].lies();
            let Some(mut core) = self.bodies[body].core.take() else { break };
            let begun = self.meter.as_ref().map(|_| (meter::kind_of_input(&input), Instant::now()));
            if guarded(lies, || core.step(now, input, &mut outputs)).is_none() {
                outputs = Vec::new();
                self.kill_liar(body);
                break;
            }
            if let (Some(meter), Some((kind, begun))) = (&mut self.meter, begun) {
                meter.add(kind, 1, begun);
            }
            let verdict = self.checks.stepped(body, &self.bodies[body], &core, &outputs);
            self.bodies[body].core = Some(core);
            self.fail(verdict);
            let alive = self.carry_out(body, &mut outputs, &mut inputs);
            outputs.clear();
            if !alive {
                break;
            }
        }
        self.output_buffer = outputs;
        inputs.clear();
        self.input_buffer = inputs;
        if self.bodies[body].is_up() {
            self.begin_sync(body);
            self.arm(body);
        }
        if let Some(coverage) = &mut self.coverage {
            coverage.see(body, &self.bodies[body]);
        }
    }

    /// Carries out outputs in order. False when the body died on the way.
    fn carry_out(&mut self, body: usize, outputs: &mut Vec<Output>, inputs: &mut VecDeque<Caused>) -> bool {
        for output in outputs.drain(..) {
            if self.dies_here(body) {
                return false;
            }
            self.carry_out_one(body, output);
            if self.violation.is_some() || !self.bodies[body].is_up() {
                return false;
            }
        }
        self.settle_intake(body, inputs);
        self.bodies[body].is_up() && self.release(body, inputs)
    }

    fn carry_out_one(&mut self, body: usize, output: Output) {
        let place = self.bodies[body].place;
        match output {
            Output::Persist(record) => {
                self.trace.event(self.now, Some(body), || What::Persist {
                    record: trace::record(&record, &self.workload),
                });
                let verdict = self.checks.persisted(&self.bodies[body], &record);
                self.fail(verdict);
                if let Some(machine) = &mut self.machine {
                    machine.record(body, &record);
                }
                if let (Some(meter), Record::Payload(candidate)) = (&mut self.meter, &record) {
                    let begun = Instant::now();
                    std::hint::black_box(sbft::wire::record::encode(&record));
                    meter.add("encode:record", candidate.envelopes.len(), begun);
                }
                let binds = record.binds_prepares();
                let position = self.bodies[body].log.append(record);
                if binds {
                    self.bodies[body].binding = position;
                }
            }
            Output::Broadcast(unsigned) => self.promise(body, Promise::Broadcast(unsigned)),
            Output::Repeat(to, message) => self.promise(body, Promise::Repeat(to, message)),
            Output::Tell(to, message) => self.say(body, message, false, &[to]),
            Output::TellAll(message) => {
                let others = self.others(place);
                self.say(body, message, false, &others);
            }
            Output::SendCandidate(to, candidate) => self.post(body, to, Packet::Repair(candidate)),
            Output::FetchCandidates(to, digests) => self.post(body, to, Packet::WantCandidates(digests)),
            Output::FetchBlocks { from, first, last } => {
                self.post(body, from, Packet::WantBlocks(first, last))
            }
            Output::CommitBlock(block) => self.commit(body, block),
            Output::Validate(candidate) => self.begin_check(body, candidate.origin, candidate),
            Output::Proposed(digest) => {
                let state = &mut self.bodies[body];
                let now = state.local(self.now);
                state.intake.step(now, IntakeInput::Proposed(digest), &mut state.intake_outputs);
            }
            Output::Release { origin, digest } => {
                self.trace.event(self.now, Some(body), || What::Release {
                    digest: digest.to_string(),
                    origin: origin.0,
                });
                self.bodies[body].released.push(digest);
                if origin != place {
                    self.room_for(body, origin, &digest);
                }
            }
            Output::Accuse(offence) => {
                self.trace.event(self.now, Some(body), || What::accuse(&offence));
                let verdict = self.checks.accused(body, &self.bodies[body], &offence);
                self.fail(verdict);
            }
            Output::Note(note) => {
                self.trace.event(self.now, Some(body), || {
                    trace::note(&note, &self.bodies[body].store, &self.workload)
                });
                let verdict = self.checks.noted(&self.bodies[body], &note);
                self.fail(verdict);
            }
        }
    }

    /// One more point at which this body may die; whether it did.
    fn dies_here(&mut self, body: usize) -> bool {
        let (dies, down_for) = self.point(body);
        if dies {
            self.crash_for(body, down_for);
        }
        dies
    }

    /// Goes on to the next point at which this body may die; whether it should, and for how long.
    fn point(&mut self, body: usize) -> (bool, Option<Duration>) {
        self.bodies[body].ordinal += 1;
        let ordinal = self.bodies[body].ordinal;
        let planned = !self.crash_points.is_empty() && self.crash_points.contains(&(body, ordinal));
        let down_for = planned.then(|| self.down_for.remove(&(body, ordinal))).flatten();
        let rate = self.settings.crash_rate;
        let drawn =
            rate > 0.0 && !self.healed && self.draws.chance(Purpose::Crash, &[body as u64, ordinal], rate);
        if drawn && let Some(crashes) = &mut self.crashed_by_chance {
            crashes.push(CrashAt { body, moment: Moment::Output(ordinal), down_for: None });
        }
        (planned || drawn, down_for)
    }

    /// Sees to it that a tick comes when the core wants one.
    pub(crate) fn arm(&mut self, body: usize) {
        let state = &self.bodies[body];
        let Some(core) = &state.core else { return };
        let deadlines = [core.next_deadline(), state.intake.next_deadline()];
        let Some(deadline) = deadlines.into_iter().flatten().min() else { return };
        let micros = state.global(deadline).0.as_nanos().div_ceil(1000) as u64;
        let at = Time(Duration::from_micros(micros)).max(self.now);
        if state.tick.is_none_or(|tick| at < tick) {
            let incarnation = state.incarnation;
            self.bodies[body].tick = Some(at);
            self.ticks += 1;
            self.schedule_at(at, Event::Tick { body, incarnation });
        }
    }
}

/// Runs a core's code; a liar's core may stumble over its own lies, an honest one must not.
fn guarded<T>(lies: bool, run: impl FnOnce() -> T) -> Option<T> {
    if lies { catch_unwind(AssertUnwindSafe(run)).ok() } else { Some(run()) }
}

#[cfg(test)]
mod tests;
