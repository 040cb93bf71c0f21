//! A network of replicas in virtual time: one thread, one queue of events, one seed.
//!
//! Each *body* is a real protocol core with its own disk, source of candidates and driver. An
//! honest replica has one body; a liar has one with a wrapper round it, or two twins that share
//! its key. Events are ordered by time and then by a keyed draw, so that what happens at one
//! instant happens in every order, and in the same order for the same seed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use sbft::disk::MemoryDisk;
use sbft::header::sha256;
use sbft::intake::block_cutter::CutLimits;
use sbft::intake::{Envelope, Intake, IntakeConfig, IntakeInput, IntakeOutput};
use sbft::pbft::message::{Domain, Message, Unsigned};
use sbft::pbft::{Config, Input, Output, Record, Replica, Role};
use sbft::plant::Plants;
use sbft::types::{Candidate, Digest, Era, Number, Place, Time, View};

use crate::byzantine::{Attack, Knowledge, Liar, Trigger};
use crate::channel::Signatures;
use crate::checks::Checks;
use crate::clock::Clock;
use crate::coverage::Coverage;
use crate::disk::{BlockStore, DiskFault, Log};
use crate::draw::{Draws, Purpose, mix};
use crate::driver::Caused;
use crate::network::{Conditions, Delay, Kind, Network, Packet, Partition, Shape, Ticket};
use crate::plan::{CrashAt, Fate};
use crate::queue::Queue;
use crate::real::RealKeys;
use crate::signing::Keys;
use crate::trace::{Trace, What};
use crate::violation::Violation;
use crate::workload::Workload;

/// What a world is made of.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The seed of every draw.
    pub seed: u64,
    /// How many replicas.
    pub n: usize,
    /// The rules and timers; `domain`, `n`, `me` and `role` are filled in for each replica.
    pub config: Config,
    /// How packets fare at first.
    pub conditions: Conditions,
    /// Shortest and longest log sync.
    pub sync: (Duration, Duration),
    /// Shortest and longest time from a block's append to its sync.
    pub block_sync: (Duration, Duration),
    /// Shortest and longest check of a candidate.
    pub validate: (Duration, Duration),
    /// Shortest and longest time that a crashed replica stays down.
    pub restart: (Duration, Duration),
    /// How often an output of a replica is the one it crashes at, until [`World::heal`].
    pub crash_rate: f64,
    /// How often a replica compacts its log after a block was synced.
    pub compact_rate: f64,
    /// Most envelopes that a replica's block cutter puts into a candidate.
    pub cut_count: usize,
    /// How long a partial batch waits while another candidate of the same origin is under way.
    pub batch_timeout: Duration,
    /// Envelopes that may wait at one replica.
    pub pool: usize,
    /// How signatures are made and judged.
    pub signatures: Signatures,
    /// Fewest and most bytes of an envelope; one that would be larger anyway stays as it is.
    pub envelope_bytes: (u64, u64),
    /// Replicas that crash come back by themselves.
    pub restarts: bool,
}

/// The default rules and timers: a LAN, with a failover well under a second.
pub fn default_config(n: usize) -> Config {
    Config {
        domain: Domain { genesis: sha256(b"sbft-sim genesis"), era: Era(0) },
        n,
        me: Place(0),
        role: Role::Voter,
        last_config: Number(0),
        config_sequence: 0,
        window: 8,
        dedup_blocks: 50,
        outstanding: 4,
        max_message_count: 10,
        absolute_max_bytes: 1_000_000,
        preferred_max_bytes: 100_000,
        forward_timeout: Duration::from_millis(150),
        complain_timeout: Duration::from_millis(400),
        view_change_timeout: Duration::from_millis(400),
        view_change_timeout_cap: Duration::from_millis(3200),
        status_interval: Duration::from_millis(100),
        slow_primary_factor: 10,
        plants: Plants::NONE,
    }
}

