//! Every schedule of a small world: four replicas, one of which has a twin that holds its key.
//!
//! Two scopes, each enumerated without gaps and without chance:
//!
//! * [`Scope::Views`]: in each of the first views the network falls into two sides, in every way
//!   that five bodies can; the twin is at each of the four places in turn. The primary of a view is
//!   given by its number. View v may propose no number above v + 1, so that every one of these
//!   views has its turn; later views are whole again.
//! * [`Scope::Phases`]: in view 0 each phase (pre-prepare, prepare, commit, and the view-change
//!   away from it) reaches every subset of the bodies other than the primary.
//!
//! Two clients submit an envelope for each of these views, and each of the twins hears another
//! client first: as primary they propose two different blocks for one number. A run is short: timers are short, a schedule takes
//! well under a second of virtual time, then all rules fall away and everything must settle.

use std::fmt::Write as _;
use std::time::Duration;

use sbft::types::{Number, Place, Time, View};

use crate::network::{Conditions, Fate, Kind, Rule};
use crate::plan::{Plan, Submission};
use crate::world::Settings;

const REPLICAS: usize = 4;
/// The second body of the place that has twins.
const TWIN: usize = REPLICAS;
/// Ways to cut five bodies in two.
const SIDES: u64 = 16;
/// Rounds that [`Scope::Views`] goes to: 4 * 16^5 runs take hours, 16 times as many days.
pub const MOST_ROUNDS: u32 = 5;

/// The phases of a view, as [`Scope::Phases`] takes them.
const PHASES: [(Kind, u64); 4] =
    [(Kind::PrePrepare, 0), (Kind::Prepare, 0), (Kind::Commit, 0), (Kind::ViewChange, 1)];

/// What is enumerated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Two sides in each of so many views.
    Views {
        /// How many, 1 to [`MOST_ROUNDS`].
        rounds: u32,
    },
    /// Who hears each phase of view 0.
    Phases,
}

impl Scope {
    /// How many schedules there are; they are numbered from 0.
    pub fn count(self) -> u64 {
        match self {
            Self::Views { rounds } => REPLICAS as u64 * SIDES.pow(rounds),
            Self::Phases => SIDES.pow(PHASES.len() as u32),
        }
    }

    /// The place with the twins, and the choice (0..16) for each round or phase.
    fn choices(self, index: u64) -> (Place, Vec<u64>) {
        let (digits, place) = match self {
            Self::Views { rounds } => (rounds, index / SIDES.pow(rounds)),
            Self::Phases => (PHASES.len() as u32, 0),
        };
        let choices = (0..digits).map(|nth| index / SIDES.pow(nth) % SIDES).collect();
        (Place((place % REPLICAS as u64) as u16), choices)
    }

    /// Schedule `index`.
    pub fn plan(self, index: u64) -> Plan {
        let (place, choices) = self.choices(index);
        let mut cuts = Vec::new();
        for (nth, choice) in choices.iter().enumerate() {
            match self {
                Self::Views { rounds } => {
                    cuts.extend(split(*choice, nth as u64));
                    cuts.extend(
                        (nth as u64 + 2..=u64::from(rounds) + 1).map(|number| above(nth as u64, number)),
                    );
                }
                Self::Phases => cuts.push(unheard(*choice, nth)),
            }
        }
        let clients = clients(place);
        // Each twin hears of the other envelope first.
        for (from, to) in clients.iter().zip([place.index(), TWIN]) {
            cuts.push(Rule {
                from: Some(vec![from.index()]),
                to: Some(vec![to]),
                kinds: Some(vec![Kind::Candidate]),
                fate: Fate::Delay(Duration::from_millis(6)),
                ..Rule::default()
            });
        }
        let envelopes = choices.len().max(2) as u64;
        let submissions = (0..envelopes)
            .map(|index| Submission { at: millis(1), place: clients[index as usize % 2], index, variant: 0 })
            .collect();
        Plan { twins: vec![place], cuts, submissions, ..Plan::quiet(settings(index), heal_at(self)) }
    }

    /// What schedule `index` does, for people.
    pub fn describe(self, index: u64) -> String {
        let (place, choices) = self.choices(index);
        let mut out = format!("{place} has a twin");
        for (nth, choice) in choices.iter().enumerate() {
            let _ = match self {
                Self::Views { .. } => {
                    let (one, other) = sides(*choice);
                    write!(out, "; v{nth}: {} | {}", names(&one, place), names(&other, place))
                }
                Self::Phases => {
                    let (kind, view) = PHASES[nth];
                    let heard = heard(*choice);
                    let heard =
                        if heard.is_empty() { "nobody else".to_owned() } else { names(&heard, place) };
                    write!(out, "; {kind} of v{view} reaches {heard}")
                }
            };
        }
        out
    }
}

fn millis(millis: u64) -> Time {
    Time(Duration::from_millis(millis))
}

/// Late enough for every view that is enumerated: each lasts for a timeout, and those double.
fn heal_at(scope: Scope) -> Time {
    match scope {
        Scope::Views { rounds } => millis(150 * (1 << rounds.min(MOST_ROUNDS)) / 2 + 100),
        Scope::Phases => millis(250),
    }
}

