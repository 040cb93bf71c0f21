//! A whole run as plain data, and how it is carried out and judged.
//!
//! A [`Plan`] is explicit: who lies, what breaks when, what clients submit. [`crate::schedule`]
//! draws one from a seed. Any part of it can be taken away, and what is random inside the run
//! stays where it was, because every draw is keyed.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use sbft::pbft::{Config, Role};
use sbft::plant::Plant;
use sbft::types::{Number, Place, Time, View};

use crate::byzantine::{AttackSpec, Liar};
use crate::checks::{Bound, Seen};
use crate::coverage::Coverage;
use crate::expect::Expect;
use crate::network::{Kind, Rule, Singles};
use crate::trace::{Recording, What};
use crate::violation::{Class, Violation};
use crate::world::{CrashWhen, Encodings, Fault, Settings, World};

/// All that is settled must stay so for this long: nothing may come loose again.
const CALM: Duration = Duration::from_millis(200);

/// A client's envelope on its way to one replica.
#[derive(Clone, Debug)]
pub struct Submission {
    /// When.
    pub at: Time,
    /// To whom.
    pub place: Place,
    /// Which envelope.
    pub index: u64,
    /// In which bytes: the same request may come in several.
    pub variant: u8,
}

/// A replica dies at something that it does, and not at a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CrashAt {
    /// Which body.
    pub body: usize,
    /// At what.
    pub moment: Moment,
    /// How long it stays down, if that is not to be drawn.
    pub down_for: Option<Duration>,
}

/// Something that a replica does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Moment {
    /// Its output or release of this ordinal, counted from the beginning over all its lives.
    Output(u64),
    /// It sends its first message like this to others.
    Send {
        /// Which kind.
        kind: Kind,
        /// In which view; none for any.
        view: Option<View>,
        /// For which number; none for any.
        number: Option<Number>,
        /// When it has left, and not just before.
        after: bool,
    },
}

/// A whole run, explicit enough that any part can be taken away.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The network and its replicas.
    pub settings: Settings,
    /// Who lies, and how.
    pub liars: Vec<(Place, Vec<AttackSpec>)>,
    /// Places with two bodies that share a key.
    pub twins: Vec<Place>,
    /// What happens from outside, at its time.
    pub faults: Vec<(Time, Fault)>,
    /// Crashes at something that a replica does.
    pub crashes: Vec<CrashAt>,
    /// Packets that are lost, late or doubled, by what they are about; until the network heals.
    pub cuts: Vec<Rule>,
    /// The same for very many single packets, found fast: what the shrinker works with. In a file
    /// they are cuts.
    pub singles: Arc<Singles>,
    /// What clients submit.
    pub submissions: Vec<Submission>,
    /// When the network heals.
    pub heal_at: Time,
    /// How long after healing (or after the last submission) everything must be settled.
    pub patience: Duration,
    /// What must come of it.
    pub expect: Expect,
}

/// How a run went.
#[derive(Clone, Debug)]
pub struct Report {
    /// The check that failed.
    pub violation: Option<Violation>,
    /// Events carried out.
    pub events: u64,
    /// Virtual time at the end.
    pub ended: Time,
    /// Virtual time after healing (or the last submission) at which all was settled.
    pub settled_after: Duration,
    /// Hash of all events.
    pub hash: u64,
    /// What happened at least once.
    pub seen: Seen,
    /// The abstract states that it went through, if they were to be counted.
    pub states: Vec<u64>,
    /// All that happened, if it was to be kept.
    pub recording: Option<Box<Recording>>,
    /// How often each attack really acted.
    pub attacks: BTreeMap<String, u64>,
    /// How often disks really went wrong, by what they did; see [`crate::disk::TOLL`].
    pub disk: BTreeMap<String, u64>,
    /// What became of the replica at each place.
    pub fates: Vec<Fate>,
    /// What chance did, if it was to be written down.
    pub chances: Option<Box<Chances>>,
}

/// What became of a replica.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fate {
    /// Why it stopped by itself, each time.
    pub stopped: Vec<String>,
    /// Why it did not start, each time.
    pub refused: Vec<String>,
    /// It runs in the end.
    pub up: bool,
    /// Blocks it has in the end.
    pub blocks: u64,
}

/// What chance did in a run, until the network healed.
#[derive(Clone, Debug, Default)]
pub struct Chances {
    /// What became of each packet that no partition and no cut took.
    pub singles: Singles,
    /// Where replicas crashed.
    pub crashes: Vec<CrashAt>,
}

impl Report {
    /// The process's exit code for this run.
    pub fn exit_code(&self) -> i32 {
        self.violation.as_ref().map_or(0, |violation| violation.class.exit_code())
    }
}

/// What a run shows while it goes on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Show {
    /// Print a line per event.
    pub print: bool,
    /// Keep all events, for [`Report::recording`].
    pub record: bool,
    /// Write down what chance does, for [`Report::chances`].
    pub chances: bool,
    /// Count the abstract states, for [`Report::states`].
    pub cover: bool,
    /// Encodings that messages and records go through.
    pub encodings: Encodings,
}