impl Settings {
    /// Four honest replicas, one millisecond apart, whose disks take no time.
    pub fn calm(seed: u64, n: usize) -> Self {
        Self {
            seed,
            n,
            config: default_config(n),
            conditions: Conditions::steady(Duration::from_millis(1)),
            sync: (Duration::ZERO, Duration::ZERO),
            block_sync: (Duration::from_millis(20), Duration::from_millis(20)),
            validate: (Duration::ZERO, Duration::ZERO),
            restart: (Duration::from_millis(100), Duration::from_millis(500)),
            crash_rate: 0.0,
            compact_rate: 0.0,
            cut_count: 10,
            batch_timeout: Duration::ZERO,
            pool: 10_000,
            signatures: Signatures::Simulated,
            envelope_bytes: (0, 0),
            restarts: true,
        }
    }
}

/// What the intake of the replica at `me` goes by.
pub(crate) fn intake_config(settings: &Settings, me: Place) -> IntakeConfig {
    let config = &settings.config;
    let count = config.max_message_count.min(u32::try_from(settings.cut_count).unwrap_or(u32::MAX)).max(1);
    IntakeConfig {
        n: settings.n,
        me,
        limits: CutLimits {
            max_message_count: count,
            preferred_max_bytes: u32::try_from(config.preferred_max_bytes).unwrap_or(u32::MAX),
        },
        batch_timeout: settings.batch_timeout,
        outstanding: config.outstanding,
        pool_count: settings.pool,
        pool_bytes: 256 << 20,
        dedup_blocks: config.dedup_blocks,
        config_sequence: config.config_sequence,
        plants: config.plants,
    }
}

/// Something that happens to the network or a replica from outside.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Links from these bodies to those (masks) carry nothing.
    Cut(u64, u64),
    /// Links from these bodies to those carry again.
    Mend(u64, u64),
    /// Both ends notice that their link is gone.
    LinkDown(usize, usize),
    /// Both ends notice that their link is back.
    LinkUp(usize, usize),
    /// A body dies.
    Crash(usize),
    /// A body dies and comes back after this long.
    CrashFor(usize, Duration),
    /// A dead body comes back.
    Restart(usize),
    /// A body dies and loses its log and its blocks.
    Wipe(usize),
    /// Something goes wrong with a body's disk, until the network heals.
    Disk(usize, DiskFault),
    /// Packets fare like this from now on.
    Conditions(Box<Conditions>),
    /// Packets from these bodies to those (masks) fare like this from now on, or like all others.
    LinkConditions(u64, u64, Option<Box<Conditions>>),
    /// A partition begins, and ends by itself.
    Partition(Box<Partition>),
    /// The connection of two bodies breaks: what is under way is lost, both notice, and it is
    /// back after this time.
    Reset(usize, usize, Duration),
    /// What these bodies send to those (masks) arrives only when this time is over.
    Clog(u64, u64, Duration),
    /// A body's clock runs so many millionths too fast (too slow if negative).
    ClockRate(usize, i32),
    /// A body's clock changes its rate at each of these intervals, by at most so many millionths
    /// in either direction, until the network heals.
    ClockDrift(usize, u32, Duration),
    /// A body's wall time jumps by so many milliseconds.
    WallJump(usize, i64),
    /// A body does nothing for this long; then it handles at once whatever has come meanwhile.
    Pause(usize, Duration),
    /// The network behaves from now on and the dead come back; liars go on lying.
    Heal,
}

impl Fault {
    /// The same with no body in its masks that there is not.
    #[must_use]
    pub fn among(mut self, bodies: usize) -> Self {
        let all = u64::MAX >> (64 - bodies.clamp(1, 64));
        match &mut self {
            Self::Cut(from, to)
            | Self::Mend(from, to)
            | Self::LinkConditions(from, to, _)
            | Self::Clog(from, to, _) => {
                *from &= all;
                *to &= all;
            }
            Self::Partition(partition) => match &mut partition.shape {
                Shape::Split { groups, .. } => groups.iter_mut().for_each(|group| *group &= all),
                Shape::Isolate(mask) | Shape::Swizzle(mask) => *mask &= all,
                Shape::OneWay { from, to } => {
                    *from &= all;
                    *to &= all;
                }
                Shape::Bridge { left, .. } => *left &= all,
                Shape::Ring => {}
            },
            _ => {}
        }
        self
    }
}

