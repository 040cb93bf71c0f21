//! What a schedule may be troubled by, and how much: a set of knobs.
//!
//! Swarm testing: a mix of everything at once hides what each part alone would show. So each
//! family of faults is off in half of the schedules, and where it is on, its strength is drawn
//! over orders of magnitude. Some schedules are bent towards one end on top of that
//! ([`Shape`]): where the protocol is hardest, chance alone goes too seldom.
//!
//! A profile can be mutated, a few knobs at a time: that is how schedules grow out of others that
//! went where none had been ([`crate::swarm`]).

use std::fmt;
use std::str::FromStr;

use crate::draw::{Draws, Purpose};

/// Steps between the two ends of a knob.
const STEPS: u64 = 32;

/// Something that can be off, or on and weaker or stronger.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Knob {
    /// Least delay of a packet, in milliseconds.
    LeastDelay,
    /// Mean of the exponential part of a packet's delay, in milliseconds.
    MeanDelay,
    /// How often a packet takes much longer.
    Tail,
    /// How often a packet is lost.
    Loss,
    /// How often a packet arrives twice.
    Duplicate,
    /// How often one phase of one number reaches only some replicas.
    PhaseCut,
    /// How many partitions.
    Partitions,
    /// How many times a link is reset: both ends notice, and what is under way is lost.
    Resets,
    /// How often an output of a replica is the one it crashes at.
    CrashRate,
    /// How many crashes at drawn times.
    Crashes,
    /// How many crashes just before or after a message of some kind.
    CrashesAtSends,
    /// All replicas crash at one instant.
    AllCrash,
    /// A log sync takes up to so many milliseconds.
    SlowSync,
    /// A block sync takes up to so many milliseconds.
    BlockSync,
    /// How often a log is compacted.
    Compact,
    /// One replica loses its disk.
    Wipe,
    /// How many replicas lie, of the f that may: a share.
    Liars,
    /// Liars may bend proposals.
    LieProposals,
    /// Liars may bend votes.
    LieVotes,
    /// Liars may bend view changes and new views.
    LieViews,
    /// Liars may flood, replay and bend candidates.
    LieCandidates,
    /// Liars may bend statuses, blocks and whatever repairs.
    LieRepair,
    /// Liars may be silent, come back with an old disk, collude or search.
    LieOtherwise,
    /// How likely a liar is a pair of twins instead.
    Twins,
    /// How many envelopes.
    Envelopes,
    /// Every envelope goes to every replica.
    Everywhere,
    /// How often an envelope goes to more than one replica.
    Copies,
    /// How often a copy comes in other bytes.
    Variants,
    /// Numbers in flight.
    Window,
    /// D: blocks within which an envelope cannot come twice.
    Dedup,
    /// Candidates outstanding for each origin.
    Outstanding,
    /// Envelopes in a block.
    MessageCount,
    /// Replicas lose patience after this share of the usual time.
    Impatience,
    /// Delays of another distribution: lan, metro, wan, lognormal, uniform, constant, Pareto.
    OddDelays,
    /// How often a packet is kept back until others have overtaken it.
    Reorder,
    /// Packets of one stream keep their order.
    Fifo,
    /// Bytes a second on a link; the strongest is the narrowest.
    Bandwidth,
    /// Packets under way on a link.
    Queue,
    /// How often a link is clogged.
    Clog,
    /// How many links fare worse than the others.
    SlowLinks,
    /// How far clocks are off their rate, in millionths.
    ClockRate,
    /// How far one clock's rate drifts, in millionths.
    ClockDrift,
    /// How often wall time jumps.
    WallJumps,
    /// How often a replica stands still.
    Pauses,
    /// How many phases of one number reach only some replicas.
    Cuts,
    /// E: envelopes of the blocks within which one cannot come twice, if those are more than D.
    DedupEnvelopes,
}

