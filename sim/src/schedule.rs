//! Random schedules: everything about a run, drawn from one seed.
//!
//! The seed gives a [`Profile`] (what troubles the run, and how much), and the profile and the
//! seed give a [`Plan`]. A run has a time of chaos; then the network heals, liars go on lying, and
//! within a computed bound everything that is owed must commit everywhere.
//!
//! A schedule can also grow out of another, by mutations: [`Name`] has them all, so that the name
//! alone reproduces the schedule, whatever search came upon it.

mod weather;

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use sbft::types::{Number, Place, Time, View};

use crate::byzantine::{AttackSpec, Family, Span, Trigger, catalogue};
use crate::channel::Signatures;
use crate::disk::DiskFault;
use crate::draw::{Draws, Purpose, mix};
use crate::network::Kind;
use crate::plan::{CrashAt, Moment, Plan, Submission};
use crate::swarm::profile::{Choice, Knob, Profile};
use crate::world::{Fault, Settings, default_config};

/// Mutations that one name can hold. Further ones would be no nearer to their ancestor than a
/// fresh seed, and names must stay short enough to be copied.
pub const MOST_MUTATIONS: usize = 6;

/// What a schedule is called: a seed, and the mutations that led from its schedule to this one.
/// Written `42`, `0x5eed`, `42+1f` (decimal or hexadecimal seed, hexadecimal mutations).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    seed: u64,
    mutations: Vec<u32>,
}

impl Name {
    /// The schedule of a seed.
    pub fn of(seed: u64) -> Self {
        Self { seed, mutations: Vec::new() }
    }

    /// The schedule that grows out of this one by one more mutation; none if it has too many.
    pub fn mutated(&self, mutation: u32) -> Option<Self> {
        let mut child = self.clone();
        child.mutations.push(mutation);
        (child.mutations.len() <= MOST_MUTATIONS).then_some(child)
    }

    /// It grew out of another one.
    pub fn is_mutated(&self) -> bool {
        !self.mutations.is_empty()
    }

    /// The seed that it began with.
    pub fn seed(&self) -> u64 {
        self.seed
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.seed)?;
        self.mutations.iter().try_for_each(|mutation| write!(f, "+{mutation:x}"))
    }
}

impl FromStr for Name {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!("`{text}` is no seed; give a number below 2^64 like 42 or 0x5eed, or a name like 42+1f3a")
        };
        let mut parts = text.split('+');
        let seed = parts.next().unwrap_or_default();
        let seed = match seed.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16),
            None => seed.parse(),
        };
        let mutations: Result<Vec<u32>, _> = parts.map(|part| u32::from_str_radix(part, 16)).collect();
        match (seed, mutations) {
            (Ok(seed), Ok(mutations)) if mutations.len() <= MOST_MUTATIONS => Ok(Self { seed, mutations }),
            _ => Err(wrong()),
        }
    }
}

/// Everything that fixes a schedule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Its name.
    pub name: Name,
    /// What profiles it may have.
    pub choice: Choice,
    /// Replicas; drawn (mostly 4) if none.
    pub n: Option<usize>,
}

impl Schedule {
    /// The schedule of a seed, among all.
    pub fn of(seed: u64) -> Self {
        Self { name: Name::of(seed), choice: Choice::default(), n: None }
    }

    /// The seed of its draws and its profile, with all mutations applied.
    fn profile(&self) -> (u64, Profile) {
        let mut seed = self.name.seed;
        let mut profile = Profile::draw(Draws::new(seed), &self.choice);
        for mutation in &self.name.mutations {
            let draws = Draws::new(mix(seed, u64::from(*mutation)));
            profile = profile.mutated(draws, &self.choice);
            // Half of them keep everything else as it was, the others only the profile.
            if draws.chance(Purpose::Profile, &[8], 0.5) {
                seed = draws.bits(Purpose::Profile, &[9]);
            }
        }
        (seed, profile)
    }

    /// The run.
    pub fn plan(&self) -> Plan {
        let (seed, profile) = self.profile();
        let dice = Dice { draws: Draws::new(seed) };
        let n = self.n.unwrap_or_else(|| match dice.below("n", 0, 32) {
            0 => 1,
            1 => 5,
            2 => 7,
            3 => 10,
            _ => 4,
        });
        dice.plan(seed, n, &profile)
    }