/// Real encodings that everything goes through, instead of being handed over as it is. The
/// simulator knows none itself; who runs it may bring them.
#[derive(Clone, Copy, Debug, Default)]
pub struct Encodings {
    /// Encodes and decodes a message, as between two replicas.
    pub message: Option<Through<Message>>,
    /// Encodes and decodes a log record, as between two lives of a replica.
    pub record: Option<Through<Record>>,
}

/// Encodes a value and gives back what was decoded from it.
#[derive(Debug)]
pub struct Through<T>(pub fn(&T) -> Result<T, String>);

// By hand: derived, they would ask the same of T.
impl<T> Clone for Through<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Through<T> {}

/// A crash at the moment when a body is about to send something, or just after.
#[derive(Clone, Debug)]
pub struct CrashWhen {
    /// Which body.
    pub body: usize,
    /// What it sends.
    pub kind: Kind,
    /// In which view; none for any.
    pub view: Option<View>,
    /// For which number; none for any.
    pub number: Option<Number>,
    /// After it has sent it to all, and not before.
    pub after: bool,
    /// How long it stays down, if that is not to be drawn.
    pub down_for: Option<Duration>,
}

/// A packet on its way from one body to another.
#[derive(Clone, Debug)]
pub struct Parcel {
    /// Who sent it.
    pub from: usize,
    /// Whom it is for.
    pub to: usize,
    /// What it is.
    pub packet: Packet,
    /// The event of its sending; 0 when nobody reads events.
    pub sent: u64,
    /// To ask the network with whether it really arrives.
    pub ticket: Ticket,
}

/// What the queue holds.
#[derive(Clone, Debug)]
pub(crate) enum Event {
    Deliver(Parcel),
    Checked { body: usize, incarnation: u32, from: Place, candidate: Arc<Candidate>, cause: u64 },
    SyncDone { body: usize, incarnation: u32, position: u64 },
    BlockSyncDone { body: usize, incarnation: u32, number: Number },
    Tick { body: usize, incarnation: u32 },
    Submit { place: Place, index: u64, variant: u8 },
    Wake { body: usize },
    Link { body: usize, peer: Place, up: bool },
    Turn { partition: u64 },
    Drift { body: usize, most: u32, every: Duration },
    Resume { body: usize, incarnation: u32 },
    Fault(Fault),
}

/// A send that waits for the records before it.
#[derive(Clone, Debug)]
pub(crate) enum Promise {
    Broadcast(Unsigned),
    Repeat(Place, Message),
}

/// One running (or dead) replica.
pub struct Body {
    /// Whose key it holds.
    pub place: Place,
    /// The core; none while it is down. (In a box: it is large, and taken out for every step.)
    pub core: Option<Box<Replica>>,
    /// What is written and what is durable.
    pub disk: MemoryDisk,
    /// Nobody has started from this disk yet.
    pub(crate) marked_new: bool,
    /// Why it stopped for good, or does not start any more.
    pub failed: Option<String>,
    /// Why it stopped or did not start, each time.
    pub(crate) fate: Fate,
    /// A synced record of its disk that has rotted, and that whoever starts from it must miss.
    pub(crate) rotted: Option<String>,
    /// Its disk has broken, or may have, what it promised to keep: it is one of the f.
    pub damaged: bool,
    /// Something was done to its disk that may make it stop.
    pub(crate) suspect_disk: bool,
    /// How much longer its syncs take than they should.
    pub(crate) slow_disk: Duration,
    /// The log.
    pub log: Log,
    /// The block store.
    pub store: BlockStore,
    /// The wrapper that makes it lie; none for an honest replica.
    pub liar: Option<Box<Liar>>,
    /// May vote, or why not.
    pub role: Role,
    /// How often it has started.
    pub incarnation: u32,
    /// Outputs and releases carried out since the beginning: the points it can crash at.
    pub ordinal: u64,
    /// Its clocks.
    pub clock: Clock,
    /// What came while it was paused; none while it runs.
    pub(crate) frozen: Option<Vec<Event>>,
    /// Promises, each with the log's position that it waits for and the event that caused it.
    pub(crate) outbox: VecDeque<(u64, Promise, u64)>,
    /// The position up to which the log is being synced.
    pub(crate) syncing: Option<u64>,
    pub(crate) block_sync_running: bool,
    pub(crate) tick: Option<Time>,
    /// Its pool and block cutter.
    pub intake: Intake,
    /// How many candidates it has cut at this instant.
    pub(crate) cuts: (Time, usize),
    /// What the intake wants done.
    pub(crate) intake_outputs: Vec<IntakeOutput>,
    /// Candidates that the core has released since the intake was last told.
    pub(crate) released: Vec<Digest>,
    /// Envelopes that found no room in the pool; their clients wait.
    pub(crate) stalled: VecDeque<(u64, Envelope)>,
    pub(crate) held: BTreeMap<Place, BTreeSet<Digest>>,
    pub(crate) unread: BTreeMap<Place, VecDeque<Arc<Candidate>>>,
}

