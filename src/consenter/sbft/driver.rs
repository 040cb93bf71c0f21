//! The protocol task: one replica and one intake, stepped in one loop.

mod envelopes;
#[cfg(feature = "liar")]
mod lies;
mod own;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use ::metrics::{Counter, Histogram};
use bytes::Bytes;
use tokio::sync::{mpsc, oneshot};

use super::super::{Errored, NotCommitted};
use super::log::LogJob;
use super::notes::{Notes, gauges};
use super::receive::{Charge, judge_again};
use super::release::{Promise, To, What};
use super::repair::Asked;
use super::rules;
use super::settled::Settled;
use super::shared::{Event, ORDERS, Order, Permit, Shared, Snapshot};
use crate::intake::{Intake, IntakeInput, IntakeOutput};
use crate::metrics;
use crate::pbft::message::Message;
use crate::pbft::{Input, Note, Output, Replica};
use crate::transport::Class;
use crate::types::{CommittedBlock, Digest, Number, RequestId, Time, Verified};
use crate::wire::repair::{self, Repair};
use crate::wire::{MAX_CANDIDATES_PER_FETCH, record};
pub(super) use own::Encoded;
use own::OwnCandidates;

/// Events taken at once.
const EVENTS_AT_ONCE: usize = 256;
/// How old the snapshot for people and metrics may be while something happens.
const SNAPSHOT_AGE: Duration = Duration::from_millis(50);
/// Ticks are at least this far apart, whatever deadlines say: timers are no finer.
const TICK: Duration = Duration::from_millis(1);

/// Rounds from outputs to inputs and back before others get their turn. A few are usual; the two
/// state machines cannot keep the task from all else, whatever they disagree on.
const ROUNDS: usize = 64;

/// Where the driver's work goes.
pub(super) struct Outlets {
    pub(super) log: mpsc::Sender<LogJob>,
    pub(super) promises: mpsc::Sender<Promise>,
    pub(super) blocks: mpsc::Sender<Arc<CommittedBlock>>,
    /// Back to the driver, for work done elsewhere.
    pub(super) events: mpsc::Sender<Event>,
}

/// Where its work comes from.
pub(super) struct Inlets {
    pub(super) events: mpsc::Receiver<Event>,
    pub(super) loopback: mpsc::UnboundedReceiver<Verified<Message>>,
    pub(super) orders: mpsc::Receiver<Order>,
}

/// The state machines and what surrounds them.
pub(super) struct Driver {
    shared: Arc<Shared>,
    replica: Replica,
    intake: Intake,
    outlets: Outlets,
    asked: Arc<Asked>,
    /// Room that origins' candidates take, until the core releases them.
    permits: HashMap<Charge, Permit>,
    /// Who waits for the commit of an envelope.
    waiters: HashMap<RequestId, Vec<oneshot::Sender<Result<Number, NotCommitted>>>>,
    /// Orders that found no room, oldest first.
    stalled: VecDeque<Order>,
    /// Orders given to the intake and not answered yet, in order.
    answering: VecDeque<Order>,
    /// Answers of the intake to come that count for nothing: their order is stalled.
    unasked: usize,
    own: OwnCandidates,
    outputs: Vec<Output>,
    intake_outputs: Vec<IntakeOutput>,
    released: Vec<Digest>,
    /// First record of every log.
    epoch: Bytes,
    /// Records given to the log since the start; those of them up to the last that a prepare waits for;
    /// and those that were, or will be, synced.
    persisted: u64,
    binding: u64,
    synced: u64,
    log_bytes: u64,
    compact_bytes: u64,
    compact_due: bool,
    /// The ledger is durable up to here.
    durable: Number,
    records: Vec<Bytes>,
    promises: Vec<Promise>,
    blocks: Vec<Arc<CommittedBlock>>,
    notes: Notes,
    meters: Meters,
    snapshot_at: Instant,
    snapshot_due: bool,
    last_tick: Instant,
    #[cfg(feature = "liar")]
    lies: Option<lies::Lies>,
}

/// What is counted for each envelope, looked up once.
struct Meters {
    accepted: Counter,
    duplicates: Counter,
    committed: Histogram,
    filled: Histogram,
}

impl Meters {
    fn new(channel: &str) -> Self {
        let channel = || channel.to_owned();
        Self {
            accepted: ::metrics::counter!(metrics::ACCEPTED, "channel" => channel()),
            duplicates: ::metrics::counter!(metrics::DUPLICATES, "channel" => channel()),
            committed: ::metrics::histogram!(metrics::COMMIT_SECONDS, "channel" => channel()),
            filled: ::metrics::histogram!(metrics::BLOCK_FILL_DURATION, "channel" => channel()),
        }
    }
}