/// What belongs together, and can be asked for by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Family {
    /// Delay, loss, duplicates, partitions, resets, cuts by phase.
    Net,
    /// Crashes.
    Crash,
    /// Slow syncs, compaction, lost disks and what else disks do.
    Disk,
    /// Clocks that run, jump or stop.
    Clock,
    /// Liars and twins.
    Byz,
    /// What clients do.
    Client,
    /// The channel's rules: never off, only different.
    Rules,
}

impl Family {
    const NAMES: [(Self, &'static str); 6] = [
        (Self::Net, "net"),
        (Self::Crash, "crash"),
        (Self::Disk, "disk"),
        (Self::Clock, "clock"),
        (Self::Byz, "byz"),
        (Self::Client, "client"),
    ];
}

/// A knob's family, its weakest and strongest value, and how often it is on.
struct Range {
    knob: Knob,
    family: Family,
    low: f64,
    high: f64,
    chance: f64,
}

const fn range(knob: Knob, family: Family, low: f64, high: f64, chance: f64) -> Range {
    Range { knob, family, low, high, chance }
}

const HALF: f64 = 0.5;
const ALWAYS: f64 = 1.0;

/// In the order of [`Knob`].
static RANGES: [Range; 46] = [
    range(Knob::LeastDelay, Family::Rules, 0.1, 10.0, ALWAYS),
    range(Knob::MeanDelay, Family::Rules, 0.1, 20.0, ALWAYS),
    range(Knob::Tail, Family::Net, 0.002, 0.1, HALF),
    range(Knob::Loss, Family::Net, 0.005, 0.3, HALF),
    range(Knob::Duplicate, Family::Net, 0.01, 0.3, HALF),
    range(Knob::PhaseCut, Family::Net, 0.01, 0.5, HALF),
    range(Knob::Partitions, Family::Net, 1.0, 5.99, HALF),
    range(Knob::Resets, Family::Net, 1.0, 12.0, HALF),
    range(Knob::CrashRate, Family::Crash, 0.0005, 0.02, HALF),
    range(Knob::Crashes, Family::Crash, 1.0, 5.99, HALF),
    range(Knob::CrashesAtSends, Family::Crash, 1.0, 6.99, HALF),
    range(Knob::AllCrash, Family::Crash, 1.0, 1.0, 0.06),
    range(Knob::SlowSync, Family::Disk, 3.0, 60.0, HALF),
    range(Knob::BlockSync, Family::Rules, 5.0, 400.0, ALWAYS),
    range(Knob::Compact, Family::Rules, 0.05, 0.6, 0.7),
    range(Knob::Wipe, Family::Disk, 1.0, 1.0, 0.3),
    range(Knob::Liars, Family::Byz, 0.3, 1.0, 0.75),
    range(Knob::LieProposals, Family::Byz, 1.0, 1.0, HALF),
    range(Knob::LieVotes, Family::Byz, 1.0, 1.0, HALF),
    range(Knob::LieViews, Family::Byz, 1.0, 1.0, HALF),
    range(Knob::LieCandidates, Family::Byz, 1.0, 1.0, HALF),
    range(Knob::LieRepair, Family::Byz, 1.0, 1.0, HALF),
    range(Knob::LieOtherwise, Family::Byz, 1.0, 1.0, HALF),
    range(Knob::Twins, Family::Byz, 0.05, 1.0, HALF),
    range(Knob::Envelopes, Family::Rules, 8.0, 120.0, ALWAYS),
    range(Knob::Everywhere, Family::Client, 1.0, 1.0, 0.25),
    range(Knob::Copies, Family::Client, 0.05, 0.5, HALF),
    range(Knob::Variants, Family::Client, 0.05, 0.5, HALF),
    range(Knob::Window, Family::Rules, 1.0, 16.5, ALWAYS),
    range(Knob::Dedup, Family::Rules, 3.0, 200.0, ALWAYS),
    range(Knob::Outstanding, Family::Rules, 1.0, 5.5, ALWAYS),
    range(Knob::MessageCount, Family::Rules, 2.0, 14.0, ALWAYS),
    range(Knob::Impatience, Family::Client, 0.3, 0.9, 0.25),
    range(Knob::OddDelays, Family::Net, 1.0, 1.0, 0.35),
    range(Knob::Reorder, Family::Net, 0.01, 0.3, 0.25),
    range(Knob::Fifo, Family::Rules, 1.0, 1.0, HALF),
    range(Knob::Bandwidth, Family::Net, 3_000_000.0, 60_000.0, 0.15),
    range(Knob::Queue, Family::Net, 400.0, 8.0, 0.15),
    range(Knob::Clog, Family::Net, 0.01, 0.3, 0.25),
    range(Knob::SlowLinks, Family::Net, 1.0, 3.99, 0.25),
    range(Knob::ClockRate, Family::Clock, 50.0, 100_000.0, HALF),
    range(Knob::ClockDrift, Family::Clock, 50.0, 100_000.0, HALF),
    range(Knob::WallJumps, Family::Clock, 1.0, 3.99, HALF),
    range(Knob::Pauses, Family::Clock, 1.0, 4.99, HALF),
    range(Knob::Cuts, Family::Net, 1.0, 8.99, 0.3),
    range(Knob::DedupEnvelopes, Family::Rules, 4.0, 300.0, HALF),
];

impl Knob {
    fn range(self) -> &'static Range {
        &RANGES[self as usize]
    }
}

