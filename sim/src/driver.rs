//! The driver of the simulated replicas: the node's driver rules, in virtual time.
//!
//! Order is the proof. A promise leaves once every record persisted before it is synced; one
//! sync covers many steps; what promises nothing leaves at once. A broadcast comes back to its
//! sender when it leaves. The replica may die before any output and before any promise leaves.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use sbft::consenter::sbft::rules;
use sbft::disk::MemoryDisk;
use sbft::intake::{Batch, Intake, IntakeInput, IntakeOutput};
use sbft::pbft::{Input, Output, Replica, Role};
use sbft::plant::Plant;
use sbft::types::{Number, Time};
use sbft::wire;

use crate::checks;
use crate::disk::{BlockStore, Log, add_wrongs};
use crate::draw::Purpose;
use crate::network::{Label, Packet, Ticket, label};
use crate::plan::{CrashAt, Moment};
use crate::signing;
use crate::trace::{self, What};
use crate::violation::{Class, Violation};
use crate::world::{CrashWhen, Event, Parcel, Promise, World, intake_config};

/// An input and the event that it is the doing of; 0 for what is being dealt with.
pub(crate) type Caused = (u64, Input);

/// Candidates that an intake may cut at one instant; a run has fewer envelopes than this. More are
/// the same ones again and again: cut, let go, cut.
const CUTS_AT_ONCE: usize = 1000;

impl World {
    /// A body starts, or starts again, from what its disk holds.
    pub(crate) fn boot(&mut self, body: usize) {
        let draws = self.draws;
        let state = &mut self.bodies[body];
        state.incarnation += 1;
        let key = [body as u64, u64::from(state.incarnation)];
        let shows = Duration::from_micros(draws.below(Purpose::Clock, &key, 10_000_000));
        state.clock.restart(self.now, shows);
        state.tick = None;
        state.syncing = None;
        state.block_sync_running = false;
        state.intake_outputs.clear();
        state.released.clear();
        state.stalled.clear();
        let mut config = self.settings.config.clone();
        config.me = state.place;
        let opened = state.store.open(config.domain.genesis).and_then(|()| {
            let opened = state.log.open(state.place, state.store.height(), state.marked_new);
            opened.map_err(|refusal| refusal.to_string())
        });
        let (role, records) = match opened {
            Ok(opened) => opened,
            Err(reason) => {
                let verdict = self.checks.refused(&self.bodies[body], &reason);
                self.fail(verdict);
                self.bodies[body].fate.refused.push(reason.clone());
                return self.stay_down(body, reason);
            }
        };
        if let Err(violation) = checks::rot_noticed(state) {
            return self.fail(Err(violation));
        }
        let state = &mut self.bodies[body];
        state.marked_new = false;
        state.role = role;
        config.role = state.role.clone();
        let tip = state.store.tip(config.domain.genesis, config.dedup_blocks);
        let records = match self.encodings.record {
            None => records,
            Some(through) => match records.iter().map(through.0).collect() {
                Ok(records) => records,
                Err(text) => {
                    let text = format!("a log record does not survive its encoding: {text}");
                    return self.fail(Err(Violation::new(Class::Safety, "encoding", text)));
                }
            },
        };
        let local = state.local(self.now);
        let mut outputs = std::mem::take(&mut self.output_buffer);
        self.trace.cause = self
            .trace
            .event(self.now, Some(body), || What::Start { number: tip.number.0, records: records.len() });
        let number = tip.number;
        let place = self.bodies[body].place;
        self.bodies[body].intake = Intake::new(intake_config(&self.settings, place), tip.recent.clone());
        let lies = self.bodies[body].lies();
        let recovered = guarded(lies, || Replica::recover(config, tip, records, local, &mut outputs));
        let Some(core) = recovered else {
            self.output_buffer = Vec::new();
            self.kill_liar(body);
            return;
        };
        let verdict = self.checks.recovered(body, &self.bodies[body], &core);
        self.bodies[body].core = Some(Box::new(core));
        self.fail(verdict);
        let mut inputs = std::mem::take(&mut self.input_buffer);
        let alive = self.carry_out(body, &mut outputs, &mut inputs);
        outputs.clear();
        self.output_buffer = outputs;
        if !alive {
            return;
        }
        // What recovery read is on disk: the real driver syncs the block store when it opens it.
        inputs.push_back((0, Input::BlocksDurable(number)));
        self.feed_all(body, inputs);
        for peer in 0..self.bodies.len() {
            if peer != body && self.bodies[peer].is_up() {
                self.link(body, peer, true);
            }
        }
    }