impl Body {
    /// Runs.
    pub fn is_up(&self) -> bool {
        self.core.is_some()
    }

    /// All that its clients handed it is in blocks, as far as its intake knows.
    pub fn owes_nothing(&self) -> bool {
        let probe = self.intake.probe();
        probe.pool == 0 && probe.outstanding == 0 && self.stalled.is_empty()
    }

    /// Tells the truth, and remembers what it said.
    pub fn is_honest(&self) -> bool {
        self.liar.is_none() && !self.damaged
    }

    /// Does not keep to the protocol on purpose.
    pub(crate) fn lies(&self) -> bool {
        self.liar.is_some()
    }

    /// The body's own clock: it starts anywhere and begins again at each start.
    pub(crate) fn local(&self, now: Time) -> Time {
        self.clock.local(now)
    }

    pub(crate) fn global(&self, local: Time) -> Time {
        self.clock.global(local)
    }
}

/// The whole simulated network.
pub struct World {
    /// What it was made of.
    pub settings: Settings,
    /// All randomness.
    pub draws: Draws,
    /// Virtual time.
    pub now: Time,
    /// Everyone's keys and the checker.
    pub keys: Keys,
    /// The network.
    pub network: Network,
    /// The replicas; those of the first twins come first, in order of place.
    pub bodies: Vec<Body>,
    /// Every envelope ever submitted.
    pub workload: Workload,
    /// The invariants.
    pub checks: Checks,
    /// What people and the determinism check see.
    pub trace: Trace,
    /// Packets kept back instead of sent, for scripts that deliver by hand; none in a free run.
    pub kept: Option<Vec<Parcel>>,
    /// Crash this body when it comes to this ordinal.
    pub crash_points: BTreeSet<(usize, u64)>,
    /// Crashes that were drawn, if they are to be written down.
    pub crashed_by_chance: Option<Vec<CrashAt>>,
    /// How long the body stays down after such a crash, where that is not to be drawn.
    pub down_for: BTreeMap<(usize, u64), Duration>,
    /// Encodings that messages and records go through.
    pub encodings: Encodings,
    /// Crash bodies at these sends; each happens once.
    pub crash_when: Vec<CrashWhen>,
    /// What went wrong with disks, but for what they count themselves.
    pub(crate) toll: BTreeMap<&'static str, u64>,
    /// What the liars that collude know.
    pub(crate) colluders: Knowledge,
    pub(crate) queue: Queue,
    /// Partitions that there were.
    pub(crate) partitions: u64,
    pub(crate) healed: bool,
    /// Envelopes that clients were told to submit and have not yet.
    to_submit: usize,
    pub(crate) violation: Option<Violation>,
    /// Room for what a core puts out and takes in, kept from one input to the next.
    pub(crate) output_buffer: Vec<Output>,
    pub(crate) input_buffer: VecDeque<Caused>,
    /// Counts abstract states, if anybody wants to know.
    pub(crate) coverage: Option<Coverage>,
    /// Events carried out.
    pub events: u64,
}