/// Where a schedule is bent to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shape {
    /// Nowhere.
    Free,
    /// Views change all the time.
    Views,
    /// Crashes, and phases that reach only some.
    Phases,
    /// Replicas fall far behind and catch up.
    CatchUp,
    /// Small window, small D, one candidate for each origin.
    Narrow,
    /// Every client submits everywhere, in several forms.
    Everywhere,
}

impl Shape {
    const NAMES: [(Self, &'static str); 6] = [
        (Self::Free, "free"),
        (Self::Views, "views"),
        (Self::Phases, "phases"),
        (Self::CatchUp, "catch-up"),
        (Self::Narrow, "narrow"),
        (Self::Everywhere, "everywhere"),
    ];

    /// The knobs it turns on, with the least step of each; and those it turns off.
    fn turns(self) -> (&'static [(Knob, u8)], &'static [Knob]) {
        match self {
            Self::Free => (&[], &[]),
            Self::Views => (
                &[
                    (Knob::PhaseCut, 14),
                    (Knob::Impatience, 0),
                    (Knob::Liars, 0),
                    (Knob::LieViews, 0),
                    (Knob::LieProposals, 0),
                ],
                &[Knob::Twins],
            ),
            Self::Phases => (&[(Knob::PhaseCut, 16), (Knob::CrashRate, 12)], &[Knob::Loss, Knob::Tail]),
            Self::CatchUp => {
                (&[(Knob::Partitions, 16), (Knob::Envelopes, 26), (Knob::LieRepair, 0)], &[Knob::PhaseCut])
            }
            Self::Narrow => (&[(Knob::Copies, 16)], &[]),
            Self::Everywhere => (&[(Knob::Everywhere, 0), (Knob::Variants, 8)], &[]),
        }
    }
}

/// Which profiles may be drawn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Choice {
    families: Vec<Family>,
    shape: Option<Shape>,
}

impl Default for Choice {
    /// Everything.
    fn default() -> Self {
        Self { families: Family::NAMES.map(|(family, _)| family).to_vec(), shape: None }
    }
}

impl Choice {
    /// The names that [`Choice::from_str`] knows.
    pub fn names() -> Vec<&'static str> {
        let families = Family::NAMES.iter().map(|(_, name)| *name);
        let shapes = Shape::NAMES.iter().map(|(_, name)| *name);
        std::iter::once("all").chain(families).chain(shapes).collect()
    }
}

impl FromStr for Choice {
    type Err = String;

