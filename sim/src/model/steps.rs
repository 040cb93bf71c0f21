//! What can happen next in the small world, and what must never have happened.

use std::fmt;

use super::state::{HONEST, NUMBERS, Settled, State, VIEWS, Value, extending, parent};
use super::{Flaw, REPLICAS, Scope};

/// Something that one honest replica does. Replicas are places, numbers count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// It votes prepare for a value.
    Prepare {
        /// The replica.
        place: usize,
        /// The view.
        view: usize,
        /// The number.
        number: usize,
        /// The value.
        value: u8,
    },
    /// It holds the certificate and votes commit.
    Commit {
        /// The replica.
        place: usize,
        /// The view.
        view: usize,
        /// The number.
        number: usize,
    },
    /// It leaves for a view.
    Leave {
        /// The replica.
        place: usize,
        /// The view.
        view: usize,
        /// The number of the last block that it has committed.
        base: u8,
    },
    /// It enters a view by a new-view.
    Enter {
        /// The replica.
        place: usize,
        /// The view.
        view: usize,
        /// The number of the committed block that the new-view builds on.
        base: u8,
        /// What it proposes again.
        again: [u8; NUMBERS],
    },
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Prepare { place, view, number, value } => {
                write!(f, "r{place} prepares {} at #{number} in v{view}", name(*value))
            }
            Self::Commit { place, view, number } => write!(f, "r{place} commits #{number} in v{view}"),
            Self::Leave { place, view, base: 0 } => write!(f, "r{place} leaves for v{view}"),
            Self::Leave { place, view, base } => {
                write!(f, "r{place} leaves for v{view}, with #{base} committed")
            }
            Self::Enter { place, view, base, again } => {
                let again: Vec<String> =
                    again.iter().filter(|value| **value != 0).map(|value| name(*value)).collect();
                write!(f, "r{place} enters v{view} above #{base}, again [{}]", again.join(" "))
            }
        }
    }
}

fn name(value: Value) -> String {
    ["-", "a", "b", "c", "d"].get(usize::from(value)).copied().unwrap_or("?").to_owned()
}

/// The certificates that can be shown to somebody: by view and number, a set of values (bits).
type Certificates = [[u8; NUMBERS]; VIEWS];

/// What a view-change says.
#[derive(Clone, Copy, Debug)]
struct Change {
    base: u8,
    base_value: Value,
    /// View and value of the certificate carried for each number.
    carried: [Option<(usize, Value)>; NUMBERS],
}

/// The world as seen from one state.
pub(super) struct Around<'a> {
    scope: &'a Scope,
    honest: &'a [usize],
    state: State,
    prepared: Certificates,
    blocks: Certificates,
}

impl<'a> Around<'a> {
    pub(super) fn new(scope: &'a Scope, honest: &'a [usize], state: State) -> Self {
        let mut around =
            Self { honest, prepared: Certificates::default(), blocks: Certificates::default(), scope, state };
        for view in 0..scope.views {
            for number in 0..scope.numbers {
                for value in 1..=2 * (number as Value + 1) {
                    let votes = |commits: bool| {
                        let honest = around.replicas().filter(|replica| {
                            replica.accepted[view][number] == value
                                && (!commits || replica.committed[view][number])
                        });
                        // The liars vote for everything.
                        honest.count() + scope.liars.len()
                    };
                    let prepared = votes(false) >= scope.quorum() && votes(false) > scope.liars.len();
                    let block = votes(true) >= scope.quorum() && votes(true) > scope.liars.len();
                    around.prepared[view][number] |= u8::from(prepared) << value;
                    around.blocks[view][number] |= u8::from(block) << value;
                }
            }
        }
        around
    }

    fn replicas(&self) -> impl Iterator<Item = &super::state::Replica> {
        self.state.replicas[..self.honest.len().min(HONEST)].iter()
    }