    /// The options of `sbft-sim run` that mean this schedule.
    pub fn options(&self) -> String {
        let mut options = format!("--seed {}", self.name);
        if self.choice != Choice::default() {
            options += &format!(" --profile {}", self.choice);
        }
        if let Some(n) = self.n {
            options += &format!(" --n {n}");
        }
        options
    }
}

impl Plan {
    /// The schedule of `seed`.
    pub fn draw(seed: u64) -> Self {
        Schedule::of(seed).plan()
    }

    /// The schedule of `seed` for `n` replicas.
    pub fn draw_with(seed: u64, n: usize) -> Self {
        Schedule { n: Some(n), ..Schedule::of(seed) }.plan()
    }
}

struct Dice {
    draws: Draws,
}

impl Dice {
    fn below(&self, what: &str, which: u64, bound: u64) -> u64 {
        self.draws.below(Purpose::Plan, &[name(what), which], bound)
    }

    fn chance(&self, what: &str, which: u64, probability: f64) -> bool {
        self.draws.chance(Purpose::Plan, &[name(what), which], probability)
    }

    fn millis(&self, what: &str, which: u64, low: u64, high: u64) -> Duration {
        let (low, high) = (Duration::from_millis(low), Duration::from_millis(high));
        self.draws.duration(Purpose::Plan, &[name(what), which], low, high)
    }

    fn plan(&self, seed: u64, n: usize, profile: &Profile) -> Plan {
        let heal_at = Time(self.millis("heal", 0, 1500, 3500));
        let settings = self.settings(seed, n, profile);
        let (liars, twins) = self.liars(n, profile);
        let mut faults = self.partitions(n, heal_at, profile);
        faults.extend(self.links(n, heal_at, profile));
        faults.extend(self.clocks(n, heal_at, profile));
        for which in 0..profile.count(Knob::Crashes) {
            let body = self.below("crash body", which, n as u64) as usize;
            faults.push((Time(self.millis("crash at", which, 50, 3000)).min(heal_at), Fault::Crash(body)));
        }
        if profile.has(Knob::AllCrash) {
            let at = Time(self.millis("all crash at", 0, 300, 3000)).min(heal_at);
            faults.extend((0..n).map(|body| (at, Fault::Crash(body))));
        }
        // A replica that lost its disk is one of the f.
        let f = (n - 1) / 3;
        if f > liars.len() + twins.len() && profile.has(Knob::Wipe) {
            let body = (0..n as u64)
                .map(|which| self.below("wipe body", which, n as u64) as usize)
                .find(|body| liars.iter().map(|(place, _)| place).chain(&twins).all(|p| p.index() != *body));
            if let Some(body) = body {
                let at = Time(self.millis("wipe at", 0, 100, 3000)).min(heal_at);
                // Lost altogether, or broken in one of many ways and perhaps restarted on it.
                if self.chance("disk fault", 0, 0.6) {
                    let which = self.below("disk fault", 1, DiskFault::NAMES.len() as u64);
                    faults.push((at, Fault::Disk(body, DiskFault::NAMES[which as usize].0)));
                    if self.chance("disk restart", 0, 0.5) {
                        let then = at.after(Duration::from_millis(1 + self.below("disk restart", 1, 600)));
                        faults.push((then.min(heal_at), Fault::Crash(body)));
                    }
                } else {
                    faults.push((at, Fault::Wipe(body)));
                }
            }
        }
        let submissions = self.submissions(n, heal_at, profile);
        let crashes = self.crashes(n, profile);
        let cuts = self.cuts(n, profile);
        let quiet = Plan::quiet(settings, heal_at);
        let patience = self.with_slow_clocks(quiet.patience, profile);
        Plan { liars, twins, faults, crashes, cuts, submissions, patience, ..quiet }
    }