    /// `all`, families and at most one shape, with commas between: `net,crash`, `views`.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut choice = Self { families: Vec::new(), shape: None };
        for word in text.split(',').map(str::trim) {
            let family = Family::NAMES.iter().find(|(_, name)| *name == word);
            let shape = Shape::NAMES.iter().find(|(_, name)| *name == word);
            match (word, family, shape) {
                ("all", ..) => choice.families = Self::default().families,
                (_, Some((family, _)), _) if !choice.families.contains(family) => {
                    choice.families.push(*family);
                }
                (_, Some(_), _) => {}
                (_, _, Some((shape, _))) if choice.shape.is_none() => choice.shape = Some(*shape),
                (_, _, Some(_)) => return Err(format!("`{text}` names two shapes; one schedule has one")),
                _ => {
                    let known = Self::names().join(", ");
                    return Err(format!(
                        "`{word}` is no profile; there are {known}, and `net,crash` is both"
                    ));
                }
            }
        }
        if choice.families.is_empty() {
            choice.families = Self::default().families;
        }
        choice.families.sort_unstable();
        Ok(choice)
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all = self.families == Self::default().families;
        let mut words: Vec<&str> = Vec::new();
        if !all {
            let named = Family::NAMES.iter().filter(|(family, _)| self.families.contains(family));
            words.extend(named.map(|(_, name)| *name));
        }
        if let Some(shape) = self.shape {
            words.extend(Shape::NAMES.iter().find(|(known, _)| *known == shape).map(|(_, name)| *name));
        }
        if words.is_empty() {
            words.push("all");
        }
        f.write_str(&words.join(","))
    }
}

/// The position of every knob.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    levels: [Option<u8>; RANGES.len()],
}

impl Profile {
    /// The profile of these draws, within `choice`.
    pub fn draw(draws: Draws, choice: &Choice) -> Self {
        let mut profile = Self { levels: [None; RANGES.len()] };
        for range in &RANGES {
            let key = [1, range.knob as u64];
            if choice.allows(range.family) && draws.chance(Purpose::Profile, &key, range.chance) {
                profile.levels[range.knob as usize] = Some(step(draws, &key));
            }
        }
        let shape = choice.shape.unwrap_or_else(|| {
            let which = draws.below(Purpose::Profile, &[2], 10) as usize;
            Shape::NAMES.get(which).map_or(Shape::Free, |(shape, _)| *shape)
        });
        let (on, off) = shape.turns();
        for knob in off {
            profile.levels[*knob as usize] = None;
        }
        for (knob, least) in on.iter().filter(|(knob, _)| choice.allows(knob.range().family)) {
            let level = &mut profile.levels[*knob as usize];
            *level = Some(level.unwrap_or_else(|| step(draws, &[1, *knob as u64])).max(*least));
        }
        if shape == Shape::Narrow {
            for knob in [Knob::Window, Knob::Dedup, Knob::DedupEnvelopes, Knob::Outstanding] {
                let level = &mut profile.levels[knob as usize];
                *level = level.map(|level| level / 6);
            }
        }
        profile
    }

    /// The same profile with one to three knobs turned, as `draws` says.
    #[must_use]
    pub fn mutated(mut self, draws: Draws, choice: &Choice) -> Self {
        for nth in 0..1 + draws.below(Purpose::Profile, &[3], 3) {
            let which = draws.below(Purpose::Profile, &[4, nth], RANGES.len() as u64) as usize;
            let range = &RANGES[which];
            if !choice.allows(range.family) {
                continue;
            }
            let stays_on = range.chance == ALWAYS || self.levels[which].is_none();
            let on = stays_on || draws.chance(Purpose::Profile, &[5, nth], HALF);
            self.levels[which] = on.then(|| step(draws, &[6, nth]));
        }
        self
    }

    /// It is on.
    pub fn has(&self, knob: Knob) -> bool {
        self.levels[knob as usize].is_some()
    }

    /// How strong it is, if it is on.
    pub fn value(&self, knob: Knob) -> Option<f64> {
        self.levels[knob as usize].map(|level| scale(level, knob.range().low, knob.range().high))
    }

