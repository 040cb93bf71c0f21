//! I9 and I19: an envelope that an honest replica accepted is owed while that replica stays up. It is
//! not forgotten, and once the network behaves it is in a block in bounded time, whoever's it is.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sbft::types::{Place, Time};

use super::{Verdict, unsafe_because};
use crate::violation::{Class, Violation};

#[derive(Debug)]
struct Owed {
    by: BTreeSet<Place>,
    since: Time,
}

/// Envelopes accepted and in no block yet.
#[derive(Debug, Default)]
pub(super) struct Acceptance {
    owed: BTreeMap<u64, Owed>,
    /// How many each replica owes.
    counts: BTreeMap<Place, u64>,
    healed: Option<Time>,
}

impl Acceptance {
    pub(super) fn owed(&self) -> impl Iterator<Item = u64> + '_ {
        self.owed.keys().copied()
    }

    pub(super) fn accepted(&mut self, place: Place, index: u64, now: Time) {
        let owed = self.owed.entry(index).or_insert_with(|| Owed { by: BTreeSet::new(), since: now });
        if owed.by.insert(place) {
            *self.counts.entry(place).or_default() += 1;
        }
    }

    /// It is in a block.
    pub(super) fn settled(&mut self, index: u64) {
        for place in self.owed.remove(&index).map(|owed| owed.by).unwrap_or_default() {
            *self.counts.entry(place).or_default() -= 1;
        }
    }

    /// A replica went down: it owes nothing any more.
    pub(super) fn went_down(&mut self, place: Place) {
        self.owed.retain(|_, owed| {
            owed.by.remove(&place);
            !owed.by.is_empty()
        });
        self.counts.remove(&place);
    }

    pub(super) fn healed(&mut self, now: Time) {
        self.healed.get_or_insert(now);
    }

    /// A replica whose intake holds nothing owes nothing.
    pub(super) fn idle(&self, place: Place) -> Verdict {
        if self.counts.get(&place).is_none_or(|count| *count == 0) {
            return Ok(());
        }
        let forgotten = self.owed.iter().find(|(_, owed)| owed.by.contains(&place));
        let Some((index, _)) = forgotten else { return Ok(()) };
        unsafe_because(
            "accepted envelopes",
            format!("{place} accepted envelope {index}, which is in no block, and holds nothing any more"),
        )
    }

    /// Since the network behaves nothing waits longer than `bound`.
    pub(super) fn in_time(&self, now: Time, bound: Duration) -> Verdict {
        let Some(healed) = self.healed else { return Ok(()) };
        for (index, owed) in &self.owed {
            let waited = now.since(owed.since.max(healed));
            if waited > bound {
                let by: Vec<String> = owed.by.iter().map(Place::to_string).collect();
                let text = format!(
                    "envelope {index} at {} waits for {} since the network behaves, more than {}",
                    by.join(" "),
                    crate::trace::span(waited),
                    crate::trace::span(bound)
                );
                return Err(Violation::new(Class::Liveness, "fairness", text));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::tests::named;

    fn at(seconds: u64) -> Time {
        Time(Duration::from_secs(seconds))
    }

    #[test]
    fn i9_accepted_envelopes_fires_when_a_replica_that_stayed_up_forgot_one() {
        let mut acceptance = Acceptance::default();
        acceptance.accepted(Place(1), 7, at(0));
        acceptance.accepted(Place(2), 7, at(0));
        assert_eq!(acceptance.idle(Place(0)), Ok(()));
        assert_eq!(named(acceptance.idle(Place(1))), "I9 accepted envelopes");
        acceptance.went_down(Place(1));
        assert_eq!(acceptance.idle(Place(1)), Ok(()), "it went down, the promise with it");
        assert_eq!(named(acceptance.idle(Place(2))), "I9 accepted envelopes", "and this one's stands");
        acceptance.settled(7);
        assert_eq!(acceptance.idle(Place(2)), Ok(()));
        assert_eq!(acceptance.owed().count(), 0);
    }

    #[test]
    fn i19_fairness_fires_on_one_that_waits_though_all_others_pass() {
        let mut acceptance = Acceptance::default();
        acceptance.accepted(Place(1), 1, at(0));
        let bound = Duration::from_secs(10);
        assert_eq!(acceptance.in_time(at(100), bound), Ok(()), "nothing is owed while all is broken");
        acceptance.healed(at(100));
        for index in 2..50 {
            acceptance.accepted(Place(2), index, at(100));
            acceptance.settled(index);
        }
        assert_eq!(acceptance.in_time(at(110), bound), Ok(()));
        assert_eq!(named(acceptance.in_time(at(111), bound)), "I19 fairness");
    }
}