    /// What must not be so, if it is.
    pub(super) fn broken(&self) -> Option<&'static str> {
        let mut all = [0u8; NUMBERS];
        for view in 0..self.scope.views {
            for (number, all) in all.iter_mut().enumerate().take(self.scope.numbers) {
                if self.prepared[view][number].count_ones() > 1 {
                    return Some("two certificates for one number in one view");
                }
                *all |= self.blocks[view][number];
            }
        }
        if all.iter().any(|values| values.count_ones() > 1) {
            return Some("two committed blocks at one number");
        }
        let (first, second) = (all[0].trailing_zeros() as u8, all[1].trailing_zeros() as u8);
        if all[1] != 0 && all[0] != 0 && parent(second) != first {
            return Some("a committed block does not extend the one below");
        }
        None
    }

    /// Calls `visit` with everything that can happen next.
    pub(super) fn steps(&self, visit: &mut impl FnMut(Step, State)) {
        for who in 0..self.honest.len().min(HONEST) {
            for number in 0..self.scope.numbers {
                self.prepare(who, number, visit);
                self.commit(who, number, visit);
            }
            self.leave(who, visit);
            self.enter(who, visit);
        }
    }

    /// The block that anybody may have committed at a number; 0 for none. There is one at most, or
    /// the search ends.
    fn block(&self, number: usize) -> Value {
        let values = (0..self.scope.views).fold(0, |all, view| all | self.blocks[view][number]);
        if values == 0 { 0 } else { values.trailing_zeros() as Value }
    }

    fn with(&self, who: usize, change: impl FnOnce(&mut super::state::Replica)) -> State {
        let mut state = self.state;
        change(&mut state.replicas[who]);
        state
    }

    fn prepare(&self, who: usize, number: usize, visit: &mut impl FnMut(Step, State)) {
        let replica = &self.state.replicas[who];
        let view = replica.view;
        if !replica.active || replica.accepted[view][number] != 0 {
            return;
        }
        let settled = replica.entered[view].unwrap_or_default();
        if number < usize::from(settled.base) {
            return; // at or below the base it is fetched, not voted on
        }
        let below = match number {
            0 => None,
            _ if replica.accepted[view][0] != 0 => Some(replica.accepted[view][0]),
            _ if self.block(0) != 0 => Some(self.block(0)),
            _ => return,
        };
        let values: [Value; 2] = if number < settled.last() {
            [settled.again[number], 0]
        } else {
            let primary = view % REPLICAS;
            match self.honest.iter().position(|place| *place == primary) {
                Some(leads) if leads != who => [self.state.replicas[leads].accepted[view][number], 0],
                // Its own proposal, or a liar's: anything.
                _ => extending(below),
            }
        };
        for value in values.into_iter().filter(|value| *value != 0) {
            if below.is_none_or(|below| parent(value) == below) {
                let place = self.honest[who];
                let step = Step::Prepare { place, view, number: number + 1, value };
                visit(step, self.with(who, |replica| replica.accepted[view][number] = value));
            }
        }
    }

    fn commit(&self, who: usize, number: usize, visit: &mut impl FnMut(Step, State)) {
        let replica = &self.state.replicas[who];
        for view in 0..self.scope.views {
            let current = view == replica.view && replica.active;
            let late = view < replica.view && self.scope.has(Flaw::CommitAfterViewChange);
            let value = replica.accepted[view][number];
            let below = number == 0
                || replica.committed[view][0]
                || self.block(0) != 0
                || self.scope.has(Flaw::NoPrefixRule);
            if (current || late)
                && value != 0
                && below
                && !replica.committed[view][number]
                && self.prepared[view][number] >> value & 1 == 1
            {
                let step = Step::Commit { place: self.honest[who], view, number: number + 1 };
                visit(step, self.with(who, |replica| replica.committed[view][number] = true));
            }
        }
    }

    fn leave(&self, who: usize, visit: &mut impl FnMut(Step, State)) {
        let replica = &self.state.replicas[who];
        for view in replica.view + 1..self.scope.views {
            for base in (0..=self.scope.numbers).take_while(|base| *base == 0 || self.block(base - 1) != 0) {
                let state = self.with(who, |replica| {
                    replica.view = view;
                    replica.active = false;
                    replica.asked[view] = Some(base as u8);
                });
                visit(Step::Leave { place: self.honest[who], view, base: base as u8 }, state);
            }
        }
    }

    fn enter(&self, who: usize, visit: &mut impl FnMut(Step, State)) {
        let replica = &self.state.replicas[who];
        for view in replica.view.max(1)..self.scope.views {
            if view == replica.view && replica.active {
                continue;
            }
            let primary = view % REPLICAS;
            let leads = self.honest.iter().position(|place| *place == primary);
            let possible = match leads {
                Some(leads) if leads != who => {
                    self.state.replicas[leads].entered[view].map_or(0, |settled| 1 << settled.code())
                }
                // An honest primary starts the view that it asked for.
                Some(_) if view != replica.view => 0,
                _ => self.new_views(view),
            };
            for settled in Settled::all().filter(|settled| possible >> settled.code() & 1 == 1) {
                let step =
                    Step::Enter { place: self.honest[who], view, base: settled.base, again: settled.again };
                let state = self.with(who, |replica| {
                    replica.view = view;
                    replica.active = true;
                    replica.entered[view] = Some(settled);
                });
                visit(step, state);
            }
        }
    }

    /// What the new-views of this view that could be built may settle, as a set of codes.
    fn new_views(&self, view: usize) -> u16 {
        let changes: Vec<Change> =
            (0..self.honest.len().min(HONEST)).filter_map(|who| self.view_change(who, view)).collect();
        let quorum = self.scope.of_new_view();
        let liars = self.scope.liars.len();
        if changes.len() + liars < quorum {
            return 0;
        }
        let lies = self.lies(view);
        let mut all = 0;
        let mut set = Vec::with_capacity(REPLICAS);
        for chosen in 0..1u32 << changes.len() {
            let honest = chosen.count_ones() as usize;
            if honest > quorum || honest + liars < quorum {
                continue;
            }
            set.clear();
            set.extend(
                (0..changes.len()).filter(|which| chosen >> which & 1 == 1).map(|which| changes[which]),
            );
            // What several liars say together one can say: the rule looks at the highest only.
            if honest == quorum {
                all |= 1 << self.follow(&set).code();
            } else {
                for lie in &lies {
                    set.push(*lie);
                    all |= 1 << self.follow(&set).code();
                    set.pop();
                }
            }
        }
        all
    }

    /// The view-change of an honest replica, if it sent one.
    fn view_change(&self, who: usize, view: usize) -> Option<Change> {
        let replica = &self.state.replicas[who];
        let base = replica.asked[view]?;
        let since = if self.scope.has(Flaw::CertificatesDropped) {
            (0..view).rev().find(|view| replica.entered[*view].is_some()).unwrap_or(0)
        } else {
            0
        };
        let mut carried = [None; NUMBERS];
        for (number, carried) in carried.iter_mut().enumerate().skip(base.into()) {
            let held = (since..view).rev().find(|view| replica.committed[*view][number]);
            *carried = held.map(|held| (held, replica.accepted[held][number]));
        }
        let base_value = base.checked_sub(1).map_or(0, |below| self.block(usize::from(below)));
        Some(Change { base, base_value, carried })
    }

    /// Every view-change that a liar could send.
    fn lies(&self, view: usize) -> Vec<Change> {
        let mut lies = vec![Change { base: 0, base_value: 0, carried: [None; NUMBERS] }];
        for number in 0..self.scope.numbers {
            for view in 0..self.scope.views {
                for value in (1..=4).filter(|value| self.blocks[view][number] >> value & 1 == 1) {
                    let base = number as u8 + 1;
                    lies.push(Change { base, base_value: value, carried: [None; NUMBERS] });
                }
            }
        }
        for number in 0..self.scope.numbers {
            for at in 0..lies.len() {
                if usize::from(lies[at].base) > number {
                    continue;
                }
                for held in 0..view {
                    for value in (1..=4).filter(|value| self.prepared[held][number] >> value & 1 == 1) {
                        let mut lie = lies[at];
                        lie.carried[number] = Some((held, value));
                        lies.push(lie);
                    }
                }
            }
        }
        lies
    }

    /// What follows from a set of view-changes.
    fn follow(&self, set: &[Change]) -> Settled {
        let highest = set.iter().max_by_key(|change| change.base).copied();
        let (base, mut below) = highest.map_or((0, 0), |change| (change.base, change.base_value));
        let mut settled = Settled { base, again: [0; NUMBERS] };
        if self.scope.has(Flaw::IgnoresCertificates) {
            return settled;
        }
        let newest = set.iter().flat_map(|change| change.carried).flatten().map(|(view, _)| view).max();
        for number in usize::from(base)..self.scope.numbers {
            let here = set.iter().filter_map(|change| change.carried[number]);
            let lowest = self.scope.has(Flaw::LowestCertificate);
            let Some((view, value)) = (if lowest { here.min() } else { here.max() }) else { break };
            if self.scope.has(Flaw::SingleHighestCertificate) && Some(view) != newest {
                break;
            }
            if number > 0 && parent(value) != below {
                break;
            }
            settled.again[number] = value;
            below = value;
        }
        settled
    }
}