/// Timers as short as delays of a millisecond allow; one envelope a block.
fn settings(seed: u64) -> Settings {
    let mut settings = Settings::calm(seed, REPLICAS);
    settings.conditions = Conditions::steady(Duration::from_millis(1));
    let config = &mut settings.config;
    config.max_message_count = 1;
    config.forward_timeout = Duration::from_millis(15);
    config.complain_timeout = Duration::from_millis(40);
    config.view_change_timeout = Duration::from_millis(40);
    config.view_change_timeout_cap = Duration::from_millis(640);
    config.status_interval = Duration::from_millis(40);
    settings
}

/// The two replicas whose clients submit: none of them has the twin.
fn clients(twin: Place) -> [Place; 2] {
    let mut others = (0..REPLICAS as u16).map(Place).filter(|place| *place != twin);
    [(); 2].map(|()| others.next().expect("three places have no twin"))
}

/// Body 0's side and the other one.
fn sides(choice: u64) -> (Vec<usize>, Vec<usize>) {
    (0..=TWIN).partition(|body| *body == 0 || choice >> (body - 1) & 1 == 1)
}

/// The bodies beside body 0 that hear a phase.
fn heard(choice: u64) -> Vec<usize> {
    (1..=TWIN).filter(|body| choice >> (body - 1) & 1 == 1).collect()
}

/// What decides a view. Statuses, candidates and blocks cross: they decide nothing.
const DECIDES: [Kind; 5] = [Kind::PrePrepare, Kind::Prepare, Kind::Commit, Kind::ViewChange, Kind::NewView];

/// Nothing that decides `view` crosses from one side to the other.
fn split(choice: u64, view: u64) -> Vec<Rule> {
    let (one, other) = sides(choice);
    if other.is_empty() {
        return Vec::new();
    }
    let cut = |from: &[usize], to: &[usize]| Rule {
        from: Some(from.to_vec()),
        to: Some(to.to_vec()),
        kinds: Some(DECIDES.to_vec()),
        view: Some(View(view)),
        ..Rule::default()
    };
    vec![cut(&one, &other), cut(&other, &one)]
}

/// The proposals of `view` for this number reach nobody.
fn above(view: u64, number: u64) -> Rule {
    Rule {
        kinds: Some(vec![Kind::PrePrepare]),
        view: Some(View(view)),
        number: Some(Number(number)),
        ..Rule::default()
    }
}

/// A phase does not reach those beside the primary that are not chosen.
fn unheard(choice: u64, phase: usize) -> Rule {
    let (kind, view) = PHASES[phase];
    let heard = heard(choice);
    Rule {
        to: Some((1..=TWIN).filter(|body| !heard.contains(body)).collect()),
        kinds: Some(vec![kind]),
        view: Some(View(view)),
        ..Rule::default()
    }
}

fn names(bodies: &[usize], twin: Place) -> String {
    let name =
        |body: &usize| if *body == TWIN { format!("{twin}'") } else { Place(*body as u16).to_string() };
    let names: Vec<String> = bodies.iter().map(name).collect();
    names.join(" ")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use sbft::plant::Plant;

    use super::*;
    use crate::plan::Show;

    const TWO: Scope = Scope::Views { rounds: 2 };

    #[test]
    fn every_schedule_is_another_one() {
        for scope in [TWO, Scope::Views { rounds: 1 }] {
            let all: BTreeSet<String> = (0..scope.count()).map(|index| scope.describe(index)).collect();
            assert_eq!(all.len() as u64, scope.count());
        }
        assert_eq!(Scope::Phases.count(), 65_536);
        assert_eq!((TWO.count(), Scope::Views { rounds: 3 }.count()), (1024, 16_384));
    }

    #[test]
    fn a_schedule_says_what_it_does() {
        assert_eq!(
            TWO.describe(256 + 0b0110 + 16 * 0b1000),
            "r1 has a twin; v0: r0 r2 r3 | r1 r1'; v1: r0 r1' | r1 r2 r3"
        );
        let phases = Scope::Phases.describe(0b0001 << 4 | 0b1111);
        assert!(
            phases.contains("pre-prepare of v0 reaches r1 r2 r3 r0'; prepare of v0 reaches r1;"),
            "{phases}"
        );
        assert!(phases.contains("commit of v0 reaches nobody else"), "{phases}");
    }

    #[test]
    fn twins_in_a_whole_network_propose_two_blocks_and_lose_their_view() {
        let whole = Scope::Views { rounds: 1 };
        let report = whole.plan(0b1111).run(Show::default());
        assert_eq!(report.violation, None);
        assert!(report.seen.highest_view >= 1, "two proposals for number 1 cannot both get a quorum");
        assert!(report.seen.accusations > 0 || report.seen.blocks == 2);
    }

    #[test]
    fn all_splits_of_one_view_and_some_of_two_break_nothing() {
        let one = Scope::Views { rounds: 1 };
        for (scope, step) in [(one, 1), (TWO, 7), (Scope::Phases, 499)] {
            for index in (0..scope.count()).step_by(step) {
                let report = scope.plan(index).run(Show::default());
                assert_eq!(report.violation, None, "{}: {}", index, scope.describe(index));
            }
        }
    }

    #[test]
    fn a_quorum_that_is_too_small_is_found() {
        let scope = Scope::Views { rounds: 1 };
        let found = (0..scope.count()).find_map(|index| {
            scope.plan(index).without_rule(Plant::QuorumTooSmall).run(Show::default()).violation
        });
        let violation = found.expect("two sides with two votes each fork the chain");
        assert!(
            ["certificate", "prepared certificate", "agreement"].contains(&violation.check),
            "{violation}"
        );
    }
}