    fn settings(&self, seed: u64, n: usize, profile: &Profile) -> Settings {
        let mut config = default_config(n);
        config.window = profile.count(Knob::Window).max(1);
        config.dedup.blocks = profile.count(Knob::Dedup).max(config.window * 2);
        config.dedup.envelopes = profile.count(Knob::DedupEnvelopes);
        config.outstanding = profile.count(Knob::Outstanding).max(1) as usize;
        config.max_message_count = profile.count(Knob::MessageCount).max(1) as u32;
        if let Some(share) = profile.value(Knob::Impatience) {
            config.complain_timeout = share_of(config.complain_timeout, share);
            config.view_change_timeout = share_of(config.view_change_timeout, share);
        }
        Settings {
            sync: match profile.value(Knob::SlowSync) {
                Some(longest) => (Duration::from_millis(1), millis(longest)),
                None => (Duration::from_micros(50), Duration::from_millis(3)),
            },
            block_sync: (Duration::from_millis(1), millis(profile.strength(Knob::BlockSync))),
            validate: (Duration::from_micros(20), Duration::from_millis(1)),
            restart: (Duration::from_millis(5), self.millis("restart", 0, 20, 1200)),
            crash_rate: profile.strength(Knob::CrashRate),
            compact_rate: profile.strength(Knob::Compact),
            cut_count: 1 + self.below("cut count", 0, u64::from(config.max_message_count)) as usize,
            restarts: true,
            // One in a hundred runs with real keys, and some of another kind.
            signatures: match self.below("signatures", 0, 300) {
                0..3 => Signatures::Ed25519,
                3 => Signatures::Ecdsa,
                _ => Signatures::Simulated,
            },
            conditions: self.conditions(profile),
            config,
            ..Settings::calm(seed, n)
        }
    }

    /// Crashes just before or after a replica's first message of some kind, view and number.
    fn crashes(&self, n: usize, profile: &Profile) -> Vec<CrashAt> {
        const KINDS: [Kind; 5] =
            [Kind::PrePrepare, Kind::Prepare, Kind::Commit, Kind::ViewChange, Kind::NewView];
        let crash = |which| {
            let kind = KINDS[self.below("crash kind", which, KINDS.len() as u64) as usize];
            let changes = matches!(kind, Kind::ViewChange | Kind::NewView);
            let view = self.below("crash view", which, 3) + u64::from(changes);
            let number = Number(1 + self.below("crash number", which, 8));
            CrashAt {
                body: self.below("crash sender", which, n as u64) as usize,
                moment: Moment::Send {
                    kind,
                    view: self.chance("crash in view", which, 0.7).then_some(View(view)),
                    number: (!changes && self.chance("crash at number", which, 0.7)).then_some(number),
                    after: self.chance("crash after", which, 0.5),
                },
                down_for: None,
            }
        };
        (0..profile.count(Knob::CrashesAtSends)).map(crash).collect()
    }

    fn liars(&self, n: usize, profile: &Profile) -> (Vec<(Place, Vec<AttackSpec>)>, Vec<Place>) {
        let f = (n - 1) / 3;
        let (mut liars, mut twins) = (Vec::new(), Vec::new());
        let Some(share) = profile.value(Knob::Liars) else { return (liars, twins) };
        // Twins have a knob of their own.
        // `wrong-view` is a part of `bad-proposals`, which is drawn.
        let drawn = |name: &str| !["twins", "wrong-view"].contains(&name);
        let all = || catalogue().iter().filter(move |info| info.make.is_some() && drawn(info.name));
        let mut attacks: Vec<&str> =
            all().filter(|info| profile.has(class(info.family))).map(|info| info.name).collect();
        if attacks.is_empty() {
            attacks = all().map(|info| info.name).collect();
        }
        for which in 0..((f as f64 * share) as u64).max(1).min(f as u64) {
            // Distinct places, often those that are primary soon.
            let place = Place(((self.below("liar", 0, n as u64) + which) % n as u64) as u16);
            if self.chance("twins", which, profile.strength(Knob::Twins)) {
                twins.push(place);
                continue;
            }
            let specs = (0..1 + self.below("attacks", which, 3))
                .map(|nth| {
                    let which = which * 8 + nth;
                    let name = attacks[self.below("attack", which, attacks.len() as u64) as usize];
                    AttackSpec::named(name).when(self.trigger(which))
                })
                .collect();
            liars.push((place, specs));
        }
        (liars, twins)
    }