impl World {
    /// A world with one body at each place of `0..n` and a second at each place of `twins`;
    /// `liars` says which places lie and how. Nothing has started: see [`World::start`].
    pub fn new(settings: Settings, liars: Vec<(Place, Liar)>, twins: &[Place]) -> Self {
        let draws = Draws::new(settings.seed);
        let n = settings.n;
        let keys = Keys::new(draws, settings.config.domain, n);
        let keys = keys.with(RealKeys::new(settings.signatures, draws, settings.config.domain, n));
        let mut places: Vec<Place> = (0..n as u16).map(Place).collect();
        let mut wrappers: BTreeMap<Place, Liar> = liars.into_iter().collect();
        let attacks = wrappers.iter().filter(|(place, liar)| liar.has("twins") && !twins.contains(place));
        places.extend(attacks.map(|(place, _)| *place));
        places.extend(twins);
        for twin in twins {
            wrappers.entry(*twin).or_insert_with(|| Liar::honest_so_far(*twin)).has_a_twin();
        }
        let faulty: BTreeSet<Place> = wrappers.keys().copied().collect();
        let mut second: Vec<Liar> = places[n..].iter().map(|place| wrappers[place].again()).collect();
        second.reverse();
        let bodies: Vec<Body> = places
            .iter()
            .enumerate()
            .map(|(index, place)| (index, place, MemoryDisk::new()))
            .map(|(index, place, disk)| Body {
                place: *place,
                core: None,
                log: Log::new(disk.clone(), settings.config.domain, n).planted(settings.config.plants),
                store: BlockStore::new(disk.clone(), n),
                disk,
                marked_new: true,
                failed: None,
                fate: Fate::default(),
                rotted: None,
                damaged: false,
                suspect_disk: false,
                slow_disk: Duration::ZERO,
                liar: if index < n { wrappers.remove(place) } else { second.pop() }.map(Box::new),
                role: Role::Voter,
                incarnation: 0,
                ordinal: 0,
                clock: Clock::default(),
                frozen: None,
                outbox: VecDeque::new(),
                syncing: None,
                block_sync_running: false,
                tick: None,
                intake: Intake::new(intake_config(&settings, *place), Vec::new()),
                cuts: (Time::ZERO, 0),
                intake_outputs: Vec::new(),
                released: Vec::new(),
                stalled: VecDeque::new(),
                held: BTreeMap::new(),
                unread: BTreeMap::new(),
            })
            .collect();
        let network = Network::new(draws, bodies.len(), settings.conditions.clone());
        let checks = Checks::new(keys.clone(), &settings.config, faulty);
        let keys = keys.lenient(settings.config.plants);
        Self {
            draws,
            now: Time::ZERO,
            keys,
            network,
            workload: Workload::new(settings.signatures, &settings.config)
                .sized(draws, settings.envelope_bytes),
            toll: BTreeMap::new(),
            colluders: Knowledge::default(),
            checks,
            trace: Trace::of(&bodies),
            kept: None,
            crash_points: BTreeSet::new(),
            down_for: BTreeMap::new(),
            crashed_by_chance: None,
            encodings: Encodings::default(),
            crash_when: Vec::new(),
            queue: Queue::default(),
            partitions: 0,
            healed: false,
            to_submit: 0,
            violation: None,
            output_buffer: Vec::new(),
            input_buffer: VecDeque::new(),
            coverage: None,
            events: 0,
            bodies,
            settings,
        }
    }

    /// Gives the liar at `place` an attack that is not in the catalogue. The plan must have it as
    /// a liar already (with no attacks, perhaps): who lies is known to the checks from the start.
    pub fn attach(
        &mut self,
        place: Place,
        name: &str,
        attack: Box<dyn Attack>,
        when: Trigger,
    ) -> Result<(), String> {
        let liar = self.bodies.get_mut(place.index()).and_then(|body| body.liar.as_mut());
        let liar = liar.ok_or_else(|| format!("{place} does not lie; name it among the plan's liars"))?;
        liar.add(name, attack, when, Vec::new());
        Ok(())
    }