    /// A body dies: what was not synced is lost, or some of it.
    pub(crate) fn crash(&mut self, body: usize) {
        self.crash_for(body, None);
    }

    /// The same, and when it comes back, if that is not to be drawn.
    pub(crate) fn crash_for(&mut self, body: usize, down_for: Option<Duration>) {
        if !self.bodies[body].is_up() {
            return;
        }
        self.checks.crashes(&self.bodies[body]);
        let draws = self.draws;
        let state = &mut self.bodies[body];
        let key = [body as u64, u64::from(state.incarnation), state.ordinal];
        let of = (state.log.unsynced(), state.log.len(), state.store.unsynced(), state.store.last());
        let mut count = 0;
        let mut dice = |bound: u64| {
            count += 1;
            draws.below(Purpose::Torn, &[key[0], key[1], key[2], count], bound)
        };
        state.log.down(state.syncing.take(), &mut dice);
        state.store.down();
        state.disk.crash(&mut dice);
        let torn = [state.log.find(), state.store.find()];
        let torn = torn.into_iter().filter(|bytes| *bytes > 0).count() as u64;
        if torn > 0 {
            *self.toll.entry("torn-tail").or_default() += torn;
        }
        let state = &self.bodies[body];
        let records = (of.0 + state.log.len()).saturating_sub(of.1);
        let blocks = (of.2 + state.store.last().0 as usize).saturating_sub(of.3.0 as usize);
        self.trace.cause = self.trace.event(self.now, Some(body), || What::Crash {
            records,
            of_records: of.0,
            blocks,
            of_blocks: of.2,
        });
        self.down(body);
        if self.bodies[body].lies() {
            let log = self.bodies[body].log.records();
            if let Some(Some(other)) = self.on_stage(body, |liar, stage| liar.after_crash(stage, log)) {
                self.bodies[body].log.replace(&other);
            }
        }
        if self.settings.restarts || down_for.is_some() {
            let (low, high) = self.settings.restart;
            let delay = down_for.unwrap_or_else(|| draws.duration(Purpose::Restart, &key, low, high));
            self.schedule(delay, Event::Fault(crate::world::Fault::Restart(body)));
        }
    }

    /// A body dies and its disk is replaced by an empty one that nobody marked as new: from here
    /// on it follows.
    pub(crate) fn wipe(&mut self, body: usize) {
        self.crash(body);
        let (domain, n) = (self.settings.config.domain, self.settings.n);
        let state = &mut self.bodies[body];
        add_wrongs(&mut self.toll, &state.disk);
        state.disk = MemoryDisk::new();
        state.log = Log::new(state.disk.clone(), domain, n).planted(self.settings.config.plants);
        state.store = BlockStore::new(state.disk.clone(), n);
        state.marked_new = false;
        // Whatever was wrong with the old disk is gone with it.
        let was_stopped = state.failed.take().is_some();
        state.damaged = false;
        state.rotted = None;
        state.suspect_disk = false;
        state.slow_disk = Duration::ZERO;
        self.bodies[body].role = Role::Follower("its log is empty and nobody marked it as new".to_owned());
        let place = self.bodies[body].place;
        self.trace.event(self.now, Some(body), || What::Wipe);
        self.checks.wiped(place);
        if was_stopped {
            let (low, high) = self.settings.restart;
            let key = [body as u64, u64::from(self.bodies[body].incarnation)];
            let delay = self.draws.duration(Purpose::Restart, &key, low, high);
            self.schedule(delay, Event::Fault(crate::world::Fault::Restart(body)));
        }
    }

