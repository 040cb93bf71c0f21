//! Breadth-first search over all states, with the way to each.

use std::fmt;

use super::Scope;
use super::state::State;
use super::steps::{Around, Step};
use crate::draw::mix;

/// What the search found.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// States, with those that differ by the names of values only counted once.
    pub states: usize,
    /// The most steps that a state is away from the first.
    pub depth: usize,
    /// Every state was seen.
    pub complete: bool,
    /// States in which a block was proposed again by a new view.
    pub reproposed: usize,
    /// States in which a block could be committed in the last view.
    pub committed_last: usize,
    /// What broke, and the shortest way there.
    pub counterexample: Option<Counterexample>,
}

/// How something breaks.
#[derive(Clone, Debug)]
pub struct Counterexample {
    /// What must not be.
    pub broken: &'static str,
    /// The steps that lead there.
    pub steps: Vec<Step>,
}

impl fmt::Display for Counterexample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:", self.broken)?;
        self.steps.iter().try_for_each(|step| write!(f, "\n  {step}"))
    }
}

/// Explores everything that can happen within `scope`, until something breaks.
///
/// # Panics
/// If the rules do not allow the story that it begins with.
pub fn explore(scope: &Scope) -> Outcome {
    let honest = scope.honest();
    let mut seen = Seen::new();
    let first = scope.story.iter().fold(State::first(), |state, step| after(scope, &honest, state, step));
    seen.insert(first.canonical(), 0);
    let mut outcome = Outcome {
        states: 0,
        depth: 0,
        complete: true,
        reproposed: 0,
        committed_last: 0,
        counterexample: None,
    };
    let (mut at, mut end) = (0, 1);
    while at < seen.states.len() {
        if at == end {
            outcome.depth += 1;
            end = seen.states.len();
        }
        let state = State::unpack(seen.states[at]);
        let around = Around::new(scope, &honest, state);
        if let Some(broken) = around.broken() {
            outcome.counterexample = Some(Counterexample { broken, steps: seen.way_to(scope, at) });
            break;
        }
        outcome.count(scope, &state);
        if seen.states.len() >= scope.most_states {
            outcome.complete = false;
            break;
        }
        around.steps(&mut |_, next| seen.insert(next.canonical(), at as u32));
        at += 1;
    }
    outcome.complete &= outcome.counterexample.is_none();
    outcome.states = seen.states.len();
    outcome
}

/// The state after a step of the story.
///
/// # Panics
/// If the rules do not allow it there.
fn after(scope: &Scope, honest: &[usize], state: State, step: &Step) -> State {
    let mut found = None;
    Around::new(scope, honest, state).steps(&mut |possible, next| {
        if possible == *step {
            found = Some(next);
        }
    });
    found.unwrap_or_else(|| panic!("the rules do not allow `{step}` there"))
}

impl Outcome {
    fn count(&mut self, scope: &Scope, state: &State) {
        let entered = state.replicas.iter().flat_map(|replica| replica.entered).flatten();
        self.reproposed += usize::from(entered.into_iter().any(|settled| settled.again != [0, 0]));
        let last = scope.views - 1;
        let commits = state.replicas.iter().filter(|replica| replica.committed[last][0]).count();
        self.committed_last += usize::from(commits >= 2);
    }
}

/// The states seen so far in the order in which they were, each with the one it came from, and a
/// hash table over them with open addressing.
struct Seen {
    states: Vec<u128>,
    from: Vec<u32>,
    /// Index of a state plus one; 0 for none.
    table: Vec<u32>,
}

impl Seen {
    fn new() -> Self {
        Self { states: Vec::new(), from: Vec::new(), table: vec![0; 1 << 16] }
    }

    fn slot(&self, state: u128) -> usize {
        let mask = self.table.len() - 1;
        let mut slot = mix(state as u64, (state >> 64) as u64) as usize & mask;
        loop {
            match self.table[slot] {
                0 => return slot,
                index if self.states[index as usize - 1] == state => return slot,
                _ => slot = (slot + 1) & mask,
            }
        }
    }

    fn insert(&mut self, state: u128, from: u32) {
        let slot = self.slot(state);
        if self.table[slot] != 0 {
            return;
        }
        self.states.push(state);
        self.from.push(from);
        self.table[slot] = self.states.len() as u32;
        if self.states.len() * 2 > self.table.len() {
            self.table = vec![0; self.table.len() * 2];
            for index in 0..self.states.len() {
                let slot = self.slot(self.states[index]);
                self.table[slot] = index as u32 + 1;
            }
        }
    }

    /// The steps from the first state to this one. States are kept under their canonical names,
    /// so the way is walked again with the names that come of it.
    fn way_to(&self, scope: &Scope, mut at: usize) -> Vec<Step> {
        let mut way = vec![at];
        while at != 0 {
            at = self.from[at] as usize;
            way.push(at);
        }
        let honest = scope.honest();
        let mut state =
            scope.story.iter().fold(State::first(), |state, step| after(scope, &honest, state, step));
        let mut steps = scope.story.clone();
        for at in way.into_iter().rev().skip(1) {
            let mut found = None;
            Around::new(scope, &honest, state).steps(&mut |step, next| {
                if found.is_none() && next.canonical() == self.states[at] {
                    found = Some((step, next));
                }
            });
            let (step, next) = found.expect("the same step leads to the same state by another name");
            steps.push(step);
            state = next;
        }
        steps
    }
}