    /// Half of the attacks act whenever they can, the others now and then or in some views only.
    fn trigger(&self, which: u64) -> Trigger {
        match self.below("trigger", which, 6) {
            0 => Trigger::sometimes(0.5),
            1 => Trigger::sometimes(0.1),
            2 => Trigger {
                views: Some(Span::Range(0, Some(1 + self.below("views", which, 3)))),
                ..Trigger::default()
            },
            _ => Trigger::default(),
        }
    }

    fn submissions(&self, n: usize, heal_at: Time, profile: &Profile) -> Vec<Submission> {
        let everywhere = profile.has(Knob::Everywhere);
        let mut submissions = Vec::new();
        for index in 0..profile.count(Knob::Envelopes) {
            // Most during the chaos, some when it is over.
            let end = heal_at.0.as_millis() as u64 + 300;
            let at = Time(self.millis("submit at", index, 1, end));
            let first = self.below("submit to", index, n as u64);
            let copies = if everywhere {
                n as u64
            } else if self.chance("copies", index, profile.strength(Knob::Copies)) {
                1 + self.below("copies", index + 1_000_000, n as u64)
            } else {
                1
            };
            for copy in 0..copies {
                let which = index * 16 + copy;
                let place = Place(((first + copy) % n as u64) as u16);
                let at = at.after(self.millis("copy at", which, 0, if copy == 0 { 0 } else { 200 }));
                let variant = u8::from(self.chance("variant", which, profile.strength(Knob::Variants)));
                submissions.push(Submission { at, place, index, variant });
            }
        }
        submissions
    }
}

fn name(what: &str) -> u64 {
    what.bytes().fold(0, |hash, byte| mix(hash, u64::from(byte)))
}

fn millis(millis: f64) -> Duration {
    Duration::from_micros((millis * 1000.0) as u64)
}

fn share_of(duration: Duration, share: f64) -> Duration {
    Duration::from_micros((duration.as_micros() as u64 as f64 * share) as u64)
}

fn pairs(n: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..n).flat_map(|one| (0..one).map(move |other| (one, other)))
}

/// The class of attacks that a way to lie belongs to.
fn class(family: Family) -> Knob {
    match family {
        Family::Primary => Knob::LieProposals,
        Family::Votes => Knob::LieVotes,
        Family::Views => Knob::LieViews,
        Family::Transfer => Knob::LieRepair,
        Family::Resources => Knob::LieCandidates,
        Family::Identity | Family::Meta => Knob::LieOtherwise,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_written_as_it_is_read() {
        for text in ["42", "0", "42+1f+a0b1c2d3"] {
            assert_eq!(text.parse::<Name>().map(|name| name.to_string()).as_deref(), Ok(text));
        }
        assert_eq!("0x10".parse::<Name>(), Ok(Name::of(16)));
        for wrong in ["", "x", "42+", "42+xyz", "42+1+2+3+4+5+6+7", "-1"] {
            assert!(wrong.parse::<Name>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_mutation_is_another_schedule_and_always_the_same() {
        let plan = |text: &str| {
            let name = text.parse().expect("a name");
            format!("{:?}", Schedule { name, ..Schedule::of(0) }.plan())
        };
        let mut changed = 0;
        for mutation in 0..40 {
            let name = format!("7+{mutation:x}");
            assert_eq!(plan(&name), plan(&name));
            changed += usize::from(plan(&name) != plan("7"));
        }
        assert!(changed > 30, "{changed} of 40 mutations changed the plan");
    }

    #[test]
    fn no_plan_has_more_faulty_replicas_than_the_protocol_bears() {
        for seed in 0..3000 {
            let plan = Plan::draw(seed);
            let wiped = plan
                .faults
                .iter()
                .filter(|(_, fault)| matches!(fault, Fault::Wipe(_) | Fault::Disk(..)))
                .count();
            let faulty = plan.liars.len() + plan.twins.len() + wiped;
            assert!(faulty <= (plan.settings.n - 1) / 3, "seed {seed}: {faulty} of {}", plan.settings.n);
            assert!(
                plan.faults.iter().all(|(at, _)| *at <= plan.heal_at),
                "seed {seed}: a fault after healing"
            );
        }
    }
}