    /// How often each attack has really acted so far.
    pub fn acted(&self) -> BTreeMap<String, u64> {
        crate::byzantine::acted_by(self.bodies.iter().filter_map(|body| body.liar.as_deref()))
    }

    /// Starts every body.
    pub fn start(&mut self) {
        for body in 0..self.bodies.len() {
            self.boot(body);
            if self.bodies[body].liar.is_some() {
                self.schedule(Duration::from_millis(10), Event::Wake { body });
            }
        }
    }

    /// Lets `fault` happen at `at`.
    pub fn plan(&mut self, at: Time, fault: Fault) {
        self.schedule_at(at, Event::Fault(fault));
    }

    /// Lets a client submit envelope `index` to a replica at `at`.
    pub fn plan_submit(&mut self, at: Time, place: Place, index: u64, variant: u8) {
        self.to_submit += 1;
        self.schedule_at(at, Event::Submit { place, index, variant });
    }

    pub(crate) fn schedule(&mut self, delay: Duration, event: Event) {
        self.schedule_at(self.now.after(delay), event);
    }

    pub(crate) fn schedule_at(&mut self, at: Time, event: Event) {
        // Ticks and syncs of one body at one instant must not depend on how many other events
        // there were: the tie-break hashes what the event is about, and only then the order.
        let about = event.about();
        let tie = self.draws.bits(Purpose::Tie, &[about, at.0.as_micros() as u64]);
        self.queue.push(at, tie, about, event);
    }

    /// The first check that failed, if any.
    pub fn violation(&self) -> Option<&Violation> {
        self.violation.as_ref()
    }

    /// Records a failed check; the first one counts.
    pub(crate) fn fail(&mut self, violation: Result<(), Violation>) {
        if let Err(mut violation) = violation
            && self.violation.is_none()
        {
            violation.at = self.now;
            self.trace.event(self.now, None, || What::Violation {
                class: format!("{:?}", violation.class),
                check: violation.check.to_owned(),
                text: violation.text.clone(),
            });
            self.violation = Some(violation);
        }
    }

    /// Carries out the next event if it is due at or before `until`. False when there is none or
    /// a check has failed.
    pub fn step(&mut self, until: Time) -> bool {
        if self.violation.is_some() || self.queue.next_at().is_none_or(|next| next > until) {
            return false;
        }
        let Some(next) = self.queue.pop() else { return false };
        if next.at > self.now {
            self.fail_if_stormy(next.at);
            self.now = next.at;
        }
        if let Event::Submit { .. } = next.event {
            self.to_submit = self.to_submit.saturating_sub(1);
        }
        self.events += 1;
        self.trace.count(next.at, next.about);
        self.trace.cause = 0;
        self.dispatch(next.event);
        true
    }

    /// Runs until `until`; the clock stands there afterwards, unless a check failed.
    pub fn run_until(&mut self, until: Time) {
        while self.step(until) {}
        if self.violation.is_none() {
            self.now = self.now.max(until);
        }
    }

    fn fail_if_stormy(&mut self, next: Time) {
        // What clients will submit one day is the scenario's own, however much it is.
        let in_flight = self.queue.len().saturating_sub(self.to_submit);
        let verdict = self.checks.time_passes(self.now, next, in_flight);
        self.fail(verdict);
    }

