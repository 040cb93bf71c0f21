//! The driver of the simulated replicas: the node's driver rules, in virtual time.
//!
//! Order is the proof. A promise leaves once every record persisted before it is synced; one
//! sync covers many steps; what promises nothing leaves at once. A broadcast comes back to its
//! sender when it leaves. The replica may die before any output and before any promise leaves.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use sbft::pbft::{Input, Output, Replica, Role};
use sbft::plant::Plant;
use sbft::types::{Number, Time};

use crate::draw::Purpose;
use crate::network::{Label, Packet, Ticket, label};
use crate::plan::{CrashAt, Moment};
use crate::signing;
use crate::trace::{self, What};
use crate::violation::{Class, Violation};
use crate::workload::{Source, index_of};
use crate::world::{CrashWhen, Event, Parcel, Promise, World};

/// An input and the event that it is the doing of; 0 for what is being dealt with.
type Caused = (u64, Input);

/// Candidates that a source may cut at one instant; a run has fewer envelopes than this.
const CUTS_AT_ONCE: u32 = 1000;

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
        state.sync_running = false;
        state.block_sync_running = false;
        state.source = Source::new(state.place, self.settings.config.outstanding, self.settings.cut_count);
        for number in 1..=state.store.last().0 {
            let block = state.store.block(Number(number)).expect("numbers up to the last are held");
            state.source.committed(block.data.iter().filter_map(index_of));
        }
        let mut config = self.settings.config.clone();
        config.me = state.place;
        config.role = state.role.clone();
        let tip = state.store.tip(config.domain.genesis, config.dedup_blocks);
        let records = match self.encodings.record {
            None => state.log.records(),
            Some(through) => match state.log.records().iter().map(through.0).collect() {
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
        let lies = !self.bodies[body].is_honest();
        let recovered = guarded(lies, || Replica::recover(config, tip, records, local, &mut outputs));
        let Some(core) = recovered else {
            self.output_buffer = Vec::new();
            self.kill_liar(body);
            return;
        };
        let verdict = self.checks.recovered(body, &self.bodies[body], &core);
        self.bodies[body].core = Some(Box::new(core));
        self.fail(verdict);
        let mut inputs = VecDeque::new();
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
        let draws = self.draws;
        let state = &mut self.bodies[body];
        let key = [body as u64, u64::from(state.incarnation), state.ordinal];
        let records = draws.below(Purpose::Torn, &key, state.log.unsynced() as u64 + 1) as usize;
        let blocks = draws.below(Purpose::TornBlocks, &key, state.store.unsynced() as u64 + 1) as usize;
        let (of_records, of_blocks) = (state.log.unsynced(), state.store.unsynced() as usize);
        self.trace.cause =
            self.trace.event(self.now, Some(body), || What::Crash { records, of_records, blocks, of_blocks });
        state.log.crash(records);
        state.store.crash(blocks);
        self.down(body);
        if !self.bodies[body].is_honest() {
            let log = self.bodies[body].log.records();
            if let Some(Some(other)) = self.on_stage(body, |liar, stage| liar.after_crash(stage, log)) {
                self.bodies[body].log.compact(other);
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
        self.bodies[body].log.roll_back(0);
        self.bodies[body].store.wipe();
        self.bodies[body].role = Role::Follower("its log is empty and nobody marked it as new".to_owned());
        let place = self.bodies[body].place;
        self.trace.event(self.now, Some(body), || What::Wipe);
        self.checks.wiped(place);
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
        self.feed_all(body, VecDeque::from([(0, input)]));
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
            let lies = !self.bodies[body].is_honest();
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
        if self.bodies[body].is_up() {
            self.begin_sync(body);
            self.cut(body);
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
            if self.violation.is_some() {
                return false;
            }
        }
        self.release(body, inputs)
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
            Output::Tell(to, message) => self.say(body, message, &[to]),
            Output::TellAll(message) => {
                let others = self.others(place);
                self.say(body, message, &others);
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
                if origin == place {
                    self.bodies[body].source.release(&digest);
                } else {
                    self.room_for(body, origin, &digest);
                }
            }
            Output::Accuse(offence) => {
                self.trace.event(self.now, Some(body), || What::accuse(&offence));
                let honest = self.bodies[body].is_honest();
                let verdict = self.checks.accused(honest, place, &offence);
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
        state.source.committed(block.data.iter().filter_map(index_of));
        state.store.append(block);
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
        let delay = self.draws.duration(Purpose::BlockSync, &key, low, high);
        self.schedule(delay, Event::BlockSyncDone { body, incarnation, number });
    }

    pub(crate) fn blocks_synced(&mut self, body: usize, number: Number) {
        self.trace.cause =
            self.trace.event_from(0, self.now, Some(body), || What::BlockSync { number: number.0 });
        self.bodies[body].store.sync_done(number);
        self.bodies[body].block_sync_running = false;
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
    fn compact(&mut self, body: usize, key: &[u64; 3]) {
        let Some(core) = &self.bodies[body].core else { return };
        let live = core.live_records();
        if self.dies_here(body) {
            let kept = self.draws.below(Purpose::Torn, key, live.len() as u64 + 1) as usize;
            self.bodies[body].log.compact_torn(live, kept);
            return;
        }
        self.trace.event(self.now, Some(body), || What::Compact { records: live.len() });
        self.bodies[body].log.compact(live);
        let verdict = self.checks.disk_changed(&self.bodies[body]);
        self.fail(verdict);
        let mut inputs = VecDeque::new();
        if self.release(body, &mut inputs) {
            self.feed_all(body, inputs);
        }
    }

    /// One more point at which this body may die; whether it did.
    fn dies_here(&mut self, body: usize) -> bool {
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
        if planned || drawn {
            self.crash_for(body, down_for);
        }
        planned || drawn
    }

    fn promise(&mut self, body: usize, promise: Promise) {
        let position = self.bodies[body].log.end();
        if self.settings.config.plants.has(Plant::OwnVoteBeforeDurable)
            && let Promise::Broadcast(unsigned) = &promise
        {
            let message = self.keys.seal(self.bodies[body].place, unsigned.clone(), position);
            let packet = Packet::Message(self.letter(message));
            let parcel = Parcel { from: body, to: body, packet, sent: 0, ticket: Ticket::SURE };
            self.schedule(Duration::ZERO, Event::Deliver(parcel));
        }
        self.bodies[body].outbox.push_back((position, promise, self.trace.cause));
    }

    fn begin_sync(&mut self, body: usize) {
        let state = &mut self.bodies[body];
        if state.sync_running || state.log.unsynced() == 0 {
            return;
        }
        state.sync_running = true;
        let position = state.log.end();
        let incarnation = state.incarnation;
        let (low, high) = self.settings.sync;
        let key = [body as u64, u64::from(incarnation), position];
        let delay = self.draws.duration(Purpose::Sync, &key, low, high);
        self.schedule(delay, Event::SyncDone { body, incarnation, position });
    }

    pub(crate) fn log_synced(&mut self, body: usize, position: u64) {
        self.trace.cause = self.trace.event_from(0, self.now, Some(body), || What::Sync { position });
        self.bodies[body].log.sync_done(position);
        self.bodies[body].sync_running = false;
        let mut inputs = VecDeque::new();
        if self.release(body, &mut inputs) {
            self.feed_all(body, inputs);
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
            self.say(body, message, &to);
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

    /// Cuts candidates while there is room, for this replica's own core and all others.
    pub(crate) fn cut(&mut self, body: usize) {
        if std::mem::replace(&mut self.bodies[body].cutting, true) {
            return;
        }
        let mut cuts = 0;
        while self.bodies[body].is_up()
            && self.violation.is_none()
            && let Some(candidate) = self.bodies[body].source.cut()
        {
            cuts += 1;
            if cuts > CUTS_AT_ONCE && self.bodies[body].is_honest() {
                let place = self.bodies[body].place;
                let text = format!("{place} lets its candidates go as fast as it cuts them");
                self.fail(Err(Violation::new(Class::Storm, "candidates", text)));
            }
            let place = self.bodies[body].place;
            let dealt_with = self.trace.cause;
            self.trace.cause =
                self.trace.event(self.now, Some(body), || What::cut(&candidate, &self.workload));
            for to in self.others(place) {
                self.post(body, to, Packet::Candidate(candidate.clone()));
            }
            if let Some(verified) = signing::verified_candidate(&self.workload, &candidate) {
                let config_sequence = self.settings.config.config_sequence;
                self.feed(body, Input::Candidate { from: place, candidate: verified, config_sequence });
            }
            self.trace.cause = dealt_with;
            if cuts > CUTS_AT_ONCE {
                break;
            }
        }
        self.bodies[body].cutting = false;
    }

    /// Sees to it that a tick comes when the core wants one.
    pub(crate) fn arm(&mut self, body: usize) {
        let state = &self.bodies[body];
        let Some(deadline) = state.core.as_ref().and_then(|core| core.next_deadline()) else { return };
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