    /// A body stops because its disk failed it, or does not start: it stays down until somebody
    /// gives it another disk.
    pub(crate) fn stop(&mut self, body: usize, reason: String) {
        self.bodies[body].fate.stopped.push(reason.clone());
        self.stay_down(body, reason);
    }

    fn stay_down(&mut self, body: usize, reason: String) {
        self.trace.event(self.now, Some(body), || What::Stopped { reason: reason.clone() });
        self.check_stop(body, &reason);
        let state = &mut self.bodies[body];
        state.syncing = None;
        state.log.down(None, &mut |_| 0);
        state.store.down();
        state.disk.kill();
        state.failed = Some(reason);
        if self.bodies[body].is_up() {
            self.down(body);
        }
    }

    fn down(&mut self, body: usize) {
        let state = &mut self.bodies[body];
        state.core = None;
        state.incarnation += 1;
        state.outbox.clear();
        state.held.clear();
        state.unread.clear();
        state.frozen = None;
        let place = state.place;
        self.checks.went_down(place);
        for peer in 0..self.bodies.len() {
            if peer != body && self.bodies[peer].is_up() {
                self.link(body, peer, false);
            }
        }
    }

    fn kill_liar(&mut self, body: usize) {
        self.trace.event(self.now, Some(body), || What::Stumbled);
        if let Some(liar) = &mut self.bodies[body].liar {
            liar.dies();
        }
        self.bodies[body].frozen = None;
        self.bodies[body].core = None;
        self.bodies[body].incarnation += 1;
    }

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
            if guarded(lies, || core.step(now, input, &mut outputs)).is_none() {
                outputs = Vec::new();
                self.kill_liar(body);
                break;
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
                self.bodies[body].log.append(record);
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

    fn commit(&mut self, body: usize, block: Arc<sbft::types::CommittedBlock>) {
        self.trace.event(self.now, Some(body), || What::append(&block, &self.workload));
        let verdict = self.checks.committed(&self.bodies[body], &block, &self.workload);
        self.fail(verdict);
        let state = &mut self.bodies[body];
        let now = state.local(self.now);
        let committed = IntakeInput::Committed(block.clone());
        state.intake.step(now, committed, &mut state.intake_outputs);
        if let Err(error) = state.store.append(block) {
            return self.stop(body, error.to_string());
        }
        if !state.block_sync_running {
            self.begin_block_sync(body);
        }
    }

    fn begin_block_sync(&mut self, body: usize) {
        let (low, high) = self.settings.block_sync;
        let state = &mut self.bodies[body];
        state.block_sync_running = true;
        let number = state.store.last();
        let incarnation = state.incarnation;
        let key = [body as u64, u64::from(incarnation), number.0];
        let delay = self.draws.duration(Purpose::BlockSync, &key, low, high) + self.slow_disk(body);
        self.schedule(delay, Event::BlockSyncDone { body, incarnation, number });
    }

    pub(crate) fn blocks_synced(&mut self, body: usize, number: Number) {
        let state = &mut self.bodies[body];
        state.block_sync_running = false;
        let synced = state.store.sync();
        self.trace.cause =
            self.trace.event_from(0, self.now, Some(body), || What::BlockSync { number: number.0 });
        // What was appended meanwhile is synced with the rest.
        let number = match synced {
            Ok(number) => number,
            Err(error) => return self.stop(body, error.to_string()),
        };
        self.feed(body, Input::BlocksDurable(number));
        if !self.bodies[body].is_up() {
            return;
        }
        let key = [body as u64, u64::from(self.bodies[body].incarnation), number.0];
        if self.draws.chance(Purpose::Compact, &key, self.settings.compact_rate) {
            self.compact(body, &key);
        }
        if self.bodies[body].is_up() && self.bodies[body].store.unsynced() > 0 {
            self.begin_block_sync(body);
        }
    }

    /// Writes the live records into a new segment and drops the older ones, or dies half-way.
    fn compact(&mut self, body: usize, key: &[u64]) {
        let Some(core) = &self.bodies[body].core else { return };
        let live = core.live_records();
        let durable = self.bodies[body].store.durable();
        let (dies, down_for) = self.point(body);
        if dies {
            let at = self.draws.below(Purpose::Torn, key, 12);
            self.bodies[body].log.compact_torn(&live, durable, at);
            return self.crash_for(body, down_for);
        }
        self.trace.event(self.now, Some(body), || What::Compact { records: live.len() });
        if let Err(error) = self.bodies[body].log.compact(live, durable) {
            return self.stop(body, error.to_string());
        }
        let verdict = self.checks.disk_changed(&self.bodies[body]);
        self.fail(verdict);
        let mut inputs = std::mem::take(&mut self.input_buffer);
        if self.release(body, &mut inputs) {
            self.feed_all(body, inputs);
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

    fn promise(&mut self, body: usize, promise: Promise) {
        let position = self.bodies[body].log.end();
        if self.settings.config.plants.has(Plant::OwnVoteBeforeDurable)
            && let Promise::Broadcast(unsigned) = &promise
        {
            let message = self.keys.seal(self.bodies[body].place, unsigned.clone(), position);
            let packet = Packet::Message(self.letter_of(body, true, message));
            let parcel = Parcel { from: body, to: body, packet, sent: 0, ticket: Ticket::SURE };
            self.schedule(Duration::ZERO, Event::Deliver(parcel));
        }
        self.bodies[body].outbox.push_back((position, promise, self.trace.cause));
    }

    /// How much longer a sync takes than it should.
    fn slow_disk(&mut self, body: usize) -> Duration {
        let longer = self.bodies[body].slow_disk;
        if !longer.is_zero() {
            *self.toll.entry("slow-sync").or_default() += 1;
        }
        longer
    }

    fn begin_sync(&mut self, body: usize) {
        let state = &mut self.bodies[body];
        if state.syncing.is_some() || state.log.unsynced() == 0 {
            return;
        }
        let position = state.log.end();
        state.syncing = Some(position);
        let incarnation = state.incarnation;
        let (low, high) = self.settings.sync;
        let key = [body as u64, u64::from(incarnation), position];
        let delay = self.draws.duration(Purpose::Sync, &key, low, high) + self.slow_disk(body);
        self.schedule(delay, Event::SyncDone { body, incarnation, position });
    }

    pub(crate) fn log_synced(&mut self, body: usize, position: u64) {
        self.trace.cause = self.trace.event_from(0, self.now, Some(body), || What::Sync { position });
        self.bodies[body].syncing = None;
        if let Err(error) = self.bodies[body].log.sync(position) {
            return self.stop(body, error.to_string());
        }
        let mut inputs = std::mem::take(&mut self.input_buffer);
        if self.release(body, &mut inputs) {
            self.feed_all(body, inputs);
        }
        // The node compacts when it has dealt with all that came along with the news of a durable
        // block: more blocks may be committed by then, and not be durable.
        if self.bodies[body].is_up() && self.bodies[body].store.unsynced() > 0 {
            let key = [body as u64, u64::from(self.bodies[body].incarnation), position, 1];
            if self.draws.chance(Purpose::Compact, &key, self.settings.compact_rate) {
                self.compact(body, &key);
            }
        }
    }

    /// Lets out every promise whose records are synced. False when the body died on the way.
    fn release(&mut self, body: usize, inputs: &mut VecDeque<Caused>) -> bool {
        let dealt_with = self.trace.cause;
        let durable = self.bodies[body].log.durable();
        while self.bodies[body].outbox.front().is_some_and(|(position, ..)| *position <= durable) {
            if self.dies_here(body) {
                return false;
            }
            let Some((_, promise, cause)) = self.bodies[body].outbox.pop_front() else { break };
            self.trace.cause = cause;
            let place = self.bodies[body].place;
            let nonce = self.draws.bits(Purpose::Nonce, &[body as u64, self.bodies[body].ordinal]);
            let (message, to, own) = match promise {
                Promise::Broadcast(unsigned) => {
                    (self.keys.seal(place, unsigned, nonce), self.others(place), true)
                }
                Promise::Repeat(to, message) => (message, vec![to], false),
            };
            let label = label(&message, &self.settings.config.domain.genesis);
            let crash = self.crash_planned(body, &label);
            if let Some(when) = crash.as_ref().filter(|when| !when.after) {
                self.crash_for(body, when.down_for);
                return false;
            }
            if self.bodies[body].is_honest() {
                let verdict = self.checks.released(&self.bodies[body], &message);
                self.fail(verdict);
                if self.violation.is_some() {
                    return false;
                }
            }
            if own {
                self.trace.promised(cause, self.now, body, &message);
                let own = self
                    .trace
                    .event(self.now, Some(body), || What::Own { message: trace::about_own(&message, label) });
                inputs
                    .push_back((own, Input::Message { from: place, message: signing::own(message.clone()) }));
            }
            self.say(body, message, own, &to);
            if let Some(when) = crash {
                self.crash_for(body, when.down_for);
                return false;
            }
        }
        self.trace.cause = dealt_with;
        true
    }

    /// A crash that a script wants at a send like this.
    fn crash_planned(&mut self, body: usize, label: &Label) -> Option<CrashWhen> {
        let which = self.crash_when.iter().position(|when| {
            when.body == body
                && when.kind == label.kind
                && when.view.is_none_or(|view| view == label.view)
                && when.number.is_none_or(|number| number == label.number)
        })?;
        Some(self.crash_when.remove(which))
    }

    /// Gives the envelopes that wait to the intake, as far as its pool has room.
    pub(crate) fn offer(&mut self, body: usize) {
        let state = &mut self.bodies[body];
        let now = state.local(self.now);
        while state.intake.has_room()
            && let Some((index, envelope)) = state.stalled.pop_front()
        {
            let id = envelope.id;
            state.intake.step(now, IntakeInput::Envelopes(vec![envelope]), &mut state.intake_outputs);
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
    fn settle_intake(&mut self, body: usize, inputs: &mut VecDeque<Caused>) {
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
    fn cuts_for_ever(&mut self, body: usize) {
        if !self.bodies[body].is_honest() {
            return self.kill_liar(body);
        }
        let place = self.bodies[body].place;
        let text = format!("{place} lets its candidates go as fast as it cuts them");
        self.fail(Err(Violation::new(Class::Storm, "candidates", text)));
    }

    /// Makes a candidate of a batch, and sends it to all others; gives the input for the core.
    fn cut(&mut self, body: usize, batch: Batch) -> Option<Caused> {
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
        let state = &mut self.bodies[body];
        let now = state.local(self.now);
        let own = IntakeInput::Own { sequence, digest: candidate.digest };
        state.intake.step(now, own, &mut state.intake_outputs);
        let dealt_with = self.trace.cause;
        let cut = self.trace.event(self.now, Some(body), || What::cut(&candidate, &self.workload));
        self.trace.cause = cut;
        for to in self.others(place) {
            self.post(body, to, Packet::Candidate(candidate.clone()));
        }
        self.trace.cause = dealt_with;
        let config_sequence = batch.config_sequence;
        let candidate = rules::vouch_own(candidate, config_sequence);
        Some((cut, Input::Candidate { from: place, candidate, config_sequence }))
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