    pub(crate) fn dispatch(&mut self, event: Event) {
        let Some(event) = self.unless_paused(event) else { return };
        match event {
            Event::Deliver(parcel) => self.receive(parcel),
            Event::Checked { body, incarnation, from, candidate, cause } => {
                self.trace.cause = cause;
                if self.bodies[body].incarnation == incarnation {
                    self.candidate_checked(body, from, candidate);
                }
            }
            Event::SyncDone { body, incarnation, position } => {
                if self.bodies[body].incarnation == incarnation {
                    self.log_synced(body, position);
                }
            }
            Event::BlockSyncDone { body, incarnation, number } => {
                if self.bodies[body].incarnation == incarnation {
                    self.blocks_synced(body, number);
                }
            }
            Event::Tick { body, incarnation } => {
                if self.bodies[body].incarnation == incarnation {
                    self.tick(body);
                }
            }
            Event::Submit { place, index, variant } => self.submit(place, index, variant),
            Event::Wake { body } => self.wake(body),
            Event::Link { body, peer, up } => self.notice(body, peer, up),
            Event::Turn { partition } => {
                self.turn(partition);
                self.trace.links(self.now, |from, to| self.network.connected(from, to));
            }
            Event::Drift { body, most, every } => self.drift(body, most, every),
            Event::Resume { body, incarnation } => {
                if self.bodies[body].incarnation == incarnation {
                    self.resume(body);
                }
            }
            Event::Fault(fault) => {
                self.fault(fault);
                self.trace.links(self.now, |from, to| self.network.connected(from, to));
            }
        }
    }

    /// A client hands envelope `index` to the replica at `place`.
    pub fn submit(&mut self, place: Place, index: u64, variant: u8) {
        let body = place.index();
        if !self.bodies[body].is_up() || self.bodies[body].role != Role::Voter {
            return;
        }
        self.trace.cause = self
            .trace
            .event_from(0, self.now, Some(body), || What::Submit { envelope: self.workload.name(index) });
        self.checks.heard(body, 0);
        // A client that is refused goes away.
        let Ok(envelope) = self.workload.admit(index, variant) else { return };
        self.bodies[body].stalled.push_back((index, envelope));
        self.offer(body);
        self.settle(body);
    }

    fn tick(&mut self, body: usize) {
        self.bodies[body].tick = None;
        let state = &mut self.bodies[body];
        let now = state.local(self.now);
        let due = |deadline: Option<Time>| deadline.is_some_and(|deadline| deadline <= now);
        let core_due = due(state.core.as_ref().and_then(|core| core.next_deadline()));
        let intake_due = state.is_up() && due(state.intake.next_deadline());
        if !core_due && !intake_due {
            return self.arm(body);
        }
        if intake_due {
            state.intake.step(now, IntakeInput::Tick, &mut state.intake_outputs);
        }
        let verdict = self.checks.ticked(body, self.now);
        self.fail(verdict);
        self.trace.cause = self.trace.event_from(0, self.now, Some(body), || What::Timer);
        if core_due { self.feed(body, Input::Tick) } else { self.settle(body) }
    }

    fn fault(&mut self, fault: Fault) {
        self.trace.cause = self.trace.event_from(0, self.now, None, || {
            let names: Vec<String> =
                (0..self.bodies.len()).map(|body| crate::trace::body(&self.bodies, body)).collect();
            What::fault(&fault, &names)
        });
        match fault {
            Fault::Cut(from, to) => self.network.cut(from, to),
            Fault::Mend(from, to) => self.network.mend(from, to),
            Fault::LinkDown(one, other) => self.link(one, other, false),
            Fault::LinkUp(one, other) => self.link(one, other, true),
            Fault::Crash(body) => self.crash(body),
            Fault::CrashFor(body, down_for) => self.crash_for(body, Some(down_for)),
            Fault::Restart(body) => {
                if !self.bodies[body].is_up() && self.bodies[body].failed.is_none() {
                    self.boot(body);
                }
            }
            Fault::Wipe(body) => self.wipe(body),
            Fault::Disk(body, fault) => self.spoil_disk(body, fault),
            Fault::Conditions(conditions) => self.network.conditions = Rc::new(*conditions),
            Fault::LinkConditions(from, to, conditions) => {
                self.network.set_links(from, to, conditions.map(|conditions| *conditions));
            }
            Fault::Partition(partition) => self.part(*partition),
            Fault::Reset(one, other, down) => self.reset(one, other, down),
            Fault::Clog(from, to, lasts) => self.network.clog(from, to, self.now.after(lasts)),
            Fault::ClockRate(body, ppm) => self.set_clock_rate(body, ppm),
            Fault::ClockDrift(body, most, every) => self.drift(body, most, every),
            Fault::WallJump(body, millis) => self.jump_wall(body, millis),
            Fault::Pause(body, lasts) => self.pause(body, lasts),
            Fault::Heal => self.heal(),
        }
    }