/// After the network heals, how long it may take until everything owed is committed everywhere.
/// [`Bound`] has the parts and the reasons.
pub fn liveness_bound(config: &Config) -> Duration {
    Bound::of(config).total()
}

impl Plan {
    /// A run of this world in which nothing happens and nobody lies, and that heals at this time.
    pub fn quiet(settings: Settings, heal_at: Time) -> Self {
        Self {
            patience: liveness_bound(&settings.config),
            settings,
            liars: Vec::new(),
            twins: Vec::new(),
            faults: Vec::new(),
            crashes: Vec::new(),
            cuts: Vec::new(),
            singles: Arc::default(),
            submissions: Vec::new(),
            heal_at,
            expect: Expect::default(),
        }
    }

    /// The same schedule with a rule of the protocol taken away.
    #[must_use]
    pub fn without_rule(mut self, plant: Plant) -> Self {
        self.settings.config.plants = self.settings.config.plants.with(plant);
        self
    }

    /// The world of this plan, started and with everything scheduled.
    pub fn world(&self, show: Show) -> World {
        let liars = self
            .liars
            .iter()
            .map(|(place, specs)| {
                let liar = Liar::of(*place, specs).expect("a plan names attacks of the catalogue");
                (*place, liar)
            })
            .collect();
        let mut world = World::new(self.settings.clone(), liars, &self.twins);
        world.checks.patience = self.patience;
        world.trace.print = show.print;
        world.trace.events = show.record.then(Vec::new);
        world.encodings = show.encodings;
        world.coverage = show.cover.then(|| Coverage::new(&world.bodies));
        let envelopes = self.submissions.iter().map(|s| s.index + 1).max().unwrap_or(0);
        for _ in 0..envelopes {
            world.workload.submit_unnamed();
        }
        for (at, fault) in self.ordered_faults() {
            world.plan(at, fault);
        }
        world.plan(self.heal_at, Fault::Heal);
        world.network.rules.extend(self.cuts.iter().cloned());
        world.network.watch(Arc::clone(&self.singles), show.chances);
        world.crashed_by_chance = show.chances.then(Vec::new);
        for crash in &self.crashes {
            let CrashAt { body, moment, down_for } = crash.clone();
            match moment {
                Moment::Output(ordinal) => {
                    world.crash_points.insert((body, ordinal));
                    world.down_for.extend(down_for.map(|down_for| ((body, ordinal), down_for)));
                }
                Moment::Send { kind, view, number, after } => {
                    world.crash_when.push(CrashWhen { body, kind, view, number, after, down_for });
                }
            }
        }
        for submission in &self.submissions {
            world.plan_submit(submission.at, submission.place, submission.index, submission.variant);
        }
        world.start();
        world
    }

    /// The faults by time, those of one instant in an order that depends on nothing else: a plan
    /// that was written down and read again is the same run.
    fn ordered_faults(&self) -> Vec<(Time, Fault)> {
        let bodies = self.settings.n + self.twins.len();
        let named = |(at, fault): &(Time, Fault)| {
            let fault = fault.clone().among(bodies);
            (*at, format!("{fault:?}"), fault)
        };
        let mut faults: Vec<_> = self.faults.iter().map(named).collect();
        faults.sort_by(|one, other| (one.0, &one.1).cmp(&(other.0, &other.1)));
        faults.into_iter().map(|(at, _, fault)| (at, fault)).collect()
    }

    /// Runs it to the end.
    pub fn run(&self, show: Show) -> Report {
        self.run_with(show, |_| Ok(())).expect("nothing was to be prepared")
    }

    /// Runs it to the end, after `prepare` did something to its world: gave a liar an attack of
    /// one's own, say ([`World::attach`]). An error is that of `prepare`.
    pub fn run_with(
        &self,
        show: Show,
        prepare: impl FnOnce(&mut World) -> Result<(), String>,
    ) -> Result<Report, String> {
        let mut world = None;
        let outcome = catch_unwind(AssertUnwindSafe(|| {
            let world = world.insert(self.world(show));
            prepare(world)?;
            Ok(self.drive(world))
        }));
        let Some(mut world) = world else {
            return Ok(self.panicked(Time::ZERO, "while the world was made"));
        };
        let mut report = match outcome {
            Ok(Err(text)) => return Err(text),
            Ok(Ok(settled_after)) => Report {
                violation: world.violation().cloned(),
                events: world.events,
                ended: world.now,
                settled_after,
                hash: crate::draw::mix(world.trace.hash(), world.checks.chain_digest()),
                seen: world.checks.seen,
                states: world.coverage.take().map_or_else(Vec::new, Coverage::into_states),
                recording: None,
                attacks: world.acted(),
                disk: world.toll(),
                fates: world.fates(),
                chances: None,
            },
            Err(cause) => {
                let text = cause
                    .downcast_ref::<String>()
                    .map(String::as_str)
                    .or_else(|| cause.downcast_ref::<&str>().copied())
                    .unwrap_or("a panic without a message");
                let text = text.to_owned();
                world.trace.event(world.now, None, || What::Violation {
                    class: "Panic".to_owned(),
                    check: "no panic".to_owned(),
                    text: text.clone(),
                });
                self.panicked(world.now, &text)
            }
        };
        if let Some(crashes) = world.crashed_by_chance.take() {
            report.chances = Some(Box::new(Chances { singles: world.network.recorded(), crashes }));
        }
        if show.record {
            report.recording = Some(Box::new(Recording::take(self, &mut world)));
        }
        Ok(report)
    }