/// The log or the block thread has ended: the chain has failed.
struct Ended;

impl Driver {
    pub(super) fn new(
        shared: Arc<Shared>,
        replica: (Replica, Vec<Output>),
        intake: Intake,
        outlets: Outlets,
        asked: Arc<Asked>,
        epoch: Bytes,
        compact_bytes: u64,
    ) -> Self {
        let (replica, outputs) = replica;
        let channel = shared.channel().to_owned();
        Self {
            #[cfg(feature = "liar")]
            lies: lies::Lies::of_this_process(&shared, &outlets),
            meters: Meters::new(shared.channel()),
            shared,
            replica,
            intake,
            outlets,
            asked,
            permits: HashMap::new(),
            waiters: HashMap::new(),
            stalled: VecDeque::new(),
            answering: VecDeque::new(),
            unasked: 0,
            own: OwnCandidates::default(),
            outputs,
            intake_outputs: Vec::new(),
            released: Vec::new(),
            epoch,
            persisted: 0,
            binding: 0,
            synced: 0,
            log_bytes: 0,
            compact_bytes,
            compact_due: false,
            durable: Number(0),
            records: Vec::new(),
            promises: Vec::new(),
            blocks: Vec::new(),
            notes: Notes::new(&channel),
            snapshot_at: Instant::now(),
            snapshot_due: true,
            last_tick: Instant::now(),
        }
    }

    /// Runs until the chain is halted or fails.
    pub(super) async fn run(mut self, mut inlets: Inlets, mut errored: Errored) {
        let mut own = Vec::new();
        let mut events = Vec::new();
        let mut orders = Vec::new();
        if self.settle().await.is_err() {
            return;
        }
        loop {
            let wakeup = self.wakeup();
            let takes_orders = self.takes_orders();
            tokio::select! {
                biased;
                () = errored.wait() => return,
                // Nothing received says that whoever sends is gone: the chain cannot go on.
                received = inlets.loopback.recv_many(&mut own, EVENTS_AT_ONCE) => if received == 0 { return },
                received = inlets.events.recv_many(&mut events, EVENTS_AT_ONCE) => if received == 0 { return },
                received = inlets.orders.recv_many(&mut orders, ORDERS), if takes_orders => {
                    if received == 0 { return }
                }
                () = wakeup => {}
            }
            // Whatever woke the task, the others that wait get their turn too.
            while events.len() < EVENTS_AT_ONCE
                && let Ok(event) = inlets.events.try_recv()
            {
                events.push(event);
            }
            while takes_orders
                && orders.len() < ORDERS
                && let Ok(order) = inlets.orders.try_recv()
            {
                orders.push(order);
            }

            let now = self.shared.now();
            let me = self.shared.members.me;
            for message in own.drain(..) {
                self.replica.step(now, Input::Message { from: me, message }, &mut self.outputs);
            }
            for event in events.drain(..) {
                self.event(now, event);
            }
            self.order(now, &mut orders);
            self.tick(now);
            if self.settle().await.is_err() {
                return;
            }
            self.publish();
        }
    }