    /// Tells both ends of a link that it came up or went down.
    pub fn link(&mut self, one: usize, other: usize, up: bool) {
        for (body, peer) in [(one, other), (other, one)] {
            let peer = self.bodies[peer].place;
            if self.bodies[body].is_up() && self.bodies[body].place != peer {
                self.dispatch(Event::Link { body, peer, up });
            }
        }
    }

    /// From here on the network delivers everything in time and the dead come back, also those
    /// whose disk was full or failed to sync or to read. Liars go on.
    pub fn heal(&mut self) {
        self.healed = true;
        self.mend_disks();
        self.checks.healed();
        let least = self.settings.conditions.delay.least().min(Duration::from_millis(5));
        // A network on which every packet takes the same time stays like that.
        let delay = match self.settings.conditions.delay {
            Delay::Constant(_) => Delay::Constant(least),
            _ => Delay::Exponential { least, mean: Duration::from_millis(1) },
        };
        self.network.heal(Conditions::clean(delay));
        for body in 0..self.bodies.len() {
            self.resume(body);
        }
        for body in 0..self.bodies.len() {
            if !self.bodies[body].is_up()
                && self.bodies[body].failed.is_none()
                && !self.bodies[body].liar.as_ref().is_some_and(|liar| liar.is_dead())
            {
                self.boot(body);
            }
        }
        for one in 0..self.bodies.len() {
            for other in 0..one {
                self.link(one, other, true);
            }
        }
    }

    /// Takes the packets that are under way, in the order in which they would arrive.
    pub fn take_under_way(&mut self) -> Vec<Parcel> {
        self.queue.take_out(|event| match event {
            Event::Deliver(parcel) => Ok(parcel),
            other => Err(other),
        })
    }

    /// Bodies of one place, other than `except`.
    pub(crate) fn bodies_at(&self, place: Place, except: usize) -> impl Iterator<Item = usize> + use<> {
        // Twins are few and come after the first n, so this is a short walk.
        let first = place.index();
        let twins: Vec<usize> =
            (self.settings.n..self.bodies.len()).filter(|b| self.bodies[*b].place == place).collect();
        std::iter::once(first).chain(twins).filter(move |body| *body != except)
    }
}

impl Event {
    /// A number that tells events apart by content, for ties and the determinism check.
    fn about(&self) -> u64 {
        match self {
            Self::Deliver(Parcel { from, to, packet, .. }) => {
                let label = packet.label();
                let content = mix(mix(label.kind as u64, label.view.0), mix(label.number.0, label.tag));
                mix(content, (*from as u64) << 32 | *to as u64)
            }
            Self::Checked { body, candidate, .. } => {
                mix(1, *body as u64) ^ crate::network::short(&candidate.digest)
            }
            Self::SyncDone { body, position, .. } => mix(mix(2, *body as u64), *position),
            Self::BlockSyncDone { body, number, .. } => mix(mix(3, *body as u64), number.0),
            Self::Tick { body, .. } => mix(4, *body as u64),
            Self::Submit { place, index, .. } => mix(mix(5, u64::from(place.0)), *index),
            Self::Wake { body } => mix(6, *body as u64),
            Self::Fault(_) => 7,
            Self::Link { body, peer, up } => {
                mix(mix(8, *body as u64), u64::from(peer.0) << 1 | u64::from(*up))
            }
            Self::Turn { partition } => mix(9, *partition),
            Self::Drift { body, .. } => mix(10, *body as u64),
            Self::Resume { body, .. } => mix(11, *body as u64),
        }
    }
}