    fn panicked(&self, at: Time, text: &str) -> Report {
        let mut violation = Violation::new(Class::Panic, "no panic", text.to_owned());
        violation.at = at;
        Report {
            violation: Some(violation),
            events: 0,
            ended: at,
            settled_after: Duration::ZERO,
            hash: 0,
            seen: Seen::default(),
            states: Vec::new(),
            recording: None,
            attacks: BTreeMap::new(),
            disk: BTreeMap::new(),
            fates: Vec::new(),
            chances: None,
        }
    }

    fn drive(&self, world: &mut World) -> Duration {
        let last = self.submissions.iter().map(|s| s.at).max().unwrap_or(Time::ZERO).max(self.heal_at);
        world.run_until(last);
        let deadline = last.after(self.patience);
        let mut settled = None;
        while world.violation().is_none() {
            if world.now >= deadline {
                let settled = settled.or_else(|| world.is_settled().then_some(world.now));
                world.not_settled(last, settled);
                break;
            }
            if world.is_settled() {
                let since = *settled.get_or_insert(world.now);
                // A little longer: nothing may come loose again, and stray packets arrive.
                if world.now.since(since) >= CALM {
                    break;
                }
            } else {
                settled = None;
            }
            world.check_joined(self.heal_at);
            let next = world.now.after(Duration::from_millis(20));
            world.run_until(next);
        }
        if world.violation().is_none() {
            let verdict = world.checks.ended(&world.bodies);
            world.fail(verdict);
        }
        settled.unwrap_or(world.now).since(last)
    }
}

impl World {
    /// Every honest replica is up and has the whole chain, and nothing is owed.
    pub fn is_settled(&self) -> bool {
        let chain = self.checks.chain_len();
        self.checks.owed().next().is_none()
            && self
                .bodies
                .iter()
                .all(|body| !body.is_honest() || body.is_up() && body.store.last().0 == chain)
    }

    fn check_joined(&mut self, healed: Time) {
        let up = self.bodies.iter().filter(|body| body.is_up() && body.is_honest());
        let verdict = self.checks.has_joined(healed, up.map(|body| body.place));
        self.fail(verdict);
    }

    /// Says what is not settled at the deadline, as a failed check. `settled` is since when all is, if
    /// it is: it must also stay so.
    pub fn not_settled(&mut self, since: Time, settled: Option<Time>) {
        let owed: Vec<String> = self.checks.owed().take(5).map(|index| self.workload.name(index)).collect();
        let replicas = self.standing();
        let bound = Bound::of(&self.settings.config);
        let patience = crate::trace::span(self.checks.patience);
        let limit = if self.checks.patience == bound.total() {
            format!("the bound is {bound}")
        } else {
            format!("the `deadline` in [run] is {patience}; the computed bound would be {bound}")
        };
        let chain = self.checks.chain_len();
        let text = match settled {
            Some(at) => format!(
                "all was settled {} after {since}, but must stay so for {} to count, and the time was up ({limit}); give it more",
                crate::trace::span(at.since(since)),
                crate::trace::span(CALM),
            ),
            None => format!(
                "not settled {} after {since} ({limit}); chain has {chain} blocks; owed: {}; {}",
                crate::trace::span(self.now.since(since)),
                if owed.is_empty() { self.behind(chain) } else { owed.join(" ") },
                replicas.join("; ")
            ),
        };
        self.fail(Err(Violation::new(Class::Liveness, "settles", text)));
    }

    /// What is missing when no envelope is.
    fn behind(&self, chain: u64) -> String {
        let honest = self.bodies.iter().filter(|body| body.is_honest());
        let lacks = honest.filter_map(|body| {
            let (place, blocks) = (body.place, body.store.last().0);
            match body.is_up() {
                false => Some(format!("{place} is down")),
                true if blocks != chain => Some(format!("{place} has {blocks} of {chain} blocks")),
                true => None,
            }
        });
        let lacks: Vec<String> = lacks.collect();
        if lacks.is_empty() {
            return "nothing".to_owned();
        }
        format!("no envelope, but {}", lacks.join(", "))
    }

    /// Where each replica stands, a line each.
    pub fn standing(&self) -> Vec<String> {
        self.bodies
            .iter()
            .enumerate()
            .map(|(index, body)| {
                let state = body.core.as_ref().map_or_else(
                    || "down".to_owned(),
                    |core| {
                        let probe = core.probe();
                        let role = if matches!(body.role, Role::Voter) { "" } else { " follower" };
                        format!(
                            "{}{}{role} committed {} waiting {}",
                            probe.view,
                            if probe.active { "" } else { " inactive" },
                            probe.committed,
                            probe.waiting
                        )
                    },
                );
                format!("{}: {state}", crate::trace::body(&self.bodies, index))
            })
            .collect()
    }
}
