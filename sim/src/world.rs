//! A network of replicas in virtual time: one thread, one queue of events, one seed.
//!
//! Each *body* is a real protocol core with its own disk, source of candidates and driver. An
//! honest replica has one body; a liar has one with a wrapper round it, or two twins that share
//! its key. Events are ordered by time and then by a keyed draw, so that what happens at one
//! instant happens in every order, and in the same order for the same seed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use sbft::intake::IntakeInput;
use sbft::pbft::{Input, Output, Role};
use sbft::types::{Place, Time};

use crate::byzantine::{Attack, Knowledge, Liar, Trigger};
use crate::checks::Checks;
use crate::coverage::Coverage;
use crate::draw::{Draws, Purpose};
use crate::driver::Caused;
use crate::network::Network;
use crate::plan::CrashAt;
use crate::queue::Queue;
use crate::real::RealKeys;
use crate::scale::Machine;
use crate::scale::meter::Meter;
use crate::signing::Keys;
use crate::trace::{Trace, What};
use crate::violation::Violation;
use crate::workload::Workload;

mod body;
mod encodings;
mod event;
mod fault;
mod settings;

pub use body::Body;
pub(crate) use body::Promise;
pub use encodings::{Encodings, Through};
pub(crate) use event::Event;
pub use event::Parcel;
pub use fault::{CrashWhen, Fault};
pub(crate) use settings::intake_config;
pub use settings::{Settings, default_config};

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
    /// Ticks in the queue: when a replica wants one sooner, the later one stays there until it is due.
    pub(crate) ticks: usize,
    pub(crate) violation: Option<Violation>,
    /// Room for what a core puts out and takes in, kept from one input to the next.
    pub(crate) output_buffer: Vec<Output>,
    pub(crate) input_buffer: VecDeque<Caused>,
    /// Counts abstract states, if anybody wants to know.
    pub(crate) coverage: Option<Coverage>,
    /// The machines that everything takes time on; none where work takes none.
    pub(crate) machine: Option<Box<Machine>>,
    /// Measures how long steps really take, if anybody wants to know.
    pub(crate) meter: Option<Box<Meter>>,
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
            .map(|(index, place)| {
                let liar = if index < n { wrappers.remove(place) } else { second.pop() };
                Body::new(*place, liar, &settings)
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
            ticks: 0,
            violation: None,
            output_buffer: Vec::new(),
            input_buffer: VecDeque::new(),
            coverage: None,
            machine: None,
            meter: None,
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
        match next.event {
            Event::Submit { .. } => self.to_submit = self.to_submit.saturating_sub(1),
            Event::Tick { .. } => self.ticks = self.ticks.saturating_sub(1),
            _ => {}
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
        // What clients will submit one day is the scenario's own, however much it is; and ticks that
        // nobody waits for any more say nothing about what replicas send.
        // With machines most of the queue is work that waits for a processor or a card.
        let in_flight = if self.machine.is_some() {
            0
        } else {
            self.queue.len().saturating_sub(self.to_submit + self.ticks)
        };
        let verdict = self.checks.time_passes(self.now, next, in_flight);
        self.fail(verdict);
    }

    pub(crate) fn dispatch(&mut self, event: Event) {
        let Some(event) = self.unless_paused(event) else { return };
        match event {
            Event::Deliver(parcel) if self.machine.is_some() => self.arrive_work(parcel),
            Event::Deliver(parcel) => self.receive(parcel),
            Event::Slice(slot) => self.slice_over(slot),
            Event::Then(task) => self.then(task),
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
        if self.machine.is_some() {
            self.tick_work(body);
        }
        self.trace.cause = self.trace.event_from(0, self.now, Some(body), || What::Timer);
        if core_due { self.feed(body, Input::Tick) } else { self.settle(body) }
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