    /// Sleeps until the next deadline of either state machine.
    fn wakeup(&self) -> impl Future<Output = ()> + Send + 'static {
        let deadline =
            [self.replica.next_deadline(), self.intake.next_deadline()].into_iter().flatten().min();
        let snapshot = self.snapshot_due.then(|| self.snapshot_at + SNAPSHOT_AGE);
        let deadline = deadline.map(|deadline| (self.shared.begun + deadline.0).max(self.last_tick + TICK));
        let unsettled = (!self.is_settled()).then(|| Instant::now() + TICK);
        let wakeup = [deadline, snapshot, unsettled].into_iter().flatten().min();
        async move {
            match wakeup {
                Some(wakeup) => tokio::time::sleep_until(wakeup.into()).await,
                None => std::future::pending().await,
            }
        }
    }

    fn takes_orders(&self) -> bool {
        self.stalled.is_empty() && self.intake.has_room() && !self.intake.is_backlogged(self.shared.now())
    }

    fn tick(&mut self, now: Time) {
        if self.replica.next_deadline().is_some_and(|deadline| deadline <= now) {
            self.last_tick = Instant::now();
            self.replica.step(now, Input::Tick, &mut self.outputs);
        }
        if self.intake.next_deadline().is_some_and(|deadline| deadline <= now) {
            self.last_tick = Instant::now();
            self.intake.step(now, IntakeInput::Tick, &mut self.intake_outputs);
        }
    }

    fn event(&mut self, now: Time, event: Event) {
        #[cfg(feature = "liar")]
        let Some(event) = self.hear(now, event) else { return };
        let input = match event {
            Event::Message { from, message } => Input::Message { from, message },
            Event::Candidate { from, candidate, config_sequence, permit } => {
                let value = candidate.get();
                self.charge((from, value.digest), permit);
                // Only what came from its origin is released by the core one day.
                if from == value.origin && from != self.shared.members.me {
                    self.intake.step(now, IntakeInput::Seen(value.clone()), &mut self.intake_outputs);
                }
                let (origin, digest) = (value.origin, value.digest);
                let before = self.outputs.len();
                let input = Input::Candidate { from, candidate, config_sequence };
                self.replica.step(now, input, &mut self.outputs);
                let unused = |output: &Output| matches!(output, Output::Release { origin: of, digest: it } if (*of, *it) == (origin, digest));
                if from == origin && self.outputs[before..].iter().any(unused) {
                    self.shared.idle[from.index()].fetch_add(1, Ordering::Relaxed);
                }
                return;
            }
            Event::Invalid { from, digest, config_sequence, permit } => {
                self.charge((from, digest), permit);
                Input::InvalidCandidate { from, digest, config_sequence }
            }
            Event::Own { sequence, encoded } => return self.encoded(now, sequence, encoded),
            Event::Wanted { from, digests } => Input::CandidatesWanted { from, digests },
            Event::Blocks { from, blocks } => Input::Blocks { from, blocks },
            Event::Repaired { event, room } => {
                self.event(now, *event);
                return drop(room);
            }
            Event::Durable(number) => {
                self.durable = number;
                self.compact_due = self.log_bytes >= self.compact_bytes;
                Input::BlocksDurable(number)
            }
            Event::Link { peer, up } => {
                self.own.link(peer, up);
                Input::Link { peer, up }
            }
            Event::Revalidated { id, config_sequence, valid } => {
                let input = IntakeInput::Revalidated { id, config_sequence, valid };
                return self.intake.step(now, input, &mut self.intake_outputs);
            }
            Event::Watch { id, reply } => return self.watch(id, reply),
            #[cfg(feature = "liar")]
            Event::Lie => return self.lie(now),
        };
        self.replica.step(now, input, &mut self.outputs);
    }

    /// Keeps room taken until the core releases the candidate; room for one that is charged
    /// already is given back at once.
    fn charge(&mut self, charge: Charge, permit: Option<Permit>) {
        if let Some(permit) = permit {
            self.permits.entry(charge).or_insert(permit);
        }
    }

    /// Works off all outputs, and what they lead to, and hands the result on.
    async fn settle(&mut self) -> Result<(), Ended> {
        let now = self.shared.now();
        for _ in 0..ROUNDS {
            if self.is_settled() {
                break;
            }
            for output in std::mem::take(&mut self.outputs) {
                #[cfg(feature = "liar")]
                let Some(output) = self.bend(now, output) else { continue };
                self.output(now, output);
            }
            // After the commits of the same step, so that what was committed is not taken back.
            for digest in std::mem::take(&mut self.released) {
                self.intake.step(now, IntakeInput::Released(digest), &mut self.intake_outputs);
            }
            for output in std::mem::take(&mut self.intake_outputs) {
                self.intake_output(now, output);
            }
        }
        self.carry();
        *self.shared.settled() = Settled::of(&self.replica.outline());
        self.flush().await
    }

    fn is_settled(&self) -> bool {
        self.outputs.is_empty() && self.intake_outputs.is_empty()
    }

    fn output(&mut self, now: Time, output: Output) {
        let shared = &self.shared;
        match output {
            Output::Persist(record) => {
                let bytes = record::encode(&record);
                self.persisted += 1;
                if record.binds_prepares() {
                    self.binding = self.persisted;
                }
                self.log_bytes += bytes.len() as u64;
                self.records.push(bytes);
            }
            Output::Broadcast(unsigned) => self.promise(To::All, What::Unsigned(unsigned)),
            Output::Repeat(place, message) => self.promise(To::One(place), What::Signed(message)),
            Output::Tell(place, message) => shared.send(place, Class::Votes, shared.frame(&message)),
            Output::TellAll(message) => shared.send_all(Class::Votes, &shared.frame(&message)),
            Output::SendCandidate(place, candidate) => {
                let frame = repair::encode(&Repair::Candidate(candidate.encoding.clone()));
                shared.send(place, Class::Repair, frame);
            }
            Output::FetchCandidates(place, digests) => {
                shared.stale.want(&digests);
                for digests in digests.chunks(MAX_CANDIDATES_PER_FETCH) {
                    let frame = repair::encode(&Repair::FetchCandidates(digests.to_vec()));
                    shared.send(place, Class::Repair, frame);
                }
            }
            Output::FetchBlocks { from, first, last } => {
                self.asked.ask(from);
                shared.send(from, Class::Repair, repair::encode(&Repair::FetchBlocks { first, last }));
            }
            Output::CommitBlock(block) => {
                shared.stale.commit(block.number(), &block.ids);
                self.blocks.push(block.clone());
                self.intake.step(now, IntakeInput::Committed(block), &mut self.intake_outputs);
            }
            Output::Validate(candidate) => {
                let again = judge_again(shared.clone(), candidate, self.outlets.events.clone());
                shared.spawn(again);
            }
            Output::Proposed(digest) => {
                self.intake.step(now, IntakeInput::Proposed(digest), &mut self.intake_outputs);
            }
            Output::Release { origin, digest } => {
                self.permits.remove(&(origin, digest));
                if origin == shared.members.me {
                    self.own.release(&digest);
                }
                self.released.push(digest);
            }
            Output::Accuse(offence) => self.notes.accuse(shared, &offence),
            Output::Note(note) => {
                if matches!(
                    note,
                    Note::Complains { .. }
                        | Note::Suspected { .. }
                        | Note::EnteredView { .. }
                        | Note::Halted { .. }
                ) {
                    self.snapshot_at = Instant::now() - SNAPSHOT_AGE;
                }
                self.notes.note(shared, note);
            }
        }
    }

    fn promise(&mut self, to: To, what: What) {
        let after = if what.is_prepare() { self.binding } else { self.persisted };
        self.promises.push(Promise { after, to, what });
    }

    /// Hands records, promises and blocks on, in this order.
    async fn flush(&mut self) -> Result<(), Ended> {
        // What nobody waits for is synced with what somebody waits for next.
        let waits = self.promises.iter().any(|promise| promise.after > self.synced);
        if waits || !self.records.is_empty() {
            let records = std::mem::take(&mut self.records);
            let job = LogJob::Append { records, upto: self.persisted, sync: waits };
            self.outlets.log.send(job).await.map_err(|_| Ended)?;
            if waits {
                self.synced = self.persisted;
            }
        }
        if std::mem::take(&mut self.compact_due) {
            let live = rules::compacted(&self.epoch, self.durable, &self.replica.live_records());
            self.log_bytes = 0;
            let job = LogJob::Compact { live, upto: self.persisted };
            self.outlets.log.send(job).await.map_err(|_| Ended)?;
            self.synced = self.persisted;
        }
        for promise in self.promises.drain(..) {
            self.outlets.promises.send(promise).await.map_err(|_| Ended)?;
        }
        for block in self.blocks.drain(..) {
            self.outlets.blocks.send(block).await.map_err(|_| Ended)?;
        }
        Ok(())
    }

    /// Refreshes the snapshot if it is old.
    fn publish(&mut self) {
        self.snapshot_due = true;
        if self.snapshot_at.elapsed() < SNAPSHOT_AGE {
            return;
        }
        self.snapshot_at = Instant::now();
        self.snapshot_due = false;
        let snapshot = Snapshot { replica: self.replica.probe(), intake: self.intake.probe() };
        gauges(&self.shared, &snapshot.replica, self.shared.members.me);
        let depths = [
            ("pool", snapshot.intake.pool),
            ("candidates", snapshot.replica.candidates_held),
            ("log", self.outlets.log.max_capacity() - self.outlets.log.capacity()),
            ("ledger", self.outlets.blocks.max_capacity() - self.outlets.blocks.capacity()),
            ("release", self.outlets.promises.max_capacity() - self.outlets.promises.capacity()),
            ("protocol", self.outlets.events.max_capacity() - self.outlets.events.capacity()),
        ];
        for (queue, depth) in depths {
            let channel = self.shared.channel().to_owned();
            ::metrics::gauge!(metrics::QUEUE_DEPTH, "channel" => channel, "queue" => queue).set(depth as f64);
        }
        self.shared.snapshot.send_if_modified(|old| {
            let changes = *old != snapshot;
            *old = snapshot;
            changes
        });
    }
}

impl Drop for Driver {
    /// However the task ends, the tasks that feed it end too, and a chain that was neither halted
    /// nor has said why it failed has failed all the same.
    fn drop(&mut self) {
        let panicked = std::thread::panicking();
        self.shared.fail(match panicked {
            true => "the protocol task met a state that must not be, and stopped; restart the node, and report this",
            false => "the protocol task has ended, because what serves it has",
        });
        self.shared.ended.cancel();
    }
}
