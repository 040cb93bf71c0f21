//! Which states of the protocol a run goes through: abstract ones, so that there are few enough
//! to fill and enough to tell where nobody has been.
//!
//! A replica's abstract state says how it stands to the others and not where it is: its view
//! above the lowest, whether it votes there, what it has accepted and prepared above what it
//! committed, how far it is behind, whether votes wait. The state of the network is the multiset
//! of these, since replicas are alike but for who is primary. Two runs that reach one state got
//! as far as each other, whatever their clocks, seeds and numbers were.

use sbft::pbft::Role;

use crate::draw::mix;
use crate::world::Body;

/// States that one run can add to; more are not kept (no run comes near).
const MOST_STATES: usize = 1 << 16;

/// As many as a network can have.
const MOST_BODIES: usize = 64;

/// What of a body counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Stand {
    view: u64,
    committed: u64,
    /// The rest, packed: see [`Stand::of`].
    own: u64,
}

impl Stand {
    fn of(body: &Body) -> Self {
        let Some(core) = &body.core else {
            return Self { view: 0, committed: body.store.last().0, own: 1 };
        };
        let probe = core.outline();
        let accepted = probe.accepted > probe.committed;
        let prepared = probe.prepared > probe.committed;
        let flags = [
            probe.active,
            probe.primary == body.place,
            matches!(body.role, Role::Voter),
            accepted,
            prepared,
            // Votes that wait for the proposal they are about.
            !accepted && core.holds_messages(),
        ];
        let flags = flags.iter().fold(0, |bits, flag| bits << 1 | u64::from(*flag));
        Self { view: probe.view.0, committed: probe.committed.0, own: 2 + flags }
    }
}

/// The states that a run has been in.
#[derive(Debug)]
pub(crate) struct Coverage {
    stands: Vec<Stand>,
    honest: Vec<bool>,
    latest: u64,
    states: Vec<u64>,
}

impl Coverage {
    /// Nothing seen yet, of these bodies.
    pub(crate) fn new(bodies: &[Body]) -> Self {
        Self {
            stands: vec![Stand::default(); bodies.len()],
            honest: bodies.iter().map(Body::is_honest).collect(),
            latest: 0,
            states: Vec::new(),
        }
    }

    /// A body may have changed. What liars hold in their heads is no state of the protocol.
    pub(crate) fn see(&mut self, index: usize, body: &Body) {
        if !self.honest[index] {
            return;
        }
        let stand = Stand::of(body);
        if self.stands[index] == stand {
            return;
        }
        self.stands[index] = stand;
        let state = self.state();
        if state != self.latest && self.states.len() < MOST_STATES {
            self.latest = state;
            self.states.push(state);
        }
    }

    fn state(&self) -> u64 {
        let honest = || self.stands.iter().zip(&self.honest).filter(|(_, honest)| **honest).map(|(s, _)| s);
        let lowest = honest().filter(|stand| stand.own != 1).map(|stand| stand.view).min().unwrap_or(0);
        let highest = honest().map(|stand| stand.committed).max().unwrap_or(0);
        let mut hashes = [0; MOST_BODIES];
        let mut count = 0;
        for (stand, hash) in honest().zip(&mut hashes) {
            let view = stand.view.saturating_sub(lowest).min(2);
            let behind = (highest - stand.committed).min(2);
            *hash = mix(stand.own, view * 3 + behind);
            count += 1;
        }
        let hashes = &mut hashes[..count];
        hashes.sort_unstable();
        // Of many replicas it is enough that one, or more than one, stands like that; otherwise
        // every count would be a state of its own.
        let crowd = count > 4;
        let mut state = mix(u64::from(lowest > 0), u64::from(crowd));
        for at in 0..count {
            if !crowd || at < 2 || hashes[at] != hashes[at - 2] {
                state = mix(state, hashes[at]);
            }
        }
        state
    }

    /// Every state once, in order of their hashes.
    pub(crate) fn into_states(mut self) -> Vec<u64> {
        self.states.sort_unstable();
        self.states.dedup();
        self.states
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn coverage(stands: &[(u64, u64, u64)]) -> Coverage {
        let stands: Vec<Stand> = stands
            .iter()
            .map(|(view, committed, own)| Stand { view: *view, committed: *committed, own: *own })
            .collect();
        Coverage { honest: vec![true; stands.len()], stands, latest: 0, states: Vec::new() }
    }

    #[test]
    fn a_state_is_the_same_whoever_is_in_it_and_wherever_the_chain_is() {
        let one = coverage(&[(7, 40, 9), (7, 39, 5), (8, 40, 6)]).state();
        let permuted = coverage(&[(7, 39, 5), (8, 40, 6), (7, 40, 9)]).state();
        let later = coverage(&[(7, 50, 9), (7, 49, 5), (8, 50, 6)]).state();
        assert_eq!(one, permuted);
        assert_eq!(one, later);
        let apart = coverage(&[(7, 40, 9), (7, 40, 5), (8, 40, 6)]).state();
        assert_ne!(one, apart, "one is behind");
        let together = coverage(&[(7, 40, 9), (7, 39, 5), (7, 40, 6)]).state();
        assert_ne!(one, together, "one is a view ahead");
    }

    #[test]
    fn states_come_out_once_each() {
        let mut coverage = coverage(&[]);
        coverage.states = vec![5, 3, 5, 1, 3];
        assert_eq!(coverage.into_states(), [1, 3, 5]);
    }
}