    /// How strong it is; 0 when it is off.
    pub fn strength(&self, knob: Knob) -> f64 {
        self.value(knob).unwrap_or(0.0)
    }

    /// A count; 0 when it is off.
    pub fn count(&self, knob: Knob) -> u64 {
        self.strength(knob) as u64
    }
}

impl Choice {
    fn allows(&self, family: Family) -> bool {
        family == Family::Rules || self.families.contains(&family)
    }
}

fn step(draws: Draws, key: &[u64; 2]) -> u8 {
    draws.below(Purpose::Profile, &[key[0], key[1], 7], STEPS + 1) as u8
}

/// Between two numbers, each order of magnitude as wide as the others.
fn scale(level: u8, low: f64, high: f64) -> f64 {
    // The 32nd root, multiplied up: no logarithm, whose last bit differs between platforms.
    let mut ratio = high / low;
    for _ in 0..STEPS.ilog2() {
        ratio = ratio.sqrt();
    }
    (0..level).fold(low, |value, _| value * ratio)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profiles(choice: &str) -> Vec<Profile> {
        let choice: Choice = choice.parse().expect("a good choice");
        (0..2000).map(|seed| Profile::draw(Draws::new(seed), &choice)).collect()
    }

    #[test]
    fn every_knob_has_its_own_range() {
        for (index, range) in RANGES.iter().enumerate() {
            assert_eq!(range.knob as usize, index, "{:?}", range.knob);
        }
    }

    #[test]
    fn every_family_is_off_in_about_half_of_the_profiles() {
        let profiles = profiles("free");
        for range in RANGES.iter().filter(|range| range.chance == HALF) {
            let on = profiles.iter().filter(|profile| profile.has(range.knob)).count();
            assert!((900..1100).contains(&on), "{:?} is on in {on} of 2000", range.knob);
        }
    }

    #[test]
    fn strengths_spread_over_orders_of_magnitude() {
        let profiles = profiles("free");
        let losses: Vec<f64> = profiles.iter().filter_map(|profile| profile.value(Knob::Loss)).collect();
        let weak = losses.iter().filter(|loss| **loss < 0.04).count();
        assert!((losses.len() * 2 / 5..losses.len() * 3 / 5).contains(&weak), "{weak} of {}", losses.len());
        assert!(losses.iter().all(|loss| (0.005..=0.301).contains(loss)));
    }

    #[test]
    fn a_family_that_is_not_chosen_is_never_on() {
        for profile in profiles("net,views") {
            assert!(!profile.has(Knob::CrashRate) && !profile.has(Knob::Liars), "{profile:?}");
            assert!(profile.strength(Knob::PhaseCut) > 0.04, "{profile:?}");
        }
    }

    #[test]
    fn a_mutation_turns_one_to_three_knobs_and_stays_within_the_choice() {
        let choice: Choice = "net".parse().expect("a good choice");
        let mut changed = 0;
        for seed in 0..500 {
            let parent = Profile::draw(Draws::new(seed), &choice);
            let child = parent.clone().mutated(Draws::new(seed + 9000), &choice);
            let differ = (0..RANGES.len()).filter(|at| parent.levels[*at] != child.levels[*at]).count();
            assert!(differ <= 3 && !child.has(Knob::Liars));
            assert!(child.has(Knob::Window), "the rules are never off");
            changed += usize::from(differ > 0);
        }
        assert!(changed > 300, "{changed} of 500 mutations changed anything");
    }

    #[test]
    fn a_choice_is_written_as_it_is_read() {
        for text in ["all", "net", "net,crash", "views", "byz,narrow"] {
            assert_eq!(text.parse::<Choice>().map(|choice| choice.to_string()).as_deref(), Ok(text));
        }
        let error = "nett".parse::<Choice>().expect_err("no such profile");
        assert!(error.contains("`nett` is no profile; there are all, net, crash"), "{error}");
        assert!("views,narrow".parse::<Choice>().is_err());
    }
}
